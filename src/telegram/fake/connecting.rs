//! Connections of the fake: dialled, called over, followed, closed.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Ended, FakeTelegram, Method, News, Open, SILENCE, Then, silence};
use crate::protocol::accounts::record::Credentials;
use crate::protocol::logins::steps::LoginFailure;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::server_time::SteadyMillis;
use crate::protocol::tree::watchdog::Activity;
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};
use crate::telegram::batch::Batch;
use crate::telegram::call::Call;
use crate::telegram::lease::{ConnectionLease, HeldLease};
use crate::telegram::peers::PeerBook;
use crate::telegram::port::{
    AccountCaller, Connected, DialFailure, Following, LoginConnection, LoginSetup, Performed,
    ServerClock, TelegramClient, UnfollowedUpdates, UpdateStream,
};
use crate::telegram::pulse::Pulse;

/// How often a connection on which nothing comes is asked for a sign of life, as in `pump.rs`.
const SIGN_OF_LIFE: Duration = Duration::from_secs(18);

/// The sockets of a connection. Dropping it closes them, which may take a while; then the lease is given back.
pub(super) struct Socket {
    telegram: FakeTelegram,
    key: AuthKeyId,
    number: u64,
    pub(super) ended: Arc<Ended>,
    held: Option<HeldLease>,
}

impl Ended {
    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
    }

    /// Waits until it has ended.
    async fn wait(&self) {
        let told = self.told.notified();
        if !self.is_over.load(Ordering::SeqCst) {
            told.await;
        }
    }
}

impl Socket {
    pub(super) fn open(
        telegram: &FakeTelegram,
        key: AuthKeyId,
        held: HeldLease,
    ) -> (Self, mpsc::UnboundedReceiver<News>) {
        let (news, comes) = mpsc::unbounded_channel();
        let (mut state, ended) = (telegram.state(), Arc::<Ended>::default());
        state.opened += 1;
        let number = state.opened;
        if state.open.insert(key, Open { number, news }).is_some() {
            state.doubled.insert(key);
        }
        drop(state);
        (Self { telegram: telegram.clone(), key, number, ended, held: Some(held) }, comes)
    }

    /// Closes it and waits until it is.
    pub(super) async fn close(mut self) {
        let held = self.held.take();
        self.ended.end();
        let closing = self.telegram.state().closing;
        closed(self.telegram.clone(), self.key, self.number, held, closing).await;
    }
}

async fn closed(
    telegram: FakeTelegram,
    key: AuthKeyId,
    number: u64,
    held: Option<HeldLease>,
    closing: Duration,
) {
    tokio::time::sleep(closing).await;
    let mut state = telegram.state();
    if state.open.get(&key).is_some_and(|open| open.number == number) {
        state.open.remove(&key);
    }
    drop((state, held));
}

impl Drop for Socket {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        self.ended.end();
        let closing = self.telegram.state().closing;
        let ending = closed(self.telegram.clone(), self.key, self.number, Some(held), closing);
        // Without a runtime the sockets are gone with it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(ending);
        }
    }
}

fn unanswered(failure: Failure) -> DialFailure {
    DialFailure { failure, is_answered: false }
}

fn answered(failure: Failure) -> DialFailure {
    DialFailure { failure, is_answered: true }
}

#[async_trait]
impl TelegramClient for FakeTelegram {
    async fn connect(
        &self,
        credentials: &Credentials,
        _api_id: i32,
        lease: ConnectionLease,
    ) -> Result<Connected, DialFailure> {
        let key = credentials.account;
        let held = lease.hold().await.map_err(answered)?;
        let (socket, news) = Socket::open(self, key, held);
        match self.asked(Some(key), "dial", None).await {
            Then::World => {}
            Then::Silence | Then::DoneUnheard => return Err(unanswered(silence())),
            Then::Fail(failure) => return Err(answered(failure)),
            then => panic!("a dial cannot end with {then:?}"),
        }
        let me = self.state().people.get(&key).cloned();
        let unknown = || Failure::Dead { code: "AUTH_KEY_UNREGISTERED".into() };
        let me = me.ok_or_else(|| answered(unknown()))?;
        let pulse = Arc::new(Pulse::default());
        pulse.heard();
        let caller = FakeCaller { telegram: self.clone(), key, ended: Arc::clone(&socket.ended) };
        let updates = Box::new(Unfollowed { socket, news, pulse: Arc::clone(&pulse) });
        Ok(Connected { me, caller: Arc::new(caller), pulse, updates })
    }

