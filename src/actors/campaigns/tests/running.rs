//! Campaigns that run, through trouble.

use super::messenger::Then;
use super::*;
use crate::actors::campaigns::campaign::BulkAction;
use crate::actors::campaigns::context::Refused;
use crate::protocol::answers::refusal::Code;
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::caps::Cap;
use crate::protocol::campaigns::quiet::{Minute, QuietHours};
use crate::protocol::campaigns::respect::{Covers, KnownAs, Source};
use crate::protocol::campaigns::schedule::Schedule;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::Step;
use crate::protocol::campaigns::task::{PauseReason, Priority};
use crate::protocol::campaigns::zone::Zone;

#[tokio::test(start_paused = true)]
async fn everybody_is_written_to_once_and_the_task_completes() {
    let fixture = Fixture::new(3, 20).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 20).await;
    let started = life.order(task, Wanted::Start).await.unwrap();
    assert_eq!(started.status, TaskStatus::Running);
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.messenger.times(), (1..=20).map(|id| (id, 1)).collect());
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Sent, 20)].into());
    let world = fixture.messenger.world();
    assert!(world.reached.iter().all(|reached| reached.text == format!("Hi P{}", reached.person)));
    for account in fixture.ids() {
        let own: Vec<_> = world.reached.iter().filter(|reached| reached.by == account).collect();
        assert!(own.windows(2).all(|pair| pair[1].at - pair[0].at >= Duration::from_secs(15)));
        assert!(own.len() >= 4, "work is shared");
    }
}

#[tokio::test(start_paused = true)]
async fn everybody_is_invited_once_and_who_refuses_is_not_asked_again() {
    let fixture = Fixture::new(3, 12).await;
    fixture.messenger.world().refusing.extend([3, 7]);
    fixture.messenger.world().members.insert(5);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 12).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let expected =
        [(TargetStatus::Invited, 9), (TargetStatus::Refused, 2), (TargetStatus::Skipped, 1)];
    assert_eq!(fixture.statuses(task).await, expected.into());
    assert!(fixture.messenger.times().values().all(|times| *times == 1));
    // Another task of the same people is told no by what is remembered.
    let again = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 12).await;
    life.order(again, Wanted::Start).await.unwrap();
    until(&fixture, again, TaskStatus::Completed).await;
    let reasons = fixture.reasons(again).await;
    assert_eq!(reasons[&3], (TargetStatus::Skipped, Some(Reason::Suppressed)));
    assert_eq!(reasons[&1], (TargetStatus::Skipped, Some(Reason::Recontact)));
    assert!(fixture.messenger.times().values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_settled_and_reaches_nobody_twice() {
    let fixture = Fixture::new(2, 6).await;
    fixture.messenger.next(Step::Send, [Then::Lose, Then::Lose, Then::Say(Answer::NoAnswer)]);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 6).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Sent, 6)].into());
    assert_eq!(fixture.messenger.times(), (1..=6).map(|id| (id, 1)).collect());

    let fixture = Fixture::new(2, 6).await;
    fixture.messenger.next(Step::Invite, [Then::Lose, Then::Say(Answer::NoAnswer)]);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 6).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Invited, 6)].into());
    assert_eq!(fixture.messenger.times(), (1..=6).map(|id| (id, 1)).collect());
}

