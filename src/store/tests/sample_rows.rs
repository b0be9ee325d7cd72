//! Samples of rows of users.

use crate::protocol::accounts::owned::OwnedAccount;
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

/// A row of every table that is sealed.
pub(in crate::store) fn sealed_rows() -> Vec<Op> {
    vec![
        Op::put_row(&login()),
        Op::put_row(&login_wait()),
        Op::put_row(&webhook()),
        Op::put_row(&delivery()),
        Op::put_row(&dead()),
    ]
}

/// They can be read.
pub(in crate::store) fn expect_sealed_rows(store: &Store) {
    assert_eq!(store.row(&login().user, login().id).unwrap(), Some(login()));
    assert_eq!(store.row(&login_wait().user, login_wait().id).unwrap(), Some(login_wait()));
    assert_eq!(store.row(&webhook().user, webhook().id).unwrap(), Some(webhook()));
    assert_eq!(store.all_rows::<Delivery>().unwrap(), [delivery()]);
    assert_eq!(store.all_rows::<DeadRecord>().unwrap(), [dead()]);
}
