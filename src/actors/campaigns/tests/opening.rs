//! What happens when campaigns begin to run, in this life or the next.

use super::*;
use crate::protocol::campaigns::schedule::Schedule;
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
