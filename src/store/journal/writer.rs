//! The writer: one thread that makes groups of submissions durable. Owns the order of events, the
//! sequence numbers and the spacing of commits; the only one who writes to the engine.
//!
//! Each cycle takes everything that waits, writes it as one atomic batch, syncs, and only then tells
//! anyone: first the overlays, then the readers of the outbox, then those who wait. The first failure
//! ends the writer: everything waiting and everything later is refused with its cause.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

use crate::clock::instant;
use crate::failpoint;

use super::checkpoint::Checkpoint;
use super::group::{Context, Group, KnownRecords};
use super::queue::{self, Completion, Taken};
use super::shared::Shared;
use crate::store::contract::{CommitError, EngineError, Op, StoreError, panic_text};
use crate::store::engines::{Engine, WriteBatch};
use crate::store::format::encoding;
use crate::store::format::layout;
use crate::store::integrity::{DurablePosition, Witness};
use crate::store::keys::RotationWorker;

/// An acknowledged offset waits this long for a commit to be written with before it is written alone; as long
/// may pass before the writer notices it.
const ACKNOWLEDGE_WAIT: Duration = Duration::from_millis(50);

/// Submissions in a group that is full: see [`Pacing::spacing_max`].
const FULL: u32 = 64;

/// Groups after one that several submissions shared during which more such are expected.
const SHARING_LASTS: u32 = 8;

/// The pacing of the writer. What comes alone never waits, nor does a chain of submissions of which
/// each waits for the one before: nobody would share its commit. Where several share one, more are
/// likely, and commits keep a distance in which they gather, because each costs about 0.1 ms of CPU
/// whether it holds one event or a hundred.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Pacing {
    /// Least time between the starts of two commits while submissions share them.
    pub(in crate::store) spacing_min: Duration,
    /// The same when groups are full anyway and throughput matters more than a few milliseconds.
    pub(in crate::store) spacing_max: Duration,
    /// Time between the starts of two checkpoints, and between two notes of the witness. Bounds what recovery reads (24 MB at 10,000 events
    /// a second) and how far an update state on disk lags behind; a record costs the engine about 10 us, so
    /// the longer it is, the more moves of one chat or account cost only one.
    pub(in crate::store) checkpoint_every: Duration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            spacing_min: Duration::from_micros(1500),
            spacing_max: Duration::from_millis(8),
            checkpoint_every: Duration::from_secs(4),
        }
    }
}

/// When the writer may begin the next commit.
#[derive(Debug, Default)]
struct CommitSpacing {
    /// When the last commit began, and how many submissions it held.
    last: Option<(Instant, usize)>,
    /// Commits during which submissions are expected to share one.
    shared_for: u32,
}

impl CommitSpacing {
    /// Notes that a commit of `submissions` submissions begins.
    fn begins(&mut self, submissions: usize, at: Instant) {
        self.shared_for =
            if submissions > 1 { SHARING_LASTS } else { self.shared_for.saturating_sub(1) };
        self.last = Some((at, submissions));
    }

    /// How long submissions should still gather before the next commit.
    fn left(&self, pacing: &Pacing, now: Instant) -> Option<Duration> {
        let (began, submissions) = self.last.filter(|_| self.shared_for > 0)?;
        pacing.spacing(submissions).checked_sub(now.saturating_duration_since(began))
    }
}

impl Pacing {
    /// Least time after a commit of `submissions` submissions began.
    fn spacing(&self, submissions: usize) -> Duration {
        let full = u32::try_from(submissions).unwrap_or(u32::MAX).min(FULL);
        self.spacing_min + self.spacing_max.saturating_sub(self.spacing_min) * full / FULL
    }
}

/// The writer's own state.
pub(in crate::store) struct Writer {
    pub(in crate::store) shared: Arc<Shared>,
    pub(in crate::store) known: KnownRecords,
    /// The number of the next event.
    pub(in crate::store) next_seq: u64,
    /// The acknowledged offset, as the disk has it.
    pub(in crate::store) acknowledged: u64,
    pub(in crate::store) checkpoint: Checkpoint,
    pub(in crate::store) rotation: RotationWorker,
    pub(in crate::store) pacing: Pacing,
    /// Where it is noted how far the store has come; stores in memory have none.
    pub(in crate::store) witness: Option<Witness>,
    /// How far it had come with the last sync.
    pub(in crate::store) synced: DurablePosition,
    /// When that is to be noted next.
    pub(in crate::store) note_at: Instant,
}

