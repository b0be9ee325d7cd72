//! Commands for one chat on a disk that hangs: whatever comes in which order, the chat runs if, and only if,
//! its record says so, and what was accepted is there after a power cut.

use proptest::prelude::*;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::*;
use crate::actors::accounts::fleet::{CommandHold, Fleet, FleetArgs};
use crate::actors::tree::actor::spawn_alone;
use crate::actors::tree::calling::call;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::bridge::command::SessionData;
use crate::protocol::telegram::chat::ChatSpelling;
use crate::protocol::values::ids::{AuthKeyId, SessionId};
use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};
use crate::store::gated::{Gate, GatedDisk};
use crate::store::{Outbox, Store};

const PATIENCE: Duration = Duration::from_secs(30);

type Told = oneshot::Receiver<Result<(), CommitError>>;

struct Harness {
    disk: GatedDisk,
    gate: Gate,
    context: Arc<MonitorsContext>,
    fleet: ActorRef<FleetMsg>,
    monitors: ActorRef<MonitorsMsg>,
    /// So that no session is forgotten.
    _hold: CommandHold,
    _outbox: Outbox,
}

fn key(number: u8) -> AuthKey {
    AuthKey::new([number; AUTH_KEY_LEN])
}

fn sessions(numbers: &[u8]) -> Vec<PoolMember> {
    let member = |number: &u8| PoolMember {
        session: SessionId(format!("s{number}")),
        account: AuthKeyId::of(&key(*number)),
    };
    numbers.iter().map(member).collect()
}

fn chat() -> ChatRef {
    ChatRef::parse(ChatSpelling::Number(-1_000_000_000_042)).unwrap()
}

impl Harness {
    async fn open() -> Self {
        let disk = GatedDisk::default();
        let (store, outbox, gate) = disk.open();
        let context = MonitorsContext::for_tests(store);
        let fleet = spawn_alone(Fleet, FleetArgs::empty(&context.accounts)).await;
        let session = |number: u8| {
            let (id, auth_key) = (SessionId(format!("s{number}")), key(number));
            let account = AuthKeyId::of(&auth_key);
            SessionData { id, api_id: None, account, dc_id: 2, auth_key }
        };
        let sessions = [1, 2].map(session).into();
        let register = |reply| FleetMsg::Register { sessions, reply };
        let hold = call(&fleet, register, PATIENCE).await.unwrap().unwrap();
        let (shared, records) = (Arc::clone(&context), Vec::new());
        let args = MonitorsArgs { context: shared, fleet: fleet.clone(), records };
        let monitors = spawn_alone(Monitors, args).await;
        Self { disk, gate, context, fleet, monitors, _hold: hold, _outbox: outbox }
    }

    fn configure(&self, numbers: &[u8]) -> Told {
        let (tell, told) = oneshot::channel();
        let order = Configure {
            owner: None,
            chat: chat(),
            sessions: sessions(numbers),
            reply_to: None,
            also: Vec::new(),
            hold: None,
        };
        let reply = tell.into();
        self.monitors.cast(MonitorsMsg::Configure { order, reply }).unwrap();
        told
    }

    fn stop(&self) -> Told {
        let (tell, told) = oneshot::channel();
        let order = Stop { owner: None, chat: chat(), reply_to: None, also: Vec::new() };
        self.monitors.cast(MonitorsMsg::Stop { order, reply: tell.into() }).unwrap();
        told
    }

    /// The sessions that the record of the chat names after a power cut now.
    fn kept(&self) -> Option<Vec<PoolMember>> {
        let (store, _outbox, _) = self.disk.after_a_power_cut().open();
        store.monitor(&chat().key()).unwrap().map(|record| record.ordered)
    }

    fn is_running(&self) -> bool {
        self.context.status.monitor_view(&chat().key()).is_some()
    }

    async fn expect(&self, wanted: Option<&[u8]>) {
        assert_eq!(self.kept(), wanted.map(sessions), "what a restart would find");
        let patience = Instant::now() + PATIENCE;
        while self.is_running() != wanted.is_some() {
            assert!(Instant::now() < patience, "it runs: {}", self.is_running());
            sleep(Duration::from_millis(2)).await;
        }
    }

    async fn close(self) {
        self.gate.hang_writes(false);
        let _ = self.monitors.stop_and_wait(None, None).await;
        let _ = self.fleet.stop_and_wait(None, None).await;
    }
}

