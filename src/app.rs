//! Composition: builds the parts from the configuration, runs them until told to stop, and stops
//! them in order. Nothing here decides anything else.

mod descriptors;
mod door;
mod health;
mod heartbeat;
mod metrics;
mod process;
mod reload;
mod rotation;
mod runs;
mod systemd;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use door::Door;
use metrics::DaemonMetrics;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::actors::{
    AccountSettings, BacklogGate, BridgeParts, CampaignSettings, Commands, Context, Directory,
    Metrics, MonitorSettings, Part, Ports, Root, Settings, Status, WebhookSettings,
};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::clock::instant;
use crate::config::{self, Config};
use crate::edge::amqp::{AmqpLinks, AmqpOptions, BridgeStatus, EventTypes};
use crate::edge::http::{self, HttpMetrics};
use crate::edge::webhook::{Guard, WebhookClient};
use crate::protocol::accounts::connection::ReconnectPolicy;
use crate::protocol::campaigns::caps::{Cap, Caps};
use crate::protocol::campaigns::identity::Country;
use crate::protocol::campaigns::opt_out::Phrases;
use crate::protocol::monitors::failover::FailoverPolicy;
use crate::protocol::telegram::pacing::{Limits, Rate};
use crate::protocol::tree::restart::Backoff;
use crate::protocol::tree::table;
use crate::protocol::webhooks::deliveries::RetryPolicy;
use crate::secrets;
use crate::store::{Outbox, Store, StoreOptions};
use crate::telegram::{Clocks, DialOptions, GrammersClient, LoginOptions, ServerKey, Servers};

pub(crate) use descriptors::Descriptors;
pub use health::DaemonHealth;
pub use process::{exit_code, prepare_process, run};
pub use reload::{Read, Reload};

/// Pauses between two dials of one account.
const RECONNECT_BACKOFF: Backoff = Backoff { min_ms: 500, max_ms: 60_000 };
/// Longest pause of a monitor whose sessions have all failed in turn, milliseconds.
const RETRY_DELAY_MAX_MS: u64 = 300_000;

/// A running daemon.
pub struct Daemon {
    root: Root,
    store: Store,
    door: Door,
    health: Arc<DaemonHealth>,
    limits: watch::Sender<Limits>,
    shutdown_timeout: Duration,
    /// Renews the keys as long as it is there.
    rotation: AbortOnDropHandle<()>,
}

/// Where the parts show how they are, for whoever looks from outside.
struct Signs {
    status: Arc<Status>,
    directory: Arc<Directory>,
    bridge: Option<BridgeStatus>,
    backlog: Arc<BacklogGate>,
    metrics: Arc<Metrics>,
    http: HttpMetrics,
    health: Arc<DaemonHealth>,
}

impl Signs {
    fn new(config: &Config, store: &Store, clock: &Clock) -> Self {
        let status = Arc::new(Status::new(clock.clone()));
        let directory = Arc::new(Directory::default());
        let bridge = config.bridge.enabled.then(|| BridgeStatus::new(clock));
        let backlog = Arc::new(BacklogGate::new(u64::from(config.store.backlog_max_mb) << 20));
        let (shown, names, gate) =
            (Arc::clone(&status), Arc::clone(&directory), Arc::clone(&backlog));
        let health = DaemonHealth::new(shown, names, store, bridge.clone(), gate, clock.clone());
        let health = Arc::new(health);
        let (metrics, http) = (Arc::default(), HttpMetrics::default());
        Self { status, directory, bridge, backlog, metrics, http, health }
    }

    fn metrics(&self, store: &Store) -> DaemonMetrics {
        let (bridge, health) = (self.bridge.as_ref(), Arc::clone(&self.health));
        DaemonMetrics::new(&self.metrics, store, bridge, health, &self.http)
    }
}

impl Daemon {
    /// Opens the store, starts the tree and the edges. Without the bridge the outbox is handed
    /// back: whoever embeds the daemon reads events there.
    ///
    /// # Errors
    /// What could not be opened or started, and why.
    pub async fn start(config: &Config) -> Result<(Self, Option<Outbox>)> {
        Self::start_moved(config, false).await
    }

