//! The state machine of an account's connection. It decides when to dial, when to hang up and
//! what the monitors are told; it knows neither sockets nor clocks.

use serde::{Deserialize, Serialize};

use crate::protocol::telegram::failure::LostReason;
use crate::protocol::telegram::failure::{Failure, Permanence};
use crate::protocol::telegram::freeze::LOOK_EVERY_MS;
use crate::protocol::tree::restart::Backoff;

/// State of an account as operators see it (`docs/http-api.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// First dial after it was asked for.
    Connecting,
    /// Connected and answering.
    Active,
    /// Connected, while Telegram makes some of its calls wait.
    CoolingDown,
    /// Connected, while Telegram forbids what it initiates.
    Limited,
    /// Held by an operator.
    Paused,
    /// Dialling again.
    Reconnecting,
    /// Unusable until somebody acts.
    Error,
}

/// Whether an account is to be connected although no monitor or job needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Only while somebody needs it: sessions that commands of the bridge brought.
    #[default]
    OnDemand,
    /// Always: accounts of users.
    Kept,
    /// Never, whoever needs it: its user holds it.
    Held,
}

/// What the machine remembers of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Nobody needs it.
    Idle,
    /// A dial is under way.
    Dialling,
    /// Connected.
    Up,
    /// Waiting before the next dial.
    Waiting,
    /// Held by an operator.
    Paused,
    /// Ended for good by Telegram, with its code.
    Dead(String),
}

/// What happens to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody needs it.
    Wanted,
    /// Nobody needs it any more.
    Unwanted,
    /// The dial succeeded.
    Connected,
    /// The dial failed, or the connection ended.
    Lost(Failure),
    /// The connection has been stable for a while.
    Settled,
    /// The pause before the next dial is over.
    RetryDue,
    /// An operator holds it.
    Pause,
    /// An operator lets it go on.
    Resume,
    /// Somebody asks for a dead session to be tried once more.
    Retry,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Dial.
    Dial,
    /// Close the connection, if any, and forget a dial under way.
    HangUp,
    /// Feed [`Input::RetryDue`] after this pause.
    RetryAfter {
        /// Milliseconds.
        ms: u64,
    },
    /// Tell the monitors that the account is up: each checks its chat for what it missed.
    TellUp,
    /// Tell the monitors that they have lost the account.
    TellDown {
        /// What they report.
        reason: LostReason,
        /// How lasting it is.
        permanence: Permanence,
    },
    /// Remember durably that the session is over.
    RecordDead {
        /// Telegram's error name.
        code: String,
    },
}

/// When to dial again and when to say that it does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReconnectPolicy {
    /// Pauses between dials.
    pub backoff: Backoff,
    /// After this many failed dials in a row the monitors are told, if they took long enough for
    /// so many ([`ATTEMPT_MS`]).
    pub attempts_max: u32,
}

/// How long one of the attempts after which the monitors are told stands for, milliseconds. Dials
/// that are refused fail within a moment, and the first pauses are short so that a short loss is
/// over soon: without it three of them would be over in two seconds.
const ATTEMPT_MS: u64 = 3_000;

/// Monitors are told of a wait that is longer than this at once. Longer than any backoff.
const LONG_WAIT_MS: u64 = 75_000;

/// A connection that holds this long is stable.
const STABLE_AFTER_MS: u64 = 20_000;
/// The same after one over which something unreadable came.
const TRUSTED_AFTER_MS: u64 = 600_000;

/// The machine.
#[derive(Clone, Debug)]
pub struct AccountMachine {
    policy: ReconnectPolicy,
    link: LinkState,
    /// Failures since the connection was last stable.
    failures: u32,
    /// For how long it has not been stable, milliseconds.
    unstable_ms: u64,
    /// How long a freeze keeps it from dialling, milliseconds.
    frozen_ms: u64,
    /// Whether it has been connected since it was asked for.
    was_up: bool,
    /// Whether the monitors believe it lost.
    told_down: bool,
    /// Whether a connection was dropped because of what came over it since one was last stable.
    is_suspect: bool,
}

impl AccountMachine {
    /// A machine at rest, or dead already when `fault` is what an earlier run was told.
    pub fn new(policy: ReconnectPolicy, fault: Option<String>) -> Self {
        let link = fault.map_or(LinkState::Idle, LinkState::Dead);
        Self {
            policy,
            link,
            failures: 0,
            unstable_ms: 0,
            frozen_ms: LOOK_EVERY_MS.unsigned_abs(),
            was_up: false,
            told_down: false,
            is_suspect: false,
        }
    }

    /// The connection as the machine sees it.
    pub fn link(&self) -> &LinkState {
        &self.link
    }

