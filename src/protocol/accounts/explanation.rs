//! Why an account is as it is, in words: evidence, timers, and what happens next. Pure; the answer
//! for health, the API and the console alike.

use serde::Serialize;

use super::connection::AccountState;
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope};
use crate::protocol::tree::watchdog::LinkProgress;
use crate::protocol::values::ids::UnixMillis;

/// What is known of an account.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Its state.
    pub state: AccountState,
    /// The last failure in words, until it works again.
    pub failure: Option<&'a str>,
    /// Failed dials since it was last stable.
    pub failures: u32,
    /// Whether its actor has crashed and is not running.
    pub is_crashed: bool,
    /// When it is dialled, or its actor started, again.
    pub retry_at: Option<UnixMillis>,
    /// What Telegram makes wait.
    pub flood_waits: &'a [FloodWait],
    /// How its link was getting on when it was last looked at.
    pub progress: Option<LinkProgress>,
    /// When it is looked again whether Telegram still has it frozen, if it has.
    pub frozen_until: Option<UnixMillis>,
}

/// The explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// What was seen, the latest last.
    pub evidence: Vec<String>,
    /// What ends by itself, and when.
    pub timers: Vec<Timer>,
    /// What happens next, or what somebody has to do.
    pub next: &'static str,
}

/// Something that ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timer {
    /// What it is.
    pub what: String,
    /// When it ends.
    pub until: UnixMillis,
}

/// Explains the situation at the moment `now`.
pub fn explain(situation: &Situation<'_>, now: UnixMillis) -> Why {
    let Situation {
        state,
        failure,
        failures,
        is_crashed,
        retry_at,
        flood_waits,
        progress,
        frozen_until,
    } = situation;
    let mut evidence: Vec<String> = failure.iter().map(|text| (*text).to_owned()).collect();
    if *failures > 0 {
        let connections = if *failures == 1 { "connection" } else { "connections" };
        evidence.push(format!("{failures} {connections} failed or ended since it was last stable"));
    }
    if let Some(progress) = progress {
        let ago = |at: UnixMillis| (now.0.saturating_sub(at.0) / 1_000).max(0);
        let heard = ago(progress.heard_at);
        evidence
            .push(format!("its link is {}; telegram was heard {heard} s ago", progress.activity));
        if let Some(at) = progress.applied_at {
            evidence.push(format!("the last news were handed on {} s ago", ago(at)));
        }
    }
    let retry = retry_at.filter(|at| *at > now);
    let what = match is_crashed {
        true => "the pause before its actor is started again",
        false => "the pause before the next dial",
    };
    let dial = retry.map(|until| Timer { what: what.into(), until });
    let look = frozen_until.filter(|at| *at > now).map(|until| Timer {
        what: "the next look whether telegram has lifted the freeze".into(),
        until,
    });
    let waits = flood_waits
        .iter()
        .filter(|wait| wait.until > now)
        .map(|wait| Timer { what: name_of(&wait.scope), until: wait.until });
    Why {
        evidence,
        timers: dial.into_iter().chain(look).chain(waits).collect(),
        next: match is_crashed {
            false if frozen_until.is_some() => {
                "what telegram refused is not asked again before the next look: its owner can appeal in \
                 an official app, and reconnect it here when the freeze is lifted"
            }
            true => after_crash(retry.is_some()),
            false if failure.is_some() && *state == AccountState::Active => {
                "it is connected; what failed is asked for again with growing pauses"
            }
            false => next(*state, retry.is_some()),
        },
    }
}

fn after_crash(is_pausing: bool) -> &'static str {
    match is_pausing {
        true => "its actor is started again when the pause is over",
        false => "it is left alone until a start or switch command names it",
    }
}

/// What a wait of Telegram's is called where people read it.
pub fn name_of(scope: &FloodWaitScope) -> String {
    match scope {
        FloodWaitScope::Class(class) => format!("telegram's wait for {} calls", class.name()),
        FloodWaitScope::Chat(_) => "telegram's wait for one chat".into(),
        FloodWaitScope::Account => "the rest after telegram limited it".into(),
    }
}

