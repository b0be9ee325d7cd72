//! Groups of the fake's world into which people are invited: who is in them, who may invite, and what becomes of an
//! invitation.

use std::collections::BTreeSet;
use std::time::Duration;

use super::FakeTelegram;
use super::people::{Contacted, Population, Reach, refused};
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::telegram::chat::{MarkedId, PeerKind, PeerRecord};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::secret::SecretText;
use crate::telegram::group_rights::GroupRights;
use crate::telegram::invites::Missing;
use crate::telegram::outcome::Outcome;
use crate::telegram::rights::{ChatKind, ChatRights};

/// A group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Who is in it.
    pub(crate) members: BTreeSet<i64>,
    /// Members who may not invite.
    pub(crate) may_not_invite: BTreeSet<i64>,
    /// Who has left it by themselves.
    pub(crate) left: BTreeSet<i64>,
    /// Who was removed from it.
    pub(crate) banned: BTreeSet<i64>,
    /// Who waits for an admin.
    pub(crate) waiting: BTreeSet<i64>,
    /// Nobody more can be added.
    pub(crate) is_full: bool,
    /// An admin has to let people in.
    pub(crate) needs_approval: bool,
    /// The supergroup that this basic group has become.
    pub(crate) successor: Option<MarkedId>,
    /// Its invite link, once somebody has asked for it.
    pub(crate) link: Option<String>,
    /// Who came in by it.
    pub(crate) joined_by_link: u32,
}

impl FakeTelegram {
    /// A group with this title and maybe a public name.
    pub(crate) fn group(&self, id: MarkedId, title: &str, name: Option<&str>, group: Group) {
        self.chat(id, title, name);
        self.state().population.groups.insert(id, group);
    }

    /// Something of a group changes.
    pub(crate) fn change_group(&self, id: MarkedId, change: impl FnOnce(&mut Group)) {
        change(self.state().population.groups.get_mut(&id).expect("there is the group"));
    }

    /// How a group is now.
    pub(crate) fn group_now(&self, id: MarkedId) -> Group {
        self.state().population.groups[&id].clone()
    }
}

fn lost(code: &str) -> Failure {
    Failure::ChatLost { code: code.into() }
}

fn done(code: &str) -> Failure {
    Failure::AlreadyDone { code: code.into() }
}

impl Population {
    fn group_of(&self, group: MarkedId) -> Result<&Group, Failure> {
        self.groups.get(&group).ok_or_else(|| lost("CHAT_ID_INVALID"))
    }

    /// The group that is meant: what a basic group has become.
    fn newest(&self, group: MarkedId) -> Result<(MarkedId, &Group), Failure> {
        match self.group_of(group)?.successor {
            Some(successor) => Ok((successor, self.group_of(successor)?)),
            None => Ok((group, self.group_of(group)?)),
        }
    }

    pub(super) fn invite(
        &mut self,
        me: i64,
        group: MarkedId,
        person: &PeerRecord,
        at: Duration,
    ) -> Result<Outcome, Failure> {
        self.may_invite(me, group)?;
        self.named(me, person, "USER_ID_INVALID")?;
        let outcome = self.invited(me, group, person);
        let is_accepted = match &outcome {
            Ok(Outcome::Invited { missing }) => missing.is_none(),
            Ok(_) => false,
            Err(failure) => failure.code() == "INVITE_REQUEST_SENT",
        };
        let (person, reach) = (person.id.bare(), Reach::Invite(group));
        self.contacted.push(Contacted { at, person, by: me, reach, is_accepted });
        let place = self.groups.get_mut(&group);
        if let Some(place) = place.filter(|_| is_accepted) {
            let entered = if outcome.is_ok() { &mut place.members } else { &mut place.waiting };
            entered.insert(person);
        }
        outcome
    }

    fn may_invite(&self, me: i64, group: MarkedId) -> Result<(), Failure> {
        let place = self.group_of(group)?;
        if place.successor.is_some() || !place.members.contains(&me) {
            return Err(lost("CHAT_WRITE_FORBIDDEN"));
        }
        if place.may_not_invite.contains(&me) {
            return Err(lost("CHAT_ADMIN_REQUIRED"));
        }
        if place.is_full { Err(refused("USERS_TOO_MUCH")) } else { Ok(()) }
    }

