//! What tests of the tree's rooms stand on: a Telegram in memory, a store in memory, and a clock that stands while
//! anybody has something to do. So hours pass in milliseconds, and every order of events is the same each time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::actors::accounts::account::Subscription;
use crate::actors::accounts::calls::{Asker, Priority, Reply, Request};
use crate::actors::accounts::context::{AccountSettings, AccountsContext};
use crate::actors::accounts::directory::Directory;
use crate::actors::accounts::fleet::{Fleet, FleetArgs, FleetMsg, Holder};
use crate::actors::accounts::listener::ListenerMsg;
use crate::actors::campaigns::context::CampaignSettings;
use crate::actors::monitors::context::MonitorSettings;
use crate::actors::root::{Ports, Root, Settings};
use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, spawn_alone};
use crate::actors::tree::context::Context;
use crate::actors::webhooks::supervisor::WebhookSettings;
use crate::clock::now;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::accounts::record::{AccountRecord, Credentials, PoolMember, SessionRecord};
use crate::protocol::messages::message::Message;
use crate::protocol::telegram::chat::{ChatKey, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::pacing::{Limits, Rate};
use crate::protocol::users::owner::{AccountId, Caller, Role, UserId};
use crate::protocol::values::ids::{AuthKeyId, SessionId};
use crate::store::{Op, Outbox, Store, standing};
use crate::telegram::fake::FakeTelegram;
use crate::telegram::{Call, Outcome};

/// Longer than a dial or a call of the fake takes, and shorter than any pause.
pub(in crate::actors) const SOON: Duration = Duration::from_millis(200);

/// Lets what can happen soon happen.
pub(in crate::actors) async fn soon() {
    sleep(SOON).await;
}

/// Lets so many seconds pass.
pub(in crate::actors) async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

/// What a tree stands on, which outlives it.
pub(in crate::actors) struct TestEnvironment {
    pub(in crate::actors) telegram: FakeTelegram,
    pub(in crate::actors) store: Store,
    pub(in crate::actors) outbox: Outbox,
    pub(in crate::actors) limits: watch::Sender<Limits>,
    _time: AbortOnDropHandle<()>,
}

impl TestEnvironment {
    pub(in crate::actors) fn new() -> Self {
        let (store, outbox) = Store::in_memory().unwrap();
        Self::on(store, outbox)
    }

    /// On a store of one's own.
    pub(in crate::actors) fn on(store: Store, outbox: Outbox) -> Self {
        let _time = standing::time_stands_for(&store);
        let free = Rate { per_minute: 60_000, burst: 10_000 };
        let limits = Limits {
            send: free,
            invite: free,
            join: free,
            resolve: free,
            contacts: free,
            read: free,
            auth: free,
            sends_per_day: 1_000,
        };
        let limits = watch::Sender::new(limits);
        Self { telegram: FakeTelegram::new(), store, outbox, limits, _time }
    }

    /// The same before a Telegram that there was before.
    pub(in crate::actors) fn before(self, telegram: FakeTelegram) -> Self {
        Self { telegram, ..self }
    }

    fn settings(&self) -> AccountSettings {
        AccountSettings { limits: self.limits.subscribe(), ..AccountSettings::for_tests() }
    }

    /// The store knows this key as a session that a command brought.
    pub(in crate::actors) async fn bring(&self, credentials: &Credentials) {
        let account = credentials.account;
        let session = SessionRecord { id: name_of(account), account, api_id: None };
        let record = Op::PutAccount(record(account));
        let ops = vec![record, Op::PutCredentials(credentials.clone()), Op::PutSession(session)];
        self.store.commit(ops).await.unwrap();
    }

    /// The store knows this key as an account of `user`.
    pub(in crate::actors) async fn own(
        &self,
        credentials: &Credentials,
        user: &str,
    ) -> OwnedAccount {
        let telegram_id = self.telegram.who_has(credentials.account).unwrap();
        let owned = OwnedAccount {
            id: AccountId(Uuid::from_u128(telegram_id.unsigned_abs().into())),
            user: UserId::new(user).unwrap(),
            key: credentials.account,
            api_id: None,
            is_bot: false,
            telegram_id,
            phone_masked: None,
            username: None,
            first_name: None,
            is_paused: false,
            is_made_here: true,
            created_at: now(),
            updated_at: now(),
        };
        let record = Op::PutAccount(record(credentials.account));
        let ops = vec![record, Op::PutCredentials(credentials.clone()), Op::put_row(&owned)];
        self.store.commit(ops).await.unwrap();
        owned
    }

    /// What accounts share, in a new life of the daemon.
    pub(in crate::actors) fn accounts(&self) -> Arc<AccountsContext> {
        let telegram = Arc::new(self.telegram.clone());
        let context = Context::told_by(self.store.clone(), telegram.clock(), telegram.clone());
        AccountsContext::new(context, self.settings(), telegram, Arc::default(), None)
    }

    /// A fleet on what the store knows. All sessions are in use, so that none is forgotten.
    pub(in crate::actors) async fn fleet(&self) -> FleetFixture {
        let context = self.accounts();
        let snapshot = self.store.load().unwrap();
        let member = |known: &SessionRecord| PoolMember {
            session: known.id.clone(),
            account: known.account,
        };
        let used = snapshot.sessions.iter().map(member).collect();
        let args = FleetArgs {
            context: Arc::clone(&context),
            accounts: snapshot.accounts,
            sessions: snapshot.sessions,
            owned: snapshot.owned,
            held: vec![(Holder::Join(Uuid::nil()), used)],
        };
        let fleet = spawn_alone(Fleet, args).await;
        FleetFixture { context, fleet }
    }

    /// A whole tree on what the store knows.
    pub(in crate::actors) async fn tree(&self) -> Root {
        self.tree_with(MonitorSettings::for_tests()).await
    }

    /// The same with monitors as they are wanted.
    pub(in crate::actors) async fn tree_with(&self, monitors: MonitorSettings) -> Root {
        let telegram = Arc::new(self.telegram.clone());
        let context = Context::told_by(self.store.clone(), telegram.clock(), telegram.clone());
        let webhooks = WebhookSettings::default();
        let campaigns = CampaignSettings::for_tests();
        let settings = Settings { accounts: self.settings(), monitors, webhooks, campaigns };
        let (directory, snapshot) = (Arc::<Directory>::default(), self.store.load().unwrap());
        let (ports, drain) = (Ports { telegram, ..Ports::closed() }, Duration::from_millis(50));
        Root::start(context, settings, directory, snapshot, ports, drain).await.unwrap()
    }

    /// Ends a tree as the daemon does.
    pub(in crate::actors) async fn stop(&self, root: Root) {
        root.stop(Instant::now() + Duration::from_secs(60)).await;
    }

    /// What the store has of an account, once everything handed in is durable.
    pub(in crate::actors) async fn kept(&self, account: AuthKeyId) -> Option<AccountRecord> {
        self.store.commit(Vec::new()).await.unwrap();
        self.store.account(account).unwrap()
    }

    /// Actor and cause of every line of the restart ledger.
    pub(in crate::actors) async fn ledger(&self) -> Vec<(String, String)> {
        self.store.commit(Vec::new()).await.unwrap();
        let lines = self.store.load().unwrap().restarts;
        lines.into_iter().map(|line| (line.actor, line.cause)).collect()
    }
}

/// The session id of a key.
pub(in crate::actors) fn name_of(account: AuthKeyId) -> SessionId {
    SessionId(format!("s{account}"))
}

/// An account of which nothing is known yet.
pub(in crate::actors) fn record(id: AuthKeyId) -> AccountRecord {
    let (me, fault, flood_waits, frozen) = (None, None, Vec::new(), None);
    AccountRecord { id, me, fault, flood_waits, frozen, created_at: now() }
}

/// A user of the API.
pub(in crate::actors) fn user(name: &str) -> Caller {
    Caller { user: UserId::new(name).unwrap(), role: Role::User, address: None }
}

/// A message number `id`, said now.
pub(in crate::actors) fn message(id: i32) -> Message {
    Message { id, date: now().seconds(), text: format!("number {id}"), ..Message::default() }
}

/// A call of that chat, and what comes of it.
pub(in crate::actors) fn request(
    call: Call,
) -> (Request, oneshot::Receiver<Result<Outcome, Failure>>) {
    let (told, answer) = oneshot::channel();
    let reply = Reply::new(move |outcome| drop(told.send(outcome)));
    (Request::new(call, Priority::Bridge, Asker::Account, reply), answer)
}

/// A fleet.
pub(in crate::actors) struct FleetFixture {
    pub(in crate::actors) context: Arc<AccountsContext>,
    pub(in crate::actors) fleet: ActorRef<FleetMsg>,
}

impl FleetFixture {
    /// Somebody listens to a chat through an account.
    pub(in crate::actors) async fn watch(
        &self,
        account: AuthKeyId,
        chat: MarkedId,
        retry: bool,
    ) -> TestListener {
        let listener = TestListener::new().await;
        let (key, subscription) = (listener.key(chat), listener.subscription(chat));
        self.fleet.cast(FleetMsg::Watch { account, key, subscription, retry }).unwrap();
        listener
    }

    /// Somebody listens no more.
    pub(in crate::actors) fn unwatch(
        &self,
        account: AuthKeyId,
        chat: MarkedId,
        listener: &TestListener,
    ) {
        let (key, monitor) = (listener.key(chat), listener.actor.get_id());
        self.fleet.cast(FleetMsg::Unwatch { account, key, monitor }).unwrap();
    }

    /// Has an account run a call.
    pub(in crate::actors) fn ask(
        &self,
        account: AuthKeyId,
        call: Call,
    ) -> oneshot::Receiver<Result<Outcome, Failure>> {
        let (request, answer) = request(call);
        self.fleet.cast(FleetMsg::Request { account, request }).unwrap();
        answer
    }

    /// Ends it, and everything in it.
    pub(in crate::actors) async fn stop(self) {
        self.fleet.stop_and_wait(None, None).await.unwrap();
    }
}

/// What somebody heard who listens to a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Heard {
    Up,
    Lost(Failure),
    Said(Vec<i32>),
    Reopen(Option<Failure>),
}

