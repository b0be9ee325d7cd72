//! HashiCorp Vault over its HTTP API (<https://developer.hashicorp.com/vault/api-docs>): AppRole
//! login, Transit, KV v2. Owns the token; never keeps a key of the store, and runs nothing on its own:
//! each call comes with its own runtime and ends with it, so that a Vault that is down is noticed
//! only by who asks it.

mod client;
mod error;
#[cfg(test)]
mod fake;
mod login;
#[cfg(test)]
mod tests;
mod transit;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroize;

use crate::config;
use crate::protocol::secret::SecretText;

use client::Client;
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
    data: Option<BTreeMap<String, Value>>,
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
        body: Option<Value>,
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
            Value::String(text) => Some((name, SecretText::new(text))),
            _ => None,
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
        let body = serde_json::json!({ "plaintext": encode(plain) });
        let path = format!("{}/encrypt/{}", place.mount, place.name);
        let answer: Answer<Ciphertext> = self.ask(&path, Some(body)).await?;
        Ok(answer.data.ciphertext)
    }

    /// Has Transit decrypt what [`Vault::encrypt`] gave.
    async fn decrypt(
        &self,
        place: &TransitKey,
        ciphertext: &str,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, VaultError> {
        #[derive(Deserialize)]
        struct Plaintext {
            plaintext: String,
        }
        let body = serde_json::json!({ "ciphertext": ciphertext });
        let path = format!("{}/decrypt/{}", place.mount, place.name);
        let mut answer: Answer<Plaintext> = self.ask(&path, Some(body)).await?;
        let plain = decode(&answer.data.plaintext);
        answer.data.plaintext.zeroize();
        plain.ok_or(VaultError::Garbage { path })
    }
}

/// A key of a Transit engine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TransitKey {
    mount: String,
    name: String,
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn decode(text: &str) -> Option<zeroize::Zeroizing<Vec<u8>>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok().map(zeroize::Zeroizing::new)
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