    fn invited(&self, me: i64, group: MarkedId, person: &PeerRecord) -> Result<Outcome, Failure> {
        let (place, id) = (self.group_of(group)?, person.id.bare());
        let somebody = self.named(me, person, "USER_ID_INVALID")?;
        if place.members.contains(&id) {
            return Err(done("USER_ALREADY_PARTICIPANT"));
        }
        let code = match somebody {
            one if one.is_deleted => "INPUT_USER_DEACTIVATED",
            one if one.is_bot => "USER_BOT",
            _ if place.banned.contains(&id) => "USER_KICKED",
            _ if place.left.contains(&id) && !self.are_mutual(me, id) => "USER_NOT_MUTUAL_CONTACT",
            one if one.has_too_many_groups => "USER_CHANNELS_TOO_MUCH",
            _ => "",
        };
        if !code.is_empty() {
            return Err(refused(code));
        }
        if somebody.refuses_invites || somebody.needs_premium || somebody.blocks.contains(&me) {
            let missing = Missing {
                needs_premium: somebody.needs_premium && !somebody.refuses_invites,
                needs_premium_to_write: somebody.needs_premium,
            };
            return Ok(Outcome::Invited { missing: Some(missing) });
        }
        if place.needs_approval {
            return Err(done("INVITE_REQUEST_SENT"));
        }
        Ok(Outcome::Invited { missing: None })
    }

    pub(super) fn membership(
        &self,
        me: i64,
        group: MarkedId,
        person: &PeerRecord,
    ) -> Result<Outcome, Failure> {
        let (_, place) = self.newest(group)?;
        if !place.members.contains(&me) {
            return Err(lost("CHANNEL_PRIVATE"));
        }
        self.named(me, person, "PARTICIPANT_ID_INVALID")?;
        let id = person.id.bare();
        let sees_requests = !place.may_not_invite.contains(&me);
        let found = match place {
            place if place.members.contains(&id) => Membership::Member,
            place if place.banned.contains(&id) => Membership::Banned,
            place if place.left.contains(&id) => Membership::Left,
            place if place.waiting.contains(&id) && sees_requests => Membership::Requested,
            place if place.needs_approval && !sees_requests => Membership::Unknown,
            _ => Membership::Absent,
        };
        Ok(Outcome::Membership(found))
    }

    /// `rights` are what is said of the group as of any chat.
    pub(super) fn group_rights(
        &self,
        me: i64,
        mut rights: ChatRights,
    ) -> Result<GroupRights, Failure> {
        let asked = rights.peer.id;
        let (id, place) = self.newest(asked)?;
        rights.peer.id = id;
        rights.kind = match id.kind() {
            PeerKind::Group => ChatKind::Group,
            PeerKind::User | PeerKind::Channel => ChatKind::Supergroup,
        };
        rights.is_member = place.members.contains(&me);
        rights.can_invite = rights.is_member && !place.may_not_invite.contains(&me);
        let sees_members = rights.is_member;
        Ok(GroupRights {
            chat: rights,
            upgraded_from: (id != asked).then_some(asked),
            formerly: (id != asked).then_some(asked),
            members: u32::try_from(place.members.len()).ok(),
            is_full: Some(place.is_full),
            sees_members,
            needs_approval: place.needs_approval,
        })
    }

    pub(super) fn link(&mut self, me: i64, group: MarkedId) -> Result<Outcome, Failure> {
        let (id, place) = self.newest(group)?;
        if !place.members.contains(&me) || place.may_not_invite.contains(&me) {
            return Err(lost("CHAT_ADMIN_REQUIRED"));
        }
        let needs_approval = place.needs_approval;
        let place = self.groups.get_mut(&id).ok_or_else(|| lost("CHAT_ID_INVALID"))?;
        let link = place.link.get_or_insert_with(|| format!("https://t.me/+fake{}", id.bare()));
        Ok(Outcome::InviteLink { link: SecretText::new(link.clone()), needs_approval })
    }

    pub(super) fn link_uses(&self, group: MarkedId, link: &SecretText) -> Result<Outcome, Failure> {
        let (_, place) = self.newest(group)?;
        if place.link.as_deref() != Some(link.expose()) {
            return Err(lost("INVITE_HASH_EXPIRED"));
        }
        let waiting = u32::try_from(place.waiting.len()).unwrap_or(u32::MAX);
        Ok(Outcome::LinkUses { joined: place.joined_by_link, waiting })
    }
}
