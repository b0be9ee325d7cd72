//! What follows an intent whose outcome is not known, after a crash or a lost answer. It is settled, never repeated
//! blindly: a message by the same `random_id` from the same account, an invitation by asking who is a member. Pure.

use super::target::{ATTEMPTS_MAX, Intent, Reason, Step, TargetStatus};
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;

/// How long after a call its effect may still come about, milliseconds: before that, "not a member" proves nothing.
pub const SETTLE_AFTER_MS: i64 = 60_000;
/// How long Telegram is sure to remember a `random_id`, milliseconds (a day; how long it really is is not
/// documented). After that a repetition could be a second message, and a person decides.
pub const RANDOM_ID_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;
/// The first pause before what is unclear is tried or looked at again, milliseconds.
const UNCLEAR_PAUSE_MS: i64 = 30_000;
/// The longest one.
const UNCLEAR_PAUSE_MAX_MS: i64 = 60 * 60 * 1_000;

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

/// How long ago an intent was tried first, milliseconds: by the clock that says more. The steady one stands still while
/// the daemon is down and nobody has told Telegram's time since; the other one may be set.
pub fn age_ms(intent: &Intent, steady: UnixMillis, wall: UnixMillis) -> i64 {
    let steady = steady.0.saturating_sub(intent.at.0);
    let wall = intent.wall.map_or(0, |at| wall.0.saturating_sub(at.0));
    steady.max(wall).max(0)
}

/// Whether a message that may have been sent may be sent once more: Telegram still knows its number then, and it was
/// not tried over and over. `attempts` are all that were made for the person.
pub fn may_be_repeated(age_ms: i64, attempts: u16) -> bool {
    age_ms < RANDOM_ID_KEPT_MS && attempts < ATTEMPTS_MAX
}

/// How long what is unclear waits for its next try or look, milliseconds: longer each time.
pub fn unclear_pause_ms(times: u16) -> i64 {
    UNCLEAR_PAUSE_MS.saturating_mul(1 << times.min(16)).min(UNCLEAR_PAUSE_MAX_MS)
}

/// What follows `intent`, which is `age_ms` old ([`age_ms`]) and was the last of so many `attempts`.
pub fn settle(
    intent: &Intent,
    account: AccountState,
    (age_ms, attempts): (i64, u16),
    now: UnixMillis,
) -> Settling {
    match intent.step {
        Step::Resolve | Step::LookUpPhone | Step::AddContact => Settling::Again,
        Step::Invite => {
            let left = SETTLE_AFTER_MS.saturating_sub(age_ms).clamp(0, SETTLE_AFTER_MS);
            Settling::AskMembership { not_before: now.plus_ms(left) }
        }
        Step::Send | Step::SendLink => match account {
            AccountState::Gone => Settling::AskPerson,
            _ if !may_be_repeated(age_ms, attempts) => Settling::AskPerson,
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

/// What an uncertain invitation becomes by what the group says, after so many `attempts`. `None`: it stays uncertain.
pub fn by_membership(found: Membership, attempts: u16) -> Option<(TargetStatus, Option<Reason>)> {
    match found {
        Membership::Member => Some((TargetStatus::Invited, None)),
        Membership::Requested => Some((TargetStatus::Requested, None)),
        // Whoever was added and left has said no.
        Membership::Left | Membership::Banned => {
            Some((TargetStatus::Refused, Some(Reason::OptedOutOfGroup)))
        }
        Membership::Absent if attempts >= ATTEMPTS_MAX => {
            Some((TargetStatus::Failed, Some(Reason::TooManyAttempts)))
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
        Intent { account, step, random_id: 7, at: UnixMillis(0), is_repeat: false, wall: None }
    }

    #[test]
    fn a_message_is_settled_by_the_account_that_sent_it_and_by_nobody_else() {
        let account = AccountId(Uuid::from_u128(1));
        for step in [Step::Send, Step::SendLink] {
            let of = |state, age| settle(&intent(step), state, (age, 1), UnixMillis(5));
            assert_eq!(of(AccountState::Usable, 0), Settling::SendAgain { account, random_id: 7 });
            assert_eq!(of(AccountState::Away, 0), Settling::WaitForAccount { account });
            assert_eq!(of(AccountState::Gone, 0), Settling::AskPerson);
            assert_eq!(of(AccountState::Usable, RANDOM_ID_KEPT_MS), Settling::AskPerson);
            let worn = (0, ATTEMPTS_MAX);
            let worn = settle(&intent(step), AccountState::Usable, worn, UnixMillis(5));
            assert_eq!(worn, Settling::AskPerson, "nobody is written to over and over");
        }
    }

    #[test]
    fn an_invitation_is_settled_by_membership_and_not_too_early() {
        let of = |age| settle(&intent(Step::Invite), AccountState::Gone, (age, 1), UnixMillis(5));
        let by_membership = |found| by_membership(found, 1);
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
                settle(&intent(step), AccountState::Gone, (0, 1), UnixMillis(0)),
                Settling::Again
            );
        }
    }

    #[test]
    fn somebody_who_never_comes_in_is_not_invited_for_ever() {
        let of = |attempts| by_membership(Membership::Absent, attempts).map(|found| found.0);
        assert_eq!(of(ATTEMPTS_MAX - 1), Some(TargetStatus::Pending));
        assert_eq!(of(ATTEMPTS_MAX), Some(TargetStatus::Failed));
        let is_in = by_membership(Membership::Member, ATTEMPTS_MAX).map(|found| found.0);
        assert_eq!(is_in, Some(TargetStatus::Invited));
    }

    #[test]
    fn an_intent_is_as_old_as_the_clock_says_that_says_more() {
        let known =
            Intent { at: UnixMillis(100), wall: Some(UnixMillis(1_000)), ..intent(Step::Send) };
        let of = |steady, wall| age_ms(&known, UnixMillis(steady), UnixMillis(wall));
        assert_eq!(of(150, 1_010), 50);
        assert_eq!(
            of(100, 90_001_000),
            90_000_000,
            "the daemon was down, and nobody told the time"
        );
        assert_eq!(of(150, 0), 50, "somebody has set the clock back");
        let older = Intent { wall: None, ..known };
        assert_eq!(age_ms(&older, UnixMillis(150), UnixMillis(90_001_000)), 50);
    }

    #[test]
    fn what_is_unclear_is_looked_at_less_and_less_often() {
        let pauses: Vec<i64> = (0..9).map(|times| unclear_pause_ms(times) / 1_000).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(unclear_pause_ms(u16::MAX), 3_600_000);
    }
}
