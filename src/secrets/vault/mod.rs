//! HashiCorp Vault over its HTTP API (<https://developer.hashicorp.com/vault/api-docs>): AppRole
//! login, Transit, KV v2. Owns the token; never keeps a key of the store, and runs nothing on its own:
//! each call comes with its own runtime and ends with it, so that a Vault that is down is noticed
//! only by who asks it.

mod client;
mod error;
#[cfg(test)]
mod fake;
mod field;
mod login;
#[cfg(test)]
mod tests;
mod transit;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config;
use crate::protocol::values::secret::SecretText;

use client::{Body, Client};
use field::Field;
use login::Login;

pub use error::VaultError;
pub use transit::VaultRoot;

/// A Vault, and our session there.
pub struct Vault {
    client: Client,
    login: Login,
}

/// The `data` of an answer.
#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

/// What KV v2 puts around a secret.
#[derive(Deserialize)]
struct Versioned {
    data: Option<BTreeMap<String, Field>>,
}

impl Vault {
    /// The Vault of that configuration. Asks nothing yet.
    ///
    /// # Errors
    /// What is missing in it.
    pub fn of(config: &config::Vault) -> Result<Self, VaultError> {
        let client = Client::of(config)?;
        let login = Login::of(config)?;
        Ok(Self { client, login })
    }

    /// Asks for something with our token; logs in first if need be, and once again when the token
    /// is refused, since it may have been revoked.
    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: Option<Body>,
    ) -> Result<T, VaultError> {
        let token = self.login.token(&self.client).await?;
        match self.client.ask(path, Some(&token), body.as_ref()).await {
            Err(VaultError::Denied { .. }) => {
                self.login.forget(&token).await;
                let token = self.login.token(&self.client).await?;
                self.client.ask(path, Some(&token), body.as_ref()).await
            }
            answer => answer,
        }
    }

    /// Reads the newest version of a secret of a KV v2 engine: the fields that hold texts.
    ///
    /// # Errors
    /// What Vault said, or why it did not answer.
    pub async fn read(
        &self,
        mount: &str,
        path: &str,
    ) -> Result<BTreeMap<String, SecretText>, VaultError> {
        let path = format!("{mount}/data/{path}");
        let answer: Answer<Versioned> = self.ask(&path, None).await?;
        let fields = answer.data.data.ok_or(VaultError::NotFound { path })?;
        let texts = fields.into_iter().filter_map(|(name, value)| match value {
            Field::Text(text) => Some((name, text)),
            Field::Other => None,
        });
        Ok(texts.collect())
    }

    /// [`Vault::read`] for who has no runtime. Blocks.
    ///
    /// # Errors
    /// As [`Vault::read`].
    pub fn read_blocking(
        &self,
        mount: &str,
        path: &str,
    ) -> Result<BTreeMap<String, SecretText>, VaultError> {
        block_on(self.read(mount, path))?
    }

    /// Has Transit encrypt `plain`; answers its text form, `vault:v<version>:…`.
    async fn encrypt(&self, place: &TransitKey, plain: &[u8]) -> Result<String, VaultError> {
        #[derive(Deserialize)]
        struct Ciphertext {
            ciphertext: String,
        }
        #[derive(Serialize)]
        struct Plaintext<'a> {
            plaintext: &'a str,
        }
        let body = Body::of(&Plaintext { plaintext: &encode(plain) })?;
        let path = format!("{}/encrypt/{}", place.mount, place.name);
        let answer: Answer<Ciphertext> = self.ask(&path, Some(body)).await?;
        Ok(answer.data.ciphertext)
    }

    /// Has Transit decrypt what [`Vault::encrypt`] gave.
    async fn decrypt(
        &self,
        place: &TransitKey,
        ciphertext: &str,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        #[derive(Deserialize)]
        struct Plaintext {
            plaintext: SecretText,
        }
        let body = Body::of(&serde_json::json!({ "ciphertext": ciphertext }))?;
        let path = format!("{}/decrypt/{}", place.mount, place.name);
        let answer: Answer<Plaintext> = self.ask(&path, Some(body)).await?;
        decode(answer.data.plaintext.expose()).ok_or(VaultError::Garbage { path })
    }
}

/// A key of a Transit engine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TransitKey {
    mount: String,
    name: String,
}

fn encode(bytes: &[u8]) -> Zeroizing<String> {
    // The encoder makes room for all of it at once.
    Zeroizing::new(STANDARD.encode(bytes))
}

/// Into a buffer of our own, so that it is wiped, too, when the text turns out not to be base64.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut plain = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = STANDARD.decode_slice(text, &mut plain).ok()?;
    plain.truncate(length);
    Some(plain)
}

/// Runs a call to its end on a thread and a runtime of its own, so that it can be made from
/// anywhere; its deadlines end it.
fn block_on<T: Send>(call: impl Future<Output = T> + Send) -> Result<T, VaultError> {
    let failed = |error: &dyn std::fmt::Display| VaultError::NoRuntime(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    std::thread::scope(|scope| {
        let call = scope.spawn(move || runtime.block_on(call));
        call.join().map_err(|_| failed(&"its thread panicked"))
    })
}
