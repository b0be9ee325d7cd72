//! Waits that clients were told of, and which calls break them. Pure: times are parameters. It
//! counts nothing itself.
//!
//! A client cannot keep a wait it has not heard of, so a wait begins to bind
//!
//! - with the acknowledgement (`msgs_ack`) of the answer that told it, or
//! - without one, when the connection has held for [`HEARD_AFTER`] since the last byte of that
//!   answer was handed to the socket, or when the client closed it in good order after that: had
//!   anything been left unread, it would have been reset. Whoever never acknowledges anything gains
//!   no more than that.
//!
//! From then until the seconds told are over, every call of that method by that account breaks it,
//! whatever connection, session or process it comes from. Before, a call was on its way when the
//! answer was, and is excused: several may be under way at once. An acknowledgement travels in the
//! packet of the next call, which may have waited to be sent while the answer came; so within
//! [`HEARD_AFTER`] of the answer the other calls in the packet that acknowledges it are excused.
//!
//! Never excused is the repetition of the very call that was refused, with the same parameters, in a
//! later packet on the same connection once the answer was sent: nobody asks the same twice at once,
//! so whoever repeats has read the answer, acknowledged or not.
//!
//! If the connection ends before the wait binds, the answer may never have arrived: the wait is
//! void. And what a client heard just before it was killed it could not keep for its next life:
//! whoever kills it says so ([`FloodWaits::client_killed`]), for on the wire that looks like an end
//! in good order.
//!
//! Of a client that ignores waits this finds: the repetition of the refused call on its connection,
//! at once; calls after it came back over another connection, if it had closed the first in good
//! order; other calls of the method from the packet on that follows its acknowledgement, or after
//! [`HEARD_AFTER`] without one. It does not find calls made before that, nor any during a wait whose
//! connection was cut within [`HEARD_AFTER`] of the answer, unacknowledged.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

/// From when on a client is taken to have heard an answer that it has not acknowledged: loopback
/// brings it within a millisecond, but a busy machine may not let the client run for a while.
pub(crate) const HEARD_AFTER: Duration = Duration::from_millis(1_500);
/// A wait announced in whole seconds is over a little early: clients count from another moment.
const TOLERANCE: Duration = Duration::from_millis(50);

/// A call as far as it matters for waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) user: i64,
    pub(crate) method: &'static str,
    /// Tells calls with other parameters apart.
    pub(crate) fingerprint: u64,
    pub(crate) link: u64,
    /// Message id of the packet in which it came.
    pub(crate) packet: i64,
}

/// Names a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WaitId {
    user: i64,
    method: &'static str,
    number: u64,
}

/// How a connection came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed it and had read everything.
    InGoodOrder,
    /// Anything else.
    Cut,
}

/// How much is known of a client's having heard of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// The answer waits to be sent.
    NotYet,
    /// It was handed to the socket.
    Sent(Instant),
    /// It was acknowledged, by that packet.
    Acknowledged(i64),
    /// The connection held long enough and then ended, or the client ended it in good order.
    Surely,
}

struct Wait {
    number: u64,
    /// The call that was refused.
    refused: Call,
    told: Instant,
    seconds: u64,
    heard: Heard,
}

/// What a call is in view of the waits that its account was told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// No wait stands.
    Free,
    /// One stands, but the client may not have heard of it.
    Excused(Finding),
    /// It breaks one.
    Breaks(Finding),
}

/// A call during a wait, in a form fit for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finding {
    call: Call,
    told_on: u64,
    seconds: u64,
    ago: Duration,
    left: Duration,
    repeats: bool,
    why: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, told_on, seconds, ago, left, repeats, why } = self;
        let Call { user, method, link, .. } = call;
        let what = if *repeats { "repeated" } else { "called" };
        let (ago, left) = (ago.as_secs_f64(), left.as_secs_f64());
        write!(
            out,
            "account {user} {what} {method} on connection {link}, {ago:.3} s after it was told on \
             connection {told_on} to wait {seconds} s ({left:.3} s left; {why})"
        )
    }
}

/// The waits that stand.
#[derive(Default)]
pub(crate) struct FloodWaits {
    waits: HashMap<(i64, &'static str), Vec<Wait>>,
    told: u64,
}

impl FloodWaits {
    /// Notes that `refused` was answered with a wait of so many seconds.
    pub(crate) fn told(&mut self, refused: Call, seconds: u64, now: Instant) -> WaitId {
        self.told += 1;
        let Call { user, method, .. } = refused;
        let wait = Wait { number: self.told, refused, told: now, seconds, heard: Heard::NotYet };
        self.waits.entry((user, method)).or_default().push(wait);
        WaitId { user, method, number: self.told }
    }

    /// The answer was handed to the socket to its last byte.
    pub(crate) fn sent(&mut self, id: WaitId, now: Instant) {
        if let Some(wait) = self.find(id)
            && wait.heard == Heard::NotYet
        {
            wait.heard = Heard::Sent(now);
        }
    }

