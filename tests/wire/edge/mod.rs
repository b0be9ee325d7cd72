//! The AMQP edge alone against a real broker. `scripts/test` starts one and names it in
//! `TELEWARDEN_TEST_AMQP`; tests that would disturb others start one of their own.

mod consuming;
mod hostile;
mod mixing;
mod proxy;
mod publishing;
pub(crate) mod raw;
pub(crate) mod support;
