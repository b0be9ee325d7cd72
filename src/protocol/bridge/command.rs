//! Commands of the AMQP bridge: from the bytes of a delivery to a [`Command`], or a reason.

use serde_json::Value;

use super::reply_to;
use super::reply_to::ReplyTo;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::telegram::chat::{ChatError, ChatRef, ChatSpelling, ChatTarget};
use crate::protocol::telegram::session_string::{SessionString, SessionStringError};
use crate::protocol::values::ids::{AuthKeyId, SessionId};
use crate::protocol::values::json;
use crate::protocol::values::json::{Read, wipe};
use crate::protocol::values::secret::AuthKey;

/// Largest command body that is read, in bytes.
pub const COMMAND_BODY_MAX: usize = 1024 * 1024;

/// A session as a command carries it. Its `api_hash` is checked for presence and then dropped:
/// an imported session never needs it, and what is not needed is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionData {
    /// The backend's id.
    pub id: SessionId,
    /// The application id the session was made for, if the command names one.
    pub api_id: Option<i32>,
    /// Identity of `auth_key`.
    pub account: AuthKeyId,
    /// Home datacenter.
    pub dc_id: i32,
    /// The authorization key.
    pub auth_key: AuthKey,
}

impl SessionData {
    /// How pools name it.
    pub fn member(&self) -> PoolMember {
        PoolMember { session: self.id.clone(), account: self.account }
    }
}

/// What the backend asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `start_monitoring_chat`: the primary session first.
    StartMonitoring {
        /// The chat.
        chat: ChatRef,
        /// Primary and backups, in order, without repeated ids.
        sessions: Vec<SessionData>,
    },
    /// `stop_monitoring_chat`.
    StopMonitoring {
        /// The chat.
        chat: ChatRef,
    },
    /// `join_chat`.
    JoinChat {
        /// The chat; here it may be an invite link.
        chat: ChatRef,
        /// The session that joins.
        session: SessionData,
    },
    /// `switch_monitoring_source`.
    SwitchSource {
        /// The chat.
        chat: ChatRef,
        /// New primary and backups, in order, without repeated ids.
        sessions: Vec<SessionData>,
    },
}

/// A command and where its outcome goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// What to do.
    pub command: Command,
    /// `reply_to` and `correlation_id`, if any.
    pub reply: Option<ReplyTo>,
}

impl Command {
    /// The chat it concerns. Commands for one chat are carried out in their order.
    pub fn chat(&self) -> &ChatRef {
        match self {
            Self::StartMonitoring { chat, .. }
            | Self::StopMonitoring { chat }
            | Self::JoinChat { chat, .. }
            | Self::SwitchSource { chat, .. } => chat,
        }
    }
}

/// A delivery as far as understanding it goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Envelope<'a> {
    /// The body.
    pub body: &'a [u8],
    /// AMQP property `type`.
    pub amqp_type: Option<&'a str>,
    /// AMQP header `type`, which may be a class name.
    pub header_type: Option<&'a str>,
    /// AMQP property `reply_to`.
    pub reply_to: Option<&'a str>,
    /// AMQP property `correlation_id`.
    pub correlation_id: Option<&'a str>,
}

/// Most sessions in one command.
const SESSIONS_MAX: usize = 1_000;
/// What is wrong with a name that [`reply_to::is_usable`] does not take.
const UNUSABLE_REPLY_TO: &str = "the property `reply_to` begins with `amq.rabbitmq.reply-to.` and is \
    not a name that RabbitMQ makes for a direct reply-to; set it to `amq.rabbitmq.reply-to` alone, for \
    which the broker puts such a name, or to a queue's name";
/// Longest session id, in bytes; a UUID has 36.
const SESSION_ID_MAX: usize = 128;

