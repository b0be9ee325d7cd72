//! Joins under way, so that a monitor whose session is not in the chat yet waits for the join
//! that was ordered instead of giving the session up. Written by the jobs, read by monitors.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::protocol::telegram::chat::ChatTarget;
use crate::protocol::values::ids::AuthKeyId;

/// Which account is joining what.
#[derive(Debug, Default)]
pub(in crate::actors) struct Joins(Mutex<HashMap<AuthKeyId, Vec<ChatTarget>>>);

impl Joins {
    fn lock(&self) -> MutexGuard<'_, HashMap<AuthKeyId, Vec<ChatTarget>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::actors) fn begin(&self, account: AuthKeyId, target: ChatTarget) {
        self.lock().entry(account).or_default().push(target);
    }

    pub(in crate::actors) fn end(&self, account: AuthKeyId, target: &ChatTarget) {
        let mut joins = self.lock();
        let Some(targets) = joins.get_mut(&account) else { return };
        if let Some(at) = targets.iter().position(|known| known == target) {
            targets.swap_remove(at);
        }
        if targets.is_empty() {
            joins.remove(&account);
        }
    }

    /// Whether the account may be about to join `chat`: an invite link does not say where it leads.
    pub(in crate::actors) fn may_lead_to(&self, account: AuthKeyId, chat: &ChatTarget) -> bool {
        let joins = self.lock();
        let targets = joins.get(&account).map(Vec::as_slice).unwrap_or_default();
        targets.iter().any(|target| target == chat || matches!(target, ChatTarget::Invite(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::telegram::chat::MarkedId;

    #[test]
    fn a_join_counts_until_each_order_for_it_has_ended() {
        let (joins, alice) = (Joins::default(), AuthKeyId(1));
        let chat = ChatTarget::Marked(MarkedId(-1000000000042));
        let other = ChatTarget::Username("other".into());
        joins.begin(alice, chat.clone());
        joins.begin(alice, chat.clone());
        assert!(!joins.may_lead_to(alice, &other));
        joins.end(alice, &chat);
        assert!(joins.may_lead_to(alice, &chat));
        assert!(!joins.may_lead_to(AuthKeyId(2), &chat));
        joins.end(alice, &chat);
        assert!(!joins.may_lead_to(alice, &chat));
        joins.begin(alice, ChatTarget::Invite("hash".into()));
        assert!(joins.may_lead_to(alice, &other));
    }
}
