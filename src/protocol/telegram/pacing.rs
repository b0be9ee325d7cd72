//! Pacing: token rates per method class, and the waits that Telegram imposed.

use serde::{Deserialize, Serialize};

use super::chat::MarkedId;
use crate::protocol::values::ids::UnixMillis;

/// Added to every wait that Telegram names, so that clocks a little apart do not make us early.
pub const WAIT_MARGIN_MS: i64 = 1_000;

/// Rest after `PEER_FLOOD`, milliseconds (24 h).
pub const LIMITED_REST_MS: i64 = 24 * 60 * 60 * 1_000;

/// Most flood_waits kept for one account: seven method classes, the account, and slow-mode chats.
pub const FLOOD_WAITS_MAX: usize = 64;

/// Rate of one method class and account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a minute in the long run.
    pub per_minute: u32,
    /// Calls at once after a rest.
    pub burst: u32,
}

/// Rates of all method classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sending.
    pub send: Rate,
    /// Inviting.
    pub invite: Rate,
    /// Joining.
    pub join: Rate,
    /// Resolving usernames, which Telegram limits most tightly.
    pub resolve: Rate,
    /// Contacts.
    pub contacts: Rate,
    /// Reading.
    pub read: Rate,
    /// Logging in.
    pub auth: Rate,
    /// Messages that an account may send in a day (UTC).
    pub sends_per_day: u32,
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |per_minute, burst| Rate { per_minute, burst };
        Self {
            send: rate(20, 5),
            invite: rate(2, 1),
            join: rate(4, 5),
            resolve: rate(4, 3),
            contacts: rate(4, 2),
            read: rate(240, 100),
            auth: rate(4, 2),
            sends_per_day: 1_000,
        }
    }
}

impl Limits {
    /// The rate of a class.
    pub fn of(&self, class: MethodClass) -> Rate {
        match class {
            MethodClass::Send => self.send,
            MethodClass::Invite => self.invite,
            MethodClass::Join => self.join,
            MethodClass::Resolve => self.resolve,
            MethodClass::Contacts => self.contacts,
            MethodClass::Read | MethodClass::Updates => self.read,
            MethodClass::Auth => self.auth,
        }
    }
}

/// The waits of one account. Ends survive restarts; a wait is never shortened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FloodWaits(Vec<FloodWait>);

impl FloodWaits {
    /// Continues with what the store kept.
    pub fn new(stored: Vec<FloodWait>) -> Self {
        Self(stored)
    }

    /// Takes note of a wait.
    pub fn impose(&mut self, scope: FloodWaitScope, until: UnixMillis, now: UnixMillis) {
        self.0.retain(|wait| wait.until > now);
        match self.0.iter_mut().find(|wait| wait.scope == scope) {
            Some(known) => known.until = known.until.max(until),
            None => self.0.push(FloodWait { scope, until }),
        }
        if self.0.len() > FLOOD_WAITS_MAX {
            // The one that ends first is the least loss: at worst Telegram names it again.
            let soonest = self.0.iter().enumerate().min_by_key(|(_, wait)| wait.until);
            if let Some((index, _)) = soonest {
                self.0.swap_remove(index);
            }
        }
    }

    /// When a call of `class` may be made, if it may not now.
    pub fn holds(&self, class: MethodClass, now: UnixMillis) -> Option<UnixMillis> {
        let covers = |scope: &FloodWaitScope| match scope {
            FloodWaitScope::Class(held) => *held == class,
            // After PEER_FLOOD an account rests from what it initiates; it may still read.
            FloodWaitScope::Account => {
                !matches!(class, MethodClass::Read | MethodClass::Auth | MethodClass::Updates)
            }
            FloodWaitScope::Chat(_) => false,
        };
        let holding = self.0.iter().filter(|held| held.until > now && covers(&held.scope));
        holding.map(|held| held.until).max()
    }

    /// When sending into `chat` may go on, if it may not now (slow mode).
    pub fn holds_chat(&self, chat: MarkedId, now: UnixMillis) -> Option<UnixMillis> {
        let covers =
            |held: &&FloodWait| held.scope == FloodWaitScope::Chat(chat) && held.until > now;
        self.0.iter().find(covers).map(|held| held.until)
    }

