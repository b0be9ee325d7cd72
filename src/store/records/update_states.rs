//! The stored update states of accounts. Owns how one is read; moves that have no record yet are in the journal's
//! overlay.

use crate::protocol::telegram::updates::UpdateState;
use crate::protocol::values::ids::AuthKeyId;

use crate::store::contract::StoreError;
use crate::store::engines::Engine;
use crate::store::format::encoding;
use crate::store::format::layout::{self, kind};

/// The record of an account's update state, without later moves.
pub(in crate::store) fn stored(
    engine: &dyn Engine,
    account: AuthKeyId,
) -> Result<Option<UpdateState>, StoreError> {
    let stored = engine.get(&layout::account(kind::UPDATE_STATE, account))?;
    stored.map(|bytes| encoding::from_compact("update state", &bytes)).transpose()
}
