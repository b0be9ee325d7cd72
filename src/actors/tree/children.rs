//! What every parent does with its children's ends: decide by the kind's policy, note it in the
//! ledger, come back to it after the pause. One child's end never touches its siblings. Long-lived tasks
//! and threads that are no actors are watched in the same way.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::context::Context;
use super::ledger;
use super::members::MemberStats;
use crate::actors::tree::actor::{ActorCell, ActorId, SupervisionEvent};
use crate::failpoint;
use crate::protocol::tree::restart::{ChildKind, RestartHistory};
use crate::protocol::tree::table::TableRow;
use crate::tasks;

/// Runs the work that `make` makes, for as long as what is returned lives. It is to go on for ever: whether
/// it panics or ends, that is noted, and after a pause it is made anew.
pub(crate) fn watched_task<T: Future<Output = ()> + Send + 'static>(
    context: &Arc<Context>,
    row: &'static TableRow,
    make: impl Fn() -> T + Send + 'static,
) -> AbortOnDropHandle<()> {
    let context = Arc::clone(context);
    let name = row.name.unwrap_or_default();
    tasks::owned(async move {
        let member = context.members().of_row(row);
        let _leaving = Leaving { context: &context, member: &member };
        let mut history = RestartHistory::default();
        loop {
            let _ = member.runs();
            let work = make();
            let life = tasks::owned(async move {
                failpoint::stumble("helper", &name);
                work.await;
            });
            let life = life.await;
            let cause = match life.map_err(tokio::task::JoinError::try_into_panic) {
                Ok(()) => "it ended, although it is to go on".to_owned(),
                Err(Ok(panic)) => said_by(&*panic),
                // The runtime ends.
                Err(Err(_)) => return,
            };
            let verdict =
                ledger::judge(&context, ChildKind::Helper, name, &mut history, &cause).await;
            member.failed(false);
            sleep(ledger::pause_of(verdict).unwrap_or_default()).await;
        }
    })
}

/// Runs `work` on a thread of its own until it returns; when it panics, that is noted, and after a pause it
/// runs again. To be called inside of the runtime.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn watched_thread(
    context: &Arc<Context>,
    row: &'static TableRow,
    work: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let (context, runtime) = (Arc::clone(context), Handle::current());
    let name = row.name.unwrap_or_default();
    let run = move || {
        let member = context.members().of_row(row);
        let mut history = RestartHistory::default();
        let life = || {
            let _ = member.runs();
            failpoint::stumble("helper", &name);
            work();
        };
        while let Err(panic) = catch_unwind(AssertUnwindSafe(life)) {
            let cause = said_by(&*panic);
            let (verdict, line) =
                ledger::decide(&context, ChildKind::Helper, name, &mut history, &cause);
            member.failed(false);
            let keeping = Arc::clone(&context);
            runtime.spawn(async move { ledger::keep(&keeping, line).await });
            std::thread::sleep(ledger::pause_of(verdict).unwrap_or_default());
        }
        context.members().remove(&member);
    };
    std::thread::Builder::new().name(name.into()).spawn(run).map(drop)
}

/// A watched task, which is gone when this is dropped.
struct Leaving<'a> {
    context: &'a Context,
    member: &'a Arc<MemberStats>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.context.members().remove(self.member);
    }
}

/// What a panic said.
pub(crate) fn said_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("it panicked: {}", text.unwrap_or("it did not say why"))
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::actors) enum End {
    /// On its own accord.
    Done,
    /// It crashed.
    Crashed {
        /// Why, in words.
        cause: String,
        /// It is to be started again after this pause; `None`: it crashed too often and is parked.
        again_after: Option<Duration>,
    },
}

/// A child's end.
pub(in crate::actors) struct Ended<K> {
    pub(in crate::actors) key: K,
    pub(in crate::actors) child: ActorId,
    pub(in crate::actors) end: End,
}

/// The children of one parent, all of one kind.
pub(in crate::actors) struct Children<K> {
    kind: ChildKind,
    /// How each is called where people read.
    name: Box<dyn Fn(&K) -> String + Send + Sync>,
    living: HashMap<ActorId, K>,
    /// What each shows of itself, from its first start until it is not to be there any more.
    members: HashMap<K, Arc<MemberStats>>,
    histories: HashMap<K, RestartHistory>,
}

impl<K: Clone + Eq + Hash> Children<K> {
    /// Of a kind, each called by what `name` makes of its key.
    pub(in crate::actors) fn new(
        kind: ChildKind,
        name: impl Fn(&K) -> String + Send + Sync + 'static,
    ) -> Self {
        let (living, members, histories) = Default::default();
        Self { kind, name: Box::new(name), living, members, histories }
    }

    /// What a child shows of itself that is about to be started.
    pub(in crate::actors) fn member(&mut self, key: &K, context: &Context) -> Arc<MemberStats> {
        self.follow_name(key, context);
        let (kind, name) = (self.kind, &self.name);
        let new = || context.members().add(kind, &name(key));
        Arc::clone(self.members.entry(key.clone()).or_insert_with(new))
    }

    /// A child may be called otherwise than before.
    pub(in crate::actors) fn follow_name(&self, key: &K, context: &Context) {
        if let Some(member) = self.members.get(key) {
            context.members().rename(member, &(self.name)(key));
        }
    }

    /// A child is not to be there any more, and does not run.
    pub(in crate::actors) fn forget(&mut self, key: &K, context: &Context) {
        self.histories.remove(key);
        self.hide(key, context);
    }

