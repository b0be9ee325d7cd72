//! Lists of who is never contacted: a user's own, and the installation's, which is for admins. An entry is what people
//! see; the refusal beside it is what campaigns look up. Both are one commit, announced before it, so that no action
//! that is about to be taken passes it over. An entry is told of only as long as its refusal holds.

use std::sync::Arc;

use async_trait::async_trait;

use super::Shared;
use super::creations::{Creation, Creations, gone};
use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::tree::keyed_lock::KeyedLock;
use crate::protocol::answers::refusal::{Code, Refusal as Refused};
use crate::protocol::answers::suppression::{Suppressed, SuppressionCheck};
use crate::protocol::campaigns::creation::{CreationKey, Made};
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::respect::{
    Covers, KnownAs, Lifting, List, ListTag, Refusal, Source, Suppression, SuppressionId,
    SuppressionKey, may_be_lifted,
};
use crate::protocol::users::owner::{Caller, Role};
use crate::protocol::values::page::{Page, PageQuery};
use crate::store::{Op, Reader, SharedRow, StoreError};

/// Entries that are looked at for one page.
const LOOKED_AT_MAX: usize = if cfg!(test) { 5 } else { 1_000 };
/// Refusals of one identifier that are told of.
const CHECKED_MAX: usize = 100;

/// Which list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SuppressionList {
    /// The caller's own.
    #[default]
    Own,
    /// Everybody's; for admins.
    Installation,
}

/// Which entries are listed.
#[derive(Clone, Debug, Default)]
pub struct SuppressionQuery {
    /// Of which list.
    pub list: SuppressionList,
    /// Only those that come from there.
    pub source: Option<Source>,
    /// Which page.
    pub page: PageQuery,
}

/// Somebody who is never to be contacted.
#[derive(Clone, Debug)]
pub struct NewSuppression {
    /// Who.
    pub identifier: Identifier,
    /// What is refused.
    pub covers: Covers,
    /// They asked to be erased: only a key is kept of them.
    pub is_erased: bool,
}

/// What came of putting somebody on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressions {
    /// Those who were not on the list.
    pub accepted: u64,
    /// Those who were.
    pub duplicates: u64,
    /// Whether it was done before under the same idempotency key.
    pub is_replayed: bool,
}

/// Lists of who is never contacted.
#[async_trait]
pub trait SuppressionService: Send + Sync + 'static {
    /// Entries, the newest first. A page may hold fewer than were asked for and go on.
    async fn list(
        &self,
        who: &Caller,
        query: SuppressionQuery,
    ) -> Result<Page<Suppression>, Refused>;
    /// Puts somebody on a list, or finds the entry that refuses as much already.
    async fn add(
        &self,
        who: &Caller,
        list: SuppressionList,
        entry: NewSuppression,
        key: Option<CreationKey>,
    ) -> Result<Suppressed, Refused>;
    /// Puts many on a list.
    async fn import(
        &self,
        who: &Caller,
        list: SuppressionList,
        identifiers: Vec<Identifier>,
        key: Option<CreationKey>,
    ) -> Result<Suppressions, Refused>;
    /// Lifts a refusal, for a reason that the audit log keeps.
    async fn remove(
        &self,
        who: &Caller,
        list: SuppressionList,
        id: SuppressionId,
        reason: String,
    ) -> Result<(), Refused>;
    /// Whether campaigns of the caller may contact somebody, as far as the lists say.
    async fn check(
        &self,
        who: &Caller,
        identifier: Identifier,
    ) -> Result<Vec<SuppressionCheck>, Refused>;
}

/// The service on a tree.
pub(super) struct SuppressionLists {
    shared: Shared,
    context: Arc<CampaignsContext>,
    creations: Creations,
    /// One change of a list at a time.
    locks: KeyedLock<ListTag>,
}

impl SuppressionLists {
    pub(super) fn new(
        shared: Shared,
        context: Arc<CampaignsContext>,
        creations: Creations,
    ) -> Self {
        Self { shared, context, creations, locks: KeyedLock::default() }
    }

    /// The list as it is named in the store.
    fn list_of(&self, who: &Caller, list: SuppressionList) -> Result<List, Refused> {
        match list {
            SuppressionList::Own => Ok(List::User(who.user.clone())),
            SuppressionList::Installation if who.role == Role::Admin => Ok(List::Installation),
            SuppressionList::Installation => {
                let detail = "there is no such list for you; leave scope out for your own";
                Err(Refused::new(Code::NotFound, detail))
            }
        }
    }

