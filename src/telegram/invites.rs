//! Invitations: one person into one group or channel, and whether they are in it afterwards. Says what Telegram
//! says; who is invited, how often and what follows is its callers' affair.

use grammers_client::tl;
use grammers_client::tl::enums::{
    ChannelParticipant, ChatFull, ChatParticipants, InputUser, MissingInvitee,
};

use super::chats::look_at;
use super::full_chat::look_at_length;
use super::link::RawCaller;
use super::outcome::Outcome;
use super::peers::{input_channel, input_peer, input_user};
use super::rights::{lets_people_in, no_chat};
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::telegram::chat::{MarkedId, PeerKind, PeerRecord};
use crate::protocol::telegram::failure::Failure;

/// Join requests on one page: the most that Telegram gives.
const REQUESTS_PAGE: i32 = 100;
/// Pages of join requests that are looked through, newest first.
const REQUEST_PAGES_MAX: usize = 5;
/// What Telegram says of somebody who is not in a group.
const OUTSIDE: &str = "USER_NOT_PARTICIPANT";

/// Somebody whom Telegram left out of an invitation without an error
/// (<https://core.telegram.org/constructor/missingInvitee>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// An account with Telegram Premium could invite them.
    pub needs_premium: bool,
    /// They take messages from accounts with Telegram Premium only: the link cannot be sent to them either.
    pub needs_premium_to_write: bool,
}

/// Invites one person. Of several in a call nobody could tell what became of each. No history is shown to them.
/// A repetition is told `USER_ALREADY_PARTICIPANT` at best: whose answer was lost is settled by [`membership`].
///
/// # Errors
/// [`Failure::TargetRefused`] for the person's affair, [`Failure::ChatLost`] for the account's in that group;
/// [`Failure::AlreadyDone`]: `USER_ALREADY_PARTICIPANT` who is in it, `INVITE_REQUEST_SENT` who waits for an admin.
pub(super) async fn invite(
    caller: &RawCaller,
    group: &PeerRecord,
    person: &PeerRecord,
) -> Result<Outcome, Failure> {
    let user = input_user(person)?;
    let answer = match group.id.kind() {
        PeerKind::User => return Err(no_chat()),
        PeerKind::Channel => {
            let (channel, users) = (input_channel(group), vec![user]);
            caller.call(&tl::functions::channels::InviteToChannel { channel, users }).await?
        }
        PeerKind::Group => {
            let (chat_id, user_id, fwd_limit) = (group.id.bare(), user, 0);
            let request = tl::functions::messages::AddChatUser { chat_id, user_id, fwd_limit };
            caller.call(&request).await?
        }
    };
    let tl::enums::messages::InvitedUsers::Users(answer) = answer;
    Ok(Outcome::Invited { missing: missing(&answer.missing_invitees, person.id) })
}

/// What is said of the one who was invited. There was nobody else, so whoever is missing is meant.
fn missing(all: &[MissingInvitee], person: MarkedId) -> Option<Missing> {
    let mut all = all.iter().map(|MissingInvitee::Invitee(invitee)| invitee);
    let first = all.next()?;
    let meant = std::iter::once(first).chain(all).find(|one| one.user_id == person.bare());
    let meant = meant.unwrap_or(first);
    Some(Missing {
        needs_premium: meant.premium_would_allow_invite,
        needs_premium_to_write: meant.premium_required_for_pm,
    })
}

/// Whether a person is in a group. An upgrade of a basic group is followed.
///
/// # Errors
/// [`Failure::ChatLost`] when the account does not see the members (`CHAT_ADMIN_REQUIRED` in channels), or the group:
/// another account may.
pub(super) async fn membership(
    caller: &RawCaller,
    group: &PeerRecord,
    person: &PeerRecord,
) -> Result<Membership, Failure> {
    // Refused before anybody is asked.
    input_user(person)?;
    match group.id.kind() {
        PeerKind::User => Err(no_chat()),
        PeerKind::Channel => in_channel(caller, group, person).await,
        PeerKind::Group => in_group(caller, group, person).await,
    }
}

