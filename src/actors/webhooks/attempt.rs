//! One attempt at a delivery, and what follows it. Owns the order "endpoint, then disk": what was
//! delivered is noted afterwards, so after a crash in between it is delivered again under the same id.

use std::sync::Arc;

use super::port::EndpointCall;
use super::registry::{Hook, durable};
use super::supervisor::Shared;
use crate::actors::tree::metrics::HookOutcome;
use crate::failpoint;
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::webhooks::deliveries::{Delivery, DeliveryDecision, WebhookRecord};
use crate::store::{CommitError, DeliveryId, Op};

/// What came of an attempt, as the disk has it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::actors) enum Came {
    /// It has left its queue.
    Off {
        /// Whether it was delivered, and not given up.
        is_delivered: bool,
    },
    /// It stays the first of its chat.
    Again {
        /// It is to be tried not before.
        at: UnixMillis,
        /// Nothing is to be tried before.
        rest_until: Option<UnixMillis>,
    },
    /// The daemon stops, or the endpoint is gone: nothing was tried or noted.
    Nothing,
}

/// Tries to deliver, and notes what came of it.
pub(super) async fn attempt(
    shared: &Shared,
    hook: &Hook,
    delivery: Delivery,
) -> Result<Came, CommitError> {
    let _own = hook.permit().await;
    let Ok(_permit) = shared.permits.acquire().await else { return Ok(Came::Nothing) };
    if shared.stop.is_cancelled() {
        return Ok(Came::Nothing);
    }
    let record = hook.record();
    let (url, secret) = (record.url.as_str(), record.secret.as_str());
    let keep = shared.settings.may_keep(shared.registry.count());
    let answer = shared
        .client
        .call(EndpointCall { url, secret, delivery: &delivery, at: shared.context.now(), keep })
        .await;
    let verdict = shared.settings.retry.judge(
        &delivery,
        answer,
        shared.context.now(),
        shared.context.jitter(),
    );
    follow(shared, hook, delivery, verdict).await
}

/// Makes durable what follows an attempt.
async fn follow(
    shared: &Shared,
    hook: &Hook,
    delivery: Delivery,
    verdict: DeliveryDecision,
) -> Result<Came, CommitError> {
    let Delivery { webhook, seq, line, .. } = delivery;
    let forget = Op::delete_row::<Delivery>(&delivery.user, DeliveryId { webhook, seq, line });
    match verdict {
        DeliveryDecision::Delivered => {
            failpoint::reach("webhook.delivered.before");
            write(shared, hook, vec![forget]).await?;
            failpoint::reach("webhook.delivered.after");
            hook.set_last_error(None);
            shared.context.metrics.hooked(HookOutcome::Delivered);
            Ok(Came::Off { is_delivered: true })
        }
        DeliveryDecision::Retry { at, error, rest_until } => {
            let attempts = delivery.attempts.saturating_add(1);
            hook.set_last_error(Some(error.clone()));
            let delivery = Delivery { attempts, next_at: at, error: Some(error), ..delivery };
            write(shared, hook, vec![Op::put_row(&delivery)]).await?;
            shared.context.metrics.hooked(HookOutcome::Failed);
            Ok(Came::Again { at, rest_until })
        }
        DeliveryDecision::GiveUp { reason } => {
            hook.set_last_error(Some(reason.clone()));
            let attempts = delivery.attempts.saturating_add(1);
            let dead = Delivery { attempts, ..delivery }.given_up(reason, shared.context.now());
            write(shared, hook, vec![forget, Op::put_row(&dead)]).await?;
            shared.context.metrics.hooked(HookOutcome::GivenUp);
            Ok(Came::Off { is_delivered: false })
        }
        DeliveryDecision::Gone => {
            let error = "it answered 410, so it was disabled; enable it to go on".to_owned();
            hook.set_last_error(Some(error.clone()));
            let at = shared.context.now();
            let attempts = delivery.attempts.saturating_add(1);
            let delivery = Delivery { attempts, error: Some(error), ..delivery };
            disable(shared, hook, &delivery, at).await?;
            shared.context.metrics.hooked(HookOutcome::Gone);
            Ok(Came::Again { at, rest_until: None })
        }
    }
}

/// Writes about an endpoint, unless it was deleted meanwhile.
pub(super) async fn write(shared: &Shared, hook: &Hook, ops: Vec<Op>) -> Result<(), CommitError> {
    let turn = shared.registry.turn().await;
    if shared.registry.get(hook.record().id).is_none() {
        return Ok(());
    }
    let handed_in = turn.submit(&shared.context.store, ops).await?;
    drop(turn);
    durable(handed_in).await
}

/// The endpoint said that it is gone for good (410): it is called no more until its user enables it.
async fn disable(
    shared: &Shared,
    hook: &Hook,
    delivery: &Delivery,
    at: UnixMillis,
) -> Result<(), CommitError> {
    let turn = shared.registry.turn().await;
    let before = hook.record();
    if shared.registry.get(before.id).is_none() {
        return Ok(());
    }
    let mut record = WebhookRecord::clone(&before);
    (record.enabled, record.gone_at) = (false, Some(at));
    let audit_event =
        AuditEvent::own(&record.user, "webhook.disable", at).on(record.id).ended("gone");
    let ops = vec![Op::put_row(&record), Op::put_row(delivery), Op::Audit(audit_event)];
    let handed_in = turn.submit(&shared.context.store, ops).await?;
    // Held until then, so that nobody is told before, nor writes what was there before.
    durable(handed_in).await?;
    tracing::warn!(webhook = %record.id, "a webhook answered 410 (gone) and is disabled");
    shared.registry.put(record);
    drop(turn);
    Ok(())
}

/// Holds what an attempt needs for as long as it runs.
pub(super) async fn run(
    shared: Arc<Shared>,
    hook: Arc<Hook>,
    delivery: Delivery,
) -> Result<Came, CommitError> {
    attempt(&shared, &hook, delivery).await
}