    fn tag_of(&self, list: &List) -> ListTag {
        ListTag::of(self.context.installation_key(), list)
    }

    fn key_of(&self, identifier: &Identifier) -> SuppressionKey {
        SuppressionKey::of(self.context.installation_key(), identifier)
    }

    fn entry(&self, list: &List, new: NewSuppression, source: Source) -> Suppression {
        let NewSuppression { identifier, covers, is_erased } = new;
        let mut entry = Suppression {
            id: SuppressionId(self.context.new_id()),
            key: self.key_of(&identifier),
            list: list.clone(),
            covers,
            group: None,
            source,
            is_doubtful: false,
            since: self.context.now(),
            identifier: Some(identifier),
        };
        if is_erased {
            entry.erase();
        }
        entry
    }

    /// What writes an entry with its refusal.
    fn writes(&self, entry: &Suppression) -> [Op; 2] {
        Op::refuse(entry, self.context.installation_key())
    }

    fn audit(&self, who: &Caller, action: &str, on: impl ToString) -> Op {
        Op::Audit(self.shared.audit_event(who, &who.user, action, on))
    }

    /// An entry, as long as its refusal holds.
    async fn standing(
        &self,
        list: &List,
        id: SuppressionId,
    ) -> Result<Option<Suppression>, Refused> {
        let (list, key) = (list.clone(), *self.context.installation_key());
        let read = move |store: &Reader| {
            let Some(entry) = store.suppression(&list, id)? else { return Ok(None) };
            Ok(holds(store, &entry, &key)?.then_some(entry))
        };
        self.shared.reading(read).await
    }

    /// The refusal of an entry as it stands, whichever entry tells of it.
    async fn refusal_of(&self, entry: &Suppression) -> Result<Option<Refusal>, Refused> {
        let id = entry.refusal(self.context.installation_key()).id();
        self.shared.reading(move |store| store.shared_row::<Refusal>(id)).await
    }

    /// What stands on a list under a key, with its entries.
    async fn under(&self, list: &List, key: SuppressionKey) -> Result<Vec<Suppression>, Refused> {
        let (list, tag) = (list.clone(), self.tag_of(list));
        let read = move |store: &Reader| {
            let mut entries = Vec::new();
            for refusal in store.refusals(key)?.into_iter().filter(|refusal| refusal.list == tag) {
                if let Some(id) = refusal.entry {
                    entries.extend(store.suppression(&list, id)?);
                }
            }
            Ok(entries)
        };
        self.shared.reading(read).await
    }

    /// Puts somebody on a list whose turn is held.
    async fn put(
        &self,
        who: &Caller,
        list: &List,
        new: NewSuppression,
        creation: &Creation,
    ) -> Result<(Suppression, bool), Refused> {
        let key = self.key_of(&new.identifier);
        let refusing = self.context.refusing(vec![key]);
        let mut there = self.under(list, key).await?;
        let mut ops = Vec::new();
        if new.is_erased {
            // Whatever the list says of them, it names them no more.
            for entry in there.iter_mut().filter(|entry| entry.identifier.is_some()) {
                entry.erase();
                ops.extend(self.writes(entry));
                ops.push(self.audit(who, "suppression.erase", entry.id.0));
            }
        }
        let is_known =
            |entry: &Suppression| !entry.is_doubtful && is_as_much(entry.covers, new.covers);
        let known = there.into_iter().find(is_known);
        let (entry, is_new) = match known {
            Some(entry) => (entry, false),
            None => {
                let entry = self.entry(list, new, Source::Manual);
                ops.extend(self.writes(&entry));
                ops.push(self.audit(who, "suppression.add", entry.id.0));
                (entry, true)
            }
        };
        ops.extend(creation.ends(Made::Suppression { id: entry.id, is_new }));
        if !ops.is_empty() {
            self.shared.commit(ops).await?;
        }
        drop(refusing);
        Ok((entry, is_new))
    }

    /// Those of `identifiers` who are not on a list yet, each once.
    async fn missing(
        &self,
        list: &List,
        identifiers: Vec<Identifier>,
    ) -> Result<Vec<Identifier>, Refused> {
        let tag = self.tag_of(list);
        let mut keyed = identifiers;
        keyed.sort_unstable();
        keyed.dedup();
        let keyed: Vec<_> = keyed.into_iter().map(|one| (self.key_of(&one), one)).collect();
        let read = move |store: &Reader| {
            let mut missing = Vec::new();
            for (key, identifier) in keyed {
                let refusals = store.refusals(key)?;
                let is_there = |refusal: &Refusal| {
                    let is_clear = refusal.list == tag && !refusal.is_doubtful;
                    is_clear && is_as_much(refusal.covers, Covers::Everything)
                };
                if !refusals.iter().any(is_there) {
                    missing.push(identifier);
                }
            }
            Ok(missing)
        };
        self.shared.reading(read).await
    }
}

