//! How far this machine's clock is ahead of Telegram's. Servers take no message whose id, which is
//! made of the time, lies more than 30 s ahead of theirs
//! (<https://core.telegram.org/mtproto/service_messages_about_messages>, code 17); the library sends
//! such a message again and again with rising ids, and all that its caller sees is silence.
//!
//! Asks with the first, unencrypted step of a key exchange, which is answered whatever the time and
//! by a message id that tells the server's. Nothing is exchanged, no session is named, and a server
//! is asked seldom: a thousand sessions that meet silence share one answer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grammers_client::tl::{self, Serializable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer, or its absence, is good for.
const ASK_EVERY: Duration = Duration::from_secs(5 * 60);
/// What a server takes, seconds.
const AHEAD_MAX: i64 = 30;
/// Marks a connection whose packets begin with their length
/// (<https://core.telegram.org/mtproto/mtproto-transports#intermediate>).
const INTERMEDIATE: u32 = 0xeeee_eeee;
/// An unencrypted message begins with the key id 0, its id and its length.
const HEAD: usize = 20;
/// More is no answer to what was asked.
const ANSWER_MAX: usize = 4096;

/// What is known of each server's clock. Cheap to clone; all clones share it.
#[derive(Clone, Debug, Default)]
pub struct Clocks(Arc<Mutex<Known>>);

/// When each server was asked last, and by how many seconds we were too far ahead.
type Known = HashMap<SocketAddr, (Instant, Option<i64>)>;

impl Clocks {
    /// By how many seconds this machine is ahead of the server at `address`, when that is too far
    /// for it to take our messages. Asks it unless that was done within [`ASK_EVERY`].
    pub(super) async fn too_far_ahead(&self, address: SocketAddr) -> Option<i64> {
        if let Some(known) = self.begin(address) {
            return known;
        }
        let theirs = timeout(ANSWER_TIMEOUT, server_time(address)).await.ok()?.ok()?;
        let ahead = Some(seconds() - theirs).filter(|ahead| *ahead > AHEAD_MAX);
        self.all().insert(address, (Instant::now(), ahead));
        ahead
    }

    /// What is known; if that is nothing, the caller is the one who asks.
    fn begin(&self, address: SocketAddr) -> Option<Option<i64>> {
        let mut all = self.all();
        let known = all.get(&address).filter(|(at, _)| at.elapsed() < ASK_EVERY);
        let known = known.map(|(_, ahead)| *ahead);
        if known.is_none() {
            all.insert(address, (Instant::now(), None));
        }
        known
    }

    fn all(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn server_time(address: SocketAddr) -> io::Result<i64> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&question()).await?;
    let length = stream.read_u32_le().await? as usize;
    if !(HEAD..=ANSWER_MAX).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    told_time(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn question() -> Vec<u8> {
    let nonce: [u8; 16] = rand::random();
    let body = tl::functions::ReqPqMulti { nonce }.to_bytes();
    let mut packet = Vec::with_capacity(8 + HEAD + body.len());
    packet.extend(INTERMEDIATE.to_le_bytes());
    packet.extend(((HEAD + body.len()) as u32).to_le_bytes());
    packet.extend(0_i64.to_le_bytes());
    packet.extend((seconds() << 32).to_le_bytes());
    packet.extend((body.len() as u32).to_le_bytes());
    packet.extend(body);
    packet
}

/// The time in an unencrypted answer's message id.
fn told_time(answer: &[u8]) -> Option<i64> {
    let (key_id, rest) = answer.split_first_chunk::<8>()?;
    let (message_id, _) = rest.split_first_chunk::<8>()?;
    let time = i64::from_le_bytes(*message_id) >> 32;
    (*key_id == [0; 8] && time > 0).then_some(time)
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that knows one answer.
    async fn server(ahead_of_us: i64) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; question().len()];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked[..4], INTERMEDIATE.to_le_bytes());
            let id = (seconds() + ahead_of_us) << 32 | 1;
            let mut answer = (HEAD as u32).to_le_bytes().to_vec();
            answer.extend(0_i64.to_le_bytes());
            answer.extend(id.to_le_bytes());
            answer.extend([0; 4]);
            stream.write_all(&answer).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn only_a_clock_that_is_too_far_ahead_is_named() {
        let (clocks, address) = (Clocks::default(), server(-300).await);
        let ahead = clocks.too_far_ahead(address).await.unwrap();
        assert!((299..=303).contains(&ahead), "{ahead}");
        // The server takes one connection only.
        assert_eq!(clocks.too_far_ahead(address).await, Some(ahead), "it is not asked again");
        // A clock that is behind is put right by the library.
        for fine in [300, 0, -20] {
            assert_eq!(clocks.too_far_ahead(server(fine).await).await, None, "{fine}");
        }
    }

    #[test]
    fn what_is_no_answer_tells_no_time() {
        assert_eq!(told_time(&[0; 12]), None);
        assert_eq!(told_time(&[0; 20]), None);
        assert_eq!(told_time(&[1; 20]), None);
    }
}
