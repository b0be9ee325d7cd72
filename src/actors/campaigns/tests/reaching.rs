//! By whom people can be reached, and what becomes of those whom nobody can reach any more.

use super::messenger::Then;
use super::*;
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::campaigns::target::Step;
use crate::protocol::campaigns::task::PauseReason;

impl Fixture {
    fn knows_all(&self, account: AccountId, people: i64) {
        (1..=people).for_each(|person| self.messenger.knows(account, person));
    }

    async fn until_reached(&self, times: usize) {
        while self.messenger.world().reached.len() < times {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn why_paused(&self, task: TaskId) -> Option<PauseReason> {
        until(self, task, TaskStatus::Paused).await;
        self.task(task).await.paused_because
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_only_a_lost_account_knows_waits_for_it_and_has_not_failed() {
    for others in [0, 1] {
        let fixture = Fixture::new(1 + others, 8).await;
        let first = fixture.ids()[0];
        fixture.knows_all(first, 8);
        let life = fixture.live().await;
        let request = fixture.request(TaskType::SendMessages);
        let task = fixture.draft_by_id(&life, request, 8).await;
        life.order(task, Wanted::Start).await.unwrap();
        fixture.until_reached(2).await;
        fixture.messenger.world().gone.insert(first);
        assert_eq!(fixture.why_paused(task).await, Some(PauseReason::NoAccountLeft));
        let statuses = fixture.statuses(task).await;
        assert_eq!(statuses.get(&TargetStatus::Failed), None, "{statuses:?}");
        assert!(statuses[&TargetStatus::Pending] >= 5, "{statuses:?}");
        // The same after a restart, and when somebody resumes it too early.
        life.kill();
        let life = fixture.live().await;
        life.order(task, Wanted::Resume).await.unwrap();
        assert_eq!(fixture.why_paused(task).await, Some(PauseReason::NoAccountLeft));
        fixture.messenger.world().gone.clear();
        life.order(task, Wanted::Resume).await.unwrap();
        until(&fixture, task, TaskStatus::Completed).await;
        assert_eq!(fixture.messenger.times(), (1..=8).map(|id| (id, 1)).collect());
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_returns_in_time_goes_on_with_those_whom_it_alone_knows() {
    let fixture = Fixture::new(2, 30).await;
    let first = fixture.ids()[0];
    fixture.knows_all(first, 4);
    let life = fixture.live().await;
    let request = fixture.request(TaskType::SendMessages);
    let task = fixture.draft_by_id(&life, request, 4).await;
    let named = (5..=30)
        .map(|number| NewTarget { identifier: named(&format!("@person{number}")), details: None });
    life.add(task, named.collect()).await.unwrap();
    fixture.messenger.world().gone.insert(first);
    life.order(task, Wanted::Start).await.unwrap();
    fixture.until_reached(10).await;
    assert!(fixture.messenger.world().reached.iter().all(|reached| reached.person > 4));
    fixture.messenger.world().gone.clear();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.messenger.times(), (1..=30).map(|id| (id, 1)).collect());
    let world = fixture.messenger.world();
    let by = |person| world.reached.iter().find(|reached| reached.person == person).unwrap().by;
    assert!((1..=4).all(|person| by(person) == first));
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_last_account_is_lost_says_so_and_goes_on_when_it_is_back() {
    let fixture = Fixture::new(1, 6).await;
    let first = fixture.ids()[0];
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 6).await;
    life.order(task, Wanted::Start).await.unwrap();
    fixture.until_reached(2).await;
    fixture.messenger.world().gone.insert(first);
    assert_eq!(fixture.why_paused(task).await, Some(PauseReason::NoAccountLeft));
    fixture.messenger.world().gone.clear();
    life.order(task, Wanted::Resume).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.messenger.times(), (1..=6).map(|id| (id, 1)).collect());
}

#[tokio::test(start_paused = true)]
async fn what_an_account_had_of_somebody_and_is_out_of_date_is_looked_up_again() {
    let fixture = Fixture::new(1, 3).await;
    fixture.messenger.next(Step::Send, [Then::Say(Answer::UnknownPeer)]);
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 3).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Sent, 3)].into());
    assert_eq!(fixture.messenger.world().lookups.len(), 4);
    // An id alone cannot be looked up.
    fixture.messenger.next(Step::Send, [Then::Say(Answer::UnknownPeer)]);
    fixture.knows_all(fixture.ids()[0], 3);
    let request = TaskRequest {
        settings: Settings { ignore_recontact: true, ..Settings::default() },
        ..fixture.request(TaskType::SendMessages)
    };
    let task = fixture.draft_by_id(&life, request, 1).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let failed = (TargetStatus::Failed, Some(Reason::UnknownPeer));
    assert_eq!(fixture.reasons(task).await[&1], failed);
}

