//! What is durable in segments (cursors), or need not be durable yet (update states), and has no
//! record of its own so far. Owns these overlays over the records; never does IO. Entries leave once
//! a checkpoint has written them, so memory follows what moved lately, not the number of accounts:
//! about 250 bytes an account that moved within the last few seconds.

use std::collections::HashMap;

use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::telegram::updates::UpdateStateDelta;
use crate::protocol::values::ids::AuthKeyId;

use crate::store::format::encoding::CursorRecord;

/// The overlays. Changed by the writer only, and only by what is durable (or, for update states,
/// ordered behind it).
#[derive(Default)]
pub(in crate::store) struct Overlay {
    cursors: HashMap<ChatKey, CursorRecord>,
    states: HashMap<AuthKeyId, UpdateStateDelta>,
}

impl Overlay {
    pub(in crate::store) fn put_cursor(&mut self, chat: ChatKey, cursor: Cursor, stamp: u64) {
        self.cursors.insert(chat, CursorRecord { stamp, cursor });
    }

    pub(in crate::store) fn drop_cursor(&mut self, chat: &ChatKey) {
        self.cursors.remove(chat);
    }

    pub(in crate::store) fn cursor(&self, chat: &ChatKey) -> Option<&CursorRecord> {
        self.cursors.get(chat)
    }

    pub(in crate::store) fn move_state(&mut self, account: AuthKeyId, delta: UpdateStateDelta) {
        self.states.entry(account).or_default().merge(delta);
    }

    pub(in crate::store) fn drop_state(&mut self, account: AuthKeyId) {
        self.states.remove(&account);
    }

    pub(in crate::store) fn take_state(&mut self, account: AuthKeyId) -> Option<UpdateStateDelta> {
        self.states.remove(&account)
    }

    pub(in crate::store) fn state(&self, account: AuthKeyId) -> Option<&UpdateStateDelta> {
        self.states.get(&account)
    }

    /// Everything that waits for a record of its own.
    pub(in crate::store) fn dirty(&self) -> Dirty {
        Dirty {
            cursors: self.cursors.keys().cloned().collect(),
            states: self.states.keys().copied().collect(),
        }
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.cursors.len() + self.states.len()
    }

    /// Gives back memory after a burst.
    pub(in crate::store) fn shrink(&mut self) {
        if self.cursors.is_empty() {
            self.cursors.shrink_to(64);
        }
        if self.states.is_empty() {
            self.states.shrink_to(64);
        }
    }
}

/// Names of what waits for a record of its own.
#[derive(Default)]
pub(in crate::store) struct Dirty {
    pub(in crate::store) cursors: Vec<ChatKey>,
    pub(in crate::store) states: Vec<AuthKeyId>,
}

impl Dirty {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.cursors.is_empty() && self.states.is_empty()
    }
}
