//! The status: what each actor last said of itself. Health, and later metrics and console,
//! read it without asking anyone, so they answer whatever else is stuck.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::actors::tree::changes::Dirty;
use crate::actors::tree::changes::Subject;
use crate::actors::tree::members::Members;
use crate::clock::Clock;
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::explanation::{Situation, Why, explain, name_of};
use crate::protocol::accounts::record::DeadSession;
use crate::protocol::campaigns::choose::TaskHold;
use crate::protocol::campaigns::target::Statistics;
use crate::protocol::campaigns::task::{PauseReason, Priority, TaskId, TaskStatus};
use crate::protocol::monitors::failover::MonitorState;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope, MethodClass};
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::tree::watchdog::LinkProgress;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};
use crate::protocol::values::time::rfc3339_ms;
use crate::store::names_user;

/// A monitor that does not listen for this long is in trouble, whatever it waits for, milliseconds. A
/// failover takes seconds.
const UNOPENED_MS: i64 = 180_000;

/// Nor is a chat opened soon whose account Telegram makes wait for longer than this, milliseconds.
const LONG_WAIT_MS: i64 = 60_000;

/// Crashes, and dropped links, remembered for the summary; of crashes the store keeps more.
const RESTARTS_MAX: usize = 10;

/// What an account says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Its state.
    pub state: AccountState,
    /// Since when.
    pub since: UnixMillis,
    /// The last failure's code and text, until it works again.
    pub error: Option<(String, String)>,
    /// Failed dials since it was last stable.
    pub failures: u32,
    /// Whether a monitor wants it. A session that ended is told of even when others have long taken
    /// its place, but then it is no trouble any more.
    pub is_wanted: bool,
    /// Whether its actor has crashed and is not running.
    pub is_crashed: bool,
    /// When it is dialled, or its actor started, again.
    pub retry_at: Option<UnixMillis>,
    /// When it is looked again whether Telegram still has it frozen, if it has.
    pub frozen_until: Option<UnixMillis>,
    /// What Telegram makes wait.
    pub flood_waits: Vec<FloodWait>,
    /// How its link was getting on when it was last looked at; `None` while there is no link.
    pub progress: Option<LinkProgress>,
    /// Requests that wait in its queue.
    pub queued: usize,
    /// Connections that it made anew since its actor was started.
    pub reconnects: u32,
}

impl AccountView {
    /// Of a session that Telegram ended in an earlier life of the daemon.
    pub(in crate::actors) fn ended(fault: &DeadSession) -> Self {
        let failure = Failure::Dead { code: fault.code.clone() };
        let error = (fault.code.clone(), failure.to_string());
        Self::without_actor(AccountState::Error, fault.since, error)
    }

    /// Of an account whose actor crashed just `now`; without `again_after` it is not started again.
    pub(in crate::actors) fn crashed(
        cause: &str,
        again_after: Option<Duration>,
        is_wanted: bool,
        now: UnixMillis,
    ) -> Self {
        let pause = again_after.map(|pause| i64::try_from(pause.as_millis()).unwrap_or(i64::MAX));
        let state = match again_after {
            Some(_) => AccountState::Reconnecting,
            None => AccountState::Error,
        };
        let error = ("CRASHED".to_owned(), format!("its actor crashed: {cause}"));
        Self {
            is_wanted,
            is_crashed: true,
            retry_at: pause.map(|pause| now.plus_ms(pause)),
            ..Self::without_actor(state, now, error)
        }
    }

    /// Of an account that cannot speak for itself.
    fn without_actor(state: AccountState, since: UnixMillis, error: (String, String)) -> Self {
        Self {
            state,
            since,
            error: Some(error),
            failures: 0,
            is_wanted: false,
            is_crashed: false,
            retry_at: None,
            frozen_until: None,
            flood_waits: Vec::new(),
            progress: None,
            queued: 0,
            reconnects: 0,
        }
    }

    /// Why it is as it is, at the moment `now`.
    pub fn why(&self, now: UnixMillis) -> Why {
        let situation = Situation {
            state: self.state,
            failure: self.error.as_ref().map(|(_, text)| text.as_str()),
            failures: self.failures,
            is_crashed: self.is_crashed,
            retry_at: self.retry_at,
            flood_waits: &self.flood_waits,
            progress: self.progress,
            frozen_until: self.frozen_until,
        };
        explain(&situation, now)
    }
}

/// What a monitor says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorView {
    /// Its state.
    pub state: MonitorState,
    /// Since when.
    pub since: UnixMillis,
    /// The session in use.
    pub session: Option<SessionId>,
    /// The account that it stands for.
    pub account: Option<AuthKeyId>,
    /// The last trouble, until it works again.
    pub error: Option<String>,
}

