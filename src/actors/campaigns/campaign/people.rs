//! Whom a campaign is for: people are added, changed and removed while it is a draft or paused.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::{CampaignMsg, CampaignState};
use crate::actors::campaigns::book::NewTarget;
use crate::actors::tree::actor::ActorRef;
use crate::actors::tree::calling::broken;
use crate::failpoint;
use crate::protocol::answers::campaign::Added;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::creation::{CreationRecord, Made};
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::import::ImportRecord;
use crate::protocol::campaigns::target::{Details, Reason, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Order, TaskStatus};
use crate::protocol::users::owner::Caller;
use crate::protocol::values::fingerprint::Fingerprint;
use crate::store::{Op, Reader};

/// Blocks that are read at a time.
const BLOCKS_AT_ONCE: u32 = 256;
/// How long such a piece may take.
const READ_MAX: Duration = Duration::from_secs(30);
/// Targets that one bulk action names, at most.
pub const BULK_MAX: usize = 1_000;

/// What one target is to be.
#[derive(Clone, Debug)]
pub struct TargetEdit {
    /// Which one.
    pub id: TargetId,
    /// Who it is; `None`: as before.
    pub identifier: Option<Identifier>,
    /// What is known of them; `None`: as before.
    pub details: Option<Details>,
    /// Only if this is its [`Target::version`].
    pub version: Option<u64>,
}

/// What is to be done with some targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BulkAction {
    /// They are removed.
    Remove(Vec<TargetId>),
    /// They are not contacted: `skipped`.
    Skip(Vec<TargetId>),
    /// What failed for reasons that pass is tried again.
    Retry(Vec<TargetId>),
    /// Only a person can settle them, and says that they were not reached.
    GiveUp(Vec<TargetId>),
}

impl BulkAction {
    fn targets(&self) -> &[TargetId] {
        let (Self::Remove(ids) | Self::Skip(ids) | Self::Retry(ids) | Self::GiveUp(ids)) = self;
        ids
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Remove(_) => "campaign.targets.remove",
            Self::Skip(_) => "campaign.targets.skip",
            Self::Retry(_) => "campaign.targets.retry",
            Self::GiveUp(_) => "campaign.targets.give_up",
        }
    }
}

impl CampaignState {
    /// Adds people, each once.
    pub(super) async fn add(
        &mut self,
        people: Vec<NewTarget>,
        creation: Option<Box<CreationRecord>>,
        who: &Caller,
    ) -> Result<Added, Refusal> {
        let audit = self.audit(who, "campaign.targets.add");
        let record = creation.clone();
        let created =
            |added: &Added| record.map(|record| Op::put_row(&record.whole(made_of(added))));
        let noted = |_, added: &Added| std::iter::once(audit).chain(created(added)).collect();
        let added = self.add_with(people, noted).await?;
        if let Some(record) = creation.filter(|_| added.accepted == 0) {
            // Nothing was written; under its key it is told the same again.
            self.commit(vec![Op::put_row(&record.whole(made_of(&added)))]).await?;
        }
        Ok(added)
    }

    /// Adds a piece of an import, and notes in the same commit which targets it made.
    pub(super) async fn import(
        &mut self,
        people: Vec<NewTarget>,
        import: &mut ImportRecord,
        who: &Caller,
    ) -> Result<Added, Refusal> {
        // One line of the audit log for all of its pieces.
        let is_first = import.accepted == 0;
        let audit = is_first.then(|| self.audit(who, "campaign.import"));
        let noted = |first, added: &Added| {
            import.made(first, u32::try_from(added.accepted).unwrap_or(u32::MAX));
            import.accepted += added.accepted;
            std::iter::once(Op::put_row(import)).chain(audit).collect()
        };
        self.add_with(people, noted).await
    }

    /// Adds people, with what `noted` says beside of the first one's id and of how many they are.
    async fn add_with(
        &mut self,
        people: Vec<NewTarget>,
        noted: impl FnOnce(TargetId, &Added) -> Vec<Op>,
    ) -> Result<Added, Refusal> {
        self.may_be_edited()?;
        self.read_listed().await?;
        let room = u64::from(self.context.settings.targets_max);
        let mut room = room.saturating_sub(self.run.statistics.total());
        let mut added = Added::default();
        let mut fresh = Vec::new();
        if let Some(listed) = &mut self.listed {
            for person in people {
                match listed.insert(fingerprint(&person.identifier)) {
                    false => added.duplicates += 1,
                    true if room == 0 => {
                        listed.remove(&fingerprint(&person.identifier));
                        added.beyond += 1;
                    }
                    true => {
                        room -= 1;
                        fresh.push(person);
                    }
                }
            }
        }
        added.accepted = fresh.len() as u64;
        if fresh.is_empty() {
            return Ok(added);
        }
        let (first, last) = (self.book.next(), self.book.blocks().saturating_sub(1));
        added.first = Some(first);
        self.hold(last).await?;
        let mut ops = self.book.add(fresh, &mut self.run);
        self.book.release(last);
        ops.push(Op::put_row(&self.run));
        ops.extend(noted(first, &added));
        // Should it not become durable the store has failed, and everything ends with it.
        failpoint::reach("campaign.targets.before");
        self.commit(ops).await?;
        failpoint::reach("campaign.targets.after");
        self.show();
        Ok(added)
    }

