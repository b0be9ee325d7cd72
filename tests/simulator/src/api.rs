//! What a test can ask of the server from outside the wire: the same for the library and HTTP.
//!
//! Owns the shapes of the control API. It is the hand of god: it checks that what it is given
//! exists, but no rights; `from` may be any account.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::faults::{FaultKind, FaultSpec};
use crate::server::Server;
use crate::server::link::End;
use crate::stats::Stats;
use crate::wire::crypto::AuthKey;
use crate::wire::srp::Verifier;
use crate::world::World;
use crate::world::chats::{self, Role};
use crate::world::dcs::HOME_DC;
use crate::world::ids::Peer;
use crate::world::logins::{Limits, normal_phone};
use crate::world::membership::Entrance;
use crate::world::messages::{Content, Message};
use crate::world::passwords::Password;
use crate::world::users::NewUser;

/// Why the control API refused something.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApiError {
    /// No such account or chat.
    #[error("there is no {0}")]
    NotFound(String),
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    Invalid(String),
}

/// An account to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewAccount {
    /// With or without the plus; made up if absent.
    pub phone: Option<String>,
    /// Made up if absent.
    pub first_name: Option<String>,
    /// Without the at sign.
    pub username: Option<String>,
    /// Password of two-factor authentication.
    pub password: Option<String>,
    /// What the account is reminded of its password by.
    pub password_hint: Option<String>,
    /// A bot has a token instead of a phone.
    pub bot: bool,
    /// Whether the account comes with a usable session string.
    pub logged_in: bool,
    /// The datacenter it lives at; 2, if absent. It must have an address of its own.
    pub dc: Option<i32>,
}

impl Default for NewAccount {
    fn default() -> Self {
        Self {
            phone: None,
            first_name: None,
            username: None,
            password: None,
            password_hint: None,
            bot: false,
            logged_in: true,
            dc: None,
        }
    }
}

/// A password of two-factor authentication; none at all switches it off.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewPassword {
    /// What must be known.
    pub password: Option<String>,
    /// What reminds of it.
    pub hint: Option<String>,
}

/// An account that was made.
#[derive(Clone, Serialize, Deserialize)]
pub struct Account {
    /// Telegram's id.
    pub user_id: i64,
    /// Empty for bots.
    pub phone: String,
    /// In Telethon's form, with the listen address; absent for accounts that are not logged in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_string: Option<String>,
    /// What the application identifies itself with; the simulator accepts any.
    pub api_hash: String,
    /// Only bots have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot_token: Option<String>,
}

/// Which kind of chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatKind {
    /// A group whose messages are numbered for everybody.
    Supergroup,
    /// Only admins write.
    Channel,
    /// A basic group, in which each member has copies of their own.
    Group,
}

/// A chat to make.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewChat {
    /// Which kind.
    pub kind: ChatKind,
    /// Its name.
    pub title: String,
    /// Makes it public.
    #[serde(default)]
    pub username: Option<String>,
    /// Joined at creation, without a message about it.
    #[serde(default)]
    pub members: Vec<i64>,
    /// Joined as admins at creation.
    #[serde(default)]
    pub admins: Vec<i64>,
}

/// A chat that was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Chat {
    /// Marked: negative, channels and supergroups below -1000000000000.
    pub chat_id: i64,
    /// `https://t.me/+…`.
    pub invite_link: String,
}

/// A message as the server holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMessage {
    /// In a basic group or private chat: the id of the copy that was asked for.
    pub message_id: i32,
    /// Who wrote it, also in channels that do not tell their readers.
    pub from: i64,
    /// What it says.
    pub text: String,
    /// Unix seconds.
    pub date: i32,
}

/// Somebody in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMember {
    /// Who.
    pub user_id: i64,
    /// `admin` or `member`.
    pub role: String,
}

/// What the server knows about an account's use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Telegram's id.
    pub user_id: i64,
    /// Empty for bots.
    pub phone: String,
    /// As given or made up.
    pub first_name: String,
    /// Without the at sign.
    pub username: Option<String>,
    /// Whether it is a bot.
    pub bot: bool,
    /// Whether two-factor authentication is on.
    pub has_password: bool,
    /// The datacenter it lives at.
    pub dc: i32,
    /// Auth keys that are logged in as it and not revoked.
    pub sessions: u64,
    /// TCP connections now.
    pub connections_now: u64,
    /// TCP connections ever.
    pub connections_total: u64,
    /// Calls by method.
    pub methods: BTreeMap<String, u64>,
}

impl Server {
    /// Blocks for long if the account has a password.
    pub(crate) fn add_account(&self, mut new: NewAccount) -> Result<Account, ApiError> {
        let password = self.password(new.password.take(), new.password_hint.take())?;
        self.world().add_account(new, password)
    }

    /// Blocks for long if there is a password.
    pub(crate) fn set_password(&self, user_id: i64, new: NewPassword) -> Result<(), ApiError> {
        let password = self.password(new.password, new.hint)?;
        let mut world = self.world();
        let user = world.existing(user_id)?;
        world.user_mut(user).password = password;
        Ok(())
    }