impl MonitorView {
    /// For how long it has not come to listen, in milliseconds, if that is minutes.
    fn is_late_by(&self, now: UnixMillis) -> Option<i64> {
        use MonitorState::{Connecting, Opening, Waiting};
        let is_on_its_way = matches!(self.state, Connecting | Opening | Waiting);
        let waited = now.0.saturating_sub(self.since.0);
        (is_on_its_way && waited >= UNOPENED_MS).then_some(waited)
    }

    /// The wait that Telegram asked its account for and that keeps it from opening its chat, if that is
    /// a long one.
    fn held_up<'a>(
        &self,
        account: Option<&'a AccountView>,
        now: UnixMillis,
    ) -> Option<&'a FloodWait> {
        let waits = account.filter(|_| self.state == MonitorState::Opening)?.flood_waits.iter();
        let is_needed = |scope: &FloodWaitScope| {
            use MethodClass::{Read, Resolve};
            matches!(scope, FloodWaitScope::Account | FloodWaitScope::Class(Read | Resolve))
        };
        let is_long = |wait: &&FloodWait| wait.until.0.saturating_sub(now.0) > LONG_WAIT_MS;
        waits.filter(|wait| is_needed(&wait.scope)).filter(is_long).max_by_key(|wait| wait.until)
    }

    fn is_in_trouble(&self, account: Option<&AccountView>, now: UnixMillis) -> bool {
        let is_over = self.state == MonitorState::Exhausted;
        let is_late = self.is_late_by(now).is_some();
        self.error.is_some() || is_over || is_late || self.held_up(account, now).is_some()
    }

    /// The same, in trouble if it has not come to listen for minutes, or cannot within a minute.
    fn judged(self, account: Option<&AccountView>, now: UnixMillis) -> Self {
        use MonitorState::{Connecting, Opening};
        if self.error.is_some() {
            return self;
        }
        if let Some(wait) = self.held_up(account, now) {
            let (what, until) = (name_of(&wait.scope), rfc3339_ms(wait.until));
            let error = format!(
                "nobody listens yet: {what} keeps the account of its session until {until}; a session \
                 of another account would open the chat sooner"
            );
            return Self { error: Some(error), ..self };
        }
        let Some(waited) = self.is_late_by(now) else { return self };
        let doing = match self.state {
            Connecting => "waits for its session's account to come up",
            Opening => "waits for telegram's answers, or for a wait that telegram asked for to end",
            _ => "waits before it tries the next session",
        };
        let minutes = waited / 60_000;
        let error = format!(
            "nobody has listened for {minutes} minutes: it {doing}; the account of its session says more"
        );
        Self { error: Some(error), ..self }
    }
}

/// What a campaign says of itself while it has an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignView {
    /// Where it stands.
    pub status: TaskStatus,
    /// Who goes first.
    pub priority: Priority,
    /// How many targets have which status.
    pub statistics: Statistics,
    /// Why it is paused, if it is.
    pub paused_because: Option<PauseReason>,
    /// What holds it, if it runs and nothing is done for it.
    pub held: Option<TaskHold>,
    /// Why its actor does not run, where it crashed too often.
    pub error: Option<String>,
}

/// What is in trouble, or a page of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Troubled<K, V> {
    /// How many there are in all.
    pub total: usize,
    /// The page, in the order of the keys.
    pub listed: Vec<(K, V)>,
    /// Whether more come behind it.
    pub is_cut: bool,
}

impl<K: Ord + Clone, V: Clone> Troubled<K, V> {
    fn of<'a>(all: impl Iterator<Item = (&'a K, &'a V)>, after: Option<&K>, limit: usize) -> Self
    where
        K: 'a,
        V: 'a,
    {
        let mut total = 0;
        let mut behind: Vec<(&K, &V)> = all
            .inspect(|_| total += 1)
            .filter(|(key, _)| after.is_none_or(|after| *key > after))
            .collect();
        let is_cut = behind.len() > limit;
        if is_cut && limit > 0 {
            behind.select_nth_unstable_by(limit - 1, |one, other| one.0.cmp(other.0));
        }
        behind.truncate(limit);
        behind.sort_unstable_by(|one, other| one.0.cmp(other.0));
        let listed = behind.into_iter().map(|(key, view)| (key.clone(), view.clone())).collect();
        Self { total, listed, is_cut }
    }
}

