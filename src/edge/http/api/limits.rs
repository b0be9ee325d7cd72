//! How many requests a user may make in a minute, and an address without a valid token. Owns the
//! buckets; memory is bounded by housekeeping, since a full bucket need not be remembered.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::protocol::owner::UserId;
use crate::protocol::refusal::{Code, Refusal};

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
    /// Of one user, for everything else.
    pub other: u32,
    /// Of one address, without a valid token.
    pub unauthorized: u32,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { connect: 10, send: 100, other: 1000, unauthorized: 6000 }
    }
}

/// Kinds of request, each with a bucket of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Connecting an account.
    Connect,
    /// Sending a message.
    Send,
    /// Everything else.
    Other,
}

impl Class {
    /// What a request of `method` to the route with this template is.
    pub(super) fn of(method: &Method, route: &str) -> Self {
        match *method {
            Method::POST if route.contains("/connect/") => Self::Connect,
            Method::POST if route.ends_with("/messages") => Self::Send,
            _ => Self::Other,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Connect => "requests to connect accounts",
            Self::Send => "messages",
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

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// Buckets of one kind.
struct Buckets<K: Clone + Hash + Eq> {
    limiter: Limiter<K>,
    per_minute: NonZeroU32,
    taken: AtomicU32,
}

impl<K: Clone + Hash + Eq> Buckets<K> {
    fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        let limiter = RateLimiter::hashmap(Quota::per_minute(per_minute))
            .with_middleware::<StateInformationMiddleware>();
        Self { limiter, per_minute, taken: AtomicU32::new(0) }
    }

    /// Takes one; `Err` holds the seconds until there is one again.
    fn take(&self, key: &K) -> Result<Budget, (Budget, u64)> {
        if self.taken.fetch_add(1, Ordering::Relaxed) % HOUSEKEEPING_EVERY == HOUSEKEEPING_EVERY - 1
        {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let limit = self.per_minute.get();
        let refill = Duration::from_secs(60) / limit;
        match self.limiter.check_key(key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let reset = seconds_up(refill * limit.saturating_sub(remaining));
                Ok(Budget { limit, remaining, reset })
            }
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
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
    connect: Buckets<UserId>,
    send: Buckets<UserId>,
    other: Buckets<UserId>,
    unauthorized: Buckets<IpAddr>,
}

impl Limits {
    pub(super) fn new(limits: RequestLimits) -> Self {
        Self {
            connect: Buckets::new(limits.connect),
            send: Buckets::new(limits.send),
            other: Buckets::new(limits.other),
            unauthorized: Buckets::new(limits.unauthorized),
        }
    }

    /// Takes a request of `user`. With the refusal comes what the headers say all the same.
    pub(super) fn take(&self, user: &UserId, class: Class) -> Result<Budget, (Budget, Refusal)> {
        let buckets = match class {
            Class::Connect => &self.connect,
            Class::Send => &self.send,
            Class::Other => &self.other,
        };
        buckets.take(user).map_err(|(budget, wait)| {
            let detail = format!(
                "a user may make {} {} in a minute; try again in {wait} s",
                budget.limit,
                class.words()
            );
            (budget, Refusal::new(Code::RateLimited, detail).after(wait))
        })
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
        let limits = Limits::new(RequestLimits { connect: 2, send: 3, other: 5, unauthorized: 1 });
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
            (Method::GET, "/api/v1/accounts/{id}", Class::Other),
            (Method::POST, "/api/v1/logins/{id}/code", Class::Other),
        ] {
            assert_eq!(Class::of(&method, route), class, "{route}");
        }
    }
}
