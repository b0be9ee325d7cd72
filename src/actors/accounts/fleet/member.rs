//! A member of the fleet: what is known of one account while its actor rests, runs or recovers, and who
//! needs it. Never starts or stops an actor; the fleet does.

use std::collections::HashMap;

use crate::actors::tree::actor::{ActorId, ActorRef};

use crate::actors::accounts::account::{AccountMsg, LatestRecord, Subscription};
use crate::protocol::accounts::connection::Standing;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::accounts::record::AccountRecord;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::values::ids::{AuthKeyId, SessionId};
use crate::telegram::ConnectionLease;

/// One account of the fleet.
pub(super) struct Member {
    /// What the store has of it, or is about to have.
    pub(super) latest: LatestRecord,
    /// The session ids that stand for it.
    pub(super) names: Vec<String>,
    /// The id of the user's account that it is, for the log; health does not tell it to everybody.
    pub(super) owned_as: Option<String>,
    pub(super) api_id: Option<i32>,
    pub(super) subscriptions: HashMap<ChatKey, Subscription>,
    pub(super) presence: Presence,
    /// Whether it is connected although nobody needs it just now.
    pub(super) standing: Standing,
    /// Its user gave it up: it goes once its actor has ended.
    pub(super) released: Option<Released>,
    /// Whether its next start may try a session once more that Telegram had ended.
    pub(super) retry: bool,
    /// One permit, which goes with the connection and outlives the account's actor: whoever dials
    /// next waits until the sockets of the last connection are closed.
    pub(super) lease: ConnectionLease,
}

/// Why a key belongs to no user any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Released {
    /// Its account was removed.
    Removed,
    /// Its account logged in anew: the monitors are about to be given the new key.
    Replaced,
}

/// How it stands with the account's actor.
pub(super) enum Presence {
    /// Not started: nobody needs it.
    Resting,
    /// It runs.
    Running(ActorRef<AccountMsg>),
    /// Crashed, to be started again after a pause.
    Recovering,
    /// Crashed too often.
    Parked,
}

impl Member {
    pub(super) fn new(record: AccountRecord) -> Self {
        Self {
            latest: LatestRecord::new(record),
            names: Vec::new(),
            owned_as: None,
            api_id: None,
            subscriptions: HashMap::new(),
            presence: Presence::Resting,
            standing: Standing::OnDemand,
            released: None,
            retry: false,
            lease: ConnectionLease::new(),
        }
    }

    pub(super) fn is_needed(&self) -> bool {
        !self.subscriptions.is_empty() || self.standing != Standing::OnDemand
    }

    pub(super) fn name(&mut self, id: &SessionId) {
        let name = id.to_string();
        if !self.names.contains(&name) {
            self.names.push(name);
        }
    }

    /// The chat may have another monitor by now, which still wants the account.
    pub(super) fn unwatch(&mut self, key: &ChatKey, monitor: ActorId) {
        if self
            .subscriptions
            .get(key)
            .is_some_and(|subscription| subscription.monitor.get_id() == monitor)
        {
            self.subscriptions.remove(key);
        }
        if let Presence::Running(actor) = &self.presence {
            let _ = actor.cast(AccountMsg::Unwatch { key: key.clone(), monitor });
        }
    }

    /// The monitors of users lose it: it is no user's any more, and stays for the bridge.
    pub(super) fn lose_users(&mut self, account: AuthKeyId, why: Released) {
        let is_users = |key: &ChatKey, _: &mut Subscription| key.parts().1.is_some();
        for (key, subscription) in self.subscriptions.extract_if(is_users) {
            if let Presence::Running(actor) = &self.presence {
                let monitor = subscription.monitor.get_id();
                let _ = actor.cast(AccountMsg::Unwatch { key, monitor });
            }
            subscription.lose(account, why);
        }
    }

    /// The account that this key stands for.
    pub(super) fn own(&mut self, account: &OwnedAccount) {
        self.standing = account.standing();
        self.api_id = account.api_id.or(self.api_id);
        self.released = None;
        self.owned_as = Some(account.id.to_string());
    }

    /// Whether it is to be started although no monitor wants it.
    pub(super) fn is_resting_needlessly(&self) -> bool {
        matches!(self.presence, Presence::Resting) && self.standing != Standing::OnDemand
    }
}
