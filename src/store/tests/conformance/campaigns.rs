//! Records of campaigns: found without opening others, gone with their task; shared rows outlive every user.

use crate::protocol::campaigns::account::ActorRecord;
use crate::protocol::campaigns::attempt::{ATTEMPTS_KEPT_MS, AttemptRecord};
use crate::protocol::campaigns::block::{StatusPage, TargetBlock};
use crate::protocol::campaigns::caps::{Budget, UseCount};
use crate::protocol::campaigns::respect::{
    Covers, List, Refusal, Source, Suppression, SuppressionId,
};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::TargetId;
use crate::protocol::campaigns::task::{Task, TaskStatus};
use crate::protocol::users::owner::AccountId;

use super::*;
use crate::store::tests::sample_rows::{
    actor, attempt, block, campaign_clock, contacted, import, installation_key, page, refusal, run,
    suppression, task, task_id, use_count, user,
};

const HOUR_MS: i64 = 60 * 60 * 1_000;

/// A task with everything that belongs to it: more than goes with one commit.
fn whole_task(owner: &str, number: u128) -> Vec<Op> {
    let mut ops = vec![Op::put_row(&task(owner, number)), Op::put_row(&run(owner, number))];
    ops.extend((0..30).map(|block_number| Op::put_row(&block(owner, number, block_number))));
    ops.extend((0..3).map(|page_number| Op::put_row(&page(owner, number, page_number))));
    ops.extend((0..30).map(|nth| Op::put_row(&attempt(owner, number, nth))));
    ops.push(Op::put_row(&import(owner, number)));
    ops
}

/// The rows of a user's tasks that are stored, marks included.
fn rows_of_tasks(store: &Store, owner: &str) -> usize {
    let kinds = [
        kind::TASK,
        kind::TASK_MARK,
        kind::TASK_RUN,
        kind::TARGET_BLOCK,
        kind::STATUS_PAGE,
        kind::ATTEMPT,
        kind::IMPORT,
    ];
    let count = |kind| {
        let (from, to) = layout::rows(kind, &user(owner), &[]);
        collect(&*store.shared.engine, &from, &to, usize::MAX).unwrap().len()
    };
    kinds.into_iter().map(count).sum()
}

fn with_status(owner: &str, number: u128, status: TaskStatus) -> Task {
    Task { status, ..task(owner, number) }
}

#[tokio::test]
async fn a_task_is_there_after_a_restart_and_goes_with_all_that_belongs_to_it() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        for (owner, number) in [("one", 21), ("one", 22), ("two", 21)] {
            store.commit(whole_task(owner, number)).await.unwrap();
        }
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open();
        let (one, id) = (user("one"), task_id(21));
        assert_eq!(store.row::<Task>(&one, id).unwrap(), Some(task("one", 21)));
        assert_eq!(store.row::<TaskRun>(&one, id).unwrap(), Some(run("one", 21)));
        let blocks = store.target_blocks(&one, id, 0..u32::MAX).unwrap();
        assert_eq!(blocks, (0..30).map(|number| block("one", 21, number)).collect::<Vec<_>>());
        let (all, others) = (rows_of_tasks(&store, "one"), rows_of_tasks(&store, "two"));
        assert_eq!(all, 2 * others);
        store.delete_task(&one, id, vec![Op::PutAccount(account(1))]).await.unwrap();
        assert_eq!(store.row::<Task>(&one, id).unwrap(), None);
        assert_eq!(store.load().unwrap().accounts, [account(1)]);
        assert_eq!((rows_of_tasks(&store, "one"), rows_of_tasks(&store, "two")), (others, others));
        store.delete_task(&one, id, vec![]).await.unwrap();
        assert_eq!(store.task_statuses(&one).unwrap(), [(task_id(22), TaskStatus::Draft)]);
    })
    .await;
}

#[tokio::test]
async fn a_removal_that_a_crash_came_into_is_finished_with_the_next_start() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        store.commit(whole_task("one", 21)).await.unwrap();
        store.commit(whole_task("one", 22)).await.unwrap();
        let all = rows_of_tasks(&store, "one");
        let delete = Op::DeleteTask { owner: user("one"), task: task_id(21) };
        store.commit(vec![delete]).await.unwrap();
        assert!(rows_of_tasks(&store, "one") > all / 2, "it goes in pieces");
        let statuses = store.task_statuses(&user("one")).unwrap();
        assert_eq!(statuses, [(task_id(22), TaskStatus::Draft)], "it is not shown any more");
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open();
        store.finish_erasures().await.unwrap();
        assert_eq!(rows_of_tasks(&store, "one"), all / 2);
    })
    .await;
}