    /// The client acknowledged the answer with that packet.
    pub(crate) fn acknowledged(&mut self, id: WaitId, packet: i64) {
        if let Some(wait) = self.find(id)
            && !matches!(wait.heard, Heard::Acknowledged(_))
        {
            wait.heard = Heard::Acknowledged(packet);
        }
    }

    /// The connection over which it was told is gone.
    pub(crate) fn link_ended(&mut self, id: WaitId, ending: Ending, now: Instant) {
        let Some(wait) = self.find(id) else { return };
        match (wait.heard, ending) {
            (Heard::Acknowledged(_) | Heard::Surely, _) => {}
            (Heard::Sent(_), Ending::InGoodOrder) => wait.heard = Heard::Surely,
            (Heard::Sent(at), Ending::Cut) if now.duration_since(at) >= HEARD_AFTER => {
                wait.heard = Heard::Surely;
            }
            (Heard::NotYet | Heard::Sent(_), _) => self.forget(id),
        }
    }

    /// The client was killed: what it was told just before is void.
    pub(crate) fn client_killed(&mut self, now: Instant) {
        for waits in self.waits.values_mut() {
            waits.retain(|wait| now.duration_since(wait.told) >= HEARD_AFTER);
        }
    }

    /// Judges a call by what its account was told before.
    pub(crate) fn judge(&mut self, call: Call, now: Instant) -> Judgement {
        let place = (call.user, call.method);
        let Some(waits) = self.waits.get_mut(&place) else { return Judgement::Free };
        waits.retain(|wait| now + TOLERANCE < wait.until());
        let judged = waits.iter().map(|wait| wait.judge(call, now));
        // The gravest counts, and each call once.
        let gravest = judged.max_by_key(|judgement| matches!(judgement, Judgement::Breaks(_)));
        if waits.is_empty() {
            self.waits.remove(&place);
        }
        gravest.unwrap_or(Judgement::Free)
    }

    fn find(&mut self, id: WaitId) -> Option<&mut Wait> {
        let waits = self.waits.get_mut(&(id.user, id.method))?;
        waits.iter_mut().find(|wait| wait.number == id.number)
    }

    fn forget(&mut self, id: WaitId) {
        if let Some(waits) = self.waits.get_mut(&(id.user, id.method)) {
            waits.retain(|wait| wait.number != id.number);
        }
    }
}

impl Wait {
    fn until(&self) -> Instant {
        self.told + Duration::from_secs(self.seconds)
    }

    /// Whether a call came in a later packet over the connection of the refused one. The message ids
    /// of a connection grow.
    fn is_followed_by(&self, call: Call) -> bool {
        call.link == self.refused.link && call.packet > self.refused.packet
    }

