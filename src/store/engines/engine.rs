//! The trait of an engine, and the batch of writes. Owns what every engine promises.

use std::collections::BTreeMap;

use crate::store::contract::EngineError;

/// Writes that become visible, and later durable, together. A later write of a key replaces an
/// earlier one.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct WriteBatch {
    /// `None` deletes.
    pub(in crate::store) writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl WriteBatch {
    pub(in crate::store) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.insert(key, Some(value));
    }

    pub(in crate::store) fn delete(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.writes.len()
    }

    /// What `key` will hold after this batch: from the batch if it says so, else from `engine`.
    pub(in crate::store) fn get(
        &self,
        engine: &dyn Engine,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, EngineError> {
        match self.writes.get(key) {
            Some(write) => Ok(write.clone()),
            None => engine.get(key),
        }
    }
}

/// A key and its value.
pub(in crate::store) type Pair = (Vec<u8>, Vec<u8>);

/// An ordered map of bytes on some medium. One writer; any number of readers.
///
/// Batches become durable in the order in which they were applied: whatever survives a crash is
/// the effect of a prefix of them that holds at least everything up to the last [`Engine::sync`].
pub(in crate::store) trait Engine: Send + Sync + 'static {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Visits the pairs of `from..to` in order until `visit` returns `false`. `visit` must not use
    /// the engine.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), EngineError>;

    /// The last pair of `from..to`.
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, EngineError>;

    /// Applies a batch atomically. Visible at once, durable after the next [`Engine::sync`].
    fn apply(&self, batch: WriteBatch) -> Result<(), EngineError>;

    /// Makes everything applied so far survive a power cut.
    fn sync(&self) -> Result<(), EngineError>;

    /// Bytes taken on the medium.
    fn disk_bytes(&self) -> u64;
}

/// All pairs of `from..to`; for ranges known to be small.
pub(in crate::store) fn collect(
    engine: &dyn Engine,
    from: &[u8],
    to: &[u8],
    limit: usize,
) -> Result<Vec<Pair>, EngineError> {
    let mut pairs = Vec::new();
    engine.scan(from, to, &mut |key, value| {
        if pairs.len() < limit {
            pairs.push((key.to_vec(), value.to_vec()));
        }
        pairs.len() < limit
    })?;
    Ok(pairs)
}
