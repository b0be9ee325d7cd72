//! Webhooks: what is kept of an endpoint and of what is on its way there, what a delivery looks like
//! (<https://www.standardwebhooks.com>), and what follows an attempt. Pure.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

use crate::protocol::bridge::outbox::OutboxEntry;
use crate::protocol::tree::restart::Backoff;
use crate::protocol::users::owner::{UserId, WebhookId};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::time::iso8601;

/// What precedes a secret's base64, as the standard has it.
pub const SECRET_PREFIX: &str = "whsec_";
/// Random bytes of a secret; the standard asks for 24 to 64.
pub const SECRET_LEN: usize = 32;
/// How long what was given up is kept, milliseconds (30 days).
pub const DEAD_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1_000;
/// Longest pause that an endpoint may ask for, milliseconds (a day).
const ASKED_MAX_MS: u64 = 24 * 60 * 60 * 1_000;

/// Types of events that users get.
pub const EVENTS: [&str; 6] = crate::protocol::bridge::event::KINDS;

/// An endpoint, as the store keeps it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRecord {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is.
    pub user: UserId,
    /// Where it is called.
    pub url: String,
    /// Which events it gets; empty: all.
    pub events: Vec<String>,
    /// Whether it is called.
    pub enabled: bool,
    /// When it was disabled because it answered that it is gone.
    pub gone_at: Option<UnixMillis>,
    /// What deliveries are signed with.
    pub secret: String,
    /// When it was made.
    pub created_at: UnixMillis,
}

impl WebhookRecord {
    /// Whether it gets events of this type now.
    pub fn wants(&self, kind: &str) -> bool {
        self.enabled && (self.events.is_empty() || self.events.iter().any(|event| event == kind))
    }
}

impl Drop for WebhookRecord {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for WebhookRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A secret out of random bytes.
pub fn secret_of(random: &[u8; SECRET_LEN]) -> String {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(random))
}

/// Tells chats apart, within which deliveries keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Line(pub u64);

impl Line {
    /// The line of an event with this body. What names no chat has a line of its own.
    fn of(body: &serde_json::Value) -> Self {
        let chat = body.get("chat_id").map(ToString::to_string).unwrap_or_default();
        let digest = Sha256::digest(chat.as_bytes());
        Self(digest.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first)))
    }
}

/// A delivery: an event on its way to one endpoint.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Whose endpoint it is.
    pub user: UserId,
    /// The endpoint.
    pub webhook: WebhookId,
    /// The event's place in the outbox.
    pub seq: u64,
    /// Its chat.
    pub line: Line,
    /// The event's id, the same for every attempt and every endpoint.
    pub message_id: Uuid,
    /// The event's type.
    pub kind: String,
    /// When the event came about, Unix seconds.
    pub timestamp: u64,
    /// The event's body: JSON.
    pub body: String,
    /// When it was put into the queue.
    pub queued_at: UnixMillis,
    /// Attempts that failed.
    pub attempts: u32,
    /// When it may be tried again.
    pub next_at: UnixMillis,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Delivery");
        shown.field("message_id", &self.message_id).field("seq", &self.seq).finish_non_exhaustive()
    }
}

/// A delivery that was given up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeadRecord {
    /// The delivery.
    pub delivery: Delivery,
    /// Why.
    pub reason: String,
    /// When.
    pub at: UnixMillis,
}

impl Delivery {
    /// The event `entry` for an endpoint; `None` when it is no event for people, or not JSON.
    pub fn of(
        entry: &OutboxEntry,
        seq: u64,
        (user, webhook): (UserId, WebhookId),
        now: UnixMillis,
    ) -> Option<Self> {
        let parsed: serde_json::Value = serde_json::from_slice(&entry.body).ok()?;
        Some(Self {
            user,
            webhook,
            seq,
            line: Line::of(&parsed),
            message_id: entry.message_id,
            kind: entry.kind.clone(),
            timestamp: entry.timestamp,
            body: String::from_utf8(entry.body.clone()).ok()?,
            queued_at: now,
            attempts: 0,
            next_at: now,
            error: None,
        })
    }

