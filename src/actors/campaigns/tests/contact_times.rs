//! When people may be contacted, and what follows where they never may.

use super::*;
use crate::actors::campaigns::dry_run::dry_run;
use crate::protocol::answers::campaign_report::ProblemCode;
use crate::protocol::answers::refusal::Code;
use crate::protocol::campaigns::quiet::{Minute, QuietHours};
use crate::protocol::campaigns::schedule::Schedule;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::task::PauseReason;
use crate::protocol::campaigns::zone::Zone;
use crate::store::Reader;

/// Contacts from ten in the morning to eight in the evening, in all of `zones` at once.
fn by_day_in(zones: &[&str]) -> Settings {
    let minute = |text| Minute::parse(text).unwrap();
    let quiet = QuietHours { from: minute("20:00"), to: minute("10:00"), zone: None };
    let zones = zones.iter().map(|zone| Zone::named(zone).unwrap()).collect();
    Settings { quiet_hours: Some(quiet), zones, ..Settings::default() }
}

/// Zones that have none of these hours in common.
fn never() -> Settings {
    by_day_in(&["UTC", "Asia/Tokyo", "America/Los_Angeles"])
}

fn with(fixture: &Fixture, settings: Settings) -> TaskRequest {
    TaskRequest { settings, ..fixture.request(TaskType::SendMessages) }
}

/// Gives a task other settings and another status behind the back of everybody.
async fn rewritten(fixture: &Fixture, task: TaskId, change: impl FnOnce(&mut Task)) {
    let mut stored = fixture.task(task).await;
    change(&mut stored);
    fixture.ground.store.commit(vec![Op::update_row(&stored)]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_leaves_no_time_for_contacts_does_not_start_and_says_why() {
    let fixture = Fixture::new(1, 3).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, with(&fixture, never()), 3).await;
    let refused = life.order(task, Wanted::Start).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    assert!(refused.detail.contains("settings.quiet_hours"), "{}", refused.detail);
    assert_eq!(fixture.task(task).await.status, TaskStatus::Draft);

    let (run, stored) = (fixture.run_now(task).await, fixture.task(task).await);
    let problems = dry_run(&life.context, &stored, &run).await.unwrap().problems;
    assert!(problems.iter().any(|problem| problem.code == ProblemCode::NoContactTime));

    let schedule =
        Schedule { wall: Zone::utc().wall(now().plus_ms(86_400_000)), zone: Zone::utc() };
    let later = TaskRequest { schedule: Some(schedule), ..with(&fixture, never()) };
    let later = fixture.draft(&life, later, 3).await;
    assert_eq!(life.order(later, Wanted::Start).await.unwrap_err().code, Code::Conflict);
}

#[tokio::test(start_paused = true)]
async fn a_running_task_that_has_no_time_for_contacts_any_more_pauses_and_says_why() {
    let fixture = Fixture::new(1, 3).await;
    let life = fixture.live().await;
    let running = fixture.draft(&life, with(&fixture, Settings::default()), 3).await;
    let schedule = Schedule { wall: Zone::utc().wall(now().plus_ms(60_000)), zone: Zone::utc() };
    let due = TaskRequest { schedule: Some(schedule), ..with(&fixture, Settings::default()) };
    let due = fixture.draft(&life, due, 3).await;
    life.order(due, Wanted::Start).await.unwrap();
    life.kill();
    rewritten(&fixture, running, |task| {
        (task.settings, task.status) = (never(), TaskStatus::Running);
    })
    .await;
    rewritten(&fixture, due, |task| task.settings = never()).await;
    let life = fixture.live().await;
    for task in [running, due] {
        until(&fixture, task, TaskStatus::Paused).await;
        let because = fixture.task(task).await.paused_because;
        assert_eq!(because, Some(PauseReason::NoContactTime));
        assert_eq!(life.order(task, Wanted::Resume).await.unwrap_err().code, Code::Conflict);
    }
    assert!(fixture.messenger.times().is_empty());
    let read = |store: &Reader| store.tasks_in(&[TaskStatus::Running, TaskStatus::Scheduled]);
    assert!(fixture.ground.store.read(read).await.unwrap().is_empty());
}
