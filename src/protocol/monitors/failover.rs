//! The failover state machine of a monitored chat: which session listens, what happens when it
//! loses access, when nobody is left (`docs/bridge.md`).

use serde::{Deserialize, Serialize};

use super::record::MonitorPhase;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::telegram::failure::LostReason;
use crate::protocol::telegram::failure::Permanence;
use crate::protocol::values::ids::SessionId;

/// State of a monitor as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MonitorState {
    /// Waiting for its session's account to come up.
    Connecting,
    /// Resolving the chat, checking membership, fetching what was missed.
    Opening,
    /// Messages flow.
    Active,
    /// Waiting before the next session is tried.
    Waiting,
    /// No session is left.
    Exhausted,
    /// Not monitored any more.
    Stopped,
}

/// What happens to a monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// It comes to life, after a start of the daemon or of its actor.
    Begin,
    /// The account of the session in use is connected, for the first time or again.
    SourceUp,
    /// The account of the session in use is lost.
    SourceLost {
        /// What to report.
        reason: LostReason,
        /// How lasting.
        permanence: Permanence,
    },
    /// The chat is resolved and what was missed is published.
    Opened,
    /// The chat has to be looked at again: something may have been missed.
    Reopen,
    /// The pause before the next session is over.
    RetryDue,
    /// A command names other sessions, or revives an exhausted monitor.
    Replace(Vec<PoolMember>),
    /// A command ends it.
    Stop,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask for the account of this session and listen to it.
    Watch(PoolMember),
    /// Let go of the account of this session.
    Unwatch(PoolMember),
    /// Resolve the chat, check membership, fetch what was missed.
    Open,
    /// Report that a session lost the chat.
    Announce {
        /// Which one.
        session: SessionId,
        /// Why.
        reason: LostReason,
    },
    /// Feed [`Input::RetryDue`] after this pause.
    RetryAfter {
        /// Milliseconds.
        ms: u64,
    },
}

/// How fast failover goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailoverPolicy {
    /// Pause before the next session is tried, milliseconds.
    pub retry_delay_ms: u64,
    /// Longest pause once every session of the pool has failed in turn, milliseconds.
    pub retry_delay_max_ms: u64,
}

/// The least pause before another session is tried, milliseconds: none may be configured, and a session
/// may be refused at once.
const RETRY_FLOOR_MS: u64 = 100;

/// The machine.
#[derive(Clone, Debug)]
pub struct MonitorMachine {
    policy: FailoverPolicy,
    state: MonitorState,
    /// Usable sessions in the order in which they are tried; the first one is in use.
    pool: Vec<PoolMember>,
    /// Sessions that failed since the chat was last open, so that each loss is reported once
    /// however often a long outage makes the pool go round.
    announced: Vec<(SessionId, LostReason)>,
    /// Failures since the chat was last open.
    failures: u32,
    /// Whether the account of the first session is being watched.
    watching: bool,
}

impl MonitorMachine {
    /// A machine that has not begun.
    pub fn new(policy: FailoverPolicy, pool: Vec<PoolMember>, phase: MonitorPhase) -> Self {
        let state = match phase {
            MonitorPhase::Running => MonitorState::Waiting,
            MonitorPhase::Exhausted => MonitorState::Exhausted,
        };
        Self { policy, state, pool, announced: Vec::new(), failures: 0, watching: false }
    }

    /// Where it stands.
    pub fn state(&self) -> MonitorState {
        self.state
    }

    /// Where it stands, as far as a restart must know.
    pub fn phase(&self) -> MonitorPhase {
        match self.state {
            MonitorState::Exhausted => MonitorPhase::Exhausted,
            _ => MonitorPhase::Running,
        }
    }

    /// The usable sessions, the one in use first.
    pub fn pool(&self) -> &[PoolMember] {
        &self.pool
    }

    /// The session in use.
    pub fn current(&self) -> Option<&PoolMember> {
        self.pool.first()
    }

