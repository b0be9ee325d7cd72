//! The call queue of an account: bounded, by priority, paced by method class. What has to wait
//! goes back unattempted; nothing sleeps inside a call. What nobody waits for any more is dropped
//! before it costs a call. Owns the buckets, which follow the limits when those change; never drops
//! a request that is wanted without an answer.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use governor::Quota;
use governor::clock::Clock;
use tokio::sync::watch;
use uuid::Uuid;

use crate::actors::tree::metrics::Depth;
use crate::clock::{DirectLimiter, RuntimeClock, limiter};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::{ChatKey, ChatTarget};
use crate::protocol::telegram::failure::{Failure, PEER_FLOOD, WaitScope};
use crate::protocol::telegram::pacing::MethodClass;
use crate::protocol::telegram::pacing::{FloodWaits, Limits, Rate};
use crate::protocol::tree::restart::Backoff;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;
use crate::telegram::{Call, Outcome};

/// Calls waiting for one account. A monitor has one at a time and an account may be in 500
/// channels, so this leaves room for every one of them.
pub(in crate::actors) const QUEUE_MAX: usize = 512;
/// Calls of one account under way at once.
const CONCURRENT_MAX: usize = 4;

/// Askers whose last turn is remembered: those before them had theirs longer ago than all of these.
const SERVED_KEPT: usize = 64;

/// How urgent it is. Earlier ones go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Priority {
    /// Monitors and commands of the bridge.
    Bridge,
    /// Users of the API.
    Api,
    /// Campaigns.
    Campaign,
    /// Looking whether anything is missing: when there is time.
    Check,
}

/// Whose request it is. Among requests of one priority the one runs first whose asker had a turn the longest ago, so
/// that many of one do not hold up a few of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Asker {
    /// The monitor of a chat.
    Monitor(ChatKey),
    /// A command of the bridge.
    Command(Uuid),
    /// A user of the API.
    User(UserId),
    /// A campaign.
    Campaign(TaskId),
    /// The account itself.
    Account,
}

/// What is done with a call's outcome. Whoever waits hears of it in any case: a reply that is
/// dropped unsent, because the account ended, says so.
pub(in crate::actors) struct Reply(Option<ReplyFn>);

type ReplyFn = Box<dyn FnOnce(Result<Outcome, Failure>) + Send>;

impl Reply {
    pub(in crate::actors) fn new(
        reply: impl FnOnce(Result<Outcome, Failure>) + Send + 'static,
    ) -> Self {
        Self(Some(Box::new(reply)))
    }

    pub(in crate::actors) fn send(mut self, outcome: Result<Outcome, Failure>) {
        if let Some(reply) = self.0.take() {
            reply(outcome);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(Err(Failure::transient("the account stopped before it came to this")));
        }
    }
}

/// Held by whoever waits for answers; requests that have not begun are void once it is gone.
#[derive(Debug, Default)]
pub(in crate::actors) struct Interest(Arc<()>);

/// A request's side of a [`Interest`].
#[derive(Debug)]
pub(in crate::actors) struct InterestToken {
    interest: Weak<()>,
    state: Arc<AtomicU8>,
}

/// The means to take one request back.
#[derive(Clone, Debug)]
pub(in crate::actors) struct Cancellation(Arc<AtomicU8>);

/// It waits in the queue.
const WAITING: u8 = 0;
/// It is under way.
const BEGUN: u8 = 1;
/// It was taken back.
const WITHDRAWN: u8 = 2;

impl Interest {
    /// For one request.
    pub(in crate::actors) fn token(&self) -> InterestToken {
        InterestToken { interest: Arc::downgrade(&self.0), state: Arc::default() }
    }
}

impl Cancellation {
    /// Takes the request back. `false` when it has begun: then it may have happened already.
    pub(in crate::actors) fn withdraw(&self) -> bool {
        let taken =
            self.0.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire);
        taken.is_ok()
    }
}

impl Cancellation {
    /// Whether it is under way, or was when it ended. One that Telegram made wait has not begun.
    pub(in crate::actors) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire) == BEGUN
    }
}

