//! What changes, for those who follow: accounts, logins and monitors of each user, in order, numbered, and
//! resumable from what is remembered. Whoever changes something only says whose and what; the newest state
//! is looked up when it is told, so a thing that changes often costs one line and not many.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use uuid::Uuid;

use crate::actors::tree::context::Context;
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::feed::event::{FeedEntry, FeedEvent};
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::users::owner::{LoginId, Scope, UserId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::AuthKeyId;
use crate::tasks;

/// Changes that are remembered for those who resume: some 500 bytes each.
const KEPT: usize = 4_096;
/// Changes on their way to one follower. One that is slower resumes.
const AHEAD_MAX: usize = 256;

/// How long one change may wait for a follower.
const SLOW_MAX: Duration = Duration::from_secs(10);

/// What may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::actors) enum Subject {
    Account(AuthKeyId),
    Login(UserId, LoginId),
    Monitor(ChatKey),
    Campaign(UserId, TaskId),
}

/// Something that changed.
#[derive(Clone, Debug)]
struct Told {
    number: u64,
    /// `None` once the owner was erased: nobody sees it any more.
    owner: Option<UserId>,
    event: Arc<FeedEvent>,
}

/// The changes of everybody.
#[derive(Debug)]
pub(in crate::actors) struct Changes {
    /// Tells numbers of this run of the daemon from those of earlier ones.
    run: Uuid,
    log: Mutex<Log>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Log {
    next: u64,
    told: VecDeque<Told>,
}

impl Changes {
    /// Nothing has changed yet, in the run of the daemon that is named so.
    pub(super) fn new(run: Uuid) -> Self {
        Self { run, log: Mutex::default(), news: Notify::new() }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something of `owner`'s changed.
    pub(in crate::actors) fn tell(&self, owner: &UserId, event: FeedEvent) {
        let mut log = self.log();
        let number = log.next;
        log.next += 1;
        log.told.push_back(Told { number, owner: Some(owner.clone()), event: Arc::new(event) });
        if log.told.len() > KEPT {
            log.told.pop_front();
        }
        drop(log);
        self.news.notify_waiters();
    }

    /// Nothing that was told of `owner` is told again.
    pub(in crate::actors) fn forget(&self, owner: &UserId) {
        let mut log = self.log();
        for told in log.told.iter_mut().filter(|told| told.owner.as_ref() == Some(owner)) {
            (told.owner, told.event) = (None, Arc::new(FeedEvent::Reset));
        }
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run.simple())
    }

    /// The number of a change of this run.
    fn number(&self, id: &str) -> Option<u64> {
        let (run, number) = id.split_once('-')?;
        (run == self.run.simple().to_string()).then(|| number.parse().ok()).flatten()
    }

    fn end(&self) -> u64 {
        self.log().next
    }

    /// What `scope` may see from `from` on, and where to go on; `None` when some of it is forgotten.
    fn since(&self, scope: &Scope, from: u64) -> Option<(Vec<FeedEntry>, u64)> {
        let log = self.log();
        let first = log.told.front().map_or(log.next, |told| told.number);
        if from < first || from > log.next {
            return None;
        }
        let skip = usize::try_from(from - first).unwrap_or(usize::MAX);
        let is_own = |told: &&Told| told.owner.as_ref().is_some_and(|owner| scope.covers(owner));
        let seen = log.told.iter().skip(skip).filter(is_own);
        let seen =
            seen.map(|told| FeedEntry { id: self.id(told.number), event: Arc::clone(&told.event) });
        Some((seen.collect(), log.next))
    }
}

/// Somebody who follows.
pub(in crate::actors) struct Follower;

impl Follower {
    /// Follows from now on, or from behind the change `after`. When that is forgotten, by a restart or
    /// because it is too long ago, the first change is a `reset`: what is known has to be fetched anew.
    pub(in crate::actors) fn start(
        context: &Arc<Context>,
        scope: Scope,
        after: Option<String>,
    ) -> mpsc::Receiver<FeedEntry> {
        let (sender, receiver) = mpsc::channel(AHEAD_MAX);
        let context = Arc::clone(context);
        tasks::brief(async move { follow(&context.changes, &scope, after, &sender).await });
        receiver
    }
}

async fn follow(
    changes: &Changes,
    scope: &Scope,
    after: Option<String>,
    sender: &mpsc::Sender<FeedEntry>,
) {
    let mut from = match after {
        None => changes.end(),
        // What is not of this run is forgotten.
        Some(id) => changes.number(&id).map_or(u64::MAX, |number| number.wrapping_add(1)),
    };
    loop {
        let news = changes.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        match changes.since(scope, from) {
            Some((seen, next)) => {
                for change in seen {
                    // One that does not keep up is cut off and resumes.
                    let sent = timeout(SLOW_MAX, sender.send(change)).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        return;
                    }
                }
                from = next;
            }
            None => {
                from = changes.end();
                let id = changes.id(from.wrapping_sub(1));
                let reset = FeedEntry { id, event: Arc::new(FeedEvent::Reset) };
                if sender.try_send(reset).is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            () = news => {}
            () = sender.closed() => return,
        }
    }
}

/// What was said to have changed and has not been told yet: each thing once, however often it changed.
#[derive(Debug)]
pub(in crate::actors) struct Dirty<T> {
    things: Mutex<HashSet<T>>,
    news: Notify,
}

impl<T> Default for Dirty<T> {
    fn default() -> Self {
        Self { things: Mutex::default(), news: Notify::new() }
    }
}

impl<T: Eq + Hash> Dirty<T> {
    /// `thing` changed.
    pub(in crate::actors) fn note(&self, thing: T) {
        self.things.lock().unwrap_or_else(PoisonError::into_inner).insert(thing);
        self.news.notify_one();
    }

