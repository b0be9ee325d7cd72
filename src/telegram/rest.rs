//! A wait that Telegram asks for before an account's own difference may be asked for again. What
//! comes live goes on being taken meanwhile, whether or not it follows what came before; here it is
//! noticed where it does not. Pure bookkeeping over numbers.

use std::time::Duration;
use tokio::time::Instant;

use crate::protocol::tree::restart::Backoff;

/// Added to every wait: Telegram counts it from another moment, in whole seconds.
const MARGIN: Duration = Duration::from_secs(1);

/// How long a link rests in one go when others say how long there is to wait: what they say may end
/// early, as a freeze does when it is lifted. To ask them again costs no call.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    until: Instant,
    /// Up to which number of the account's own sequence everything has come or been told as a gap;
    /// unknown while it is not known where the sequence stands.
    reached: Option<i32>,
    /// Whether somebody knows that a difference is due and has to wait.
    is_told: bool,
    /// Whether something that came live was left to the difference since.
    has_left_out: bool,
    /// How often Telegram asked for it.
    asked: u32,
}

/// The shortest waits in a row, whatever Telegram says.
const FLOOR: Backoff = Backoff { min_ms: 1_000, max_ms: 5 * 60_000 };

impl Rest {
    /// One of `wait` from `now` on, of a sequence that stands at `reached`.
    pub(super) fn new(now: Instant, wait: Duration, reached: Option<i32>) -> Self {
        Self { until: now + wait, reached, is_told: false, has_left_out: false, asked: 0 }
    }

    /// The same at the beginning of a link, when everybody looks for what is missing anyway.
    pub(super) fn inherited(now: Instant, wait: Duration, reached: Option<i32>) -> Self {
        Self { is_told: true, ..Self::new(now, wait, reached) }
    }

    /// Whether it is still to be told that a difference is due and has to wait; it is from now on.
    pub(super) fn tell(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true)
    }

    /// Something that came live is not handed on, because the difference is to bring it.
    pub(super) fn left_out(&mut self) {
        self.has_left_out = true;
    }

    /// The difference could not be had once more. Whoever heard of it looked for what was missing then,
    /// and has to look again if more has been left to it since.
    pub(super) fn failed_again(&mut self) {
        self.is_told &= !std::mem::take(&mut self.has_left_out);
    }

    /// When `seconds` that Telegram names are over.
    pub(super) fn asked_for(seconds: u32) -> Duration {
        Duration::from_secs(u64::from(seconds)) + MARGIN
    }

    /// How long to rest until others are asked again how long there is to wait, when they say `left`.
    pub(super) fn until_look(left: Duration) -> Duration {
        left.min(LOOK_EVERY)
    }

    /// Telegram refuses what is asked, for as long as others will say.
    pub(super) fn refused() -> Duration {
        LOOK_EVERY
    }

    /// Whether it lasts at `now`.
    pub(super) fn lasts(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Telegram asks once more for `wait`; answers how long it is kept.
    pub(super) fn asked_again(&mut self, wait: Duration) -> Duration {
        self.asked = self.asked.saturating_add(1);
        wait.max(Duration::from_millis(FLOOR.delay_ms(self.asked, 1.0)))
    }

    /// Telegram asks for more; what was noticed stays.
    pub(super) fn prolong(&mut self, now: Instant, wait: Duration) {
        self.until = self.until.max(now + wait);
    }

    /// An update came that moves the sequence by `count` to `number`. Answers whether something is
    /// missing before it. `count` is not known of everything that has a number, and then taken for 1:
    /// telling too much costs one look.
    pub(super) fn leaps(&mut self, number: i32, count: Option<i32>) -> bool {
        let Some(reached) = self.reached else { return false };
        self.reached = Some(reached.max(number));
        number.saturating_sub(count.unwrap_or(1)) > reached
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wait_is_kept_to_its_end_and_never_shortened() {
        let now = Instant::now();
        let mut rest = Rest::new(now, Rest::asked_for(5), Some(1));
        assert!(rest.lasts(now + Duration::from_secs(5)));
        rest.prolong(now, Rest::asked_for(2));
        assert!(rest.lasts(now + Duration::from_secs(5)));
        assert!(!rest.lasts(now + Duration::from_secs(7)));
    }

    #[test]
    fn what_others_say_is_followed_and_may_end_early() {
        let (now, day) = (Instant::now(), Duration::from_secs(24 * 60 * 60));
        let minute = Duration::from_secs(60);
        let mut rest = Rest::new(now, Rest::refused(), Some(1));
        rest.prolong(now, Rest::until_look(day));
        assert!(rest.lasts(now + minute / 2));
        assert!(!rest.lasts(now + minute), "they are asked again");
        rest.prolong(now + minute, Rest::until_look(minute / 4));
        assert!(rest.lasts(now + minute));
        assert!(!rest.lasts(now + minute * 5 / 4));
    }

    #[test]
    fn what_is_left_to_a_difference_that_fails_is_told_at_each_failure_and_not_more_often() {
        let mut rest = Rest::new(Instant::now(), Duration::ZERO, Some(1));
        assert!(rest.tell());
        rest.failed_again();
        assert!(!rest.tell(), "nothing was left out");
        for _ in 0..3 {
            rest.left_out();
            rest.left_out();
            assert!(!rest.tell(), "the difference may bring it");
            rest.failed_again();
            assert!(rest.tell());
            assert!(!rest.tell());
        }
        rest.failed_again();
        assert!(!rest.tell());
    }

    #[test]
    fn one_that_is_asked_for_again_and_again_grows() {
        let mut rest = Rest::new(Instant::now(), Duration::ZERO, None);
        let second = Duration::from_secs(1);
        let waits = [0; 5].map(|_| rest.asked_again(second).as_secs());
        assert_eq!(waits, [1, 2, 4, 8, 16]);
        assert_eq!(rest.asked_again(second * 900), second * 900);
    }

    #[test]
    fn where_the_sequence_stands_is_not_guessed() {
        let mut rest = Rest::new(Instant::now(), Duration::ZERO, None);
        assert!(!rest.leaps(100, Some(1)));
        assert!(!rest.leaps(7, Some(1)));
    }

    proptest! {
        /// Whatever is left out, repeated or comes late: a number is never passed over in silence.
        #[test]
        fn nothing_is_passed_over_unnoticed(
            numbers in prop::collection::vec((11_i32..40, prop::option::of(Just(1))), 0..40),
        ) {
            let mut rest = Rest::new(Instant::now(), Duration::ZERO, Some(10));
            // All up to here has come, or somebody was told.
            let mut covered = 10;
            for (number, count) in numbers {
                let leaps = rest.leaps(number, count);
                prop_assert_eq!(leaps, number > covered + 1);
                covered = covered.max(number);
            }
        }
    }
}
