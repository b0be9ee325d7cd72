//! When nobody is contacted: quiet hours, weekdays and holidays, in the person's zone where it is known, and in all
//! that may be theirs where it is not. Asked at each attempt. Pure.

use std::fmt;

use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time, Weekday};
use serde::{Deserialize, Serialize};

use super::zone::Zone;
use crate::protocol::values::ids::UnixMillis;

/// Most holidays that a calendar names.
pub const HOLIDAYS_MAX: usize = 400;
/// How many ends of quiet times are looked at for the next moment at which nothing is quiet: more than two years
/// of nights in a few zones.
const STEPS_MAX: usize = 4_000;
/// A minute, milliseconds.
const MINUTE_MS: i64 = 60_000;
/// What leaves no time at all is looked at again after this, milliseconds (a day).
const NEVER_CHECK_MS: i64 = 24 * 60 * MINUTE_MS;

/// A minute of the day, written `22:00`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Minute(u16);

impl Minute {
    /// Reads `22:00`; `24:00` is the day's end, which is `00:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.trim().split_once(':')?;
        let number = |text: &str| {
            let is_fit =
                (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u16>().ok().filter(|_| is_fit)
        };
        match (number(hour)?, number(minute)?) {
            (24, 0) => Some(Self(0)),
            (hour @ 0..24, minute @ 0..60) => Some(Self(hour * 60 + minute)),
            _ => None,
        }
    }

    fn of(wall: DateTime) -> Self {
        let of = |part: i8| u16::try_from(part).unwrap_or(0);
        Self(of(wall.hour()) * 60 + of(wall.minute()))
    }

    fn time(self) -> Time {
        let part = |number: u16| i8::try_from(number).unwrap_or(0);
        Time::new(part(self.0 / 60), part(self.0 % 60), 0, 0).unwrap_or(Time::MIN)
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl fmt::Debug for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Minute {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        Self::parse(&text).ok_or("write a time like 22:00")
    }
}

impl From<Minute> for String {
    fn from(minute: Minute) -> Self {
        minute.to_string()
    }
}

/// Hours of each day in which nobody is contacted; they may wrap midnight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuietHours {
    /// The first quiet minute.
    pub from: Minute,
    /// The first minute that is not.
    pub to: Minute,
    /// Where, for people whose own zone is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
}

impl QuietHours {
    /// Whether hours are quiet at all, and not all of them.
    pub fn is_fit(&self) -> bool {
        self.from != self.to
    }

    fn is_quiet(&self, minute: Minute) -> bool {
        match self.from < self.to {
            true => (self.from..self.to).contains(&minute),
            false => minute >= self.from || minute < self.to,
        }
    }
}

/// Days on which people are contacted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// Weekdays, 1 (Monday) to 7; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weekdays: Vec<u8>,
    /// Days without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holidays: Vec<Date>,
}

impl Calendar {
    /// Whether every weekday is one, and there are not too many holidays.
    pub fn is_fit(&self) -> bool {
        let are_days = self.weekdays.iter().all(|day| (1..=7).contains(day));
        are_days && self.weekdays.len() <= 7 && self.holidays.len() <= HOLIDAYS_MAX
    }

    fn is_open(&self, day: Date) -> bool {
        let weekday = u8::try_from(Weekday::to_monday_one_offset(day.weekday())).unwrap_or(0);
        let is_weekday = self.weekdays.is_empty() || self.weekdays.contains(&weekday);
        is_weekday && !self.holidays.contains(&day)
    }
}

/// What holds an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// The hours.
    QuietHours,
    /// The day.
    Calendar,
}

/// Nobody is contacted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What holds first.
    pub by: HeldBy,
    /// When nothing holds any more. `None`: in no time that is worth waiting for; zones that leave no hour in common,
    /// or a calendar without days.
    pub until: Option<UnixMillis>,
}

/// What was found of contact times, and how long that stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// When it was found, on the wall clock.
    pub at: UnixMillis,
    /// Until when it stays so.
    pub until: UnixMillis,
    /// What holds.
    pub held: Option<Held>,
}

impl Checked {
    /// Whether it still tells what holds. A clock that was set back has it looked at anew.
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        (self.at..self.until).contains(&now)
    }

    /// Whether nobody may be contacted in any time that is worth waiting for.
    pub fn is_never(&self) -> bool {
        self.held.is_some_and(|held| held.until.is_none())
    }
}

/// When people may be contacted, over all zones that may be theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactTimes<'a> {
    hours: Option<&'a QuietHours>,
    calendar: &'a Calendar,
    zones: Vec<&'a Zone>,
}

impl<'a> ContactTimes<'a> {
    /// For a person: in their zone where it is known; else in that of the hours; else in all of `others` at once
    /// (the strictest overlap), or in UTC where there are none.
    pub fn new(
        hours: Option<&'a QuietHours>,
        calendar: &'a Calendar,
        person: Option<&'a Zone>,
        others: &'a [Zone],
        utc: &'a Zone,
    ) -> Self {
        let one = person.or(hours.and_then(|hours| hours.zone.as_ref()));
        let zones = match one {
            Some(zone) => vec![zone],
            None if others.is_empty() => vec![utc],
            None => others.iter().collect(),
        };
        Self { hours, calendar, zones }
    }

