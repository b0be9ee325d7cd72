//! The link that takes commands: understands each, hands it to the sink, and acknowledges it once
//! its effect is durable. Must never acknowledge earlier, run two orders for one chat at once or
//! in another order, or let one chat wait for another's.

use std::sync::Arc;
use std::time::Duration;

use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, BasicProperties, Channel, Connection, ConnectionStatus, Consumer};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::AmqpOptions;
use super::dead_letter::{DeadEnd, DeadLetter, LateReply, text_header};
use super::lanes::Lanes;
use super::link::{Line, Link, LinkError, STABLE_AFTER, Stop, next, within};
use super::room::{DELIVERIES_MAX, Room, Waiting, is_large};
use super::status::{Count, LinkStatus};
use super::topology::{EVENT_KEY, short};
use super::wire::flaw;
use crate::actors::{CommandSink, Rejected};
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::bridge::command::{CommandError, Envelope, Order, parse};
use crate::protocol::telegram::chat::ChatKey;

/// Takes commands until `stop`; then lets what is in hand finish for at most `drain`. Reconnects
/// by itself, and never ends before it is stopped.
pub async fn consume<C: CommandSink>(
    options: AmqpOptions,
    sink: C,
    status: LinkStatus,
    stop: CancellationToken,
    drain: Duration,
) {
    let mut link = Link::new("consumer", options, status);
    let mut stop = Stop::new(stop, drain);
    while !stop.is_requested() {
        let Err(error) = attempt(&mut link, &sink, &mut stop).await else { break };
        let pause = link.failed(&error);
        stop.pause(pause).await;
    }
    link.stopped();
}

/// One connection, from its beginning to its end.
async fn attempt<C: CommandSink>(
    link: &mut Link,
    sink: &C,
    stop: &mut Stop,
) -> Result<(), LinkError> {
    let mut line = tokio::select! {
        line = link.connect() => line?,
        _ = stop.requested() => return Ok(()),
    };
    let mut session = Session::open(&line.connection, link, sink.clone()).await?;
    let ended = match session.take(link, &mut line, stop).await {
        Ok(deadline) => session.finish(deadline).await,
        Err(error) => Err(error),
    };
    // Nothing of this connection may still run when the next one delivers the same orders again.
    session.tasks.shutdown().await;
    line.close().await;
    ended
}

/// Orders that must not overtake each other. Dead letters share a channel and go one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Lane {
    Chat(ChatKey),
    Dead,
}

enum Work {
    /// An order, and the delivery it came in.
    Order(Order, Vec<u8>, Box<BasicProperties>),
    Dead(Box<DeadLetter>),
}

/// What became of a job.
enum Settlement {
    /// Its effect is durable.
    Taken,
    /// It was put aside, and somebody may wait to hear of it.
    Aside(Option<Box<LateReply>>),
    /// It was acknowledged before, and whoever waited has heard of it if that was possible.
    Told,
    /// It cannot be done: it is put aside with its reason.
    PutAside(Box<DeadLetter>),
}

struct Job {
    work: Work,
    acker: Acker,
    /// Whether it has the room for large deliveries.
    is_large: bool,
}

/// A job that ran.
struct Done {
    lane: Lane,
    acker: Acker,
    is_large: bool,
    outcome: Result<Settlement, LinkError>,
}

/// One connection's consumer.
struct Session<C> {
    sink: C,
    status: LinkStatus,
    line: ConnectionStatus,
    channel: Channel,
    consumer: Consumer,
    /// Where commands come from; what has another address in it is none.
    exchange: String,
    dead_end: Arc<DeadEnd>,
    room: Arc<Room>,
    waiting: Waiting,
    lanes: Lanes<Lane, Job>,
    tasks: JoinSet<Done>,
    opened: Instant,
}

