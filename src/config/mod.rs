//! Configuration: typed sections, their defaults, and where a value may come from.
//!
//! Later sources win: built-in defaults, `config.toml`, environment, flags. All that is wrong is
//! reported at once, and no secret ever appears in a message or in `Debug`. This module reads
//! the configuration file and the files that hold secrets; it must never act on a setting.

mod advice;
mod changes;
mod keys;
mod load;
mod problem;
mod reference;
mod value;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tracing::Level;

use crate::protocol::values::network::Network;
use crate::protocol::values::secret::SecretText;

pub use advice::{advice, broker_address, is_key_beside_store};
pub use changes::changed_keys;
pub use load::{ConfigFile, Flag, Sources, read_named_file};
pub use problem::{ConfigError, Place, Problem};
pub use reference::Reference;
pub use value::duration;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `[telegram]`.
    pub telegram: Telegram,
    /// `[store]`.
    pub store: Store,
    /// `[secrets]`.
    pub secrets: Secrets,
    /// `[bridge]`.
    pub bridge: Bridge,
    /// `[failover]`.
    pub failover: Failover,
    /// `[monitoring]`.
    pub monitoring: Monitoring,
    /// `[http]`.
    pub http: Http,
    /// `[auth]`.
    pub auth: Auth,
    /// `[webhooks]`.
    pub webhooks: Webhooks,
    /// `[campaign]`.
    pub campaign: Campaign,
    /// `[parsing]`.
    pub parsing: Parsing,
    /// `[log]`.
    pub log: Log,
    /// `[shutdown]`.
    pub shutdown: Shutdown,
    /// Secrets that Vault keeps, by their keys: not known until they were read there.
    pub references: BTreeMap<&'static str, Reference>,
}

impl Config {
    /// Puts a secret that was read elsewhere in the place of its reference.
    ///
    /// # Errors
    /// When the key does not take it, in words that do not show it.
    pub fn fill(&mut self, key: &str, secret: &SecretText) -> Result<(), String> {
        load::fill(self, key, secret)
    }

    /// Reads all sources, the later over the earlier.
    ///
    /// # Errors
    /// Every problem of every source, at once.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        load::load(sources)
    }

    /// The file that holds the key-encryption key: `secrets.key_file`, or `<store.path>/key`.
    pub fn key_file(&self) -> PathBuf {
        self.secrets.key_file.clone().unwrap_or_else(|| self.store.path.join("key"))
    }
}

/// How Telegram is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telegram {
    /// Application id; `None` (0 in the file) until the operator sets one.
    pub api_id: Option<i32>,
    /// The application's hash.
    pub api_hash: Option<SecretText>,
    /// PEM file with the public key of a server of one's own.
    pub server_public_key_file: Option<PathBuf>,
    /// Datacenter id → address. Empty: Telegram's own datacenters.
    pub servers: BTreeMap<i32, SocketAddr>,
    /// `[telegram.limits]`.
    pub limits: Limits,
}

/// Token buckets per method class, for each account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sending messages.
    pub send: Rate,
    /// Inviting people.
    pub invite: CallRate,
    /// Looking usernames up.
    pub resolve: CallRate,
    /// Looking phone numbers up, and adding contacts.
    pub contacts: CallRate,
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |per_minute, burst| CallRate { per_minute, burst };
        Self {
            send: Rate::default(),
            invite: rate(2, 1),
            resolve: rate(4, 3),
            contacts: rate(4, 2),
        }
    }
}

/// The token bucket of a class of calls that has no limit a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRate {
    /// Calls a minute in the long run.
    pub per_minute: u32,
    /// Calls at once.
    pub burst: u32,
}

/// The token bucket of sending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a minute in the long run.
    pub per_minute: u32,
    /// Calls at once.
    pub burst: u32,
    /// Calls a day (UTC), whatever crashes or restarts.
    pub per_day: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_minute: 20, burst: 5, per_day: 1000 }
    }
}

/// Where state lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Which store.
    pub backend: Backend,
    /// The folder for everything the daemon writes.
    pub path: PathBuf,
    /// How many MiB of events may wait for the broker before no more updates are taken.
    pub backlog_max_mb: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self { backend: Backend::Sled, path: PathBuf::from("state"), backlog_max_mb: 4096 }
    }
}

/// Kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The embedded store.
    Sled,
}

