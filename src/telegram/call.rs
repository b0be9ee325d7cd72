//! Calls: the things an account can be asked to do at Telegram. Each is a few calls, harmless
//! to repeat, so that one which has to wait goes back to its queue unattempted.

use std::sync::{Mutex, PoisonError};

use grammers_client::tl;

use super::link::RawCaller;
use super::outcome::Outcome;
use super::peers::PeerBook;
use super::people::NewContact;
use super::send::SendMessage;
use super::{chats, freeze, group_rights, history, invite_links, invites, people, rights, send};
use crate::clock::instant;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId, PeerKind, PeerRecord};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::pacing::MethodClass;
use crate::protocol::values::secret::SecretText;

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Find out what a chat is and how to name it.
    Resolve(ChatTarget),
    /// Find out whether the account is in the chat.
    Inspect(PeerRecord),
    /// See to it that Telegram's time is known, if its server answers.
    LearnTime,
    /// Find the newest message dated before `date` (Unix seconds).
    NewestBefore {
        /// The chat.
        peer: PeerRecord,
        /// Exclusive.
        date: i64,
    },
    /// Find where a channel's updates stand, for bots, which cannot read history.
    Position(PeerRecord),
    /// Fetch what happened in a channel since its updates stood at `pts`, for bots.
    Since {
        /// The channel.
        peer: PeerRecord,
        /// Exclusive.
        pts: i32,
    },
    /// Fetch the oldest messages after `after_id`: users from history, bots by their ids.
    History {
        /// The chat.
        peer: PeerRecord,
        /// Exclusive.
        after_id: i32,
        /// The highest id that the chat is known to have reached. Up to there ids that are missing
        /// are no end.
        known_id: i32,
    },
    /// Join a chat.
    Join(ChatTarget),
    /// Find out how to name whom a message is for, people and bots included.
    ResolveTarget(Target),
    /// Find out what the account may do in a chat, without joining it.
    Rights(ChatTarget),
    /// Send a message. Harmless to repeat with the same `random_id`, which Telegram remembers.
    Send(SendMessage),
    /// End the session at Telegram. Its success ends the key.
    LogOut,
    /// Find out whether Telegram has frozen the account.
    LookAtFreeze,
    /// Find a person and how to name them. By id only those whom the account has met.
    FindPerson(Identifier),
    /// Add a person to the account's contacts. Harmless to repeat.
    AddContact(NewContact),
    /// Invite one person into a group or channel. Not harmless to repeat: a lost answer leaves open whether it was
    /// done, which [`Call::Membership`] tells.
    Invite {
        /// Where.
        group: PeerRecord,
        /// Whom.
        person: PeerRecord,
    },
    /// Find out whether a person is in a group or channel.
    Membership {
        /// Where.
        group: PeerRecord,
        /// Who.
        person: PeerRecord,
    },
    /// Find out whether the account may invite into a group or channel, and whether there is room.
    GroupRights(ChatTarget),
    /// Find the link by which people come into a group or channel, or make one.
    InviteLink {
        /// Which.
        group: PeerRecord,
        /// What a new one is called: its admins see that.
        title: String,
    },
    /// Count who came by an invite link.
    LinkUses {
        /// Of which group or channel.
        group: PeerRecord,
        /// The link.
        link: SecretText,
    },
}

impl Call {
    /// The same by the number of a chat whose public name this account looked up a short while ago.
    #[must_use]
    pub fn shortened(self, peers: &Mutex<PeerBook>) -> Self {
        let known = |target: ChatTarget| match &target {
            ChatTarget::Username(name) => {
                lock(peers).named(name, instant()).map_or(target, ChatTarget::Marked)
            }
            ChatTarget::Marked(_) | ChatTarget::Invite(_) => target,
        };
        match self {
            Self::Resolve(target) => Self::Resolve(known(target)),
            Self::Rights(target) => Self::Rights(known(target)),
            Self::GroupRights(target) => Self::GroupRights(known(target)),
            Self::FindPerson(Identifier::Username(name)) => {
                let found = lock(peers).named(&name, instant());
                match found.filter(|id| id.kind() == PeerKind::User) {
                    Some(id) => Self::FindPerson(Identifier::Id(id.bare())),
                    None => Self::FindPerson(Identifier::Username(name)),
                }
            }
            Self::ResolveTarget(Target::Chat(target)) => {
                Self::ResolveTarget(Target::Chat(known(target)))
            }
            other => other,
        }
    }