impl<C: CommandSink> Session<C> {
    async fn open(connection: &Connection, link: &Link, sink: C) -> Result<Self, LinkError> {
        let state = connection.status().clone();
        let open = || within("opening a channel", &state, connection.create_channel());
        let (channel, dead_channel) = (open().await?, open().await?);
        let confirms = dead_channel.confirm_select(ConfirmSelectOptions::default());
        within("asking for confirms", &state, confirms).await?;
        // Zero would mean no bound at all.
        let prefetch = link.options.prefetch.clamp(1, DELIVERIES_MAX);
        let qos = channel.basic_qos(prefetch, BasicQosOptions::default());
        within("setting the prefetch", &state, qos).await?;
        let room = Arc::new(Room::default());
        let door = Arc::clone(&room);
        channel.set_content_gate(move |body, properties| door.lets_in(body, properties));
        let queue = short("the command queue's name", &link.options.command_queue)?;
        let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(queue, tag, options, FieldTable::default());
        let consumer = within("starting to consume", &state, consumer).await?;
        let dead_end = DeadEnd {
            channel: dead_channel,
            queue: short("the dead-letter queue's name", &link.options.dead_queue())?,
            frame_max: connection.configuration().frame_max(),
        };
        Ok(Self {
            sink,
            status: link.status.clone(),
            line: state,
            channel,
            consumer,
            exchange: link.options.exchange.clone(),
            dead_end: Arc::new(dead_end),
            room,
            waiting: Waiting::default(),
            lanes: Lanes::new(),
            tasks: JoinSet::new(),
            opened: instant(),
        })
    }