#[async_trait]
impl SuppressionService for SuppressionLists {
    async fn list(
        &self,
        who: &Caller,
        query: SuppressionQuery,
    ) -> Result<Page<Suppression>, Refused> {
        let list = self.list_of(who, query.list)?;
        let bad = |_| Refused::field("cursor", "it is none that a page gave");
        let after = query.page.cursor.as_deref().map(str::parse::<uuid::Uuid>).transpose();
        let after = after.map_err(bad)?.map(SuppressionId);
        let (source, limit) = (query.source, query.page.limit);
        let key = *self.context.installation_key();
        let read = move |store: &Reader| entries(store, &list, (source, &key), after, limit);
        let (items, next) = self.shared.reading(read).await?;
        Ok(Page { items, next_cursor: next.map(|last| last.0.to_string()) })
    }

    async fn add(
        &self,
        who: &Caller,
        list: SuppressionList,
        entry: NewSuppression,
        key: Option<CreationKey>,
    ) -> Result<Suppressed, Refused> {
        let _busy = self.context.erasing.enter(&who.user)?;
        let list = self.list_of(who, list)?;
        let used_for = format!("suppression/{}", name_of(&list));
        let creation = self.creations.begin(&who.user, &used_for, key).await?;
        if let Some(Made::Suppression { id, is_new }) = creation.made() {
            let entry = self.standing(&list, id).await?;
            let entry = entry.ok_or_else(|| gone("an entry"))?;
            return Ok(Suppressed { entry, is_new, is_replayed: true });
        }
        let _turn = self.locks.take(&self.tag_of(&list)).await;
        let (entry, is_new) = self.put(who, &list, entry, &creation).await?;
        Ok(Suppressed { entry, is_new, is_replayed: false })
    }

    async fn import(
        &self,
        who: &Caller,
        list: SuppressionList,
        identifiers: Vec<Identifier>,
        key: Option<CreationKey>,
    ) -> Result<Suppressions, Refused> {
        let _busy = self.context.erasing.enter(&who.user)?;
        let list = self.list_of(who, list)?;
        let used_for = format!("suppressions/{}", name_of(&list));
        let creation = self.creations.begin(&who.user, &used_for, key).await?;
        if let Some(Made::Suppressions { accepted, duplicates }) = creation.made() {
            return Ok(Suppressions { accepted, duplicates, is_replayed: true });
        }
        let _turn = self.locks.take(&self.tag_of(&list)).await;
        let given = identifiers.len() as u64;
        let fresh = self.missing(&list, identifiers).await?;
        let accepted = fresh.len() as u64;
        let duplicates = given - accepted;
        let keys = fresh.iter().map(|identifier| self.key_of(identifier)).collect();
        let refusing = self.context.refusing(keys);
        let new = |identifier| NewSuppression {
            identifier,
            covers: Covers::Everything,
            is_erased: false,
        };
        let entries = fresh.into_iter().map(|one| self.entry(&list, new(one), Source::Import));
        let mut ops: Vec<Op> = entries.flat_map(|entry| self.writes(&entry)).collect();
        if accepted > 0 {
            ops.push(self.audit(who, "suppression.import", format!("{accepted} entries")));
        }
        ops.extend(creation.ends(Made::Suppressions { accepted, duplicates }));
        if !ops.is_empty() {
            self.shared.commit(ops).await?;
        }
        drop(refusing);
        Ok(Suppressions { accepted, duplicates, is_replayed: false })
    }

