//! What both links share: connecting, saying once when an outage begins and ends, backing off,
//! putting a bound on every wait. Must never show the URL's password.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

use futures_core::Stream;
use lapin::{Connection, ConnectionProperties, ConnectionStatus, Event};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::AmqpOptions;
use super::address::{parse, without};
use super::poison::Poison;
use super::status::{LinkState, LinkStatus};
use super::topology::{self, Mixed};
use crate::actors::Rejected;
use crate::chance;
use crate::clock::instant;
use crate::protocol::tree::restart::Backoff;

/// Pauses between two attempts: short enough that a restarted broker is not waited for, long
/// enough that a broken one is left in peace.
const BACKOFF: Backoff = Backoff { min_ms: 200, max_ms: 15_000 };
/// TCP, TLS and the AMQP handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Anything that the broker has to answer or the socket has to take.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How often whoever waits for an answer looks whether the connection is still there.
const LINE_LOOK: Duration = Duration::from_millis(250);
/// A polite goodbye; without it the broker sees the socket close, which is the same to it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A link that lived this long without work to prove itself counts as recovered.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Why a link ended. The texts are for operators and hold no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error(
        "the broker's URL is not of the form amqp(s)://user:password@host:port/vhost; correct it"
    )]
    BadUrl,
    #[error("the broker cannot be reached: {0}")]
    Connect(String),
    #[error("the broker refuses the login or the virtual host: {0}")]
    Refused(String),
    #[error("the broker did not answer within {REPLY_TIMEOUT:?} while {0}")]
    Timeout(&'static str),
    #[error("the broker sent a frame that is not AMQP 0-9-1 as we know it")]
    Unreadable,
    #[error("{0}")]
    Broker(String),
    #[error("no queue took the message {message_id} ({reply}); it is kept and published again")]
    Unroutable { message_id: String, reply: String },
    #[error("the broker refused a message (basic.nack); it is kept and published again")]
    Nacked,
    #[error("the broker ended the consumer, as it does when the queue is deleted")]
    Cancelled,
    #[error("the connection to the broker was lost")]
    Lost,
    #[error("{0}")]
    Rejected(#[from] Rejected),
    #[error("an order's task ended unexpectedly; the order comes again")]
    Crashed,
    #[error("{0}")]
    Mixed(#[from] Mixed),
    #[error("{name} needs more than the 255 bytes that AMQP allows; shorten it")]
    NameTooLong { name: &'static str },
}

impl From<lapin::Error> for LinkError {
    fn from(error: lapin::Error) -> Self {
        match error.kind() {
            lapin::ErrorKind::ParsingError(_) => Self::Unreadable,
            _ => Self::Broker(error.to_string()),
        }
    }
}

impl LinkError {
    /// Whether the broker refused what goes to the default exchange.
    fn refuses_replies(&self) -> bool {
        matches!(self, Self::Broker(text) if text.contains("ACCESS_REFUSED") && text.contains("amq.default"))
    }

    /// Whether the connection worked and the trouble only shows with the next message: then
    /// having connected proves nothing.
    fn needs_proof(&self) -> bool {
        matches!(
            self,
            Self::Unroutable { .. }
                | Self::Nacked
                | Self::Rejected(_)
                | Self::Crashed
                | Self::Mixed(Mixed::Queue { .. })
        )
    }
}

/// One link's identity and history over all its connections.
pub(super) struct Link {
    name: &'static str,
    pub(super) options: AmqpOptions,
    pub(super) status: LinkStatus,
    failures: u32,
    down_since: Option<Instant>,
    needs_proof: bool,
    mismatched: Vec<String>,
    /// Whether the broker lets nobody of us write to the default exchange, where replies go.
    pub(super) replies_refused: bool,
    /// Over which replies connections ended.
    pub(super) poison: Poison,
}

impl Link {
    pub(super) fn new(name: &'static str, options: AmqpOptions, status: LinkStatus) -> Self {
        status.set(LinkState::Connecting, None);
        Self {
            name,
            options,
            status,
            failures: 0,
            down_since: None,
            needs_proof: false,
            mismatched: Vec::new(),
            replies_refused: false,
            poison: Poison::default(),
        }
    }

    /// Connects and declares the topology.
    pub(super) async fn connect(&mut self) -> Result<Line, LinkError> {
        let connection = greet(self.options.url.expose(), self.name).await?;
        // Listened to from the start, so that nothing is missed.
        let events = Box::pin(connection.events_listener());
        let mismatched = topology::declare(&connection, &self.options).await?;
        self.report_mismatched(mismatched);
        self.connected();
        Ok(Line { connection, events })
    }

    fn report_mismatched(&mut self, found: Vec<String>) {
        for name in found.iter().filter(|name| !self.mismatched.contains(name)) {
            tracing::warn!(
                link = self.name,
                "the {name} exists with other properties than ours; it is used as it stands"
            );
        }
        self.mismatched.clone_from(&found);
        self.status.set_mismatched(found);
    }

    fn connected(&mut self) {
        if !self.needs_proof {
            if self.status.state() == LinkState::Connecting {
                tracing::info!(link = self.name, "connected to the broker");
            }
            self.status.set(LinkState::Up, None);
        }
    }

    /// Something got through, or nothing went wrong for long enough: the outage is over.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
        self.needs_proof = false;
        if let Some(since) = self.down_since.take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!(link = self.name, seconds, "the link to the broker works again");
        }
        if self.status.state() == LinkState::Down {
            self.status.set(LinkState::Up, None);
        }
    }

    /// Takes note of a failure and says how long to wait.
    pub(super) fn failed(&mut self, error: &LinkError) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.needs_proof |= error.needs_proof();
        if error.refuses_replies() && !self.replies_refused {
            self.replies_refused = true;
            tracing::error!(
                link = self.name,
                "the broker's user may not write to the exchange amq.default, so replies to commands are dropped; grant it and start again"
            );
        }
        if self.down_since.is_none() {
            self.down_since = Some(instant());
            tracing::warn!(link = self.name, %error, "the link to the broker is down; it is tried again until it works");
        }
        self.status.set(LinkState::Down, Some(error.to_string()));
        Duration::from_millis(BACKOFF.delay_ms(self.failures, chance::jitter()))
    }

    /// Follows what the broker says about the connection.
    pub(super) fn heard(&mut self, event: Event) -> Result<(), LinkError> {
        match event {
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(link = self.name, reason, "the broker takes nothing for now");
                self.status.set(LinkState::Blocked, Some(reason));
            }
            Event::ConnectionUnblocked => {
                tracing::info!(link = self.name, "the broker takes messages again");
                if !self.needs_proof {
                    self.status.set(LinkState::Up, None);
                }
            }
            Event::Error(error) => return Err(error.into()),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn stopped(&self) {
        self.status.set(LinkState::Stopped, None);
    }
}

/// One connection and what the broker says about it.
pub(super) struct Line {
    pub(super) connection: Connection,
    events: Pin<Box<dyn Stream<Item = Event> + Send>>,
}

impl Line {
    /// The next thing that concerns the whole connection. Cancel-safe.
    pub(super) async fn event(&mut self) -> Event {
        loop {
            match next(&mut self.events).await {
                // Errors of a single channel come here as well; whoever uses it learns of them.
                Some(Event::Error(_)) if self.connection.status().connected() => {}
                Some(event) => return event,
                None => std::future::pending().await,
            }
        }
    }

    /// What tells whether the broker has blocked the connection.
    pub(super) fn state(&self) -> ConnectionStatus {
        self.connection.status().clone()
    }

    pub(super) async fn close(self) {
        let _ = timeout(CLOSE_TIMEOUT, self.connection.close(200, "OK".into())).await;
    }
}

/// Makes a connection.
pub(super) async fn greet(url: &str, name: &str) -> Result<Connection, LinkError> {
    let uri = parse(url)?;
    let password = uri.authority.userinfo.password.clone();
    let properties =
        ConnectionProperties::default().with_connection_name(format!("telewarden {name}").into());
    match timeout(CONNECT_TIMEOUT, Connection::connect_uri(uri, properties)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => {
            let text = without(&error.to_string(), &password);
            Err(match error.kind() {
                lapin::ErrorKind::ProtocolError(_) => LinkError::Refused(text),
                _ => LinkError::Connect(text),
            })
        }
        Err(_) => Err(LinkError::Connect("no answer in time".into())),
    }
}

/// The next item of a stream.
pub(super) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}

