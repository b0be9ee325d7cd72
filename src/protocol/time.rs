//! Dates as the contracts write them.

/// A Unix time in seconds as ISO 8601 in UTC, e.g. `2026-11-21T03:04:05Z`. Times outside the
/// years -9999 to 9999 are clamped; Telegram's 32-bit dates never are.
pub fn iso8601(seconds: i64) -> String {
    let (first, last) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
    let time = jiff::Timestamp::from_second(seconds.clamp(first, last));
    time.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_iso_8601_in_utc() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(1_795_230_245), "2026-11-21T03:04:05Z");
        assert!(
            iso8601(i64::MIN).starts_with("-009999-") && iso8601(i64::MAX).starts_with("9999-")
        );
    }
}
