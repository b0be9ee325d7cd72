//! What every actor stands on: the context that each is handed, children and their restarts, the ledger, the status
//! that health reads, the numbers for metrics, and who holds what while a user is erased. Knows no subject: the
//! rooms of subjects import this one, and it imports none of them.

pub(super) mod actor;
pub(super) mod backlog;
pub(super) mod calling;
pub(super) mod campaign_metrics;
pub(super) mod changes;
pub(super) mod children;
pub(super) mod context;
pub(super) mod erasing;
pub(super) mod keyed_lock;
pub(super) mod ledger;
pub(super) mod members;
pub(super) mod metrics;
pub(super) mod status;
