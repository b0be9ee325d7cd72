//! The bridge to the broker: the AMQP edge alone against a real one, and the daemon behind it. `scripts/test` starts one and names it in
//! `TELEWARDEN_TEST_AMQP`; tests that would disturb others start one of their own.

mod backlog;
mod broker;
mod consuming;
mod hostile;
mod large;
mod mixing;
mod proxy;
mod publishing;
pub(crate) mod raw;
pub(crate) mod support;
mod symfony;
