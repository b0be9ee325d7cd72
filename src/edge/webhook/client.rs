//! One request to an endpoint. Owns the HTTP client and its limits; never keeps an answer.

use std::error::Error as _;
use std::time::Duration;

use async_trait::async_trait;
use jiff::fmt::rfc2822;
use reqwest::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response};

use super::guard::{Guard, Refused};
use crate::actors::{EndpointCall, EndpointClient, IDLE_PER_HOST};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::webhooks::deliveries::{Answer, sign};

/// Longest attempt, from the look-up of the name to the end of the answer.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How much of an answer is read before the connection is given up, in bytes. Nobody looks at it.
const ANSWER_BYTES_MAX: usize = 4 << 10;
/// How long an unused connection is kept.
const IDLE_MAX: Duration = Duration::from_secs(30);

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the client for webhooks could not be made: {0}")]
pub struct WebhookClientError(String);

/// Calls endpoints.
#[derive(Clone)]
pub struct WebhookClient {
    http: Client,
    guard: Guard,
}

impl WebhookClient {
    /// A client that calls only what `guard` lets pass.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(guard: Guard) -> Result<Self, WebhookClientError> {
        Self::with_patience(guard, ATTEMPT_MAX)
    }

    /// The same with another longest attempt.
    pub(crate) fn with_patience(
        guard: Guard,
        patience: Duration,
    ) -> Result<Self, WebhookClientError> {
        let client = || {
            Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .https_only(!guard.allows_http())
                .dns_resolver(guard)
                .connect_timeout(CONNECT_MAX.min(patience))
                .timeout(patience)
                .pool_idle_timeout(IDLE_MAX)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .user_agent(concat!("telewarden/", env!("CARGO_PKG_VERSION")))
        };
        // On a machine without certificate authorities there can be none that trusts the system's. Most
        // of the daemon needs none, so it goes on: with a client that trusts nobody, whose deliveries to
        // https:// addresses fail and are tried again.
        let http = client().build().or_else(|error| {
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            tracing::warn!(
                error = cause,
                "webhooks at https:// addresses cannot be called: the system has no certificate \
                 authorities; install them (package ca-certificates) and restart"
            );
            client().tls_certs_only([]).build()
        });
        let http = http.map_err(|error| WebhookClientError(error.to_string()))?;
        Ok(Self { http, guard })
    }
}

#[async_trait]
impl EndpointClient for WebhookClient {
    fn check(&self, url: &str) -> Result<String, String> {
        self.guard.check(url).map(Into::into).map_err(|refused| refused.to_string())
    }

    async fn call(&self, call: EndpointCall<'_>) -> Answer {
        // The settings may have become stricter since the endpoint was made.
        let url = match self.guard.check(call.url) {
            Ok(url) => url,
            Err(refused) => return Answer::Failed(refused.to_string()),
        };
        let payload = call.delivery.payload();
        let Some(headers) = headers(&call, payload.as_bytes()) else {
            return Answer::Failed("the endpoint's secret cannot be used".to_owned());
        };
        let mut request = self.http.post(url).headers(headers).body(payload);
        if !call.keep {
            request = request.header(CONNECTION, "close");
        }
        match request.send().await {
            Ok(response) => {
                let code = response.status().as_u16();
                let retry_after = retry_after(response.headers(), call.at);
                drain(response).await;
                Answer::Status { code, retry_after }
            }
            Err(error) => Answer::Failed(why(&error)),
        }
    }
}

fn headers(call: &EndpointCall<'_>, payload: &[u8]) -> Option<HeaderMap> {
    let id = call.delivery.message_id.to_string();
    let at = u64::try_from(call.at.0.div_euclid(1_000)).ok()?;
    let signature = sign(call.secret, &id, at, payload)?;
    let value = |text: &str| HeaderValue::from_str(text).ok();
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (ID, value(&id)?),
        (TIMESTAMP, at.into()),
        (SIGNATURE, value(&signature)?),
    ];
    Some(HeaderMap::from_iter(headers))
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: UnixMillis) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let until = rfc2822::parse(text).ok()?.timestamp().as_millisecond();
    u64::try_from(until.saturating_sub(now.0)).ok().map(|ms| ms.div_ceil(1_000))
}

/// Reads what little there may be, so that the connection can be used again.
async fn drain(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(part)) = response.chunk().await {
        read += part.len();
        if read > ANSWER_BYTES_MAX {
            return;
        }
    }
}

/// Why there was no answer: the root of the matter, without the URL.
fn why(error: &reqwest::Error) -> String {
    let mut root: Option<&(dyn std::error::Error + 'static)> = None;
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(refused) = cause.downcast_ref::<Refused>() {
            // Not which address: whoever asks would learn of networks that are not theirs.
            return match refused {
                Refused::Internal(_) => "it is no public address; only those are called".to_owned(),
                refused => refused.to_string(),
            };
        }
        root = Some(cause);
        next = cause.source();
    }
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let step =
        if error.is_connect() { "it could not be connected to" } else { "it did not answer" };
    root.map_or_else(|| step.to_owned(), |root| format!("{step}: {}", cut(&root.to_string())))
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(160).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, UnixMillis(1_795_230_245_500))
        };
        assert_eq!(of("120"), Some(120));
        assert_eq!(of("Sat, 21 Nov 2026 03:05:05 GMT"), Some(60));
        assert_eq!(of("Sat, 21 Nov 2020 03:05:05 GMT"), None);
        assert_eq!(of("soon"), None);
        assert_eq!(of("-5"), None);
    }
}
