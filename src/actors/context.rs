//! What every actor is handed: the store, the status board, the settings. Only the limits may
//! change while the tree runs.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::watch;

use super::backlog::BacklogGate;
use super::board::Board;
use super::caps::Caps;
use super::changes::{Changes, Dirty};
use super::dials::Dials;
use super::directory::Directory;
use super::erasing::Erasing;
use super::joins::Joins;
use super::lobby::Lobby;
use super::login_waits::LoginWaits;
use super::logins::LoginsMsg;
use super::meters::Meters;
use super::turns::Turns;
use super::waits::Waits;
use super::webhooks::{Hooks, WebhookSettings};
use crate::protocol::account::ReconnectPolicy;
use crate::protocol::ids::UnixMillis;
use crate::protocol::monitor::FailoverPolicy;
use crate::protocol::owner::UserId;
use crate::protocol::pacing::Limits;
use crate::store::Store;
use crate::telegram::{Clocks, LoginOptions, Servers};

pub(super) use crate::clock::now;

/// Settings of the tree.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Telegram is.
    pub servers: Servers,
    /// What logins need.
    pub login: LoginOptions,
    /// Application id for sessions that do not bring their own.
    pub api_id: i32,
    /// How monitors fail over.
    pub failover: FailoverPolicy,
    /// How accounts reconnect.
    pub reconnect: ReconnectPolicy,
    /// How calls are paced, as of now.
    pub limits: watch::Receiver<Limits>,
    /// How often an open chat is compared with its history; `None`: never.
    pub check_every: Option<Duration>,
    /// How often an account asks whether updates did not come.
    pub difference_every: Duration,
    /// Whether events beyond the two of the contract are sent.
    pub extra_events: bool,
    /// How events get to users' endpoints.
    pub webhooks: WebhookSettings,
}

/// What every actor is handed.
pub struct Context {
    /// The store.
    pub store: Store,
    /// The status board.
    pub board: Arc<Board>,
    /// The settings.
    pub settings: Settings,
    /// What the tree counts.
    pub meters: Arc<Meters>,
    /// The gate in front of a full backlog.
    pub backlog: Arc<BacklogGate>,
    /// Permits to dial.
    pub(super) dials: Dials,
    /// Joins under way.
    pub(super) joins: Joins,
    /// What is known of Telegram's clock.
    pub(super) clocks: Clocks,
    /// What Telegram makes wait, by person.
    pub(super) waits: Waits,
    /// The same, by who logs in.
    pub(super) login_waits: LoginWaits,
    /// Which accounts belong to whom.
    pub(super) directory: Arc<Directory>,
    /// What logins last said.
    pub(super) lobby: Lobby,
    /// Whose data are being erased.
    pub(super) erasing: Erasing,
    /// Who may add to, change or take away what a user has; see there.
    pub(super) turns: Turns,
    /// Users of whom an account has another key.
    pub(super) rekeyed: Dirty<UserId>,
    /// What changed, for those who follow.
    pub(super) changes: Changes,
    /// What was done today, for the daily limits.
    pub(super) caps: Caps,
    /// Users' endpoints.
    pub(super) hooks: Hooks,
    /// Who ends sessions that were left behind, once that part of the tree runs.
    pub(super) logins: OnceLock<ActorRef<LoginsMsg>>,
}

impl Context {
    /// Puts the parts together.
    pub fn new(
        store: Store,
        board: Arc<Board>,
        directory: Arc<Directory>,
        meters: Arc<Meters>,
        backlog: Arc<BacklogGate>,
        settings: Settings,
    ) -> Arc<Self> {
        let (dials, joins, waits) = (Dials::default(), Joins::default(), Waits::default());
        let clocks = settings.login.dial.clocks.clone();
        Arc::new(Self {
            store,
            board,
            settings,
            meters,
            backlog,
            dials,
            joins,
            clocks,
            waits,
            login_waits: LoginWaits::default(),
            directory,
            lobby: Lobby::default(),
            erasing: Erasing::default(),
            turns: Turns::default(),
            rekeyed: Dirty::default(),
            changes: Changes::default(),
            caps: Caps::default(),
            hooks: Hooks::default(),
            logins: OnceLock::new(),
        })
    }
}

impl Context {
    /// What time it is at Telegram as well as it can be told, by our own clock as long as nobody has
    /// told us. What Telegram dates is compared with this.
    pub(super) fn telegrams_now(&self) -> UnixMillis {
        self.clocks.telegrams_now_roughly().unwrap_or_else(now)
    }

    /// What logins need, dialling when it is their turn.
    pub(super) fn login_options(self: &Arc<Self>) -> LoginOptions {
        self.settings.login.clone().behind(super::dials::gate(self))
    }
}

#[cfg(test)]
impl Context {
    /// Around `store`, with no datacenter to dial.
    pub(crate) fn for_tests(store: Store) -> Arc<Self> {
        use crate::protocol::restart::Backoff;
        let backoff = Backoff { min_ms: 500, max_ms: 60_000 };
        let dial = crate::telegram::DialOptions {
            servers: Servers::new(std::collections::BTreeMap::new()),
            api_id: 1,
            meters: crate::telegram::CallMeters::default(),
            clocks: Clocks::default(),
            sockets: Default::default(),
        };
        let settings = Settings {
            servers: dial.servers.clone(),
            login: LoginOptions {
                dial,
                api_hash: Default::default(),
                server_key: None,
                gate: Default::default(),
            },
            api_id: 1,
            failover: FailoverPolicy { retry_delay_ms: 1_000, retry_delay_max_ms: 1_000 },
            reconnect: ReconnectPolicy { backoff, attempts_max: 1 },
            limits: watch::Sender::new(Limits::default()).subscribe(),
            check_every: None,
            difference_every: Duration::from_secs(30),
            extra_events: false,
            webhooks: WebhookSettings::default(),
        };
        let gate = Arc::new(BacklogGate::new(1 << 30));
        Self::new(store, Arc::default(), Arc::default(), Arc::default(), gate, settings)
    }
}

/// A random number in 0..1 for jitter.
pub(super) fn jitter() -> f64 {
    rand::random()
}
