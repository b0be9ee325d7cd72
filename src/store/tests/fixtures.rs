//! Records of every version as files that must load for ever. When a record grows, its new version
//! gets a file of its own; none is ever rewritten. `write_missing` makes the files of a new kind:
//! `cargo test --lib store::tests::fixtures::write_missing -- --ignored`.

use std::fmt::Debug;
use std::path::PathBuf;

use serde::Serialize;

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::accounts::record::DeadSession;
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::audit::log::{AuditEvent, Entry, ORIGIN};
use crate::protocol::bridge::reply_to::ReplyTo;
use crate::protocol::campaigns::caps::Budget;
use crate::protocol::campaigns::respect::{List, Refusal};
use crate::protocol::messages::record::{SendRecord, SentMessage};
use crate::protocol::monitors::record::Exhausted;
use crate::protocol::telegram::freeze::Frozen;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope, MethodClass};
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::fingerprint::Fingerprint;

use super::*;
use crate::store::journal::segment::Content;

type Encode = Box<dyn Fn() -> Vec<u8>>;
type Check = Box<dyn Fn(&[u8])>;

/// One file: how it was made, unless that is history, and what it must be read as.
struct Fixture {
    version: u8,
    name: &'static str,
    encode: Option<Encode>,
    check: Check,
}

fn json<T>(name: &'static str, value: T) -> Fixture
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + Clone + 'static,
{
    let expected = value.clone();
    Fixture {
        version: 1,
        name,
        encode: Some(Box::new(move || encoding::to_json(&value))),
        check: Box::new(move |bytes| {
            assert_eq!(encoding::from_json::<T>(name, bytes).unwrap(), expected);
        }),
    }
}

fn compact<T>(name: &'static str, value: T) -> Fixture
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + Clone + 'static,
{
    let expected = value.clone();
    Fixture {
        version: 1,
        name,
        encode: Some(Box::new(move || encoding::to_compact(&value))),
        check: Box::new(move |bytes| {
            assert_eq!(encoding::from_compact::<T>(name, bytes).unwrap(), expected);
        }),
    }
}

fn full_account() -> AccountRecord {
    let cooldown = |scope| FloodWait { scope, until: UnixMillis(1_700_000_000_000) };
    AccountRecord {
        fault: Some(DeadSession { code: "AUTH_KEY_UNREGISTERED".into(), since: UnixMillis(12) }),
        flood_waits: vec![
            cooldown(FloodWaitScope::Class(MethodClass::Send)),
            cooldown(FloodWaitScope::Chat(MarkedId(-1_000_000_000_005))),
            cooldown(FloodWaitScope::Account),
        ],
        ..account(0xfedc_ba98_7654_3210)
    }
}

/// As accounts are since a freeze is kept.
fn frozen_account() -> AccountRecord {
    let frozen = Frozen {
        code: "FROZEN_METHOD_INVALID".into(),
        since: UnixMillis(13),
        look_at: UnixMillis(14),
        classes: vec![MethodClass::Send, MethodClass::Join],
    };
    AccountRecord { fault: None, frozen: Some(frozen), ..full_account() }
}

fn full_monitor() -> MonitorRecord {
    let spelling = ChatSpelling::Text("https://t.me/Durov".into());
    MonitorRecord {
        chat: ChatRef { spelling, target: ChatTarget::Username("durov".into()) },
        phase: MonitorPhase::Exhausted,
        marked_id: Some(MarkedId(-1_000_000_000_009)),
        ..monitor(1)
    }
}

fn exhausted_monitor() -> MonitorRecord {
    let because = Some("telegram ended this session (SESSION_REVOKED)".into());
    let exhausted = Some(Exhausted { since: UnixMillis(1_700_000_000_000), because });
    MonitorRecord { exhausted, pool: Vec::new(), ..full_monitor() }
}

fn full_cursor() -> Cursor {
    let mut before = Cursor::starting_after(100, 1_700_000_000, Some(AuthKeyId(1)));
    assert!(before.accept(101, 1_700_000_001, 0xdead_beef));
    assert!(before.accept(105, 1_700_000_001, 0xfeed));
    let mut cursor = before.continued_by(AuthKeyId(2), 900);
    assert!(cursor.accept(904, 1_700_000_002, 0xabcd));
    cursor
}

fn full_job() -> JobRecord {
    let reply = ReplyTo { queue: "answers".into(), correlation_id: Some("c-1".into()) };
    let target = ChatTarget::Invite("AbC-_1".into());
    let chat = ChatRef { spelling: ChatSpelling::Text("t.me/+AbC-_1".into()), target };
    let work = JobWork::Join { chat, session: SessionId("s1".into()), account: AuthKeyId(7) };
    let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    JobRecord { id, work, reply: Some(reply), created_at: UnixMillis(4) }
}

fn full_restart() -> RestartRecord {
    RestartRecord {
        actor: "account/fedcba9876543210".into(),
        at: UnixMillis(1_700_000_000_000),
        cause: "the connection was lost".into(),
        attempt: 3,
        next_at: Some(UnixMillis(1_700_000_001_000)),
    }
}

fn full_owned() -> OwnedAccount {
    OwnedAccount {
        id: AccountId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002)),
        user: UserId::new("somebody").unwrap(),
        key: AuthKeyId(7),
        api_id: Some(6),
        is_bot: false,
        telegram_id: 7_000_000_001,
        phone_masked: Some("+7999•••••12".into()),
        username: Some("name".into()),
        first_name: Some("First".into()),
        is_paused: true,
        is_made_here: false,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(2),
    }
}

