//! One configured value, before it has a type, and the small languages values are written in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use toml::de::DeValue;
use tracing::Level;

use super::LogFormat;

/// Texts up to this many characters are quoted in messages. A longer one may be a secret in the
/// wrong place (an `api_hash` has 32), so only its length is told.
const QUOTED_LEN_MAX: usize = 24;

/// A value as its source gave it.
#[derive(Clone)]
pub(super) enum Value {
    /// A quoted text of the file.
    Text(String),
    /// A whole number of the file.
    Integer(i64),
    /// `true` or `false` of the file.
    Boolean(bool),
    /// A list of the file whose members are all texts.
    Texts(Vec<String>),
    /// Anything else of the file, by its kind.
    Other(&'static str),
    /// Text of a variable or a flag: whatever the key makes of it.
    Words(String),
}

impl Value {
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("a number out of range"), Self::Integer),
            DeValue::Float(_) => Self::Other("a fraction"),
            DeValue::Boolean(flag) => Self::Boolean(*flag),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .map_or(Self::Other("a list of something else"), Self::Texts),
            DeValue::Table(_) => Self::Other("a section"),
        }
    }

    pub(super) fn whole(&self) -> Option<u32> {
        match self {
            Self::Integer(number) => u32::try_from(*number).ok(),
            Self::Words(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn switch(&self) -> Option<bool> {
        match self {
            Self::Boolean(flag) => Some(*flag),
            Self::Words(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Words(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::Texts(texts) => Some(texts.clone()),
            Self::Words(text) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(parts.map(str::to_owned).collect())
            }
            _ => None,
        }
    }

    /// What was found, in words. A secret's content is never part of it.
    pub(super) fn describe(&self, secret: bool) -> String {
        match self {
            Self::Text(_) | Self::Words(_) if secret => "a text (not shown)".to_owned(),
            Self::Text(text) | Self::Words(text) => describe_text(text),
            Self::Integer(_) if secret => "a number (not shown)".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Boolean(flag) => flag.to_string(),
            Self::Texts(texts) => format!("a list of {} texts", texts.len()),
            Self::Other(kind) => (*kind).to_owned(),
        }
    }
}

fn describe_text(text: &str) -> String {
    match text.chars().count() {
        0 => "empty".to_owned(),
        length if length > QUOTED_LEN_MAX => format!("a text of {length} characters"),
        _ => format!("{text:?}"),
    }
}

/// `90s`, `15m`, `12h`, `7d`: a whole number and a unit, more than nothing, up to ten years.
pub fn duration(text: &str) -> Option<Duration> {
    const TEN_YEARS_SECONDS: u64 = 10 * 366 * 24 * 60 * 60;
    let (number, unit_seconds) = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit_seconds)?;
    (1..=TEN_YEARS_SECONDS).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// An IP address, or `localhost`. Other names would need a resolver before anything runs.
pub(super) fn host(text: &str) -> Option<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    text.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// `host:port`, the host as in [`host`].
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    let (name, port) = text.rsplit_once(':')?;
    if name.contains(':') && !name.starts_with('[') {
        return None;
    }
    Some(SocketAddr::new(host(name)?, port.parse().ok()?))
}

/// A level by its name, also by the names that Python's `logging` has for it.
pub(super) fn level(text: &str) -> Option<Level> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "info" => Level::INFO,
        "warn" | "warning" => Level::WARN,
        "error" | "critical" => Level::ERROR,
        _ => return None,
    })
}

/// A log format by its name.
pub(super) fn format(text: &str) -> Option<LogFormat> {
    Some(match text.trim().to_ascii_lowercase().as_str() {
        "auto" => LogFormat::Auto,
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => return None,
    })
}

/// Whether `text` is an address with one of `schemes` and something after it.
pub(super) fn has_scheme(text: &str, schemes: &[&str]) -> bool {
    let is_clean = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    is_clean
        && schemes.iter().any(|scheme| {
            text.strip_prefix(scheme)
                .and_then(|rest| rest.strip_prefix("://"))
                .is_some_and(|rest| !rest.is_empty())
        })
}

/// Whether `text` is an `https://` address, or an `http://` address of this machine, with nothing
/// behind the port: secrets may go there.
pub(super) fn is_safe_https(text: &str) -> bool {
    let text = text.strip_suffix('/').unwrap_or(text);
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if authority.is_empty() || !authority.chars().all(is_plain) {
        return false;
    }
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.parse::<u16>().is_ok() => name,
        Some(_) if !authority.ends_with(']') => return false,
        _ => authority,
    };
    match scheme {
        "https" => true,
        "http" => host(name).is_some_and(|ip| ip.is_loopback()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("7d"), Some(Duration::from_secs(604_800)));
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(duration("12h"), Some(Duration::from_secs(43_200)));
        for bad in ["", "7", "d", "0s", "-1d", "7 d", "1.5h", "7w", "99999999999999999999d"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn addresses_need_an_ip_and_a_port() {
        assert_eq!(address("127.0.0.1:8080"), "127.0.0.1:8080".parse().ok());
        assert_eq!(address("localhost:1"), "127.0.0.1:1".parse().ok());
        assert_eq!(address("[::1]:443"), "[::1]:443".parse().ok());
        for bad in ["", "127.0.0.1", ":80", "::1:80", "example.org:80", "127.0.0.1:65536"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }

    #[test]
    fn secrets_go_over_https_or_stay_on_this_machine() {
        for good in [
            "https://vault.example.org",
            "https://10.0.0.7:8200/",
            "http://127.0.0.1:8200",
            "http://localhost:8200",
            "http://[::1]:8200",
            "http://[::1]",
            "https://[fe80::1]:8200",
        ] {
            assert!(is_safe_https(good), "{good}");
        }
        for bad in [
            "",
            "vault.example.org",
            "http://vault.example.org",
            "http://10.0.0.7:8200",
            "http://127.0.0.1@far.example",
            "https://",
            "https://a/b",
            "https://a?b",
            "ftp://a",
            "http://localhost.example.org",
            "https://a:b:c",
            "https://host:99999",
        ] {
            assert!(!is_safe_https(bad), "{bad}");
        }
    }

    #[test]
    fn levels_of_the_replaced_service_are_understood() {
        assert_eq!(level("WARNING"), Some(Level::WARN));
        assert_eq!(level("CRITICAL"), Some(Level::ERROR));
        assert_eq!(level("Info"), Some(Level::INFO));
        assert_eq!(level("3"), None);
    }

    #[test]
    fn a_long_text_is_told_by_its_length_only() {
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(Value::Text(hash.to_owned()).describe(false), "a text of 32 characters");
        assert_eq!(Value::Words("short".to_owned()).describe(true), "a text (not shown)");
    }
}
