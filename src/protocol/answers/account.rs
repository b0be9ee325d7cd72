//! An account as those are told of it who may see it. Plain data, without anything secret.

use super::refusal::Code;
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;

/// What is told of an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountInfo {
    /// Its id.
    pub id: AccountId,
    /// Whose it is, where somebody is told who sees more than their own.
    pub owner: Option<UserId>,
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
    /// Where it stands.
    pub state: AccountState,
    /// Why it is in trouble, if it is.
    pub trouble: Option<AccountTrouble>,
    /// When it was connected first.
    pub created_at: UnixMillis,
    /// When what is kept of it changed last.
    pub updated_at: UnixMillis,
}

/// Why an account is in trouble.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AccountTrouble {
    /// For programs.
    pub code: Code,
    /// For people.
    pub detail: String,
    /// Since when.
    pub since: UnixMillis,
}
