//! Calls: the things an account can be asked to do at Telegram. Each is a few calls, harmless
//! to repeat, so that one which has to wait goes back to its queue unattempted.

use std::sync::{Mutex, PoisonError};

use grammers_client::tl;

use super::chats::Found;
use super::link::RawCaller;
use super::peers::PeerBook;
use super::rights::ChatRights;
use super::send::SendMessage;
use super::{chats, freeze, history, rights, send};
use crate::clock::instant;
use crate::protocol::messages::message::Message;
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::pacing::MethodClass;

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
}

/// What a call found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What the chat is.
    Resolved {
        /// How to name it.
        peer: PeerRecord,
        /// Its title.
        title: Option<String>,
    },
    /// The account is in the chat.
    Member {
        /// The chat's title.
        title: Option<String>,
        /// Its public names, lower case.
        names: Vec<String>,
        /// The supergroup that this basic group has become.
        migrated_to: Option<PeerRecord>,
    },
    /// Telegram's time was asked for.
    TimeLearnt,
    /// The id of the newest message before a date; 0 when there is none.
    NewestBefore(i32),
    /// A channel's pts.
    Position(i32),
    /// A page of history.
    History(HistoryPage),
    /// The account is in the chat now, or asked to be.
    Joined {
        /// The chat, if Telegram named it.
        chat: Option<MarkedId>,
        /// Its title.
        title: Option<String>,
        /// Whether an admin has to approve first.
        requested: bool,
    },
    /// What the account may do in a chat.
    Rights(ChatRights),
    /// The message was sent.
    Sent {
        /// Its id in that chat, as this account sees it.
        message_id: i32,
        /// When, by Telegram's clock, Unix seconds.
        date: i64,
    },
    /// The message was sent before, and which of the chat's messages it is cannot be told.
    SentBefore,
    /// The session is over.
    LoggedOut,
    /// Whether Telegram has frozen the account.
    Frozen(bool),
}

/// A page of history, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The messages.
    pub messages: Vec<Message>,
    /// The highest id that Telegram sent, placeholders of deleted messages included, or up to which
    /// there is nothing.
    pub newest_id: Option<i32>,
    /// Whether there may be more after it.
    pub more: bool,
    /// Whether messages lie before it that Telegram does not give any more.
    pub is_torn: bool,
    /// The chat's title, if it was mentioned.
    pub title: Option<String>,
    /// Messages up to `newest_id` that cannot be read, by their ids where these are known.
    pub unreadable: Vec<Option<i32>>,
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
            | Self::ResolveTarget(Target::Chat(ChatTarget::Username(name))) => Some(name),
            _ => None,
        }
    }

    /// The class under which it is paced.
    pub fn class(&self) -> MethodClass {
        match self {
            Self::Resolve(ChatTarget::Username(_))
            | Self::Rights(ChatTarget::Username(_))
            | Self::ResolveTarget(Target::Chat(ChatTarget::Username(_)) | Target::Phone(_)) => {
                MethodClass::Resolve
            }
            Self::Join(_) => MethodClass::Join,
            Self::Send(_) => MethodClass::Send,
            Self::LogOut | Self::LookAtFreeze => MethodClass::Auth,
            Self::Resolve(ChatTarget::Marked(_) | ChatTarget::Invite(_))
            | Self::Rights(ChatTarget::Marked(_) | ChatTarget::Invite(_))
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
            | Self::LookAtFreeze => None,
        }
    }

    /// The chat that it names. The account may know the chat's peer already.
    fn names(&self) -> Option<&ChatTarget> {
        match self {
            Self::Resolve(target)
            | Self::Join(target)
            | Self::Rights(target)
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
        let known = self.names().and_then(|target| known_peer(peers, target));
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
        let changes = matches!(self, Self::Join(_) | Self::Send(_) | Self::LogOut);
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
            Self::LogOut => {
                caller.call(&tl::functions::auth::LogOut {}).await?;
                Outcome::LoggedOut
            }
        };
        Ok((finding, Vec::new()))
    }
}

impl Outcome {
    /// The peer that somebody looked for, and that was found.
    fn sought(&self) -> Option<PeerRecord> {
        match self {
            Self::Resolved { peer, .. } => Some(*peer),
            Self::Rights(rights) => Some(rights.peer),
            Self::Member { migrated_to, .. } => *migrated_to,
            _ => None,
        }
    }
}

impl From<Found> for Outcome {
    fn from(found: Found) -> Self {
        Self::Resolved { peer: found.peer, title: found.title }
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
