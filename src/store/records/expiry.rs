//! Rows that expire. Owns the notes that say in which hour which row expires, and what becomes of a
//! row that was written anew since.

use crate::protocol::accounts::daily_limits::DayCount;
use crate::protocol::telegram::pacing::PersonFloodWaits;
use crate::protocol::values::ids::UnixMillis;

use crate::store::contract::StoreError;
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
    let (from, _) = layout::all(kind::EXPIRY);
    let due = collect(engine, &from, &layout::expiry_hour(at), EXPIRE_MAX)?;
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

/// Whether a row that was to expire by now was written anew since: daily counts and people's flood waits are.
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
        _ => None,
    };
    Ok(over_at.is_some_and(|over_at| over_at > at))
}
