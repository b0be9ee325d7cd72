//! When somebody may dial: so many at once to one datacenter, so many a second in all, and each key only
//! so often. Owns the permits; a thousand accounts that want to dial together become a queue, unless
//! nobody is answered where they want to go. Accounts and logins have a line each, and the lines are
//! served by turns: a crowd in one does not hold up the other.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::Quota;
use governor::clock::Clock;
use tokio::sync::{Mutex as Line, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};

use crate::actors::accounts::context::AccountsContext;
use crate::clock::{DirectLimiter, RuntimeClock, instant, limiter};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::tree::pace::{Pace, PacePolicy};
use crate::protocol::tree::restart::Backoff;
use crate::protocol::values::ids::AuthKeyId;
use crate::telegram::{DialGate, DialRight};

/// Dials under way at once to one datacenter, in all accounts together: with [`PER_SECOND`] as many
/// as begin while a dial takes a second, which is long for its three round trips. A datacenter that
/// does not answer keeps dials to the others waiting for nothing.
const AT_ONCE_MAX: usize = 256;
/// Dials begun within a second, in all accounts together: 10,000 accounts are back within 40 s of a
/// start, and it does not look like an attack.
const PER_SECOND: NonZeroU32 = NonZeroU32::new(250).expect("it is not zero");
/// Dials that may begin at once after a quiet time.
const BURST: NonZeroU32 = NonZeroU32::new(64).expect("it is not zero");

/// Dials in a row to a datacenter that nobody answered, after which those who wait are told so
/// instead of waiting for their turn: as many as may be under way at once.
const SILENT_MAX: usize = AT_ONCE_MAX;

/// How often one key is dialled, whoever wants it: monitors that come and go, users who reconnect, a
/// server that ends every connection. Below the pauses of the account's own backoff, which it begins
/// anew whenever somebody wants the account.
const PER_KEY: PacePolicy =
    PacePolicy { free: 3, floor: Backoff { min_ms: 250, max_ms: 30_000 }, calm_ms: 60_000 };
/// Keys whose pace is remembered before those are forgotten that are calm: about 100 bytes each.
const PACES_MIN: usize = 1_024;

/// Who dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Dialler {
    /// An account.
    Account,
    /// A login, or whoever ends a session.
    Login,
}

/// The permits of all accounts and logins.
#[derive(Debug)]
pub(in crate::actors) struct DialLimiter {
    by_datacenter: Mutex<HashMap<i32, Arc<Datacenter>>>,
    lines: Lines,
    /// Whose turn it is: the heads of the two lines.
    turn: Line<()>,
    starts: DirectLimiter,
    clock: RuntimeClock,
    paces: Mutex<Paces>,
    began: Instant,
}

/// Two lines, of which only the heads wait for what is scarce, first come first served.
#[derive(Debug, Default)]
struct Lines {
    accounts: Line<()>,
    logins: Line<()>,
}

impl Lines {
    fn of(&self, dialler: Dialler) -> &Line<()> {
        match dialler {
            Dialler::Account => &self.accounts,
            Dialler::Login => &self.logins,
        }
    }
}

/// How often each key was dialled of late.
#[derive(Debug, Default)]
struct Paces {
    by_key: HashMap<AuthKeyId, Pace>,
    /// At how many the calm ones are forgotten.
    sweep_at: usize,
}

#[derive(Debug)]
struct Datacenter {
    permits: Arc<Semaphore>,
    lines: Lines,
    /// Dials in a row that nobody answered.
    silent: watch::Sender<usize>,
}

impl Default for Datacenter {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(AT_ONCE_MAX));
        Self { permits, lines: Lines::default(), silent: watch::Sender::new(0) }
    }
}

/// The right to dial. Dropped without a word it says nothing about the datacenter.
#[derive(Debug)]
pub(in crate::actors) struct DialPermit {
    datacenter: Arc<Datacenter>,
    _permit: OwnedSemaphorePermit,
}

impl DialPermit {
    /// The dial ended; `is_answered` when the datacenter said anything, be it a refusal.
    pub(in crate::actors) fn ended(self, is_answered: bool) {
        self.datacenter.silent.send_modify(|silent| {
            *silent = if is_answered { 0 } else { silent.saturating_add(1) };
        });
    }
}

