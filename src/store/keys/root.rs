//! The root: what wraps the generations, and nothing else. Owns the choice between a key at hand and
//! one that a service keeps; never keeps a generation.

use std::sync::Arc;

use super::seal::{Bytes, KeyId, MasterKey, Seal, id_of};
use crate::store::contract::{RemoteRoot, RootError, StoreError};

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

    pub(super) fn wrap(&self, record_key: &[u8], plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Local { key, .. } => key.seal(record_key, plain),
            Self::Remote { service, .. } => {
                service.wrap(plain).map_err(|error| self.failed(&error))
            }
        }
    }

    pub(super) fn unwrap(&self, record_key: &[u8], wrapped: &[u8]) -> Result<Bytes, StoreError> {
        const RECORD: &str = "key generation";
        let broken = |_| StoreError::Damaged { record: RECORD, detail: "its seal is broken" };
        match self {
            Self::Local { key, .. } => key.open(record_key, wrapped).map_err(broken),
            Self::Remote { service, .. } => {
                service.unwrap(wrapped).map_err(|error| self.failed(&error))
            }
        }
    }

    fn failed(&self, cause: &RootError) -> StoreError {
        StoreError::Root { origin: self.name(), cause: cause.to_string() }
    }
}
