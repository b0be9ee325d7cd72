//! When people may be contacted, and what follows where they never may.

use super::*;
use crate::actors::campaigns::dry_run::dry_run;
use crate::protocol::answers::campaign_report::ProblemCode;
use crate::protocol::answers::refusal::Code;
use crate::protocol::campaigns::caps::Cap;
use crate::protocol::campaigns::quiet::{Minute, QuietHours};
use crate::protocol::campaigns::schedule::Schedule;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::Details;
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
    fixture.environment.store.commit(vec![Op::update_row(&stored)]).await.unwrap();
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
    assert!(fixture.environment.store.read(read).await.unwrap().is_empty());
}

/// Quiet for two hours from about now on, by the clock where somebody is.
fn quiet_now(life: &Life) -> Settings {
    let at = |hours: i64| {
        let wall = Zone::utc().wall(life.context.now().plus_ms(hours * 3_600_000));
        Minute::parse(&format!("{}:{}", wall.hour(), wall.minute())).unwrap()
    };
    let quiet = QuietHours { from: at(-1), to: at(2), zone: None };
    Settings { quiet_hours: Some(quiet), ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn who_is_asleep_where_they_are_waits_for_their_morning_and_keeps_nobody_else_waiting() {
    let fixture = Fixture::new(2, 6).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, with(&fixture, quiet_now(&life)), 0).await;
    // Where it is known, their own clock counts; else that of the task.
    let zones = ["UTC", "Etc/GMT-8", "", "Etc/GMT-8", "Etc/GMT+1", "UTC"];
    let people = (1..).zip(zones).map(|(number, zone)| {
        let zone = Some(zone).filter(|zone| !zone.is_empty()).map(Into::into);
        let details = Some(Details { zone, ..Details::default() });
        NewTarget { identifier: named(&format!("@person{number}")), details }
    });
    life.add(task, people.collect()).await.unwrap();

    let (run, stored) = (fixture.run_now(task).await, fixture.task(task).await);
    let foreseen = dry_run(&life.context, &stored, &run).await.unwrap();
    assert_eq!((foreseen.ready, foreseen.skipped.len()), (6, 0));
    let first: Vec<u32> = foreseen.first.iter().map(|person| person.target.0).collect();
    assert_eq!(first, [1, 3], "who is awake comes first");
    let hour = 3_600_000;
    let takes = foreseen.takes_ms.unwrap();
    assert!((2 * hour..4 * hour).contains(&takes), "the last sleep for three hours: {takes}");

    let began = tokio::time::Instant::now();
    life.order(task, Wanted::Start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let reached: Vec<i64> = fixture.messenger.times().into_keys().collect();
    assert_eq!(reached, [2, 4], "it is day there");
    let held = life.context.status.campaign_view(&ann(), task).and_then(|view| view.held);
    assert_eq!(held.map(|held| held.by.name()), Some("quiet_hours"));
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.messenger.times(), (1..=6).map(|id| (id, 1)).collect());
    for reached in &fixture.messenger.world().reached {
        let after = (reached.at - began).as_secs() / 60;
        let expected = match reached.person {
            2 | 4 => 0..5,
            5 => 178..190,
            _ => 118..130,
        };
        assert!(expected.contains(&after), "{} after {after} minutes", reached.person);
    }
}

/// As the allocator chooses by what it looked up a moment ago, it is looked at once more right before the action.
#[tokio::test(start_paused = true)]
async fn nobody_is_contacted_in_the_minute_in_which_their_night_begins() {
    let mut fixture = Fixture::new(1, 40).await;
    fixture.settings.min_pause_seconds = 1;
    let wide = Cap { per_day: 1_000, per_hour: 1_000 };
    (fixture.settings.caps.message, fixture.settings.caps.resolve) = (wide, wide);
    let life = fixture.live().await;
    let began = life.context.now();
    let at = |minutes: i64| {
        let wall = Zone::utc().wall(began.plus_ms(minutes * 60_000));
        Minute::parse(&format!("{}:{}", wall.hour(), wall.minute())).unwrap()
    };
    let settings = Settings {
        quiet_hours: Some(QuietHours { from: at(1), to: at(60), zone: None }),
        ..Settings::default()
    };
    let task = fixture.draft(&life, with(&fixture, settings), 40).await;
    let (start, wall) = (tokio::time::Instant::now(), life.context.now());
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let times = fixture.task(task).await.settings;
    let utc = Zone::utc();
    for reached in &fixture.messenger.world().reached {
        let passed = i64::try_from((reached.at - start).as_millis()).unwrap();
        // It is noted a moment after its call began.
        let at = wall.plus_ms(passed - 500);
        assert_eq!(times.contact_times(None, &utc).held_by(at), None, "after {passed} ms");
    }
}
