//! What Telegram says at length of a group or channel: more than its flags, for one more call.

use grammers_client::tl;
use grammers_client::tl::enums::{Chat, ChatFull, ExportedChatInvite};

use super::chats::{look_at, migrated_to, not_found};
use super::convert::chat_id;
use super::link::RawCaller;
use super::peers::input_channel;
use super::rights::no_chat;
use crate::protocol::telegram::chat::{PeerKind, PeerRecord};
use crate::protocol::telegram::failure::Failure;

/// A group or channel at length.
pub(super) struct FullChat {
    /// How to name it: the supergroup, where a basic group has become one.
    pub(super) peer: PeerRecord,
    /// Its flags.
    pub(super) chat: Chat,
    /// The rest.
    pub(super) full: ChatFull,
}

/// Looks at a group or channel. An upgrade of a basic group is followed.
///
/// # Errors
/// [`Failure::ChatLost`] when the account does not see it; [`Failure::Rejected`] for people.
pub(super) async fn look_at_length(
    caller: &RawCaller,
    peer: &PeerRecord,
) -> Result<FullChat, Failure> {
    let found = ask(caller, peer).await;
    let successor = match &found {
        Ok(found) => migrated_to(&found.chat),
        // An old group may say nothing at length any more, and in its flags where it went.
        Err(Failure::ChatLost { .. }) if peer.id.kind() == PeerKind::Group => {
            look_at(caller, peer).await.ok().as_ref().and_then(migrated_to)
        }
        Err(_) => None,
    };
    match successor {
        Some(successor) => ask(caller, &successor).await,
        None => found,
    }
}

async fn ask(caller: &RawCaller, peer: &PeerRecord) -> Result<FullChat, Failure> {
    let answer = match peer.id.kind() {
        PeerKind::User => return Err(no_chat()),
        PeerKind::Group => {
            let chat_id = peer.id.bare();
            caller.call(&tl::functions::messages::GetFullChat { chat_id }).await?
        }
        PeerKind::Channel => {
            let channel = input_channel(peer);
            caller.call(&tl::functions::channels::GetFullChannel { channel }).await?
        }
    };
    let tl::enums::messages::ChatFull::Full(answer) = answer;
    let chat = answer.chats.into_iter().find(|chat| chat_id(chat) == Some(peer.id));
    Ok(FullChat { peer: *peer, chat: chat.ok_or_else(not_found)?, full: answer.full_chat })
}

impl FullChat {
    /// The chat's main invite link, which only admins are told who may invite.
    pub(super) fn invite(&self) -> Option<&ExportedChatInvite> {
        match &self.full {
            ChatFull::Full(full) => full.exported_invite.as_ref(),
            ChatFull::ChannelFull(full) => full.exported_invite.as_ref(),
            ChatFull::CommunityFull(_) => None,
        }
    }
}