    async fn remove(
        &self,
        who: &Caller,
        list: SuppressionList,
        id: SuppressionId,
        reason: String,
    ) -> Result<(), Refused> {
        let list = self.list_of(who, list)?;
        if !may_be_lifted(Lifting::Removed { reason: &reason }) {
            return Err(Refused::field("reason", "is missing: it is kept in the audit log"));
        }
        let _busy = self.context.erasing.enter(&who.user)?;
        let _turn = self.locks.take(&self.tag_of(&list)).await;
        let entry = self.standing(&list, id).await?;
        let entry = entry.ok_or_else(|| Refused::not_found("entry"))?;
        // While it is lifted nobody is contacted who refuses under its key.
        let lifting = self.context.refusing(vec![entry.key]);
        let is_again = || {
            let detail = "they have just refused once more, and stay on the list; look at it again";
            Err(Refused::new(Code::Conflict, detail))
        };
        if !lifting.is_alone() || self.standing(&list, id).await?.is_none() {
            return is_again();
        }
        let Some(refusal) = self.refusal_of(&entry).await? else { return is_again() };
        let removed = self.audit(who, "suppression.remove", format!("{}: {}", id.0, reason.trim()));
        // One that is renewed before this commit stays, one that is after it is written anew.
        let mut ops = vec![Op::LiftRefusal { list: list.clone(), refusal }, removed];
        if refusal.entry.is_none() {
            ops.push(Op::delete_suppression(&list, id));
        }
        self.shared.commit(ops).await?;
        if !lifting.is_alone() && self.refusal_of(&entry).await?.is_some() {
            self.shared.commit(vec![self.audit(who, "suppression.keep", id.0)]).await?;
            return is_again();
        }
        drop(lifting);
        Ok(())
    }

    async fn check(
        &self,
        who: &Caller,
        identifier: Identifier,
    ) -> Result<Vec<SuppressionCheck>, Refused> {
        let keys = self.context.keys(&KnownAs::named(&identifier));
        let (own, mine) = (List::User(who.user.clone()), self.context.list_of(&who.user));
        let (is_admin, installation) = (who.role == Role::Admin, List::Installation);
        let read = move |store: &Reader| {
            let mut found = Vec::new();
            for key in &keys {
                found.extend(store.refusals(*key)?);
            }
            found.retain(|one| one.list == mine || one.list == ListTag::INSTALLATION);
            found.truncate(CHECKED_MAX);
            let told = |refusal: Refusal| {
                let is_own = refusal.list == mine;
                let list = if is_own { &own } else { &installation };
                // Whose own it is not cannot remove it, and is told no id.
                let id = refusal.entry.filter(|_| is_own || is_admin);
                let id = match id {
                    Some(id) => store.suppression(list, id)?.map(|entry| entry.id),
                    None => None,
                };
                let Refusal { covers, group, source, since, .. } = refusal;
                Ok(SuppressionCheck { id, is_own, covers, group, source, since })
            };
            found.into_iter().map(told).collect::<Result<Vec<_>, StoreError>>()
        };
        self.shared.reading(read).await
    }
}

/// A page of entries, and the last one that was looked at, if there may be others behind it.
fn entries(
    store: &Reader,
    list: &List,
    (source, key): (Option<Source>, &[u8; 32]),
    after: Option<SuppressionId>,
    limit: usize,
) -> Result<(Vec<Suppression>, Option<SuppressionId>), StoreError> {
    let (mut found, mut last, mut looked_at) = (Vec::new(), after, 0);
    while looked_at < LOOKED_AT_MAX {
        // One more than a page, so that it is known whether there are others.
        let read = store.suppressions(list, last, limit + 1)?;
        let is_end = read.len() <= limit;
        looked_at += read.len();
        let mut left = read.into_iter().take(limit);
        for entry in left.by_ref() {
            last = Some(entry.id);
            let is_wanted = source.is_none_or(|source| source == entry.source);
            if is_wanted && holds(store, &entry, key)? {
                found.push(entry);
            }
            if found.len() == limit {
                break;
            }
        }
        if is_end && left.next().is_none() {
            return Ok((found, None));
        }
        if found.len() == limit {
            break;
        }
    }
    Ok((found, last))
}

/// Whether an entry's refusal stands, and tells of this entry. One that a newer entry tells of, or that was lifted
/// together with it, is history, and of no more use to anybody.
pub(super) fn holds(
    store: &Reader,
    entry: &Suppression,
    key: &[u8; 32],
) -> Result<bool, StoreError> {
    let refusal: Option<Refusal> = store.shared_row(entry.refusal(key).id())?;
    Ok(refusal.is_some_and(|refusal| refusal.entry.is_none_or(|newest| newest == entry.id)))
}

/// Whether who refuses `there` refuses what `wanted` covers.
fn is_as_much(there: Covers, wanted: Covers) -> bool {
    there == Covers::Everything || (there == wanted && there != Covers::ThisGroup)
}

fn name_of(list: &List) -> &'static str {
    match list {
        List::User(_) => "own",
        List::Installation => "installation",
    }
}

#[cfg(test)]
mod tests;
