//! What a test can ask of the server from outside the wire: the same for the library and HTTP.
//!
//! It is the hand of god: it checks that what it is given
//! exists, but no rights; `from` may be any account.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::api_logins::written;
use crate::clock::unix_seconds;
use crate::entities::StoredEntity;
use crate::faults::{FaultKind, FaultSpec};
use crate::hostile;
use crate::server::Server;
use crate::server::link::End;
use crate::shapes::{
    Account, AccountInfo, ApiError, Chat, ChatKind, ChatMember, ChatRules, MemberRights,
    NewAccount, NewChat, StoredMessage,
};
use crate::stats::Stats;
use crate::world::World;
use crate::world::chats::{self, Role};
use crate::world::ids::Peer;
use crate::world::membership::Entrance;
use crate::world::messages::{Content, Message};
use crate::world::passwords::Password;
use crate::world::users::{NewUser, Privacy};

impl Server {
    pub(crate) fn account(&self, user_id: i64) -> Result<AccountInfo, ApiError> {
        let world = self.world();
        let user = world.existing(user_id).map(|id| world.user(id))?;
        Ok(AccountInfo {
            user_id,
            phone: user.phone.clone(),
            first_name: user.first_name.clone(),
            username: user.username.clone(),
            bot: user.is_bot(),
            has_password: user.password.is_some(),
            limited: world.floods.limits_account(user_id),
            dc: user.dc,
            sessions: world.live_keys(user_id).count() as u64,
            connections_now: user.connections_now,
            connections_total: user.connections_total,
            methods: user.methods.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
        })
    }

    pub(crate) fn add_chat(&self, new: NewChat, rules: &ChatRules) -> Result<Chat, ApiError> {
        let mut world = self.world();
        if rules.slowmode_seconds.is_some() && new.kind != ChatKind::Supergroup {
            return Err(no_slow_mode());
        }
        if let Some(creator) = rules.creator {
            world.existing(creator)?;
        }
        let chat = world.create_chat(new)?;
        let peer = world.existing_chat(chat.chat_id)?;
        world.rule(peer, rules)?;
        Ok(chat)
    }

    pub(crate) fn set_rules(&self, chat_id: i64, rules: &ChatRules) -> Result<(), ApiError> {
        let mut world = self.world();
        let peer = world.existing_chat(chat_id)?;
        world.rule(peer, rules)
    }

    pub(crate) fn set_rights(
        &self,
        chat_id: i64,
        user_id: i64,
        rights: MemberRights,
    ) -> Result<(), ApiError> {
        let mut world = self.world();
        let (peer, user) = (world.existing_chat(chat_id)?, world.existing(user_id)?);
        let chat = world.chat_mut(peer);
        let member = chat.and_then(|chat| chat.members.get_mut(&user));
        let missing = || ApiError::NotFound(format!("account {user_id} in that chat"));
        let member = member.ok_or_else(missing)?;
        member.may.post = rights.may_post.unwrap_or(member.may.post);
        member.may.invite = rights.may_invite.unwrap_or(member.may.invite);
        match rights.admin {
            Some(true) => member.role = Role::Admin,
            Some(false) => member.role = Role::Member,
            None => {}
        }
        world.tell_of_rights(peer, user);
        Ok(())
    }

