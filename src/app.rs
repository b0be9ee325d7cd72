//! Composition: builds the parts from the configuration, runs them until told to stop, and stops
//! them in order. Nothing here decides anything else.

mod health;
mod heartbeat;
mod metrics;
mod process;
mod reload;
mod rotation;
mod systemd;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::actors::{
    BacklogGate, Board, BridgeParts, BridgeStatus, Context, Meters, Orders, Part, Root, Settings,
    WebhookSettings,
};
use crate::config::{self, Config};
use crate::edge::amqp::AmqpOptions;
use crate::edge::http::{self, ApiOptions, HttpMeters, RequestLimits, TokenSecret};
use crate::protocol::account::ReconnectPolicy;
use crate::protocol::monitor::FailoverPolicy;
use crate::protocol::pacing::{Limits, Rate};
use crate::protocol::restart::Backoff;
use crate::protocol::webhook::RetryPolicy;
use crate::secrets;
use crate::store::{Outbox, Store, StoreOptions};
use crate::telegram::{Clocks, DialOptions, LoginOptions, ServerKey, Servers};

use metrics::DaemonMetrics;

pub use health::DaemonHealth;
pub use process::{prepare_process, run};
pub use reload::{Read, Reload};

/// Pauses between two dials of one account.
const RECONNECT_BACKOFF: Backoff = Backoff { min_ms: 500, max_ms: 60_000 };
/// Longest pause of a monitor whose sessions have all failed in turn, milliseconds.
const RETRY_DELAY_MAX_MS: u64 = 300_000;

/// A running daemon.
pub struct Daemon {
    root: Root,
    store: Store,
    http_stop: CancellationToken,
    /// Ends the event streams, whose followers are told that it is for a restart.
    streams_stop: CancellationToken,
    http: Option<std::thread::JoinHandle<std::io::Result<()>>>,
    health: Arc<DaemonHealth>,
    limits: watch::Sender<Limits>,
    shutdown_timeout: Duration,
    /// Renews the keys as long as it is there.
    rotation: DropGuard,
}

impl Daemon {
    /// Opens the store, starts the tree and the edges. Without the bridge the outbox is handed
    /// back: whoever embeds the daemon reads events there.
    ///
    /// # Errors
    /// What could not be opened or started, and why.
    pub async fn start(config: &Config) -> Result<(Self, Option<Outbox>)> {
        let listen = config.http.listen;
        let listener = TcpListener::bind(listen)
            .with_context(|| format!("failed to listen on {listen} (http.listen)"))?;
        let (store, outbox) = open_store(config).await?;
        let board = Arc::new(Board::default());
        let status = config.bridge.enabled.then(BridgeStatus::new);
        let backlog = Arc::new(BacklogGate::new(u64::from(config.store.backlog_max_mb) << 20));
        let health = DaemonHealth::new(
            Arc::clone(&board),
            store.clone(),
            status.clone(),
            Arc::clone(&backlog),
        );
        let health = Arc::new(health);
        let meters = Arc::new(Meters::default());
        let http_meters = HttpMeters::default();
        let (metered_store, metered_health) = (&store, Arc::clone(&health));
        let metrics = DaemonMetrics::new(
            &meters,
            metered_store,
            status.as_ref(),
            metered_health,
            &http_meters,
        );
        let secret = token_secret(config)?;

        let (outbox, bridge) = match status {
            None => (Some(outbox), None),
            Some(status) => {
                (None, Some(BridgeParts { options: amqp_options(config), outbox, status }))
            }
        };
        store.finish_erasures().await?;
        let snapshot = {
            let store = store.clone();
            tokio::task::spawn_blocking(move || store.load()).await??
        };
        let (tell_limits, limits) = watch::channel(pacing(&config.telegram.limits));
        let login = login_options(config, &meters)?;
        let settings = settings(config, limits, login);
        let context = Context::new(store.clone(), board, meters, backlog, settings);
        // A link gets half of the time, so that what follows it has the other half.
        let drain = config.shutdown.timeout / 2;
        let root = Root::start(context, snapshot, bridge, drain).await?;
        let http_stop = CancellationToken::new();
        let streams_stop = http_stop.child_token();
        let api = api_options(config, &root, secret, http_meters, &streams_stop);
        let router = http::router_with_api(health.clone(), Arc::new(metrics), api);
        let http = http::spawn(listener, router, http_stop.clone())
            .context("failed to start the http edge")?;
        health.started();
        let shutdown_timeout = config.shutdown.timeout;
        let (http, limits) = (Some(http), tell_limits);
        let rotation = rotation::keep(store.clone(), config.secrets.rotate_every);
        let daemon = Self {
            root,
            store,
            http_stop,
            streams_stop,
            http,
            health,
            limits,
            shutdown_timeout,
            rotation,
        };
        Ok((daemon, outbox))
    }