    /// Failures since the connection was last stable.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Says for how long the connection has not been stable, before a failure is told.
    pub fn has_been_unstable_for(&mut self, ms: u64) {
        self.unstable_ms = ms;
    }

    /// Says how long a freeze still keeps it from dialling, before that is told as a failure: it may
    /// have begun in an earlier life.
    pub fn is_frozen_for(&mut self, ms: u64) {
        self.frozen_ms = ms;
    }

    /// Whether so many failures in so long a time are no short network loss any more.
    fn is_lasting(&self) -> bool {
        let attempts = self.policy.attempts_max;
        self.failures > attempts && self.unstable_ms >= ATTEMPT_MS * u64::from(attempts)
    }

    /// How long a connection has to hold, in milliseconds, until the failures before it are
    /// forgiven: longer after one that was dropped because of what came over it, which may come
    /// again at any time.
    pub fn stable_after_ms(&self) -> u64 {
        if self.is_suspect { TRUSTED_AFTER_MS } else { STABLE_AFTER_MS }
    }

    /// The state without regard to flood waits.
    pub fn state(&self) -> AccountState {
        match self.link {
            LinkState::Up => AccountState::Active,
            LinkState::Paused => AccountState::Paused,
            LinkState::Dead(_) => AccountState::Error,
            LinkState::Idle | LinkState::Dialling | LinkState::Waiting
                if self.was_up || self.failures > 0 =>
            {
                AccountState::Reconnecting
            }
            LinkState::Idle | LinkState::Dialling | LinkState::Waiting => AccountState::Connecting,
        }
    }

    /// One step. `jitter` in 0..1 spreads the pauses. Inputs that come too late to matter (a
    /// dial's end after hanging up, an old timer) change nothing.
    pub fn step(&mut self, input: Input, jitter: f64) -> Vec<Effect> {
        match (&self.link, input) {
            (LinkState::Idle, Input::Wanted) if self.is_suspect => self.wait(jitter),
            (LinkState::Idle, Input::Wanted) => self.dial(),
            (LinkState::Dead(code), Input::Wanted) => {
                let reason = crate::protocol::telegram::failure::dead_reason(code);
                vec![Effect::TellDown { reason, permanence: Permanence::Account }]
            }
            (LinkState::Up, Input::Wanted) => vec![Effect::TellUp],
            (LinkState::Dialling | LinkState::Waiting, Input::Wanted) if self.told_down => {
                self.told_down = false;
                if !self.is_suspect {
                    self.failures = 0;
                }
                Vec::new()
            }
            (LinkState::Dialling | LinkState::Waiting | LinkState::Paused, Input::Wanted) => {
                Vec::new()
            }

            (LinkState::Dialling | LinkState::Up | LinkState::Waiting, Input::Unwanted) => {
                self.rest(LinkState::Idle)
            }
            (LinkState::Idle | LinkState::Paused | LinkState::Dead(_), Input::Unwanted) => {
                Vec::new()
            }

            (LinkState::Dialling, Input::Connected) => {
                self.link = LinkState::Up;
                self.was_up = true;
                self.told_down = false;
                vec![Effect::TellUp]
            }
            (
                LinkState::Idle | LinkState::Waiting | LinkState::Paused | LinkState::Dead(_),
                Input::Connected,
            ) => {
                vec![Effect::HangUp]
            }
            (LinkState::Up, Input::Connected) => Vec::new(),

            (LinkState::Dialling | LinkState::Up, Input::Lost(failure)) => {
                self.lost(failure, jitter)
            }
            (
                LinkState::Idle | LinkState::Waiting | LinkState::Paused | LinkState::Dead(_),
                Input::Lost(_),
            ) => Vec::new(),

            (LinkState::Up, Input::Settled) => {
                self.failures = 0;
                self.is_suspect = false;
                Vec::new()
            }
            (_, Input::Settled) => Vec::new(),

            (LinkState::Waiting, Input::RetryDue) => self.dial(),
            (_, Input::RetryDue) => Vec::new(),

            (LinkState::Dead(_) | LinkState::Paused, Input::Pause) => Vec::new(),
            (_, Input::Pause) => self.rest(LinkState::Paused),
            (LinkState::Paused, Input::Resume) => self.dial(),
            (_, Input::Resume) => Vec::new(),

            (LinkState::Dead(_), Input::Retry) => {
                self.link = LinkState::Idle;
                self.failures = 0;
                self.was_up = false;
                Vec::new()
            }
            (_, Input::Retry) => {
                (self.failures, self.is_suspect) = (0, false);
                Vec::new()
            }
        }
    }

    fn dial(&mut self) -> Vec<Effect> {
        self.link = LinkState::Dialling;
        vec![Effect::Dial]
    }

