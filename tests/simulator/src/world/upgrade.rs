//! A basic group that becomes a supergroup, as `messages.migrateChat` makes it one: the members are
//! in the new chat from then on, which begins with a message that names the old one; the old one
//! ends with a message that names the new one, and can be read as ever, but takes nothing more.
//!
//! Source: <https://core.telegram.org/api/channel#migration>.

use std::collections::BTreeMap;

use super::World;
use super::chats::{Kind, Member};
use super::ids::Peer;
use super::messages::Content;

impl World {
    /// Upgrades a basic group; answers the bare id of the supergroup.
    pub(crate) fn upgrade(&mut self, group_id: i64) -> Result<i64, String> {
        let group = self.groups.get(&group_id).expect("callers resolved the group");
        if group.migrated_to.is_some() {
            return Err("the group is a supergroup already".to_owned());
        }
        let (title, members) = (group.chat.title.clone(), group.chat.members.clone());
        let in_charge = members.keys().find(|member| group.chat.is_admin(**member));
        let by = in_charge.or(members.keys().next()).copied();
        let by = by.ok_or_else(|| "the group has no members".to_owned())?;
        let peer = self.add_chat(Kind::Supergroup, title.clone(), None, &[], &[])?;
        let Peer::Channel(channel_id) = peer else { return Err("it is no supergroup".to_owned()) };
        self.move_members(group_id, peer, members.clone());
        if let Some(group) = self.groups.get_mut(&group_id) {
            group.migrated_to = Some(channel_id);
            group.version += 1;
        }
        self.post_to_group(group_id, by, &Content::MigratedTo(channel_id), None, None);
        for member in members.keys() {
            self.announce_channel(*member, channel_id, None);
        }
        let content = Content::MigratedFrom { title: title.as_str().into(), group_id };
        self.post_to_channel(channel_id, by, content, None);
        Ok(channel_id)
    }

    /// They keep what they are and may, and so do those who are kept out.
    fn move_members(&mut self, group_id: i64, peer: Peer, members: BTreeMap<i64, Member>) {
        for member in members.keys() {
            self.user_mut(*member).chats.insert(peer);
        }
        let old = &self.groups[&group_id].chat;
        let (banned, open) = (old.banned.clone(), old.open);
        if let Some(chat) = self.chat_mut(peer) {
            (chat.members, chat.banned, chat.open) = (members, banned, open);
        }
    }
}
