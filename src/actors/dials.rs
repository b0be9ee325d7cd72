//! When an account may dial: so many at once to one datacenter, and so many a second in all. Owns
//! the permits; a thousand accounts that want to dial together become a queue, unless nobody is
//! answered where they want to go.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::sleep;

use crate::protocol::failure::Failure;

/// Dials under way at once to one datacenter, in all accounts together: with [`PER_SECOND`] as many
/// as begin while a dial takes a second, which is long for its three round trips. A datacenter that
/// does not answer keeps dials to the others waiting for nothing.
const AT_ONCE_MAX: usize = 256;
/// Dials begun within a second, in all accounts together: 10,000 accounts are back within 40 s of a
/// start, and it does not look like an attack.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(250).expect("it is not zero");
/// Dials that may begin at once after a quiet time.
const BURST: NonZeroU32 = NonZeroU32::new(64).expect("it is not zero");

/// Dials in a row to a datacenter that nobody answered, after which those in line are told so
/// instead of waiting for their turn: as many as may be under way at once.
const SILENT_MAX: usize = AT_ONCE_MAX;

/// The permits of all accounts.
#[derive(Debug)]
pub(super) struct Dials {
    by_datacenter: Mutex<HashMap<i32, Arc<Datacenter>>>,
    starts: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

#[derive(Debug)]
struct Datacenter {
    permits: Arc<Semaphore>,
    /// Dials in a row that nobody answered.
    silent: watch::Sender<usize>,
}

impl Default for Datacenter {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Self { permits, silent: watch::Sender::new(0) }
    }
}

/// The right to dial. Dropped without a word it says nothing about the datacenter.
#[derive(Debug)]
pub(super) struct DialPermit {
    datacenter: Arc<Datacenter>,
    _permit: OwnedSemaphorePermit,
}

impl DialPermit {
    /// The dial ended; `is_answered` when the datacenter said anything, be it a refusal.
    pub(super) fn ended(self, is_answered: bool) {
        self.datacenter.silent.send_modify(|silent| {
            *silent = if is_answered { 0 } else { silent.saturating_add(1) };
        });
    }
}

impl Default for Dials {
    fn default() -> Self {
        Self {
            by_datacenter: Mutex::default(),
            starts: RateLimiter::direct(Quota::per_second(PER_SECOND).allow_burst(BURST)),
            clock: DefaultClock::default(),
        }
    }
}

impl Dials {
    /// Waits for the right to dial datacenter `dc_id`.
    ///
    /// # Errors
    /// [`Failure::Transient`] instead of a place in line at a datacenter that answers nobody: those
    /// whose turn it is try it, and the others' monitors move on to their next session.
    pub(super) async fn begin(&self, dc_id: i32) -> Result<DialPermit, Failure> {
        let datacenter = {
            let mut all = self.by_datacenter.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(dc_id).or_default())
        };
        let permits = Arc::clone(&datacenter.permits);
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let mut silent = datacenter.silent.subscribe();
                tokio::select! {
                    permit = permits.acquire_owned() => {
                        permit.map_err(|_| Failure::transient("the daemon is stopping"))?
                    }
                    _ = silent.wait_for(|silent| *silent >= SILENT_MAX) => {
                        return Err(Failure::transient(format!(
                            "datacenter {dc_id} answers nobody: the last {SILENT_MAX} dials failed"
                        )));
                    }
                }
            }
        };
        while let Err(not_until) = self.starts.check() {
            sleep(not_until.wait_time_from(self.clock.now())).await;
        }
        Ok(DialPermit { datacenter, _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_crowd_dials_at_the_rate_and_not_at_once() {
        let dials = Dials::default();
        let began = Instant::now();
        let crowd = (0..BURST.get() + 50).map(|number| {
            let dials = &dials;
            // Several datacenters, so that only the rate holds them back.
            async move { drop(dials.begin(number as i32 % 4).await.unwrap()) }
        });
        join_all(crowd).await;
        let least = Duration::from_secs(1) * 49 / PER_SECOND.get();
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_datacenter_that_does_not_answer_holds_up_its_own_dials_only() {
        let dials = Dials::default();
        let mut stuck = Vec::new();
        for _ in 0..AT_ONCE_MAX {
            stuck.push(dials.begin(2).await.unwrap());
        }
        assert!(timeout(Duration::from_millis(20), dials.begin(2)).await.is_err());
        assert!(timeout(Duration::from_secs(10), dials.begin(4)).await.is_ok());
        stuck.pop();
        assert!(timeout(Duration::from_secs(10), dials.begin(2)).await.is_ok());
    }

    #[tokio::test]
    async fn in_line_at_a_datacenter_that_answers_nobody_one_is_told_so() {
        let dials = Dials::default();
        for _ in 0..SILENT_MAX {
            dials.begin(2).await.unwrap().ended(false);
        }
        let mut under_way = Vec::new();
        for _ in 0..AT_ONCE_MAX {
            under_way.push(dials.begin(2).await.expect("there is no line"));
        }
        let told = timeout(Duration::from_secs(10), dials.begin(2)).await.expect("nobody waits");
        let error = told.map(drop).unwrap_err().to_string();
        assert!(error.contains("datacenter 2 answers nobody"), "{error}");
        under_way.pop().unwrap().ended(true);
        under_way.push(dials.begin(2).await.unwrap());
        let waits = timeout(Duration::from_millis(20), dials.begin(2)).await;
        assert!(waits.is_err(), "there is a line again");
    }
}
