//! What accounts and those who ask something of them share.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::daily_limits::DailyLimits;
use super::dial_limiter::{DialLimiter, gate};
use super::directory::Directory;
use super::flood_waits::PersonWaits;
use super::joins_under_way::Joins;
use crate::actors::tree::changes::Dirty;
use crate::actors::tree::context::Context;
use crate::protocol::accounts::connection::ReconnectPolicy;
use crate::protocol::logins::record::LoginRecord;
use crate::protocol::telegram::pacing::Limits;
use crate::protocol::users::owner::UserId;
use crate::telegram::{LoginOptions, Servers};

/// Settings of accounts. Only the limits may change while the tree runs.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Where Telegram is.
    pub servers: Servers,
    /// What logins need.
    pub login: LoginOptions,
    /// Application id for sessions that do not bring their own.
    pub api_id: i32,
    /// How accounts reconnect.
    pub reconnect: ReconnectPolicy,
    /// How calls are paced, as of now.
    pub limits: watch::Receiver<Limits>,
    /// How often an account asks whether updates did not come.
    pub difference_every: Duration,
}

/// Ends a session at Telegram that was left behind; see [`AccountsContext::end_session`].
pub(in crate::actors) type EndSession = Box<dyn Fn(LoginRecord) + Send + Sync>;

/// The tree's context, and what accounts share.
pub(in crate::actors) struct AccountsContext {
    pub(in crate::actors) tree: Arc<Context>,
    pub(in crate::actors) settings: AccountSettings,
    /// Which accounts belong to whom.
    pub(in crate::actors) directory: Arc<Directory>,
    /// Permits to dial.
    pub(super) dial_limiter: DialLimiter,
    /// Joins under way.
    pub(in crate::actors) joins: Joins,
    /// What Telegram makes wait, by person.
    pub(super) flood_waits: PersonWaits,
    /// What was done today, for the daily limits.
    pub(in crate::actors) daily_limits: DailyLimits,
    /// Users of whom an account has another key.
    pub(in crate::actors) rekeyed: Dirty<UserId>,
    /// Who ends sessions that were left behind, once that part of the tree runs. The note of it is durable
    /// already, so one that is not taken is found by the next life of the daemon.
    pub(in crate::actors) end_session: OnceLock<EndSession>,
}

impl Deref for AccountsContext {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.tree
    }
}

impl AccountsContext {
    /// Puts the parts together.
    pub(in crate::actors) fn new(
        tree: Arc<Context>,
        settings: AccountSettings,
        directory: Arc<Directory>,
    ) -> Arc<Self> {
        Arc::new(Self {
            tree,
            settings,
            directory,
            dial_limiter: DialLimiter::default(),
            joins: Joins::default(),
            flood_waits: PersonWaits::default(),
            daily_limits: DailyLimits::default(),
            rekeyed: Dirty::default(),
            end_session: OnceLock::new(),
        })
    }

    /// What logins need, dialling when it is their turn.
    pub(in crate::actors) fn login_options(self: &Arc<Self>) -> LoginOptions {
        self.settings.login.clone().behind(gate(self))
    }
}

#[cfg(test)]
impl AccountsContext {
    /// Around `store`, with no datacenter to dial.
    pub(in crate::actors) fn for_tests(store: crate::store::Store) -> Arc<Self> {
        Self::new(Context::for_tests(store), AccountSettings::for_tests(), Arc::default())
    }
}

#[cfg(test)]
impl AccountSettings {
    /// With no datacenter to dial.
    pub(crate) fn for_tests() -> Self {
        use crate::protocol::tree::restart::Backoff;
        let backoff = Backoff { min_ms: 500, max_ms: 60_000 };
        let dial = crate::telegram::DialOptions {
            servers: Servers::new(std::collections::BTreeMap::new()),
            api_id: 1,
            metrics: crate::telegram::CallMetrics::default(),
            clocks: crate::telegram::Clocks::new(crate::clock::Clock::system()),
            sockets: Default::default(),
        };
        Self {
            servers: dial.servers.clone(),
            login: LoginOptions {
                dial,
                api_hash: Default::default(),
                server_key: None,
                gate: Default::default(),
            },
            api_id: 1,
            reconnect: ReconnectPolicy { backoff, attempts_max: 1 },
            limits: watch::Sender::new(Limits::default()).subscribe(),
            difference_every: Duration::from_secs(30),
        }
    }
}