#[tokio::test]
async fn what_is_written_of_a_task_behind_its_removal_leaves_nothing() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        store.commit(whole_task("one", 21)).await.unwrap();
        store.delete_task(&user("one"), task_id(21), vec![]).await.unwrap();
        let late = vec![
            Op::update_row(&task("one", 21)),
            Op::put_row(&run("one", 21)),
            Op::put_row(&block("one", 21, 0)),
            Op::put_row(&page("one", 21, 0)),
            Op::put_row(&attempt("one", 21, 9)),
        ];
        store.commit(late).await.unwrap();
        assert_eq!(rows_of_tasks(&store, "one"), 0);
        store.commit(vec![Op::put_row(&task("one", 22))]).await.unwrap();
        let started = with_status("one", 22, TaskStatus::Running);
        store.commit(vec![Op::update_row(&started)]).await.unwrap();
        assert_eq!(store.row::<Task>(&user("one"), task_id(22)).unwrap(), Some(started));
    })
    .await;
}

#[tokio::test]
async fn tasks_are_told_apart_by_their_status_without_being_opened() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let running = with_status("one", 2, TaskStatus::Running);
        let ops = vec![
            Op::put_row(&with_status("one", 1, TaskStatus::Completed)),
            Op::put_row(&running),
            Op::put_row(&with_status("two", 3, TaskStatus::Running)),
        ];
        store.commit(ops).await.unwrap();
        // What would not open is not opened.
        for (owner, number) in [("one", 1), ("two", 3)] {
            let mut batch = WriteBatch::default();
            let key = layout::row(kind::TASK, &user(owner), &RowId::from(task_id(number)).0);
            batch.put(key, b"broken".to_vec());
            store.shared.engine.apply(batch).unwrap();
        }
        let known = [(task_id(1), TaskStatus::Completed), (task_id(2), TaskStatus::Running)];
        assert_eq!(store.task_statuses(&user("one")).unwrap(), known);
        assert!(store.tasks_in(&[TaskStatus::Running]).is_err());
        let paused = with_status("two", 3, TaskStatus::Paused);
        store.commit(vec![Op::put_row(&paused)]).await.unwrap();
        assert_eq!(store.tasks_in(&[TaskStatus::Running]).unwrap(), std::slice::from_ref(&running));
        let both = [TaskStatus::Paused, TaskStatus::Running];
        assert_eq!(store.tasks_in(&both).unwrap(), [running, paused]);
        store.commit(vec![Op::delete_row::<Task>(&user("two"), task_id(3))]).await.unwrap();
        assert_eq!(store.task_statuses(&user("two")).unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn blocks_and_pages_are_read_in_ranges() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let (one, id) = (user("one"), task_id(21));
        let mut ops = vec![Op::put_row(&task("one", 21)), Op::put_row(&task("one", 20))];
        ops.extend([0, 1, 3, 300].map(|number| Op::put_row(&block("one", 21, number))));
        ops.extend([0, 2].map(|number| Op::put_row(&page("one", 21, number))));
        ops.extend([Op::put_row(&block("one", 20, 1)), Op::put_row(&page("one", 20, 1))]);
        store.commit(ops).await.unwrap();
        let blocks = |numbers| {
            let read = store.target_blocks(&one, id, numbers).unwrap();
            read.iter().map(|block| block.number).collect::<Vec<_>>()
        };
        assert_eq!(blocks(0..u32::MAX), [0, 1, 3, 300]);
        assert_eq!(blocks(1..300), [1, 3]);
        assert_eq!((blocks(4..300), blocks(3..3)), (vec![], vec![]));
        assert_eq!(store.row(&one, (id, 3)).unwrap(), Some(block("one", 21, 3)));
        assert_eq!(store.row::<TargetBlock>(&one, (id, 2)).unwrap(), None);
        assert_eq!(store.status_pages(&one, id, 1..9).unwrap(), [page("one", 21, 2)]);
        assert_eq!(store.row::<StatusPage>(&user("two"), (id, 2)).unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn attempts_come_newest_first_in_pages_that_look_at_so_many() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        store.commit(vec![Op::put_row(&task("one", 21))]).await.unwrap();
        let all: Vec<AttemptRecord> = (0..200).map(|number| attempt("one", 21, number)).collect();
        store.commit(all.iter().map(Op::put_row).collect()).await.unwrap();
        let read = |target: Option<u32>, account: Option<u128>, limit| {
            let (mut seen, mut pages, mut before) = (Vec::new(), 0, None);
            loop {
                let query = AttemptQuery {
                    task: task_id(21),
                    before,
                    target: target.map(TargetId),
                    account: account.map(|number| AccountId(Uuid::from_u128(number))),
                    limit,
                };
                let page = store.attempts(&user("one"), &query).unwrap();
                assert!(page.attempts.len() <= limit);
                seen.extend(page.attempts.iter().map(|attempt| attempt.number));
                (pages, before) = (pages + 1, page.next);
                if before.is_none() {
                    return (seen, pages);
                }
            }
        };
        let newest_first = |wanted: &dyn Fn(u64) -> bool| {
            (0..200).rev().filter(|number| wanted(*number)).collect::<Vec<u64>>()
        };
        assert_eq!(read(None, None, 50), (newest_first(&|_| true), 4));
        assert_eq!(read(None, None, 30), (newest_first(&|_| true), 7));
        let of_both = newest_first(&|number| number % 7 == 3 && number % 2 == 1);
        assert_eq!(read(Some(3), Some(1), 50), (of_both, 4));
        assert_eq!(read(Some(9), None, 50), (vec![], 4), "nothing is found, in bounded steps");
        let first = AttemptQuery {
            task: task_id(21),
            before: Some(0),
            target: None,
            account: None,
            limit: 1,
        };
        assert_eq!(store.attempts(&user("one"), &first).unwrap(), AttemptPage::default());
    })
    .await;
}

