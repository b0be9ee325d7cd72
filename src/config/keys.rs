//! The table of keys: what each is called, what it takes, where it goes. Adding a setting means
//! adding a field with a default, a line here, and a line in `config.toml`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::value::{self, Value};
use super::{Backend, Config};
use crate::protocol::campaigns::identity::Country;
use crate::protocol::values::network::Network;
use crate::protocol::values::secret::{SecretText, TOKEN_SECRET_BYTES_MIN};

/// The table that maps datacenter ids to addresses: its keys are numbers.
pub(super) const SERVERS: &str = "telegram.servers";

/// One key of the configuration.
pub(super) struct Key {
    /// Its sections and name, with dots.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
}

/// What a key takes, and how it is put into a [`Config`].
pub(super) enum Kind {
    /// A whole number from `min` to `max`.
    Whole { min: u32, max: u32, set: fn(&mut Config, u32) },
    /// `true` or `false`.
    Switch(fn(&mut Config, bool)),
    /// A text that `set` refuses unless it is what `expected` says.
    Text { expected: &'static str, set: fn(&mut Config, &str) -> Option<()> },
    /// A list of texts.
    Texts { expected: &'static str, set: fn(&mut Config, Vec<String>) -> Option<()> },
    /// A text that is never shown.
    Secret { expected: &'static str, set: fn(&mut Config, &str) -> Option<()> },
    /// A file that holds the secret of the key `of`.
    SecretFile { of: &'static str },
    /// The address of one datacenter, in [`SERVERS`].
    Server,
}

impl Key {
    /// Puts `value` into `config`. `name` is the datacenter's id for [`Kind::Server`].
    /// `None` when the value is not what [`Key::expected`] says.
    pub(super) fn apply(&self, config: &mut Config, name: &str, value: &Value) -> Option<()> {
        match self.kind {
            Kind::Whole { min, max, set } => {
                let number = value.whole().filter(|number| (min..=max).contains(number))?;
                set(config, number);
                Some(())
            }
            Kind::Switch(set) => value.switch().map(|flag| set(config, flag)),
            Kind::Text { set, .. } | Kind::Secret { set, .. } => set(config, value.text()?),
            Kind::Texts { set, .. } => set(config, value.texts()?),
            Kind::SecretFile { .. } => value.text().map(drop),
            Kind::Server => {
                let dc_id = name.parse().ok().filter(|id| (1..=32_767).contains(id))?;
                config.telegram.servers.insert(dc_id, value::address(value.text()?)?);
                Some(())
            }
        }
    }

    /// What the key takes, in words.
    pub(super) fn expected(&self) -> String {
        match self.kind {
            Kind::Whole { min, max, .. } => format!("a whole number from {min} to {max}"),
            Kind::Switch(_) => "true or false".to_owned(),
            Kind::Text { expected, .. }
            | Kind::Texts { expected, .. }
            | Kind::Secret { expected, .. } => expected.to_owned(),
            Kind::SecretFile { .. } => "the path of a file".to_owned(),
            Kind::Server => {
                "a datacenter id from 1 to 32767 with an address such as \"127.0.0.1:4430\""
                    .to_owned()
            }
        }
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret { .. })
    }
}

const fn whole(path: &'static str, min: u32, max: u32, set: fn(&mut Config, u32)) -> Key {
    Key { path, kind: Kind::Whole { min, max, set } }
}

const fn switch(path: &'static str, set: fn(&mut Config, bool)) -> Key {
    Key { path, kind: Kind::Switch(set) }
}

const fn text(
    path: &'static str,
    expected: &'static str,
    set: fn(&mut Config, &str) -> Option<()>,
) -> Key {
    Key { path, kind: Kind::Text { expected, set } }
}

const fn secret(
    path: &'static str,
    expected: &'static str,
    set: fn(&mut Config, &str) -> Option<()>,
) -> Key {
    Key { path, kind: Kind::Secret { expected, set } }
}

const fn secret_file(path: &'static str, of: &'static str) -> Key {
    Key { path, kind: Kind::SecretFile { of } }
}

/// An AMQP name (exchange, queue): a short string, at most 255 bytes
/// (AMQP 0-9-1 section 4.2.5.3), and not the nameless default.
fn amqp_name(text: &str) -> Option<String> {
    (1..=255).contains(&text.len()).then(|| text.to_owned())
}

/// What may stand in the header `type` of an event.
fn type_name(text: &str) -> Option<String> {
    let is_name = (1..=255).contains(&text.len()) && !text.chars().any(char::is_control);
    is_name.then(|| text.to_owned())
}

/// An empty path means "none given".
fn optional_path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

/// An empty text means "none given".
fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A part of a path below Vault's address.
fn vault_name(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_clean = text.chars().all(plain)
        && text.split('/').all(|name| text.is_empty() || !["", ".", ".."].contains(&name));
    is_clean.then_some(text)
}

/// A scheme, a host and perhaps a port, as browsers send it: nothing after it, or it never matches
/// (RFC 6454 section 6.1).
fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map_or("", |(_, host)| host);
    let is_bare = host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte));
    value::has_scheme(text, &["http", "https"]) && !host.is_empty() && is_bare
}

