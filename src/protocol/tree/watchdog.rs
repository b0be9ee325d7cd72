//! When a link that claims to be up is not getting on. Pure: moments are milliseconds on one clock
//! that never goes back.
//!
//! The link's own waits have deadlines; this is for what gets past them. It looks at progress, not
//! at liveness: what the link does and since when, and when it last heard from Telegram. Waiting
//! for the store is no fault of the link, for however long the store takes. So before such a link
//! is called stuck the store is asked, too: its answers come in the order of the questions, so once
//! it has answered one that was asked after the link began to wait, it is not what the link waits
//! for.

use std::fmt;

use crate::protocol::values::ids::UnixMillis;

/// A pump listens for 18 s before it asks for a sign of life, and waits 15 s at most for an answer.
const TURN_MAX_MS: u64 = 40_000;
/// Nothing has been heard for this long although a probe is due after 18 s and has 10 s.
const SILENCE_MAX_MS: u64 = 45_000;
/// A link that waits for the store for this long is looked into.
const STORE_DOUBT_MS: u64 = 30_000;
/// After this many fetches in a row that lead nowhere a difference is given up.
const VAIN_FETCHES_MAX: u32 = 8;

/// Between two looks at a link, in milliseconds.
pub const LOOK_EVERY_MS: u64 = 10_000;

/// Whether the watch itself came so late to its next look that the whole process must have stood
/// still. Every link looks stuck then, and is given the time until the next look to show that it is
/// not.
pub fn has_stood_still(last_look: u64, now: u64) -> bool {
    now.saturating_sub(last_look) > 2 * LOOK_EVERY_MS
}

/// What a link is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// It waits for updates.
    Listening,
    /// It waits for an answer.
    Asking,
    /// It keeps a pause before it asks again.
    Pausing,
    /// It hands messages to their monitors.
    HandingOver,
    /// It waits for room on the way to the disk.
    AwaitingStore,
}

impl Activity {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::Listening, Self::Asking, Self::Pausing, Self::HandingOver, Self::AwaitingStore];
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listening => "listening",
            Self::Asking => "waiting for an answer",
            Self::Pausing => "pausing before it asks again",
            Self::HandingOver => "handing messages over",
            Self::AwaitingStore => "waiting for its messages to be stored",
        })
    }
}

/// How a link is getting on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// What it does.
    pub activity: Activity,
    /// Since when.
    pub since: u64,
    /// When a packet or an answer last came.
    pub heard: u64,
    /// When a batch with news was last handed over; 0 before the first.
    pub applied: u64,
}

/// The same for people, by the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkProgress {
    /// What it does.
    pub activity: Activity,
    /// When a packet or an answer, such as a probe's, last came.
    pub heard_at: UnixMillis,
    /// When news were last handed to the monitors.
    pub applied_at: Option<UnixMillis>,
}

impl Vitals {
    /// By the wall clock; `now` and `wall` are the same moment on both clocks.
    pub fn told(&self, now: u64, wall: UnixMillis) -> LinkProgress {
        let at = |moment: u64| {
            let ago = i64::try_from(now.saturating_sub(moment)).unwrap_or(i64::MAX);
            UnixMillis(wall.0.saturating_sub(ago))
        };
        LinkProgress {
            activity: self.activity,
            heard_at: at(self.heard),
            applied_at: (self.applied > 0).then(|| at(self.applied)),
        }
    }
}

/// What is to be done about a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkHealth {
    /// Nothing.
    Sound,
    /// Ask the store for a sign of life, unless that was done already, and look again later.
    AskStore,
    /// Drop the link and dial again: it has been at this for so many milliseconds.
    Stuck(Activity, u64),
}

/// Judges a link at the moment `now`. `store_asked` is when that question was asked which the
/// store has answered last, if there was any.
pub fn judge(vitals: &Vitals, store_asked: Option<u64>, now: u64) -> LinkHealth {
    let Vitals { activity, since, heard, .. } = *vitals;
    let busy = now.saturating_sub(since);
    let silent = now.saturating_sub(heard);
    let is_stuck = match activity {
        Activity::Listening => busy > TURN_MAX_MS || silent > SILENCE_MAX_MS,
        // One call after the other may be given up in time, and still nothing ever comes.
        Activity::Asking => busy > TURN_MAX_MS || silent > SILENCE_MAX_MS + TURN_MAX_MS,
        Activity::HandingOver | Activity::Pausing => busy > TURN_MAX_MS,
        Activity::AwaitingStore if busy <= STORE_DOUBT_MS => false,
        Activity::AwaitingStore => {
            // Asked when the link had waited for long already, so that whoever is to hand in its
            // messages had every chance to.
            if store_asked.is_none_or(|asked| asked < since.saturating_add(STORE_DOUBT_MS)) {
                return LinkHealth::AskStore;
            }
            true
        }
    };
    match (is_stuck, activity) {
        (false, _) => LinkHealth::Sound,
        (true, Activity::Listening) => LinkHealth::Stuck(activity, busy.max(silent)),
        (true, _) => LinkHealth::Stuck(activity, busy),
    }
}

