//! The audit log on disk. The writer alone numbers and links the entries, so the chain has one order
//! however many commit at once. The newest entry sorts first. Owns the records of the log; what an audit event
//! means is in `protocol/audit`.

use crate::protocol::audit::log::{AuditEvent, ChainLink, Entry, Hash, Persons};
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;

use super::erasure::RECORDS_PER_COMMIT;
use crate::store::contract::{
    AuditLogPage, AuditLogPosition, AuditLogQuery, AuditLogReport, StoreError,
};
use crate::store::engines::{Engine, WriteBatch, collect};
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};
use crate::store::keys;

/// Entries that one page passes over at the most.
const SCAN_MAX: usize = 20_000;
/// Entries that are read at once.
const CHUNK: usize = 250;
/// Entries that go with one trim at the most.
const TRIM_MAX: usize = 1_000;

pub(in crate::store) fn link(bytes: &[u8]) -> Result<ChainLink, StoreError> {
    encoding::from_json("audit entry", bytes)
}

fn persons(engine: &dyn Engine, number: u64) -> Result<Persons, StoreError> {
    let missing = StoreError::Damaged { record: "audit entry", detail: "half of it is missing" };
    let bytes = engine.get(&layout::audit_entry(kind::AUDIT_PERSONS, number))?.ok_or(missing)?;
    encoding::from_json("audit entry", &bytes)
}

/// The newest entry of the log.
pub(in crate::store) fn head(engine: &dyn Engine) -> Result<AuditLogPosition, StoreError> {
    let (from, to) = layout::all(kind::AUDIT_CHAIN);
    match collect(engine, &from, &to, 1)?.first() {
        Some((_, bytes)) => {
            let link = link(bytes)?;
            Ok(AuditLogPosition { number: link.number, hash: link.hash })
        }
        None => trimmed(engine),
    }
}

fn trimmed(engine: &dyn Engine) -> Result<AuditLogPosition, StoreError> {
    let stored = engine.get(layout::TRIMMED)?;
    let mark = stored.map(|bytes| encoding::from_json("audit mark", &bytes)).transpose()?;
    Ok(mark.unwrap_or_default())
}

/// Adds an entry after `head`, which moves to it.
pub(in crate::store) fn append(
    batch: &mut WriteBatch,
    head: &mut AuditLogPosition,
    audit_event: AuditEvent,
) -> Result<(), StoreError> {
    let number = head.number + 1;
    let (actor, owner) = (audit_event.actor.clone(), audit_event.owner.clone());
    let entry = Entry::of(audit_event, number, &head.hash, keys::random()?);
    batch.put(layout::audit_entry(kind::AUDIT_CHAIN, number), encoding::to_json(&entry.link));
    batch.put(layout::audit_entry(kind::AUDIT_PERSONS, number), encoding::to_json(&entry.persons));
    for user in [actor, owner] {
        batch.put(layout::audit_index(&user, number), Vec::new());
    }
    *head = AuditLogPosition { number, hash: entry.link.hash };
    Ok(())
}

/// Puts `pseudonym` in the place of `user` in up to [`RECORDS_PER_COMMIT`] entries.
pub(in crate::store) fn pseudonymise(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    user: &UserId,
    pseudonym: &str,
) -> Result<(), StoreError> {
    let (from, to) = layout::rows(kind::AUDIT_INDEX, user, &[]);
    let written = batch.writes.range(from.clone()..to.clone()).map(|(key, _)| key.clone());
    let mut index: Vec<Vec<u8>> = written.collect();
    index.extend(collect(engine, &from, &to, RECORDS_PER_COMMIT)?.into_iter().map(|(key, _)| key));
    for key in index {
        let number = layout::audit_number(&key);
        let at = layout::audit_entry(kind::AUDIT_PERSONS, number);
        if let Some(bytes) = batch.get(engine, &at)? {
            let mut persons: Persons = encoding::from_json("audit entry", &bytes)?;
            persons.forget(user, pseudonym);
            batch.put(at, encoding::to_json(&persons));
        }
        batch.delete(key);
    }
    Ok(())
}