fn full_chat() -> AttachedChat {
    AttachedChat {
        user: full_owned().user,
        account: full_owned().id,
        chat: MarkedId(-1_000_000_000_005),
        title: Some("Title".into()),
        kind: "supergroup".into(),
        username: Some("name".into()),
        is_member: true,
        is_admin: false,
        can_post: true,
        can_invite: false,
        checked_at: UnixMillis(3),
    }
}

fn full_send() -> SendRecord {
    SendRecord {
        user: full_owned().user,
        account: full_owned().id,
        key: Fingerprint([1; 32]),
        request: Fingerprint([2; 32]),
        random_id: i64::MIN,
        sent: Some(SentMessage { message_id: 9, date: 1_700_000_000 }),
        is_unsent: false,
        is_nameless: false,
        created_at: UnixMillis(4),
    }
}

fn full_day() -> DayCount {
    DayCount { telegram_id: 7_000_000_001, day: 20_000, used: [("send".to_owned(), 3)].into() }
}

fn full_waits() -> PersonFloodWaits {
    let wait = |scope| FloodWait { scope, until: UnixMillis(9) };
    let waits = vec![
        wait(FloodWaitScope::Account),
        wait(FloodWaitScope::Class(MethodClass::Send)),
        wait(FloodWaitScope::Chat(MarkedId(-5))),
    ];
    PersonFloodWaits { telegram_id: 7_000_000_001, waits }
}

fn full_erasure() -> Erasure {
    Erasure {
        user: full_owned().user,
        pseudonym: UserId::new("erased-1").unwrap(),
        asked_by: Some(UserId::new("admin").unwrap()),
        address: Some("127.0.0.1".into()),
        at: UnixMillis(6),
    }
}

fn full_entry() -> Entry {
    let audit_event = AuditEvent {
        at: UnixMillis(5),
        actor: full_owned().user,
        owner: full_owned().user,
        action: "account.connect".into(),
        target: Some("target".into()),
        address: Some("127.0.0.1".into()),
        outcome: "ok".into(),
        details: None,
    };
    Entry::of(audit_event, 1, &ORIGIN, [9; 16])
}

/// What segments of that version keep of two entries.
fn entries(version: u8) -> Vec<Arc<OutboxEntry>> {
    let queue = "answers".to_owned();
    let reply = Route::Reply { queue, correlation_id: Some("c-1".into()) };
    // Version 1 did not keep when a message was said, version 2 not whose it is.
    let said_at = (version > 1).then_some(1_700_000_002);
    let owner = (version > 2).then(|| UserId::new("somebody").unwrap());
    let event = OutboxEntry { said_at, owner, ..event(1, 40) };
    vec![Arc::new(OutboxEntry { route: reply, ..event.clone() }), Arc::new(event)]
}

