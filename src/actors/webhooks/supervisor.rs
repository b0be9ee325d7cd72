//! Webhooks: the second way out for events. A dispatcher reads the outbox with a place of its
//! own and puts what belongs to users into the queues of their endpoints; each endpoint is an actor
//! (`endpoint`) that delivers its line, so that none holds up another, the outbox, or the broker.
//! This file owns their supervision and what they share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::dispatcher;
use crate::actors::tree::actor::{
    Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, named, spawn_child,
};
use crate::actors::tree::children::{Children, End, Ended};
use crate::actors::tree::context::Context;
use crate::actors::tree::ledger;
use crate::protocol::tree::restart::{Backoff, ChildKind, RestartHistory};
use crate::protocol::tree::table;
use crate::protocol::users::owner::WebhookId;
use crate::protocol::webhooks::deliveries::{RetryPolicy, WebhookRecord};
use crate::store::Spooler;
use crate::tasks;

pub(in crate::actors) use super::endpoint::EndpointMsg;
use super::endpoint::{Endpoint, EndpointArgs};
use super::port::{EndpointClient, IDLE_PER_HOST};
pub(in crate::actors) use super::registry::{Hook, Hooks, durable};

/// Requests to endpoints at once, in all. Each takes ten seconds at the most.
const AT_ONCE_MAX: usize = 64;
/// Connections to endpoints, where nothing limits them: see `app/descriptors.rs`.
const CONNECTIONS_MAX: usize = 192;

/// Settings of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// How long and how often deliveries are tried.
    pub retry: RetryPolicy,
    /// Deliveries that may wait for one endpoint; beyond it the oldest are given up.
    pub waiting_max: usize,
    /// Connections to endpoints at once, kept ones included; at least 2.
    pub connections: usize,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        let backoff = Backoff { min_ms: 5_000, max_ms: 60 * 60 * 1_000 };
        let retry = RetryPolicy { backoff, give_up_after_ms: 24 * 60 * 60 * 1_000 };
        Self { retry, waiting_max: 20_000, connections: CONNECTIONS_MAX }
    }
}

impl WebhookSettings {
    /// Requests at once: half of the connections, since the others may be kept ones.
    fn at_once(&self) -> usize {
        (self.connections / 2).clamp(1, AT_ONCE_MAX)
    }

    /// Whether connections to so many endpoints may be kept after an answer.
    pub(super) fn may_keep(&self, endpoints: usize) -> bool {
        endpoints.saturating_mul(IDLE_PER_HOST) <= self.connections.saturating_sub(self.at_once())
    }
}

/// What the dispatcher, the endpoints and their attempts share.
pub(in crate::actors) struct Shared {
    pub(super) context: Arc<Context>,
    pub(super) registry: Arc<Hooks>,
    pub(super) settings: WebhookSettings,
    pub(super) client: Arc<dyn EndpointClient>,
    pub(super) permits: Semaphore,
    pub(super) stop: CancellationToken,
    pub(super) attempts: TaskTracker,
}

/// The actor.
pub(in crate::actors) struct Webhooks;

/// What it is started with.
pub(in crate::actors) struct WebhooksArgs {
    pub(in crate::actors) context: Arc<Context>,
    pub(in crate::actors) registry: Arc<Hooks>,
    pub(in crate::actors) settings: WebhookSettings,
    pub(in crate::actors) client: Arc<dyn EndpointClient>,
    /// How long attempts under way may take when the daemon stops.
    pub(in crate::actors) drain: Duration,
}

