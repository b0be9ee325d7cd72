//! People of the fake's world who may be found, added to contacts and written to: their names, phones and settings;
//! and the book of who was reached by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::FakeTelegram;
use super::groups::Group;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::telegram::chat::{MarkedId, PeerKind, PeerRecord};
use crate::protocol::telegram::failure::{Failure, NOT_A_PERSON};
use crate::protocol::values::secret::SecretText;
use crate::telegram::outcome::Outcome;
use crate::telegram::people::{NewContact, PersonCard, contact_name};
use crate::telegram::send::SendMessage;

/// Somebody who may be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Somebody {
    /// Public name, lower case.
    pub(crate) username: Option<String>,
    /// Phone number: digits of E.164.
    pub(crate) phone: Option<u64>,
    /// Nobody finds them by it.
    pub(crate) hides_phone: bool,
    /// First name; "person <id>" when empty.
    pub(crate) first_name: String,
    /// Last name.
    pub(crate) last_name: String,
    /// A bot.
    pub(crate) is_bot: bool,
    /// The account was deleted.
    pub(crate) is_deleted: bool,
    /// Invitations come back with them missing.
    pub(crate) refuses_invites: bool,
    /// Only accounts with premium reach them.
    pub(crate) needs_premium: bool,
    /// What a message to them costs, in stars.
    pub(crate) price: Option<u32>,
    /// In as many groups as Telegram allows.
    pub(crate) has_too_many_groups: bool,
    /// People whom they have blocked.
    pub(crate) blocks: BTreeSet<i64>,
}

/// How somebody was to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// By an invitation into this group.
    Invite(MarkedId),
    /// By a message.
    Message,
}

/// An attempt to reach somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contacted {
    /// When, since the fake was made.
    pub(crate) at: Duration,
    /// Whom.
    pub(crate) person: i64,
    /// The person who tried.
    pub(crate) by: i64,
    /// How.
    pub(crate) reach: Reach,
    /// Whether they were reached.
    pub(crate) is_accepted: bool,
}

#[derive(Default)]
pub(super) struct Population {
    people: BTreeMap<i64, Somebody>,
    /// Who has whom among the contacts.
    contacts: BTreeSet<(i64, i64)>,
    pub(super) groups: BTreeMap<MarkedId, Group>,
    pub(super) contacted: Vec<Contacted>,
}

impl FakeTelegram {
    /// There is somebody with this id.
    pub(crate) fn somebody(&self, id: i64, somebody: Somebody) {
        self.state().population.people.insert(id, somebody);
    }

    /// Something of somebody changes.
    pub(crate) fn change_somebody(&self, id: i64, change: impl FnOnce(&mut Somebody)) {
        change(self.state().population.people.get_mut(&id).expect("there is somebody"));
    }

    /// `owner` has `person` among the contacts.
    pub(crate) fn add_contact(&self, owner: i64, person: i64) {
        self.state().population.contacts.insert((owner, person));
    }

    /// Whether `owner` has `person` among the contacts.
    pub(crate) fn has_contact(&self, owner: i64, person: i64) -> bool {
        self.state().population.contacts.contains(&(owner, person))
    }

    /// How the person `owner` names somebody: other people's access hashes differ.
    pub(crate) fn peer_of(&self, owner: i64, person: i64) -> PeerRecord {
        self.state().population.peer(owner, person)
    }

    /// Every attempt to reach somebody, in order.
    pub(crate) fn contacted(&self) -> Vec<Contacted> {
        self.state().population.contacted.clone()
    }
}

pub(super) fn refused(code: &str) -> Failure {
    Failure::TargetRefused { code: code.into() }
}

impl Population {
    fn peer(&self, owner: i64, person: i64) -> PeerRecord {
        let is_bot = self.people.get(&person).is_some_and(|somebody| somebody.is_bot);
        let (id, access_hash) = (MarkedId::user(person), owner * 1_000_003 + person);
        PeerRecord { id, access_hash, is_bot, is_broadcast: false }
    }

    /// Somebody whom `me` names; `code` is what Telegram says of an access hash that is not its own.
    pub(super) fn named(
        &self,
        me: i64,
        peer: &PeerRecord,
        code: &str,
    ) -> Result<&Somebody, Failure> {
        if peer.id.kind() != PeerKind::User {
            return Err(refused(NOT_A_PERSON));
        }
        let is_own = *peer == self.peer(me, peer.id.bare());
        let somebody = self.people.get(&peer.id.bare()).filter(|_| is_own);
        somebody.ok_or_else(|| refused(code))
    }

