//! Looking at the audit log of a store. Needs no key, since the log is not sealed; works on a store that a
//! daemon is using.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::protocol::audit::log::Hash;

use super::scratch_copy::{CACHE_BYTES, ScratchCopy, naming_the_original, without_panic_output};
use crate::store::contract::{AuditLogPosition, AuditLogReport, StoreError};
use crate::store::engines::Engine;
use crate::store::engines::disk::{self, DiskEngine};
use crate::store::format::layout::{self, kind};
use crate::store::opening::{WitnessedPosition, directory, is_whole, was_used};
use crate::store::records::audit_log;

/// Copies that are tried while a daemon writes: one that was torn is known by its checksum.
const TRIES: u32 = 10;
/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(200);

/// What verifying an audit log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLogExamined {
    /// There is a store, and nothing was ever written to it.
    New,
    /// It was followed from its newest entry to its oldest.
    Followed(AuditLogReport),
    /// It was not looked at, and why.
    Closed(String),
}

/// Follows the audit log of the store in `path`, in a copy as [`super::examine`] makes it. A store that
/// is in use is copied while it is written to; the copy is used only if it is whole. Says also whether
/// the entry that was noted earlier is still the one in the log.
///
/// # Errors
/// When there is no store, or it cannot be read, or was written by a newer program.
pub fn examine_audit_log(
    path: &Path,
    noted: Option<AuditLogPosition>,
) -> Result<AuditLogExamined, StoreError> {
    let database = disk::directory(path);
    let file = database.join("db");
    if !file.try_exists().map_err(StoreError::file("read", &file))? {
        let used = directory::read_marker(path)?;
        disk::refuse_if_aside(&database)?;
        return Err(match used {
            true => StoreError::Emptied { path: path.to_owned() },
            false => StoreError::NotThere { path: path.to_owned() },
        });
    }
    match directory::lock_if_exists(path) {
        Ok(lock) => {
            directory::read_marker(path)?;
            let seen = WitnessedPosition::by_witness(path);
            let copy = ScratchCopy::of(&database);
            drop(lock);
            let copy = match copy {
                Ok(copy) => copy,
                Err(why) => return Ok(AuditLogExamined::Closed(why)),
            };
            verify_copy(&copy, path, seen, noted).map(|(examined, _)| examined)
        }
        Err(StoreError::Busy { .. }) => while_in_use(path, noted),
        Err(error) => Err(error),
    }
}

/// Verifies the log of a store that a daemon is using.
fn while_in_use(
    path: &Path,
    noted: Option<AuditLogPosition>,
) -> Result<AuditLogExamined, StoreError> {
    let mut why = String::new();
    for _ in 0..TRIES {
        // Before the copy: what the witness says now has to be in it.
        let seen = WitnessedPosition::by_witness(path);
        match ScratchCopy::of(&disk::directory(path)) {
            Ok(copy) => match verify_copy(&copy, path, seen, noted) {
                Ok((examined, None)) => return Ok(examined),
                Ok((_, Some(torn))) | Err(torn) => why = torn.to_string(),
            },
            Err(error) => why = error,
        }
        std::thread::sleep(PAUSE);
    }
    Ok(AuditLogExamined::Closed(format!(
        "a daemon is writing to it, and none of {TRIES} copies was whole ({why}); try again when it \
         writes less, or when it is stopped"
    )))
}

/// Follows the log in a copy, and says what else is wrong with that.
fn verify_copy(
    copy: &ScratchCopy,
    path: &Path,
    seen: WitnessedPosition<'_>,
    noted: Option<AuditLogPosition>,
) -> Result<(AuditLogExamined, Option<StoreError>), StoreError> {
    let verified = without_panic_output(|| {
        disk::guarded(&disk::directory(path), || {
            let engine: Arc<dyn Engine> = Arc::new(DiskEngine::open(&copy.path, CACHE_BYTES)?);
            if !was_used(&*engine)? {
                return Ok((AuditLogExamined::New, None));
            }
            let damage = match is_whole(Arc::clone(&engine), seen) {
                Ok(()) => None,
                Err(error @ StoreError::NewerFormat { .. }) => return Err(error),
                Err(error) => Some(error),
            };
            let mut report = audit_log::verify(&*engine)?;
            report.faults.extend(
                noted.map(|noted| differs(&*engine, &report, noted)).transpose()?.flatten(),
            );
            report
                .faults
                .extend(damage.as_ref().map(|damage| format!("the store itself: {damage}")));
            Ok((AuditLogExamined::Followed(report), damage))
        })
    });
    verified.map_err(|error| naming_the_original(error, path))
}

/// What is wrong with the entry that was noted earlier.
fn differs(
    engine: &dyn Engine,
    report: &AuditLogReport,
    noted: AuditLogPosition,
) -> Result<Option<String>, StoreError> {
    let AuditLogPosition { number, hash } = noted;
    let AuditLogPosition { number: head, .. } = report.head;
    Ok(match found(engine, report, number)? {
        Some(found) if found == hash => None,
        Some(_) => Some(format!("entry {number} is not the one that was noted")),
        None if number > head => Some(format!(
            "entry {number} was noted and is gone: the log ends with {head}, so it was cut off or \
             comes from an older copy of the store"
        )),
        None if number < report.trimmed.number => Some(format!(
            "entry {number} was noted and cannot be compared any more: entries up to {} were let go \
             because of their age",
            report.trimmed.number
        )),
        None => Some(format!("entry {number} was noted and is missing")),
    })
}

