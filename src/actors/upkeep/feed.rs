//! The change feed: tells followers what became of what changed. Looks the newest state up when it comes to it,
//! and says nothing when that looks as it did.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::actors::logins::context::LoginsContext;
use crate::actors::services::{accounts, logins};
use crate::actors::tree::changes::{LastTold, Subject};
use crate::actors::tree::children::watched_task;
use crate::actors::tree::status::{CampaignView, MonitorView};
use crate::clock::instant;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::campaign::CampaignChange;
use crate::protocol::answers::monitor::MonitorChange;
use crate::protocol::campaigns::task::TaskStatus;
use crate::protocol::feed::event::FeedEvent;
use crate::protocol::telegram::chat::{ChatKey, ChatSpelling};
use crate::protocol::tree::table;
use crate::protocol::users::owner::{Scope, UserId};

/// Of one campaign it is told at most so often how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Starts telling; it ends when what is returned is dropped.
pub(in crate::actors) fn start(context: &Arc<LoginsContext>) -> AbortOnDropHandle<()> {
    let shared = Arc::clone(context);
    let telling = Arc::new(Mutex::new(Telling::default()));
    watched_task(&context.accounts.tree, &table::CHANGE_FEED, move || {
        follow(Arc::clone(&shared), Arc::clone(&telling))
    })
}

/// What was told last; of monitors with the name that they go by once they are gone.
type Told = LastTold<Subject, Option<ChatSpelling>>;

/// What outlives a panic, which so costs the one thing over which it came about.
#[derive(Default)]
struct Telling {
    told: Told,
    untold: Vec<Subject>,
    /// When a campaign was told of last, and where it stood.
    progress: HashMap<Subject, (Instant, TaskStatus)>,
    /// Campaigns that have got on since, and are told of in a moment.
    later: Vec<Subject>,
}

impl Telling {
    /// Whether a campaign has only got on since it was told of just now. Where it stands is told at once.
    fn is_early(&mut self, context: &LoginsContext, subject: &Subject) -> bool {
        let Subject::Campaign(user, task) = subject else { return false };
        let Some(view) = context.status.campaign_view(user, *task) else {
            self.progress.remove(subject);
            return false;
        };
        let last = self.progress.get(subject);
        if last.is_some_and(|(at, status)| *status == view.status && at.elapsed() < PROGRESS_EVERY)
        {
            return true;
        }
        self.progress.insert(subject.clone(), (instant(), view.status));
        false
    }
}

async fn follow(context: Arc<LoginsContext>, telling: Arc<Mutex<Telling>>) {
    loop {
        {
            let mut telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(subject) = telling.untold.pop() {
                if telling.is_early(&context, &subject) {
                    telling.later.push(subject);
                } else {
                    tell(&context, &mut telling.told, subject);
                }
            }
        }
        let is_waited_for = {
            let telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
            !telling.later.is_empty()
        };
        let next = context.status.changes().next();
        let mut news = match is_waited_for {
            true => timeout(PROGRESS_EVERY, next).await.unwrap_or_default(),
            false => next.await,
        };
        let mut telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
        news.extend(telling.later.drain(..));
        telling.untold.extend(news);
    }
}

fn tell(context: &LoginsContext, told: &mut Told, subject: Subject) {
    let Some((owner, what)) = look(context, &subject) else {
        if let Some(Some(chat)) = told.forget(&subject)
            && let Subject::Monitor(key) = &subject
            && let Some(owner) = owner_of(key)
        {
            context.changes.tell(&owner, FeedEvent::MonitorRemoved(chat));
        }
        return;
    };
    // Logins come to their end, and nothing follows.
    let is_last = matches!(&what, FeedEvent::Login(login) if login.state.is_over());
    let name = match &what {
        FeedEvent::Monitor(monitor) => Some(monitor.chat.clone()),
        _ => None,
    };
    if told.is_news(subject.clone(), &what, name) {
        context.changes.tell(&owner, what);
    }
    if is_last {
        told.forget(&subject);
    }
}

/// Whose something is and how it looks now; `None` once it is gone, or when nobody follows it.
fn look(context: &LoginsContext, subject: &Subject) -> Option<(UserId, FeedEvent)> {
    let account =
        |owned: &OwnedAccount| accounts::info(owned, context.status.view(owned.key).as_ref());
    match subject {
        Subject::Account(key) => {
            let owned = context.directory.of_key(*key)?;
            let what = FeedEvent::Account(account(&owned));
            Some((owned.user, what))
        }
        Subject::Login(user, id) => {
            let scope = Scope::Only(user.clone());
            let (_, view) = context.login_registry.get(&scope, *id)?;
            let owned = view.account.and_then(|id| context.directory.get(&scope, id));
            let what = FeedEvent::Login(logins::told(*id, view, owned.as_ref().map(account)));
            Some((user.clone(), what))
        }
        Subject::Campaign(user, task) => {
            let view = context.status.campaign_view(user, *task)?;
            let CampaignView { status, priority, statistics, paused_because, error, .. } = view;
            let change =
                CampaignChange { task: *task, status, priority, statistics, paused_because, error };
            Some((user.clone(), FeedEvent::Campaign(change)))
        }
        Subject::Monitor(key) => {
            let MonitorView { state, since, session, error, .. } =
                context.status.monitor_view(key)?;
            // As everything else says it: a number where it was asked for by its number.
            let chat = context.store.monitor_spelling(key)?;
            let what = FeedEvent::Monitor(MonitorChange { chat, state, since, session, error });
            Some((owner_of(key)?, what))
        }
    }
}

