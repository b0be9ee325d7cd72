//! The root: what wraps the generations, and nothing else. Owns the choice between a key at hand and
//! one that a service keeps; never keeps a generation.

use std::sync::Arc;

use super::{Bytes, KeyId, MasterKey, Seal, id_of};
use crate::store::error::StoreError;

/// Why a service did not wrap or unwrap a key: what happened, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RootError(pub String);

/// A service that wraps keys and never gives its own away, such as Vault's Transit. Its calls may
/// block for as long as the network takes; none runs on the store's writer.
pub trait RemoteRoot: Send + Sync {
    /// What it is to the operator, e.g. `Vault's Transit key telewarden`.
    fn name(&self) -> String;

    /// What tells its key from others, for as long as the key exists; not a secret.
    fn identity(&self) -> String;

    /// Wraps `plain`.
    ///
    /// # Errors
    /// What the service said, or why it did not answer.
    fn wrap(&self, plain: &[u8]) -> Result<Vec<u8>, RootError>;

    /// Unwraps what [`RemoteRoot::wrap`] made.
    ///
    /// # Errors
    /// What the service said, or why it did not answer.
    fn unwrap(&self, wrapped: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, RootError>;

    /// Whether logging in there uses something up, so that nobody should do it only to see whether
    /// it works.
    fn is_spent_by_asking(&self) -> bool {
        false
    }

    /// Whether it could be used now. Changes nothing.
    ///
    /// # Errors
    /// What the service said, or why it did not answer.
    fn check(&self) -> Result<(), RootError> {
        let told = self.unwrap(&self.wrap(b"telewarden")?)?;
        let wrong = || RootError("it does not give back what it wrapped".to_owned());
        (told.as_slice() == b"telewarden").then_some(()).ok_or_else(wrong)
    }
}

/// A root.
pub(super) enum Root {
    /// A key at hand.
    Local {
        /// The key.
        key: Box<MasterKey>,
        /// What it is to the operator.
        name: String,
    },
    /// A key that a service keeps.
    Remote {
        /// The service.
        service: Arc<dyn RemoteRoot>,
        /// The id of its key.
        id: KeyId,
    },
}

impl Root {
    pub(super) fn remote(service: &Arc<dyn RemoteRoot>) -> Self {
        let id = id_of(b"telewarden remote root\0", service.identity().as_bytes());
        Self::Remote { service: Arc::clone(service), id }
    }

    pub(super) fn id(&self) -> KeyId {
        match self {
            Self::Local { key, .. } => key.id,
            Self::Remote { id, .. } => *id,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Local { name, .. } => name.clone(),
            Self::Remote { service, .. } => service.name(),
        }
    }

    /// The key, when it is at hand: only such a one sealed records before there were generations.
    pub(super) fn into_key(self) -> Option<MasterKey> {
        match self {
            Self::Local { key, .. } => Some(*key),
            Self::Remote { .. } => None,
        }
    }

    pub(super) fn wrap(&self, place: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Local { key, .. } => key.seal(place, plain),
            Self::Remote { service, .. } => {
                service.wrap(plain).map_err(|error| self.failed(&error))
            }
        }
    }

    pub(super) fn unwrap(&self, place: &[u8], wrapped: &[u8]) -> Result<Bytes, StoreError> {
        const RECORD: &str = "key generation";
        let broken = |_| StoreError::Damaged { record: RECORD, detail: "its seal is broken" };
        match self {
            Self::Local { key, .. } => key.open(place, wrapped).map_err(broken),
            Self::Remote { service, .. } => {
                service.unwrap(wrapped).map_err(|error| self.failed(&error))
            }
        }
    }

    fn failed(&self, cause: &RootError) -> StoreError {
        StoreError::Root { origin: self.name(), cause: cause.to_string() }
    }
}