    /// Takes deliveries until a stop is requested; says until when there is time.
    async fn take(
        &mut self,
        link: &mut Link,
        line: &mut Line,
        stop: &mut Stop,
    ) -> Result<Instant, LinkError> {
        let mut tick = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                biased;
                event = line.event() => link.heard(event)?,
                deadline = stop.requested() => return Ok(deadline),
                Some(done) = self.tasks.join_next() => {
                    self.settle(done).await?;
                    link.progressed();
                }
                delivery = next(&mut self.consumer) => {
                    self.enter(delivery.ok_or(LinkError::Cancelled)??);
                    self.call_back().await?;
                }
                _ = tick.tick() => {
                    self.check(link)?;
                    // Who was called back may have gone elsewhere.
                    self.waiting.came();
                    self.call_back().await?;
                }
            }
        }
    }

    /// Takes no more and lets what is in hand finish. What does not stays in the queue.
    async fn finish(&mut self, deadline: Instant) -> Result<(), LinkError> {
        let tag = self.consumer.tag();
        let cancel = self.channel.basic_cancel(tag, BasicCancelOptions::default());
        let _ = timeout(Duration::from_secs(2), cancel).await;
        while self.line.connected() {
            tokio::select! {
                done = self.tasks.join_next() => match done {
                    // The sink may be stopping, too: then this chat's orders come again.
                    Some(done) => { let _ = self.settle(done).await; }
                    None => break,
                },
                () = sleep_until(deadline) => break,
            }
        }
        Ok(())
    }

    /// Puts a delivery in its lane.
    fn enter(&mut self, delivery: Delivery) {
        let size = delivery.data.len() as u64;
        let is_large = delivery.is_turned_away || is_large(size, &delivery.properties);
        if is_large {
            self.waiting.came();
        }
        if delivery.is_turned_away {
            return self.waiting.add(delivery.acker);
        }
        let understood = self.understand(&delivery);
        let Delivery { properties, data, acker, .. } = delivery;
        let (lane, work) = match understood {
            Ok(order) => {
                let lane = Lane::Chat(order.command.chat().key());
                (lane, Work::Order(order, data, Box::new(properties)))
            }
            Err(error) => {
                (Lane::Dead, Work::Dead(Box::new(DeadLetter { body: data, properties, error })))
            }
        };
        if let Some(job) = self.lanes.enter(&lane, Job { work, acker, is_large }) {
            self.run(lane, job);
        }
    }

    /// A large delivery is done with: another one has its room, called back before an acknowledgement
    /// brings in a fresh one.
    async fn make_room(&mut self, is_large: bool) -> Result<(), LinkError> {
        if is_large {
            self.room.leave();
            self.call_back().await?;
        }
        Ok(())
    }

    async fn call_back(&mut self) -> Result<(), LinkError> {
        self.waiting.call_back(&self.room, &self.line).await
    }

    fn understand(&self, delivery: &Delivery) -> Result<Order, CommandError> {
        if delivery.routing_key.as_str() == EVENT_KEY && delivery.exchange.as_str() == self.exchange
        {
            // One that comes again has come back once: how often it does says nothing of the binding.
            if !delivery.redelivered {
                self.status.event_returned();
            }
            return Err(CommandError::Misrouted);
        }
        if let Some(flaw) = flaw(delivery) {
            return Err(CommandError::BadProperties(flaw));
        }
        understand(&delivery.data, &delivery.properties)
    }

    fn run(&mut self, lane: Lane, Job { work, acker, is_large }: Job) {
        match work {
            Work::Order(order, body, properties) => {
                let sink = self.sink.clone();
                self.tasks.spawn(async move {
                    failpoint::reach("command.effect.before");
                    let submitted = sink.submit(order).await;
                    failpoint::reach("command.effect.after");
                    let outcome = match submitted {
                        Ok(()) => Ok(Settlement::Taken),
                        Err(Rejected::Refused(why)) => {
                            let (properties, error) = (*properties, CommandError::Failed(why));
                            let letter = DeadLetter { body, properties, error };
                            Ok(Settlement::PutAside(Box::new(letter)))
                        }
                        Err(error @ Rejected::Unavailable) => Err(error.into()),
                    };
                    Done { lane, acker, is_large, outcome }
                });
            }
            Work::Dead(letter) => {
                let (dead_end, line) = (Arc::clone(&self.dead_end), self.line.clone());
                self.tasks.spawn(async move {
                    failpoint::reach("dead_letter.before");
                    let put_aside = letter.put_aside(&dead_end, &line).await;
                    failpoint::reach("dead_letter.after");
                    let outcome = put_aside.map(|reply| Settlement::Aside(reply.map(Box::new)));
                    Done { lane, acker, is_large, outcome }
                });
            }
        }
    }

    /// Tells whoever sent what was put aside, and is acknowledged. Its lane stays taken.
    fn tell(&mut self, reply: LateReply, lane: Lane, acker: Acker) {
        let (dead_end, line) = (Arc::clone(&self.dead_end), self.line.clone());
        self.tasks.spawn(async move {
            reply.send(&dead_end, &line).await;
            Done { lane, acker, is_large: false, outcome: Ok(Settlement::Told) }
        });
    }

    async fn acknowledge(&self, acker: &Acker, count: Count) -> Result<(), LinkError> {
        failpoint::reach("command.ack.before");
        let ack = acker.ack(BasicAckOptions::default());
        if within("acknowledging a command", &self.line, ack).await? {
            self.status.add(count, 1);
        }
        failpoint::reach("command.ack.after");
        Ok(())
    }

    /// Acknowledges what is done and starts what waited for it.
    async fn settle(&mut self, done: Result<Done, JoinError>) -> Result<(), LinkError> {
        let Done { lane, acker, is_large, outcome } = done.map_err(|_| LinkError::Crashed)?;
        match outcome {
            Ok(Settlement::Taken) => {
                self.make_room(is_large).await?;
                self.acknowledge(&acker, Count::Consumed).await?;
            }
            Ok(Settlement::Aside(reply)) => {
                self.make_room(is_large).await?;
                self.acknowledge(&acker, Count::DeadLettered).await?;
                if let Some(reply) = reply {
                    self.tell(*reply, lane, acker);
                    return Ok(());
                }
            }
            Ok(Settlement::Told) => {}
            Ok(Settlement::PutAside(letter)) => {
                let job = Job { work: Work::Dead(letter), acker, is_large };
                if let Some(job) = self.lanes.enter(&Lane::Dead, job) {
                    self.run(Lane::Dead, job);
                }
            }
            Err(error) => {
                self.lanes.abandon(&lane);
                return Err(error);
            }
        }
        if let Some(job) = self.lanes.done(&lane) {
            self.run(lane, job);
        }
        Ok(())
    }

    /// Looks for what no event tells of.
    fn check(&self, link: &mut Link) -> Result<(), LinkError> {
        if !self.line.connected() {
            return Err(LinkError::Lost);
        }
        if self.tasks.is_empty() && self.opened.elapsed() > STABLE_AFTER {
            link.progressed();
        }
        Ok(())
    }
}

fn understand(body: &[u8], properties: &BasicProperties) -> Result<Order, CommandError> {
    fn text(value: &Option<ShortString>) -> Option<&str> {
        value.as_ref().map(ShortString::as_str)
    }
    parse(Envelope {
        body,
        amqp_type: text(properties.kind()),
        header_type: properties.headers().as_ref().and_then(|all| text_header(all, "type")),
        reply_to: text(properties.reply_to()),
        correlation_id: text(properties.correlation_id()),
    })
}
