//! The audit log on disk. The writer alone numbers and links the entries, so the chain has one order
//! however many commit at once. The newest entry lies first. Owns the records of the log; what an entry
//! means is in `protocol/trail.rs`.

use serde::{Deserialize, Serialize};

use crate::protocol::audit::log::{AuditEvent, Entry, Hash, Link, ORIGIN, Persons};
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;

use super::engine::{Batch, Engine, collect};
use super::erase::PIECE;
use super::error::StoreError;
use super::layout::{self, kind};
use super::{Reader, keys, records};

/// Entries that one look passes over at the most.
const LOOK_MAX: usize = 20_000;
/// Entries that are read at once.
const CHUNK: usize = 250;
/// Entries that go with one trim at the most.
const TRIM_MAX: usize = 1_000;

/// Where the chain ends, or where what was trimmed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailMark {
    /// The entry's number; 0 before the first.
    pub number: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Default for TrailMark {
    fn default() -> Self {
        Self { number: 0, hash: ORIGIN }
    }
}

/// Which entries somebody wants to see.
#[derive(Clone, Debug, Default)]
pub struct TrailQuery {
    /// Only those that tell of this user.
    pub user: Option<UserId>,
    /// Only those before this number.
    pub before: Option<u64>,
    /// Only those at this moment or later.
    pub since: Option<UnixMillis>,
    /// Only those of this actor.
    pub actor: Option<String>,
    /// Only those of this action.
    pub action: Option<String>,
    /// As many at the most.
    pub limit: usize,
}

/// Some entries, and where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrailPage {
    /// The entries, the newest first.
    pub entries: Vec<Entry>,
    /// The number before which the next page begins; `None` when there is no more.
    pub next: Option<u64>,
}

/// What verifying the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailReport {
    /// Entries that were looked at.
    pub entries: u64,
    /// Of these, pseudonymised ones.
    pub pseudonymised: u64,
    /// What was trimmed before them.
    pub trimmed: TrailMark,
    /// The newest entry.
    pub head: TrailMark,
    /// What is wrong, the newest first; empty when the log is whole.
    pub faults: Vec<String>,
}

pub(super) fn link(bytes: &[u8]) -> Result<Link, StoreError> {
    records::from_json("audit entry", bytes)
}

fn persons(engine: &dyn Engine, number: u64) -> Result<Persons, StoreError> {
    let missing = StoreError::Damaged { record: "audit entry", detail: "half of it is missing" };
    let bytes = engine.get(&layout::trail(kind::TRAIL_PERSONS, number))?.ok_or(missing)?;
    records::from_json("audit entry", &bytes)
}

/// The newest entry of the log.
pub(super) fn head(engine: &dyn Engine) -> Result<TrailMark, StoreError> {
    let (from, to) = layout::all(kind::TRAIL);
    match collect(engine, &from, &to, 1)?.first() {
        Some((_, bytes)) => {
            let link = link(bytes)?;
            Ok(TrailMark { number: link.number, hash: link.hash })
        }
        None => trimmed(engine),
    }
}

fn trimmed(engine: &dyn Engine) -> Result<TrailMark, StoreError> {
    let stored = engine.get(layout::TRIMMED)?;
    let mark = stored.map(|bytes| records::from_json("audit mark", &bytes)).transpose()?;
    Ok(mark.unwrap_or_default())
}

/// Adds an entry behind `head`, which moves.
pub(super) fn append(
    batch: &mut Batch,
    head: &mut TrailMark,
    audit_event: AuditEvent,
) -> Result<(), StoreError> {
    let number = head.number + 1;
    let (actor, owner) = (audit_event.actor.clone(), audit_event.owner.clone());
    let entry = Entry::of(audit_event, number, &head.hash, keys::random()?);
    batch.put(layout::trail(kind::TRAIL, number), records::to_json(&entry.link));
    batch.put(layout::trail(kind::TRAIL_PERSONS, number), records::to_json(&entry.persons));
    for user in [actor, owner] {
        batch.put(layout::trail_of(&user, number), Vec::new());
    }
    *head = TrailMark { number, hash: entry.link.hash };
    Ok(())
}

