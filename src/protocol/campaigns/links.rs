//! Invite links that a task has sent to people who could not be added, and who came by them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::users::owner::AccountId;

/// The link of one account, as the task sent it first. Each admin of a group has a link of their own
/// (<https://core.telegram.org/api/invites>).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentLink {
    /// Whose it is.
    pub account: AccountId,
    /// The link. Whoever has it may join.
    pub link: Box<str>,
    /// Who had come by it before.
    pub joined_before: u32,
}

impl fmt::Debug for SentLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentLink").field("account", &self.account).finish_non_exhaustive()
    }
}

/// How many came by links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkUses {
    /// Who came in.
    pub joined: u32,
    /// Who waits for an admin.
    pub waiting: u32,
}

impl LinkUses {
    /// What `now` says of a link that a task has sent: without those who came before.
    #[must_use]
    pub fn since(now: Self, sent: &SentLink) -> Self {
        Self { joined: now.joined.saturating_sub(sent.joined_before), ..now }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            joined: self.joined.saturating_add(other.joined),
            waiting: self.waiting.saturating_add(other.waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn those_who_came_before_are_not_counted_and_no_link_is_printed() {
        let sent = SentLink {
            account: AccountId(Uuid::from_u128(1)),
            link: "https://t.me/+secret".into(),
            joined_before: 40,
        };
        let uses = |joined, waiting| LinkUses { joined, waiting };
        assert_eq!(LinkUses::since(uses(43, 2), &sent), uses(3, 2));
        // A link that was made anew counts from nought.
        assert_eq!(LinkUses::since(uses(1, 0), &sent), uses(0, 0));
        assert_eq!(uses(3, 2).and(uses(u32::MAX, 1)), uses(u32::MAX, 3));
        assert!(!format!("{sent:?}").contains("secret"));
    }
}
