//! The shapes of the control API that are about reaching people.

use serde::{Deserialize, Serialize};

/// Somebody in an address book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContactEntry {
    /// Who.
    pub user_id: i64,
    /// As the owner of the book calls them.
    pub first_name: String,
    /// As the owner of the book calls them.
    pub last_name: String,
    /// As the owner gave it when importing, with the plus; else empty.
    pub phone: String,
    /// Whether they have the owner as a contact, too.
    pub mutual: bool,
    /// Whether the owner lets them see the owner's own phone (`add_phone_privacy_exception`).
    pub shares_phone: bool,
    /// Since when, in Unix seconds.
    pub date: i32,
}

/// Somebody to put into an address book.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewContact {
    /// Who.
    pub user_id: i64,
    /// Their own, if absent.
    #[serde(default)]
    pub first_name: Option<String>,
    /// None, if absent.
    #[serde(default)]
    pub last_name: Option<String>,
    /// Whether they are to see the owner's phone.
    #[serde(default)]
    pub shares_phone: bool,
}

/// An invite link to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewLink {
    /// Whose link it is; nobody's in particular, if absent.
    pub creator: Option<i64>,
    /// What it is called.
    pub title: Option<String>,
    /// Until when it works, in Unix seconds.
    pub expire_date: Option<i32>,
    /// How many people may come in by it.
    pub usage_limit: Option<i32>,
    /// Whether an admin must let in who uses it.
    pub request_needed: bool,
}

/// An invite link and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkInfo {
    /// `https://t.me/+…`.
    pub invite_link: String,
    /// Who made it; nobody in particular for the first link of a chat.
    pub creator: Option<i64>,
    /// What it is called.
    pub title: Option<String>,
    /// Whether an admin must let in who uses it.
    pub request_needed: bool,
    /// Whether it works no more.
    pub revoked: bool,
    /// Who came in by it.
    pub uses: Vec<i64>,
    /// Who waits to be let in.
    pub requests: Vec<i64>,
}
