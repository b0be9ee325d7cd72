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
    /// The same, and more is known of who refuses: who is about to be contacted is looked at again.
    Learnt,
    /// The account is out of the task.
    Out,
    /// Nobody can be added to the group, by no account.
    Full,
    /// The group is another one now: the campaign begins anew there.
    Moved,
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
        let formerly = self.run.former_group;
        let is_out = match &told.found {
            Some(group) if self.has_moved(group) => return Heeded::Moved,
            Some(group) if group.is_full => return Heeded::Full,
            Some(group) => {
                self.run.former_group = group.formerly.or(formerly);
                self.seen_group.insert(account);
                !group.may_invite
            }
            None => told.answer == Answer::NoRights,
        };
        if is_out {
            if !self.run.out.contains(&account) {
                tracing::warn!(campaign = %self.task.id, %account, code = told.code, "an account may not invite to the group of its campaign; it is left out until the campaign is resumed");
                self.run.out.push(account);
            }
            return Heeded::Out;
        }
        if self.run.former_group == formerly { Heeded::Fine } else { Heeded::Learnt }
    }

    /// Follows the group, if it has become another one.
    fn has_moved(&mut self, group: &Group) -> bool {
        let is_elsewhere = group.moved_to.is_some() && group.moved_to != self.task.target_group_id;
        if is_elsewhere {
            tracing::info!(campaign = %self.task.id, "the group of a campaign has become a supergroup; the campaign follows it");
            self.run.former_group = group.formerly.or(self.task.target_group_id);
            self.task.target_group_id = group.moved_to;
            self.run.links.clear();
            self.task.revision += 1;
        }
        is_elsewhere
    }

    /// Writes down what was heeded of the group, and goes on accordingly.
    pub(super) async fn go_where_the_group_is(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        account: AccountId,
        heeded: Heeded,
    ) -> Result<(), ActorProcessingErr> {
        if heeded == Heeded::Fine {
            return Ok(());
        }
        let mut ops = vec![Op::put_row(&self.run)];
        if heeded == Heeded::Moved {
            ops.push(Op::update_row(&self.task));
        }
        self.submit(ops).await?;
        match heeded {
            Heeded::Fine | Heeded::Learnt => Ok(()),
            Heeded::Moved => {
                self.show();
                self.leave();
                self.open(myself);
                Ok(())
            }
            Heeded::Full => {
                self.follow(myself, Order::Pause(PauseReason::GroupFull), Vec::new()).await
            }
            Heeded::Out => {
                let left = AllocatorMsg::AccountLeft { task: self.task.id, account };
                let _ = self.allocator.cast(left);
                self.pause_without_accounts(myself).await
            }
        }
    }

    /// Pauses it when no account is left that may act in the group.
    pub(super) async fn pause_without_accounts(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let is_left = |account: AccountId| !self.gone.contains(&account);
        if self.run.accounts(&self.task).any(is_left) {
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
        let mut is_changed = false;
        for (account, told) in rights {
            match self.heed_rights(account, &told) {
                Heeded::Fine => {}
                Heeded::Learnt | Heeded::Out => is_changed = true,
                heeded @ (Heeded::Moved | Heeded::Full) => {
                    return self.go_where_the_group_is(myself, account, heeded).await;
                }
            }
        }
        if is_changed {
            self.submit(vec![Op::put_row(&self.run)]).await?;
        }
        self.pause_without_accounts(myself).await
    }
}
