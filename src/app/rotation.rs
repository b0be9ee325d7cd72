//! The timer of the keys: has the store renew them when they are due. Owns the timer and the
//! telling; when is `protocol::rotation`'s to say, and how the store's.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::actors::{Context, watched_task};
use crate::protocol::keys::rotation;
use crate::protocol::tree::table;
use crate::store::{RotateError, Store, StoreError};

/// Longest sleep: a clock that is set forward is noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);

/// Renews the keys of the store every so often, until what this answers is dropped.
pub(super) fn keep(context: &Arc<Context>, every: Duration) -> AbortOnDropHandle<()> {
    let shared = Arc::clone(context);
    watched_task(context, &table::KEY_TIMER, move || run(Arc::clone(&shared), every))
}

async fn run(context: Arc<Context>, every: Duration) {
    let store = &context.store;
    let mut failures = 0;
    loop {
        let mut left = rotation::wait(
            store.key_created_at(),
            context.now(),
            every,
            failures,
            context.jitter(),
        );
        while !left.is_zero() {
            let sleep = left.min(SLEEP_MAX);
            tokio::time::sleep(sleep).await;
            left = match failures {
                0 => rotation::wait(store.key_created_at(), context.now(), every, 0, 0.0),
                _ => left - sleep,
            };
        }
        failures = match rotate(store).await {
            Ok(()) => 0,
            // Whoever looks after the store ends the process.
            Err(RotateError::Unfinished(_) | RotateError::Unchanged(StoreError::Stopped(_))) => {
                return std::future::pending().await;
            }
            Err(error) => {
                tracing::warn!(failures = failures + 1, "failed to {error}; it is tried again");
                failures.saturating_add(1)
            }
        };
    }
}

/// Renews the keys now.
async fn rotate(store: &Store) -> Result<(), RotateError> {
    let rotated = store.rotate_key().await?;
    tracing::info!(
        generation = rotated.generation,
        key = rotated.id,
        records = rotated.records,
        "the keys in the store were renewed"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_are_renewed_again_and_again_until_the_timer_goes() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = Context::for_tests(store.clone());
        let timer = keep(&context, Duration::from_millis(20));
        let patience = tokio::time::Instant::now() + Duration::from_secs(20);
        while store.key_status().unwrap().generation < 4 {
            assert!(tokio::time::Instant::now() < patience, "{:?}", store.key_status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(timer);
        drop(context);
        store.close().await.unwrap();
    }
}
