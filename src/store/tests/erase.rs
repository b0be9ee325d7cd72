//! Erasing a user: in pieces, to its end whatever crashes in between, and nobody else's.

use std::collections::BTreeSet;

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::audit::log::{AuditEvent, Details};
use crate::protocol::campaigns::caps::Budget;
use crate::protocol::campaigns::respect::{List, Refusal};
use crate::protocol::messages::record::SendRecord;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope};
use crate::protocol::users::owner::{AccountId, Scope, UserId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::webhooks::deliveries::{DeadRecord, Delivery};

use super::sample_rows::{
    actor, attempt, block, contacted, creation, dead, delivery, import, page, refusal, run,
    suppression, task, use_count, webhook,
};
use super::*;
use crate::store::records::erasure::RECORDS_PER_COMMIT;

const GONE: &str = "the-one-who-goes";
const STAYS: &str = "the-other-who-stays";

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn erasure() -> Erasure {
    Erasure {
        user: user(GONE),
        pseudonym: user("erased-1"),
        asked_by: None,
        address: None,
        at: UnixMillis(9),
    }
}

fn number_of_person(id: &str) -> i64 {
    id.len() as i64
}

fn send(owner: &str, nth: usize) -> SendRecord {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&nth.to_be_bytes());
    SendRecord {
        user: user(owner),
        account: AccountId(Uuid::from_u128(1)),
        key: Fingerprint(key),
        request: Fingerprint([0; 32]),
        random_id: 5,
        sent: None,
        is_unsent: false,
        is_nameless: false,
        created_at: UnixMillis(nth as i64 * 60_000),
    }
}

fn audit_event(owner: &str) -> Op {
    Op::Audit(AuditEvent {
        at: UnixMillis(5),
        actor: user(owner),
        owner: user(owner),
        action: "message.send".into(),
        target: Some(format!("something of {owner}")),
        address: None,
        outcome: "ok".into(),
        details: Some(Details::new(&format!("something about {owner}"))),
    })
}

/// What Telegram makes the person of an account wait for.
fn waits() -> Vec<FloodWait> {
    vec![FloodWait { scope: FloodWaitScope::Account, until: UnixMillis(i64::MAX) }]
}

/// Everything that the store may keep of a user.
fn everything_of(id: &str) -> Vec<Op> {
    let (owner, number) = (user(id), number_of_person(id));
    let key = AuthKeyId(number as u64);
    let account_id = AccountId(Uuid::from_u128(number as u128));
    let owned = OwnedAccount {
        id: account_id,
        user: owner.clone(),
        key,
        api_id: None,
        is_bot: false,
        telegram_id: number,
        phone_masked: None,
        username: None,
        first_name: None,
        is_paused: false,
        is_made_here: false,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(2),
    };
    let chat = AttachedChat {
        user: owner.clone(),
        account: account_id,
        chat: MarkedId::channel(5),
        title: None,
        kind: "channel".into(),
        username: None,
        is_member: true,
        is_admin: false,
        can_post: false,
        can_invite: false,
        checked_at: UnixMillis(3),
    };
    let monitor = MonitorRecord { owner: Some(owner.clone()), ..monitor(number) };
    let line = RestartRecord {
        actor: format!("monitor/{}", monitor.key()),
        at: UnixMillis(4),
        cause: "panic".into(),
        attempt: 1,
        next_at: None,
    };
    let auth_key = AuthKey::new([number as u8; 256]);
    let dead = DeadRecord { delivery: Delivery { user: owner.clone(), ..delivery() }, ..dead() };
    let mut hook = webhook();
    hook.user = owner.clone();
    let put_cursor = Op::PutCursor { chat: monitor.key(), cursor: cursor(4) };
    let mut ops = vec![
        Op::PutAccount(AccountRecord { flood_waits: waits(), ..account(key.0) }),
        Op::PutCredentials(Credentials { account: key, dc_id: 2, auth_key }),
        Op::put_row(&owned),
        Op::put_row(&chat),
        Op::PutMonitor(monitor),
        put_cursor,
        Op::PutRestart(line),
        Op::PutDayCount(DayCount { telegram_id: number, day: 1, used: Default::default() }),
        Op::put_row(&hook),
        Op::put_row(&Delivery { user: owner, ..delivery() }),
        Op::put_row(&dead),
    ];
    ops.extend(campaigns_of(id));
    ops.extend((0..RECORDS_PER_COMMIT + 7).map(|nth| Op::put_row(&send(id, nth))));
    ops.extend((0..RECORDS_PER_COMMIT + 3).map(|_| audit_event(id)));
    ops
}