/// Notices differences that are fetched over and over and lead nowhere.
#[derive(Debug, Default)]
pub struct Treadmill {
    /// The sequence (a channel's id, or the account's own) and the highest number it reached.
    reached: Option<(Option<i64>, i32)>,
    in_vain: u32,
}

impl Treadmill {
    /// A part of the difference of `sequence` was fetched and the sequence stands at `number` now,
    /// without the link having come to rest in between. Answers whether to give up.
    pub fn turn(&mut self, sequence: Option<i64>, number: i32) -> bool {
        match &mut self.reached {
            Some((known, reached)) if *known == sequence && number <= *reached => {
                self.in_vain += 1;
            }
            reached => {
                *reached = Some((sequence, number));
                self.in_vain = 0;
            }
        }
        self.in_vain >= VAIN_FETCHES_MAX
    }

    /// Nothing is left to be fetched.
    pub fn rest(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn activity() -> impl Strategy<Value = Activity> {
        prop::sample::select(&Activity::ALL)
    }

    proptest! {
        #[test]
        fn whoever_gets_on_is_left_alone(
            activity in activity(), since in 0_u64..1 << 40, busy in 0_u64..30_000,
            silent in 0_u64..30_000, asked in prop::option::of(0_u64..1 << 40),
        ) {
            let now = since + busy;
            let heard = now.saturating_sub(silent);
            let vitals = Vitals { activity, since, heard, applied: 0 };
            prop_assert_eq!(judge(&vitals, asked, now), LinkHealth::Sound);
        }

        #[test]
        fn nobody_is_stuck_in_silence_for_ever(
            activity in activity(), since in 0_u64..1 << 40, later in 150_000_u64..1 << 40,
        ) {
            let now = since + later;
            let vitals = Vitals { activity, since, heard: now, applied: now };
            // A store that answers: what it was last asked is not older than a minute.
            let verdict = judge(&vitals, Some(now - 60_000), now);
            prop_assert_eq!(verdict, LinkHealth::Stuck(activity, later));
        }

        #[test]
        fn a_store_that_does_not_answer_is_nobodys_fault(
            since in 0_u64..1 << 40, waited in 0_u64..1 << 40,
            asked in prop::option::of(0_u64..1 << 40), heard in 0_u64..1 << 40,
        ) {
            // Nothing that was asked since the link waits, and for a while longer, was answered.
            let asked = asked.filter(|asked| *asked < since + STORE_DOUBT_MS);
            let vitals = Vitals { activity: Activity::AwaitingStore, since, heard, applied: 0 };
            let verdict = judge(&vitals, asked, since + waited);
            prop_assert!(!matches!(verdict, LinkHealth::Stuck(..)), "{verdict:?}");
        }

        #[test]
        fn a_difference_that_gets_on_is_never_given_up(
            steps in prop::collection::vec((prop::option::of(0_i64..3), 1_i32..9), 0..200),
        ) {
            let mut treadmill = Treadmill::default();
            let mut number = 0;
            for (sequence, step) in steps {
                number += step;
                prop_assert!(!treadmill.turn(sequence, number));
            }
        }

        #[test]
        fn a_difference_that_runs_in_circles_is_given_up(
            start in 10_i32..100, circle in prop::collection::vec(0_i32..10, 1..5),
        ) {
            let mut treadmill = Treadmill::default();
            treadmill.turn(None, start);
            let numbers = circle.iter().cycle().map(|back| start - back);
            let gave_up = numbers.take(8).any(|number| treadmill.turn(None, number));
            prop_assert!(gave_up);
            treadmill.rest();
            prop_assert!(!treadmill.turn(None, start));
        }
    }

    #[test]
    fn a_listener_that_hears_nothing_is_stuck_however_often_it_looks_up() {
        let vitals = Vitals { activity: Activity::Listening, since: 99_000, heard: 0, applied: 0 };
        assert_eq!(judge(&vitals, None, 100_000), LinkHealth::Stuck(Activity::Listening, 100_000));
    }

    #[test]
    fn a_process_that_was_stopped_is_told_from_a_link_that_is_stuck() {
        assert!(!has_stood_still(5_000, 15_000));
        assert!(!has_stood_still(5_000, 18_000), "a busy machine is a little late");
        assert!(has_stood_still(5_000, 65_000));
    }

    #[test]
    fn progress_is_told_by_the_wall_clock() {
        let vitals = Vitals { activity: Activity::Asking, since: 5, heard: 400, applied: 0 };
        let told = vitals.told(1_000, UnixMillis(50_000));
        assert_eq!((told.heard_at, told.applied_at), (UnixMillis(49_400), None));
    }
}