/// Waits for the broker's answer, but not for ever. While it has blocked the connection nothing is
/// sent, so that time does not count: heartbeats tell whether it is still there. An answer that lapin
/// forgets about when the connection breaks under it is not waited for either.
pub(super) async fn answer<T>(
    what: &'static str,
    line: &ConnectionStatus,
    reply: impl Future<Output = lapin::Result<T>>,
) -> Result<lapin::Result<T>, LinkError> {
    tokio::pin!(reply);
    let mut asked = instant();
    loop {
        let was_connected = line.connected();
        match timeout(LINE_LOOK, reply.as_mut()).await {
            Ok(reply) => return Ok(reply),
            // The answer had one look's time to say it better.
            Err(_) if !was_connected => return Err(LinkError::Lost),
            Err(_) if line.blocked() => asked = instant(),
            Err(_) if asked.elapsed() > REPLY_TIMEOUT => return Err(LinkError::Timeout(what)),
            Err(_) => {}
        }
    }
}

/// As [`answer`], for whoever does not care which kind of trouble it was.
pub(super) async fn within<T>(
    what: &'static str,
    line: &ConnectionStatus,
    reply: impl Future<Output = lapin::Result<T>>,
) -> Result<T, LinkError> {
    Ok(answer(what, line, reply).await??)
}

