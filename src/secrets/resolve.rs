//! Secrets that Vault keeps. Owns the reading of what references in a configuration stand for; the
//! configuration knows which of its keys take one.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::vault::{Vault, VaultError};
use crate::config::{Config, ConfigError, Place, Problem, Reference};

/// Reads every secret that is given as `vault:<mount>/<path>#<field>` and puts it in its place. Logs
/// in only when there is one. Blocks while Vault is asked.
///
/// # Errors
/// Every secret that was not read, or that its key does not take, and why.
pub fn resolve(config: &mut Config) -> Result<(), ConfigError> {
    if config.references.is_empty() {
        return Ok(());
    }
    let mut problems = Vec::new();
    let mut read: BTreeMap<(String, String), _> = BTreeMap::new();
    let vault = Vault::of(&config.secrets.vault).map(Arc::new);
    for (key, reference) in config.references.clone() {
        let found = match &vault {
            Ok(vault) => read_one(vault, &reference, &mut read),
            Err(error) => Err(error.to_string()),
        };
        if let Err(what) = found.and_then(|secret| config.fill(key, &secret)) {
            problems.push(Problem { place: Place::Settings(key), what });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
}

/// What was read of a secret, by its fields.
type Fields = Result<BTreeMap<String, crate::protocol::values::secret::SecretText>, VaultError>;

fn read_one(
    vault: &Arc<Vault>,
    reference: &Reference,
    read: &mut BTreeMap<(String, String), Fields>,
) -> Result<crate::protocol::values::secret::SecretText, String> {
    let place = (reference.mount.clone(), reference.path.clone());
    let fields =
        read.entry(place).or_insert_with(|| vault.read_blocking(&reference.mount, &reference.path));
    let fields = fields.as_ref().map_err(|error| format!("{reference} was not read: {error}"))?;
    fields.get(&reference.field).cloned().ok_or_else(|| {
        format!("{reference} was not read: the secret there has no text in a field of that name")
    })
}
