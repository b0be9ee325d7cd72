//! Gives what moved its own record, then trims the outbox. Owns the pace of that
//! work; never makes anything visible that is not durable already or harmless to lose.
//!
//! A pass starts every few seconds at most and works in small steps between groups, so that it adds
//! little to any commit: (1) write a record for every cursor and update state that moved; (2) note
//! that cursors moved before the pass have records, so that recovery need not read older segments,
//! and delete tombstones that only those need; (3) delete the segments that both readers have passed. Steps are not synced: they become
//! durable in order, with the next group or by the engine's own clock, and a crash between any two of them
//! only leaves work for the next pass.

use std::time::Duration;
use tokio::time::Instant;

use crate::clock::instant;
use crate::failpoint;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::telegram::updates::UpdateState;
use crate::protocol::values::ids::AuthKeyId;

use super::group::KnownRecords;
use super::overlay::Dirty;
use super::segment;
use super::shared::Shared;
use crate::store::contract::StoreError;
use crate::store::engines::{Engine, WriteBatch};
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};
use crate::store::records::update_states;

/// Most records a step writes or deletes: a few tenths of a millisecond, which is what a commit that
/// comes meanwhile waits longer.
const STEP: usize = 32;

enum Stage {
    Idle,
    /// Records are being written; when done, cursors moved before `upto` have them.
    Writing {
        dirty: Dirty,
        upto: u64,
    },
    Trimming,
}

/// The state of the passes.
pub(in crate::store) struct Checkpoint {
    stage: Stage,
    every: Duration,
    next_at: Instant,
    /// Cursors moved before this sequence number have records.
    mark: u64,
    /// Segments up to this are gone.
    trimmed: u64,
}

impl Checkpoint {
    /// Continues from what the store says, with a pass `every` so often.
    pub(in crate::store) fn new(mark: u64, every: Duration) -> Self {
        let next_at = instant() + every;
        Self { stage: Stage::Idle, every, next_at, mark, trimmed: 0 }
    }

    /// When there is work to do next, if any.
    pub(in crate::store) fn due(
        &self,
        shared: &Shared,
        known: &KnownRecords,
        passed: u64,
    ) -> Option<Instant> {
        match self.stage {
            Stage::Idle => self.has_work(shared, known, passed).then_some(self.next_at),
            _ => Some(instant()),
        }
    }

    fn has_work(&self, shared: &Shared, known: &KnownRecords, passed: u64) -> bool {
        passed > self.trimmed || !known.tombstones.is_empty() || shared.overlay().len() > 0
    }

    /// Does one step if it is time. `passed` must be on disk already.
    pub(in crate::store) fn step(
        &mut self,
        shared: &Shared,
        known: &mut KnownRecords,
        next_seq: u64,
        passed: u64,
    ) -> Result<(), StoreError> {
        match &mut self.stage {
            Stage::Idle if instant() < self.next_at => {}
            Stage::Idle => {
                self.next_at = instant() + self.every;
                if self.has_work(shared, known, passed) {
                    self.stage = Stage::Writing { dirty: shared.overlay().dirty(), upto: next_seq };
                }
            }
            Stage::Writing { dirty, upto } => {
                let upto = *upto;
                if write_records(shared, known, dirty, upto)? {
                    self.mark = upto;
                    self.stage = Stage::Trimming;
                }
            }
            Stage::Trimming => {
                let trimmable = passed.min(self.mark.saturating_sub(1));
                if trim(&*shared.engine, trimmable)? {
                    self.trimmed = trimmable;
                    self.stage = Stage::Idle;
                }
            }
        }
        Ok(())
    }

    /// Does a whole pass at once, for a clean end.
    pub(in crate::store) fn finish(
        &mut self,
        shared: &Shared,
        known: &mut KnownRecords,
        next_seq: u64,
        passed: u64,
    ) -> Result<(), StoreError> {
        self.stage = Stage::Writing { dirty: shared.overlay().dirty(), upto: next_seq };
        while !matches!(self.stage, Stage::Idle) {
            self.step(shared, known, next_seq, passed)?;
        }
        Ok(())
    }
}

