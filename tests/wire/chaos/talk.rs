//! The steady stream of messages in all chats, and when each was said.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use telewarden_simulator::Simulator;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Time between two messages of the stream, all chats together.
const PAUSE_MS: std::ops::Range<u64> = 10..70;

/// When which text was said in which chat.
pub(super) type Said = HashMap<(usize, String), Instant>;

/// Whoever says something says it here.
pub(super) struct Talk<'a> {
    sim: &'a Simulator,
    author: i64,
    chats: Vec<i64>,
    said: Mutex<Said>,
}

impl<'a> Talk<'a> {
    pub(super) fn new(sim: &'a Simulator, author: i64, chats: Vec<i64>) -> Self {
        Self { sim, author, chats, said: Mutex::default() }
    }

    /// Says something new in a chat.
    pub(super) async fn say(&self, chat: usize) {
        let text = {
            let mut said = self.said.lock().expect("the list");
            let text = said.len().to_string();
            said.insert((chat, text.clone()), Instant::now());
            text
        };
        self.sim.post(self.chats[chat], self.author, &text).await.expect("a message is posted");
    }

    /// Says something now here, now there, until it is stopped.
    pub(super) async fn chatter(&self, seed: u64, stop: &CancellationToken) {
        let mut random = StdRng::seed_from_u64(seed);
        while !stop.is_cancelled() {
            self.say(random.random_range(0..self.chats.len())).await;
            sleep(Duration::from_millis(random.random_range(PAUSE_MS))).await;
        }
    }

    /// Everything said.
    pub(super) fn into_said(self) -> Said {
        self.said.into_inner().expect("the list")
    }
}