    /// What is sent. The same bytes for every attempt.
    pub fn payload(&self) -> String {
        let kind = serde_json::Value::from(self.kind.as_str());
        let at = iso8601(i64::try_from(self.timestamp).unwrap_or(i64::MAX));
        format!(r#"{{"type":{kind},"timestamp":"{at}","data":{}}}"#, self.body)
    }

    /// Given up.
    pub fn given_up(self, reason: String, at: UnixMillis) -> DeadRecord {
        DeadRecord { delivery: self, reason, at }
    }

    /// In the queue again, as if it had never been tried.
    pub fn anew(self, now: UnixMillis) -> Self {
        Self { queued_at: now, attempts: 0, next_at: now, error: None, ..self }
    }
}

/// The header `webhook-signature`; `None` when `secret` is none.
pub fn sign(secret: &str, id: &str, timestamp: u64, payload: &[u8]) -> Option<String> {
    let key = Zeroizing::new(STANDARD.decode(secret.strip_prefix(SECRET_PREFIX)?).ok()?);
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(payload);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The endpoint answered.
    Status {
        /// The HTTP status.
        code: u16,
        /// How long it asks us to wait, seconds.
        retry_after: Option<u64>,
    },
    /// It did not, and why.
    Failed(String),
}

/// How long and how often deliveries are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// How long a delivery is tried after it was put into the queue, milliseconds. Each is tried once at
    /// least.
    pub give_up_after_ms: i64,
}

/// What follows an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryDecision {
    /// It arrived.
    Delivered,
    /// It is to be tried again.
    Retry {
        /// Not before.
        at: UnixMillis,
        /// Why it failed.
        error: String,
        /// The whole endpoint asks for a pause until then.
        rest_until: Option<UnixMillis>,
    },
    /// It is given up.
    GiveUp {
        /// Why.
        reason: String,
    },
    /// The endpoint wants no more deliveries, ever.
    Gone,
}