fn seconds(number: u32) -> Duration {
    Duration::from_secs(number.into())
}

const BROKER_ADDRESS: &str = "an address like amqp://user:password@host:5672/vhost or amqps://…; \
    in the user, the password and the vhost / ? # @ : are written %2F %3F %23 %40 %3A";
const TYPE_NAME: &str = "a name of 1 to 255 bytes, such as the class 'App\\Message\\AccessLost'";
const AMQP_NAME: &str = "a name of 1 to 255 bytes";
const VAULT_ADDRESS: &str = "an address like https://vault.example.org:8200 (http:// only on this \
    machine: 127.0.0.1, [::1] or localhost)";
const VAULT_NAME: &str = "a name of letters, digits, - _ . and /, without a / at either end";
const PATH: &str = "a path, or an empty text";
const JWT_SECRET: &str = "a text of at least 32 bytes, such as openssl rand -base64 48 prints";
/// Requests a minute; more is no limit.
const PER_MINUTE_MAX: u32 = 10_000_000;
const DURATION: &str = "a duration such as \"5s\", \"15m\", \"12h\" or \"7d\"";
const DAY_SECONDS: u32 = 24 * 60 * 60;
/// Longest reply that a setting may name, and how many it may.
const STOP_WORD_CHARS_MAX: usize = 64;
const STOP_WORDS_MAX: usize = 100;

