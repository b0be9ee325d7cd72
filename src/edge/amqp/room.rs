//! Room for what senders wrote. Most deliveries are small: their number is bounded, and so is what each
//! may take. Those that are larger are put aside whole, and for that there is room for one at a time: the
//! others are turned away while they come, wait with the broker, and are called back one by one.
//!
//! A large delivery is never a command, so it has no chat and no place in an order that it could lose.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use lapin::options::BasicNackOptions;
use lapin::{Acker, BasicProperties, ConnectionStatus};

use super::link::{LinkError, within};
use super::wire::memory_of_properties;
use crate::protocol::bridge::command::COMMAND_BODY_MAX;

/// Most memory that the properties of a small delivery take, bytes. A frame of 131,072 bytes full of
/// plain headers takes less; one full of the smallest values takes 4 MiB, of the smallest tables 12.
pub(super) const PROPERTIES_MAX: usize = 1024 * 1024;
/// Most deliveries in hand, whatever is configured: with 1 MiB of body and 1 MiB of properties each,
/// they take 1 GiB at the most.
pub(super) const DELIVERIES_MAX: u16 = 512;

/// The room for one large delivery.
#[derive(Debug, Default)]
pub(super) struct Room {
    is_taken: AtomicBool,
}

impl Room {
    /// Whether a delivery may come in, by what its content header says. A large one that may has the
    /// room from now on, until it [leaves](Self::leave).
    pub(super) fn lets_in(&self, body: u64, properties: &BasicProperties) -> bool {
        !is_large(body, properties) || !self.is_taken.swap(true, Ordering::AcqRel)
    }

    /// The large delivery is gone.
    pub(super) fn leave(&self) {
        self.is_taken.store(false, Ordering::Release);
    }

    fn is_free(&self) -> bool {
        !self.is_taken.load(Ordering::Acquire)
    }
}

/// Whether a delivery needs the room.
pub(super) fn is_large(body: u64, properties: &BasicProperties) -> bool {
    body > COMMAND_BODY_MAX as u64 || memory_of_properties(properties) > PROPERTIES_MAX
}

/// Deliveries that were turned away, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    line: VecDeque<Acker>,
    /// Whether one is on its way back.
    is_one_called: bool,
}

impl Waiting {
    /// One more.
    pub(super) fn add(&mut self, acker: Acker) {
        self.line.push_back(acker);
    }

    /// A large delivery has come, in whatever form; or it should have come by now.
    pub(super) fn came(&mut self) {
        self.is_one_called = false;
    }

    /// Gives the next one back to its queue if there is room for it: the broker sends it again, before
    /// what stands behind it. To be done before the one that had the room is acknowledged, since that
    /// brings another one, which would be in the room first.
    pub(super) async fn call_back(
        &mut self,
        room: &Room,
        line: &ConnectionStatus,
    ) -> Result<(), LinkError> {
        if self.is_one_called || !room.is_free() {
            return Ok(());
        }
        let Some(acker) = self.line.pop_front() else { return Ok(()) };
        self.is_one_called = true;
        let options = BasicNackOptions { requeue: true, ..Default::default() };
        within("giving a message back to its queue", line, acker.nack(options)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_one_large_delivery_and_any_small_ones() {
        let (room, properties) = (Room::default(), BasicProperties::default());
        let (small, large) = (COMMAND_BODY_MAX as u64, COMMAND_BODY_MAX as u64 + 1);
        assert!(room.is_free() && room.lets_in(small, &properties) && room.is_free());
        assert!(room.lets_in(large, &properties) && !room.is_free());
        for _ in 0..3 {
            assert!(!room.lets_in(large, &properties));
            assert!(room.lets_in(small, &properties));
        }
        room.leave();
        assert!(room.lets_in(u64::MAX, &properties));
        assert!(!room.lets_in(large, &properties));
    }
}
