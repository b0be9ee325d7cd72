//! Webhooks: what is kept of an endpoint and of what is on its way there, and what follows an attempt.

pub mod deliveries;