    /// The same on a store of which the operator says that it `has_moved`: it may run where it did not run last.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub async fn start_moved(config: &Config, has_moved: bool) -> Result<(Self, Option<Outbox>)> {
        let (clock, chance) = (Clock::system(), Chance::system());
        let files = Descriptors::of_process()?;
        let listener = door::listen(config)?;
        let server_key = server_key(config)?;
        let (store, outbox) = open_store(config, has_moved).await?;
        let signs = Signs::new(config, &store, &clock);
        let exposed = Arc::new(signs.metrics(&store));
        let secret = door::token_secret(config)?;
        let parsing = door::parsing_service(config)?;
        let (outbox, bridge) = match signs.bridge {
            None => (Some(outbox), None),
            Some(status) => {
                let links = Arc::new(AmqpLinks::new(amqp_options(config), status));
                (None, Some(BridgeParts { links, outbox }))
            }
        };
        let endpoints = WebhookClient::new(Guard::new(config.webhooks.allow_private))?;
        let (limits, told_limits) = watch::channel(pacing(&config.telegram.limits));
        store.finish_erasures().await?;
        let snapshot = {
            let store = store.blocking().clone();
            tokio::task::spawn_blocking(move || store.load()).await??
        };
        files.tell(snapshot.accounts.len());
        let login = login_options(config, server_key, &signs.metrics, files, clock.clone());
        let clocks = Arc::new(login.dial.clocks.clone());
        let telegram = Arc::new(GrammersClient::new(login));
        let ports = Ports { telegram, bridge, endpoints: Arc::new(endpoints) };
        let settings = settings(config, told_limits, files);
        let Signs { status, directory, backlog, metrics, http, health, .. } = signs;
        let context =
            Context::new(store.clone(), status, metrics, backlog, clock.clone(), chance, clocks);
        health.watch(&context);
        let shown = Arc::clone(&context.status);
        shown.members.runs(&table::SERVICE_MANAGER);
        let rotation = rotation::keep(&context, config.secrets.rotate_every);
        let shutdown_timeout = config.shutdown.timeout;
        // A link gets half of the time, so that what follows it has the other half.
        let root = Root::start(context, settings, directory, snapshot, ports, shutdown_timeout / 2)
            .await?;
        let door = Door::new();
        let api = door.api_options(config, &root, secret, clock, (http, parsing), files);
        shown.members.runs(&table::HTTP);
        door.open(listener, http::router_with_api(health.clone(), exposed, api), files)?;
        health.started();
        let daemon = Self { root, store, door, health, limits, shutdown_timeout, rotation };
        Ok((daemon, outbox))
    }

    /// The door for commands that do not come over the bridge.
    pub fn commands(&self) -> Commands {
        self.root.commands()
    }

    /// What the health endpoint says.
    pub fn health(&self) -> Arc<DaemonHealth> {
        Arc::clone(&self.health)
    }

    /// What a heartbeat has to go through.
    pub fn parts(&self) -> Vec<Part> {
        self.root.parts()
    }

    /// Paces calls as `limits` say from now on. What waits for a call keeps its place.
    pub fn set_limits(&self, limits: &config::Limits) {
        let fresh = pacing(limits);
        self.limits.send_if_modified(|limits| std::mem::replace(limits, fresh) != fresh);
    }

    /// Waits for what the daemon cannot live without to end, and tells why.
    pub async fn failed(&self) -> anyhow::Error {
        tokio::select! {
            error = self.store.failed() => anyhow::Error::new(error).context("the store failed"),
            error = self.root.ended() => anyhow::Error::new(error),
            error = self.door.ended() => anyhow::Error::new(error),
        }
    }

    /// Stops everything in order, within `shutdown.timeout_seconds`.
    ///
    /// # Errors
    /// When the store could not be closed cleanly; what was acknowledged is safe all the same.
    pub async fn stop(self) -> Result<()> {
        let end = instant() + self.shutdown_timeout;
        self.health.stopping();
        self.door.end_streams();
        drop(self.rotation);
        // The store takes the last part: a commit and a sync.
        self.root.stop(end - self.shutdown_timeout / 10).await;
        let closed = tokio::time::timeout_at(end, self.store.close()).await;
        closed.context("the store did not close in time")?.context("failed to close the store")?;
        self.door.close();
        Ok(())
    }
}

async fn open_store(config: &Config, has_moved: bool) -> Result<(Store, Outbox)> {
    let mut options = StoreOptions::new(&config.store.path);
    options.has_moved = has_moved;
    let chosen = secrets::choose(config).context("failed to find the key of the store")?;
    chosen.tell();
    (options.key, options.previous_keys) = (chosen.key, chosen.previous);
    let opened = tokio::task::spawn_blocking(move || Store::open(options)).await?;
    opened.with_context(|| format!("failed to open the store in {}", config.store.path.display()))
}

/// What the configuration says of the bridge.
pub(crate) fn amqp_options(config: &Config) -> AmqpOptions {
    AmqpOptions {
        url: config.bridge.url.clone(),
        exchange: config.bridge.exchange.clone(),
        command_queue: config.bridge.command_queue.clone(),
        event_queue: config.bridge.event_queue.clone(),
        prefetch: config.bridge.prefetch,
        event_types: Arc::new(event_types(&config.bridge.event_types)),
    }
}

fn event_types(types: &config::EventTypes) -> EventTypes {
    let config::EventTypes {
        incoming_telegram_message,
        access_lost,
        monitor_started,
        monitor_failed_over,
        monitor_migrated,
        monitor_stopped,
    } = types;
    let named = [
        ("incoming_telegram_message", incoming_telegram_message),
        ("access_lost", access_lost),
        ("monitor_started", monitor_started),
        ("monitor_failed_over", monitor_failed_over),
        ("monitor_migrated", monitor_migrated),
        ("monitor_stopped", monitor_stopped),
    ];
    EventTypes(named.map(|(kind, name)| (kind.to_owned(), name.clone())).into())
}

