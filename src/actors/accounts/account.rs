//! One account: keeps its connection as the state machine says, runs its calls one bounded,
//! paced queue, and tells its monitors when it comes and goes. It never touches another account.

mod doubt;
mod freeze;
mod latest;
mod link_life;
mod standing;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use doubt::StateDoubt;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::actors::tree::actor::{
    Actor, ActorId, ActorProcessingErr, ActorRef, MessagingErr, named,
};

pub(in crate::actors) use latest::LatestRecord;
use link_life::Dialled;
use standing::ConnectionReason;

use super::calls::{CallQueue, Request};
use super::fleet::{FleetMsg, Released};
use super::link::Routes;
use super::watchdog::Watch;
use crate::actors::accounts::context::AccountsContext;
use crate::actors::accounts::listener::{Listener, ListenerMsg};
use crate::actors::tree::status::AccountView;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::accounts::connection::{
    AccountMachine, AccountState, Effect, Input, Standing,
};
use crate::protocol::accounts::record::{AccountRecord, DeadSession};
use crate::protocol::telegram::chat::{ChatKey, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::freeze::Frozen;
use crate::protocol::telegram::pacing::FloodWaits;
use crate::protocol::telegram::pacing::MethodClass;
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};
use crate::store::Op;
use crate::telegram::{AccountCaller, ConnectionLease, Outcome, PeerBook};

/// An account that nobody needs is hung up after this long, so that a monitor which moves from
/// one session to another and back does not make it dial again.
const LINGER: Duration = Duration::from_secs(5);

/// The error of an account whose link works and cannot get what was missed.
const UPDATES_FAILING: &str = "UPDATES_FAILING";
/// By when a monitor has been given the new key of its account.
pub(in crate::actors) const FOLLOWED_WITHIN: Duration = Duration::from_secs(30);

/// The actor.
pub(in crate::actors) struct Account;

/// What it is started with.
pub(in crate::actors) struct AccountArgs {
    pub(in crate::actors) context: Arc<AccountsContext>,
    pub(in crate::actors) fleet: ActorRef<FleetMsg>,
    pub(in crate::actors) latest: LatestRecord,
    /// The session ids under which it is known, for the log.
    pub(in crate::actors) names: Vec<String>,
    pub(in crate::actors) api_id: i32,
    pub(in crate::actors) subscriptions: HashMap<ChatKey, Subscription>,
    pub(in crate::actors) standing: Standing,
    /// One permit: the right to be connected with this key.
    pub(in crate::actors) lease: ConnectionLease,
}

/// A monitor that wants this account.
#[derive(Clone)]
pub(in crate::actors) struct Subscription {
    pub(in crate::actors) monitor: Listener,
    /// The chat's marked id, once it is known.
    pub(in crate::actors) chat: Option<MarkedId>,
}

impl Subscription {
    /// Tells the monitor that there is no such account any more. One that logged in anew goes on: the
    /// monitor is given its new key, and hears of a loss only should that not come.
    pub(in crate::actors) fn lose(self, account: AuthKeyId, why: Released) {
        match why {
            Released::Removed => {
                let failure = Failure::Removed;
                let _ = self.monitor.cast(ListenerMsg::SourceLost { account, failure });
            }
            Released::Replaced => {
                let text =
                    "the account logged in anew, and the monitor was not given its new session";
                let failure = Failure::transient(text);
                let lost = move || ListenerMsg::SourceLost { account, failure };
                self.monitor.send_after(FOLLOWED_WITHIN, lost);
            }
        }
    }
}