    fn judge(&self, call: Call, now: Instant) -> Judgement {
        let repeats = call.fingerprint == self.refused.fingerprint;
        let ago = now.duration_since(self.told);
        let (breaks, why) = match self.heard {
            Heard::NotYet => (false, "the answer was not sent yet"),
            Heard::Sent(_) if repeats && self.is_followed_by(call) => {
                (true, "the refused call again, in a later packet of the same connection")
            }
            Heard::Sent(at) if now.duration_since(at) < HEARD_AFTER => {
                (false, "the answer was not acknowledged yet")
            }
            Heard::Sent(_) | Heard::Surely => (true, "its connection held long enough"),
            Heard::Acknowledged(packet) if packet != call.packet => {
                (true, "acknowledged before this call")
            }
            Heard::Acknowledged(_) if repeats => (true, "acknowledged with this call"),
            Heard::Acknowledged(_) if ago >= HEARD_AFTER => (true, "acknowledged with this call"),
            Heard::Acknowledged(_) => (false, "acknowledged with this call, just now"),
        };
        let left = self.until().saturating_duration_since(now);
        let (told_on, seconds) = (self.refused.link, self.seconds);
        let finding = Finding { call, told_on, seconds, ago, left, repeats, why };
        if breaks { Judgement::Breaks(finding) } else { Judgement::Excused(finding) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: &str = "messages.getHistory";
    const SOON: Duration = Duration::from_millis(20);

    /// Account 1 was told on connection 7, at `start`, to wait 3 s.
    struct Play {
        waits: FloodWaits,
        start: Instant,
        id: WaitId,
    }

    fn call(fingerprint: u64, link: u64, packet: i64) -> Call {
        Call { user: 1, method: METHOD, fingerprint, link, packet }
    }

    impl Play {
        fn told() -> Self {
            let (mut waits, start) = (FloodWaits::default(), Instant::now());
            let id = waits.told(call(100, 7, 1), 3, start);
            Self { waits, start, id }
        }

        fn sent() -> Self {
            let mut play = Self::told();
            play.waits.sent(play.id, play.start);
            play
        }

        fn breaks(&mut self, call: Call, after: Duration) -> bool {
            matches!(self.waits.judge(call, self.start + after), Judgement::Breaks(_))
        }
    }

    #[test]
    fn an_acknowledged_wait_binds_every_connection_of_its_account_for_its_method_until_it_is_over()
    {
        let mut play = Play::sent();
        play.waits.acknowledged(play.id, 5);
        play.waits.link_ended(play.id, Ending::Cut, play.start + SOON);
        assert!(play.breaks(call(200, 7, 6), SOON));
        assert!(play.breaks(call(200, 8, 9), Duration::from_millis(2_900)));
        let other_method = Call { method: "users.getUsers", ..call(200, 8, 9) };
        assert!(!play.breaks(other_method, SOON));
        assert!(!play.breaks(Call { user: 2, ..call(200, 8, 9) }, SOON));
        assert!(!play.breaks(call(100, 7, 10), Duration::from_secs(3)));
    }

    #[test]
    fn calls_that_were_on_their_way_with_the_answer_are_excused() {
        let mut play = Play::told();
        assert!(!play.breaks(call(200, 7, 2), SOON));
        play.waits.sent(play.id, play.start + SOON);
        assert!(!play.breaks(call(300, 7, 3), SOON * 2));
        let judged = play.waits.judge(call(300, 7, 3), play.start + SOON * 2);
        assert!(matches!(judged, Judgement::Excused(_)), "it is told from a free one");
    }

    #[test]
    fn the_packet_that_acknowledges_excuses_other_calls_but_not_the_same_one() {
        let mut play = Play::sent();
        play.waits.acknowledged(play.id, 5);
        assert!(!play.breaks(call(200, 7, 5), SOON));
        assert!(play.breaks(call(100, 7, 5), SOON), "the refused call is repeated");
        assert!(play.breaks(call(200, 7, 6), SOON), "the next packet knows better");
        assert!(play.breaks(call(200, 7, 5), HEARD_AFTER), "nothing is on its way for so long");
    }

    #[test]
    fn whoever_never_acknowledges_is_held_to_it_once_the_connection_held_long_enough() {
        let mut play = Play::sent();
        assert!(!play.breaks(call(200, 7, 2), HEARD_AFTER - SOON));
        assert!(play.breaks(call(200, 7, 3), HEARD_AFTER));
        play.waits.link_ended(play.id, Ending::Cut, play.start + HEARD_AFTER);
        assert!(play.breaks(call(100, 8, 4), HEARD_AFTER + SOON));
    }

    #[test]
    fn the_refused_call_again_on_its_connection_breaks_the_wait_though_nothing_was_acknowledged() {
        let mut play = Play::told();
        assert!(!play.breaks(call(100, 7, 2), SOON), "the answer was not sent yet");
        play.waits.sent(play.id, play.start);
        assert!(play.breaks(call(100, 7, 2), SOON));
        assert!(!play.breaks(call(100, 7, 1), SOON), "it came with the refused one");
        assert!(!play.breaks(call(200, 7, 2), SOON), "another call may have been on its way");
        assert!(!play.breaks(call(100, 8, 9), SOON), "over there it may not be known yet");
    }

    #[test]
    fn an_answer_that_stays_behind_or_dies_with_its_connection_binds_nobody() {
        let mut play = Play::told();
        assert!(!play.breaks(call(100, 7, 2), HEARD_AFTER * 2));
        play.waits.link_ended(play.id, Ending::InGoodOrder, play.start + HEARD_AFTER * 2);
        assert!(!play.breaks(call(100, 8, 3), HEARD_AFTER * 3));

        let mut play = Play::sent();
        play.waits.link_ended(play.id, Ending::Cut, play.start + SOON);
        assert!(!play.breaks(call(100, 8, 3), HEARD_AFTER * 2));
    }

    #[test]
    fn whoever_hangs_up_and_comes_back_at_once_is_held_to_what_it_had_read() {
        let mut play = Play::sent();
        play.waits.link_ended(play.id, Ending::InGoodOrder, play.start + SOON);
        assert!(play.breaks(call(100, 8, 3), SOON * 2));
    }

    #[test]
    fn what_a_client_heard_just_before_it_was_killed_is_void_and_what_it_heard_earlier_is_not() {
        for (after, breaks) in [(SOON, false), (HEARD_AFTER, true)] {
            let mut play = Play::sent();
            play.waits.acknowledged(play.id, 5);
            play.waits.link_ended(play.id, Ending::InGoodOrder, play.start + after);
            play.waits.client_killed(play.start + after);
            assert_eq!(play.breaks(call(100, 8, 3), after + SOON), breaks, "{after:?}");
        }
    }

    #[test]
    fn a_shorter_wait_told_later_does_not_end_the_longer_one() {
        let mut play = Play::sent();
        play.waits.acknowledged(play.id, 5);
        play.waits.told(call(200, 7, 2), 1, play.start + SOON);
        assert!(play.breaks(call(300, 7, 9), Duration::from_secs(2)));
    }

    #[test]
    fn what_is_found_says_who_what_when_and_where() {
        let mut play = Play::sent();
        play.waits.acknowledged(play.id, 5);
        let judged = play.waits.judge(call(100, 8, 6), play.start + Duration::from_millis(1_250));
        let Judgement::Breaks(finding) = judged else { panic!("it breaks the wait") };
        assert_eq!(
            finding.to_string(),
            "account 1 repeated messages.getHistory on connection 8, 1.250 s after it was told on \
             connection 7 to wait 3 s (1.750 s left; acknowledged before this call)"
        );
    }
}
