//! One connection of one account: dialling with a deadline, calling with a deadline.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grammers_client::InvocationError;
use grammers_client::sender::{
    ConnectionParams, NoRetries, ReadError, SenderPool, SenderPoolHandle,
};
use grammers_client::session::updates::UpdatesLike;
use grammers_client::tl::{self, Deserializable, RemoteCall};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::clock::Clocks;
use super::error::{classify, classify_end, is_key_unknown};
use super::history::Narrowings;
use super::lease::{ConnectionLease, HeldLease};
use super::metrics::{CallMetrics, Unanswered};
use super::port::DialFailure;
use super::pulse::Pulse;
use super::sockets::Sockets;
use super::vault::{Servers, Vault};
use crate::clock::instant;
use crate::protocol::accounts::record::{Credentials, Me};
use crate::protocol::telegram::failure::Failure;
use crate::tasks;

/// How long a dial may take, from the socket to the first answer. The library has no limit.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take. Telegram answers within seconds or not at all.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Queued updates of one link: more than fit into one read of the library's 1 MiB buffer at the
/// 500 bytes of a usual update, because the library drops what does not fit and says nothing.
/// About 5.3 KiB each while queued, so 10.6 MiB at the very most.
const UPDATES_CAPACITY: NonZeroUsize = NonZeroUsize::new(2048).expect("2048 is not zero");
/// Second look at a key that the server does not know, before it is believed.
const KEY_UNKNOWN_PAUSE: Duration = Duration::from_secs(1);
/// How long the library may take to say goodbye before it is cut off.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Telegram's code for a key it does not know.
pub(super) const KEY_UNKNOWN: &str = "AUTH_KEY_UNREGISTERED";

/// What every dial needs besides the credentials.
#[derive(Clone, Debug)]
pub struct DialOptions {
    /// Where the datacenters are.
    pub servers: Servers,
    /// The application id (<https://core.telegram.org/api/obtaining_api_id>).
    pub api_id: i32,
    /// Where the time of calls is noted.
    pub metrics: CallMetrics,
    /// What is known of the servers' clocks.
    pub clocks: Clocks,
    /// The room for connections.
    pub sockets: Sockets,
}

/// A way to call Telegram over one link. Cheap to clone; ends with the link.
#[derive(Clone)]
pub(super) struct RawCaller {
    handle: SenderPoolHandle,
    dc_id: i32,
    pulse: Arc<Pulse>,
    metrics: CallMetrics,
    clocks: Clocks,
    address: Option<SocketAddr>,
    /// Why the connection ended, once it has.
    end: Arc<OnceLock<ReadError>>,
    narrowings: Narrowings,
}

impl RawCaller {
    /// How far it got with history that cannot be read.
    pub(super) fn narrowings(&self) -> &Narrowings {
        &self.narrowings
    }

    /// Sees to it that Telegram's time is known ([`Clocks::telegrams_now`]), if its server answers.
    pub(super) async fn learn_time(&self) {
        if let Some(address) = self.address {
            self.clocks.learn(address).await;
        }
    }

    /// Calls a method. Never sleeps, never retries; fails with [`Failure::Transient`] when the
    /// answer takes longer than [`CALL_TIMEOUT`].
    pub(super) async fn call<R: RemoteCall>(&self, request: &R) -> Result<R::Return, Failure> {
        self.call_within(request, CALL_TIMEOUT).await.map_err(CallError::classify)
    }

    /// The same with a limit of its own.
    pub(super) async fn call_for<R: RemoteCall>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Return, Failure> {
        self.call_within(request, limit).await.map_err(CallError::classify)
    }

    /// The same for those who have to tell a key that nobody knows, and silence, from the rest.
    pub(super) async fn call_keenly<R: RemoteCall>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Return, Unheard> {
        self.call_within(request, limit).await.map_err(|error| match error {
            CallError::Library(error) if is_key_unknown(&error) => Unheard::KeyUnknown,
            CallError::TimedOut(_) => Unheard::Silence(error.classify()),
            CallError::Library(_) => Unheard::Failed(error.classify()),
        })
    }

    /// The link's pulse.
    pub(super) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// Whether the connection has ended. The next call would make another one.
    pub(super) fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    /// Why the connection ended.
    pub(super) fn why_ended(&self) -> Failure {
        classify_end(self.end.get())
    }

