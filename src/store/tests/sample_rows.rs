//! Samples of rows.

use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::account::ActorRecord;
use crate::protocol::campaigns::attempt::AttemptRecord;
use crate::protocol::campaigns::block::{StatusPage, TargetBlock};
use crate::protocol::campaigns::caps::{Budget, CapClock, Caps, UseCount};
use crate::protocol::campaigns::creation::{CreationRecord, Made};
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::import::{ImportId, ImportRecord, ImportSource};
use crate::protocol::campaigns::respect::{
    Contacted, Covers, List, ListTag, Refusal, Source, Suppression, SuppressionId, SuppressionKey,
};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::{
    Details, Intent, Reason, Step, Target, TargetId, TargetStatus,
};
use crate::protocol::campaigns::task::{
    PauseReason, Task, TaskId, TaskRequest, TaskStatus, TaskType,
};
use crate::protocol::logins::delivery::{CodeDelivery, CodeVia, NextDelivery};
use crate::protocol::logins::record::{LoginFloodWait, LoginRecord, LoginStage};
use crate::protocol::users::owner::{AccountId, LoginId, UserId, WebhookId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::webhooks::deliveries::{DeadRecord, Delivery, Line, WebhookRecord};

use super::*;

pub(in crate::store) fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

pub(in crate::store) fn owned(owner: &str, number: u128) -> OwnedAccount {
    OwnedAccount {
        id: AccountId(Uuid::from_u128(number)),
        user: user(owner),
        key: AuthKeyId(number as u64),
        api_id: None,
        is_bot: false,
        telegram_id: 5,
        phone_masked: None,
        username: None,
        first_name: Some("A".into()),
        is_paused: false,
        is_made_here: false,
        created_at: UnixMillis(1),
        updated_at: UnixMillis(2),
    }
}

pub(in crate::store) fn login() -> LoginRecord {
    LoginRecord {
        id: LoginId(Uuid::from_u128(9)),
        user: user("one"),
        dc_id: 2,
        auth_key: vec![7; 256],
        stage: LoginStage::CodeSent {
            phone: "+79990001122".into(),
            code_hash: "hash".into(),
            by_email: false,
            delivery: None,
        },
        is_leaving: false,
        is_brought: false,
        api_id: None,
        not_before: None,
        subject: None,
        created_at: UnixMillis(1),
        expires_at: UnixMillis(2),
    }
}

/// As logins are since it is kept how their codes went out.
pub(in crate::store) fn delivered_login() -> LoginRecord {
    let next = NextDelivery { via: CodeVia::Call, after_seconds: 60, at: UnixMillis(60_001) };
    let delivery = CodeDelivery { via: CodeVia::Sms, length: Some(5), next: Some(next) };
    let mut login = login();
    login.stage = LoginStage::CodeSent {
        phone: "+79990001122".into(),
        code_hash: "hash".into(),
        by_email: false,
        delivery: Some(delivery),
    };
    login
}

/// As logins are since a forgotten password can be recovered.
pub(in crate::store) fn recovering_login() -> LoginRecord {
    let (hint, email_pattern) = (Some("a horse".into()), Some("j***n@example.org".into()));
    let mut login = login();
    login.stage = LoginStage::PasswordRequired { hint, email_pattern };
    login
}

/// As logins are since their waits are kept.
pub(in crate::store) fn waiting_login() -> LoginRecord {
    let LoginFloodWait { subject, until, .. } = login_wait();
    let mut login = login();
    (login.not_before, login.subject) = (Some(until), Some(subject));
    login
}

pub(in crate::store) fn login_wait() -> LoginFloodWait {
    LoginFloodWait {
        user: user("one"),
        id: LoginId(Uuid::from_u128(9)),
        subject: Fingerprint([3; 32]),
        until: UnixMillis(1_700_000_000_000),
    }
}

pub(in crate::store) fn webhook() -> WebhookRecord {
    WebhookRecord {
        id: WebhookId(Uuid::from_u128(11)),
        user: user("one"),
        url: "https://example.org/hook?token=hush".into(),
        events: vec!["access_lost".into()],
        enabled: true,
        gone_at: Some(UnixMillis(4)),
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into(),
        created_at: UnixMillis(3),
    }
}

pub(in crate::store) fn delivery() -> Delivery {
    Delivery {
        user: user("one"),
        webhook: webhook().id,
        seq: 77,
        line: Line(u64::MAX),
        message_id: Uuid::from_u128(12),
        kind: "incoming_telegram_message".into(),
        timestamp: 1_700_000_000,
        body: "{\"text\":\"hush\"}".into(),
        queued_at: UnixMillis(5),
        attempts: 2,
        next_at: UnixMillis(6),
        error: Some("it answered 500".into()),
    }
}

pub(in crate::store) fn dead() -> DeadRecord {
    delivery().given_up("it answered 500; given up".into(), UnixMillis(7))
}

/// A task with a text.
pub(in crate::store) fn task(owner: &str, number: u128) -> Task {
    let request = TaskRequest {
        task_type: Some(TaskType::SendMessages),
        title: "Spring".into(),
        message_template: Some("Hello {first_name|friend}".into()),
        account_ids: vec![AccountId(Uuid::from_u128(1))],
        audience_basis: "they asked for it".into(),
        ..TaskRequest::default()
    };
    let named = (task_id(number), user(owner));
    Task::new(named, request, (&Caps::default(), false), UnixMillis(8)).unwrap()
}

pub(in crate::store) fn task_id(number: u128) -> TaskId {
    TaskId(Uuid::from_u128(number))
}

/// A block of targets, of which the first is in flight.
pub(in crate::store) fn block(owner: &str, task: u128, number: u32) -> TargetBlock {
    let details = Details { first_name: Some("Pavel".into()), ..Details::default() };
    let named = Identifier::Username("durov".into());
    let mut first = Target::new(TargetId(16 * number), named, Some(details));
    let intent = Intent {
        account: AccountId(Uuid::from_u128(1)),
        step: Step::Send,
        random_id: i64::MIN,
        at: UnixMillis(9),
        is_repeat: false,
        wall: None,
    };
    first.begin(intent, 1).unwrap();
    let phone = Identifier::Phone(79_990_001_122);
    let second = Target::new(TargetId(16 * number + 1), phone, None);
    TargetBlock { user: user(owner), task: task_id(task), number, targets: vec![first, second] }
}

pub(in crate::store) fn page(owner: &str, task: u128, number: u32) -> StatusPage {
    let mut page = StatusPage::empty(user(owner), task_id(task), number);
    page.set(TargetId(1_024 * number), Some(TargetStatus::InFlight));
    page.set(TargetId(1_024 * number + 2), Some(TargetStatus::Sent));
    page
}

pub(in crate::store) fn run(owner: &str, number: u128) -> TaskRun {
    let mut run = TaskRun::new(&task(owner, number));
    run.attempts = 3;
    run.out = vec![AccountId(Uuid::from_u128(2))];
    run.last_attempt_at = Some(UnixMillis(9));
    run
}

pub(in crate::store) fn attempt(owner: &str, task: u128, number: u64) -> AttemptRecord {
    AttemptRecord {
        user: user(owner),
        task: task_id(task),
        number,
        target: TargetId((number % 7) as u32),
        account: Some(AccountId(Uuid::from_u128(u128::from(number % 2)))),
        step: Some(Step::Send),
        at: UnixMillis(number as i64),
        took_ms: Some(12),
        status: TargetStatus::Refused,
        reason: Some(Reason::Privacy),
        code: Some("USER_PRIVACY_RESTRICTED".into()),
        text_version: Some(1),
    }
}

/// What was made under an idempotency key.
pub(in crate::store) fn creation(owner: &str) -> CreationRecord {
    CreationRecord {
        user: user(owner),
        key: Fingerprint([1; 32]),
        request: Fingerprint([2; 32]),
        made: Some(Made::Targets {
            accepted: 2,
            duplicates: 1,
            beyond: 0,
            first: Some(TargetId(5)),
        }),
        is_whole: true,
        created_at: UnixMillis(4),
    }
}

pub(in crate::store) fn import(owner: &str, task: u128) -> ImportRecord {
    let names = (ImportId(Uuid::from_u128(5)), user(owner), task_id(task));
    let mut import = ImportRecord::new(names, ImportSource::File, UnixMillis(8));
    import.finished_at = Some(UnixMillis(9));
    import.undone_at = Some(UnixMillis(10));
    import.accepted = 3;
    import.made(TargetId(0), 2);
    import.made(TargetId(4), 1);
    import
}

/// An entry that names somebody.
pub(in crate::store) fn suppression(list: List, number: u128) -> Suppression {
    let who = Identifier::Username("durov".into());
    Suppression {
        id: SuppressionId(Uuid::from_u128(number)),
        key: SuppressionKey::of(installation_key().expose(), &who),
        list,
        covers: Covers::ThisGroup,
        group: Some(MarkedId(-1_000_000_000_005)),
        source: Source::StopReply,
        is_doubtful: false,
        since: UnixMillis(10),
        identifier: Some(who),
    }
}

pub(in crate::store) fn refusal(owner: &str) -> Refusal {
    suppression(List::User(user(owner)), 1).refusal(installation_key().expose())
}

pub(in crate::store) fn use_count(telegram_id: i64, budget: Budget, minute: i32) -> UseCount {
    UseCount { telegram_id, budget, minute, used: 4, given_back: 0 }
}

pub(in crate::store) fn actor(telegram_id: i64) -> ActorRecord {
    ActorRecord {
        telegram_id,
        since: UnixMillis(11),
        rests_until: Some(UnixMillis(12)),
        floods: Default::default(),
        lookups: Default::default(),
        contacts_wait: None,
    }
}

pub(in crate::store) fn contacted(person: i64, owner: &str, until: i64) -> ContactedRecord {
    ContactedRecord {
        person,
        list: ListTag::of(installation_key().expose(), &List::User(user(owner))),
        last: Contacted { task: task_id(21), at: UnixMillis(13) },
        until: UnixMillis(until),
    }
}

pub(in crate::store) fn campaign_clock(at: i64) -> CampaignClock {
    CampaignClock { clock: CapClock::at(UnixMillis(at)) }
}

/// The installation's key of all samples.
pub(in crate::store) fn installation_key() -> InstallationKey {
    InstallationKey::new(std::array::from_fn(|at| at as u8 + 100))
}

/// As tasks are once they were paused.
pub(in crate::store) fn paused_task() -> Task {
    let mut task = task("one", 22);
    task.status = TaskStatus::Paused;
    task.paused_because = Some(PauseReason::PeerFlood);
    task.started_at = Some(UnixMillis(14));
    (task.description, task.revision) = (Some("For members".into()), 3);
    task
}

/// A row of every table that is sealed.
pub(in crate::store) fn sealed_rows() -> Vec<Op> {
    vec![
        Op::put_row(&login()),
        Op::put_row(&login_wait()),
        Op::put_row(&webhook()),
        Op::put_row(&delivery()),
        Op::put_row(&dead()),
        Op::put_row(&task("one", 21)),
        Op::put_row(&block("one", 21, 0)),
        Op::put_suppression(&suppression(List::User(user("one")), 1)),
        Op::put_suppression(&suppression(List::Installation, 2)),
        Op::put_shared(&installation_key()),
    ]
}

/// They can be read.
pub(in crate::store) fn expect_sealed_rows(store: &Store) {
    assert_eq!(store.row(&login().user, login().id).unwrap(), Some(login()));
    assert_eq!(store.row(&login_wait().user, login_wait().id).unwrap(), Some(login_wait()));
    assert_eq!(store.row(&webhook().user, webhook().id).unwrap(), Some(webhook()));
    assert_eq!(store.all_rows::<Delivery>().unwrap(), [delivery()]);
    assert_eq!(store.all_rows::<DeadRecord>().unwrap(), [dead()]);
    assert_eq!(store.row(&user("one"), task_id(21)).unwrap(), Some(task("one", 21)));
    assert_eq!(store.row(&user("one"), (task_id(21), 0)).unwrap(), Some(block("one", 21, 0)));
    for (list, number) in [(List::User(user("one")), 1), (List::Installation, 2)] {
        let entry = suppression(list.clone(), number);
        assert_eq!(store.suppression(&list, entry.id).unwrap(), Some(entry));
    }
    assert_eq!(store.installation_key().unwrap(), Some(installation_key()));
}