/// Its messages.
pub(in crate::actors) enum AccountMsg {
    /// Bring it up for those who were interested before it was started.
    Begin,
    /// A monitor wants it.
    Watch { key: ChatKey, subscription: Subscription },
    /// A monitor wants it no more, or is gone.
    Unwatch { key: ChatKey, monitor: ActorId },
    /// A monitor learnt what its chat is.
    Follow { key: ChatKey, chat: MarkedId },
    /// Try a dead session once more: a command names it anew.
    Retry,
    /// Its user holds it, lets it go on, or gives it up.
    Stand(Standing),
    /// Connect anew, also a session that Telegram had ended.
    Redial,
    /// Run a call.
    Request(Request),
    /// A dial ended.
    DialEnded { incarnation: u64, outcome: Result<Box<Dialled>, Failure> },
    /// The link ended.
    LinkEnded { incarnation: u64, failure: Failure },
    /// The library panicked while dialling or following updates.
    Panicked { incarnation: u64 },
    /// The link has held for a while.
    Settled { incarnation: u64 },
    /// It is time to look whether the link gets on.
    CheckUp { incarnation: u64 },
    /// The pause before the next dial is over.
    RetryDue { incarnation: u64 },
    /// Telegram asks to wait before updates are asked for again.
    UpdatesWait { code: String, seconds: u32 },
    /// What updates cannot be had although the link works; `None`: all is well again.
    UpdatesTrouble { incarnation: u64, trouble: Option<String> },
    /// The link was told that the account is frozen.
    Frozen { code: String },
    /// It is time to look whether it still is frozen.
    LookAtFreeze,
    /// That look ended.
    FreezeSeen { outcome: Result<Outcome, Failure> },
    /// A call ended.
    CallEnded { incarnation: u64, request: Request, outcome: Result<Outcome, Failure> },
    /// Something in the queue may run now.
    Wake,
    /// Nobody has needed it for a while.
    LingerOver { epoch: u64 },
}

named!(AccountMsg: Begin, Watch, Unwatch, Follow, Retry, Stand, Redial, Request, DialEnded, LinkEnded, Panicked, Settled, CheckUp, RetryDue, UpdatesWait, UpdatesTrouble, Frozen, LookAtFreeze, FreezeSeen, CallEnded, Wake, LingerOver);

struct Live {
    caller: Arc<dyn AccountCaller>,
    watch: Watch,
    since: Instant,
    /// Follows the updates.
    task: Option<AbortOnDropHandle<()>>,
}

/// Its state.
pub(in crate::actors) struct AccountActor {
    context: Arc<AccountsContext>,
    fleet: ActorRef<FleetMsg>,
    record: AccountRecord,
    /// `record` as the store was given it last.
    latest: LatestRecord,
    names: Vec<String>,
    api_id: i32,
    lease: ConnectionLease,
    subscriptions: HashMap<ChatKey, Subscription>,
    standing: Standing,
    machine: AccountMachine,
    /// Number of the newest dial; what older ones still send is recognised by it.
    incarnation: u64,
    dial: Option<AbortOnDropHandle<()>>,
    live: Option<Live>,
    routes: Arc<Routes>,
    peers: Arc<Mutex<PeerBook>>,
    /// Whether what the store kept is in there.
    peers_recalled: bool,
    queue: CallQueue,
    flood_waits: FloodWaits,
    last_failure: Option<Failure>,
    /// Since when the link has not been stable.
    unstable_since: Option<Instant>,
    /// What its link cannot get although it works.
    trouble: Option<String>,
    linger_epoch: u64,
    /// Whether it is kept although nobody needs it, for the sake of what it remembers.
    is_remembered: bool,
    retry_at: Option<UnixMillis>,
    /// The one timer for what has to wait in the queue.
    wake: Option<AbortOnDropHandle<Result<(), MessagingErr<AccountMsg>>>>,
    /// The timer of the next look at a freeze.
    look: Option<AbortOnDropHandle<Result<(), MessagingErr<AccountMsg>>>>,
    /// Whether a look at a freeze is in the queue or under way.
    is_looking: bool,
    /// Whether `record` differs from what the store was given.
    changed: bool,
    /// Whether the stored state of the updates does harm.
    doubt: StateDoubt,
    /// How often it was connected.
    connects: u32,
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
        Ok(AccountActor::new(args))
    }

    async fn handle(
        &self,
        myself: ActorRef<AccountMsg>,
        message: AccountMsg,
        state: &mut AccountActor,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AccountMsg::Begin => state.begin(&myself).await,
            AccountMsg::Watch { key, subscription } => {
                state.watch(&myself, key, subscription).await
            }
            AccountMsg::Unwatch { key, monitor } => state.unwatch(&myself, &key, monitor),
            AccountMsg::Follow { key, chat } => state.follow(key, chat),
            AccountMsg::Retry => state.retry(&myself).await,
            AccountMsg::Stand(standing) => state.stand(&myself, standing).await,
            AccountMsg::Redial => state.redial(&myself).await,
            AccountMsg::Request(request) => state.request(&myself, request).await,
            AccountMsg::DialEnded { incarnation, outcome } => {
                state.dial_ended(&myself, incarnation, outcome).await
            }
            AccountMsg::LinkEnded { incarnation, failure } => {
                state.link_ended(&myself, incarnation, failure).await
            }
            AccountMsg::Panicked { incarnation } => state.panicked(&myself, incarnation).await,
            AccountMsg::Settled { incarnation } if state.is_current(incarnation) => {
                state.doubt.settled();
                state.step(&myself, Input::Settled).await
            }
            AccountMsg::RetryDue { incarnation } if state.is_current(incarnation) => {
                state.step(&myself, Input::RetryDue).await
            }
            AccountMsg::CheckUp { incarnation } if state.is_current(incarnation) => {
                state.check_up(&myself).await
            }
            AccountMsg::UpdatesTrouble { incarnation, trouble }
                if state.is_current(incarnation) =>
            {
                state.trouble = trouble;
                state.show();
                Ok(())
            }
            AccountMsg::Settled { .. }
            | AccountMsg::UpdatesTrouble { .. }
            | AccountMsg::RetryDue { .. }
            | AccountMsg::CheckUp { .. } => Ok(()),
            AccountMsg::CallEnded { incarnation, request, outcome } => {
                state.call_ended(&myself, incarnation, request, outcome).await
            }
            AccountMsg::Frozen { code } => {
                state.freeze(&myself, &code, MethodClass::Updates).await?;
                state.show();
                Ok(())
            }
            AccountMsg::LookAtFreeze => state.look_at_freeze(&myself).await,
            AccountMsg::FreezeSeen { outcome } => state.freeze_seen(&myself, outcome),
            AccountMsg::UpdatesWait { code, seconds } => {
                state.wait(MethodClass::Updates, &code, seconds);
                state.keep().await?;
                state.show();
                Ok(())
            }
            AccountMsg::Wake => {
                state.run_calls(&myself);
                state.show();
                Ok(())
            }
            AccountMsg::LingerOver { epoch } => state.linger_over(&myself, epoch).await,
        }?;
        state.save_if_changed().await
    }
}

