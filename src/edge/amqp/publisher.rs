//! The link that publishes the outbox: in order, pipelined, each entry kept until the broker has
//! confirmed it and cannot have returned it. Must never drop an event, or overtake an entry.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::link::{Line, Link, LinkError, REPLY_TIMEOUT, STABLE_AFTER, Stop, within};
use super::poison::{ATTEMPTS, InFlight};
use super::status::{Count, LinkStatus};
use super::topology::{EVENT_KEY, Mixed, short};
use super::window::Fence;
use super::{AmqpOptions, EventTypes};
use crate::actors::OutboxSource;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::bridge::outbox::{OutboxEntry, Route};
use crate::protocol::bridge::reply_to;

/// Entries in flight. One round trip to a broker that writes to disk takes some 50 ms under load;
/// 1024 of them in that time are 20,000 a second, twice what is asked for. A body is seldom over
/// 2 KiB, so that what is in flight stays around 2 MiB.
const WINDOW: usize = 1024;
/// Entries taken from the outbox at once: confirms are looked at between two batches.
const BATCH: usize = 128;
/// How long a stopping link waits for the outbox to yield more before it takes it as empty.
const LAST_CALL: Duration = Duration::from_millis(100);
/// Written to disk by the broker before it is confirmed.
const PERSISTENT: u8 = 2;
/// What events are, as a property and as the header by which Symfony Messenger goes.
const CONTENT_TYPE: &str = "application/json";
/// How long nothing is published after an event came back in the command queue.
pub(super) const REST_AFTER_RETURN: Duration = Duration::from_secs(20);
/// How long the first event after that is alone, so that it shows whether it comes back.
const PROBATION: Duration = Duration::from_secs(2);

/// Publishes what `source` yields until `stop`; then what is there without waiting for more, for
/// at most `drain`. Reconnects by itself, and never ends before it is stopped.
pub async fn publish<S: OutboxSource>(
    options: AmqpOptions,
    mut source: S,
    status: LinkStatus,
    stop: CancellationToken,
    drain: Duration,
) {
    let mut link = Link::new("publisher", options, status);
    let mut stop = Stop::new(stop, drain);
    loop {
        // After a stop what is left gets one attempt, unless nothing is left.
        let is_last = stop.is_requested();
        if is_last && timeout(LAST_CALL, peek(&mut source)).await.is_err() {
            break;
        }
        let Err(error) = attempt(&mut link, &mut source, &mut stop).await else { break };
        let pause = link.failed(&error);
        if is_last {
            break;
        }
        stop.pause(pause).await;
    }
    link.stopped();
}

/// Waits until the source has something, without taking it.
async fn peek<S: OutboxSource>(source: &mut S) {
    if let Some((first, _)) = source.next(1).await.first() {
        source.rewind(*first);
    }
}

/// One connection, from its beginning to its end.
async fn attempt<S: OutboxSource>(
    link: &mut Link,
    source: &mut S,
    stop: &mut Stop,
) -> Result<(), LinkError> {
    if link.status.since_event_returned().is_some_and(|ago| ago < REST_AFTER_RETURN) {
        return Err(returned(&link.options));
    }
    let mut line = link.connect().await?;
    let mut session = Session::open(&line.connection, &link.options).await?;
    let ended = session.run(link, &mut line, source, stop).await;
    if let Some(in_flight) = session.in_flight() {
        source.rewind(in_flight.first);
        // Events that come back are no reply's fault.
        if ended.as_ref().is_err_and(|error| !matches!(error, LinkError::Mixed(_))) {
            link.poison.ended(in_flight);
        }
    }
    // What the broker has not read yet must not be routed after the topology is declared again:
    // it would overtake what was returned.
    line.close().await;
    ended
}

/// That events come back.
fn returned(options: &AmqpOptions) -> LinkError {
    let (queue, exchange) = (options.command_queue.clone(), options.exchange.clone());
    Mixed::Queue { queue, exchange }.into()
}

/// What one connection has in flight.
struct Session {
    channel: Arc<Channel>,
    exchange: ShortString,
    event_types: Arc<EventTypes>,
    in_flight: VecDeque<Flight>,
    /// Of each in flight: when it was published, and when Telegram dated it.
    departures: VecDeque<(Instant, Option<i64>)>,
    fence: Fence,
    /// Which of those that are not settled are replies.
    replies: VecDeque<u64>,
    /// Whether nothing more is sent until nothing is in flight: a reply goes alone, or is about to.
    holds_back: bool,
    has_sent: bool,
    opened: Instant,
    last_progress: Instant,
}