#[tokio::test]
async fn attempts_go_after_thirty_days() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let late = AttemptRecord { at: UnixMillis(2 * HOUR_MS), ..attempt("one", 21, 1) };
        let ops = vec![
            Op::put_row(&task("one", 21)),
            Op::put_row(&attempt("one", 21, 0)),
            Op::put_row(&late),
        ];
        store.commit(ops).await.unwrap();
        let left = || store.all_rows::<AttemptRecord>().unwrap().len();
        store.commit(vec![Op::Expire(UnixMillis(ATTEMPTS_KEPT_MS - 1))]).await.unwrap();
        assert_eq!(left(), 2);
        store.commit(vec![Op::Expire(UnixMillis(ATTEMPTS_KEPT_MS + HOUR_MS))]).await.unwrap();
        assert_eq!(store.all_rows::<AttemptRecord>().unwrap(), [late]);
    })
    .await;
}

#[tokio::test]
async fn what_people_did_and_refused_is_found_by_person_and_by_key() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        let invite = use_count(5, Budget::Invite, 7);
        let message = use_count(5, Budget::Message, -1);
        let (mine, theirs) = (refusal("one"), refusal("two"));
        let other =
            Refusal { key: crate::protocol::campaigns::respect::SuppressionKey([255; 32]), ..mine };
        let ops = vec![
            Op::put_shared(&message),
            Op::put_shared(&UseCount { used: 1, ..invite }),
            Op::put_shared(&invite),
            Op::put_shared(&use_count(4, Budget::Invite, 7)),
            Op::put_shared(&use_count(-5, Budget::Invite, 7)),
            Op::put_shared(&actor(5)),
            Op::put_shared(&mine),
            Op::put_shared(&theirs),
            Op::put_shared(&other),
            Op::put_shared(&contacted(9, "one", 1)),
        ];
        store.commit(ops).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open();
        assert_eq!(store.use_counts(5).unwrap(), [invite, message]);
        assert_eq!(store.use_counts(6).unwrap(), []);
        assert_eq!(store.shared_row(RowId::of_person(5)).unwrap(), Some(actor(5)));
        assert_eq!(store.shared_row::<ActorRecord>(RowId::of_person(4)).unwrap(), None);
        let mut both = store.refusals(mine.key).unwrap();
        both.sort_by_key(|refusal| refusal.list != mine.list);
        assert_eq!(both, [mine, theirs]);
        assert_eq!(store.refusals(other.key).unwrap(), [other], "the last key there is");
        let reached = contacted(9, "one", 1);
        assert_eq!(store.shared_row((9, reached.list)).unwrap(), Some(reached));
        let elsewhere = contacted(9, "two", 1).list;
        assert_eq!(store.shared_row::<ContactedRecord>((9, elsewhere)).unwrap(), None);
        store.commit(vec![Op::delete_shared::<Refusal>(theirs.id())]).await.unwrap();
        assert_eq!(store.refusals(mine.key).unwrap(), [mine]);
        let page = store.shared_rows::<UseCount>(None, Some(invite.id()), 1).unwrap();
        assert_eq!(page, [message]);
    })
    .await;
}

