//! Whether where the updates stand, as it is stored, is why one link after another ends. What the library
//! or its bounds cannot digest would come again with the same state, for ever.

/// After this many panics of the library in a row the stored state is left behind.
const PANICS_MAX: u32 = 2;
/// After this many links in a row that ended because of what came over them it is, too. More, since a
/// bot may lose by it what was said where it cannot ask by ids.
const UNREADABLE_MAX: u32 = 4;

/// See the module. Both are counted since a link last was stable.
#[derive(Debug, Default)]
pub(super) struct StateDoubt {
    panics: u32,
    unreadable: u32,
}

impl StateDoubt {
    /// The library panicked. Answers how often it did in a row.
    pub(super) fn panicked(&mut self) -> u32 {
        self.panics = self.panics.saturating_add(1);
        self.panics
    }

    /// A link ended because of what came over it.
    pub(super) fn unreadable(&mut self) {
        self.unreadable = self.unreadable.saturating_add(1);
    }

    /// A link is stable.
    pub(super) fn settled(&mut self) {
        *self = Self::default();
    }

    /// Whether the next link is to start from now instead of from the stored state. Then it is
    /// counted anew.
    pub(super) fn starts_afresh(&mut self) -> bool {
        let afresh = self.panics >= PANICS_MAX || self.unreadable >= UNREADABLE_MAX;
        if afresh {
            *self = Self::default();
        }
        afresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many ends a link starts from now.
    fn ends_until_afresh(doubt: &mut StateDoubt, end: impl Fn(&mut StateDoubt)) -> u32 {
        let ends = (1..100).find(|_| {
            end(doubt);
            doubt.starts_afresh()
        });
        ends.expect("it is not asked for the same for ever")
    }

    #[test]
    fn a_state_with_which_links_end_again_and_again_is_left_behind() {
        let mut doubt = StateDoubt::default();
        assert!(!doubt.starts_afresh());
        assert_eq!(ends_until_afresh(&mut doubt, StateDoubt::unreadable), UNREADABLE_MAX);
        assert!(!doubt.starts_afresh(), "it is counted anew");
        assert_eq!(ends_until_afresh(&mut doubt, StateDoubt::unreadable), UNREADABLE_MAX);
        let panics = ends_until_afresh(&mut doubt, |doubt| {
            doubt.panicked();
        });
        assert_eq!(panics, PANICS_MAX);
    }

    #[test]
    fn ends_between_which_a_link_was_stable_are_not_counted_together() {
        let mut doubt = StateDoubt::default();
        for _ in 0..100 {
            doubt.unreadable();
            doubt.panicked();
            assert!(!doubt.starts_afresh());
            doubt.settled();
        }
    }
}
