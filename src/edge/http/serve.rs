//! The server: connections with a bound on their number and on how long one may stay silent.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// Connections at once. Each costs about 20 KiB of buffers: 20 MiB in all.
const CONNECTIONS_MAX: usize = 1024;

/// The last connections of these are kept for health and metrics: what else is asked on them is
/// refused, each is closed after one answer, and whoever asks nothing on one loses it after
/// [`RESERVED_HEAD_MAX`]. So neither the API's users, nor those who only connect, nor those who keep
/// their connections can keep health from answering for longer than that.
const RESERVED: usize = 64;

/// How long the head of the one request on a reserved connection may take. See [`RESERVED`].
const RESERVED_HEAD_MAX: Duration = Duration::from_secs(1);

/// How long its answer may take, and how long nobody may take it. See [`RESERVED`].
const RESERVED_SILENCE_MAX: Duration = Duration::from_secs(2);

/// A connection on which nothing was answered for this long is closed: somebody who never
/// finishes a request, takes no answer, or has no more questions. Bytes that trickle in do not
/// extend it; the head of a request does, once. Handlers must answer, and streams must send
/// something, in less.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long requests in hand may take once the server was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

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
    stop: CancellationToken,
    tell: impl FnOnce(thread::Result<io::Result<()>>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    listener.set_nonblocking(true)?;
    let run = move || {
        let serving = || {
            let serve = async move { serve(TcpListener::from_std(listener)?, router, stop).await };
            runtime.block_on(serve)
        };
        tell(catch_unwind(AssertUnwindSafe(serving)));
    };
    thread::Builder::new().name("http".to_owned()).spawn(run)
}

/// Serves `router` on `listener` until `stop`, then lets requests in hand finish, within
/// [`DRAIN_MAX`]. See [`spawn`] for where it must answer although others are stuck.
///
/// # Errors
/// When the server itself fails; trouble of single connections is passed over.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let listener = BoundedListener::new(listener, CONNECTIONS_MAX, SILENCE_MAX).reserving(RESERVED);
    serve_bounded(listener, router, stop, DRAIN_MAX).await
}

