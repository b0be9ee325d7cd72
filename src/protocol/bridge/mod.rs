//! The bridge's contract: commands as they come from the broker, events and replies as they go there, jobs that
//! outlive their command, and how much may wait. Bytes of a delivery come in; commands, entries of the outbox
//! and reasons for a refusal go out. Never speaks to a broker.

pub mod backlog;
pub mod command;
pub mod event;
pub mod job;
pub mod outbox;
pub mod reply_to;

use uuid::Uuid;

/// Namespace of our `message_id`s: they are UUIDs of version 5, so the same event has the same id
/// in every redelivery, in every process.
const NAMESPACE: Uuid = Uuid::from_u128(0x7e1e_3a4d_2b5c_4f60_9a1d_74b0_c5e2_91d8);
