//! Tokens: JSON Web Tokens (RFC 7519) signed with HS256 and nothing else. Pure but for the clock.
//! What is said of a refused token never quotes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use super::secret::TokenSecret;
use crate::protocol::owner::{Role, UserId};

/// Whom tokens are for. One without `aud` is for everybody.
const AUDIENCE: &str = "telewarden";
/// How far clocks may differ, in seconds.
const LEEWAY_SECONDS: u64 = 10;
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    #[serde(default)]
    role: Option<String>,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<serde_json::Value>,
}

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
    /// How much longer it is valid.
    pub fn left(&self) -> Duration {
        Duration::from_secs(self.expires_at.saturating_sub(now_seconds()))
    }
}

/// Why a token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("there is no token; send one in the header: Authorization: Bearer …")]
    Missing,
    /// Not a token at all.
    #[error("this is not a JSON Web Token")]
    Malformed,
    /// Another algorithm.
    #[error("the token is not signed with HS256, the only algorithm that is taken here")]
    Algorithm,
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
    /// No expiry.
    #[error("the token lacks exp, the moment when it expires")]
    NoExpiry,
    /// No user.
    #[error("the token's sub is no user id (1 to 128 bytes, no control characters)")]
    Subject,
    /// An unknown role.
    #[error("the token's role is neither \"user\" nor \"admin\"")]
    Role,
    /// Something else is wrong with what it says.
    #[error("the claims of the token are not understood; expected sub, exp and, if any, role")]
    Claims,
}

/// Checks tokens and makes them.
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    rules: Validation,
}

impl Tokens {
    /// With this secret.
    pub fn new(secret: &TokenSecret) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.leeway = LEEWAY_SECONDS;
        rules.validate_nbf = true;
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "sub"]);
        let secret = secret.expose();
        let (signing, checking) =
            (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { signing, checking, rules }
    }

    /// What `token` allows.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, token: &str) -> Result<Grant, TokenError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let claims = decode::<Claims>(token, &self.checking, &self.rules)
            .map_err(|error| refused(error.kind()))?
            .claims;
        let role = match claims.role.as_deref() {
            None | Some("user") => Role::User,
            Some("admin") => Role::Admin,
            Some(_) => return Err(TokenError::Role),
        };
        let user = UserId::new(claims.sub).map_err(|_| TokenError::Subject)?;
        Ok(Grant { user, role, expires_at: claims.exp })
    }

    /// Makes a token that is valid for `ttl`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn mint(
        &self,
        user: &UserId,
        role: Role,
        ttl: Duration,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let role = match role {
            Role::User => "user",
            Role::Admin => "admin",
        };
        let claims = Claims {
            sub: user.as_str().to_owned(),
            role: Some(role.to_owned()),
            exp: now_seconds().saturating_add(ttl.as_secs()),
            aud: Some(AUDIENCE.into()),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
    }
}

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn refused(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        ErrorKind::ExpiredSignature => TokenError::Expired,
        ErrorKind::ImmatureSignature => TokenError::NotYet,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "exp" => TokenError::NoExpiry,
        ErrorKind::MissingRequiredClaim(claim) if claim == "sub" => TokenError::Subject,
        ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::InvalidSubject => TokenError::Claims,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::secret::SecretText;

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(&TokenSecret::new(SecretText::new(secret.to_owned())).unwrap())
    }

    fn ours() -> Tokens {
        tokens("0123456789abcdef0123456789abcdef")
    }

    fn signed(claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &ours().signing).unwrap()
    }

    fn later() -> u64 {
        now_seconds() + 600
    }

    #[test]
    fn a_token_that_was_made_here_is_taken() {
        let user = UserId::new("user-7").unwrap();
        for role in [Role::User, Role::Admin] {
            let token = ours().mint(&user, role, Duration::from_secs(60)).unwrap();
            let grant = ours().check(&token).unwrap();
            assert_eq!((grant.user.clone(), grant.role), (user.clone(), role));
            assert!((55..=60).contains(&grant.left().as_secs()));
        }
    }

    #[test]
    fn claims_decide() {
        let cases = [
            (json!({"sub": "u", "exp": later()}), Ok(Role::User)),
            (json!({"sub": "u", "exp": later(), "role": "admin"}), Ok(Role::Admin)),
            (json!({"sub": "u", "exp": later(), "aud": "telewarden"}), Ok(Role::User)),
            (json!({"sub": "u", "exp": later(), "aud": ["x", "telewarden"]}), Ok(Role::User)),
            (json!({"sub": "u", "exp": later(), "nbf": now_seconds() - 5}), Ok(Role::User)),
            (json!({"sub": "u", "exp": now_seconds() - 3}), Ok(Role::User)),
            (json!({"sub": "u", "exp": later(), "aud": "other"}), Err(TokenError::Audience)),
            (json!({"sub": "u", "exp": later(), "aud": []}), Err(TokenError::Audience)),
            (json!({"sub": "u", "exp": later(), "nbf": later()}), Err(TokenError::NotYet)),
            (json!({"sub": "u", "exp": now_seconds() - 60}), Err(TokenError::Expired)),
            (json!({"sub": "", "exp": later()}), Err(TokenError::Subject)),
            (json!({"sub": "a\nb", "exp": later()}), Err(TokenError::Subject)),
            (json!({"sub": "u", "exp": later(), "role": "root"}), Err(TokenError::Role)),
        ];
        for (claims, expected) in cases {
            let found = ours().check(&signed(&claims)).map(|grant| grant.role);
            assert_eq!(found, expected, "{claims}");
        }
        for claims in [json!({"sub": "u"}), json!({"exp": later()}), json!({"sub": 1, "exp": "x"})]
        {
            assert!(ours().check(&signed(&claims)).is_err(), "{claims}");
        }
    }

    #[test]
    fn forgeries_are_refused() {
        let claims = json!({"sub": "u", "exp": later(), "role": "admin"});
        let good = signed(&claims);
        let mut parts = good.split('.');
        let (_, body, _) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(ours().check(&format!("{none}.{body}.")).is_err());
        let other = encode(&Header::new(Algorithm::HS512), &claims, &ours().signing).unwrap();
        assert_eq!(ours().check(&other), Err(TokenError::Algorithm));
        let theirs = tokens("another secret of thirty-two bytes");
        let theirs = theirs.mint(&UserId::new("u").unwrap(), Role::Admin, Duration::from_secs(60));
        assert_eq!(ours().check(&theirs.unwrap()), Err(TokenError::Signature));
        assert_eq!(ours().check(&"x".repeat(5000)), Err(TokenError::Malformed));
    }

    proptest! {
        #[test]
        fn no_text_and_no_change_passes(text in "\\PC{0,80}", at in 0usize..200, letter in "[A-Za-z0-9_-]") {
            prop_assert!(ours().check(&text).is_err());
            let good = signed(&json!({"sub": "u", "exp": later()}));
            let at = at % (good.len() - 1);
            let mut changed = good.clone();
            changed.replace_range(at..=at, &letter);
            prop_assert_eq!(ours().check(&changed).is_ok(), changed == good);
        }
    }
}
