//! The yardstick: the same sends by the library alone, in a process of its own. No HTTP, no owner,
//! nothing counted, nothing durable: what the daemon does besides is what it costs. Must use nothing
//! of the daemon but its allocator settings and its reader of session strings.

use std::io::{BufRead, Write};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use grammers_client::sender::SenderPoolHandle;
use grammers_client::tl::{Deserializable, RemoteCall, Serializable, enums, functions, types};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::bare_pipe;
use crate::processes::Helper;
use crate::sends::{self, Drive, Driven, Order, Sender};

/// Sessions that connect at once when it starts.
const DIALS: usize = 256;

/// First line of the input; the second and all others are [`Drive`]s.
#[derive(Serialize, Deserialize)]
pub(crate) struct Cast {
    pub(crate) telegram: SocketAddrV4,
    pub(crate) accounts: Vec<Role>,
}

/// One account and where it writes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) session_string: String,
    /// Marked.
    pub(crate) chat_id: i64,
    /// Username.
    pub(crate) person: String,
}

struct Account {
    handle: SenderPoolHandle,
    dc_id: i32,
    chat: enums::InputPeer,
    person: enums::InputPeer,
    /// What it sent to its supergroup last.
    newest: AtomicI32,
}

struct BareSender(Vec<Account>);

/// Connects all accounts, answers `ready`, then serves until its input ends.
pub(crate) fn run() -> Result<()> {
    telewarden::app::prepare_process();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut lines = std::io::stdin().lock().lines();
    let cast: Cast = serde_json::from_str(&lines.next().context("no accounts")??)?;
    let sender = Arc::new(BareSender(runtime.block_on(connect_all(cast))?));
    answer("ready")?;
    for line in lines {
        let drive: Drive = serde_json::from_str(&line?)?;
        let count = sender.0.len();
        let own = Arc::clone(&sender);
        let driven = runtime.spawn(async move { sends::drive(&own, drive, count).await });
        answer(&serde_json::to_string(&runtime.block_on(driven)?)?)?;
    }
    Ok(())
}

