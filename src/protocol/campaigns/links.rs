//! Invite links that a task has sent to people who could not be added, and who came by them.

use serde::{Deserialize, Serialize};

use crate::protocol::users::owner::AccountId;
use crate::protocol::values::fingerprint::Fingerprint;

/// The link of one account, as the task sent it first. Each admin of a group has a link of their own
/// (<https://core.telegram.org/api/invites>). The link itself is not kept: whoever has it may join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentLink {
    /// Whose it is.
    pub account: AccountId,
    /// Tells it from another one.
    fingerprint: u64,
    /// Who had come by it before.
    pub joined_before: u32,
}

impl SentLink {
    /// `link` of `account` is sent for the first time.
    pub fn of(account: AccountId, link: &str, joined_before: u32) -> Self {
        Self { account, fingerprint: fingerprint(link), joined_before }
    }

    /// Whether it is this one.
    pub fn is(&self, link: &str) -> bool {
        self.fingerprint == fingerprint(link)
    }
}

fn fingerprint(link: &str) -> u64 {
    let Fingerprint(whole) = Fingerprint::of([link.as_bytes()]);
    whole.first_chunk::<8>().map_or(0, |part| u64::from_be_bytes(*part))
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
    fn those_who_came_before_are_not_counted_and_no_link_is_kept() {
        let sent = SentLink::of(AccountId(Uuid::from_u128(1)), "https://t.me/+secret", 40);
        assert!(sent.is("https://t.me/+secret") && !sent.is("https://t.me/+another"));
        let uses = |joined, waiting| LinkUses { joined, waiting };
        assert_eq!(LinkUses::since(uses(43, 2), &sent), uses(3, 2));
        // A link that was made anew counts from nought.
        assert_eq!(LinkUses::since(uses(1, 0), &sent), uses(0, 0));
        assert_eq!(uses(3, 2).and(uses(u32::MAX, 1)), uses(u32::MAX, 3));
        let kept = serde_json::to_string(&sent).unwrap();
        assert!(!kept.contains("secret") && !format!("{sent:?}").contains("secret"));
        assert_eq!(serde_json::from_str::<SentLink>(&kept).unwrap(), sent);
    }
}
