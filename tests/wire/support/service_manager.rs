//! The service manager's end of `NOTIFY_SOCKET`: what a daemon told it, in order.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::PATIENCE;

const POLL: Duration = Duration::from_millis(20);

/// A datagram: its assignments, one a line.
pub(crate) type Notice = Vec<String>;

/// Listens as systemd would.
pub(crate) struct ServiceManager {
    folder: TempDir,
    notices: Arc<Mutex<Vec<Notice>>>,
    _reader: AbortOnDropHandle<()>,
}

impl ServiceManager {
    /// Binds a socket of its own.
    pub(crate) fn listen() -> Self {
        let folder = TempDir::new().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        let notices: Arc<Mutex<Vec<Notice>>> = Arc::default();
        let heard = Arc::clone(&notices);
        let read = async move {
            let mut buffer = vec![0; 4096];
            while let Ok(length) = socket.recv(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let notice = text.lines().map(str::to_owned).collect();
                heard.lock().expect("the list").push(notice);
            }
        };
        let _reader = AbortOnDropHandle::new(tokio::spawn(read));
        Self { folder, notices, _reader }
    }

    /// What a daemon needs in its environment to find it.
    pub(crate) fn environment(&self) -> (String, String) {
        let path = self.folder.path().join("notify");
        ("NOTIFY_SOCKET".into(), path.to_str().expect("a plain path").into())
    }

    /// Everything it was told so far.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.notices.lock().expect("the list").clone()
    }

    /// How often it was told this.
    pub(crate) fn count(&self, assignment: &str) -> usize {
        self.notices().iter().flatten().filter(|line| *line == assignment).count()
    }

    /// Waits for a notice with this line among the ones from number `from` on: its number.
    pub(crate) async fn wait_for(&self, from: usize, line: &str) -> usize {
        self.wait(line, |notices| {
            let found =
                notices.iter().skip(from).position(|notice| notice.iter().any(|l| l == line));
            found.map(|index| index + from)
        })
        .await
    }

    /// Waits until what it was told holds something.
    pub(crate) async fn wait<T>(&self, what: &str, wanted: impl Fn(&[Notice]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = wanted(&self.notices()) {
                return found;
            }
            sleep(POLL).await;
        }
        panic!("the service manager was never told: {what}\nbut: {:#?}", self.notices());
    }
}
