//! Sessions that are known already and are taken over once more: by a command for another chat, under another
//! id, by a user who connects them. On a disk that hangs, by callers who give up: what is kept and what
//! runs agree afterwards, and a restart finds the same.

use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::*;
use crate::actors::accounts::context::AccountSettings;
use crate::actors::accounts::directory::Directory;
use crate::actors::campaigns::context::CampaignSettings;
use crate::actors::monitors::context::MonitorSettings;
use crate::actors::root::{Ports, Settings};
use crate::actors::tree::context::Context;
use crate::actors::webhooks::supervisor::WebhookSettings;
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::users::owner::UserId;
use crate::store::Snapshot;
use crate::store::gated::Gate;
use crate::telegram::ConnectionLease;

struct Harness {
    disk: GatedDisk,
    gate: Gate,
    store: Store,
    context: Arc<Context>,
    root: Root,
    orders: Commands,
    _outbox: Outbox,
}

fn person(day: u16) -> i64 {
    i64::from(day) + 100
}

/// The same key under an id of its own.
fn alias(day: u16) -> SessionData {
    SessionData { id: SessionId(format!("again-{day}")), ..session(day) }
}

impl Harness {
    async fn open(disk: GatedDisk) -> Self {
        let (store, outbox, gate) = disk.open();
        let context = Context::for_tests(store.clone());
        let (accounts, monitors) = (AccountSettings::for_tests(), MonitorSettings::for_tests());
        let campaigns = CampaignSettings::for_tests();
        let webhooks = WebhookSettings::default();
        let settings = Settings { accounts, monitors, webhooks, campaigns };
        let directory: Arc<Directory> = Arc::default();
        let (shared, drain) = (Arc::clone(&context), Duration::from_millis(50));
        let (snapshot, ports) = (store.load().unwrap(), Ports::closed());
        let root = Root::start(shared, settings, directory, snapshot, ports, drain).await.unwrap();
        let orders = root.commands();
        Self { disk, gate, store, context, root, orders, _outbox: outbox }
    }

    /// Brings sessions for a chat.
    fn start(&self, number: i64, sessions: Vec<SessionData>) -> JoinHandle<()> {
        self.submit(order(Command::SwitchSource { chat: chat(number), sessions }))
    }

    fn submit(&self, order: Order) -> JoinHandle<()> {
        let orders = self.orders.clone();
        tokio::spawn(async move { drop(orders.submit(order).await) })
    }

    /// A user connects the session of that day.
    fn adopt(&self, day: u16) -> JoinHandle<()> {
        let SessionData { account, dc_id, auth_key, .. } = session(day);
        let user = UserId::new("ann").unwrap();
        let adoption = Box::new(Adoption {
            credentials: Credentials { account, dc_id, auth_key },
            api_id: None,
            me: Me { user_id: person(day), is_bot: false, username: None, first_name: None },
            phone_masked: None,
            is_made_here: false,
            lease: ConnectionLease::new(),
            audit_event: AuditEvent::own(&user, "account.connect", now()),
            also: Box::new(|_| Vec::new()),
            former: None,
            user,
        });
        self.ask(move |reply| OwnedMsg::Adopt { adoption, reply })
    }

    /// And gives it up.
    fn remove(&self, day: u16) -> JoinHandle<()> {
        let known = self.store.load().unwrap().owned;
        let Some(account) = known.into_iter().find(|known| known.telegram_id == person(day)) else {
            return tokio::spawn(async {});
        };
        let audit_event = AuditEvent::own(&account.user, "account.remove", now());
        let (user, id, wanted) = (account.user, account.id, Wanted::Gone);
        self.ask(move |reply| OwnedMsg::Change { user, id, wanted, audit_event, reply })
    }

    fn ask(
        &self,
        message: impl FnOnce(super::super::owned::Answer) -> OwnedMsg + Send + 'static,
    ) -> JoinHandle<()> {
        let fleet = self.root.fleet().clone();
        tokio::spawn(async move {
            let _ = call(&fleet, |reply| FleetMsg::Owned(message(reply)), PATIENCE).await;
        })
    }

