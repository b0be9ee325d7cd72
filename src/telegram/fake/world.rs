//! The world of the fake: people, their keys and passwords, chats and what is said in them; and what Telegram
//! answers about it when the script says nothing.

use std::collections::{BTreeMap, HashMap};

use super::{FakeTelegram, News};
use crate::protocol::accounts::record::{Credentials, Me};
use crate::protocol::messages::message::Message;
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId, PeerRecord};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};
use crate::telegram::batch::{Batch, NewMessage};
use crate::telegram::call::Call;
use crate::telegram::outcome::{HistoryPage, Outcome};
use crate::telegram::rights::{ChatKind, ChatRights};

/// The code that Telegram sends to everybody.
pub(crate) const CODE: &str = "12345";
/// The password of everybody who has one.
pub(crate) const PASSWORD: &str = "correct horse";
/// The code that goes to the recovery mail of whoever has one.
pub(crate) const RECOVERY_CODE: &str = "654321";
/// What is shown of that mail's address.
pub(crate) const EMAIL_PATTERN: &str = "j***n@example.org";
/// Messages on one page of history.
const PAGE: usize = 100;

/// Somebody who may log in.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) me: Me,
    pub(super) has_password: bool,
    /// Whether a code can be mailed if the password is forgotten.
    pub(super) has_recovery: bool,
}

/// The marked id of a channel.
pub(crate) fn channel(number: i64) -> MarkedId {
    MarkedId::channel(number)
}

#[derive(Default)]
pub(super) struct Chats {
    by_id: BTreeMap<MarkedId, Chat>,
    /// Who has lost which chat, and what they are told.
    lost: HashMap<(AuthKeyId, MarkedId), Failure>,
    /// What was sent under which `random_id`, as message ids.
    sent: HashMap<i64, (i32, i64)>,
}

struct Chat {
    name: Option<String>,
    title: String,
    messages: Vec<Message>,
    /// The supergroup that it has become.
    migrated_to: Option<MarkedId>,
}

impl FakeTelegram {
    /// The key number `number`, which the person `user_id` is logged in with.
    pub(crate) fn person(&self, number: u8, user_id: i64) -> Credentials {
        self.member(number, user_id, false)
    }

    /// The same for a bot.
    pub(crate) fn bot(&self, number: u8, user_id: i64) -> Credentials {
        self.member(number, user_id, true)
    }

    fn member(&self, number: u8, user_id: i64, is_bot: bool) -> Credentials {
        let credentials = credentials(number);
        self.state().people.insert(credentials.account, me(user_id, is_bot));
        credentials
    }

    /// A key as a session string has one, which the person `user_id` is logged in with.
    pub(crate) fn person_elsewhere(&self, user_id: i64) -> Credentials {
        let mut bytes = [0; AUTH_KEY_LEN];
        let digits = (0_u8..=u8::MAX).map(|at| at ^ user_id.to_le_bytes()[0]);
        bytes.iter_mut().zip(digits).for_each(|(byte, digit)| *byte = digit);
        let auth_key = AuthKey::new(bytes);
        let credentials = Credentials { account: AuthKeyId::of(&auth_key), dc_id: 2, auth_key };
        self.state().people.insert(credentials.account, me(user_id, false));
        credentials
    }

    /// Telegram knows a key no more.
    pub(crate) fn forget(&self, key: AuthKeyId) {
        self.state().people.remove(&key);
    }

    /// Who is logged in with a key.
    pub(crate) fn who_has(&self, key: AuthKeyId) -> Option<i64> {
        self.state().people.get(&key).map(|me| me.user_id)
    }

    /// How many keys are logged in.
    pub(crate) fn sessions(&self) -> usize {
        self.state().people.len()
    }

    /// Somebody with this phone number, who has the password, or none.
    pub(crate) fn phone(&self, number: &str, user_id: i64, has_password: bool) {
        let account = Account { me: me(user_id, false), has_password, has_recovery: false };
        self.state().accounts.insert(number.to_owned(), account);
    }

    /// Whoever has this phone number and a password can have a code mailed if it is forgotten.
    pub(crate) fn recovery_mail(&self, number: &str) {
        let mut state = self.state();
        state.accounts.get_mut(number).expect("there is the phone").has_recovery = true;
    }

    /// Whether whoever has this phone number has a password.
    pub(crate) fn has_password(&self, number: &str) -> bool {
        self.state().accounts[number].has_password
    }