/// An acknowledged offset that the disk does not know yet.
struct Unwritten {
    acknowledged: u64,
    since: Option<Instant>,
}

impl Writer {
    /// Runs until the store is closed or fails.
    pub(in crate::store) fn run(self) {
        let shared = Arc::clone(&self.shared);
        // Nobody may wait for a writer that is gone: whatever ends it fails everyone who waits.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work())) {
            shared.panicked(&panic_text(&*panic));
        }
        shared.keys.close();
    }

    fn work(mut self) {
        let mut spacing = CommitSpacing::default();
        let mut unwritten = Unwritten { acknowledged: self.acknowledged, since: None };
        loop {
            self.gather(&spacing);
            let deadline = self.deadline(&unwritten);
            let taken = self.shared.queue.take(deadline, unwritten.acknowledged);
            if taken.stopped {
                return;
            }
            if taken.acknowledged > self.acknowledged {
                unwritten.acknowledged = taken.acknowledged;
                unwritten.since.get_or_insert_with(instant);
            }
            let last = taken.closing && taken.submissions.is_empty();
            if !taken.submissions.is_empty() {
                spacing.begins(taken.submissions.len(), instant());
            }
            if !self.cycle(taken, &mut unwritten, last) || last {
                return;
            }
        }
    }

    /// Lets submissions gather when the last commit has only just begun and others share commits.
    fn gather(&self, spacing: &CommitSpacing) {
        if let Some(left) = spacing.left(&self.pacing, instant())
            && !self.shared.queue.is_busy()
        {
            std::thread::sleep(left);
        }
    }

    fn deadline(&self, unwritten: &Unwritten) -> Option<Instant> {
        let acknowledge = unwritten.since.map(|since| since + ACKNOWLEDGE_WAIT);
        let checkpoint = self.checkpoint.due(&self.shared, &self.known, self.trimmable());
        let note = self.is_witness_behind().then_some(self.note_at);
        let rotation = self.rotation.due(&self.shared.keys);
        let due = [acknowledge, checkpoint, note, rotation].into_iter().flatten().min();
        // With a deadline an acknowledgement wakes nobody, which would cost more than it is worth beside a stream
        // of commits that take it along: one that comes while nothing else does is polled for.
        let is_awaited = unwritten.since.is_none() && unwritten.acknowledged + 1 < self.next_seq;
        let poll = (due.is_some() && is_awaited).then(|| instant() + ACKNOWLEDGE_WAIT);
        due.into_iter().chain(poll).min()
    }

    /// One cycle; `false` once the store has failed.
    fn cycle(&mut self, taken: Taken, unwritten: &mut Unwritten, last: bool) -> bool {
        let permits = queue::permits(&taken.submissions);
        let oldest = taken.submissions.first().map(|submission| submission.at);
        let (ops, waiting): (Vec<Vec<Op>>, Vec<Completion>) = taken
            .submissions
            .into_iter()
            .map(|submission| (submission.ops, submission.completion))
            .unzip();
        let outcome = guarded(|| self.commit(ops, unwritten));
        let failure = outcome.err().map(|error| self.shared.stop(error));
        if let (Some(oldest), None) = (oldest, &failure) {
            self.shared.metrics.committed(oldest.elapsed());
        }
        failpoint::reach("store.tell.before");
        for completion in waiting {
            completion.notify(failure.clone().map_or(Ok(()), Err));
        }
        if failure.is_some() {
            return false;
        }
        self.shared.queue.completed(permits);
        failpoint::reach("store.tell.after");
        match guarded(|| self.upkeep(unwritten, last)) {
            Ok(()) => true,
            Err(error) => {
                self.shared.stop(error);
                false
            }
        }
    }

    /// Makes a group durable, then updates the overlays and the readers.
    fn commit(&mut self, ops: Vec<Vec<Op>>, unwritten: &mut Unwritten) -> Result<(), StoreError> {
        if ops.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let mut group = Group::new(self.next_seq);
        let engine = &*shared.engine;
        let mut context = Context { engine, keys: &shared.keys, known: &mut self.known };
        for op in ops.into_iter().flatten() {
            group.add(op, &mut context)?;
        }
        let ready = group.finish(
            &shared.keyring,
            shared.clock.now(),
            unwritten.acknowledged,
            &mut self.known,
        )?;
        if ready.effects.replaces_states() {
            ready.effects.apply_before_write(&mut shared.overlay_mut());
        }
        if ready.effects.has_events() {
            unwritten.since = None;
        }
        if !ready.batch.is_empty() {
            self.write(ready.batch, unwritten)?;
            failpoint::reach("store.sync.before");
            let batches = shared.engine.count();
            shared.engine.sync()?;
            failpoint::reach("store.sync.after");
            let next_seq = ready.effects.end();
            self.synced = DurablePosition { batches, next_seq };
        }
        if let Some(through) = ready.effects.spooled {
            shared.spooled_up_to(through);
        }
        let (first, entries) = ready
            .effects
            .apply_once_durable(&mut shared.overlay_mut(), &mut shared.monitor_index_mut());
        self.next_seq = first + entries.len() as u64;
        if !entries.is_empty() {
            shared.metrics.appended(entries.len() as u64, self.known.written);
            shared.spool_recent.push(first, &entries);
            shared.recent.push(first, &entries);
        }
        Ok(())
    }

    /// Applies a batch together with the acknowledged offset, if that waits.
    fn write(
        &mut self,
        mut batch: WriteBatch,
        unwritten: &mut Unwritten,
    ) -> Result<(), StoreError> {
        if unwritten.since.take().is_some() {
            let acknowledged = encoding::to_number(unwritten.acknowledged);
            batch.put(layout::ACKNOWLEDGED.to_vec(), acknowledged);
        }
        failpoint::reach("store.apply.before");
        self.shared.engine.apply(batch)?;
        failpoint::reach("store.apply.after");
        self.acknowledged = unwritten.acknowledged;
        Ok(())
    }

    fn upkeep(&mut self, unwritten: &mut Unwritten, last: bool) -> Result<(), StoreError> {
        if unwritten.since.is_some_and(|since| last || since.elapsed() >= ACKNOWLEDGE_WAIT) {
            failpoint::reach("store.release.before");
            self.write(WriteBatch::default(), unwritten)?;
            failpoint::reach("store.release.after");
        }
        let trimmable = self.trimmable();
        let (shared, known) = (&self.shared, &mut self.known);
        if last {
            self.checkpoint.finish(shared, known, self.next_seq, trimmable)?;
            failpoint::reach("store.close.before");
            shared.engine.sync()?;
            failpoint::reach("store.close.after");
            self.synced =
                DurablePosition { batches: shared.engine.count(), next_seq: self.next_seq };
            return self.note_position();
        }
        self.checkpoint.step(shared, known, self.next_seq, trimmable)?;
        self.rotation.step(&*shared.engine, &shared.keys, shared.clock.now())?;
        if self.is_witness_behind() && self.note_at <= instant() {
            self.note_position()?;
        }
        Ok(())
    }

    /// Both readers have passed the outbox up to here, as the disk has it.
    fn trimmable(&self) -> u64 {
        self.acknowledged.min(self.shared.spooled.load(Ordering::Acquire))
    }

    /// Whether more is durable than the witness says.
    fn is_witness_behind(&self) -> bool {
        self.witness.as_ref().is_some_and(|witness| witness.noted() != self.synced)
    }

    fn note_position(&mut self) -> Result<(), StoreError> {
        self.note_at = instant() + self.pacing.checkpoint_every;
        self.witness.as_mut().map_or(Ok(()), |witness| witness.note(self.synced))
    }
}

