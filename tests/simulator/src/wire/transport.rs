//! TCP framings of MTProto: full, abridged, intermediate and padded intermediate.
//!
//! Owns how packets are cut out of a byte stream and put into it; never looks inside a packet.
//! Source: <https://core.telegram.org/mtproto/mtproto-transports>.

use bytes::{Buf, BytesMut};

/// Largest packet accepted, in bytes: Telegram closes connections that exceed 1 MiB.
const MAX_PACKET: usize = 1 << 20;
/// What a full frame adds around its payload: length, sequence number, checksum.
const FULL_OVERHEAD: usize = 12;
/// In the length of light framings, asks for a quick ack; the simulator never sends those.
const QUICK_ACK: u32 = 1 << 31;
/// Random bytes a padded frame may carry after its payload.
const MAX_PADDING: usize = 15;

/// Why a byte stream cannot be read as packets.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FramingError {
    #[error("packet of {0} bytes is out of bounds")]
    Length(usize),
    #[error("expected packet number {expected}, got {got}")]
    Sequence { expected: u32, got: u32 },
    #[error("packet checksum does not match")]
    Checksum,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full,
    Abridged,
    Intermediate,
    Padded,
}

/// One connection's framing, with the packet counters of both directions.
#[derive(Debug)]
pub(crate) struct Framing {
    kind: Kind,
    received: u32,
    sent: u32,
}

impl Framing {
    /// Recognises the framing from a connection's first bytes and consumes its tag, if it has one.
    /// `None` means that more bytes are needed.
    pub(crate) fn detect(input: &mut BytesMut) -> Option<Self> {
        let kind = match input.first()? {
            0xef => Kind::Abridged,
            _ if input.len() < 4 => return None,
            _ => match &input[..4] {
                [0xee, 0xee, 0xee, 0xee] => Kind::Intermediate,
                [0xdd, 0xdd, 0xdd, 0xdd] => Kind::Padded,
                _ => Kind::Full,
            },
        };
        input.advance(match kind {
            Kind::Full => 0,
            Kind::Abridged => 1,
            Kind::Intermediate | Kind::Padded => 4,
        });
        Some(Self { kind, received: 0, sent: 0 })
    }

    /// Takes the next whole packet out of `input`; `None` means that more bytes are needed.
    pub(crate) fn decode(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<BytesMut>, FramingError> {
        match self.kind {
            Kind::Full => self.decode_full(input),
            Kind::Abridged => decode_abridged(input),
            Kind::Intermediate | Kind::Padded => decode_intermediate(input),
        }
    }

    fn decode_full(&mut self, input: &mut BytesMut) -> Result<Option<BytesMut>, FramingError> {
        let Some(length) = peek_u32(input) else { return Ok(None) };
        let length = length as usize;
        if !(FULL_OVERHEAD..=MAX_PACKET).contains(&length) {
            return Err(FramingError::Length(length));
        }
        if input.len() < length {
            return Ok(None);
        }
        let mut frame = input.split_to(length);
        let checksum = frame.split_off(length - 4).get_u32_le();
        if crc32fast::hash(&frame) != checksum {
            return Err(FramingError::Checksum);
        }
        frame.advance(4);
        let got = frame.get_u32_le();
        if got != self.received {
            return Err(FramingError::Sequence { expected: self.received, got });
        }
        self.received += 1;
        Ok(Some(frame))
    }

    /// Appends `packet`, framed, to `output`.
    pub(crate) fn encode(&mut self, packet: &[u8], output: &mut Vec<u8>) {
        match self.kind {
            Kind::Full => {
                let start = output.len();
                output.extend(((packet.len() + FULL_OVERHEAD) as u32).to_le_bytes());
                output.extend(self.sent.to_le_bytes());
                output.extend_from_slice(packet);
                let checksum = crc32fast::hash(&output[start..]);
                output.extend(checksum.to_le_bytes());
                self.sent += 1;
            }
            Kind::Abridged => {
                let words = packet.len() / 4;
                if words < 0x7f {
                    output.push(words as u8);
                } else {
                    output.push(0x7f);
                    output.extend(&(words as u32).to_le_bytes()[..3]);
                }
                output.extend_from_slice(packet);
            }
            Kind::Intermediate | Kind::Padded => {
                output.extend((packet.len() as u32).to_le_bytes());
                output.extend_from_slice(packet);
            }
        }
    }

    /// Appends a transport error such as 404. Clients of the full framing find the negative code
    /// where a length should be; it was observed on real servers repeated three times.
    pub(crate) fn encode_error(&mut self, code: i32, output: &mut Vec<u8>) {
        let code = (-code).to_le_bytes();
        match self.kind {
            Kind::Full => output.extend(code.iter().cycle().take(FULL_OVERHEAD)),
            _ => self.encode(&code, output),
        }
    }
}

fn peek_u32(input: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(*input.first_chunk::<4>()?))
}

