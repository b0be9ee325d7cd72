//! Tokens: JSON Web Tokens (RFC 7519) signed with HS256 and nothing else. Checks and makes them; what their
//! claims mean is in `claims.rs`. What is said of a refused token never quotes it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::Serialize;
use serde_json::{Map, Value};

use super::claims::{AUDIENCE, Grant, TokenError, granted};
use super::secret::TokenSecret;
use crate::clock::Clock;
use crate::protocol::users::owner::{Role, UserId};

/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4096;

/// What the tokens say that are made here.
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    role: &'static str,
    exp: u64,
    aud: &'static str,
}

/// Checks tokens and makes them.
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    rules: Validation,
    clock: Clock,
}

impl Tokens {
    /// With this secret, valid by `clock`.
    pub fn new(secret: &TokenSecret, clock: Clock) -> Self {
        // The signature is the library's matter, the claims are ours: it takes no fraction of a second,
        // and passes over an audience of another type.
        let mut rules = Validation::new(Algorithm::HS256);
        (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
        rules.required_spec_claims.clear();
        let secret = secret.expose();
        let (signing, checking) =
            (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { signing, checking, rules, clock }
    }

    /// What `token` allows.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn check(&self, token: &str) -> Result<Grant, TokenError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        look_at_header(token)?;
        let read = decode::<Map<String, Value>>(token, &self.checking, &self.rules);
        granted(&read.map_err(|error| refused(error.kind()))?.claims, self.now())
    }

    /// Since the Unix epoch.
    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.clock.now().0).unwrap_or(0))
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
        let exp = self.now().as_secs().saturating_add(ttl.as_secs());
        let claims = Claims { sub: user.as_str(), role, exp, aud: AUDIENCE };
        encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
    }
}

/// What must be known of a token before it is worth a look at its signature: the library knows neither
/// algorithms without a name nor that `crit` demands something.
fn look_at_header(token: &str) -> Result<(), TokenError> {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    let header: Map<String, Value> =
        serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
    match header.get("alg") {
        Some(Value::String(name)) if name == "HS256" => {}
        Some(_) => return Err(TokenError::Algorithm),
        None => return Err(TokenError::Malformed),
    }
    // Whatever it names is unknown here, and a list of nothing is not allowed (RFC 7515 section 4.1.11).
    match header.contains_key("crit") {
        true => Err(TokenError::Critical),
        false => Ok(()),
    }
}

fn refused(kind: &ErrorKind) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm
        | ErrorKind::InvalidAlgorithmName
        | ErrorKind::UnsupportedAlgorithm => TokenError::Algorithm,
        _ => TokenError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::protocol::values::secret::SecretText;

    fn tokens(secret: &str) -> Tokens {
        let secret = TokenSecret::new(SecretText::new(secret.to_owned())).unwrap();
        Tokens::new(&secret, Clock::system())
    }

    fn ours() -> Tokens {
        tokens("0123456789abcdef0123456789abcdef")
    }

    fn signed(claims: &Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &ours().signing).unwrap()
    }

    fn later() -> u64 {
        ours().now().as_secs() + 600
    }

    #[test]
    fn a_token_that_was_made_here_is_taken() {
        let user = UserId::new("user-7").unwrap();
        for role in [Role::User, Role::Admin] {
            let token = ours().mint(&user, role, Duration::from_secs(60)).unwrap();
            let grant = ours().check(&token).unwrap();
            assert_eq!((grant.user.clone(), grant.role), (user.clone(), role));
            assert!((55..=60).contains(&grant.left(Clock::system().now()).as_secs()));
        }
    }

    #[test]
    fn what_php_libraries_write_is_taken() {
        let now = ours().now().as_secs_f64();
        let claims = json!({"sub": "u", "iat": now, "nbf": now, "exp": now + 600.5});
        let grant = ours().check(&signed(&claims)).unwrap();
        assert_eq!(grant.expires_at, (now + 600.5) as u64);
    }

    #[test]
    fn a_header_that_demands_what_is_not_known_is_refused() {
        let claims = json!({"sub": "u", "exp": later()});
        for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!("b64"), Value::Null] {
            let header = json!({"alg": "HS256", "crit": crit, "b64": true, "exp": 1}).to_string();
            let parts = [header, claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part));
            let signed = jsonwebtoken::crypto::sign(
                parts.join(".").as_bytes(),
                &ours().signing,
                Algorithm::HS256,
            );
            let token = format!("{}.{}", parts.join("."), signed.unwrap());
            assert_eq!(ours().check(&token), Err(TokenError::Critical), "{crit}");
        }
    }

    #[test]
    fn forgeries_are_refused() {
        let claims = json!({"sub": "u", "exp": later(), "role": "admin"});
        let good = signed(&claims);
        let mut parts = good.split('.');
        let (_, body, _) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(ours().check(&format!("{none}.{body}.")), Err(TokenError::Algorithm));
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
