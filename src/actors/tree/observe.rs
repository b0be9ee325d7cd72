//! What each member of the tree shows of itself: whether it runs and since when, what waits for it, what it last did,
//! how often it was started again. Owns the list of all of them; judges nothing. Health, `why` and metrics read it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::protocol::tree::observation::{LastMessage, MemberState, Observation};
use crate::protocol::tree::restart::ChildKind;
use crate::protocol::tree::table::Row;
use crate::protocol::values::ids::UnixMillis;

/// The note beside one member. It stays over restarts.
#[derive(Debug)]
pub(in crate::actors) struct Observer {
    kind: ChildKind,
    clock: Clock,
    sent: AtomicU64,
    handled: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    state: MemberState,
    since: UnixMillis,
    restarts: u32,
    last: Option<LastMessage>,
}

impl Observer {
    fn new(kind: ChildKind, clock: Clock) -> Arc<Self> {
        let seen =
            Seen { state: MemberState::Running, since: clock.now(), restarts: 0, last: None };
        let (sent, handled) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { kind, clock, sent, handled, seen: Mutex::new(seen) })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// It could not be, after all.
    pub(super) fn not_sent(&self) {
        self.sent.fetch_sub(1, Ordering::Relaxed);
    }

    /// It handles a message from now on, until what is returned is dropped.
    pub(super) fn handling(self: &Arc<Self>, name: &'static str) -> Handling<'_> {
        self.handled.fetch_add(1, Ordering::Relaxed);
        self.seen().last = Some(LastMessage { name, at: self.clock.now(), is_running: true });
        Handling(self)
    }

    fn becomes(&self, state: MemberState) {
        let mut seen = self.seen();
        (seen.state, seen.since) = (state, self.clock.now());
    }

    /// It runs anew, with an empty mailbox.
    fn runs_again(&self) {
        self.handled.store(self.sent.load(Ordering::Relaxed), Ordering::Relaxed);
        self.becomes(MemberState::Running);
        self.seen().restarts += 1;
    }

    fn shown(&self, name: &str) -> Observation {
        let seen = *self.seen();
        let handled = self.handled.load(Ordering::Relaxed);
        Observation {
            name: name.to_owned(),
            kind: self.kind,
            state: seen.state,
            since: seen.since,
            mailbox: self.sent.load(Ordering::Relaxed).saturating_sub(handled),
            last_message: seen.last,
            restarts: seen.restarts,
        }
    }

    /// Of nobody in the list.
    #[cfg(test)]
    pub(in crate::actors) fn for_tests() -> Arc<Self> {
        Self::new(ChildKind::Part, Clock::system())
    }
}

/// A message that is being handled.
pub(super) struct Handling<'a>(&'a Observer);

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        if let Some(last) = &mut self.0.seen().last {
            last.is_running = false;
        }
    }
}

/// All members of one tree, by name as in the ledger: `account/…`, `part/fleet`.
#[derive(Debug)]
pub struct Observations {
    clock: Clock,
    all: Mutex<BTreeMap<String, Arc<Observer>>>,
}

impl Observations {
    /// Nobody yet; dated by `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, all: Mutex::default() }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Observer>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member is started, for the first time or again.
    pub(in crate::actors) fn starts(&self, kind: ChildKind, name: &str) -> Arc<Observer> {
        let mut all = self.all();
        if let Some(known) = all.get(&full(kind, name)) {
            known.runs_again();
            return Arc::clone(known);
        }
        let observer = Observer::new(kind, self.clock.clone());
        all.insert(full(kind, name), Arc::clone(&observer));
        observer
    }

    /// The member of a row of the table is started, for the first time or again.
    pub(in crate::actors) fn begins(&self, row: &Row) -> Arc<Observer> {
        self.starts(row.kind, row.name.unwrap_or_default())
    }

    /// A member failed; it is started again after a pause, or is left alone.
    pub(super) fn failed(&self, kind: ChildKind, name: &str, is_left_alone: bool) {
        let known = self.all().get(&full(kind, name)).cloned();
        let state = if is_left_alone { MemberState::Parked } else { MemberState::Restarting };
        if let Some(known) = known {
            known.becomes(state);
        }
    }

    /// A member is called otherwise from now on.
    pub(super) fn renamed(&self, kind: ChildKind, before: &str, now: &str) {
        let mut all = self.all();
        if let Some(known) = all.remove(&full(kind, before)) {
            all.insert(full(kind, now), known);
        }
    }

    /// A member ended in peace, and is not to be there any more.
    pub(in crate::actors) fn ends(&self, kind: ChildKind, name: &str) {
        self.all().remove(&full(kind, name));
    }

    /// What one shows.
    pub fn of(&self, name: &str) -> Option<Observation> {
        let known = self.all().get(name).cloned();
        known.map(|known| known.shown(name))
    }

    /// What all of them show whose kind `wanted` names, by name.
    pub fn list(&self, wanted: impl Fn(ChildKind) -> bool) -> Vec<Observation> {
        let all = self.all();
        let chosen = all.iter().filter(|(_, observer)| wanted(observer.kind));
        chosen.map(|(name, observer)| observer.shown(name)).collect()
    }
}

fn full(kind: ChildKind, name: &str) -> String {
    format!("{}/{name}", kind.name())
}