impl Session {
    async fn open(connection: &Connection, options: &AmqpOptions) -> Result<Self, LinkError> {
        let exchange = short("the exchange's name", &options.exchange)?;
        let state = connection.status();
        let channel = within("opening a channel", state, connection.create_channel()).await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        within("asking for confirms", state, confirms).await?;
        Ok(Self {
            channel: Arc::new(channel),
            exchange,
            event_types: Arc::clone(&options.event_types),
            in_flight: VecDeque::with_capacity(WINDOW),
            departures: VecDeque::with_capacity(WINDOW),
            fence: Fence::default(),
            replies: VecDeque::new(),
            holds_back: false,
            has_sent: false,
            opened: instant(),
            last_progress: instant(),
        })
    }

    async fn run<S: OutboxSource>(
        &mut self,
        link: &mut Link,
        line: &mut Line,
        source: &mut S,
        stop: &mut Stop,
    ) -> Result<(), LinkError> {
        let mut tick = interval(Duration::from_secs(1));
        let mut deadline = None;
        loop {
            let room = self.room(&link.status);
            let is_idle = self.in_flight.is_empty();
            tokio::select! {
                biased;
                event = line.event() => link.heard(event)?,
                confirm = front(&mut self.in_flight), if !is_idle => {
                    self.settle(confirm, link, source).await?;
                }
                at = stop.requested(), if deadline.is_none() => deadline = Some(at),
                batch = source.next(room.min(BATCH)), if room > 0 => {
                    let batch = self.hold_back(batch, link, source);
                    // Noted as published, so that they are rewound to with the others.
                    self.send(batch, link).await;
                    self.look_for_returned(link)?;
                }
                _ = tick.tick() => self.check(link, line)?,
                () = last_call(deadline, is_idle), if deadline.is_some() => return Ok(()),
            }
        }
    }

    /// How many more may be in flight now.
    fn room(&self, status: &LinkStatus) -> usize {
        if self.holds_back && !self.in_flight.is_empty() {
            return 0;
        }
        match (self.is_on_probation(status), self.has_sent) {
            (false, _) => WINDOW - self.in_flight.len(),
            (true, false) => 1,
            (true, true) => 0,
        }
    }

    /// Whether events came back once, and this connection has not shown yet that they do not now.
    fn is_on_probation(&self, status: &LinkStatus) -> bool {
        status.since_event_returned().is_some() && self.opened.elapsed() < PROBATION
    }

    fn look_for_returned(&self, link: &Link) -> Result<(), LinkError> {
        let ago = link.status.since_event_returned();
        let is_ours = ago.is_some_and(|ago| ago < self.opened.elapsed());
        if is_ours { Err(returned(&link.options)) } else { Ok(()) }
    }

    /// What is not settled.
    fn in_flight(&self) -> Option<InFlight> {
        let (first, last) = (self.fence.first_unsettled()?, self.fence.last_unsettled()?);
        Some(InFlight { first, last, reply: self.replies.front().copied() })
    }

    /// The batch up to the first reply that has to go alone, or that reply; the source gets the rest
    /// back.
    fn hold_back<S: OutboxSource>(
        &mut self,
        mut batch: Vec<(u64, Arc<OutboxEntry>)>,
        link: &Link,
        source: &mut S,
    ) -> Vec<(u64, Arc<OutboxEntry>)> {
        let goes_alone = |(seq, entry): &(u64, Arc<OutboxEntry>)| {
            is_reply(entry) && link.poison.goes_alone(*seq)
        };
        let first = batch.iter().position(goes_alone);
        self.holds_back = first.is_some();
        let kept = match first {
            None => return batch,
            Some(0) if self.in_flight.is_empty() => 1,
            Some(before) => before,
        };
        if let Some((next, _)) = batch.get(kept) {
            source.rewind(*next);
        }
        batch.truncate(kept);
        batch
    }