/// The status.
#[derive(Debug)]
pub struct Status {
    /// What each member of the tree shows of itself.
    pub members: Members,
    clock: Clock,
    views: Mutex<Views>,
    changes: Dirty<Subject>,
}

#[derive(Debug, Default)]
struct Views {
    accounts: HashMap<AuthKeyId, AccountView>,
    /// The session ids of each account, as commands name it.
    names: HashMap<AuthKeyId, Vec<String>>,
    monitors: HashMap<ChatKey, MonitorView>,
    campaigns: BTreeMap<(UserId, TaskId), CampaignView>,
    crashes: VecDeque<RestartRecord>,
    drops: VecDeque<RestartRecord>,
}

impl Views {
    /// What the account says of itself whose session a monitor uses.
    fn account_of(&self, view: &MonitorView) -> Option<&AccountView> {
        view.account.and_then(|id| self.accounts.get(&id))
    }
}

impl Status {
    /// Nobody has said anything yet; what is late is judged by `clock`.
    pub fn new(clock: Clock) -> Self {
        Self {
            members: Members::new(clock.clone()),
            clock,
            views: Mutex::default(),
            changes: Dirty::default(),
        }
    }

    fn views(&self) -> MutexGuard<'_, Views> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account's new view; `since` moves only when the state changes.
    pub fn account(&self, id: AuthKeyId, mut view: AccountView) {
        let mut views = self.views();
        if let Some(known) = views.accounts.get(&id).filter(|known| known.state == view.state) {
            view.since = known.since;
        }
        let (state, error) = (view.state, view.error.clone());
        let before = views.accounts.insert(id, view);
        drop(views);
        if before.is_none_or(|before| before.state != state || before.error != error) {
            self.changed(Subject::Account(id));
        }
    }

    /// Something changed that users may follow.
    pub(in crate::actors) fn changed(&self, subject: Subject) {
        self.changes.note(subject);
    }

    /// What changed since somebody took it last.
    pub(in crate::actors) fn changes(&self) -> &Dirty<Subject> {
        &self.changes
    }

    /// How commands call an account.
    pub fn named(&self, id: AuthKeyId, names: &[String]) {
        let known = &mut self.views().names;
        match names.is_empty() {
            true => drop(known.remove(&id)),
            false => drop(known.insert(id, names.to_vec())),
        }
    }

    /// The session ids by which commands call an account.
    pub fn names(&self, id: AuthKeyId) -> Vec<String> {
        self.views().names.get(&id).cloned().unwrap_or_default()
    }

    /// The account is at rest: nobody needs it.
    pub fn account_rests(&self, id: AuthKeyId) {
        self.views().accounts.remove(&id);
        self.changed(Subject::Account(id));
    }

    /// A monitor's new view; `since` moves only when the state changes.
    pub fn monitor(&self, key: &ChatKey, mut view: MonitorView) {
        let mut views = self.views();
        if let Some(known) = views.monitors.get(key).filter(|known| known.state == view.state) {
            view.since = known.since;
        }
        views.monitors.insert(key.clone(), view);
        drop(views);
        self.changed(Subject::Monitor(key.clone()));
    }

    /// What a monitor last said of itself, and what is known against it.
    pub fn monitor_view(&self, key: &ChatKey) -> Option<MonitorView> {
        let views = self.views();
        let view = views.monitors.get(key)?;
        Some(view.clone().judged(views.account_of(view), self.clock.now()))
    }

    /// The chat is not monitored any more.
    pub fn monitor_gone(&self, key: &ChatKey) {
        self.views().monitors.remove(key);
        self.changed(Subject::Monitor(key.clone()));
    }

    /// A campaign's new view. What holds it is known to others, and stays while it runs.
    pub fn campaign(&self, user: &UserId, task: TaskId, mut view: CampaignView) {
        let (mut views, key) = (self.views(), (user.clone(), task));
        let is_running = |view: &&CampaignView| view.status == TaskStatus::Running;
        let known = views.campaigns.get(&key).filter(is_running);
        view.held = known.filter(|_| is_running(&&view)).and_then(|known| known.held);
        views.campaigns.insert(key, view);
        drop(views);
        self.changed(Subject::Campaign(user.clone(), task));
    }

    /// What holds a running campaign, or that nothing does. It is looked up, and no event.
    pub fn campaign_held(&self, user: &UserId, task: TaskId, held: Option<TaskHold>) {
        let mut views = self.views();
        let view = views.campaigns.get_mut(&(user.clone(), task));
        if let Some(view) = view.filter(|view| view.status == TaskStatus::Running) {
            view.held = held;
        }
    }