    /// Somebody wants what nobody wanted for a while, and what was dropped for a reason before: the
    /// pause before the next dial is kept all the same.
    fn wait(&mut self, jitter: f64) -> Vec<Effect> {
        self.link = LinkState::Waiting;
        let ms = self.policy.backoff.delay_ms(self.failures, jitter);
        vec![Effect::RetryAfter { ms }]
    }

    fn rest(&mut self, link: LinkState) -> Vec<Effect> {
        // What was suspect is so still when it is wanted again; an operator may know better.
        if !self.is_suspect || link == LinkState::Paused {
            self.failures = 0;
            self.is_suspect = false;
        }
        self.link = link;
        self.was_up = false;
        self.told_down = false;
        vec![Effect::HangUp]
    }

    /// Whether a connection was dropped because of what came over it since one was last stable.
    pub fn is_suspect(&self) -> bool {
        self.is_suspect
    }

    fn lost(&mut self, failure: Failure, jitter: f64) -> Vec<Effect> {
        if let Failure::Dead { code } = failure {
            let reason = crate::protocol::telegram::failure::dead_reason(&code);
            self.link = LinkState::Dead(code.clone());
            let permanence = Permanence::Account;
            return vec![
                Effect::HangUp,
                Effect::RecordDead { code },
                Effect::TellDown { reason, permanence },
            ];
        }
        self.failures = self.failures.saturating_add(1);
        self.is_suspect |= matches!(failure, Failure::Unreadable { .. });
        self.link = LinkState::Waiting;
        let pause = self.policy.backoff.delay_ms(self.failures, jitter);
        // A wait that Telegram asked for while connecting is kept to the second.
        let ms = match failure {
            Failure::Wait { seconds, .. } => pause.max(u64::from(seconds).saturating_mul(1000)),
            // Nobody is let in any sooner for asking again.
            Failure::Frozen { .. } => pause.max(self.frozen_ms),
            _ => pause,
        };
        let mut effects = vec![Effect::HangUp, Effect::RetryAfter { ms }];
        // Whoever has another session need not sit such a wait out.
        let is_long = ms > LONG_WAIT_MS;
        if (is_long || self.is_lasting()) && !self.told_down {
            self.told_down = true;
            let reason = LostReason::ConnectionFailed;
            effects.push(Effect::TellDown { reason, permanence: Permanence::Transient });
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: ReconnectPolicy =
        ReconnectPolicy { backoff: Backoff { min_ms: 500, max_ms: 60_000 }, attempts_max: 3 };

    fn machine() -> AccountMachine {
        AccountMachine::new(POLICY, None)
    }

    fn network() -> Input {
        Input::Lost(Failure::transient("connection reset"))
    }

    #[test]
    fn a_short_network_loss_is_no_access_loss() {
        let mut account = machine();
        assert_eq!(account.step(Input::Wanted, 0.0), [Effect::Dial]);
        assert_eq!(account.step(Input::Connected, 0.0), [Effect::TellUp]);
        // Whether it is the attempts that are too few or the time that is too short.
        for (attempt, unstable_ms) in [(1, 60_000), (2, 60_000), (3, 60_000), (4, 8_999)] {
            account.has_been_unstable_for(unstable_ms);
            let effects = account.step(network(), 0.0);
            let told = effects.iter().any(|effect| matches!(effect, Effect::TellDown { .. }));
            assert!(!told, "{attempt} attempts in {unstable_ms} ms");
            assert_eq!(account.step(Input::RetryDue, 0.0), [Effect::Dial]);
        }
        account.has_been_unstable_for(9_000);
        let effects = account.step(network(), 0.0);
        assert!(effects.iter().any(|effect| matches!(effect, Effect::TellDown { .. })));
        assert_eq!(account.step(Input::RetryDue, 0.0), [Effect::Dial]);
        let effects = account.step(network(), 0.0);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::TellDown { .. })));
        account.step(Input::RetryDue, 0.0);
        assert_eq!(account.step(Input::Connected, 0.0), [Effect::TellUp]);
    }

    #[test]
    fn a_dead_session_is_never_dialled_again_unless_somebody_asks() {
        let mut account = machine();
        account.step(Input::Wanted, 0.0);
        let dead = Input::Lost(Failure::Dead { code: "SESSION_REVOKED".into() });
        let effects = account.step(dead, 0.0);
        assert!(effects.contains(&Effect::RecordDead { code: "SESSION_REVOKED".into() }));
        for input in [Input::Wanted, Input::RetryDue, Input::Connected, Input::Resume] {
            assert!(!account.step(input, 0.0).contains(&Effect::Dial));
        }
        account.step(Input::Retry, 0.0);
        assert_eq!(account.step(Input::Wanted, 0.0), [Effect::Dial]);
    }

    #[test]
    fn a_connection_that_flaps_backs_off_until_it_is_stable() {
        let mut account = machine();
        account.step(Input::Wanted, 0.0);
        let mut pauses = Vec::new();
        for _ in 0..4 {
            account.step(Input::Connected, 0.0);
            for effect in account.step(network(), 0.0) {
                if let Effect::RetryAfter { ms } = effect {
                    pauses.push(ms);
                }
            }
            account.step(Input::RetryDue, 0.0);
        }
        assert_eq!(pauses, [250, 500, 1000, 2000]);
        account.step(Input::Connected, 0.0);
        account.step(Input::Settled, 0.0);
        assert_eq!(account.failures(), 0);
    }

    #[test]
    fn a_server_that_sends_what_nobody_can_read_is_dialled_ever_less_often() {
        let mut account = machine();
        account.step(Input::Wanted, 0.0);
        let (mut elapsed_ms, mut dials) = (0, 0);
        while elapsed_ms < 24 * 60 * 60 * 1_000 {
            account.step(Input::Connected, 0.0);
            let held: u64 = 25_000;
            if held >= account.stable_after_ms() {
                account.step(Input::Settled, 0.0);
            }
            let effects = account.step(Input::Lost(Failure::unreadable("too deep")), 0.0);
            let pause = effects.iter().find_map(|effect| match effect {
                Effect::RetryAfter { ms } => Some(*ms),
                _ => None,
            });
            elapsed_ms += held + pause.unwrap();
            dials += 1;
            account.step(Input::RetryDue, 0.0);
        }
        // Every 25 s would be 3,456.
        assert!(dials < 1_600, "{dials}");
        // Whoever comes back to it does not begin anew.
        account.step(Input::Unwanted, 0.0);
        let effects = account.step(Input::Wanted, 0.0);
        assert!(matches!(effects[..], [Effect::RetryAfter { ms: 30_000 }]), "{effects:?}");
        account.step(Input::RetryDue, 0.0);
        account.step(Input::Connected, 0.0);
        assert_eq!(account.stable_after_ms(), 600_000);
        account.step(Input::Settled, 0.0);
        assert_eq!((account.failures(), account.stable_after_ms()), (0, 20_000));
    }

    #[test]
    fn a_freeze_is_sat_out_from_when_it_was_met_and_not_from_each_life_on() {
        let mut account = machine();
        account.step(Input::Wanted, 0.0);
        let frozen = || Input::Lost(Failure::Frozen { code: "FROZEN_METHOD_INVALID".into() });
        let day = LOOK_EVERY_MS.unsigned_abs();
        assert!(account.step(frozen(), 0.0).contains(&Effect::RetryAfter { ms: day }));
        let mut account = machine();
        account.step(Input::Wanted, 0.0);
        account.is_frozen_for(3_600_000);
        assert!(account.step(frozen(), 0.0).contains(&Effect::RetryAfter { ms: 3_600_000 }));
        account.step(Input::RetryDue, 0.0);
        account.is_frozen_for(0);
        let pause = account.step(frozen(), 0.0);
        assert!(pause.contains(&Effect::RetryAfter { ms: 500 }), "never at once: {pause:?}");
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            Just(Input::Wanted),
            Just(Input::Unwanted),
            Just(Input::Connected),
            Just(network()),
            Just(Input::Lost(Failure::unreadable("too deep"))),
            Just(Input::Retry),
            Just(Input::Lost(Failure::Dead { code: "AUTH_KEY_DUPLICATED".into() })),
            Just(Input::Lost(Failure::Wait {
                code: "FLOOD_WAIT".into(),
                seconds: 90,
                scope: crate::protocol::telegram::failure::WaitScope::MethodClass
            })),
            Just(Input::Settled),
            Just(Input::RetryDue),
            Just(Input::Pause),
            Just(Input::Resume),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: never two dials at once, never a dial of a dead or
        /// paused account, never a monitor told "up" while the link is not.
        #[test]
        fn no_order_of_inputs_harms_a_session(inputs in prop::collection::vec(input(), 0..60)) {
            let mut account = machine();
            let mut connections = 0i32;
            for input in inputs {
                let ends = matches!(input, Input::Lost(_));
                let was = account.link().clone();
                if ends && matches!(was, LinkState::Up | LinkState::Dialling) {
                    connections = 0;
                }
                for effect in account.step(input, 0.5) {
                    match effect {
                        Effect::Dial => {
                            prop_assert!(!matches!(was, LinkState::Dead(_)));
                            connections += 1;
                        }
                        Effect::HangUp => connections = 0,
                        Effect::TellUp => prop_assert_eq!(account.link(), &LinkState::Up),
                        Effect::RetryAfter { ms } => prop_assert!(ms >= 250),
                        Effect::TellDown { .. } | Effect::RecordDead { .. } => {}
                    }
                    prop_assert!(connections <= 1, "two connections for one key");
                }
            }
        }
    }
}
