//! What the claims of a token say (RFC 7519 section 4): who it is for, until when, as whom. Pure: the moment
//! is given. Each mistake has words of its own, and none quotes the token.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::protocol::users::owner::{Role, UserId};
use crate::protocol::values::ids::UnixMillis;

/// Whom tokens are for. One without `aud` is for everybody.
pub(super) const AUDIENCE: &str = "telewarden";
/// How far clocks may differ, in seconds.
const LEEWAY_SECONDS: f64 = 10.0;

/// What a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whose it is.
    pub user: UserId,
    /// What it allows.
    pub role: Role,
    /// When it ends, seconds since the Unix epoch.
    pub expires_at: u64,
}

impl Grant {
    /// How much longer it is valid at the moment `now`.
    pub fn left(&self, now: UnixMillis) -> Duration {
        let now = Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
        Duration::from_secs(self.expires_at).saturating_sub(now)
    }
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("there is no token; send one in the header: Authorization: Bearer …")]
    Missing,
    /// Not a token at all.
    #[error(
        "what the Authorization header holds is no JSON Web Token; send one made by telewarden token, \
         after the word Bearer"
    )]
    Malformed,
    /// Another algorithm.
    #[error("the token is not signed with HS256, the only algorithm that is taken here")]
    Algorithm,
    /// It must not be taken by whoever does not know what its header names (RFC 7515 section 4.1.11).
    #[error(
        "the token's header demands extensions (crit), and none is known here; sign it without"
    )]
    Critical,
    /// Signed by somebody else, or changed.
    #[error("the signature of the token is wrong; it was changed, or made with another secret")]
    Signature,
    /// Its time is over.
    #[error("the token has expired; get a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet (nbf)")]
    NotYet,
    /// For somebody else.
    #[error("the token is for another audience (aud); expected \"telewarden\", or none")]
    Audience,
    /// An audience that is no text.
    #[error(
        "the token's aud is neither a text nor a list of texts; expected \"telewarden\", or none"
    )]
    AudienceType,
    /// No expiry.
    #[error("the token lacks exp, the moment when it expires, in seconds since 1970")]
    NoExpiry,
    /// A moment that is no number.
    #[error(
        "the token's {0} is not a number; expected seconds since 1970, with or without a fraction"
    )]
    Date(&'static str),
    /// No user.
    #[error("the token lacks sub, the id of the user")]
    NoSubject,
    /// A user that is no text.
    #[error("the token's sub is not a text; write a user id that is a number as one: \"42\"")]
    SubjectType,
    /// No user's id.
    #[error("the token's sub is no user id (1 to 128 bytes, no control characters)")]
    Subject,
    /// A role that is no text.
    #[error(
        "the token's role is not a text; expected one role, \"user\" or \"admin\", and no list"
    )]
    RoleType,
    /// An unknown role.
    #[error("the token's role is neither \"user\" nor \"admin\"")]
    Role,
}

/// What `claims` allow at the moment `now`, which is since the Unix epoch.
pub(super) fn granted(claims: &Map<String, Value>, now: Duration) -> Result<Grant, TokenError> {
    let now = now.as_secs_f64();
    let expires = date(claims, "exp")?.ok_or(TokenError::NoExpiry)?;
    // On or after this moment it must not be taken (RFC 7519 section 4.1.4).
    if expires + LEEWAY_SECONDS <= now {
        return Err(TokenError::Expired);
    }
    if date(claims, "nbf")?.is_some_and(|from| from > now + LEEWAY_SECONDS) {
        return Err(TokenError::NotYet);
    }
    date(claims, "iat")?;
    audience(claims.get("aud"))?;
    let user = match claims.get("sub") {
        None => return Err(TokenError::NoSubject),
        Some(Value::String(user)) => UserId::new(user.as_str()).map_err(|_| TokenError::Subject)?,
        Some(_) => return Err(TokenError::SubjectType),
    };
    let role = match claims.get("role") {
        None | Some(Value::Null) => Role::User,
        Some(Value::String(role)) => match role.as_str() {
            "user" => Role::User,
            "admin" => Role::Admin,
            _ => return Err(TokenError::Role),
        },
        Some(_) => return Err(TokenError::RoleType),
    };
    // A number beyond all is for ever.
    Ok(Grant { user, role, expires_at: expires as u64 })
}

/// A NumericDate (RFC 7519 section 2): seconds, which "can be non-integer".
fn date(claims: &Map<String, Value>, name: &'static str) -> Result<Option<f64>, TokenError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite());
    seconds.map(Some).ok_or(TokenError::Date(name))
}