    /// Enqueues entries, in order. The first poll of each does it; the rest is waiting.
    async fn send(&mut self, batch: Vec<(u64, Arc<OutboxEntry>)>, link: &Link) {
        if batch.is_empty() {
            return;
        }
        if self.in_flight.is_empty() {
            self.last_progress = instant();
        }
        self.has_sent = true;
        link.status.add(Count::Published, batch.len() as u64);
        let first = self.in_flight.len();
        let now = instant();
        failpoint::reach("publish.before");
        for (seq, entry) in batch {
            self.fence.published(seq);
            self.departures.push_back((now, entry.said_at));
            if is_reply(&entry) {
                self.replies.push_back(seq);
            }
            let flight = self.launch(seq, entry, link);
            self.in_flight.push_back(flight);
        }
        poll_fn(|context| {
            self.in_flight.range_mut(first..).for_each(|flight| flight.start(context));
            Poll::Ready(())
        })
        .await;
        failpoint::reach("publish.after");
    }

    fn launch(&self, seq: u64, entry: Arc<OutboxEntry>, link: &Link) -> Flight {
        if is_reply(&entry) && link.replies_refused {
            link.status.add(Count::RepliesDropped, 1);
            return Flight::dropped();
        }
        let address = Address::of(&entry.route, &self.exchange);
        let address = address.filter(|_| !(is_reply(&entry) && link.poison.is_given_up(seq)));
        let Some(address) = address else {
            // Only a reply can get here: its queue was named by somebody else.
            link.status.add(Count::RepliesDropped, 1);
            tracing::error!(message_id = %entry.message_id, "a reply to a command is dropped: its queue has a name that nothing can be published to, or the connection was lost {ATTEMPTS} times in a row when this reply alone was on its way; whoever waits for it hears nothing");
            return Flight::dropped();
        };
        let (channel, event_types) = (Arc::clone(&self.channel), Arc::clone(&self.event_types));
        Flight::Aloft(Box::pin(async move {
            let properties = properties(&entry, &event_types);
            let Address { exchange, key, mandatory } = address;
            let options = BasicPublishOptions { mandatory, ..Default::default() };
            let sent = channel.basic_publish(exchange, key, options, &entry.body, properties);
            let confirm = sent.await?;
            drop((entry, channel));
            confirm.await
        }))
    }

    /// Takes a confirm and all others that are there already, then lets go of what is settled.
    async fn settle<S: OutboxSource>(
        &mut self,
        first: lapin::Result<Confirmation>,
        link: &mut Link,
        source: &mut S,
    ) -> Result<(), LinkError> {
        failpoint::reach("confirm.before");
        let mut confirm = Some(first);
        let mut settled = None;
        let mut count = 0;
        let mut outcome = Ok(());
        while let Some(result) = confirm {
            outcome = judge(result, &link.status);
            if outcome.is_err() {
                break;
            }
            count += 1;
            settled = self.fence.confirmed().or(settled);
            self.in_flight.pop_front();
            if let Some((departed, said_at)) = self.departures.pop_front() {
                link.status.confirmed(departed.elapsed(), said_at);
            }
            confirm = front_if_ready(&mut self.in_flight).await;
        }
        link.status.add(Count::Confirmed, count);
        if let Some(through) = settled {
            failpoint::reach("outbox.release.before");
            source.release(through);
            failpoint::reach("outbox.release.after");
            let settled = self.replies.iter().take_while(|reply| **reply <= through).count();
            self.replies.drain(..settled);
            if !self.is_on_probation(&link.status) {
                link.progressed();
            }
        }
        self.last_progress = instant();
        outcome
    }

    /// Looks for what no event tells of.
    fn check(&mut self, link: &mut Link, line: &Line) -> Result<(), LinkError> {
        self.look_for_returned(link)?;
        let state = line.state();
        if state.blocked() {
            // Nothing is read meanwhile, so nothing can be confirmed; the time does not count.
            self.last_progress = instant();
        }
        let is_stalled = !self.in_flight.is_empty() && self.last_progress.elapsed() > REPLY_TIMEOUT;
        if is_stalled && !state.blocked() {
            return Err(LinkError::Timeout("confirming what was published"));
        }
        if !state.connected() {
            return Err(LinkError::Lost);
        }
        if self.in_flight.is_empty() && self.opened.elapsed() > STABLE_AFTER {
            link.progressed();
        }
        Ok(())
    }
}

/// Publishing an entry and waiting for its confirm.
enum Flight {
    /// Under way.
    Aloft(Pin<Box<dyn Future<Output = lapin::Result<Confirmation>> + Send>>),
    /// Over before anybody waited for it.
    Landed(Box<lapin::Result<Confirmation>>),
    /// Its result was taken.
    Gone,
}

impl Flight {
    /// Of what is not sent at all and may be forgotten.
    fn dropped() -> Self {
        Self::Landed(Box::new(Ok(Confirmation::Ack(None))))
    }