impl AccountActor {
    fn new(args: AccountArgs) -> Self {
        let AccountArgs { context, fleet, latest, names, api_id, subscriptions, standing, lease } =
            args;
        let record = latest.get();
        let fault = record.fault.as_ref().map(|fault| fault.code.clone());
        let routes = Arc::new(Routes::default());
        for (key, subscription) in &subscriptions {
            if let Some(chat) = subscription.chat {
                routes.add(chat, key.clone(), subscription.monitor.clone());
            }
        }
        Self {
            machine: AccountMachine::new(context.settings.reconnect, fault),
            queue: CallQueue::new(
                context.settings.limits.clone(),
                context.metrics.depth("account"),
            ),
            flood_waits: FloodWaits::new(record.flood_waits.clone()),
            peers: Arc::default(),
            peers_recalled: false,
            context,
            fleet,
            record,
            latest,
            names,
            api_id,
            lease,
            subscriptions,
            standing,
            incarnation: 0,
            dial: None,
            live: None,
            routes,
            last_failure: None,
            unstable_since: None,
            trouble: None,
            linger_epoch: 0,
            is_remembered: false,
            retry_at: None,
            wake: None,
            look: None,
            is_looking: false,
            changed: false,
            doubt: StateDoubt::default(),
            connects: 0,
        }
    }

    fn is_current(&self, incarnation: u64) -> bool {
        self.incarnation == incarnation
    }

    async fn begin(&mut self, myself: &ActorRef<AccountMsg>) -> Result<(), ActorProcessingErr> {
        if !self.is_needed() {
            self.arm_linger(myself);
        }
        self.arm_look(myself);
        self.turn(myself, ConnectionReason::Asked).await
    }

