//! The outbox: order, acknowledged offsets, sequence numbers, readers that are behind.

use super::*;

/// What has left the outbox, as the disk has it.
fn noted(store: &Store) -> u64 {
    let bytes = store.shared.engine.get(layout::ACKNOWLEDGED).unwrap();
    bytes.map_or(0, |bytes| encoding::from_compact::<u64>("released", &bytes).unwrap())
}

#[tokio::test]
async fn entries_come_in_order_and_again_until_they_are_released() {
    on_every_engine(|engine| async move {
        let (store, mut outbox) = engine.open();
        store.commit(appends(0..50)).await.unwrap();
        let first = take(&mut outbox, 50).await;
        assert_eq!(first, (1..=50).zip(0..50).collect::<Vec<_>>());
        outbox.rewind(first[20].0);
        assert_eq!(take(&mut outbox, 30).await, first[20..]);
        outbox.acknowledge(first[29].0);
        outbox.rewind(0);
        assert_eq!(take(&mut outbox, 20).await, first[30..], "what was released stays so");
        store.commit(appends(50..51)).await.unwrap();
        assert_eq!(take(&mut outbox, 1).await, [(51, 50)]);
        assert_eq!(store.stats().outbox_depth, 21);
        store.close().await.unwrap();
        drop(outbox);
        let (store, mut outbox) = engine.open();
        assert_eq!(store.stats().outbox_depth, 21);
        assert!(store.stats().outbox_oldest_at.is_some());
        assert_eq!(take(&mut outbox, 21).await[0], first[30]);
    })
    .await;
}

/// Whatever the writer waits for meanwhile, be it an hour.
#[tokio::test]
async fn a_release_is_noted_soon_although_no_commit_follows() {
    on_every_engine(|engine| async move {
        let pacing = Pacing { checkpoint_every: Duration::from_secs(3600), ..Pacing::default() };
        let (store, mut outbox) = engine.open_with(pacing);
        let ops = vec![Op::PutAccount(account(1)), Op::PutMonitor(monitor(1))];
        store.commit(ops).await.unwrap();
        let mut ops = appends(0..10);
        ops.push(put_cursor(1, 9));
        store.commit(ops).await.unwrap();
        let taken = take(&mut outbox, 10).await;
        for (seq, _) in [taken[4], taken[9]] {
            outbox.acknowledge(seq);
            let noted = async {
                while noted(&store) < seq {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, noted).await.expect("it is noted alone");
        }
        drop((store, outbox));
    })
    .await;
}

/// As with a broker that confirms the last of a burst while other things are written all the time.
#[tokio::test]
async fn a_release_is_noted_however_steadily_other_things_are_written() {
    on_every_engine(|engine| async move {
        let (store, mut outbox) = engine.open();
        store.commit(appends(0..10)).await.unwrap();
        let taken = take(&mut outbox, 10).await;
        outbox.acknowledge(taken[9].0);
        // Each goes alone and follows the one before at once: the writer never comes to rest.
        let steady = async {
            while noted(&store) < taken[9].0 {
                store.commit(vec![Op::PutAccount(account(1))]).await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, steady).await.expect("commits take it along");
        outbox.rewind(0);
        store.commit(appends(10..11)).await.unwrap();
        assert_eq!(take(&mut outbox, 1).await, [(11, 10)]);
        drop((store, outbox));
    })
    .await;
}

#[tokio::test]
async fn sequence_numbers_go_on_after_an_empty_outbox_was_closed() {
    on_every_engine(|engine| async move {
        for round in 0..3 {
            let (store, mut outbox) = engine.open();
            store.commit(appends(0..10)).await.unwrap();
            let taken = take(&mut outbox, 10).await;
            assert_eq!(taken[0].0, 1 + 10 * round);
            outbox.acknowledge(taken[9].0);
            store.close().await.unwrap();
            drop(outbox);
        }
        let (store, _outbox) = engine.open();
        assert_eq!(store.stats().outbox_depth, 0);
        assert_eq!(store.stats().outbox_oldest_at, None);
    })
    .await;
}

#[tokio::test]
async fn a_reader_far_behind_catches_up_and_misses_nothing() {
    on_every_engine(|engine| async move {
        let (store, mut outbox) = engine.open();
        for batch in 0..10_u64 {
            store.commit(appends(batch * 1000..(batch + 1) * 1000)).await.unwrap();
        }
        let more = tokio::spawn(async move {
            for number in 10_000..10_300 {
                store.commit(appends(number..number + 1)).await.unwrap();
            }
            store
        });
        let taken = take(&mut outbox, 10_300).await;
        assert!(taken.iter().enumerate().all(|(at, pair)| *pair == (at as u64 + 1, at as u64)));
        drop(more.await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_read_loses_nothing() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        store.commit(appends(0..2000)).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        let (_store, mut outbox) = engine.open();
        let mut taken = Vec::new();
        while taken.len() < 2000 {
            tokio::select! {
                biased;
                next = outbox.next(7) => taken.extend(next.iter().map(|(_, e)| number_of(e))),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(taken.into_iter().eq(0..2000));
    })
    .await;
}

#[tokio::test]
async fn checkpoints_run_by_themselves_and_empty_the_disk_of_what_was_released() {
    on_every_engine(|engine| async move {
        let (store, mut outbox) = engine.open_with(hurried());
        let ops = vec![Op::PutAccount(account(1)), Op::PutMonitor(monitor(1))];
        store.commit(ops).await.unwrap();
        let mut ops = appends(0..3000);
        ops.push(put_cursor(1, 9));
        ops.push(Op::MoveUpdateState { account: AuthKeyId(1), delta: moved(3) });
        store.commit(ops).await.unwrap();
        let taken = take(&mut outbox, 3000).await;
        outbox.acknowledge(taken.last().unwrap().0);
        let (from, to) = layout::all(kind::SEGMENT);
        let trimmed = async {
            while store.shared.engine.last(&from, &to).unwrap().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, trimmed).await.expect("segments go once released");
        assert_eq!(store.stats().pending, 0);
        assert_eq!(store.cursor(&chat(1).key()).unwrap(), Some(cursor(9)));
        assert_eq!(store.update_state(AuthKeyId(1)).unwrap().unwrap().pts, 3);
        drop((store, outbox));
    })
    .await;
}