/// How secrets are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// The folder in which systemd shows credentials to this service, from the variable
    /// `CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
    /// The file of the key that wraps all others; see [`Config::key_file`].
    pub key_file: Option<PathBuf>,
    /// The same as text, from the variable `TELEWARDEN_KEY` and from nowhere else.
    pub key: Option<SecretText>,
    /// The file of a key that another one has replaced.
    pub previous_key_file: Option<PathBuf>,
    /// How often the keys in the store are renewed.
    pub rotate_every: Duration,
    /// `[secrets.vault]`.
    pub vault: Vault,
}

impl Secrets {
    /// The credential that holds the key, if systemd shows one to this service. Looks whether the
    /// file exists.
    pub fn credential(&self) -> Option<PathBuf> {
        let path = self.credentials.as_ref()?.join("telewarden-key");
        path.exists().then_some(path)
    }
}

/// HashiCorp Vault: where it is, and how to log in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vault {
    /// Its address; `None`: there is no Vault.
    pub address: Option<String>,
    /// The namespace of an enterprise Vault.
    pub namespace: Option<String>,
    /// PEM file of the authority that signed its certificate; `None`: the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// Who logs in.
    pub role_id: Option<String>,
    /// The password of that.
    pub secret_id: Option<SecretText>,
    /// Whether `secret_id` is a token that unwraps it, once.
    pub secret_id_wrapped: bool,
    /// Where the AppRole method is mounted.
    pub approle_mount: String,
    /// Where the Transit engine is mounted.
    pub transit_mount: String,
    /// The name of the Transit key that wraps the store's keys; `None`: Vault does not do that.
    pub transit_key: Option<String>,
}

impl Default for Vault {
    fn default() -> Self {
        Self {
            address: None,
            namespace: None,
            ca_file: None,
            role_id: None,
            secret_id: None,
            secret_id_wrapped: false,
            approle_mount: "approle".to_owned(),
            transit_mount: "transit".to_owned(),
            transit_key: None,
        }
    }
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            credentials: None,
            key_file: None,
            key: None,
            previous_key_file: None,
            rotate_every: Duration::from_secs(7 * 24 * 60 * 60),
            vault: Vault::default(),
        }
    }
}

/// The AMQP bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Whether the bridge runs.
    pub enabled: bool,
    /// The broker's address. It holds a password, so it is a secret.
    pub url: SecretText,
    /// The exchange.
    pub exchange: String,
    /// The queue that commands come from.
    pub command_queue: String,
    /// The queue that events go to.
    pub event_queue: String,
    /// Commands in hand at once, at most.
    pub prefetch: u16,
    /// Whether events are sent that the replaced service did not know.
    pub extra_events: bool,
    /// `[bridge.event_types]`.
    pub event_types: EventTypes,
}

/// What the AMQP header `type` says, by the event's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventTypes {
    /// Of `incoming_telegram_message`.
    pub incoming_telegram_message: String,
    /// Of `access_lost`.
    pub access_lost: String,
    /// Of `monitor_started`.
    pub monitor_started: String,
    /// Of `monitor_failed_over`.
    pub monitor_failed_over: String,
    /// Of `monitor_migrated`.
    pub monitor_migrated: String,
    /// Of `monitor_stopped`.
    pub monitor_stopped: String,
}

impl Default for EventTypes {
    fn default() -> Self {
        Self {
            incoming_telegram_message: "incoming_telegram_message".to_owned(),
            access_lost: "access_lost".to_owned(),
            monitor_started: "monitor_started".to_owned(),
            monitor_failed_over: "monitor_failed_over".to_owned(),
            monitor_migrated: "monitor_migrated".to_owned(),
            monitor_stopped: "monitor_stopped".to_owned(),
        }
    }
}

impl Default for Bridge {
    fn default() -> Self {
        Self {
            enabled: false,
            url: SecretText::new("amqp://guest:guest@127.0.0.1:5672/%2f".to_owned()),
            exchange: "aivalone_python_bridge".to_owned(),
            command_queue: "python_bridge_commands".to_owned(),
            event_queue: "python_bridge_events".to_owned(),
            prefetch: 64,
            extra_events: false,
            event_types: EventTypes::default(),
        }
    }
}

/// How a monitor moves to its next session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failover {
    /// Pause before the next session takes over.
    pub retry_delay: Duration,
    /// Reconnects in a row before a network loss counts as access lost.
    pub max_reconnect_attempts: u32,
}

impl Default for Failover {
    fn default() -> Self {
        Self { retry_delay: Duration::from_secs(5), max_reconnect_attempts: 3 }
    }
}

