//! One account: keeps its connection as the state machine says, runs its errands one bounded,
//! paced queue, and tells its monitors when it comes and goes. It never touches another account.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, MessagingErr};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::board::AccountView;
use super::context::{Context, jitter, now};
use super::errands::{ErrandQueue, Next, Request};
use super::fleet::FleetMsg;
use super::link::{LinkTask, Routes};
use super::monitor::MonitorMsg;
use crate::failpoint;
use crate::protocol::account::{AccountMachine, AccountState, Effect, Input};
use crate::protocol::chat::{ChatKey, MarkedId};
use crate::protocol::failure::Failure;
use crate::protocol::ids::{AuthKeyId, UnixMillis};
use crate::protocol::model::{AccountRecord, CooldownScope, Credentials, Fault, MethodClass};
use crate::protocol::pacing::{Cooldowns, LIMITED_REST_MS, WAIT_MARGIN_MS};
use crate::store::{Op, Store, StoreError};
use crate::telegram::{
    Caller, DialOptions, Finding, Link, PEERS_MAX, PeerBook, TellWait, UpdatePump,
};

/// A connection that holds this long is stable: failures before it are forgiven.
const SETTLE_AFTER: Duration = Duration::from_secs(20);
/// An account that nobody needs is hung up after this long, so that a monitor which moves from
/// one session to another and back does not make it dial again.
const LINGER: Duration = Duration::from_secs(5);

/// After this many panics of the library in a row the update state is left behind.
const PANICS_MAX: u32 = 2;

/// The actor.
pub(super) struct Account;

/// What it is started with.
pub(super) struct AccountArgs {
    pub(super) context: Arc<Context>,
    pub(super) fleet: ActorRef<FleetMsg>,
    pub(super) record: AccountRecord,
    pub(super) api_id: i32,
    pub(super) interests: HashMap<ChatKey, Interest>,
    /// One permit: the right to be connected with this key.
    pub(super) slot: Arc<Semaphore>,
}

/// A monitor that wants this account.
#[derive(Clone)]
pub(super) struct Interest {
    pub(super) monitor: ActorRef<MonitorMsg>,
    /// The chat's marked id, once it is known.
    pub(super) chat: Option<MarkedId>,
}

/// Its messages.
pub(super) enum AccountMsg {
    /// Bring it up for those who were interested before it was started.
    Begin,
    /// A monitor wants it.
    Watch { key: ChatKey, interest: Interest },
    /// A monitor wants it no more, or is gone.
    Unwatch { key: ChatKey, monitor: ActorId },
    /// A monitor learnt what its chat is.
    Follow { key: ChatKey, chat: MarkedId },
    /// Try a dead session once more: a command names it anew.
    Forgive,
    /// Run an errand.
    Request(Request),
    /// A dial ended.
    DialEnded { incarnation: u64, outcome: Result<Box<Link>, Failure> },
    /// The link ended.
    LinkEnded { incarnation: u64, failure: Failure },
    /// The library panicked while dialling or following updates.
    Panicked { incarnation: u64 },
    /// The link has held for a while.
    Settled { incarnation: u64 },
    /// The pause before the next dial is over.
    RetryDue { incarnation: u64 },
    /// Telegram asks to wait before updates are asked for again.
    UpdatesWait { code: String, seconds: u32 },
    /// An errand ended.
    ErrandEnded { incarnation: u64, request: Request, outcome: Result<Finding, Failure> },
    /// Something in the queue may run now.
    Wake,
    /// Nobody has needed it for a while.
    LingerOver { epoch: u64 },
}

struct Live {
    caller: Caller,
    /// Follows the updates.
    task: Option<AbortOnDropHandle<()>>,
}

