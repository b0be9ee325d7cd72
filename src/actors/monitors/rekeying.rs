//! Monitors follow their accounts: one that logged in anew has another key, and the pools that name the
//! account are given that one. Done at every start, too, so that a crash in between leaves nothing behind.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::commands::Commands;
use crate::actors::monitors::context::MonitorsContext;
use crate::actors::tree::children::watched_task;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::monitors::record::{MonitorPhase, MonitorRecord};
use crate::protocol::tree::restart::Backoff;
use crate::protocol::tree::table;
use crate::protocol::users::owner::{AccountId, Scope, UserId};

/// Monitors that are read at once.
const PAGE: usize = 250;
/// Pauses between tries as long as some monitors have not got the new keys of their accounts.
const AGAIN: Backoff = Backoff { min_ms: 1_000, max_ms: 60_000 };

/// Starts it; it ends when what is returned is dropped.
pub(in crate::actors) fn start(
    context: &Arc<MonitorsContext>,
    orders: &Commands,
) -> AbortOnDropHandle<()> {
    let (shared, orders) = (Arc::clone(context), orders.clone());
    watched_task(&context.accounts.tree, &table::REKEYING, move || {
        follow(Arc::clone(&shared), orders.clone())
    })
}

/// Looks at everybody's monitors first, and then at those of users whose accounts have other keys. Those
/// that cannot be given theirs stay owed.
async fn follow(context: Arc<MonitorsContext>, orders: Commands) {
    let mut owed = vec![Scope::Everybody];
    let mut failures = 0;
    loop {
        let mut left = Vec::new();
        for scope in owed {
            if mend(&context, &orders, &scope).await.is_err() {
                left.push(scope);
            }
        }
        let news = if left.is_empty() {
            failures = 0;
            context.rekeyed.next().await
        } else {
            failures += 1;
            let pause = AGAIN.delay_ms(failures, context.jitter());
            tracing::warn!(
                pause_ms = pause,
                "monitors could not be given the new keys of their accounts; it is tried again"
            );
            let news = timeout(Duration::from_millis(pause), context.rekeyed.next()).await;
            news.unwrap_or_default()
        };
        let known: HashSet<Scope> =
            left.drain(..).chain(news.into_iter().map(Scope::Only)).collect();
        owed = known.into_iter().collect();
    }
}

/// Some monitors have not got the keys that their accounts have now.
struct Owed;

/// Gives the monitors in `scope` the keys that their accounts have now, a page after the other.
async fn mend(context: &MonitorsContext, orders: &Commands, scope: &Scope) -> Result<(), Owed> {
    let (mut after, mut outcome) = (None, Ok(()));
    loop {
        let keys = context.store.monitor_keys(scope, after.as_ref(), PAGE);
        let Some(last) = keys.last().cloned() else { return outcome };
        let read = context.store.read(move |store| store.monitors_at(&keys)).await;
        match read {
            // One that fails does not keep the others from theirs.
            Ok(records) => outcome = mend_some(context, orders, records).await.and(outcome),
            Err(error) => {
                tracing::error!(%error, "the monitors could not be read");
                return Err(Owed);
            }
        }
        after = Some(last);
    }
}

async fn mend_some(
    context: &MonitorsContext,
    orders: &Commands,
    records: Vec<MonitorRecord>,
) -> Result<(), Owed> {
    let mut outcome = Ok(());
    for record in records.into_iter().filter(|record| renewed(context, record).is_some()) {
        outcome = mend_one(context, orders, &record).await.and(outcome);
    }
    outcome
}

async fn mend_one(
    context: &MonitorsContext,
    orders: &Commands,
    record: &MonitorRecord,
) -> Result<(), Owed> {
    let Some(owner) = &record.owner else { return Ok(()) };
    let Ok(_busy) = context.erasing.enter(owner) else { return Ok(()) };
    let _turn = context.user_locks.take(owner).await;
    // Its user may have changed or stopped it since it was read.
    let key = record.key();
    let record = context.store.read(move |store| store.monitor(&key)).await.map_err(|error| {
        tracing::error!(%error, "a monitor could not be read");
        Owed
    })?;
    let Some(record) = record else { return Ok(()) };
    let Some(pool) = renewed(context, &record) else { return Ok(()) };
    let watched = orders.watch(record.owner, record.chat, pool, None, Vec::new()).await;
    watched.map_err(|_| Owed)
}

/// The accounts of a monitor with the keys that they have now, if those are others.
fn renewed(context: &MonitorsContext, record: &MonitorRecord) -> Option<Vec<PoolMember>> {
    let owner = record.owner.as_ref()?;
    let pool = with_newest_keys(context, owner, &record.ordered);
    (pool != record.ordered).then_some(pool)
}

