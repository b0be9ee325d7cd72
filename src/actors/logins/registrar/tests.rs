//! Logins whose records cannot be read for a while: what Telegram has of them is not forgotten over that.

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::*;
use crate::actors::accounts::fleet::{OwnedMsg, stand_in};
use crate::actors::tree::actor::spawn_alone;
use crate::clock::now;
use crate::protocol::accounts::record::Me;
use crate::store::gated::{Gate, GatedDisk};
use crate::store::{AuditLogQuery, Store, StoreError};
use crate::telegram::ConnectionLease;

const PATIENCE: Duration = Duration::from_secs(60);

type Asked = RpcReplyPort<(ConnectionLease, Option<Me>)>;

/// Whoever asks for the lease of a key.
fn of_lease(message: FleetMsg) -> Option<Asked> {
    match message {
        FleetMsg::Owned(OwnedMsg::Lease { reply, .. }) => Some(reply),
        _ => None,
    }
}

fn leaving() -> LoginRecord {
    LoginRecord {
        id: LoginId(Uuid::from_u128(1)),
        user: UserId::new("ann").unwrap(),
        dc_id: 2,
        auth_key: vec![7; 256],
        stage: LoginStage::WaitingScan,
        is_leaving: true,
        is_brought: false,
        api_id: None,
        created_at: now(),
        expires_at: now(),
        not_before: None,
        subject: None,
    }
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < patience, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until every read that hangs now was given up.
async fn given_up(store: &Store, gate: &Gate) {
    eventually("something is read", || gate.hanging_reads() > 0).await;
    let late = store.read(|store| store.audit_log_head()).await;
    assert!(matches!(late, Err(StoreError::Unanswered { .. })), "{late:?}");
}

fn is_kept(store: &Store) -> bool {
    let LoginRecord { user, id, .. } = &leaving();
    store.row::<LoginRecord>(user, *id).unwrap().is_some()
}

fn audit_events(store: &Store) -> Vec<String> {
    let page = store.audit_log(&AuditLogQuery { limit: 10, ..AuditLogQuery::default() }).unwrap();
    page.entries.into_iter().map(|entry| entry.link.action).collect()
}

#[tokio::test]
async fn a_session_that_is_to_be_ended_is_ended_after_a_disk_that_did_not_answer() {
    let (store, _outbox, gate) = GatedDisk::default().open();
    store.commit(vec![Op::put_row(&leaving())]).await.unwrap();
    let context = LoginsContext::for_tests(store.clone());
    let (fleet, mut asked) = stand_in(of_lease).await;
    gate.hang_reads(true);
    let args = LoginsArgs { context, fleet: fleet.clone(), interrupted: vec![leaving()] };
    let logins = spawn_alone(Logins, args).await;
    given_up(&store, &gate).await;
    gate.hang_reads(false);
    let lease = tokio::time::timeout(PATIENCE, asked.recv()).await.expect("it is tried again");
    // An account has the session, so there is nothing to do at Telegram; then the disk hangs again.
    gate.hang_reads(true);
    let me = Me { user_id: 5, is_bot: false, username: None, first_name: None };
    lease.unwrap().send((ConnectionLease::new(), Some(me))).unwrap();
    given_up(&store, &gate).await;
    gate.hang_reads(false);
    eventually("the note goes", || !is_kept(&store)).await;
    assert_eq!(audit_events(&store), ["login.leave"]);
    assert!(asked.try_recv().is_err(), "what has been done is not done once more");
    logins.stop(None);
    fleet.stop(None);
}

#[tokio::test]
async fn a_login_that_crashed_goes_on_after_a_disk_that_did_not_answer() {
    let (store, _outbox, gate) = GatedDisk::default().open();
    store.commit(vec![Op::put_row(&leaving())]).await.unwrap();
    let context = LoginsContext::for_tests(store.clone());
    let (fleet, mut asked) = stand_in(of_lease).await;
    let (shared, of, interrupted) = (Arc::clone(&context), fleet.clone(), Vec::new());
    let args = LoginsArgs { context: shared, fleet: of, interrupted };
    let logins = spawn_alone(Logins, args).await;
    let (name, child) = ((leaving().user.clone(), leaving().id), logins.get_id());
    let mut state = LoginsState {
        context,
        fleet: fleet.clone(),
        open: HashMap::new(),
        names: HashMap::from([(child, name)]),
        histories: HashMap::new(),
        members: HashMap::new(),
    };
    gate.hang_reads(true);
    let began = Instant::now();
    state.ended(&logins, child, Some("on purpose".into())).await;
    assert!(began.elapsed() < Duration::from_secs(5), "other logins do not wait for the disk");
    given_up(&store, &gate).await;
    assert!(asked.try_recv().is_err());
    gate.hang_reads(false);
    tokio::time::timeout(PATIENCE, asked.recv()).await.expect("it goes on").unwrap();
    assert!(is_kept(&store));
    logins.stop(None);
    fleet.stop(None);
}
