//! Accounts: people and bots, what each has received, and where each is connected.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rand::Rng;
use rand::distr::Alphanumeric;
use serde::Deserialize;

use super::World;
use super::contacts::AddressBook;
use super::dcs::HOME_DC;
use super::ids::Peer;
use super::logins::normal_phone;
use super::messages::Message;
use super::passwords::Password;
use super::recovery::MailedCode;
use crate::server::link::Link;

/// First user id; above 32 bits, as new accounts have.
const FIRST_ID: i64 = 7_000_000_001;

/// By how much numbers fall back.
pub(crate) const SETBACK: i32 = 5;

/// Something that took a number in an account's common sequence or in a channel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The message of that id came in.
    NewMessage(i32),
}

/// A conversation as one account sees it: private or basic group.
#[derive(Default)]
pub(crate) struct Dialog {
    /// Ids in the account's own numbering, rising.
    pub(crate) ids: Vec<i32>,
    pub(crate) read_inbox: i32,
    /// Whether somebody else has written here.
    pub(crate) heard: bool,
}

/// A message that a client sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) peer: Peer,
    pub(crate) id: i32,
    pub(crate) pts: i32,
}

/// Whom an account lets reach it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Privacy {
    /// Their private messages are answered `USER_IS_BLOCKED`.
    pub blocked: BTreeSet<i64>,
    /// The error that everybody else's private messages are answered with, if any.
    pub refuse_messages: Option<String>,
    /// Nobody can add it to a chat: it comes back in `missing_invitees`. A bot of that kind is
    /// `BOT_GROUPS_BLOCKED`.
    pub refuse_invites: bool,
    /// Only those who have Telegram Premium can reach it, beside its contacts and those to whom it
    /// has written: messages are `PRIVACY_PREMIUM_REQUIRED`, invitations come back in
    /// `missing_invitees`.
    pub premium_required: bool,
    /// What a message costs those who are neither its contacts nor have heard from it, in stars:
    /// `ALLOW_PAYMENT_REQUIRED_x`. 0 is nothing.
    pub paid_messages: u32,
    /// Only its contacts find it by its phone.
    pub hide_phone: bool,
}

/// An account.
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) phone: String,
    pub(crate) first_name: String,
    pub(crate) username: Option<String>,
    pub(crate) bot_token: Option<String>,
    /// Tokens it had before.
    pub(crate) old_tokens: Vec<String>,
    pub(crate) password: Option<Password>,
    /// The last code that went to its recovery mail.
    pub(crate) mailed: Option<MailedCode>,
    /// Whether it has Telegram Premium.
    pub(crate) premium: bool,
    pub(crate) api_hash: String,
    /// The datacenter it lives at.
    pub(crate) dc: i32,
    /// Messages of private chats and basic groups; id `n` stands at `n - 1`.
    pub(crate) messages: Vec<Message>,
    pub(crate) dialogs: BTreeMap<Peer, Dialog>,
    /// Joined basic groups and channels.
    pub(crate) chats: BTreeSet<Peer>,
    /// Read position in each channel.
    pub(crate) read_in_channel: HashMap<i64, i32>,
    /// People whose data this account was given, so that short updates about them make sense.
    pub(crate) acquainted: HashSet<i64>,
    /// The common sequence: event `n` stands at `n - 2`, since it starts at 1, or further on by
    /// `setback`.
    pub(crate) events: Vec<Event>,
    /// By how much the sequence's numbers have fallen back.
    pub(crate) setback: i32,
    /// What became of accepted sends, by their random ids.
    pub(crate) random_ids: HashMap<i64, Accepted>,
    pub(crate) privacy: Privacy,
    pub(crate) book: AddressBook,
    /// Phones it has imported, and looked up in whatever way, since the limits were set.
    pub(crate) imported: u32,
    pub(crate) looked_up: u32,
    /// Whether it was deleted; its messages stay.
    pub(crate) deleted: bool,
    /// Since when it is frozen, if it is.
    pub(crate) frozen: Option<i32>,
    /// Connections that get updates.
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) connections_now: u64,
    pub(crate) connections_total: u64,
    pub(crate) methods: BTreeMap<&'static str, u64>,
}

impl User {
    pub(crate) fn is_bot(&self) -> bool {
        self.bot_token.is_some()
    }

    /// The number of the last event in the common sequence.
    pub(crate) fn pts(&self) -> i32 {
        self.events.len() as i32 + 1 - self.setback
    }

    /// The numbers of the common sequence fall back for good.
    pub(crate) fn fall_back(&mut self) {
        self.setback += SETBACK.min(self.pts() - 1);
    }

    /// Events after `pts`, oldest first.
    pub(crate) fn events_after(&self, pts: i32) -> &[Event] {
        let known = usize::try_from(pts - 1 + self.setback).unwrap_or(0).min(self.events.len());
        &self.events[known..]
    }

    pub(crate) fn message(&self, id: i32) -> Option<&Message> {
        self.messages.get(usize::try_from(id).ok()?.checked_sub(1)?)
    }