#[tokio::test(start_paused = true)]
async fn a_contact_has_a_name_and_is_invited_by_whose_contact_they_are() {
    let fixture = Fixture::new(3, 6).await;
    fixture.ids().into_iter().for_each(|account| fixture.knows_all(account, 6));
    let world = || fixture.messenger.world();
    world().memberships.insert(2, Membership::Left);
    world().members.insert(3);
    let life = fixture.live().await;
    let request = TaskRequest {
        settings: Settings { add_contacts: true, ..Settings::default() },
        ..fixture.request(TaskType::InviteToGroup)
    };
    let task = fixture.draft_by_id(&life, request, 6).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let reasons = fixture.reasons(task).await;
    assert_eq!(reasons[&2], (TargetStatus::Refused, Some(Reason::OptedOutOfGroup)));
    assert_eq!(reasons[&3], (TargetStatus::Skipped, Some(Reason::AlreadyMember)));
    let added: Vec<(AccountId, i64)> =
        world().contacts.iter().map(|(by, who)| (*by, who.id)).collect();
    let invited: Vec<(AccountId, i64)> =
        world().reached.iter().map(|reached| (reached.by, reached.person)).collect();
    assert_eq!(invited.len(), 4, "{reasons:?}");
    let (mut both, mut own) = (added.clone(), invited);
    both.sort_unstable();
    own.sort_unstable();
    assert_eq!(both, own, "neither who left nor who is there was added, and nobody twice");
    let is_named = |(_, who): &(AccountId, super::super::platform::Person)| {
        who.first_name.as_ref().is_some_and(|name| !name.trim().is_empty())
    };
    assert!(world().contacts.iter().all(is_named));
}

#[tokio::test(start_paused = true)]
async fn who_has_no_link_to_give_goes_on_inviting() {
    let fixture = Fixture::new(2, 8).await;
    fixture.messenger.world().refusing.insert(2);
    fixture.messenger.world().is_without_link = true;
    let life = fixture.live().await;
    let request = TaskRequest {
        settings: Settings { link_fallback: true, ..Settings::default() },
        ..fixture.request(TaskType::InviteToGroup)
    };
    let task = fixture.draft(&life, request, 8).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let expected = [(TargetStatus::Invited, 7), (TargetStatus::Refused, 1)];
    assert_eq!(fixture.statuses(task).await, expected.into());
    assert!(fixture.run_now(task).await.out.is_empty());
}

/// Names that a list does not have, and the messenger does.
#[tokio::test(start_paused = true)]
async fn whoever_refuses_under_a_name_that_only_the_messenger_knows_is_not_contacted() {
    use crate::actors::campaigns::context::Refused;
    use crate::protocol::campaigns::respect::{Covers, KnownAs, Source};

    let fixture = Fixture::new(1, 3).await;
    let phone = Identifier::Phone(79_991_234_567);
    let by_second_name = vec![named("@person1"), named("@second_name")];
    fixture.messenger.world().people.get_mut(&1).unwrap().names = by_second_name;
    fixture.messenger.world().people.get_mut(&2).unwrap().names = vec![phone.clone()];
    let life = fixture.live().await;
    let refused = Refused {
        covers: Covers::Everything,
        group: None,
        source: Source::Manual,
        is_doubtful: false,
    };
    for name in [named("@second_name"), phone] {
        let refusals = life.context.put_refusals(&ann(), &refused, &KnownAs::named(&name));
        fixture.environment.store.commit(refusals).await.unwrap();
    }
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 3).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let suppressed = (TargetStatus::Skipped, Some(Reason::Suppressed));
    let reasons = fixture.reasons(task).await;
    assert_eq!((reasons[&1], reasons[&2]), (suppressed, suppressed));
    assert_eq!(fixture.messenger.times(), [(3, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn links_are_counted_from_the_first_that_was_sent() {
    let fixture = Fixture::new(1, 4).await;
    fixture.messenger.world().refusing.extend([1, 2]);
    fixture.messenger.world().link_uses.joined = 40;
    let life = fixture.live().await;
    let request = TaskRequest {
        settings: Settings { link_fallback: true, ..Settings::default() },
        ..fixture.request(TaskType::InviteToGroup)
    };
    let task = fixture.draft(&life, request, 4).await;
    life.order(task, Wanted::Start).await.unwrap();
    until(&fixture, task, TaskStatus::Completed).await;
    let links = fixture.run_now(task).await.links;
    assert_eq!(links.len(), 1, "one an account: {links:?}");
    assert!(links[0].joined_before == 40 && links[0].is("https://t.me/+abc"));
    let world = fixture.messenger.world();
    let sent = world.reached.iter().filter(|reached| reached.text.contains("t.me/+abc"));
    assert_eq!(sent.count(), 2);
}
