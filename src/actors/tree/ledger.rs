//! The restart ledger: why each supervised child ended, which attempt it was, and when the next one
//! comes. Owns how a line gets to all who want it (log, metrics, status, store); decides
//! nothing (`protocol/tree/restart.rs` does).

use std::time::Duration;

use super::context::Context;
use crate::protocol::tree::restart::RestartRecord;
use crate::protocol::tree::restart::{ChildKind, RestartDecision, RestartHistory};
use crate::protocol::values::ids::UnixMillis;
use crate::store::Op;

/// Longest cause kept, in characters.
const CAUSE_MAX: usize = 200;

/// Judges the failure of a child by its kind's policy and writes the line.
pub(in crate::actors) async fn judge(
    context: &Context,
    kind: ChildKind,
    name: &str,
    history: &mut RestartHistory,
    cause: &str,
) -> RestartDecision {
    let (verdict, line) = decide(context, kind, name, history, cause);
    keep(context, line).await;
    verdict
}

/// The same for whoever cannot wait: the line is told to everybody but the store.
pub(in crate::actors) fn decide(
    context: &Context,
    kind: ChildKind,
    name: &str,
    history: &mut RestartHistory,
    cause: &str,
) -> (RestartDecision, RestartRecord) {
    let at = context.now();
    let verdict = history.failed(&kind.policy(), at, context.jitter());
    let actor = format!("{}/{name}", kind.name());
    let cause = cut(cause);
    let attempt = verdict.attempt();
    let next_at = match verdict {
        RestartDecision::Restart { after_ms, .. } => {
            tracing::warn!(actor, cause, attempt, after_ms, "an actor ended; it is started again");
            Some(at.plus_ms(i64::try_from(after_ms).unwrap_or(i64::MAX)))
        }
        RestartDecision::Park { .. } => {
            tracing::error!(
                actor,
                cause,
                attempt,
                "an actor keeps crashing; it is parked until a command asks for it"
            );
            None
        }
        RestartDecision::Escalate { .. } => {
            tracing::error!(
                actor,
                cause,
                "a part ended without which going on would be a lie; the process ends"
            );
            None
        }
    };
    let is_parked = matches!(verdict, RestartDecision::Park { .. });
    context.metrics.crashed(kind.name(), is_parked);
    let record = RestartRecord { actor, at, cause, attempt, next_at };
    context.status.restart(record.clone());
    (verdict, record)
}

/// Has the store keep a line.
pub(in crate::actors) async fn keep(context: &Context, line: RestartRecord) {
    // The ledger is for people; a store in trouble is told elsewhere.
    let _ = context.store.submit(vec![Op::PutRestart(line)], |_| {}).await;
}

/// Notes that an account's link was dropped to dial again. It is an everyday matter when a network
/// is bad, so it has lines of its own on the status and none in the store: thousands of them must
/// not push out why an actor crashed.
pub(in crate::actors) fn link_dropped(
    context: &Context,
    account: impl std::fmt::Display,
    reason: &'static str,
    cause: &str,
    attempt: u32,
    next_at: Option<UnixMillis>,
) {
    context.metrics.link_dropped(reason);
    let cause = cut(cause);
    let (actor, at) = (format!("link/{account}"), context.now());
    context.status.link_dropped(RestartRecord { actor, at, cause, attempt, next_at });
}

/// As much of a cause as is shown.
pub(in crate::actors) fn cut(cause: &str) -> String {
    cause.chars().take(CAUSE_MAX).collect()
}

/// The pause of a verdict that has one.
pub(in crate::actors) fn pause_of(verdict: RestartDecision) -> Option<Duration> {
    match verdict {
        RestartDecision::Restart { after_ms, .. } => Some(Duration::from_millis(after_ms)),
        RestartDecision::Park { .. } | RestartDecision::Escalate { .. } => None,
    }
}
