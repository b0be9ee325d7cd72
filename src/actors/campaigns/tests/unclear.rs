//! What is not known to have happened: settled, in the end, and never by trying without end.

use super::messenger::Then;
use super::*;
use crate::actors::campaigns::campaign::BulkAction;
use crate::protocol::answers::refusal::Code;
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::campaigns::target::{ATTEMPTS_MAX, Step, TargetId};
use crate::protocol::campaigns::task::PauseReason;

impl Fixture {
    async fn until_uncertain(&self, task: TaskId) {
        while !self.statuses(task).await.contains_key(&TargetStatus::Uncertain) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_never_comes_in_is_invited_a_few_times_and_has_failed_then() {
    let mut fixture = Fixture::new(2, 60).await;
    fixture.settings.caps.invite.per_hour = 50;
    fixture.messenger.world().unclear.insert(1);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 60).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let failed = (TargetStatus::Failed, Some(Reason::TooManyAttempts));
    assert_eq!(fixture.reasons(task).await[&1], failed);
    let times = fixture.messenger.times();
    assert!(times[&1] <= usize::from(ATTEMPTS_MAX), "{}", times[&1]);
    assert!((2..=60).all(|person| times[&person] == 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_which_nothing_is_known_is_not_sent_for_ever_and_waits_for_a_person() {
    let fixture = Fixture::new(1, 1).await;
    let lost = std::iter::repeat_n(Then::Say(Answer::NoAnswer), 100);
    fixture.messenger.next(Step::Send, lost);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 1).await;
    life.order(task, Wanted::Start).await.unwrap();
    // The breaker opens first, and somebody resumes it each time.
    for _ in 0..20 {
        until(&fixture, task, TaskStatus::Paused).await;
        if fixture.task(task).await.paused_because == Some(PauseReason::Unsettled) {
            break;
        }
        life.order(task, Wanted::Resume).await.unwrap();
    }
    assert_eq!(fixture.task(task).await.paused_because, Some(PauseReason::Unsettled));
    assert_eq!(fixture.targets(task).await[0].attempts, ATTEMPTS_MAX);
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Uncertain, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_group_that_says_nothing_of_somebody_is_asked_less_and_less_often() {
    let fixture = Fixture::new(2, 3).await;
    // Whoever comes first is the one.
    let unknown = (1..=3).map(|person| (person, Membership::Unknown));
    fixture.messenger.world().memberships.extend(unknown);
    fixture.messenger.next(Step::Invite, [Then::Lose]);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 3).await;
    life.order(task, Wanted::Start).await.unwrap();
    fixture.until_uncertain(task).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let asked: usize = fixture.messenger.world().memberships_asked.values().sum();
    assert!((6..=20).contains(&asked), "by two accounts, in an hour: {asked}");
    assert_eq!(fixture.task(task).await.status, TaskStatus::Running);
    // Then it tells.
    fixture.messenger.world().memberships.clear();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Invited, 3)].into());
    assert_eq!(fixture.messenger.times(), (1..=3).map(|id| (id, 1)).collect());
}

#[tokio::test(start_paused = true)]
async fn whoever_was_added_and_left_is_not_invited_there_by_another_task_either() {
    let fixture = Fixture::new(1, 2).await;
    fixture.messenger.world().memberships.insert(1, Membership::Left);
    fixture.messenger.next(Step::Invite, [Then::Lose]);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::InviteToGroup), 2).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let left = (TargetStatus::Refused, Some(Reason::OptedOutOfGroup));
    assert_eq!(fixture.reasons(task).await[&1], left);
    let request = TaskRequest {
        settings: Settings { ignore_recontact: true, ..Settings::default() },
        ..fixture.request(TaskType::InviteToGroup)
    };
    let again = fixture.draft(&life, request, 1).await;
    life.order(again, Wanted::Start).await.unwrap();
    until(&fixture, again, TaskStatus::Completed).await;
    let suppressed = (TargetStatus::Skipped, Some(Reason::Suppressed));
    assert_eq!(fixture.reasons(again).await[&1], suppressed);
}

/// It is settled with the text and in the group that it was tried with.
#[tokio::test(start_paused = true)]
async fn neither_text_nor_group_changes_while_it_is_not_known_what_came_of_somebody() {
    for task_type in [TaskType::SendMessages, TaskType::InviteToGroup] {
        let fixture = Fixture::new(1, 2).await;
        let step = match task_type {
            TaskType::SendMessages => Step::Send,
            TaskType::InviteToGroup => Step::Invite,
        };
        fixture.messenger.next(step, [Then::Lose]);
        let life = fixture.live().await;
        let task = fixture.draft(&life, fixture.request(task_type), 2).await;
        life.order(task, Wanted::Start).await.unwrap();
        fixture.until_uncertain(task).await;
        life.order(task, Wanted::Pause).await.unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
        let request = fixture.request(task_type);
        let other = TaskRequest {
            message_template: request.message_template.as_ref().map(|_| "Another".to_owned()),
            target_group_id: request.target_group_id.map(|_| MarkedId(-6)),
            ..request.clone()
        };
        let refused = life.edit(task, other.clone()).await.unwrap_err();
        assert_eq!(refused.code, Code::Conflict);
        assert!(refused.detail.contains("1 people"), "{}", refused.detail);
        let renamed = TaskRequest { title: "Another title".to_owned(), ..request };
        life.edit(task, renamed).await.unwrap();
        let given_up = life.bulk(task, BulkAction::GiveUp(vec![TargetId(0)])).await.unwrap();
        assert_eq!(given_up, 1);
        life.edit(task, other).await.unwrap();
    }
}

/// Whom a call has certainly not reached other tasks may contact.
#[tokio::test(start_paused = true)]
async fn whoever_was_not_reached_is_not_in_the_way_of_other_tasks() {
    let fixture = Fixture::new(1, 2).await;
    fixture.messenger.next(Step::Send, [Then::Say(Answer::Rejected)]);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 1).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let failed = (TargetStatus::Failed, Some(Reason::Rejected));
    assert_eq!(fixture.reasons(task).await[&1], failed);
    let again = fixture.draft(&life, fixture.request(TaskType::SendMessages), 2).await;
    life.order(again, Wanted::Start).await.unwrap();
    until(&fixture, again, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(again).await, [(TargetStatus::Sent, 2)].into());
}
