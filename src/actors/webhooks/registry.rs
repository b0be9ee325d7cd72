//! Which endpoints there are, whose they are, and how they fare, for everybody who asks. Owns the order
//! of what is written about an endpoint: whoever writes holds the turn until the store has it in its
//! queue, so that nothing is queued for an endpoint behind its deletion.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use super::endpoint::EndpointMsg;
use super::supervisor::WebhooksMsg;
use crate::actors::tree::actor::ActorRef;
use crate::protocol::users::owner::{Scope, UserId, WebhookId};
use crate::protocol::webhooks::deliveries::WebhookRecord;
use crate::store::{CommitError, Op, Store};

/// Requests at once to the endpoints of one user, who must not take the room of all others.
const AT_ONCE_PER_USER: usize = 16;

/// An endpoint and how it fares.
pub(in crate::actors) struct Hook {
    record: Mutex<Arc<WebhookRecord>>,
    actor: Mutex<Option<ActorRef<EndpointMsg>>>,
    waiting: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// Shared by the endpoints of its user.
    permits: Arc<Semaphore>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hook {
    fn new(record: WebhookRecord, permits: Arc<Semaphore>) -> Self {
        Self {
            record: Mutex::new(Arc::new(record)),
            actor: Mutex::default(),
            waiting: AtomicU64::new(0),
            last_error: Mutex::default(),
            permits,
        }
    }

    /// Waits for the room of one request of its user; `None` never comes about.
    pub(super) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    /// The endpoint as it is now.
    pub(in crate::actors) fn record(&self) -> Arc<WebhookRecord> {
        Arc::clone(&held(&self.record))
    }

    /// How many deliveries wait.
    pub(in crate::actors) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting as u64, Ordering::Relaxed);
    }

    /// The last failure, until a delivery succeeds.
    pub(in crate::actors) fn last_error(&self) -> Option<String> {
        held(&self.last_error).clone()
    }

    pub(super) fn set_last_error(&self, error: Option<String>) {
        *held(&self.last_error) = error;
    }

    pub(super) fn has_actor(&self) -> bool {
        held(&self.actor).is_some()
    }

    pub(super) fn set_actor(&self, actor: Option<ActorRef<EndpointMsg>>) {
        *held(&self.actor) = actor;
    }

    /// Tells its actor, if it runs; one that starts later looks for itself.
    pub(in crate::actors) fn tell(&self, message: EndpointMsg) {
        if let Some(actor) = &*held(&self.actor) {
            let _ = actor.cast(message);
        }
    }
}

/// What one user has.
struct Own {
    ids: Vec<WebhookId>,
    permits: Arc<Semaphore>,
}

impl Default for Own {
    fn default() -> Self {
        Self { ids: Vec::new(), permits: Arc::new(Semaphore::new(AT_ONCE_PER_USER)) }
    }
}

#[derive(Default)]
struct Known {
    hooks: BTreeMap<WebhookId, Arc<Hook>>,
    by_user: HashMap<UserId, Own>,
    supervisor: Option<ActorRef<WebhooksMsg>>,
}

impl Known {
    fn ids_of(&self, user: &UserId) -> &[WebhookId] {
        self.by_user.get(user).map_or(&[], |own| &own.ids)
    }
}

/// All endpoints.
#[derive(Default)]
pub(in crate::actors) struct Hooks {
    known: Mutex<Known>,
    turn: tokio::sync::Mutex<()>,
}

/// The turn to write about endpoints.
pub(in crate::actors) struct WriteGuard<'a> {
    _turn: tokio::sync::MutexGuard<'a, ()>,
}

impl WriteGuard<'_> {
    /// Hands `ops` in to be written, in the order of turns; await what it answers without the turn.
    pub(in crate::actors) async fn submit(
        &self,
        store: &Store,
        ops: Vec<Op>,
    ) -> Result<oneshot::Receiver<Result<(), CommitError>>, CommitError> {
        let (tell, durable) = oneshot::channel();
        let done = move |outcome| drop(tell.send(outcome));
        store.submit(ops, done).await?;
        Ok(durable)
    }
}