    async fn watch(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        key: ChatKey,
        subscription: Subscription,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(chat) = subscription.chat {
            self.routes.add(chat, key.clone(), subscription.monitor.clone());
        }
        let monitor = subscription.monitor.clone();
        self.subscriptions.insert(key, subscription);
        self.linger_epoch += 1;
        // Those who were told already must not hear it again: only the new one is answered.
        if let Some(frozen) = self.held_by_freeze(MethodClass::Read) {
            self.tell_down(&monitor, &frozen);
            return Ok(());
        }
        if self.live.is_some() {
            self.tell_up(&monitor, myself);
            return Ok(());
        }
        if let Some(fault) = &self.record.fault {
            let dead = Failure::Dead { code: fault.code.clone() };
            self.tell_down(&monitor, &dead);
            return Ok(());
        }
        if self.standing == Standing::Held {
            self.tell_down(&monitor, &self.why());
            return Ok(());
        }
        self.turn(myself, ConnectionReason::Asked).await
    }

    fn unwatch(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        key: &ChatKey,
        monitor: ActorId,
    ) -> Result<(), ActorProcessingErr> {
        self.routes.remove(monitor);
        // The chat may have another monitor by now.
        if self
            .subscriptions
            .get(key)
            .is_some_and(|subscription| subscription.monitor.get_id() == monitor)
        {
            self.subscriptions.remove(key);
        }
        if self.subscriptions.is_empty() {
            self.arm_linger(myself);
        }
        self.show();
        Ok(())
    }

    fn follow(&mut self, key: ChatKey, chat: MarkedId) -> Result<(), ActorProcessingErr> {
        if let Some(subscription) = self.subscriptions.get_mut(&key) {
            subscription.chat = Some(chat);
            self.routes.add(chat, key, subscription.monitor.clone());
        }
        Ok(())
    }

    async fn retry(&mut self, myself: &ActorRef<AccountMsg>) -> Result<(), ActorProcessingErr> {
        self.look_anew(myself).await?;
        if self.record.fault.take().is_some() {
            self.turn(myself, ConnectionReason::Retried).await?;
            self.changed = true;
        }
        Ok(())
    }

    /// Its name in the log.
    fn called(&self) -> String {
        self.context.directory.name_of(self.record.id)
    }

