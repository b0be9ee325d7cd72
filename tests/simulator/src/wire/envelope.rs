//! What stands between a decrypted packet and the calls inside it: salts, message ids, sequence
//! numbers, containers and compression.
//!
//! Pure: times are parameters. It never interprets a call.
//! Source: <https://core.telegram.org/mtproto/description>.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use grammers_tl_types::{Cursor, Deserializable, Serializable};

use crate::flood_waits::WaitId;
use crate::hostile::estrange;

pub(crate) const MSG_CONTAINER: u32 = 0x73f1_f8dc;
const GZIP_PACKED: u32 = 0x3072_cfa1;
const RPC_RESULT: u32 = 0xf35c_6d01;
/// Salt, session id, message id, sequence number, length.
const PLAINTEXT_HEADER: usize = 32;
/// Most messages one container may hold, as the protocol says.
const MAX_CONTAINER: usize = 1020;
/// Largest body accepted after decompression, in bytes.
const MAX_UNPACKED: u64 = 4 << 20;
/// Results from this size on are compressed, in bytes.
const COMPRESS_FROM: usize = 2048;

/// Why a plaintext could not be taken apart.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EnvelopeError {
    #[error("plaintext ends too early")]
    Truncated,
    #[error("container is malformed")]
    Container,
    #[error("compressed body cannot be unpacked")]
    Compression,
}

/// The outermost message of one encrypted packet.
pub(crate) struct Plaintext<'p> {
    pub(crate) salt: i64,
    pub(crate) session_id: i64,
    pub(crate) message: Message<'p>,
}

/// One message: a call, a service message, or a container of them.
#[derive(Clone, Copy)]
pub(crate) struct Message<'p> {
    pub(crate) id: i64,
    pub(crate) seq_no: i32,
    pub(crate) body: &'p [u8],
}

/// A single message taken out of its containers and unpacked.
pub(crate) struct Incoming {
    pub(crate) id: i64,
    pub(crate) seq_no: i32,
    pub(crate) body: Vec<u8>,
}

impl<'p> Plaintext<'p> {
    /// Reads the header and cuts the padding off.
    pub(crate) fn parse(bytes: &'p [u8]) -> Result<Self, EnvelopeError> {
        let (header, rest) =
            bytes.split_at_checked(PLAINTEXT_HEADER).ok_or(EnvelopeError::Truncated)?;
        let long = |at: usize| i64::from_le_bytes(super::crypto::sub(header, at));
        let int = |at: usize| i32::from_le_bytes(super::crypto::sub(header, at));
        let length = usize::try_from(int(28)).map_err(|_| EnvelopeError::Truncated)?;
        let body = rest.get(..length).ok_or(EnvelopeError::Truncated)?;
        let message = Message { id: long(16), seq_no: int(24), body };
        Ok(Self { salt: long(0), session_id: long(8), message })
    }
}

impl Message<'_> {
    /// The messages inside, in order: containers opened, bodies unpacked.
    pub(crate) fn flatten(&self) -> Result<Vec<Incoming>, EnvelopeError> {
        let body = unpack(self.body)?;
        if constructor(&body) != Some(MSG_CONTAINER) {
            return Ok(vec![Incoming { id: self.id, seq_no: self.seq_no, body }]);
        }
        let mut cursor = Cursor::from_slice(&body[4..]);
        let count = u32::deserialize(&mut cursor).map_err(|_| EnvelopeError::Container)? as usize;
        if count > MAX_CONTAINER {
            return Err(EnvelopeError::Container);
        }
        (0..count).map(|_| contained(&mut cursor)).collect()
    }
}

fn contained(cursor: &mut Cursor) -> Result<Incoming, EnvelopeError> {
    let mut read = || -> Result<_, grammers_tl_types::deserialize::Error> {
        let id = i64::deserialize(cursor)?;
        let seq_no = i32::deserialize(cursor)?;
        let length = u32::deserialize(cursor)? as usize;
        let mut body = vec![0; length.min(MAX_UNPACKED as usize)];
        cursor.read_exact(&mut body)?;
        Ok((id, seq_no, body))
    };
    let (id, seq_no, body) = read().map_err(|_| EnvelopeError::Container)?;
    let body = unpack(&body)?;
    // Containers never hold containers.
    if constructor(&body) == Some(MSG_CONTAINER) {
        return Err(EnvelopeError::Container);
    }
    Ok(Incoming { id, seq_no, body })
}

