//! Where an account stands in Telegram's numbered updates
//! (<https://core.telegram.org/api/updates>). Plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An account's position in Telegram's update sequences
/// (<https://core.telegram.org/api/updates>).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateState {
    /// Common box.
    pub pts: i32,
    /// Secondary box.
    pub qts: i32,
    /// Date of the state, Unix seconds.
    pub date: i32,
    /// Sequence of containers.
    pub seq: i32,
    /// Channel boxes: bare channel id → pts.
    pub channels: BTreeMap<i64, i32>,
}

/// How one batch of updates moves an [`UpdateState`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStateDelta {
    /// New `(pts, date, seq)`.
    pub common: Option<(i32, i32, i32)>,
    /// New `qts`.
    pub qts: Option<i32>,
    /// New channel pts.
    pub channels: Vec<(i64, i32)>,
    /// Channels that are no longer followed.
    pub dropped_channels: Vec<i64>,
}

impl UpdateState {
    /// Moves the state.
    pub fn apply(&mut self, delta: &UpdateStateDelta) {
        if let Some((pts, date, seq)) = delta.common {
            (self.pts, self.date, self.seq) = (pts, date, seq);
        }
        self.qts = delta.qts.unwrap_or(self.qts);
        self.channels.extend(delta.channels.iter().copied());
        for id in &delta.dropped_channels {
            self.channels.remove(id);
        }
    }
}

impl UpdateStateDelta {
    /// Whether it moves nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends a later move.
    pub fn merge(&mut self, later: Self) {
        self.common = later.common.or(self.common);
        self.qts = later.qts.or(self.qts);
        self.channels.retain(|(id, _)| !later.channels.iter().any(|(newer, _)| newer == id));
        self.dropped_channels.retain(|id| !later.channels.iter().any(|(newer, _)| newer == id));
        self.channels.retain(|(id, _)| !later.dropped_channels.contains(id));
        self.channels.extend(later.channels);
        self.dropped_channels.extend(later.dropped_channels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn delta() -> impl Strategy<Value = UpdateStateDelta> {
        let channels = prop::collection::btree_map(0..6i64, 1..100i32, 0..4);
        let dropped = prop::collection::vec(6..9i64, 0..2);
        (prop::option::of((1..9, 1..9, 1..9)), prop::option::of(1..9), channels, dropped).prop_map(
            |(common, qts, channels, dropped_channels)| UpdateStateDelta {
                common,
                qts,
                channels: channels.into_iter().collect(),
                dropped_channels,
            },
        )
    }

    proptest! {
        #[test]
        fn merging_moves_is_applying_them_in_turn(first in delta(), second in delta()) {
            let mut in_turn = UpdateState::default();
            in_turn.apply(&first);
            in_turn.apply(&second);
            let mut merged = first;
            merged.merge(second);
            let mut at_once = UpdateState::default();
            at_once.apply(&merged);
            prop_assert_eq!(at_once, in_turn);
        }
    }
}