/// Its messages.
pub(in crate::actors) enum WebhooksMsg {
    /// Start the dispatcher.
    Dispatch,
    /// The dispatcher ended.
    Ended { cause: String },
    /// Start the actor of an endpoint, unless it runs.
    Start(WebhookId),
    /// An endpoint was deleted.
    Dropped(WebhookId),
    /// Begin no more; answers when what was under way has ended.
    Stop(RpcReplyPort<()>),
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

named!(WebhooksMsg: Dispatch, Ended, Start, Dropped, Stop, Pulse);

/// Its state.
pub(in crate::actors) struct WebhooksState {
    shared: Arc<Shared>,
    spooler: Arc<Mutex<Spooler>>,
    dispatcher: Option<AbortOnDropHandle<()>>,
    crashes: RestartHistory,
    children: Children<WebhookId>,
    drain: Duration,
}

impl Actor for Webhooks {
    type Msg = WebhooksMsg;
    type State = WebhooksState;
    type Arguments = WebhooksArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<WebhooksMsg>,
        args: WebhooksArgs,
    ) -> Result<WebhooksState, ActorProcessingErr> {
        let WebhooksArgs { context, registry, settings, client, drain } = args;
        // As long as it takes: nothing works without them.
        let store = context.store.blocking().clone();
        let records = tokio::task::spawn_blocking(move || store.all_rows::<WebhookRecord>());
        let records = records.await??;
        let spooler = context.store.spooler().await?;
        registry.begin(myself.clone());
        for record in records {
            let id = record.id;
            registry.put(record);
            myself.cast(WebhooksMsg::Start(id))?;
        }
        myself.cast(WebhooksMsg::Dispatch)?;
        let shared = Shared {
            context,
            registry,
            settings,
            client,
            permits: Semaphore::new(settings.at_once()),
            stop: CancellationToken::new(),
            attempts: TaskTracker::new(),
        };
        Ok(WebhooksState {
            shared: Arc::new(shared),
            spooler: Arc::new(Mutex::new(spooler)),
            dispatcher: None,
            crashes: RestartHistory::default(),
            children: Children::new(ChildKind::Webhook, WebhookId::to_string),
            drain,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<WebhooksMsg>,
        message: WebhooksMsg,
        state: &mut WebhooksState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WebhooksMsg::Dispatch => state.dispatch(&myself),
            WebhooksMsg::Ended { cause } => state.dispatcher_ended(&myself, &cause).await,
            WebhooksMsg::Start(id) => state.start(&myself, id).await,
            WebhooksMsg::Dropped(id) => state.dropped(id),
            WebhooksMsg::Stop(reply) => state.stop(reply),
            WebhooksMsg::Pulse(reply) => drop(reply.send(())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<WebhooksMsg>,
        event: SupervisionEvent,
        state: &mut WebhooksState,
    ) -> Result<(), ActorProcessingErr> {
        let context = Arc::clone(&state.shared.context);
        if let Some(Ended { key, end, .. }) = state.children.ended(event, &context).await {
            if let Some(hook) = state.shared.registry.get(key) {
                hook.set_actor(None);
            }
            state.again(&myself, key, &end);
        }
        Ok(())
    }
}

impl WebhooksState {
    /// An endpoint is not to be there any more; if it runs, its own end says so.
    fn dropped(&mut self, id: WebhookId) {
        if self.shared.registry.get(id).is_none_or(|hook| !hook.has_actor()) {
            self.children.forget(&id, &self.shared.context);
        }
    }

    fn dispatch(&mut self, myself: &ActorRef<WebhooksMsg>) {
        if self.shared.stop.is_cancelled() {
            return;
        }
        self.shared.context.members().runs(&table::DISPATCHER);
        let (shared, spooler) = (Arc::clone(&self.shared), Arc::clone(&self.spooler));
        let task = tasks::owned(async move {
            let mut spooler = spooler.lock_owned().await;
            // After a crash what was not durably queued is handed out again.
            spooler.rewind();
            dispatcher::run(&shared, &mut spooler).await
        });
        let target = myself.clone();
        self.dispatcher = Some(tasks::owned(async move {
            let cause = match task.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) if error.is_panic() => "panic".to_owned(),
                Err(_) => return,
            };
            let _ = target.cast(WebhooksMsg::Ended { cause });
        }));
    }

    async fn dispatcher_ended(&mut self, myself: &ActorRef<WebhooksMsg>, cause: &str) {
        let (context, kind) = (&self.shared.context, ChildKind::Webhook);
        let verdict = ledger::judge(context, kind, "dispatcher", &mut self.crashes, cause).await;
        context.members().of_row(&table::DISPATCHER).failed(false);
        let pause = ledger::pause_of(verdict).unwrap_or_default();
        myself.send_after(pause, || WebhooksMsg::Dispatch);
    }

    async fn start(&mut self, myself: &ActorRef<WebhooksMsg>, id: WebhookId) {
        let Some(hook) = self.shared.registry.get(id) else {
            // It was deleted during the pause after a crash.
            return self.children.forget(&id, &self.shared.context);
        };
        if hook.has_actor() || self.shared.stop.is_cancelled() {
            return;
        }
        let args = EndpointArgs { shared: Arc::clone(&self.shared), hook: Arc::clone(&hook) };
        let member = self.children.member(&id, &self.shared.context);
        match spawn_child(member, Endpoint, args, myself.get_cell()).await {
            Ok(actor) => {
                self.children.started(&actor.get_cell(), id);
                // Known to the dispatcher first: what it queues from now on it tells, and what
                // it put there before is found.
                hook.set_actor(Some(actor.clone()));
                let _ = actor.cast(EndpointMsg::Load);
            }
            Err(error) => {
                let context = Arc::clone(&self.shared.context);
                let end = self.children.failed_to_start(&id, &error.to_string(), &context).await;
                self.again(myself, id, &end);
            }
        }
    }

    fn again(&self, myself: &ActorRef<WebhooksMsg>, id: WebhookId, end: &End) {
        let End::Crashed { again_after: Some(pause), .. } = end else { return };
        myself.send_after(*pause, move || WebhooksMsg::Start(id));
    }

    fn stop(&self, reply: RpcReplyPort<()>) {
        self.shared.stop.cancel();
        self.shared.attempts.close();
        let (attempts, drain) = (self.shared.attempts.clone(), self.drain);
        tasks::brief(async move {
            let _ = tokio::time::timeout(drain, attempts.wait()).await;
            let _ = reply.send(());
        });
    }
}