    /// The public name that it looks up.
    fn looks_up(&self) -> Option<&str> {
        match self {
            Self::Resolve(ChatTarget::Username(name))
            | Self::Rights(ChatTarget::Username(name))
            | Self::GroupRights(ChatTarget::Username(name))
            | Self::ResolveTarget(Target::Chat(ChatTarget::Username(name))) => Some(name),
            Self::FindPerson(Identifier::Username(name)) => Some(name),
            _ => None,
        }
    }

    /// The class under which it is paced.
    pub fn class(&self) -> MethodClass {
        match self {
            Self::Resolve(ChatTarget::Username(_))
            | Self::Rights(ChatTarget::Username(_))
            | Self::GroupRights(ChatTarget::Username(_))
            | Self::FindPerson(Identifier::Username(_))
            | Self::ResolveTarget(Target::Chat(ChatTarget::Username(_)) | Target::Phone(_)) => {
                MethodClass::Resolve
            }
            Self::Join(_) => MethodClass::Join,
            Self::Send(_) => MethodClass::Send,
            Self::FindPerson(Identifier::Phone(_)) | Self::AddContact(_) => MethodClass::Contacts,
            // Making a link changes something: were it refused, reading must go on.
            Self::Invite { .. } | Self::InviteLink { .. } => MethodClass::Invite,
            Self::LogOut | Self::LookAtFreeze => MethodClass::Auth,
            Self::Resolve(ChatTarget::Marked(_) | ChatTarget::Invite(_))
            | Self::Rights(ChatTarget::Marked(_) | ChatTarget::Invite(_))
            | Self::GroupRights(ChatTarget::Marked(_) | ChatTarget::Invite(_))
            | Self::FindPerson(Identifier::Id(_))
            | Self::Membership { .. }
            | Self::LinkUses { .. }
            | Self::ResolveTarget(
                Target::Me | Target::Chat(ChatTarget::Marked(_) | ChatTarget::Invite(_)),
            )
            | Self::Inspect(_)
            | Self::LearnTime
            | Self::NewestBefore { .. }
            | Self::Position(_)
            | Self::History { .. } => MethodClass::Read,
            // The same call as the link's own, and so the same waits.
            Self::Since { .. } => MethodClass::Updates,
        }
    }

    /// The chat that it sends into: slow mode holds that one only.
    pub fn sends_into(&self) -> Option<MarkedId> {
        match self {
            Self::Send(message) => Some(message.peer.id),
            Self::Resolve(_)
            | Self::Inspect(_)
            | Self::LearnTime
            | Self::NewestBefore { .. }
            | Self::Position(_)
            | Self::Since { .. }
            | Self::History { .. }
            | Self::Join(_)
            | Self::ResolveTarget(_)
            | Self::Rights(_)
            | Self::LogOut
            | Self::LookAtFreeze
            | Self::FindPerson(_)
            | Self::AddContact(_)
            | Self::Invite { .. }
            | Self::Membership { .. }
            | Self::GroupRights(_)
            | Self::InviteLink { .. }
            | Self::LinkUses { .. } => None,
        }
    }

    /// The person that it looks for by an id alone, whom the account must have met: what is kept of them belongs
    /// into the peer book before it is made.
    pub fn looks_for(&self) -> Option<MarkedId> {
        match self {
            Self::FindPerson(Identifier::Id(id)) => Some(MarkedId::user(*id)),
            _ => None,
        }
    }

    /// The chat that it names. The account may know the chat's peer already.
    fn names(&self) -> Option<&ChatTarget> {
        match self {
            Self::Resolve(target)
            | Self::Join(target)
            | Self::Rights(target)
            | Self::GroupRights(target)
            | Self::ResolveTarget(Target::Chat(target)) => Some(target),
            _ => None,
        }
    }

    /// Does it. Peers met on the way are returned for the store.
    pub(super) async fn run(
        &self,
        caller: &RawCaller,
        peers: &Mutex<PeerBook>,
        is_bot: bool,
    ) -> Result<(Outcome, Vec<PeerRecord>), Failure> {
        let known = match self.looks_for() {
            Some(person) => lock(peers).get(person),
            None => self.names().and_then(|target| known_peer(peers, target)),
        };
        let performed = self.perform(caller, known, is_bot).await;
        let (outcome, mentioned) = performed.map_err(|failure| self.doubted(failure))?;
        let mut news = lock(peers).learn(&mentioned);
        news.extend(self.note_sought(&outcome, peers));
        Ok((outcome, news))
    }

