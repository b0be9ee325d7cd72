//! Counts by outcome and account: whatever changes a book of targets, they are those of a recount.

use proptest::prelude::*;

use super::*;
use crate::actors::campaigns::book::TargetBook;
use crate::actors::campaigns::recount::with_tally;
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::target::{Intent, STATUSES, Statistics, Step, TargetId};
use crate::protocol::values::ids::UnixMillis;
use crate::store::Reader;

fn fresh(task: TaskId) -> TaskRun {
    let request = TaskRequest {
        task_type: Some(TaskType::SendMessages),
        title: "test".into(),
        message_template: Some("Hi".into()),
        audience_basis: "they asked for it".into(),
        ..TaskRequest::default()
    };
    let caps = (&CampaignSettings::for_tests().caps, false);
    TaskRun::new(&Task::new((task, ann()), request, caps, UnixMillis(0)).unwrap())
}

/// What is done to a book.
#[derive(Clone, Debug)]
enum Change {
    Add(u8),
    Begin(u32, u128),
    Become(u32, usize, bool),
    Remove(u32),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = prop_oneof![
        1 => (1..5_u8).prop_map(Change::Add),
        4 => (0..24_u32, 1..4_u128).prop_map(|(id, account)| Change::Begin(id, account)),
        6 => (0..24_u32, 0..STATUSES.len(), any::<bool>())
            .prop_map(|(id, status, passes)| Change::Become(id, status, passes)),
        1 => (0..24_u32).prop_map(Change::Remove),
    ];
    prop::collection::vec(one, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_becomes_of_a_book_its_counts_are_those_of_a_recount(changes in changes()) {
        let task = TaskId(Uuid::from_u128(1));
        let (mut book, mut run) = (TargetBook::new(ann(), task, Vec::new()), fresh(task));
        // Two blocks hold all that there will be, and stay open.
        book.hold(0);
        book.hold(1);
        let mut added = 0_u32;
        for change in changes {
            match change {
                Change::Add(count) => {
                    let count = u32::from(count).min(24 - added);
                    let people = (added..added + count).map(|number| NewTarget {
                        identifier: named(&format!("@person{number}")),
                        details: None,
                    });
                    let _ = book.add(people.collect(), &mut run);
                    added += count;
                }
                Change::Begin(id, account) => {
                    let account = AccountId(Uuid::from_u128(account));
                    let (step, at) = (Step::Send, UnixMillis(7));
                    let intent = Intent { account, step, random_id: 1, at, is_repeat: false, wall: None };
                    let _ = book.change(TargetId(id), &mut run, |target| target.begin(intent, 1));
                }
                Change::Become(id, status, passes) => {
                    let reason = Some(if passes { Reason::LeftOut } else { Reason::Privacy });
                    let _ = book.change(TargetId(id), &mut run, |target| {
                        target.become_status(STATUSES[status], reason)
                    });
                }
                Change::Remove(id) => drop(book.remove(TargetId(id), &mut run)),
            }
        }
        let blocks = [book.block(0), book.block(1)];
        let targets: Vec<Target> =
            blocks.into_iter().flatten().flat_map(|block| block.targets.clone()).collect();
        prop_assert_eq!(&run.tally, &Tally::of(&targets));
        prop_assert_eq!(run.statistics, Statistics::of(&targets));
        let accounts = run.tally.accounts().iter().map(|(_, counts)| counts.total());
        prop_assert_eq!(accounts.sum::<u64>() + run.tally.untried().total(), run.statistics.total());
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_of_an_older_program_is_counted_anew() {
    let fixture = Fixture::new(2, 40).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 40).await;
    life.order(task, Wanted::Start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    life.order(task, Wanted::Pause).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    life.kill();
    // As a row without counts was written.
    let read = move |store: &Reader| store.row::<TaskRun>(&ann(), task);
    let run = fixture.environment.store.read(read).await.unwrap().unwrap();
    let old = TaskRun { tally: Tally::default(), ..run.clone() };
    let text = serde_json::to_string(&old).unwrap();
    assert!(!text.contains("tally"), "an older program reads it, too: {text}");
    let old: TaskRun = serde_json::from_str(&text).unwrap();
    fixture.environment.store.commit(vec![Op::put_row(&old)]).await.unwrap();
    let anew = fixture.environment.store.read(move |store| with_tally(store, old)).await.unwrap();
    assert_eq!(anew.tally, Tally::of(&fixture.targets(task).await));
    let life = fixture.live().await;
    life.order(task, Wanted::Resume).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Sent, 40)].into());
}

/// A block that ended up empty ends no count.
#[tokio::test(start_paused = true)]
async fn a_hole_of_a_whole_block_ends_no_count() {
    let fixture = Fixture::new(1, 0).await;
    let life = fixture.live().await;
    let task = fixture.draft_of_nobody(&life).await;
    let targets = |number: u32| {
        (number * 16..number * 16 + 16).map(move |id| {
            Target::new(
                TargetId(id),
                crate::protocol::campaigns::identity::Identifier::Id(i64::from(id) + 1),
                None,
            )
        })
    };
    let block = |number, targets: Vec<Target>| TargetBlock { user: ann(), task, number, targets };
    let blocks =
        [block(0, targets(0).collect()), block(1, Vec::new()), block(2, targets(2).collect())];
    let mut run = fresh(task);
    for block in &blocks {
        block.targets.iter().for_each(|target| run.statistics.add(target.status));
    }
    let ops = blocks.iter().map(Op::put_row).collect();
    fixture.environment.store.commit(ops).await.unwrap();
    let anew = fixture.environment.store.read(move |store| with_tally(store, run)).await.unwrap();
    assert_eq!(anew.tally.total(), 32);
}