    /// What holds at `now`, on the wall clock, and how long that stays so: how it is known who may be contacted, for
    /// whoever asks often. Costs some milliseconds where many zones
    /// leave little time in common: not for under a lock.
    pub fn check(&self, now: UnixMillis) -> Checked {
        let held = self.held(now);
        let until = match held {
            Some(Held { until, .. }) => until.unwrap_or_else(|| now.plus_ms(NEVER_CHECK_MS)),
            None if self.hours.is_none() && *self.calendar == Calendar::default() => {
                UnixMillis(i64::MAX)
            }
            // Hours and days begin with a minute, wherever it is.
            None => UnixMillis(now.0 - now.0.rem_euclid(MINUTE_MS) + MINUTE_MS),
        };
        Checked { at: now, until, held }
    }

    /// What holds an attempt at `now`, on the wall clock, without its end.
    pub fn held_by(&self, now: UnixMillis) -> Option<HeldBy> {
        self.first_hold(now).map(|(by, _)| by)
    }

    /// What holds an attempt at `now`, on the wall clock.
    pub fn held(&self, now: UnixMillis) -> Option<Held> {
        let (by, mut until) = self.first_hold(now)?;
        for _ in 0..STEPS_MAX {
            match self.first_hold(until) {
                None => return Some(Held { by, until: Some(until) }),
                Some((_, later)) => until = later,
            }
        }
        Some(Held { by, until: None })
    }

    fn first_hold(&self, now: UnixMillis) -> Option<(HeldBy, UnixMillis)> {
        self.zones.iter().find_map(|zone| self.hold_in(zone, now))
    }

    /// What holds in one zone, and until when at least.
    fn hold_in(&self, zone: &Zone, now: UnixMillis) -> Option<(HeldBy, UnixMillis)> {
        let wall = zone.wall(now);
        if !self.calendar.is_open(wall.date()) {
            let next = wall.date().tomorrow().unwrap_or(Date::MAX);
            return Some((HeldBy::Calendar, later(zone.instant(next.to_datetime(Time::MIN)), now)));
        }
        let hours = self.hours.filter(|hours| hours.is_quiet(Minute::of(wall)))?;
        let is_today = Minute::of(wall) < hours.to;
        let day = if is_today { wall.date() } else { wall.date().saturating_add(1.day()) };
        Some((HeldBy::QuietHours, later(zone.instant(day.to_datetime(hours.to.time())), now)))
    }
}