    /// A child does not run and is not to, until it is started again: its crashes stay counted.
    pub(in crate::actors) fn hide(&mut self, key: &K, context: &Context) {
        if let Some(member) = self.members.remove(key) {
            context.members().remove(&member);
        }
    }

    /// A child was started.
    pub(in crate::actors) fn started(&mut self, child: &ActorCell, key: K) {
        self.living.insert(child.get_id(), key);
    }

    /// Whether one of them runs under this id.
    pub(in crate::actors) fn has(&self, child: ActorId) -> bool {
        self.living.contains_key(&child)
    }

    /// Somebody asks for a parked child again.
    pub(in crate::actors) fn reset_restarts(&mut self, key: &K) {
        self.histories.remove(key);
    }

    /// A child could not even be started.
    pub(in crate::actors) async fn failed_to_start(
        &mut self,
        key: &K,
        cause: &str,
        context: &Context,
    ) -> End {
        self.judge(key, cause, context).await
    }

    /// Sorts a supervision event; `None` when it tells of no child's end.
    pub(in crate::actors) async fn ended(
        &mut self,
        event: SupervisionEvent,
        context: &Context,
    ) -> Option<Ended<K>> {
        match event {
            SupervisionEvent::ActorTerminated(child, ..) => {
                let key = self.living.remove(&child.get_id())?;
                self.forget(&key, context);
                Some(Ended { key, child: child.get_id(), end: End::Done })
            }
            SupervisionEvent::ActorFailed(child, error) => {
                let key = self.living.remove(&child.get_id())?;
                let end = self.judge(&key, &ledger::cut(&error.to_string()), context).await;
                Some(Ended { key, child: child.get_id(), end })
            }
            _ => None,
        }
    }

    async fn judge(&mut self, key: &K, cause: &str, context: &Context) -> End {
        let member = self.member(key, context);
        let history = self.histories.entry(key.clone()).or_default();
        let verdict = ledger::judge(context, self.kind, &(self.name)(key), history, cause).await;
        let again_after = ledger::pause_of(verdict);
        member.failed(again_after.is_none());
        End::Crashed { cause: cause.to_owned(), again_after }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::protocol::tree::member::MemberState;
    use crate::store::Store;

    const TIDIER: TableRow =
        TableRow { kind: ChildKind::Helper, name: Some("tidier"), under: "root", does: "tidies" };
    const SAMPLER: TableRow = TableRow { name: Some("sampler"), ..TIDIER };

    async fn eventually(what: &str, holds: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < patience, "{what}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the ledger says, as actor and cause.
    async fn ledger_of(store: &Store) -> Vec<(String, String)> {
        store.commit(Vec::new()).await.unwrap();
        let lines = store.load().unwrap().restarts;
        lines.into_iter().map(|line| (line.actor, line.cause)).collect()
    }

    #[tokio::test]
    async fn a_task_that_panics_or_ends_is_noted_and_made_anew() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = Context::for_tests(store.clone());
        let lives = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&lives);
        let task = watched_task(&context, &TIDIER, move || {
            let life = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                match life {
                    0 => panic!("on purpose"),
                    1 => {}
                    _ => std::future::pending().await,
                }
            }
        });
        eventually("it lives for the third time", || lives.load(Ordering::SeqCst) == 3).await;
        let helper = || "helper/tidier".to_owned();
        let lines = [
            (helper(), "it panicked: on purpose".to_owned()),
            (helper(), "it ended, although it is to go on".to_owned()),
        ];
        assert_eq!(ledger_of(&store).await, lines);
        assert!(!task.is_finished());
        let shown = context.members().of("helper/tidier").unwrap();
        assert_eq!((shown.state, shown.restarts), (MemberState::Running, 2));
        drop(task);
        eventually("it is gone", || context.members().of("helper/tidier").is_none()).await;
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_noted_and_goes_on_until_it_returns() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = Context::for_tests(store.clone());
        let lives = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&lives);
        let work = move || {
            if counted.fetch_add(1, Ordering::SeqCst) == 0 {
                panic!("number {}", 7);
            }
        };
        watched_thread(&context, &SAMPLER, work).unwrap();
        eventually("it ran again and returned", || Arc::strong_count(&lives) == 1).await;
        assert_eq!(lives.load(Ordering::SeqCst), 2);
        eventually("it is gone", || context.members().of("helper/sampler").is_none()).await;
        let line = ("helper/sampler".to_owned(), "it panicked: number 7".to_owned());
        assert_eq!(ledger_of(&store).await, [line]);
    }

    #[tokio::test]
    async fn crashes_stay_counted_of_a_child_that_is_not_wanted_for_a_while() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = Context::for_tests(store);
        let mut children = Children::new(ChildKind::Account, |key: &u8| key.to_string());
        for _ in 0..5 {
            let end = children.failed_to_start(&1, "on purpose", &context).await;
            assert!(matches!(end, End::Crashed { again_after: Some(_), .. }));
            children.hide(&1, &context);
            assert_eq!(context.members().of("account/1"), None);
        }
        let end = children.failed_to_start(&1, "on purpose", &context).await;
        assert!(matches!(end, End::Crashed { again_after: None, .. }));
        assert_eq!(context.members().of("account/1").unwrap().state, MemberState::Parked);
        children.forget(&1, &context);
        let end = children.failed_to_start(&1, "on purpose", &context).await;
        assert!(matches!(end, End::Crashed { again_after: Some(_), .. }), "it is another one");
    }
}
