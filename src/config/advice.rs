//! Advice: what a valid configuration still lacks, or leaves open, in plain words. Pure.

use tracing::Level;

use super::Config;
use crate::protocol::values::secret::SecretText;

/// An application's hash has so many hexadecimal digits.
const API_HASH_DIGITS: usize = 32;

/// What the operator should know before starting with `config`, most important first. Each line
/// is a sentence that says what to do; none holds a secret.
pub fn advice(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    if config.telegram.api_id.is_none() {
        lines.push(
            "No application is configured, so only sessions that bring their own api_id can \
             connect: get an id at my.telegram.org and set telegram.api_id (or TELEGRAM_API_ID)."
                .to_owned(),
        );
    }
    if config.bridge.enabled {
        lines.extend(broker_advice(config));
    } else {
        lines.push(
            "The bridge is off, so no commands are taken from a message broker: set RABBITMQ_URL, \
             or bridge.enabled and bridge.url."
                .to_owned(),
        );
    }
    if config.telegram.api_id.is_some() {
        lines.extend(hash_advice(config.telegram.api_hash.as_ref()).map(str::to_owned));
    }
    if crate::config::is_key_beside_store(config) {
        lines.push(format!(
            "The key that seals sessions lies beside them, in {}: a copy of the folder is a copy \
             of every account. Set secrets.key_file to a file elsewhere, or use a systemd \
             credential or Vault.",
            config.key_file().display()
        ));
    }
    if !config.http.listen.ip().is_loopback() {
        lines.push(format!(
            "HTTP listens on {}, without encryption: let only a trusted network or a TLS proxy \
             reach it.",
            config.http.listen
        ));
    }
    if config.log.level > Level::INFO {
        lines.push(
            "The log level writes a line for nearly everything: use info outside of a search for \
             a fault."
                .to_owned(),
        );
    }
    lines
}

/// Whether accounts can log in with the application's hash.
fn hash_advice(hash: Option<&SecretText>) -> Option<&'static str> {
    let is_hash = |hash: &&SecretText| {
        let hash = hash.expose();
        hash.len() == API_HASH_DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match hash {
        None => Some(
            "telegram.api_id is set and telegram.api_hash is not: sessions brought from elsewhere \
             connect, but nobody can log in by code, QR picture or bot token. The hash is beside the id \
             at my.telegram.org; set telegram.api_hash (or TELEGRAM_API_HASH).",
        ),
        Some(hash) if !is_hash(&hash) => Some(
            "telegram.api_hash is not what my.telegram.org shows, which is 32 hexadecimal digits: \
             Telegram will refuse logins with it (API_ID_INVALID).",
        ),
        Some(_) => None,
    }
}

/// Whether the key that wraps all others is the one that the daemon makes for itself.
pub fn is_key_beside_store(config: &Config) -> bool {
    let secrets = &config.secrets;
    let is_vault = secrets.vault.address.is_some() && secrets.vault.transit_key.is_some();
    let is_given = secrets.credential().is_some() || secrets.key_file.is_some();
    !(is_given || secrets.key.is_some() || is_vault)
}

fn broker_advice(config: &Config) -> Option<String> {
    let url = config.bridge.url.expose();
    let is_far = broker_address(url).is_some_and(|(host, _)| {
        let is_loopback = host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        !(is_loopback || host == "localhost")
    });
    (is_far && url.starts_with("amqp://")).then(|| {
        "The broker is on another machine and the address begins with amqp://: the password and \
         all messages cross the network unencrypted. Use amqps://."
            .to_owned()
    })
}

/// The host and port of an AMQP address, without user and password.
/// `None` when it has no host, or when `/`, `?` or `#` in the user or the password is not written
/// as `%2F`, `%3F` or `%23` (<https://www.rabbitmq.com/docs/uri-spec>).
pub fn broker_address(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains('@') {
        return None;
    }
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, after)| after);
    let default_port = if scheme == "amqps" { 5671 } else { 5672 };
    let (host, port) = match host_and_port.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
        _ => (host_and_port, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| (host.to_owned(), port))
}
