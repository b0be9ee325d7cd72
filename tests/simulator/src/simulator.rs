//! The simulator as a library: start it, ask things of it, drop it.

use std::net::{SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use crate::control;
use crate::faults::FaultSpec;
use crate::load::{Load, LoadRun, LoadSpec};
use crate::server::{Server, accept};
use crate::shapes::{
    Account, AccountInfo, ApiError, Chat, ChatMember, ChatRules, MailedCode, MemberRights,
    NewAccount, NewChat, NewPassword, Secrets, StoredMessage,
};
use crate::shapes_campaigns::{ContactEntry, LinkInfo, NewContact, NewLink};
use crate::stats::Stats;
use crate::world::books::Contacted;
use crate::world::dcs::{Dcs, HOME_DC};
use crate::world::limits::Limits;
use crate::world::users::Privacy;

/// How to start a simulator.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddrV4,
    /// Where the control API listens, if it is wanted.
    pub control: Option<SocketAddrV4>,
    /// What everything random is drawn from; random itself, if absent.
    pub seed: Option<u64>,
    /// Further datacenters of the same world and where they listen. The one at `listen` is 2.
    pub dcs: Vec<(i32, SocketAddrV4)>,
}

impl Default for Options {
    /// A free port on loopback, no control API.
    fn default() -> Self {
        let listen = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0);
        Self { listen, control: None, seed: None, dcs: Vec::new() }
    }
}

/// Why a simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not to be had.
    #[error("failed to listen on {address}: {source}")]
    Listen {
        /// Which one.
        address: SocketAddrV4,
        /// What the system said.
        source: std::io::Error,
    },
    /// Datacenter 2 is the one that always listens, and each other one needs a number of its own
    /// from 1 to 99.
    #[error(
        "cannot have datacenter {0} at a further address: numbers are 1 to 99, each once, and 2 is the main one"
    )]
    Dc(i32),
}

/// A running datacenter; dropping it closes every connection.
pub struct Simulator {
    server: Arc<Server>,
    listen_addr: SocketAddrV4,
    control_addr: Option<SocketAddrV4>,
    _tasks: JoinSet<()>,
}

impl Simulator {
    /// Binds the addresses and starts serving; fails if one cannot be bound.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let seed = options.seed.unwrap_or_else(rand::random);
        let (listener, listen_addr) = listen(options.listen).await?;
        let control = match options.control {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let mut doors = vec![(HOME_DC, listener, listen_addr)];
        for (dc, address) in options.dcs {
            if !(1..=99).contains(&dc) || doors.iter().any(|(taken, ..)| *taken == dc) {
                return Err(StartError::Dc(dc));
            }
            let (listener, address) = listen(address).await?;
            doors.push((dc, listener, address));
        }
        let addresses: Vec<_> = doors.iter().map(|(dc, _, address)| (*dc, *address)).collect();
        let server = Arc::new(Server::new(seed, Dcs::new(listen_addr, &addresses)));
        let mut tasks = JoinSet::new();
        for (dc, listener, _) in doors {
            tasks.spawn(accept(Arc::clone(&server), listener, dc));
        }
        let control_addr = control.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = control {
            tasks.spawn(control::serve(Arc::clone(&server), listener));
        }
        Ok(Self { server, listen_addr, control_addr, _tasks: tasks })
    }

    /// Where clients connect.
    pub fn listen_addr(&self) -> SocketAddrV4 {
        self.listen_addr
    }

    /// Where clients of a datacenter connect, if it has an address of its own.
    pub fn dc_addr(&self, dc: i32) -> Option<SocketAddrV4> {
        self.server.world().dcs.address(dc)
    }

    /// Where the control API listens.
    pub fn control_addr(&self) -> Option<SocketAddrV4> {
        self.control_addr
    }

    /// What this run replays from.
    pub fn seed(&self) -> u64 {
        self.server.seed
    }

    /// The public key of the key exchange, as PEM `RSA PUBLIC KEY`. Slow when first asked for.
    pub fn public_key_pem(&self) -> String {
        self.server.rsa().public_pem()
    }

    /// Makes an account.
    pub async fn add_account(&self, new: NewAccount) -> Result<Account, ApiError> {
        unhurried(&self.server, move |server| server.add_account(new)).await
    }

    /// Gives an account another password of two-factor authentication, or none.
    pub async fn set_password(&self, user_id: i64, new: NewPassword) -> Result<(), ApiError> {
        unhurried(&self.server, move |server| server.set_password(user_id, new)).await
    }

    /// What the server knows about an account's use.
    pub async fn account(&self, user_id: i64) -> Result<AccountInfo, ApiError> {
        self.server.account(user_id)
    }

    /// The session string of a key that nobody is logged in with, at datacenter 2 or another one:
    /// what a client has after its exchange of keys.
    pub async fn add_stranger(&self, dc: Option<i32>) -> Result<String, ApiError> {
        self.server.add_stranger(dc)
    }

    /// The last login code that was sent to an account.
    pub async fn login_code(&self, user_id: i64) -> Result<String, ApiError> {
        self.server.login_code(user_id)
    }