/// Puts `pseudonym` in the place of `user` in up to [`PIECE`] entries.
pub(super) fn forget(
    batch: &mut Batch,
    engine: &dyn Engine,
    user: &UserId,
    pseudonym: &str,
) -> Result<(), StoreError> {
    let (from, to) = layout::rows(kind::TRAIL_INDEX, user, &[]);
    let written = batch.writes.range(from.clone()..to.clone()).map(|(key, _)| key.clone());
    let mut index: Vec<Vec<u8>> = written.collect();
    index.extend(collect(engine, &from, &to, PIECE)?.into_iter().map(|(key, _)| key));
    for key in index {
        let number = layout::trail_number(&key);
        let at = layout::trail(kind::TRAIL_PERSONS, number);
        if let Some(bytes) = batch.get(engine, &at)? {
            let mut persons: Persons = records::from_json("audit entry", &bytes)?;
            persons.forget(user, pseudonym);
            batch.put(at, records::to_json(&persons));
        }
        batch.delete(key);
    }
    Ok(())
}

/// Lets entries from before `at` go, the oldest first and not all at once.
pub(super) fn trim(
    batch: &mut Batch,
    engine: &dyn Engine,
    head: TrailMark,
    at: UnixMillis,
) -> Result<(), StoreError> {
    let mut mark = trimmed(engine)?;
    let oldest = mark.number + 1;
    for number in oldest..head.number.min(oldest + TRIM_MAX as u64) {
        let Some(bytes) = engine.get(&layout::trail(kind::TRAIL, number))? else { break };
        let link = link(&bytes)?;
        if link.at >= at {
            break;
        }
        let persons = persons(engine, number)?;
        for user in [persons.actor, persons.owner] {
            if let Ok(user) = UserId::new(user) {
                batch.delete(layout::trail_of(&user, number));
            }
        }
        batch.delete(layout::trail(kind::TRAIL_PERSONS, number));
        batch.delete(layout::trail(kind::TRAIL, number));
        mark = TrailMark { number, hash: link.hash };
    }
    if mark.number >= oldest {
        batch.put(layout::TRIMMED.to_vec(), records::to_json(&mark));
    }
    Ok(())
}

impl TrailQuery {
    fn wants(&self, entry: &Entry) -> bool {
        self.since.is_none_or(|since| entry.link.at >= since)
            && self.actor.as_ref().is_none_or(|actor| *actor == entry.persons.actor)
            && self.action.as_ref().is_none_or(|action| *action == entry.link.action)
    }
}

impl Reader {
    /// Entries of the audit log. A page may hold fewer than were asked for, even none, and still be
    /// followed by another: looking ends after some thousand entries.
    ///
    /// # Errors
    /// When the disk fails, or an entry cannot be read.
    pub fn trail(&self, query: &TrailQuery) -> Result<TrailPage, StoreError> {
        let engine = &*self.shared.engine;
        let (from, to) = match &query.user {
            Some(user) => layout::rows(kind::TRAIL_INDEX, user, &[]),
            None => layout::all(kind::TRAIL),
        };
        let from = match (query.before, &query.user) {
            (None, _) => from,
            (Some(before), Some(user)) => layout::trail_of(user, before.saturating_sub(1)),
            (Some(before), None) => layout::trail(kind::TRAIL, before.saturating_sub(1)),
        };
        let (mut page, mut from) = (TrailPage::default(), from);
        for _ in 0..LOOK_MAX / CHUNK {
            let keys = collect(engine, &from, &to, CHUNK)?;
            for (key, _) in &keys {
                let number = layout::trail_number(key);
                let Some(entry) = self.trail_entry(number)? else { continue };
                if query.since.is_some_and(|since| entry.link.at < since) {
                    return Ok(TrailPage { next: None, ..page });
                }
                page.next = Some(number);
                if query.wants(&entry) {
                    page.entries.push(entry);
                }
                if page.entries.len() >= query.limit {
                    return Ok(page);
                }
            }
            match keys.into_iter().next_back() {
                Some((last, _)) => from = after(last),
                None => return Ok(TrailPage { next: None, ..page }),
            }
        }
        Ok(page)
    }