fn found(
    engine: &dyn Engine,
    report: &AuditLogReport,
    number: u64,
) -> Result<Option<Hash>, StoreError> {
    if number == report.trimmed.number {
        return Ok(Some(report.trimmed.hash));
    }
    let bytes = engine.get(&layout::audit_entry(kind::AUDIT_CHAIN, number))?;
    // One that cannot be read is among the faults already.
    Ok(bytes.and_then(|bytes| audit_log::link(&bytes).ok()).map(|link| link.hash))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::protocol::audit::log::AuditEvent;
    use crate::protocol::users::owner::UserId;
    use crate::protocol::values::ids::UnixMillis;
    use crate::store::{Op, Store, StoreOptions};

    fn audit_event(at: i64) -> Op {
        let user = || UserId::new("somebody").unwrap();
        let (action, outcome) = ("message.send".to_owned(), "ok".to_owned());
        let (actor, owner, target, address, details) = (user(), user(), None, None, None);
        Op::Audit(AuditEvent {
            at: UnixMillis(at),
            actor,
            owner,
            action,
            target,
            address,
            outcome,
            details,
        })
    }

    fn report(path: &Path, noted: Option<AuditLogPosition>) -> AuditLogReport {
        match examine_audit_log(path, noted).unwrap() {
            AuditLogExamined::Followed(report) => report,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_log_is_followed_while_its_store_is_open_and_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let missing = examine_audit_log(folder.path(), None);
        assert!(matches!(missing, Err(StoreError::NotThere { .. })), "{missing:?}");
        let (store, _outbox) = Store::open(StoreOptions::new(folder.path())).unwrap();
        store.commit(vec![audit_event(1), audit_event(2)]).await.unwrap();
        let writer = store.clone();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::spawn(async move {
            let mut at = 3;
            while stopped.try_recv().is_err() {
                writer.commit(vec![audit_event(at)]).await.unwrap();
                at += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let path = folder.path().to_owned();
        let found = tokio::task::spawn_blocking(move || report(&path, None)).await.unwrap();
        stop.send(()).unwrap();
        writing.await.unwrap();
        assert_eq!(found.faults, Vec::<String>::new());
        assert!(found.head.number >= 2 && found.entries == found.head.number, "{found:?}");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_was_noted_is_compared_and_an_older_copy_of_the_store_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("state");
        let (store, outbox) = Store::open(StoreOptions::new(&place)).unwrap();
        store.commit(vec![audit_event(1), audit_event(2)]).await.unwrap();
        let early = store.audit_log_head().unwrap();
        drop(outbox);
        store.close().await.unwrap();
        let older = folder.path().join("older");
        crate::store::engines::disk::copy_whole(&place, &older).unwrap();

        let (store, outbox) = Store::open(StoreOptions::new(&place)).unwrap();
        store.commit(vec![audit_event(3)]).await.unwrap();
        let late = store.audit_log_head().unwrap();
        drop(outbox);
        store.close().await.unwrap();

        for noted in [None, Some(early), Some(late)] {
            assert_eq!(report(&place, noted).faults, Vec::<String>::new());
        }
        assert_eq!(report(&older, Some(early)).faults, Vec::<String>::new());
        let faults = report(&older, Some(late)).faults;
        assert!(
            faults.len() == 1 && faults[0].contains("entry 3 was noted and is gone"),
            "{faults:?}"
        );
        let other = AuditLogPosition { hash: [7; 32], ..early };
        let faults = report(&place, Some(other)).faults;
        assert_eq!(faults, ["entry 2 is not the one that was noted"]);
    }

    #[tokio::test]
    async fn a_database_that_lost_something_is_a_fault_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (store, outbox) = Store::open(StoreOptions::new(folder.path())).unwrap();
        for at in 0..40 {
            store.commit(vec![audit_event(at)]).await.unwrap();
        }
        drop(outbox);
        store.close().await.unwrap();
        // Somebody takes an entry away with the means of the database, past the store.
        {
            let engine = DiskEngine::open(&disk::directory(folder.path()), CACHE_BYTES).unwrap();
            let mut batch = crate::store::engines::WriteBatch::default();
            batch.delete(layout::audit_entry(kind::AUDIT_CHAIN, 7));
            engine.apply(batch).unwrap();
            engine.sync().unwrap();
        }
        let before = fs::read(disk::directory(folder.path()).join("db")).unwrap();
        let found = report(folder.path(), None);
        assert!(found.faults[0].contains("entries 7 to 7 are missing"), "{found:?}");
        assert!(found.faults.iter().any(|fault| fault.contains("the store itself")), "{found:?}");
        let after = fs::read(disk::directory(folder.path()).join("db")).unwrap();
        assert!(before == after, "looking changed the database");
    }
}
