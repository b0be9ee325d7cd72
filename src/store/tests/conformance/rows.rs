//! Rows of users: found by their owners only, in order, gone when their time is over.

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::respect::List;
use crate::protocol::campaigns::task::Task;
use crate::protocol::logins::record::{LoginFloodWait, LoginRecord};
use crate::protocol::messages::record::{SENDS_KEPT_MS, SendRecord};
use crate::protocol::users::owner::{AccountId, WebhookId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::webhooks::deliveries::{DeadRecord, Delivery, Line, WebhookRecord};

use super::*;
use crate::store::tests::sample_rows::{delivery, login, owned, user, webhook};

fn send(number: u8, created_at: i64) -> SendRecord {
    SendRecord {
        user: user("one"),
        account: AccountId(Uuid::from_u128(1)),
        key: Fingerprint([number; 32]),
        request: Fingerprint([0; 32]),
        random_id: 5,
        sent: None,
        is_unsent: false,
        is_nameless: false,
        created_at: UnixMillis(created_at),
    }
}

#[tokio::test]
async fn a_row_is_found_by_its_owner_only() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let (one, two) = (owned("one", 1), owned("two", 2));
        store.commit(vec![Op::put_row(&one), Op::put_row(&two)]).await.unwrap();
        assert_eq!(store.row::<OwnedAccount>(&user("one"), one.id).unwrap(), Some(one.clone()));
        assert_eq!(store.row::<OwnedAccount>(&user("two"), one.id).unwrap(), None);
        assert_eq!(
            store.rows::<OwnedAccount>(&user("two"), None, None, 9).unwrap(),
            std::slice::from_ref(&two)
        );
        assert_eq!(store.all_rows::<OwnedAccount>().unwrap(), [one.clone(), two]);
        store.commit(vec![Op::delete_row::<OwnedAccount>(&user("two"), one.id)]).await.unwrap();
        assert_eq!(store.row::<OwnedAccount>(&user("one"), one.id).unwrap(), Some(one));
    })
    .await;
}

#[tokio::test]
async fn pages_follow_one_another_without_a_gap() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
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
    })
    .await;
}

#[tokio::test]
async fn a_sealed_row_shows_nothing_on_the_medium() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        store.commit(sealed_rows()).await.unwrap();
        expect_sealed_rows(&store);
        store
            .shared
            .engine
            .scan(&[0], &[0xff], &mut |_, value| {
                for secret in [
                    &b"79990001122"[..],
                    b"7,7,7,7",
                    &[7; 16],
                    b"hush",
                    b"whsec",
                    b"durov",
                    b"Pavel",
                    b"Hello",
                    b"100,101,102",
                ] {
                    assert!(!value.windows(secret.len()).any(|part| part == secret));
                }
                true
            })
            .unwrap();
        assert!(!format!("{:?} {:?}", login(), Op::put_row(&login())).contains("7999"));
    })
    .await;
}

#[tokio::test]
async fn rows_go_when_their_time_is_over_and_not_before() {
    on_every_engine(|engine| async move {
        const HOUR_MS: i64 = 60 * 60 * 1_000;
        let (store, _outbox) = engine.open();
        let (old, young) = (send(1, 0), send(2, 2 * HOUR_MS));
        store.commit(vec![Op::put_row(&old), Op::put_row(&young)]).await.unwrap();
        let left = || store.rows::<SendRecord>(&user("one"), None, None, 9).unwrap();
        store.commit(vec![Op::Expire(UnixMillis(SENDS_KEPT_MS - 1))]).await.unwrap();
        assert_eq!(left(), [old, young.clone()]);
        store.commit(vec![Op::Expire(UnixMillis(SENDS_KEPT_MS + HOUR_MS))]).await.unwrap();
        assert_eq!(left(), [young]);
    })
    .await;
}

