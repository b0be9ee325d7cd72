//! Who may do what in a chat, and how that is written in TL.
//! Source: <https://core.telegram.org/api/rights>.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use grammers_tl_types::{enums, types};

use super::blank;
use super::chats::{Channel, Chat, Group, Member, Role};
use crate::error::RpcError;

/// What somebody may do, or everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub(crate) post: bool,
    pub(crate) invite: bool,
}

impl Permissions {
    pub(crate) const ALL: Self = Self { post: true, invite: true };
}

/// How often ordinary members of a supergroup may write.
#[derive(Default)]
pub(crate) struct SlowMode {
    /// Between two messages of one member; 0 is off.
    pub(crate) seconds: u32,
    last: HashMap<i64, Instant>,
}

impl SlowMode {
    /// How long `user` has to wait still, if at all.
    fn left(&self, user: i64, now: Instant) -> Option<Duration> {
        let until = *self.last.get(&user)? + Duration::from_secs(u64::from(self.seconds));
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Whole seconds `user` has to wait still.
    pub(crate) fn seconds_left(&self, user: i64, now: Instant) -> Option<u64> {
        self.left(user, now).map(|left| left.as_secs_f64().ceil() as u64)
    }
}

impl Channel {
    /// Whether `user` may write here now; slow mode counts from here on if so.
    pub(crate) fn let_write(&mut self, user: i64, now: Instant) -> Result<(), RpcError> {
        let member = *self.chat.members.get(&user).ok_or("CHAT_WRITE_FORBIDDEN")?;
        if self.broadcast {
            let may = member.role != Role::Member && member.may.post;
            return if may { Ok(()) } else { Err("CHAT_ADMIN_REQUIRED".into()) };
        }
        self.chat.let_write(member)?;
        if member.role != Role::Member || self.slow.seconds == 0 {
            return Ok(());
        }
        if let Some(seconds) = self.slow.seconds_left(user, now) {
            return Err(RpcError::named(format!("SLOWMODE_WAIT_{seconds}")));
        }
        self.slow.last.insert(user, now);
        Ok(())
    }
}

impl Group {
    pub(crate) fn let_write(&self, user: i64) -> Result<(), RpcError> {
        let member = self.chat.members.get(&user).ok_or("CHAT_WRITE_FORBIDDEN")?;
        if self.migrated_to.is_some() {
            return Err("CHAT_WRITE_FORBIDDEN".into());
        }
        self.chat.let_write(*member)
    }
}

impl Chat {
    /// Admins of groups write in any case.
    fn let_write(&self, member: Member) -> Result<(), RpcError> {
        match member.role {
            Role::Creator | Role::Admin => Ok(()),
            Role::Member if !member.may.post => Err("USER_BANNED_IN_CHANNEL".into()),
            Role::Member if !self.open.post => Err("CHAT_WRITE_FORBIDDEN".into()),
            Role::Member => Ok(()),
        }
    }

    pub(crate) fn is_creator(&self, user: i64) -> bool {
        self.members.get(&user).is_some_and(|member| member.role == Role::Creator)
    }

    /// The rights of an admin, as everybody sees them.
    pub(crate) fn admin_rights(&self, user: i64) -> Option<enums::ChatAdminRights> {
        let member = self.members.get(&user)?;
        (member.role != Role::Member).then(|| admin_rights(member.may))
    }

    /// What was taken from an ordinary member, if anything.
    pub(crate) fn taken_rights(&self, user: i64) -> Option<enums::ChatBannedRights> {
        let member = self.members.get(&user)?;
        let restricted = member.role == Role::Member && member.may != Permissions::ALL;
        restricted.then(|| banned_rights(member.may, i32::MAX))
    }
}

/// What an admin may do: everything here, but for what `may` says.
pub(crate) fn admin_rights(may: Permissions) -> enums::ChatAdminRights {
    types::ChatAdminRights {
        change_info: true,
        post_messages: may.post,
        edit_messages: true,
        delete_messages: true,
        ban_users: true,
        invite_users: may.invite,
        pin_messages: true,
        manage_call: true,
        other: true,
        ..blank::ADMIN_RIGHTS.clone()
    }
    .into()
}

/// What is left to somebody, the other way round; `until_date` is 0 for rights of everybody.
pub(crate) fn banned_rights(left: Permissions, until_date: i32) -> enums::ChatBannedRights {
    let mute = !left.post;
    types::ChatBannedRights {
        send_messages: mute,
        send_media: mute,
        send_stickers: mute,
        send_gifs: mute,
        send_games: mute,
        send_inline: mute,
        embed_links: mute,
        send_polls: mute,
        send_photos: mute,
        send_videos: mute,
        send_roundvideos: mute,
        send_audios: mute,
        send_voices: mute,
        send_docs: mute,
        send_plain: mute,
        invite_users: !left.invite,
        until_date,
        ..blank::BANNED_RIGHTS.clone()
    }
    .into()
}
