//! Which key wraps all others. Owns the order of the origins; reads none of them.

use std::sync::Arc;

use super::vault::{VaultError, VaultRoot};
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
/// Vault's Transit key, and else a file of the store's own, in this order. Asks none of them yet.
///
/// # Errors
/// When what Vault needs is not whole.
pub fn choose(config: &Config) -> Result<Chosen, VaultError> {
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
    if let Some(root) = VaultRoot::of(&secrets.vault)? {
        let root = KeyOrigin::Remote(Arc::new(root));
        if !given.is_empty() {
            previous.push(root.clone());
        }
        given.push(root);
    }
    let mut given = given.into_iter();
    let key = given.next().unwrap_or_default();
    Ok(Chosen { key, previous, unused: given.collect() })
}

impl Chosen {
    /// Says which key is used.
    pub fn tell(&self) {
        tracing::info!("the keys in the store are wrapped by {}", self.key);
        for unused in &self.unused {
            tracing::info!("{unused} is configured, too, and not used: {} comes first", self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::values::secret::SecretText;

    #[test]
    fn the_order_decides_between_origins_and_the_others_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        let chosen = |config: &Config| {
            let chosen = choose(config).unwrap();
            let unused: Vec<_> = chosen.unused.iter().map(ToString::to_string).collect();
            (chosen.key.to_string(), unused, chosen.previous.len())
        };
        let (key, unused, _) = chosen(&config);
        assert_eq!((key.as_str(), unused.len()), ("the file key in the store's directory", 0));

        let vault = &mut config.secrets.vault;
        vault.address = Some("https://vault.example".into());
        assert_eq!(chosen(&config).0, key, "a Vault without a Transit key keeps other secrets");
        let vault = &mut config.secrets.vault;
        vault.transit_key = Some("telewarden".into());
        assert!(choose(&config).unwrap_err().to_string().contains("secrets.vault.role_id"));
        config.secrets.vault.role_id = Some("role".into());
        assert!(choose(&config).unwrap_err().to_string().contains("secrets.vault.secret_id"));
        config.secrets.vault.secret_id = Some(SecretText::new("secret".into()));
        let (vault, unused, previous) = chosen(&config);
        assert!(vault.starts_with("Vault's Transit key transit/telewarden"), "{vault}");
        assert_eq!((unused.len(), previous), (0, 0));

        config.secrets.key = Some(SecretText::new("key".into()));
        let (variable, unused, previous) = chosen(&config);
        assert_eq!((variable.as_str(), &unused[..]), ("the variable TELEWARDEN_KEY", &[vault][..]));
        assert_eq!(previous, 1, "the way back from Vault");

        config.secrets.key_file = Some("/etc/key".into());
        assert_eq!(chosen(&config).0, "the key file (/etc/key)");
        config.secrets.credentials = Some(folder.path().into());
        assert_eq!(chosen(&config).0, "the key file (/etc/key)", "there is no such credential");
        std::fs::write(folder.path().join("telewarden-key"), "x").unwrap();
        let (credential, unused, _) = chosen(&config);
        assert!(credential.starts_with("the systemd credential telewarden-key ("), "{credential}");
        assert_eq!(unused.len(), 3);
        assert!(!format!("{:?}", choose(&config)).contains("secret\""));
    }
}