/// Its state.
pub(super) struct AccountActor {
    context: Arc<Context>,
    fleet: ActorRef<FleetMsg>,
    record: AccountRecord,
    api_id: i32,
    slot: Arc<Semaphore>,
    interests: HashMap<ChatKey, Interest>,
    machine: AccountMachine,
    /// Number of the newest dial; what older ones still send is recognised by it.
    incarnation: u64,
    dial: Option<AbortOnDropHandle<()>>,
    live: Option<Live>,
    routes: Arc<Routes>,
    peers: Arc<Mutex<PeerBook>>,
    queue: ErrandQueue,
    cooldowns: Cooldowns,
    last_failure: Option<Failure>,
    linger_epoch: u64,
    /// The one timer for what has to wait in the queue.
    wake: Option<AbortOnDropHandle<Result<(), MessagingErr<AccountMsg>>>>,
    /// Whether `record` differs from what the store was given.
    changed: bool,
    /// Panics of the library in a row.
    panics: u32,
}

impl Actor for Account {
    type Msg = AccountMsg;
    type State = AccountActor;
    type Arguments = AccountArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<AccountMsg>,
        args: AccountArgs,
    ) -> Result<AccountActor, ActorProcessingErr> {
        myself.cast(AccountMsg::Begin)?;
        Ok(AccountActor::new(args)?)
    }

    async fn handle(
        &self,
        myself: ActorRef<AccountMsg>,
        message: AccountMsg,
        state: &mut AccountActor,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AccountMsg::Begin => state.begin(&myself).await,
            AccountMsg::Watch { key, interest } => state.watch(&myself, key, interest).await,
            AccountMsg::Unwatch { key, monitor } => state.unwatch(&myself, &key, monitor),
            AccountMsg::Follow { key, chat } => state.follow(key, chat),
            AccountMsg::Forgive => state.forgive(&myself).await,
            AccountMsg::Request(request) => state.request(&myself, request).await,
            AccountMsg::DialEnded { incarnation, outcome } => {
                state.dial_ended(&myself, incarnation, outcome).await
            }
            AccountMsg::LinkEnded { incarnation, failure } => {
                state.link_ended(&myself, incarnation, failure).await
            }
            AccountMsg::Panicked { incarnation } => state.panicked(&myself, incarnation).await,
            AccountMsg::Settled { incarnation } if state.is_current(incarnation) => {
                state.panics = 0;
                state.step(&myself, Input::Settled).await
            }
            AccountMsg::RetryDue { incarnation } if state.is_current(incarnation) => {
                state.step(&myself, Input::RetryDue).await
            }
            AccountMsg::Settled { .. } | AccountMsg::RetryDue { .. } => Ok(()),
            AccountMsg::ErrandEnded { incarnation, request, outcome } => {
                state.errand_ended(&myself, incarnation, request, outcome).await
            }
            AccountMsg::UpdatesWait { code, seconds } => {
                state.wait(MethodClass::Updates, &code, seconds);
                state.show();
                Ok(())
            }
            AccountMsg::Wake => {
                state.run_errands(&myself);
                state.show();
                Ok(())
            }
            AccountMsg::LingerOver { epoch } => state.linger_over(&myself, epoch).await,
        }?;
        state.save_if_changed().await
    }
}

impl AccountActor {
    fn new(args: AccountArgs) -> Result<Self, StoreError> {
        let AccountArgs { context, fleet, record, api_id, interests, slot } = args;
        let fault = record.fault.as_ref().map(|fault| fault.code.clone());
        let routes = Arc::new(Routes::default());
        for (key, interest) in &interests {
            if let Some(chat) = interest.chat {
                routes.add(chat, key.clone(), interest.monitor.clone());
            }
        }
        let peers = PeerBook::new(context.store.peers(record.id, PEERS_MAX)?);
        Ok(Self {
            machine: AccountMachine::new(context.settings.reconnect, fault),
            queue: ErrandQueue::new(context.settings.limits),
            cooldowns: Cooldowns::new(record.cooldowns.clone()),
            peers: Arc::new(Mutex::new(peers)),
            context,
            fleet,
            record,
            api_id,
            slot,
            interests,
            incarnation: 0,
            dial: None,
            live: None,
            routes,
            last_failure: None,
            linger_epoch: 0,
            wake: None,
            changed: false,
            panics: 0,
        })
    }

    fn is_current(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation
    }

