//! One request to Vault. Owns the HTTP client and its limits, and what an answer means; never keeps
//! a token.

use std::error::Error as _;
use std::time::Duration;

use axum::body::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Certificate, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::error::{VaultError, in_short};
use crate::config;
use crate::protocol::values::secret::{SecretText, append, to_json};

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Largest answer, in bytes: Vault's own bound on a secret is 1 MiB.
const ANSWER_BYTES_MAX: usize = 2 << 20;

/// The way to a Vault.
pub(super) struct Client {
    http: reqwest::Client,
    address: String,
}

/// What is asked, as JSON: wiped when the last one lets it go. (What reqwest makes of it on its way is
/// outside our reach.)
#[derive(Clone)]
pub(super) struct Body(Bytes);

impl Body {
    /// Writes `content`.
    pub(super) fn of(content: &impl Serialize) -> Result<Self, VaultError> {
        let json = to_json(content).map_err(|error| VaultError::NoRuntime(error.to_string()))?;
        Ok(Self(Bytes::from_owner(json)))
    }
}

/// An answer that says no.
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    errors: Vec<String>,
}

impl Client {
    pub(super) fn of(config: &config::Vault) -> Result<Self, VaultError> {
        Self::with_patience(config, ANSWER_MAX)
    }

    pub(super) fn with_patience(
        config: &config::Vault,
        patience: Duration,
    ) -> Result<Self, VaultError> {
        let missing = VaultError::Missing { key: "secrets.vault.address" };
        let address = config.address.clone().ok_or(missing)?;
        let mut headers = HeaderMap::new();
        // Against requests that somebody else is talked into: Vault may demand it.
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        let namespace = config.namespace.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(namespace)) = namespace {
            headers.insert("x-vault-namespace", namespace);
        }
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_MAX)
            .timeout(patience)
            // Each call has a runtime of its own, and connections end with it.
            .pool_max_idle_per_host(0)
            .default_headers(headers);
        if let Some(path) = &config.ca_file {
            let failed = |why: String| VaultError::Authority { path: path.clone(), why };
            let pem = config::read_named_file(path).map_err(failed)?;
            let authorities = Certificate::from_pem_bundle(pem.as_bytes());
            let authorities = authorities.map_err(|error| failed(chain(&error)))?;
            if authorities.is_empty() {
                return Err(failed("there is no certificate in it".to_owned()));
            }
            builder = builder.tls_certs_only(authorities);
        }
        let http = builder.build().map_err(|error| VaultError::NoRuntime(chain(&error)))?;
        Ok(Self { http, address })
    }

    /// Asks for `path`, by POST when there is a body, and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        token: Option<&SecretText>,
        body: Option<&Body>,
    ) -> Result<T, VaultError> {
        let url = format!("{}/v1/{path}", self.address);
        let mut request = match body {
            Some(Body(json)) => {
                self.http.post(url).header(CONTENT_TYPE, "application/json").body(json.clone())
            }
            None => self.http.get(url),
        };
        if let Some(token) = token {
            let header = HeaderValue::from_str(token.expose());
            let mut header = header.map_err(|_| VaultError::Garbage { path: path.to_owned() })?;
            header.set_sensitive(true);
            request = request.header("x-vault-token", header);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let text = self.read(response, path).await?;
        if !status.is_success() {
            return Err(self.refusal(path, status, &text));
        }
        serde_json::from_slice(&text).map_err(|_| VaultError::Garbage { path: path.to_owned() })
    }

    async fn read(
        &self,
        mut response: Response,
        path: &str,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut text = Zeroizing::new(Vec::with_capacity(16 << 10));
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if text.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(VaultError::Garbage { path: path.to_owned() });
            }
            append(&mut text, &part);
            if let Ok(mut part) = part.try_into_mut() {
                part.zeroize();
            }
        }
        Ok(text)
    }

    fn unreachable(&self, error: &reqwest::Error) -> VaultError {
        let why = if error.is_timeout() { "it takes too long".to_owned() } else { chain(error) };
        VaultError::Unreachable { address: self.address.clone(), why }
    }

    /// What a status means (<https://developer.hashicorp.com/vault/api-docs#http-status-codes>).
    fn refusal(&self, path: &str, status: StatusCode, text: &[u8]) -> VaultError {
        let (address, path) = (self.address.clone(), path.to_owned());
        let said = match serde_json::from_slice::<Refusal>(text) {
            Ok(refusal) => in_short(&refusal.errors.join("; ")),
            Err(_) => "it gives no reason".to_owned(),
        };
        match status.as_u16() {
            300..400 => VaultError::Redirected { address },
            403 => VaultError::Denied { path, said },
            404 => VaultError::NotFound { path },
            429 => VaultError::Busy { said },
            412 | 472 | 473 | 502 | 503 => VaultError::NotReady { address, said },
            status => VaultError::Refused { path, status, said },
        }
    }
}

/// An error with its causes, without the address, which may not be shown in full everywhere.
fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.pop().map_or_else(|| in_short(&error.to_string()), |root| in_short(&root))
}