    /// Waits until something changed, and takes all of it.
    pub(in crate::actors) async fn next(&self) -> HashSet<T> {
        loop {
            let things =
                std::mem::take(&mut *self.things.lock().unwrap_or_else(PoisonError::into_inner));
            if !things.is_empty() {
                return things;
            }
            self.news.notified().await;
        }
    }
}

/// What was told last of each thing, to tell a thing only when it looks different. Looks are kept as
/// fingerprints: they may hold secrets, and need not be kept for this.
#[derive(Debug)]
pub(in crate::actors) struct LastTold<K, N>(BTreeMap<K, LastLook<N>>);

#[derive(Debug)]
struct LastLook<N> {
    look: Fingerprint,
    /// What it is called when it is gone.
    name: N,
}

impl<K, N> Default for LastTold<K, N> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, N> LastTold<K, N> {
    /// Whether `look` is news of `thing`, which is called `name` once it is gone.
    pub(in crate::actors) fn is_news(&mut self, thing: K, look: &impl Hash, name: N) -> bool {
        let look = Fingerprint::of_value(look);
        let before = self.0.insert(thing, LastLook { look, name });
        before.is_none_or(|before| before.look != look)
    }

    /// `thing` is gone; what it was called, if anything was told of it.
    pub(in crate::actors) fn forget(&mut self, thing: &K) -> Option<N> {
        self.0.remove(thing).map(|last| last.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::users::owner::AccountId;

    fn user(id: &str) -> UserId {
        UserId::new(id).unwrap()
    }

    /// A change that can be told from others by its number.
    fn numbered(number: usize) -> FeedEvent {
        FeedEvent::AccountRemoved(AccountId(Uuid::from_u128(number as u128)))
    }

    fn follower(
        changes: &Arc<Changes>,
        scope: Scope,
        after: Option<String>,
    ) -> mpsc::Receiver<FeedEntry> {
        let (sender, receiver) = mpsc::channel(AHEAD_MAX);
        let changes = Arc::clone(changes);
        tokio::spawn(async move { follow(&changes, &scope, after, &sender).await });
        receiver
    }

    async fn next(follower: &mut mpsc::Receiver<FeedEntry>) -> FeedEntry {
        timeout(Duration::from_secs(20), follower.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn one_hears_of_ones_own_and_resumes_where_one_left() {
        let changes = Arc::new(Changes::new(Uuid::from_u128(7)));
        changes.tell(&user("one"), numbered(0));
        let first = changes.id(0);
        let mut follower_one = follower(&changes, Scope::Only(user("one")), Some(first));
        changes.tell(&user("two"), numbered(7));
        changes.tell(&user("one"), numbered(1));
        let seen = next(&mut follower_one).await;
        assert_eq!((&*seen.event, seen.id == changes.id(2)), (&numbered(1), true));
        changes.tell(&user("one"), numbered(2));
        assert_eq!(*next(&mut follower_one).await.event, numbered(2));
        let mut again = follower(&changes, Scope::Only(user("one")), Some(seen.id));
        assert_eq!(*next(&mut again).await.event, numbered(2));
        let mut admin = follower(&changes, Scope::Everybody, Some(changes.id(0)));
        assert_eq!(*next(&mut admin).await.event, numbered(7));
    }

    #[test]
    fn a_thing_is_news_when_it_looks_different_and_no_look_is_kept() {
        let mut told = LastTold::default();
        assert!(told.is_news(1, &"secret", "one"));
        assert!(!told.is_news(1, &"secret", "one"));
        assert!(!format!("{told:?}").contains("secret"));
        assert!(told.is_news(1, &"other", "one") && told.is_news(2, &"other", "two"));
        assert_eq!((told.forget(&1), told.forget(&1)), (Some("one"), None));
        assert_eq!(told.forget(&2), Some("two"));
    }

    #[tokio::test]
    async fn nothing_is_told_again_of_a_user_who_was_erased() {
        let changes = Arc::new(Changes::new(Uuid::from_u128(7)));
        for (owner, data) in [("one", 1), ("two", 2), ("one", 3), ("two", 4)] {
            changes.tell(&user(owner), numbered(data));
        }
        let first = changes.id(0);
        changes.forget(&user("one"));
        for scope in [Scope::Everybody, Scope::Only(user("two"))] {
            let mut admin = follower(&changes, scope, Some(first.clone()));
            assert_eq!(*next(&mut admin).await.event, numbered(2));
            assert_eq!(*next(&mut admin).await.event, numbered(4));
        }
        assert_eq!(changes.since(&Scope::Only(user("one")), 0).unwrap().0, []);
    }

    #[tokio::test]
    async fn who_asks_for_what_is_forgotten_is_told_so() {
        let changes = Arc::new(Changes::new(Uuid::from_u128(7)));
        for number in 0..=KEPT {
            changes.tell(&user("one"), numbered(number));
        }
        for after in [
            changes.id(0).replace("-0", "-"),
            Changes::new(Uuid::from_u128(1)).id(7),
            changes.id(0),
        ] {
            let is_kept = after == changes.id(0);
            let mut follower = follower(&changes, Scope::Only(user("one")), Some(after));
            // The first one was forgotten, the second one is remembered.
            let expected = if is_kept { numbered(1) } else { FeedEvent::Reset };
            assert_eq!(*next(&mut follower).await.event, expected);
        }
        changes.tell(&user("one"), numbered(KEPT + 1));
        let mut follower = follower(&changes, Scope::Only(user("one")), Some(changes.id(0)));
        assert_eq!(*next(&mut follower).await.event, FeedEvent::Reset);
        changes.tell(&user("one"), numbered(KEPT + 2));
        assert_eq!(*next(&mut follower).await.event, numbered(KEPT + 2));
    }
}
