//! Limits on reaching people: how much of each an account has done, how often it went too far.
//! Time is a parameter.
//!
//! Telegram documents neither numbers nor rules. What people have seen: after some invitations, or
//! messages to strangers, `FLOOD_WAIT_x`, longer each time; in the end `PEER_FLOOD`, which is on
//! the whole account and has no end of its own. Here the third refusal is that one. A wait that was
//! kept makes the count start anew; a call during it is one more refusal.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::limits::Limits;
use crate::error::RpcError;

/// The refusal from which on it is `PEER_FLOOD`.
const LAST_STRIKE: u32 = 3;
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
    strikes: u32,
    until: Option<Instant>,
}

/// What all accounts have done since the limits were set.
#[derive(Default)]
pub(crate) struct Floods {
    tallies: HashMap<(i64, Reach), Tally>,
}

impl Floods {
    /// Whether the account is limited: only who is a mutual contact or wrote first hears from it.
    pub(crate) fn limits_account(&self, account: i64) -> bool {
        [Reach::Invite, Reach::Message].iter().any(|reach| {
            self.tallies.get(&(account, *reach)).is_some_and(|tally| tally.strikes >= LAST_STRIKE)
        })
    }

    /// Counts one more, unless there were too many.
    pub(crate) fn count(
        &mut self,
        account: i64,
        reach: Reach,
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
        let waits = tally.until.is_some_and(|until| now < until);
        if !waits && tally.until.take().is_some() {
            tally.done = 0;
        }
        if !waits && tally.done < most {
            tally.done += 1;
            return Ok(());
        }
        tally.strikes += 1;
        if reach != Reach::Resolve && tally.strikes >= LAST_STRIKE {
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
            floods.count(1, Reach::Invite, &limits, now).err().map(|error| error.name)
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
        let message = floods.count(1, Reach::Message, &limits, start);
        assert_eq!(message, Err("PEER_FLOOD".into()));
        assert_eq!(floods.count(2, Reach::Message, &limits, start), Ok(()));
    }

    #[test]
    fn a_wait_that_is_not_kept_grows_and_looking_up_has_no_last_one() {
        let (mut floods, limits, now) = (Floods::default(), limits(), Instant::now());
        let mut names = |reach| {
            let count = |_| floods.count(1, reach, &limits, now).err().map(|error| error.name);
            (0..5).filter_map(count).collect::<Vec<_>>()
        };
        let waits = ["FLOOD_WAIT_10", "FLOOD_WAIT_20", "FLOOD_WAIT_40", "FLOOD_WAIT_80"];
        assert_eq!(names(Reach::Resolve), waits);
        assert_eq!(names(Reach::Message)[..3], ["FLOOD_WAIT_10", "FLOOD_WAIT_20", "PEER_FLOOD"]);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let mut floods = Floods::default();
        for _ in 0..1000 {
            floods.count(1, Reach::Invite, &Limits::default(), Instant::now()).unwrap();
        }
        assert!(floods.tallies.is_empty());
    }
}