    /// The phone of `user_id` scans whatever picture is shown.
    pub(crate) fn scan(&self, user_id: i64) {
        let mut state = self.state();
        let shown: Vec<AuthKeyId> = state.open.keys().copied().collect();
        for key in shown {
            state.scanned.insert(key, me(user_id, false));
        }
        drop(state);
        self.0.scan.notify_waiters();
    }

    /// Whoever waits for a scan is told of one, though nobody has scanned anything.
    pub(crate) fn wake_scans(&self) {
        self.0.scan.notify_waiters();
    }

    /// A chat with this title and maybe a public name.
    pub(crate) fn chat(&self, id: MarkedId, title: &str, name: Option<&str>) {
        let (name, title) = (name.map(str::to_owned), title.to_owned());
        let chat = Chat { name, title, messages: Vec::new(), migrated_to: None };
        self.state().chats.by_id.insert(id, chat);
    }

    /// A basic group becomes a supergroup of another id.
    pub(crate) fn upgrade(&self, group: MarkedId, supergroup: MarkedId) {
        self.chat(supergroup, "room", None);
        let mut state = self.state();
        let group = state.chats.by_id.get_mut(&group).expect("there is the group");
        group.migrated_to = Some(supergroup);
    }

    /// A key has lost a chat, and is told this whenever it asks.
    pub(crate) fn lose(&self, key: AuthKeyId, chat: MarkedId, failure: Failure) {
        self.state().chats.lost.insert((key, chat), failure);
    }

    /// It has it again.
    pub(crate) fn find_again(&self, key: AuthKeyId, chat: MarkedId) {
        self.state().chats.lost.remove(&(key, chat));
    }

    /// Something is said in a chat that nobody is told of: only history has it.
    pub(crate) fn say_unheard(&self, chat: MarkedId, message: Message) {
        let mut state = self.state();
        let chat = state.chats.by_id.get_mut(&chat).expect("there is the chat");
        chat.messages.push(message);
    }

    /// Something is said in a chat; everybody hears it who is connected and has not lost it.
    pub(crate) fn say(&self, chat: MarkedId, message: Message) {
        self.say_unheard(chat, message.clone());
        let state = self.state();
        for (key, open) in &state.open {
            if !state.chats.lost.contains_key(&(*key, chat)) {
                let messages = vec![NewMessage::plain(chat, message.clone())];
                let _ = open.news.send(News::Batch(Batch { messages, ..Batch::default() }));
            }
        }
    }

    /// How many messages were really sent.
    pub(crate) fn sent(&self) -> usize {
        self.state().chats.sent.len()
    }

