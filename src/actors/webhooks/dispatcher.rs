//! The dispatcher: reads the outbox in order and puts each event of a user into the queue of every endpoint of
//! that user that wants it. The deliveries and how far it has come are one commit, so each event is in
//! each line exactly once, whatever crashes. Never waits for an endpoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, sleep_until};

use super::endpoint::EndpointMsg;
use super::registry::{Hook, durable};
use super::supervisor::Shared;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::bridge::outbox::{OutboxEntry, Route};
use crate::protocol::users::owner::WebhookId;
use crate::protocol::webhooks::deliveries::Delivery;
use crate::store::{CommitError, DeliveryId, Op, Spooler};

/// Events looked at together. With 20 endpoints each and 2 KiB a body, 5 MiB.
const BATCH: usize = 128;
/// When it is noted how far it has come while nothing is for an endpoint. Until then what was looked at
/// stays in the outbox, and is looked at again after a crash.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How often it looks while there is no endpoint at all: being woken for each event costs more than the
/// look itself.
const IDLE_LOOK_EVERY: Duration = Duration::from_millis(50);
/// Events looked at together then: as many as come meanwhile at 20,000 a second.
const IDLE_BATCH: usize = 1024;

/// Runs until it is told to stop, or the store fails.
pub(super) async fn run(shared: &Shared, spooler: &mut Spooler) -> Result<(), CommitError> {
    let mut passed: Option<u64> = None;
    let mut note_at = instant();
    loop {
        let is_idle = passed.is_some() && shared.registry.count() == 0;
        let batch = if is_idle { IDLE_BATCH } else { BATCH };
        let next = async {
            if is_idle {
                sleep(IDLE_LOOK_EVERY).await;
            }
            spooler.next(batch).await
        };
        let entries = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            () = sleep_until(note_at), if passed.is_some() => {
                note(shared, passed.take()).await?;
                continue;
            }
            entries = next => entries,
        };
        let Some(&(through, _)) = entries.last() else { continue };
        if spool(shared, &entries, through).await? {
            passed = None;
        } else {
            if passed.is_none() {
                note_at = instant() + NOTE_EVERY;
            }
            passed = Some(through);
        }
    }
    note(shared, passed).await
}

/// Makes durable that everything up to `through` was for nobody.
async fn note(shared: &Shared, through: Option<u64>) -> Result<(), CommitError> {
    match through {
        Some(through) => shared.context.store.commit(vec![Op::Spool(through)]).await,
        None => Ok(()),
    }
}

/// Puts `entries` into queues; `false` when none was for an endpoint, so that nothing was written.
async fn spool(
    shared: &Shared,
    entries: &[(u64, Arc<OutboxEntry>)],
    through: u64,
) -> Result<bool, CommitError> {
    let turn = shared.registry.turn().await;
    let mut ops = Vec::new();
    let mut told: HashMap<WebhookId, (Arc<Hook>, Vec<DeliveryId>)> = HashMap::new();
    for (seq, entry) in entries {
        for (hook, delivery) in deliveries(shared, *seq, entry) {
            ops.push(Op::put_row(&delivery));
            let Delivery { webhook, seq, line, .. } = delivery;
            let (_, ids) = told.entry(webhook).or_insert_with(|| (hook, Vec::new()));
            ids.push(DeliveryId { webhook, seq, line });
        }
    }
    if ops.is_empty() {
        return Ok(false);
    }
    ops.push(Op::Spool(through));
    failpoint::reach("webhook.spool.before");
    let handed_in = turn.submit(&shared.context.store, ops).await?;
    drop(turn);
    durable(handed_in).await?;
    failpoint::reach("webhook.spool.after");
    for (hook, ids) in told.into_values() {
        hook.tell(EndpointMsg::Arrived(ids));
    }
    Ok(true)
}

/// The deliveries that an entry of the outbox becomes.
fn deliveries(shared: &Shared, seq: u64, entry: &OutboxEntry) -> Vec<(Arc<Hook>, Delivery)> {
    let (Some(user), Route::Event) = (&entry.owner, &entry.route) else { return Vec::new() };
    let hooks = shared.registry.wanting(user, &entry.kind);
    let made = hooks.into_iter().filter_map(|hook| {
        let whose = (user.clone(), hook.record().id);
        let delivery = Delivery::of(entry, seq, whose, shared.context.now());
        if delivery.is_none() {
            tracing::error!(kind = entry.kind, "an event is not JSON, so no webhook gets it");
        }
        delivery.map(|delivery| (hook, delivery))
    });
    made.collect()
}
