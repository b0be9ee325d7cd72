//! What statuses and reasons are called on the page for people.

use super::table::name_of;
use crate::protocol::campaigns::target::{Reason, TargetStatus};

/// A status.
pub(super) fn status(status: TargetStatus) -> &'static str {
    match status {
        TargetStatus::Pending => "waiting",
        TargetStatus::InFlight => "in flight",
        TargetStatus::Invited => "invited",
        TargetStatus::Requested => "asked to join",
        TargetStatus::Sent => "message sent",
        TargetStatus::Refused => "refused",
        TargetStatus::Failed => "failed",
        TargetStatus::Skipped => "left out",
        TargetStatus::Uncertain => "uncertain",
    }
}

/// A reason: its name, as words.
pub(super) fn reason(reason: Reason) -> String {
    let of = match reason {
        Reason::Suppressed => "does not want to be contacted",
        Reason::Recontact => "was contacted lately",
        Reason::Privacy => "privacy settings",
        Reason::Paid => "takes paid messages only",
        Reason::Blocked => "has blocked the account",
        Reason::OptedOutOfGroup => "has left the group",
        Reason::LinkSent => "got the invite link instead",
        Reason::NotFound => "nobody of that name",
        Reason::PhoneNotFound => "nobody found by that number",
        Reason::Duplicate => "the same person as another",
        other => return name_of(other).replace('_', " "),
    };
    of.to_owned()
}