    /// Takes note of the peer that was looked for, if one was found; answers what of it is news.
    pub(super) fn note_sought(
        &self,
        outcome: &Outcome,
        peers: &Mutex<PeerBook>,
    ) -> Vec<PeerRecord> {
        let Some(peer) = outcome.sought() else { return Vec::new() };
        let mut peers = lock(peers);
        let news = peers.learn_one(peer);
        if let Some(name) = self.looks_up() {
            peers.name(name, peer.id, instant());
        }
        news
    }

    /// Of what changes something, an answer that cannot be read leaves open whether it was done: as
    /// if none had come.
    fn doubted(&self, failure: Failure) -> Failure {
        let changes = matches!(
            self,
            Self::Join(_)
                | Self::Send(_)
                | Self::LogOut
                | Self::AddContact(_)
                | Self::Invite { .. }
                | Self::InviteLink { .. }
        );
        match failure {
            Failure::Unreadable { detail } if changes => Failure::Transient { detail },
            failure => failure,
        }
    }

    /// The calls themselves, and the chats that Telegram mentioned beside what was asked for.
    async fn perform(
        &self,
        caller: &RawCaller,
        known: Option<PeerRecord>,
        is_bot: bool,
    ) -> Result<(Outcome, Vec<tl::enums::Chat>), Failure> {
        let finding = match self {
            Self::Resolve(target) => chats::resolve(caller, target, known, is_bot).await?.into(),
            Self::ResolveTarget(target) => {
                chats::resolve_target(caller, target, known, is_bot).await?.into()
            }
            Self::Rights(target) => {
                Outcome::Rights(rights::look_up(caller, target, known, is_bot).await?)
            }
            Self::Join(target) => return chats::join(caller, target, known, is_bot).await,
            Self::Inspect(peer) => chats::inspect(caller, peer).await?,
            Self::LearnTime => {
                caller.learn_time().await;
                Outcome::TimeLearnt
            }
            Self::NewestBefore { peer, date } => {
                Outcome::NewestBefore(history::newest_before(caller, peer, *date).await?)
            }
            Self::Position(peer) => Outcome::Position(history::position(caller, peer).await?),
            Self::Since { peer, pts } => {
                Outcome::History(history::since(caller, peer, *pts).await?)
            }
            Self::History { peer, after_id, known_id } if is_bot => {
                let page = history::by_ids_after(caller, peer, *after_id, *known_id).await?;
                Outcome::History(page)
            }
            Self::History { peer, after_id, .. } => {
                Outcome::History(history::after(caller, peer, *after_id).await?)
            }
            Self::Send(message) => send::send(caller, message, is_bot).await?,
            Self::LookAtFreeze => Outcome::Frozen(freeze::is_frozen(caller).await?),
            Self::FindPerson(who) => people::find(caller, who, known).await?,
            Self::AddContact(contact) => people::add_contact(caller, contact).await?,
            Self::Invite { group, person } => invites::invite(caller, group, person).await?,
            Self::Membership { group, person } => {
                Outcome::Membership(invites::membership(caller, group, person).await?)
            }
            Self::GroupRights(target) => {
                Outcome::GroupRights(group_rights::look_up(caller, target, known, is_bot).await?)
            }
            Self::InviteLink { group, title } => {
                invite_links::find_or_make(caller, group, title).await?
            }
            Self::LinkUses { group, link } => invite_links::uses(caller, group, link).await?,
            Self::LogOut => {
                caller.call(&tl::functions::auth::LogOut {}).await?;
                Outcome::LoggedOut
            }
        };
        Ok((finding, Vec::new()))
    }
}

fn lock(peers: &Mutex<PeerBook>) -> std::sync::MutexGuard<'_, PeerBook> {
    peers.lock().unwrap_or_else(PoisonError::into_inner)
}

fn known_peer(peers: &Mutex<PeerBook>, target: &ChatTarget) -> Option<PeerRecord> {
    match target {
        ChatTarget::Marked(id) => lock(peers).get(*id),
        ChatTarget::Username(_) | ChatTarget::Invite(_) => None,
    }
}
