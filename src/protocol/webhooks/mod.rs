//! Webhooks: what is kept of an endpoint and of what is on its way there, and what follows an attempt. Owns order, retries
//! and signatures; never a request. Events and answers of endpoints come in; deliveries, pauses and endings go out.

pub mod deliveries;
