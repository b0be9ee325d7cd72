//! What a link cannot be told although it works: the account's difference, where its updates stand, a
//! channel's difference. Pure bookkeeping: how long to wait before each is asked for again, and what
//! there is to say of it. The pauses grow and have a floor, so that a server that always answers
//! with an error is asked seldom, and a link that works is kept.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

use crate::protocol::telegram::failure::Failure;
use crate::protocol::tree::restart::Backoff;

/// Pauses between two tries: from 1 s (half of the first one) to 5 min.
const BACKOFF: Backoff = Backoff { min_ms: 2_000, max_ms: 300_000 };
/// A channel's failures are forgotten this long after its last pause. A gap that comes later is a new
/// one.
const CHANNEL_REMEMBERED: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Failures of the account's own sequence since it was last got.
    own: u32,
    /// What failed last, for those who ask.
    own_detail: Option<String>,
    channels: BTreeMap<i64, Channel>,
    /// What was said last.
    told: Option<String>,
}

#[derive(Debug)]
struct Channel {
    failures: u32,
    until: Instant,
    /// Whether Telegram refuses it. What came and could not be read is made good by history, where
    /// it is named; nobody has to know of it.
    is_refused: bool,
}

impl Troubles {
    /// The account's own updates could not be asked for. Answers the pause before the next try.
    pub(super) fn own_failed(&mut self, failure: &Failure, jitter: f64) -> Duration {
        self.own_detail = Some(failure.to_string());
        self.pause_own(jitter)
    }

    /// The account's difference came and could not be read, which is made good in another way.
    /// Answers the pause before the next one is asked for.
    pub(super) fn own_unread(&mut self, jitter: f64) -> Duration {
        self.own_detail = None;
        self.pause_own(jitter)
    }

    fn pause_own(&mut self, jitter: f64) -> Duration {
        self.own = self.own.saturating_add(1);
        Duration::from_millis(BACKOFF.delay_ms(self.own, jitter))
    }

    /// The account's own updates were got.
    pub(super) fn own_mended(&mut self) {
        (self.own, self.own_detail) = (0, None);
    }

    /// Whether it failed the last time.
    pub(super) fn is_own_failing(&self) -> bool {
        self.own > 0
    }

    /// A channel's difference could not be got at `now`, or not be read.
    pub(super) fn channel_failed(
        &mut self,
        channel: i64,
        failure: &Failure,
        now: Instant,
        jitter: f64,
    ) {
        let failures = self.channels.get(&channel).map_or(0, |known| known.failures);
        let failures = failures.saturating_add(1);
        let until = now + Duration::from_millis(BACKOFF.delay_ms(failures, jitter));
        let is_refused = !matches!(failure, Failure::Unreadable { .. });
        self.channels.insert(channel, Channel { failures, until, is_refused });
    }

    /// A channel's difference was got, or nobody wants it any more.
    pub(super) fn channel_mended(&mut self, channel: i64) {
        self.channels.remove(&channel);
    }

    /// Whether a channel's difference is not to be asked for yet.
    pub(super) fn channel_rests(&self, channel: i64, now: Instant) -> bool {
        self.channels.get(&channel).is_some_and(|known| now < known.until)
    }

    /// What there is to say at `now`, if it differs from what was said last. `Some(None)`: all is
    /// well again.
    pub(super) fn news(&mut self, now: Instant) -> Option<Option<String>> {
        self.channels.retain(|_, channel| now < channel.until + CHANNEL_REMEMBERED);
        let telling = self.telling();
        if telling == self.told {
            return None;
        }
        self.told.clone_from(&telling);
        Some(telling)
    }

    fn telling(&self) -> Option<String> {
        if let Some(detail) = &self.own_detail {
            return Some(format!(
                "telegram does not say what was missed ({detail}); what comes live goes on and \
                 history is read meanwhile"
            ));
        }
        self.channels.values().any(|channel| channel.is_refused).then(|| {
            "telegram does not say what was missed in a channel; what comes live goes on and \
             history is read instead"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure() -> Failure {
        Failure::transient("telegram answers 500 PERSISTENT_TIMESTAMP_OUTDATED")
    }

    #[test]
    fn pauses_grow_from_a_second_to_minutes_and_begin_anew_when_it_works() {
        let mut troubles = Troubles::default();
        let pauses: Vec<_> = (0..12).map(|_| troubles.own_failed(&failure(), 0.0)).collect();
        assert_eq!(pauses[0], Duration::from_secs(1));
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses[11], Duration::from_secs(150));
        troubles.own_mended();
        assert_eq!(troubles.own_failed(&failure(), 0.0), Duration::from_secs(1));
    }

    #[test]
    fn what_is_wrong_is_said_once_and_that_it_is_over() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        assert_eq!(troubles.news(now), None);
        troubles.own_failed(&failure(), 0.5);
        let told = troubles.news(now).flatten();
        assert!(told.is_some_and(|text| text.contains("PERSISTENT_TIMESTAMP_OUTDATED")));
        troubles.own_failed(&failure(), 0.5);
        assert_eq!(troubles.news(now), None);
        troubles.own_mended();
        assert_eq!(troubles.news(now), Some(None));
        troubles.own_unread(0.5);
        assert_eq!(troubles.news(now), None, "that was made good");
    }

    #[test]
    fn a_channel_that_fails_holds_up_no_other() {
        let (mut troubles, now) = (Troubles::default(), Instant::now());
        troubles.channel_failed(2, &Failure::unreadable("newer"), now, 0.0);
        assert_eq!(troubles.news(now), None, "history makes it good");
        troubles.channel_mended(2);
        troubles.channel_failed(1, &failure(), now, 0.0);
        assert!(troubles.channel_rests(1, now));
        assert!(!troubles.channel_rests(2, now));
        assert!(!troubles.channel_rests(1, now + Duration::from_secs(2)));
        assert!(troubles.news(now).is_some_and(|told| told.is_some()));
        assert_eq!(troubles.news(now + Duration::from_secs(900)), Some(None));
    }

    proptest! {
        /// Whatever jitter says: never more often than once a second, and at last once in minutes.
        #[test]
        fn a_difference_that_always_fails_is_asked_for_ever_less_often(
            jitters in prop::collection::vec(0.0..1.0_f64, 1..400),
        ) {
            let mut troubles = Troubles::default();
            let mut total = Duration::ZERO;
            for jitter in &jitters {
                let pause = troubles.own_failed(&failure(), *jitter);
                prop_assert!(pause >= Duration::from_secs(1));
                total += pause;
            }
            if jitters.len() > 20 {
                prop_assert!(total >= Duration::from_secs(150) * (jitters.len() as u32 - 9));
            }
        }
    }
}
