//! Records of campaigns: the removal of a task in pieces, refusals with the entries that tell of them, and rows of
//! which the writer keeps what is there. Owns what belongs to a task; which task may be deleted is decided elsewhere.

use crate::protocol::campaigns::caps::UseCount;
use crate::protocol::campaigns::respect::{List, Refusal, SuppressionId};
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::users::owner::UserId;

use super::erasure::{RECORDS_PER_COMMIT, delete_some};
use crate::store::contract::{
    CampaignClock, REMOVED_MARK, RowId, SharedRow, SharedTable, SharedWrite, StoreError, Table,
};
use crate::store::engines::{Engine, WriteBatch};
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};

/// What belongs to a task and goes with it.
const OF_TASK: [Table; 5] =
    [Table::TaskRun, Table::TargetBlock, Table::StatusPage, Table::Attempt, Table::Import];

/// Adds to `batch` the deletion of a task and of up to [`RECORDS_PER_COMMIT`] records that belong to it. While some
/// are left, its mark says that it is removed: whoever meets that goes on.
pub(in crate::store) fn delete_task(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    owner: &UserId,
    task: TaskId,
) -> Result<(), StoreError> {
    let id = RowId::from(task).0;
    batch.delete(layout::row(kind::TASK, owner, &id));
    let mut left = RECORDS_PER_COMMIT;
    for table in OF_TASK {
        delete_some(batch, engine, &layout::rows(kind::of(table), owner, &id), &mut left)?;
        if left == 0 {
            break;
        }
    }
    let mark = layout::row(kind::TASK_MARK, owner, &id);
    match left {
        0 => batch.put(mark, encoding::to_compact(&REMOVED_MARK)),
        _ => batch.delete(mark),
    }
    Ok(())
}

/// Adds a refusal to `batch`, and the deletion of the entry that told of it before, if another one does now.
pub(in crate::store) fn put_refusal(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    list: &List,
    refusal: &Refusal,
) -> Result<(), StoreError> {
    let key = layout::shared(kind::of_shared(Refusal::TABLE), &refusal.id().0);
    let before = refusal_at(batch, engine, &key)?.and_then(|before| before.entry);
    if let (Some(before), Some(now)) = (before, refusal.entry)
        && before != now
    {
        batch.delete(entry_key(list, before));
    }
    batch.put(key, encoding::to_json(refusal));
    Ok(())
}

/// Adds the deletion of a refusal and of its entry to `batch`, unless it is another one by now.
pub(in crate::store) fn lift_refusal(
    batch: &mut WriteBatch,
    engine: &dyn Engine,
    list: &List,
    refusal: &Refusal,
) -> Result<(), StoreError> {
    let key = layout::shared(kind::of_shared(Refusal::TABLE), &refusal.id().0);
    if refusal_at(batch, engine, &key)?.as_ref() != Some(refusal) {
        return Ok(());
    }
    if let Some(entry) = refusal.entry {
        batch.delete(entry_key(list, entry));
    }
    batch.delete(key);
    Ok(())
}

/// A refusal, as it is stored or about to be.
fn refusal_at(
    batch: &WriteBatch,
    engine: &dyn Engine,
    key: &[u8],
) -> Result<Option<Refusal>, StoreError> {
    let stored = batch.get(engine, key)?;
    stored.map(|bytes| encoding::from_json(Refusal::TABLE.name(), &bytes)).transpose()
}

fn entry_key(list: &List, id: SuppressionId) -> Vec<u8> {
    let id = RowId::from(id).0;
    match list {
        List::User(owner) => layout::row(kind::SUPPRESSION, owner, &id),
        List::Installation => layout::shared(kind::INSTALLATION_SUPPRESSION, &id),
    }
}

/// Where the steady timeline of campaigns has come to, as it is stored or about to be.
pub(super) fn clock(
    batch: &WriteBatch,
    engine: &dyn Engine,
) -> Result<Option<CampaignClock>, StoreError> {
    let key = layout::shared(kind::CAMPAIGN_CLOCK, &[]);
    let stored = batch.get(engine, &key)?;
    let name = SharedTable::CampaignClock.name();
    stored.map(|bytes| encoding::from_json(name, &bytes)).transpose()
}

/// A shared row merged with what is there, where it is counted: two who count at once may hand in their counts in the
/// wrong order.
pub(in crate::store) fn merged(
    batch: &WriteBatch,
    engine: &dyn Engine,
    (table, key): (SharedTable, &[u8]),
    json: &[u8],
) -> Result<Option<SharedWrite>, StoreError> {
    if table != SharedTable::UseCount {
        return Ok(None);
    }
    let Some(known) = batch.get(engine, key)? else { return Ok(None) };
    let mut count: UseCount = encoding::from_json(table.name(), &encoding::versioned(json))?;
    count.merge(&encoding::from_json(table.name(), &known)?);
    Ok(Some(SharedWrite::of(&count)))
}

/// Whether a shared row is not to be written, because what is there stays: the installation's key is drawn once,
/// and the clock of campaigns never goes back.
pub(in crate::store) fn is_void(
    batch: &WriteBatch,
    engine: &dyn Engine,
    table: SharedTable,
    key: &[u8],
    json: &[u8],
) -> Result<bool, StoreError> {
    match table {
        SharedTable::InstallationKey => Ok(batch.get(engine, key)?.is_some()),
        SharedTable::CampaignClock => {
            let new: CampaignClock = encoding::from_json(table.name(), &encoding::versioned(json))?;
            Ok(clock(batch, engine)?.is_some_and(|known| known.clock > new.clock))
        }
        _ => Ok(false),
    }
}