/// Whose a monitor is; `None` of the bridge's.
fn owner_of(key: &ChatKey) -> Option<UserId> {
    key.parts().1.and_then(|owner| UserId::new(owner).ok())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::actors::logins::registry::LoginView;
    use crate::actors::tree::changes::Follower;
    use crate::clock::now;
    use crate::protocol::campaigns::target::{Statistics, TargetStatus};
    use crate::protocol::campaigns::task::{Priority, TaskId};
    use crate::protocol::feed::event::FeedEntry;
    use crate::protocol::logins::steps::LoginState;
    use crate::protocol::monitors::failover::MonitorState;
    use crate::protocol::monitors::record::{MonitorPhase, MonitorRecord};
    use crate::protocol::telegram::chat::ChatRef;
    use crate::protocol::users::owner::LoginId;
    use crate::store::{Op, Store};

    fn ann() -> UserId {
        UserId::new("ann").unwrap()
    }

    fn monitor(spelling: ChatSpelling) -> MonitorRecord {
        MonitorRecord {
            owner: Some(ann()),
            chat: ChatRef::parse(spelling).unwrap(),
            ordered: Vec::new(),
            pool: Vec::new(),
            phase: MonitorPhase::Running,
            started_at: now(),
            started_steady: None,
            owed_from: None,
            marked_id: None,
            migrated_from: None,
            title: None,
            names: Vec::new(),
            start_pts: None,
            exhausted: None,
        }
    }

    async fn next(
        changes: &mut tokio::sync::mpsc::Receiver<FeedEntry>,
    ) -> (&'static str, ChatSpelling) {
        let entry = tokio::time::timeout(Duration::from_secs(20), changes.recv()).await;
        match &*entry.unwrap().unwrap().event {
            FeedEvent::Monitor(monitor) => ("changed", monitor.chat.clone()),
            FeedEvent::MonitorRemoved(chat) => ("removed", chat.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_monitor_is_called_as_it_was_asked_for_until_it_is_gone() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = LoginsContext::for_tests(store.clone());
        let mut changes = Follower::start(&context.accounts.tree, Scope::Only(ann()), None);
        // It follows from where it came in.
        tokio::task::yield_now().await;
        let _feed = start(&context);
        let (state, since) = (MonitorState::Waiting, now());
        let view = MonitorView { state, since, session: None, account: None, error: None };
        let number = ChatSpelling::Number(-1_000_000_000_005);
        let name = ChatSpelling::Text("t.me/Durov".into());
        for called in [number, name] {
            let record = monitor(called.clone());
            let key = record.key();
            store.commit(vec![Op::PutMonitor(record)]).await.unwrap();
            context.status.monitor(&key, view.clone());
            assert_eq!(next(&mut changes).await, ("changed", called.clone()));
            store.commit(vec![Op::DeleteMonitor(key.clone())]).await.unwrap();
            context.status.monitor_gone(&key);
            assert_eq!(next(&mut changes).await, ("removed", called));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_campaign_tells_once_a_second_how_far_it_is_and_at_once_where_it_stands() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = LoginsContext::for_tests(store);
        let mut changes = Follower::start(&context.accounts.tree, Scope::Only(ann()), None);
        tokio::task::yield_now().await;
        let _feed = start(&context);
        let task = TaskId(Uuid::from_u128(1));
        let mut view = CampaignView {
            status: TaskStatus::Running,
            priority: Priority::Normal,
            statistics: Statistics::default(),
            paused_because: None,
            held: None,
            error: None,
        };
        for _ in 0..100 {
            view.statistics.add(TargetStatus::Sent);
            context.status.campaign(&ann(), task, view.clone());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        view.status = TaskStatus::Completed;
        context.status.campaign(&ann(), task, view);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let mut told = Vec::new();
        while let Ok(entry) = changes.try_recv() {
            let FeedEvent::Campaign(change) = &*entry.event else { panic!("{entry:?}") };
            told.push((change.status, change.statistics.total()));
        }
        assert_eq!(told.last(), Some(&(TaskStatus::Completed, 100)), "the newest is told, at once");
        assert!((5..=7).contains(&told.len()), "{told:?}");
    }

    #[tokio::test]
    async fn a_login_that_is_over_or_given_up_is_remembered_no_longer() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = LoginsContext::for_tests(store);
        let (ended, open, dropped) =
            (LoginId(Uuid::from_u128(1)), LoginId(Uuid::from_u128(2)), LoginId(Uuid::from_u128(3)));
        let mut told = Told::default();
        let states = [
            (ended, LoginState::Failed),
            (open, LoginState::CodeSent),
            (dropped, LoginState::CodeSent),
        ];
        for (id, state) in states {
            let expires_at = now().plus_ms(60_000);
            let view = LoginView::new(state, expires_at);
            context.login_registry.put(&ann(), id, view, now());
            tell(&context, &mut told, Subject::Login(ann(), id));
        }
        context.login_registry.remove(&ann(), dropped);
        tell(&context, &mut told, Subject::Login(ann(), dropped));
        let is_known = |id| told.forget(&Subject::Login(ann(), id)).is_some();
        assert_eq!([ended, open, dropped].map(is_known), [false, true, false]);
    }
}
