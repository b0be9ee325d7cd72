//! Where secrets come from: the choice of the key that wraps all others, and secrets that lie in
//! Vault. Owns the talking to Vault; never keeps a secret longer than it is needed, never logs one,
//! and never decides what a secret is used for.

use crate::config::Config;
use crate::store::KeyOrigin;

/// The origins of the root, chosen from a configuration.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The one that is used.
    pub key: KeyOrigin,
    /// Those that it may have replaced; looked at only if the store needs them.
    pub previous: Vec<KeyOrigin>,
    /// Others that are configured, too, and not used.
    pub unused: Vec<KeyOrigin>,
}

/// Chooses the origin of the root: a systemd credential, `secrets.key_file`, `TELEWARDEN_KEY`,
/// and else a file of the store's own, in this order. Reads nothing yet.
pub fn choose(config: &Config) -> Chosen {
    let secrets = &config.secrets;
    let mut given = Vec::new();
    if let Some(path) = secrets.credential() {
        given.push(KeyOrigin::File { name: "the systemd credential telewarden-key", path });
    }
    if let Some(path) = secrets.key_file.clone() {
        given.push(KeyOrigin::File { name: "the key file", path });
    }
    if let Some(text) = secrets.key.clone() {
        given.push(KeyOrigin::Text { name: "the variable TELEWARDEN_KEY", text });
    }
    let mut previous = Vec::new();
    if let Some(path) = secrets.previous_key_file.clone() {
        previous.push(KeyOrigin::File { name: "the previous key file", path });
    }
    let mut given = given.into_iter();
    let key = given.next().unwrap_or_default();
    Chosen { key, previous, unused: given.collect() }
}

impl Chosen {
    /// Says which key is used.
    pub fn tell(&self) {
        tracing::info!("the keys in the store are wrapped by {}", self.key);
        for unused in &self.unused {
            tracing::warn!("{unused} is configured, too, and not used: {} comes first", self.key);
        }
    }
}