pub(super) async fn serve_bounded(
    listener: BoundedListener,
    router: Router,
    stop: CancellationToken,
    drain_max: Duration,
) -> io::Result<()> {
    let server = axum::serve(listener, router.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(drain_max).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = overdue => Ok(()),
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// The address at the other end.
    pub(super) address: SocketAddr,
    /// Whether this is one of the last connections; see [`RESERVED`].
    pub(super) is_reserved: bool,
    touched: Arc<Touched>,
}

impl Peer {
    /// Notes that a request's head came, so that its answer has its full time.
    pub(super) fn touch(&self) {
        let since = u64::try_from(self.touched.accepted.elapsed().as_millis());
        self.touched.millis.store(since.unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        let io = stream.io();
        let (address, is_reserved) = (*stream.remote_addr(), io.is_reserved);
        Self { address, is_reserved, touched: Arc::clone(&io.touched) }
    }
}

/// When the head of a request came last, in milliseconds since the connection was accepted; 0 when
/// none came yet.
#[derive(Debug)]
struct Touched {
    accepted: Instant,
    millis: AtomicU64,
}

impl Touched {
    /// When the last head came, if one did.
    fn last(&self) -> Option<Instant> {
        let millis = self.millis.load(Ordering::Relaxed);
        (millis > 0).then(|| self.accepted + Duration::from_millis(millis))
    }
}

/// Accepts while there are free slots; further callers wait in the kernel's backlog.
pub(super) struct BoundedListener {
    inner: TcpListener,
    slots: Arc<Semaphore>,
    reserved: usize,
    silence_max: Duration,
}

impl BoundedListener {
    pub(super) fn new(inner: TcpListener, connections_max: usize, silence_max: Duration) -> Self {
        Self { inner, slots: Arc::new(Semaphore::new(connections_max)), reserved: 0, silence_max }
    }

    /// Keeps the last `reserved` of the connections for health; see [`RESERVED`].
    pub(super) fn reserving(self, reserved: usize) -> Self {
        Self { reserved, ..self }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let slot = loop {
            // Nobody closes the semaphore; were it closed, waiting is all that could be done.
            match Arc::clone(&self.slots).acquire_owned().await {
                Ok(slot) => break slot,
                Err(_) => std::future::pending().await,
            }
        };
        // The listener's own `accept` passes over failed connections, and pauses when the
        // process has no descriptors left.
        let (inner, address) = Listener::accept(&mut self.inner).await;
        let is_reserved = self.slots.available_permits() < self.reserved;
        let (head_max, silence_max) = match is_reserved {
            true => (RESERVED_HEAD_MAX, RESERVED_SILENCE_MAX),
            false => (self.silence_max, self.silence_max),
        };
        let silence_max = silence_max.min(self.silence_max);
        let accepted = Instant::now();
        let deadline = Box::pin(sleep_until(accepted + head_max.min(silence_max)));
        let touched = Arc::new(Touched { accepted, millis: AtomicU64::new(0) });
        (BoundedStream { inner, deadline, silence_max, is_reserved, touched, _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

/// A connection that fails once nothing was written to it for too long, and holds its slot.
pub(super) struct BoundedStream {
    inner: TcpStream,
    deadline: Pin<Box<Sleep>>,
    silence_max: Duration,
    is_reserved: bool,
    touched: Arc<Touched>,
    _slot: OwnedSemaphorePermit,
}

impl BoundedStream {
    /// Turns waiting into an error once the deadline has passed.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        while polled.is_pending() && self.deadline.as_mut().poll(context).is_ready() {
            let end = self.touched.last().map(|head| head + self.silence_max);
            match end.filter(|end| *end > self.deadline.deadline()) {
                Some(end) => self.deadline.as_mut().reset(end),
                None => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            }
        }
        polled
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        if matches!(polled, Poll::Ready(Ok(count)) if *count > 0) {
            self.deadline.as_mut().reset(Instant::now() + self.silence_max);
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.bounded(context, polled)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(&polled);
        self.bounded(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.wrote(&polled);
        self.bounded(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.bounded(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.bounded(context, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn accepted(silence_max: Duration) -> (BoundedStream, BoundedStream) {
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = inner.local_addr().unwrap();
        let mut listener = BoundedListener::new(inner, 2, silence_max).reserving(1);
        let _callers = (TcpStream::connect(address).await, TcpStream::connect(address).await);
        (listener.accept().await.0, listener.accept().await.0)
    }

    #[tokio::test]
    async fn who_asks_nothing_on_a_reserved_connection_loses_it_first() {
        let (usual, reserved) = accepted(SILENCE_MAX).await;
        let patience =
            |stream: &BoundedStream| stream.deadline.deadline() - stream.touched.accepted;
        assert_eq!((usual.is_reserved, patience(&usual)), (false, SILENCE_MAX));
        assert_eq!((reserved.is_reserved, patience(&reserved)), (true, RESERVED_HEAD_MAX));
        let (_, impatient) = accepted(Duration::from_millis(5)).await;
        assert_eq!(patience(&impatient), Duration::from_millis(5));
    }

    #[tokio::test]
    async fn a_head_on_a_reserved_connection_gives_its_answer_time_and_no_more() {
        let (_, mut reserved) = accepted(SILENCE_MAX).await;
        let accepted = reserved.touched.accepted;
        reserved.touched.millis.store(700, Ordering::Relaxed);
        reserved.deadline.as_mut().reset(accepted);
        let ended =
            std::future::poll_fn(|context| match reserved.bounded::<()>(context, Poll::Pending) {
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending if reserved.deadline.deadline() > accepted => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            });
        assert!(!ended.await);
        let end = accepted + Duration::from_millis(700) + RESERVED_SILENCE_MAX;
        assert_eq!(reserved.deadline.deadline(), end);
    }
}
