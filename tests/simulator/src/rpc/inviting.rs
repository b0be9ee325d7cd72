//! Adding people to chats, and what the answer says of each.

use std::borrow::Cow;
use std::time::Instant;

use grammers_tl_types::{enums, functions, types};

use super::{Answer, Call};
use crate::error::RpcError;
use crate::world::books::MISSING_INVITEE;
use crate::world::floods::Reach;
use crate::world::ids::Peer;
use crate::world::inviting::NotAdded;
use crate::world::membership::Entrance;
use crate::world::view::Cast;

pub(super) fn invite_to_channel(
    call: &mut Call,
    request: functions::channels::InviteToChannel,
) -> Answer<functions::channels::InviteToChannel> {
    call.forbid_bots()?;
    let peer = Peer::Channel(call.input_channel(&request.channel)?);
    if let Peer::Channel(id) = peer {
        call.readable(id)?;
    }
    call.world.may_invite(call.me, peer)?;
    let mut people = Vec::new();
    for input in &request.users {
        let person = call.input_user(input)?;
        if !people.contains(&person) {
            people.push(person);
        }
    }
    call.invite(peer, &people)
}

/// Earlier messages are never forwarded, whatever `fwd_limit` says.
pub(super) fn add_chat_user(
    call: &mut Call,
    request: functions::messages::AddChatUser,
) -> Answer<functions::messages::AddChatUser> {
    call.forbid_bots()?;
    let peer = Peer::Group(request.chat_id);
    call.world.may_invite(call.me, peer)?;
    let person = call.input_user(&request.user_id)?;
    call.invite(peer, &[person])
}

impl Call<'_> {
    /// Adds people. Whose settings do not allow it is named in the answer. Other obstacles are an
    /// error if they are all that came of it; with others who were added or named, whoever they
    /// concern is just not there, as it was with several people in one call at all times.
    fn invite(
        &mut self,
        peer: Peer,
        people: &[i64],
    ) -> Result<enums::messages::InvitedUsers, RpcError> {
        if people.is_empty() {
            return Err("USERS_TOO_FEW".into());
        }
        let (limits, now) = (self.world.logins.limits, Instant::now());
        self.world.floods.count(self.me, (Reach::Invite, people.len()), &limits, now)?;
        let (mut updates, mut missing, mut obstacle) = (Vec::new(), Vec::new(), None);
        let mut added = false;
        for &person in people {
            match self.world.may_be_added(self.me, peer, person) {
                Ok(()) => {
                    self.world.note_invite(person, self.me, peer, None);
                    updates.extend(self.add(peer, person));
                    added = true;
                }
                Err(NotAdded::Missing { premium_would_allow_invite, premium_required_for_pm }) => {
                    let why = Cow::Borrowed(MISSING_INVITEE);
                    self.world.note_invite(person, self.me, peer, Some(why));
                    let user_id = person;
                    let invitee = types::MissingInvitee {
                        premium_would_allow_invite,
                        premium_required_for_pm,
                        user_id,
                    };
                    missing.push(invitee.into());
                }
                Err(NotAdded::Error(error)) => {
                    self.world.note_invite(person, self.me, peer, Some(error.name.clone()));
                    obstacle.get_or_insert(error);
                }
            }
        }
        if let Some(error) = obstacle.filter(|_| !added && missing.is_empty()) {
            return Err(error);
        }
        let people = people.iter().map(|person| Peer::User(*person));
        let cast = Cast::of(people.chain([peer, Peer::User(self.me)]));
        let updates = self.world.updates(self.me, updates, &cast);
        Ok(types::messages::InvitedUsers { updates, missing_invitees: missing }.into())
    }

    /// Adds one; answers what that means for the caller.
    fn add(&mut self, peer: Peer, person: i64) -> Vec<enums::Update> {
        let entrance = Entrance::Invited(self.me);
        let posted = self.world.join(peer, person, entrance, Some(self.origin));
        match self.changed(peer, posted) {
            enums::Updates::Updates(updates) => updates.updates,
            _ => Vec::new(),
        }
    }
}
