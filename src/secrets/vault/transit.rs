//! A key of Vault's Transit engine as the root of the store. Owns its form as a root; the key never
//! leaves Vault.
//!
//! When the operator rotates the Transit key, generations of the store's keys that are made later
//! are wrapped by its new version, and those that an older version wraps are gone with the next
//! rotation; so `min_decryption_version` may be raised after that.

use zeroize::Zeroizing;

use super::{TransitKey, Vault, VaultError, block_on};
use crate::config;
use crate::store::{RemoteRoot, RootError};

/// A root that Vault keeps.
pub struct VaultRoot {
    vault: Vault,
    key: TransitKey,
    namespace: String,
    address: String,
    is_wrapped: bool,
}

impl VaultRoot {
    /// The root of that configuration; `None` when Vault is not to wrap keys. Asks nothing yet.
    ///
    /// # Errors
    /// What is missing in it.
    pub fn of(config: &config::Vault) -> Result<Option<Self>, VaultError> {
        let (Some(address), Some(name)) = (&config.address, &config.transit_key) else {
            return Ok(None);
        };
        Ok(Some(Self {
            vault: Vault::of(config)?,
            key: TransitKey { mount: config.transit_mount.clone(), name: name.clone() },
            namespace: config.namespace.clone().unwrap_or_default(),
            address: address.clone(),
            is_wrapped: config.secret_id_wrapped,
        }))
    }
}

impl RemoteRoot for VaultRoot {
    fn name(&self) -> String {
        format!("Vault's Transit key {}/{} at {}", self.key.mount, self.key.name, self.address)
    }

    fn identity(&self) -> String {
        format!("vault transit {:?} {:?} {:?}", self.namespace, self.key.mount, self.key.name)
    }

    fn wrap(&self, plain: &[u8]) -> Result<Vec<u8>, RootError> {
        let wrapped = block_on(self.vault.encrypt(&self.key, plain)).and_then(|outcome| outcome);
        wrapped.map(String::into_bytes).map_err(|error| RootError(error.to_string()))
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, RootError> {
        let wrapped = std::str::from_utf8(wrapped)
            .map_err(|_| RootError("what is stored was not encrypted by Transit".to_owned()))?;
        let plain = block_on(self.vault.decrypt(&self.key, wrapped)).and_then(|outcome| outcome);
        plain.map_err(|error| RootError(error.to_string()))
    }

    fn is_spent_by_asking(&self) -> bool {
        self.is_wrapped
    }
}
