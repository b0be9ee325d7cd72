//! Where RabbitMQ is: the one that all tests share, or one of a test's own that it may stop.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

/// A broker.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) url: String,
    private: Option<Arc<Private>>,
}

struct Private {
    home: TempDir,
}

impl Broker {
    /// The broker that `./scripts/test` started.
    pub(crate) fn shared() -> Self {
        let url = std::env::var("TELEWARDEN_TEST_AMQP")
            .expect("TELEWARDEN_TEST_AMQP is not set: run ./scripts/test, which starts a broker");
        Self { url, private: None }
    }

    /// A broker of the test's own.
    pub(crate) async fn private() -> Self {
        // Where the script that runs the tests finds it should they be cut off.
        let folder = std::env::var_os("TELEWARDEN_TEST_BROKERS").map(PathBuf::from);
        let folder = folder.unwrap_or_else(std::env::temp_dir);
        let home = TempDir::new_in(folder).expect("a folder");
        let folder = home.path().to_owned();
        tokio::task::spawn_blocking(move || control("start", &folder)).await.expect("it starts");
        let url = std::fs::read_to_string(home.path().join("url")).expect("its address");
        let url = url.trim().to_owned();
        Self { url, private: Some(Arc::new(Private { home })) }
    }

    /// Stops it, waits, and starts it again with its queues.
    pub(crate) async fn pause(&self, pause: Duration) {
        let private = self.private.clone().expect("only a broker of one's own is stopped");
        let paused = tokio::task::spawn_blocking(move || {
            control("stop", private.home.path());
            std::thread::sleep(pause);
            control("start", private.home.path());
        });
        paused.await.expect("it comes back");
    }

    /// Stops it; its queues are kept.
    pub(crate) async fn stop(&self) {
        self.control("stop").await;
    }

    /// Starts it again with its queues.
    pub(crate) async fn start(&self) {
        self.control("start").await;
    }

    async fn control(&self, what: &'static str) {
        let private = self.private.clone().expect("only a broker of one's own is stopped");
        let done = tokio::task::spawn_blocking(move || control(what, private.home.path()));
        done.await.expect("it obeys");
    }

    /// Stops it and starts it again with its queues.
    pub(crate) async fn restart(&self) {
        self.control("restart").await;
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        control("stop", self.home.path());
    }
}

fn control(what: &str, folder: &Path) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/rabbitmq");
    let output = Command::new(script).arg(what).arg(folder).output().expect("the script runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/rabbitmq {what}: {error}");
}