/// All keys, in the order of `config.toml`.
pub(super) static KEYS: &[Key] = &[
    // Telegram's ids are positive 32-bit integers.
    whole("telegram.api_id", 0, i32::MAX.cast_unsigned(), |c, n| {
        c.telegram.api_id = (n != 0).then_some(n.cast_signed());
    }),
    secret("telegram.api_hash", "a text", |c, s| {
        c.telegram.api_hash = (!s.is_empty()).then(|| SecretText::new(s.to_owned()));
        Some(())
    }),
    secret_file("telegram.api_hash_file", "telegram.api_hash"),
    text("telegram.server_public_key_file", PATH, |c, s| {
        c.telegram.server_public_key_file = optional_path(s);
        Some(())
    }),
    Key { path: SERVERS, kind: Kind::Server },
    whole("telegram.limits.send.per_minute", 1, 6000, |c, n| c.telegram.limits.send.per_minute = n),
    whole("telegram.limits.send.burst", 1, 1000, |c, n| c.telegram.limits.send.burst = n),
    whole("telegram.limits.send.per_day", 1, 10_000_000, |c, n| {
        c.telegram.limits.send.per_day = n;
    }),
    whole("telegram.limits.invite.per_minute", 1, 6000, |c, n| {
        c.telegram.limits.invite.per_minute = n;
    }),
    whole("telegram.limits.invite.burst", 1, 1000, |c, n| c.telegram.limits.invite.burst = n),
    whole("telegram.limits.resolve.per_minute", 1, 6000, |c, n| {
        c.telegram.limits.resolve.per_minute = n;
    }),
    whole("telegram.limits.resolve.burst", 1, 1000, |c, n| c.telegram.limits.resolve.burst = n),
    whole("telegram.limits.contacts.per_minute", 1, 6000, |c, n| {
        c.telegram.limits.contacts.per_minute = n;
    }),
    whole("telegram.limits.contacts.burst", 1, 1000, |c, n| c.telegram.limits.contacts.burst = n),
    text("store.backend", "\"sled\"", |c, s| {
        c.store.backend = (s == "sled").then_some(Backend::Sled)?;
        Some(())
    }),
    text("store.path", "the path of a folder", |c, s| {
        c.store.path = optional_path(s)?;
        Some(())
    }),
    whole("store.backlog_max_mb", 1, 16_777_216, |c, n| c.store.backlog_max_mb = n),
    text("secrets.key_file", PATH, |c, s| {
        c.secrets.key_file = optional_path(s);
        Some(())
    }),
    text("secrets.previous_key_file", PATH, |c, s| {
        c.secrets.previous_key_file = optional_path(s);
        Some(())
    }),
    text(
        "secrets.rotate_every",
        "a duration such as \"7d\", \"12h\", \"15m\" or \"90s\"",
        |c, s| {
            c.secrets.rotate_every = value::duration(s)?;
            Some(())
        },
    ),
    text("secrets.vault.address", VAULT_ADDRESS, |c, s| {
        let is_usable = s.is_empty() || value::is_safe_https(s);
        let address = is_usable.then(|| s.trim_end_matches('/').to_owned())?;
        c.secrets.vault.address = optional(&address);
        Some(())
    }),
    text("secrets.vault.namespace", VAULT_NAME, |c, s| {
        c.secrets.vault.namespace = optional(vault_name(s)?);
        Some(())
    }),
    text("secrets.vault.ca_file", PATH, |c, s| {
        c.secrets.vault.ca_file = optional_path(s);
        Some(())
    }),
    text("secrets.vault.role_id", "a text", |c, s| {
        c.secrets.vault.role_id = optional(s.trim());
        Some(())
    }),
    secret("secrets.vault.secret_id", "a text", |c, s| {
        let s = s.trim();
        c.secrets.vault.secret_id = (!s.is_empty()).then(|| SecretText::new(s.to_owned()));
        Some(())
    }),
    secret_file("secrets.vault.secret_id_file", "secrets.vault.secret_id"),
    switch("secrets.vault.secret_id_wrapped", |c, on| c.secrets.vault.secret_id_wrapped = on),
    text("secrets.vault.approle_mount", VAULT_NAME, |c, s| {
        c.secrets.vault.approle_mount = optional(vault_name(s)?)?;
        Some(())
    }),
    text("secrets.vault.transit_mount", VAULT_NAME, |c, s| {
        c.secrets.vault.transit_mount = optional(vault_name(s)?)?;
        Some(())
    }),
    text("secrets.vault.transit_key", VAULT_NAME, |c, s| {
        c.secrets.vault.transit_key = optional(vault_name(s)?);
        Some(())
    }),
    switch("bridge.enabled", |c, on| c.bridge.enabled = on),
    secret("bridge.url", BROKER_ADDRESS, |c, s| {
        let s = s.trim();
        let is_amqp =
            value::has_scheme(s, &["amqp", "amqps"]) && super::broker_address(s).is_some();
        c.bridge.url = is_amqp.then(|| SecretText::new(s.to_owned()))?;
        Some(())
    }),
    secret_file("bridge.url_file", "bridge.url"),
    text("bridge.exchange", AMQP_NAME, |c, s| {
        c.bridge.exchange = amqp_name(s)?;
        Some(())
    }),
    // Five bytes are left for `.dead`.
    text("bridge.command_queue", "a name of 1 to 250 bytes", |c, s| {
        c.bridge.command_queue = amqp_name(s).filter(|name| name.len() <= 250)?;
        Some(())
    }),
    text("bridge.event_queue", AMQP_NAME, |c, s| {
        c.bridge.event_queue = amqp_name(s)?;
        Some(())
    }),
    // 0 would mean "without a bound" to the broker.
    whole("bridge.prefetch", 1, 10_000, |c, n| c.bridge.prefetch = n as u16),
    switch("bridge.extra_events", |c, on| c.bridge.extra_events = on),
    text("bridge.event_types.incoming_telegram_message", TYPE_NAME, |c, s| {
        c.bridge.event_types.incoming_telegram_message = type_name(s)?;
        Some(())
    }),
    text("bridge.event_types.access_lost", TYPE_NAME, |c, s| {
        c.bridge.event_types.access_lost = type_name(s)?;
        Some(())
    }),
    text("bridge.event_types.monitor_started", TYPE_NAME, |c, s| {
        c.bridge.event_types.monitor_started = type_name(s)?;
        Some(())
    }),
    text("bridge.event_types.monitor_failed_over", TYPE_NAME, |c, s| {
        c.bridge.event_types.monitor_failed_over = type_name(s)?;
        Some(())
    }),
    text("bridge.event_types.monitor_migrated", TYPE_NAME, |c, s| {
        c.bridge.event_types.monitor_migrated = type_name(s)?;
        Some(())
    }),
    text("bridge.event_types.monitor_stopped", TYPE_NAME, |c, s| {
        c.bridge.event_types.monitor_stopped = type_name(s)?;
        Some(())
    }),
    whole("failover.retry_delay_seconds", 0, 3600, |c, n| c.failover.retry_delay = seconds(n)),
    whole("failover.max_reconnect_attempts", 0, 1000, |c, n| {
        c.failover.max_reconnect_attempts = n;
    }),
    text(
        "monitoring.check_every",
        "a duration such as \"30m\", \"6h\" or \"90s\", or \"never\"",
        |c, s| {
            let every = (s != "never").then(|| value::duration(s));
            c.monitoring.check_every = match every {
                None => None,
                Some(every) => Some(every?),
            };
            Some(())
        },
    ),
    text("monitoring.difference_every", "a duration such as \"2m\" or \"90s\"", |c, s| {
        c.monitoring.difference_every = value::duration(s)?;
        Some(())
    }),
    text("http.listen", "an address such as \"127.0.0.1:8080\"", |c, s| {
        c.http.listen = value::address(s)?;
        Some(())
    }),
    Key {
        path: "http.cors_origins",
        kind: Kind::Texts {
            expected: "a list of origins such as \"https://console.example.org\"",
            set: |c, origins| {
                let is_origin = |origin: &String| is_origin(origin);
                c.http.cors_origins = origins.iter().all(is_origin).then_some(origins)?;
                Some(())
            },
        },
    },
    Key {
        path: "http.trusted_proxies",
        kind: Kind::Texts {
            expected: "a list of addresses or networks such as \"10.0.0.0/8\"",
            set: |c, texts| {
                let networks = texts.iter().map(|text| Network::parse(text));
                c.http.trusted_proxies = networks.collect::<Option<_>>()?;
                Some(())
            },
        },
    },
    whole("http.limits.connect_per_minute", 1, PER_MINUTE_MAX, |c, n| {
        c.http.limits.connect_per_minute = n;
    }),
    whole("http.limits.send_per_minute", 1, PER_MINUTE_MAX, |c, n| {
        c.http.limits.send_per_minute = n;
    }),
    whole("http.limits.change_per_minute", 1, PER_MINUTE_MAX, |c, n| {
        c.http.limits.change_per_minute = n;
    }),
    whole("http.limits.change_burst", 1, PER_MINUTE_MAX, |c, n| {
        c.http.limits.change_burst = n;
    }),
    whole("http.limits.other_per_minute", 1, PER_MINUTE_MAX, |c, n| {
        c.http.limits.other_per_minute = n;
    }),
    whole("http.limits.unauthorized_per_minute", 1, PER_MINUTE_MAX, |c, n| {
        c.http.limits.unauthorized_per_minute = n;
    }),
    secret("auth.jwt_secret", JWT_SECRET, |c, s| {
        let is_usable = s.is_empty() || s.len() >= TOKEN_SECRET_BYTES_MIN;
        let secret = is_usable.then(|| SecretText::new(s.to_owned()))?;
        c.auth.jwt_secret = (!s.is_empty()).then_some(secret);
        Some(())
    }),
    secret_file("auth.jwt_secret_file", "auth.jwt_secret"),
    switch("webhooks.allow_private", |c, on| c.webhooks.allow_private = on),
    text("webhooks.retry_first", DURATION, |c, s| {
        c.webhooks.retry_first = value::duration(s)?;
        Some(())
    }),
    text("webhooks.retry_longest", DURATION, |c, s| {
        c.webhooks.retry_longest = value::duration(s)?;
        Some(())
    }),
    text("webhooks.give_up_after", DURATION, |c, s| {
        c.webhooks.give_up_after = value::duration(s)?;
        Some(())
    }),
    // Deleting an endpoint is one commit, with all that waits for it.
    whole("webhooks.waiting_max", 1, 100_000, |c, n| c.webhooks.waiting_max = n),
    whole("campaign.max_targets", 1, 1_000_000, |c, n| c.campaign.max_targets = n),
    whole("campaign.max_running_per_user", 1, 1000, |c, n| c.campaign.max_running_per_user = n),
    whole("campaign.recontact_days", 0, 3650, |c, n| c.campaign.recontact_days = n),
    text("campaign.recontact_scope", "user or installation", |c, s| {
        c.campaign.is_recontact_shared = match s {
            "user" => false,
            "installation" => true,
            _ => return None,
        };
        Some(())
    }),
    whole("campaign.min_pause_seconds", 0, DAY_SECONDS, |c, n| c.campaign.min_pause = seconds(n)),
    text("campaign.max_late", DURATION, |c, s| {
        c.campaign.max_late = value::duration(s)?;
        Some(())
    }),
    text("campaign.default_country", "a country of two letters such as RU, or nothing", |c, s| {
        let is_known = s.is_empty() || Country::named(s).is_some();
        c.campaign.default_country =
            is_known.then(|| Some(s.to_ascii_uppercase()).filter(|name| !name.is_empty()))?;
        Some(())
    }),
    Key {
        path: "campaign.stop_words",
        kind: Kind::Texts {
            expected: "a list of whole replies, each of 1 to 64 characters, at most 100",
            set: |c, words| {
                let is_fit = |word: &String| {
                    !word.trim().is_empty() && word.chars().count() <= STOP_WORD_CHARS_MAX
                };
                let are_fit = words.len() <= STOP_WORDS_MAX && words.iter().all(is_fit);
                c.campaign.stop_words = are_fit.then_some(words)?;
                Some(())
            },
        },
    },
    whole("campaign.daily.invites", 0, 10_000, |c, n| c.campaign.daily.invites = n),
    whole("campaign.daily.messages", 0, 10_000, |c, n| c.campaign.daily.messages = n),
    whole("campaign.daily.messages_with_links", 0, 10_000, |c, n| {
        c.campaign.daily.messages_with_links = n;
    }),
    whole("campaign.daily.resolves", 0, 10_000, |c, n| c.campaign.daily.resolves = n),
    whole("campaign.daily.contacts", 0, 10_000, |c, n| c.campaign.daily.contacts = n),
    whole("campaign.hourly.invites", 0, 10_000, |c, n| c.campaign.hourly.invites = n),
    whole("campaign.hourly.resolves", 0, 10_000, |c, n| c.campaign.hourly.resolves = n),
    whole("campaign.hourly.contacts", 0, 10_000, |c, n| c.campaign.hourly.contacts = n),
    secret("parsing.url", "an address that begins with http:// or https://, or nothing", |c, s| {
        let is_usable = s.is_empty() || value::has_scheme(s, &["http", "https"]);
        let url = is_usable.then(|| SecretText::new(s.to_owned()))?;
        c.parsing.url = (!s.is_empty()).then_some(url);
        Some(())
    }),
    secret_file("parsing.url_file", "parsing.url"),
    text("log.level", "error, warn, info, debug or trace", |c, s| {
        c.log.level = value::level(s)?;
        Some(())
    }),
    text("log.format", "auto, text or json", |c, s| {
        c.log.format = value::format(s)?;
        Some(())
    }),
    whole("shutdown.timeout_seconds", 1, 3600, |c, n| c.shutdown.timeout = seconds(n)),
];