    fn password(
        &self,
        password: Option<String>,
        hint: Option<String>,
    ) -> Result<Option<Password>, ApiError> {
        let Some(password) = password else {
            let no_hint = hint.is_none();
            let why = || ApiError::Invalid("a hint needs a password".to_owned());
            return no_hint.then_some(None).ok_or_else(why);
        };
        let (salt1, salt2) = self.world().draw_salts();
        // The world is not locked meanwhile.
        Ok(Some(Password::new(Verifier::of(&password, salt1, salt2), hint)))
    }

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
            dc: user.dc,
            sessions: world.live_keys(user_id).count() as u64,
            connections_now: user.connections_now,
            connections_total: user.connections_total,
            methods: user.methods.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect(),
        })
    }

    pub(crate) fn add_chat(&self, new: NewChat) -> Result<Chat, ApiError> {
        self.world().create_chat(new)
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

    pub(crate) fn ban(&self, chat_id: i64, user_id: i64) -> Result<(), ApiError> {
        let mut world = self.world();
        let (peer, user) = (world.existing_chat(chat_id)?, world.existing(user_id)?);
        world.ban(peer, user);
        Ok(())
    }

    /// In a basic group the sender must be inside, for it is their copy whose id is answered.
    pub(crate) fn post(&self, chat_id: i64, from: i64, text: &str) -> Result<i32, ApiError> {
        let mut world = self.world();
        let (peer, from) = (world.existing_chat(chat_id)?, world.existing(from)?);
        let content = Content::text(text);
        match peer {
            Peer::Channel(id) => Ok(world.post_to_channel(id, from, content, None).id),
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

    /// Accepts a QR login as that account.
    pub(crate) fn scan_qr(&self, user_id: i64, url: &str) -> Result<(), ApiError> {
        let invalid = |why: &str| ApiError::Invalid(why.to_owned());
        let mut world = self.world();
        let user = world.existing(user_id)?;
        if world.user(user).is_bot() {
            return Err(invalid("a bot cannot scan anything"));
        }
        let token = url
            .strip_prefix("tg://login?token=")
            .and_then(|token| URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok())
            .ok_or_else(|| invalid("that is not like tg://login?token=<base64url>"))?;
        let accepted = world.accept_token(&token, user, Instant::now());
        accepted.map_err(|error| ApiError::Invalid(error.name.into_owned()))
    }

    /// Gives a bot another token.
    pub(crate) fn renew_token(&self, user_id: i64) -> Result<String, ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        if !world.user(user).is_bot() {
            return Err(ApiError::Invalid(format!("account {user_id} is not a bot")));
        }
        world.renew_token(user).ok_or_else(|| ApiError::Invalid("it has no token".to_owned()))
    }

    /// The last code that was sent to an account's phone.
    pub(crate) fn login_code(&self, user_id: i64) -> Result<String, ApiError> {
        let world = self.world();
        let phone = &world.user(world.existing(user_id)?).phone;
        let none = || ApiError::NotFound(format!("login code of account {user_id}"));
        world.logins.last_code(phone).map(str::to_owned).ok_or_else(none)
    }

    /// The last code that was sent to a phone, be it anybody's or nobody's.
    pub(crate) fn phone_code(&self, phone: &str) -> Result<String, ApiError> {
        let phone = normal_phone(phone)
            .ok_or_else(|| ApiError::Invalid("that is not a phone number".to_owned()))?;
        let none = || ApiError::NotFound("login code of that phone".to_owned());
        self.world().logins.last_code(&phone).map(str::to_owned).ok_or_else(none)
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        self.world().logins.limits = limits;
    }

    pub(crate) fn client_killed(&self) {
        self.world().violations.waits.client_killed(Instant::now());
    }

    /// A further session of an account, with a key of its own.
    pub(crate) fn add_session(&self, user_id: i64) -> Result<String, ApiError> {
        let mut world = self.world();
        let user = world.existing(user_id)?;
        Ok(world.session_string(user))
    }

    /// A session that nobody is logged in with, as after an exchange of keys.
    pub(crate) fn add_stranger(&self, dc: Option<i32>) -> Result<String, ApiError> {
        let (mut world, dc) = (self.world(), dc.unwrap_or(HOME_DC));
        let none = || ApiError::Invalid(format!("there is no datacenter {dc}"));
        let address = world.dcs.address(dc).ok_or_else(none)?;
        Ok(written(dc, address, &world.issue_key(None, dc)))
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
        let NewAccount { phone, first_name, username, bot, logged_in, dc, .. } = new;
        if bot && password.is_some() {
            return Err(ApiError::Invalid("a bot has no password".to_owned()));
        }
        let new = NewUser { phone, first_name, username, password, bot, dc };
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

    fn existing(&self, user_id: i64) -> Result<i64, ApiError> {
        let known = self.users.contains_key(&user_id);
        known.then_some(user_id).ok_or_else(|| ApiError::NotFound(format!("account {user_id}")))
    }

    fn existing_chat(&self, chat_id: i64) -> Result<Peer, ApiError> {
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

/// Telethon's form: `1`, then datacenter, IPv4 address, port and key in URL-safe base64.
fn written(dc: i32, address: SocketAddrV4, key: &AuthKey) -> String {
    let mut bytes = vec![dc as u8];
    bytes.extend(address.ip().octets());
    bytes.extend(address.port().to_be_bytes());
    bytes.extend(key.bytes());
    format!("1{}", URL_SAFE.encode(bytes))
}

fn stored(message: &Message) -> Option<StoredMessage> {
    let text = message.content.as_text()?.to_owned();
    Some(StoredMessage { message_id: message.id, from: message.from, text, date: message.date })
}

fn unreachable_chat<T>() -> Result<T, ApiError> {
    Err(ApiError::Invalid("a person is not a chat".to_owned()))
}
