//! The writer's half of a rotation. Owns its steps; runs on the writer's thread, between groups, so
//! that it always sees the newest version of a record and never takes one back.
//!
//! (1) The new generation becomes durable, and seals from then on. (2) Every sealed record that an
//! older key wraps is wrapped anew, in small batches, until a whole walk finds none. (3) Older
//! generations are deleted, durably. Batches become durable in order, so after a crash between any
//! two of them every record finds its key, and the next start goes on at (2).

use tokio::time::Instant;

use super::key_set::{Keys, Renewed, Request};
use super::open;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::values::ids::UnixMillis;
use crate::store::contract::{CommitError, StoreError};
use crate::store::engines::{Engine, WriteBatch};
use crate::store::format::encoding;
use crate::store::format::layout::{self, SEALED_KINDS};

/// Most records a step wraps anew: about 2 ms of work.
const STEP: usize = 128;
/// Most records a step looks at.
const LOOK: usize = 2048;

/// Where a rotation is.
enum Stage {
    /// Only the newest generation is left.
    Idle,
    /// Walking over the sealed records.
    Walking(Walk),
}

/// A walk over all sealed records.
#[derive(Default)]
struct Walk {
    /// The kind it is at.
    kind: usize,
    /// The record it comes to next; empty at the start of a kind.
    next: Vec<u8>,
    /// Whether it found something to do.
    has_found: bool,
}

/// The state of rotations.
pub(in crate::store) struct RotationWorker {
    stage: Stage,
}

impl RotationWorker {
    /// Goes on with what the last run left.
    pub(in crate::store) fn new(keys: &Keys) -> Self {
        let is_complete = keys.state.borrow().is_complete;
        Self { stage: if is_complete { Stage::Idle } else { Stage::Walking(Walk::default()) } }
    }

    /// When there is work to do next, if any.
    pub(in crate::store) fn due(&self, keys: &Keys) -> Option<Instant> {
        let is_busy = matches!(self.stage, Stage::Walking(_)) || keys.has_request();
        is_busy.then(instant)
    }

    /// Does one step, if there is one.
    pub(in crate::store) fn step(
        &mut self,
        engine: &dyn Engine,
        keys: &Keys,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        if let Some(request) = keys.take_request() {
            self.adopt(engine, keys, request)?;
        } else if let Stage::Walking(walk) = &mut self.stage
            && !walk.step(engine, keys)?
        {
            if walk.has_found {
                self.stage = Stage::Walking(Walk::default());
            } else {
                retire(engine, keys, now)?;
                self.stage = Stage::Idle;
            }
        }
        Ok(())
    }

    /// Makes a generation durable, then lets it seal.
    fn adopt(
        &mut self,
        engine: &dyn Engine,
        keys: &Keys,
        request: Request,
    ) -> Result<(), StoreError> {
        let Request { fresh, with, root, done } = request;
        if fresh.generation.number != keys.key_set().generation.number + 1 {
            let _ = done.send(Err(CommitError::failed("another rotation came first")));
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        with.into_iter().for_each(|(record_key, record)| batch.put(record_key, record));
        batch.put(fresh.generation.record_key(), fresh.generation.to_bytes());
        failpoint::reach("keys.generation.before");
        let written = engine.apply(batch).and_then(|()| engine.sync());
        failpoint::reach("keys.generation.after");
        if let Err(error) = written {
            let _ = done.send(Err(CommitError::failed(&error)));
            return Err(error.into());
        }
        let mut key_set = keys.key_set_mut();
        let before = std::mem::replace(&mut key_set.newest, fresh.key);
        key_set.older.push(before);
        key_set.generation = fresh.generation;
        let created_at = key_set.generation.created_at;
        drop(key_set);
        if let Some(root) = root {
            keys.follow(root);
        }
        keys.state.send_modify(|state| {
            (state.is_complete, state.rewrapped) = (false, 0);
            state.created_at = created_at;
        });
        let _ = done.send(Ok(()));
        self.stage = Stage::Walking(Walk::default());
        Ok(())
    }
}

impl Walk {
    /// Wraps some records anew; `false` at the end of the walk.
    fn step(&mut self, engine: &dyn Engine, keys: &Keys) -> Result<bool, StoreError> {
        let Some((kind, name)) = SEALED_KINDS.get(self.kind) else { return Ok(false) };
        let (start, to) = layout::all(*kind);
        let from = if self.next.is_empty() { start } else { std::mem::take(&mut self.next) };
        let mut batch = WriteBatch::default();
        let mut outcome = Ok(());
        let (mut looked, mut broken) = (0, 0_u32);
        let key_set = keys.key_set();
        engine.scan(&from, &to, &mut |record_key, sealed| {
            if looked == LOOK || batch.len() == STEP {
                self.next = record_key.to_vec();
                return false;
            }
            looked += 1;
            match key_set.renew(record_key, sealed) {
                Ok(Renewed::UpToDate) => {}
                Ok(Renewed::Anew(renewed)) => batch.put(record_key.to_vec(), renewed),
                Ok(Renewed::Broken) => broken += 1,
                Err(error) => outcome = Err(error),
            }
            outcome.is_ok()
        })?;
        drop(key_set);
        outcome?;
        if broken > 0 {
            tracing::error!(
                "{broken} records ({name}) are damaged: their seals do not open, so they were not \
                 sealed anew"
            );
        }
        if self.next.is_empty() {
            self.kind += 1;
        }
        if !batch.is_empty() {
            self.has_found = true;
            let count = batch.len() as u64;
            failpoint::reach("keys.rewrap.before");
            engine.apply(batch)?;
            failpoint::reach("keys.rewrap.after");
            keys.state.send_modify(|state| state.rewrapped += count);
        }
        Ok(true)
    }
}

/// Deletes what no record needs any more.
fn retire(engine: &dyn Engine, keys: &Keys, now: UnixMillis) -> Result<(), StoreError> {
    let newest = keys.key_set().generation.number;
    let mut batch = WriteBatch::default();
    for generation in open::stored(engine)? {
        if generation.number < newest {
            batch.delete(generation.record_key());
        }
    }
    if engine.get(layout::KEY_CHECK)?.is_some() {
        batch.delete(layout::KEY_CHECK.to_vec());
    }
    batch.put(layout::ROTATED.to_vec(), encoding::to_compact(&now.0));
    failpoint::reach("keys.retire.before");
    engine.apply(batch)?;
    engine.sync()?;
    failpoint::reach("keys.retire.after");
    keys.key_set_mut().older.clear();
    let mut rewrapped = 0;
    keys.state.send_modify(|state| {
        (state.is_complete, state.rotated_at) = (true, Some(now));
        rewrapped = state.rewrapped;
    });
    tracing::info!(
        generation = newest,
        records = rewrapped,
        "the rotation of the keys is complete: nothing is sealed under old keys any more"
    );
    Ok(())
}
