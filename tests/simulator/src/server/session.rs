//! One client session: what its packets say, and the packets that answer them.
//!
//! Owns salts, message ids, acknowledgements and service messages; hands calls to `rpc`. It never
//! touches the socket.
//! Source: <https://core.telegram.org/mtproto/service_messages>.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use grammers_tl_types::{
    Cursor, Deserializable, Identifiable, RawVec, Serializable, enums, functions as f, types as t,
};
use rand::Rng;

use super::Server;
use super::link::Link;
use crate::clock::{unix_nanos, unix_seconds};
use crate::faults::PacketFate;
use crate::flood_waits::{Ending, WaitId};
use crate::rpc::call::Ticket;
use crate::wire::crypto::{AuthKey, Direction, OpenError};
use crate::wire::envelope::{
    Class, EnvelopeError, Incoming, Message, Numbering, Plaintext, constructor, rpc_result,
};
use crate::wire::transport::Framing;
use crate::world::keys::SALT_SECONDS;

/// A client's message may be this old, and this far ahead, in seconds.
const MAX_AGE: i64 = 300;
const MAX_AHEAD: i64 = 30;
/// Message ids remembered to recognise repetitions.
const REMEMBERED: usize = 256;
/// Most messages put into one packet.
const PACKET_MESSAGES: usize = 16;
/// Packets are filled up to about this size, in bytes.
const PACKET_BYTES: usize = 32 << 10;

/// Why a session's connection must be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("the key is treated as unknown")]
    KeyRefused,
}

/// Complaints of `bad_msg_notification`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Complaint {
    TooOld = 16,
    TooNew = 17,
    IdNotDivisible = 18,
    EvenExpected = 34,
    OddExpected = 35,
    InvalidContainer = 64,
}

/// A connection whose auth key is known.
pub(crate) struct Session {
    server: Arc<Server>,
    pub(crate) key: Arc<AuthKey>,
    link: Arc<Link>,
    session_id: i64,
    numbering: Numbering,
    seen: VecDeque<i64>,
    /// The salt of a half hour, so that it need not be computed for each packet.
    salt: (i32, i64),
    /// How far the server's clock is ahead for this session, in seconds.
    skew: i32,
    /// When to hang up, if the client asked for it.
    pub(crate) hang_up: Option<Instant>,
    plaintext: Vec<u8>,
    /// Answers that told of a flood wait, by message id.
    waits: Vec<(i64, WaitId)>,
    /// How many of them, the last ones, are not wholly handed to the socket.
    waits_unsent: usize,
    /// How the connection ends, should it end now.
    pub(crate) ending: Ending,
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.waits.is_empty() {
            let (mut world, now) = (self.server.world(), Instant::now());
            for (_, wait) in &self.waits {
                world.violations.waits.link_ended(*wait, self.ending, now);
            }
        }
    }
}

impl Session {
    pub(crate) fn new(server: Arc<Server>, key: Arc<AuthKey>, link: Arc<Link>) -> Self {
        Self {
            server,
            key,
            link,
            session_id: 0,
            numbering: Numbering::default(),
            seen: VecDeque::new(),
            salt: (0, 0),
            skew: 0,
            hang_up: None,
            plaintext: Vec::new(),
            waits: Vec::new(),
            waits_unsent: 0,
            ending: Ending::Cut,
        }
    }

    /// Everything that was flushed is handed to the socket.
    pub(crate) fn sent(&mut self) {
        if self.waits_unsent == 0 {
            return;
        }
        let (mut world, now) = (self.server.world(), Instant::now());
        for (_, wait) in self.waits.iter().rev().take(self.waits_unsent) {
            world.violations.waits.sent(*wait, now);
        }
        self.waits_unsent = 0;
    }

    fn acknowledged(&mut self, ids: &[i64], packet: i64) {
        if self.waits.is_empty() {
            return;
        }
        // What is acknowledged was sent, even if the loop has not noticed yet.
        let (heard, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waits).into_iter().partition(|(id, _)| ids.contains(id));
        self.waits = rest;
        self.waits_unsent = self.waits_unsent.min(self.waits.len());
        let mut world = self.server.world();
        heard.iter().for_each(|(_, wait)| world.violations.waits.acknowledged(*wait, packet));
    }

    /// The server's clock as this session sees it.
    fn now(&self) -> i32 {
        unix_seconds() + self.skew
    }

    fn now_nanos(&self) -> u128 {
        unix_nanos().saturating_add_signed(i128::from(self.skew) * 1_000_000_000)
    }

    fn current_salt(&mut self) -> i64 {
        let now = self.now();
        if self.salt.0 != now / SALT_SECONDS {
            self.salt = (now / SALT_SECONDS, self.server.world().current_salt(self.key.id(), now));
        }
        self.salt.1
    }

