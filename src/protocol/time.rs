//! Dates as the contracts write them.

/// A Unix time in seconds as ISO 8601 in UTC, e.g. `2026-11-21T03:04:05Z`. Times outside the
/// years 0 to 9999 are clamped; Telegram's 32-bit dates never are.
pub fn iso8601(seconds: i64) -> String {
    const YEAR_0: i64 = -62_167_219_200;
    const YEAR_9999_END: i64 = 253_402_300_799;
    let seconds = seconds.clamp(YEAR_0, YEAR_9999_END);
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_iso_8601_in_utc() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(1_795_230_245), "2026-11-21T03:04:05Z");
        assert!(iso8601(i64::MIN).ends_with('Z') && iso8601(i64::MAX).starts_with("9999-12-31"));
    }
}