/// Why a command could not be understood. Nothing of its content is quoted but field names and
/// the command's own name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Too large.
    #[error("the message has {size} bytes; commands have at most {COMMAND_BODY_MAX}")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// A property or a header that cannot be used.
    #[error("the message's properties cannot be used: {0}")]
    BadProperties(String),
    /// Not a command at all.
    #[error(
        "this is an event that came back: the command queue gets what is published with the routing \
         key `event`; remove the binding that brings it there"
    )]
    Misrouted,
    /// Not a JSON object.
    #[error("the body is not a JSON object in UTF-8 ({0})")]
    BadJson(String),
    /// JSON that says something twice, which readers understand in different ways (RFC 8259, section 4).
    #[error("the body gives the same field of an object more than once: {0}; give each once")]
    GivenTwice(String),
    /// No command is named.
    #[error(
        "no command is named; put it into the field `command`, the property `type` or the header `type`"
    )]
    NoCommand,
    /// The named command does not exist.
    #[error(
        "there is no command `{0}`; known are start_monitoring_chat, stop_monitoring_chat, \
         join_chat and switch_monitoring_source"
    )]
    UnknownCommand(String),
    /// A field is missing.
    #[error("the field `{0}` is missing")]
    MissingField(String),
    /// A field has the wrong type or value.
    #[error("the field `{field}` {problem}")]
    BadField {
        /// Which one.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The chat is not one.
    #[error("{0}")]
    BadChat(#[from] ChatError),
    /// A session string is not one.
    #[error("in `{field}`: {reason}")]
    BadSession {
        /// Where.
        field: String,
        /// Why.
        reason: SessionStringError,
    },
    /// It was understood, but carrying it out fails every time.
    #[error("the command could not be carried out: {0}")]
    Failed(String),
}

impl CommandError {
    /// The stable code for the header `x-error-code` and replies.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::BadProperties(_) => "bad_properties",
            Self::Misrouted => "misrouted",
            Self::BadJson(_) | Self::GivenTwice(_) => "bad_json",
            Self::NoCommand | Self::UnknownCommand(_) => "unknown_command",
            Self::MissingField(_) => "missing_field",
            Self::BadField { .. } => "bad_field",
            Self::BadChat(_) => "bad_chat_id",
            Self::BadSession { .. } => "bad_session_string",
            Self::Failed(_) => "failed",
        }
    }
}

/// Understands a delivery.
pub fn parse(envelope: Envelope<'_>) -> Result<Order, CommandError> {
    if envelope.body.len() > COMMAND_BODY_MAX {
        return Err(CommandError::TooLarge { size: envelope.body.len() });
    }
    if !envelope.reply_to.is_none_or(reply_to::is_usable) {
        return Err(CommandError::BadProperties(UNUSABLE_REPLY_TO.to_owned()));
    }
    let fields = fields(envelope.body)?;
    let command = match name(&envelope, &fields)?.as_str() {
        "start_monitoring_chat" => Command::StartMonitoring {
            chat: chat(&fields, false)?,
            sessions: sessions(&fields, "primary_session")?,
        },
        "switch_monitoring_source" => Command::SwitchSource {
            chat: chat(&fields, false)?,
            sessions: sessions(&fields, "new_primary_session")?,
        },
        "stop_monitoring_chat" => Command::StopMonitoring { chat: chat(&fields, false)? },
        "join_chat" => Command::JoinChat {
            chat: chat(&fields, true)?,
            session: session("session", require(&fields, "session")?)?,
        },
        other => return Err(CommandError::UnknownCommand(printable(other))),
    };
    let reply = envelope.reply_to.filter(|queue| !queue.is_empty()).map(|queue| ReplyTo {
        queue: queue.to_owned(),
        correlation_id: envelope.correlation_id.map(str::to_owned),
    });
    Ok(Order { command, reply })
}

type Fields = serde_json::Map<String, Value>;

/// The fields of a body that says each of them once.
fn fields(body: &[u8]) -> Result<Fields, CommandError> {
    let Read { value, twice } = json::read(body).map_err(|error| {
        // Only the place: serde_json's own text may quote what it found there.
        let place = format!("line {}, column {}", error.line(), error.column());
        CommandError::BadJson(place)
    })?;
    match value {
        Value::Object(fields) if twice.is_empty() => Ok(fields),
        Value::Object(fields) => {
            wipe(Value::Object(fields));
            let named: Vec<_> = twice.iter().map(|way| format!("`{way}`")).collect();
            Err(CommandError::GivenTwice(named.join(", ")))
        }
        other => {
            wipe(other);
            Err(CommandError::BadJson("it is JSON, but no object".to_owned()))
        }
    }
}