impl RetryPolicy {
    /// Judges an attempt at `delivery`. `jitter` in 0..1.
    pub fn judge(
        &self,
        delivery: &Delivery,
        answer: Answer,
        now: UnixMillis,
        jitter: f64,
    ) -> DeliveryDecision {
        let (error, asked_ms) = match answer {
            Answer::Status { code: 200..300, .. } => return DeliveryDecision::Delivered,
            Answer::Status { code: 410, .. } => return DeliveryDecision::Gone,
            Answer::Status { code: code @ 300..400, .. } => {
                (format!("it answered {code}, and redirects are not followed"), None)
            }
            Answer::Status { code, retry_after } => {
                let asked = retry_after.filter(|_| matches!(code, 429 | 503));
                (format!("it answered {code}"), asked.map(|s| s.saturating_mul(1_000)))
            }
            Answer::Failed(error) => (error, None),
        };
        let end = delivery.queued_at.plus_ms(self.give_up_after_ms);
        if now >= end {
            let tries = delivery.attempts.saturating_add(1);
            return DeliveryDecision::GiveUp {
                reason: format!("{error}; given up after {tries} attempts"),
            };
        }
        let own_ms = self.backoff.delay_ms(delivery.attempts.saturating_add(1), jitter);
        let asked_ms = asked_ms.map(|ms| ms.min(ASKED_MAX_MS));
        let after = |ms: u64| now.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX));
        // The last attempt is at the very end.
        let at = after(own_ms.max(asked_ms.unwrap_or(0))).min(end);
        DeliveryDecision::Retry {
            at,
            error,
            rest_until: asked_ms.map(after).map(|rest| rest.min(end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::bridge::outbox::Route;

    const POLICY: RetryPolicy = RetryPolicy {
        backoff: Backoff { min_ms: 5_000, max_ms: 3_600_000 },
        give_up_after_ms: 86_400_000,
    };

    fn entry(body: &str) -> OutboxEntry {
        OutboxEntry {
            route: Route::Event,
            kind: "incoming_telegram_message".into(),
            message_id: Uuid::from_u128(7),
            timestamp: 1_795_230_245,
            said_at: None,
            owner: None,
            body: body.into(),
        }
    }

    fn delivery(body: &str) -> Delivery {
        let whose = (UserId::new("one").unwrap(), WebhookId(Uuid::from_u128(1)));
        Delivery::of(&entry(body), 3, whose, UnixMillis(0)).unwrap()
    }

    /// HMAC as RFC 2104 writes it down.
    fn hmac_by_hand(key: &[u8], message: &[u8]) -> Vec<u8> {
        assert!(key.len() <= 64);
        let pad = |with: u8| {
            let mut block = [with; 64];
            key.iter().zip(&mut block).for_each(|(key, block)| *block ^= key);
            block
        };
        let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
        Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
    }

    #[test]
    fn signatures_are_what_another_implementation_makes_of_the_same() {
        // The sample of the standard's reference libraries; the signature is of Python's `hmac`.
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let (id, at) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330);
        let signature = sign(secret, id, at, br#"{"test": 2432232314}"#).unwrap();
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(sign("MfKQ9r8G", id, at, b""), None);
    }

    proptest! {
        #[test]
        fn signatures_follow_the_letter_of_the_standard(
            random in any::<[u8; SECRET_LEN]>(), payload in any::<Vec<u8>>(), at in any::<u32>(),
        ) {
            let signed = [format!("id.{at}.").as_bytes(), &payload].concat();
            let expected = format!("v1,{}", STANDARD.encode(hmac_by_hand(&random, &signed)));
            prop_assert_eq!(sign(&secret_of(&random), "id", at.into(), &payload), Some(expected));
        }

        #[test]
        fn whatever_is_answered_the_next_attempt_lies_ahead_and_before_the_end(
            code in 100..600_u16, retry_after in any::<Option<u64>>(),
            now in 0..90_000_000_i64, attempts in any::<u32>(), jitter in 0.0..1.0,
        ) {
            let delivery = Delivery { attempts, ..delivery("{}") };
            let answer = Answer::Status { code, retry_after };
            match POLICY.judge(&delivery, answer, UnixMillis(now), jitter) {
                DeliveryDecision::Delivered => prop_assert!((200..300).contains(&code)),
                DeliveryDecision::Gone => prop_assert_eq!(code, 410),
                DeliveryDecision::GiveUp { .. } => prop_assert!(now >= 86_400_000),
                DeliveryDecision::Retry { at, rest_until, .. } => {
                    prop_assert!(at.0 > now && at.0 <= 86_400_000);
                    prop_assert!(rest_until.is_none_or(|rest| rest <= at));
                    prop_assert!(rest_until.is_none() || matches!(code, 429 | 503));
                }
            }
        }
    }

    #[test]
    fn pauses_grow_from_seconds_to_an_hour() {
        let pause = |attempts| {
            let delivery = Delivery { attempts, ..delivery("{}") };
            let answer = Answer::Failed("no answer".into());
            match POLICY.judge(&delivery, answer, UnixMillis(0), 1.0) {
                DeliveryDecision::Retry { at, .. } => at.0,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!([0, 1, 2, 30].map(pause), [5_000, 10_000, 20_000, 3_600_000]);
    }

    #[test]
    fn an_endpoint_that_asks_for_a_pause_gets_it() {
        let answer = |code| Answer::Status { code, retry_after: Some(600) };
        for code in [429, 503] {
            let verdict = POLICY.judge(&delivery("{}"), answer(code), UnixMillis(0), 1.0);
            let until = UnixMillis(600_000);
            let error = format!("it answered {code}");
            assert_eq!(
                verdict,
                DeliveryDecision::Retry { at: until, error, rest_until: Some(until) }
            );
        }
        let verdict = POLICY.judge(&delivery("{}"), answer(500), UnixMillis(0), 1.0);
        assert!(matches!(
            verdict,
            DeliveryDecision::Retry { at: UnixMillis(5_000), rest_until: None, .. }
        ));
    }

    #[test]
    fn the_payload_is_json_around_the_events_own_body() {
        let delivery = delivery(r#"{"chat_id":-1005,"text":"\"hi\" é"}"#);
        let payload: serde_json::Value = serde_json::from_str(&delivery.payload()).unwrap();
        let expected = serde_json::json!({
            "type": "incoming_telegram_message",
            "timestamp": "2026-11-21T03:04:05Z",
            "data": {"chat_id": -1005, "text": "\"hi\" é"},
        });
        assert_eq!(payload, expected);
    }

    #[test]
    fn lines_are_chats() {
        let line = |body: &str| delivery(body).line;
        assert_eq!(line(r#"{"chat_id":5,"a":1}"#), line(r#"{"b":2,"chat_id":5}"#));
        assert_ne!(line(r#"{"chat_id":5}"#), line(r#"{"chat_id":"5"}"#));
        assert_eq!(line(r#"{"a":1}"#), line("{}"));
    }

    #[test]
    fn what_is_no_json_has_no_delivery_and_nothing_shows_texts_or_secrets() {
        let whose = (UserId::new("one").unwrap(), WebhookId(Uuid::from_u128(1)));
        assert!(Delivery::of(&entry("{"), 1, whose, UnixMillis(0)).is_none());
        let dead = delivery(r#"{"text":"hush"}"#).given_up("why".into(), UnixMillis(1));
        assert!(!format!("{dead:?}").contains("hush"));
    }

    #[test]
    fn an_endpoint_wants_what_it_names_or_everything() {
        let record = WebhookRecord {
            id: WebhookId(Uuid::from_u128(1)),
            user: UserId::new("one").unwrap(),
            url: "https://example.org/".into(),
            events: vec!["access_lost".into()],
            enabled: true,
            gone_at: None,
            secret: secret_of(&[7; SECRET_LEN]),
            created_at: UnixMillis(0),
        };
        assert!(record.wants("access_lost") && !record.wants("monitor_started"));
        let mut all = record.clone();
        all.events.clear();
        assert!(all.wants("monitor_started"));
        all.enabled = false;
        assert!(!all.wants("monitor_started"));
        assert!(!format!("{record:?}").contains("whsec_"));
    }
}