    /// Puts everything that waits into packets, until `output` holds `limit` bytes.
    pub(crate) fn flush(&mut self, framing: &mut Framing, output: &mut Vec<u8>, limit: usize) {
        let mut packet = Vec::new();
        while output.len() < limit {
            let messages = self.link.take(PACKET_MESSAGES, PACKET_BYTES);
            if messages.is_empty() {
                return;
            }
            let (salt, now) = (self.current_salt(), self.now_nanos());
            let mut plaintext = std::mem::take(&mut self.plaintext);
            let numbering = &mut self.numbering;
            let waits = numbering.pack(&messages, salt, self.session_id, now, &mut plaintext);
            self.waits_unsent += waits.len();
            self.waits.extend(waits);
            packet.clear();
            self.key.seal(Direction::ToClient, &plaintext, &mut packet);
            framing.encode(&packet, output);
            // One buffer serves all packets, but a large one is not kept.
            plaintext.shrink_to(PACKET_BYTES);
            self.plaintext = plaintext;
        }
    }

    /// Takes in one encrypted packet.
    pub(crate) fn receive(&mut self, packet: &mut [u8]) -> Result<(), SessionError> {
        let key = Arc::clone(&self.key);
        let Plaintext { salt, session_id, message } =
            Plaintext::parse(key.open(Direction::ToServer, packet)?)?;
        let opened = Instant::now();
        self.suffer()?;
        let now = self.now();
        self.session_id = session_id;
        if !self.server.world().salt_is_valid(key.id(), salt, now) {
            self.refuse_salt(&message);
            return Ok(());
        }
        if let Some(complaint) = judge_id(message.id, i64::from(now)) {
            self.complain(message.id, message.seq_no, complaint);
            return Ok(());
        }
        self.greet(session_id, message.id);
        match message.flatten() {
            Ok(messages) => self.take_in(messages, message.id, opened),
            Err(_) => self.complain(message.id, message.seq_no, Complaint::InvalidContainer),
        }
        Ok(())
    }

    /// Lets the faults that stand have their way with a packet.
    fn suffer(&mut self) -> Result<(), SessionError> {
        let mut world = self.server.world();
        let user = world.keys.get(&self.key.id()).and_then(|record| record.user);
        let PacketFate { refuse_key, expire_salt, skew } = world.faults.packet(user);
        if skew != self.skew {
            self.skew = skew;
            self.numbering.clock_was_set();
        }
        if expire_salt {
            world.expire_salts(self.key.id());
            self.salt = (0, 0);
        }
        if refuse_key { Err(SessionError::KeyRefused) } else { Ok(()) }
    }

    fn service(&self, message: &impl Serializable) {
        self.link.send(Class::Service, message.to_bytes());
    }

    fn refuse_salt(&mut self, message: &Message) {
        let notice = enums::BadMsgNotification::BadServerSalt(t::BadServerSalt {
            bad_msg_id: message.id,
            bad_msg_seqno: message.seq_no,
            error_code: 48,
            new_server_salt: self.current_salt(),
        });
        self.service(&notice);
    }

    fn complain(&self, id: i64, seq_no: i32, complaint: Complaint) {
        let notice = enums::BadMsgNotification::Notification(t::BadMsgNotification {
            bad_msg_id: id,
            bad_msg_seqno: seq_no,
            error_code: complaint as i32,
        });
        self.service(&notice);
    }

    /// Announces a session that the server sees for the first time, so that its client catches up.
    fn greet(&mut self, session_id: i64, first_msg_id: i64) {
        let server_salt = self.current_salt();
        let mut world = self.server.world();
        if !world.is_new_session(self.key.id(), session_id) {
            return;
        }
        let unique_id = world.rng.random();
        drop(world);
        let created = t::NewSessionCreated { first_msg_id, unique_id, server_salt };
        let created = enums::NewSession::Created(created);
        self.link.send(Class::Push, created.to_bytes());
    }

    fn take_in(&mut self, messages: Vec<Incoming>, packet: i64, opened: Instant) {
        let content = messages.iter().filter(|message| message.seq_no & 1 == 1);
        let msg_ids: Vec<i64> = content.map(|message| message.id).collect();
        if !msg_ids.is_empty() {
            self.service(&enums::MsgsAck::Ack(t::MsgsAck { msg_ids }));
        }
        for message in messages {
            if self.seen.contains(&message.id) {
                continue;
            }
            self.seen.truncate(REMEMBERED - 1);
            self.seen.push_front(message.id);
            // What cannot be parsed is dropped, as the real server does.
            let _ = self.handle(message, packet, opened);
        }
    }