/// What the configuration says of the limits; the classes that it does not name keep theirs.
fn pacing(limits: &config::Limits) -> Limits {
    let config::Limits { send, invite, resolve, contacts } = limits;
    let rate = |rate: &config::CallRate| Rate { per_minute: rate.per_minute, burst: rate.burst };
    Limits {
        send: Rate { per_minute: send.per_minute, burst: send.burst },
        sends_per_day: send.per_day,
        invite: rate(invite),
        resolve: rate(resolve),
        contacts: rate(contacts),
        ..Limits::default()
    }
}

/// The key of a server of one's own, where there is one.
fn server_key(config: &Config) -> Result<Option<Arc<ServerKey>>> {
    let Some(path) = &config.telegram.server_public_key_file else { return Ok(None) };
    let named = format!("{} (telegram.server_public_key_file)", path.display());
    let pem = config::read_named_file(path)
        .map_err(|why| anyhow::anyhow!("failed to read {named}: {why}"))?;
    let key = ServerKey::from_pem(&pem).with_context(|| format!("failed to use {named}"))?;
    Ok(Some(Arc::new(key)))
}

fn login_options(
    config: &Config,
    server_key: Option<Arc<ServerKey>>,
    metrics: &Metrics,
    files: Descriptors,
    clock: Clock,
) -> LoginOptions {
    let dial = DialOptions {
        servers: Servers::new(config.telegram.servers.clone()),
        api_id: config.telegram.api_id.unwrap_or_default(),
        metrics: metrics.calls.clone(),
        clocks: Clocks::new(clock),
        sockets: files.telegram(),
    };
    LoginOptions {
        dial,
        api_hash: config.telegram.api_hash.clone().unwrap_or_default(),
        server_key,
        gate: Default::default(),
    }
}

fn settings(config: &Config, limits: watch::Receiver<Limits>, files: Descriptors) -> Settings {
    let retry_delay = u64::try_from(config.failover.retry_delay.as_millis()).unwrap_or(u64::MAX);
    let accounts = AccountSettings {
        api_id: config.telegram.api_id.unwrap_or_default(),
        reconnect: ReconnectPolicy {
            backoff: RECONNECT_BACKOFF,
            attempts_max: config.failover.max_reconnect_attempts,
        },
        limits,
        difference_every: config.monitoring.difference_every,
    };
    let monitors = MonitorSettings {
        failover: FailoverPolicy {
            retry_delay_ms: retry_delay,
            retry_delay_max_ms: RETRY_DELAY_MAX_MS,
        },
        check_every: config.monitoring.check_every,
        extra_events: config.bridge.extra_events,
    };
    let (webhooks, campaigns) = (webhooks(&config.webhooks, files), campaigns(&config.campaign));
    Settings { accounts, monitors, webhooks, campaigns }
}

fn campaigns(config: &config::Campaign) -> CampaignSettings {
    let cap = |per_day, per_hour: u32| Cap { per_day, per_hour: per_hour.min(per_day) };
    let (daily, hourly) = (&config.daily, &config.hourly);
    let caps = Caps {
        invite: cap(daily.invites, hourly.invites),
        message: cap(daily.messages, daily.messages),
        link_message: cap(daily.messages_with_links, daily.messages_with_links),
        resolve: cap(daily.resolves, hourly.resolves),
        contact: cap(daily.contacts, hourly.contacts),
    };
    CampaignSettings {
        targets_max: config.max_targets,
        running_max: config.max_running_per_user,
        recontact_days: config.recontact_days,
        is_recontact_shared: config.is_recontact_shared,
        min_pause_seconds: u32::try_from(config.min_pause.as_secs()).unwrap_or(u32::MAX),
        caps,
        max_late_ms: i64::try_from(config.max_late.as_millis()).unwrap_or(i64::MAX),
        country: config.default_country.as_deref().and_then(Country::named),
        phrases: Phrases::with(config.stop_words.iter().map(String::as_str)),
    }
}

fn webhooks(config: &config::Webhooks, files: Descriptors) -> WebhookSettings {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let backoff = Backoff {
        min_ms: ms(config.retry_first),
        max_ms: ms(config.retry_longest.max(config.retry_first)),
    };
    let give_up_after_ms = i64::try_from(ms(config.give_up_after)).unwrap_or(i64::MAX);
    WebhookSettings {
        retry: RetryPolicy { backoff, give_up_after_ms },
        waiting_max: config.waiting_max as usize,
        connections: files.webhooks(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::bridge::event::KINDS;

    #[test]
    fn every_kind_of_event_can_be_given_a_type_and_has_its_own_name_without() {
        let EventTypes(types) = event_types(&config::EventTypes::default());
        assert_eq!(types, KINDS.map(|kind| (kind.to_owned(), kind.to_owned())).into());
    }
}