/// One text, or a list of texts, of which one names us (RFC 7519 section 4.1.3).
fn audience(claim: Option<&Value>) -> Result<(), TokenError> {
    let is_for_us = match claim {
        None => true,
        Some(Value::String(one)) => one == AUDIENCE,
        Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
            all.iter().any(|one| one == AUDIENCE)
        }
        Some(_) => return Err(TokenError::AudienceType),
    };
    is_for_us.then_some(()).ok_or(TokenError::Audience)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_700_000_000;

    fn of(claims: &Value) -> Result<Grant, TokenError> {
        granted(claims.as_object().unwrap(), Duration::from_secs(NOW))
    }

    #[test]
    fn claims_decide() {
        let later = NOW + 600;
        let cases = [
            (json!({"sub": "u", "exp": later}), Ok(Role::User)),
            (json!({"sub": "u", "exp": later, "role": "admin"}), Ok(Role::Admin)),
            (json!({"sub": "u", "exp": later, "role": null}), Ok(Role::User)),
            (json!({"sub": "u", "exp": later, "aud": "telewarden"}), Ok(Role::User)),
            (json!({"sub": "u", "exp": later, "aud": ["x", "telewarden"]}), Ok(Role::User)),
            (json!({"sub": "u", "exp": later, "nbf": NOW - 5}), Ok(Role::User)),
            (json!({"sub": "u", "exp": NOW - 3}), Ok(Role::User)),
            (json!({"sub": "u", "exp": NOW as f64 + 0.25}), Ok(Role::User)),
            (
                json!({"sub": "u", "exp": 1.7000006e9, "nbf": NOW as f64 - 0.5, "iat": NOW as f64 - 0.5}),
                Ok(Role::User),
            ),
            (json!({"sub": "u", "exp": 1e300}), Ok(Role::User)),
            (json!({"sub": "u"}), Err(TokenError::NoExpiry)),
            (json!({"sub": "u", "exp": "1900000000"}), Err(TokenError::Date("exp"))),
            (json!({"sub": "u", "exp": null}), Err(TokenError::Date("exp"))),
            (json!({"sub": "u", "exp": NOW - 60}), Err(TokenError::Expired)),
            (json!({"sub": "u", "exp": NOW as f64 - 10.5}), Err(TokenError::Expired)),
            (json!({"sub": "u", "exp": -1}), Err(TokenError::Expired)),
            (json!({"sub": "u", "exp": later, "nbf": later}), Err(TokenError::NotYet)),
            (json!({"sub": "u", "exp": later, "nbf": [NOW]}), Err(TokenError::Date("nbf"))),
            (json!({"sub": "u", "exp": later, "iat": "today"}), Err(TokenError::Date("iat"))),
            (json!({"sub": "u", "exp": later, "aud": "other"}), Err(TokenError::Audience)),
            (json!({"sub": "u", "exp": later, "aud": []}), Err(TokenError::Audience)),
            (json!({"sub": "u", "exp": later, "aud": 7}), Err(TokenError::AudienceType)),
            (json!({"sub": "u", "exp": later, "aud": null}), Err(TokenError::AudienceType)),
            (json!({"sub": "u", "exp": later, "aud": {"a": 1}}), Err(TokenError::AudienceType)),
            (
                json!({"sub": "u", "exp": later, "aud": ["telewarden", 7]}),
                Err(TokenError::AudienceType),
            ),
            (json!({"exp": later}), Err(TokenError::NoSubject)),
            (json!({"sub": 42, "exp": later}), Err(TokenError::SubjectType)),
            (json!({"sub": "", "exp": later}), Err(TokenError::Subject)),
            (json!({"sub": "a\nb", "exp": later}), Err(TokenError::Subject)),
            (json!({"sub": "u", "exp": later, "role": "root"}), Err(TokenError::Role)),
            (json!({"sub": "u", "exp": later, "role": ["admin"]}), Err(TokenError::RoleType)),
        ];
        let mut words = std::collections::HashMap::new();
        for (claims, expected) in cases {
            let found = of(&claims).map(|grant| grant.role);
            assert_eq!(found, expected, "{claims}");
            if let Err(error) = found {
                let other = words.insert(error.to_string(), error);
                assert!(
                    other.is_none_or(|other| other == error),
                    "two mistakes have the same words"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_fraction_counts(exp in 0.0..2.0 * NOW as f64, nbf in 0.0..2.0 * NOW as f64) {
            let now = NOW as f64;
            let expected = if exp + 10.0 <= now {
                Err(TokenError::Expired)
            } else if nbf > now + 10.0 {
                Err(TokenError::NotYet)
            } else {
                Ok(exp as u64)
            };
            let found = of(&json!({"sub": "u", "exp": exp, "nbf": nbf}));
            prop_assert_eq!(found.map(|grant| grant.expires_at), expected);
        }
    }
}
