//! Whose something is: users of the API, their accounts and logins, and who is asking. A user's id is
//! part of every key under which the user's rows are found, so that nobody can forget to compare it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest user id, in bytes.
pub const USER_ID_MAX: usize = 128;

/// A user of the API: the `sub` of a token. Rows belong to users.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

/// Why a user id was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserIdError {
    /// Nothing there, or far too much.
    #[error("a user id has 1 to {USER_ID_MAX} bytes")]
    Length,
    /// Something that no id holds.
    #[error("a user id holds no control characters")]
    Control,
}

impl UserId {
    /// Takes over a user id.
    ///
    /// # Errors
    /// When it is empty, longer than [`USER_ID_MAX`] bytes, or holds control characters.
    pub fn new(id: impl Into<String>) -> Result<Self, UserIdError> {
        let id = id.into();
        if id.is_empty() || id.len() > USER_ID_MAX {
            return Err(UserIdError::Length);
        }
        if id.chars().any(char::is_control) {
            return Err(UserIdError::Control);
        }
        Ok(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserId {
    type Error = UserIdError;

    fn try_from(id: String) -> Result<Self, UserIdError> {
        Self::new(id)
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({:?})", self.0)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// A user's account (a UUID of version 7). It stays the same when the account logs in anew, which
    /// changes its authorization key.
    AccountId
}
uuid_id! {
    /// A login under way.
    LoginId
}
uuid_id! {
    /// A webhook endpoint.
    WebhookId
}

/// What a token allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Its own rows.
    #[default]
    User,
    /// Everybody's.
    Admin,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose token it is.
    pub user: UserId,
    /// What it allows.
    pub role: Role,
    /// From where, as far as that is known.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// Whose rows exist for this caller.
    pub fn scope(&self) -> Scope {
        match self.role {
            Role::User => Scope::Only(self.user.clone()),
            Role::Admin => Scope::Everybody,
        }
    }

    /// Whether this caller may act for `user`.
    pub fn is_or_may_see(&self, user: &UserId) -> bool {
        self.scope().covers(user)
    }
}

/// Whose rows exist for a request. Every lookup of a row takes one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One user's.
    Only(UserId),
    /// Everybody's: for admins.
    Everybody,
}

impl Scope {
    /// Whether rows of `user` exist in it.
    pub fn covers(&self, user: &UserId) -> bool {
        match self {
            Self::Only(only) => only == user,
            Self::Everybody => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_short_and_printable() {
        assert!(UserId::new("user-7").is_ok());
        assert_eq!(UserId::new(""), Err(UserIdError::Length));
        assert_eq!(UserId::new("x".repeat(USER_ID_MAX + 1)), Err(UserIdError::Length));
        assert_eq!(UserId::new("a\nb"), Err(UserIdError::Control));
        assert!(serde_json::from_str::<UserId>("\"\"").is_err());
    }

    #[test]
    fn only_admins_see_others() {
        let (one, other) = (UserId::new("one").unwrap(), UserId::new("other").unwrap());
        let caller = |role| Caller { user: one.clone(), role, address: None };
        assert!(caller(Role::User).is_or_may_see(&one));
        assert!(!caller(Role::User).is_or_may_see(&other));
        assert!(caller(Role::Admin).is_or_may_see(&other));
    }
}
