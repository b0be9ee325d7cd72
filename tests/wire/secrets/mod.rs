//! What may be seen, and by whom: secrets by nobody, rows of others by nobody but admins, and nothing at
//! all that the API's document does not tell. The real daemon, its store on disk and its log.

mod isolation;
mod known;
mod redaction;
mod schemathesis;
mod stolen;

use crate::support::{Backend, Broker, DaemonOptions, Harness};

/// More than any test sends.
const PLENTY: &str =
    "[telegram.limits.send]\nper_minute = 6000\nburst = 1000\nper_day = 10000000\n";

/// A harness before a broker, with every secret that the daemon has of its own; its daemon does not run yet.
async fn prepare(fail_points: bool) -> (Harness, Backend) {
    let backend = Backend::connect(Broker::shared()).await;
    let extra_config = PLENTY.to_owned();
    let options = DaemonOptions { extra_config, fail_points, ..DaemonOptions::default() };
    (Harness::prepare_on_its_own(&backend, options).await, backend)
}

/// The same with a running daemon.
async fn open() -> (Harness, Backend) {
    let (mut harness, backend) = prepare(false).await;
    harness.daemon.spawn().await;
    (harness, backend)
}