fn next(state: AccountState, is_pausing: bool) -> &'static str {
    match state {
        AccountState::Connecting | AccountState::Reconnecting if is_pausing => {
            "it is dialled again when the pause is over"
        }
        AccountState::Connecting | AccountState::Reconnecting => "a dial is under way",
        AccountState::Active => "nothing has to happen: it works",
        AccountState::CoolingDown => "what waits goes on when telegram's waits are over",
        AccountState::Limited => {
            "it initiates nothing until its rest is over; it goes on listening"
        }
        AccountState::Paused => "somebody has to let it go on",
        AccountState::Error => {
            "it is not dialled any more: connect it again, or name a working session in a start or \
             switch command"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::telegram::pacing::MethodClass;
    use crate::protocol::tree::watchdog::Activity;

    const CALM: Situation<'static> = Situation {
        state: AccountState::Active,
        failure: None,
        failures: 0,
        is_crashed: false,
        retry_at: None,
        flood_waits: &[],
        progress: None,
        frozen_until: None,
    };

    #[test]
    fn an_account_that_is_frozen_says_what_its_owner_can_do_and_when_it_is_looked_at_again() {
        let situation = Situation {
            state: AccountState::Limited,
            failure: Some("telegram has frozen this account (FROZEN_METHOD_INVALID)"),
            frozen_until: Some(UnixMillis(500_000)),
            ..CALM
        };
        let why = explain(&situation, UnixMillis(100_000));
        assert_eq!(why.timers[0].until, UnixMillis(500_000));
        assert!(why.next.contains("appeal"));
    }

    #[test]
    fn an_account_that_reconnects_says_why_and_when() {
        let now = UnixMillis(100_000);
        let situation = Situation {
            state: AccountState::Reconnecting,
            failure: Some("telegram did not answer within 15 s"),
            failures: 3,
            retry_at: Some(UnixMillis(107_000)),
            ..CALM
        };
        let why = explain(&situation, now);
        assert_eq!(why.evidence[0], "telegram did not answer within 15 s");
        assert!(why.evidence[1].starts_with("3 connections"));
        assert_eq!(why.timers[0].until, UnixMillis(107_000));
        assert_eq!(why.next, "it is dialled again when the pause is over");
        let later = explain(&situation, UnixMillis(107_000));
        assert_eq!((later.timers.len(), later.next), (0, "a dial is under way"));
    }

    #[test]
    fn an_account_whose_actor_crashed_says_so_and_whether_it_comes_back() {
        let now = UnixMillis(1_000);
        let (state, failure) = (AccountState::Reconnecting, Some("its actor crashed: boom"));
        let pausing = Situation {
            state,
            failure,
            is_crashed: true,
            retry_at: Some(UnixMillis(9_000)),
            ..CALM
        };
        let why = explain(&pausing, now);
        assert_eq!(why.evidence, ["its actor crashed: boom"]);
        assert_eq!(why.timers[0].what, "the pause before its actor is started again");
        let parked = Situation { state: AccountState::Error, retry_at: None, ..pausing };
        let why = explain(&parked, now);
        assert_eq!(why.timers, []);
        assert_eq!(why.next, "it is left alone until a start or switch command names it");
    }

    #[test]
    fn waits_are_told_until_they_are_over() {
        let scope = FloodWaitScope::Class(MethodClass::Join);
        let flood_waits = [
            FloodWait { scope, until: UnixMillis(9_000) },
            FloodWait { scope: FloodWaitScope::Account, until: UnixMillis(500) },
        ];
        let progress = Some(LinkProgress {
            activity: Activity::Listening,
            heard_at: UnixMillis(0),
            applied_at: None,
        });
        let state = AccountState::CoolingDown;
        let why = explain(
            &Situation { state, flood_waits: &flood_waits, progress, ..CALM },
            UnixMillis(4_000),
        );
        assert_eq!(why.timers.len(), 1);
        assert_eq!(why.timers[0].what, "telegram's wait for join calls");
        assert_eq!(why.evidence, ["its link is listening; telegram was heard 4 s ago"]);
    }
}
