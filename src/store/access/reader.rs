//! The handle that reads. Owns nothing but a share in the store.

use std::sync::Arc;

use crate::store::journal::Shared;

/// The store for threads that may wait for the disk: every method blocks. Code that runs on
/// the runtime gets one by `Store::read` only.
#[derive(Clone)]
pub struct Reader {
    pub(in crate::store) shared: Arc<Shared>,
}
