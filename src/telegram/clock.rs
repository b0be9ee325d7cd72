//! Telegram's clock, and how far this machine's is ahead of it. Servers take no message whose id,
//! which is made of the time, lies more than 30 s ahead of theirs
//! (<https://core.telegram.org/mtproto/service_messages_about_messages>, code 17); the library sends
//! such a message again and again with rising ids, and all that its caller sees is silence.
//!
//! Asks with the first, unencrypted step of a key exchange, which is answered whatever the time and
//! by a message id that tells the server's, to parts of a second
//! (<https://core.telegram.org/mtproto/description#message-identifier-msg-id>). Nothing is exchanged,
//! no session is named, and a server is asked seldom: a thousand sessions share one answer. All of
//! Telegram's servers are taken to show the same time. What follows from it is decided in
//! `protocol/telegram/server_time.rs`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use grammers_client::tl::{self, Serializable};
use tokio::time::timeout;

use super::plain::{PlainError, PlainLink};
use crate::chance;
use crate::clock::Clock;
use crate::clock::instant;
use crate::protocol::telegram::server_time::{AHEAD_MAX_MS, ClockReading, SteadyMillis};
use crate::protocol::values::ids::UnixMillis;

/// How long the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer, or its absence, is good for to whoever meets silence.
const ASK_EVERY: Duration = Duration::from_secs(5 * 60);
/// After a reading failed, none is tried for this long.
const FAILED_PAUSE: Duration = Duration::from_secs(30);

/// What is known of Telegram's clock. Cheap to clone; all clones share it.
#[derive(Clone, Debug)]
pub struct Clocks(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    here: Clock,
    known: Mutex<Known>,
    /// Held by the one who takes a reading, so that the others wait for it.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// When each server was asked last on account of its silence, and by how many seconds we were
    /// too far ahead.
    silent: HashMap<SocketAddr, (Instant, Option<i64>)>,
    /// The newest reading.
    reading: Option<ClockReading>,
    /// When one failed last.
    failed: Option<Instant>,
}

impl Clocks {
    /// Nothing is known yet; `here` is this machine's clock.
    pub fn new(here: Clock) -> Self {
        Self(Arc::new(Shared { here, known: Mutex::default(), reading: Default::default() }))
    }

    /// This machine's clock.
    pub(super) fn here(&self) -> &Clock {
        &self.0.here
    }

    /// What time it is at Telegram, or a little earlier; `None` while that is not known, because
    /// no server was asked within the last ten minutes, or since our clock was set.
    pub fn telegrams_now(&self) -> Option<UnixMillis> {
        self.all().reading?.telegrams_now(self.0.here.moment())
    }

    /// The same as well as it can be told; `None` while no server was ever asked.
    pub fn telegrams_now_roughly(&self) -> Option<UnixMillis> {
        Some(self.all().reading?.telegrams_now_roughly(self.0.here.steady()))
    }

    /// The moment of Telegram's clock at which ours showed `wall`, and the steady one `steady` if
    /// that was noted. `None` while Telegram's time is not known.
    pub fn telegrams_moment(
        &self,
        wall: UnixMillis,
        steady: Option<SteadyMillis>,
    ) -> Option<UnixMillis> {
        self.telegrams_now()?;
        Some(self.all().reading?.telegrams_moment(wall, steady))
    }

    /// Sees to it that Telegram's time is known, if the server at `address` answers.
    pub(super) async fn learn(&self, address: SocketAddr) {
        let _turn = self.0.reading.lock().await;
        let has_failed = self.all().failed.is_some_and(|at| at.elapsed() < FAILED_PAUSE);
        if has_failed || self.telegrams_now().is_some() {
            return;
        }
        if self.read(address).await.is_none() {
            self.all().failed = Some(instant());
        }
    }

    /// Takes a reading.
    async fn read(&self, address: SocketAddr) -> Option<ClockReading> {
        let telegram =
            timeout(ANSWER_TIMEOUT, server_time(address, self.here())).await.ok()?.ok()?;
        let reading = ClockReading { telegram, here: self.0.here.moment() };
        let mut all = self.all();
        (all.reading, all.failed) = (Some(reading), None);
        Some(reading)
    }

    /// By how many seconds this machine is ahead of the server at `address`, when that is too far
    /// for it to take our messages. Asks it unless that was done within [`ASK_EVERY`].
    pub(super) async fn too_far_ahead(&self, address: SocketAddr) -> Option<i64> {
        if let Some(known) = self.begin(address) {
            return known;
        }
        let ClockReading { telegram, here } = self.read(address).await?;
        let ahead = here.wall.0 - telegram.0;
        let ahead = (ahead > AHEAD_MAX_MS).then_some(ahead / 1_000);
        self.all().silent.insert(address, (instant(), ahead));
        ahead
    }

    /// What is known; if that is nothing, the caller is the one who asks.
    fn begin(&self, address: SocketAddr) -> Option<Option<i64>> {
        let mut all = self.all();
        let known = all.silent.get(&address).filter(|(at, _)| at.elapsed() < ASK_EVERY);
        let known = known.map(|(_, ahead)| *ahead);
        if known.is_none() {
            all.silent.insert(address, (instant(), None));
        }
        known
    }

    fn all(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn server_time(address: SocketAddr, here: &Clock) -> Result<UnixMillis, PlainError> {
    let question = tl::functions::ReqPqMulti { nonce: *chance::secret() };
    Ok(PlainLink::connect(address, here).await?.ask(&question.to_bytes()).await?.time)
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
            let id = (Clock::system().now().seconds() + ahead_of_us) << 32 | 1;
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
        let (clocks, address) = (Clocks::new(Clock::system()), server(-300).await);
        let ahead = clocks.too_far_ahead(address).await.unwrap();
        assert!((299..=303).contains(&ahead), "{ahead}");
        // The server takes one connection only.
        assert_eq!(clocks.too_far_ahead(address).await, Some(ahead), "it is not asked again");
        // A clock that is behind is put right by the library.
        for fine in [300, 0, -20] {
            assert_eq!(clocks.too_far_ahead(server(fine).await).await, None, "{fine}");
        }
    }

    #[tokio::test]
    async fn one_answer_tells_the_time_to_all_and_when_things_happened_here() {
        let clocks = Clocks::new(Clock::system());
        assert_eq!(clocks.telegrams_now(), None);
        let then = Clock::system().moment();
        let address = server(100).await;
        // The server takes one connection only.
        tokio::join!(clocks.learn(address), clocks.learn(address), clocks.learn(address));
        let ahead = clocks.telegrams_now().unwrap().0 - Clock::system().now().0;
        assert!((98_000..=100_000).contains(&ahead), "{ahead}");
        let moment = clocks.telegrams_moment(then.wall, Some(then.steady)).unwrap();
        let ahead = moment.0 - then.wall.0;
        assert!((98_000..=100_000).contains(&ahead), "{ahead}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_left_alone_for_a_while() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clocks = Clocks::new(Clock::system());
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn({
            let clocks = clocks.clone();
            async move { clocks.learn(address).await }
        });
        drop(listener.accept().await.unwrap());
        asked.await.unwrap();
        assert_eq!(clocks.telegrams_now(), None);
        clocks.learn(address).await;
        let second = timeout(Duration::from_millis(100), listener.accept()).await;
        assert!(second.is_err(), "it is asked again at once");
    }
}
