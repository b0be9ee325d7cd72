//! Rows that belong to users: nobody finds another's, a sealed one shows nothing, and what has a time
//! goes when it is over.

use super::*;
use crate::protocol::estate::{
    Fingerprint, LoginRecord, LoginStage, OwnedAccount, SENDS_KEPT_MS, SendRecord,
};
use crate::protocol::owner::{AccountId, LoginId, UserId};

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn owned(owner: &str, number: u128) -> OwnedAccount {
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
        },
        created_at: UnixMillis(1),
        expires_at: UnixMillis(2),
    }
}

fn send(number: u8, created_at: i64) -> SendRecord {
    SendRecord {
        user: user("one"),
        account: AccountId(Uuid::from_u128(1)),
        key: Fingerprint([number; 32]),
        request: Fingerprint([0; 32]),
        random_id: 5,
        sent: None,
        created_at: UnixMillis(created_at),
    }
}

#[tokio::test]
async fn a_row_is_found_by_its_owner_only() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let (one, two) = (owned("one", 1), owned("two", 2));
    store.commit(vec![Op::put_row(&one), Op::put_row(&two)]).await.unwrap();
    assert_eq!(store.row::<OwnedAccount>(&user("one"), one.id).unwrap(), Some(one.clone()));
    assert_eq!(store.row::<OwnedAccount>(&user("two"), one.id).unwrap(), None);
    assert_eq!(store.rows::<OwnedAccount>(&user("two"), None, None, 9).unwrap(), [two.clone()]);
    assert_eq!(store.all_rows::<OwnedAccount>().unwrap(), [one.clone(), two]);
    store.commit(vec![Op::delete_row::<OwnedAccount>(&user("two"), one.id)]).await.unwrap();
    assert_eq!(store.row::<OwnedAccount>(&user("one"), one.id).unwrap(), Some(one));
}

#[tokio::test]
async fn pages_follow_one_another_without_a_gap() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let all: Vec<_> = (1..=5).map(|number| owned("one", number)).collect();
    store.commit(all.iter().map(Op::put_row).collect()).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.rows::<OwnedAccount>(&user("one"), None, after.take(), 2).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(RowId::from(last.id));
        seen.extend(page);
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_sealed_row_shows_nothing_on_the_medium() {
    let (store, _outbox) = Store::in_memory().unwrap();
    store.commit(vec![Op::put_row(&login())]).await.unwrap();
    assert_eq!(store.row::<LoginRecord>(&user("one"), login().id).unwrap(), Some(login()));
    store
        .shared
        .engine
        .scan(&[0], &[0xff], &mut |_, value| {
            for secret in [&b"79990001122"[..], b"7,7,7,7", &[7; 16]] {
                assert!(!value.windows(secret.len()).any(|part| part == secret));
            }
            true
        })
        .unwrap();
    assert!(!format!("{:?} {:?}", login(), Op::put_row(&login())).contains("7999"));
}

#[tokio::test]
async fn rows_go_when_their_time_is_over_and_not_before() {
    const HOUR_MS: i64 = 60 * 60 * 1_000;
    let (store, _outbox) = Store::in_memory().unwrap();
    let (old, young) = (send(1, 0), send(2, 2 * HOUR_MS));
    store.commit(vec![Op::put_row(&old), Op::put_row(&young)]).await.unwrap();
    let left = || store.rows::<SendRecord>(&user("one"), None, None, 9).unwrap();
    store.commit(vec![Op::Expire(UnixMillis(SENDS_KEPT_MS - 1))]).await.unwrap();
    assert_eq!(left(), [old, young.clone()]);
    store.commit(vec![Op::Expire(UnixMillis(SENDS_KEPT_MS + HOUR_MS))]).await.unwrap();
    assert_eq!(left(), [young]);
}

#[tokio::test]
async fn everything_of_a_user_goes_at_once_also_what_the_same_commit_wrote() {
    let (store, _outbox) = Store::in_memory().unwrap();
    let (one, two) = (owned("one", 1), owned("two", 2));
    store.commit(vec![Op::put_row(&one), Op::put_row(&login())]).await.unwrap();
    let ops = vec![Op::put_row(&send(1, 0)), Op::put_row(&two), Op::DeleteOwner(user("one"))];
    store.commit(ops).await.unwrap();
    assert_eq!(store.all_rows::<OwnedAccount>().unwrap(), [two]);
    assert_eq!(store.all_rows::<LoginRecord>().unwrap(), []);
    assert_eq!(store.all_rows::<SendRecord>().unwrap(), []);
}