    /// What the world answers to a call over `key`. `known` is what the account keeps of the person whom the call
    /// names by id.
    pub(super) fn answer(
        &self,
        key: AuthKeyId,
        call: &Call,
        known: Option<PeerRecord>,
    ) -> Result<Outcome, Failure> {
        let at = self.0.began.elapsed();
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(me) = state.people.get(&key).map(|me| me.user_id) else {
            return Err(Failure::Dead { code: "AUTH_KEY_UNREGISTERED".into() });
        };
        let (chats, population) = (&mut state.chats, &mut state.population);
        Ok(match call {
            Call::Resolve(target) | Call::ResolveTarget(Target::Chat(target)) => {
                let (id, chat) = chats.find(key, target)?;
                Outcome::Resolved { peer: peer(id), title: Some(chat.title.clone()) }
            }
            Call::ResolveTarget(Target::Phone(_)) => {
                return Err(Failure::TargetRefused { code: "PHONE_NOT_OCCUPIED".into() });
            }
            Call::ResolveTarget(Target::Me) => {
                Outcome::Resolved { peer: peer(MarkedId::user(me)), title: None }
            }
            Call::Inspect(known) => {
                let (_, chat) = chats.find(key, &ChatTarget::Marked(known.id))?;
                let names = chat.name.iter().cloned().collect();
                let migrated_to = chat.migrated_to.map(peer);
                Outcome::Member { title: Some(chat.title.clone()), names, migrated_to }
            }
            Call::LearnTime => {
                state.time_is_known = true;
                Outcome::TimeLearnt
            }
            Call::NewestBefore { peer, date } => {
                let (_, chat) = chats.find(key, &ChatTarget::Marked(peer.id))?;
                let before = chat.messages.iter().filter(|message| message.date < *date);
                Outcome::NewestBefore(before.map(|message| message.id).max().unwrap_or(0))
            }
            Call::Position(_) => Outcome::Position(1),
            Call::Since { .. } => Outcome::History(HistoryPage::default()),
            Call::History { peer, after_id, .. } => {
                let (_, chat) = chats.find(key, &ChatTarget::Marked(peer.id))?;
                Outcome::History(chat.after(*after_id))
            }
            Call::Join(target) => {
                let (chat, title) =
                    chats.find(key, target).map(|(id, chat)| (id, chat.title.clone()))?;
                Outcome::Joined { chat: Some(chat), title: Some(title), requested: false }
            }
            Call::Rights(target) => {
                let (id, chat) = chats.find(key, target)?;
                Outcome::Rights(rights(id, chat))
            }
            Call::Send(message) => {
                if !chats.sent.contains_key(&message.random_id) {
                    population.write_to(me, message, at)?;
                }
                let count = i32::try_from(chats.sent.len()).unwrap_or(i32::MAX);
                let known = chats.sent.entry(message.random_id);
                let (message_id, date) = *known.or_insert((1_000 + count, 1_800_000_000));
                Outcome::Sent { message_id, date }
            }
            Call::LogOut => {
                state.people.remove(&key);
                Outcome::LoggedOut
            }
            Call::LookAtFreeze => Outcome::Frozen(false),
            Call::FindPerson(who) => {
                let is_chat = |name: &str| chats.is_named(name);
                population.find(me, who, known, is_chat)?
            }
            Call::AddContact(contact) => population.befriend(me, contact)?,
            Call::Invite { group, person } => {
                chats.find(key, &ChatTarget::Marked(group.id))?;
                population.invite(me, group.id, person, at)?
            }
            Call::Membership { group, person } => {
                chats.find(key, &ChatTarget::Marked(group.id))?;
                population.membership(me, group.id, person)?
            }
            Call::GroupRights(target) => {
                let (id, chat) = chats.find(key, target)?;
                Outcome::GroupRights(population.group_rights(me, rights(id, chat))?)
            }
            Call::InviteLink { group, .. } => population.link(me, group.id)?,
            Call::LinkUses { group, link } => population.link_uses(group.id, link)?,
        })
    }
}

impl Chats {
    /// Whether a chat has this public name.
    fn is_named(&self, name: &str) -> bool {
        self.by_id.values().any(|chat| chat.name.as_deref() == Some(name))
    }

    fn find(&self, key: AuthKeyId, target: &ChatTarget) -> Result<(MarkedId, &Chat), Failure> {
        let found = match target {
            ChatTarget::Marked(id) => self.by_id.get_key_value(id),
            ChatTarget::Username(name) => {
                self.by_id.iter().find(|(_, chat)| chat.name.as_ref() == Some(name))
            }
            ChatTarget::Invite(_) => None,
        };
        let code = "PEER_ID_INVALID".to_owned();
        let (id, chat) = found.ok_or(Failure::ChatLost { code })?;
        match self.lost.get(&(key, *id)) {
            Some(failure) => Err(failure.clone()),
            None => Ok((*id, chat)),
        }
    }
}

impl Chat {
    fn after(&self, after_id: i32) -> HistoryPage {
        let newer = self.messages.iter().filter(|message| message.id > after_id);
        let messages: Vec<Message> = newer.take(PAGE).cloned().collect();
        let newest_id = messages.last().map(|message| message.id);
        let (more, title) = (newest_id.is_some(), Some(self.title.clone()));
        HistoryPage { messages, newest_id, more, title, ..HistoryPage::default() }
    }
}

fn rights(id: MarkedId, chat: &Chat) -> ChatRights {
    ChatRights {
        peer: peer(id),
        title: chat.title.clone(),
        kind: ChatKind::Channel,
        username: chat.name.clone(),
        is_member: true,
        is_admin: false,
        can_post: true,
        can_invite: false,
    }
}

/// The key number `number`.
pub(super) fn credentials(number: u8) -> Credentials {
    let auth_key = AuthKey::new([number; AUTH_KEY_LEN]);
    Credentials { account: AuthKeyId::of(&auth_key), dc_id: 2, auth_key }
}

pub(super) fn me(user_id: i64, is_bot: bool) -> Me {
    Me { user_id, is_bot, username: None, first_name: Some(format!("person {user_id}")) }
}

fn peer(id: MarkedId) -> PeerRecord {
    PeerRecord { id, access_hash: 1, is_bot: false, is_broadcast: false }
}