/// How a chat is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Monitoring {
    /// How often an open chat is compared with its history; `None`: never.
    pub check_every: Option<Duration>,
    /// How often an account asks Telegram whether updates did not come.
    pub difference_every: Duration,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            check_every: Some(Duration::from_secs(30 * 60)),
            difference_every: Duration::from_secs(2 * 60),
        }
    }
}

/// The HTTP edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Origins that browsers may call from.
    pub cors_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// `[http.limits]`.
    pub limits: HttpLimits,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            limits: HttpLimits::default(),
        }
    }
}

/// Requests of one user in a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// For connecting accounts.
    pub connect_per_minute: u32,
    /// For sending messages.
    pub send_per_minute: u32,
    /// For changing anything else.
    pub change_per_minute: u32,
    /// The same at once, before that counts.
    pub change_burst: u32,
    /// For everything else.
    pub other_per_minute: u32,
    /// Of one address: those without a valid token.
    pub unauthorized_per_minute: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect_per_minute: 10,
            send_per_minute: 100,
            change_per_minute: 20,
            change_burst: 1000,
            other_per_minute: 1000,
            unauthorized_per_minute: 6000,
        }
    }
}

/// Who may use the HTTP API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// The secret that signs tokens; without one the daemon makes its own on first start.
    pub jwt_secret: Option<SecretText>,
}

/// How events get to users' endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// Whether private addresses and `http://` may be called.
    pub allow_private: bool,
    /// Pause after the first failed attempt.
    pub retry_first: Duration,
    /// Longest pause between two attempts.
    pub retry_longest: Duration,
    /// How long a delivery is tried.
    pub give_up_after: Duration,
    /// Deliveries that may wait for one endpoint.
    pub waiting_max: u32,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            allow_private: false,
            retry_first: Duration::from_secs(5),
            retry_longest: Duration::from_secs(60 * 60),
            give_up_after: Duration::from_secs(24 * 60 * 60),
            waiting_max: 20_000,
        }
    }
}

/// Campaigns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Campaign {
    /// Targets in one campaign, at most.
    pub max_targets: u32,
    /// Campaigns of one user that run at once, at most.
    pub max_running_per_user: u32,
    /// Days during which nobody is contacted twice.
    pub recontact_days: u32,
    /// Whether that holds over the campaigns of all users.
    pub is_recontact_shared: bool,
    /// Shortest pause between two actions of one account.
    pub min_pause: Duration,
    /// How late a campaign may start by itself.
    pub max_late: Duration,
    /// Where phone numbers without a country code are from, an ISO 3166 name of two letters.
    pub default_country: Option<String>,
    /// Whole replies that opt out, beside the usual ones.
    pub stop_words: Vec<String>,
    /// Caps per account and day.
    pub daily: DailyCaps,
    /// Caps per account and hour.
    pub hourly: HourlyCaps,
}

impl Default for Campaign {
    fn default() -> Self {
        Self {
            max_targets: 1000,
            max_running_per_user: 10,
            recontact_days: 30,
            is_recontact_shared: false,
            min_pause: Duration::from_secs(15),
            max_late: Duration::from_secs(6 * 60 * 60),
            default_country: None,
            stop_words: Vec::new(),
            daily: DailyCaps {
                invites: 50,
                messages: 40,
                messages_with_links: 10,
                resolves: 30,
                contacts: 15,
            },
            hourly: HourlyCaps { invites: 5, resolves: 10, contacts: 5 },
        }
    }
}

/// What one account may do in a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyCaps {
    /// Invitations.
    pub invites: u32,
    /// Messages to people it never wrote to.
    pub messages: u32,
    /// Of these, messages with links.
    pub messages_with_links: u32,
    /// Usernames looked up.
    pub resolves: u32,
    /// Phone numbers looked up, and contacts added.
    pub contacts: u32,
}

/// What one account may do in an hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HourlyCaps {
    /// Invitations.
    pub invites: u32,
    /// Usernames looked up.
    pub resolves: u32,
    /// Phone numbers looked up, and contacts added.
    pub contacts: u32,
}

/// The parsing service that lists of people are imported from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsing {
    /// Its base address. It may hold a password, so it is a secret.
    pub url: Option<SecretText>,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least severe level that is written, for the daemon's own events.
    pub level: Level,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::INFO, format: LogFormat::Auto }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Readable text.
    Text,
    /// One JSON object a line, with ECS field names.
    Json,
}

/// How the daemon stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// The longest a soft stop may take.
    pub timeout: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30) }
    }
}

#[cfg(test)]
mod tests;