fn with_newest_keys(
    context: &MonitorsContext,
    owner: &UserId,
    pool: &[PoolMember],
) -> Vec<PoolMember> {
    let scope = Scope::Only(owner.clone());
    let renew = |member: &PoolMember| {
        let id = Uuid::parse_str(&member.session.0).ok().map(AccountId);
        let account = id.and_then(|id| context.directory.get(&scope, id));
        let account = account.map_or(member.account, |account| account.key);
        PoolMember { session: member.session.clone(), account }
    };
    pool.iter().map(renew).collect()
}

/// The sessions with which a monitor starts: those that its accounts have now. A crash may have come
/// between the commit of a login and the change of the record, which [`follow`] makes up for later; started
/// with the old key the monitor would hear that its account is gone. One that is exhausted waits for
/// that change, which has it begin anew.
pub(in crate::actors) fn pool_at_start(
    context: &MonitorsContext,
    record: &MonitorRecord,
) -> Vec<PoolMember> {
    match (&record.owner, record.phase) {
        (Some(owner), MonitorPhase::Running) => with_newest_keys(context, owner, &record.pool),
        _ => record.pool.clone(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::actors::accounts::directory::tests::owned;
    use crate::actors::accounts::fleet::{Fleet, FleetArgs};
    use crate::actors::accounts::joins::{Jobs, JobsArgs};
    use crate::actors::monitors::supervisor::MonitorsMsg;
    use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, spawn_alone};
    use crate::clock::{Clock, now};
    use crate::protocol::telegram::chat::{ChatRef, ChatSpelling};
    use crate::protocol::values::ids::{AuthKeyId, SessionId};
    use crate::store::{CommitError, Op, Store};

    /// Stands for the monitors: refuses the first order, and tells of each.
    struct Stubborn;

    impl Actor for Stubborn {
        type Msg = MonitorsMsg;
        type State = (u32, mpsc::UnboundedSender<Vec<PoolMember>>);
        type Arguments = mpsc::UnboundedSender<Vec<PoolMember>>;

        async fn pre_start(
            &self,
            _myself: ActorRef<MonitorsMsg>,
            tell: mpsc::UnboundedSender<Vec<PoolMember>>,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok((0, tell))
        }

        async fn handle(
            &self,
            _myself: ActorRef<MonitorsMsg>,
            message: MonitorsMsg,
            (orders, tell): &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            if let MonitorsMsg::Configure { order, reply } = message {
                *orders += 1;
                let outcome = if *orders == 1 { Err(CommitError::Closed) } else { Ok(()) };
                let _ = tell.send(order.sessions);
                let _ = reply.send(outcome);
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_monitor_that_could_not_be_given_its_accounts_new_key_is_given_it_later() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let account = owned("ann", 7);
        let member = |key| PoolMember { session: SessionId(account.id.to_string()), account: key };
        let record = MonitorRecord {
            owner: Some(account.user.clone()),
            chat: ChatRef::parse(ChatSpelling::Number(-1_000_000_000_005)).unwrap(),
            ordered: vec![member(AuthKeyId(1))],
            pool: vec![member(AuthKeyId(1))],
            phase: MonitorPhase::Running,
            started_at: now(),
            started_steady: None,
            owed_from: None,
            migrated_from: None,
            marked_id: None,
            title: None,
            names: Vec::new(),
            start_pts: None,
            exhausted: None,
        };
        store.commit(vec![Op::PutMonitor(record.clone())]).await.unwrap();
        let context = MonitorsContext::for_tests(store);
        context.directory.put(account.clone());
        assert_eq!(pool_at_start(&context, &record), [member(account.key)], "it starts with that");
        let fleet = spawn_alone(Fleet, FleetArgs::empty(&context.accounts)).await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let monitors = spawn_alone(Stubborn, tell).await;
        let (shared, of, jobs) = (Arc::clone(&context.accounts), fleet.clone(), Vec::new());
        let args = JobsArgs { context: shared, fleet: of, jobs };
        let jobs = spawn_alone(Jobs, args).await;
        let orders = Commands::new(fleet.clone(), monitors.clone(), jobs.clone(), Clock::system());
        let _rekeying = start(&context, &orders);
        for _ in 0..2 {
            let pool =
                timeout(Duration::from_secs(30), told.recv()).await.expect("it is tried again");
            assert_eq!(pool, Some(vec![member(account.key)]));
        }
        monitors.stop(None);
        jobs.stop(None);
        fleet.stop(None);
    }
}