    async fn begin(&mut self, myself: &ActorRef<AccountMsg>) -> Result<(), ActorProcessingErr> {
        if self.interests.is_empty() {
            self.arm_linger(myself);
            return Ok(());
        }
        self.step(myself, Input::Wanted).await
    }

    async fn watch(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        key: ChatKey,
        interest: Interest,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(chat) = interest.chat {
            self.routes.add(chat, key.clone(), interest.monitor.clone());
        }
        let monitor = interest.monitor.clone();
        self.interests.insert(key, interest);
        self.linger_epoch += 1;
        // Those who were told already must not hear it again: only the newcomer is answered.
        if self.live.is_some() {
            self.tell_up(&monitor, myself);
            return Ok(());
        }
        if let Some(fault) = &self.record.fault {
            let dead = Failure::Dead { code: fault.code.clone() };
            self.tell_down(&monitor, &dead);
            return Ok(());
        }
        self.step(myself, Input::Wanted).await
    }

    fn unwatch(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        key: &ChatKey,
        monitor: ActorId,
    ) -> Result<(), ActorProcessingErr> {
        self.routes.remove(monitor);
        // The chat may have another monitor by now.
        if self.interests.get(key).is_some_and(|interest| interest.monitor.get_id() == monitor) {
            self.interests.remove(key);
        }
        if self.interests.is_empty() {
            self.arm_linger(myself);
        }
        Ok(())
    }

    fn follow(&mut self, key: ChatKey, chat: MarkedId) -> Result<(), ActorProcessingErr> {
        if let Some(interest) = self.interests.get_mut(&key) {
            interest.chat = Some(chat);
            self.routes.add(chat, key, interest.monitor.clone());
        }
        Ok(())
    }

    async fn forgive(&mut self, myself: &ActorRef<AccountMsg>) -> Result<(), ActorProcessingErr> {
        if self.record.fault.take().is_some() {
            self.step(myself, Input::Forgive).await?;
            self.changed = true;
        }
        Ok(())
    }

    async fn request(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        request: Request,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(fault) = &self.record.fault {
            request.reply.send(Err(Failure::Dead { code: fault.code.clone() }));
            return Ok(());
        }
        self.queue.push(request);
        self.linger_epoch += 1;
        if self.live.is_none() {
            self.step(myself, Input::Wanted).await?;
        }
        self.run_errands(myself);
        Ok(())
    }

    /// Feeds the machine and performs what it says.
    async fn step(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        input: Input,
    ) -> Result<(), ActorProcessingErr> {
        for effect in self.machine.step(input, jitter()) {
            self.perform(myself, effect).await?;
        }
        self.show();
        Ok(())
    }

    async fn perform(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        effect: Effect,
    ) -> Result<(), ActorProcessingErr> {
        match effect {
            Effect::Dial => self.dial(myself)?,
            Effect::HangUp => self.hang_up(),
            Effect::RetryAfter { ms } => {
                let incarnation = self.incarnation;
                let due = move || AccountMsg::RetryDue { incarnation };
                myself.send_after(Duration::from_millis(ms), due);
            }
            Effect::TellUp => self.tell_all_up(myself),
            Effect::TellDown { .. } => {
                let failure = self.why();
                for interest in self.interests.values() {
                    self.tell_down(&interest.monitor, &failure);
                }
                self.queue.refuse_all(&failure);
                if self.interests.is_empty() {
                    self.arm_linger(myself);
                }
            }
            Effect::Bury { code } => {
                tracing::error!(account = %self.record.id, code, "telegram ended this session; it is not dialled again");
                self.record.fault = Some(Fault { code, since: now() });
                self.changed = true;
            }
        }
        Ok(())
    }