    /// Whether the account as a whole is limited.
    pub fn is_limited(&self, now: UnixMillis) -> bool {
        self.limited_until(now).is_some()
    }

    /// Until when the account as a whole is limited, if it is.
    pub fn limited_until(&self, now: UnixMillis) -> Option<UnixMillis> {
        let covers = |held: &&FloodWait| held.scope == FloodWaitScope::Account && held.until > now;
        self.0.iter().find(covers).map(|held| held.until)
    }

    /// Whether some method class has to wait.
    pub fn has_wait_of_class(&self, now: UnixMillis) -> bool {
        let class = |held: &FloodWait| matches!(held.scope, FloodWaitScope::Class(_));
        self.0.iter().any(|held| held.until > now && class(held))
    }

    /// When the next wait ends.
    pub fn next_end(&self, now: UnixMillis) -> Option<UnixMillis> {
        self.0.iter().map(|held| held.until).filter(|until| *until > now).min()
    }

    /// For the store: the waits that are not over.
    pub fn current(&self, now: UnixMillis) -> Vec<FloodWait> {
        self.0.iter().filter(|held| held.until > now).cloned().collect()
    }
}

/// Method classes with rate limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodClass {
    /// Sending messages.
    Send,
    /// Inviting users.
    Invite,
    /// Joining chats.
    Join,
    /// Resolving usernames.
    Resolve,
    /// Adding and importing contacts.
    Contacts,
    /// Reading history, members, dialogs.
    Read,
    /// Logging in.
    Auth,
    /// Asking for updates that were missed: a link by itself, without a rate of its own, and bots by
    /// calls, at the rate of reading.
    Updates,
}

impl MethodClass {
    /// Its name, as it is stored and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Invite => "invite",
            Self::Join => "join",
            Self::Resolve => "resolve",
            Self::Contacts => "contacts",
            Self::Read => "read",
            Self::Auth => "auth",
            Self::Updates => "updates",
        }
    }
}

/// What a flood wait covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FloodWaitScope {
    /// One method class of the account.
    Class(MethodClass),
    /// Sending into one chat (slow mode).
    Chat(MarkedId),
    /// Everything the account does on its own initiative (`PEER_FLOOD`).
    Account,
}

/// A wait that Telegram imposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloodWait {
    /// What it covers.
    pub scope: FloodWaitScope,
    /// When it ends.
    pub until: UnixMillis,
}

/// What Telegram makes a person or bot wait for, when no account is left that remembers it: giving an
/// account up and connecting it anew is no way around a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonFloodWaits {
    /// The person or bot at Telegram.
    pub telegram_id: i64,
    /// The waits that were not over when the account went.
    pub waits: Vec<FloodWait>,
}

impl PersonFloodWaits {
    /// When the last of the waits is over.
    pub fn over_at(&self) -> Option<UnixMillis> {
        self.waits.iter().map(|wait| wait.until).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_limited_account_may_read_but_not_initiate() {
        let mut waits = FloodWaits::default();
        waits.impose(FloodWaitScope::Account, UnixMillis(100), UnixMillis(0));
        assert_eq!(waits.holds(MethodClass::Read, UnixMillis(50)), None);
        assert_eq!(waits.holds(MethodClass::Join, UnixMillis(50)), Some(UnixMillis(100)));
        assert!(waits.is_limited(UnixMillis(50)) && !waits.is_limited(UnixMillis(100)));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shortened_and_the_list_stays_bounded(
            waits in prop::collection::vec((0..200i64, 1..1_000i64), 1..300),
        ) {
            let mut flood_waits = FloodWaits::default();
            let scope = FloodWaitScope::Class(MethodClass::Send);
            let mut longest = 0;
            for (chat, until) in waits {
                flood_waits.impose(FloodWaitScope::Chat(MarkedId(chat)), UnixMillis(5_000), UnixMillis(0));
                flood_waits.impose(scope.clone(), UnixMillis(10_000 + until), UnixMillis(0));
                longest = longest.max(10_000 + until);
                let held = flood_waits.holds(MethodClass::Send, UnixMillis(0));
                prop_assert_eq!(held, Some(UnixMillis(longest)));
                prop_assert!(flood_waits.current(UnixMillis(0)).len() <= FLOOD_WAITS_MAX);
            }
        }
    }
}