fn decode_abridged(input: &mut BytesMut) -> Result<Option<BytesMut>, FramingError> {
    let Some(first) = input.first() else { return Ok(None) };
    let (header, words) = match first & 0x7f {
        0x7f => match peek_u32(input) {
            Some(word) => (4, (word >> 8) as usize),
            None => return Ok(None),
        },
        short => (1, usize::from(short)),
    };
    take(input, header, words * 4)
}

fn decode_intermediate(input: &mut BytesMut) -> Result<Option<BytesMut>, FramingError> {
    let Some(length) = peek_u32(input) else { return Ok(None) };
    take(input, 4, (length & !QUICK_ACK) as usize)
}

fn take(
    input: &mut BytesMut,
    header: usize,
    length: usize,
) -> Result<Option<BytesMut>, FramingError> {
    if length == 0 || length > MAX_PACKET + MAX_PADDING {
        return Err(FramingError::Length(length));
    }
    if input.len() < header + length {
        return Ok(None);
    }
    input.advance(header);
    Ok(Some(input.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(kind: Kind) -> (Framing, Framing) {
        let fresh = || Framing { kind, received: 0, sent: 0 };
        (fresh(), fresh())
    }

    proptest! {
        #[test]
        fn packets_survive_any_framing_and_any_cutting(
            packets in proptest::collection::vec(proptest::collection::vec(any::<u32>(), 1..300), 1..8),
            cut in 1usize..50,
            kind in prop_oneof![
                Just(Kind::Full), Just(Kind::Abridged), Just(Kind::Intermediate), Just(Kind::Padded)
            ],
        ) {
            let packets: Vec<Vec<u8>> = packets
                .into_iter()
                .map(|words| words.into_iter().flat_map(u32::to_le_bytes).collect())
                .collect();
            let (mut sender, mut receiver) = pair(kind);
            let mut wire = Vec::new();
            for packet in &packets {
                sender.encode(packet, &mut wire);
            }
            let mut input = BytesMut::new();
            let mut got = Vec::new();
            for piece in wire.chunks(cut) {
                input.extend_from_slice(piece);
                while let Some(packet) = receiver.decode(&mut input).unwrap() {
                    got.push(packet.to_vec());
                }
            }
            prop_assert_eq!(got, packets);
        }
    }

    #[test]
    fn the_first_bytes_tell_the_framing() {
        let detect = |bytes: &[u8]| {
            let mut input = BytesMut::from(bytes);
            let kind = Framing::detect(&mut input).map(|framing| framing.kind);
            (kind, input.len())
        };
        assert_eq!(detect(&[0xef, 1]), (Some(Kind::Abridged), 1));
        assert_eq!(detect(&[0xee, 0xee, 0xee]), (None, 3));
        assert_eq!(detect(&[0xee; 4]), (Some(Kind::Intermediate), 0));
        assert_eq!(detect(&[0xdd; 5]), (Some(Kind::Padded), 1));
        assert_eq!(detect(&[16, 0, 0, 0]), (Some(Kind::Full), 4));
    }

    #[test]
    fn a_full_frame_with_a_wrong_checksum_or_number_is_refused() {
        let (mut sender, mut receiver) = pair(Kind::Full);
        let mut wire = Vec::new();
        sender.encode(&[1, 2, 3, 4], &mut wire);
        let mut broken = BytesMut::from(&wire[..]);
        broken[9] ^= 1;
        assert_eq!(receiver.decode(&mut broken), Err(FramingError::Checksum));
        let mut replayed = BytesMut::from(&[wire.clone(), wire].concat()[..]);
        assert!(receiver.decode(&mut replayed).unwrap().is_some());
        assert_eq!(
            receiver.decode(&mut replayed),
            Err(FramingError::Sequence { expected: 1, got: 0 })
        );
    }

    #[test]
    fn an_empty_full_frame_has_the_published_bytes() {
        let (mut sender, _) = pair(Kind::Full);
        let mut wire = Vec::new();
        sender.encode(&[], &mut wire);
        assert_eq!(wire, [12, 0, 0, 0, 0, 0, 0, 0, 38, 202, 141, 50]);
    }
}