    /// The failure of a call; or, where the connection ended under it because of something else that came,
    /// what that was. The call itself only hears that there is no connection any more.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        match (failure, self.why_ended()) {
            (Failure::Transient { .. }, why @ Failure::Unreadable { .. }) => why,
            (failure, _) => failure,
        }
    }

    /// The same, with the address that was dialled.
    fn located(&self, failure: Failure) -> Failure {
        match (failure, self.address) {
            (Failure::Transient { detail }, Some(address)) => {
                Failure::transient(format!("{detail} [{address}]"))
            }
            (failure, _) => failure,
        }
    }

    async fn call_within<R: RemoteCall>(
        &self,
        request: &R,
        limit: Duration,
    ) -> Result<R::Return, CallError> {
        let asked = instant();
        let answer = self.handle.raw_invoke_in_dc(self.dc_id, request.to_bytes());
        let Ok(answer) = timeout(limit, answer).await else {
            self.metrics.unanswered::<R>(Unanswered::Timeout, asked.elapsed());
            return Err(CallError::TimedOut(limit));
        };
        if matches!(answer, Ok(_) | Err(InvocationError::Rpc(_))) {
            self.metrics.answered::<R>(asked.elapsed());
            self.pulse.heard();
        } else {
            self.metrics.unanswered::<R>(Unanswered::Connection, asked.elapsed());
        }
        let body = answer.map_err(CallError::Library)?;
        R::Return::from_bytes(&body)
            .map_err(|error| CallError::Library(InvocationError::from(error)))
    }
}

/// Why [`RawCaller::call_keenly`] has no answer.
pub(super) enum Unheard {
    /// The server does not know the key, or would not agree on one.
    KeyUnknown,
    /// Nothing came in time.
    Silence(Failure),
    /// Everything else.
    Failed(Failure),
}

enum CallError {
    Library(InvocationError),
    TimedOut(Duration),
}

impl CallError {
    fn classify(self) -> Failure {
        match self {
            Self::Library(error) => classify(&error),
            Self::TimedOut(limit) => {
                Failure::transient(format!("telegram did not answer within {} s", limit.as_secs()))
            }
        }
    }
}

/// A live connection. Dropping it closes the sockets.
pub(super) struct Link {
    /// For calls.
    pub caller: RawCaller,
    /// Who Telegram says the account is.
    pub me: Me,
    updates: mpsc::Receiver<UpdatesLike>,
    connection: Connection,
}

/// The sockets of a link. Dropping it closes them, and only then gives the [`HeldLease`] back: a key
/// that is connected twice, if only for a moment, is one that Telegram ends.
pub(super) struct Connection {
    handle: SenderPoolHandle,
    runner: Option<JoinHandle<()>>,
    held: Option<Held>,
}

/// What a connection holds until its sockets are closed.
type Held = (HeldLease, OwnedSemaphorePermit);

impl Drop for Connection {
    fn drop(&mut self) {
        let (Some(runner), held) = (self.runner.take(), self.held.take()) else { return };
        self.handle.quit();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The runtime is gone, and the sockets with it.
            return;
        };
        runtime.spawn(end(runner, held));
    }
}

impl Connection {
    /// Closes the sockets and waits until they are.
    pub(super) async fn close(mut self) {
        let (Some(runner), held) = (self.runner.take(), self.held.take()) else { return };
        self.handle.quit();
        end(runner, held).await;
    }
}

async fn end(mut runner: JoinHandle<()>, held: Option<Held>) {
    if timeout(CLOSE_TIMEOUT, &mut runner).await.is_err() {
        runner.abort();
        let _ = runner.await;
    }
    drop(held);
}

/// What belongs to a connection: how to call, what comes unasked, and the sockets.
pub(super) type Wires = (RawCaller, mpsc::Receiver<UpdatesLike>, Connection);

/// Makes ready what the first call connects.
///
/// # Errors
/// [`Failure::Transient`] when there is no room for another connection.
pub(super) fn wire(
    options: &DialOptions,
    dc_id: i32,
    vault: Arc<Vault>,
    lease: HeldLease,
) -> Result<Wires, Failure> {
    let socket = options.sockets.take()?;
    let params = connection_params(options.servers.is_ipv6(dc_id));
    let pool = SenderPool::with_configuration(vault, options.api_id, params);
    let connection = Connection {
        handle: pool.handle.thin.clone(),
        runner: Some(tasks::brief(pool.runner.run())),
        held: Some((lease, socket)),
    };
    let (pulse, metrics) = (Arc::default(), options.metrics.clone());
    let (clocks, address) = (options.clocks.clone(), options.servers.address(dc_id));
    let (handle, end) = (pool.handle.thin, pool.handle.ended);
    let narrowings = Narrowings::default();
    let caller = RawCaller { handle, dc_id, pulse, metrics, clocks, address, end, narrowings };
    Ok((caller, pool.updates, connection))
}