    /// The id of this account's copy of a message, looked for from the newest on.
    pub(crate) fn copy_of(&self, peer: Peer, post: u64) -> Option<i32> {
        let ids = &self.dialogs.get(&peer)?.ids;
        let has = |id: &&i32| self.message(**id).is_some_and(|message| message.post == post);
        ids.iter().rev().find(has).copied()
    }

    /// The messages of one private chat or basic group, oldest first.
    pub(crate) fn dialog_messages(&self, peer: Peer) -> Vec<&Message> {
        let ids = self.dialogs.get(&peer).map(|dialog| &dialog.ids[..]).unwrap_or_default();
        ids.iter().filter_map(|&id| self.message(id)).collect()
    }
}

/// What a new account is to be.
#[derive(Default)]
pub(crate) struct NewUser {
    pub(crate) phone: Option<String>,
    pub(crate) first_name: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Password>,
    pub(crate) bot: bool,
    pub(crate) premium: bool,
    /// Home, if it is not the usual one.
    pub(crate) dc: Option<i32>,
}

impl World {
    /// Adds an account; the error says what is taken.
    pub(crate) fn add_user(&mut self, new: NewUser) -> Result<i64, String> {
        let number = self.users.len() as i64;
        let dc = new.dc.unwrap_or(HOME_DC);
        if self.dcs.address(dc).is_none() {
            return Err(format!("there is no datacenter {dc}: it needs an address of its own"));
        }
        let id = FIRST_ID + number;
        let username = new.username.or_else(|| new.bot.then(|| format!("helper{number}_bot")));
        let phone = match new.phone {
            _ if new.bot => String::new(),
            Some(phone) => {
                normal_phone(&phone).ok_or_else(|| "that is not a phone number".to_owned())?
            }
            None => format!("+7999{number:07}"),
        };
        if self.phones.contains_key(&phone) {
            return Err("phone is taken".to_owned());
        }
        if let Some(username) = &username {
            self.claim_username(username, Peer::User(id))?;
        }
        if !new.bot {
            self.phones.insert(phone.clone(), id);
        }
        let bot_token = new.bot.then(|| self.draw_token(id));
        let user = User {
            id,
            phone,
            first_name: new.first_name.unwrap_or_else(|| format!("User {number}")),
            username,
            bot_token,
            old_tokens: Vec::new(),
            password: new.password,
            mailed: None,
            premium: new.premium,
            dc,
            api_hash: format!("{:032x}", self.rng.random::<u128>()),
            messages: Vec::new(),
            dialogs: BTreeMap::new(),
            chats: BTreeSet::new(),
            read_in_channel: HashMap::new(),
            acquainted: HashSet::new(),
            events: Vec::new(),
            setback: 0,
            random_ids: HashMap::new(),
            privacy: Privacy::default(),
            book: AddressBook::default(),
            imported: 0,
            looked_up: 0,
            deleted: false,
            frozen: None,
            links: Vec::new(),
            connections_now: 0,
            connections_total: 0,
            methods: BTreeMap::new(),
        };
        self.users.insert(id, user);
        Ok(id)
    }

    /// Gives a bot another token; the old one is worth nothing any more, but its sessions go on.
    pub(crate) fn renew_token(&mut self, id: i64) -> Option<String> {
        let token = self.draw_token(id);
        let user = self.user_mut(id);
        let old = user.bot_token.replace(token.clone())?;
        user.old_tokens.push(old);
        Some(token)
    }

    fn draw_token(&mut self, id: i64) -> String {
        format!("{id}:{}", self.random_text(35))
    }

    /// Deletes an account: nobody finds it or reaches it any more, and its sessions are over.
    /// What it wrote and where it is a member stays.
    pub(crate) fn delete_account(&mut self, id: i64) {
        let user = self.user_mut(id);
        user.deleted = true;
        let (phone, username) = (user.phone.clone(), user.username.take());
        self.phones.remove(&phone);
        if let Some(username) = username {
            self.usernames.remove(&username.to_ascii_lowercase());
        }
        for key_id in self.keys_of(id) {
            self.kill_key(key_id, "USER_DEACTIVATED");
        }
    }

    /// Reserves a username for a peer.
    pub(crate) fn claim_username(&mut self, username: &str, peer: Peer) -> Result<(), String> {
        if !valid_username(username) {
            return Err(format!("{username:?} is not a valid username"));
        }
        let key = username.to_ascii_lowercase();
        if self.usernames.contains_key(&key) {
            return Err(format!("username {username:?} is taken"));
        }
        self.usernames.insert(key, peer);
        Ok(())
    }

    pub(crate) fn random_text(&mut self, length: usize) -> String {
        (0..length).map(|_| char::from(self.rng.sample(Alphanumeric))).collect()
    }
}

/// Telegram's rule: 4 to 32 letters, digits and underscores, beginning with a letter.
pub(crate) fn valid_username(username: &str) -> bool {
    (4..=32).contains(&username.len())
        && username.starts_with(|first: char| first.is_ascii_alphabetic())
        && username.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}
