//! How much may wait for the broker. Pure: bytes in, state out.

use serde::Serialize;

/// How full the backlog is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Backlog {
    /// There is plenty of room.
    #[default]
    Roomy,
    /// Half of the budget is used: somebody should look after the broker.
    High,
    /// The budget is used up: no more updates are taken; Telegram keeps them.
    Full,
}

impl Backlog {
    /// The state after `bytes` of `max` are in use. What was entered is left only with some room
    /// to spare, so that it does not flap: every account hangs up when it is full and dials again
    /// when it no longer is, so a quarter of the budget has to be free by then.
    pub fn after(self, bytes: u64, max: u64) -> Self {
        let percent = bytes.saturating_mul(100) / max.max(1);
        match self {
            Self::Full if percent >= 75 => Self::Full,
            _ if percent >= 100 => Self::Full,
            Self::High | Self::Full if percent >= 45 => Self::High,
            _ if percent >= 50 => Self::High,
            _ => Self::Roomy,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_state_is_left_later_than_it_is_entered() {
        let mut state = Backlog::default();
        let mut seen = Vec::new();
        for bytes in [0, 49, 50, 99, 100, 150, 75, 74, 50, 45, 44, 49, 50] {
            state = state.after(bytes, 100);
            seen.push(state);
        }
        use Backlog::{Full, High, Roomy};
        let expected =
            [Roomy, Roomy, High, High, Full, Full, Full, High, High, High, Roomy, Roomy, High];
        assert_eq!(seen, expected);
    }

    proptest! {
        #[test]
        fn a_used_up_budget_is_always_full_and_an_empty_one_never(
            max in 1..u64::MAX / 200, over in any::<u64>(),
        ) {
            for state in [Backlog::Roomy, Backlog::High, Backlog::Full] {
                prop_assert_eq!(state.after(max.saturating_add(over), max), Backlog::Full);
                prop_assert_eq!(state.after(0, max), Backlog::Roomy);
            }
        }
    }
}
