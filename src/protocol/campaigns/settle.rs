//! What follows an intent whose outcome is not known, after a crash or a lost answer. It is settled, never repeated
//! blindly: a message by the same `random_id` from the same account, an invitation by asking who is a member. Pure.

use super::target::{Intent, Reason, Step, TargetStatus};
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;

/// How long after a call its effect may still come about, milliseconds: before that, "not a member" proves nothing.
pub const SETTLE_AFTER_MS: i64 = 60_000;
/// How long Telegram is sure to remember a `random_id`, milliseconds (a day; how long it really is is not
/// documented). After that a repetition could be a second message, and a person decides.
pub const RANDOM_ID_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is to be done about an unsettled intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling {
    /// Nobody was reached by it: the target waits again.
    Again,
    /// The same message once more, from the same account.
    SendAgain {
        /// The account.
        account: AccountId,
        /// The same one.
        random_id: i64,
    },
    /// Ask who is a member of the group; any account that sees its members may.
    AskMembership {
        /// Not before this.
        not_before: UnixMillis,
    },
    /// Its account cannot do it now; nobody else may.
    WaitForAccount {
        /// The account.
        account: AccountId,
    },
    /// Its account is gone, or it was too long ago: a person decides.
    AskPerson,
}

/// What is known of the account that tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// It may call.
    Usable,
    /// It waits, or is not connected.
    Away,
    /// It is dead, frozen or removed.
    Gone,
}

/// What follows `intent`. `since_ms` is how long ago it was, on the steady timeline.
pub fn settle(intent: &Intent, account: AccountState, since_ms: i64, now: UnixMillis) -> Settling {
    match intent.step {
        Step::Resolve | Step::LookUpPhone | Step::AddContact => Settling::Again,
        Step::Invite => {
            let left = SETTLE_AFTER_MS.saturating_sub(since_ms).clamp(0, SETTLE_AFTER_MS);
            Settling::AskMembership { not_before: now.plus_ms(left) }
        }
        Step::Send | Step::SendLink => match account {
            AccountState::Gone => Settling::AskPerson,
            _ if since_ms >= RANDOM_ID_KEPT_MS => Settling::AskPerson,
            AccountState::Away => Settling::WaitForAccount { account: intent.account },
            AccountState::Usable => {
                Settling::SendAgain { account: intent.account, random_id: intent.random_id }
            }
        },
    }
}

/// What the group says about somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// In it.
    Member,
    /// Waits for an admin.
    Requested,
    /// Was in it and left by themselves.
    Left,
    /// Was removed, and may not come back.
    Banned,
    /// Not in it, and there is no trace of having been.
    Absent,
    /// It cannot be told; asked again later.
    Unknown,
}

/// What an uncertain invitation becomes by what the group says. `None`: it stays uncertain.
pub fn by_membership(found: Membership) -> Option<(TargetStatus, Option<Reason>)> {
    match found {
        Membership::Member => Some((TargetStatus::Invited, None)),
        Membership::Requested => Some((TargetStatus::Requested, None)),
        // Whoever was added and left has said no.
        Membership::Left | Membership::Banned => {
            Some((TargetStatus::Refused, Some(Reason::OptedOutOfGroup)))
        }
        Membership::Absent => Some((TargetStatus::Pending, None)),
        Membership::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn intent(step: Step) -> Intent {
        let account = AccountId(Uuid::from_u128(1));
        Intent { account, step, random_id: 7, at: UnixMillis(0), is_repeat: false }
    }

    #[test]
    fn a_message_is_settled_by_the_account_that_sent_it_and_by_nobody_else() {
        let account = AccountId(Uuid::from_u128(1));
        for step in [Step::Send, Step::SendLink] {
            let of = |state, since| settle(&intent(step), state, since, UnixMillis(5));
            assert_eq!(of(AccountState::Usable, 0), Settling::SendAgain { account, random_id: 7 });
            assert_eq!(of(AccountState::Away, 0), Settling::WaitForAccount { account });
            assert_eq!(of(AccountState::Gone, 0), Settling::AskPerson);
            assert_eq!(of(AccountState::Usable, RANDOM_ID_KEPT_MS), Settling::AskPerson);
        }
    }

    #[test]
    fn an_invitation_is_settled_by_membership_and_not_too_early() {
        let of = |since| settle(&intent(Step::Invite), AccountState::Gone, since, UnixMillis(5));
        assert_eq!(of(0), Settling::AskMembership { not_before: UnixMillis(5 + SETTLE_AFTER_MS) });
        assert_eq!(of(SETTLE_AFTER_MS), Settling::AskMembership { not_before: UnixMillis(5) });
        assert_eq!(by_membership(Membership::Member), Some((TargetStatus::Invited, None)));
        assert_eq!(
            by_membership(Membership::Left).map(|found| found.0),
            Some(TargetStatus::Refused)
        );
        assert_eq!(
            by_membership(Membership::Absent).map(|found| found.0),
            Some(TargetStatus::Pending)
        );
        assert_eq!(by_membership(Membership::Unknown), None);
        for (membership, status) in [
            (Membership::Requested, TargetStatus::Requested),
            (Membership::Banned, TargetStatus::Refused),
        ] {
            assert!(by_membership(membership).is_some_and(|found| found.0 == status));
        }
    }

    #[test]
    fn what_reaches_nobody_is_simply_done_again() {
        for step in [Step::Resolve, Step::LookUpPhone, Step::AddContact] {
            assert!(!step.reaches());
            assert_eq!(
                settle(&intent(step), AccountState::Gone, 0, UnixMillis(0)),
                Settling::Again
            );
        }
    }
}