    fn dial(&mut self, myself: &ActorRef<AccountMsg>) -> Result<(), ActorProcessingErr> {
        self.incarnation += 1;
        let incarnation = self.incarnation;
        let Some(credentials) = self.context.store.credentials(self.record.id)? else {
            let failure = Failure::Dead { code: "AUTH_KEY_UNREGISTERED".into() };
            myself.cast(AccountMsg::DialEnded { incarnation, outcome: Err(failure) })?;
            return Ok(());
        };
        let options =
            DialOptions { servers: self.context.settings.servers.clone(), api_id: self.api_id };
        let (permits, slot) = (self.context.dials.to(credentials.dc_id), Arc::clone(&self.slot));
        let target = myself.clone();
        // A wait that Telegram asked for while connecting is kept also by whoever dials after a
        // restart, or because somebody wants the account anew.
        let left = self.left_to_wait(MethodClass::Auth);
        let task = async move {
            sleep(left).await;
            let outcome = dial_with_permit(&permits, &options, &credentials, slot).await;
            let outcome = outcome.map(Box::new);
            let _ = target.cast(AccountMsg::DialEnded { incarnation, outcome });
        };
        self.dial = Some(AbortOnDropHandle::new(supervised(myself, incarnation, task)));
        Ok(())
    }

    fn hang_up(&mut self) {
        self.incarnation += 1;
        self.dial = None;
        self.live = None;
        self.queue.forget_under_way();
    }

    async fn dial_ended(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        incarnation: u64,
        outcome: Result<Box<Link>, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(incarnation) {
            return Ok(());
        }
        self.dial = None;
        match outcome {
            Ok(link) => {
                let following = self.go_live(myself, *link)?;
                self.last_failure = None;
                self.step(myself, Input::Connected).await?;
                // Only now, so that every monitor hears of the new link before its first message:
                // what was said in between is read from history first.
                if let Some(live) = &mut self.live {
                    let task = supervised(myself, incarnation, following);
                    live.task = Some(AbortOnDropHandle::new(task));
                }
                self.run_errands(myself);
            }
            Err(failure) => {
                tracing::info!(account = %self.record.id, error = %failure, "dialling failed");
                self.lost(myself, failure).await?;
            }
        }
        Ok(())
    }

    /// Makes the new link the current one; answers the work of following its updates.
    fn go_live(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        link: Link,
    ) -> Result<impl Future<Output = ()> + Send + use<>, ActorProcessingErr> {
        if self.record.me.as_ref() != Some(&link.me) {
            self.record.me = Some(link.me.clone());
            self.changed = true;
        }
        let is_bot = link.me.is_bot;
        let incarnation = self.incarnation;
        let mut stored = self.context.store.update_state(self.record.id)?;
        if self.panics >= PANICS_MAX {
            // What the library cannot digest would come again with the same state. Start from
            // now; the monitors fetch from history what lies between.
            stored = None;
            self.panics = 0;
        }
        if let Some(state) = &mut stored
            && !is_bot
        {
            // What a user missed in a channel is read from its history by the monitor; only bots,
            // which cannot read history, depend on the channel's difference.
            state.channels.clear();
        }
        let (caller, updates, connection) = link.into_parts();
        let account = myself.clone();
        let tell: TellWait = Box::new(move |code, seconds| {
            let _ = account.cast(AccountMsg::UpdatesWait { code: code.to_owned(), seconds });
        });
        let pump =
            UpdatePump::new(caller.clone(), updates, stored, Arc::clone(&self.peers), is_bot, tell);
        let (store, routes) = (self.context.store.clone(), Arc::clone(&self.routes));
        let task = LinkTask::new(self.record.id, store, routes, is_bot);
        let target = myself.clone();
        let left = self.left_to_wait(MethodClass::Updates);
        let follow = async move {
            sleep(left).await;
            let failure = task.run(pump).await;
            drop(connection);
            let _ = target.cast(AccountMsg::LinkEnded { incarnation, failure });
        };
        self.live = Some(Live { caller, task: None });
        myself.send_after(SETTLE_AFTER, move || AccountMsg::Settled { incarnation });
        Ok(follow)
    }

    async fn link_ended(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        incarnation: u64,
        failure: Failure,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(incarnation) {
            return Ok(());
        }
        tracing::info!(account = %self.record.id, error = %failure, "the connection ended");
        self.lost(myself, failure).await
    }