/// An end that is not in the past: where a clock is set back, its first showing may be.
fn later(end: UnixMillis, now: UnixMillis) -> UnixMillis {
    if end > now { end } else { now.plus_ms(MINUTE_MS) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::values::time::{iso8601, parse_rfc3339};

    fn hours(from: &str, to: &str, zone: Option<&str>) -> QuietHours {
        let zone = zone.map(|zone| Zone::named(zone).unwrap());
        QuietHours { from: Minute::parse(from).unwrap(), to: Minute::parse(to).unwrap(), zone }
    }

    fn held(
        hours: &QuietHours,
        person: Option<&str>,
        others: &[&str],
        now: &str,
    ) -> Option<String> {
        let zones: Vec<Zone> = others.iter().map(|zone| Zone::named(zone).unwrap()).collect();
        let (person, utc) = (person.map(|zone| Zone::named(zone).unwrap()), Zone::utc());
        let calendar = Calendar::default();
        let times = ContactTimes::new(Some(hours), &calendar, person.as_ref(), &zones, &utc);
        let held = times.held(parse_rfc3339(now).unwrap())?;
        Some(held.until.map_or("never".into(), |until| iso8601(until.seconds())))
    }

    #[test]
    fn what_was_found_is_kept_until_its_end_and_no_longer() {
        let (calendar, utc) = (Calendar::default(), Zone::utc());
        let check = |hours: Option<&QuietHours>, zones: &[Zone], at| {
            let times = ContactTimes::new(hours, &calendar, None, zones, &utc);
            times.check(parse_rfc3339(at).unwrap())
        };
        let is_valid = |checked: &Checked, at| checked.is_valid(parse_rfc3339(at).unwrap());
        let night = hours("22:00", "08:00", None);
        let held = check(Some(&night), &[], "2026-11-21T23:00:00Z");
        assert!(held.held.is_some() && !held.is_never());
        assert!(is_valid(&held, "2026-11-22T07:59:59Z"));
        assert!(!is_valid(&held, "2026-11-22T08:00:00Z"), "it is over");
        assert!(!is_valid(&held, "2026-11-21T22:59:59Z"), "the clock was set back");
        let free = check(Some(&night), &[], "2026-11-21T21:58:30Z");
        assert_eq!(free.held, None);
        assert!(is_valid(&free, "2026-11-21T21:58:59Z"));
        assert!(!is_valid(&free, "2026-11-21T21:59:00Z"), "hours begin with a minute");
        let always = check(None, &[], "2026-11-21T21:58:30Z");
        assert!(always.held.is_none() && is_valid(&always, "2036-11-21T21:59:00Z"));
        let day = hours("20:00", "10:00", None);
        let zones = ["UTC", "Asia/Tokyo", "America/Los_Angeles"];
        let zones = zones.map(|zone| Zone::named(zone).unwrap());
        assert!(check(Some(&day), &zones, "2026-11-21T12:00:00Z").is_never());
    }

    #[test]
    fn quiet_hours_wrap_midnight_in_their_zone() {
        let night = hours("22:00", "08:00", Some("Europe/Moscow"));
        assert_eq!(held(&night, None, &[], "2026-11-21T18:59:00Z"), None);
        assert_eq!(
            held(&night, None, &[], "2026-11-21T19:00:00Z").as_deref(),
            Some("2026-11-22T05:00:00Z")
        );
        assert_eq!(
            held(&night, None, &[], "2026-11-22T04:59:59Z").as_deref(),
            Some("2026-11-22T05:00:00Z")
        );
        assert_eq!(held(&night, None, &[], "2026-11-22T05:00:00Z"), None);
        let noon = hours("12:00", "13:00", None);
        assert_eq!(
            held(&noon, None, &[], "2026-11-22T12:30:00Z").as_deref(),
            Some("2026-11-22T13:00:00Z")
        );
        assert!(!hours("24:00", "00:00", None).is_fit());
    }

    #[test]
    fn a_persons_own_zone_counts_first_and_unknown_ones_all_at_once() {
        let night = hours("22:00", "08:00", None);
        assert_eq!(
            held(&night, Some("Asia/Vladivostok"), &["Europe/Moscow"], "2026-11-21T12:00:00Z")
                .as_deref(),
            Some("2026-11-21T22:00:00Z")
        );
        let all = ["Europe/Moscow", "Asia/Vladivostok"];
        assert_eq!(
            held(&night, None, &all, "2026-11-21T12:00:00Z").as_deref(),
            Some("2026-11-22T05:00:00Z")
        );
        assert_eq!(held(&night, None, &all, "2026-11-22T11:59:00Z"), None);
        let opposite = ["Europe/London", "Pacific/Auckland", "America/Los_Angeles"];
        assert_eq!(
            held(&hours("17:00", "12:00", None), None, &opposite, "2026-11-22T12:00:00Z")
                .as_deref(),
            Some("never")
        );
    }

    #[test]
    fn weekends_and_holidays_are_left_out() {
        let calendar = Calendar {
            weekdays: vec![1, 2, 3, 4, 5],
            holidays: vec![Date::constant(2026, 11, 23)],
        };
        let (night, zone) = (hours("22:00", "08:00", None), Zone::utc());
        let times = ContactTimes::new(Some(&night), &calendar, None, &[], &zone);
        let saturday = parse_rfc3339("2026-11-21T12:00:00Z").unwrap();
        let held = times.held(saturday).unwrap();
        assert_eq!(
            (held.by, held.until.map(|until| iso8601(until.seconds()))),
            (HeldBy::Calendar, Some("2026-11-24T08:00:00Z".into()))
        );
        assert!(calendar.is_fit() && !Calendar { weekdays: vec![8], ..calendar }.is_fit());
    }

    #[test]
    fn minutes_are_read_strictly() {
        assert_eq!(Minute::parse("8:05").map(String::from).as_deref(), Some("08:05"));
        for text in ["", "8", "25:00", "24:01", "12:60", "+1:00", "1:2:3", "a:b"] {
            assert_eq!(Minute::parse(text), None, "{text}");
        }
    }

    proptest! {
        /// At the end that is named nothing holds, and before it something always does; DST or not.
        #[test]
        fn what_holds_ends_when_it_says(
            from in 0..1_440_u16, length in 1..1_440_u16, seconds in 1_760_000_000_i64..1_830_000_000,
            zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
            at in 0.0..1.0_f64,
        ) {
            let to = Minute((from + length) % 1_440);
            let hours = QuietHours { from: Minute(from), to, zone: Some(Zone::named(zone).unwrap()) };
            let (calendar, utc) = (Calendar::default(), Zone::utc());
            let times = ContactTimes::new(Some(&hours), &calendar, None, &[], &utc);
            let now = UnixMillis(seconds * 1_000);
            if let Some(held) = times.held(now) {
                let until = held.until.unwrap();
                prop_assert!(until > now && until.0 - now.0 <= 26 * 3_600_000);
                prop_assert_eq!(times.held(until), None);
                let between = UnixMillis(now.0 + ((until.0 - now.0 - 1) as f64 * at) as i64);
                // Where a clock is set back, an hour may have been free in between.
                let is_set_back = hours.zone.as_ref().is_some_and(|zone| {
                    let span = zone.wall(until).duration_since(zone.wall(now)).as_millis();
                    span != i128::from(until.0 - now.0)
                });
                prop_assert!(is_set_back || times.held(between).is_some());
            }
        }
    }
}