#[tokio::test(start_paused = true)]
async fn a_flood_wait_is_kept_by_its_account_and_its_target_goes_to_another() {
    let fixture = Fixture::new(2, 8).await;
    fixture.messenger.next(Step::Send, [Then::Say(Answer::Wait { seconds: 40_000 })]);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 8).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let world = fixture.messenger.world();
    let by: std::collections::BTreeSet<_> =
        world.reached.iter().map(|reached| reached.by).collect();
    assert_eq!(by.len(), 1, "one waits for half a day");
    assert_eq!(world.reached.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn the_third_peer_flood_pauses_the_task_and_says_why() {
    let fixture = Fixture::new(4, 8).await;
    fixture.messenger.next(Step::Send, vec![Then::Say(Answer::Limited); 3]);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 8).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Paused).await;
    assert_eq!(fixture.task(task).await.paused_because, Some(PauseReason::PeerFlood));
    let statuses = fixture.statuses(task).await;
    assert_eq!(statuses[&TargetStatus::Failed], 3, "they are not passed on: {statuses:?}");
    life.order(task, Wanted::Resume).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert!(fixture.messenger.times().values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn a_pause_takes_effect_before_the_next_action_and_a_resumption_goes_on() {
    let fixture = Fixture::new(2, 10).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 10).await;
    life.order(task, Wanted::Start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(40)).await;
    let paused = life.order(task, Wanted::Pause).await.unwrap();
    assert_eq!(paused.paused_because, Some(PauseReason::Asked));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let reached = fixture.messenger.world().reached.len();
    tokio::time::sleep(Duration::from_secs(36_000)).await;
    assert_eq!(fixture.messenger.world().reached.len(), reached);
    life.order(task, Wanted::Resume).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.messenger.times(), (1..=10).map(|id| (id, 1)).collect());
}

#[tokio::test(start_paused = true)]
async fn whoever_is_acted_for_while_a_task_is_paused_and_resumed_is_not_forgotten() {
    let fixture = Fixture::new(2, 24).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 24).await;
    life.order(task, Wanted::Start).await.unwrap();
    for _ in 0..12 {
        while !fixture.statuses(task).await.contains_key(&TargetStatus::InFlight) {
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        life.order(task, Wanted::Pause).await.unwrap();
        life.order(task, Wanted::Resume).await.unwrap();
    }
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Sent, 24)].into());
    assert_eq!(fixture.messenger.times(), (1..=24).map(|id| (id, 1)).collect());
}

#[tokio::test(start_paused = true)]
async fn whenever_the_process_dies_nobody_is_contacted_twice_and_nobody_forgotten() {
    for task_type in [TaskType::SendMessages, TaskType::InviteToGroup] {
        let fixture = Fixture::new(2, 12).await;
        let mut life = fixture.live().await;
        let task = fixture.draft(&life, fixture.request(task_type), 12).await;
        life.order(task, Wanted::Start).await.unwrap();
        for round in 0..60_u64 {
            // Instants of every kind: while somebody is looked up, written to, or nobody is.
            tokio::time::sleep(Duration::from_millis(137 * round % 16_000 + 3)).await;
            life.kill();
            life = fixture.live().await;
        }
        until(&fixture, task, TaskStatus::Completed).await;
        let done = match task_type {
            TaskType::SendMessages => TargetStatus::Sent,
            TaskType::InviteToGroup => TargetStatus::Invited,
        };
        assert_eq!(fixture.statuses(task).await, [(done, 12)].into());
        assert_eq!(fixture.messenger.times(), (1..=12).map(|id| (id, 1)).collect());
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_dies_leaves_its_work_to_others() {
    let fixture = Fixture::new(3, 15).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 15).await;
    life.order(task, Wanted::Start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(50)).await;
    let first = fixture.ids()[0];
    fixture.messenger.world().gone.insert(first);
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Sent, 15)].into());
    assert_eq!(fixture.messenger.times(), (1..=15).map(|id| (id, 1)).collect());
}

#[tokio::test(start_paused = true)]
async fn a_task_for_nobody_completes_at_once() {
    let fixture = Fixture::new(1, 0).await;
    let life = fixture.live().await;
    let task = fixture.draft_of_nobody(&life).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
}