    pub(crate) fn set_privacy(&self, user_id: i64, privacy: Privacy) -> Result<(), ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        world.user_mut(user).privacy = privacy;
        world.books.forget_refusals(user);
        Ok(())
    }

    pub(crate) fn freeze(&self, user_id: i64, frozen: bool) -> Result<(), ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        world.user_mut(user).frozen = frozen.then(unix_seconds);
        Ok(())
    }

    pub(crate) fn add_member(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        let mut world = self.world();
        let (peer, user) = (world.existing_chat(chat_id)?, world.existing(user_id)?);
        world.join(peer, user, Entrance::Door, None);
        Ok(())
    }

    pub(crate) fn remove_member(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        let mut world = self.world();
        let (peer, user) = (world.existing_chat(chat_id)?, world.existing(user_id)?);
        let by = world.somebody_in_charge(peer, user);
        world.leave(peer, user, by, None);
        Ok(())
    }

    pub(crate) fn upgrade(&self, chat_id: i64) -> Result<i64, ApiError> {
        let mut world = self.world();
        let Peer::Group(group_id) = world.existing_chat(chat_id)? else {
            return Err(ApiError::Invalid("only a basic group can be upgraded".to_owned()));
        };
        let channel_id = world.upgrade(group_id).map_err(ApiError::Invalid)?;
        Ok(Peer::Channel(channel_id).marked())
    }

    pub(crate) fn ban(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        let mut world = self.world();
        let (peer, user) = (world.existing_chat(chat_id)?, world.existing(user_id)?);
        world.ban(peer, user);
        Ok(())
    }

    /// In a basic group the sender must be inside, for it is their copy whose id is answered.
    pub(crate) fn post(&self, chat_id: i64, from: i64, text: &str) -> Result<i32, ApiError> {
        self.post_content(chat_id, from, Content::text(text))
    }

    /// A message of a layer that no client knows.
    pub(crate) fn post_unreadable(&self, chat_id: i64, from: i64) -> Result<i32, ApiError> {
        hostile::begin();
        self.post_content(chat_id, from, Content::Unreadable)
    }

    fn post_content(&self, chat_id: i64, from: i64, content: Content) -> Result<i32, ApiError> {
        let mut world = self.world();
        let (peer, from) = (world.existing_chat(chat_id)?, world.existing(from)?);
        match peer {
            Peer::Channel(id) => Ok(world.post_to_channel(id, from, content, None).id),
            Peer::Group(id) if world.groups[&id].migrated_to.is_some() => {
                Err(ApiError::Invalid("the group has become a supergroup".to_owned()))
            }
            Peer::Group(id) => world
                .post_to_group(id, from, &content, None, None)
                .map(|posted| posted.id)
                .ok_or_else(|| ApiError::Invalid(format!("account {from} is not in the group"))),
            Peer::User(_) => unreachable_chat(),
        }
    }

    pub(crate) fn post_private(&self, to: i64, from: i64, text: &str) -> Result<i32, ApiError> {
        let mut world = self.world();
        let (to, from) = (world.existing(to)?, world.existing(from)?);
        Ok(world.post_to_user(to, from, Content::text(text), None).id)
    }

    /// Text messages, oldest first. With a `viewer`, that account's copies.
    pub(crate) fn messages(
        &self,
        chat_id: i64,
        viewer: Option<i64>,
    ) -> Result<Vec<StoredMessage>, ApiError> {
        let world = self.world();
        let messages = match (world.existing_chat(chat_id)?, viewer) {
            (peer @ Peer::Group(_), Some(viewer)) => {
                world.user(world.existing(viewer)?).dialog_messages(peer)
            }
            (Peer::Group(id), None) => world.groups[&id].log.iter().collect(),
            (Peer::Channel(id), _) => world.channels[&id].history().collect(),
            (Peer::User(_), _) => return unreachable_chat(),
        };
        Ok(messages.into_iter().filter_map(stored).collect())
    }

    /// Deletes messages of a channel. Nobody is told.
    pub(crate) fn delete(&self, chat_id: i64, ids: RangeInclusive<i32>) -> Result<(), ApiError> {
        let mut world = self.world();
        let Peer::Channel(id) = world.existing_chat(chat_id)? else {
            return Err(ApiError::Invalid("messages are deleted in channels only".to_owned()));
        };
        if let Some(channel) = world.channels.get_mut(&id) {
            channel.deleted.extend(ids);
        }
        Ok(())
    }

    pub(crate) fn members(&self, chat_id: i64) -> Result<Vec<ChatMember>, ApiError> {
        let world = self.world();
        let chat = world.chat(world.existing_chat(chat_id)?);
        let members = chat.into_iter().flat_map(|chat| &chat.members);
        let view = |(&user_id, member): (&i64, &chats::Member)| {
            let role = match member.role {
                Role::Creator => "creator",
                Role::Admin => "admin",
                Role::Member => "member",
            };
            ChatMember { user_id, role: role.to_owned() }
        };
        Ok(members.map(view).collect())
    }

    /// Private messages the account received, oldest first.
    pub(crate) fn inbox(&self, user_id: i64) -> Result<Vec<StoredMessage>, ApiError> {
        let world = self.world();
        let messages = world.user(world.existing(user_id)?).messages.iter();
        let received = messages
            .filter(|message| matches!(message.peer, Peer::User(_)) && message.from != user_id);
        Ok(received.filter_map(stored).collect())
    }

    pub(crate) fn add_fault(&self, spec: FaultSpec) -> Result<(), ApiError> {
        if spec.kind == Some(FaultKind::Freeze) {
            self.freezing.store(true, Ordering::Relaxed);
        }
        self.world().faults.add(spec).map_err(|why| ApiError::Invalid(why.to_owned()))
    }

    pub(crate) fn lift_faults(&self) {
        self.world().faults.lift_all();
        self.freezing.store(false, Ordering::Relaxed);
    }

    pub(crate) fn disconnect(&self, user_id: i64) -> Result<(), ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        world.disconnect(user, End::Now);
        Ok(())
    }

    pub(crate) fn revoke(&self, user_id: i64, error: Option<String>) -> Result<(), ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        let error = error.unwrap_or_else(|| "AUTH_KEY_UNREGISTERED".to_owned());
        for key_id in world.keys_of(user) {
            world.kill_key(key_id, error.clone());
        }
        Ok(())
    }

    pub(crate) fn client_killed(&self) {
        let (mut world, now) = (self.world(), Instant::now());
        world.violations.waits.client_killed(now);
        world.books.client_killed(now);
    }

    /// A further session of an account, with a key of its own.
    pub(crate) fn add_session(&self, user_id: i64) -> Result<String, ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        Ok(world.session_string(user))
    }

    pub(crate) fn stats(&self) -> Stats {
        self.world().stats(self.seed)
    }
}

