//! The link task of an account: takes batches from the update stream, hands the messages of monitored
//! chats to their monitors, and keeps the update state behind what is durable. It ends with the
//! connection; the account actor owns its handle and decides what follows.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::delivery::{Delivery, Loss, Origin, Share};
use crate::actors::accounts::context::{AccountsContext, PrivateMessages};
use crate::actors::accounts::listener::{Listener, ListenerMsg};
use crate::actors::tree::actor::{ActorId, MessagingErr};
use crate::actors::tree::backlog::BacklogGate;
use crate::failpoint;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::messages::message::Message;
use crate::protocol::telegram::acknowledged::Progress;
use crate::protocol::telegram::chat::{ChatKey, MarkedId, PeerKind};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::updates::{UpdateState, UpdateStateDelta};
use crate::protocol::tree::watchdog::Activity;
use crate::protocol::values::ids::AuthKeyId;
use crate::store::Op;
use crate::telegram::{Batch, ChatNotice, GapScope, Pulse, UpdateStream};

/// Batches of one link between the pump and the disk. Beyond it the pump waits, and what waits
/// then is in Telegram's hands: at 64 batches and a commit of 2 ms one account passes 32,000
/// batches a second.
pub(in crate::actors) const WINDOW: usize = 64;

/// Which monitor wants which chat of this account.
#[derive(Default)]
pub(in crate::actors) struct Routes {
    by_chat: RwLock<HashMap<MarkedId, Arc<[Route]>>>,
}

#[derive(Clone)]
struct Route {
    key: ChatKey,
    monitor: Listener,
}

impl Routes {
    /// Sends the messages of `chat`, and of no other chat, to `monitor` from now on.
    pub(in crate::actors) fn add(&self, chat: MarkedId, key: ChatKey, monitor: Listener) {
        let mut routes = self.by_chat.write().unwrap_or_else(PoisonError::into_inner);
        drop_where(&mut routes, |route| route.key == key);
        let known = routes.get(&chat).map(|targets| targets.to_vec()).unwrap_or_default();
        let targets = known.into_iter().chain([Route { key, monitor }]).collect();
        routes.insert(chat, targets);
    }

    /// Sends nothing to this monitor any more.
    pub(in crate::actors) fn remove(&self, monitor: ActorId) {
        let mut routes = self.by_chat.write().unwrap_or_else(PoisonError::into_inner);
        drop_where(&mut routes, |route| route.monitor.get_id() == monitor);
    }

    fn of(&self, chat: MarkedId) -> Option<Arc<[Route]>> {
        let routes = self.by_chat.read().unwrap_or_else(PoisonError::into_inner);
        routes.get(&chat).cloned()
    }

    fn matching(&self, wanted: impl Fn(MarkedId) -> bool) -> Vec<Route> {
        let routes = self.by_chat.read().unwrap_or_else(PoisonError::into_inner);
        let chosen = routes.iter().filter(|(chat, _)| wanted(**chat));
        chosen.flat_map(|(_, targets)| targets.iter().cloned()).collect()
    }

    /// Whether the channel with this bare id is wanted.
    pub(in crate::actors) fn wants_channel(&self, bare: i64) -> bool {
        let routes = self.by_chat.read().unwrap_or_else(PoisonError::into_inner);
        routes.contains_key(&MarkedId::channel(bare))
    }
}

fn drop_where(routes: &mut HashMap<MarkedId, Arc<[Route]>>, gone: impl Fn(&Route) -> bool) {
    for targets in routes.values_mut() {
        if targets.iter().any(&gone) {
            *targets = targets.iter().filter(|route| !gone(route)).cloned().collect();
        }
    }
    routes.retain(|_, targets| !targets.is_empty());
}

/// One link's way from the pump to the monitors.
pub(in crate::actors) struct LinkTask {
    account: AuthKeyId,
    context: Arc<AccountsContext>,
    routes: Arc<Routes>,
    loss: Loss,
    progress: Arc<Mutex<Progress>>,
    window: Arc<Semaphore>,
    pulse: Arc<Pulse>,
    /// The store does not know yet where the updates stand: until it does, the next life would begin with those that
    /// come then, and pass over what people write meanwhile.
    is_unknown: AtomicBool,
}

impl LinkTask {
    pub(in crate::actors) fn new(
        account: AuthKeyId,
        context: Arc<AccountsContext>,
        routes: Arc<Routes>,
        pulse: Arc<Pulse>,
        is_bot: bool,
        is_unknown: bool,
    ) -> Self {
        let window = Arc::new(Semaphore::new(WINDOW));
        let loss = if is_bot { Loss::FetchAgain } else { Loss::ReadAgain };
        let is_unknown = AtomicBool::new(is_unknown);
        Self { account, context, routes, loss, progress: Arc::default(), window, pulse, is_unknown }
    }

