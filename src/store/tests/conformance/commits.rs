//! Commits: order, callbacks, and what becomes durable without one.

use super::*;
use crate::store::records::update_states;

#[tokio::test]
async fn moves_of_the_update_state_are_read_at_once_and_kept_by_a_clean_end() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        let id = AuthKeyId(1);
        let state = UpdateState { pts: 1, qts: 8, ..UpdateState::default() };
        let set = Op::SetUpdateState { account: id, state };
        store.commit(vec![Op::PutAccount(account(1)), set]).await.unwrap();
        let delta = UpdateStateDelta { channels: vec![(5, 50)], ..moved(3) };
        store.commit(vec![Op::MoveUpdateState { account: id, delta }]).await.unwrap();
        let seen = store.update_state(id).unwrap().unwrap();
        assert_eq!((seen.pts, seen.qts, seen.channels.get(&5)), (3, 8, Some(&50)));
        let replaced = UpdateState { pts: 2, ..UpdateState::default() };
        let set = Op::SetUpdateState { account: id, state: replaced.clone() };
        store.commit(vec![set]).await.unwrap();
        assert_eq!(store.update_state(id).unwrap(), Some(replaced), "earlier moves are void");
        let delta = moved(9);
        store.commit(vec![Op::MoveUpdateState { account: id, delta }]).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open();
        assert_eq!(store.update_state(id).unwrap().unwrap().pts, 9);
        assert_eq!(store.stats().pending, 0);
    })
    .await;
}

#[tokio::test]
async fn submissions_become_durable_in_order_and_say_so() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..500 {
            let sender = sender.clone();
            let done = move |outcome: Result<(), CommitError>| {
                outcome.unwrap();
                sender.send(number).unwrap();
            };
            store.submit(appends(number..number + 1), done).await.unwrap();
        }
        for number in 0..500 {
            assert_eq!(told.recv().await, Some(number));
        }
        let stats = store.stats();
        assert_eq!((stats.appended, stats.outbox_depth, stats.failed), (500, 500, None));
        assert!(stats.commits >= 1 && stats.latency_p99 >= stats.latency_p50);
        assert!(stats.disk_bytes > 0);
    })
    .await;
}

#[tokio::test]
async fn a_panicking_callback_does_not_stop_the_store() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        store.submit(vec![], |_| panic!("on purpose")).await.unwrap();
        store.commit(appends(0..1)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_closed_store_refuses_and_still_answers_reads() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
        let other = store.clone();
        store.close().await.unwrap();
        assert_eq!(other.commit(vec![]).await, Err(CommitError::Closed));
        assert_eq!(other.load().unwrap().accounts, [account(1)]);
    })
    .await;
}

#[tokio::test]
async fn an_update_state_that_moves_alone_becomes_durable_without_a_commit() {
    on_every_engine(async |engine| {
        let (store, _outbox) = engine.open_with(hurried());
        store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
        let id = account(1).id;
        for pts in [7, 8] {
            // The writer has nothing else to do, and sleeps for good.
            let asleep = || store.shared.overlay().len() == 0;
            eventually(asleep).await;
            let delta = UpdateStateDelta { common: Some((pts, 1, 1)), ..Default::default() };
            store.note_update_state(id, delta);
            let stored = || update_states::stored(&*store.shared.engine, id).unwrap();
            eventually(|| stored().is_some_and(|state| state.pts == pts)).await;
        }
    })
    .await;
}