/// Where the command's name may stand: in the body, in the property, in the header.
fn name(envelope: &Envelope<'_>, fields: &Fields) -> Result<String, CommandError> {
    match fields.get("command") {
        Some(Value::String(name)) => return Ok(name.clone()),
        Some(_) => return Err(bad("command", "must be a string")),
        None => {}
    }
    let named = [envelope.amqp_type, envelope.header_type].into_iter().flatten();
    let mut candidates = named.filter(|name| !name.is_empty()).map(from_class_name);
    candidates.next().ok_or(CommandError::NoCommand)
}

/// `App\Message\StartMonitoringChatCommand` → `start_monitoring_chat`; plain names stay.
fn from_class_name(name: &str) -> String {
    let segment = name.rsplit(['\\', '.', '/']).next().unwrap_or(name);
    let segment = segment.strip_suffix("Command").filter(|rest| !rest.is_empty());
    let segment = segment.unwrap_or_else(|| name.rsplit(['\\', '.', '/']).next().unwrap_or(name));
    let mut snake = String::with_capacity(segment.len() + 8);
    for (index, letter) in segment.chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 && !snake.ends_with('_') {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// A name of somebody else's making, safe for a header and a log line.
fn printable(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    name.chars().take(64).map(safe).collect()
}

fn require<'a>(fields: &'a Fields, field: &str) -> Result<&'a Value, CommandError> {
    match fields.get(field) {
        None | Some(Value::Null) => Err(CommandError::MissingField(field.to_owned())),
        Some(value) => Ok(value),
    }
}

fn bad(field: &str, problem: &str) -> CommandError {
    CommandError::BadField { field: field.to_owned(), problem: problem.to_owned() }
}

fn chat(fields: &Fields, may_be_invite: bool) -> Result<ChatRef, CommandError> {
    let spelling = match require(fields, "chat_id")? {
        Value::Number(number) => {
            let id = number.as_i64().ok_or_else(|| bad("chat_id", "must be a whole number"))?;
            ChatSpelling::Number(id)
        }
        Value::String(text) => ChatSpelling::Text(text.clone()),
        _ => return Err(bad("chat_id", "must be an integer or a string")),
    };
    let chat = ChatRef::parse(spelling)?;
    if matches!(chat.target, ChatTarget::Invite(_)) && !may_be_invite {
        return Err(ChatError::InviteNotAllowed.into());
    }
    Ok(chat)
}

/// The primary session and the pool, in order, each id once.
fn sessions(fields: &Fields, primary: &str) -> Result<Vec<SessionData>, CommandError> {
    const POOL: &str = "backup_sessions_pool";
    let mut found = vec![session(primary, require(fields, primary)?)?];
    let pool = match fields.get(POOL) {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(pool)) => pool,
        Some(_) => return Err(bad(POOL, "must be a list of sessions")),
    };
    if pool.len() >= SESSIONS_MAX {
        return Err(bad(POOL, "has more sessions than the 1000 that a command may carry"));
    }
    for (index, value) in pool.iter().enumerate() {
        let field = format!("{POOL}[{index}]");
        let backup = session(&field, value)?;
        match found.iter().find(|known| known.id == backup.id) {
            None => found.push(backup),
            Some(known) if known.account == backup.account => {}
            Some(_) => return Err(bad(&field, "repeats a session id with another session string")),
        }
    }
    Ok(found)
}

fn session(field: &str, value: &Value) -> Result<SessionData, CommandError> {
    let Value::Object(fields) = value else {
        return Err(bad(field, "must be an object with id, api_hash and session_string"));
    };
    let text = |name: &str| -> Result<&str, CommandError> {
        let path = format!("{field}.{name}");
        match require(fields, name).map_err(|_| CommandError::MissingField(path.clone()))? {
            Value::String(text) => Ok(text),
            _ => Err(bad(&path, "must be a string")),
        }
    };
    let id = text("id")?;
    if id.is_empty() || id.len() > SESSION_ID_MAX || id.chars().any(char::is_control) {
        return Err(bad(&format!("{field}.id"), "must have 1 to 128 printable characters"));
    }
    text("api_hash")?;
    let parsed = SessionString::parse(text("session_string")?).map_err(|reason| {
        CommandError::BadSession { field: format!("{field}.session_string"), reason }
    })?;
    let api_id = api_id(field, fields.get("api_id"))?.or(parsed.api_id);
    let account = AuthKeyId::of(&parsed.auth_key);
    let (dc_id, auth_key) = (parsed.dc_id, parsed.auth_key);
    Ok(SessionData { id: SessionId(id.to_owned()), api_id, account, dc_id, auth_key })
}

