//! Where a campaign invites people to: what its accounts may do there, asked before each acts there first, and what the
//! group was and has become.

use super::{CampaignMsg, CampaignState};
use crate::actors::campaigns::allocator::AllocatorMsg;
use crate::actors::campaigns::platform::{Group, Told};
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::choose::Action;
use crate::protocol::campaigns::target::Step;
use crate::protocol::campaigns::task::{Order, PauseReason};
use crate::protocol::telegram::chat::{MarkedId, PeerKind};
use crate::protocol::users::owner::AccountId;
use crate::store::Op;

/// What follows from what an account was told of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heeded {
    /// The account may act there, or nothing is known.
    Fine,
    /// It is not the group that it was taken to be: all is looked at again.
    Changed,
    /// The account is out of the task.
    Out,
}

/// Whether an answer to a step in a group may mean that the group has moved. Which names Telegram has for that depends
/// on the call; supergroups and channels do not move.
pub(super) fn may_have_moved(group: MarkedId, answer: Answer) -> bool {
    let is_like_it = matches!(answer, Answer::NoRights | Answer::UnknownPeer | Answer::Rejected);
    is_like_it && group.kind() == PeerKind::Group
}

impl CampaignState {
    /// The group that the account of `action` has to be asked about first.
    pub(super) fn unseen_group(&self, action: Action) -> Option<MarkedId> {
        let leads_there = matches!(action.step, Step::Invite | Step::SendLink);
        let is_unseen = leads_there && !self.seen_group.contains(&action.account);
        self.task.target_group_id.filter(|_| is_unseen)
    }

    /// Takes note of what an account was told of the group. What has changed is written by
    /// [`CampaignState::go_where_the_group_is`].
    pub(super) fn heed_rights(&mut self, account: AccountId, told: &Told<Group>) -> Heeded {
        let is_changed = told.found.as_ref().is_some_and(|group| self.learn_group(group));
        if is_changed {
            return Heeded::Changed;
        }
        let is_out = match &told.found {
            Some(group) => !group.may_invite,
            None => told.answer == Answer::NoRights,
        };
        if told.found.is_some() {
            self.seen_group.insert(account);
        }
        if !is_out {
            return Heeded::Fine;
        }
        if !self.run.out.contains(&account) {
            tracing::warn!(campaign = %self.task.id, %account, code = told.code, "an account may not invite to the group of its campaign; it is left out until the campaign is resumed");
            self.run.out.push(account);
        }
        Heeded::Out
    }

    /// Answers whether the group is another than it was taken to be: it has moved, or was one before that some refuse.
    fn learn_group(&mut self, group: &Group) -> bool {
        let (moved, formerly) = (group.moved_to, group.formerly);
        let is_elsewhere = moved.is_some() && moved != self.task.target_group_id;
        let is_known = formerly.is_none() || formerly == self.run.former_group;
        if is_elsewhere {
            tracing::info!(campaign = %self.task.id, "the group of a campaign has become a supergroup; the campaign follows it");
            self.task.target_group_id = moved;
            self.task.revision += 1;
        }
        self.run.former_group = formerly.or(self.run.former_group);
        is_elsewhere || !is_known
    }

    /// Writes down what was heeded of the group, and goes on accordingly.
    pub(super) async fn go_where_the_group_is(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        account: AccountId,
        heeded: Heeded,
    ) -> Result<(), ActorProcessingErr> {
        match heeded {
            Heeded::Fine => Ok(()),
            Heeded::Changed => {
                self.submit(vec![Op::update_row(&self.task), Op::put_row(&self.run)]).await?;
                self.show();
                self.leave();
                self.open(myself);
                Ok(())
            }
            Heeded::Out => {
                self.submit(vec![Op::put_row(&self.run)]).await?;
                let left = AllocatorMsg::AccountLeft { task: self.task.id, account };
                let _ = self.allocator.cast(left);
                self.pause_without_accounts(myself).await
            }
        }
    }

    /// Pauses it when no account is left that may act in the group.
    async fn pause_without_accounts(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
    ) -> Result<(), ActorProcessingErr> {
        if self.run.accounts(&self.task).next().is_some() {
            return Ok(());
        }
        self.follow(myself, Order::Pause(PauseReason::NoAccountLeft), Vec::new()).await
    }

    /// What all accounts were told of the group before the campaign begins.
    pub(super) async fn take_rights(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        rights: Vec<(AccountId, Told<Group>)>,
    ) -> Result<(), ActorProcessingErr> {
        for (account, told) in rights {
            if self.heed_rights(account, &told) == Heeded::Changed {
                return self.go_where_the_group_is(myself, account, Heeded::Changed).await;
            }
        }
        self.pause_without_accounts(myself).await
    }
}