fn master() -> MasterKey {
    MasterKey::new(&[42; 32])
}

fn sealed_credentials() -> Fixture {
    let auth_key = AuthKey::new(std::array::from_fn(|at| at as u8));
    let credentials = Credentials { account: AuthKeyId(7), dc_id: -2, auth_key };
    let key = layout::account(kind::CREDENTIALS, AuthKeyId(7));
    let (expected, place) = (credentials.clone(), key.clone());
    Fixture {
        version: 1,
        name: "credentials",
        encode: Some(Box::new(move || {
            master().seal(&key, &encoding::credentials_to_plain(&credentials)).unwrap()
        })),
        check: Box::new(move |sealed| {
            let plain = master().open(&place, sealed).unwrap();
            let read = encoding::credentials_from_plain(AuthKeyId(7), &plain).unwrap();
            assert_eq!(read, expected);
        }),
    }
}

/// A generation of keys, in a store that it opens.
fn generation() -> Fixture {
    let wrapped = || {
        let disk = crate::store::engines::MemoryDisk::default();
        let opened = keys::open(&disk, given(), None, UnixMillis(9)).unwrap();
        let (place, record) = opened.batch.writes.into_iter().next().unwrap();
        assert_eq!(place, layout::generation(1));
        record.unwrap()
    };
    let check = |record: &[u8]| {
        let disk = crate::store::engines::MemoryDisk::default();
        let mut batch = WriteBatch::default();
        batch.put(layout::generation(1), record.to_vec());
        disk.apply(batch).unwrap();
        let opened = keys::open(&disk, given(), Some(3), UnixMillis(9)).unwrap();
        assert!(opened.batch.is_empty(), "it is used as it is");
    };
    Fixture {
        version: 1,
        name: "generation",
        encode: Some(Box::new(wrapped)),
        check: Box::new(check),
    }
}

fn given() -> RootKey {
    RootKey::Given(Box::new(master()))
}

/// A segment behind the wrapped data key it was sealed with (whose length stands first).
fn sealed_segment(version: u8) -> Fixture {
    let moved = || (full_monitor().chat.key(), full_cursor());
    let encode = move || {
        let (keyring, wrapped) = Keyring::new(&master(), 3, &layout::data_key(3)).unwrap();
        let (chat, cursor) = moved();
        let (entries, at) = (entries(version), UnixMillis(9));
        let cursors = [(&chat, &cursor)];
        let content = Content {
            first: 7,
            at,
            acknowledged: 5,
            before: 11,
            entries: &entries,
            cursors: &cursors,
        };
        let mut batch = WriteBatch::default();
        segment::write(&mut batch, &keyring, &content).unwrap();
        let segment = batch.writes.into_values().next().flatten().unwrap();
        [&[wrapped.len() as u8][..], &wrapped, &segment].concat()
    };
    let check = move |bytes: &[u8]| {
        let (wrapped, segment) = bytes[1..].split_at(usize::from(bytes[0]));
        let (mut keyring, _) = Keyring::new(&master(), 4, &layout::data_key(4)).unwrap();
        keyring.add(&master(), 3, &layout::data_key(3), wrapped).unwrap();
        let head = Head::read(segment).unwrap();
        assert_eq!((head.at, head.acknowledged, head.epoch()), (UnixMillis(9), 5, 3));
        assert_eq!(head.before, if version == 1 { 0 } else { 11 });
        assert_eq!(segment::cursors(segment).unwrap(), [moved()]);
        let mut read = Vec::new();
        segment::read(&keyring, &layout::seq(kind::SEGMENT, 7), segment, 0, &mut read).unwrap();
        assert_eq!(read, (7..).zip(entries(version)).collect::<Vec<_>>());
    };
    let encode = (version == 3).then(|| Box::new(encode) as Encode);
    Fixture { version, name: "segment", encode, check: Box::new(check) }
}