/// A positive number, which PHP may well have written as a string.
fn api_id(field: &str, value: Option<&Value>) -> Result<Option<i32>, CommandError> {
    let number = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse().ok(),
        Some(_) => None,
    };
    let number = number.and_then(|number| i32::try_from(number).ok()).filter(|id| *id > 0);
    match number {
        Some(id) => Ok(Some(id)),
        None => Err(bad(&format!("{field}.api_id"), "must be a positive number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::values::secret::AUTH_KEY_LEN;
    use proptest::prelude::*;
    use serde_json::json;

    fn session_json(id: &str, seed: u8) -> Value {
        let mut key = [seed; AUTH_KEY_LEN];
        key[0] = seed.wrapping_add(1);
        let session = SessionString { dc_id: 2, auth_key: AuthKey::new(key), api_id: None };
        let text = session.to_telethon(([127, 0, 0, 1], 443).into()).unwrap();
        json!({ "id": id, "api_hash": "hash", "session_string": text })
    }

    fn parse_json(value: &Value) -> Result<Order, CommandError> {
        let body = serde_json::to_vec(value).unwrap();
        parse(Envelope { body: &body, ..Envelope::default() })
    }

    fn start(id: &str) -> Value {
        json!({
            "command": "start_monitoring_chat",
            "chat_id": -1000000000042_i64,
            "primary_session": session_json(id, 1),
            "backup_sessions_pool": [session_json("b", 2), session_json(id, 1)],
        })
    }

    #[test]
    fn a_start_names_primary_and_backups_in_order_each_once() {
        let order = parse_json(&start("a")).unwrap();
        let Command::StartMonitoring { chat, sessions } = order.command else { panic!() };
        assert_eq!(chat.key().0, "-1000000000042");
        let ids: Vec<_> = sessions.iter().map(|session| session.id.0.as_str()).collect();
        assert_eq!(ids, ["a", "b"]);
    }

    #[test]
    fn the_name_may_stand_in_the_property_or_in_a_class_name() {
        let body = serde_json::to_vec(&json!({ "chat_id": 42 })).unwrap();
        for (amqp_type, header_type) in [
            (Some("stop_monitoring_chat"), None),
            (None, Some("stop_monitoring_chat")),
            (None, Some("App\\Message\\StopMonitoringChatCommand")),
            (None, Some("StopMonitoringChat")),
        ] {
            let envelope = Envelope { body: &body, amqp_type, header_type, ..Envelope::default() };
            let order = parse(envelope).unwrap();
            assert!(matches!(order.command, Command::StopMonitoring { .. }));
        }
    }

    #[test]
    fn each_fault_has_its_code() {
        let code = |value: &Value| parse_json(value).unwrap_err().code();
        let with = |field: &str, value: Value| {
            let mut command = start("a");
            command[field] = value;
            command
        };
        assert_eq!(code(&json!([1])), "bad_json");
        assert_eq!(code(&json!({ "chat_id": 1 })), "unknown_command");
        assert_eq!(code(&with("command", json!("dance"))), "unknown_command");
        assert_eq!(code(&with("primary_session", Value::Null)), "missing_field");
        assert_eq!(code(&with("chat_id", json!(1.5))), "bad_field");
        assert_eq!(code(&with("chat_id", json!("t.me/+abc"))), "bad_chat_id");
        assert_eq!(code(&with("backup_sessions_pool", json!("x"))), "bad_field");
        let mut other_key = session_json("a", 9);
        assert_eq!(code(&with("backup_sessions_pool", json!([other_key]))), "bad_field");
        other_key["session_string"] = json!("1secret-but-wrong");
        let error = parse_json(&with("primary_session", other_key)).unwrap_err();
        assert_eq!(error.code(), "bad_session_string");
        assert!(!format!("{error} {error:?}").contains("secret"));
        let huge = vec![b' '; COMMAND_BODY_MAX + 1];
        let error = parse(Envelope { body: &huge, ..Envelope::default() }).unwrap_err();
        assert_eq!(error.code(), "too_large");
    }

    #[test]
    fn a_field_given_twice_is_refused_wherever_it_is() {
        let twice = |body: &str| {
            let error =
                parse(Envelope { body: body.as_bytes(), ..Envelope::default() }).unwrap_err();
            assert!(matches!(error.code(), "bad_json"), "{error}");
            error.to_string()
        };
        let told = |names: &str| {
            format!(
                "the body gives the same field of an object more than once: {names}; give each once"
            )
        };
        let stop = r#"{"command":"stop_monitoring_chat","chat_id":1,"chat_id":2}"#;
        assert_eq!(twice(stop), told("`chat_id`"));
        let escaped = r#"{"command":"stop_monitoring_chat","chat_id":1,"chat\u005fid":1}"#;
        assert_eq!(twice(escaped), told("`chat_id`"));
        let session = r#"{"id":"a","session_string":"1secret","session_string":"1secret"}"#;
        let start = format!(r#"{{"command":"start_monitoring_chat","primary_session":{session}}}"#);
        assert_eq!(twice(&start), told("`primary_session.session_string`"));
        let pool = format!(r#"{{"x":[[{session}]],"x":1,"1secret":1,"1secret":2}}"#);
        assert_eq!(twice(&pool), told("`x.session_string`, `x`, `?`"));
        let once = br#"{"command":"stop_monitoring_chat","chat_id":1,"x":{"chat_id":1}}"#;
        assert!(parse(Envelope { body: once, ..Envelope::default() }).is_ok());
    }

    #[test]
    fn a_reply_to_that_the_broker_would_fail_over_is_refused() {
        let body = serde_json::to_vec(&start("a")).unwrap();
        let sent = |reply_to| {
            parse(Envelope { body: &body, reply_to: Some(reply_to), ..Envelope::default() })
        };
        for name in ["amq.rabbitmq.reply-to.x.y", "amq.rabbitmq.reply-to."] {
            let error = sent(name).unwrap_err();
            assert_eq!(error.code(), "bad_properties");
            assert!(error.to_string().contains("the property `reply_to`"), "{error}");
        }
        assert_eq!(sent("").unwrap().reply, None);
        let named = sent("amq.rabbitmq.reply-to").unwrap().reply.unwrap();
        assert_eq!(named.queue, "amq.rabbitmq.reply-to");
    }

    #[test]
    fn two_ids_for_one_key_are_one_account() {
        let mut command = start("a");
        command["backup_sessions_pool"] = json!([session_json("alias", 1)]);
        let Command::StartMonitoring { sessions, .. } = parse_json(&command).unwrap().command
        else {
            panic!()
        };
        assert_eq!(sessions.len(), 2);
        assert_eq!(sessions[0].account, sessions[1].account);
    }

    /// `serde_json` gives up at 128 levels, where neither its parser nor the drop of what it made
    /// needs much of the stack.
    #[test]
    fn hostile_json_is_an_error_and_no_crash() {
        let half = COMMAND_BODY_MAX / 2;
        for deep in [
            "[".repeat(COMMAND_BODY_MAX),
            "[".repeat(half) + &"]".repeat(half),
            "{\"a\":".repeat(100_000),
            format!("{{\"chat_id\":{}{}}}", "[".repeat(128), "]".repeat(128)),
        ] {
            let envelope = Envelope { body: deep.as_bytes(), ..Envelope::default() };
            assert_eq!(parse(envelope).unwrap_err().code(), "bad_json");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_command_or_a_clear_error(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(Envelope { body: &body, ..Envelope::default() });
        }

        #[test]
        fn any_header_is_a_name_or_a_clear_error(header in any::<String>()) {
            let _ = parse(Envelope { body: b"{}", header_type: Some(&header), ..Envelope::default() });
        }
    }
}
