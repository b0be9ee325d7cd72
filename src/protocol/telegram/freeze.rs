//! What Telegram does to an account that it has frozen: it may read, and calls that change something
//! are refused until its owner has appealed in an official app
//! (<https://core.telegram.org/api/auth#frozen-accounts>). Pure: which calls are not made
//! any more, and when to look again.

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::pacing::MethodClass;
use crate::protocol::values::ids::UnixMillis;

/// Between two looks whether it still is, milliseconds: a day. An appeal takes people days.
pub const LOOK_EVERY_MS: i64 = 24 * 60 * 60 * 1_000;
/// After a look to which there was no answer, milliseconds.
pub const LOOK_SOON_MS: i64 = 60 * 60 * 1_000;

/// A freeze that an account was told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Telegram's error name.
    pub code: String,
    /// Since when it is known.
    pub since: UnixMillis,
    /// When to look again.
    pub look_at: UnixMillis,
    /// The classes that were refused: until `look_at` nothing of them is called.
    pub classes: Vec<MethodClass>,
}

impl Frozen {
    /// A call of `class` was refused at `now` with `code`. `known`: the freeze as it was known
    /// before, if it was.
    #[must_use]
    pub fn refused(known: Option<Self>, code: &str, class: MethodClass, now: UnixMillis) -> Self {
        let mut frozen = known.unwrap_or_else(|| Self {
            code: code.to_owned(),
            since: now,
            look_at: now,
            classes: Vec::new(),
        });
        code.clone_into(&mut frozen.code);
        frozen.look_at = now.plus_ms(LOOK_EVERY_MS);
        // The other one is about a single chat: others can still be read.
        if code != ONE_CHAT && !frozen.classes.contains(&class) {
            frozen.classes.push(class);
        }
        frozen
    }

    /// It is about to be looked at `now`, which may need a connection. Without an answer it is looked
    /// at again soon. Answers whether connecting was refused up to now.
    pub fn look(&mut self, now: UnixMillis) -> bool {
        let before = self.classes.len();
        self.look_at = now.plus_ms(LOOK_SOON_MS);
        self.classes.retain(|class| *class != MethodClass::Auth);
        self.classes.len() < before
    }

    /// It was looked at `now`, and it still is.
    #[must_use]
    pub fn seen(self, now: UnixMillis) -> Self {
        Self { look_at: now.plus_ms(LOOK_EVERY_MS), ..self }
    }

    /// Whether calls of `class` are not made at `now`.
    pub fn holds(&self, class: MethodClass, now: UnixMillis) -> bool {
        self.left(class, now) > 0
    }

    /// How long calls of `class` are not made yet at `now`, milliseconds.
    pub fn left(&self, class: MethodClass, now: UnixMillis) -> u64 {
        if self.classes.contains(&class) { self.until_look(now) } else { 0 }
    }

    /// How long it is yet at `now` until it is looked again, milliseconds.
    pub fn until_look(&self, now: UnixMillis) -> u64 {
        u64::try_from(self.look_at.0.saturating_sub(now.0)).unwrap_or(0)
    }

    /// A call of `class` was not refused. Answers whether the freeze is over by that.
    pub fn passed(&mut self, class: MethodClass) -> bool {
        let before = self.classes.len();
        self.classes.retain(|held| *held != class);
        before > 0 && self.classes.is_empty()
    }

    /// What callers are told.
    pub fn failure(&self) -> Failure {
        Failure::Frozen { code: self.code.clone() }
    }
}

/// Said of a chat that a frozen account is not in.
pub const ONE_CHAT: &str = "FROZEN_PARTICIPANT_MISSING";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const METHOD: &str = "FROZEN_METHOD_INVALID";

    #[test]
    fn what_was_refused_is_not_called_again_for_a_day_and_everything_else_is() {
        let now = UnixMillis(1_000);
        let frozen = Frozen::refused(None, METHOD, MethodClass::Send, now);
        assert!(frozen.holds(MethodClass::Send, now));
        assert!(frozen.holds(MethodClass::Send, now.plus_ms(LOOK_EVERY_MS - 1)));
        assert!(!frozen.holds(MethodClass::Read, now));
        assert!(!frozen.holds(MethodClass::Send, now.plus_ms(LOOK_EVERY_MS)));
    }

    #[test]
    fn a_look_may_connect_and_nothing_else() {
        let now = UnixMillis(1_000);
        let frozen = Frozen::refused(None, METHOD, MethodClass::Send, now);
        let mut frozen = Frozen::refused(Some(frozen), METHOD, MethodClass::Auth, now);
        assert!(frozen.holds(MethodClass::Auth, now));
        assert!(frozen.look(now));
        assert!(!frozen.look(now), "it was allowed already");
        assert!(!frozen.holds(MethodClass::Auth, now));
        assert!(frozen.holds(MethodClass::Send, now));
        let frozen = frozen.seen(now);
        assert!(frozen.holds(MethodClass::Send, now.plus_ms(LOOK_EVERY_MS - 1)));
    }

    #[test]
    fn a_chat_that_it_is_not_in_says_nothing_of_other_chats() {
        let frozen = Frozen::refused(None, ONE_CHAT, MethodClass::Read, UnixMillis(1_000));
        assert!(!frozen.holds(MethodClass::Read, UnixMillis(1_000)));
    }

    #[test]
    fn it_is_over_when_all_that_was_refused_is_allowed_again() {
        let now = UnixMillis(1_000);
        let frozen = Frozen::refused(None, METHOD, MethodClass::Send, now);
        let later = now.plus_ms(LOOK_EVERY_MS);
        let mut frozen = Frozen::refused(Some(frozen), METHOD, MethodClass::Join, later);
        assert_eq!(frozen.since, now, "it is the same freeze");
        assert!(!frozen.passed(MethodClass::Read));
        assert!(!frozen.passed(MethodClass::Send));
        assert!(frozen.passed(MethodClass::Join));
    }

    proptest! {
        /// However often calls are refused: at most one of each class a day is made.
        #[test]
        fn nothing_that_was_refused_is_called_more_often_than_once_a_day(
            steps in prop::collection::vec((0..3_usize, 0..200_000_000_i64), 1..60),
        ) {
            let classes = [MethodClass::Send, MethodClass::Join, MethodClass::Read];
            let (mut frozen, mut now) = (None::<Frozen>, UnixMillis(0));
            let mut last = [None::<UnixMillis>; 3];
            for (which, pause) in steps {
                now = now.plus_ms(pause);
                let class = classes[which];
                if frozen.as_ref().is_some_and(|frozen| frozen.holds(class, now)) {
                    continue;
                }
                if let Some(last) = last[which] {
                    prop_assert!(now.0 - last.0 >= LOOK_EVERY_MS);
                }
                last[which] = Some(now);
                frozen = Some(Frozen::refused(frozen, METHOD, class, now));
            }
        }
    }
}