    /// One step. Inputs that come too late to matter change nothing.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        use MonitorState::{Active, Connecting, Exhausted, Opening, Stopped, Waiting};
        match (self.state, input) {
            (Stopped, _) => Vec::new(),
            (_, Input::Stop) => {
                self.state = Stopped;
                self.unwatch().into_iter().collect()
            }
            (_, Input::Replace(sessions)) => self.replace(sessions),
            (Connecting | Waiting, Input::Begin) => self.try_first(),
            (Opening | Active | Exhausted, Input::Begin) => Vec::new(),
            (Connecting | Opening | Active, Input::SourceUp) => self.open(),
            (Waiting | Exhausted, Input::SourceUp) => Vec::new(),
            (Opening | Active, Input::Reopen) => self.open(),
            (Connecting | Waiting | Exhausted, Input::Reopen) => Vec::new(),
            (Connecting | Opening | Active, Input::SourceLost { reason, permanence }) => {
                self.lost(reason, permanence)
            }
            (Waiting | Exhausted, Input::SourceLost { .. }) => Vec::new(),
            (Opening, Input::Opened) => {
                self.state = Active;
                self.failures = 0;
                self.announced.clear();
                Vec::new()
            }
            (Connecting | Active | Waiting | Exhausted, Input::Opened) => Vec::new(),
            (Waiting, Input::RetryDue) => self.try_first(),
            (Connecting | Opening | Active | Exhausted, Input::RetryDue) => Vec::new(),
        }
    }

    fn try_first(&mut self) -> Vec<Effect> {
        match self.pool.first().cloned() {
            Some(first) => {
                self.state = MonitorState::Connecting;
                self.watching = true;
                vec![Effect::Watch(first)]
            }
            None => {
                self.state = MonitorState::Exhausted;
                Vec::new()
            }
        }
    }

    fn open(&mut self) -> Vec<Effect> {
        self.state = MonitorState::Opening;
        vec![Effect::Open]
    }

    fn unwatch(&mut self) -> Option<Effect> {
        let watched = std::mem::take(&mut self.watching);
        self.pool.first().filter(|_| watched).cloned().map(Effect::Unwatch)
    }

    fn replace(&mut self, sessions: Vec<PoolMember>) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.unwatch().into_iter().collect();
        self.pool = sessions;
        self.announced.clear();
        self.failures = 0;
        effects.extend(self.try_first());
        effects
    }

    fn lost(&mut self, reason: LostReason, permanence: Permanence) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.unwatch().into_iter().collect();
        let Some(failed) = self.pool.first().cloned() else {
            return effects;
        };
        self.failures = self.failures.saturating_add(1);
        let news = (failed.session.clone(), reason);
        if !self.announced.contains(&news) {
            effects.push(Effect::Announce { session: failed.session.clone(), reason });
            self.announced.push(news);
        }
        match permanence {
            Permanence::Transient => self.pool.rotate_left(1),
            Permanence::Chat => drop(self.pool.remove(0)),
            Permanence::Account => self.pool.retain(|member| member.account != failed.account),
        }
        if self.pool.is_empty() {
            self.state = MonitorState::Exhausted;
            let reason = LostReason::NoBackupLeft;
            effects.push(Effect::Announce { session: failed.session, reason });
        } else {
            self.state = MonitorState::Waiting;
            effects.push(Effect::RetryAfter { ms: self.pause_ms() });
        }
        effects
    }

    /// The configured pause while sessions are left that have not been tried; after a whole round
    /// of failures it doubles each round, because then the trouble is not with one session.
    fn pause_ms(&self) -> u64 {
        let size = u32::try_from(self.pool.len()).unwrap_or(u32::MAX).max(1);
        let rounds = (self.failures / size).saturating_sub(1).min(16);
        let ceiling = self.policy.retry_delay_max_ms.max(self.policy.retry_delay_ms);
        self.policy.retry_delay_ms.max(RETRY_FLOOR_MS).saturating_mul(1 << rounds).min(ceiling)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::values::ids::AuthKeyId;

    const POLICY: FailoverPolicy =
        FailoverPolicy { retry_delay_ms: 5_000, retry_delay_max_ms: 300_000 };

    fn member(id: &str, account: u64) -> PoolMember {
        PoolMember { session: SessionId(id.into()), account: AuthKeyId(account) }
    }

    fn machine(pool: &[(&str, u64)]) -> MonitorMachine {
        let pool = pool.iter().map(|(id, account)| member(id, *account)).collect();
        MonitorMachine::new(POLICY, pool, MonitorPhase::Running)
    }

    fn dead() -> Input {
        Input::SourceLost { reason: LostReason::SessionRevoked, permanence: Permanence::Account }
    }

    fn offline() -> Input {
        Input::SourceLost {
            reason: LostReason::ConnectionFailed,
            permanence: Permanence::Transient,
        }
    }

    fn announced(effects: &[Effect]) -> Vec<(String, LostReason)> {
        let told = effects.iter().filter_map(|effect| match effect {
            Effect::Announce { session, reason } => Some((session.0.clone(), *reason)),
            _ => None,
        });
        told.collect()
    }

    fn bring_up(monitor: &mut MonitorMachine) {
        monitor.step(Input::SourceUp);
        monitor.step(Input::Opened);
        assert_eq!(monitor.state(), MonitorState::Active);
    }

    #[test]
    fn a_dead_session_leaves_the_pool_and_the_next_one_takes_over() {
        let mut monitor = machine(&[("a", 1), ("b", 2)]);
        assert_eq!(monitor.step(Input::Begin), [Effect::Watch(member("a", 1))]);
        bring_up(&mut monitor);
        let effects = monitor.step(dead());
        assert_eq!(announced(&effects), [("a".into(), LostReason::SessionRevoked)]);
        assert!(effects.contains(&Effect::RetryAfter { ms: 5_000 }));
        assert_eq!(monitor.step(Input::RetryDue), [Effect::Watch(member("b", 2))]);
        assert_eq!(monitor.pool(), [member("b", 2)]);
    }

    #[test]
    fn a_transient_failure_sends_the_session_to_the_back() {
        let mut monitor = machine(&[("a", 1), ("b", 2)]);
        monitor.step(Input::Begin);
        monitor.step(offline());
        assert_eq!(monitor.pool(), [member("b", 2), member("a", 1)]);
    }

    #[test]
    fn a_dead_account_takes_all_its_session_ids_along() {
        let mut monitor = machine(&[("a", 1), ("alias", 1)]);
        monitor.step(Input::Begin);
        let effects = monitor.step(dead());
        assert_eq!(
            announced(&effects),
            [("a".into(), LostReason::SessionRevoked), ("a".into(), LostReason::NoBackupLeft)]
        );
        assert_eq!(monitor.state(), MonitorState::Exhausted);
    }

    #[test]
    fn an_outage_is_reported_once_a_session_and_slows_the_round_down() {
        let mut monitor = machine(&[("a", 1), ("b", 2)]);
        monitor.step(Input::Begin);
        let mut told = Vec::new();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let effects = monitor.step(offline());
            told.extend(announced(&effects));
            pauses.extend(effects.iter().filter_map(|effect| match effect {
                Effect::RetryAfter { ms } => Some(*ms / 1000),
                _ => None,
            }));
            monitor.step(Input::RetryDue);
        }
        assert_eq!(told.len(), 2);
        assert_eq!(pauses, [5, 5, 5, 10, 10, 20, 20, 40]);
    }

    #[test]
    fn new_sessions_revive_an_exhausted_monitor() {
        let mut monitor = machine(&[("a", 1)]);
        monitor.step(Input::Begin);
        monitor.step(dead());
        assert_eq!(monitor.state(), MonitorState::Exhausted);
        let effects = monitor.step(Input::Replace(vec![member("c", 3)]));
        assert_eq!(effects, [Effect::Watch(member("c", 3))]);
    }

    fn input() -> impl Strategy<Value = Input> {
        let reason = prop_oneof![Just(LostReason::Kicked), Just(LostReason::ConnectionFailed)];
        let permanence = prop_oneof![
            Just(Permanence::Transient),
            Just(Permanence::Chat),
            Just(Permanence::Account)
        ];
        prop_oneof![
            2 => Just(Input::Begin),
            3 => Just(Input::SourceUp),
            3 => (reason, permanence)
                .prop_map(|(reason, permanence)| Input::SourceLost { reason, permanence }),
            3 => Just(Input::Opened),
            1 => Just(Input::Reopen),
            3 => Just(Input::RetryDue),
            1 => prop::collection::vec((0..4u64).prop_map(|n| member(&n.to_string(), n / 2)), 1..4)
                .prop_map(Input::Replace),
            1 => Just(Input::Stop),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: at most one account is watched, watches and
        /// unwatches match, and an exhausted monitor has said so.
        #[test]
        fn no_order_of_inputs_confuses_the_pool(inputs in prop::collection::vec(input(), 0..80)) {
            let mut monitor = machine(&[("0", 0), ("1", 0), ("2", 1)]);
            let mut watched: Option<PoolMember> = None;
            let mut said_so = false;
            for input in inputs {
                let revived = matches!(input, Input::Replace(_));
                let effects = monitor.step(input);
                said_so = (said_so && !revived)
                    || announced(&effects).iter().any(|(_, why)| *why == LostReason::NoBackupLeft);
                for effect in effects {
                    match effect {
                        // Begin may come twice; watching what is watched changes nothing.
                        Effect::Watch(member) => {
                            prop_assert!(watched.as_ref().is_none_or(|now| *now == member));
                            watched = Some(member);
                        }
                        Effect::Unwatch(member) => prop_assert_eq!(watched.take(), Some(member)),
                        Effect::Open => prop_assert!(watched.is_some()),
                        Effect::RetryAfter { ms } => prop_assert!(ms >= 5_000),
                        Effect::Announce { .. } => {}
                    }
                }
                if monitor.state() == MonitorState::Exhausted {
                    prop_assert!(said_so && monitor.pool().is_empty() && watched.is_none());
                }
            }
        }
    }
}