/// Adds to `batch` the deletion of entries from before `at`, the oldest first and not all at once.
pub(in crate::store) fn trim(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    head: AuditLogPosition,
    at: UnixMillis,
) -> Result<(), StoreError> {
    let mut mark = trimmed(engine)?;
    let oldest = mark.number + 1;
    for number in oldest..head.number.min(oldest + TRIM_MAX as u64) {
        let Some(bytes) = engine.get(&layout::audit_entry(kind::AUDIT_CHAIN, number))? else {
            break;
        };
        let link = link(&bytes)?;
        if link.at >= at {
            break;
        }
        let persons = persons(engine, number)?;
        for user in [persons.actor, persons.owner] {
            if let Ok(user) = UserId::new(user) {
                batch.delete(layout::audit_index(&user, number));
            }
        }
        batch.delete(layout::audit_entry(kind::AUDIT_PERSONS, number));
        batch.delete(layout::audit_entry(kind::AUDIT_CHAIN, number));
        mark = AuditLogPosition { number, hash: link.hash };
    }
    if mark.number >= oldest {
        batch.put(layout::TRIMMED.to_vec(), encoding::to_json(&mark));
    }
    Ok(())
}

/// Whether `entry` matches `query`.
fn matches(query: &AuditLogQuery, entry: &Entry) -> bool {
    query.since.is_none_or(|since| entry.link.at >= since)
        && query.actor.as_ref().is_none_or(|actor| *actor == entry.persons.actor)
        && query.action.as_ref().is_none_or(|action| *action == entry.link.action)
}

/// Entries of the log. Looking ends after [`SCAN_MAX`] of them.
pub(in crate::store) fn page(
    engine: &dyn Engine,
    query: &AuditLogQuery,
) -> Result<AuditLogPage, StoreError> {
    let (from, to) = match &query.user {
        Some(user) => layout::rows(kind::AUDIT_INDEX, user, &[]),
        None => layout::all(kind::AUDIT_CHAIN),
    };
    let from = match (query.before, &query.user) {
        (None, _) => from,
        (Some(before), Some(user)) => layout::audit_index(user, before.saturating_sub(1)),
        (Some(before), None) => layout::audit_entry(kind::AUDIT_CHAIN, before.saturating_sub(1)),
    };
    let (mut page, mut from) = (AuditLogPage::default(), from);
    for _ in 0..SCAN_MAX / CHUNK {
        let keys = collect(engine, &from, &to, CHUNK)?;
        for (key, _) in &keys {
            let number = layout::audit_number(key);
            let Some(entry) = read_entry(engine, number)? else { continue };
            if query.since.is_some_and(|since| entry.link.at < since) {
                return Ok(AuditLogPage { next: None, ..page });
            }
            page.next = Some(number);
            if matches(query, &entry) {
                page.entries.push(entry);
            }
            if page.entries.len() >= query.limit {
                return Ok(page);
            }
        }
        match keys.into_iter().next_back() {
            Some((last, _)) => from = after(last),
            None => return Ok(AuditLogPage { next: None, ..page }),
        }
    }
    Ok(page)
}

fn read_entry(engine: &dyn Engine, number: u64) -> Result<Option<Entry>, StoreError> {
    let Some(bytes) = engine.get(&layout::audit_entry(kind::AUDIT_CHAIN, number))? else {
        return Ok(None);
    };
    Ok(Some(Entry { link: link(&bytes)?, persons: persons(engine, number)? }))
}

/// Follows the audit log from its newest entry to its oldest.
pub(in crate::store) fn verify(engine: &dyn Engine) -> Result<AuditLogReport, StoreError> {
    let trimmed = trimmed(engine)?;
    let mut report =
        AuditLogReport { entries: 0, pseudonymised: 0, trimmed, head: trimmed, faults: Vec::new() };
    let (from, to) = layout::all(kind::AUDIT_CHAIN);
    let mut younger: Option<ChainLink> = None;
    engine.scan(&from, &to, &mut |key, bytes| {
        let number = layout::audit_number(key);
        match link(bytes) {
            Ok(link) => {
                if link.number != number {
                    report.faults.push(format!("entry {number} says that it is {}", link.number));
                }
                check_step(&mut report, younger.as_ref(), link.number, &link.hash);
                if younger.is_none() {
                    report.head = AuditLogPosition { number: link.number, hash: link.hash };
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
fn check_step(report: &mut AuditLogReport, younger: Option<&ChainLink>, number: u64, hash: &Hash) {
    let Some(younger) = younger else { return };
    if younger.number != number + 1 {
        let (first, last) = (number + 1, younger.number.saturating_sub(1));
        report.faults.push(format!("entries {first} to {last} are missing"));
    } else if !younger.follows(hash) {
        let number = younger.number;
        report.faults.push(format!("entry {number} or the one before it was changed"));
    }
}

/// Whether the personal halves of the entries are those that the chain commits to.
fn check_persons(engine: &dyn Engine, report: &mut AuditLogReport) -> Result<(), StoreError> {
    let (mut from, to) = layout::all(kind::AUDIT_CHAIN);
    loop {
        let chunk = collect(engine, &from, &to, CHUNK)?;
        for (key, bytes) in &chunk {
            let number = layout::audit_number(key);
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