    /// A campaign's actor crashed too often.
    pub fn campaign_parked(&self, user: &UserId, task: TaskId, cause: &str) {
        let mut views = self.views();
        if let Some(view) = views.campaigns.get_mut(&(user.clone(), task)) {
            view.error = Some(format!("its actor crashed too often: {cause}"));
            view.held = None;
        }
        drop(views);
        self.changed(Subject::Campaign(user.clone(), task));
    }

    /// A campaign has no actor any more: what the store says of it is all there is.
    pub fn campaign_gone(&self, user: &UserId, task: TaskId) {
        self.views().campaigns.remove(&(user.clone(), task));
        self.changed(Subject::Campaign(user.clone(), task));
    }

    /// What a campaign last said of itself; `None`: it has no actor.
    pub fn campaign_view(&self, user: &UserId, task: TaskId) -> Option<CampaignView> {
        self.views().campaigns.get(&(user.clone(), task)).cloned()
    }

    /// How many campaigns are where.
    pub fn campaign_states(&self) -> BTreeMap<TaskStatus, usize> {
        let mut states = BTreeMap::new();
        for view in self.views().campaigns.values() {
            *states.entry(view.status).or_insert(0) += 1;
        }
        states
    }

    /// An actor ended.
    pub fn restart(&self, record: RestartRecord) {
        push(&mut self.views().crashes, record);
    }

    /// Nothing here names `user` any more.
    pub(in crate::actors) fn forget(&self, user: &UserId) {
        self.views().crashes.retain(|line| !names_user(line, user));
    }

    /// An account's link was dropped.
    pub fn link_dropped(&self, record: RestartRecord) {
        push(&mut self.views().drops, record);
    }

    /// How many accounts are in each state.
    pub fn account_states(&self) -> BTreeMap<AccountState, usize> {
        let views = self.views();
        let mut states = BTreeMap::new();
        for view in views.accounts.values() {
            *states.entry(view.state).or_insert(0) += 1;
        }
        states
    }

    /// The accounts in trouble, in the order of their keys: at most `limit`, behind `after`.
    pub fn troubled_accounts(
        &self,
        after: Option<AuthKeyId>,
        limit: usize,
    ) -> Troubled<AuthKeyId, AccountView> {
        let views = self.views();
        let troubled = views.accounts.iter().filter(|(_, view)| view.error.is_some());
        Troubled::of(troubled, after.as_ref(), limit)
    }

    /// What an account last said of itself; `None` when it is at rest.
    pub fn view(&self, id: AuthKeyId) -> Option<AccountView> {
        self.views().accounts.get(&id).cloned()
    }

    /// Why an account is as it is at the moment `now`; `None` when it is at rest, because nobody
    /// needs it.
    pub fn why(&self, id: AuthKeyId, now: UnixMillis) -> Option<Why> {
        self.views().accounts.get(&id).map(|view| view.why(now))
    }

    /// Whether something is known against this account.
    pub fn is_in_trouble(&self, id: AuthKeyId) -> bool {
        self.views().accounts.get(&id).is_some_and(|view| view.error.is_some())
    }

    /// Whether an account that somebody wants is in trouble.
    pub fn is_any_account_in_trouble(&self) -> bool {
        self.views().accounts.values().any(|view| view.is_wanted && view.error.is_some())
    }

    /// How many monitors are in each state.
    pub fn monitor_states(&self) -> BTreeMap<MonitorState, usize> {
        let views = self.views();
        let mut states = BTreeMap::new();
        for view in views.monitors.values() {
            *states.entry(view.state).or_insert(0) += 1;
        }
        states
    }

    /// The monitors in trouble that `wanted` takes, in the order of their chats' keys: at most `limit`,
    /// behind `after`.
    pub fn troubled_monitors(
        &self,
        after: Option<&ChatKey>,
        limit: usize,
        wanted: impl Fn(&ChatKey) -> bool,
    ) -> Troubled<ChatKey, MonitorView> {
        let (views, at) = (self.views(), self.clock.now());
        let troubled = views
            .monitors
            .iter()
            .filter(|(key, view)| view.is_in_trouble(views.account_of(view), at) && wanted(key));
        let mut troubled = Troubled::of(troubled, after, limit);
        for (_, view) in &mut troubled.listed {
            *view = view.clone().judged(views.account_of(view), at);
        }
        troubled
    }

    /// The newest crashes and dropped links, oldest first.
    pub fn restarts(&self) -> Vec<RestartRecord> {
        let views = self.views();
        let mut all: Vec<_> = views.crashes.iter().chain(&views.drops).cloned().collect();
        all.sort_by_key(|record| record.at);
        all
    }
}