impl InterestToken {
    /// For whoever may want to take the request back.
    pub(in crate::actors) fn cancellation(&self) -> Cancellation {
        Cancellation(Arc::clone(&self.state))
    }

    fn is_wanted(&self) -> bool {
        self.interest.strong_count() > 0 && self.state.load(Ordering::Acquire) != WITHDRAWN
    }

    /// From here on it cannot be taken back; `false` when it just was.
    fn begin(&self) -> bool {
        self.state.compare_exchange(WAITING, BEGUN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// It came back unattempted.
    fn wait_again(&self) {
        let _ = self.state.compare_exchange(BEGUN, WAITING, Ordering::AcqRel, Ordering::Acquire);
    }
}

/// A call and who waits for it.
pub(in crate::actors) struct Request {
    pub(in crate::actors) call: Call,
    pub(in crate::actors) priority: Priority,
    pub(in crate::actors) asker: Asker,
    /// The longest wait of Telegram's that is kept; whoever asks knows something better to do than
    /// to wait for longer. `None`: all are kept.
    pub(in crate::actors) patience: Option<Duration>,
    /// `None`: wanted in any case.
    pub(in crate::actors) interest: Option<InterestToken>,
    /// How often Telegram has made it wait.
    pub(in crate::actors) waits: u32,
    pub(in crate::actors) reply: Reply,
}

/// The shortest waits of one request in a row, whatever Telegram says: a server that always asks for a
/// second is not asked again every second.
const WAITS_FLOOR: Backoff = Backoff { min_ms: 1_000, max_ms: 5 * 60_000 };

impl Request {
    /// One that is wanted in any case, and whose asker keeps every wait of Telegram's.
    pub(in crate::actors) fn new(
        call: Call,
        priority: Priority,
        asker: Asker,
        reply: Reply,
    ) -> Self {
        Self { call, priority, asker, patience: None, interest: None, waits: 0, reply }
    }

    /// Telegram makes it wait once more, for `seconds` as it says; answers for how many it does.
    pub(in crate::actors) fn waits_again(&mut self, seconds: u32) -> u32 {
        self.waits = self.waits.saturating_add(1);
        let floor = WAITS_FLOOR.delay_ms(self.waits, 1.0) / 1_000;
        seconds.max(u32::try_from(floor).unwrap_or(u32::MAX))
    }

    pub(in crate::actors) fn is_wanted(&self) -> bool {
        self.interest.as_ref().is_none_or(InterestToken::is_wanted)
    }

    fn begin(&self) -> bool {
        self.interest.as_ref().is_none_or(InterestToken::begin)
    }

    /// How long Telegram holds it back, and by what: its class, the method that it borrows, its chat, or
    /// all that the account begins; with Telegram's name for it.
    fn held_by(&self, flood_waits: &FloodWaits, now: UnixMillis) -> Option<HeldBack> {
        let chat = self.call.sends_into().and_then(|chat| flood_waits.holds_chat(chat, now));
        let lent = lending_class(&self.call).and_then(|class| flood_waits.holds(class, now));
        let class = flood_waits.holds(self.call.class(), now).max(lent);
        let until = class.max(chat)?;
        let (scope, code) = match chat > class {
            true => (WaitScope::Chat, "SLOWMODE_WAIT"),
            false if flood_waits.limited_until(now) == Some(until) => {
                (WaitScope::MethodClass, PEER_FLOOD)
            }
            false => (WaitScope::MethodClass, "FLOOD_WAIT"),
        };
        let pause = Duration::from_millis(u64::try_from(until.0 - now.0).unwrap_or(0));
        Some(HeldBack { pause, scope, code })
    }

    fn held_for(&self, flood_waits: &FloodWaits, now: UnixMillis) -> Option<Duration> {
        self.held_by(flood_waits, now).map(|held| held.pause)
    }

    /// Telegram makes it wait, and whoever asked waits no longer: it certainly was not done, and is not
    /// done any more. Answered so, unless somebody still waits.
    pub(in crate::actors) fn end_unless_wanted(self, wait: Failure) -> Option<Self> {
        if self.is_wanted() {
            return Some(self);
        }
        self.reply.send(Err(wait));
        None
    }
}

/// What holds a call back.
struct HeldBack {
    pause: Duration,
    scope: WaitScope,
    code: &'static str,
}

/// The queue of one account.
pub(in crate::actors) struct CallQueue {
    limits: Limits,
    /// Tells when the limits change.
    newest_limits: watch::Receiver<Limits>,
    buckets: HashMap<MethodClass, DirectLimiter>,
    clock: RuntimeClock,
    /// By priority, in these in the order in which they came.
    waiting: VecDeque<Request>,
    /// Who had a turn lately, the latest last.
    served: VecDeque<Asker>,
    depth: Depth,
    under_way: usize,
}

/// What to do next.
pub(in crate::actors) enum Next {
    /// Run this one.
    Run(Request),
    /// Look again after this pause.
    Later(Duration),
    /// Nothing to do until something changes.
    Idle,
}

impl CallQueue {
    pub(in crate::actors) fn new(mut newest_limits: watch::Receiver<Limits>, depth: Depth) -> Self {
        let limits = *newest_limits.borrow_and_update();
        Self {
            limits,
            newest_limits,
            buckets: HashMap::new(),
            clock: RuntimeClock,
            waiting: VecDeque::new(),
            served: VecDeque::new(),
            depth,
            under_way: 0,
        }
    }

    /// Takes a request, or answers it at once when the queue is full.
    pub(in crate::actors) fn push(&mut self, request: Request) {
        if self.waiting.len() >= QUEUE_MAX {
            self.drop_unwanted();
        }
        if self.waiting.len() >= QUEUE_MAX {
            let text = "too many requests wait for this account already";
            request.reply.send(Err(Failure::transient(text)));
            return;
        }
        let ahead = |other: &Request| (other.priority as u8) <= (request.priority as u8);
        let at = self.waiting.iter().rposition(ahead).map_or(0, |index| index + 1);
        self.waiting.insert(at, request);
        self.depth.set(self.waiting.len());
    }

    /// The places of what waits in the order of their turns: by priority, in these first whose asker had a turn the
    /// longest ago, in these in the order in which they came.
    fn turns(&self) -> Vec<usize> {
        let mut turns: Vec<usize> = (0..self.waiting.len()).collect();
        let last_turn = |asker: &Asker| self.served.iter().rposition(|served| served == asker);
        turns.sort_by_cached_key(|index| {
            let request = &self.waiting[*index];
            (request.priority as u8, last_turn(&request.asker))
        });
        turns
    }

    /// This asker has had a turn.
    fn serve(&mut self, asker: &Asker) {
        self.served.retain(|served| served != asker);
        if self.served.len() >= SERVED_KEPT {
            self.served.pop_front();
        }
        self.served.push_back(asker.clone());
    }

    fn drop_unwanted(&mut self) {
        self.waiting.retain(Request::is_wanted);
        self.depth.set(self.waiting.len());
    }

    /// Puts a request back that Telegram made wait.
    pub(in crate::actors) fn put_back(&mut self, request: Request) {
        request.interest.iter().for_each(InterestToken::wait_again);
        let behind = |other: &Request| (other.priority as u8) < (request.priority as u8);
        let at = self.waiting.iter().position(|other| !behind(other));
        self.waiting.insert(at.unwrap_or(self.waiting.len()), request);
        self.depth.set(self.waiting.len());
    }

    /// One under way has come to its end.
    pub(in crate::actors) fn finished(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// The link is gone and takes what was under way along.
    pub(in crate::actors) fn forget_under_way(&mut self) {
        self.under_way = 0;
    }

    /// Requests that wait.
    pub(in crate::actors) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits and nothing is under way.
    pub(in crate::actors) fn is_idle(&mut self) -> bool {
        self.drop_unwanted();
        self.waiting.is_empty() && self.under_way == 0
    }

    /// Answers everything that waits with `failure`.
    pub(in crate::actors) fn refuse_all(&mut self, failure: &Failure) {
        for request in std::mem::take(&mut self.waiting) {
            request.reply.send(Err(failure.clone()));
        }
        self.depth.set(0);
    }

    /// Answers everything of a class with `failure`.
    pub(in crate::actors) fn refuse_class(&mut self, class: MethodClass, failure: &Failure) {
        let is_meant = |request: &Request| request.call.class() == class;
        let (refused, kept) =
            std::mem::take(&mut self.waiting).into_iter().partition::<VecDeque<_>, _>(is_meant);
        self.waiting = kept;
        refused.into_iter().for_each(|request| request.reply.send(Err(failure.clone())));
        self.depth.set(self.waiting.len());
    }

    /// Picks the first request that neither a flood wait nor its bucket holds back.
    pub(in crate::actors) fn next(&mut self, flood_waits: &FloodWaits, now: UnixMillis) -> Next {
        if self.under_way >= CONCURRENT_MAX {
            return Next::Idle;
        }
        self.drop_unwanted();
        self.refuse_impatient(flood_waits, now);
        self.follow_limits();
        let mut soonest: Option<Duration> = None;
        let mut held: Vec<MethodClass> = Vec::new();
        for index in self.turns() {
            let class = self.waiting[index].call.class();
            if held.contains(&class) {
                continue;
            }
            // What Telegram holds back only here does not hold others of its class back.
            if let Some(pause) = self.waiting[index].held_for(flood_waits, now) {
                soonest = Some(soonest.map_or(pause, |known| known.min(pause)));
                continue;
            }
            if !self.waiting[index].is_wanted() {
                continue;
            }
            let Some(pause) = self.pause(class) else {
                let Some(request) = self.waiting.remove(index) else { continue };
                self.depth.set(self.waiting.len());
                if request.begin() {
                    self.serve(&request.asker);
                    self.under_way += 1;
                    return Next::Run(request);
                }
                // Taken back in this very moment; its token of the bucket is lost, which is harmless.
                return Next::Later(Duration::from_millis(1));
            };
            held.push(class);
            soonest = Some(soonest.map_or(pause, |known| known.min(pause)));
        }
        soonest.map_or(Next::Idle, Next::Later)
    }

    /// Answers those at once for whom Telegram's wait is too long.
    fn refuse_impatient(&mut self, flood_waits: &FloodWaits, now: UnixMillis) {
        let left = |request: &Request| {
            let patience = request.patience?;
            request.held_by(flood_waits, now).filter(|held| held.pause > patience)
        };
        let mut index = 0;
        while let Some(request) = self.waiting.get(index) {
            let Some(HeldBack { pause, scope, code }) = left(request) else {
                index += 1;
                continue;
            };
            if let Some(request) = self.waiting.remove(index) {
                let seconds = u32::try_from(pause.as_secs()).unwrap_or(u32::MAX);
                let code = code.to_owned();
                request.reply.send(Err(Failure::Wait { code, seconds, scope }));
            }
        }
    }

    /// Takes over limits that changed meanwhile. What waits stays in the queue and is asked of the
    /// new buckets from the next look on. A bucket in use begins anew without a token, so that
    /// changing limits never allows a burst that neither the old nor the new ones would.
    fn follow_limits(&mut self) {
        // An error means that they can never change again.
        if !self.newest_limits.has_changed().unwrap_or(false) {
            return;
        }
        let before = std::mem::replace(&mut self.limits, *self.newest_limits.borrow_and_update());
        for (class, bucket) in &mut self.buckets {
            let rate = self.limits.of(*class);
            if rate != before.of(*class) {
                *bucket = limiter(quota(rate));
                while bucket.check().is_ok() {}
            }
        }
    }

    /// How long the bucket of `class` makes wait; takes a token when it need not.
    fn pause(&mut self, class: MethodClass) -> Option<Duration> {
        let rate = self.limits.of(class);
        let bucket = self.buckets.entry(class).or_insert_with(|| limiter(quota(rate)));
        let not_until = bucket.check().err()?;
        Some(not_until.wait_time_from(self.clock.now()).max(Duration::from_millis(1)))
    }
}

/// The class from which a call of another class borrows a method: a wait that Telegram asked for
/// there holds for that method here too.
pub(in crate::actors) fn lending_class(call: &Call) -> Option<MethodClass> {
    match call {
        // `updates.getChannelDifference`, which the link asks for, too.
        Call::Since { .. } => Some(MethodClass::Updates),
        // `contacts.resolveUsername` finds what is joined.
        Call::Join(ChatTarget::Username(_)) => Some(MethodClass::Resolve),
        // `channels.getChannels` and `messages.getDialogs` do the same for a number.
        Call::Join(ChatTarget::Marked(_)) => Some(MethodClass::Read),
        // `messages.checkChatInvite` tells what an invite leads to.
        Call::Join(ChatTarget::Invite(_)) => Some(MethodClass::Read),
        // `contacts.resolvePhone`, under two classes.
        Call::FindPerson(_) if call.class() == MethodClass::Contacts => Some(MethodClass::Resolve),
        Call::ResolveTarget(Target::Phone(_)) => Some(MethodClass::Contacts),
        // `channels.getFullChannel` tells how many are in a group, and which link it has.
        Call::GroupRights(ChatTarget::Username(_)) | Call::InviteLink { .. } => {
            Some(MethodClass::Read)
        }
        Call::Resolve(_)
        | Call::Inspect(_)
        | Call::LearnTime
        | Call::NewestBefore { .. }
        | Call::Position(_)
        | Call::History { .. }
        | Call::ResolveTarget(Target::Me | Target::Chat(_))
        | Call::Rights(_)
        | Call::Send(_)
        | Call::LogOut
        | Call::LookAtFreeze
        | Call::FindPerson(_)
        | Call::AddContact(_)
        | Call::Invite { .. }
        | Call::Membership { .. }
        | Call::GroupRights(ChatTarget::Marked(_) | ChatTarget::Invite(_))
        | Call::LinkUses { .. } => None,
    }
}

fn quota(rate: Rate) -> Quota {
    let per_minute = NonZeroU32::new(rate.per_minute).unwrap_or(NonZeroU32::MIN);
    let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
    Quota::per_minute(per_minute).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::actors::tree::metrics::Metrics;
    use crate::protocol::telegram::chat::MarkedId;
    use crate::protocol::telegram::chat::PeerRecord;
    use crate::protocol::telegram::pacing::FloodWaitScope;

    fn request(target: ChatTarget, log: &Arc<Mutex<Vec<bool>>>) -> Request {
        let log = Arc::clone(log);
        let reply = Reply::new(move |outcome| log.lock().unwrap().push(outcome.is_ok()));
        let call = Call::Resolve(target);
        Request::new(call, Priority::Bridge, Asker::Account, reply)
    }

    fn by_name() -> ChatTarget {
        ChatTarget::Username("name".into())
    }

    fn by_id() -> ChatTarget {
        ChatTarget::Marked(MarkedId(-1000000000042))
    }

    fn fixed(limits: Limits) -> watch::Receiver<Limits> {
        watch::Sender::new(limits).subscribe()
    }

    fn resolving(per_minute: u32, burst: u32) -> Limits {
        Limits { resolve: Rate { per_minute, burst }, ..Limits::default() }
    }

    fn queue(limits: watch::Receiver<Limits>) -> CallQueue {
        CallQueue::new(limits, Metrics::default().depth("account"))
    }

    #[test]
    fn what_is_taken_back_is_never_begun_and_what_has_begun_is_not_taken_back() {
        let log = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let interest = Interest::default();
        let tokens = [interest.token(), interest.token()];
        let [first, second] = tokens.each_ref().map(InterestToken::cancellation);
        for token in tokens {
            queue.push(Request { interest: Some(token), ..request(by_id(), &log) });
        }
        assert!(first.withdraw());
        let (waits, now) = (FloodWaits::default(), UnixMillis(0));
        let Next::Run(begun) = queue.next(&waits, now) else { panic!("the second one may run") };
        assert!(matches!(queue.next(&waits, now), Next::Idle), "the first one was taken back");
        assert!(!second.withdraw());
        queue.put_back(begun);
        assert!(second.withdraw(), "it waits again");
        assert!(matches!(queue.next(&waits, now), Next::Idle));
    }

    #[test]
    fn a_server_that_always_asks_for_a_second_is_asked_ever_more_seldom() {
        let mut request = request(by_id(), &Arc::default());
        let waits = [0, 1, 1, 1, 90, 1].map(|seconds| request.waits_again(seconds));
        assert_eq!(waits, [1, 2, 4, 8, 90, 32]);
        let longest = (0..100).map(|_| request.waits_again(1)).max();
        assert_eq!(longest, Some(300));
    }

    #[test]
    fn a_class_that_waits_does_not_hold_the_others_back() {
        let log = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let mut waits = FloodWaits::default();
        let now = UnixMillis(0);
        waits.impose(FloodWaitScope::Class(MethodClass::Resolve), UnixMillis(9_000), now);
        queue.push(request(by_name(), &log));
        queue.push(request(by_id(), &log));
        let Next::Run(first) = queue.next(&waits, now) else { panic!("the second one may run") };
        assert_eq!(first.call.class(), MethodClass::Read);
        let Next::Later(pause) = queue.next(&waits, now) else { panic!("the first one waits") };
        assert_eq!(pause, Duration::from_secs(9));
    }

    /// A bot's monitor read what the link had just been told to wait for, and somebody who joined
    /// by a name had it resolved during a wait for resolving.
    #[test]
    fn a_call_keeps_the_waits_of_a_class_whose_method_it_borrows() {
        let id = MarkedId(-1000000000042);
        let peer = PeerRecord { id, access_hash: 0, is_bot: false, is_broadcast: false };
        let since = Call::Since { peer, pts: 7 };
        for (class, call) in [
            (MethodClass::Updates, since),
            (MethodClass::Resolve, Call::Join(ChatTarget::Username("name".into()))),
        ] {
            let log = Arc::default();
            let mut queue = queue(fixed(Limits::default()));
            let mut waits = FloodWaits::default();
            let now = UnixMillis(0);
            waits.impose(FloodWaitScope::Class(class), UnixMillis(9_000), now);
            queue.push(Request { call: call.clone(), ..request(by_id(), &log) });
            queue.push(request(by_id(), &log));
            let Next::Run(first) = queue.next(&waits, now) else { panic!("the others may run") };
            assert_eq!(first.call, Call::Resolve(by_id()));
            let Next::Later(pause) = queue.next(&waits, now) else { panic!("{call:?} waits") };
            assert_eq!(pause, Duration::from_secs(9));
            let over = UnixMillis(9_000);
            assert!(matches!(queue.next(&waits, over), Next::Run(second) if second.call == call));
        }
    }

    #[test]
    fn who_has_something_better_to_do_hears_of_a_long_wait_at_once() {
        let log: Arc<Mutex<Vec<bool>>> = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let mut waits = FloodWaits::default();
        let now = UnixMillis(0);
        let minute = Some(Duration::from_secs(60));
        waits.impose(FloodWaitScope::Class(MethodClass::Resolve), UnixMillis(60_000), now);
        queue.push(Request { patience: minute, ..request(by_name(), &log) });
        queue.push(request(by_name(), &log));
        assert!(matches!(queue.next(&waits, now), Next::Later(_)));
        assert!(log.lock().unwrap().is_empty(), "a minute is kept");
        waits.impose(FloodWaitScope::Class(MethodClass::Resolve), UnixMillis(60_001), now);
        assert!(matches!(queue.next(&waits, now), Next::Later(_)));
        assert_eq!(*log.lock().unwrap(), [false]);
        assert_eq!(queue.waiting.len(), 1, "the other one has nothing better to do");
    }

    #[test]
    fn slow_mode_is_told_as_the_wait_of_its_chat() {
        let (slow, other) = (MarkedId(-1000000000042), MarkedId(-1000000000043));
        let told: Arc<Mutex<Vec<Failure>>> = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let mut waits = FloodWaits::default();
        let now = UnixMillis(0);
        let ask = |queue: &mut CallQueue, chat| {
            let peer = PeerRecord { id: chat, access_hash: 0, is_bot: false, is_broadcast: false };
            let call = Call::Send(crate::telegram::SendMessage {
                peer,
                text: "x".into(),
                parse_mode: None,
                reply_to: None,
                silent: false,
                random_id: 1,
            });
            let told = Arc::clone(&told);
            let reply = Reply::new(move |outcome| told.lock().unwrap().extend(outcome.err()));
            let patience = Some(Duration::from_secs(2));
            let request = Request::new(call, Priority::Api, Asker::Account, reply);
            queue.push(Request { patience, ..request });
        };
        waits.impose(FloodWaitScope::Chat(slow), UnixMillis(30_000), now);
        ask(&mut queue, slow);
        ask(&mut queue, other);
        let Next::Run(first) = queue.next(&waits, now) else { panic!("the other one may run") };
        assert_eq!(first.call.sends_into(), Some(other));
        let wait = |code: &str, scope| Failure::Wait { code: code.into(), seconds: 30, scope };
        assert_eq!(*told.lock().unwrap(), [wait("SLOWMODE_WAIT", WaitScope::Chat)]);
    }

    #[test]
    fn a_few_of_one_are_not_held_up_by_many_of_another() {
        let log: Arc<Mutex<Vec<bool>>> = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let user = |name: &str| Asker::User(UserId::new(name).unwrap());
        let ask = |queue: &mut CallQueue, priority, asker: &Asker| {
            let (priority, asker) = (priority, asker.clone());
            queue.push(Request { priority, asker, ..request(by_id(), &log) });
        };
        let (busy, other, monitor) = (user("busy"), user("other"), Asker::Account);
        for _ in 0..4 {
            ask(&mut queue, Priority::Api, &busy);
        }
        for _ in 0..2 {
            ask(&mut queue, Priority::Api, &other);
        }
        ask(&mut queue, Priority::Bridge, &monitor);
        let waits = FloodWaits::default();
        let next = |queue: &mut CallQueue| {
            let Next::Run(request) = queue.next(&waits, UnixMillis(0)) else {
                panic!("one may run")
            };
            queue.finished();
            request.asker
        };
        let first: Vec<Asker> = (0..4).map(|_| next(&mut queue)).collect();
        assert_eq!(first, [monitor, busy.clone(), other.clone(), busy.clone()]);
        // One that comes later has its turn in this round, and no more than one.
        let late = user("late");
        for _ in 0..2 {
            ask(&mut queue, Priority::Api, &late);
        }
        let rest: Vec<Asker> = (0..5).map(|_| next(&mut queue)).collect();
        assert_eq!(rest, [late.clone(), other, busy.clone(), late, busy]);
    }

    #[test]
    fn one_that_asks_again_after_each_answer_waits_for_those_who_asked_before() {
        let log: Arc<Mutex<Vec<bool>>> = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let user = |name: &str| Asker::User(UserId::new(name).unwrap());
        let (eager, patient) = (user("eager"), user("patient"));
        let ask = |queue: &mut CallQueue, asker: &Asker| {
            queue.push(Request { asker: asker.clone(), ..request(by_id(), &log) });
        };
        for _ in 0..3 {
            ask(&mut queue, &patient);
        }
        let mut seen = Vec::new();
        for _ in 0..6 {
            ask(&mut queue, &eager);
            let Next::Run(request) = queue.next(&FloodWaits::default(), UnixMillis(0)) else {
                panic!("one may run")
            };
            queue.finished();
            seen.push(request.asker);
        }
        let turns = [&patient, &eager, &patient, &eager, &patient, &eager];
        assert!(seen.iter().eq(turns), "{seen:?}");
    }

    #[test]
    fn what_an_asker_wants_no_more_costs_it_no_turn() {
        let log: Arc<Mutex<Vec<bool>>> = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let user = |name: &str| Asker::User(UserId::new(name).unwrap());
        let interest = Interest::default();
        let token = Some(interest.token());
        queue.push(Request { asker: user("again"), interest: token, ..request(by_id(), &log) });
        drop(interest);
        queue.push(Request { asker: user("again"), ..request(by_id(), &log) });
        queue.push(Request { asker: user("other"), ..request(by_id(), &log) });
        queue.push(Request { asker: user("other"), ..request(by_id(), &log) });
        let Next::Run(first) = queue.next(&FloodWaits::default(), UnixMillis(0)) else {
            panic!("one may run")
        };
        assert_eq!(first.asker, user("again"));
    }

    #[test]
    fn the_queue_is_bounded_and_says_so() {
        let log: Arc<Mutex<Vec<bool>>> = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        for _ in 0..QUEUE_MAX {
            queue.push(request(by_id(), &log));
        }
        assert!(log.lock().unwrap().is_empty());
        queue.push(request(by_id(), &log));
        assert_eq!(*log.lock().unwrap(), [false]);
        queue.refuse_all(&Failure::transient("gone"));
        assert_eq!(log.lock().unwrap().len(), QUEUE_MAX + 1);
    }

    #[test]
    fn what_nobody_waits_for_any_more_takes_no_room_and_costs_no_call() {
        let log: Arc<Mutex<Vec<bool>>> = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let mut interests: Vec<Interest> = Vec::new();
        for _ in 0..3 {
            // Each reconnect makes every monitor ask anew.
            interests = (0..300).map(|_| Interest::default()).collect();
            for interest in &interests {
                let interest = Some(interest.token());
                queue.push(Request { interest, ..request(by_id(), &log) });
            }
        }
        let waits = FloodWaits::default();
        let mut run = 0;
        while let Next::Run(_) = queue.next(&waits, UnixMillis(0)) {
            run += 1;
            queue.finished();
        }
        assert_eq!(run, Limits::default().read.burst);
        drop(interests);
        assert!(queue.is_idle());
    }

    #[test]
    fn the_bucket_lets_a_burst_through_and_then_paces() {
        let log = Arc::default();
        let mut queue = queue(fixed(Limits::default()));
        let waits = FloodWaits::default();
        for _ in 0..9 {
            queue.push(request(by_name(), &log));
        }
        for _ in 0..Limits::default().resolve.burst {
            assert!(matches!(queue.next(&waits, UnixMillis(0)), Next::Run(_)));
            queue.finished();
        }
        assert!(matches!(queue.next(&waits, UnixMillis(0)), Next::Later(_)));
    }
    #[test]
    fn new_limits_pace_what_waits_already_and_drop_none_of_it() {
        let log: Arc<Mutex<Vec<bool>>> = Arc::default();
        let limits = watch::Sender::new(resolving(1, 1));
        let mut queue = queue(limits.subscribe());
        let waits = FloodWaits::default();
        for _ in 0..3 {
            queue.push(request(by_name(), &log));
        }
        let mut pause = || match queue.next(&waits, UnixMillis(0)) {
            Next::Later(pause) => pause,
            Next::Run(_) | Next::Idle => Duration::ZERO,
        };
        assert_eq!(pause(), Duration::ZERO, "the first one may run");
        assert!(pause() > Duration::from_secs(50), "one a minute");
        limits.send_replace(resolving(6000, 1000));
        let soon = pause();
        assert!(!soon.is_zero() && soon <= Duration::from_millis(10), "no burst, {soon:?}");
        limits.send_replace(resolving(2, 1));
        assert!(pause() > Duration::from_secs(20), "two a minute");
        assert_eq!(queue.waiting.len(), 2);
        assert_eq!(*log.lock().unwrap(), [false], "only the one that ran was answered");
    }

    #[test]
    fn limits_of_one_class_leave_the_buckets_of_others_as_they_are() {
        let log = Arc::default();
        let limits = watch::Sender::new(resolving(1, 2));
        let mut queue = queue(limits.subscribe());
        let waits = FloodWaits::default();
        for _ in 0..3 {
            queue.push(request(by_name(), &log));
        }
        assert!(matches!(queue.next(&waits, UnixMillis(0)), Next::Run(_)));
        let send = Rate { per_minute: 1, burst: 1 };
        limits.send_replace(Limits { send, ..resolving(1, 2) });
        assert!(matches!(queue.next(&waits, UnixMillis(0)), Next::Run(_)), "its second token");
        assert!(matches!(queue.next(&waits, UnixMillis(0)), Next::Later(_)), "and no third one");
    }
}