/// A stop request and the time it leaves.
pub(super) struct Stop {
    token: CancellationToken,
    drain: Duration,
    deadline: Option<tokio::time::Instant>,
}

impl Stop {
    pub(super) fn new(token: CancellationToken, drain: Duration) -> Self {
        Self { token, drain, deadline: None }
    }

    /// Waits for the request; then says until when there is time. Cancel-safe.
    pub(super) async fn requested(&mut self) -> tokio::time::Instant {
        self.token.cancelled().await;
        *self.deadline.get_or_insert_with(|| instant() + self.drain)
    }

    pub(super) fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Sleeps unless a stop is requested meanwhile.
    pub(super) async fn pause(&self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            () = self.token.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::values::secret::SecretText;

    fn link() -> Link {
        let options = AmqpOptions {
            url: SecretText::new("amqp://user:pass-word@127.0.0.1/%2f".into()),
            exchange: "x".into(),
            command_queue: "c".into(),
            event_queue: "e".into(),
            prefetch: 1,
            event_types: std::sync::Arc::default(),
        };
        Link::new("test", options, LinkStatus::new(crate::clock::Clock::system()))
    }

    #[test]
    fn pauses_grow_to_a_bound_and_start_over_after_progress() {
        let mut link = link();
        let pauses: Vec<_> = (0..12).map(|_| link.failed(&LinkError::Nacked)).collect();
        assert!(pauses[0] <= Duration::from_millis(200), "{pauses:?}");
        assert!(pauses[11] >= Duration::from_millis(7_500), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(15)), "{pauses:?}");
        link.progressed();
        assert!(link.failed(&LinkError::Nacked) <= Duration::from_millis(200));
    }

    #[test]
    fn connecting_alone_does_not_end_an_outage_that_only_messages_show() {
        let mut link = link();
        link.failed(&LinkError::Nacked);
        link.connected();
        assert_eq!(link.status.snapshot().state, LinkState::Down);
        link.progressed();
        assert_eq!(link.status.snapshot().state, LinkState::Up);
        link.failed(&LinkError::Connect("refused".into()));
        link.connected();
        assert_eq!(link.status.snapshot().state, LinkState::Up);
    }
}