    /// Feeds the machine and performs what it says.
    async fn step(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        input: Input,
    ) -> Result<(), ActorProcessingErr> {
        match &input {
            Input::Lost(_) => {
                if let Some(frozen) = &self.record.frozen {
                    self.machine.is_frozen_for(frozen.until_look(self.context.now()));
                }
                let since = *self.unstable_since.get_or_insert_with(instant);
                let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                self.machine.has_been_unstable_for(ms);
            }
            Input::Settled | Input::Unwanted | Input::Pause => self.unstable_since = None,
            _ => {}
        }
        for effect in self.machine.step(input, self.context.jitter()) {
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
                self.retry_at =
                    Some(self.context.now().plus_ms(i64::try_from(ms).unwrap_or(i64::MAX)));
                let due = move || AccountMsg::RetryDue { incarnation };
                myself.send_after(Duration::from_millis(ms), due);
            }
            Effect::TellUp => self.tell_all_up(myself),
            Effect::TellDown { .. } => {
                let failure = self.why();
                for subscription in self.subscriptions.values() {
                    self.tell_down(&subscription.monitor, &failure);
                }
                self.queue.refuse_all(&failure);
                if self.subscriptions.is_empty() {
                    self.arm_linger(myself);
                }
            }
            Effect::RecordDead { code } => {
                let sessions = self.names.join(", ");
                tracing::error!(
                    account = self.called(),
                    sessions,
                    code,
                    "telegram ended this session; it is not dialled again"
                );
                self.record.fault = Some(DeadSession { code, since: self.context.now() });
                self.changed = true;
                self.keep().await?;
            }
        }
        Ok(())
    }

    fn is_bot(&self) -> bool {
        self.record.me.as_ref().is_some_and(|me| me.is_bot)
    }

    fn tell_all_up(&self, myself: &ActorRef<AccountMsg>) {
        for subscription in self.subscriptions.values() {
            self.tell_up(&subscription.monitor, myself);
        }
    }

    fn tell_up(&self, monitor: &Listener, myself: &ActorRef<AccountMsg>) {
        let (account, is_bot) = (self.record.id, self.is_bot());
        let message = ListenerMsg::SourceUp { account, actor: myself.clone(), is_bot };
        let _ = monitor.cast(message);
    }

    fn tell_down(&self, monitor: &Listener, failure: &Failure) {
        let failure = failure.clone();
        let _ = monitor.cast(ListenerMsg::SourceLost { account: self.record.id, failure });
    }

    /// Why the account is down, as monitors and callers are told.
    fn why(&self) -> Failure {
        if self.standing == Standing::Held {
            return Failure::transient("the account is paused");
        }
        match (&self.record.fault, &self.last_failure) {
            (Some(fault), _) => Failure::Dead { code: fault.code.clone() },
            (None, Some(frozen @ Failure::Frozen { .. })) => frozen.clone(),
            (None, Some(Failure::Transient { detail })) => Failure::transient(detail.clone()),
            (None, Some(failure)) => Failure::transient(failure.to_string()),
            (None, None) => Failure::transient("the account is not connected"),
        }
    }

    async fn save_if_changed(&mut self) -> Result<(), ActorProcessingErr> {
        if let Some(op) = self.change() {
            failpoint::reach("account.save.before");
            self.context.store.submit(vec![op], |_| {}).await?;
            failpoint::reach("account.save.after");
        }
        Ok(())
    }

    /// The same, and waits until it is durable: what Telegram has just asked for, or ended, is on the disk
    /// before anybody hears of it and before more of that kind is done, so that no crash forgets it.
    async fn keep(&mut self) -> Result<(), ActorProcessingErr> {
        if let Some(op) = self.change() {
            failpoint::reach("account.save.before");
            self.context.store.commit(vec![op]).await?;
            failpoint::reach("account.save.after");
        }
        Ok(())
    }

    /// The write of what changed since the last one, if anything did.
    fn change(&mut self) -> Option<Op> {
        std::mem::take(&mut self.changed).then(|| {
            self.latest.set(self.record.clone());
            Op::UpdateAccount(self.record.clone())
        })
    }

    fn arm_linger(&mut self, myself: &ActorRef<AccountMsg>) {
        self.is_remembered = false;
        self.arm_linger_for(myself, LINGER);
    }

    fn arm_linger_for(&mut self, myself: &ActorRef<AccountMsg>, pause: Duration) {
        self.linger_epoch += 1;
        let epoch = self.linger_epoch;
        myself.send_after(pause, move || AccountMsg::LingerOver { epoch });
    }

    async fn linger_over(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        epoch: u64,
    ) -> Result<(), ActorProcessingErr> {
        let needed = self.is_needed() || !self.queue.is_idle();
        if needed || epoch != self.linger_epoch {
            return Ok(());
        }
        self.turn(myself, ConnectionReason::Lingered).await?;
        if self.machine.is_suspect() && !std::mem::replace(&mut self.is_remembered, true) {
            // Whoever wants it soon does not begin anew with the dials.
            self.arm_linger_for(myself, Duration::from_millis(self.machine.stable_after_ms()));
            return Ok(());
        }
        if self.record.fault.is_none() {
            self.context.status.account_rests(self.record.id);
        }
        self.fleet.cast(FleetMsg::Rests { account: self.record.id })?;
        Ok(())
    }

    fn show(&self) {
        let at = self.context.now();
        let state = match self.machine.state() {
            AccountState::Active if self.flood_waits.is_limited(at) => AccountState::Limited,
            AccountState::Active if self.record.frozen.is_some() => AccountState::Limited,
            AccountState::Active if self.flood_waits.has_wait_of_class(at) => {
                AccountState::CoolingDown
            }
            state => state,
        };
        let failure = match &self.record.fault {
            Some(fault) => Some(Failure::Dead { code: fault.code.clone() }),
            None => {
                let frozen = self.record.frozen.as_ref().map(Frozen::failure);
                self.last_failure.clone().or(frozen)
            }
        };
        let view = AccountView {
            state,
            since: at,
            error: failure
                .map(|failure| (failure.code().to_owned(), failure.to_string()))
                .or_else(|| self.trouble.clone().map(|text| (UPDATES_FAILING.to_owned(), text))),
            failures: self.machine.failures(),
            is_wanted: self.is_needed(),
            is_crashed: false,
            retry_at: self.retry_at.filter(|_| self.live.is_none()),
            frozen_until: self.record.frozen.as_ref().map(|frozen| frozen.look_at),
            flood_waits: self.flood_waits.current(at),
            progress: self.live.as_ref().map(|live| live.watch.progress(at)),
            queued: self.queue.len(),
            reconnects: self.connects.saturating_sub(1),
        };
        self.context.status.account(self.record.id, view);
    }
}
