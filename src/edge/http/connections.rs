//! Which connections are open, and which one gives way when there is room for no more. Owns the table and
//! what is known of each: whether a byte ever came, or a whole request, whether one is being answered,
//! whether its answer is taken. Never touches a socket: a connection that gives way has its task ended,
//! and goes with it.
//!
//! There are two rooms. Who has said nothing at all costs next to nothing and is held apart, in thousands,
//! so that a crowd of them neither takes anybody's place nor comes again and again; the longest silent
//! gives way there. With the first byte a connection takes one of the places, where nobody waits either:
//! the one who uses theirs least gives way. First go those who have never finished a request, the longest
//! open first; then those who came in the crowd and do not take their answer; then those who have no more
//! questions; then those who do not take theirs. A request that is being answered is never ended for this:
//! how many of these there may be is bounded elsewhere (`api/in_hand.rs`, `api/streams.rs`), by less than
//! there are places.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use crate::clock::instant;

/// How soon room is looked for again when everybody was busy: one of them may have become idle.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// No request ever came whole.
const SILENT: u8 = 0;
/// A request is being answered, or the connection became an event stream.
const BUSY: u8 = 1;
/// Everything that was asked is answered, as far as this side goes.
const ANSWERED: u8 = 2;

/// How long a connection has had no question before it makes room for one that asks for the first time.
const UNASKED_MIN: Duration = Duration::from_secs(5);

/// The least rank of those who asked, were answered, and do not hold one of the last places.
const ANSWERED_RANK_MIN: u8 = 2;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Connections on which nothing was said yet.
    pub(super) quiet: usize,
    /// The others.
    pub(super) places: usize,
    /// The last of these, which are for health and metrics: what else is asked on them is refused, and
    /// each is closed after one answer. Who has never asked anything does not count, and who has had
    /// no question for a while gives way before anybody new has to take one of these.
    pub(super) reserved: usize,
}

/// What one connection is doing.
#[derive(Debug)]
pub(super) struct Life {
    accepted: Instant,
    phase: AtomicU8,
    /// Whether this is one of the last connections; see [`Room::reserved`].
    is_reserved: AtomicBool,
    /// Whether the other side does not take what is written.
    is_stuck: AtomicBool,
    /// When it got on last, in milliseconds since it was accepted.
    moved: AtomicU64,
    /// When the head of a request came last, in the same way; 0 when none came yet.
    asked: AtomicU64,
}

impl Life {
    fn new() -> Self {
        Self {
            accepted: instant(),
            phase: AtomicU8::new(SILENT),
            is_reserved: AtomicBool::new(false),
            is_stuck: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            asked: AtomicU64::new(0),
        }
    }

