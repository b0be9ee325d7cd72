//! Random numbers. The only room that draws them from the machine. A tree is handed its [`Chance`], so that a test
//! can repeat what happened. What must not be guessed (keys, secrets, nonces) comes from [`secret`] alone, or from
//! the cipher's own generator (`store/keys/seal.rs`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::distr::{Distribution, StandardUniform};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use uuid::{Builder, Uuid};
use zeroize::Zeroizing;

use crate::protocol::values::ids::UnixMillis;

/// The random numbers of one tree, for jitter and for names that only have to differ. Cheap to clone.
#[derive(Clone)]
pub struct Chance {
    /// `None`: the machine's.
    seeded: Option<Arc<Mutex<StdRng>>>,
    /// The millisecond of the newest id, and its number within it.
    newest_id: Arc<Mutex<(u64, u16)>>,
}

impl Chance {
    /// The machine's.
    pub fn system() -> Self {
        Self { seeded: None, newest_id: Arc::default() }
    }

    /// The same ones each time, for tests.
    pub fn seeded(seed: u64) -> Self {
        let seeded = Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))));
        Self { seeded, newest_id: Arc::default() }
    }

    /// Any value.
    pub fn any<T>(&self) -> T
    where
        StandardUniform: Distribution<T>,
    {
        match &self.seeded {
            None => drawn(),
            Some(rng) => rng.lock().unwrap_or_else(PoisonError::into_inner).random(),
        }
    }

    /// A number in 0..1 that pauses are varied by.
    pub fn jitter(&self) -> f64 {
        self.any()
    }

    /// An id that nothing else has, in the order in which they are made, also within a millisecond and whatever
    /// the clock does (version 7 of RFC 9562, with a counter as in its section 6.2, method 1).
    pub fn id(&self, at: UnixMillis) -> Uuid {
        let mut bytes: [u8; 10] = self.any();
        // Half of the numbers of a millisecond are left for those that follow.
        let first = u16::from_be_bytes([bytes[0], bytes[1]]) & 0x07ff;
        let mut newest = self.newest_id.lock().unwrap_or_else(PoisonError::into_inner);
        let (millis, number) = *newest;
        *newest = match u64::try_from(at.0).unwrap_or(0) {
            later if later > millis => (later, first),
            _ if number < 0x0fff => (millis, number + 1),
            _ => (millis + 1, first),
        };
        let (millis, number) = *newest;
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid()
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

/// Bytes that nobody can guess, and that are wiped when they are dropped.
#[expect(clippy::disallowed_methods, reason = "the one place that draws them")]
pub fn secret<const N: usize>() -> Zeroizing<[u8; N]> {
    // Filled where it is wiped: a value that is moved may leave a copy behind.
    let mut bytes = Zeroizing::new([0; N]);
    rand::rng().fill_bytes(&mut bytes[..]);
    bytes
}

/// A number in 0..1 that pauses are varied by, for what belongs to no tree: links to the broker and to Telegram.
pub fn jitter() -> f64 {
    drawn()
}

/// An id for what belongs to no tree: a request, a dead letter. In the order of time, as [`Chance::id`].
#[expect(clippy::disallowed_methods, reason = "the one place that makes them of the machine's")]
pub fn id() -> Uuid {
    Uuid::now_v7()
}

#[expect(clippy::disallowed_methods, reason = "the one place that draws them")]
fn drawn<T>() -> T
where
    StandardUniform: Distribution<T>,
{
    rand::random()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_what_happened_and_machines_differ() {
        let drawn = |chance: Chance| -> [u64; 4] { std::array::from_fn(|_| chance.any()) };
        assert_eq!(drawn(Chance::seeded(7)), drawn(Chance::seeded(7)));
        assert_ne!(drawn(Chance::seeded(7)), drawn(Chance::seeded(8)));
        assert_ne!(drawn(Chance::system()), drawn(Chance::system()));
    }

    #[test]
    fn ids_are_in_the_order_of_time_and_say_when() {
        let chance = Chance::seeded(3);
        let [first, second] =
            [1_700_000_000_000, 1_700_000_000_001].map(|at| chance.id(UnixMillis(at)));
        assert!(first < second);
        assert_eq!(first.get_version_num(), 7);
        let (seconds, nanos) = first.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (1_700_000_000, 0));
    }

    #[test]
    fn ids_rise_within_a_millisecond_and_when_the_clock_is_set_back() {
        let chance = Chance::seeded(4);
        let at = |number: i64| UnixMillis(1_700_000_000_000 - number / 5_000);
        let ids: Vec<Uuid> = (0..10_000).map(|number| chance.id(at(number))).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn jitter_is_a_share() {
        let chance = Chance::seeded(1);
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&chance.jitter())));
    }
}
