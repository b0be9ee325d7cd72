//! Generations: the keys that wrap data keys, as they are kept in the store. Owns their record:
//! version, number, time, id of the key, id of the root, and the key wrapped by the root together
//! with all of that but the root's id, so that no generation passes for another wherever it is kept.

use crate::protocol::values::ids::UnixMillis;

use super::root::Root;
use super::seal::{KEY_ID_LEN, KEY_LEN, KeyId, MasterKey, RawKey, random_key};
use crate::store::contract::StoreError;
use crate::store::format::layout;

const VERSION: u8 = 1;
const RECORD: &str = "key generation";
/// Version, number, time, id of the key.
const HEAD_LEN: usize = 1 + 4 + 8 + KEY_ID_LEN;

type Head = [u8; HEAD_LEN];

/// What a generation's record says in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    /// Generations are counted from 1.
    pub(super) number: u32,
    /// When it was made.
    pub(super) created_at: UnixMillis,
    /// Id of its key.
    pub(super) id: KeyId,
    /// Id of the root that wraps it.
    pub(super) root: KeyId,
    wrapped: Vec<u8>,
}

/// A generation whose key is at hand, and its record.
pub(super) struct Fresh {
    pub(super) generation: Generation,
    pub(super) key: MasterKey,
}

impl Fresh {
    /// Draws a new key and has `root` wrap it.
    pub(super) fn draw(root: &Root, number: u32, now: UnixMillis) -> Result<Self, StoreError> {
        let raw = random_key()?;
        let key = MasterKey::new(&raw);
        let mut generation =
            Generation { number, created_at: now, id: key.id, root: root.id(), wrapped: vec![] };
        generation.wrap(root, &raw)?;
        Ok(Self { generation, key })
    }
}

impl Generation {
    /// The key of the record.
    pub(super) fn record_key(&self) -> Vec<u8> {
        layout::generation(self.number)
    }

    fn head(&self) -> Head {
        let mut head = [VERSION; HEAD_LEN];
        head[1..5].copy_from_slice(&self.number.to_be_bytes());
        head[5..13].copy_from_slice(&self.created_at.0.to_be_bytes());
        head[13..].copy_from_slice(&self.id);
        head
    }

    fn wrap(&mut self, root: &Root, key: &RawKey) -> Result<(), StoreError> {
        let plain = zeroize::Zeroizing::new([&self.head()[..], &key[..]].concat());
        self.wrapped = root.wrap(&self.record_key(), &plain)?;
        self.root = root.id();
        Ok(())
    }

    fn raw(&self, root: &Root) -> Result<RawKey, StoreError> {
        let wrong = || StoreError::Damaged { record: RECORD, detail: "it is not what was wrapped" };
        let plain = root.unwrap(&self.record_key(), &self.wrapped)?;
        let (head, key) = plain.split_first_chunk::<HEAD_LEN>().ok_or_else(wrong)?;
        let key = <[u8; KEY_LEN]>::try_from(key).map(RawKey::new).map_err(|_| wrong())?;
        (*head == self.head()).then_some(key).ok_or_else(wrong)
    }

    /// The key, from the root that wrapped it.
    pub(super) fn open(&self, root: &Root) -> Result<MasterKey, StoreError> {
        self.raw(root).map(|key| MasterKey::new(&key))
    }

    /// The same generation, wrapped by another root.
    pub(super) fn moved(&self, from: &Root, to: &Root) -> Result<Self, StoreError> {
        let mut moved = self.clone();
        moved.wrap(to, &self.raw(from)?)?;
        Ok(moved)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        [&self.head()[..], &self.root, &self.wrapped].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        let cut = || StoreError::Damaged { record: RECORD, detail: "it is cut short" };
        match bytes.first() {
            Some(&VERSION) => {}
            Some(&found) if found > VERSION => {
                return Err(StoreError::NewerRecord { record: RECORD, found });
            }
            _ => return Err(StoreError::Damaged { record: RECORD, detail: "it has no version" }),
        }
        let (number, rest) = bytes[1..].split_first_chunk::<4>().ok_or_else(cut)?;
        let (created_at, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let (id, rest) = rest.split_first_chunk::<KEY_ID_LEN>().ok_or_else(cut)?;
        let (root, wrapped) = rest.split_first_chunk::<KEY_ID_LEN>().ok_or_else(cut)?;
        Ok(Self {
            number: u32::from_be_bytes(*number),
            created_at: UnixMillis(i64::from_be_bytes(*created_at)),
            id: *id,
            root: *root,
            wrapped: wrapped.to_vec(),
        })
    }
}