/// The constructor number a serialized object begins with.
pub(crate) fn constructor(body: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*body.first_chunk()?))
}

fn unpack(body: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    if constructor(body) != Some(GZIP_PACKED) {
        return Ok(body.to_vec());
    }
    let packed = Vec::<u8>::from_bytes(&body[4..]).map_err(|_| EnvelopeError::Compression)?;
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed[..])
        .take(MAX_UNPACKED)
        .read_to_end(&mut unpacked)
        .map_err(|_| EnvelopeError::Compression)?;
    Ok(unpacked)
}

/// `rpc_result` around a serialized result, compressed if that is worth it.
pub(crate) fn rpc_result(request: i64, result: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(result.len() + 12);
    RPC_RESULT.serialize(&mut body);
    request.serialize(&mut body);
    let mut result = result.to_vec();
    estrange(&mut result);
    if result.len() < COMPRESS_FROM {
        body.append(&mut result);
    } else {
        body.extend(compress(&result));
    }
    body
}

pub(crate) fn compress(body: &[u8]) -> Vec<u8> {
    // The fastest level packs long runs badly with some of the backends.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    let mut compressed = GZIP_PACKED.to_bytes();
    packed.expect("writing into memory cannot fail").serialize(&mut compressed);
    compressed
}

/// What kind of message the server sends; it decides message id and sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Answers a client's message and wants an acknowledgement.
    Answer,
    /// Comes unasked and wants an acknowledgement.
    Push,
    /// Acknowledgements, pongs, salts, complaints.
    Service,
}

/// A message on its way to a client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) class: Class,
    pub(crate) body: Vec<u8>,
    /// The flood wait that it tells of, if any: nothing of it is on the wire.
    pub(crate) wait: Option<WaitId>,
}

/// Numbers the messages of one server-to-client stream.
#[derive(Default)]
pub(crate) struct Numbering {
    last_id: i64,
    content: i32,
}

impl Numbering {
    /// The next id tells the new time, even if that makes it lower than the last one.
    pub(crate) fn clock_was_set(&mut self) {
        self.last_id = 0;
    }

    /// An id that rises strictly; its low bits tell answers (1) from pushes (3).
    fn next_id(&mut self, unix_nanos: u128, answer: bool) -> i64 {
        let seconds = (unix_nanos / 1_000_000_000) as i64;
        let fraction = (unix_nanos % 1_000_000_000) as i64;
        let time = seconds << 32 | fraction << 2;
        self.last_id = time.max((self.last_id & !3) + 4) | if answer { 1 } else { 3 };
        self.last_id
    }

    fn next_seq_no(&mut self, content: bool) -> i32 {
        let seq_no = self.content * 2 + i32::from(content);
        self.content += i32::from(content);
        seq_no
    }

    /// Lays `messages` out as the plaintext of one packet: one alone as it is, several in a
    /// container. Answers the ids of those that tell of a flood wait.
    pub(crate) fn pack(
        &mut self,
        messages: &[Outgoing],
        salt: i64,
        session_id: i64,
        unix_nanos: u128,
        plaintext: &mut Vec<u8>,
    ) -> Vec<(i64, WaitId)> {
        plaintext.clear();
        salt.serialize(plaintext);
        session_id.serialize(plaintext);
        if let [single] = messages {
            let id = self.put(single, unix_nanos, plaintext);
            return single.wait.map(|wait| (id, wait)).into_iter().collect();
        }
        let start = plaintext.len();
        plaintext.resize(start + 16, 0);
        MSG_CONTAINER.serialize(plaintext);
        (messages.len() as i32).serialize(plaintext);
        let mut told = Vec::new();
        for message in messages {
            let id = self.put(message, unix_nanos, plaintext);
            told.extend(message.wait.map(|wait| (id, wait)));
        }
        // A container's id is above those of the messages it holds.
        let id = self.next_id(unix_nanos, false);
        let seq_no = self.next_seq_no(false);
        let length = (plaintext.len() - start - 16) as i32;
        plaintext[start..start + 8].copy_from_slice(&id.to_le_bytes());
        plaintext[start + 8..start + 12].copy_from_slice(&seq_no.to_le_bytes());
        plaintext[start + 12..start + 16].copy_from_slice(&length.to_le_bytes());
        told
    }

