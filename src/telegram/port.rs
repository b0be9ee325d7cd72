//! The port: Telegram as the rest of the daemon reaches it, in plain requests and outcomes. Four things can be
//! had of it: connect a key, call over that connection, follow its updates, log in. `client.rs` stands behind it
//! with grammers; unit tests have a fake of it (`fake.rs`). Says what each step means and how it may fail; never how
//! it is done, and never when: that is its callers' affair.
//!
//! The right to connect a key passes through as a [`ConnectionLease`]: whoever implements this holds it from
//! before the first packet until the sockets are closed.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use super::batch::Batch;
use super::call::Call;
use super::lease::ConnectionLease;
use super::login::DialGate;
use super::outcome::Outcome;
use super::peers::PeerBook;
use super::pulse::Pulse;
use crate::protocol::accounts::record::{Credentials, Me};
use crate::protocol::logins::steps::{CodeTicket, LoginFailure, SignedIn, Step};
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::server_time::SteadyMillis;
use crate::protocol::telegram::updates::UpdateState;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::secret::SecretText;

/// Telegram.
#[async_trait]
pub trait TelegramClient: Send + Sync {
    /// Connects a key, as the application `api_id`, and asks who the account is.
    ///
    /// # Errors
    /// [`Failure::Dead`] when the session is over, also when the server twice does not know the key;
    /// [`Failure::Transient`] when nobody answers in time, or the key's previous connection does not close.
    async fn connect(
        &self,
        credentials: &Credentials,
        api_id: i32,
        lease: ConnectionLease,
    ) -> Result<Connected, DialFailure>;

