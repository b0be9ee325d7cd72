//! What each value of a request may say. Pure. Values may be secrets: no message quotes one, and those that are
//! not taken are wiped.

use serde_json::Value;
use uuid::Uuid;
use zeroize::Zeroize;

use super::fields::Wrong;
use crate::protocol::messages::message::{MARKED_BYTES_MAX, TEXT_UNITS_MAX};
use crate::protocol::telegram::chat::{ChatError, ChatRef, ChatSpelling, ChatTarget};
use crate::protocol::users::owner::{AccountId, UserId};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::json::wipe;
use crate::protocol::values::page::{CURSOR_MAX, is_cursor};
use crate::protocol::values::secret::SecretText;
use crate::protocol::values::time::parse_rfc3339;

/// Most rows of a page.
const LIMIT_MAX: u32 = 200;
/// Longest that a caller may wait for a message to be sent, in seconds.
const TIMEOUT_MAX: u32 = 25;
/// Longest `Idempotency-Key`, in bytes.
const IDEMPOTENCY_KEY_MAX: usize = 255;
/// Most accounts of a monitor.
const MONITOR_ACCOUNTS_MAX: usize = 32;
/// Most event types that a webhook names.
const EVENTS_MAX: usize = 64;
/// Longest address of a webhook, in bytes.
const URL_MAX: usize = 2048;
/// Longest session string, in bytes. Telethon's have 353, Pyrogram's 362.
const SESSION_MAX: usize = 4096;
/// Longest password, in bytes.
const PASSWORD_MAX: usize = 4096;

fn text(value: Value) -> Result<String, Wrong> {
    match value {
        Value::String(text) => Ok(text),
        other => {
            wipe(other);
            Err("must be a text".to_owned())
        }
    }
}

fn bounded(value: Value, max: usize) -> Result<String, Wrong> {
    let mut text = text(value)?;
    match text.len() {
        0 => Err("is empty".to_owned()),
        length if length > max => {
            text.zeroize();
            Err(format!("has more than {max} bytes"))
        }
        _ => Ok(text),
    }
}

/// The text without `marks`. With room for all of it from the start: what grows leaves copies behind.
fn without(text: &SecretText, marks: &[char]) -> SecretText {
    let mut bare = String::with_capacity(text.expose().len());
    bare.extend(text.expose().chars().filter(|letter| !marks.contains(letter)));
    SecretText::new(bare)
}

fn whole(value: &Value, min: u32, max: u32) -> Result<u32, Wrong> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        // In a query everything is text.
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let number = number.and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

/// A phone number in international form (E.164: `+` and up to 15 digits, the first not 0), after
/// spaces, dashes and parentheses were taken out.
pub(super) fn phone(value: Value) -> Result<SecretText, Wrong> {
    let given = SecretText::new(text(value)?);
    let bare = without(&given, &[' ', '-', '(', ')']);
    let digits = bare.expose().strip_prefix('+').unwrap_or_default();
    let is_phone = (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0');
    is_phone.then_some(bare).ok_or_else(|| {
        "must be in international form, such as +79991234567: a plus, the country's code, and 7 to \
         15 digits in all"
            .to_owned()
    })
}

/// A bot's token, as BotFather writes it: `123456:ABC…`.
pub(super) fn bot_token(value: Value) -> Result<SecretText, Wrong> {
    let token = SecretText::new(bounded(value, 256)?);
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let is_token = token.expose().split_once(':').is_some_and(|(id, rest)| {
        !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_digit())
            && !rest.is_empty()
            && rest.bytes().all(is_word)
    });
    is_token.then_some(token).ok_or_else(|| {
        "must be a bot token such as 123456:ABC-def, as BotFather gives it".to_owned()
    })
}

/// A login code: its digits, without spaces and dashes between them.
pub(super) fn code(value: Value) -> Result<SecretText, Wrong> {
    let given = SecretText::new(text(value)?);
    let digits = without(&given, &[' ', '-']);
    let is_code = (3..=10).contains(&digits.expose().len())
        && digits.expose().bytes().all(|byte| byte.is_ascii_digit());
    is_code.then_some(digits).ok_or_else(|| "must be the 3 to 10 digits of the code".to_owned())
}

