//! What operators see: the command line, logs, metrics.

mod cli;
mod logging;
mod metrics;