    /// Changes one that waits.
    pub(super) async fn edit_target(
        &mut self,
        edit: TargetEdit,
        who: &Caller,
    ) -> Result<Target, Refusal> {
        self.may_be_edited()?;
        let TargetEdit { id, identifier, details, version } = edit;
        let number = TargetBlock::of(id);
        self.hold(number).await?;
        let found = self.book.target(id).map(|target| (target.status, target.version()));
        let refusal = match found {
            None => Some(Refusal::not_found("target")),
            Some((_, now)) if version.is_some_and(|version| version != now) => Some(Refusal::new(
                Code::PreconditionFailed,
                "the target has changed since you read it (If-Match): read it again, and then change it",
            )),
            Some((TargetStatus::Pending, _)) => None,
            Some(_) => Some(Refusal::new(
                Code::Conflict,
                "the target is not pending: what was tried, or refused, stays as it is",
            )),
        };
        if let Some(refusal) = refusal {
            self.book.release(number);
            return Err(refusal);
        }
        if let Some(identifier) = &identifier {
            self.read_listed().await?;
            let is_new =
                self.listed.as_mut().is_none_or(|listed| listed.insert(fingerprint(identifier)));
            let is_own =
                self.book.target(id).is_some_and(|target| target.identifier == *identifier);
            if !is_new && !is_own {
                self.book.release(number);
                let detail = "another target of this task has that identifier";
                return Err(Refusal::new(Code::Conflict, detail));
            }
        }
        let before = self.book.target(id).map(|target| fingerprint(&target.identifier));
        let is_other = identifier.is_some();
        let changed = self.book.change(id, &mut self.run, |target| {
            if let Some(identifier) = identifier {
                // Whoever it was known to be, it is somebody else now.
                let fresh = Target::new(id, identifier, target.details.take().map(|known| *known));
                *target = fresh;
            }
            if let Some(details) = details {
                let known = target.details.take().map(|known| *known).unwrap_or_default();
                let details = known.with(details);
                target.details = (details != Details::default()).then(|| Box::new(details));
            }
            Ok::<_, std::convert::Infallible>(target.clone())
        });
        self.book.release(number);
        let Ok((target, mut ops)) = changed else { return Err(Refusal::not_found("target")) };
        let after = fingerprint(&target.identifier);
        if let (true, Some(listed), Some(before)) = (is_other, &mut self.listed, before)
            && before != after
        {
            // Whoever was meant before may be added again.
            listed.remove(&before);
        }
        ops.push(Op::put_row(&self.run));
        ops.push(self.audit(who, "campaign.targets.edit"));
        self.commit(ops).await?;
        Ok(target)
    }

    /// Does the same with some targets; those for which it does not fit are passed over. Answers for how many it did.
    pub(super) async fn bulk(
        &mut self,
        myself: &ActorRef<CampaignMsg>,
        action: BulkAction,
        who: &Caller,
    ) -> Result<u64, Refusal> {
        let is_retry = matches!(action, BulkAction::Retry(_));
        let is_over = self.task.status == TaskStatus::Completed && is_retry;
        let gives_up = matches!(action, BulkAction::GiveUp(_));
        let is_left = gives_up && self.task.status == TaskStatus::Cancelled;
        if !is_over && !is_left {
            self.may_be_edited()?;
        }
        if action.targets().len() > BULK_MAX {
            let text = format!("names more than {BULK_MAX}; send them in pieces");
            return Err(Refusal::field("target_ids", text));
        }
        let blocks: BTreeSet<u32> = action.targets().iter().copied().map(TargetBlock::of).collect();
        // All of them first, so that nothing has changed where one cannot be read.
        self.hold_all(&blocks).await?;
        let (mut done, mut ops) = (0, Vec::new());
        for id in action.targets() {
            if let Some(changes) = self.bulk_one(&action, *id) {
                done += 1;
                ops.extend(changes);
            }
        }
        blocks.iter().for_each(|number| self.book.release(*number));
        if done == 0 {
            return Ok(0);
        }
        ops.push(Op::put_row(&self.run));
        ops.push(self.audit(who, action.name()));
        if is_over {
            // In one commit: a task that is over has nobody left.
            let reopened = self.follow(myself, Order::Reopen, ops).await;
            reopened.map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
        } else {
            self.commit(ops).await?;
        }
        self.show();
        Ok(done)
    }

