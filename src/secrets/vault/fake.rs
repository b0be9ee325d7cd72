//! A Vault on loopback: the parts of its documented HTTP API that we use, with real encryption, and
//! the troubles it can have. Shares no code with the client.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

use aes_gcm::aead::{Aead, Generate};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::config;
use crate::protocol::values::secret::SecretText;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::secrets) enum Trouble {
    Sealed,
    Slow(Duration),
    Garbage,
    Standby,
    Busy,
}

struct Token {
    expires_at: Instant,
    /// Renewals end here.
    oldest_at: Instant,
    /// What it gives back once, if it is a wrapping token.
    wraps: Option<Value>,
}

struct TransitKey {
    versions: Vec<Aes256Gcm>,
    min_decryption_version: usize,
}

/// The books of the fake.
pub(in crate::secrets) struct Books {
    pub(in crate::secrets) role_id: String,
    /// Secret ids and how often each may still be used.
    pub(in crate::secrets) secret_ids: HashMap<String, u32>,
    pub(in crate::secrets) token_ttl: Duration,
    pub(in crate::secrets) token_max_ttl: Duration,
    pub(in crate::secrets) is_renewable: bool,
    pub(in crate::secrets) trouble: Option<Trouble>,
    /// Paths that the policy does not allow.
    pub(in crate::secrets) forbidden: Vec<String>,
    /// Secrets by `mount/path`; `None` was deleted.
    pub(in crate::secrets) secrets: BTreeMap<String, Option<Value>>,
    pub(in crate::secrets) logins: u32,
    pub(in crate::secrets) renewals: u32,
    pub(in crate::secrets) requests: u32,
    tokens: HashMap<String, Token>,
    transit: HashMap<String, TransitKey>,
}

/// A running fake; it ends with the value.
pub(in crate::secrets) struct FakeVault {
    address: String,
    books: Arc<Mutex<Books>>,
    _end: tokio::sync::oneshot::Sender<()>,
}

impl FakeVault {
    pub(in crate::secrets) fn start() -> Self {
        let hour = Duration::from_secs(3600);
        let books = Arc::new(Mutex::new(Books {
            role_id: "the-role".into(),
            secret_ids: [("the-secret".to_owned(), u32::MAX)].into(),
            token_ttl: hour,
            token_max_ttl: hour * 4,
            is_renewable: true,
            trouble: None,
            forbidden: vec![],
            secrets: BTreeMap::new(),
            logins: 0,
            renewals: 0,
            requests: 0,
            tokens: HashMap::new(),
            transit: HashMap::new(),
        }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(serve).with_state(Arc::clone(&books));
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, app) => served.unwrap(),
                    _ = ended => {}
                }
            });
        });
        let vault = Self { address, books, _end: end };
        vault.add_transit_key("telewarden");
        vault
    }

    pub(in crate::secrets) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// A configuration that works with it.
    pub(in crate::secrets) fn config(&self) -> config::Vault {
        config::Vault {
            address: Some(self.address.clone()),
            role_id: Some("the-role".into()),
            secret_id: Some(SecretText::new("the-secret".into())),
            transit_key: Some("telewarden".into()),
            ..config::Vault::default()
        }
    }

    pub(in crate::secrets) fn add_transit_key(&self, name: &str) {
        let key = TransitKey { versions: vec![fresh_cipher()], min_decryption_version: 1 };
        self.books().transit.insert(name.into(), key);
    }

    /// As `vault write -f transit/keys/<name>/rotate`.
    pub(in crate::secrets) fn rotate_transit_key(&self, name: &str) {
        self.books().transit.get_mut(name).unwrap().versions.push(fresh_cipher());
    }

    /// A token that unwraps a new secret id, once.
    pub(in crate::secrets) fn wrapped_secret_id(&self, uses: u32) -> String {
        let secret_id = Uuid::new_v4().to_string();
        let mut books = self.books();
        books.secret_ids.insert(secret_id.clone(), uses);
        books.new_token(Some(json!({ "secret_id": secret_id, "secret_id_ttl": 0 }))).0
    }

    pub(in crate::secrets) fn revoke_all_tokens(&self) {
        self.books().tokens.clear();
    }

    pub(in crate::secrets) fn put_secret(&self, place: &str, secret: Option<Value>) {
        self.books().secrets.insert(place.into(), secret);
    }
}

