//! The server: accepts connections, bounds their number, what they may cost and how long they may stay
//! silent, and has the router answer what they ask.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{Answering, Asking, ConnectionPermit, Connections, Room};
use super::stream::{BoundedStream, Patience};

use crate::clock::instant;

/// Connections at once on which something was said, where the limit of open files allows as many. Each
/// costs about 20 KiB: 20 MiB in all.
pub const CONNECTIONS_MAX: usize = 1024;

/// Connections besides on which nothing was said yet. Each costs about 2 KiB: 8 MiB in all.
pub const QUIET_MAX: usize = 4096;

/// The last connections of these are kept for health and metrics; see [`Room::reserved`]. So neither the
/// API's users nor those who keep their connections can keep health from answering.
const RESERVED_MAX: usize = 64;

/// The longest head of a request, in bytes: what a connection costs before anybody knows who asks.
/// The least that hyper takes. Tokens have 4 KiB at the most (`api/token.rs`).
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// How long connections may be silent, and a head may take.
const PATIENCE: Patience = Patience {
    // Somebody who takes no answer, or has no more questions. Bytes that trickle in do not extend it;
    // the head of a request does, once. Handlers must answer, and streams must send something, in less.
    silence: Duration::from_secs(30),
    head: Duration::from_secs(10),
    reserved: Duration::from_secs(2),
};

/// How long requests in hand may take once the server was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Descriptors that stay free for everybody else when the process is near its limit of open files.
const FILES_KEPT_FREE: u64 = 32;

/// The pause after a connection could not be accepted, and how often that is told.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What the server may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections at once on which something was said.
    pub connections: usize,
    /// Connections on which nothing was said yet.
    pub quiet: usize,
    /// The limit of open files of the process.
    pub open_files: u64,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { connections: CONNECTIONS_MAX, quiet: QUIET_MAX, open_files: u64::MAX }
    }
}

/// Serves as [`serve`] does, on a thread and a runtime of its own: so health is answered although
/// every worker of the daemon's runtime is stuck. Handlers may still talk to tasks elsewhere.
///
/// `tell` hears how it ended: what [`serve`] answered, or what it panicked with.
///
/// # Errors
/// When the thread or its runtime cannot be made.
pub fn spawn(
    listener: std::net::TcpListener,
    router: Router,
    capacity: Capacity,
    stop: CancellationToken,
    tell: impl FnOnce(thread::Result<io::Result<()>>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    listener.set_nonblocking(true)?;
    let run = move || {
        let serving = || {
            runtime.block_on(async move {
                serve(TcpListener::from_std(listener)?, router, capacity, stop).await;
                Ok(())
            })
        };
        tell(catch_unwind(AssertUnwindSafe(serving)));
    };
    thread::Builder::new().name("http".to_owned()).spawn(run)
}

/// Serves `router` on `listener` until `stop`, then lets requests in hand finish, within
/// [`DRAIN_MAX`]. See [`spawn`] for where it must answer although others are stuck.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    capacity: Capacity,
    stop: CancellationToken,
) {
    let places = capacity.connections.max(1);
    let quiet = capacity.quiet.max(1);
    let room = Room { quiet, places, reserved: (places / 8).min(RESERVED_MAX) };
    let open_files = capacity.open_files;
    let server = Server { room, patience: PATIENCE, drain_max: DRAIN_MAX, open_files };
    server.run(listener, router, stop).await;
}

/// A server and its bounds.
pub(super) struct Server {
    pub(super) room: Room,
    pub(super) patience: Patience,
    pub(super) drain_max: Duration,
    pub(super) open_files: u64,
}

impl Server {
    pub(super) async fn run(self, listener: TcpListener, router: Router, stop: CancellationToken) {
        let connections = Connections::new(self.room);
        let tasks = TaskTracker::new();
        let mut accepting = Accepting { listener, told: None };
        loop {
            let (stream, address) = tokio::select! {
                accepted = accepting.next(&connections) => accepted,
                () = stop.cancelled() => break,
            };
            if is_scarce(&stream, self.open_files) {
                connections.give_way();
            }
            let place = tokio::select! {
                place = connections.enter() => place,
                () = stop.cancelled() => break,
            };
            let (number, asking) = (place.number(), place.asking());
            let stream = BoundedStream::new(stream, place, self.patience);
            let (router, stop) = (router.clone(), stop.clone());
            let task = tasks.spawn(attend(stream, router, Accepted { address, asking }, stop));
            ConnectionPermit::runs_as(&connections, number, task.abort_handle());
        }
        drop(accepting);
        tasks.close();
        let _ = tokio::time::timeout(self.drain_max, tasks.wait()).await;
    }
}