/// Tasks of one user share accounts: none acts above its caps, whichever task it is for and however often the daemon
/// dies.
#[tokio::test(start_paused = true)]
async fn caps_hold_over_tasks_and_restarts() {
    let mut fixture = Fixture::new(1, 40).await;
    let cap = |per_day, per_hour| Cap { per_day, per_hour };
    fixture.settings.caps.message = cap(8, 4);
    fixture.settings.caps.resolve = cap(1_000, 1_000);
    let mut life = fixture.live().await;
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 20).await;
        life.order(task, Wanted::Start).await.unwrap();
        tasks.push(task);
    }
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(3_700)).await;
        life.kill();
        life = fixture.live().await;
    }
    let times: Vec<_> =
        fixture.messenger.world().reached.iter().map(|reached| reached.at).collect();
    assert!(times.len() >= 8, "it goes on: {}", times.len());
    let within = |span: Duration| {
        let ends = times
            .iter()
            .map(|end| times.iter().filter(|at| **at <= *end && *end - **at < span).count());
        ends.max().unwrap_or(0)
    };
    assert!(within(Duration::from_secs(3_600)) <= 4);
    assert!(within(Duration::from_secs(86_400)) <= 8);
}

#[tokio::test(start_paused = true)]
async fn a_campaign_that_came_due_while_the_daemon_was_down_starts_and_says_how_late() {
    let fixture = Fixture::new(1, 3).await;
    let life = fixture.live().await;
    let at =
        |ms| Schedule { wall: Zone::utc().wall(life.context.now().plus_ms(ms)), zone: Zone::utc() };
    let soon =
        TaskRequest { schedule: Some(at(3_600_000)), ..fixture.request(TaskType::SendMessages) };
    let early = TaskRequest { schedule: Some(at(600_000)), ..soon.clone() };
    let (soon, early) = (fixture.draft(&life, soon, 3).await, fixture.draft(&life, early, 0).await);
    for task in [soon, early] {
        let task = life.order(task, Wanted::Start).await.unwrap();
        assert_eq!(task.status, TaskStatus::Scheduled);
    }
    until(&fixture, early, TaskStatus::Completed).await;
    assert_eq!(fixture.task(early).await.late_ms, None, "in time");
    life.kill();
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    let life = fixture.live().await;
    until(&fixture, soon, TaskStatus::Completed).await;
    let late = fixture.task(soon).await.late_ms.unwrap();
    assert!((3_000_000..7_200_000).contains(&late), "{late}");

    let late = TaskRequest {
        schedule: Some(Schedule {
            wall: Zone::utc().wall(life.context.now().plus_ms(60_000)),
            zone: Zone::utc(),
        }),
        ..fixture.request(TaskType::SendMessages)
    };
    let late = fixture.draft(&life, late, 3).await;
    life.order(late, Wanted::Start).await.unwrap();
    life.kill();
    tokio::time::sleep(Duration::from_secs(7 * 3_600)).await;
    let _life = fixture.live().await;
    until(&fixture, late, TaskStatus::Paused).await;
    assert_eq!(fixture.task(late).await.paused_because, Some(PauseReason::TooLate));
}

#[tokio::test(start_paused = true)]
async fn text_and_people_change_only_while_nothing_runs_and_each_is_once_in_the_list() {
    let fixture = Fixture::new(1, 10).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 10).await;
    let again: Vec<NewTarget> = ["@person3", "https://t.me/Person4", "@somebody_new"]
        .into_iter()
        .map(|text| NewTarget { identifier: named(text), details: None })
        .collect();
    let added = life.add(task, again.clone()).await.unwrap();
    assert_eq!((added.accepted, added.duplicates, added.beyond), (1, 2, 0));
    life.order(task, Wanted::Start).await.unwrap();
    assert_eq!(life.add(task, again.clone()).await.unwrap_err().code, Code::Conflict);
    tokio::time::sleep(Duration::from_secs(60)).await;
    life.order(task, Wanted::Pause).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    life.kill();
    let life = fixture.live().await;
    let added = life.add(task, again).await.unwrap();
    assert_eq!((added.accepted, added.duplicates), (0, 3), "also in another life");
    let sent = fixture.messenger.times().len();
    assert!((1..10).contains(&sent), "{sent}");
    life.order(task, Wanted::Resume).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let statuses = fixture.statuses(task).await;
    assert_eq!(statuses, [(TargetStatus::Sent, 10), (TargetStatus::Failed, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_campaign_that_is_told_the_same_order_twice_does_it_once() {
    let fixture = Fixture::new(2, 6).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 6).await;
    for _ in 0..5 {
        life.order(task, Wanted::Start).await.unwrap();
    }
    for _ in 0..40 {
        life.order(task, Wanted::Pause).await.unwrap();
        life.order(task, Wanted::Resume).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_300)).await;
    }
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.messenger.times(), (1..=6).map(|id| (id, 1)).collect());
    let refused = life.order(task, Wanted::Resume).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
}