    fn age(&self) -> u64 {
        u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// When the head of a request came last, if one did.
    pub(super) fn asked(&self) -> Option<Instant> {
        let asked = self.asked.load(Ordering::Relaxed);
        (asked > 0).then(|| self.accepted + Duration::from_millis(asked))
    }

    pub(super) fn is_reserved(&self) -> bool {
        self.is_reserved.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    pub(super) fn is_busy(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == BUSY
    }

    /// Some of an answer was taken.
    pub(super) fn wrote(&self) {
        self.moved.store(self.age(), Ordering::Relaxed);
        self.is_stuck.store(false, Ordering::Relaxed);
    }

    /// The other side takes nothing just now.
    pub(super) fn is_not_taken(&self) {
        self.is_stuck.store(true, Ordering::Relaxed);
    }

    /// An answer was handed over to be written.
    fn answered(&self) {
        self.moved.store(self.age(), Ordering::Relaxed);
        self.phase.store(ANSWERED, Ordering::Relaxed);
    }

    /// Who gives way: the least rank first, and of one rank who got on the longest ago. `None`: nobody
    /// has to.
    fn rank(&self) -> Option<(u8, Instant)> {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        let moved = self.accepted + moved;
        let is_stuck = self.is_stuck.load(Ordering::Relaxed);
        match self.phase.load(Ordering::Relaxed) {
            SILENT => Some((0, self.accepted)),
            BUSY => None,
            _ if self.is_reserved() => Some((1, moved)),
            _ if !is_stuck => Some((ANSWERED_RANK_MIN, moved)),
            _ => Some((3, moved)),
        }
    }
}

#[derive(Debug)]
struct Entry {
    life: Arc<Life>,
    /// Ends it; `None` before it runs, and once it was told to go.
    task: Option<AbortHandle>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Connections {
    room: Room,
    open: Mutex<Table>,
    /// Connections on which somebody asked.
    engaged: AtomicUsize,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    /// By age: numbers only grow. Who has said nothing.
    quiet: BTreeMap<u64, Entry>,
    /// The others.
    served: BTreeMap<u64, Entry>,
    next: u64,
}

impl Connections {
    pub(super) fn new(room: Room) -> Arc<Self> {
        let (open, engaged) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { room, open, engaged, freed: Notify::new() })
    }

    /// Every change is whole before the lock is let go, so a poisoned one is as good as any.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets one more connection in, which has said nothing yet. The longest silent gives way if there is
    /// no room.
    pub(super) async fn enter(self: &Arc<Self>) -> ConnectionPermit {
        loop {
            if let Some(place) = self.try_enter() {
                return place;
            }
            self.give_way_quiet();
            // Its task ends before this goes on.
            tokio::task::yield_now().await;
        }
    }

    fn try_enter(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let mut table = self.table();
        if table.quiet.len() >= self.room.quiet {
            return None;
        }
        let (number, life) = (table.next, Arc::new(Life::new()));
        table.next += 1;
        table.quiet.insert(number, Entry { life: Arc::clone(&life), task: None });
        Some(ConnectionPermit { of: Arc::clone(self), number, life })
    }

    fn try_serve(&self, number: u64) -> bool {
        let mut table = self.table();
        let is_free = table.served.len() < self.room.places;
        if is_free && let Some(entry) = table.quiet.remove(&number) {
            table.served.insert(number, entry);
        }
        is_free
    }

    /// Ends the connection that is missed least; whether there was one.
    pub(super) fn give_way(&self) -> bool {
        self.give_way_quiet() || self.give_way_served(0, Duration::ZERO)
    }

    fn give_way_quiet(&self) -> bool {
        let mut table = self.table();
        let longest = table.quiet.values_mut().find_map(|entry| entry.task.take());
        drop(table);
        longest.map(|task| task.abort()).is_some()
    }

    /// The least of those with at least this rank that got on last at least so long ago.
    fn give_way_served(&self, rank_min: u8, idle_min: Duration) -> bool {
        let mut table = self.table();
        let mut least: Option<(u8, Instant, u64)> = None;
        for (number, entry) in table.served.iter().filter(|(_, entry)| entry.task.is_some()) {
            let Some((rank, moved)) = entry.life.rank() else { continue };
            if rank < rank_min || moved.elapsed() < idle_min {
                continue;
            }
            if least.is_none_or(|(other, since, _)| (rank, moved) < (other, since)) {
                least = Some((rank, moved, *number));
            }
            // They come by age, so no other is sooner.
            if rank == 0 {
                break;
            }
        }
        let task = least.and_then(|(_, _, number)| table.served.get_mut(&number)?.task.take());
        drop(table);
        task.map(|task| task.abort()).is_some()
    }

    #[cfg(test)]
    fn open(&self) -> (usize, usize) {
        let table = self.table();
        (table.quiet.len(), table.served.len())
    }
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    of: Arc<Connections>,
    number: u64,
    life: Arc<Life>,
}

impl ConnectionPermit {
    pub(super) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// What tells of requests on this connection.
    pub(super) fn asking(&self) -> Asking {
        Asking { of: Arc::clone(&self.of), life: Arc::clone(&self.life) }
    }

    /// Where it is known: what ends the connection with this place.
    pub(super) fn runs_as(of: &Connections, number: u64, task: AbortHandle) {
        let mut table = of.table();
        let Table { quiet, served, .. } = &mut *table;
        if let Some(entry) = quiet.get_mut(&number).or_else(|| served.get_mut(&number)) {
            entry.task = Some(task);
        }
    }

    /// The first byte came. Somebody gives way if there is no place, and at the worst it waits until an
    /// answer is finished.
    pub(super) async fn take(&self) {
        while !self.of.try_serve(self.number) {
            self.of.give_way_served(0, Duration::ZERO);
            let _ = timeout(LOOK_AGAIN, self.of.freed.notified()).await;
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut table = self.of.table();
        let was_served = table.served.remove(&self.number).is_some();
        table.quiet.remove(&self.number);
        drop(table);
        if self.life.asked().is_some() {
            self.of.engaged.fetch_sub(1, Ordering::Relaxed);
        }
        if was_served {
            self.of.freed.notify_one();
        }
    }
}

/// Notes the requests on one connection.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    of: Arc<Connections>,
    life: Arc<Life>,
}

impl Asking {
    /// The head of a request came: its answer has its full time.
    pub(super) fn began(&self) {
        if self.life.asked().is_none() {
            let engaged = self.of.engaged.fetch_add(1, Ordering::Relaxed) + 1;
            let Room { places, reserved, .. } = self.of.room;
            let is_crowded = engaged > places.saturating_sub(reserved);
            // Who has had no question for a while makes room. Not who has just been answered: else a crowd
            // that comes and goes would take the places of those who were there before.
            let made_room = || self.of.give_way_served(ANSWERED_RANK_MIN, UNASKED_MIN);
            let is_reserved = is_crowded && !made_room();
            self.life.is_reserved.store(is_reserved, Ordering::Relaxed);
        }
        self.life.asked.store(self.life.age().max(1), Ordering::Relaxed);
        self.life.phase.store(BUSY, Ordering::Relaxed);
    }

    pub(super) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// What notes, when it is dropped, that the answer was handed over.
    pub(super) fn until_answered(&self) -> Answering {
        Answering(Some(Arc::clone(&self.life)))
    }
}

/// An answer that is under way.
#[derive(Debug)]
pub(super) struct Answering(Option<Arc<Life>>);

impl Answering {
    /// It goes on for as long as the connection does.
    pub(super) fn never_ends(mut self) {
        self.0 = None;
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(life) = &self.0 {
            life.answered();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A connection that has said something, whose task ends when it is told to.
    async fn enter(all: &Arc<Connections>) -> (Asking, tokio::task::JoinHandle<()>) {
        let place = all.enter().await;
        place.take().await;
        running(all, place)
    }

    fn running(
        all: &Arc<Connections>,
        place: ConnectionPermit,
    ) -> (Asking, tokio::task::JoinHandle<()>) {
        let (asking, number) = (place.asking(), place.number());
        let task = tokio::spawn(async move {
            let _place = place;
            std::future::pending().await
        });
        ConnectionPermit::runs_as(all, number, task.abort_handle());
        (asking, task)
    }

    async fn is_ended(task: tokio::task::JoinHandle<()>) -> bool {
        timeout(Duration::from_secs(10), task).await.is_ok_and(|ended| ended.is_err())
    }

    #[tokio::test]
    async fn who_never_asked_gives_way_first_and_the_longest_open_of_these() {
        let all = Connections::new(Room { quiet: 3, places: 4, reserved: 0 });
        let (asked, _asked) = enter(&all).await;
        asked.began();
        drop(asked.until_answered());
        let (_, first) = enter(&all).await;
        let (_, second) = enter(&all).await;
        let (busy, _busy) = enter(&all).await;
        busy.began();
        let (_, third) = enter(&all).await;
        assert!(is_ended(first).await);
        let (_, fourth) = enter(&all).await;
        assert!(is_ended(second).await);
        assert!(!third.is_finished() && !fourth.is_finished());
        assert_eq!(all.open(), (0, 4));
    }

    #[tokio::test]
    async fn who_says_nothing_takes_nobodys_place() {
        let all = Connections::new(Room { quiet: 3, places: 1, reserved: 0 });
        let (asked, served) = enter(&all).await;
        drop((asked.began(), asked.until_answered()));
        let mut quiet = Vec::new();
        for _ in 0..9 {
            let place = all.enter().await;
            quiet.push(running(&all, place).1);
        }
        for (number, task) in quiet.into_iter().enumerate() {
            if number < 6 {
                assert!(is_ended(task).await, "{number}: the longest silent give way");
            } else {
                assert!(!task.is_finished(), "{number}");
            }
        }
        assert_eq!(all.open(), (3, 1));
        assert!(!served.is_finished());
        // Where descriptors are short, they go before anybody else.
        for left in [2, 1, 0] {
            assert!(all.give_way());
            let gone = async {
                while all.open() != (left, 1) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(10), gone).await.expect("one goes");
        }
        assert!(all.give_way() && is_ended(served).await && !all.give_way());
    }

    #[tokio::test]
    async fn then_those_without_a_question_and_never_one_that_is_being_answered() {
        let all = Connections::new(Room { quiet: 3, places: 3, reserved: 0 });
        let (busy, working) = enter(&all).await;
        let (idle, resting) = enter(&all).await;
        let (stuck, hanging) = enter(&all).await;
        [&busy, &idle, &stuck].into_iter().for_each(Asking::began);
        drop((stuck.until_answered(), idle.until_answered()));
        stuck.life().is_not_taken();
        let (next, _next) = enter(&all).await;
        assert!(is_ended(resting).await, "it has no more questions");
        next.began();
        let (more, _more) = enter(&all).await;
        assert!(is_ended(hanging).await, "it does not take its answer");
        more.began();
        let waits = timeout(LOOK_AGAIN * 4, enter(&all)).await;
        assert!(waits.is_err() && !working.is_finished(), "all are being answered");
        drop(more.until_answered());
        enter(&all).await;
        assert!(!working.is_finished());
    }

    #[tokio::test]
    async fn the_last_places_count_those_who_asked_alone() {
        let all = Connections::new(Room { quiet: 3, places: 4, reserved: 2 });
        let mut open = Vec::new();
        for reserved in [false, false, true, true] {
            let (_, _silent) = enter(&all).await;
            let (asking, task) = enter(&all).await;
            asking.began();
            assert_eq!(asking.life().is_reserved(), reserved);
            open.push((asking, task));
        }
        // Who came in the crowd gives way before those who were there before.
        for (asking, _) in &open {
            drop(asking.until_answered());
        }
        let (_, _fresh) = enter(&all).await;
        let (_, task) = open.swap_remove(2);
        assert!(is_ended(task).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_question_for_a_while_makes_room_before_the_last_places_are_taken() {
        let all = Connections::new(Room { quiet: 3, places: 4, reserved: 2 });
        let (idle, resting) = enter(&all).await;
        let (busy, working) = enter(&all).await;
        [&idle, &busy].into_iter().for_each(Asking::began);
        drop(idle.until_answered());
        let (soon, came) = enter(&all).await;
        soon.began();
        assert!(soon.life().is_reserved() && !resting.is_finished(), "it was answered just now");
        came.abort();
        let _ = came.await;
        tokio::time::advance(UNASKED_MIN).await;
        let (fresh, _fresh) = enter(&all).await;
        fresh.began();
        assert!(is_ended(resting).await, "it has no more questions");
        assert!(!fresh.life().is_reserved() && !working.is_finished());
        let (late, _late) = enter(&all).await;
        late.began();
        assert!(late.life().is_reserved(), "both others are being answered");
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_places_and_all_come_back(
            places in 1_usize..8,
            steps in prop::collection::vec((0_u8..5, any::<prop::sample::Index>()), 0..80),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let all = Connections::new(Room { quiet: 3, places, reserved: places / 2 });
                let mut open: Vec<(Asking, tokio::task::JoinHandle<()>)> = Vec::new();
                for (step, which) in steps {
                    let some = (!open.is_empty()).then(|| which.index(open.len()));
                    match (step, some) {
                        (0 | 1, _) => {
                            let busy = open.iter().filter(|(asking, _)| asking.life().is_busy());
                            // Everybody is busy: it would wait.
                            if busy.count() < places {
                                open.push(enter(&all).await);
                            }
                        }
                        (2, Some(which)) => open[which].0.began(),
                        (3, Some(which)) => drop(open[which].0.until_answered()),
                        (_, Some(which)) => {
                            let (_, task) = open.swap_remove(which);
                            task.abort();
                            let _ = task.await;
                        }
                        _ => {}
                    }
                    prop_assert!(all.open().1 <= places);
                    open.retain(|(_, task)| !task.is_finished());
                }
                for (_, task) in open.drain(..) {
                    task.abort();
                    let _ = task.await;
                }
                prop_assert_eq!((all.open(), all.engaged.load(Ordering::Relaxed)), ((0, 0), 0));
                Ok(())
            })?;
        }
    }
}
