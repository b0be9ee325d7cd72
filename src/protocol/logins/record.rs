//! What is kept of logins under way. Plain data, sealed in the store.

use serde::{Deserialize, Serialize};

use super::delivery::CodeDelivery;
use crate::protocol::users::owner::{AccountId, LoginId, UserId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;

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
    /// Names who logs in, as [`LoginFloodWait::subject`] does.
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
pub struct LoginFloodWait {
    /// Whose login was told.
    pub user: UserId,
    /// The login.
    pub id: LoginId,
    /// Names the phone number, bot or session, without telling it.
    pub subject: Fingerprint,
    /// When the wait is over.
    pub until: UnixMillis,
}

impl std::fmt::Debug for LoginFloodWait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginFloodWait").field("id", &self.id).finish_non_exhaustive()
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
        /// How the code went out; unknown of records that are older than this field.
        #[serde(default)]
        delivery: Option<CodeDelivery>,
    },
    /// A picture waits to be scanned.
    WaitingScan,
    /// The password is needed.
    PasswordRequired {
        /// The hint.
        hint: Option<String>,
        /// What Telegram shows of the address to which it sent a code because the password is forgotten.
        #[serde(default)]
        email_pattern: Option<String>,
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