impl Default for DialLimiter {
    fn default() -> Self {
        Self {
            by_datacenter: Mutex::default(),
            lines: Lines::default(),
            turn: Line::default(),
            paces: Mutex::default(),
            began: instant(),
            starts: limiter(Quota::per_second(PER_SECOND).allow_burst(BURST)),
            clock: RuntimeClock,
        }
    }
}

impl DialLimiter {
    /// Waits for the right to dial datacenter `dc_id` with `key`, if that is known already.
    ///
    /// # Errors
    /// [`Failure::Transient`] instead of a place in the queue of a datacenter that answers nobody: those
    /// whose turn it is try it, and the others' monitors move on to their next session.
    pub(in crate::actors) async fn begin(
        &self,
        dialler: Dialler,
        dc_id: i32,
        key: Option<AuthKeyId>,
    ) -> Result<DialPermit, Failure> {
        let pause = key.map_or(Duration::ZERO, |key| self.pause_of(key));
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let datacenter = {
            let mut all = self.by_datacenter.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(dc_id).or_default())
        };
        let permit = datacenter.permit(dialler, dc_id).await?;
        let _line = self.lines.of(dialler).lock().await;
        let _turn = self.turn.lock().await;
        while let Err(not_until) = self.starts.check() {
            sleep(not_until.wait_time_from(self.clock.now())).await;
        }
        drop((_turn, _line));
        Ok(DialPermit { datacenter, _permit: permit })
    }

    /// How long this key has to wait for its next dial.
    fn pause_of(&self, key: AuthKeyId) -> Duration {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_millis(paces.pause_ms(key, now))
    }
}

impl Paces {
    fn pause_ms(&mut self, key: AuthKeyId, now: u64) -> u64 {
        if self.by_key.len() >= self.sweep_at {
            self.by_key.retain(|_, pace| !pace.is_calm(now));
            self.sweep_at = PACES_MIN.max(self.by_key.len().saturating_mul(2));
        }
        self.by_key.entry(key).or_insert_with(|| Pace::new(PER_KEY)).pause_ms(now)
    }
}

impl Datacenter {
    /// Waits for one of those who may dial it at once.
    async fn permit(&self, dialler: Dialler, dc_id: i32) -> Result<OwnedSemaphorePermit, Failure> {
        let mut silent = self.silent.subscribe();
        let in_line = async {
            let _line = self.lines.of(dialler).lock().await;
            Arc::clone(&self.permits).acquire_owned().await
        };
        // Whoever is at the head and finds a permit takes it, be nobody answered there.
        tokio::select! {
            biased;
            permit = in_line => permit.map_err(|_| Failure::transient("the daemon is stopping")),
            _ = silent.wait_for(|silent| *silent >= SILENT_MAX) => {
                Err(Failure::transient(format!(
                    "datacenter {dc_id} answers nobody: the last {SILENT_MAX} dials failed"
                )))
            }
        }
    }
}

/// Has logins take their place in the queue.
pub(in crate::actors) fn gate(context: &Arc<AccountsContext>) -> DialGate {
    let context = Arc::downgrade(context);
    DialGate::new(move |dc_id, key| {
        let context = context.upgrade();
        Box::pin(async move {
            let Some(context) = context else {
                return Err(Failure::transient("the daemon is stopping"));
            };
            let permit = context.dial_limiter.begin(Dialler::Login, dc_id, key).await?;
            Ok(Box::new(permit) as Box<dyn DialRight>)
        })
    })
}

