//! When a task starts: a time on the wall and its zone, and what follows when it came due long ago. Pure.

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::zone::Zone;
use crate::protocol::values::ids::UnixMillis;

/// A start as it was planned. It stays a time on the wall: when the zone's rules change, it moves along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// What clocks show there.
    pub wall: DateTime,
    /// Where.
    pub zone: Zone,
}

/// Why a time was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not a time.
    #[error("write a time like 2026-11-21T10:00:00Z, or 2026-11-21T10:00:00[Europe/Berlin]")]
    Unreadable,
    /// A time without an offset, and no zone.
    #[error("the time has neither an offset nor a zone")]
    NoZone,
}

/// Whether a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Not yet.
    At(UnixMillis),
    /// It starts now.
    Now {
        /// How long ago it was due, milliseconds.
        late_ms: i64,
    },
    /// It is so late that a person decides.
    TooLate {
        /// How long ago it was due, milliseconds.
        late_ms: i64,
    },
}

/// What is later than this is called late, milliseconds: nobody minds less.
pub const LATE_MS: i64 = 60_000;
/// How late a start may be by default, milliseconds (`campaign.max_late`, 6 h).
pub const MAX_LATE_MS: i64 = 6 * 60 * 60 * 1_000;

impl Schedule {
    /// Reads RFC 3339 (`…Z`, `…+03:00`), a time with its zone (`…[Europe/Berlin]`), or a time alone, which is one
    /// of `zone`. A time with an offset and a zone of the task is shown in that zone from there on.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str, zone: Option<&Zone>) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let (time, named) = match text.split_once('[') {
            Some((time, rest)) => {
                let name = rest.strip_suffix(']').ok_or(ScheduleError::Unreadable)?;
                (time, Some(Zone::named(name).map_err(|_| ScheduleError::Unreadable)?))
            }
            None => (text, None),
        };
        let zone = named.or_else(|| zone.cloned());
        if let Ok(instant) = time.parse::<jiff::Timestamp>() {
            let zone = zone.unwrap_or_else(Zone::utc);
            let wall = zone.wall(UnixMillis(instant.as_millisecond()));
            return Ok(Self { wall, zone });
        }
        let wall = time.parse::<DateTime>().map_err(|_| ScheduleError::Unreadable)?;
        Ok(Self { wall, zone: zone.ok_or(ScheduleError::NoZone)? })
    }

    /// When that is. A missing 02:30 runs later, a doubled one is the first of the two.
    pub fn instant(&self) -> UnixMillis {
        self.zone.instant(self.wall)
    }

    /// Whether it is due.
    pub fn due(&self, max_late_ms: i64, now: UnixMillis) -> Due {
        let late_ms = now.0.saturating_sub(self.instant().0);
        match late_ms {
            ..0 => Due::At(self.instant()),
            _ if late_ms > max_late_ms => Due::TooLate { late_ms },
            _ => Due::Now { late_ms },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::values::time::{iso8601, parse_rfc3339};

    fn instant(text: &str, zone: &str) -> String {
        let zone = Zone::named(zone).ok();
        Schedule::parse(text, zone.as_ref()).map_or_else(
            |error| error.to_string(),
            |schedule| iso8601(schedule.instant().seconds()),
        )
    }

    #[test]
    fn times_are_read_with_offset_zone_or_both() {
        for (text, zone) in [
            ("2026-11-21T10:00:00Z", ""),
            ("2026-11-21T13:00:00+03:00", "Europe/Berlin"),
            ("2026-11-21T13:00:00[Europe/Moscow]", ""),
            ("2026-11-21T13:00", "Europe/Moscow"),
            ("2026-11-21 13:00:00", "Europe/Moscow"),
        ] {
            assert_eq!(instant(text, zone), "2026-11-21T10:00:00Z", "{text}");
        }
        assert_eq!(Schedule::parse("2026-11-21T13:00", None), Err(ScheduleError::NoZone));
        for text in
            ["tomorrow", "2026-13-01T00:00:00Z", "2026-11-21T13:00[Mars/X]", "2026-11-21T13:00[UTC"]
        {
            assert_eq!(Schedule::parse(text, None), Err(ScheduleError::Unreadable), "{text}");
        }
    }

    #[test]
    fn a_missing_time_runs_later_and_a_doubled_one_once() {
        assert_eq!(
            instant("2026-03-29T02:30:00", "Europe/Berlin"),
            "2026-03-29T01:30:00Z",
            "03:30 there"
        );
        assert_eq!(
            instant("2026-10-25T02:30:00", "Europe/Berlin"),
            "2026-10-25T00:30:00Z",
            "the first"
        );
        let schedule = Schedule::parse("2026-10-25T02:30:00[Europe/Berlin]", None).unwrap();
        let second = parse_rfc3339("2026-10-25T01:30:00Z").unwrap();
        assert_eq!(
            schedule.due(MAX_LATE_MS, second),
            Due::Now { late_ms: 3_600_000 },
            "it is not due anew"
        );
    }

    #[test]
    fn much_too_late_waits_for_a_person() {
        let schedule = Schedule::parse("2026-11-21T10:00:00Z", None).unwrap();
        let at = schedule.instant();
        assert_eq!(schedule.due(10, at.plus_ms(-1)), Due::At(at));
        assert_eq!(schedule.due(10, at), Due::Now { late_ms: 0 });
        assert_eq!(schedule.due(10, at.plus_ms(10)), Due::Now { late_ms: 10 });
        assert_eq!(schedule.due(10, at.plus_ms(11)), Due::TooLate { late_ms: 11 });
        let json = serde_json::to_string(&schedule).unwrap();
        assert_eq!(json, r#"{"wall":"2026-11-21T10:00:00","zone":"UTC"}"#);
        assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_an_error(text in any::<String>()) {
            let _ = Schedule::parse(&text, None);
        }

        #[test]
        fn every_schedule_comes_due_at_one_moment(
            seconds in 1_700_000_000_i64..2_000_000_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
        ) {
            let zone = Zone::named(zone).unwrap();
            let wall = zone.wall(UnixMillis(seconds * 1_000));
            let schedule = Schedule { wall, zone };
            let at = schedule.instant();
            // The same wall, and of two moments with that wall the first.
            prop_assert_eq!(schedule.zone.wall(at), wall);
            prop_assert!(at.0 <= seconds * 1_000);
            let is_before = matches!(schedule.due(1, at.plus_ms(-1)), Due::At(_));
            prop_assert!(is_before);
            prop_assert_eq!(schedule.due(1, at), Due::Now { late_ms: 0 });
        }
    }
}
