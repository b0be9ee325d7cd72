//! The columns of a report's table, and the cells of a target. A cell says what it is, so that no text can become
//! anything else.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::protocol::campaigns::target::Target;
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::time::rfc3339_ms;

/// The columns.
pub(super) const COLUMNS: [&str; 14] = [
    "id",
    "identifier",
    "status",
    "reason",
    "account",
    "attempts",
    "tried_at",
    "first_name",
    "last_name",
    "username",
    "phone",
    "user_id",
    "message_id",
    "text_version",
];

/// What stands in a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cell<'a> {
    Empty,
    Number(i64),
    Text(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    fn of(text: Option<&'a str>) -> Self {
        text.map_or(Self::Empty, |text| Self::Text(text.into()))
    }

    fn number<N: Into<i64>>(number: Option<N>) -> Self {
        number.map_or(Self::Empty, |number| Self::Number(number.into()))
    }
}

/// A text without the controls that no file of a table may hold: programs end a cell, or the file, at NUL, and XML knows
/// none of them. Tabs and the ends of lines stay.
pub(super) fn printable(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\t' | '\r' | '\n'))
}

/// The name of something that is one word in JSON.
pub(super) fn name_of<T: serde::Serialize>(value: T) -> String {
    let name = serde_json::to_value(value).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What an account is called: its name, or its id where it is not there any more.
pub(super) fn called(names: &BTreeMap<AccountId, String>, account: AccountId) -> String {
    names.get(&account).cloned().unwrap_or_else(|| account.0.to_string())
}

/// The cells of a target, in the order of [`COLUMNS`].
pub(super) fn cells<'a>(
    target: &'a Target,
    names: &BTreeMap<AccountId, String>,
) -> [Cell<'a>; COLUMNS.len()] {
    let details = target.details.as_deref();
    let intent = target.tried();
    let text = |of: Option<&'a Option<Box<str>>>| Cell::of(of.and_then(Option::as_deref));
    [
        Cell::Number(target.id.0.into()),
        Cell::Text(target.identifier.to_string().into()),
        Cell::Text(name_of(target.status).into()),
        target.reason.map_or(Cell::Empty, |reason| Cell::Text(reason.name().into())),
        intent.map_or(Cell::Empty, |intent| Cell::Text(called(names, intent.account).into())),
        Cell::Number(target.attempts.into()),
        intent.map_or(Cell::Empty, |intent| Cell::Text(rfc3339_ms(intent.at).into())),
        text(details.map(|details| &details.first_name)),
        text(details.map(|details| &details.last_name)),
        text(details.map(|details| &details.username)),
        text(details.map(|details| &details.phone)),
        Cell::number(target.person),
        Cell::number(target.message_id),
        Cell::number(target.text_version),
    ]
}
