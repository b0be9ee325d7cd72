//! SIGHUP: the configuration is read again, and what may change while the daemon runs is applied:
//! `log.level` and `telegram.limits`. Everything else is named as waiting for a restart. A
//! configuration with a problem changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::Daemon;
use crate::config::{Config, ConfigError, changed_keys};
use crate::logging::Logging;

/// Longest reading of the sources: files of a few KiB, on a disk that may hang.
const READ_MAX: Duration = Duration::from_secs(10);
/// Problems that are logged one by one.
const PROBLEMS_MAX: usize = 50;

/// How the configuration is read again.
pub type Read = Arc<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;

/// What a running daemon can change of itself.
pub struct Reload {
    /// What is in force, which is what it was started with but for the changes applied since.
    running: Config,
    read: Read,
    logging: Logging,
}

impl Reload {
    /// For a daemon that was started with `running`, as `read` gave it.
    pub fn new(running: Config, read: Read, logging: Logging) -> Self {
        Self { running, read, logging }
    }

    /// What is in force.
    pub(super) fn running(&self) -> &Config {
        &self.running
    }

    /// Reads the configuration again and applies what can be. The error is a note for STATUS; the
    /// log has the details.
    pub(super) async fn run(&mut self, daemon: &Daemon) -> Result<(), String> {
        let read = Arc::clone(&self.read);
        match timeout(READ_MAX, spawn_blocking(move || read())).await {
            Ok(Ok(Ok(fresh))) => {
                self.apply(&fresh, daemon);
                Ok(())
            }
            Ok(Ok(Err(error))) => Err(refuse(&error)),
            Ok(Err(_)) => Err(gave_up("reading it panicked")),
            Err(_) => Err(gave_up("reading it takes too long")),
        }
    }

    fn apply(&mut self, fresh: &Config, daemon: &Daemon) {
        let changed = changed_keys(&self.running, fresh);
        let (live, waiting): (Vec<&str>, Vec<&str>) =
            changed.into_iter().partition(|key| is_live(key));
        daemon.set_limits(&fresh.telegram.limits);
        let level = fresh.log.level;
        // What follows is to be seen at the old level or the new one, whichever shows more.
        self.logging.set_level(level.max(self.running.log.level));
        let send = &fresh.telegram.limits.send;
        tracing::info!(
            applied = live.join(", "),
            log_level = %level,
            send_per_minute = send.per_minute,
            send_burst = send.burst,
            "the configuration was read again"
        );
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!(keys, "these settings changed, too, and need a restart to apply");
        }
        self.logging.set_level(level);
        self.running.log.level = level;
        self.running.telegram.limits.clone_from(&fresh.telegram.limits);
    }
}

/// Whether `key` can be changed while the daemon runs.
fn is_live(key: &str) -> bool {
    key == "log.level" || key.starts_with("telegram.limits.")
}

fn refuse(error: &ConfigError) -> String {
    let count = error.0.len();
    for problem in error.0.iter().take(PROBLEMS_MAX) {
        tracing::error!(%problem, "the configuration was read again and is wrong");
    }
    gave_up(&format!("it has {count} problem{}", if count == 1 { "" } else { "s" }))
}

fn gave_up(why: &str) -> String {
    tracing::error!(why, "the configuration was not reloaded; nothing has changed");
    format!("the configuration was not reloaded: {why}, see the log")
}