/// Runs `work`; an engine may panic where others return errors.
fn guarded(work: impl FnOnce() -> Result<(), StoreError>) -> Result<(), CommitError> {
    let outcome = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome,
        // Half of a batch may be written later, by the engine's own clock; the next start would find that.
        Err(panic) => {
            let said = panic_text(&*panic);
            let advice = "start again, and restore the store from a backup if it is refused then";
            let cause = format!("{said}; {advice}").into();
            return Err(CommitError::Damaged { cause, path: None });
        }
    };
    outcome.map_err(|error| match error {
        // Bare: what to do is said around it.
        StoreError::Engine(EngineError::Failed(cause)) => CommitError::failed(cause),
        StoreError::Engine(EngineError::Disk { trouble, cause }) => {
            CommitError::because(Some(trouble), cause)
        }
        damage if damage.is_damage() => {
            CommitError::Damaged { cause: damage.to_string().into(), path: None }
        }
        other => CommitError::because(other.disk_trouble(), other),
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::store::contract::DiskTrouble;

    /// Plays `submissions` commits that begin `apart` from one another; how long each was to wait.
    fn play(submissions: &[usize], apart: Duration) -> Vec<Option<Duration>> {
        let (pacing, start) = (Pacing::default(), Instant::now());
        let mut spacing = CommitSpacing::default();
        let mut waits = Vec::new();
        for (turn, submissions) in (0_u32..).zip(submissions) {
            let now = start + apart * turn;
            waits.push(spacing.left(&pacing, now));
            spacing.begins(*submissions, now);
        }
        waits
    }

    #[test]
    fn what_comes_alone_never_waits_however_close_it_follows() {
        assert_eq!(play(&[1; 100], Duration::from_micros(50)), [None; 100]);
    }

    #[test]
    fn where_submissions_share_commits_they_gather_and_for_a_while_after() {
        let lone = vec![1; SHARING_LASTS as usize + 1];
        let submissions = [&[1, 2], lone.as_slice()].concat();
        let waits = play(&submissions, Duration::from_micros(50));
        assert_eq!(waits[..2], [None, None]);
        let (shared_for, after) = waits[2..].split_at(SHARING_LASTS as usize);
        assert!(shared_for.iter().all(Option::is_some), "{shared_for:?}");
        assert_eq!(after, [None]);
    }

    #[test]
    fn the_more_share_a_commit_the_longer_the_next_gathers_up_to_a_bound() {
        let pacing = Pacing::default();
        let waits: Vec<_> =
            [2, 8, 32, 64, 4096].map(|submissions| pacing.spacing(submissions)).into();
        assert!(waits.is_sorted(), "{waits:?}");
        assert_eq!(waits[3..], [pacing.spacing_max; 2]);
        assert_eq!(play(&[2, 2], pacing.spacing_max), [None, None]);
    }

    #[test]
    fn damage_at_work_is_told_from_a_failing_disk() {
        let damaged = EngineError::Damaged("a page is broken".into());
        let told = guarded(|| Err(damaged.into())).unwrap_err();
        assert!(matches!(told, CommitError::Damaged { .. }), "{told}");
        assert!(told.to_string().contains("a page is broken"), "{told}");
        assert!(told.to_string().contains("backup"), "{told}");
        let failed = guarded(|| Err(EngineError::Failed("no space".into()).into())).unwrap_err();
        assert_eq!(failed, CommitError::failed("no space"));
        let full = EngineError::Disk { trouble: DiskTrouble::Full, cause: "no space".into() };
        let full = guarded(|| Err(full.into())).unwrap_err();
        assert_eq!(full, CommitError::because(Some(DiskTrouble::Full), "no space"));
        let witness = StoreError::file("write", "witness")(io::ErrorKind::StorageFull.into());
        let witness = guarded(|| Err(witness)).unwrap_err();
        assert_eq!(witness.disk_trouble(), Some(DiskTrouble::Full), "{witness}");
        assert!(told.comes_again() && !failed.comes_again() && !full.comes_again());
        let panicked = guarded(|| panic!("oh")).unwrap_err();
        assert!(panicked.clone().at(None).comes_again());
        assert!(CommitError::panicked("oh").at(None).comes_again());
        let panicked = panicked.to_string();
        assert!(panicked.contains("oh") && panicked.contains("start again"), "{panicked}");
    }
}
