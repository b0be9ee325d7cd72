//! Unencrypted messages over TCP: what is said to a server before there is a key. Frames and
//! unframes only; what is said is its callers' affair, and so is how long an answer may take.
//! Source: <https://core.telegram.org/mtproto/description#unencrypted-message>.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::{NO_MTPROTO, unconnected};
use crate::clock::Clock;
use crate::protocol::values::ids::UnixMillis;

/// Marks a connection whose packets begin with their length
/// (<https://core.telegram.org/mtproto/mtproto-transports#intermediate>).
const INTERMEDIATE: u32 = 0xeeee_eeee;
/// An unencrypted message begins with the key id 0, its id and its length.
const HEAD: usize = 20;
/// More is no answer to anything that is asked without a key; the longest has some 700 bytes.
const ANSWER_MAX: usize = 4096;

/// Why nothing was answered that can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlainError {
    #[error("{}", unconnected(.0.kind()))]
    Io(#[from] io::Error),
    /// An error of the transport instead of an answer, such as -404.
    #[error("the server refuses what it was sent ({0})")]
    Refused(i32),
    #[error("{NO_MTPROTO}")]
    Malformed,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The server's time when it answered.
    pub(super) time: UnixMillis,
    /// What it says.
    pub(super) body: Vec<u8>,
}

/// A connection without a key.
pub(super) struct PlainLink {
    stream: TcpStream,
    clock: Clock,
    last_id: i64,
}

impl PlainLink {
    pub(super) async fn connect(address: SocketAddr, clock: &Clock) -> Result<Self, PlainError> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&INTERMEDIATE.to_le_bytes()).await?;
        Ok(Self { stream, clock: clock.clone(), last_id: 0 })
    }

    /// Says `body` and takes the next message for the answer.
    pub(super) async fn ask(&mut self, body: &[u8]) -> Result<Answer, PlainError> {
        self.last_id = next_id(self.last_id, self.clock.now());
        self.stream.write_all(&packet(self.last_id, body)).await?;
        let length = self.stream.read_u32_le().await? as usize;
        if length > ANSWER_MAX {
            return Err(PlainError::Malformed);
        }
        let mut packet = vec![0; length];
        self.stream.read_exact(&mut packet).await?;
        unpack(&packet)
    }
}

/// Ids are the time in units of 2^-32 s, divisible by four, and rise.
fn next_id(last: i64, now: UnixMillis) -> i64 {
    let fraction = (now.0.rem_euclid(1_000) << 32) / 1_000;
    ((now.seconds() << 32 | fraction) & !3).max(last + 4)
}

fn packet(id: i64, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(4 + HEAD + body.len());
    packet.extend(((HEAD + body.len()) as u32).to_le_bytes());
    packet.extend(0_i64.to_le_bytes());
    packet.extend(id.to_le_bytes());
    packet.extend((body.len() as u32).to_le_bytes());
    packet.extend(body);
    packet
}

fn unpack(packet: &[u8]) -> Result<Answer, PlainError> {
    if let Ok(code) = <[u8; 4]>::try_from(packet) {
        return Err(PlainError::Refused(i32::from_le_bytes(code)));
    }
    read(packet).ok_or(PlainError::Malformed)
}

fn read(packet: &[u8]) -> Option<Answer> {
    let (key_id, rest) = packet.split_first_chunk::<8>()?;
    let (id, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let body = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let time = time_of(i64::from_le_bytes(*id));
    (*key_id == [0; 8] && time.0 > 0).then(|| Answer { time, body: body.to_vec() })
}

/// The time that an id was made of.
fn time_of(id: i64) -> UnixMillis {
    let millis = (i128::from(id) * 1_000) >> 32;
    UnixMillis(i64::try_from(millis).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_sample_is_read() {
        // The head of the server's first message in core.telegram.org/mtproto/samples-auth_key.
        let mut packet = vec![0; 8];
        packet.extend(0x51e5_7ac9_1e83_c801_i64.to_le_bytes());
        packet.extend([2, 0, 0, 0, 7, 8]);
        let answer = unpack(&packet).unwrap();
        let time = UnixMillis(0x51e5_7ac9 * 1_000 + 119);
        assert_eq!(answer, Answer { time, body: vec![7, 8] });
        assert!(matches!(unpack(&(-404_i32).to_le_bytes()), Err(PlainError::Refused(-404))));
        assert!(matches!(unpack(&packet[..21]), Err(PlainError::Malformed)));
    }

    proptest! {
        #[test]
        fn what_is_packed_is_read_again(seconds in 1_i64..1 << 31, body in any::<Vec<u8>>()) {
            let id = next_id(0, UnixMillis(seconds * 1_000));
            let answer = unpack(&packet(id, &body)[4..]).unwrap();
            prop_assert_eq!(answer, Answer { time: UnixMillis(seconds * 1_000), body });
        }

        #[test]
        fn ids_rise_whatever_the_clock_does(times in prop::collection::vec(0_i64..1 << 41, 1..20)) {
            let mut last = 0;
            for now in times {
                let next = next_id(last, UnixMillis(now));
                prop_assert!(next > last && next % 4 == 0);
                last = next;
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_a_clear_error(bytes in any::<Vec<u8>>()) {
            let _ = unpack(&bytes);
        }
    }
}