    /// Runs until the link ends; answers why.
    pub(in crate::actors) async fn run(self, mut updates: Box<dyn UpdateStream>) -> Failure {
        loop {
            let batch = match updates.next().await {
                Ok(batch) => batch,
                Err(failure) => return failure,
            };
            self.pulse.begin(Activity::HandingOver);
            let has_news = !batch.is_idle();
            if let Err(failure) = self.forward(batch).await {
                return failure;
            }
            if has_news {
                self.pulse.applied();
            }
        }
    }

    async fn forward(&self, mut batch: Batch) -> Result<(), Failure> {
        failpoint::stumble("account.delivers", &self.account);
        if self.progress.lock().unwrap_or_else(PoisonError::into_inner).is_broken() {
            return Err(Failure::transient("a batch of updates was lost on its way to the store"));
        }
        self.remember_peers(&mut batch).await?;
        self.reopen(&batch);
        // Channels that nobody monitors would only make every reconnect fetch their differences.
        batch.delta.channels.retain(|(id, _)| self.routes.wants_channel(*id));
        let room = self.room().await?;
        let delta = std::mem::take(&mut batch.delta);
        let Sorted { parts, private } = self.sort(batch);
        if !parts.is_empty() && self.context.backlog.is_full() {
            return Err(BacklogGate::refusal());
        }
        if let Some((account, messages)) = private {
            self.read(PrivateMessages { account, messages }).await?;
        }
        // Only now: what was written to the account is heeded.
        self.keep_first(&delta).await?;
        let Self { account, context, progress, loss, .. } = self;
        let store = &context.store;
        let metrics = &*context.metrics;
        let origin = Origin { account: *account, store, progress, loss: *loss, metrics };
        let mut shares = Share::split(&origin, delta, room, parts.len().max(1)).into_iter();
        if parts.is_empty() {
            // Nothing of it needs to be durable; only batches before it hold the state back.
            shares.for_each(Share::finish);
            return Ok(());
        }
        for (route, mut delivery) in parts {
            delivery.share = shares.next();
            self.deliver(&route, delivery);
        }
        Ok(())
    }

    /// Has the first state of an account's updates durable at once; later ones are, by and by.
    async fn keep_first(&self, delta: &UpdateStateDelta) -> Result<(), Failure> {
        let is_wanted = self.loss == Loss::ReadAgain && self.context.read_private.get().is_some();
        if !is_wanted || delta.common.is_none() || !self.is_unknown.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = UpdateState::default();
        state.apply(delta);
        let op = Op::SetUpdateState { account: self.account, state };
        self.pulse.begin(Activity::AwaitingStore);
        let kept = self.context.store.commit(vec![op]).await;
        self.pulse.begin(Activity::HandingOver);
        kept.map_err(|error| Failure::transient(error.to_string()))
    }

    /// Has what was written to the account itself read, before the update state moves past it. Where that fails the
    /// batch is fetched again by the next link.
    async fn read(&self, private: PrivateMessages) -> Result<(), Failure> {
        let Some(read) = self.context.read_private.get() else { return Ok(()) };
        self.pulse.begin(Activity::AwaitingStore);
        let is_heeded = read(private).await;
        self.pulse.begin(Activity::HandingOver);
        if is_heeded { Ok(()) } else { Err(Failure::transient("a reply could not be heeded")) }
    }

    /// A monitor that is gone takes nothing any more. When it lives again it asks Telegram for what
    /// it missed, so nothing is to be fetched again for its sake.
    fn deliver(&self, route: &Route, delivery: Delivery) {
        let sent = route.monitor.cast(ListenerMsg::Deliver(delivery));
        if let Err(MessagingErr::SendErr(ListenerMsg::Deliver(delivery))) = sent {
            self.routes.remove(route.monitor.get_id());
            delivery.share.into_iter().for_each(Share::finish);
        }
    }

    /// Waits until few enough batches are on their way to the disk.
    async fn room(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(room) = Arc::clone(&self.window).try_acquire_owned() {
            return Ok(room);
        }
        self.pulse.begin(Activity::AwaitingStore);
        let room = Arc::clone(&self.window).acquire_owned().await;
        self.pulse.begin(Activity::HandingOver);
        room.map_err(|_| Failure::transient("the link is closing"))
    }

    async fn remember_peers(&self, batch: &mut Batch) -> Result<(), Failure> {
        let peers = std::mem::take(&mut batch.new_peers);
        if peers.is_empty() {
            return Ok(());
        }
        let op = Op::PutPeers { account: self.account, peers };
        self.pulse.begin(Activity::AwaitingStore);
        let stored = self.context.store.submit(vec![op], |_| {}).await;
        self.pulse.begin(Activity::HandingOver);
        stored.map_err(|error| Failure::transient(error.to_string()))
    }

