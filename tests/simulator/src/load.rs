//! Load for benchmarks: a population of accounts and chats, and messages at an even rate.
//!
//! Each account gets supergroups of its own, which an author without a connection fills; so one
//! message is one update. A message's text begins with the moment it was sent, as Unix nanoseconds
//! in decimal, and a space: a reader can tell its latency.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::unix_nanos;
use crate::server::Server;
use crate::server::link::End;
use crate::shapes::{Account, ApiError, ChatKind, NewAccount, NewChat};
use crate::world::World;
use crate::world::ids::Peer;
use crate::world::messages::Content;

/// How often the pacer looks at the clock.
const TICK: Duration = Duration::from_millis(2);
/// Messages posted under one lock.
const BATCH: u64 = 32;
/// Length of a text unless asked otherwise, in bytes.
const DEFAULT_TEXT: usize = 100;

/// A load to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadSpec {
    /// Accounts to make.
    pub accounts: usize,
    /// Supergroups each of them is in.
    pub chats_per_account: usize,
    /// Over all chats together.
    #[serde(default)]
    pub messages_per_second: f64,
    /// How long.
    #[serde(default)]
    pub seconds: f64,
    /// Only make the population; `LoadRun` drives it later.
    #[serde(default)]
    pub paused: bool,
}

/// Messages to drive through the chats of all loads so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRun {
    /// Over all chats together.
    pub messages_per_second: f64,
    /// How long.
    pub seconds: f64,
    /// Length of each text; never less than its time stamp.
    #[serde(default)]
    pub text_bytes: Option<usize>,
}

/// The population that was made.
#[derive(Clone, Serialize, Deserialize)]
pub struct Load {
    /// Its accounts.
    pub accounts: Vec<Account>,
    /// Their chats.
    pub chats: Vec<LoadChat>,
}

/// A chat of a load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadChat {
    /// Marked.
    pub chat_id: i64,
    /// Accounts of the load that are in it.
    pub members: Vec<i64>,
}

/// Chats that loads write to, and who writes.
#[derive(Default)]
pub(crate) struct Population {
    author: Option<i64>,
    accounts: HashSet<i64>,
    channels: Vec<i64>,
    next: usize,
}

impl Server {
    /// Makes the population and, unless it is to wait, starts the messages.
    pub(crate) fn load(self: &Arc<Self>, spec: &LoadSpec) -> Result<Load, ApiError> {
        let load = populate(&mut self.world(), spec)?;
        if !spec.paused {
            self.run_load(&LoadRun {
                messages_per_second: spec.messages_per_second,
                seconds: spec.seconds,
                text_bytes: None,
            })?;
        }
        Ok(load)
    }

    /// Closes the connections of the accounts of all loads at one moment; answers how many. One
    /// whose account is not known yet is left alone.
    pub(crate) fn disconnect_load(&self) -> u64 {
        let world = self.world();
        let accounts = &world.population.accounts;
        let is_of_load = |user: Option<i64>| user.is_some_and(|user| accounts.contains(&user));
        let theirs = world.keys.values().filter(|record| is_of_load(record.user));
        let links = theirs.filter_map(|record| record.link.as_ref());
        links.map(|link| link.end(End::Now)).count() as u64
    }

    /// Starts the messages.
    pub(crate) fn run_load(self: &Arc<Self>, run: &LoadRun) -> Result<(), ApiError> {
        let LoadRun { messages_per_second: rate, seconds, text_bytes } = *run;
        let text_bytes = text_bytes.unwrap_or(DEFAULT_TEXT);
        if !(rate > 0.0 && seconds > 0.0) {
            return Err(ApiError::Invalid("rate and duration must be above zero".to_owned()));
        }
        let mut world = self.world();
        if world.population.channels.is_empty() {
            return Err(ApiError::Invalid("there is no load to run: make one first".to_owned()));
        }
        if std::mem::replace(&mut world.counters.load_running, true) {
            return Err(ApiError::Invalid("a load is running already".to_owned()));
        }
        drop(world);
        let server = Arc::clone(self);
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        loads.spawn(async move { drive(&server, rate, seconds, text_bytes).await });
        Ok(())
    }
}

fn populate(world: &mut World, spec: &LoadSpec) -> Result<Load, ApiError> {
    let author = match world.population.author {
        Some(author) => author,
        None => {
            let first_name = Some("Load author".to_owned());
            let new = NewAccount { first_name, logged_in: false, ..NewAccount::default() };
            world.add_account(new, None)?.user_id
        }
    };
    world.population.author = Some(author);
    let mut load = Load { accounts: Vec::new(), chats: Vec::new() };
    for _ in 0..spec.accounts {
        let account = world.add_account(NewAccount::default(), None)?;
        for number in 0..spec.chats_per_account {
            let chat = world.create_chat(NewChat {
                kind: ChatKind::Supergroup,
                title: format!("Load {number} of {}", account.user_id),
                username: None,
                members: vec![account.user_id, author],
                admins: vec![],
            })?;
            if let Some(Peer::Channel(id)) = Peer::from_marked(chat.chat_id) {
                world.population.channels.push(id);
            }
            let members = vec![account.user_id];
            load.chats.push(LoadChat { chat_id: chat.chat_id, members });
        }
        world.population.accounts.insert(account.user_id);
        load.accounts.push(account);
    }
    Ok(load)
}

/// Posts evenly until the time is over; what a tick was late for, the next one makes up.
async fn drive(server: &Arc<Server>, rate: f64, seconds: f64, text_bytes: usize) {
    let total = (rate * seconds).round() as u64;
    let start = Instant::now();
    let mut sent = 0;
    let mut ticks = tokio::time::interval(TICK);
    while sent < total {
        ticks.tick().await;
        let due = ((start.elapsed().as_secs_f64() * rate) as u64).min(total);
        while sent < due {
            let batch = (due - sent).min(BATCH);
            server.world().post_loads(batch, text_bytes);
            sent += batch;
            tokio::task::yield_now().await;
        }
    }
    server.world().counters.load_running = false;
}

impl World {
    fn post_loads(&mut self, count: u64, text_bytes: usize) {
        (0..count).for_each(|_| self.post_load(text_bytes));
        self.counters.load_sent += count;
    }

    fn post_load(&mut self, text_bytes: usize) {
        let Population { author, channels, next, .. } = &mut self.population;
        let (Some(author), Some(&channel)) = (*author, channels.get(*next)) else { return };
        *next = (*next + 1) % channels.len();
        let mut text = format!("{} ", unix_nanos());
        let padding = text_bytes.saturating_sub(text.len());
        text.extend(std::iter::repeat_n('x', padding));
        self.post_to_channel(channel, author, Content::text(&text), None);
    }
}
