//! Following what changes.

use tokio::sync::mpsc;

use super::Shared;
use crate::actors::tree::changes::Follower;
use crate::protocol::feed::event::FeedEntry;
use crate::protocol::users::owner::Caller;

/// The change feed.
pub trait ChangeService: Send + Sync + 'static {
    /// What changes from now on, or since the change `after`, in what the caller may see. The channel is bounded; a
    /// follower that is too slow finds it closed and resumes.
    fn follow(&self, who: &Caller, after: Option<String>) -> mpsc::Receiver<FeedEntry>;
}

/// The service on a tree.
pub(super) struct ChangeFeed {
    shared: Shared,
}

impl ChangeFeed {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

impl ChangeService for ChangeFeed {
    fn follow(&self, who: &Caller, after: Option<String>) -> mpsc::Receiver<FeedEntry> {
        Follower::start(&self.shared.context.accounts.tree, who.scope(), after)
    }
}