    /// Begins a login with a key of its own, at the datacenter where logins begin.
    ///
    /// # Errors
    /// [`LoginFailure::NoKey`] when no key can be made; [`LoginFailure::Other`] when nobody answers.
    async fn begin_login(
        &self,
        setup: LoginSetup,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure>;

    /// Goes on with a key: a login that was interrupted, or a session that somebody brings. `lease` is that
    /// key's, shared with whoever else may connect it.
    ///
    /// # Errors
    /// [`LoginFailure::Other`] when the key's previous connection does not close in time;
    /// [`LoginFailure::NoDatacenter`] when nothing is known of the key's datacenter.
    async fn resume_login(
        &self,
        setup: LoginSetup,
        credentials: &Credentials,
        lease: ConnectionLease,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure>;

    /// Whether anything is known of datacenter `dc_id`. Asks nobody.
    ///
    /// # Errors
    /// [`LoginFailure::NoDatacenter`].
    fn check_datacenter(&self, dc_id: i32) -> Result<(), LoginFailure>;
}

/// A live connection of an account.
pub struct Connected {
    /// Who Telegram says the account is.
    pub me: Me,
    /// For calls. Of no more use once the connection ended.
    pub caller: Arc<dyn AccountCaller>,
    /// What the connection does, and when it last heard something.
    pub pulse: Arc<Pulse>,
    /// What comes unasked, and the sockets: dropping it closes them.
    pub updates: Box<dyn UnfollowedUpdates>,
}

/// Why a key could not be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialFailure {
    /// What follows.
    pub failure: Failure,
    /// Whether the datacenter is there: it said something, be it a refusal, or was not asked.
    pub is_answered: bool,
}

/// What a call found, and the peers met on the way that are new or changed, for the store.
pub type Performed = (Outcome, Vec<PeerRecord>);

/// A way to call Telegram over one connection.
#[async_trait]
pub trait AccountCaller: Send + Sync {
    /// Performs a call. Never sleeps, never tries again. What it learns of peers goes into `peers`, too.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::Transient`] when the answer does not come in time.
    async fn run(
        &self,
        call: &Call,
        peers: &Mutex<PeerBook>,
        is_bot: bool,
    ) -> Result<Performed, Failure>;
}

/// The updates of a connection that nobody follows yet.
pub trait UnfollowedUpdates: Send {
    /// Follows them.
    fn follow(self: Box<Self>, following: Following) -> Box<dyn UpdateStream>;
}

/// The updates of a connection. Dropping it closes the connection's sockets.
#[async_trait]
pub trait UpdateStream: Send {
    /// Waits for the next batch.
    ///
    /// # Errors
    /// The failure that ended the connection: it is of no more use, and everything not yet handed out is
    /// fetched again by the next one.
    async fn next(&mut self) -> Result<Batch, Failure>;
}

/// How updates are to be followed.
pub struct Following {
    /// Where to go on, fetching what was missed since; from now on when it is empty.
    pub state: Option<UpdateState>,
    /// The chats that the account knows how to name.
    pub peers: Arc<Mutex<PeerBook>>,
    /// Whether the account is a bot.
    pub is_bot: bool,
    /// How often the difference is asked for although nothing is known to be missing: an update that
    /// is lost leaves no gap in a chat in which nothing follows. It costs Telegram more than a sign
    /// of life.
    pub check_every: Duration,
    /// Says what is left of a wait before differences may be asked for, whoever was told of it.
    pub wait_left: WaitLeft,
    /// Told of further ones.
    pub tell_wait: TellWait,
    /// Told of what cannot be got.
    pub tell_trouble: TellTrouble,
    /// Told when the account is frozen.
    pub tell_frozen: TellFrozen,
    /// Differences of channels that nobody wants are not fetched.
    pub wants_channel: WantsChannel,
}

/// Whoever has to know of a wait that Telegram asks for before updates may be asked for again: it
/// lasts beyond this connection. Takes the error's name and the seconds.
pub type TellWait = Box<dyn Fn(&str, u32) + Send + Sync>;

/// Whoever has to know what cannot be got although the connection works, in words; `None`: all is well
/// again.
pub type TellTrouble = Box<dyn Fn(Option<String>) + Send + Sync>;

/// Whoever has to know that Telegram has frozen the account. Takes the error's name.
pub type TellFrozen = Box<dyn Fn(&str) + Send + Sync>;

/// Says how long differences may not be asked for yet; zero when they may. Others than this connection
/// call the same methods, and Telegram counts them all.
pub type WaitLeft = Box<dyn Fn() -> Duration + Send + Sync>;

/// Whether anybody wants what is said in the channel with this bare id.
pub type WantsChannel = Box<dyn Fn(i64) -> bool + Send + Sync>;

/// What a login is begun with.
#[derive(Clone, Debug)]
pub struct LoginSetup {
    /// The application that the key was made for, where that is not the daemon's own.
    pub api_id: Option<i32>,
    /// Says when a datacenter may be dialled.
    pub gate: DialGate,
}

/// Keeps the key of a login that moves to another datacenter, with its lease, before it is of any use
/// there: an answer that is lost afterwards is then no session that nobody has the key of.
pub type KeepKey = Arc<dyn Fn(Credentials, ConnectionLease) -> Kept + Send + Sync>;
/// Whether it is kept.
pub type Kept = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// The connection of one login: raw steps, each with a deadline. It follows the account to its datacenter. Never
/// sleeps, never tries again, never creates an account. Dropping it closes the sockets some time later;
/// [`LoginConnection::close`] tells when.
#[async_trait]
pub trait LoginConnection: Send + Sync {
    /// Has the key of every datacenter that it moves to kept before it is used there.
    fn keep_keys_by(&mut self, keep: KeepKey);

    /// The key and where it belongs, for the store; `None` before the first answer of Telegram's
    /// servers. Another one after a step that moved the login to another datacenter.
    fn credentials(&self) -> Option<Credentials>;

    /// The lease of the key, for whoever takes the account over.
    fn lease(&self) -> ConnectionLease;

    /// Closes the sockets; when this returns the key may be connected by others.
    async fn close(self: Box<Self>);

    /// Has Telegram send a code to `phone`.
    ///
    /// # Errors
    /// See [`LoginFailure`].
    async fn send_code(&mut self, phone: &SecretText) -> Result<Step, LoginFailure>;