impl Link {
    /// Connects, initialises and asks who the account is.
    ///
    /// # Errors
    /// [`Failure::Dead`] when the session is over, also when the server twice does not know the
    /// key; [`Failure::Transient`] when nobody answers within [`DIAL_TIMEOUT`].
    pub(super) async fn dial(
        options: &DialOptions,
        credentials: &Credentials,
        lease: ConnectionLease,
    ) -> Result<Self, DialFailure> {
        if let Err(error) = options.servers.check(credentials.dc_id) {
            let failure = Failure::transient(error.to_string());
            return Err(DialFailure { failure, is_answered: true });
        }
        match Self::dial_once(options, credentials, lease.clone()).await {
            Err(DialError::Silent(failure)) => {
                let failure = Self::explain_silence(options, credentials.dc_id, failure).await;
                Err(DialError::Lost(failure))
            }
            Err(DialError::KeyUnknown) => {
                tokio::time::sleep(KEY_UNKNOWN_PAUSE).await;
                Self::dial_once(options, credentials, lease).await
            }
            outcome => outcome,
        }
        .map_err(|error| match error {
            DialError::KeyUnknown => {
                let failure = Failure::Dead { code: KEY_UNKNOWN.into() };
                DialFailure { failure, is_answered: true }
            }
            DialError::Silent(failure) | DialError::Lost(failure) => {
                DialFailure { failure, is_answered: false }
            }
            DialError::Failed(failure) => DialFailure { failure, is_answered: true },
        })
    }

    /// Why a server that takes connections may say nothing, as far as that can be found out.
    pub(super) async fn explain_silence(
        options: &DialOptions,
        dc_id: i32,
        silence: Failure,
    ) -> Failure {
        let Some(address) = options.servers.address(dc_id) else { return silence };
        match options.clocks.too_far_ahead(address).await {
            Some(ahead) => Failure::transient(format!(
                "this machine's clock is about {ahead} s ahead of telegram's, which answers nobody \
                 who is more than 30 s ahead; set the clock right and keep it so by NTP (chrony or \
                 systemd-timesyncd)"
            )),
            None => silence,
        }
    }

    async fn dial_once(
        options: &DialOptions,
        credentials: &Credentials,
        lease: ConnectionLease,
    ) -> Result<Self, DialError> {
        let lease = lease.hold().await.map_err(DialError::Failed)?;
        let vault = Arc::new(Vault::new(&options.servers, credentials));
        let (caller, updates, connection) =
            wire(options, credentials.dc_id, vault, lease).map_err(DialError::Failed)?;
        let me = ask_who(&caller).await?;
        Ok(Self { caller, me, updates, connection })
    }

    /// Splits the link into its parts.
    pub(super) fn into_parts(self) -> (RawCaller, RawUpdates, Connection) {
        (self.caller, RawUpdates(self.updates), self.connection)
    }
}

/// The library's side of an update stream, for [`super::UpdatePump`].
pub(super) struct RawUpdates(pub(super) mpsc::Receiver<UpdatesLike>);

enum DialError {
    KeyUnknown,
    /// No answer came in time.
    Silent(Failure),
    /// There was no connection, or it ended before an answer.
    Lost(Failure),
    Failed(Failure),
}

async fn ask_who(caller: &RawCaller) -> Result<Me, DialError> {
    let request = tl::functions::users::GetUsers { id: vec![tl::enums::InputUser::UserSelf] };
    let users = match caller.call_within(&request, DIAL_TIMEOUT).await {
        Ok(users) => users,
        Err(CallError::Library(error)) if is_key_unknown(&error) => {
            return Err(DialError::KeyUnknown);
        }
        Err(error @ CallError::TimedOut(_)) => return Err(DialError::Silent(error.classify())),
        Err(error @ CallError::Library(InvocationError::Rpc(_))) => {
            return Err(DialError::Failed(error.classify()));
        }
        Err(error) => {
            return Err(DialError::Lost(caller.located(caller.explain(error.classify()))));
        }
    };
    match users.into_iter().next() {
        Some(tl::enums::User::User(user)) => Ok(me_of(user)),
        Some(tl::enums::User::Empty(_)) | None => {
            Err(DialError::Failed(Failure::transient("the server does not say who we are")))
        }
    }
}

pub(super) fn me_of(user: tl::types::User) -> Me {
    let tl::types::User { id: user_id, bot: is_bot, username, first_name, .. } = user;
    Me { user_id, is_bot, username, first_name }
}

/// Explicit in every field: the library's defaults run `lsb_release` and `getconf` for each
/// account and tell Telegram the host's operating system. The identity must stay stable, because
/// a session whose device keeps changing looks stolen.
fn connection_params(use_ipv6: bool) -> ConnectionParams {
    ConnectionParams {
        device_model: "telewarden".into(),
        system_version: "1".into(),
        app_version: env!("CARGO_PKG_VERSION").into(),
        system_lang_code: "en".into(),
        lang_code: "en".into(),
        use_ipv6,
        retry_policy: Box::new(NoRetries),
        updates_channel_capacity: UPDATES_CAPACITY,
        __non_exhaustive: (),
    }
}
