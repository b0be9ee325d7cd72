//! Whom a task is for: adding people, finding one of them, listing them by status or by a text.

use super::{Campaigns, TargetQuery, cursor};
use crate::actors::campaigns::book::NewTarget;
use crate::actors::campaigns::campaign::CampaignMsg;
use crate::actors::services::creations::gone;
use crate::protocol::answers::campaign::{Added, AddedTarget};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::block::{StatusPage, TargetBlock};
use crate::protocol::campaigns::creation::{CreationKey, Made};
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::target::{Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Task, TaskId};
use crate::protocol::users::owner::Caller;
use crate::protocol::values::page::Page;
use crate::store::{Reader, StoreError};

/// Pages of statuses that one page of targets passes over at the most.
const PAGES_MAX: u32 = 1_000;
/// Targets that are looked at for one page, when a text is looked for.
const LOOKED_AT_MAX: usize = if cfg!(test) { 20 } else { 5_000 };
/// Blocks that are read at a time to find somebody.
const BLOCKS_AT_ONCE: u32 = 256;

impl Campaigns {
    /// Adds people, each once, perhaps under an idempotency key for this `use_`. The flag tells that they were added
    /// before under it.
    pub(super) async fn add(
        &self,
        who: &Caller,
        id: TaskId,
        people: Vec<NewTarget>,
        (used_for, key): (&str, Option<CreationKey>),
    ) -> Result<(Added, bool), Refusal> {
        let (task, _) = self.find(who, id).await?;
        let creation = self.creations.begin(&who.user, &format!("{used_for}/{id}"), key).await?;
        if let Some(Made::Targets { accepted, duplicates, beyond, first }) = creation.made() {
            return Ok((Added { accepted, duplicates, beyond, first }, true));
        }
        let (who, record) = (who.clone(), creation.record());
        let message = |reply| CampaignMsg::Add { people, creation: record, who, reply };
        Ok((self.tell(&task.user, id, message).await?, false))
    }

    /// Adds one person, or finds them in the list.
    pub(super) async fn add_one(
        &self,
        who: &Caller,
        id: TaskId,
        person: NewTarget,
        key: Option<CreationKey>,
    ) -> Result<AddedTarget, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let identifier = person.identifier.clone();
        let (added, is_replayed) = self.add(who, id, vec![person], ("target", key)).await?;
        if added.beyond > 0 {
            let detail = "the task has no room for anybody more (campaign.max_targets)";
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let target = match added.first {
            Some(first) => {
                let block = self.block(&task, TargetBlock::of(first)).await?;
                block.and_then(|block| block.get(first).cloned())
            }
            None => self.named(&task, identifier).await?,
        };
        let target = target.ok_or_else(|| match is_replayed {
            true => gone("a target"),
            false => Refusal::new(Code::Conflict, "the target was removed in this very moment"),
        })?;
        Ok(AddedTarget { target, is_new: added.first.is_some(), is_replayed })
    }

    /// Somebody in the list, who may be anywhere in it: it is read in pieces.
    async fn named(&self, task: &Task, identifier: Identifier) -> Result<Option<Target>, Refusal> {
        let mut from = 0;
        loop {
            let (user, id, to) = (task.user.clone(), task.id, from + BLOCKS_AT_ONCE);
            let wanted = identifier.clone();
            let read = move |store: &Reader| {
                let blocks = store.target_blocks(&user, id, from..to)?;
                let is_over = blocks.is_empty();
                let mut targets = blocks.into_iter().flat_map(|block| block.targets);
                Ok((targets.find(|target| target.identifier == wanted), is_over))
            };
            match self.shared.reading(read).await? {
                (None, false) => from = to,
                (found, _) => return Ok(found),
            }
        }
    }

    /// A page of targets.
    pub(super) async fn page_of_targets(
        &self,
        who: &Caller,
        id: TaskId,
        query: TargetQuery,
    ) -> Result<Page<Target>, Refusal> {
        let (task, _) = self.find(who, id).await?;
        let after = cursor::<u32>(&query.page)?.map(TargetId);
        let (items, next) =
            self.shared.reading(move |store| targets(store, &task, &query, after)).await?;
        Ok(Page { items, next_cursor: next.map(|last| last.0.to_string()) })
    }
}

/// A page of targets, and the last one that was looked at, if there may be others behind it.
fn targets(
    store: &Reader,
    task: &Task,
    query: &TargetQuery,
    after: Option<TargetId>,
) -> Result<(Vec<Target>, Option<TargetId>), StoreError> {
    let limit = query.page.limit;
    let words = query.text.as_deref().map(|text| text.trim().to_lowercase());
    let most = if words.is_some() { LOOKED_AT_MAX } else { limit };
    let ids = ids_with(store, task, query.status, after, most + 1)?;
    let (mut found, mut last): (Vec<Target>, _) = (Vec::new(), None);
    let mut block: Option<TargetBlock> = None;
    for id in ids.iter().take(most) {
        let number = TargetBlock::of(*id);
        if block.as_ref().is_none_or(|block| block.number != number) {
            block = store.row::<TargetBlock>(&task.user, (task.id, number))?;
        }
        let target = block.as_ref().and_then(|block| block.get(*id));
        let is_wanted = |target: &&Target| words.as_ref().is_none_or(|words| target.holds(words));
        found.extend(target.filter(is_wanted).cloned());
        last = Some(*id);
        if found.len() == limit {
            break;
        }
    }
    let is_last = last == ids.last().copied();
    Ok((found, last.filter(|_| !is_last)))
}

/// Targets of a task, by their ids, which have a status if one is wanted.
fn ids_with(
    store: &Reader,
    task: &Task,
    status: Option<TargetStatus>,
    after: Option<TargetId>,
    limit: usize,
) -> Result<Vec<TargetId>, StoreError> {
    let first = after.map_or(0, StatusPage::of);
    let mut found = Vec::new();
    for number in first..first.saturating_add(PAGES_MAX) {
        let pages = store.status_pages(&task.user, task.id, number..number + 1)?;
        let Some(page) = pages.first() else { break };
        let wanted =
            page.statuses(after).filter(|(_, at)| status.is_none_or(|status| status == *at));
        found.extend(wanted.map(|(id, _)| id).take(limit - found.len()));
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}
