//! What monitors share.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::actors::accounts::context::AccountsContext;
use crate::protocol::monitors::failover::FailoverPolicy;

/// Settings of monitors.
#[derive(Clone, Copy, Debug)]
pub struct MonitorSettings {
    /// How monitors fail over.
    pub failover: FailoverPolicy,
    /// How often an open chat is compared with its history; `None`: never.
    pub check_every: Option<Duration>,
    /// Whether events beyond the two of the contract are sent.
    pub extra_events: bool,
}

/// The accounts' context, and what monitors share.
pub(in crate::actors) struct MonitorsContext {
    pub(in crate::actors) accounts: Arc<AccountsContext>,
    pub(in crate::actors) settings: MonitorSettings,
}

impl Deref for MonitorsContext {
    type Target = AccountsContext;

    fn deref(&self) -> &AccountsContext {
        &self.accounts
    }
}

impl MonitorsContext {
    /// Puts the parts together.
    pub(in crate::actors) fn new(
        accounts: Arc<AccountsContext>,
        settings: MonitorSettings,
    ) -> Arc<Self> {
        Arc::new(Self { accounts, settings })
    }
}

#[cfg(test)]
impl MonitorsContext {
    /// Around `store`, with no datacenter to dial.
    pub(in crate::actors) fn for_tests(store: crate::store::Store) -> Arc<Self> {
        Self::new(AccountsContext::for_tests(store), MonitorSettings::for_tests())
    }
}

#[cfg(test)]
impl MonitorSettings {
    /// Without comparing chats with their history.
    pub(in crate::actors) fn for_tests() -> Self {
        let failover = FailoverPolicy { retry_delay_ms: 1_000, retry_delay_max_ms: 1_000 };
        Self { failover, check_every: None, extra_events: false }
    }
}