    /// What is kept is whole, nothing of it is needless, and what runs is what is kept.
    async fn agrees(&self) -> Result<(), String> {
        self.store.commit(Vec::new()).await.unwrap();
        let kept = self.store.load().unwrap();
        is_whole(&self.store, &kept)?;
        let running =
            |number: &i64| self.context.status.monitor_view(&chat(*number).key()).is_some();
        let is_kept = |number: &i64| kept.monitors.iter().any(|(it, _)| it.chat == chat(*number));
        if let Some(number) = (1..=2).find(|number| running(number) != is_kept(number)) {
            return Err(format!("chat {number} runs: {}, {kept:?}", running(&number)));
        }
        let census = call(self.root.fleet(), FleetMsg::Census, PATIENCE).await.unwrap();
        let wanted = (kept.accounts.len(), kept.sessions.len(), kept.sessions.len());
        (census == wanted).then_some(()).ok_or_else(|| format!("{census:?} of {kept:?}"))
    }

    async fn expect_agreement(&self, when: &str) {
        let patience = Instant::now() + PATIENCE;
        while let Err(why) = self.agrees().await {
            assert!(Instant::now() < patience, "{when}: {why}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn close(self) {
        self.gate.hang_writes(false);
        self.root.stop(Instant::now() + PATIENCE).await;
    }

    /// Everything agrees, here and in the life after a power cut, which keeps the same.
    async fn expect_agreement_and_close(self) {
        self.expect_agreement("in this life").await;
        let kept = names(&self.store.load().unwrap());
        let again = Self::open(self.disk.after_a_power_cut()).await;
        again.expect_agreement("in the next life").await;
        assert_eq!(names(&again.store.load().unwrap()), kept);
        again.close().await;
        self.close().await;
    }
}

/// Every session of a monitor is kept with its account and key, and so is every account of a user; there
/// is nothing else.
fn is_whole(store: &Store, kept: &Snapshot) -> Result<(), String> {
    let members: Vec<&PoolMember> = kept.monitors.iter().flat_map(|(it, _)| &it.ordered).collect();
    let is_session = |member: &PoolMember| {
        let known = kept.sessions.iter().find(|known| known.id == member.session);
        known.is_some_and(|known| known.account == member.account)
    };
    if let Some(member) = members.iter().find(|member| !is_session(member)) {
        return Err(format!("no session for {member:?}: {kept:?}"));
    }
    let is_used = |session: &&SessionRecord| members.iter().any(|it| it.session == session.id);
    if let Some(session) = kept.sessions.iter().find(|session| !is_used(session)) {
        return Err(format!("nobody uses {session:?}: {kept:?}"));
    }
    let owned = kept.owned.iter().map(|owned| owned.key);
    let needed: HashSet<AuthKeyId> = members.iter().map(|it| it.account).chain(owned).collect();
    let accounts: HashSet<AuthKeyId> = kept.accounts.iter().map(|account| account.id).collect();
    let has_key = |account: &AuthKeyId| store.credentials(*account).unwrap().is_some();
    let is_fine = needed == accounts && accounts.iter().all(has_key);
    is_fine.then_some(()).ok_or_else(|| format!("{needed:?} are needed: {kept:?}"))
}

/// What is kept, by name.
fn names(kept: &Snapshot) -> BTreeMap<String, Vec<PoolMember>> {
    let monitors =
        kept.monitors.iter().map(|(it, _)| (it.chat.key().to_string(), it.ordered.clone()));
    let sessions = kept.sessions.iter().map(|it| {
        let member = PoolMember { session: it.id.clone(), account: it.account };
        (format!("session {}", it.id), vec![member])
    });
    let owned = kept.owned.iter().map(|it| {
        let session = SessionId(it.user.as_str().to_owned());
        (it.id.to_string(), vec![PoolMember { session, account: it.key }])
    });
    monitors.chain(sessions).chain(owned).collect()
}

#[tokio::test]
async fn a_known_session_that_another_chat_takes_over_while_the_disk_hangs_is_kept_for_both() {
    let harness = Harness::open(GatedDisk::default()).await;
    harness.start(1, vec![session(1)]).await.unwrap();
    harness.gate.hang_writes(true);
    // The caller of the first has no more time; nobody waits for the second, either.
    let late = [harness.start(2, vec![session(1)]), harness.start(2, vec![alias(1)])];
    sleep(Duration::from_millis(30)).await;
    late.iter().for_each(JoinHandle::abort);
    let stopped = harness.submit(stop(1));
    sleep(Duration::from_millis(30)).await;
    harness.gate.hang_writes(false);
    stopped.await.unwrap();
    harness.start(2, vec![session(1)]).await.unwrap();
    harness.expect_agreement_and_close().await;
}

#[tokio::test]
async fn a_known_session_that_a_user_takes_over_while_the_disk_hangs_outlives_its_last_chat() {
    let harness = Harness::open(GatedDisk::default()).await;
    harness.start(1, vec![session(1)]).await.unwrap();
    harness.gate.hang_writes(true);
    let (adopted, stopped) = (harness.adopt(1), harness.submit(stop(1)));
    sleep(Duration::from_millis(30)).await;
    adopted.abort();
    stopped.abort();
    harness.gate.hang_writes(false);
    harness.expect_agreement("after the adoption").await;
    assert_eq!(harness.store.load().unwrap().owned.len(), 1);
    // And the other way round: what its user gives up goes on for the chat that took it over.
    harness.gate.hang_writes(true);
    let (removed, started) = (harness.remove(1), harness.start(2, vec![alias(1)]));
    sleep(Duration::from_millis(30)).await;
    removed.abort();
    harness.gate.hang_writes(false);
    started.await.unwrap();
    harness.expect_agreement("after the removal").await;
    assert_eq!(harness.store.load().unwrap().owned, []);
    harness.expect_agreement_and_close().await;
}

#[derive(Clone, Debug)]
enum Step {
    /// The chat, and by which key it is monitored, under its own id or another one.
    Start(i64, u16, bool),
    Stop(i64),
    Adopt(u16),
    Remove(u16),
    Hang(bool),
    /// The callers of everything that is under way give up.
    GiveUp,
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    let (number, day) = (1..=2_i64, 1..=2_u16);
    prop_oneof![
        5 => (number.clone(), day.clone(), any::<bool>())
            .prop_map(|(number, day, is_alias)| Step::Start(number, day, is_alias)),
        3 => number.prop_map(Step::Stop),
        2 => day.clone().prop_map(Step::Adopt),
        2 => day.prop_map(Step::Remove),
        2 => any::<bool>().prop_map(Step::Hang),
        2 => Just(Step::GiveUp),
        2 => Just(Step::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whoever_takes_a_session_over_and_gives_up_what_runs_is_what_is_kept(
        steps in prop::collection::vec(step(), 0..24),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let harness = Harness::open(GatedDisk::default()).await;
            let mut waiting = Vec::new();
            for step in steps {
                match step {
                    Step::Start(number, day, false) => waiting.push(harness.start(number, vec![session(day)])),
                    Step::Start(number, day, true) => waiting.push(harness.start(number, vec![alias(day)])),
                    Step::Stop(number) => waiting.push(harness.submit(stop(number))),
                    Step::Adopt(day) => waiting.push(harness.adopt(day)),
                    Step::Remove(day) => waiting.push(harness.remove(day)),
                    Step::Hang(hang) => harness.gate.hang_writes(hang),
                    Step::GiveUp => waiting.drain(..).for_each(|one| one.abort()),
                    Step::Pause => sleep(Duration::from_millis(4)).await,
                }
                tokio::task::yield_now().await;
            }
            harness.gate.hang_writes(false);
            for one in waiting {
                one.await.unwrap();
            }
            harness.expect_agreement_and_close().await;
        });
    }
}
