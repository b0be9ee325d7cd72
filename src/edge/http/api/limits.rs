//! How many requests a user may make in a minute, and an address without a valid token. Owns the
//! buckets; memory is bounded by housekeeping, since a full bucket need not be remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::{RuntimeClock, instant};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::users::owner::UserId;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Full buckets are forgotten after this many requests of a kind.
const HOUSEKEEPING_EVERY: u32 = 4096;

/// Requests a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Of one user, for connecting accounts.
    pub connect: u32,
    /// Of one user, for sending messages.
    pub send: u32,
    /// Of one user, for changing anything else: how many there may be at once, and how many a minute
    /// come back. Each is a line in the audit log, which is kept for a year.
    pub change: ChangeLimit,
    /// Of one user, for everything else.
    pub other: u32,
    /// Of one address, without a valid token.
    pub unauthorized: u32,
}

/// Changes of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangeLimit {
    /// At once.
    pub burst: u32,
    /// A minute.
    pub per_minute: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        let change = ChangeLimit { burst: 1000, per_minute: 20 };
        Self { connect: 10, send: 100, change, other: 1000, unauthorized: 6000 }
    }
}

/// Kinds of request, each with a bucket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Connecting an account.
    Connect,
    /// Sending a message.
    Send,
    /// Changing something else, or taking data along: what the audit log tells of.
    Change,
    /// Everything else.
    Other,
}

impl Class {
    /// What a request of `method` to the route with this template is.
    pub(super) fn of(method: &Method, route: &str) -> Self {
        match *method {
            Method::POST if route.contains("/connect/") => Self::Connect,
            Method::POST if route.ends_with("/messages") => Self::Send,
            // It sends a message, too.
            Method::POST if route.ends_with("/invite/tasks/{id}/test") => Self::Send,
            Method::POST if route.ends_with("/import/validate") => Self::Other,
            Method::GET | Method::HEAD if route.ends_with("/export") => Self::Change,
            Method::GET | Method::HEAD | Method::OPTIONS => Self::Other,
            _ => Self::Change,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Connect => "requests to connect accounts",
            Self::Send => "messages",
            Self::Change => "changes",
            Self::Other => "requests",
        }
    }
}

/// What is left of a bucket, for the headers of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    limit: u32,
    remaining: u32,
    /// Seconds until the bucket is full again.
    reset: u64,
}

impl Budget {
    /// `RateLimit-*`, as in draft-ietf-httpapi-ratelimit-headers-06.
    pub(super) fn write(self, headers: &mut HeaderMap) {
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.remaining));
        headers.insert(RESET, HeaderValue::from(self.reset));
    }
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, RuntimeClock, StateInformationMiddleware>;

/// Buckets of one kind.
struct Buckets<K: Clone + Hash + Eq> {
    limiter: Limiter<K>,
    /// How much a full one holds, and how much of it comes back in a minute.
    burst: NonZeroU32,
    per_minute: NonZeroU32,
    taken: AtomicU32,
}

impl<K: Clone + Hash + Eq> Buckets<K> {
    fn new(per_minute: u32) -> Self {
        Self::with_burst(per_minute, per_minute)
    }

    fn with_burst(per_minute: u32, burst: u32) -> Self {
        let [per_minute, burst] =
            [per_minute, burst].map(|number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN));
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        let limiter = RateLimiter::hashmap_with_clock(quota, RuntimeClock)
            .with_middleware::<StateInformationMiddleware>();
        Self { limiter, burst, per_minute, taken: AtomicU32::new(0) }
    }

    /// Takes one; `Err` holds the seconds until there is one again.
    fn take(&self, key: &K) -> Result<Budget, (Budget, u64)> {
        if self.taken.fetch_add(1, Ordering::Relaxed) % HOUSEKEEPING_EVERY == HOUSEKEEPING_EVERY - 1
        {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let limit = self.burst.get();
        let refill = Duration::from_secs(60) / self.per_minute.get();
        match self.limiter.check_key(key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let reset = seconds_up(refill * limit.saturating_sub(remaining));
                Ok(Budget { limit, remaining, reset })
            }
            Err(until) => {
                let wait = until.wait_time_from(RuntimeClock.now());
                let reset = seconds_up(wait + refill * (limit - 1));
                Err((Budget { limit, remaining: 0, reset }, seconds_up(wait).max(1)))
            }
        }
    }
}