fn fixtures() -> Vec<Fixture> {
    let state = UpdateState {
        pts: 1,
        qts: 2,
        date: 3,
        seq: -4,
        channels: [(5, 6), (i64::MAX, i32::MAX)].into(),
    };
    let peer = PeerRecord {
        id: MarkedId(-1_000_000_000_005),
        access_hash: i64::MIN,
        is_bot: true,
        is_broadcast: false,
    };
    let session =
        SessionRecord { id: SessionId("s1".into()), account: AuthKeyId(7), api_id: Some(6) };
    vec![
        json("session", session),
        json("account", full_account()),
        json("account_frozen", frozen_account()),
        json("monitor", full_monitor()),
        json("exhausted_monitor", exhausted_monitor()),
        json("job", full_job()),
        json("restart", full_restart()),
        compact("cursor", CursorRecord { stamp: 77, cursor: full_cursor() }),
        compact("update_state", state),
        compact("peer", peer),
        compact("number", 1_u64 << 40),
        sealed_credentials(),
        generation(),
        sealed_segment(1),
        sealed_segment(2),
        sealed_segment(3),
        json("owned_account", full_owned()),
        json("attached_chat", full_chat()),
        json("send", full_send()),
        json("day_count", full_day()),
        json("person_waits", full_waits()),
        json("login", super::login()),
        json("login_waiting", super::sample_rows::waiting_login()),
        json("login_delivered", super::sample_rows::delivered_login()),
        json("login_recovering", super::sample_rows::recovering_login()),
        json("login_wait", super::sample_rows::login_wait()),
        json("webhook", super::sample_rows::webhook()),
        json("delivery", super::sample_rows::delivery()),
        json("dead_delivery", super::sample_rows::dead()),
        json("task", super::sample_rows::task("one", 21)),
        json("task_paused", super::sample_rows::paused_task()),
        compact("task_mark", b'r'),
        json("task_run", super::sample_rows::run("one", 21)),
        json("target_block", super::sample_rows::block("one", 21, 3)),
        json("status_page", super::sample_rows::page("one", 21, 2)),
        json("attempt", super::sample_rows::attempt("one", 21, 9)),
        json("import", super::sample_rows::import("one", 21)),
        json("suppression", super::sample_rows::suppression(List::User(full_owned().user), 1)),
        json("installation_suppression", super::sample_rows::suppression(List::Installation, 2)),
        json("use_count", super::sample_rows::use_count(5, Budget::LinkMessage, 29_000_000)),
        json("campaign_actor", super::sample_rows::actor(5)),
        json("contacted", super::sample_rows::contacted(9, "one", 15)),
        json("refusal", Refusal { entry: None, ..super::sample_rows::refusal("one") }),
        json("refusal_with_entry", super::sample_rows::refusal("one")),
        json("creation", super::sample_rows::creation("one")),
        json("campaign_clock", super::sample_rows::campaign_clock(16)),
        json("installation_key", super::sample_rows::installation_key()),
        json("erasure", full_erasure()),
        json("audit_link", full_entry().link),
        json("audit_persons", full_entry().persons),
    ]
}

impl Fixture {
    fn file(&self) -> PathBuf {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/store/format/fixtures");
        root.join(format!("v{}", self.version)).join(self.name).with_extension("bin")
    }
}

#[test]
fn records_of_every_version_load() {
    for fixture in fixtures() {
        let bytes = std::fs::read(fixture.file()).expect(fixture.name);
        (fixture.check)(&bytes);
    }
}

#[test]
fn every_record_that_is_written_today_loads() {
    for fixture in fixtures() {
        if let Some(encode) = &fixture.encode {
            (fixture.check)(&encode());
        }
    }
}

#[test]
#[ignore = "makes the files of new kinds of record"]
fn write_missing() {
    for fixture in fixtures() {
        let file = fixture.file();
        let (Some(encode), false) = (&fixture.encode, file.exists()) else { continue };
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, encode()).unwrap();
    }
}
