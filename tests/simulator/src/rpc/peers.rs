//! What a client means by an input peer, and whether it may mean that.
//!
//! Access hashes are checked strictly: each account has its own for every peer, and a wrong one is
//! an error, except that bots may give 0 for people and for channels they are in.

use grammers_tl_types::enums;

use super::Call;
use crate::error::RpcError;
use crate::world::chats::Channel;
use crate::world::ids::Peer;

impl Call<'_> {
    /// An existing peer; channels need not be readable.
    pub(super) fn input_peer(&self, input: &enums::InputPeer) -> Result<Peer, RpcError> {
        use enums::InputPeer as Input;
        match input {
            Input::PeerSelf => Ok(Peer::User(self.me)),
            Input::User(user) => self
                .known_user(user.user_id, user.access_hash)
                .map(Peer::User)
                .ok_or_else(|| "PEER_ID_INVALID".into()),
            Input::Chat(chat) if self.world.groups.contains_key(&chat.chat_id) => {
                Ok(Peer::Group(chat.chat_id))
            }
            Input::Channel(channel) => {
                self.known_channel(channel.channel_id, channel.access_hash).map(Peer::Channel)
            }
            _ => Err("PEER_ID_INVALID".into()),
        }
    }

    pub(super) fn input_user(&self, input: &enums::InputUser) -> Result<i64, RpcError> {
        match input {
            enums::InputUser::UserSelf => Ok(self.me),
            enums::InputUser::User(user) => self
                .known_user(user.user_id, user.access_hash)
                .ok_or_else(|| "USER_ID_INVALID".into()),
            _ => Err("USER_ID_INVALID".into()),
        }
    }

    /// An existing channel, readable or not.
    pub(super) fn input_channel(&self, input: &enums::InputChannel) -> Result<i64, RpcError> {
        match input {
            enums::InputChannel::Channel(channel) => {
                self.known_channel(channel.channel_id, channel.access_hash)
            }
            _ => Err("CHANNEL_INVALID".into()),
        }
    }

    /// A channel the caller may look into.
    pub(super) fn readable_channel(
        &self,
        input: &enums::InputChannel,
    ) -> Result<&Channel, RpcError> {
        self.readable(self.input_channel(input)?)
    }

    pub(super) fn readable(&self, channel_id: i64) -> Result<&Channel, RpcError> {
        let channel = self.world.channels.get(&channel_id).ok_or("CHANNEL_INVALID")?;
        if channel.readable_by(self.me) { Ok(channel) } else { Err("CHANNEL_PRIVATE".into()) }
    }

    fn known_user(&self, id: i64, hash: i64) -> Option<i64> {
        let known = self.world.users.contains_key(&id);
        let bot = hash == 0 && self.world.user(self.me).is_bot();
        let allowed =
            id == self.me || bot || hash == self.world.access_hash(self.me, Peer::User(id));
        (known && allowed).then_some(id)
    }

    fn known_channel(&self, id: i64, hash: i64) -> Result<i64, RpcError> {
        let channel = self.world.channels.get(&id).ok_or("CHANNEL_INVALID")?;
        let bot_inside = hash == 0
            && self.world.user(self.me).is_bot()
            && channel.chat.members.contains_key(&self.me);
        if bot_inside || hash == self.world.access_hash(self.me, Peer::Channel(id)) {
            Ok(id)
        } else {
            Err("CHANNEL_INVALID".into())
        }
    }
}
