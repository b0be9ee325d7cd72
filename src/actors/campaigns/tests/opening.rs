//! What happens when campaigns begin to run, in this life or the next.

use super::*;
use crate::actors::campaigns::dry_run::dry_run;
use crate::protocol::answers::campaign_report::ProblemCode;
use crate::protocol::campaigns::schedule::Schedule;
use crate::protocol::campaigns::task::PauseReason;
use crate::protocol::campaigns::zone::Zone;

/// The one that is due comes first in the order in which actors are made, before those that count against it.
#[tokio::test(start_paused = true)]
async fn no_more_run_than_may_when_one_came_due_while_the_daemon_was_down() {
    let mut fixture = Fixture::new(1, 60).await;
    fixture.settings.running_max = 2;
    let life = fixture.live().await;
    let wall = Zone::utc().wall(life.context.now().plus_ms(3_600_000));
    let schedule = Some(Schedule { wall, zone: Zone::utc() });
    let due = TaskRequest { schedule, ..fixture.request(TaskType::SendMessages) };
    let due = fixture.draft(&life, due, 1).await;
    life.order(due, Wanted::Start).await.unwrap();
    let mut running = Vec::new();
    for _ in 0..2 {
        let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 60).await;
        life.order(task, Wanted::Start).await.unwrap();
        running.push(task);
    }
    life.kill();
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    let life = fixture.live().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    for task in &running {
        assert_eq!(fixture.task(*task).await.status, TaskStatus::Running);
    }
    assert_eq!(fixture.task(due).await.status, TaskStatus::Scheduled, "there is no room for it");
    life.order(running[0], Wanted::Pause).await.unwrap();
    until(&fixture, due, TaskStatus::Completed).await;
    assert!(fixture.task(due).await.late_ms.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_full_group_pauses_the_task_and_is_told_as_such() {
    let fixture = Fixture::new(2, 4).await;
    fixture.messenger.world().is_full = true;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 4).await;
    let (run, stored) = (fixture.run_now(task).await, fixture.task(task).await);
    let problems = dry_run(&life.context, &stored, &run).await.unwrap().problems;
    let has = |code| problems.iter().any(|problem| problem.code == code);
    assert!(has(ProblemCode::GroupFull) && !has(ProblemCode::NoRights), "{problems:?}");
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Paused).await;
    assert_eq!(fixture.task(task).await.paused_because, Some(PauseReason::GroupFull));
    assert!(fixture.run_now(task).await.out.is_empty(), "no account is to blame");

    // It is asked before the first invitation of each account, too.
    fixture.messenger.world().deaf = 2;
    life.order(task, Wanted::Resume).await.unwrap();
    until(&fixture, task, TaskStatus::Paused).await;
    assert_eq!(fixture.task(task).await.paused_because, Some(PauseReason::GroupFull));
    assert!(fixture.messenger.times().is_empty());

    fixture.messenger.world().is_full = false;
    life.order(task, Wanted::Resume).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Invited, 4)].into());
}