    /// Has Telegram send the code in the next way it offers. Leads to [`Step::CodeSent`].
    ///
    /// # Errors
    /// [`LoginFailure::NoOtherWay`] when all were used; see the others there.
    async fn resend_code(&mut self, ticket: &CodeTicket) -> Result<Step, LoginFailure>;

    /// Gives the code. Leads to [`Step::SignedIn`] or [`Step::PasswordNeeded`].
    ///
    /// # Errors
    /// See [`LoginFailure`].
    async fn sign_in(
        &mut self,
        ticket: &CodeTicket,
        code: &SecretText,
    ) -> Result<Step, LoginFailure>;

    /// Checks the two-factor password.
    ///
    /// # Errors
    /// [`LoginFailure::PasswordInvalid`]; see the others there.
    async fn check_password(&mut self, password: &SecretText) -> Result<Step, LoginFailure>;

    /// Has Telegram mail a code to the account's recovery address, for a forgotten password. Leads to
    /// [`Step::RecoverySent`].
    ///
    /// # Errors
    /// [`LoginFailure::NoRecoveryMail`]; see the others there.
    async fn request_recovery(&mut self) -> Result<Step, LoginFailure>;

    /// Gives the code that was mailed, which takes the password away at Telegram. Leads to
    /// [`Step::SignedIn`].
    ///
    /// # Errors
    /// [`LoginFailure::CodeInvalid`], [`LoginFailure::RecoveryExpired`]; see the others there.
    async fn recover_password(&mut self, code: &SecretText) -> Result<Step, LoginFailure>;

    /// Asks whether Telegram waits for a password on this key, which it tells only then.
    ///
    /// # Errors
    /// [`LoginFailure::SessionEnded`] when it does not; see the others there.
    async fn awaited_password(&mut self) -> Result<Step, LoginFailure>;

    /// Logs a bot in by its token.
    ///
    /// # Errors
    /// [`LoginFailure::TokenInvalid`]; see the others there.
    async fn bot_sign_in(&mut self, token: &SecretText) -> Result<Step, LoginFailure>;

    /// Asks for a QR token, or, once it was scanned, for the account: leads to [`Step::Token`] until
    /// then, and to [`Step::SignedIn`] or [`Step::PasswordNeeded`] afterwards. May move the login to
    /// another datacenter.
    ///
    /// # Errors
    /// See [`LoginFailure`].
    async fn export_token(&mut self) -> Result<Step, LoginFailure>;

    /// Waits until the server says that the token was scanned, for `limit` at the most; answers
    /// whether it did. Nothing that comes meanwhile is lost if the future is dropped.
    ///
    /// # Errors
    /// [`LoginFailure::Other`] when the connection ended: whether it was scanned is then told by
    /// [`LoginConnection::export_token`], which connects anew.
    async fn wait_for_scan(&mut self, limit: Duration) -> Result<bool, LoginFailure>;

    /// Asks who is logged in.
    ///
    /// # Errors
    /// [`LoginFailure::SessionEnded`] when nobody is; see the others there.
    async fn who(&mut self) -> Result<SignedIn, LoginFailure>;

    /// Ends the session at Telegram; its key is of no use afterwards. That it was of none before is
    /// a success, too.
    ///
    /// # Errors
    /// See [`LoginFailure`].
    async fn log_out(&mut self) -> Result<(), LoginFailure>;
}

/// What is known of Telegram's clock. Asks nobody; [`Call::LearnTime`] has it asked.
pub trait ServerClock: Send + Sync {
    /// What time it is at Telegram, or a little earlier; `None` while that is not known, because
    /// no server was asked within the last ten minutes, or since our clock was set.
    fn telegrams_now(&self) -> Option<UnixMillis>;

    /// The same as well as it can be told; `None` while no server was ever asked.
    fn telegrams_now_roughly(&self) -> Option<UnixMillis>;

    /// The moment of Telegram's clock at which ours showed `wall`, and the steady one `steady` if
    /// that was noted. `None` while Telegram's time is not known.
    fn telegrams_moment(
        &self,
        wall: UnixMillis,
        steady: Option<SteadyMillis>,
    ) -> Option<UnixMillis>;
}
