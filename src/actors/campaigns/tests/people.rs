//! Whom a campaign is for, over the lives of its actor.

use super::*;
use crate::actors::campaigns::campaign::{BulkAction, TargetEdit};
use crate::protocol::answers::refusal::Code;
use crate::protocol::campaigns::target::{Details, TargetId};

impl Life {
    async fn remove(&self, task: TaskId, ids: std::ops::Range<u32>) -> u64 {
        let action = BulkAction::Remove(ids.map(TargetId).collect());
        let (reply, answer) = oneshot::channel();
        self.tell(task, CampaignMsg::Bulk { action, who: who(), reply: reply.into() });
        answer.await.unwrap().unwrap()
    }
}

/// What happened: after the last page of statuses was emptied, the next life began to count from 0 again, and wrote
/// over the first people.
#[tokio::test(start_paused = true)]
async fn ids_of_removed_people_are_not_used_again_in_another_life() {
    let mut fixture = Fixture::new(1, 1).await;
    fixture.settings.targets_max = 2_000;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 1_030).await;
    assert_eq!(life.remove(task, 1_020..1_030).await, 10);
    life.kill();
    let life = fixture.live().await;
    let newcomer = NewTarget { identifier: named("@newcomer"), details: None };
    assert_eq!(life.add(task, vec![newcomer]).await.unwrap().accepted, 1);
    let targets = fixture.targets(task).await;
    let ids: Vec<u32> = targets.iter().map(|target| target.id.0).collect();
    assert_eq!(ids, (0..1_020).chain([1_030]).collect::<Vec<_>>());
    assert_eq!(targets[0].identifier, named("@person1"));
    assert_eq!(fixture.statuses(task).await, [(TargetStatus::Pending, 1_021)].into());
}

#[tokio::test(start_paused = true)]
async fn who_was_changed_meanwhile_is_not_changed_by_somebody_who_saw_them_before() {
    let fixture = Fixture::new(1, 2).await;
    let life = fixture.live().await;
    let task = fixture.draft(&life, fixture.request(TaskType::SendMessages), 1).await;
    let seen = fixture.targets(task).await[0].version();
    let edit = async |name: &str, version| {
        let (reply, answer) = oneshot::channel();
        let details = Some(Details { first_name: Some(name.into()), ..Details::default() });
        let edit = Box::new(TargetEdit { id: TargetId(0), identifier: None, details, version });
        life.tell(task, CampaignMsg::EditTarget { edit, who: who(), reply: reply.into() });
        answer.await.unwrap()
    };
    let changed = edit("Ann", Some(seen)).await.unwrap();
    let refused = edit("Bob", Some(seen)).await.unwrap_err();
    assert_eq!(refused.code, Code::PreconditionFailed, "{refused:?}");
    assert_eq!(fixture.targets(task).await[0], changed);
    edit("Bob", Some(changed.version())).await.unwrap();
    edit("Eve", None).await.unwrap();
}
