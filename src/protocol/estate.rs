//! What belongs to users of the API: their accounts, logins, chats and sent messages, as the store
//! keeps them. Plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::account::Standing;
use super::chat::MarkedId;
use super::ids::{AuthKeyId, UnixMillis};
use super::model::Cooldown;
use super::owner::{AccountId, LoginId, UserId};

/// How long the outcome of a send is known under its idempotency key, milliseconds (24 h).
pub const SENDS_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// A user's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnedAccount {
    /// Its id, which stays when it logs in anew.
    pub id: AccountId,
    /// Whose it is.
    pub user: UserId,
    /// The authorization key it is connected with now.
    pub key: AuthKeyId,
    /// The application its session was made for; the configured one serves when absent.
    pub api_id: Option<i32>,
    /// Whether it is a bot.
    pub is_bot: bool,
    /// Its id at Telegram.
    pub telegram_id: i64,
    /// Its phone number with most of its digits hidden.
    pub phone_masked: Option<String>,
    /// Its public name, without `@`.
    pub username: Option<String>,
    /// Its first name.
    pub first_name: Option<String>,
    /// Whether its user holds it.
    pub is_paused: bool,
    /// Whether its session was made here, by a login; one that was brought from elsewhere may be used
    /// there, too. What is not known counts as brought.
    #[serde(default)]
    pub is_made_here: bool,
    /// When it was connected first.
    pub created_at: UnixMillis,
    /// When what is kept of it changed last.
    pub updated_at: UnixMillis,
}

impl OwnedAccount {
    /// Whether it is to be connected.
    pub fn standing(&self) -> Standing {
        if self.is_paused { Standing::Held } else { Standing::Kept }
    }
}

/// What becomes of the session that an account had before it logged in anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previous {
    /// It was made here, and is ended at Telegram.
    Ended,
    /// It was brought from elsewhere, and stays.
    Kept,
}

/// A chat that was attached to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedChat {
    /// Whose it is.
    pub user: UserId,
    /// The account.
    pub account: AccountId,
    /// The chat.
    pub chat: MarkedId,
    /// Its title.
    pub title: Option<String>,
    /// `group`, `supergroup` or `channel`.
    pub kind: String,
    /// Its public name, without `@`.
    pub username: Option<String>,
    /// Whether the account is in it.
    pub is_member: bool,
    /// Whether the account is an admin of it.
    pub is_admin: bool,
    /// Whether the account may write there.
    pub can_post: bool,
    /// Whether the account may invite there.
    pub can_invite: bool,
    /// When this was looked up.
    pub checked_at: UnixMillis,
}

/// What is kept of a send under its idempotency key. The key itself is not kept, nor the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRecord {
    /// Whose it is.
    pub user: UserId,
    /// The account that sends.
    pub account: AccountId,
    /// Names the idempotency key.
    pub key: Fingerprint,
    /// Tells whether a repetition asks for the same. It covers the idempotency key, too, so that
    /// nobody who has a copy of the store can try texts against it.
    pub request: Fingerprint,
    /// What Telegram recognises a repetition by.
    pub random_id: i64,
    /// What Telegram answered; until then the send may or may not have happened.
    pub sent: Option<SentMessage>,
    /// It is certain that the tries so far sent nothing.
    #[serde(default)]
    pub is_unsent: bool,
    /// Telegram took it, and does not tell which of the chat's messages it is.
    #[serde(default)]
    pub is_nameless: bool,
    /// When it was asked for.
    pub created_at: UnixMillis,
}

/// A message that Telegram took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentMessage {
    /// Its id in the chat.
    pub message_id: i32,
    /// Unix seconds.
    pub date: i64,
}

/// A SHA-256 over parts that are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Over `parts`, each with its length, so that no two lists of parts look the same.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}

/// What an account did in one day, for the daily limits. It outlives the account, so that connecting
/// it anew does not begin the day anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayCount {
    /// The person or bot at Telegram.
    pub telegram_id: i64,
    /// Days since 1970, UTC.
    pub day: i64,
    /// How often, by action.
    pub used: BTreeMap<String, u32>,
}

/// What Telegram makes a person or bot wait for, when no account is left that remembers it: giving an
/// account up and connecting it anew is no way around a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonWaits {
    /// The person or bot at Telegram.
    pub telegram_id: i64,
    /// The waits that were not over when the account went.
    pub waits: Vec<Cooldown>,
}

impl PersonWaits {
    /// When the last of the waits is over.
    pub fn over_at(&self) -> Option<UnixMillis> {
        self.waits.iter().map(|wait| wait.until).max()
    }
}

/// A login under way, so that a restart of the daemon does not end it. Sealed in the store.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginRecord {
    /// Its id.
    pub id: LoginId,
    /// Whose it is.
    pub user: UserId,
    /// The datacenter that its key was made with.
    pub dc_id: i32,
    /// The authorization key; empty once the account has it.
    pub auth_key: Vec<u8>,
    /// How far it is.
    pub stage: LoginStage,
    /// It came to nothing although Telegram may have let it in: the session is to be ended there, and
    /// then forgotten here.
    #[serde(default)]
    pub is_leaving: bool,
    /// Its key was made elsewhere: whatever becomes of the login, that session is not ended.
    #[serde(default)]
    pub is_brought: bool,
    /// The application that a key which was brought was made for.
    #[serde(default)]
    pub api_id: Option<i32>,
    /// Telegram asked to wait until then before its next step.
    #[serde(default)]
    pub not_before: Option<UnixMillis>,
    /// Names who logs in, as [`LoginWait::subject`] does.
    #[serde(default)]
    pub subject: Option<Fingerprint>,
    /// When it was begun.
    pub created_at: UnixMillis,
    /// When it is given up.
    pub expires_at: UnixMillis,
}

/// What Telegram makes whoever logs in wait for, although the login is over or nothing else is kept of
/// it: beginning anew is no way around a limit. Sealed in the store, since numbers can be tried.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginWait {
    /// Whose login was told.
    pub user: UserId,
    /// The login.
    pub id: LoginId,
    /// Names the phone number, bot or session, without telling it.
    pub subject: Fingerprint,
    /// When the wait is over.
    pub until: UnixMillis,
}

impl std::fmt::Debug for LoginWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginWait").field("id", &self.id).finish_non_exhaustive()
    }
}

/// How far a login is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginStage {
    /// Telegram sent a code.
    CodeSent {
        /// The phone number.
        phone: String,
        /// Telegram's name for the code.
        code_hash: String,
        /// Whether it went to the account's login address.
        by_email: bool,
    },
    /// A picture waits to be scanned.
    WaitingScan,
    /// The password is needed.
    PasswordRequired {
        /// The hint.
        hint: Option<String>,
    },
    /// It has succeeded: told of until it would have expired, in case its user did not hear of it.
    Done {
        /// What it ended with.
        account: AccountId,
    },
}

impl Drop for LoginRecord {
    fn drop(&mut self) {
        use zeroize::Zeroize;
        self.auth_key.zeroize();
    }
}

impl std::fmt::Debug for LoginRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_fingerprint_do_not_run_together() {
        let of = |parts: &[&[u8]]| Fingerprint::of(parts.iter().copied());
        assert_eq!(of(&[b"ab", b"c"]), of(&[b"ab", b"c"]));
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"ab"]), of(&[b"ab", b""]));
    }
}