#[tokio::test]
async fn the_count_of_a_day_goes_with_the_day_and_that_of_the_next_day_stays() {
    on_every_engine(|engine| async move {
        const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
        let (store, _outbox) = engine.open();
        let count = |telegram_id, day| {
            let used = [("send".to_owned(), 3)].into();
            DayCount { telegram_id, day, used }
        };
        let put = |telegram_id, day| Op::PutDayCount(count(telegram_id, day));
        store.commit(vec![put(1, 0), put(2, 0), put(2, 1)]).await.unwrap();
        store.commit(vec![Op::Expire(UnixMillis(DAY_MS))]).await.unwrap();
        assert_eq!(store.day_count(1).unwrap(), Some(count(1, 0)), "its hour is not over");
        store.commit(vec![Op::Expire(UnixMillis(2 * DAY_MS - 1))]).await.unwrap();
        assert_eq!(store.day_count(1).unwrap(), None);
        assert_eq!(store.day_count(2).unwrap(), Some(count(2, 1)));
        store.commit(vec![Op::Expire(UnixMillis(3 * DAY_MS))]).await.unwrap();
        assert_eq!(store.day_count(2).unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn everything_of_a_user_goes_at_once_also_what_the_same_commit_wrote() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let (one, two) = (owned("one", 1), owned("two", 2));
        store.commit(vec![Op::put_row(&one)]).await.unwrap();
        store.commit(sealed_rows()).await.unwrap();
        let ops = vec![Op::put_row(&send(1, 0)), Op::put_row(&two), Op::EraseRows(user("one"))];
        store.commit(ops).await.unwrap();
        assert_eq!(store.all_rows::<OwnedAccount>().unwrap(), [two]);
        assert_eq!(store.all_rows::<LoginRecord>().unwrap(), []);
        assert_eq!(store.all_rows::<LoginFloodWait>().unwrap(), []);
        assert_eq!(store.all_rows::<WebhookRecord>().unwrap(), []);
        assert_eq!(store.all_rows::<Delivery>().unwrap(), []);
        assert_eq!(store.all_rows::<DeadRecord>().unwrap(), []);
        assert_eq!(store.all_rows::<SendRecord>().unwrap(), []);
        assert_eq!(store.all_rows::<Task>().unwrap(), []);
        assert_eq!(store.task_statuses(&user("one")).unwrap(), []);
        assert_eq!(store.all_rows::<TargetBlock>().unwrap(), []);
        assert_eq!(store.suppressions(&List::User(user("one")), None, 9).unwrap(), []);
        assert_eq!(store.suppressions(&List::Installation, None, 9).unwrap().len(), 1);
        assert!(store.reader.installation_key().unwrap().is_some(), "these are nobody's");
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_named_by_their_keys_and_go_with_their_endpoint() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let other = WebhookId(Uuid::from_u128(12));
        let numbered = |seq, webhook| Delivery { seq, webhook, ..delivery() };
        let mut ops = vec![Op::put_row(&numbered(1, other))];
        ops.extend([300, 2, 77].map(|seq| Op::put_row(&numbered(seq, webhook().id))));
        ops.extend(
            [1, 5, 3].map(|at| Op::put_row(&delivery().given_up("why".into(), UnixMillis(at)))),
        );
        store.commit(ops).await.unwrap();
        let waiting = store.delivery_ids(&user("one"), webhook().id).unwrap();
        assert_eq!(waiting.iter().map(|id| id.seq).collect::<Vec<_>>(), [2, 77, 300]);
        assert!(waiting.iter().all(|id| (id.line, id.webhook) == (Line(u64::MAX), webhook().id)));
        assert_eq!(store.row(&user("one"), waiting[1]).unwrap(), Some(delivery()));
        assert_eq!(store.delivery_ids(&user("two"), webhook().id).unwrap(), []);
        let dead = store.dead_ids(&user("one"), webhook().id).unwrap();
        assert_eq!(
            dead.iter().map(|id| id.at.0).collect::<Vec<_>>(),
            [5, 3, 1],
            "the newest first"
        );
        assert_eq!(
            store.row::<DeadRecord>(&user("one"), dead[0]).unwrap().unwrap().at,
            UnixMillis(5)
        );
        let newer = numbered(400, webhook().id);
        let drop = Op::delete_rows::<Delivery>(&user("one"), webhook().id);
        store.commit(vec![Op::put_row(&newer), drop]).await.unwrap();
        assert_eq!(store.all_rows::<Delivery>().unwrap(), [numbered(1, other)]);
    })
    .await;
}
