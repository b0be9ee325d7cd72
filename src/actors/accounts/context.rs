//! What accounts and those who ask something of them share.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::budgets::Budgets;
use super::daily_limits::DailyLimits;
use super::dial_limiter::{DialLimiter, gate};
use super::directory::Directory;
use super::flood_waits::PersonWaits;
use super::joins_under_way::Joins;
use crate::actors::tree::changes::Dirty;
use crate::actors::tree::context::Context;
use crate::protocol::accounts::connection::ReconnectPolicy;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::caps::CapClock;
use crate::protocol::logins::record::LoginRecord;
use crate::protocol::messages::message::Message;
use crate::protocol::telegram::pacing::Limits;
use crate::protocol::users::owner::UserId;
use crate::telegram::{LoginSetup, TelegramClient};

/// Settings of accounts. Only the limits may change while the tree runs.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Application id for sessions that do not bring their own.
    pub api_id: i32,
    /// How accounts reconnect.
    pub reconnect: ReconnectPolicy,
    /// How calls are paced, as of now.
    pub limits: watch::Receiver<Limits>,
    /// How often an account asks whether updates did not come.
    pub difference_every: Duration,
}

/// What somebody wrote to an account, alone with it.
pub(in crate::actors) struct PrivateMessages {
    /// The account.
    pub(in crate::actors) account: OwnedAccount,
    /// The messages, in Telegram's order.
    pub(in crate::actors) messages: Vec<Message>,
}

/// Reads what people write to accounts; see [`AccountsContext::read_private`]. Answers once what follows from it is
/// durable; `false`: it is to come again. The account's link waits for that, so it asks nobody but the store.
pub(in crate::actors) type ReadPrivate =
    Box<dyn Fn(PrivateMessages) -> BoxFuture<'static, bool> + Send + Sync>;

/// Ends a session at Telegram that was left behind; see [`AccountsContext::end_session`].
pub(in crate::actors) type EndSession = Box<dyn Fn(LoginRecord) + Send + Sync>;

/// The tree's context, and what accounts share.
pub(in crate::actors) struct AccountsContext {
    pub(in crate::actors) tree: Arc<Context>,
    pub(in crate::actors) settings: AccountSettings,
    /// Telegram.
    pub(in crate::actors) telegram: Arc<dyn TelegramClient>,
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
    /// What was done of what campaigns may do.
    pub(in crate::actors) budgets: Budgets,
    /// Users of whom an account has another key.
    pub(in crate::actors) rekeyed: Dirty<UserId>,
    /// Who ends sessions that were left behind, once that part of the tree runs. The note of it is durable
    /// already, so one that is not taken is found by the next life of the daemon.
    pub(in crate::actors) end_session: OnceLock<EndSession>,
    /// Who reads what people write to accounts of users, once that part of the tree runs. Accounts connect later.
    pub(in crate::actors) read_private: OnceLock<ReadPrivate>,
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
        telegram: Arc<dyn TelegramClient>,
        directory: Arc<Directory>,
        cap_clock: Option<CapClock>,
    ) -> Arc<Self> {
        let budgets = Budgets::new(cap_clock, &tree);
        Arc::new(Self {
            tree,
            settings,
            telegram,
            directory,
            dial_limiter: DialLimiter::default(),
            joins: Joins::default(),
            flood_waits: PersonWaits::default(),
            daily_limits: DailyLimits::default(),
            budgets,
            rekeyed: Dirty::default(),
            end_session: OnceLock::new(),
            read_private: OnceLock::new(),
        })
    }

    /// What a login is begun with, for the application `api_id` if the key was made for another one than the
    /// daemon's: it dials when it is its turn.
    pub(in crate::actors) fn login_setup(self: &Arc<Self>, api_id: Option<i32>) -> LoginSetup {
        LoginSetup { api_id, gate: gate(self) }
    }
}

#[cfg(test)]
impl AccountsContext {
    /// Around `store`, with no datacenter to dial.
    pub(in crate::actors) fn for_tests(store: crate::store::Store) -> Arc<Self> {
        let telegram = Arc::new(crate::telegram::Unreachable);
        let (context, settings) = (Context::for_tests(store), AccountSettings::for_tests());
        Self::new(context, settings, telegram, Arc::default(), None)
    }
}

#[cfg(test)]
impl AccountSettings {
    /// As few attempts as there can be.
    pub(crate) fn for_tests() -> Self {
        use crate::protocol::tree::restart::Backoff;
        let backoff = Backoff { min_ms: 500, max_ms: 60_000 };
        Self {
            api_id: 1,
            reconnect: ReconnectPolicy { backoff, attempts_max: 1 },
            limits: watch::Sender::new(Limits::default()).subscribe(),
            difference_every: Duration::from_secs(30),
        }
    }
}