/// What campaigns keep of a user, and what they keep that is nobody's.
fn campaigns_of(id: &str) -> Vec<Op> {
    let number = number_of_person(id);
    vec![
        Op::put_row(&task(id, 21)),
        Op::put_row(&run(id, 21)),
        Op::put_row(&block(id, 21, 0)),
        Op::put_row(&page(id, 21, 0)),
        Op::put_row(&attempt(id, 21, 0)),
        Op::put_row(&creation(id)),
        Op::put_row(&import(id, 21)),
        Op::put_suppression(&suppression(List::User(user(id)), 1)),
        Op::put_shared(&refusal(id)),
        Op::put_shared(&contacted(9, id, 5)),
        Op::put_shared(&use_count(number, Budget::Invite, 1)),
        Op::put_shared(&actor(number)),
    ]
}

/// What is nobody's is there.
fn expect_shared_rows_of(store: &Store, id: &str) {
    let number = number_of_person(id);
    let of_person = RowId::of_person(number);
    assert!(store.refusals(refusal(id).key).unwrap().contains(&refusal(id)));
    let reached = contacted(9, id, 5);
    assert_eq!(store.shared_row((9, reached.list)).unwrap(), Some(reached));
    let count = use_count(number, Budget::Invite, 1);
    assert_eq!(store.use_counts(number).unwrap(), [count]);
    assert_eq!(store.shared_row(of_person).unwrap(), Some(actor(number)));
}

fn open(disk: &MemoryDisk) -> (Store, Outbox) {
    let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
    Store::start(Arc::new(disk.clone()), key, hurried()).unwrap()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The keys under which the medium says something of `id`.
fn tells_of(disk: &MemoryDisk, id: &str) -> BTreeSet<Vec<u8>> {
    let mut keys = BTreeSet::new();
    let credentials = layout::account(kind::CREDENTIALS, AuthKeyId(number_of_person(id) as u64));
    disk.scan(&[0], &[0xff], &mut |key, value| {
        let is_own = *key == credentials;
        if is_own || holds(key, id) || holds(value, id) {
            keys.insert(key.to_vec());
        }
        true
    })
    .unwrap();
    keys
}

async fn filled() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (store, outbox) = open(&disk);
    store.commit(everything_of(GONE)).await.unwrap();
    store.commit(everything_of(STAYS)).await.unwrap();
    store.close().await.unwrap();
    drop(outbox);
    disk
}

#[tokio::test]
async fn a_crash_anywhere_in_an_erasing_leaves_nothing_for_good() {
    let full = filled().await;
    let kept = tells_of(&full, STAYS);
    assert!(tells_of(&full, GONE).len() > 2 * RECORDS_PER_COMMIT);
    for writes in 0.. {
        let disk = full.copy();
        let (store, outbox) = open(&disk);
        disk.fail_after(writes);
        let outcome = store.erase(&erasure()).await;
        let _ = store.close().await;
        drop(outbox);
        let is_through = outcome.is_ok();
        disk.crash(usize::try_from(writes % 3).unwrap());
        let (store, outbox) = open(&disk);
        let was_begun = !store.erasures().unwrap().is_empty();
        assert!(!(was_begun && is_through), "after {writes} writes");
        store.finish_erasures().await.unwrap();
        assert_eq!(store.erasures().unwrap(), []);
        // The last write may have reached the disk although it failed.
        let is_gone = store.load().unwrap().owned.len() == 1;
        if was_begun || is_through || is_gone {
            assert_eq!(store.monitor_count(&user(GONE)), 0);
            assert_eq!(store.load().unwrap().owned.len(), 1);
            assert_eq!(store.load().unwrap().restarts.len(), 1);
            let report = store.verify_audit_log().unwrap();
            assert_eq!(report.faults, [] as [String; 0], "after {writes} writes");
            assert_eq!(report.pseudonymised as usize, RECORDS_PER_COMMIT + 3);
            store.close().await.unwrap();
            assert_eq!(tells_of(&disk, GONE), BTreeSet::new(), "after {writes} writes");
            let (store, _outbox) = open(&disk);
            let count = store.day_count(number_of_person(GONE)).unwrap();
            assert!(count.is_some(), "erasing is no way around a limit of the day");
            let person = PersonFloodWaits { telegram_id: number_of_person(GONE), waits: waits() };
            assert_eq!(store.person_waits().unwrap(), [person], "nor around a wait");
            expect_shared_rows_of(&store, GONE);
            expect_shared_rows_of(&store, STAYS);
            store.close().await.unwrap();
        } else {
            store.close().await.unwrap();
            assert!(
                tells_of(&disk, GONE).len() > 2 * RECORDS_PER_COMMIT,
                "nothing went before the mark"
            );
        }
        assert_eq!(tells_of(&disk, STAYS), kept, "after {writes} writes");
        drop(outbox);
        if is_through {
            assert!(writes > 10, "it went in pieces");
            break;
        }
    }
}

