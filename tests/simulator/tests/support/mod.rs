//! What the tests share: a population, and grammers clients that log in with issued sessions.

#![allow(dead_code, reason = "each test program uses a part")]

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use grammers_client::sender::{
    ConnectionParams, InvocationError, NoRetries, SenderPool, SenderPoolFatHandle,
};
use grammers_client::tl;
use grammers_session::SessionData;
use grammers_session::storages::MemorySession;
use grammers_session::types::{DcOption, PeerId, PeerInfo};
use grammers_session::updates::UpdatesLike;

use telewarden_simulator::{Account, Chat, ChatKind, NewAccount, NewChat, Options, Simulator};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Nothing on loopback takes longer, even unoptimized on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A simulator with accounts on it.
pub(crate) struct Stage {
    pub(crate) simulator: Simulator,
    pub(crate) accounts: Vec<Account>,
}

impl Stage {
    /// A simulator with that many accounts.
    pub(crate) async fn with_accounts(count: usize) -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let mut accounts = Vec::new();
        for _ in 0..count {
            accounts.push(simulator.add_account(NewAccount::default()).await.unwrap());
        }
        Self { simulator, accounts }
    }

    pub(crate) fn ids(&self) -> Vec<i64> {
        self.accounts.iter().map(|account| account.user_id).collect()
    }

    /// A private chat with everybody in it.
    pub(crate) async fn chat(&self, kind: ChatKind) -> Chat {
        let members = self.ids();
        let title = "Everybody".to_owned();
        let new = NewChat { kind, title, username: None, members, admins: vec![] };
        self.simulator.add_chat(new).await.unwrap()
    }

    pub(crate) async fn client(&self, number: usize) -> Client {
        Client::connect(&self.accounts[number]).await
    }

    /// Fails the test if any client did what none must do.
    pub(crate) async fn assert_clean(&self) {
        let stats = self.simulator.stats().await;
        assert!(stats.violations.values().all(|count| *count == 0), "{:?}", stats.violations);
        assert!(stats.unknown_methods.is_empty(), "{:?}", stats.unknown_methods);
        assert!(stats.protocol_errors.is_empty(), "{:?}", stats.protocol_errors);
    }

    pub(crate) async fn violations(&self, name: &str) -> u64 {
        self.simulator.stats().await.violations[name]
    }
}

/// A grammers client without retries, and its raw updates.
pub(crate) struct Client {
    /// 0 for a stranger.
    pub(crate) user_id: i64,
    dc: i32,
    pub(crate) handle: SenderPoolFatHandle,
    pub(crate) updates: mpsc::Receiver<UpdatesLike>,
    runner: JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.runner.abort();
    }
}

/// A session as the library keeps it, out of a session string.
pub(crate) fn session(account: &Account) -> MemorySession {
    let mut data = session_data(account.session_string.as_deref().unwrap());
    let myself = PeerInfo::User {
        id: account.user_id,
        auth: None,
        bot: Some(account.bot_token.is_some()),
        is_self: Some(true),
    };
    data.peer_infos.insert(PeerId::self_user(), myself);
    MemorySession::from(data)
}

fn session_data(string: &str) -> SessionData {
    let engine = base64::engine::general_purpose::URL_SAFE;
    let bytes = engine.decode(string.strip_prefix('1').unwrap()).unwrap();
    let ip = Ipv4Addr::new(bytes[1], bytes[2], bytes[3], bytes[4]);
    let port = u16::from_be_bytes([bytes[5], bytes[6]]);
    let dc_option = DcOption {
        id: i32::from(bytes[0]),
        ipv4: SocketAddrV4::new(ip, port),
        ipv6: SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0),
        auth_key: Some(bytes[7..].try_into().unwrap()),
    };
    let mut data = SessionData { home_dc: dc_option.id, ..SessionData::default() };
    data.dc_options = [(dc_option.id, dc_option)].into();
    data
}

fn parameters() -> ConnectionParams {
    ConnectionParams {
        device_model: "test".to_owned(),
        system_version: "1".to_owned(),
        app_version: "1".to_owned(),
        system_lang_code: "en".to_owned(),
        lang_code: "en".to_owned(),
        use_ipv6: false,
        retry_policy: Box::new(NoRetries),
        updates_channel_capacity: NonZeroUsize::new(20_000).unwrap(),
        __non_exhaustive: (),
    }
}

impl Client {
    /// A client of that account; it connects with its first call, and has made one.
    pub(crate) async fn connect(account: &Account) -> Self {
        let client = Self::idle(account);
        client.invoke(&tl::functions::updates::GetState {}).await.unwrap();
        client
    }

    /// A client that has not connected yet.
    pub(crate) fn idle(account: &Account) -> Self {
        Self::over(session(account), account.user_id, 2)
    }

    /// A client with a key that nobody is logged in with.
    pub(crate) fn stranger(session_string: &str) -> Self {
        let data = session_data(session_string);
        let dc = data.home_dc;
        Self::over(MemorySession::from(data), 0, dc)
    }