fn seconds_up(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// All buckets.
pub(super) struct Limits {
    /// Users who had more messages refused than they may make changes, and until when they send none.
    overdrawn: Mutex<HashMap<UserId, Instant>>,
    connect: Buckets<UserId>,
    send: Buckets<UserId>,
    change: Buckets<UserId>,
    other: Buckets<UserId>,
    unauthorized: Buckets<IpAddr>,
}

impl Limits {
    pub(super) fn new(limits: RequestLimits) -> Self {
        Self {
            overdrawn: Mutex::default(),
            connect: Buckets::new(limits.connect),
            send: Buckets::new(limits.send),
            change: Buckets::with_burst(limits.change.per_minute, limits.change.burst),
            other: Buckets::new(limits.other),
            unauthorized: Buckets::new(limits.unauthorized),
        }
    }

    /// Takes a request of `user`. With the refusal comes what the headers say all the same.
    pub(super) fn take(&self, user: &UserId, class: Class) -> Result<Budget, (Budget, Refusal)> {
        if class == Class::Send
            && let Some(wait) = self.overdraft(user)
        {
            let limit = self.send.burst.get();
            let budget = Budget { limit, remaining: 0, reset: wait };
            let detail = format!(
                "too many messages of yours were refused, and each of these counts as a change; \
                 try again in {wait} s"
            );
            return Err((budget, Refusal::new(Code::RateLimited, detail).after(wait)));
        }
        let buckets = match class {
            Class::Connect => &self.connect,
            Class::Send => &self.send,
            Class::Change => &self.change,
            Class::Other => &self.other,
        };
        buckets.take(user).map_err(|(budget, wait)| {
            let per_minute = buckets.per_minute.get();
            let at_once = match budget.limit == per_minute {
                true => String::new(),
                false => format!("{} {} at once and ", budget.limit, class.words()),
            };
            let detail = format!(
                "a user may make {at_once}{per_minute} {} in a minute; try again in {wait} s",
                class.words()
            );
            (budget, Refusal::new(Code::RateLimited, detail).after(wait))
        })
    }

    /// Notes that a message was refused with a line in the audit log, which costs its user nothing else: it
    /// counts as a change.
    pub(super) fn send_refused(&self, user: &UserId) {
        if let Err((_, wait)) = self.change.take(user) {
            let until = instant() + Duration::from_secs(wait);
            let mut overdrawn = self.overdrawn();
            overdrawn.retain(|_, until| *until > instant());
            overdrawn.insert(user.clone(), until);
        }
    }

    /// Seconds until this user may send again.
    fn overdraft(&self, user: &UserId) -> Option<u64> {
        let until = *self.overdrawn().get(user)?;
        let wait = until.checked_duration_since(instant())?;
        Some(seconds_up(wait).max(1))
    }

    /// Every change is whole before the lock is let go, so a poisoned one is as good as any.
    fn overdrawn(&self) -> MutexGuard<'_, HashMap<UserId, Instant>> {
        self.overdrawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request without a valid token. A valid one is never refused because of these: behind a
    /// proxy or a shared address one broken client would otherwise lock out all the others, and
    /// guessing a signature of 256 bits gains nothing by it.
    ///
    /// # Errors
    /// When the address had too many of them.
    pub(super) fn unauthorized(&self, address: IpAddr) -> Result<Budget, (Budget, Refusal)> {
        self.unauthorized.take(&network_of(address)).map_err(|(budget, wait)| {
            let detail = format!(
                "an address may make {} requests without a valid token in a minute; get one, or \
                 try again in {wait} s",
                budget.limit
            );
            (budget, Refusal::new(Code::RateLimited, detail).after(wait))
        })
    }
}

/// Who has one IPv6 address has all that share its first 64 bits.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    #[test]
    fn each_user_and_each_kind_has_a_bucket_of_its_own() {
        let change = ChangeLimit { burst: 4, per_minute: 2 };
        let limits = RequestLimits { connect: 2, send: 3, change, other: 5, unauthorized: 1 };
        let limits = Limits::new(limits);
        let (one, other) = (user("one"), user("other"));
        let first = limits.take(&one, Class::Connect).unwrap();
        assert_eq!((first.limit, first.remaining), (2, 1));
        assert_eq!(first.reset, 30);
        limits.take(&one, Class::Connect).unwrap();
        let (budget, refusal) = limits.take(&one, Class::Connect).unwrap_err();
        assert_eq!((budget.limit, budget.remaining), (2, 0));
        assert_eq!(refusal.code, Code::RateLimited);
        assert!((29..=30).contains(&refusal.retry_after.unwrap()), "{refusal:?}");
        assert!((59..=60).contains(&budget.reset), "{budget:?}");
        assert!(limits.take(&other, Class::Connect).is_ok());
        for _ in 0..3 {
            limits.take(&one, Class::Send).unwrap();
        }
        assert!(limits.take(&one, Class::Send).is_err());
        for left in [3, 2, 1, 0] {
            assert_eq!(limits.take(&one, Class::Change).unwrap().remaining, left);
        }
        let (budget, refusal) = limits.take(&one, Class::Change).unwrap_err();
        assert_eq!((budget.limit, budget.remaining), (4, 0));
        assert!((29..=30).contains(&refusal.retry_after.unwrap()), "{refusal:?}");
        assert!((119..=120).contains(&budget.reset), "{budget:?}");
        assert!(
            refusal.detail.contains("4 changes at once and 2 changes in a minute"),
            "{refusal}"
        );
        assert!(limits.take(&one, Class::Other).is_ok());
    }

    #[test]
    fn addresses_of_one_network_are_one_caller() {
        let limits = Limits::new(RequestLimits { unauthorized: 1, ..RequestLimits::default() });
        let take = |address: &str| limits.unauthorized(address.parse().unwrap()).is_ok();
        assert!(take("2001:db8::1"));
        assert!(!take("2001:db8::2"));
        assert!(take("2001:db8:0:1::2"));
        assert!(take("1.2.3.4"));
        assert!(!take("::ffff:1.2.3.4"));
        assert!(take("1.2.3.5"));
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let buckets = Buckets::<UserId>::new(1_000_000);
        for number in 0..HOUSEKEEPING_EVERY * 2 {
            let _ = buckets.take(&user(&number.to_string()));
        }
        assert!(buckets.limiter.len() < HOUSEKEEPING_EVERY as usize * 2);
    }

    #[test]
    fn the_route_tells_the_kind() {
        for (method, route, class) in [
            (Method::POST, "/api/v1/accounts/telegram/connect/sms", Class::Connect),
            (Method::POST, "/api/v1/accounts/{id}/messages", Class::Send),
            (Method::POST, "/api/v1/invite/tasks/{id}/test", Class::Send),
            (Method::POST, "/api/v1/webhooks/{id}/test", Class::Change),
            (Method::GET, "/api/v1/accounts/{id}", Class::Other),
            (Method::POST, "/api/v1/logins/{id}/code", Class::Change),
            (Method::POST, "/api/v1/accounts/{id}/pause", Class::Change),
            (Method::PUT, "/api/v1/monitors/{chat_id}", Class::Change),
            (Method::DELETE, "/api/v1/accounts/{id}", Class::Change),
            (Method::GET, "/api/v1/users/{user_id}/export", Class::Change),
            (Method::HEAD, "/api/v1/users/{user_id}/export", Class::Change),
            (Method::HEAD, "/api/v1/accounts", Class::Other),
            (Method::GET, "/api/v1/invite/suppression/check", Class::Other),
            (Method::POST, "/api/v1/invite/tasks/{id}/targets/bulk", Class::Change),
            (Method::POST, "/api/v1/invite/tasks/bulk", Class::Change),
            (Method::DELETE, "/api/v1/invite/suppression/{id}", Class::Change),
            (Method::POST, "/api/v1/invite/import/validate", Class::Other),
            (Method::POST, "/api/v1/invite/import/file", Class::Change),
        ] {
            assert_eq!(Class::of(&method, route), class, "{route}");
        }
    }
}