impl World {
    /// The password is made before, since that takes long.
    pub(crate) fn add_account(
        &mut self,
        new: NewAccount,
        password: Option<Password>,
    ) -> Result<Account, ApiError> {
        let NewAccount { phone, first_name, username, bot, logged_in, dc, premium, .. } = new;
        if bot && password.is_some() {
            return Err(ApiError::Invalid("a bot has no password".to_owned()));
        }
        let new = NewUser { phone, first_name, username, password, bot, premium, dc };
        let user_id = self.add_user(new).map_err(ApiError::Invalid)?;
        let session_string = logged_in.then(|| self.session_string(user_id));
        let user = self.user(user_id);
        Ok(Account {
            user_id,
            phone: user.phone.clone(),
            session_string,
            api_hash: user.api_hash.clone(),
            bot_token: user.bot_token.clone(),
        })
    }

    pub(crate) fn create_chat(&mut self, new: NewChat) -> Result<Chat, ApiError> {
        let kind = match new.kind {
            ChatKind::Supergroup => chats::Kind::Supergroup,
            ChatKind::Channel => chats::Kind::Channel,
            ChatKind::Group => chats::Kind::Group,
        };
        let NewChat { title, username, members, admins, .. } = new;
        let peer =
            self.add_chat(kind, title, username, &members, &admins).map_err(ApiError::Invalid)?;
        let invite_link = self.chat(peer).map(chats::Chat::invite_link).unwrap_or_default();
        Ok(Chat { chat_id: peer.marked(), invite_link })
    }

    fn rule(&mut self, peer: Peer, rules: &ChatRules) -> Result<(), ApiError> {
        if let Some(seconds) = rules.slowmode_seconds {
            let channel = match peer {
                Peer::Channel(id) => self.channels.get_mut(&id),
                _ => None,
            };
            let supergroup = channel.filter(|channel| !channel.broadcast);
            supergroup.ok_or_else(no_slow_mode)?.slow.seconds = seconds;
        }
        if let Some(creator) = rules.creator {
            let creator = self.existing(creator)?;
            self.enrol(peer, creator, creator);
            let chat = self.chat_mut(peer);
            if let Some(member) = chat.and_then(|chat| chat.members.get_mut(&creator)) {
                member.role = Role::Creator;
            }
        }
        if let Some(chat) = self.chat_mut(peer) {
            chat.open.post = rules.members_may_post.unwrap_or(chat.open.post);
            chat.open.invite = rules.members_may_invite.unwrap_or(chat.open.invite);
        }
        Ok(())
    }

    pub(crate) fn existing(&self, user_id: i64) -> Result<i64, ApiError> {
        let known = self.users.contains_key(&user_id);
        known.then_some(user_id).ok_or_else(|| ApiError::NotFound(format!("account {user_id}")))
    }

    pub(crate) fn existing_chat(&self, chat_id: i64) -> Result<Peer, ApiError> {
        Peer::from_marked(chat_id)
            .filter(|peer| self.chat(*peer).is_some())
            .ok_or_else(|| ApiError::NotFound(format!("chat {chat_id}")))
    }

    fn session_string(&mut self, user: i64) -> String {
        let dc = self.user(user).dc;
        let address = self.dcs.address(dc).expect("accounts live where there is a datacenter");
        written(dc, address, &self.issue_key(Some(user), dc))
    }
}

fn no_slow_mode() -> ApiError {
    ApiError::Invalid("slow mode is for supergroups".to_owned())
}

fn stored(message: &Message) -> Option<StoredMessage> {
    let Content::Text { text, extras } = &message.content else { return None };
    let extras = extras.as_deref();
    let marked = extras.and_then(|extras| extras.entities.as_deref()).unwrap_or_default();
    Some(StoredMessage {
        message_id: message.id,
        from: message.from,
        text: text.to_string(),
        date: message.date,
        silent: extras.is_some_and(|extras| extras.silent),
        reply_to: extras.and_then(|extras| extras.reply_to),
        entities: marked.iter().map(StoredEntity::of).collect(),
    })
}

fn unreachable_chat<T>() -> Result<T, ApiError> {
    Err(ApiError::Invalid("a person is not a chat".to_owned()))
}