#[tokio::test(start_paused = true)]
async fn in_quiet_hours_nobody_is_contacted() {
    let fixture = Fixture::new(2, 30).await;
    let life = fixture.live().await;
    let minute = |text| Minute::parse(text).unwrap();
    let quiet = QuietHours { from: minute("22:00"), to: minute("08:00"), zone: Some(Zone::utc()) };
    let settings = Settings { quiet_hours: Some(quiet), ..Settings::default() };
    let request = TaskRequest { settings, ..fixture.request(TaskType::SendMessages) };
    let task = fixture.draft(&life, request, 30).await;
    life.order(task, Wanted::Start).await.unwrap();
    let (began, wall) = (tokio::time::Instant::now(), life.context.now());
    until(&fixture, task, TaskStatus::Completed).await;
    for reached in &fixture.messenger.world().reached {
        let passed = i64::try_from((reached.at - began).as_millis()).unwrap();
        let hour = Zone::utc().wall(wall.plus_ms(passed)).hour();
        assert!((8..22).contains(&hour), "{hour}");
    }
}

/// Each account does one thing at a time, so whoever is more urgent has the next one. No pause hides it.
#[tokio::test(start_paused = true)]
async fn the_more_urgent_go_first_and_an_account_does_one_thing_at_a_time() {
    let mut fixture = Fixture::new(2, 90).await;
    fixture.settings.min_pause_seconds = 0;
    let wide = Cap { per_day: 100_000, per_hour: 100_000 };
    fixture.settings.caps.message = wide;
    fixture.settings.caps.resolve = wide;
    let life = fixture.live().await;
    let mut tasks = Vec::new();
    for (number, priority) in
        [Priority::Low, Priority::Normal, Priority::High].into_iter().enumerate()
    {
        let request = TaskRequest { priority, ..fixture.request(TaskType::SendMessages) };
        let task = fixture.draft(&life, request, 0).await;
        let people = (1..=30).map(|person| NewTarget {
            identifier: named(&format!("@person{}", number * 30 + person)),
            details: None,
        });
        life.add(task, people.collect()).await.unwrap();
        tasks.push(task);
    }
    for task in &tasks {
        life.order(*task, Wanted::Start).await.unwrap();
    }
    for task in tasks {
        until(&fixture, task, TaskStatus::Completed).await;
    }
    let world = fixture.messenger.world();
    assert_eq!(world.most_at_once, 1, "calls of one account at the same time");
    let last_of = |people: std::ops::RangeInclusive<i64>| {
        world.reached.iter().rposition(|reached| people.contains(&reached.person)).unwrap()
    };
    let (low, normal, high) = (last_of(1..=30), last_of(31..=60), last_of(61..=90));
    assert!(high < normal && normal <= low, "{high} {normal} {low}");
    let low_while_high =
        world.reached[..high].iter().filter(|reached| reached.person <= 30).count();
    assert!((2..=6).contains(&low_while_high), "a tenth: {low_while_high}");
}