    /// Gets it going; whatever comes of it at once is kept.
    fn start(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(result) = self.poll(context) {
            *self = Self::Landed(Box::new(result));
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<lapin::Result<Confirmation>> {
        if let Self::Aloft(future) = self {
            return future.as_mut().poll(context);
        }
        match std::mem::replace(self, Self::Gone) {
            Self::Landed(result) => Poll::Ready(*result),
            Self::Aloft(_) | Self::Gone => Poll::Pending,
        }
    }
}

/// The oldest flight's result, once it is there. Who gets it has to take the flight away.
async fn front(in_flight: &mut VecDeque<Flight>) -> lapin::Result<Confirmation> {
    poll_fn(|context| match in_flight.front_mut() {
        Some(flight) => flight.poll(context),
        None => Poll::Pending,
    })
    .await
}

async fn front_if_ready(in_flight: &mut VecDeque<Flight>) -> Option<lapin::Result<Confirmation>> {
    poll_fn(|context| {
        Poll::Ready(in_flight.front_mut().and_then(|flight| match flight.poll(context) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }))
    })
    .await
}

/// What a confirm says. The message it carries, if any, need not be the one it confirms.
fn judge(result: lapin::Result<Confirmation>, status: &LinkStatus) -> Result<(), LinkError> {
    match result? {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            status.add(Count::Unroutable, 1);
            Err(unroutable(&returned))
        }
        Confirmation::Nack(None) => {
            status.add(Count::Nacked, 1);
            Err(LinkError::Nacked)
        }
        Confirmation::NotRequested => Err(LinkError::Broker("the channel does not confirm".into())),
    }
}

fn unroutable(returned: &BasicReturnMessage) -> LinkError {
    let id = returned.properties.message_id().as_ref();
    LinkError::Unroutable {
        message_id: id.map_or_else(|| "without an id".to_owned(), ToString::to_string),
        reply: returned.reply_text.to_string(),
    }
}

fn is_reply(entry: &OutboxEntry) -> bool {
    matches!(entry.route, Route::Reply { .. })
}

/// Where a message goes.
struct Address {
    exchange: ShortString,
    key: ShortString,
    mandatory: bool,
}

impl Address {
    /// None if the name is too long for AMQP, or one that the broker fails over.
    fn of(route: &Route, exchange: &ShortString) -> Option<Self> {
        Some(match route {
            Route::Event => {
                Self { exchange: exchange.clone(), key: EVENT_KEY.into(), mandatory: true }
            }
            // Whoever asked may have left: then nobody misses the answer.
            Route::Reply { queue, .. } => Self {
                exchange: ShortString::default(),
                key: ShortString::try_new(queue.as_str())
                    .ok()
                    .filter(|_| reply_to::is_usable(queue))?,
                mandatory: false,
            },
        })
    }
}

fn properties(entry: &OutboxEntry, event_types: &EventTypes) -> BasicProperties {
    let properties = BasicProperties::default()
        .with_content_type(CONTENT_TYPE.into())
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(entry.timestamp)
        .with_app_id("telewarden".into())
        .with_message_id(entry.message_id.to_string().into());
    let properties = match ShortString::try_new(entry.kind.as_str()) {
        Ok(kind) => properties.with_type(kind),
        Err(_) => properties,
    };
    match &entry.route {
        Route::Event => properties.with_headers(headers(entry, event_types)),
        Route::Reply { correlation_id: Some(id), .. } => match ShortString::try_new(id.as_str()) {
            Ok(id) => properties.with_correlation_id(id),
            Err(_) => properties,
        },
        Route::Reply { correlation_id: None, .. } => properties,
    }
}

/// The headers by which Symfony Messenger's own serializer reads a message: the class that it
/// becomes, and the format.
fn headers(entry: &OutboxEntry, event_types: &EventTypes) -> FieldTable {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut headers = FieldTable::default();
    headers.insert("type".into(), text(event_types.of(&entry.kind)));
    headers.insert("Content-Type".into(), text(CONTENT_TYPE));
    headers
}

/// When a stopping link is done: at its deadline, or once the outbox has yielded nothing for a
/// moment while nothing is in flight.
async fn last_call(deadline: Option<Instant>, is_idle: bool) {
    let Some(deadline) = deadline else { return };
    let moment = instant() + LAST_CALL;
    sleep_until(if is_idle { deadline.min(moment) } else { deadline }).await;
}
