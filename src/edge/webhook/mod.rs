//! Webhooks, the way out: one signed request to an endpoint, and the guard that keeps such requests away
//! from internal addresses. Decides nothing about retries; must never follow a redirect, use a proxy, or
//! show an address's path, query or answer to anybody.

mod client;
mod guard;
mod lookup;
#[cfg(test)]
mod tests;

pub use client::{WebhookClient, WebhookClientError};
pub use guard::{Guard, Refused};
