//! One TCP connection: reads packets, writes packets, and ends as it is told to.
//!
//! A single task reads and writes, so that a connection costs one task and two small buffers. It
//! reads no further while much waits to be written: a client that does not read gets no service.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;
use grammers_tl_types::Serializable;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, sleep_until};

use super::Server;
use super::link::{End, Link};
use super::session::{Session, SessionError};
use crate::clock::{unix_nanos, unix_seconds};
use crate::faults::ConnectionFate;
use crate::flood_waits::Ending;
use crate::wire::handshake::{Handshake, HandshakeError, Step};
use crate::wire::transport::{Framing, FramingError};
use crate::world::World;
use crate::world::keys::RECONNECT_GRACE;

/// Packets are made while less than this waits in the output buffer, in bytes.
const OUTPUT_LIMIT: usize = 32 << 10;
/// Nothing more is read while this much waits to be sent, in bytes.
const BACKLOG_LIMIT: usize = 1 << 20;
/// Space offered to each read, in bytes.
const READ_CHUNK: usize = 4 << 10;
/// How often a connection looks whether its key's old connection is gone.
const GRACE_STEP: std::time::Duration = std::time::Duration::from_millis(5);
/// The transport error for a key the server does not know.
const UNKNOWN_KEY: i32 = 404;

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("unencrypted packet is malformed")]
    Plain,
    #[error("the connection ended")]
    Ended,
}

/// The entry of a connection in the world's books, struck out however its task ends.
struct Presence {
    server: Arc<Server>,
    link: Arc<Link>,
    key_id: Option<i64>,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut world = self.server.world();
        world.counters.connections -= 1;
        if let Some(key_id) = self.key_id {
            world.release_key(key_id, &self.link);
        }
    }
}

enum State {
    /// No encrypted packet came yet.
    Greeting(Handshake),
    Bound(Box<Session>),
    /// Everything that comes is thrown away.
    Mute,
}

struct Connection {
    /// The datacenter it was made to.
    dc: i32,
    presence: Presence,
    framing: Option<Framing>,
    input: BytesMut,
    output: Vec<u8>,
    written: usize,
    state: State,
    rng: StdRng,
}

/// Serves a connection to its end.
pub(crate) async fn serve(server: Arc<Server>, mut stream: TcpStream, dc: i32) {
    let link = Arc::new(Link::new(server.next_link_id()));
    let (fate, rng) = {
        let mut world = server.world();
        world.counters.connections += 1;
        world.counters.connections_total += 1;
        (world.faults.connection(None), StdRng::seed_from_u64(world.rng.random()))
    };
    let mut connection = Connection {
        dc,
        presence: Presence { server, link, key_id: None },
        framing: None,
        input: BytesMut::new(),
        output: Vec::new(),
        written: 0,
        state: State::Greeting(Handshake::Idle),
        rng,
    };
    match fate {
        ConnectionFate::Serve => {}
        ConnectionFate::Refuse => connection.presence.link.end(End::Reset),
        ConnectionFate::Mute => connection.state = State::Mute,
    }
    // Answers are small and wanted at once. A failure shows at the first read.
    let _ = stream.set_nodelay(true);
    match connection.run(&mut stream).await {
        Ok(()) | Err(ConnectionError::Io(_) | ConnectionError::Ended) => {}
        Err(error) => {
            let mut world = connection.presence.server.world();
            *world.counters.protocol_errors.entry(error.to_string()).or_default() += 1;
        }
    }
    if connection.presence.link.ending().0 == Some(End::Reset) {
        let _ = stream.set_zero_linger();
    }
}

