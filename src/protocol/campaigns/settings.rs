//! What a task may be told about how it works, and the bounds of that. Plain data.

use serde::{Deserialize, Serialize};

use super::caps::{Caps, OwnCaps};
use super::quiet::{Calendar, ContactTimes, QuietHours};
use super::zone::Zone;
use crate::protocol::values::ids::UnixMillis;

/// Longest pause between two actions that a task may ask for, seconds (a day).
pub const PAUSE_SECONDS_MAX: u32 = 24 * 60 * 60;
/// Most zones that the people of a task may be in, when it is not known who is where.
pub const ZONES_MAX: usize = 24;
/// Longest opt-out line and confirmation, characters.
pub const LINE_CHARS_MAX: usize = 200;

/// The settings of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Least pause between two actions of an account, seconds. It never shortens the installation's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_pause_seconds: Option<u32>,
    /// Whether people who have to be a contact first are added. Our own phone number is never shared.
    pub add_contacts: bool,
    /// Whether who could not be invited gets the group's invite link once as a message.
    pub link_fallback: bool,
    /// When nobody is contacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
    /// On which days people are contacted.
    pub calendar: Calendar,
    /// Where the people of the task may be, when it is not known who is where: the strictest overlap holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<Zone>,
    /// Whether people that another task has reached lately are contacted all the same. Audited.
    pub ignore_recontact: bool,
    /// Other caps than those of the installation, lower ones unless an admin has set them. What binds is
    /// [`super::task::Task::caps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps: Option<OwnCaps>,
    /// A line that tells how to opt out, put below the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_out_line: Option<String>,
    /// What somebody who has opted out is answered, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opt_out_confirmation: Option<String>,
}

/// A setting that is out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Too short or too long a pause.
    #[error("settings.min_pause_seconds is 1 to {PAUSE_SECONDS_MAX}")]
    Pause,
    /// Hours that are never or always quiet.
    #[error("settings.quiet_hours begin and end at different times")]
    QuietHours,
    /// No such weekday, or far too many holidays.
    #[error("settings.calendar has weekdays from 1 to 7 and at most 400 holidays")]
    Calendar,
    /// Too many zones.
    #[error("settings.zones holds at most {ZONES_MAX}")]
    Zones,
    /// More than the installation allows: only an admin may, and it is audited.
    #[error("settings.caps may only lower the installation's caps")]
    Caps,
    /// A line that is blank or too long.
    #[error("settings.opt_out_line and opt_out_confirmation have 1 to {LINE_CHARS_MAX} characters")]
    Line,
}

impl Settings {
    /// Holds them against their bounds. `caps` are the installation's; `is_admin`: may raise them.
    ///
    /// # Errors
    /// All that is out of bounds.
    pub fn check(&self, caps: &Caps, is_admin: bool) -> Result<(), Vec<SettingError>> {
        let is_line = |line: &Option<String>| {
            line.as_deref().is_none_or(|line| {
                !line.trim().is_empty() && line.chars().count() <= LINE_CHARS_MAX
            })
        };
        let is_pause = |seconds| (1..=PAUSE_SECONDS_MAX).contains(&seconds);
        let rules = [
            (self.min_pause_seconds.is_none_or(is_pause), SettingError::Pause),
            (self.quiet_hours.as_ref().is_none_or(QuietHours::is_fit), SettingError::QuietHours),
            (self.calendar.is_fit(), SettingError::Calendar),
            (self.zones.len() <= ZONES_MAX, SettingError::Zones),
            (is_admin || self.caps.is_none_or(|own| own.is_within(caps)), SettingError::Caps),
            (
                is_line(&self.opt_out_line) && is_line(&self.opt_out_confirmation),
                SettingError::Line,
            ),
        ];
        let wrong: Vec<_> =
            rules.into_iter().filter(|(is_fit, _)| !is_fit).map(|(_, error)| error).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// The least pause that holds for the task, seconds; `installation` is that of all.
    pub fn pause_seconds(&self, installation: u32) -> u32 {
        self.min_pause_seconds.map_or(installation, |own| own.max(installation))
    }

    /// When people may be contacted who are in zone `person`; `None`: it is not known where they are.
    pub fn contact_times<'a>(
        &'a self,
        person: Option<&'a Zone>,
        utc: &'a Zone,
    ) -> ContactTimes<'a> {
        let Self { quiet_hours, calendar, zones, .. } = self;
        ContactTimes::new(quiet_hours.as_ref(), calendar, person, zones, utc)
    }

    /// Whether they leave no time in which people may be contacted of whom it is not known where they are. Costs some
    /// milliseconds.
    pub fn leave_no_contact_time(&self, now: UnixMillis) -> bool {
        self.contact_times(None, &Zone::utc()).check(now).is_never()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::campaigns::caps::OwnCap;

    #[test]
    fn settings_have_bounds_and_defaults() {
        let caps = Caps::default();
        assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
        assert_eq!(Settings::default().check(&caps, false), Ok(()));
        let wrong = Settings {
            min_pause_seconds: Some(0),
            zones: vec![Zone::utc(); 25],
            caps: Some(OwnCaps {
                invite: Some(OwnCap { per_day: Some(51), per_hour: None }),
                ..OwnCaps::default()
            }),
            opt_out_line: Some(" ".into()),
            ..Settings::default()
        };
        use SettingError::{Caps as CapsError, Line, Pause, Zones};
        assert_eq!(wrong.check(&caps, false), Err(vec![Pause, Zones, CapsError, Line]));
        assert_eq!(wrong.check(&caps, true), Err(vec![Pause, Zones, Line]));
        let own = |seconds| Settings { min_pause_seconds: Some(seconds), ..Settings::default() };
        assert_eq!(
            (
                own(3).pause_seconds(15),
                own(60).pause_seconds(15),
                Settings::default().pause_seconds(15)
            ),
            (15, 60, 15),
            "no task is below the floor"
        );
    }

    #[test]
    fn quiet_hours_are_read_as_the_contract_writes_them() {
        let json = r#"{"quiet_hours":{"from":"22:00","to":"08:00","zone":"Europe/Moscow"},"calendar":{"weekdays":[1],"holidays":["2026-12-31"]}}"#;
        let settings: Settings = serde_json::from_str(json).unwrap();
        let again: Settings =
            serde_json::from_str(&serde_json::to_string(&settings).unwrap()).unwrap();
        assert_eq!(again, settings);
        assert!(
            serde_json::from_str::<Settings>(r#"{"quiet_hours":{"from":"22","to":"8"}}"#).is_err()
        );
    }
}