fn answer(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

async fn connect_all(cast: Cast) -> Result<Vec<Account>> {
    let dials = Arc::new(Semaphore::new(DIALS));
    let tasks: Vec<_> = cast
        .accounts
        .into_iter()
        .map(|role| {
            let (dials, telegram) = (Arc::clone(&dials), cast.telegram);
            tokio::spawn(async move {
                let _permit = dials.acquire_owned().await;
                connect(telegram, &role).await
            })
        })
        .collect();
    let mut accounts = Vec::with_capacity(tasks.len());
    for task in tasks {
        accounts.push(task.await??);
    }
    Ok(accounts)
}

async fn connect(telegram: SocketAddrV4, role: &Role) -> Result<Account> {
    let (handle, dc_id, mut updates) = bare_pipe::connect(telegram, &role.session_string)?;
    bare_pipe::ask_state(&handle, dc_id).await?;
    tokio::spawn(async move { while updates.recv().await.is_some() {} });
    let chat = find_chat(&handle, dc_id, role.chat_id).await?;
    let request =
        functions::contacts::ResolveUsername { username: role.person.clone(), referer: None };
    let enums::contacts::ResolvedPeer::Peer(found) = call(&handle, dc_id, &request).await?;
    let user = found.users.into_iter().find_map(|user| match user {
        enums::User::User(user) => Some(user),
        enums::User::Empty(_) => None,
    });
    let user = user.context("nobody has that name")?;
    let access_hash = user.access_hash.unwrap_or_default();
    let person = types::InputPeerUser { user_id: user.id, access_hash }.into();
    Ok(Account { handle, dc_id, chat, person, newest: AtomicI32::new(0) })
}

async fn find_chat(handle: &SenderPoolHandle, dc_id: i32, marked: i64) -> Result<enums::InputPeer> {
    let request = functions::messages::GetDialogs {
        exclude_pinned: false,
        folder_id: None,
        offset_date: 0,
        offset_id: 0,
        offset_peer: enums::InputPeer::Empty,
        limit: 100,
        hash: 0,
    };
    let chats = match call(handle, dc_id, &request).await? {
        enums::messages::Dialogs::Dialogs(dialogs) => dialogs.chats,
        enums::messages::Dialogs::Slice(dialogs) => dialogs.chats,
        enums::messages::Dialogs::NotModified(_) => Vec::new(),
    };
    let found = chats.into_iter().find_map(|chat| match chat {
        enums::Chat::Channel(channel) if -1_000_000_000_000 - channel.id == marked => Some(channel),
        _ => None,
    });
    let channel = found.context("the supergroup is not among the dialogs")?;
    let access_hash = channel.access_hash.unwrap_or_default();
    Ok(types::InputPeerChannel { channel_id: channel.id, access_hash }.into())
}

async fn call<R: RemoteCall>(
    handle: &SenderPoolHandle,
    dc_id: i32,
    request: &R,
) -> Result<R::Return> {
    let answer = handle.raw_invoke_in_dc(dc_id, request.to_bytes()).await?;
    Ok(R::Return::from_bytes(&answer)?)
}

impl Sender for BareSender {
    async fn send(&self, order: Order) -> Result<Duration> {
        let account = self.0.get(order.account).context("no such account")?;
        let began = Instant::now();
        let random_id: i64 = rand::random();
        let request = account.request(order, random_id);
        let answer = account.handle.raw_invoke_in_dc(account.dc_id, request.to_bytes()).await?;
        let id = message_id(&enums::Updates::from_bytes(&answer)?, random_id);
        let id = id.context("the answer names no message")?;
        if order.to_chat {
            account.newest.store(id, Ordering::Relaxed);
        }
        Ok(began.elapsed())
    }
}

fn message_id(answer: &enums::Updates, random_id: i64) -> Option<i32> {
    match answer {
        enums::Updates::UpdateShortSentMessage(short) => Some(short.id),
        enums::Updates::Updates(all) => all.updates.iter().find_map(|update| match update {
            enums::Update::MessageId(named) if named.random_id == random_id => Some(named.id),
            _ => None,
        }),
        _ => None,
    }
}

impl Account {
    fn request(&self, order: Order, random_id: i64) -> functions::messages::SendMessage {
        let peer = if order.to_chat { self.chat.clone() } else { self.person.clone() };
        let newest = self.newest.load(Ordering::Relaxed);
        let reply_to = (order.to_chat && order.is_reply && newest > 0).then(|| answering(newest));
        let message = order.text();
        let length = message.find(' ').unwrap_or(1) as i32;
        let bold = types::MessageEntityBold { offset: 0, length };
        functions::messages::SendMessage {
            no_webpage: false,
            silent: false,
            background: false,
            clear_draft: false,
            noforwards: false,
            update_stickersets_order: false,
            invert_media: false,
            allow_paid_floodskip: false,
            peer,
            reply_to,
            message,
            random_id,
            reply_markup: None,
            entities: order.is_marked.then(|| vec![bold.into()]),
            schedule_date: None,
            schedule_repeat_period: None,
            send_as: None,
            quick_reply_shortcut: None,
            effect: None,
            allow_paid_stars: None,
            suggested_post: None,
            rich_message: None,
        }
    }
}

fn answering(message_id: i32) -> enums::InputReplyTo {
    types::InputReplyToMessage {
        reply_to_msg_id: message_id,
        top_msg_id: None,
        reply_to_peer_id: None,
        quote_text: None,
        quote_entities: None,
        quote_offset: None,
        monoforum_peer_id: None,
        todo_item_id: None,
        poll_option: None,
    }
    .into()
}

/// [`run`] in a process of its own.
pub(crate) struct Child(Helper);

impl Child {
    /// Starts it and waits until all accounts are connected.
    pub(crate) fn start(cast: &Cast) -> Result<Self> {
        let mut helper = Helper::start(crate::BARE_SENDER)?;
        helper.expect(&serde_json::to_string(cast)?, "ready")?;
        Ok(Self(helper))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.pid()
    }

    pub(crate) fn drive(&mut self, drive: Drive) -> Result<Driven> {
        Ok(serde_json::from_str(&self.0.ask(&serde_json::to_string(&drive)?)?)?)
    }
}
