//! Limits on reaching people: how much of each an account has done, how often it went too far.
//! Time is a parameter.
//!
//! Telegram documents neither numbers nor rules. What people have seen: after some invitations, or
//! messages to strangers, `FLOOD_WAIT_x`, longer each time; in the end `PEER_FLOOD`, which is on
//! the whole account and has no end of its own. Here the third refusal is that one, unless the
//! limits say another number. A wait that was kept makes the count start anew; a call during it is
//! one more refusal.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::limits::Limits;
use crate::error::RpcError;

/// The longest wait is the first one doubled so often.
const MAX_DOUBLINGS: u32 = 12;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    Invite,
    Message,
    /// Looking somebody up. Waits have no end here: this alone makes nobody a spammer.
    Resolve,
}

#[derive(Default)]
struct Tally {
    done: u32,
    /// How often it was refused.
    strikes: u32,
    until: Option<Instant>,
    /// Whether it came to `PEER_FLOOD`.
    limited: bool,
}

/// What all accounts have done since the limits were set.
#[derive(Default)]
pub(crate) struct Floods {
    tallies: HashMap<(i64, Reach), Tally>,
}

impl Floods {
    /// Whether the account is limited: only who is a mutual contact or wrote first hears from it.
    pub(crate) fn limits_account(&self, account: i64) -> bool {
        [Reach::Invite, Reach::Message]
            .iter()
            .any(|reach| self.tallies.get(&(account, *reach)).is_some_and(|tally| tally.limited))
    }

    /// Counts `number` more at once, unless there were too many before.
    pub(crate) fn count(
        &mut self,
        account: i64,
        (reach, number): (Reach, usize),
        limits: &Limits,
        now: Instant,
    ) -> Result<(), RpcError> {
        let most = match reach {
            Reach::Invite => limits.invites_before_flood,
            Reach::Message => limits.messages_before_flood,
            Reach::Resolve => limits.resolves_before_flood,
        };
        if reach != Reach::Resolve && self.limits_account(account) {
            return Err("PEER_FLOOD".into());
        }
        if most == 0 {
            return Ok(());
        }
        let tally = self.tallies.entry((account, reach)).or_default();
        let resting = tally.until.is_some_and(|until| now < until);
        if !resting && tally.until.take().is_some() {
            tally.done = 0;
        }
        if !resting && tally.done < most {
            tally.done = tally.done.saturating_add(number as u32);
            return Ok(());
        }
        tally.strikes += 1;
        let most_waits = limits.waits_before_peer_flood;
        if reach != Reach::Resolve && most_waits > 0 && tally.strikes > most_waits {
            tally.limited = true;
            return Err("PEER_FLOOD".into());
        }
        let doublings = (tally.strikes - 1).min(MAX_DOUBLINGS);
        let seconds = u64::from(limits.flood_seconds.max(1)) << doublings;
        tally.until = Some(now + Duration::from_secs(seconds));
        Err(RpcError::named(format!("FLOOD_WAIT_{seconds}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            invites_before_flood: 2,
            messages_before_flood: 1,
            resolves_before_flood: 1,
            flood_seconds: 10,
            ..Limits::default()
        }
    }

    #[test]
    fn waits_grow_and_end_in_a_limit_on_the_account() {
        let (mut floods, limits, start) = (Floods::default(), limits(), Instant::now());
        let mut invite = |second| {
            let now = start + Duration::from_secs(second);
            floods.count(1, (Reach::Invite, 1), &limits, now).err().map(|error| error.name)
        };
        assert_eq!((invite(0), invite(0)), (None, None));
        assert_eq!(invite(0).as_deref(), Some("FLOOD_WAIT_10"));
        // The wait was kept.
        assert_eq!((invite(10), invite(10)), (None, None));
        assert_eq!(invite(10).as_deref(), Some("FLOOD_WAIT_20"));
        assert_eq!((invite(30), invite(30)), (None, None));
        for second in [30, 31, 100_000] {
            assert_eq!(invite(second).as_deref(), Some("PEER_FLOOD"));
        }
        assert!(floods.limits_account(1) && !floods.limits_account(2));
        let message = floods.count(1, (Reach::Message, 1), &limits, start);
        assert_eq!(message, Err("PEER_FLOOD".into()));
        assert_eq!(floods.count(2, (Reach::Message, 1), &limits, start), Ok(()));
    }

    #[test]
    fn a_wait_that_is_not_kept_grows_and_looking_up_has_no_last_one() {
        let (mut floods, limits, now) = (Floods::default(), limits(), Instant::now());
        let mut names = |reach| {
            let count = |_| floods.count(1, (reach, 1), &limits, now).err().map(|error| error.name);
            (0..5).filter_map(count).collect::<Vec<_>>()
        };
        let waits = ["FLOOD_WAIT_10", "FLOOD_WAIT_20", "FLOOD_WAIT_40", "FLOOD_WAIT_80"];
        assert_eq!(names(Reach::Resolve), waits);
        assert_eq!(names(Reach::Message)[..3], ["FLOOD_WAIT_10", "FLOOD_WAIT_20", "PEER_FLOOD"]);
    }

    #[test]
    fn an_account_is_limited_as_early_or_late_as_the_limits_say() {
        let now = Instant::now();
        let refused = |waits_before_peer_flood| {
            let mut floods = Floods::default();
            let limits = Limits { waits_before_peer_flood, ..limits() };
            let count = |_| floods.count(1, (Reach::Message, 1), &limits, now).err();
            (0..7).filter_map(count).filter(|error| error.name == "PEER_FLOOD").count()
        };
        assert_eq!((refused(1), refused(2), refused(5), refused(0)), (5, 4, 1, 0));
    }

    #[test]
    fn several_at_once_are_one_call_that_may_go_beyond_the_limit() {
        let (mut floods, limits, now) = (Floods::default(), limits(), Instant::now());
        assert_eq!(floods.count(1, (Reach::Invite, 50), &limits, now), Ok(()));
        let next = floods.count(1, (Reach::Invite, 50), &limits, now);
        assert_eq!(next, Err("FLOOD_WAIT_10".into()));
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut floods = Floods::default();
        for _ in 0..1000 {
            floods.count(1, (Reach::Invite, 1), &Limits::default(), Instant::now()).unwrap();
        }
        assert!(floods.tallies.is_empty());
    }
}