    async fn panicked(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        incarnation: u64,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(incarnation) {
            return Ok(());
        }
        self.panics += 1;
        tracing::error!(account = %self.record.id, in_a_row = self.panics, "the telegram library panicked");
        self.lost(myself, Failure::transient("the telegram library failed (panic)")).await
    }

    async fn lost(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        failure: Failure,
    ) -> Result<(), ActorProcessingErr> {
        if let Failure::Wait { code, seconds, .. } = &failure {
            self.wait(MethodClass::Auth, code, *seconds);
        }
        self.last_failure = Some(failure.clone());
        self.step(myself, Input::Lost(failure)).await
    }

    fn is_bot(&self) -> bool {
        self.record.me.as_ref().is_some_and(|me| me.is_bot)
    }

    fn tell_all_up(&self, myself: &ActorRef<AccountMsg>) {
        for interest in self.interests.values() {
            self.tell_up(&interest.monitor, myself);
        }
    }

    fn tell_up(&self, monitor: &ActorRef<MonitorMsg>, myself: &ActorRef<AccountMsg>) {
        let (account, is_bot) = (self.record.id, self.is_bot());
        let message = MonitorMsg::SourceUp { account, actor: myself.clone(), is_bot };
        let _ = monitor.cast(message);
    }

    fn tell_down(&self, monitor: &ActorRef<MonitorMsg>, failure: &Failure) {
        let failure = failure.clone();
        let _ = monitor.cast(MonitorMsg::SourceLost { account: self.record.id, failure });
    }

    /// Why the account is down, as monitors and callers are told.
    fn why(&self) -> Failure {
        match (&self.record.fault, &self.last_failure) {
            (Some(fault), _) => Failure::Dead { code: fault.code.clone() },
            (None, Some(Failure::Transient { detail })) => Failure::transient(detail.clone()),
            (None, Some(failure)) => Failure::transient(failure.to_string()),
            (None, None) => Failure::transient("the account is not connected"),
        }
    }

    /// Starts what may run; sets a timer for what may not yet.
    fn run_errands(&mut self, myself: &ActorRef<AccountMsg>) {
        let Some(live) = &self.live else { return };
        loop {
            match self.queue.next(&self.cooldowns, now()) {
                Next::Run(request) => {
                    let (incarnation, store) = (self.incarnation, self.context.store.clone());
                    let work = Work {
                        account: self.record.id,
                        caller: live.caller.clone(),
                        peers: Arc::clone(&self.peers),
                        is_bot: self.is_bot(),
                        store,
                    };
                    tokio::spawn(work.run(request, myself.clone(), incarnation));
                }
                Next::Later(pause) => {
                    let timer = myself.send_after(pause, || AccountMsg::Wake);
                    self.wake = Some(AbortOnDropHandle::new(timer));
                    return;
                }
                Next::Idle => return,
            }
        }
    }

    async fn errand_ended(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        incarnation: u64,
        request: Request,
        outcome: Result<Finding, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        let current = self.is_current(incarnation);
        if current {
            self.queue.finished();
        }
        match outcome {
            Err(Failure::Wait { code, seconds, .. }) => {
                self.wait(request.errand.class(), &code, seconds);
                self.queue.put_back(request);
            }
            Err(Failure::Limited) => {
                let until = now().plus_ms(LIMITED_REST_MS);
                self.impose(CooldownScope::Account, until);
                request.reply.send(Err(Failure::Limited));
            }
            Err(failure @ Failure::Dead { .. }) => {
                request.reply.send(Err(failure.clone()));
                if current {
                    self.lost(myself, failure).await?;
                }
            }
            outcome => request.reply.send(outcome),
        }
        self.run_errands(myself);
        if self.interests.is_empty() && self.queue.is_idle() {
            self.arm_linger(myself);
        }
        self.show();
        Ok(())
    }

