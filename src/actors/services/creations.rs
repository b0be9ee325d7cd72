//! What is made under an idempotency key, for services that make something: a repetition within a day makes nothing
//! and finds what was made, also after a crash. Two at once wait for each other. What is made has to write the record in
//! its own commit.

use std::sync::Arc;

use super::Shared;
use crate::actors::tree::keyed_lock::{KeyGuard, KeyedLock};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::creation::{CreationKey, CreationRecord, Made};
use crate::protocol::users::owner::UserId;
use crate::protocol::values::fingerprint::Fingerprint;
use crate::store::{Op, Reader};

/// Whose keys are at work.
#[derive(Clone)]
pub(super) struct Creations {
    shared: Shared,
    locks: Arc<KeyedLock<Fingerprint>>,
}

/// Something is being made. As long as it lives nobody makes the same under the same key.
pub(super) struct Creation {
    record: Option<CreationRecord>,
    _turn: Option<KeyGuard>,
}

impl Creations {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, locks: Arc::default() }
    }

    /// Somebody is about to make something for `user`; `what` names what a key is used for.
    ///
    /// # Errors
    /// `CONFLICT` when the key was used for another request.
    pub(super) async fn begin(
        &self,
        user: &UserId,
        what: &str,
        key: Option<CreationKey>,
    ) -> Result<Creation, Refusal> {
        let Some(key) = key else { return Ok(Creation { record: None, _turn: None }) };
        let fresh = key.record(user, what, self.shared.context.now());
        let turn = self.locks.take(&fresh.key).await;
        let (user, name) = (user.clone(), fresh.key);
        let read = move |store: &Reader| store.row::<CreationRecord>(&user, name);
        let record = match self.shared.reading(read).await? {
            Some(known) if known.request != fresh.request => {
                let detail =
                    "this Idempotency-Key was used for another request; use a new one for each";
                return Err(Refusal::new(Code::Conflict, detail));
            }
            Some(known) => known,
            None => fresh,
        };
        Ok(Creation { record: Some(record), _turn: Some(turn) })
    }
}

impl Creation {
    /// What was made, if it is whole.
    pub(super) fn made(&self) -> Option<Made> {
        self.record.as_ref().filter(|record| record.is_whole).and_then(|record| record.made)
    }

    /// What was begun, and is perhaps not whole.
    pub(super) fn begun(&self) -> Option<Made> {
        self.record.as_ref().and_then(|record| record.made)
    }

    /// The record, for whoever notes what was made in the commit that makes it.
    pub(super) fn record(&self) -> Option<Box<CreationRecord>> {
        self.record.clone().map(Box::new)
    }

    /// To be written in the commit that begins what is made in pieces.
    pub(super) fn begins(&self, made: Made) -> Option<Op> {
        let record = self.record.clone()?;
        Some(Op::put_row(&CreationRecord { made: Some(made), ..record }))
    }

    /// To be written in the commit that makes it whole.
    pub(super) fn ends(&self, made: Made) -> Option<Op> {
        self.record.clone().map(|record| Op::put_row(&record.whole(made)))
    }
}

/// What was made under a key is not there any more.
pub(super) fn gone(what: &str) -> Refusal {
    let detail = format!(
        "what this Idempotency-Key has made ({what}) was removed since; use a new key to make another"
    );
    Refusal::new(Code::Conflict, detail)
}
