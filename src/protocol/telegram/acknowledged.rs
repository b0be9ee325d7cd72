//! In-order progress of an account through its batches of updates.
//!
//! Batches go to several monitors at once and may be finished out of order, but the update state
//! may only move past a batch when everything before it is in the writer's queue: whoever
//! finishes a batch collects the moves of the whole finished prefix.

use std::collections::BTreeMap;

use super::updates::UpdateStateDelta;

/// Which batches of one account are finished.
#[derive(Debug, Default)]
pub struct Progress {
    next_ticket: u64,
    settled: u64,
    finished: BTreeMap<u64, UpdateStateDelta>,
    broken: bool,
}

impl Progress {
    /// Numbers a new batch.
    pub fn issue(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    /// Takes note that everything of batch `ticket` is on its way to the store; returns the move
    /// of the update state that has become due, if any.
    pub fn finish(&mut self, ticket: u64, delta: UpdateStateDelta) -> Option<UpdateStateDelta> {
        if self.broken {
            return None;
        }
        self.finished.insert(ticket, delta);
        let mut due: Option<UpdateStateDelta> = None;
        while let Some(delta) = self.finished.remove(&self.settled) {
            self.settled += 1;
            match &mut due {
                Some(sum) => sum.merge(delta),
                None => due = Some(delta),
            }
        }
        due.filter(|sum| !sum.is_empty())
    }

    /// A batch was lost on its way: the state must not move past it any more. Only a new
    /// connection, which starts from the stored state, helps.
    pub fn break_off(&mut self) {
        self.broken = true;
        self.finished.clear();
    }

    /// Whether a batch was lost.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Batches issued and not yet part of the finished prefix.
    pub fn outstanding(&self) -> u64 {
        self.next_ticket - self.settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pts(pts: i32) -> UpdateStateDelta {
        UpdateStateDelta { common: Some((pts, 0, 0)), ..Default::default() }
    }

    proptest! {
        #[test]
        fn the_state_never_moves_past_an_unfinished_batch(
            order in Just((0..40u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut progress = Progress::default();
            for _ in 0..40 {
                progress.issue();
            }
            let mut done = [false; 40];
            let mut state = -1;
            for ticket in order {
                done[ticket as usize] = true;
                if let Some(due) = progress.finish(ticket, pts(ticket as i32)) {
                    state = due.common.map_or(state, |(pts, _, _)| pts);
                }
                let prefix = done.iter().take_while(|finished| **finished).count() as i32;
                prop_assert_eq!(state, prefix - 1);
            }
            prop_assert_eq!(progress.outstanding(), 0);
        }
    }

    #[test]
    fn after_a_lost_batch_nothing_is_due_any_more() {
        let mut progress = Progress::default();
        let (first, second) = (progress.issue(), progress.issue());
        progress.break_off();
        assert_eq!(progress.finish(first, pts(1)), None);
        assert_eq!(progress.finish(second, pts(2)), None);
        assert!(progress.is_broken());
    }
}