/// The password of an account.
pub(super) fn password(value: Value) -> Result<SecretText, Wrong> {
    bounded(value, PASSWORD_MAX).map(SecretText::new)
}

/// A session string; what it holds is looked at later.
pub(super) fn session_string(value: Value) -> Result<SecretText, Wrong> {
    let text = SecretText::new(bounded(value, SESSION_MAX)?);
    let bare = text.expose().trim();
    if bare.is_empty() || !bare.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be a session string of Telethon or Pyrogram".to_owned());
    }
    Ok(SecretText::new(bare.to_owned()))
}

/// An application's id.
pub(super) fn api_id(value: Value) -> Result<i32, Wrong> {
    whole(&value, 1, i32::MAX.cast_unsigned()).map(u32::cast_signed)
}

/// An application's hash: 32 hexadecimal digits. Only looked at: an imported session needs none.
pub(super) fn api_hash(value: Value) -> Result<(), Wrong> {
    let hash = SecretText::new(text(value)?);
    let is_hash =
        hash.expose().len() == 32 && hash.expose().bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then_some(()).ok_or_else(|| "must be 32 hexadecimal digits".to_owned())
}

/// The text of a message, maybe with markup: what is left without that is measured once it is read.
pub(super) fn message_text(value: Value) -> Result<SecretText, Wrong> {
    let text = SecretText::new(text(value)?);
    match text.expose().len() {
        0 => Err("is empty".to_owned()),
        bytes if bytes > MARKED_BYTES_MAX => {
            Err(format!("has {bytes} bytes; with its markup it may have {MARKED_BYTES_MAX}"))
        }
        _ => Ok(text),
    }
}

/// Whether a text without markup fits into a message.
pub(super) fn plain_text(text: &SecretText) -> Result<(), Wrong> {
    match text.expose().encode_utf16().count() {
        0..=TEXT_UNITS_MAX => Ok(()),
        units => Err(format!("has {units} UTF-16 units; Telegram takes at most {TEXT_UNITS_MAX}")),
    }
}

fn spelling(value: Value) -> Result<ChatSpelling, Wrong> {
    match value {
        // A phone number would be taken for the id of somebody else.
        Value::String(mut text) if text.trim_start().starts_with('+') => {
            text.zeroize();
            Err("must not begin with +: phone numbers name nobody here".to_owned())
        }
        Value::String(text) => Ok(ChatSpelling::Text(text)),
        Value::Number(number) => number.as_i64().map(ChatSpelling::Number).ok_or_else(|| {
            "is not a valid marked id (-100… channel, -… group, positive user)".to_owned()
        }),
        _ => Err("must be a text or a whole number".to_owned()),
    }
}

/// A chat: a marked id, a `@username` or a `t.me` link.
pub(super) fn chat(value: Value) -> Result<ChatRef, Wrong> {
    ChatRef::parse(spelling(value)?).map_err(|error| no_chat(&error))
}

fn no_chat(error: &ChatError) -> Wrong {
    match error {
        ChatError::OtherLink(what) => {
            format!("is a link of Telegram's that leads to {what} and names no chat")
        }
        _ => "is neither a marked id, a @username nor a t.me link".to_owned(),
    }
}

/// Whom a message goes to: a chat as in [`chat`], or `me`; as it was spelled.
pub(super) fn recipient(value: Value) -> Result<String, Wrong> {
    let spelling = spelling(value)?;
    let given = match &spelling {
        ChatSpelling::Number(number) => number.to_string(),
        ChatSpelling::Text(text) => text.clone(),
    };
    let is_invite = |chat: &ChatRef| matches!(chat.target, ChatTarget::Invite(_));
    match ChatRef::parse(spelling) {
        _ if given == "me" => return Ok(given),
        Ok(chat) if is_invite(&chat) => {
            return Err("is an invite link; join the chat, then use its id".to_owned());
        }
        Ok(_) => return Ok(given),
        Err(error @ ChatError::OtherLink(_)) => return Err(no_chat(&error)),
        Err(_) => {}
    }
    Err("is neither \"me\", a marked id, a @username nor a t.me link".to_owned())
}