    fn over(session: MemorySession, user_id: i64, dc: i32) -> Self {
        let pool = SenderPool::with_configuration(Arc::new(session), 1, parameters());
        let SenderPool { runner, handle, updates } = pool;
        let runner = tokio::spawn(runner.run());
        Self { user_id, dc, handle, updates, runner }
    }

    /// The library's own client over the same connection.
    pub(crate) fn high_level(&self) -> grammers_client::Client {
        grammers_client::Client::new(self.handle.clone())
    }

    pub(crate) async fn invoke<R: tl::RemoteCall>(
        &self,
        request: &R,
    ) -> Result<R::Return, InvocationError> {
        let call = self.handle.invoke_in_dc(self.dc, request);
        tokio::time::timeout(DEADLINE, call).await.expect("the simulator answers in time")
    }

    /// The name (digits apart) of the error a call is refused with.
    pub(crate) async fn refused<R: tl::RemoteCall>(&self, request: &R) -> String {
        match self.invoke(request).await {
            Ok(_) => "accepted".to_owned(),
            Err(InvocationError::Rpc(error)) => error.name,
            Err(other) => other.to_string(),
        }
    }

    /// The next update for which `pick` has something.
    pub(crate) async fn next<T>(
        &mut self,
        mut pick: impl FnMut(&tl::enums::Updates) -> Option<T>,
    ) -> T {
        let picked = async {
            loop {
                let update = self.updates.recv().await.expect("the client is alive");
                if let UpdatesLike::Updates(updates) = &update
                    && let Some(picked) = pick(updates)
                {
                    return picked;
                }
            }
        };
        tokio::time::timeout(DEADLINE, picked).await.expect("the update arrives in time")
    }

    /// The next new message, in whatever form it comes: its id and text.
    pub(crate) async fn next_message(&mut self) -> (i32, String) {
        self.next(|updates| messages(updates).into_iter().next()).await
    }

    /// Joined chats by title, with the caller's access hashes.
    pub(crate) async fn chats(&self) -> Vec<tl::enums::Chat> {
        let request = tl::functions::messages::GetDialogs {
            exclude_pinned: false,
            folder_id: None,
            offset_date: 0,
            offset_id: 0,
            offset_peer: tl::enums::InputPeer::Empty,
            limit: 100,
            hash: 0,
        };
        match self.invoke(&request).await.unwrap() {
            tl::enums::messages::Dialogs::Dialogs(dialogs) => dialogs.chats,
            tl::enums::messages::Dialogs::Slice(dialogs) => dialogs.chats,
            tl::enums::messages::Dialogs::NotModified(_) => vec![],
        }
    }

    /// The only channel the caller is in.
    pub(crate) async fn channel(&self) -> tl::types::InputChannel {
        let chats = self.chats().await;
        let channel = chats.iter().find_map(|chat| match chat {
            tl::enums::Chat::Channel(channel) => Some(tl::types::InputChannel {
                channel_id: channel.id,
                access_hash: channel.access_hash.unwrap(),
            }),
            _ => None,
        });
        channel.expect("the caller is in a channel")
    }

    pub(crate) async fn resolve(&self, username: &str) -> tl::types::contacts::ResolvedPeer {
        let username = username.to_owned();
        let request = tl::functions::contacts::ResolveUsername { username, referer: None };
        let tl::enums::contacts::ResolvedPeer::Peer(peer) = self.invoke(&request).await.unwrap();
        peer
    }
}

/// New messages in an update: id and text, `service` for those without one.
pub(crate) fn messages(updates: &tl::enums::Updates) -> Vec<(i32, String)> {
    use tl::enums::{Message, Update, Updates};
    let of = |message: &Message| match message {
        Message::Message(message) => (message.id, message.message.clone()),
        other => (other.id(), "service".to_owned()),
    };
    match updates {
        Updates::UpdateShortMessage(short) => vec![(short.id, short.message.clone())],
        Updates::UpdateShortChatMessage(short) => vec![(short.id, short.message.clone())],
        Updates::Updates(updates) => updates
            .updates
            .iter()
            .filter_map(|update| match update {
                Update::NewMessage(new) => Some(of(&new.message)),
                Update::NewChannelMessage(new) => Some(of(&new.message)),
                _ => None,
            })
            .collect(),
        _ => vec![],
    }
}

pub(crate) fn peer(channel: &tl::types::InputChannel) -> tl::enums::InputPeer {
    let tl::types::InputChannel { channel_id, access_hash } = *channel;
    tl::types::InputPeerChannel { channel_id, access_hash }.into()
}

pub(crate) fn send(
    peer: tl::enums::InputPeer,
    text: &str,
    random_id: i64,
) -> tl::functions::messages::SendMessage {
    tl::functions::messages::SendMessage {
        no_webpage: false,
        silent: false,
        background: false,
        clear_draft: false,
        noforwards: false,
        update_stickersets_order: false,
        invert_media: false,
        allow_paid_floodskip: false,
        peer,
        reply_to: None,
        message: text.to_owned(),
        random_id,
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
    }
}
