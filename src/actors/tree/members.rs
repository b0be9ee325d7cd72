//! What each member of the tree shows of itself: whether it runs and since when, what waits for it, what it last did,
//! how often it was started again. Owns the list of all of them; judges nothing. Health, `why` and metrics read it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::protocol::tree::member::{LastMessage, MemberSnapshot, MemberState};
use crate::protocol::tree::restart::ChildKind;
use crate::protocol::tree::table::TableRow;
use crate::protocol::values::ids::UnixMillis;

/// The heartbeat's message: it comes every second, and would be all that is ever seen.
const HEARTBEAT: &str = "Pulse";

/// What one member shows. Stays over its restarts.
#[derive(Debug)]
pub(in crate::actors) struct MemberStats {
    kind: ChildKind,
    clock: Clock,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    name: String,
    state: MemberState,
    since: UnixMillis,
    lives: u32,
    /// Of the life that goes on; none after a failure: what waited is gone.
    mailbox: Option<Arc<Mailbox>>,
    last: Option<LastMessage>,
}

/// The messages of one life of an actor.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    sent: AtomicU64,
    handled: AtomicU64,
}

impl Mailbox {
    /// One is on its way.
    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// It could not be sent, after all.
    pub(super) fn not_sent(&self) {
        self.sent.fetch_sub(1, Ordering::Relaxed);
    }

    fn waiting(&self) -> u64 {
        let handled = self.handled.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed).saturating_sub(handled)
    }
}

impl MemberStats {
    fn new(kind: ChildKind, name: String, clock: Clock) -> Arc<Self> {
        let (state, since) = (MemberState::Restarting, clock.now());
        let seen = Seen { name, state, since, lives: 0, mailbox: None, last: None };
        Arc::new(Self { kind, clock, seen: Mutex::new(seen) })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It runs, for the first time or again, with an empty mailbox.
    pub(super) fn runs(&self) -> Arc<Mailbox> {
        let mut seen = self.seen();
        (seen.state, seen.since) = (MemberState::Running, self.clock.now());
        seen.lives = seen.lives.saturating_add(1);
        Arc::clone(seen.mailbox.insert(Arc::default()))
    }

    /// It failed; it is started again after a pause, or is left alone.
    pub(in crate::actors) fn failed(&self, is_left_alone: bool) {
        let mut seen = self.seen();
        let state = if is_left_alone { MemberState::Parked } else { MemberState::Restarting };
        (seen.state, seen.since, seen.mailbox) = (state, self.clock.now(), None);
    }

    /// It handles a message of `mailbox` from now on, until what is returned is dropped.
    pub(super) fn handling(&self, mailbox: &Mailbox, name: &'static str) -> Handling<'_> {
        mailbox.handled.fetch_add(1, Ordering::Relaxed);
        let is_shown = name != HEARTBEAT;
        if is_shown {
            self.seen().last = Some(LastMessage { name, at: self.clock.now(), is_running: true });
        }
        Handling(is_shown.then_some(self))
    }

    fn snapshot(&self) -> MemberSnapshot {
        let seen = self.seen();
        MemberSnapshot {
            name: seen.name.clone(),
            kind: self.kind,
            state: seen.state,
            since: seen.since,
            mailbox: seen.mailbox.as_ref().map_or(0, |mailbox| mailbox.waiting()),
            last_message: seen.last,
            restarts: seen.lives.saturating_sub(1),
        }
    }

    /// Of nobody in the list.
    #[cfg(test)]
    pub(in crate::actors) fn for_tests() -> Arc<Self> {
        Self::new(ChildKind::Part, String::new(), Clock::system())
    }
}

/// A message that is being handled, if it is shown.
pub(super) struct Handling<'a>(Option<&'a MemberStats>);

impl Drop for Handling<'_> {
    fn drop(&mut self) {
        if let Some(member) = self.0
            && let Some(last) = &mut member.seen().last
        {
            last.is_running = false;
        }
    }
}