/// A message's number in its chat.
pub(super) fn message_id(value: Value) -> Result<i32, Wrong> {
    whole(&value, 1, i32::MAX.cast_unsigned()).map(u32::cast_signed)
}

/// Seconds from 1 to [`TIMEOUT_MAX`].
pub(super) fn timeout_seconds(value: Value) -> Result<u32, Wrong> {
    whole(&value, 1, TIMEOUT_MAX)
}

/// `true` or `false`, also as the text of a query.
pub(super) fn switch(value: Value) -> Result<bool, Wrong> {
    match value {
        Value::Bool(flag) => Ok(flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

/// One of `names`.
pub(super) fn one_of<T: Copy>(value: Value, names: &[(&str, T)]) -> Result<T, Wrong> {
    let text = text(value)?;
    let found = names.iter().find(|(name, _)| *name == text);
    found.map(|(_, one)| *one).ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("must be one of {}", names.join(", "))
    })
}

/// How many rows a page has at the most.
pub(super) fn limit(value: Value) -> Result<usize, Wrong> {
    whole(&value, 1, LIMIT_MAX).map(|number| number as usize)
}

/// Where a page begins. What it says is nobody's business but the one's who made it.
pub(super) fn cursor(value: Value) -> Result<String, Wrong> {
    let text = bounded(value, CURSOR_MAX)?;
    is_cursor(&text)
        .then_some(text)
        .ok_or_else(|| "must be the next_cursor of a page before".to_owned())
}

/// A short text to search by.
pub(super) fn words(value: Value) -> Result<String, Wrong> {
    let text = bounded(value, 256)?;
    let is_plain = !text.chars().any(char::is_control);
    is_plain.then_some(text).ok_or_else(|| "holds control characters".to_owned())
}

/// A user of the API.
pub(super) fn user(value: Value) -> Result<UserId, Wrong> {
    UserId::new(text(value)?).map_err(|error| error.to_string())
}

/// A moment, RFC 3339.
pub(super) fn moment(value: Value) -> Result<UnixMillis, Wrong> {
    parse_rfc3339(&text(value)?)
        .ok_or_else(|| "must be a moment such as 2026-11-21T03:04:05Z (RFC 3339)".to_owned())
}

/// The accounts of a monitor, the primary one first: 1 to [`MONITOR_ACCOUNTS_MAX`], none twice.
pub(super) fn account_ids(value: Value) -> Result<Vec<AccountId>, Wrong> {
    let Value::Array(items) = value else {
        return Err("must be a list of account ids".to_owned());
    };
    if items.is_empty() || items.len() > MONITOR_ACCOUNTS_MAX {
        return Err(format!("must hold 1 to {MONITOR_ACCOUNTS_MAX} account ids"));
    }
    let mut ids = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let id = item.as_str().and_then(|text| Uuid::parse_str(text).ok()).map(AccountId);
        let id = id.ok_or_else(|| format!("must hold UUIDs; number {} is none", place + 1))?;
        if ids.contains(&id) {
            return Err(format!("holds the same account twice, at number {}", place + 1));
        }
        ids.push(id);
    }
    Ok(ids)
}

/// The address of a webhook: `http` or `https`, with a host, without user and password.
pub(super) fn webhook_url(value: Value) -> Result<String, Wrong> {
    let url = bounded(value, URL_MAX)?;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let authority = rest.map(|rest| &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]);
    let is_visible = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_url = authority
        .is_some_and(|host| !host.is_empty() && !host.starts_with(':') && !host.contains('@'));
    (is_url && is_visible).then_some(url).ok_or_else(|| {
        "must be an address such as https://example.org/hook, without user and password".to_owned()
    })
}

/// Names of events such as `incoming_telegram_message`; an empty list means all.
pub(super) fn event_names(value: Value) -> Result<Vec<String>, Wrong> {
    let Value::Array(items) = value else {
        return Err("must be a list of event names".to_owned());
    };
    if items.len() > EVENTS_MAX {
        return Err(format!("must hold at most {EVENTS_MAX} names"));
    }
    let is_name = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.');
        (1..=64).contains(&name.len()) && name.bytes().all(allowed)
    };
    items
        .into_iter()
        .map(|item| text(item).ok().filter(|name| is_name(name)))
        .collect::<Option<_>>()
        .ok_or_else(|| "must hold event names such as incoming_telegram_message".to_owned())
}