    /// Holds blocks, all or none.
    async fn hold_all(&mut self, blocks: &BTreeSet<u32>) -> Result<(), Refusal> {
        for (at, number) in blocks.iter().enumerate() {
            if let Err(refusal) = self.hold(*number).await {
                blocks.iter().take(at).for_each(|held| self.book.release(*held));
                return Err(refusal);
            }
        }
        Ok(())
    }

    fn bulk_one(&mut self, action: &BulkAction, id: TargetId) -> Option<Vec<Op>> {
        let status = self.book.status(id)?;
        if self.acting.contains_key(&id) {
            return None;
        }
        match action {
            // What was tried stays in the report.
            BulkAction::Remove(_) if status == TargetStatus::Pending => {
                let (target, ops) = self.book.remove(id, &mut self.run)?;
                if let Some(listed) = &mut self.listed {
                    listed.remove(&fingerprint(&target.identifier));
                }
                Some(ops)
            }
            BulkAction::Skip(_) if status == TargetStatus::Pending => {
                Some(self.become_status(id, TargetStatus::Skipped, Some(Reason::LeftOut)))
            }
            // Never what may have reached somebody.
            BulkAction::Retry(_)
                if matches!(status, TargetStatus::Failed | TargetStatus::Skipped) =>
            {
                let ops = self.become_status(id, TargetStatus::Pending, None);
                (!ops.is_empty()).then_some(ops)
            }
            BulkAction::GiveUp(_) if status == TargetStatus::Uncertain => {
                self.beyond.remove(&id);
                Some(self.become_status(id, TargetStatus::Failed, Some(Reason::Unsettled)))
            }
            _ => None,
        }
    }

    fn may_be_edited(&self) -> Result<(), Refusal> {
        if self.task.status.may_be_edited() {
            return Ok(());
        }
        let detail = "whom a task is for changes in draft and paused tasks only: pause it first";
        Err(Refusal::new(Code::Conflict, detail))
    }

    /// Holds a block, which is read where it is not known. Where there is none it is empty.
    pub(super) async fn hold(&mut self, number: u32) -> Result<(), Refusal> {
        if self.book.hold(number) {
            return Ok(());
        }
        let (user, task) = (self.task.user.clone(), self.task.id);
        let read = move |store: &Reader| store.row::<TargetBlock>(&user, (task, number));
        match self.context.store.read(read).await {
            Ok(block) => {
                block.into_iter().for_each(|block| self.book.read(block));
                Ok(())
            }
            Err(error) => {
                self.book.release(number);
                Err(broken(&error))
            }
        }
    }

    /// Knows who is in the list.
    async fn read_listed(&mut self) -> Result<(), Refusal> {
        if self.listed.is_some() {
            return Ok(());
        }
        let (mut listed, mut from) = (HashSet::new(), 0);
        while from < self.book.blocks() {
            let (user, task, to) = (self.task.user.clone(), self.task.id, from + BLOCKS_AT_ONCE);
            let read = move |store: &Reader| {
                let blocks = store.target_blocks(&user, task, from..to)?;
                let targets = blocks.iter().flat_map(|block| &block.targets);
                Ok(targets.map(|target| fingerprint(&target.identifier)).collect::<Vec<_>>())
            };
            let read = self.context.store.read_within(READ_MAX, read).await;
            listed.extend(read.map_err(|error| broken(&error))?);
            from = to;
        }
        self.listed = Some(listed);
        Ok(())
    }
}

/// What was made, as it is kept under an idempotency key.
fn made_of(added: &Added) -> Made {
    let Added { accepted, duplicates, beyond, first } = *added;
    Made::Targets { accepted, duplicates, beyond, first }
}

/// Tells two people of a list apart, in little room.
pub(in crate::actors) fn fingerprint(identifier: &Identifier) -> u128 {
    let Fingerprint(whole) = Fingerprint::of([identifier.to_string().as_bytes()]);
    whole.first_chunk::<16>().map_or(0, |half| u128::from_be_bytes(*half))
}
