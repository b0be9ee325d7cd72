//! Counting a task's targets anew, where a row of an older program has no counts by outcome yet.

use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::tally::Tally;
use crate::store::{Reader, StoreError};

/// Blocks that are held at a time.
const BLOCKS_AT_ONCE: u32 = 256;

/// How a task fares, with counts by outcome that hold all of its targets: counted anew where the stored ones do not.
///
/// # Errors
/// When the store cannot be read.
pub(in crate::actors) fn with_tally(
    store: &Reader,
    mut run: TaskRun,
) -> Result<TaskRun, StoreError> {
    if run.tally.is_whole(&run.statistics) {
        return Ok(run);
    }
    let (mut anew, mut from) = (Tally::default(), 0);
    // Blocks have holes and may be empty, but each that was ever begun is there.
    loop {
        let blocks = store.target_blocks(&run.user, run.task, from..from + BLOCKS_AT_ONCE)?;
        if blocks.is_empty() {
            break;
        }
        blocks.iter().flat_map(|block| &block.targets).for_each(|target| anew.count(target));
        from += BLOCKS_AT_ONCE;
    }
    run.tally = run.tally.recounted(anew);
    Ok(run)
}