/// What may have reached somebody is never begun anew, whatever a person asks for.
#[tokio::test(start_paused = true)]
async fn what_is_uncertain_is_not_tried_again_as_if_it_were_new() {
    let fixture = Fixture::new(1, 3).await;
    let life = fixture.live().await;
    fixture.messenger.next(Step::Send, [Then::Lose]);
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 3).await;
    life.order(task, Wanted::Start).await.unwrap();
    while !fixture.statuses(task).await.contains_key(&TargetStatus::Uncertain) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    life.order(task, Wanted::Pause).await.unwrap();
    let targets = fixture.targets(task).await;
    let uncertain = targets.iter().find(|it| it.status == TargetStatus::Uncertain).unwrap();
    let all: Vec<_> = targets.iter().map(|target| target.id).collect();
    for action in [BulkAction::Retry(all.clone()), BulkAction::Retry(vec![uncertain.id])] {
        let (reply, answer) = oneshot::channel();
        life.tell(task, CampaignMsg::Bulk { action, who: who(), reply: reply.into() });
        assert_eq!(answer.await.unwrap(), Ok(0));
    }
    // After days nobody knows whether Telegram would take it for the same message.
    tokio::time::sleep(Duration::from_secs(3 * 86_400)).await;
    life.order(task, Wanted::Resume).await.unwrap();
    until(&fixture, task, TaskStatus::Paused).await;
    assert_eq!(fixture.task(task).await.paused_because, Some(PauseReason::Unsettled));
    assert!(fixture.messenger.times().values().all(|times| *times == 1));
    assert_eq!(fixture.statuses(task).await[&TargetStatus::Uncertain], 1);
}

/// One person under two names is contacted once, whichever of the two comes first in another life.
#[tokio::test(start_paused = true)]
async fn nobody_is_contacted_under_two_names_after_a_restart() {
    let fixture = Fixture::new(1, 2).await;
    let mut life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 0).await;
    let people = ["@person1", "1"].map(|text| NewTarget { identifier: named(text), details: None });
    life.add(task, people.to_vec()).await.unwrap();
    fixture.messenger.knows(fixture.ids()[0], 1);
    life.order(task, Wanted::Start).await.unwrap();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(1_700)).await;
        life.kill();
        life = fixture.live().await;
    }
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.messenger.times(), [(1, 1)].into());
    let statuses = fixture.statuses(task).await;
    assert_eq!(statuses, [(TargetStatus::Sent, 1), (TargetStatus::Skipped, 1)].into());
}

const OLD: MarkedId = MarkedId(-5);
const NEW: MarkedId = MarkedId(-1_000_000_000_007);

#[tokio::test(start_paused = true)]
async fn a_group_that_moves_while_people_are_invited_is_followed() {
    let mut fixture = Fixture::new(2, 9).await;
    fixture.settings.caps.invite = Cap { per_day: 50, per_hour: 50 };
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 9).await;
    life.order(task, Wanted::Start).await.unwrap();
    while fixture.messenger.world().reached.len() < 4 {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    // Somebody opts out of the group as it was.
    let group = Some(OLD);
    let (covers, source, is_doubtful) = (Covers::ThisGroup, Source::StopReply, false);
    let refused = Refused { covers, group, source, is_doubtful };
    let known = KnownAs::named(&named("@person9"));
    let refusals = life.context.put_refusals(&ann(), &refused, &known);
    fixture.environment.store.commit(refusals).await.unwrap();
    fixture.messenger.world().moved = Some((NEW, OLD));
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.task(task).await.target_group_id, Some(NEW));
    assert!(fixture.run_now(task).await.out.is_empty(), "nobody was left out for it");
    let reasons = fixture.reasons(task).await;
    let invited: Vec<i64> = (1..=8).collect();
    let who = |status| reasons.iter().filter(move |(_, found)| found.0 == status);
    let found: Vec<i64> = who(TargetStatus::Invited).map(|(person, _)| *person).collect();
    assert_eq!(found, invited, "{reasons:?}");
    assert_eq!(reasons[&9], (TargetStatus::Skipped, Some(Reason::Suppressed)));
    assert!(fixture.messenger.times().values().all(|times| *times == 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_invited_before_the_account_was_told_that_it_may() {
    let fixture = Fixture::new(2, 4).await;
    // What is asked before it begins, and the first time later, comes to nothing.
    fixture.messenger.world().deaf = 4;
    let outside = fixture.ids()[0];
    fixture.messenger.world().without_rights.insert(outside);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 4).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Invited, 4)].into());
    assert!(fixture.messenger.world().reached.iter().all(|reached| reached.by != outside));
    assert_eq!(fixture.run_now(task).await.out, [outside]);
}

