//! What each value of a request about campaigns may say. Pure. Values are people's names and numbers: no message quotes
//! one.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::actors::{BULK_MAX, NewTarget, TargetEdit, TaskOrder, TaskSort};
use crate::edge::http::api::fields::{Fields, Wrong};
use crate::protocol::campaigns::identity::{Country, Hint, Identifier};
use crate::protocol::campaigns::schedule::Schedule;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::{Details, STATUSES, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{
    ACCOUNTS_MAX, Priority, TASK_STATUSES, TaskRequest, TaskStatus, TaskType,
};
use crate::protocol::campaigns::zone::Zone;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::json::shown as shown_name;

/// Longest text of any field, bytes: a template with its markup. Lengths in characters are the core's to judge.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Longest name of a person, characters.
const NAME_CHARS_MAX: usize = 256;
/// Most that is kept with a person beside, bytes of JSON.
const DATA_BYTES_MAX: usize = 4 * 1024;
/// What settings there are.
const SETTINGS: [&str; 10] = [
    "min_pause_seconds",
    "add_contacts",
    "link_fallback",
    "quiet_hours",
    "calendar",
    "zones",
    "ignore_recontact",
    "caps",
    "opt_out_line",
    "opt_out_confirmation",
];
/// What settings with fields of their own have.
const QUIET_HOURS: [&str; 3] = ["from", "to", "zone"];
const CALENDAR: [&str; 2] = ["weekdays", "holidays"];
const CAPS: [&str; 5] = ["invite", "message", "link_message", "resolve", "contact"];
const CAP: [&str; 2] = ["per_day", "per_hour"];
/// Most unknown fields of one setting that are told of.
const UNKNOWN_TOLD_MAX: usize = 16;

/// A text.
pub(super) fn text(value: Value) -> Result<String, Wrong> {
    match value {
        Value::String(text) if text.len() <= TEXT_BYTES_MAX => Ok(text),
        Value::String(_) => Err(format!("has more than {TEXT_BYTES_MAX} bytes")),
        _ => Err("must be a text".to_owned()),
    }
}

/// A name of a serialised enum without fields.
fn named<T: serde::de::DeserializeOwned>(value: Value, expected: &str) -> Result<T, Wrong> {
    serde_json::from_value(value).map_err(|_| format!("must be {expected}"))
}

pub(super) fn platform(value: Value) -> Result<(), Wrong> {
    (value == "telegram").then_some(()).ok_or_else(|| "must be telegram".to_owned())
}

pub(super) fn task_type(value: Value) -> Result<TaskType, Wrong> {
    named(value, "invite_to_group or send_messages")
}

pub(super) fn group(value: Value) -> Result<MarkedId, Wrong> {
    let number = match &value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let wrong = || "must be the marked id of a group or channel (-100… or -…)".to_owned();
    MarkedId::parse(number.ok_or_else(wrong)?).map_err(|_| wrong())
}

pub(super) fn priority(value: Value) -> Result<Priority, Wrong> {
    let text = match value {
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    Priority::parse(&text).ok_or_else(|| "must be high, normal or low (or 1, 2, 3)".to_owned())
}

pub(super) fn zone(value: Value) -> Result<Zone, Wrong> {
    Zone::named(&text(value)?).map_err(|error| error.to_string())
}

/// The settings of a request. What is stored is read leniently; here a name that is misspelt is told, at any depth, as
/// the setting would not hold without a word.
fn settings_of(fields: &mut Fields) -> Settings {
    let mut parts = Vec::new();
    let settings = fields.optional("settings", |mut value| {
        parts = wrong_parts(&value);
        // What is told by its parts is not told once more as a whole.
        let is_told =
            |name: &str| parts.iter().any(|(part, _)| part.split('.').next() == Some(name));
        if let Value::Object(map) = &mut value {
            map.retain(|name, _| !is_told(name));
        }
        settings(value)
    });
    for (part, message) in parts {
        fields.wrong(&format!("settings.{part}"), message);
    }
    settings.unwrap_or_default()
}

/// Settings, each of those that there are.
fn settings(value: Value) -> Result<Settings, Wrong> {
    let Value::Object(map) = &value else { return Err("must be an object".to_owned()) };
    if map.keys().any(|name| !SETTINGS.contains(&name.as_str())) {
        return Err(format!("has a field that there is not; there are {}", SETTINGS.join(", ")));
    }
    serde_json::from_value(value.clone()).map_err(|_| wrong_settings(map))
}

/// Fields within settings that there are not, and what is wrong with each. What is no object at all is not told here.
fn wrong_parts(settings: &Value) -> Vec<(String, Wrong)> {
    let mut wrong = Vec::new();
    let of = |name: &str| settings.get(name).and_then(Value::as_object);
    let parts =
        [("quiet_hours", &QUIET_HOURS[..]), ("calendar", &CALENDAR[..]), ("caps", &CAPS[..])];
    for (name, known) in parts {
        wrong.extend(of(name).into_iter().flat_map(|map| unknown_in(map, name, known)));
    }
    let Some(caps) = of("caps") else { return wrong };
    for budget in CAPS {
        if let Some(Value::Object(cap)) = caps.get(budget) {
            wrong.extend(unknown_in(cap, &format!("caps.{budget}"), &CAP));
        }
    }
    wrong
}

/// Names that are not known, as far as they look like names, and which there are.
fn unknown_in(map: &Map<String, Value>, at: &str, known: &[&str]) -> Vec<(String, Wrong)> {
    let unknown = map.keys().filter(|name| !known.contains(&name.as_str())).take(UNKNOWN_TOLD_MAX);
    let words = format!("is unknown; the known ones are {}", known.join(", "));
    unknown.map(|name| (format!("{at}.{}", shown_name(name)), words.clone())).collect()
}

/// Which settings cannot be read. What the reader itself says may quote a value.
fn wrong_settings(map: &Map<String, Value>) -> Wrong {
    let is_read = |name: &String, value: &Value| {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        serde_json::from_value::<Settings>(Value::Object(alone)).is_ok()
    };
    let wrong = map.iter().filter(|(name, value)| !is_read(name, value));
    let names: Vec<&str> = wrong.map(|(name, _)| name.as_str()).collect();
    format!("cannot be read: see {}", names.join(", "))
}

pub(super) fn account_ids(value: Value) -> Result<Vec<AccountId>, Wrong> {
    let Value::Array(items) = value else { return Err("must be a list of account ids".to_owned()) };
    if items.len() > ACCOUNTS_MAX {
        return Err(format!("must hold at most {ACCOUNTS_MAX} account ids"));
    }
    let id = |(at, item): (usize, &Value)| {
        let id = item.as_str().and_then(|text| Uuid::parse_str(text).ok()).map(AccountId);
        id.ok_or_else(|| format!("must hold UUIDs; number {} is none", at + 1))
    };
    items.iter().enumerate().map(id).collect()
}

pub(super) fn account_id(value: Value) -> Result<AccountId, Wrong> {
    let id = value.as_str().and_then(|text| Uuid::parse_str(text).ok()).map(AccountId);
    id.ok_or_else(|| "must be the UUID of an account".to_owned())
}

pub(super) fn task_status(value: Value) -> Result<TaskStatus, Wrong> {
    let names = TASK_STATUSES.map(name_of).join(", ");
    named(value, &format!("one of {names}"))
}

pub(super) fn target_status(value: Value) -> Result<TargetStatus, Wrong> {
    let names = STATUSES.map(name_of).join(", ");
    named(value, &format!("one of {names}"))
}

pub(super) fn target_id(value: Value) -> Result<TargetId, Wrong> {
    let number = match &value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let number = number.and_then(|number| u32::try_from(number).ok());
    number.map(TargetId).ok_or_else(|| "must be the number of a target".to_owned())
}

pub(super) fn target_ids(value: Value) -> Result<Vec<TargetId>, Wrong> {
    let Value::Array(items) = value else { return Err("must be a list of numbers".to_owned()) };
    if items.is_empty() || items.len() > BULK_MAX {
        return Err(format!("must hold 1 to {BULK_MAX} numbers of targets"));
    }
    items.into_iter().map(target_id).collect()
}

/// A name as it is written on the wire.
pub(super) fn name_of<T: serde::Serialize>(value: T) -> String {
    let name = serde_json::to_value(value).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// All of a task, from the fields of a request.
pub(super) fn task_request(fields: &mut Fields) -> Option<TaskRequest> {
    let _ = fields.optional("platform", platform);
    let task_type = fields.required("task_type", task_type);
    let title = fields.required("title", text);
    let description = fields.optional("description", text);
    let target_group_id = fields.optional("target_group_id", group);
    let message_template = fields.optional("message_template", text);
    let priority = fields.optional("priority", priority).unwrap_or_default();
    let zone = fields.optional("zone", zone);
    let schedule = fields.optional("scheduled_at", |value| {
        Schedule::parse(&text(value)?, zone.as_ref()).map_err(|error| error.to_string())
    });
    let settings = settings_of(fields);
    let account_ids = fields.optional("account_ids", account_ids).unwrap_or_default();
    let audience_basis = fields.required("audience_basis", text);
    Some(TaskRequest {
        task_type: Some(task_type?),
        title: title?,
        description,
        target_group_id,
        message_template,
        priority,
        schedule,
        settings,
        account_ids,
        audience_basis: audience_basis?,
    })
}

/// Somebody of a list, or why they cannot be taken, with what was given.
pub(super) fn new_target(
    value: Value,
    country: Option<Country>,
) -> Result<NewTarget, (String, String)> {
    let Value::Object(mut map) = value else {
        return Err((String::new(), "it is no object with an identifier".to_owned()));
    };
    let given = map.remove("identifier").unwrap_or_default();
    let shown = shown(&given);
    let identifier = match identifier(given, country) {
        Ok(identifier) => identifier,
        Err(why) => return Err((shown, why)),
    };
    let details = details(map).map_err(|why| (shown, why))?;
    Ok(NewTarget { identifier, details })
}

/// An identifier as it was given, for whoever gave it.
pub(super) fn shown(given: &Value) -> String {
    match given {
        Value::String(text) => text.chars().take(100).collect(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

/// Who somebody is.
pub(super) fn identifier(value: Value, country: Option<Country>) -> Result<Identifier, Wrong> {
    let found = match value {
        Value::Number(number) => match number.as_i64() {
            Some(number) => Identifier::of_number(number),
            None => return Err("it is no id of a person".to_owned()),
        },
        Value::String(text) => Identifier::parse(&text, Hint::Any, country),
        Value::Null => return Err("the identifier is missing".to_owned()),
        _ => return Err("the identifier must be a text or a number".to_owned()),
    };
    found.map_err(|error| error.to_string())
}

/// A part of a name, or another short text about somebody.
pub(super) fn person_text(value: Value) -> Result<Box<str>, Wrong> {
    match value {
        Value::String(text) if text.chars().count() <= NAME_CHARS_MAX => Ok(text.into_boxed_str()),
        _ => Err(format!("must be a text of at most {NAME_CHARS_MAX} characters")),
    }
}

/// Whatever else is kept with somebody.
pub(super) fn data(value: Value) -> Result<Box<str>, Wrong> {
    let Value::Object(_) = value else { return Err("must be an object".to_owned()) };
    let text = value.to_string().into_boxed_str();
    let is_fit = text.len() <= DATA_BYTES_MAX;
    is_fit.then_some(text).ok_or_else(|| format!("has more than {DATA_BYTES_MAX} bytes"))
}

/// Under which names the time zone of somebody is given.
const ZONE_FIELDS: [&str; 4] = ["zone", "timezone", "time_zone", "tz"];

/// The time zone that somebody is in, by its IANA name; an empty text: it is not known.
pub(super) fn person_zone(value: Value) -> Result<Box<str>, Wrong> {
    match value.as_str().map(str::trim) {
        Some("") => Ok("".into()),
        Some(name) => Zone::named(name)
            .map(|zone| zone.name().into())
            .map_err(|error| format!("is not known: {error}")),
        None => Err("must be a text like Europe/Berlin".to_owned()),
    }
}

/// What is known of somebody beside who they are.
fn details(mut map: Map<String, Value>) -> Result<Option<Details>, Wrong> {
    let mut part = |name: &str, read: fn(Value) -> Result<Box<str>, Wrong>| {
        let given = map.remove(name).filter(|value| !value.is_null());
        given.map(read).transpose().map_err(|why| format!("{name} {why}"))
    };
    let details = Details {
        username: part("username", person_text)?,
        first_name: part("first_name", person_text)?,
        last_name: part("last_name", person_text)?,
        phone: part("phone", person_text)?,
        zone: {
            let mut zone = None;
            for name in ZONE_FIELDS {
                let given = part(name, person_zone)?;
                zone = zone.or(given);
            }
            zone
        },
        data: part("data", data)?,
    };
    if !map.is_empty() {
        let known = "identifier, username, first_name, last_name, phone, zone, data";
        return Err(format!("it has a field that there is not; there are {known}"));
    }
    Ok((details != Details::default()).then_some(details))
}

/// In which order tasks are listed.
pub(super) fn sort(value: Value) -> Result<TaskSort, Wrong> {
    let orders = [
        ("created_at", TaskOrder::Created),
        ("status", TaskOrder::Status),
        ("priority", TaskOrder::Priority),
        ("title", TaskOrder::Title),
        ("scheduled_at", TaskOrder::Scheduled),
    ];
    let text = value.as_str().unwrap_or_default();
    let bare = text.strip_prefix('-').unwrap_or(text);
    let found = orders.iter().find(|(name, _)| *name == bare);
    let names = orders.map(|(name, _)| name).join(", ");
    let wrong = || format!("must be one of {names}, backwards with - before it");
    let is_descending = bare.len() < text.len();
    found.map(|(_, by)| TaskSort { by: *by, is_descending }).ok_or_else(wrong)
}

/// Somebody who is added alone.
pub(super) fn one_target(fields: &mut Fields, country: Option<Country>) -> Option<NewTarget> {
    let identifier = fields.required("identifier", |value| identifier(value, country));
    let details = details_of(fields);
    identifier.map(|identifier| NewTarget { identifier, details })
}

fn details_of(fields: &mut Fields) -> Option<Details> {
    let details = Details {
        username: fields.optional("username", person_text),
        first_name: fields.optional("first_name", person_text),
        last_name: fields.optional("last_name", person_text),
        phone: fields.optional("phone", person_text),
        zone: ZONE_FIELDS.iter().fold(None, |zone, name| {
            let given = fields.optional(name, person_zone);
            zone.or(given)
        }),
        data: fields.optional("data", data),
    };
    (details != Details::default()).then_some(details)
}

/// What one target is to be.
pub(super) fn target_edit(
    fields: &mut Fields,
    id: TargetId,
    country: Option<Country>,
) -> TargetEdit {
    let identifier = fields.optional("identifier", |value| identifier(value, country));
    let details = details_of(fields);
    TargetEdit { id, identifier, details, version: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        let Value::Object(map) = value else { panic!("no object") };
        Fields::new(map)
    }

    #[test]
    fn a_task_is_read_with_its_schedule_and_settings() {
        let mut given = fields(json!({
            "platform": "telegram", "task_type": "send_messages", "title": "May", "priority": 1,
            "message_template": "Hi", "scheduled_at": "2027-05-01 10:00", "zone": "Europe/Berlin",
            "settings": {"min_pause_seconds": 30, "zones": ["Asia/Tokyo"]},
            "account_ids": [Uuid::nil()], "audience_basis": "they asked",
        }));
        let request = task_request(&mut given);
        let request = given.finish(request).unwrap();
        assert_eq!(request.priority, Priority::High);
        assert_eq!(request.settings.min_pause_seconds, Some(30));
        assert_eq!(request.schedule.unwrap().zone.name(), "Europe/Berlin");
    }

    #[test]
    fn what_is_wrong_is_told_by_field_and_nothing_is_passed_over() {
        let mut given = fields(json!({
            "platform": "signal", "task_type": "spam", "title": 5, "target_group_id": "x",
            "settings": {"min_pause": 3}, "audience_basis": "b", "colour": 1,
        }));
        let request = task_request(&mut given);
        let refusal = given.finish(request).unwrap_err();
        let named: Vec<&str> = refusal.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(
            named,
            ["platform", "task_type", "title", "target_group_id", "settings", "colour"]
        );
    }

    fn refused_settings(settings: Value) -> Vec<(String, String)> {
        let mut given = fields(json!({
            "task_type": "send_messages", "title": "May", "message_template": "Hi",
            "audience_basis": "they asked", "settings": settings,
        }));
        let request = task_request(&mut given);
        let errors = given.finish(request).err().map(|refusal| refusal.errors).unwrap_or_default();
        errors.into_iter().map(|error| (error.field, error.message)).collect()
    }

    #[test]
    fn a_setting_that_is_misspelt_within_another_is_refused_by_its_name() {
        let whole = json!({"per_day": 1, "per_hour": 1});
        let caps = json!({"invite": whole, "message": whole, "link_message": whole,
            "resolve": whole, "contact": whole});
        let quiet = json!({"from": "22:00", "to": "08:00", "zone": "Europe/Moscow"});
        let calendar = json!({"weekdays": [1], "holidays": ["2026-12-31"]});
        let good = json!({"quiet_hours": quiet, "calendar": calendar, "caps": caps});
        assert!(refused_settings(good).is_empty());
        assert!(refused_settings(json!({"quiet_hours": null, "caps": null})).is_empty());
        let misspelt = json!({
            "quiet_hours": {"from": "22:00", "to": "08:00", "timezone": "s3cret"},
            "calendar": {"weekday": [6], "S3cret!": 1},
            "caps": {"invite": {"per_day": 1, "per_hour": 1, "per_week": 1}, "message": whole,
                "link_message": whole, "resolve": whole, "contact": whole, "invites": whole},
            "min_pause_seconds": "s3cret",
        });
        let told = refused_settings(misspelt);
        let named: Vec<&str> = told.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(
            named,
            [
                "settings",
                "settings.quiet_hours.timezone",
                "settings.calendar.?",
                "settings.calendar.weekday",
                "settings.caps.invites",
                "settings.caps.invite.per_week",
            ]
        );
        assert_eq!(told[0].1, "cannot be read: see min_pause_seconds");
        assert_eq!(told[3].1, "is unknown; the known ones are weekdays, holidays");
        assert!(!told.iter().any(|(_, message)| message.contains("s3cret")), "{told:?}");
    }

    #[test]
    fn caps_in_part_are_taken_and_wrong_ones_are_named() {
        let part = json!({"caps": {"invite": {"per_day": 1}, "contact": null, "resolve": {}}});
        assert_eq!(refused_settings(part), []);
        for wrong in [json!(5), json!({"invite": 5}), json!({"invite": {"per_day": -1}})] {
            let told = refused_settings(json!({"caps": wrong}));
            let named: Vec<(&str, &str)> =
                told.iter().map(|(field, why)| (field.as_str(), why.as_str())).collect();
            assert_eq!(named, [("settings", "cannot be read: see caps")]);
        }
    }

    #[test]
    fn people_are_taken_in_every_spelling_and_refused_with_a_reason() {
        let take = |value| new_target(value, None);
        assert!(take(json!({"identifier": "@durov", "first_name": "P"})).is_ok());
        assert!(take(json!({"identifier": 9_007_199_254_740_993_i64})).is_ok());
        assert!(take(json!({"identifier": "+7 999 123-45-67", "data": {"a": 1}})).is_ok());
        for (value, shown) in [
            (json!("x"), ""),
            (json!({}), ""),
            (json!({"identifier": "not a name"}), "not a name"),
            (json!({"identifier": "@durov", "nick": "x"}), "@durov"),
            (json!({"identifier": "@durov", "data": 1}), "@durov"),
            (json!({"identifier": "@durov", "phone": "1".repeat(257)}), "@durov"),
            (json!({"identifier": -100_123}), "-100123"),
        ] {
            let (told, why) = take(value.clone()).unwrap_err();
            assert_eq!(told, shown, "{value}");
            assert!(why.len() > 10, "{value}: {why}");
        }
    }

    #[test]
    fn settings_that_cannot_be_read_are_named_and_not_quoted() {
        let given = json!({"min_pause_seconds": "s3cret", "add_contacts": true, "zones": "s3cret"});
        assert_eq!(settings(given).unwrap_err(), "cannot be read: see min_pause_seconds, zones");
        assert!(settings(json!({"s3cret": 1})).unwrap_err().starts_with("has a field that"));
    }
}