fn push(lines: &mut VecDeque<RestartRecord>, record: RestartRecord) {
    if lines.len() == RESTARTS_MAX {
        lines.pop_front();
    }
    lines.push_back(record);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn troubled(fault: bool) -> AccountView {
        let error = ("CODE".to_owned(), "it failed".to_owned());
        let view = AccountView::without_actor(AccountState::Error, UnixMillis(0), error);
        AccountView { error: view.error.clone().filter(|_| fault), ..view }
    }

    proptest! {
        #[test]
        fn pages_of_what_is_in_trouble_hold_each_once_and_say_how_many_there_are(
            accounts in prop::collection::btree_map(any::<u64>(), any::<bool>(), 0..60),
            limit in 1_usize..20,
        ) {
            let status = Status::new(Clock::system());
            for (id, fault) in &accounts {
                status.account(AuthKeyId(*id), troubled(*fault));
            }
            let all: Vec<_> =
                accounts.iter().filter(|(_, fault)| **fault).map(|(id, _)| AuthKeyId(*id)).collect();
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = status.troubled_accounts(after, limit);
                prop_assert_eq!(page.total, all.len());
                prop_assert!(page.listed.len() <= limit);
                found.extend(page.listed.iter().map(|(id, _)| *id));
                after = found.last().copied();
                if !page.is_cut {
                    break;
                }
                prop_assert_eq!(page.listed.len(), limit);
            }
            prop_assert_eq!(&found, &all);
            let none = status.troubled_accounts(None, 0);
            prop_assert_eq!((none.total, none.listed.len(), none.is_cut), (all.len(), 0, !all.is_empty()));
        }
    }

    #[test]
    fn a_monitor_that_does_not_come_to_listen_for_minutes_is_in_trouble() {
        let view = |state, error: Option<&str>| MonitorView {
            state,
            since: UnixMillis(1_000),
            session: None,
            account: None,
            error: error.map(str::to_owned),
        };
        let late = UnixMillis(1_000 + UNOPENED_MS);
        for state in [MonitorState::Connecting, MonitorState::Opening, MonitorState::Waiting] {
            assert_eq!(view(state, None).judged(None, UnixMillis(60_000)).error, None);
            let told = view(state, None).judged(None, late).error.expect("it is in trouble");
            assert!(told.contains("3 minutes"), "{told}");
            assert_eq!(view(state, Some("why")).judged(None, late).error.as_deref(), Some("why"));
        }
        assert_eq!(view(MonitorState::Active, None).judged(None, late).error, None);
    }

    /// An account that PEER_FLOOD keeps from looking a chat up for a day, with a monitor of that chat.
    #[test]
    fn a_monitor_whose_account_has_to_rest_says_until_when_at_once() {
        let (status, key) = (Status::new(Clock::system()), ChatKey("@durov".into()));
        let now = status.clock.now();
        let monitor = |state| MonitorView {
            state,
            since: now,
            session: None,
            account: Some(AuthKeyId(1)),
            error: None,
        };
        let error = ("PEER_FLOOD".to_owned(), "limited".to_owned());
        let account = |scope, ms| AccountView {
            flood_waits: vec![FloodWait { scope, until: now.plus_ms(ms) }],
            ..AccountView::without_actor(AccountState::Limited, now, error.clone())
        };
        let told = |state, account| {
            status.account(AuthKeyId(1), account);
            status.monitor(&key, monitor(state));
            let troubled = status.troubled_monitors(None, 10, |_| true);
            let error = status.monitor_view(&key).and_then(|view| view.error);
            assert_eq!(troubled.listed.first().and_then(|(_, view)| view.error.clone()), error);
            error
        };
        let day = 86_400_000;
        let resting = told(MonitorState::Opening, account(FloodWaitScope::Account, day));
        let resting = resting.expect("it is in trouble");
        assert!(resting.contains(&rfc3339_ms(now.plus_ms(day))), "{resting}");
        assert!(resting.contains("limited"), "{resting}");
        let resolve = FloodWaitScope::Class(MethodClass::Resolve);
        assert!(told(MonitorState::Opening, account(resolve.clone(), day)).is_some());
        assert_eq!(told(MonitorState::Opening, account(resolve, 5_000)), None, "it is soon over");
        let send = FloodWaitScope::Class(MethodClass::Send);
        assert_eq!(told(MonitorState::Opening, account(send, day)), None, "it need not send");
        assert_eq!(told(MonitorState::Active, account(FloodWaitScope::Account, day)), None);
    }
}