    fn handle(
        &mut self,
        message: Incoming,
        packet: i64,
        opened: Instant,
    ) -> Result<(), grammers_tl_types::deserialize::Error> {
        let Incoming { id: msg_id, seq_no, body } = message;
        let Some(kind) = constructor(&body) else { return Ok(()) };
        let cursor = &mut Cursor::from_slice(&body[4..]);
        match kind {
            t::MsgsAck::CONSTRUCTOR_ID => {
                if seq_no & 1 == 1 {
                    self.complain(msg_id, seq_no, Complaint::EvenExpected);
                }
                self.acknowledged(&t::MsgsAck::deserialize(cursor)?.msg_ids, packet);
            }
            f::Ping::CONSTRUCTOR_ID => {
                let ping_id = f::Ping::deserialize(cursor)?.ping_id;
                self.service(&enums::Pong::Pong(t::Pong { msg_id, ping_id }));
            }
            f::PingDelayDisconnect::CONSTRUCTOR_ID => {
                let ping = f::PingDelayDisconnect::deserialize(cursor)?;
                let delay =
                    Duration::from_secs(u64::from(ping.disconnect_delay.max(1).unsigned_abs()));
                self.hang_up = Some(Instant::now() + delay);
                let pong = t::Pong { msg_id, ping_id: ping.ping_id };
                self.service(&enums::Pong::Pong(pong));
            }
            f::GetFutureSalts::CONSTRUCTOR_ID => {
                self.give_salts(msg_id, f::GetFutureSalts::deserialize(cursor)?.num);
            }
            t::MsgsStateReq::CONSTRUCTOR_ID => {
                self.give_state(msg_id, &t::MsgsStateReq::deserialize(cursor)?.msg_ids);
            }
            f::RpcDropAnswer::CONSTRUCTOR_ID => {
                let unknown = enums::RpcDropAnswer::RpcAnswerUnknown.to_bytes();
                self.link.send(Class::Answer, rpc_result(msg_id, &unknown));
            }
            f::DestroySession::CONSTRUCTOR_ID => {
                self.destroy(f::DestroySession::deserialize(cursor)?.session_id);
            }
            _ if is_ignorable(kind) => {}
            _ if seq_no & 1 == 0 => self.complain(msg_id, seq_no, Complaint::OddExpected),
            _ => {
                let (key_id, server, link) = (self.key.id(), &self.server, &self.link);
                Ticket::new(server, link, key_id, msg_id, (packet, opened)).call(body);
            }
        }
        Ok(())
    }

    /// Salts must come as a message of their own, not as a result: libraries wait for that.
    fn give_salts(&self, req_msg_id: i64, count: i32) {
        let now = self.now();
        let salts = self.server.world().future_salts(self.key.id(), now, count);
        let salts = salts.into_iter().map(|salt| t::FutureSalt {
            valid_since: salt.since,
            valid_until: salt.until,
            salt: salt.value,
        });
        let salts = RawVec(salts.collect());
        self.service(&enums::FutureSalts::Salts(t::FutureSalts { req_msg_id, now, salts }));
    }

    fn give_state(&self, req_msg_id: i64, asked: &[i64]) {
        const UNKNOWN: u8 = 1;
        const RECEIVED: u8 = 4;
        let state = |id| if self.seen.contains(id) { RECEIVED } else { UNKNOWN };
        let info = asked.iter().map(state).collect();
        let info = t::MsgsStateInfo { req_msg_id, info };
        self.service(&enums::MsgsStateInfo::Info(info));
    }

    fn destroy(&self, session_id: i64) {
        let known = self.server.world().forget_session(self.key.id(), session_id);
        let answer = if known {
            enums::DestroySessionRes::DestroySessionOk(t::DestroySessionOk { session_id })
        } else {
            enums::DestroySessionRes::DestroySessionNone(t::DestroySessionNone { session_id })
        };
        self.service(&answer);
    }
}

/// What is wrong with a message id, if anything: it must be a recent time, divisible by 4.
fn judge_id(id: i64, now: i64) -> Option<Complaint> {
    let time = id >> 32;
    match () {
        () if id & 3 != 0 => Some(Complaint::IdNotDivisible),
        () if time < now - MAX_AGE => Some(Complaint::TooOld),
        () if time > now + MAX_AHEAD => Some(Complaint::TooNew),
        () => None,
    }
}

/// Service messages that ask for nothing the simulator has.
fn is_ignorable(kind: u32) -> bool {
    [
        t::MsgsStateInfo::CONSTRUCTOR_ID,
        t::MsgsAllInfo::CONSTRUCTOR_ID,
        t::MsgDetailedInfo::CONSTRUCTOR_ID,
        t::MsgNewDetailedInfo::CONSTRUCTOR_ID,
        t::MsgResendReq::CONSTRUCTOR_ID,
        t::MsgResendAnsReq::CONSTRUCTOR_ID,
        t::HttpWait::CONSTRUCTOR_ID,
    ]
    .contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_ids_must_be_recent_and_divisible_by_four() {
        let now = 1_800_000_000;
        let id = |seconds: i64| (now + seconds) << 32;
        assert_eq!(judge_id(id(0), now), None);
        assert_eq!(judge_id(id(-299), now), None);
        assert_eq!(judge_id(id(-301), now), Some(Complaint::TooOld));
        assert_eq!(judge_id(id(31), now), Some(Complaint::TooNew));
        assert_eq!(judge_id(id(0) | 1, now), Some(Complaint::IdNotDivisible));
    }
}
