//! The writer's half of a rotation. Owns its steps; runs on the writer's thread, between groups, so
//! that it always sees the newest version of a record and never takes one back.
//!
//! (1) The new generation becomes durable, and seals from then on. (2) Every sealed record that an
//! older key wraps is wrapped anew, in small batches, until a whole walk finds none. (3) Older
//! generations are deleted, durably. Batches become durable in order, so after a crash between any
//! two of them every record finds its key, and the next start goes on at (2).

use std::time::Instant;

use super::SEALED_KINDS;
use super::ring::{Keys, Renewed, Request};
use crate::failpoint;
use crate::protocol::values::ids::UnixMillis;
use crate::store::engine::{Batch, Engine};
use crate::store::error::{CommitError, StoreError};
use crate::store::{layout, records};

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
pub(in crate::store) struct Rotation {
    stage: Stage,
}

impl Rotation {
    /// Goes on with what the last run left.
    pub(in crate::store) fn new(keys: &Keys) -> Self {
        let is_settled = keys.progress.borrow().is_settled;
        Self { stage: if is_settled { Stage::Idle } else { Stage::Walking(Walk::default()) } }
    }

    /// When there is work to do next, if any.
    pub(in crate::store) fn due(&self, keys: &Keys) -> Option<Instant> {
        let is_busy = matches!(self.stage, Stage::Walking(_)) || keys.has_request();
        is_busy.then(Instant::now)
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
        if fresh.generation.number != keys.ring().generation.number + 1 {
            let _ = done.send(Err(CommitError::failed("another rotation came first")));
            return Ok(());
        }
        let mut batch = Batch::default();
        with.into_iter().for_each(|(place, record)| batch.put(place, record));
        batch.put(fresh.generation.place(), fresh.generation.to_bytes());
        failpoint::reach("keys.generation.before");
        let written = engine.apply(batch).and_then(|()| engine.sync());
        failpoint::reach("keys.generation.after");
        if let Err(error) = written {
            let _ = done.send(Err(CommitError::failed(&error)));
            return Err(error.into());
        }
        let mut ring = keys.ring_mut();
        let before = std::mem::replace(&mut ring.newest, fresh.key);
        ring.older.push(before);
        ring.generation = fresh.generation;
        let created_at = ring.generation.created_at;
        drop(ring);
        if let Some(root) = root {
            keys.follow(root);
        }
        keys.progress.send_modify(|progress| {
            (progress.is_settled, progress.rewrapped) = (false, 0);
            progress.created_at = created_at;
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
        let mut batch = Batch::default();
        let mut outcome = Ok(());
        let (mut looked, mut broken) = (0, 0_u32);
        let ring = keys.ring();
        engine.scan(&from, &to, &mut |place, sealed| {
            if looked == LOOK || batch.len() == STEP {
                self.next = place.to_vec();
                return false;
            }
            looked += 1;
            match ring.renew(place, sealed) {
                Ok(Renewed::UpToDate) => {}
                Ok(Renewed::Anew(renewed)) => batch.put(place.to_vec(), renewed),
                Ok(Renewed::Broken) => broken += 1,
                Err(error) => outcome = Err(error),
            }
            outcome.is_ok()
        })?;
        drop(ring);
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
            keys.progress.send_modify(|progress| progress.rewrapped += count);
        }
        Ok(true)
    }
}

/// Deletes what no record needs any more.
fn retire(engine: &dyn Engine, keys: &Keys, now: UnixMillis) -> Result<(), StoreError> {
    let newest = keys.ring().generation.number;
    let mut batch = Batch::default();
    for generation in super::open::stored(engine)? {
        if generation.number < newest {
            batch.delete(generation.place());
        }
    }
    if engine.get(layout::KEY_CHECK)?.is_some() {
        batch.delete(layout::KEY_CHECK.to_vec());
    }
    batch.put(layout::ROTATED.to_vec(), records::to_compact(&now.0));
    failpoint::reach("keys.retire.before");
    engine.apply(batch)?;
    engine.sync()?;
    failpoint::reach("keys.retire.after");
    keys.ring_mut().older.clear();
    let mut rewrapped = 0;
    keys.progress.send_modify(|progress| {
        (progress.is_settled, progress.rotated_at) = (true, Some(now));
        rewrapped = progress.rewrapped;
    });
    tracing::info!(
        generation = newest,
        records = rewrapped,
        "the rotation of the keys is complete: nothing is sealed under old keys any more"
    );
    Ok(())
}