    /// Has every monitor look at its chat again that may have missed something or lost access.
    fn reopen(&self, batch: &Batch) {
        for gap in &batch.gaps {
            let routes = match gap {
                GapScope::Everything => {
                    self.context.metrics.overflowed();
                    let account = self.context.directory.name_of(self.account);
                    tracing::warn!(
                        account,
                        "updates came faster than they could be taken; what was dropped is read from history"
                    );
                    self.routes.matching(|_| true)
                }
                GapScope::Anything => self.routes.matching(|_| true),
                GapScope::Common => self.routes.matching(|chat| chat.kind() != PeerKind::Channel),
                GapScope::Channel(id) => self.routes.matching(|chat| chat == *id),
            };
            self.tell(&routes, None);
        }
        for ChatNotice { chat, loss } in &batch.notices {
            if let Some(routes) = self.routes.of(*chat) {
                self.tell(&routes, loss.as_ref());
            }
        }
    }

    fn tell(&self, routes: &[Route], loss: Option<&Failure>) {
        for route in routes {
            let (account, hint) = (self.account, loss.cloned());
            let _ = route.monitor.cast(ListenerMsg::Reopen { account, hint });
        }
    }

    /// The batch's messages by who wants them. Most batches hold one message of one chat.
    fn sort(&self, mut batch: Batch) -> Sorted {
        let mut sorted = Sorted { parts: Vec::new(), private: None };
        // Bots are not written to by those whom campaigns reach.
        let reads_private =
            self.loss == Loss::ReadAgain && self.context.read_private.get().is_some();
        for message in std::mem::take(&mut batch.messages) {
            let chat = message.chat;
            let targets = self.routes.of(chat);
            let is_private = reads_private && chat.kind() == PeerKind::User;
            if targets.is_none() && !is_private {
                continue;
            }
            let Some(message) = batch.translate(message) else { continue };
            if is_private && !message.is_outgoing && !message.is_service {
                self.put_aside(&message, &mut sorted.private);
            }
            if let Some(targets) = targets {
                self.assign(&batch, chat, &message, &targets, &mut sorted.parts);
            }
        }
        sorted
    }

    /// Somebody wrote to the account itself.
    fn put_aside(&self, message: &Message, private: &mut Option<(OwnedAccount, Vec<Message>)>) {
        match private {
            Some((_, messages)) => messages.push(message.clone()),
            None => {
                let account = self.context.directory.of_key(self.account);
                *private = account.map(|account| (account, vec![message.clone()]));
            }
        }
    }

    fn assign(
        &self,
        batch: &Batch,
        chat: MarkedId,
        message: &Message,
        targets: &[Route],
        parts: &mut Vec<(Route, Delivery)>,
    ) {
        for route in targets {
            match parts.iter_mut().find(|(known, _)| known.key == route.key) {
                Some((_, delivery)) => delivery.messages.push(message.clone()),
                None => {
                    let title = batch.title_of(chat).map(str::to_owned);
                    let (account, messages) = (self.account, vec![message.clone()]);
                    let delivery = Delivery { account, chat, title, messages, share: None };
                    parts.push((route.clone(), delivery));
                }
            }
        }
    }
}

/// A batch's messages by who wants them.
struct Sorted {
    /// Monitors.
    parts: Vec<(Route, Delivery)>,
    /// Whoever reads what is written to the account itself.
    private: Option<(OwnedAccount, Vec<Message>)>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::actors::tree::metrics::Metrics;

    #[tokio::test]
    async fn a_link_waits_when_as_many_batches_as_it_may_have_are_not_yet_durable() {
        let (store, _outbox) = crate::store::Store::in_memory().unwrap();
        let context = AccountsContext::for_tests(store.clone());
        let (account, pulse) = (AuthKeyId(1), Arc::<Pulse>::default());
        let routes = Arc::default();
        let task = LinkTask::new(account, context, routes, Arc::clone(&pulse), false, false);
        let (progress, metrics) = (Arc::default(), Metrics::default());
        let (store, loss) = (&store, Loss::ReadAgain);
        let origin = Origin { account, store, progress: &progress, loss, metrics: &metrics };
        let mut under_way = Vec::new();
        for _ in 0..WINDOW {
            let room = task.room().await.unwrap();
            under_way.extend(Share::split(&origin, UpdateStateDelta::default(), room, 1));
        }
        assert!(timeout(Duration::from_millis(20), task.room()).await.is_err());
        assert_eq!(pulse.vitals().activity, Activity::AwaitingStore, "the watchdog knows why");
        under_way.pop().into_iter().for_each(Share::finish);
        let room = timeout(Duration::from_secs(10), task.room()).await;
        assert!(room.is_ok_and(|room| room.is_ok()), "there is room again");
    }
}