fn fresh_cipher() -> Aes256Gcm {
    Aes256Gcm::new(&<[u8; 32]>::try_generate().unwrap().into())
}

impl Books {
    /// As when the operator raises `min_decryption_version` to the newest.
    pub(in crate::secrets) fn forbid_older_versions(&mut self, name: &str) {
        let key = self.transit.get_mut(name).unwrap();
        key.min_decryption_version = key.versions.len();
    }

    fn new_token(&mut self, wraps: Option<Value>) -> (String, u64) {
        let text = format!("hvs.{}", Uuid::new_v4().simple());
        let now = Instant::now();
        let (expires_at, oldest_at) = (now + self.token_ttl, now + self.token_max_ttl);
        self.tokens.insert(text.clone(), Token { expires_at, oldest_at, wraps });
        (text, self.token_ttl.as_secs())
    }

    fn auth(&self, token: &str, lease: u64) -> Response {
        ok(json!({
            "request_id": Uuid::new_v4(), "lease_id": "", "renewable": false,
            "lease_duration": 0, "data": null, "wrap_info": null, "warnings": null,
            "auth": {
                "client_token": token, "accessor": Uuid::new_v4(), "policies": ["default"],
                "token_policies": ["default"], "metadata": { "role_name": "telewarden" },
                "lease_duration": lease, "renewable": self.is_renewable, "entity_id": "",
                "token_type": "service", "orphan": true, "mfa_requirement": null, "num_uses": 0
            }
        }))
    }

    fn login(&mut self, body: &Value) -> Response {
        let secret_id = body["secret_id"].as_str().unwrap_or_default();
        let is_role = body["role_id"] == self.role_id.as_str();
        let uses = self.secret_ids.get_mut(secret_id).filter(|uses| is_role && **uses > 0);
        let Some(uses) = uses else { return errors(400, "invalid role or secret ID") };
        *uses -= 1;
        self.logins += 1;
        let (token, lease) = self.new_token(None);
        self.auth(&token, lease)
    }

    fn unwrap(&mut self, token: &str) -> Response {
        match self.tokens.remove(token).and_then(|token| token.wraps) {
            Some(data) => self.data(data),
            None => errors(400, "wrapping token is not valid or does not exist"),
        }
    }

    fn data(&self, data: Value) -> Response {
        ok(json!({
            "request_id": Uuid::new_v4(), "lease_id": "", "renewable": false,
            "lease_duration": 0, "data": data, "wrap_info": null, "warnings": null, "auth": null
        }))
    }

    fn renew(&mut self, text: &str) -> Response {
        self.renewals += 1;
        let now = Instant::now();
        let (ttl, is_renewable) = (self.token_ttl, self.is_renewable);
        let Some(token) = self.tokens.get_mut(text).filter(|_| is_renewable) else {
            return errors(400, "lease is not renewable");
        };
        token.expires_at = (now + ttl).min(token.oldest_at);
        let left = (token.expires_at - now).as_secs();
        self.auth(text, left)
    }

    fn transit(&mut self, action: &str, name: &str, body: &Value) -> Response {
        let Some(key) = self.transit.get(name) else {
            return errors(400, "encryption key not found");
        };
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        match action {
            "encrypt" => {
                let Ok(plain) = STANDARD.decode(text("plaintext")) else {
                    return errors(400, "failed to base64-decode plaintext");
                };
                let ciphertext = key.encrypt(&plain);
                let version = key.versions.len();
                self.data(json!({ "ciphertext": ciphertext, "key_version": version }))
            }
            "decrypt" => match key.decrypt(&text("ciphertext")) {
                Ok(plain) => self.data(json!({ "plaintext": STANDARD.encode(plain) })),
                Err(said) => errors(400, said),
            },
            "rewrap" => match key.decrypt(&text("ciphertext")) {
                Ok(plain) => {
                    let ciphertext = key.encrypt(&plain);
                    self.data(json!({ "ciphertext": ciphertext }))
                }
                Err(said) => errors(400, said),
            },
            _ => errors(404, ""),
        }
    }

    fn secret(&self, place: &str) -> Response {
        match self.secrets.get(place) {
            Some(Some(secret)) => self.data(json!({
                "data": secret, "metadata": { "version": 3, "destroyed": false }
            })),
            // A version that was deleted: 404, with metadata.
            Some(None) => {
                let deleted = json!({ "data": { "data": null, "metadata": { "version": 3 } } });
                (StatusCode::NOT_FOUND, axum::Json(deleted)).into_response()
            }
            None => errors(404, ""),
        }
    }
}

