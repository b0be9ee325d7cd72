//! Invite links of groups and channels (<https://core.telegram.org/api/invites#invite-links>): the one that there
//! is, or one that is made once; and how many came by it. Never changes and never revokes a link: those that people
//! have must go on working.

use grammers_client::tl;
use grammers_client::tl::enums::{Chat, ExportedChatInvite, InputUser};

use super::full_chat::look_at_length;
use super::link::RawCaller;
use super::outcome::Outcome;
use super::peers::input_peer;
use super::rights::public_name;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::secret::SecretText;

/// The account's links that are looked through for one of ours: the most that Telegram gives.
const LINKS_PAGE: i32 = 100;
/// Longest title of a link, characters (<https://core.telegram.org/method/messages.exportChatInvite>).
const TITLE_MAX: usize = 32;

/// The link by which people come into a group or channel: its main one, its public name, one that was made before
/// under that title, or a new one. So a repetition finds what an earlier call has made.
///
/// # Errors
/// [`Failure::ChatLost`] (`CHAT_ADMIN_REQUIRED`) when the account may neither see nor make one.
pub(super) async fn find_or_make(
    caller: &RawCaller,
    group: &PeerRecord,
    title: &str,
) -> Result<Outcome, Failure> {
    let found = look_at_length(caller, group).await?;
    if let Some(link) = found.invite().and_then(lasting) {
        return Ok(outcome(link));
    }
    if let Chat::Channel(channel) = &found.chat
        && let Some(name) = public_name(channel)
    {
        let link = SecretText::new(format!("https://t.me/{name}"));
        return Ok(Outcome::InviteLink { link, needs_approval: channel.join_request });
    }
    let title: String = title.trim().chars().take(TITLE_MAX).collect();
    let peer = input_peer(&found.peer);
    let own = tl::functions::messages::GetExportedChatInvites {
        revoked: false,
        peer: peer.clone(),
        admin_id: InputUser::UserSelf,
        offset_date: None,
        offset_link: None,
        limit: LINKS_PAGE,
    };
    let tl::enums::messages::ExportedChatInvites::Invites(own) = caller.call(&own).await?;
    let mut lasting_ones = own.invites.iter().filter_map(lasting);
    if let Some(link) = lasting_ones
        .find(|link| link.permanent || link.title.as_deref().unwrap_or_default() == title)
    {
        return Ok(outcome(link));
    }
    let made = caller.call(&export(peer, title)).await?;
    lasting(&made)
        .map(outcome)
        .ok_or_else(|| Failure::Rejected { code: "INVITE_LINK_UNUSABLE".into() })
}

fn export(peer: tl::enums::InputPeer, title: String) -> tl::functions::messages::ExportChatInvite {
    tl::functions::messages::ExportChatInvite {
        legacy_revoke_permanent: false,
        request_needed: false,
        peer,
        expire_date: None,
        usage_limit: None,
        title: Some(title).filter(|title| !title.is_empty()),
        subscription_pricing: None,
    }
}

/// A link that works for everybody and for ever, for nothing.
fn lasting(invite: &ExportedChatInvite) -> Option<&tl::types::ChatInviteExported> {
    let ExportedChatInvite::ChatInviteExported(link) = invite else { return None };
    let is_bounded = link.expire_date.is_some()
        || link.usage_limit.is_some()
        || link.subscription_pricing.is_some();
    (!link.revoked && !is_bounded).then_some(link)
}

fn outcome(link: &tl::types::ChatInviteExported) -> Outcome {
    let text = SecretText::new(link.link.clone());
    Outcome::InviteLink { link: text, needs_approval: link.request_needed }
}

/// How many came in by a link, and how many wait for an admin. Public names are no links of this kind.
///
/// # Errors
/// [`Failure::ChatLost`]: `CHAT_ADMIN_REQUIRED`, `INVITE_HASH_EXPIRED` for a link that is none of the group's.
pub(super) async fn uses(
    caller: &RawCaller,
    group: &PeerRecord,
    link: &SecretText,
) -> Result<Outcome, Failure> {
    let (peer, link) = (input_peer(group), link.expose().to_owned());
    let answer =
        caller.call(&tl::functions::messages::GetExportedChatInvite { peer, link }).await?;
    let invite = match answer {
        tl::enums::messages::ExportedChatInvite::Invite(found) => found.invite,
        // What it was replaced by is another link.
        tl::enums::messages::ExportedChatInvite::Replaced(found) => found.invite,
    };
    Ok(match invite {
        ExportedChatInvite::ChatInviteExported(link) => counted(&link),
        ExportedChatInvite::ChatInvitePublicJoinRequests => {
            Outcome::LinkUses { joined: 0, waiting: 0 }
        }
    })
}

/// Counts of nought are left out of the answer.
fn counted(link: &tl::types::ChatInviteExported) -> Outcome {
    let count = |number: Option<i32>| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    Outcome::LinkUses { joined: count(link.usage), waiting: count(link.requested) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported() -> tl::types::ChatInviteExported {
        tl::types::ChatInviteExported {
            revoked: false,
            permanent: true,
            request_needed: false,
            link: "https://t.me/+AbC".into(),
            admin_id: 1,
            date: 1,
            start_date: None,
            expire_date: None,
            usage_limit: None,
            usage: None,
            requested: None,
            subscription_expired: None,
            title: None,
            subscription_pricing: None,
        }
    }

    #[test]
    fn only_a_link_that_lasts_is_handed_on() {
        let is_lasting = |change: fn(&mut tl::types::ChatInviteExported)| {
            let mut link = exported();
            change(&mut link);
            lasting(&link.into()).is_some()
        };
        assert!(is_lasting(|_| {}) && is_lasting(|link| link.request_needed = true));
        assert!(!is_lasting(|link| link.revoked = true));
        assert!(!is_lasting(|link| link.expire_date = Some(1)));
        assert!(!is_lasting(|link| link.usage_limit = Some(1)));
        assert!(lasting(&ExportedChatInvite::ChatInvitePublicJoinRequests).is_none());
    }

    #[test]
    fn a_new_link_revokes_none_and_bounds_nothing() {
        let made = export(tl::enums::InputPeer::Empty, "a campaign".into());
        assert!(!made.legacy_revoke_permanent && !made.request_needed);
        assert_eq!((made.expire_date, made.usage_limit), (None, None));
        assert_eq!(made.title.as_deref(), Some("a campaign"));
        assert_eq!(export(tl::enums::InputPeer::Empty, String::new()).title, None);
    }

    #[test]
    fn uses_that_are_not_told_are_none() {
        assert_eq!(counted(&exported()), Outcome::LinkUses { joined: 0, waiting: 0 });
        let used =
            tl::types::ChatInviteExported { usage: Some(3), requested: Some(2), ..exported() };
        assert_eq!(counted(&used), Outcome::LinkUses { joined: 3, waiting: 2 });
    }

    #[test]
    fn a_link_is_not_shown_in_logs() {
        let shown = format!("{:?}", outcome(&exported()));
        assert!(!shown.contains("AbC"), "{shown}");
    }
}