    fn put(&mut self, message: &Outgoing, unix_nanos: u128, plaintext: &mut Vec<u8>) -> i64 {
        let content = message.class != Class::Service;
        let id = self.next_id(unix_nanos, message.class != Class::Push);
        id.serialize(plaintext);
        self.next_seq_no(content).serialize(plaintext);
        (message.body.len() as i32).serialize(plaintext);
        plaintext.extend_from_slice(&message.body);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(class: Class, body: &[u8]) -> Outgoing {
        Outgoing { class, body: body.to_vec(), wait: None }
    }

    #[test]
    fn a_container_opens_to_its_messages_in_order() {
        let mut numbering = Numbering::default();
        let mut plaintext = Vec::new();
        let messages = [
            outgoing(Class::Service, b"pongpong"),
            outgoing(Class::Answer, b"answer!!"),
            outgoing(Class::Push, b"update!!"),
        ];
        numbering.pack(&messages, 11, 22, 1_700_000_000_123_456_789, &mut plaintext);
        plaintext.extend([0; 17]);
        let parsed = Plaintext::parse(&plaintext).unwrap();
        assert_eq!((parsed.salt, parsed.session_id), (11, 22));
        let inside = parsed.message.flatten().unwrap();
        let bodies: Vec<_> = inside.iter().map(|message| &message.body[..]).collect();
        assert_eq!(bodies, [&b"pongpong"[..], b"answer!!", b"update!!"]);
        let numbers: Vec<_> = inside.iter().map(|message| message.seq_no).collect();
        assert_eq!(numbers, [0, 1, 3]);
        assert_eq!(parsed.message.seq_no, 4);
        let kinds: Vec<_> = inside.iter().map(|message| message.id & 3).collect();
        assert_eq!(kinds, [1, 1, 3]);
        assert!(inside.iter().all(|message| message.id < parsed.message.id));
    }

    #[test]
    fn ids_rise_even_when_the_clock_stands_still_or_steps_back() {
        let mut numbering = Numbering::default();
        let mut last = 0;
        for nanos in [5_000_000_000, 5_000_000_000, 4_000_000_000, 5_000_000_001] {
            for answer in [true, false] {
                let id = numbering.next_id(nanos, answer);
                assert!(id > last, "{id} after {last}");
                assert_eq!(id & 3, if answer { 1 } else { 3 });
                last = id;
            }
        }
    }

    #[test]
    fn large_results_are_compressed_and_unpack_to_the_same() {
        let result: Vec<u8> = (0..5000u32).flat_map(u32::to_le_bytes).collect();
        let body = rpc_result(42, &result);
        assert!(body.len() < result.len());
        assert_eq!(unpack(&body[12..]).unwrap(), result);
    }

    #[test]
    fn nested_and_truncated_containers_are_refused() {
        let mut inner = Vec::new();
        Numbering::default().pack(&[], 0, 0, 0, &mut inner);
        let mut nested = Vec::new();
        let messages = [outgoing(Class::Push, &inner[32..]), outgoing(Class::Push, b"abcd")];
        Numbering::default().pack(&messages, 0, 0, 0, &mut nested);
        let parsed = Plaintext::parse(&nested).unwrap();
        assert_eq!(parsed.message.flatten().err(), Some(EnvelopeError::Container));
        assert_eq!(Plaintext::parse(&nested[..40]).err(), Some(EnvelopeError::Truncated));
        let cut = Message { body: &parsed.message.body[..20], ..parsed.message };
        assert_eq!(cut.flatten().err(), Some(EnvelopeError::Container));
    }
}
