//! Monitors follow their accounts: one that logged in anew has another key, and the pools that name the
//! account are given that one. Done at every start, too, so that a crash in between leaves nothing behind.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::context::Context;
use super::orders::Orders;
use crate::protocol::model::{MonitorRecord, PoolMember};
use crate::protocol::owner::{AccountId, Scope};

/// Monitors that are read at once.
const PAGE: usize = 250;

/// Starts it; it ends when what is returned is dropped.
pub(super) fn start(context: &Arc<Context>, orders: &Orders) -> AbortOnDropHandle<()> {
    let (context, orders) = (Arc::clone(context), orders.clone());
    AbortOnDropHandle::new(tokio::spawn(async move {
        mend(&context, &orders, Scope::Everybody).await;
        loop {
            for user in context.rekeyed.next().await {
                mend(&context, &orders, Scope::Only(user)).await;
            }
        }
    }))
}

/// Gives the monitors in `scope` the keys that their accounts have now, a page after the other.
async fn mend(context: &Context, orders: &Orders, scope: Scope) {
    let mut after = None;
    loop {
        let keys = context.store.monitor_keys(&scope, after.as_ref(), PAGE);
        let Some(last) = keys.last().cloned() else { return };
        let store = context.store.clone();
        match tokio::task::spawn_blocking(move || store.monitors_at(&keys)).await {
            Ok(Ok(records)) => mend_some(context, orders, records).await,
            Ok(Err(error)) => {
                tracing::error!(%error, "the monitors could not be read");
                return;
            }
            // The daemon ends.
            Err(_) => return,
        }
        after = Some(last);
    }
}

async fn mend_some(context: &Context, orders: &Orders, records: Vec<MonitorRecord>) {
    for record in records.into_iter().filter(|record| renewed(context, record).is_some()) {
        let Some(owner) = &record.owner else { continue };
        let Ok(_busy) = context.erasing.enter(owner) else { continue };
        let _turn = context.turns.take(owner).await;
        // Its user may have changed or stopped it since it was read.
        let Ok(Some(record)) = context.store.monitor(&record.key()) else { continue };
        let Some(pool) = renewed(context, &record) else { continue };
        let watched = orders.watch(record.owner, record.chat, pool, None, Vec::new()).await;
        if watched.is_err() {
            tracing::warn!(
                "a monitor did not take the new key of its account; it does at the next start"
            );
        }
    }
}

/// The accounts of a monitor with the keys that they have now, if those are others.
fn renewed(context: &Context, record: &MonitorRecord) -> Option<Vec<PoolMember>> {
    let scope = Scope::Only(record.owner.clone()?);
    let renew = |member: &PoolMember| {
        let id = Uuid::parse_str(&member.session.0).ok().map(AccountId);
        let account = id.and_then(|id| context.directory.get(&scope, id));
        let account = account.map_or(member.account, |account| account.key);
        PoolMember { session: member.session.clone(), account }
    };
    let pool: Vec<PoolMember> = record.ordered.iter().map(renew).collect();
    (pool != record.ordered).then_some(pool)
}
