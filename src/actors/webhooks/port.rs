//! The webhooks' port: what the tree asks of whoever calls endpoints. The edge that speaks HTTP fills it, from
//! outside.

use async_trait::async_trait;

use crate::protocol::values::ids::UnixMillis;
use crate::protocol::webhooks::deliveries::{Answer, Delivery};

/// Unused connections that may be kept for one host, where they may be kept at all.
pub const IDLE_PER_HOST: usize = 2;

/// One attempt at a delivery.
#[derive(Clone, Copy, Debug)]
pub struct EndpointCall<'a> {
    /// Where to.
    pub url: &'a str,
    /// What it is signed with.
    pub secret: &'a str,
    /// What is delivered.
    pub delivery: &'a Delivery,
    /// The time of the attempt.
    pub at: UnixMillis,
    /// Whether the connection may be kept for the next one.
    pub keep: bool,
}

/// Calls endpoints, and only such as may be called.
#[async_trait]
pub trait EndpointClient: Send + Sync + 'static {
    /// Looks at an address, and answers its normal form. Names are looked at when they are resolved.
    ///
    /// # Errors
    /// Why it is not called, in words for the user who named it.
    fn check(&self, url: &str) -> Result<String, String>;

    /// Calls an endpoint, and says how that ended. Takes ten seconds at the most.
    async fn call(&self, call: EndpointCall<'_>) -> Answer;
}

/// Lets every address pass, and reaches none.
#[cfg(test)]
pub(in crate::actors) struct Unreachable;

#[cfg(test)]
#[async_trait]
impl EndpointClient for Unreachable {
    fn check(&self, url: &str) -> Result<String, String> {
        Ok(url.to_owned())
    }

    async fn call(&self, _: EndpointCall<'_>) -> Answer {
        Answer::Failed("it could not be connected to".to_owned())
    }
}