/// All members of one tree, by name as in the ledger: `account/…`, `part/fleet`.
#[derive(Debug)]
pub struct Members {
    clock: Clock,
    all: Mutex<BTreeMap<String, Arc<MemberStats>>>,
}

impl Members {
    /// Nobody yet; dated by `clock`.
    pub fn new(clock: Clock) -> Self {
        Self { clock, all: Mutex::default() }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<MemberStats>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a new member; one that was called the same is no longer shown.
    pub(in crate::actors) fn add(&self, kind: ChildKind, name: &str) -> Arc<MemberStats> {
        let name = full(kind, name);
        let member = MemberStats::new(kind, name.clone(), self.clock.clone());
        self.all().insert(name, Arc::clone(&member));
        member
    }

    /// The one member of a row of the table, new unless it was there before.
    pub(in crate::actors) fn of_row(&self, row: &TableRow) -> Arc<MemberStats> {
        let known = self.all().get(&row.path()).cloned();
        known.unwrap_or_else(|| self.add(row.kind, row.name.unwrap_or_default()))
    }

    /// A member that is no actor runs from now on.
    pub fn runs(&self, row: &TableRow) {
        let _ = self.of_row(row).runs();
    }

    /// A member is called otherwise from now on.
    pub(super) fn rename(&self, member: &Arc<MemberStats>, name: &str) {
        let name = full(member.kind, name);
        let before = std::mem::replace(&mut member.seen().name, name.clone());
        let mut all = self.all();
        if before != name {
            remove(&mut all, &before, member);
            all.insert(name, Arc::clone(member));
        }
    }

    /// A member is not to be there any more.
    pub(in crate::actors) fn remove(&self, member: &Arc<MemberStats>) {
        let name = member.seen().name.clone();
        remove(&mut self.all(), &name, member);
    }

    /// What one shows.
    pub fn of(&self, name: &str) -> Option<MemberSnapshot> {
        let known = self.all().get(name).cloned();
        known.map(|known| known.snapshot())
    }

    /// What all of them show, by name.
    #[cfg(test)]
    pub(in crate::actors) fn list(&self) -> Vec<MemberSnapshot> {
        let all: Vec<Arc<MemberStats>> = self.all().values().cloned().collect();
        all.iter().map(|member| member.snapshot()).collect()
    }

    /// How many messages wait, by kind of member.
    pub fn waiting(&self) -> BTreeMap<&'static str, u64> {
        let all: Vec<Arc<MemberStats>> = self.all().values().cloned().collect();
        let mut waiting = BTreeMap::new();
        for member in all {
            let own = member.seen().mailbox.as_ref().map_or(0, |mailbox| mailbox.waiting());
            *waiting.entry(member.kind.name()).or_default() += own;
        }
        waiting
    }
}

/// Takes `member` out, and nobody else who may be called the same by now.
fn remove(all: &mut BTreeMap<String, Arc<MemberStats>>, name: &str, member: &Arc<MemberStats>) {
    if all.get(name).is_some_and(|known| Arc::ptr_eq(known, member)) {
        all.remove(name);
    }
}

fn full(kind: ChildKind, name: &str) -> String {
    format!("{}/{name}", kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_over_a_name_keeps_it_when_the_former_one_goes() {
        let members = Members::new(Clock::system());
        let former = members.add(ChildKind::Account, "one");
        let _ = former.runs();
        let latter = members.add(ChildKind::Account, "one");
        let mailbox = latter.runs();
        mailbox.sent();
        members.rename(&former, "former");
        members.remove(&former);
        let shown = members.of("account/one").unwrap();
        assert_eq!((shown.mailbox, shown.restarts), (1, 0));
        assert_eq!(members.list().len(), 1);
        latter.failed(true);
        let shown = members.of("account/one").unwrap();
        assert_eq!((shown.state, shown.mailbox), (MemberState::Parked, 0), "what waited is gone");
    }
}