/// A caller's name for a message: 1 to [`IDEMPOTENCY_KEY_MAX`] visible ASCII characters.
pub(super) fn idempotency_key(key: &[u8]) -> Result<String, Wrong> {
    let is_key =
        (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
    let text = std::str::from_utf8(key).ok().filter(|_| is_key);
    text.map(str::to_owned)
        .ok_or_else(|| format!("must be 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"))
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::edge::http::api::fields::tests::fields;
    use crate::secrets::freed::freed_with;

    const SECRET: &str = "SWORDFISH-1905";

    #[test]
    fn what_is_refused_is_neither_repeated_nor_left_in_memory() {
        type Parser = fn(Value) -> Result<SecretText, Wrong>;
        let parsers: [(&'static str, Parser); 6] = [
            ("phone", phone),
            ("token", bot_token),
            ("code", code),
            ("password", password),
            ("session_string", session_string),
            ("text", message_text),
        ];
        let long = format!("{SECRET}{}", "x".repeat(PASSWORD_MAX));
        for (name, parse) in parsers {
            let values = [
                json!(SECRET),
                json!(format!("{SECRET}\u{1}")),
                json!(long),
                json!([SECRET, {"in": SECRET}]),
                json!({SECRET: SECRET}),
            ];
            for value in values {
                let other = json!(format!("{SECRET} of nobody"));
                let given = json!({name: value, "other": other, SECRET: "x", "b9": SECRET});
                let freed = freed_with(SECRET, || {
                    let mut given = fields(given);
                    let taken = given.required(name, parse);
                    assert!(!format!("{given:?}").contains(SECRET));
                    let refusal = given.finish(taken).unwrap_err();
                    assert!(!format!("{refusal:?}").contains(SECRET), "{refusal:?}");
                });
                assert_eq!(freed, 0, "{name}");
            }
        }
    }

    #[test]
    fn what_is_taken_leaves_no_copy_behind() {
        let freed = freed_with("1234567", || {
            // What follows the mark makes a buffer grow that has not room for all.
            drop(phone(json!("+1234567 (8) 9-0-1-2-3-4-5")).unwrap());
            drop(code(json!("1234567 8 9-0")).unwrap());
            drop(bot_token(json!("1:1234567")).unwrap());
            drop(session_string(json!(" 1234567 ")).unwrap());
            drop(password(json!("1234567")).unwrap());
        });
        assert_eq!(freed, 0);
    }

    #[test]
    fn phones_are_written_in_many_ways() {
        for text in ["+79991234567", "+7 (999) 123-45-67", " +7-999-123-4567 "] {
            assert_eq!(phone(json!(text)).unwrap().expose(), "+79991234567", "{text}");
        }
        for text in ["", "79991234567", "+0999123456", "+7999", "+7999123456789012", "+7x99123456"]
        {
            assert!(phone(json!(text)).is_err(), "{text}");
        }
        assert!(phone(json!(79991234567_u64)).is_err());
    }

    #[test]
    fn tokens_and_codes_have_their_form() {
        assert!(bot_token(json!("123:AB_c-9")).is_ok());
        for text in ["", "123", "123:", ":abc", "12a:abc", "123:a b", "123:a:b", "123:ы"] {
            assert!(bot_token(json!(text)).is_err(), "{text}");
        }
        assert_eq!(code(json!("12-3 45")).unwrap().expose(), "12345");
        for text in ["", "12", "12a45", "12345678901"] {
            assert!(code(json!(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_are_measured_as_telegram_measures_them() {
        let plain = |text: String| plain_text(&message_text(json!(text)).unwrap());
        assert!(plain("x".repeat(4096)).is_ok());
        assert!(plain("x".repeat(4097)).is_err());
        assert!(plain("😀".repeat(2048)).is_ok());
        assert!(plain("😀".repeat(2049)).is_err());
        assert!(message_text(json!("")).is_err());
        assert!(message_text(json!("x".repeat(MARKED_BYTES_MAX))).is_ok());
        assert!(message_text(json!("x".repeat(MARKED_BYTES_MAX + 1))).is_err());
    }

    #[test]
    fn a_recipient_is_a_chat_or_me() {
        for (given, expected) in [
            (json!("me"), "me"),
            (json!("@durov"), "@durov"),
            (json!(-1001234567890_i64), "-1001234567890"),
        ] {
            assert_eq!(recipient(given).unwrap(), expected);
        }
        for given in [
            json!(0),
            json!("a b"),
            json!(null),
            json!(1.5),
            json!("+79991234567"),
            json!("t.me/+AbC"),
        ] {
            assert!(recipient(given.clone()).is_err(), "{given}");
        }
    }

    #[test]
    fn accounts_of_a_monitor_are_distinct() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(account_ids(json!([one, other])), Ok(vec![AccountId(one), AccountId(other)]));
        for given in [json!([]), json!([one, one]), json!(["x"]), json!("x"), json!([1])] {
            assert!(account_ids(given.clone()).is_err(), "{given}");
        }
    }

    #[test]
    fn webhooks_are_called_at_plain_addresses() {
        for url in ["https://example.org/hook?x=1", "http://127.0.0.1:1", "https://[::1]:8/x"] {
            assert!(webhook_url(json!(url)).is_ok(), "{url}");
        }
        for url in
            ["", "ftp://x", "https://", "https://u:p@x/", "https:///x", "http://a b", "https://:1"]
        {
            assert!(webhook_url(json!(url)).is_err(), "{url}");
        }
        assert!(event_names(json!(["incoming_telegram_message"])).is_ok());
        assert!(event_names(json!(["Account"])).is_err());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,40}".prop_map(Value::from),
            "[+0-9() -]{0,20}".prop_map(Value::from),
            "[0-9]{1,9}:[A-Za-z0-9_-]{1,30}".prop_map(Value::from),
            prop::collection::vec("[a-z.]{0,8}", 0..4).prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn a_phone_that_is_taken_is_e164(value in any_json()) {
            if let Ok(phone) = phone(value) {
                let digits = phone.expose().strip_prefix('+').unwrap();
                prop_assert!((7..=15).contains(&digits.len()));
                prop_assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
            }
        }

        #[test]
        fn separators_in_a_phone_mean_nothing(digits in "[1-9][0-9]{6,14}", at in 0usize..7, mark in "[ ()-]") {
            let mut written = digits.clone();
            written.insert_str(at, &mark);
            let taken = phone(json!(format!("+{written}"))).unwrap();
            prop_assert_eq!(taken.expose(), format!("+{digits}"));
        }

        #[test]
        fn no_parser_panics_or_quotes(value in any_json(), secret in "[A-Z]{12}") {
            let marked = match value {
                Value::String(text) => json!(format!("{text}\u{1}{secret}")),
                other => other,
            };
            let wrongs = [
                phone(marked.clone()).err(),
                bot_token(marked.clone()).err(),
                code(marked.clone()).err(),
                session_string(marked.clone()).err(),
                api_hash(marked.clone()).err(),
                recipient(marked.clone()).err(),
                chat(marked.clone()).err(),
                limit(marked.clone()).err(),
                cursor(marked.clone()).err(),
                moment(marked.clone()).err(),
                account_ids(marked.clone()).err(),
                webhook_url(marked.clone()).err(),
                event_names(marked).err(),
            ];
            for wrong in wrongs.into_iter().flatten() {
                prop_assert!(!wrong.contains(&secret), "{}", wrong);
            }
        }

        #[test]
        fn an_idempotency_key_that_is_taken_is_unchanged(key in prop::collection::vec(any::<u8>(), 0..300)) {
            match idempotency_key(&key) {
                Ok(taken) => prop_assert_eq!(taken.as_bytes(), &key[..]),
                Err(_) => prop_assert!(
                    key.is_empty() || key.len() > 255 || !key.iter().all(u8::is_ascii_graphic)
                ),
            }
        }

        #[test]
        fn a_limit_is_one_to_two_hundred(number in any::<i64>()) {
            let expected = (1..=200).contains(&number);
            prop_assert_eq!(limit(json!(number)).is_ok(), expected);
            prop_assert_eq!(limit(json!(number.to_string())).is_ok(), expected);
        }
    }
}