async fn in_channel(
    caller: &RawCaller,
    group: &PeerRecord,
    person: &PeerRecord,
) -> Result<Membership, Failure> {
    let (channel, participant) = (input_channel(group), input_peer(person));
    let request = tl::functions::channels::GetParticipant { channel, participant };
    match caller.call(&request).await {
        Ok(tl::enums::channels::ChannelParticipant::Participant(answer)) => {
            Ok(place(&answer.participant))
        }
        Err(Failure::ChatLost { code }) if code == OUTSIDE => {
            outside_channel(caller, group, person).await
        }
        Err(failure) => Err(failure),
    }
}

fn place(participant: &ChannelParticipant) -> Membership {
    match participant {
        ChannelParticipant::Participant(_)
        | ChannelParticipant::ParticipantSelf(_)
        | ChannelParticipant::Creator(_)
        | ChannelParticipant::Admin(_) => Membership::Member,
        ChannelParticipant::Left(_) => Membership::Left,
        // Who may not even look at it was removed; others were only kept from something.
        ChannelParticipant::Banned(banned) => {
            let tl::enums::ChatBannedRights::Rights(taken) = &banned.banned_rights;
            match (taken.view_messages, banned.left) {
                (true, _) => Membership::Banned,
                (false, true) => Membership::Left,
                (false, false) => Membership::Member,
            }
        }
    }
}

/// Somebody who is not in it may wait for an admin, which only admins are told. In a group whose admins let people
/// in, others learn nothing.
async fn outside_channel(
    caller: &RawCaller,
    group: &PeerRecord,
    person: &PeerRecord,
) -> Result<Membership, Failure> {
    let tl::enums::Chat::Channel(channel) = look_at(caller, group).await? else {
        return Ok(Membership::Absent);
    };
    if lets_people_in(&channel) {
        return among_requests(caller, group, person).await;
    }
    Ok(if channel.join_request { Membership::Unknown } else { Membership::Absent })
}

/// Looks for the person among those who wait for an admin.
async fn among_requests(
    caller: &RawCaller,
    group: &PeerRecord,
    person: &PeerRecord,
) -> Result<Membership, Failure> {
    let mut request = tl::functions::messages::GetChatInviteImporters {
        requested: true,
        subscription_expired: false,
        peer: input_peer(group),
        link: None,
        q: None,
        offset_date: 0,
        offset_user: InputUser::Empty,
        limit: REQUESTS_PAGE,
    };
    for _ in 0..REQUEST_PAGES_MAX {
        let tl::enums::messages::ChatInviteImporters::Importers(page) =
            caller.call(&request).await?;
        let waiting = page.importers.iter();
        let mut waiting = waiting.map(|tl::enums::ChatInviteImporter::Importer(one)| one);
        if waiting.clone().any(|one| one.user_id == person.id.bare()) {
            return Ok(Membership::Requested);
        }
        let is_full = page.importers.len() >= REQUESTS_PAGE as usize;
        let Some(last) = waiting.next_back().filter(|_| is_full) else {
            return Ok(Membership::Absent);
        };
        let hash = page.users.iter().find_map(|user| match user {
            tl::enums::User::User(user) if user.id == last.user_id => user.access_hash,
            _ => None,
        });
        let (user_id, access_hash) = (last.user_id, hash.unwrap_or(0));
        request.offset_date = last.date;
        request.offset_user = tl::types::InputUser { user_id, access_hash }.into();
    }
    Ok(Membership::Unknown)
}

/// A basic group tells who is in it, and of nobody that they were.
async fn in_group(
    caller: &RawCaller,
    group: &PeerRecord,
    person: &PeerRecord,
) -> Result<Membership, Failure> {
    let found = look_at_length(caller, group).await?;
    if found.peer.id.kind() == PeerKind::Channel {
        return in_channel(caller, &found.peer, person).await;
    }
    let ChatFull::Full(full) = found.full else { return Ok(Membership::Unknown) };
    let id = person.id.bare();
    let ChatParticipants::Participants(members) = &full.participants else {
        return Ok(Membership::Unknown);
    };
    if members.participants.iter().any(|member| member.user_id() == id) {
        return Ok(Membership::Member);
    }
    // Those who asked last are named, the others counted.
    let asking = full.recent_requesters.unwrap_or_default();
    let all = usize::try_from(full.requests_pending.unwrap_or(0)).unwrap_or(0);
    match asking.contains(&id) {
        true => Ok(Membership::Requested),
        false if all > asking.len() => among_requests(caller, group, person).await,
        false => Ok(Membership::Absent),
    }
}

#[cfg(test)]
mod over_the_wire;
#[cfg(test)]
mod tests;
