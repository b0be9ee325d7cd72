//! What every parent does with its children's ends: decide by the kind's policy, note it in the
//! ledger, come back to it after the pause. One child's end never touches its siblings.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use ractor::{ActorCell, ActorId, SupervisionEvent};

use super::context::Context;
use super::ledger;
use crate::protocol::chat::ChatKey;
use crate::protocol::ids::AuthKeyId;
use crate::protocol::owner::WebhookId;
use crate::protocol::restart::{ChildKind, RestartHistory};

/// What children are told apart by, and how each is called where people read.
pub(super) trait ChildKey: Clone + Eq + Hash {
    /// Its name.
    fn name(&self, context: &Context) -> String;
}

impl ChildKey for AuthKeyId {
    fn name(&self, context: &Context) -> String {
        context.directory.name_of(*self)
    }
}

impl ChildKey for ChatKey {
    fn name(&self, _: &Context) -> String {
        self.to_string()
    }
}

impl ChildKey for WebhookId {
    fn name(&self, _: &Context) -> String {
        self.to_string()
    }
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// On its own accord.
    Done,
    /// It crashed.
    Crashed {
        /// Why, in words.
        cause: String,
        /// It is to be started again after this pause; `None`: it crashed too often and is parked.
        again_after: Option<Duration>,
    },
}

/// A child's end.
pub(super) struct Ended<K> {
    pub(super) key: K,
    pub(super) child: ActorId,
    pub(super) end: End,
}

/// The children of one parent, all of one kind.
pub(super) struct Nursery<K> {
    kind: ChildKind,
    living: HashMap<ActorId, K>,
    histories: HashMap<K, RestartHistory>,
}

impl<K: ChildKey> Nursery<K> {
    pub(super) fn new(kind: ChildKind) -> Self {
        Self { kind, living: HashMap::new(), histories: HashMap::new() }
    }

    /// A child was started.
    pub(super) fn born(&mut self, child: &ActorCell, key: K) {
        self.living.insert(child.get_id(), key);
    }

    /// Somebody asks for a parked child again.
    pub(super) fn forgive(&mut self, key: &K) {
        self.histories.remove(key);
    }

    /// A child could not even be started.
    pub(super) async fn stillborn(&mut self, key: &K, cause: &str, context: &Context) -> End {
        self.judge(key, cause, context).await
    }

    /// Sorts a supervision event; `None` when it tells of no child's end.
    pub(super) async fn ended(
        &mut self,
        event: SupervisionEvent,
        context: &Context,
    ) -> Option<Ended<K>> {
        match event {
            SupervisionEvent::ActorTerminated(child, ..) => {
                let key = self.living.remove(&child.get_id())?;
                self.histories.remove(&key);
                Some(Ended { key, child: child.get_id(), end: End::Done })
            }
            SupervisionEvent::ActorFailed(child, error) => {
                let key = self.living.remove(&child.get_id())?;
                let end = self.judge(&key, &ledger::cut(&error.to_string()), context).await;
                Some(Ended { key, child: child.get_id(), end })
            }
            _ => None,
        }
    }

    async fn judge(&mut self, key: &K, cause: &str, context: &Context) -> End {
        let history = self.histories.entry(key.clone()).or_default();
        let verdict = ledger::judge(context, self.kind, &key.name(context), history, cause).await;
        End::Crashed { cause: cause.to_owned(), again_after: ledger::pause_of(verdict) }
    }
}