/// Waits until what a turn handed in is durable.
pub(in crate::actors) async fn durable(
    handed_in: oneshot::Receiver<Result<(), CommitError>>,
) -> Result<(), CommitError> {
    handed_in.await.unwrap_or(Err(CommitError::Closed))
}

impl Hooks {
    pub(super) fn begin(&self, supervisor: ActorRef<WebhooksMsg>) {
        held(&self.known).supervisor = Some(supervisor);
    }

    /// Waits for the turn to write.
    pub(in crate::actors) async fn turn(&self) -> WriteGuard<'_> {
        WriteGuard { _turn: self.turn.lock().await }
    }

    /// How many endpoints there are.
    pub(super) fn count(&self) -> usize {
        held(&self.known).hooks.len()
    }

    /// The endpoint `id`, whoever's it is.
    pub(in crate::actors) fn get(&self, id: WebhookId) -> Option<Arc<Hook>> {
        held(&self.known).hooks.get(&id).cloned()
    }

    /// The endpoint `id`, if it exists in `scope`.
    pub(in crate::actors) fn find(&self, scope: &Scope, id: WebhookId) -> Option<Arc<Hook>> {
        self.get(id).filter(|hook| scope.covers(&hook.record().user))
    }

    /// Up to `limit` endpoints of `scope` after `after`, the oldest first.
    pub(in crate::actors) fn list(
        &self,
        scope: &Scope,
        after: Option<WebhookId>,
        limit: usize,
    ) -> Vec<Arc<Hook>> {
        let known = held(&self.known);
        let is_next = |id: &WebhookId| after.is_none_or(|after| *id > after);
        match scope {
            Scope::Everybody => {
                let next = known.hooks.iter().filter(|(id, _)| is_next(id));
                next.map(|(_, hook)| Arc::clone(hook)).take(limit).collect()
            }
            Scope::Only(user) => {
                let mut ids = known.ids_of(user).to_vec();
                ids.retain(is_next);
                ids.sort();
                ids.iter().filter_map(|id| known.hooks.get(id)).take(limit).cloned().collect()
            }
        }
    }

    /// The endpoints of `user` that want events of this type now.
    pub(super) fn wanting(&self, user: &UserId, kind: &str) -> Vec<Arc<Hook>> {
        let known = held(&self.known);
        let hooks = known.ids_of(user).iter().filter_map(|id| known.hooks.get(id));
        hooks.filter(|hook| held(&hook.record).wants(kind)).cloned().collect()
    }

    /// Takes note of an endpoint as it is now. Whoever calls has the turn, or nobody else runs yet.
    pub(in crate::actors) fn put(&self, record: WebhookRecord) {
        let mut known = held(&self.known);
        let (id, user) = (record.id, record.user.clone());
        if let Some(hook) = known.hooks.get(&id) {
            *held(&hook.record) = Arc::new(record);
            hook.tell(EndpointMsg::Changed);
            return;
        }
        let own = known.by_user.entry(user).or_default();
        own.ids.push(id);
        let permits = Arc::clone(&own.permits);
        known.hooks.insert(id, Arc::new(Hook::new(record, permits)));
        if let Some(supervisor) = &known.supervisor {
            let _ = supervisor.cast(WebhooksMsg::Start(id));
        }
    }

    /// Forgets an endpoint; its actor ends. Whoever calls has the turn.
    pub(in crate::actors) fn drop_one(&self, id: WebhookId) {
        let mut known = held(&self.known);
        let Some(hook) = known.hooks.remove(&id) else { return };
        let user = hook.record().user.clone();
        if let Some(own) = known.by_user.get_mut(&user) {
            own.ids.retain(|other| *other != id);
            if own.ids.is_empty() {
                known.by_user.remove(&user);
            }
        }
        hook.tell(EndpointMsg::Dropped);
        if let Some(supervisor) = &known.supervisor {
            let _ = supervisor.cast(WebhooksMsg::Dropped(id));
        }
    }

    /// Forgets all endpoints of a user: before the user's rows are deleted, so that nothing is put in
    /// line behind that.
    pub(in crate::actors) async fn drop_user(&self, user: &UserId) {
        let _turn = self.turn().await;
        let ids = held(&self.known).ids_of(user).to_vec();
        ids.into_iter().for_each(|id| self.drop_one(id));
    }
}
