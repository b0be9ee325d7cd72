//! Which order may run now: those for the same chat one after another, in the order in which they
//! came, those for different chats side by side. Pure. Must never reorder a lane.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Jobs by lane. The first of each lane is running.
#[derive(Debug)]
pub(super) struct Lanes<K, J> {
    waiting: HashMap<K, VecDeque<J>>,
}

impl<K: Clone + Eq + Hash, J> Lanes<K, J> {
    pub(super) fn new() -> Self {
        Self { waiting: HashMap::new() }
    }

    /// Adds a job; gives it back if it may run at once.
    pub(super) fn enter(&mut self, lane: &K, job: J) -> Option<J> {
        match self.waiting.get_mut(lane) {
            Some(queue) => {
                queue.push_back(job);
                None
            }
            None => {
                self.waiting.insert(lane.clone(), VecDeque::new());
                Some(job)
            }
        }
    }

    /// The running job of a lane is done; gives out the next one.
    pub(super) fn done(&mut self, lane: &K) -> Option<J> {
        let next = self.waiting.get_mut(lane)?.pop_front();
        if next.is_none() {
            self.waiting.remove(lane);
        }
        next
    }

    /// Gives up a lane: what waits in it does not run.
    pub(super) fn abandon(&mut self, lane: &K) {
        self.waiting.remove(lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_abandoned_lane_runs_nothing_more() {
        let mut lanes = Lanes::new();
        assert_eq!(lanes.enter(&'a', 1), Some(1));
        assert_eq!(lanes.enter(&'a', 2), None);
        lanes.abandon(&'a');
        assert_eq!(lanes.done(&'a'), None);
    }

    proptest! {
        #[test]
        fn each_lane_runs_one_at_a_time_and_in_order(
            steps in prop::collection::vec((0..4u8, any::<bool>()), 0..60),
        ) {
            let mut lanes = Lanes::new();
            let mut running: HashMap<u8, usize> = HashMap::new();
            let mut started: HashMap<u8, Vec<usize>> = HashMap::new();
            let mut entered: HashMap<u8, Vec<usize>> = HashMap::new();
            for (job, (lane, finish)) in steps.into_iter().enumerate() {
                let next = if finish && running.remove(&lane).is_some() {
                    lanes.done(&lane)
                } else {
                    entered.entry(lane).or_default().push(job);
                    lanes.enter(&lane, job)
                };
                if let Some(next) = next {
                    prop_assert_eq!(running.insert(lane, next), None, "two at once");
                    started.entry(lane).or_default().push(next);
                }
            }
            let busy: Vec<u8> = running.keys().copied().collect();
            for lane in busy {
                while let Some(next) = lanes.done(&lane) {
                    started.entry(lane).or_default().push(next);
                }
            }
            prop_assert_eq!(started, entered);
        }
    }
}
