//! The yardstick: the same calls by the library alone, in a process of its own. Each account looks somebody up and
//! writes to them, one after the other. No limits, no list of refusals, nothing durable: what the daemon does besides is
//! what it costs.

use std::io::{BufRead, Write};
use std::net::SocketAddrV4;
use std::time::Instant;

use anyhow::{Context, Result};
use grammers_client::sender::SenderPoolHandle;
use grammers_client::tl::{Deserializable, RemoteCall, enums, functions, types};
use serde::{Deserialize, Serialize};

use crate::bare_pipe;
use crate::processes::Helper;

/// First line of the input; all others are lists of usernames.
#[derive(Serialize, Deserialize)]
pub(crate) struct Accounts {
    pub(crate) telegram: SocketAddrV4,
    pub(crate) session_strings: Vec<String>,
}

/// What a round took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Looped {
    pub(crate) seconds: f64,
    pub(crate) sent: usize,
}

#[derive(Clone)]
struct Account {
    handle: SenderPoolHandle,
    dc_id: i32,
}

/// Connects all accounts, answers `ready`, then serves until its input ends.
pub(crate) fn run() -> Result<()> {
    telewarden::app::prepare_process();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut lines = std::io::stdin().lock().lines();
    let accounts: Accounts = serde_json::from_str(&lines.next().context("no accounts")??)?;
    let accounts = runtime.block_on(connect_all(accounts))?;
    answer("ready")?;
    for line in lines {
        let people: Vec<String> = serde_json::from_str(&line?)?;
        let looped = runtime.block_on(write_to_all(&accounts, people))?;
        answer(&serde_json::to_string(&looped)?)?;
    }
    Ok(())
}

fn answer(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

async fn connect_all(accounts: Accounts) -> Result<Vec<Account>> {
    let mut connected = Vec::new();
    for session_string in accounts.session_strings {
        let (handle, dc_id, mut updates) = bare_pipe::connect(accounts.telegram, &session_string)?;
        bare_pipe::ask_state(&handle, dc_id).await?;
        tokio::spawn(async move { while updates.recv().await.is_some() {} });
        connected.push(Account { handle, dc_id });
    }
    Ok(connected)
}

async fn write_to_all(accounts: &[Account], people: Vec<String>) -> Result<Looped> {
    let share = people.len().div_ceil(accounts.len().max(1));
    let began = Instant::now();
    let work = accounts.iter().zip(people.chunks(share.max(1))).map(|(account, people)| {
        let (account, people) = (account.clone(), people.to_vec());
        tokio::spawn(async move {
            for person in &people {
                account.write_to(person).await?;
            }
            anyhow::Ok(people.len())
        })
    });
    let mut sent = 0;
    for work in work.collect::<Vec<_>>() {
        sent += work.await??;
    }
    Ok(Looped { seconds: began.elapsed().as_secs_f64(), sent })
}

impl Account {
    async fn write_to(&self, username: &str) -> Result<()> {
        let request =
            functions::contacts::ResolveUsername { username: username.to_owned(), referer: None };
        let enums::contacts::ResolvedPeer::Peer(found) = self.call(&request).await?;
        let user = found.users.into_iter().find_map(|user| match user {
            enums::User::User(user) => Some(user),
            enums::User::Empty(_) => None,
        });
        let user = user.context("nobody has that name")?;
        let access_hash = user.access_hash.unwrap_or_default();
        let message = format!("Hello {}", user.first_name.unwrap_or_default());
        let request = functions::messages::SendMessage {
            no_webpage: false,
            silent: false,
            background: false,
            clear_draft: false,
            noforwards: false,
            update_stickersets_order: false,
            invert_media: false,
            allow_paid_floodskip: false,
            peer: types::InputPeerUser { user_id: user.id, access_hash }.into(),
            reply_to: None,
            message,
            random_id: rand::random(),
            reply_markup: None,
            entities: None,
            schedule_date: None,
            schedule_repeat_period: None,
            send_as: None,
            quick_reply_shortcut: None,
            effect: None,
            allow_paid_stars: None,
            suggested_post: None,
            rich_message: None,
        };
        self.call(&request).await.map(drop)
    }

    async fn call<R: RemoteCall>(&self, request: &R) -> Result<R::Return> {
        let answer = self.handle.raw_invoke_in_dc(self.dc_id, request.to_bytes()).await?;
        Ok(R::Return::from_bytes(&answer)?)
    }
}

/// [`run`] in a process of its own.
pub(crate) struct Child(Helper);

impl Child {
    /// Starts it and waits until all accounts are connected.
    pub(crate) fn start(accounts: &Accounts) -> Result<Self> {
        let mut helper = Helper::start(crate::BARE_LOOP)?;
        helper.expect(&serde_json::to_string(accounts)?, "ready")?;
        Ok(Self(helper))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub(crate) fn write_to_all(&mut self, people: &[String]) -> Result<Looped> {
        Ok(serde_json::from_str(&self.0.ask(&serde_json::to_string(people)?)?)?)
    }
}
