//! The second reader of the outbox: entries stay until both readers have passed them, and each is put in
//! line exactly once, wherever the power fails.

use proptest::prelude::*;

use crate::protocol::users::owner::UserId;
use crate::protocol::webhooks::deliveries::Delivery;

use super::*;

fn delivery(seq: u64) -> Delivery {
    Delivery { seq, ..super::sample_rows::delivery() }
}

async fn numbers(spooler: &mut Spooler, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.extend(spooler.next(3).await.iter().map(|(_, entry)| number_of(entry)));
    }
    numbers
}

fn segments(store: &Store) -> Vec<(u64, u64)> {
    let (from, to) = layout::all(kind::SEGMENT);
    let found = collect(&*store.shared.engine, &from, &to, 999).unwrap();
    found.iter().map(|(key, value)| segment::span(key, value).unwrap()).collect()
}

/// Waits until nothing of the outbox is on disk up to `upto`, and nothing is needless.
async fn until_trimmed(store: &Store, upto: u64) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while segments(store).first().is_some_and(|(first, _)| *first <= upto) {
        assert!(tokio::time::Instant::now() < deadline, "left: {:?}", segments(store));
        store.commit(vec![]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn start(disk: &MemoryDisk) -> (Store, Outbox) {
    let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
    Store::start(Arc::new(disk.clone()), key, hurried()).unwrap()
}

async fn append(store: &Store, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        store.commit(vec![Op::Append(event(number, 9))]).await.unwrap();
    }
}

#[tokio::test]
async fn entries_stay_until_both_readers_have_passed_them() {
    let disk = MemoryDisk::default();
    let (store, mut outbox) = start(&disk);
    let mut spooler = store.spooler().await.unwrap();
    append(&store, 1..=6).await;
    assert_eq!(numbers(&mut spooler, 6).await, [1, 2, 3, 4, 5, 6]);
    let mut seen = 0;
    while seen < 6 {
        seen += outbox.next(6).await.len();
    }
    outbox.acknowledge(6);
    store.commit(vec![Op::Spool(2)]).await.unwrap();
    until_trimmed(&store, 2).await;
    assert_eq!(store.stats().outbox_depth, 0, "the broker has all of them");
    // The other way round.
    append(&store, 7..=9).await;
    store.commit(vec![Op::Spool(9)]).await.unwrap();
    until_trimmed(&store, 6).await;
    assert_eq!(store.stats().outbox_depth, 3);
    outbox.next(9).await;
    drop((outbox, spooler));
    store.close().await.unwrap();
    let (store, mut outbox) = start(&disk);
    let again = outbox.next(9).await;
    assert_eq!(again.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [7, 8, 9]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_that_is_gone_keeps_its_place_over_restarts() {
    let disk = MemoryDisk::default();
    let (store, mut outbox) = start(&disk);
    drop(store.spooler().await.unwrap());
    append(&store, 1..=3).await;
    store.commit(vec![Op::Spool(1)]).await.unwrap();
    outbox.next(9).await;
    outbox.acknowledge(3);
    drop(outbox);
    store.close().await.unwrap();
    // Nobody reads for webhooks in this life.
    let (store, outbox) = start(&disk);
    append(&store, 4..=4).await;
    drop(outbox);
    store.close().await.unwrap();
    let (store, _outbox) = start(&disk);
    let mut spooler = store.spooler().await.unwrap();
    assert_eq!(numbers(&mut spooler, 3).await, [2, 3, 4]);
    spooler.rewind();
    assert_eq!(numbers(&mut spooler, 3).await, [2, 3, 4], "nothing of it was taken over");
    store.commit(vec![Op::Spool(4)]).await.unwrap();
    store.commit(vec![Op::Spool(3)]).await.unwrap();
    spooler.rewind();
    append(&store, 5..=5).await;
    assert_eq!(numbers(&mut spooler, 1).await, [5], "it never goes back");
}

#[tokio::test]
async fn an_outbox_that_nobody_reads_is_emptied_behind_the_other_reader() {
    let (store, outbox) = Store::in_memory().unwrap();
    append(&store, 1..=2).await;
    outbox.abandon();
    let mut spooler = store.spooler().await.unwrap();
    append(&store, 3..=4).await;
    assert_eq!(numbers(&mut spooler, 4).await, [1, 2, 3, 4]);
    assert_eq!(store.stats().outbox_depth, 4, "it has taken over nothing yet");
    store.commit(vec![Op::Spool(4)]).await.unwrap();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while store.stats().outbox_depth > 0 {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Puts everything into queues, as the dispatcher does, until the disk fails or nothing is left.
async fn spool_all(store: &Store, total: u64) -> Result<(), CommitError> {
    let mut spooler = store.spooler().await?;
    let mut through = store.shared.spooled.load(std::sync::atomic::Ordering::Acquire);
    while through < total {
        let entries = spooler.next(2).await;
        let mut ops: Vec<Op> =
            entries.iter().map(|(seq, _)| Op::put_row(&delivery(*seq))).collect();
        through = entries.last().map_or(through, |(seq, _)| *seq);
        ops.push(Op::Spool(through));
        store.commit(ops).await?;
        // It is delivered at once: whatever came twice would come twice.
        let owner: UserId = delivery(1).user;
        let ids = store.delivery_ids(&owner, delivery(1).webhook).unwrap();
        let seen = ids.iter().map(|id| id.seq).collect::<Vec<_>>();
        assert_eq!(seen, (1..=through).collect::<Vec<_>>());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn each_entry_is_put_in_line_exactly_once_whatever_crashes(
        failures in prop::collection::vec((0..12_u32, 0..3_usize), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let disk = MemoryDisk::default();
            let (store, outbox) = start(&disk);
            drop(store.spooler().await.unwrap());
            append(&store, 1..=9).await;
            store.close().await.unwrap();
            drop(outbox);
            for (writes, lost) in failures {
                disk.fail_after(writes.into());
                let key = RootKey::Given(Box::new(MasterKey::new(&[1; 32])));
                if let Ok((store, outbox)) = Store::start(Arc::new(disk.clone()), key, hurried()) {
                    let _ = tokio::time::timeout(PATIENCE, spool_all(&store, 9)).await.unwrap();
                    let _ = store.close().await;
                    drop(outbox);
                }
                disk.crash(lost);
            }
            let (store, _outbox) = start(&disk);
            spool_all(&store, 9).await.unwrap();
        });
    }
}