impl DialRight for DialPermit {
    fn ended(self: Box<Self>, is_answered: bool) {
        DialPermit::ended(*self, is_answered);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_crowd_dials_at_the_rate_and_not_at_once() {
        let dial_limiter = DialLimiter::default();
        let began = Instant::now();
        let crowd = (0..BURST.get() + 50).map(|number| {
            let dial_limiter = &dial_limiter;
            // Several datacenters, so that only the rate holds them back.
            async move {
                drop(dial_limiter.begin(Dialler::Account, number as i32 % 4, None).await.unwrap())
            }
        });
        join_all(crowd).await;
        let least = Duration::from_secs(1) * 49 / PER_SECOND.get();
        assert!(began.elapsed() >= least, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_datacenter_that_does_not_answer_holds_up_its_own_dials_only() {
        let dial_limiter = DialLimiter::default();
        let mut stuck = Vec::new();
        for _ in 0..AT_ONCE_MAX {
            stuck.push(dial_limiter.begin(Dialler::Account, 2, None).await.unwrap());
        }
        assert!(
            timeout(Duration::from_millis(20), dial_limiter.begin(Dialler::Account, 2, None))
                .await
                .is_err()
        );
        assert!(
            timeout(Duration::from_secs(10), dial_limiter.begin(Dialler::Account, 4, None))
                .await
                .is_ok()
        );
        stuck.pop();
        assert!(
            timeout(Duration::from_secs(10), dial_limiter.begin(Dialler::Account, 2, None))
                .await
                .is_ok()
        );
    }

    /// Logins begun behind a crowd of accounts, and the other way round, are served by turns with it.
    #[tokio::test]
    async fn a_crowd_of_one_kind_does_not_hold_up_the_other() {
        for (crowd, few) in [(Dialler::Account, Dialler::Login), (Dialler::Login, Dialler::Account)]
        {
            let dial_limiter = DialLimiter::default();
            let order = Mutex::new(Vec::new());
            let dial = async |who: Dialler| {
                drop(dial_limiter.begin(who, 2, None).await.unwrap());
                order.lock().unwrap().push(who);
            };
            // First those who find no line; the rest of the crowd waits when the few come.
            let mut waiting: Vec<_> = (0..BURST.get() + 60).map(|_| dial(crowd)).collect();
            waiting.extend((0..20).map(|_| dial(few)));
            join_all(waiting).await;
            let order = order.into_inner().unwrap();
            let last = order.iter().rposition(|who| *who == few).unwrap();
            assert!(last <= BURST.get() as usize + 2 * 20 + 2, "the last of the few was {last}th");
        }
    }

    #[test]
    fn a_key_is_dialled_ever_more_slowly_while_somebody_wants_it_again_and_again() {
        let (mut paces, mut now, mut count) = (Paces::default(), 0, 0);
        while now < 600_000 {
            now += paces.pause_ms(AuthKeyId(1), now) + 10;
            count += 1;
        }
        assert!((20..50).contains(&count), "{count} dials in ten minutes");
        assert_eq!(paces.pause_ms(AuthKeyId(2), now), 0, "others do not wait for it");
        assert_eq!(paces.pause_ms(AuthKeyId(1), now + 2 * PER_KEY.calm_ms), 0);
    }

    #[test]
    fn only_keys_that_are_dialled_often_are_remembered() {
        let mut paces = Paces::default();
        for number in 0..100_000_u64 {
            paces.pause_ms(AuthKeyId(number), number * 100);
        }
        assert!(paces.by_key.len() <= 2 * PACES_MIN, "{}", paces.by_key.len());
    }

    #[tokio::test]
    async fn in_line_at_a_datacenter_that_answers_nobody_one_is_told_so() {
        let dial_limiter = DialLimiter::default();
        for _ in 0..SILENT_MAX {
            dial_limiter.begin(Dialler::Account, 2, None).await.unwrap().ended(false);
        }
        let mut under_way = Vec::new();
        for _ in 0..AT_ONCE_MAX {
            under_way.push(
                dial_limiter.begin(Dialler::Account, 2, None).await.expect("there is no line"),
            );
        }
        let told = timeout(Duration::from_secs(10), dial_limiter.begin(Dialler::Account, 2, None))
            .await
            .expect("nobody waits");
        let error = told.map(drop).unwrap_err().to_string();
        assert!(error.contains("datacenter 2 answers nobody"), "{error}");
        under_way.pop().unwrap().ended(true);
        under_way.push(dial_limiter.begin(Dialler::Account, 2, None).await.unwrap());
        let waits =
            timeout(Duration::from_millis(20), dial_limiter.begin(Dialler::Account, 2, None)).await;
        assert!(waits.is_err(), "there is a line again");
    }
}
