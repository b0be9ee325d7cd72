//! Retention: lets go what is kept for a time only, a bit at a time, so that no commit waits for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

use crate::actors::tree::children::watched_task;
use crate::actors::tree::context::Context;
use crate::protocol::audit::log::AUDIT_LOG_KEPT_MS;
use crate::protocol::tree::table;
use crate::store::Op;

/// Time between two looks. With what one look lets go at the most (4,096 rows of users and as many that belong to
/// nobody, 1,000 audit entries), 24 million rows of each sort and 6 million entries a day may come to their end.
const EVERY: Duration = Duration::from_secs(15);

/// Starts it; it ends when what is returned is dropped.
pub(in crate::actors) fn start(context: &Arc<Context>) -> AbortOnDropHandle<()> {
    let shared = Arc::clone(context);
    watched_task(context, &table::RETENTION, move || tidy(Arc::clone(&shared)))
}

async fn tidy(context: Arc<Context>) {
    let mut rhythm = interval(EVERY);
    rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rhythm.tick().await;
        let at = context.now();
        let ops = vec![Op::Expire(at), Op::TrimAuditLog(at.plus_ms(-AUDIT_LOG_KEPT_MS))];
        // A store in trouble ends the daemon; nothing to add here.
        let _ = context.store.commit(ops).await;
    }
}
