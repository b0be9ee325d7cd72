//! Rows that expire. Owns the notes that say in which hour which row expires, and what becomes of a
//! row that was written anew since. Rows of users expire by the wall clock; shared rows by the steady timeline of
//! campaigns as it is stored, so that no clock that is set forward refills a cap or opens a recontact window.

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::values::ids::UnixMillis;

use super::campaigns;
use crate::store::contract::{ContactedRecord, SharedTable, StoreError};
use crate::store::engines::{Engine, WriteBatch, collect};
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};

/// Rows that one commit deletes at the most: some milliseconds of the writer's time.
const EXPIRE_MAX: usize = 4_096;

/// Adds to `batch` the deletion of rows that have expired at this moment, some thousand at the most.
pub(in crate::store) fn expire(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    at: UnixMillis,
) -> Result<(), StoreError> {
    expire_noted(batch, engine, kind::EXPIRY, at)?;
    match campaigns::clock(batch, engine)? {
        Some(steady) => expire_noted(batch, engine, kind::STEADY_EXPIRY, steady.clock.now()),
        None => Ok(()),
    }
}

/// The same for notes of one `kind`, by the timeline that these are on.
fn expire_noted(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    kind: u8,
    at: UnixMillis,
) -> Result<(), StoreError> {
    let (from, _) = layout::all(kind);
    let due = collect(engine, &from, &layout::expiry_hour(kind, at), EXPIRE_MAX)?;
    for (note, _) in due {
        if let Some(row) = layout::expiring_row(&note)
            && !is_renewed(batch, engine, row, at)?
        {
            batch.delete(row.to_vec());
        }
        batch.delete(note);
    }
    Ok(())
}

/// Whether a row that was to expire by now was written anew since: daily counts, people's flood waits and when
/// people were contacted are.
fn is_renewed(
    batch: &WriteBatch,
    engine: &dyn Engine,
    row: &[u8],
    at: UnixMillis,
) -> Result<bool, StoreError> {
    let over_at = match row.first() {
        Some(&kind::DAY_COUNT) => {
            let known = batch.get(engine, row)?;
            let count = known.map(|bytes| encoding::from_json::<DayCount>("day count", &bytes));
            count.transpose()?.map(|count| count.over_at())
        }
        Some(&kind::PERSON_WAITS) => {
            let known = batch.get(engine, row)?;
            let person =
                known.map(|bytes| encoding::from_json::<PersonFloodWaits>("person waits", &bytes));
            person.transpose()?.and_then(|person| person.over_at())
        }
        Some(&kind::CONTACTED) => {
            let known = batch.get(engine, row)?;
            let name = SharedTable::Contacted.name();
            let last = known.map(|bytes| encoding::from_json::<ContactedRecord>(name, &bytes));
            last.transpose()?.map(|last| last.until)
        }
        _ => None,
    };
    Ok(over_at.is_some_and(|over_at| over_at > at))
}