    /// The last login code that was sent to a phone, whether an account has it or not.
    pub async fn phone_code(&self, phone: &str) -> Result<String, ApiError> {
        self.server.phone_code(phone)
    }

    /// Says where a code goes if an account's password is forgotten; nowhere, if absent.
    pub async fn set_recovery_email(
        &self,
        user_id: i64,
        email: Option<String>,
    ) -> Result<(), ApiError> {
        self.server.set_recovery_email(user_id, email)
    }

    /// The last code that went to an account's recovery mail.
    pub async fn mailed_code(&self, user_id: i64) -> Result<MailedCode, ApiError> {
        self.server.mailed_code(user_id)
    }

    /// What clients have to keep to themselves, as far as the server knows it now.
    pub async fn secrets(&self) -> Secrets {
        self.server.secrets()
    }

    /// Accepts the QR login of a `tg://login?token=…` as that account.
    pub async fn scan_qr(&self, user_id: i64, url: &str) -> Result<(), ApiError> {
        self.server.scan_qr(user_id, url)
    }

    /// Revokes a bot's token; answers its new one. Its sessions go on.
    pub async fn renew_bot_token(&self, user_id: i64) -> Result<String, ApiError> {
        self.server.renew_token(user_id)
    }

    /// Sets all limits. What accounts have done until then does not count any more.
    pub async fn set_limits(&self, limits: Limits) {
        self.server.set_limits(limits);
    }

    /// A further session string of an account, with an auth key of its own.
    pub async fn add_session(&self, user_id: i64) -> Result<String, ApiError> {
        self.server.add_session(user_id)
    }

    /// Private messages an account received, oldest first.
    pub async fn inbox(&self, user_id: i64) -> Result<Vec<StoredMessage>, ApiError> {
        self.server.inbox(user_id)
    }

    /// Writes a private message; answers the id of the sender's copy.
    pub async fn post_private(&self, to: i64, from: i64, text: &str) -> Result<i32, ApiError> {
        self.server.post_private(to, from, text)
    }

    /// Closes an account's connections.
    pub async fn disconnect(&self, user_id: i64) -> Result<(), ApiError> {
        self.server.disconnect(user_id)
    }

    /// Makes an account's keys worthless: their next call fails with `error`
    /// (`AUTH_KEY_UNREGISTERED` if absent) and the connection closes.
    pub async fn revoke(&self, user_id: i64, error: Option<String>) -> Result<(), ApiError> {
        self.server.revoke(user_id, error)
    }

    /// Says that the client was killed: the flood waits it was told within the last 1.5 s are
    /// void, for it had no time to keep them for its next life; so are refusals of invitations.
    pub async fn client_killed(&self) {
        self.server.client_killed();
    }

    /// Makes a chat with its first members, without any message about it.
    pub async fn add_chat(&self, new: NewChat) -> Result<Chat, ApiError> {
        self.server.add_chat(new, &ChatRules::default())
    }

    /// Makes a chat in which not everything is allowed.
    pub async fn add_chat_with(&self, new: NewChat, rules: ChatRules) -> Result<Chat, ApiError> {
        self.server.add_chat(new, &rules)
    }

    /// Changes what is allowed in a chat.
    pub async fn set_rules(&self, chat_id: i64, rules: ChatRules) -> Result<(), ApiError> {
        self.server.set_rules(chat_id, &rules)
    }

    /// Changes the rights of somebody in a chat.
    pub async fn set_rights(
        &self,
        chat_id: i64,
        user_id: i64,
        rights: MemberRights,
    ) -> Result<(), ApiError> {
        self.server.set_rights(chat_id, user_id, rights)
    }

    /// Says whose private messages an account takes.
    pub async fn set_privacy(&self, user_id: i64, privacy: Privacy) -> Result<(), ApiError> {
        self.server.set_privacy(user_id, privacy)
    }

    /// Freezes an account, or lifts that: frozen, it may read and change nothing.
    pub async fn freeze(&self, user_id: i64, frozen: bool) -> Result<(), ApiError> {
        self.server.freeze(user_id, frozen)
    }

    /// Every attempt of a client to write to a person or to invite them, oldest first.
    pub async fn contacted(&self) -> Vec<Contacted> {
        self.server.contacted()
    }

    /// An account's address book.
    pub async fn contacts(&self, user_id: i64) -> Result<Vec<ContactEntry>, ApiError> {
        self.server.contacts(user_id)
    }

    /// Puts somebody into an account's address book. Nobody is told.
    pub async fn add_contact(&self, user_id: i64, new: NewContact) -> Result<(), ApiError> {
        self.server.add_contact(user_id, new)
    }

    /// Takes somebody out of an account's address book. Nobody is told.
    pub async fn remove_contact(&self, user_id: i64, contact: i64) -> Result<(), ApiError> {
        self.server.remove_contact(user_id, contact)
    }