#[tokio::test(start_paused = true)]
async fn whom_nobody_has_reached_another_task_may_contact() {
    let fixture = Fixture::new(1, 1).await;
    let life = fixture.live().await;
    fixture.messenger.next(Step::Send, [Then::Say(Answer::Wait { seconds: 20_000 })]);
    let first = fixture.draft(&life, fixture.request(TaskType::SendMessages), 1).await;
    life.order(first, Wanted::Start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    life.order(first, Wanted::Cancel).await.unwrap();
    assert!(fixture.messenger.times().is_empty());
    let second = fixture.draft(&life, fixture.request(TaskType::SendMessages), 1).await;
    life.order(second, Wanted::Start).await.unwrap();
    until(&fixture, second, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(second).await, [(TargetStatus::Sent, 1)].into());
    // And whom it has reached is left alone.
    let third = fixture.draft(&life, fixture.request(TaskType::SendMessages), 1).await;
    life.order(third, Wanted::Start).await.unwrap();
    until(&fixture, third, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(third).await, [(TargetStatus::Skipped, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_looking_up_is_not_passed_on_by_a_restart() {
    let fixture = Fixture::new(2, 2).await;
    let life = fixture.live().await;
    fixture.messenger.next(Step::Resolve, vec![Then::Say(Answer::Wait { seconds: 7_200 }); 1_000]);
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 2).await;
    life.order(task, Wanted::Start).await.unwrap();
    let asked: BTreeMap<_, _> = loop {
        let targets = fixture.targets(task).await;
        let by = targets
            .iter()
            .filter_map(|target| Some((target.identifier.clone(), target.looked_up_by()?)));
        let asked: BTreeMap<_, _> = by.collect();
        if asked.len() == 2 {
            break asked;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    assert!(fixture.messenger.world().lookups.is_empty(), "both were told to wait");
    life.kill();
    fixture.messenger.world().script.clear();
    let life = fixture.live().await;
    until(&fixture, task, TaskStatus::Completed).await;
    let found = fixture.messenger.world().lookups.clone();
    for (account, who) in found {
        assert_eq!(asked[&who], account, "{who}");
    }
    drop(life);
}

#[tokio::test(start_paused = true)]
async fn one_for_later_is_scheduled_also_while_as_many_run_as_may() {
    let mut fixture = Fixture::new(1, 4).await;
    fixture.settings.running_max = 1;
    let life = fixture.live().await;
    let first = fixture.draft(&life, fixture.request(TaskType::SendMessages), 4).await;
    life.order(first, Wanted::Start).await.unwrap();
    let now = fixture.draft(&life, fixture.request(TaskType::SendMessages), 1).await;
    let refused = life.order(now, Wanted::Start).await.unwrap_err();
    assert_eq!(refused.code, Code::Conflict);
    let at = life.context.now().plus_ms(86_400_000);
    let schedule = Some(Schedule { wall: Zone::utc().wall(at), zone: Zone::utc() });
    let later = TaskRequest { schedule, ..fixture.request(TaskType::SendMessages) };
    let later = fixture.draft(&life, later, 1).await;
    let scheduled = life.order(later, Wanted::Start).await.unwrap();
    assert_eq!(scheduled.status, TaskStatus::Scheduled);
    until(&fixture, later, TaskStatus::Completed).await;
}