#[tokio::test]
async fn a_user_goes_piece_by_piece() {
    let (store, _outbox) = Store::in_memory().unwrap();
    store
        .commit((0..RECORDS_PER_COMMIT + 7).map(|nth| Op::put_row(&send(GONE, nth))).collect())
        .await
        .unwrap();
    store.commit((0..RECORDS_PER_COMMIT + 3).map(|_| audit_event(GONE)).collect()).await.unwrap();
    let pseudonym = "erased-1".to_owned();
    let forget = Op::Pseudonymise { user: user(GONE), pseudonym };
    store.commit(vec![Op::EraseRows(user(GONE)), forget]).await.unwrap();
    let left = store.rows::<SendRecord>(&user(GONE), None, None, usize::MAX).unwrap();
    assert_eq!(left.len(), 7);
    assert_eq!(store.verify_audit_log().unwrap().pseudonymised as usize, RECORDS_PER_COMMIT);
}

#[tokio::test]
async fn a_refusal_outlives_the_user_who_wrote_it_down_and_names_nobody() {
    let (store, _outbox) = Store::in_memory().unwrap();
    store.commit(everything_of(GONE)).await.unwrap();
    let before = store.shared_rows::<Refusal>(None, None, 9).unwrap();
    store.erase(&erasure()).await.unwrap();
    assert_eq!(store.shared_rows::<Refusal>(None, None, 9).unwrap(), before);
    assert_eq!(before, [refusal(GONE)]);
    assert_eq!(store.suppressions(&List::User(user(GONE)), None, 9).unwrap(), []);
    assert_eq!(store.task_statuses(&user(GONE)).unwrap(), []);
    let json = serde_json::to_string(&before).unwrap();
    assert!(!json.contains(GONE) && !json.contains("durov"));
}

#[tokio::test]
async fn a_session_that_the_bridge_has_too_stays_for_the_bridge() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let key = AuthKeyId(number_of_person(GONE) as u64);
    let session = SessionRecord { id: SessionId("s1".into()), account: key, api_id: None };
    store.commit(everything_of(GONE)).await.unwrap();
    store.commit(vec![Op::PutSession(session)]).await.unwrap();
    assert_eq!(store.erase(&erasure()).await.unwrap() as usize, RECORDS_PER_COMMIT + 3);
    assert!(store.credentials(key).unwrap().is_some());
    assert_eq!(store.monitor_keys(&Scope::Only(user(GONE)), None, 9), []);
}

#[test]
fn only_lines_about_what_is_a_users_name_that_user() {
    let line = |actor: &str| RestartRecord {
        actor: actor.into(),
        at: UnixMillis(0),
        cause: String::new(),
        attempt: 1,
        next_at: None,
    };
    assert!(names_user(&line("monitor/-1001 of ann"), &user("ann")));
    assert!(names_user(&line("monitor/@x of a of b"), &user("a of b")));
    assert!(names_user(&line("allocator/ann@example.org"), &user("ann@example.org")));
    for other in
        ["monitor/@x of a of b", "monitor/-1001", "account/b", "login/x of b", "allocator/bb"]
    {
        assert!(!names_user(&line(other), &user("b")), "{other}");
    }
}