    /// The door for commands that do not come over the bridge.
    pub fn orders(&self) -> Orders {
        self.root.orders()
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
        }
    }

    /// Stops everything in order, within `shutdown.timeout_seconds`.
    ///
    /// # Errors
    /// When the store could not be closed cleanly; what was acknowledged is safe all the same.
    pub async fn stop(mut self) -> Result<()> {
        let end = Instant::now() + self.shutdown_timeout;
        self.health.stopping();
        self.streams_stop.cancel();
        drop(self.rotation);
        // The store takes the last part: a commit and a sync.
        self.root.stop(end - self.shutdown_timeout / 10).await;
        let closed = tokio::time::timeout_at(end, self.store.close()).await;
        closed.context("the store did not close in time")?.context("failed to close the store")?;
        self.http_stop.cancel();
        if let Some(http) = self.http.take() {
            // The thread ends within its own deadline; nothing of it needs to be waited for.
            drop(http);
        }
        Ok(())
    }
}

async fn open_store(config: &Config) -> Result<(Store, Outbox)> {
    let mut options = StoreOptions::new(&config.store.path);
    let chosen = secrets::choose(config).context("failed to find the key of the store")?;
    chosen.tell();
    (options.key, options.previous_keys) = (chosen.key, chosen.previous);
    let opened = tokio::task::spawn_blocking(move || Store::open(options)).await?;
    opened.with_context(|| format!("failed to open the store in {}", config.store.path.display()))
}

fn token_secret(config: &Config) -> Result<TokenSecret> {
    let configured = config.auth.jwt_secret.as_ref();
    let secret = TokenSecret::find_or_make(configured, &config.store.path)
        .context("failed to find the secret that signs tokens")?;
    if let Some(path) = secret.made() {
        tracing::info!(
            path = %path.display(),
            "made the secret that signs tokens of the API; telewarden token --user NAME makes one"
        );
    }
    Ok(secret)
}

fn api_options(
    config: &Config,
    root: &Root,
    secret: TokenSecret,
    meters: HttpMeters,
    stop: &CancellationToken,
) -> ApiOptions {
    let limits = &config.http.limits;
    ApiOptions {
        service: Arc::new(root.api()),
        runtime: tokio::runtime::Handle::current(),
        secret,
        limits: RequestLimits {
            connect: limits.connect_per_minute,
            send: limits.send_per_minute,
            other: limits.other_per_minute,
            unauthorized: limits.unauthorized_per_minute,
        },
        in_hand_max: http::IN_HAND_MAX,
        cors_origins: config.http.cors_origins.clone(),
        trusted_proxies: config.http.trusted_proxies.clone(),
        meters,
        stop: stop.clone(),
    }
}

fn amqp_options(config: &Config) -> AmqpOptions {
    AmqpOptions {
        url: config.bridge.url.clone(),
        exchange: config.bridge.exchange.clone(),
        command_queue: config.bridge.command_queue.clone(),
        event_queue: config.bridge.event_queue.clone(),
        prefetch: config.bridge.prefetch,
    }
}

/// What the configuration says of the limits; the classes that it does not name keep theirs.
fn pacing(limits: &config::Limits) -> Limits {
    let config::Rate { per_minute, burst, per_day } = limits.send;
    Limits { send: Rate { per_minute, burst }, sends_per_day: per_day, ..Limits::default() }
}

fn login_options(config: &Config, meters: &Meters) -> Result<LoginOptions> {
    let read = |path: &PathBuf| {
        let pem = std::fs::read_to_string(path).with_context(|| {
            format!("failed to read {} (telegram.server_public_key_file)", path.display())
        })?;
        ServerKey::from_pem(&pem).map(Arc::new).with_context(|| {
            format!("failed to use {} (telegram.server_public_key_file)", path.display())
        })
    };
    let dial = DialOptions {
        servers: Servers::new(config.telegram.servers.clone()),
        api_id: config.telegram.api_id.unwrap_or_default(),
        meters: meters.calls.clone(),
        clocks: Clocks::default(),
    };
    Ok(LoginOptions {
        dial,
        api_hash: config.telegram.api_hash.clone().unwrap_or_default(),
        server_key: config.telegram.server_public_key_file.as_ref().map(read).transpose()?,
    })
}

fn settings(config: &Config, limits: watch::Receiver<Limits>, login: LoginOptions) -> Settings {
    let retry_delay = u64::try_from(config.failover.retry_delay.as_millis()).unwrap_or(u64::MAX);
    Settings {
        servers: login.dial.servers.clone(),
        api_id: login.dial.api_id,
        login,
        failover: FailoverPolicy {
            retry_delay_ms: retry_delay,
            retry_delay_max_ms: RETRY_DELAY_MAX_MS,
        },
        reconnect: ReconnectPolicy {
            backoff: RECONNECT_BACKOFF,
            attempts_max: config.failover.max_reconnect_attempts,
        },
        limits,
        check_every: config.monitoring.check_every,
        difference_every: config.monitoring.difference_every,
        extra_events: config.bridge.extra_events,
        webhooks: webhooks(&config.webhooks),
    }
}

fn webhooks(config: &config::Webhooks) -> WebhookSettings {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let backoff = Backoff {
        min_ms: ms(config.retry_first),
        max_ms: ms(config.retry_longest.max(config.retry_first)),
    };
    let give_up_after_ms = i64::try_from(ms(config.give_up_after)).unwrap_or(i64::MAX);
    WebhookSettings {
        allow_private: config.allow_private,
        retry: RetryPolicy { backoff, give_up_after_ms },
        waiting_max: config.waiting_max as usize,
    }
}