/// Writes up to [`STEP`] records; `true` once all are written and that is noted.
fn write_records(
    shared: &Shared,
    known: &mut KnownRecords,
    dirty: &mut Dirty,
    upto: u64,
) -> Result<bool, StoreError> {
    let mut batch = WriteBatch::default();
    let (cursors, states) = next_of(dirty);
    for chat in &cursors {
        if let Some(record) = shared.overlay().cursor(chat) {
            batch.put(layout::chat(kind::CURSOR, chat), encoding::to_compact(record));
        }
    }
    for account in &states {
        // Noted after the account's removal: see `Store::note_update_state`.
        if !known.accounts.contains(account) {
            shared.overlay_mut().drop_state(*account);
        } else if let Some(state) = take_moved_state(shared, *account)? {
            let key = layout::account(kind::UPDATE_STATE, *account);
            batch.put(key, encoding::to_compact(&state));
        }
    }
    let done = dirty.is_empty();
    if done {
        batch.put(layout::CHECKPOINT.to_vec(), encoding::to_number(upto));
        for (chat, _) in known.tombstones.extract_if(|_, stamp| *stamp <= upto) {
            batch.delete(layout::chat(kind::TOMBSTONE, &chat));
        }
    }
    if !batch.is_empty() {
        failpoint::reach("store.checkpoint.before");
        shared.engine.apply(batch)?;
        failpoint::reach("store.checkpoint.after");
    }
    let mut overlay = shared.overlay_mut();
    cursors.iter().for_each(|chat| overlay.drop_cursor(chat));
    if done {
        overlay.shrink();
    }
    Ok(done)
}

fn next_of(dirty: &mut Dirty) -> (Vec<ChatKey>, Vec<AuthKeyId>) {
    let cursors = dirty.cursors.len().min(STEP);
    let states = dirty.states.len().min(STEP - cursors);
    let cursors = dirty.cursors.split_off(dirty.cursors.len() - cursors);
    let states = dirty.states.split_off(dirty.states.len() - states);
    (cursors, states)
}

/// An account's update state with its moves, if it moved. The moves leave the overlay here and not
/// after the write, because new ones may come at any time; until the write a reader sees the state a
/// little behind, which only makes Telegram repeat what the cursors recognise.
fn take_moved_state(
    shared: &Shared,
    account: AuthKeyId,
) -> Result<Option<UpdateState>, StoreError> {
    let Some(delta) = shared.overlay_mut().take_state(account) else {
        return Ok(None);
    };
    let mut state = update_states::stored(&*shared.engine, account)?.unwrap_or_default();
    state.apply(&delta);
    Ok(Some(state))
}

/// Deletes up to [`STEP`] segments that end at or below `trimmable`; `true` once none is left.
fn trim(engine: &dyn Engine, trimmable: u64) -> Result<bool, StoreError> {
    let mut batch = WriteBatch::default();
    let (from, to) = layout::all(kind::SEGMENT);
    let mut outcome: Result<(), StoreError> = Ok(());
    engine.scan(&from, &to, &mut |key, segment| match segment::span(key, segment) {
        Ok((_, end)) if end <= trimmable + 1 => {
            batch.delete(key.to_vec());
            batch.len() < STEP
        }
        Ok(_) => false,
        Err(error) => {
            outcome = Err(error);
            false
        }
    })?;
    outcome?;
    let done = batch.len() < STEP;
    if !batch.is_empty() {
        failpoint::reach("store.trim.before");
        engine.apply(batch)?;
        failpoint::reach("store.trim.after");
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Op;
    use crate::store::Store;
    use crate::store::tests::{chat, cursor, event, monitor};

    async fn event_on(store: &Store, number: i64) {
        let cursor = Op::PutCursor { chat: chat(number).key(), cursor: cursor(9) };
        let ops = vec![Op::PutMonitor(monitor(number)), cursor, Op::Append(event(1, 9))];
        store.commit(ops).await.unwrap();
    }

    #[tokio::test]
    async fn a_released_segment_stays_until_its_cursors_have_records() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let shared = &store.shared;
        let mut known = KnownRecords::default();
        let mut checkpoint = Checkpoint::new(0, Duration::ZERO);
        event_on(&store, 1).await;
        checkpoint.step(shared, &mut known, 2, 1).unwrap();
        event_on(&store, 2).await;
        for _ in 0..2 {
            checkpoint.step(shared, &mut known, 3, 2).unwrap();
        }
        let (from, to) = layout::all(kind::SEGMENT);
        let left = crate::store::engines::collect(&*shared.engine, &from, &to, 9).unwrap();
        let left: Vec<_> = left.iter().map(|(key, _)| layout::seq_of(key)).collect();
        assert_eq!(left, [Some(2)], "the pass began before the second event");
        assert!(matches!(checkpoint.stage, Stage::Idle));
    }
}