impl Connection {
    async fn run(&mut self, stream: &mut TcpStream) -> Result<(), ConnectionError> {
        loop {
            if !self.presence.link.is_idle() {
                self.freeze_perhaps();
            }
            self.fill_output();
            self.perform_ending(stream).await?;
            let writing = self.written < self.output.len();
            let is_mute = matches!(self.state, State::Mute);
            let reading = is_mute || self.presence.link.backlog() < BACKLOG_LIMIT;
            let (alarm, hang_up) = self.alarm();
            let far = Instant::now() + std::time::Duration::from_secs(3600);
            self.input.reserve(READ_CHUNK);
            let (mut reader, mut writer) = stream.split();
            tokio::select! {
                read = reader.read_buf(&mut self.input), if reading => {
                    if read? == 0 {
                        self.was_closed(stream);
                        return Ok(());
                    }
                    self.read_slowly().await;
                    self.freeze_perhaps();
                    self.take_packets().await?;
                }
                wrote = writer.write(&self.output[self.written..]), if writing => {
                    self.wrote(wrote?);
                }
                () = self.presence.link.wake.notified() => {}
                () = sleep_until(alarm.unwrap_or(far).into()) => {
                    if hang_up.is_some_and(|at| at <= Instant::now()) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The client closed the connection. Anything that it had not read, or that came after it had
    /// closed, would have been answered with a reset, of which the socket keeps the error.
    fn was_closed(&mut self, stream: &TcpStream) {
        if let (State::Bound(session), Ok(None)) = (&mut self.state, stream.take_error()) {
            session.ending = Ending::InGoodOrder;
        }
    }

    fn user(&self, world: &World) -> Option<i64> {
        self.presence.key_id.and_then(|key_id| world.keys.get(&key_id)?.user)
    }

    /// Goes silent for good, if a fault says so. It is still seen when the client closes, and then
    /// lets go of its key.
    fn freeze_perhaps(&mut self) {
        let Presence { server, link, .. } = &self.presence;
        if !server.freezing.load(Ordering::Relaxed) || !matches!(self.state, State::Bound(_)) {
            return;
        }
        let mut world = server.world();
        let user = self.user(&world);
        let freezes = world.faults.freezes(user);
        // The session that is dropped here looks into the world.
        drop(world);
        if freezes {
            link.freeze();
            self.state = State::Mute;
            self.output.clear();
            self.written = 0;
        }
    }

    /// Says that the key is unknown, and hangs up.
    fn refuse_key(&mut self) {
        if let Some(framing) = &mut self.framing {
            framing.encode_error(UNKNOWN_KEY, &mut self.output);
        }
        self.state = State::Mute;
        self.presence.link.end(End::AfterFlush);
    }

    fn fill_output(&mut self) {
        if let (State::Bound(session), Some(framing)) = (&mut self.state, &mut self.framing) {
            session.flush(framing, &mut self.output, OUTPUT_LIMIT);
        }
    }

    fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.output.len() {
            self.output.clear();
            self.output.shrink_to(READ_CHUNK);
            self.written = 0;
            if let State::Bound(session) = &mut self.state {
                session.sent();
            }
        }
    }

    /// The next moment at which something is due by itself, and the one to hang up at.
    fn alarm(&self) -> (Option<Instant>, Option<Instant>) {
        let hang_up = match &self.state {
            State::Bound(session) => session.hang_up,
            _ => None,
        };
        (self.presence.link.held_until().into_iter().chain(hang_up).min(), hang_up)
    }

    /// Ends the connection if that is asked for and everything before it is done.
    async fn perform_ending(&mut self, stream: &mut TcpStream) -> Result<(), ConnectionError> {
        let (end, waiting) = self.presence.link.ending();
        match end {
            None => Ok(()),
            Some(End::AfterFlush) if waiting || self.written < self.output.len() => Ok(()),
            Some(End::Garbage) => {
                let mut garbage = [0; 64];
                self.rng.fill_bytes(&mut garbage);
                stream.write_all(&garbage).await?;
                Err(ConnectionError::Ended)
            }
            Some(_) => Err(ConnectionError::Ended),
        }
    }

    async fn read_slowly(&mut self) {
        let delay = {
            let mut world = self.presence.server.world();
            let user = self.user(&world);
            world.faults.read_delay(user)
        };
        if let Some(delay) = delay {
            sleep(delay).await;
        }
    }

    async fn take_packets(&mut self) -> Result<(), ConnectionError> {
        if matches!(self.state, State::Mute) {
            self.input.clear();
            return Ok(());
        }
        if self.framing.is_none() {
            self.framing = Framing::detect(&mut self.input);
        }
        loop {
            let Some(framing) = &mut self.framing else { return Ok(()) };
            let Some(mut packet) = framing.decode(&mut self.input)? else { return Ok(()) };
            let Some(&key_id) = packet.first_chunk::<8>() else {
                return Err(ConnectionError::Plain);
            };
            match (&mut self.state, i64::from_le_bytes(key_id)) {
                (State::Greeting(_), 0) => self.shake_hands(&packet).await?,
                (State::Greeting(_), key_id) => {
                    self.bind(key_id).await?;
                    self.receive(&mut packet)?;
                }
                (State::Bound(session), key_id) if key_id == session.key.id() => {
                    self.receive(&mut packet)?;
                }
                (State::Bound(_), _) => return Err(ConnectionError::Plain),
                (State::Mute, _) => {}
            }
        }
    }

    fn receive(&mut self, packet: &mut [u8]) -> Result<(), ConnectionError> {
        let State::Bound(session) = &mut self.state else { return Ok(()) };
        match session.receive(packet) {
            Err(SessionError::KeyRefused) => self.refuse_key(),
            outcome => outcome?,
        }
        Ok(())
    }

    /// One step of the key exchange, on a thread of its own: the numbers are large.
    async fn shake_hands(&mut self, packet: &[u8]) -> Result<(), ConnectionError> {
        let State::Greeting(handshake) = &mut self.state else { return Ok(()) };
        // Key id, message id and length stand before the body.
        let body = packet.get(20..).ok_or(ConnectionError::Plain)?.to_vec();
        let mut handshake = std::mem::replace(handshake, Handshake::Idle);
        let mut rng = StdRng::seed_from_u64(self.rng.random());
        let server = Arc::clone(&self.presence.server);
        let stepped = tokio::task::spawn_blocking(move || {
            let step = handshake.step(&body, &server.rsa(), &mut rng, unix_seconds());
            (handshake, step)
        });
        let (handshake, step) = stepped.await.map_err(io::Error::other)?;
        self.state = State::Greeting(handshake);
        let Step { answer, finished } = step?;
        if let Some(finished) = finished {
            let mut world = self.presence.server.world();
            world.counters.handshakes += 1;
            world.admit_key(finished.key, Some(finished.first_salt), self.dc);
        }
        if !answer.is_empty() {
            self.send_plain(&answer);
        }
        Ok(())
    }

    fn send_plain(&mut self, answer: &[u8]) {
        let skew = self.presence.server.world().faults.packet(None).skew;
        let nanos = unix_nanos().saturating_add_signed(i128::from(skew) * 1_000_000_000);
        let time = (nanos / 1_000_000_000) << 32 | (nanos % 1_000_000_000) << 2;
        let mut packet = Vec::with_capacity(answer.len() + 20);
        0i64.serialize(&mut packet);
        (time as i64 | 1).serialize(&mut packet);
        (answer.len() as i32).serialize(&mut packet);
        packet.extend_from_slice(answer);
        if let Some(framing) = &mut self.framing {
            framing.encode(&packet, &mut self.output);
        }
    }

    /// Finds out whose connection this is by the key of its first encrypted packet.
    async fn bind(&mut self, key_id: i64) -> Result<(), ConnectionError> {
        let Presence { server, link, .. } = &self.presence;
        let (server, link) = (Arc::clone(server), Arc::clone(link));
        let (key, fate) = {
            let mut world = server.world();
            let known = world.keys.get(&key_id).filter(|record| record.dc == self.dc);
            let known = known.map(|record| (Arc::clone(&record.key), record.user));
            let fate = match &known {
                Some((_, Some(user))) => world.faults.connection(Some(*user)),
                _ => ConnectionFate::Serve,
            };
            (known.map(|(key, _)| key), fate)
        };
        match (key, fate) {
            (None, _) => self.refuse_key(),
            (_, ConnectionFate::Refuse) => {
                self.state = State::Mute;
                link.end(End::Reset);
            }
            (_, ConnectionFate::Mute) => self.state = State::Mute,
            (Some(key), ConnectionFate::Serve) => {
                take_over(&server, key_id, &link).await;
                self.presence.key_id = Some(key_id);
                self.state = State::Bound(Box::new(Session::new(server, key, link)));
            }
        }
        Ok(())
    }
}

/// Gets hold of the key as soon as an older connection lets go of it; if it does not in time, two
/// connections use one key, which Telegram punishes.
async fn take_over(server: &Server, key_id: i64, link: &Arc<Link>) {
    let deadline = Instant::now() + RECONNECT_GRACE;
    while !server.world().hold_key(key_id, link) {
        if Instant::now() >= deadline {
            server.world().hold_key_twice(key_id, link);
            return;
        }
        sleep(GRACE_STEP).await;
    }
}
