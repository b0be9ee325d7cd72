//! What logins share.

use std::ops::Deref;
use std::sync::Arc;

use super::flood_waits::LoginFloodWaits;
use super::registry::LoginRegistry;
use crate::actors::accounts::context::AccountsContext;

/// The accounts' context, and what logins share.
pub(in crate::actors) struct LoginsContext {
    pub(in crate::actors) accounts: Arc<AccountsContext>,
    /// What logins last said.
    pub(in crate::actors) login_registry: LoginRegistry,
    /// What Telegram makes wait, by who logs in.
    pub(in crate::actors) login_flood_waits: LoginFloodWaits,
}

impl Deref for LoginsContext {
    type Target = AccountsContext;

    fn deref(&self) -> &AccountsContext {
        &self.accounts
    }
}

impl LoginsContext {
    /// Puts the parts together.
    pub(in crate::actors) fn new(accounts: Arc<AccountsContext>) -> Arc<Self> {
        let (login_registry, login_flood_waits) = Default::default();
        Arc::new(Self { accounts, login_registry, login_flood_waits })
    }
}

#[cfg(test)]
impl LoginsContext {
    /// Around `store`, with no datacenter to dial.
    pub(in crate::actors) fn for_tests(store: crate::store::Store) -> Arc<Self> {
        Self::new(AccountsContext::for_tests(store))
    }
}
