//! Webhooks, the way out: one signed request to an endpoint, and the guard that keeps such requests away
//! from internal addresses. Decides nothing about retries; must never follow a redirect, use a proxy, or
//! show an address's path, query or answer to anybody.

mod client;
mod guard;
mod lookup;

pub use client::{Call, IDLE_PER_HOST, WebhookClient, WebhookClientError};
pub use guard::{Guard, Refused};