/// Listens, and does nothing else.
pub(in crate::actors) struct TestListener {
    pub(in crate::actors) actor: ActorRef<ListenerMsg>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

struct Listening;

impl Actor for Listening {
    type Msg = ListenerMsg;
    type State = Arc<Mutex<Vec<Heard>>>;
    type Arguments = Arc<Mutex<Vec<Heard>>>;

    async fn pre_start(
        &self,
        _: ActorRef<ListenerMsg>,
        heard: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(heard)
    }

    async fn handle(
        &self,
        _: ActorRef<ListenerMsg>,
        message: ListenerMsg,
        heard: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let news = match message {
            ListenerMsg::SourceUp { .. } => Heard::Up,
            ListenerMsg::SourceLost { failure, .. } => Heard::Lost(failure),
            ListenerMsg::Deliver(delivery) => {
                delivery.share.into_iter().for_each(|share| share.finish());
                Heard::Said(delivery.messages.iter().map(|message| message.id).collect())
            }
            ListenerMsg::Reopen { hint, .. } => Heard::Reopen(hint),
        };
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        Ok(())
    }
}

impl TestListener {
    pub(in crate::actors) async fn new() -> Self {
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let actor = spawn_alone(Listening, Arc::clone(&heard)).await;
        Self { actor, heard }
    }

    /// The chat's key, of its own for each who listens.
    pub(in crate::actors) fn key(&self, chat: MarkedId) -> ChatKey {
        ChatKey(format!("{chat}/{}", self.actor.get_id()))
    }

    pub(in crate::actors) fn subscription(&self, chat: MarkedId) -> Subscription {
        Subscription { monitor: self.actor.get_derived(), chat: Some(chat) }
    }

    /// What was heard since this was asked last.
    pub(in crate::actors) fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
