//! The session at Vault: AppRole login, renewal, and login anew. Owns the token and the secret id;
//! never says either.

use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::Answer;
use super::client::{Body, Client};
use super::error::VaultError;
use crate::clock::instant;
use crate::config;
use crate::protocol::values::secret::SecretText;

/// A token is used no longer than this before its end, for the time that an answer takes.
const SPARE: Duration = Duration::from_secs(20);

/// Who we are to Vault, and our token there.
pub(super) struct Login {
    mount: String,
    role_id: String,
    state: Mutex<State>,
}

struct State {
    secret_id: SecretId,
    token: Option<Token>,
}

enum SecretId {
    /// At hand.
    Plain(SecretText),
    /// Behind a token that unwraps it, once.
    Wrapped(SecretText),
}

struct Token {
    text: SecretText,
    /// When it was given, and for how long; `None`: without end.
    given_at: Instant,
    lease: Option<Duration>,
    is_renewable: bool,
}

/// What a login and a renewal answer.
#[derive(Deserialize)]
struct Authorized {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: SecretText,
    lease_duration: u64,
    renewable: bool,
}

#[derive(Deserialize)]
struct Unwrapped {
    secret_id: SecretText,
}

/// A login.
#[derive(Serialize)]
struct Credentials<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

/// What is asked where the token says all.
#[derive(Serialize)]
struct Nothing {}

impl Login {
    pub(super) fn of(config: &config::Vault) -> Result<Self, VaultError> {
        let missing = |key| VaultError::Missing { key };
        let role_id = config.role_id.clone().ok_or(missing("secrets.vault.role_id"))?;
        let secret_id = config.secret_id.clone().ok_or(missing("secrets.vault.secret_id"))?;
        let secret_id = if config.secret_id_wrapped {
            SecretId::Wrapped(secret_id)
        } else {
            SecretId::Plain(secret_id)
        };
        let state = Mutex::new(State { secret_id, token: None });
        Ok(Self { mount: config.approle_mount.clone(), role_id, state })
    }

    /// A token that can be used now: the one at hand, renewed when its end comes near, or a new one.
    pub(super) async fn token(&self, client: &Client) -> Result<SecretText, VaultError> {
        let mut state = self.state.lock().await;
        if let Some(token) = state.token.take_if(|token| token.is_ending()) {
            state.token = renew(client, token).await?;
        }
        if state.token.is_none() {
            state.token = Some(self.log_in(client, &mut state.secret_id).await?);
        }
        state
            .token
            .as_ref()
            .map(|token| token.text.clone())
            .ok_or(VaultError::Login { said: "it gave no token".to_owned() })
    }

    /// Forgets a token that was refused, unless there is another one by now.
    pub(super) async fn forget(&self, refused: &SecretText) {
        self.state.lock().await.token.take_if(|token| token.text == *refused);
    }

    async fn log_in(&self, client: &Client, secret_id: &mut SecretId) -> Result<Token, VaultError> {
        let plain = match secret_id {
            SecretId::Plain(plain) => plain.clone(),
            SecretId::Wrapped(token) => {
                let plain = unwrap(client, token).await?;
                *secret_id = SecretId::Plain(plain.clone());
                plain
            }
        };
        let path = format!("auth/{}/login", self.mount);
        let body = Body::of(&Credentials { role_id: &self.role_id, secret_id: plain.expose() })?;
        let answer = client.ask::<Authorized>(&path, None, Some(&body)).await;
        answer.map(|answer| Token::new(answer.auth)).map_err(|error| match error {
            VaultError::Refused { status: 400, said, .. } | VaultError::Denied { said, .. } => {
                VaultError::Login { said }
            }
            other => other,
        })
    }
}

/// Renews a token; `None` when it is over, so that a login must follow.
async fn renew(client: &Client, token: Token) -> Result<Option<Token>, VaultError> {
    if !token.is_renewable || token.is_over() {
        return Ok(None);
    }
    let nothing = Body::of(&Nothing {})?;
    let path = "auth/token/renew-self";
    let answer = client.ask::<Authorized>(path, Some(&token.text), Some(&nothing)).await;
    match answer {
        // A token that has come to its greatest age is renewed for what is left of that.
        Ok(answer) => Ok(Some(Token::new(answer.auth)).filter(|token| !token.is_over())),
        Err(VaultError::Denied { .. } | VaultError::Refused { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What wrapping tokens gave, by token: each can be used once, but the configuration that names one
/// is read again with every reload.
static UNWRAPPED: std::sync::Mutex<Vec<(SecretText, SecretText)>> =
    std::sync::Mutex::new(Vec::new());

/// A wrapping token is spent by this, whether the answer arrives or not.
async fn unwrap(client: &Client, token: &SecretText) -> Result<SecretText, VaultError> {
    let known = || UNWRAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, plain)) = known().iter().find(|(known, _)| known == token) {
        return Ok(plain.clone());
    }
    let plain = unwrap_now(client, token).await?;
    known().push((token.clone(), plain.clone()));
    Ok(plain)
}

async fn unwrap_now(client: &Client, token: &SecretText) -> Result<SecretText, VaultError> {
    let path = "sys/wrapping/unwrap";
    let nothing = Body::of(&Nothing {})?;
    let answer = client.ask::<Answer<Unwrapped>>(path, Some(token), Some(&nothing)).await;
    answer.map(|answer| answer.data.secret_id).map_err(|error| match error {
        VaultError::Refused { status: 400, said, .. } | VaultError::Denied { said, .. } => {
            VaultError::Unwrap { said }
        }
        VaultError::Garbage { .. } => {
            VaultError::Unwrap { said: "what it wraps is not a secret id".to_owned() }
        }
        other => other,
    })
}

impl Token {
    fn new(auth: Auth) -> Self {
        let lease = Some(Duration::from_secs(auth.lease_duration)).filter(|lease| !lease.is_zero());
        Self { text: auth.client_token, given_at: instant(), lease, is_renewable: auth.renewable }
    }

    /// Whether two thirds of its time are over.
    fn is_ending(&self) -> bool {
        self.lease.is_some_and(|lease| self.given_at.elapsed() > lease * 2 / 3)
    }

    /// Whether its time is over, or as good as.
    fn is_over(&self) -> bool {
        self.lease.is_some_and(|lease| self.given_at.elapsed() + SPARE.min(lease / 10) >= lease)
    }
}
