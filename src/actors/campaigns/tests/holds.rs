//! What is told of a running campaign in which nothing happens.

use super::*;
use crate::protocol::campaigns::caps::Cap;
use crate::protocol::campaigns::choose::TaskHold;
use crate::protocol::campaigns::quiet::{Minute, QuietHours};
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::task::CompletionReason;
use crate::protocol::campaigns::zone::Zone;

/// What is told to hold a task, and in how many milliseconds it ends, once it is told and has another name than
/// the pause between two actions.
async fn held(life: &Life, task: TaskId) -> (&'static str, Option<i64>) {
    let passing = ["pause", "account_busy", "later"];
    for _ in 0..4_000 {
        let held = life.context.status.campaign_view(&ann(), task).and_then(|view| view.held);
        if let Some(TaskHold { by, until }) = held
            && !passing.contains(&by.name())
        {
            return (by.name(), until.map(|until| until.0 - life.context.now().0));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("nothing holds it");
}

#[tokio::test(start_paused = true)]
async fn what_holds_a_running_task_is_told_and_until_when() {
    let mut fixture = Fixture::new(1, 8).await;
    fixture.settings.caps.message = Cap { per_day: 4, per_hour: 2 };
    fixture.settings.caps.resolve = Cap { per_day: 1_000, per_hour: 1_000 };
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 8).await;
    life.order(task, Wanted::Start).await.unwrap();
    let (by, left) = held(&life, task).await;
    assert_eq!(by, "hour_cap");
    let left = left.unwrap();
    assert!((3_000_000..=3_600_000).contains(&left), "{left}");
    tokio::time::sleep(Duration::from_secs(3_700)).await;
    let (by, left) = held(&life, task).await;
    assert_eq!(by, "day_cap");
    assert!(left.unwrap() > 70_000_000, "{left:?}");
    let account = fixture.ids()[0];
    fixture.messenger.world().away.insert(account);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(held(&life, task).await, ("account_away", None));
    fixture.messenger.world().gone.insert(account);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let view = life.context.status.campaign_view(&ann(), task).unwrap();
    assert!(view.held.is_none_or(|held| held.by.name() == "no_account"), "{view:?}");

    life.order(task, Wanted::Pause).await.unwrap();
    let view = life.context.status.campaign_view(&ann(), task).unwrap();
    assert_eq!(view.held, None, "it says why it is paused instead");
}

#[tokio::test(start_paused = true)]
async fn quiet_hours_that_hold_a_task_are_named_with_their_end() {
    let fixture = Fixture::new(1, 3).await;
    let life = fixture.live().await;
    // Quiet from now for two hours at least.
    let wall = Zone::utc().wall(life.context.now());
    let at = |hours: i64| {
        let wall = Zone::utc().wall(life.context.now().plus_ms(hours * 3_600_000));
        Minute::parse(&format!("{}:{}", wall.hour(), wall.minute())).unwrap()
    };
    let quiet = QuietHours { from: at(-1), to: at(2), zone: Some(Zone::utc()) };
    let settings = Settings { quiet_hours: Some(quiet), ..Settings::default() };
    let request = TaskRequest { settings, ..fixture.request(TaskType::SendMessages) };
    let task = fixture.draft(&life, request, 3).await;
    life.order(task, Wanted::Start).await.unwrap();
    let (by, left) = held(&life, task).await;
    assert_eq!(by, "quiet_hours", "at {wall}");
    let left = left.unwrap();
    assert!((7_000_000..=7_200_000).contains(&left), "{left}");
    until(&fixture, task, TaskStatus::Completed).await;
}

#[tokio::test(start_paused = true)]
async fn a_task_with_nobody_left_completes_at_once_and_says_why() {
    let fixture = Fixture::new(1, 2).await;
    let life = fixture.live().await;
    let nobody = fixture.draft_of_nobody(&life).await;
    life.order(nobody, Wanted::Start).await.unwrap();
    until(&fixture, nobody, TaskStatus::Completed).await;
    let because = fixture.task(nobody).await.completed_because;
    assert_eq!(because, Some(CompletionReason::NoTargets));
    let some = fixture.draft(&life, fixture.request(TaskType::SendMessages), 2).await;
    life.order(some, Wanted::Start).await.unwrap();
    until(&fixture, some, TaskStatus::Completed).await;
    assert_eq!(fixture.task(some).await.completed_because, None, "it had something to do");
}