/// Half of `http.listen`, under a name kept from the replaced service.
pub(super) static LISTEN_HOST: Key = text("http.listen", "an IP address, or localhost", |c, s| {
    c.http.listen = SocketAddr::new(value::host(s.trim())?, c.http.listen.port());
    Some(())
});

/// The other half of `http.listen`.
pub(super) static LISTEN_PORT: Key =
    whole("http.listen", 0, 65_535, |c, n| c.http.listen.set_port(n as u16));

/// The folder of systemd's credentials, which only systemd sets.
static CREDENTIALS: Key = text("CREDENTIALS_DIRECTORY", PATH, |c, s| {
    c.secrets.credentials = optional_path(s);
    Some(())
});

/// The key that wraps all others. It has no place in a configuration file.
static KEY_VARIABLE: Key = secret("TELEWARDEN_KEY", "32 bytes in base64", |c, s| {
    c.secrets.key = Some(SecretText::new(s.trim().to_owned()));
    Some(())
});

/// Variables with names of their own: systemd's, the key's, and those kept from the replaced service; and the keys they set. `RABBITMQ_URL` is there
/// twice: its users had no other switch, so giving a broker means using it.
pub(super) static KEPT_VARIABLES: &[(&str, KeptKey)] = &[
    ("CREDENTIALS_DIRECTORY", KeptKey::Part(&CREDENTIALS)),
    ("TELEWARDEN_KEY", KeptKey::Part(&KEY_VARIABLE)),
    ("TELEGRAM_API_ID", KeptKey::Path("telegram.api_id")),
    ("TELEGRAM_API_HASH", KeptKey::Path("telegram.api_hash")),
    ("RABBITMQ_URL", KeptKey::Path("bridge.url")),
    ("RABBITMQ_URL", KeptKey::TurnsOn("bridge.enabled")),
    ("RABBITMQ_EXCHANGE", KeptKey::Path("bridge.exchange")),
    ("HEALTH_CHECK_HOST", KeptKey::Part(&LISTEN_HOST)),
    ("HEALTH_CHECK_PORT", KeptKey::Part(&LISTEN_PORT)),
    ("LOG_LEVEL", KeptKey::Path("log.level")),
    ("LOG_FORMAT", KeptKey::Path("log.format")),
    ("FAILOVER_RETRY_DELAY_SECONDS", KeptKey::Path("failover.retry_delay_seconds")),
    ("MAX_RECONNECT_ATTEMPTS", KeptKey::Path("failover.max_reconnect_attempts")),
    ("SHUTDOWN_TIMEOUT_SECONDS", KeptKey::Path("shutdown.timeout_seconds")),
];