    /// What is left of a wait that Telegram asked for, maybe in an earlier life.
    fn left_to_wait(&self, class: MethodClass) -> Duration {
        let at = now();
        let left = self.cooldowns.holds(class, at).map_or(0, |until| until.0 - at.0);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    fn wait(&mut self, class: MethodClass, code: &str, seconds: u32) {
        tracing::warn!(account = %self.record.id, ?class, code, seconds, "telegram asks to wait");
        let until = now().plus_ms(i64::from(seconds) * 1_000 + WAIT_MARGIN_MS);
        self.impose(CooldownScope::Class(class), until);
    }

    fn impose(&mut self, scope: CooldownScope, until: UnixMillis) {
        self.cooldowns.impose(scope, until, now());
        self.record.cooldowns = self.cooldowns.current(now());
        self.changed = true;
    }

    async fn save_if_changed(&mut self) -> Result<(), ActorProcessingErr> {
        if std::mem::take(&mut self.changed) {
            let op = Op::PutAccount(self.record.clone());
            failpoint::reach("account.save.before");
            self.context.store.submit(vec![op], |_| {}).await?;
            failpoint::reach("account.save.after");
        }
        Ok(())
    }

    fn arm_linger(&mut self, myself: &ActorRef<AccountMsg>) {
        self.linger_epoch += 1;
        let epoch = self.linger_epoch;
        myself.send_after(LINGER, move || AccountMsg::LingerOver { epoch });
    }

    async fn linger_over(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        epoch: u64,
    ) -> Result<(), ActorProcessingErr> {
        let needed = !self.interests.is_empty() || !self.queue.is_idle();
        if needed || epoch != self.linger_epoch {
            return Ok(());
        }
        self.step(myself, Input::Unwanted).await?;
        self.context.board.account_rests(self.record.id);
        self.fleet.cast(FleetMsg::Rests { account: self.record.id })?;
        Ok(())
    }

    fn show(&self) {
        let at = now();
        let state = match self.machine.state() {
            AccountState::Active if self.cooldowns.is_limited(at) => AccountState::Limited,
            AccountState::Active if self.cooldowns.is_cooling(at) => AccountState::CoolingDown,
            state => state,
        };
        let failure = match &self.record.fault {
            Some(fault) => Some(Failure::Dead { code: fault.code.clone() }),
            None => self.last_failure.clone(),
        };
        let view = AccountView {
            state,
            since: at,
            error: failure.map(|failure| (failure.code().to_owned(), failure.to_string())),
            failures: self.machine.failures(),
        };
        self.context.board.account(self.record.id, view);
    }
}

async fn dial_with_permit(
    permits: &Semaphore,
    options: &DialOptions,
    credentials: &Credentials,
    slot: Arc<Semaphore>,
) -> Result<Link, Failure> {
    let permit = permits.acquire().await;
    let _permit = permit.map_err(|_| Failure::transient("the daemon is stopping"))?;
    Link::dial(options, credentials, slot).await
}

/// Runs a link's task so that its panic is the end of that link and of nothing else.
fn supervised(
    myself: &ActorRef<AccountMsg>,
    incarnation: u64,
    task: impl Future<Output = ()> + Send + 'static,
) -> tokio::task::JoinHandle<()> {
    let target = myself.clone();
    tokio::spawn(async move {
        let inner = AbortOnDropHandle::new(tokio::spawn(task));
        if inner.await.is_err_and(|error| error.is_panic()) {
            let _ = target.cast(AccountMsg::Panicked { incarnation });
        }
    })
}

/// An errand under way.
struct Work {
    account: AuthKeyId,
    caller: Caller,
    peers: Arc<Mutex<PeerBook>>,
    is_bot: bool,
    store: Store,
}

impl Work {
    async fn run(self, request: Request, myself: ActorRef<AccountMsg>, incarnation: u64) {
        let errand = request.errand.clone();
        let Self { account, caller, peers, is_bot, store } = self;
        let attempt = tokio::spawn(async move { errand.run(&caller, &peers, is_bot).await }).await;
        let outcome = match attempt {
            Ok(Ok((finding, news))) => {
                if !news.is_empty() {
                    let op = Op::PutPeers { account, peers: news };
                    let _ = store.submit(vec![op], |_| {}).await;
                }
                Ok(finding)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::transient("the telegram library failed (panic)")),
        };
        let _ = myself.cast(AccountMsg::ErrandEnded { incarnation, request, outcome });
    }
}