async fn said(told: Told) -> Result<(), CommitError> {
    tokio::time::timeout(PATIENCE, told).await.expect("it is answered").expect("by its actor")
}

#[tokio::test]
async fn a_chat_that_is_started_again_while_its_stop_is_on_its_way_runs_with_a_record() {
    let harness = Harness::open().await;
    said(harness.configure(&[1])).await.unwrap();
    harness.expect(Some(&[1])).await;
    harness.gate.hang_writes(true);
    let (stopped, mut started) = (harness.stop(), harness.configure(&[1]));
    sleep(Duration::from_millis(50)).await;
    assert!(started.try_recv().is_err(), "nobody is told what is not durable");
    assert_eq!(harness.kept(), Some(sessions(&[1])), "the disk has heard of neither");
    harness.gate.hang_writes(false);
    said(stopped).await.unwrap();
    said(started).await.unwrap();
    harness.expect(Some(&[1])).await;
    harness.close().await;
}

#[tokio::test]
async fn a_stop_whose_caller_is_gone_comes_before_what_was_asked_for_later() {
    let harness = Harness::open().await;
    said(harness.configure(&[1])).await.unwrap();
    harness.gate.hang_writes(true);
    drop(harness.stop());
    let started = harness.configure(&[2]);
    harness.gate.hang_writes(false);
    said(started).await.unwrap();
    harness.expect(Some(&[2])).await;
    // And the other way round: what waited, and nobody waits for any more, is not done.
    harness.gate.hang_writes(true);
    let stopped = harness.stop();
    drop(harness.configure(&[1]));
    harness.gate.hang_writes(false);
    said(stopped).await.unwrap();
    assert!(harness.kept().is_none());
    said(harness.stop()).await.unwrap();
    harness.expect(None).await;
    harness.close().await;
}

#[derive(Clone, Debug)]
enum Step {
    Start(Vec<u8>),
    Stop,
    Hang(bool),
    /// The callers of everything that is under way give up.
    GiveUp,
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    let pools = prop::sample::select(vec![vec![1], vec![2], vec![1, 2]]);
    prop_oneof![
        4 => pools.prop_map(Step::Start),
        3 => Just(Step::Stop),
        2 => any::<bool>().prop_map(Step::Hang),
        1 => Just(Step::GiveUp),
        2 => Just(Step::Pause),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_last_order_wins_on_the_disk_and_in_the_tree(
        steps in prop::collection::vec(step(), 0..20), last in prop::option::of(0..2_u8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let harness = Harness::open().await;
            let mut waiting = Vec::new();
            for step in steps {
                match step {
                    Step::Start(numbers) => waiting.push(harness.configure(&numbers)),
                    Step::Stop => waiting.push(harness.stop()),
                    Step::Hang(hang) => harness.gate.hang_writes(hang),
                    Step::GiveUp => waiting.clear(),
                    Step::Pause => sleep(Duration::from_millis(4)).await,
                }
            }
            let numbers = last.map(|number| [number + 1]);
            let told = numbers.as_ref().map_or_else(|| harness.stop(), |numbers| harness.configure(numbers));
            harness.gate.hang_writes(false);
            for told in waiting.into_iter().chain([told]) {
                said(told).await.unwrap();
            }
            harness.expect(numbers.as_ref().map(|numbers| &numbers[..])).await;
            harness.close().await;
        });
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_now_refuses_the_command_and_is_tried_again() {
    let harness = Harness::open().await;
    let store: &Store = &harness.context.store;
    said(harness.configure(&[1])).await.unwrap();
    said(harness.stop()).await.unwrap();
    harness.gate.hang_reads(true);
    let told = harness.configure(&[2]);
    let hangs = async {
        while harness.gate.hanging_reads() == 0 {
            sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, hangs).await.unwrap();
    // The tree goes on, and so does everybody who only writes.
    store.commit(vec![Op::DeleteMonitor(ChatKey("other".into()))]).await.unwrap();
    let refused = said(told).await.unwrap_err();
    assert!(matches!(refused, CommitError::Unread { .. }), "{refused}");
    harness.gate.hang_reads(false);
    said(harness.configure(&[2])).await.unwrap();
    harness.expect(Some(&[2])).await;
    harness.close().await;
}
