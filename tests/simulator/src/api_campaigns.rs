//! The acts of the control API that are about reaching people: address books, invite links, and
//! the books of who was reached by whom.

use crate::clock::unix_seconds;
use crate::server::Server;
use crate::server::link::End;
use crate::shapes::ApiError;
use crate::shapes_campaigns::{ContactEntry, LinkInfo, NewContact, NewLink};
use crate::world::World;
use crate::world::books::Contacted;
use crate::world::ids::Peer;
use crate::world::limits::Limits;
use crate::world::links::{InviteLink, hash_of};
use crate::world::membership::Entrance;

impl Server {
    /// Sets the limits; what accounts have done until then does not count any more.
    pub(crate) fn set_limits(&self, limits: Limits) {
        let mut world = self.world();
        world.logins.limits = limits;
        world.floods = crate::world::floods::Floods::default();
        for user in world.users.values_mut() {
            (user.imported, user.looked_up) = (0, 0);
        }
    }

    /// Every attempt of a client to reach a person, oldest first.
    pub(crate) fn contacted(&self) -> Vec<Contacted> {
        self.world().books.contacted().to_vec()
    }

    /// An account's address book.
    pub(crate) fn contacts(&self, user_id: i64) -> Result<Vec<ContactEntry>, ApiError> {
        let world = self.world();
        let user = world.user(world.existing(user_id)?);
        let entry = |(&id, contact): (&i64, &crate::world::contacts::Contact)| ContactEntry {
            user_id: id,
            first_name: contact.first_name.clone(),
            last_name: contact.last_name.clone(),
            phone: contact.phone.clone(),
            mutual: world.has_contact(id, user_id),
            shares_phone: contact.shares_phone,
            date: contact.added,
        };
        Ok(user.book.contacts.iter().map(entry).collect())
    }

    /// Puts somebody into an account's address book.
    pub(crate) fn add_contact(&self, user_id: i64, new: NewContact) -> Result<(), ApiError> {
        let mut world = self.world();
        let (owner, id) = (world.existing(user_id)?, world.existing(new.user_id)?);
        let known = world.user(id).first_name.clone();
        let (first, last) = (new.first_name.unwrap_or(known), new.last_name.unwrap_or_default());
        let phone = String::new();
        world.put_contact(owner, id, first, last, phone, new.shares_phone);
        Ok(())
    }

    /// Takes somebody out of an account's address book.
    pub(crate) fn remove_contact(&self, user_id: i64, contact: i64) -> Result<(), ApiError> {
        let mut world = self.world();
        let owner = world.existing(user_id)?;
        world.drop_contact(owner, contact);
        Ok(())
    }

    /// Deletes an account; its connections close.
    pub(crate) fn delete_account(&self, user_id: i64) -> Result<(), ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        world.disconnect(user, End::Now);
        world.delete_account(user);
        Ok(())
    }

    /// Somebody leaves a chat by themselves.
    pub(crate) fn leave(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        let mut world = self.world();
        let (peer, user) = (world.existing_chat(chat_id)?, world.existing(user_id)?);
        world.leave_freely(peer, user, None);
        Ok(())
    }

    /// Somebody uses an invite link: answers whether they are inside now, or wait to be let in.
    pub(crate) fn join(&self, user_id: i64, link: &str) -> Result<bool, ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        let hash = hash_of(link).to_owned();
        let none = || ApiError::NotFound("such link that works".to_owned());
        let link = world.invites.get(&hash).filter(|link| link.works(unix_seconds()));
        let (peer, request_needed) =
            link.map(|link| (link.peer, link.request_needed)).ok_or_else(none)?;
        if world.user(user).chats.contains(&peer) {
            return Ok(true);
        }
        if request_needed {
            world.ask_in(&hash, user);
            return Ok(false);
        }
        world.join(peer, user, Entrance::InviteLink, None);
        world.note_use(&hash, user);
        Ok(true)
    }

    /// Lets somebody in who asked for it, or not.
    pub(crate) fn answer_request(
        &self,
        chat_id: i64,
        user_id: i64,
        approved: bool,
    ) -> Result<(), ApiError> {
        let mut world = self.world();
        let (peer, user) = (world.existing_chat(chat_id)?, world.existing(user_id)?);
        let answered = world.answer_request(peer, user, approved);
        answered.map_err(|error| ApiError::Invalid(error.name.into_owned()))
    }

    /// Makes an invite link.
    pub(crate) fn add_link(&self, chat_id: i64, new: NewLink) -> Result<LinkInfo, ApiError> {
        let mut world = self.world();
        let peer = world.existing_chat(chat_id)?;
        if let Some(creator) = new.creator {
            world.existing(creator)?;
        }
        let hash = world.add_link(peer, |link| InviteLink {
            creator: new.creator,
            title: new.title,
            expires: new.expire_date,
            usage_limit: new.usage_limit,
            request_needed: new.request_needed,
            ..link
        });
        Ok(link_info(&world.invites[&hash]))
    }

    /// A chat's invite links with what became of them, oldest first.
    pub(crate) fn links(&self, chat_id: i64) -> Result<Vec<LinkInfo>, ApiError> {
        let world = self.world();
        let peer: Peer = world.existing_chat(chat_id)?;
        Ok(links(&world, peer))
    }
}

fn links(world: &World, peer: Peer) -> Vec<LinkInfo> {
    world.links_of(peer).map(link_info).collect()
}

fn link_info(link: &InviteLink) -> LinkInfo {
    LinkInfo {
        invite_link: link.url(),
        creator: link.creator,
        title: link.title.clone(),
        request_needed: link.request_needed,
        revoked: link.revoked,
        uses: link.uses.keys().copied().collect(),
        requests: link.requests.keys().copied().collect(),
    }
}