    /// Deletes an account as its owner would; what it wrote stays.
    pub async fn delete_account(&self, user_id: i64) -> Result<(), ApiError> {
        self.server.delete_account(user_id)
    }

    /// Makes an invite link.
    pub async fn add_link(&self, chat_id: i64, new: NewLink) -> Result<LinkInfo, ApiError> {
        self.server.add_link(chat_id, new)
    }

    /// A chat's invite links, who came in by them and who waits to be let in.
    pub async fn links(&self, chat_id: i64) -> Result<Vec<LinkInfo>, ApiError> {
        self.server.links(chat_id)
    }

    /// Lets an account use an invite link; `false` if it has to wait for an admin's consent.
    pub async fn join(&self, user_id: i64, link: &str) -> Result<bool, ApiError> {
        self.server.join(user_id, link)
    }

    /// Lets somebody in who asked for it, or not.
    pub async fn answer_request(
        &self,
        chat_id: i64,
        user_id: i64,
        approved: bool,
    ) -> Result<(), ApiError> {
        self.server.answer_request(chat_id, user_id, approved)
    }

    /// Somebody leaves a chat by themselves, which the chat remembers.
    pub async fn leave(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        self.server.leave(chat_id, user_id)
    }

    /// Lets somebody in, with the service message and updates that brings.
    pub async fn add_member(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        self.server.add_member(chat_id, user_id)
    }

    /// Takes somebody out, with the service message and updates that brings.
    pub async fn remove_member(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        self.server.remove_member(chat_id, user_id)
    }

    /// Makes a basic group a supergroup; answers its marked id.
    pub async fn upgrade(&self, chat_id: i64) -> Result<i64, ApiError> {
        self.server.upgrade(chat_id)
    }

    /// Takes somebody out for good.
    pub async fn ban(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        self.server.ban(chat_id, user_id)
    }

    /// Who is in a chat.
    pub async fn members(&self, chat_id: i64) -> Result<Vec<ChatMember>, ApiError> {
        self.server.members(chat_id)
    }

    /// Writes a message; answers its id (in a basic group: of the sender's copy).
    pub async fn post(&self, chat_id: i64, from: i64, text: &str) -> Result<i32, ApiError> {
        self.server.post(chat_id, from, text)
    }

    /// Writes a message with something in it that no client of today can read; answers its id as
    /// [`Self::post`] does.
    pub async fn post_unreadable(&self, chat_id: i64, from: i64) -> Result<i32, ApiError> {
        self.server.post_unreadable(chat_id, from)
    }

    /// The text messages of a chat, oldest first; in a basic group the senders' copies.
    pub async fn messages(&self, chat_id: i64) -> Result<Vec<StoredMessage>, ApiError> {
        self.server.messages(chat_id, None)
    }

    /// The text messages of a chat in one account's copies.
    pub async fn messages_of(
        &self,
        chat_id: i64,
        viewer: i64,
    ) -> Result<Vec<StoredMessage>, ApiError> {
        self.server.messages(chat_id, Some(viewer))
    }

    /// Deletes messages of a supergroup or channel by their ids, without a word to anybody.
    pub async fn delete(&self, chat_id: i64, ids: RangeInclusive<i32>) -> Result<(), ApiError> {
        self.server.delete(chat_id, ids)
    }

    /// Adds a fault.
    pub async fn add_fault(&self, spec: FaultSpec) -> Result<(), ApiError> {
        self.server.add_fault(spec)
    }

    /// Lifts all faults.
    pub async fn lift_faults(&self) {
        self.server.lift_faults();
    }

    /// Makes a population and, unless it is to wait, starts its messages.
    pub async fn load(&self, spec: LoadSpec) -> Result<Load, ApiError> {
        self.server.load(&spec)
    }

    /// Starts messages through the chats of all loads so far.
    pub async fn run_load(&self, run: LoadRun) -> Result<(), ApiError> {
        self.server.run_load(&run)
    }

    /// Counters and violations.
    pub async fn stats(&self) -> Stats {
        self.server.stats()
    }
}

/// Does what may take long on a thread of its own.
pub(crate) async fn unhurried<T: Send + 'static>(
    server: &Arc<Server>,
    work: impl FnOnce(&Server) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let server = Arc::clone(server);
    let done = tokio::task::spawn_blocking(move || work(&server)).await;
    done.unwrap_or_else(|error| Err(ApiError::Invalid(error.to_string())))
}

/// Connections that may wait to be accepted. The kernel lowers it to what it allows.
const LISTEN_BACKLOG: u32 = 4096;

async fn listen(address: SocketAddrV4) -> Result<(TcpListener, SocketAddrV4), StartError> {
    let failed = |source| StartError::Listen { address, source };
    let socket = TcpSocket::new_v4().map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(address.into()).map_err(failed)?;
    let listener = socket.listen(LISTEN_BACKLOG).map_err(failed)?;
    match listener.local_addr().map_err(failed)? {
        SocketAddr::V4(bound) => Ok((listener, bound)),
        SocketAddr::V6(_) => Err(failed(std::io::ErrorKind::Unsupported.into())),
    }
}