/// Whether few descriptors are left: the kernel gives the lowest that is free, so at least as many are
/// open as this one's number says.
fn is_scarce(stream: &TcpStream, open_files: u64) -> bool {
    u64::try_from(stream.as_raw_fd())
        .is_ok_and(|number| number >= open_files.saturating_sub(FILES_KEPT_FREE))
}

/// The listening socket.
struct Accepting {
    listener: TcpListener,
    /// When it was told last that connections cannot be accepted.
    told: Option<Instant>,
}

impl Accepting {
    /// The next connection. Where there are no descriptors left, somebody gives way for it.
    async fn next(&mut self, connections: &Connections) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                // The caller was gone before it was accepted.
                Err(error) if is_callers(&error) => {}
                Err(error) => {
                    let gave_way = connections.give_way();
                    self.tell(&error, gave_way);
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn tell(&mut self, error: &io::Error, gave_way: bool) {
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(instant());
            let cure = match error.raw_os_error() {
                Some(libc::EMFILE) => "; raise the limit of open files (LimitNOFILE=, ulimit -n)",
                Some(libc::ENFILE) => "; raise the system's limit of open files (fs.file-max)",
                _ => "",
            };
            tracing::warn!(
                gave_way,
                "an HTTP connection could not be accepted: {error}{cure}; the one that was silent \
                 longest gives way, and it is tried again"
            );
        }
    }
}

/// Trouble of one caller (accept(2): errors that were already pending on the new socket).
fn is_callers(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
    )
}

/// Who is at the other end of a connection.
struct Accepted {
    address: SocketAddr,
    asking: Asking,
}

/// The same, as handlers see it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The address at the other end.
    pub(super) address: SocketAddr,
    /// Whether this is one of the last connections; see [`Room::reserved`].
    pub(super) is_reserved: bool,
}

/// One connection. Little is held for it until its first byte is there.
async fn attend(
    mut stream: BoundedStream,
    router: Router,
    caller: Accepted,
    stop: CancellationToken,
) {
    let has_begun = tokio::select! {
        begun = stream.begin() => begun.is_ok(),
        () = stop.cancelled() => false,
    };
    if has_begun {
        Box::pin(converse(stream, router, caller, stop)).await;
    }
}

/// Answers what is asked on one connection, until it ends.
async fn converse(
    stream: BoundedStream,
    router: Router,
    caller: Accepted,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let answer = service_fn(move |request: Request<Incoming>| {
        caller.asking.began();
        let answering = caller.asking.until_answered();
        let (address, is_reserved) = (caller.address, caller.asking.life().is_reserved());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(Peer { address, is_reserved }));
        let answer = router.call(request);
        async move { answer.await.map(|response| watched(response, answering)) }
    });
    let mut protocol = http1::Builder::new();
    protocol.max_buf_size(HEAD_BYTES_MAX);
    let connection = protocol.serve_connection(TokioIo::new(stream), answer).with_upgrades();
    let mut connection = pin!(connection);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            // What goes wrong with a connection is its caller's alone.
            _ = connection.as_mut() => return,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// An answer whose end is noted. A connection that became an event stream stays busy.
fn watched(response: Response<Body>, answering: Answering) -> Response<Body> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        answering.never_ends();
        return response;
    }
    response.map(|body| Body::new(Watched { body, _answering: answering }))
}

/// A body that tells when it is over.
struct Watched {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
impl Server {
    /// As many connections, each as silent for as long, as a test likes.
    pub(super) fn of(places: usize, reserved: usize, silence: Duration) -> Self {
        let reserved_for = Duration::from_secs(2).min(silence);
        let patience = Patience { silence, head: silence, reserved: reserved_for };
        let room = Room { quiet: places, places, reserved };
        Self { room, patience, drain_max: Duration::from_secs(10), open_files: u64::MAX }
    }
}