#[tokio::test]
async fn of_two_counts_that_overtake_each_other_no_use_is_lost() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        let count =
            |used, given_back| UseCount { used, given_back, ..use_count(5, Budget::Message, 7) };
        let put = |used, given_back| Op::put_shared(&count(used, given_back));
        store.commit(vec![put(2, 0)]).await.unwrap();
        store.commit(vec![put(1, 0)]).await.unwrap();
        assert_eq!(store.use_counts(5).unwrap(), [count(2, 0)]);
        store.commit(vec![put(3, 1), put(3, 0)]).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open();
        assert_eq!(store.use_counts(5).unwrap(), [count(3, 1)]);
    })
    .await;
}

#[tokio::test]
async fn no_clock_that_is_set_forward_makes_a_shared_row_expire() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let count = use_count(5, Budget::Invite, 0);
        let over_at = count.over_at().0;
        let short = contacted(9, "one", 1);
        let ops = vec![
            Op::put_shared(&count),
            Op::put_shared(&short),
            Op::put_shared(&contacted(8, "one", 1)),
            Op::put_shared(&contacted(9, "one", 100 * HOUR_MS)),
            Op::put_shared(&refusal("one")),
        ];
        store.commit(ops).await.unwrap();
        let far = || Op::Expire(UnixMillis(i64::MAX));
        store.commit(vec![far()]).await.unwrap();
        assert_eq!(store.use_counts(5).unwrap(), [count], "the timeline is not known yet");
        let at = |moment| Op::put_shared(&campaign_clock(moment));
        store.commit(vec![at(over_at), far()]).await.unwrap();
        assert_eq!(store.use_counts(5).unwrap(), [count], "its hour is not over");
        assert_eq!(store.shared_rows::<ContactedRecord>(None, None, 9).unwrap().len(), 1);
        assert!(store.shared_row::<ContactedRecord>((9, short.list)).unwrap().is_some(), "renewed");
        store.commit(vec![at(over_at + HOUR_MS), far()]).await.unwrap();
        assert_eq!(store.use_counts(5).unwrap(), []);
        store.commit(vec![at(101 * HOUR_MS), Op::Expire(UnixMillis(0))]).await.unwrap();
        assert_eq!(store.shared_rows::<ContactedRecord>(None, None, 9).unwrap(), []);
        assert_eq!(store.shared_rows::<Refusal>(None, None, 9).unwrap(), [refusal("one")]);
        let (from, to) = layout::all(kind::STEADY_EXPIRY);
        assert_eq!(collect(&*store.shared.engine, &from, &to, 9).unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn the_clock_of_campaigns_never_goes_back_and_the_installations_key_is_drawn_once() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        let put = |moment| Op::put_shared(&campaign_clock(moment));
        store.commit(vec![put(5), put(3)]).await.unwrap();
        store.commit(vec![put(4)]).await.unwrap();
        assert_eq!(store.shared_row(RowId::ONLY).unwrap(), Some(campaign_clock(5)));
        let (one, two) =
            tokio::join!(store.installation_key_or([1; 32]), store.installation_key_or([2; 32]));
        let first = one.unwrap();
        assert_eq!(first, two.unwrap(), "whoever came first");
        store.commit(vec![Op::put_shared(&installation_key())]).await.unwrap();
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open();
        assert_eq!(store.installation_key_or([3; 32]).await.unwrap(), first);
    })
    .await;
}