    async fn begin_login(
        &self,
        setup: LoginSetup,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure> {
        self.open_login(setup).await
    }

    async fn resume_login(
        &self,
        setup: LoginSetup,
        credentials: &Credentials,
        lease: ConnectionLease,
    ) -> Result<Box<dyn LoginConnection>, LoginFailure> {
        self.reopen_login(setup, credentials.clone(), lease).await
    }

    fn check_datacenter(&self, dc_id: i32) -> Result<(), LoginFailure> {
        let is_known = (1..=5).contains(&dc_id);
        is_known.then_some(()).ok_or(LoginFailure::NoDatacenter { dc_id, is_own: true })
    }
}

/// The same as ours, once it was asked for.
impl ServerClock for FakeTelegram {
    fn telegrams_now(&self) -> Option<UnixMillis> {
        self.state().time_is_known.then(|| self.0.clock.now())
    }

    fn telegrams_now_roughly(&self) -> Option<UnixMillis> {
        self.telegrams_now()
    }

    fn telegrams_moment(&self, wall: UnixMillis, _: Option<SteadyMillis>) -> Option<UnixMillis> {
        self.telegrams_now().map(|_| wall)
    }
}

struct FakeCaller {
    telegram: FakeTelegram,
    key: AuthKeyId,
    ended: Arc<Ended>,
}

/// What a call is named in the script and in the book.
fn method(call: &Call) -> Method {
    match call {
        Call::Resolve(_) => "resolve",
        Call::Inspect(_) => "inspect",
        Call::LearnTime => "learn_time",
        Call::NewestBefore { .. } => "newest_before",
        Call::Position(_) => "position",
        Call::Since { .. } => "since",
        Call::History { .. } => "history",
        Call::Join(_) => "join",
        Call::ResolveTarget(_) => "resolve_target",
        Call::Rights(_) => "rights",
        Call::Send(_) => "send",
        Call::LogOut => "log_out",
        Call::LookAtFreeze => "look_at_freeze",
        Call::FindPerson(_) => "find_person",
        Call::AddContact(_) => "add_contact",
        Call::Invite { .. } => "invite",
        Call::Membership { .. } => "membership",
        Call::GroupRights(_) => "group_rights",
        Call::InviteLink { .. } => "invite_link",
        Call::LinkUses { .. } => "link_uses",
    }
}

#[async_trait]
impl AccountCaller for FakeCaller {
    async fn run(
        &self,
        call: &Call,
        peers: &Mutex<PeerBook>,
        _is_bot: bool,
    ) -> Result<Performed, Failure> {
        let asked = self.telegram.asked(Some(self.key), method(call), Some(call.clone()));
        let then = tokio::select! {
            biased;
            () = self.ended.wait() => return Err(Failure::transient("the connection ended")),
            then = asked => then,
        };
        let known = call
            .looks_for()
            .and_then(|person| peers.lock().unwrap_or_else(PoisonError::into_inner).get(person));
        let outcome = match then {
            Then::World => self.telegram.answer(self.key, call, known)?,
            Then::Find(outcome) => outcome,
            Then::Fail(failure) => return Err(failure),
            Then::Silence => return Err(silence()),
            Then::DoneUnheard => {
                self.telegram.answer(self.key, call, known)?;
                tokio::time::sleep(SILENCE).await;
                return Err(silence());
            }
            then => panic!("a call cannot end with {then:?}"),
        };
        let news = call.note_sought(&outcome, peers);
        Ok((outcome, news))
    }
}

struct Unfollowed {
    socket: Socket,
    news: mpsc::UnboundedReceiver<News>,
    pulse: Arc<Pulse>,
}

impl UnfollowedUpdates for Unfollowed {
    fn follow(self: Box<Self>, following: Following) -> Box<dyn UpdateStream> {
        let Self { socket, news, pulse } = *self;
        Box::new(Followed { news, pulse, following, _socket: socket })
    }
}

/// The socket goes last.
struct Followed {
    news: mpsc::UnboundedReceiver<News>,
    pulse: Arc<Pulse>,
    following: Following,
    _socket: Socket,
}

#[async_trait]
impl UpdateStream for Followed {
    async fn next(&mut self) -> Result<Batch, Failure> {
        loop {
            self.pulse.begin(Activity::Listening);
            let Ok(news) = timeout(SIGN_OF_LIFE, self.news.recv()).await else {
                // It was asked for, and came.
                self.pulse.heard();
                continue;
            };
            self.pulse.heard();
            match news {
                Some(News::Batch(batch)) => return Ok(batch),
                Some(News::Wait(code, seconds)) => (self.following.tell_wait)(&code, seconds),
                Some(News::Trouble(trouble)) => (self.following.tell_trouble)(trouble),
                Some(News::Frozen(code)) => (self.following.tell_frozen)(&code),
                Some(News::End(failure)) => return Err(failure),
                Some(News::Stall) => std::future::pending::<()>().await,
                Some(News::Panic) => panic!("following panics, as it was told to"),
                None => return Err(Failure::transient("the connection ended")),
            }
        }
    }
}
