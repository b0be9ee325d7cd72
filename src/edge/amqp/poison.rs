//! Which reply it is that the broker cannot take: where a reply goes is somebody else's choice, so it
//! must not end publishing for all. Pure. Must never name an event.
//!
//! A connection that ends with many entries in flight does not say over which. So after it each
//! reply among them goes alone, and one over which connections end then again and again is given up.

/// How often a connection has to end over the same reply, one time after the other.
pub(super) const ATTEMPTS: u32 = 3;

/// What was in flight when a connection ended, by sequence numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    /// The oldest.
    pub(super) first: u64,
    /// The youngest.
    pub(super) last: u64,
    /// The oldest reply, if there was one.
    pub(super) reply: Option<u64>,
}

/// What earlier connections ended over.
#[derive(Debug, Default)]
pub(super) struct Poison {
    /// Replies up to this one go alone.
    alone_until: Option<u64>,
    /// The reply that was alone in flight when the last connection ended, and how many did so.
    ended_over: Option<(u64, u32)>,
}

impl Poison {
    /// Takes note of a connection's end.
    pub(super) fn ended(&mut self, InFlight { first, last, reply }: InFlight) {
        if reply.is_some() {
            self.alone_until = self.alone_until.max(Some(last));
        }
        self.ended_over = match (self.ended_over, reply) {
            (Some((over, times)), Some(reply)) if first == last && over == reply => {
                Some((reply, times.saturating_add(1)))
            }
            (_, Some(reply)) if first == last => Some((reply, 1)),
            _ => None,
        };
    }

    /// Whether a reply may only be in flight alone.
    pub(super) fn goes_alone(&self, reply: u64) -> bool {
        self.alone_until.is_some_and(|until| reply <= until)
    }

    /// Whether a reply is given up.
    pub(super) fn is_given_up(&self, reply: u64) -> bool {
        self.ended_over.is_some_and(|(over, times)| over == reply && times >= ATTEMPTS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alone(reply: u64) -> InFlight {
        InFlight { first: reply, last: reply, reply: Some(reply) }
    }

    #[test]
    fn a_reply_is_given_up_once_three_connections_in_a_row_ended_over_it_alone() {
        let mut poison = Poison::default();
        assert!(!poison.goes_alone(7));
        poison.ended(InFlight { first: 5, last: 9, reply: Some(7) });
        assert!(poison.goes_alone(7) && poison.goes_alone(9) && !poison.goes_alone(10));
        for _ in 1..ATTEMPTS {
            poison.ended(alone(7));
            assert!(!poison.is_given_up(7));
        }
        poison.ended(alone(7));
        assert!(poison.is_given_up(7) && !poison.is_given_up(8));
    }

    #[test]
    fn an_end_over_something_else_starts_the_count_again() {
        for other in [alone(8), InFlight { first: 6, last: 7, reply: Some(7) }] {
            let mut poison = Poison::default();
            (1..ATTEMPTS).for_each(|_| poison.ended(alone(7)));
            poison.ended(other);
            poison.ended(alone(7));
            assert!(!poison.is_given_up(7), "{other:?}");
        }
    }

    proptest! {
        /// Whatever connections end over, no event is ever given up, nor a reply before its time.
        #[test]
        fn only_replies_are_given_up(ends in prop::collection::vec((0..4_u64, 0..2_u64), 0..30)) {
            let mut poison = Poison::default();
            // Even numbers are events.
            for (first, more) in &ends {
                let last = first + more;
                let reply = (*first..=last).find(|seq| seq % 2 == 1);
                poison.ended(InFlight { first: *first, last, reply });
                prop_assert!((0..8).step_by(2).all(|event| !poison.is_given_up(event)));
            }
            if let Some(given_up) = (0..8).find(|seq| poison.is_given_up(*seq)) {
                let newest = ends.iter().rev().take(ATTEMPTS as usize);
                prop_assert_eq!(newest.filter(|(first, more)| *first == given_up && *more == 0).count(), 3);
            }
        }
    }
}