#[tokio::test]
async fn the_entry_that_a_refusal_had_goes_with_the_commit_of_the_next() {
    on_every_engine(|engine| async move {
        let (store, outbox) = engine.open();
        let key = [5; 32];
        for list in [List::User(user("one")), List::Installation] {
            let entry = |number| suppression(list.clone(), number);
            let there = |store: &Store| {
                let read = store.suppressions(&list, None, 9).unwrap();
                read.iter().map(|entry| entry.id.0.as_u128()).collect::<Vec<_>>()
            };
            store.commit(Op::refuse(&entry(1), &key).into()).await.unwrap();
            // Once more in one commit, and the same entry otherwise.
            let both = [Op::refuse(&entry(2), &key), Op::refuse(&entry(3), &key)].concat();
            store.commit(both).await.unwrap();
            let erased = Suppression { identifier: None, ..entry(3) };
            store.commit(Op::refuse(&erased, &key).into()).await.unwrap();
            assert_eq!(there(&store), [3]);
            // Another thing that is refused has an entry of its own.
            let other = Suppression { covers: Covers::Messages, ..entry(4) };
            store.commit(Op::refuse(&other, &key).into()).await.unwrap();
            assert_eq!(there(&store), [4, 3]);
            assert_eq!(store.suppression(&list, erased.id).unwrap(), Some(erased.clone()));
            let refusals = store.refusals(erased.key).unwrap();
            assert!(refusals.contains(&erased.refusal(&key)), "{refusals:?}");
        }
        store.close().await.unwrap();
        drop(outbox);
        let (store, _outbox) = engine.open();
        assert_eq!(store.suppressions(&List::Installation, None, 9).unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_that_was_renewed_is_not_lifted() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let key = [5; 32];
        for list in [List::User(user("one")), List::Installation] {
            let (first, renewed) = (suppression(list.clone(), 1), suppression(list.clone(), 2));
            let lift = |entry: &Suppression| {
                let (list, refusal) = (list.clone(), entry.refusal(&key));
                Op::LiftRefusal { list, refusal }
            };
            store.commit(Op::refuse(&first, &key).into()).await.unwrap();
            // The renewed one comes first, in a commit of its own or in the same.
            store
                .commit([&Op::refuse(&renewed, &key)[..], &[lift(&first)]].concat())
                .await
                .unwrap();
            store.commit(vec![lift(&first)]).await.unwrap();
            assert!(store.refusals(first.key).unwrap().contains(&renewed.refusal(&key)));
            assert_eq!(store.suppressions(&list, None, 9).unwrap(), std::slice::from_ref(&renewed));
            // Nor one that only says something else now.
            let erased =
                Suppression { source: Source::Erased, identifier: None, ..renewed.clone() };
            store.commit(Op::refuse(&erased, &key).into()).await.unwrap();
            store.commit(vec![lift(&renewed)]).await.unwrap();
            assert_eq!(store.suppressions(&list, None, 9).unwrap(), std::slice::from_ref(&erased));
            store.commit(vec![lift(&erased)]).await.unwrap();
            let stands = erased.refusal(&key);
            assert!(!store.refusals(first.key).unwrap().contains(&stands));
            assert_eq!(store.suppressions(&list, None, 9).unwrap(), []);
        }
    })
    .await;
}

#[tokio::test]
async fn entries_of_each_list_come_newest_first_and_go_without_their_refusals() {
    on_every_engine(|engine| async move {
        let (store, _outbox) = engine.open();
        let (mine, theirs) = (List::User(user("one")), List::User(user("two")));
        let mut ops = vec![Op::put_shared(&refusal("one"))];
        for list in [&mine, &theirs, &List::Installation] {
            let entries = (1..=5).map(|number| suppression(list.clone(), number));
            ops.extend(entries.map(|entry| Op::put_suppression(&entry)));
        }
        store.commit(ops).await.unwrap();
        for list in [mine, List::Installation] {
            let page = |after: Option<u128>, limit| {
                let after = after.map(|number| SuppressionId(Uuid::from_u128(number)));
                let read = store.suppressions(&list, after, limit).unwrap();
                assert!(read.iter().all(|entry| entry.list == list));
                read.iter().map(|entry| entry.id.0.as_u128()).collect::<Vec<_>>()
            };
            assert_eq!(page(None, 9), [5, 4, 3, 2, 1]);
            assert_eq!((page(None, 2), page(Some(4), 2)), (vec![5, 4], vec![3, 2]));
            assert_eq!(page(Some(1), 2), [] as [u128; 0]);
            let third = suppression(list.clone(), 3);
            assert_eq!(store.suppression(&list, third.id).unwrap(), Some(third.clone()));
            store.commit(vec![Op::delete_suppression(&list, third.id)]).await.unwrap();
            assert_eq!(store.suppression(&list, third.id).unwrap(), None);
            assert_eq!(page(None, 9), [5, 4, 2, 1]);
        }
        assert_eq!(store.suppressions(&theirs, None, 9).unwrap().len(), 5);
        assert_eq!(store.refusals(refusal("one").key).unwrap(), [refusal("one")]);
    })
    .await;
}
