//! Dates as the contracts write them.

use super::ids::UnixMillis;

/// A Unix time in seconds as ISO 8601 in UTC, e.g. `2026-11-21T03:04:05Z`. Times outside the
/// years -9999 to 9999 are clamped; Telegram's 32-bit dates never are.
pub fn iso8601(seconds: i64) -> String {
    let (first, last) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    let time = jiff::Timestamp::from_second(seconds.clamp(first, last));
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

/// A moment as RFC 3339 in UTC with milliseconds, e.g. `2026-11-21T03:04:05.678Z`. Times outside the
/// years -9999 to 9999 are clamped.
pub fn rfc3339_ms(at: UnixMillis) -> String {
    let (first, last) =
        (jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
    let time = jiff::Timestamp::from_millisecond(at.0.clamp(first, last));
    format!("{:.3}", time.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// Understands a moment written as RFC 3339.
pub fn parse_rfc3339(text: &str) -> Option<UnixMillis> {
    text.parse::<jiff::Timestamp>().ok().map(|time| UnixMillis(time.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339_in_utc_and_read_back() {
        let at = UnixMillis(1_795_230_245_678);
        assert_eq!(rfc3339_ms(at), "2026-11-21T03:04:05.678Z");
        assert_eq!(rfc3339_ms(UnixMillis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(parse_rfc3339(&rfc3339_ms(at)), Some(at));
        assert_eq!(parse_rfc3339("2026-11-21T05:04:05.678+02:00"), Some(at));
        assert_eq!(parse_rfc3339("yesterday"), None);
    }

    #[test]
    fn dates_are_iso_8601_in_utc() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(1_795_230_245), "2026-11-21T03:04:05Z");
        assert!(
            iso8601(i64::MIN).starts_with("-009999-") && iso8601(i64::MAX).starts_with("9999-")
        );
    }
}