/// What a kept variable sets.
pub(super) enum KeptKey {
    /// A key, by its path.
    Path(&'static str),
    /// A switch, by being there at all.
    TurnsOn(&'static str),
    /// A part of a key.
    Part(&'static Key),
}

/// The key of that path.
pub(super) fn by_path(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// What a path names.
pub(super) enum Named<'p> {
    /// A key, and the last part of the path where that is a datacenter's id.
    Key(&'static Key, &'p str),
    /// A section.
    Section,
    /// Nothing.
    Unknown,
}

/// Looks up what `path` names.
pub(super) fn look_up(path: &str) -> Named<'_> {
    let server = path.strip_prefix(SERVERS).and_then(|rest| rest.strip_prefix('.'));
    let wanted = if server.is_some() { SERVERS } else { path };
    match (by_path(wanted), server) {
        (Some(key), Some(name)) => Named::Key(key, name),
        (Some(key), None) if key.path != SERVERS => Named::Key(key, ""),
        (Some(_), None) => Named::Section,
        (None, _) => {
            let is_above =
                |key: &Key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
            if KEYS.iter().any(is_above) { Named::Section } else { Named::Unknown }
        }
    }
}

/// Every name that [`look_up`] knows: keys, and the sections above them.
pub(super) fn known_names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().flat_map(|key| {
        let dots = key.path.match_indices('.').map(|(at, _)| &key.path[..at]);
        dots.chain([key.path])
    })
}
