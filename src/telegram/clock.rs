//! How far this machine's clock is ahead of Telegram's. Servers take no message whose id, which is
//! made of the time, lies more than 30 s ahead of theirs
//! (<https://core.telegram.org/mtproto/service_messages_about_messages>, code 17); the library sends
//! such a message again and again with rising ids, and all that its caller sees is silence.
//!
//! Asks with the first, unencrypted step of a key exchange, which is answered whatever the time and
//! by a message id that tells the server's. Nothing is exchanged, no session is named, and a server
//! is asked seldom: a thousand sessions that meet silence share one answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use grammers_client::tl::{self, Serializable};
use tokio::time::timeout;

use super::plain::{PlainError, PlainLink};

/// How long the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer, or its absence, is good for.
const ASK_EVERY: Duration = Duration::from_secs(5 * 60);
/// What a server takes, seconds.
const AHEAD_MAX: i64 = 30;
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

async fn server_time(address: SocketAddr) -> Result<i64, PlainError> {
    let question = tl::functions::ReqPqMulti { nonce: rand::random() };
    Ok(PlainLink::connect(address).await?.ask(&question.to_bytes()).await?.time)
}

fn seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// The tag of the transport, then a packet of length, head, constructor and nonce.
    const QUESTION: usize = 4 + 4 + HEAD + 4 + 16;
    const HEAD: usize = 20;

    /// A server that knows one answer.
    async fn server(ahead_of_us: i64) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; QUESTION];
            stream.read_exact(&mut asked).await.unwrap();
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
}