    pub(super) fn are_mutual(&self, one: i64, other: i64) -> bool {
        [(one, other), (other, one)].iter().all(|pair| self.contacts.contains(pair))
    }

    /// `known` is what the account keeps of the one it names by id; `chats` are public names of chats.
    pub(super) fn find(
        &self,
        me: i64,
        who: &Identifier,
        known: Option<PeerRecord>,
        is_chat: impl Fn(&str) -> bool,
    ) -> Result<Outcome, Failure> {
        let by = |is_meant: &dyn Fn(&Somebody) -> bool| {
            self.people.iter().find(|(_, somebody)| is_meant(somebody)).map(|(id, _)| *id)
        };
        let id = match who {
            Identifier::Id(id) => {
                let peer = known.ok_or_else(|| refused("USER_ID_INVALID"))?;
                self.named(me, &peer, "USER_ID_INVALID")?;
                *id
            }
            Identifier::Username(name) if is_chat(name) => return Err(refused(NOT_A_PERSON)),
            Identifier::Username(name) => by(&|one| one.username.as_deref() == Some(name))
                .ok_or_else(|| refused("USERNAME_NOT_OCCUPIED"))?,
            Identifier::Phone(phone) => by(&|one| one.phone == Some(*phone) && !one.hides_phone)
                .ok_or_else(|| refused("PHONE_NOT_OCCUPIED"))?,
        };
        Ok(Outcome::Person { peer: self.peer(me, id), card: self.card(me, id) })
    }

    fn card(&self, me: i64, id: i64) -> PersonCard {
        let somebody = &self.people[&id];
        let is_contact = self.contacts.contains(&(me, id));
        let phone = somebody.phone.filter(|_| is_contact);
        let named = Some(&somebody.first_name).filter(|name| !name.is_empty()).cloned();
        PersonCard {
            id,
            usernames: somebody.username.iter().cloned().collect(),
            first_name: named.or_else(|| Some(format!("person {id}"))),
            last_name: Some(&somebody.last_name).filter(|name| !name.is_empty()).cloned(),
            phone: phone.map(|digits| SecretText::new(digits.to_string())),
            is_bot: somebody.is_bot,
            is_deleted: somebody.is_deleted,
            is_contact,
            is_mutual_contact: self.are_mutual(me, id),
        }
    }

    pub(super) fn befriend(&mut self, me: i64, contact: &NewContact) -> Result<Outcome, Failure> {
        if contact_name(&contact.first_name, &contact.last_name).is_none() {
            return Err(Failure::Rejected { code: "CONTACT_NAME_EMPTY".into() });
        }
        let is_deleted = self.named(me, &contact.person, "CONTACT_ID_INVALID")?.is_deleted;
        let id = contact.person.id.bare();
        if is_deleted || id == me {
            return Err(refused("CONTACT_ID_INVALID"));
        }
        self.contacts.insert((me, id));
        Ok(Outcome::ContactAdded { is_mutual: self.are_mutual(me, id) })
    }

    /// A message that was not sent before. Chats, and people of whom nothing is known here, take everything.
    pub(super) fn write_to(
        &mut self,
        me: i64,
        message: &SendMessage,
        at: Duration,
    ) -> Result<(), Failure> {
        let id = message.peer.id;
        if id.kind() != PeerKind::User || !self.people.contains_key(&id.bare()) {
            return Ok(());
        }
        let taken = self.takes_message(me, &message.peer);
        let (person, is_accepted) = (id.bare(), taken.is_ok());
        let reach = Reach::Message;
        self.contacted.push(Contacted { at, person, by: me, reach, is_accepted });
        taken
    }

    fn takes_message(&self, me: i64, peer: &PeerRecord) -> Result<(), Failure> {
        let somebody = self.named(me, peer, "USER_ID_INVALID")?;
        let person = peer.id.bare();
        let is_welcome = self.contacts.contains(&(person, me));
        let blocks_them = self.people.get(&me).is_some_and(|own| own.blocks.contains(&person));
        let code = match somebody {
            one if one.is_deleted => "INPUT_USER_DEACTIVATED",
            _ if blocks_them => "YOU_BLOCKED_USER",
            one if one.blocks.contains(&me) => "USER_IS_BLOCKED",
            one if one.needs_premium && !is_welcome => "PRIVACY_PREMIUM_REQUIRED",
            one if one.price.is_some() && !is_welcome => "ALLOW_PAYMENT_REQUIRED",
            _ => return Ok(()),
        };
        Err(refused(code))
    }
}

#[cfg(test)]
mod tests;