impl TransitKey {
    fn encrypt(&self, plain: &[u8]) -> String {
        let nonce = <[u8; 12]>::try_generate().unwrap();
        let sealed = self.versions.last().unwrap().encrypt(&Nonce::from(nonce), plain).unwrap();
        let text = STANDARD.encode([&nonce[..], &sealed].concat());
        format!("vault:v{}:{text}", self.versions.len())
    }

    fn decrypt(&self, text: &str) -> Result<Vec<u8>, &'static str> {
        let rest = text.strip_prefix("vault:v").ok_or("invalid ciphertext: no prefix")?;
        let (version, sealed) =
            rest.split_once(':').ok_or("invalid ciphertext: wrong number of fields")?;
        let version: usize = version
            .parse()
            .map_err(|_| "invalid ciphertext: version number could not be decoded")?;
        if version < self.min_decryption_version {
            return Err("ciphertext or signature version is disallowed by policy (too old)");
        }
        let cipher = version.checked_sub(1).and_then(|at| self.versions.get(at));
        let cipher = cipher.ok_or("invalid ciphertext: version is too new")?;
        let sealed =
            STANDARD.decode(sealed).map_err(|_| "invalid ciphertext: could not decode base64")?;
        let (nonce, sealed) =
            sealed.split_first_chunk::<12>().ok_or("invalid ciphertext length")?;
        cipher
            .decrypt(&Nonce::from(*nonce), sealed)
            .map_err(|_| "cipher: message authentication failed")
    }
}

fn ok(body: Value) -> Response {
    axum::Json(body).into_response()
}

fn errors(status: u16, said: &str) -> Response {
    let errors: Vec<&str> = [said].into_iter().filter(|said| !said.is_empty()).collect();
    let status = StatusCode::from_u16(status).unwrap();
    (status, axum::Json(json!({ "errors": errors }))).into_response()
}

async fn serve(
    State(books): State<Arc<Mutex<Books>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let trouble = {
        let mut books = books.lock().unwrap();
        books.requests += 1;
        books.trouble
    };
    match trouble {
        Some(Trouble::Sealed) => return errors(503, "Vault is sealed"),
        Some(Trouble::Busy) => {
            return errors(429, "request path \"login\": rate limit quota exceeded");
        }
        Some(Trouble::Garbage) => return "<html>Welcome to nginx</html>".into_response(),
        Some(Trouble::Standby) => {
            let location = [(header::LOCATION, "http://127.0.0.1:1/v1/secret")];
            return (StatusCode::TEMPORARY_REDIRECT, location).into_response();
        }
        Some(Trouble::Slow(time)) => tokio::time::sleep(time).await,
        None => {}
    }
    if headers.get("x-vault-request").is_none_or(|value| value != "true") {
        return errors(412, "required header \"X-Vault-Request\" not present");
    }
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let token = headers.get("x-vault-token").map(|token| token.to_str().unwrap().to_owned());
    let path = uri.path().strip_prefix("/v1/").unwrap_or_default();
    books.lock().unwrap().answer(&method, path, token.as_deref(), &body)
}

impl Books {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Response {
        let parts: Vec<&str> = path.split('/').collect();
        let is_post = *method == Method::POST;
        if is_post && path == "auth/approle/login" {
            return self.login(body);
        }
        let Some(token) = token else { return errors(400, "missing client token") };
        if is_post && path == "sys/wrapping/unwrap" {
            return self.unwrap(token);
        }
        let known = self.tokens.get(token).filter(|known| known.wraps.is_none());
        let is_good = known.is_some_and(|known| Instant::now() < known.expires_at);
        if !is_good {
            return errors(403, "permission denied");
        }
        if self.forbidden.iter().any(|forbidden| path.starts_with(forbidden.as_str())) {
            return errors(403, "1 error occurred:\n\t* permission denied\n\n");
        }
        match (is_post, &parts[..]) {
            (true, ["auth", "token", "renew-self"]) => self.renew(token),
            (true, ["transit", action, name]) => self.transit(action, name, body),
            (false, [mount, "data", path @ ..]) => {
                self.secret(&format!("{mount}/{}", path.join("/")))
            }
            _ => errors(404, "no handler for route. route entry not found."),
        }
    }
}
