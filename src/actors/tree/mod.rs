//! What every actor stands on: the context that each is handed, children and their restarts, the ledger, the status
//! that health reads, the numbers for metrics, and who holds what while a user is erased. Imports no room of a subject,
//! and never acts for one: what they say of themselves comes in, and goes out to whoever looks.

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
