//! The socket of one connection, which fails once nothing of an answer was taken for too long, or a
//! request's head takes too long to come. Holds its place (`connections.rs`) for as long as it is open.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until};

use super::connections::{ConnectionPermit, Life};

use crate::clock::instant;

/// How long a connection may take over what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For being silent: nothing is asked, or no answer taken.
    pub(super) silence: Duration,
    /// For the head of a request, from its first byte.
    pub(super) head: Duration,
    /// For taking the answer on one of the last connections.
    pub(super) reserved: Duration,
}

/// A connection that fails once nothing was written to it for too long, and holds its place.
pub(super) struct BoundedStream {
    inner: TcpStream,
    deadline: Pin<Box<Sleep>>,
    patience: Patience,
    /// Whether a head began to come and is not whole.
    has_begun: bool,
    life: Arc<Life>,
    place: ConnectionPermit,
}

impl BoundedStream {
    pub(super) fn new(inner: TcpStream, place: ConnectionPermit, patience: Patience) -> Self {
        let life = Arc::clone(place.life());
        let deadline = Box::pin(sleep_until(life.accepted() + patience.silence));
        Self { inner, deadline, patience, has_begun: false, life, place }
    }

    /// Waits for the first byte, without any buffer for it, and takes a place then.
    ///
    /// # Errors
    /// When none came in time, or the other side hung up.
    pub(super) async fn begin(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            let mut byte = [0; 1];
            let peeked = self.inner.poll_peek(context, &mut ReadBuf::new(&mut byte));
            match self.bounded(context, peeked.map_ok(|count| count > 0)) {
                Poll::Ready(Ok(false)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                polled => polled.map_ok(drop),
            }
        })
        .await?;
        self.place.take().await;
        Ok(())
    }

    fn silence(&self) -> Duration {
        match self.life.is_reserved() {
            true => self.patience.reserved.min(self.patience.silence),
            false => self.patience.silence,
        }
    }

    /// Turns waiting into an error once the deadline has passed.
    fn bounded<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        while polled.is_pending() && self.deadline.as_mut().poll(context).is_ready() {
            // The head of a request gives its answer its full time, once.
            let end = self.life.asked().map(|head| head + self.silence());
            match end.filter(|end| *end > self.deadline.deadline()) {
                Some(end) => self.deadline.as_mut().reset(end),
                None => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            }
        }
        polled
    }

    /// Bytes came: of a head, if no request is being answered.
    fn read(&mut self) {
        if self.life.is_busy() {
            self.has_begun = false;
        } else if !self.has_begun {
            self.has_begun = true;
            let end = instant() + self.patience.head;
            if end < self.deadline.deadline() {
                self.deadline.as_mut().reset(end);
            }
        }
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Ready(Ok(1..)) => {
                self.life.wrote();
                self.has_begun = false;
                let silence = self.silence();
                self.deadline.as_mut().reset(instant() + silence);
            }
            Poll::Pending => self.life.is_not_taken(),
            Poll::Ready(_) => {}
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.read();
        }
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
    use crate::edge::http::connections::{Asking, Connections, Room};

    const PATIENCE: Patience = Patience {
        silence: Duration::from_secs(30),
        head: Duration::from_secs(10),
        reserved: Duration::from_secs(2),
    };

    async fn accepted(room: Room) -> (BoundedStream, Asking) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap());
        let (accepted, _caller) = tokio::join!(listener.accept(), caller);
        let place = Connections::new(room).enter().await;
        let asking = place.asking();
        (BoundedStream::new(accepted.unwrap().0, place, PATIENCE), asking)
    }

    /// Whether it ends when its deadline is over, and where that is otherwise.
    async fn ends(stream: &mut BoundedStream) -> bool {
        let before = stream.life.accepted();
        stream.deadline.as_mut().reset(before);
        std::future::poll_fn(|context| match stream.bounded::<()>(context, Poll::Pending) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if stream.deadline.deadline() > before => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    #[tokio::test]
    async fn a_head_that_has_begun_has_less_time_than_silence_and_more_bytes_give_no_more() {
        let (mut stream, asking) = accepted(Room { quiet: 4, places: 2, reserved: 0 }).await;
        let left = |stream: &BoundedStream| stream.deadline.deadline() - stream.life.accepted();
        assert_eq!(left(&stream), PATIENCE.silence);
        stream.read();
        let begun = left(&stream);
        assert!(begun < PATIENCE.head + Duration::from_secs(5), "{begun:?}");
        stream.read();
        assert_eq!(left(&stream), begun);
        asking.began();
        assert!(!ends(&mut stream).await, "the answer has its time");
    }

    #[tokio::test]
    async fn a_head_on_a_reserved_connection_gives_its_answer_time_and_no_more() {
        let (mut stream, asking) = accepted(Room { quiet: 4, places: 1, reserved: 1 }).await;
        assert!(ends(&mut stream).await, "nothing was asked");
        asking.began();
        assert!(stream.life.is_reserved());
        assert!(!ends(&mut stream).await);
        let end = stream.life.asked().unwrap() + PATIENCE.reserved;
        assert_eq!(stream.deadline.deadline(), end);
    }
}