    fn trail_entry(&self, number: u64) -> Result<Option<Entry>, StoreError> {
        let engine = &*self.shared.engine;
        let Some(bytes) = engine.get(&layout::trail(kind::TRAIL, number))? else { return Ok(None) };
        Ok(Some(Entry { link: link(&bytes)?, persons: persons(engine, number)? }))
    }

    /// The newest entry of the audit log.
    ///
    /// # Errors
    /// When the disk fails, or the entry cannot be read.
    pub fn trail_head(&self) -> Result<TrailMark, StoreError> {
        head(&*self.shared.engine)
    }

    /// Follows the audit log from its newest entry to its oldest.
    ///
    /// # Errors
    /// When the disk fails. What is wrong with the log is in the report.
    pub fn verify_trail(&self) -> Result<TrailReport, StoreError> {
        verify(&*self.shared.engine)
    }
}

/// Follows the audit log from its newest entry to its oldest.
pub(super) fn verify(engine: &dyn Engine) -> Result<TrailReport, StoreError> {
    let trimmed = trimmed(engine)?;
    let mut report =
        TrailReport { entries: 0, pseudonymised: 0, trimmed, head: trimmed, faults: Vec::new() };
    let (from, to) = layout::all(kind::TRAIL);
    let mut younger: Option<Link> = None;
    engine.scan(&from, &to, &mut |key, bytes| {
        let number = layout::trail_number(key);
        match link(bytes) {
            Ok(link) => {
                if link.number != number {
                    report.faults.push(format!("entry {number} says that it is {}", link.number));
                }
                check_step(&mut report, younger.as_ref(), link.number, &link.hash);
                if younger.is_none() {
                    report.head = TrailMark { number: link.number, hash: link.hash };
                }
                report.entries += 1;
                younger = Some(link);
            }
            Err(error) => report.faults.push(format!("entry {number}: {error}")),
        }
        true
    })?;
    check_step(&mut report, younger.as_ref(), trimmed.number, &trimmed.hash);
    check_persons(engine, &mut report)?;
    Ok(report)
}

/// Whether `younger` follows an entry of this number and hash.
fn check_step(report: &mut TrailReport, younger: Option<&Link>, number: u64, hash: &Hash) {
    let Some(younger) = younger else { return };
    if younger.number != number + 1 {
        let (first, last) = (number + 1, younger.number.saturating_sub(1));
        report.faults.push(format!("entries {first} to {last} are missing"));
    } else if !younger.follows(hash) {
        let number = younger.number;
        report.faults.push(format!("entry {number} or the one before it was changed"));
    }
}

/// Whether the halves that tell of people are those that the chain commits to.
fn check_persons(engine: &dyn Engine, report: &mut TrailReport) -> Result<(), StoreError> {
    let (mut from, to) = layout::all(kind::TRAIL);
    loop {
        let chunk = collect(engine, &from, &to, CHUNK)?;
        for (key, bytes) in &chunk {
            let number = layout::trail_number(key);
            let Ok(link) = link(bytes) else { continue };
            match persons(engine, number) {
                Ok(persons) => {
                    report.pseudonymised += u64::from(persons.salt.is_none());
                    if !(Entry { link, persons }).is_whole() {
                        report
                            .faults
                            .push(format!("entry {number}: who, what or where was changed"));
                    }
                }
                Err(error) => report.faults.push(format!("entry {number}: {error}")),
            }
        }
        let Some((last, _)) = chunk.into_iter().next_back() else { return Ok(()) };
        from = after(last);
    }
}

/// The first key after `key`.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}
