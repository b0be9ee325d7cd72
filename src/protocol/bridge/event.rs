//! Events of the AMQP bridge and the messages they tell of: pure data and its JSON form.

use serde::Serialize;
use uuid::Uuid;

use super::NAMESPACE;
use super::outbox::{OutboxEntry, Route};
use super::reply_to::ReplyTo;
use crate::protocol::messages::message::{Author, Entity, Forward, Media, Message};
use crate::protocol::telegram::chat::{ChatKey, ChatRef, ChatSpelling, MarkedId};
use crate::protocol::telegram::failure::LostReason;
use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};
use crate::protocol::values::time::iso8601;

/// News of a monitor beyond the contract's two events, sent only when configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorChange {
    /// It listens.
    Started,
    /// Another session took over.
    FailedOver,
    /// It was ended by a command.
    Stopped,
}

const INCOMING_MESSAGE: &str = "incoming_telegram_message";
const ACCESS_LOST: &str = "access_lost";
const MONITOR_STARTED: &str = "monitor_started";
const MONITOR_FAILED_OVER: &str = "monitor_failed_over";
const MONITOR_MIGRATED: &str = "monitor_migrated";
const MONITOR_STOPPED: &str = "monitor_stopped";

/// All kinds of events. Each has a key in `[bridge.event_types]`.
pub const KINDS: [&str; 6] = [
    INCOMING_MESSAGE,
    ACCESS_LOST,
    MONITOR_STARTED,
    MONITOR_FAILED_OVER,
    MONITOR_MIGRATED,
    MONITOR_STOPPED,
];

impl MonitorChange {
    fn kind(self) -> &'static str {
        match self {
            Self::Started => MONITOR_STARTED,
            Self::FailedOver => MONITOR_FAILED_OVER,
            Self::Stopped => MONITOR_STOPPED,
        }
    }
}

/// What became of a command, for its `reply_to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    /// A chat is (being) monitored.
    Monitoring {
        /// The chat.
        chat: ChatRef,
        /// Whether the command changed anything.
        changed: bool,
    },
    /// A chat is not monitored any more.
    Stopped {
        /// The chat.
        chat: ChatRef,
        /// Whether it was until now.
        was_monitored: bool,
    },
    /// A chat was joined.
    Joined {
        /// The chat, as the command named it.
        chat: ChatRef,
        /// The session that joined.
        session: SessionId,
        /// The chat's marked id, if Telegram named it.
        marked_chat_id: Option<MarkedId>,
        /// The chat's title, if Telegram named it.
        title: Option<String>,
        /// Whether an admin has to approve first.
        requested: bool,
    },
    /// It failed.
    Failed {
        /// Stable code.
        code: String,
        /// What happened, why, and what to do.
        message: String,
    },
}

impl CommandOutcome {
    /// A failure.
    pub fn failed(code: &str, message: &str) -> Self {
        Self::Failed { code: code.into(), message: message.into() }
    }
}

/// The context of an `incoming_telegram_message`.
#[derive(Clone, Copy, Debug)]
pub struct MessageContext<'a> {
    /// The chat, as the command named it.
    pub chat: &'a ChatRef,
    /// Its canonical key.
    pub key: &'a ChatKey,
    /// Its marked id.
    pub marked: MarkedId,
    /// The basic group that it was, if the message was said after it became a supergroup.
    pub migrated_from: Option<MarkedId>,
    /// Its title, if it is known.
    pub title: Option<&'a str>,
    /// The session that saw the message.
    pub session: &'a SessionId,
    /// Whose message ids these are, where they are not everyone's.
    pub owner: Option<AuthKeyId>,
    /// Whether it was fetched after a gap rather than received live.
    pub recovered: bool,
}

#[derive(Serialize)]
struct IncomingBody<'a> {
    event: &'static str,
    chat_id: &'a ChatSpelling,
    message_id: i32,
    date: String,
    text: &'a str,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    session_id: &'a SessionId,
    marked_chat_id: MarkedId,
    #[serde(skip_serializing_if = "Option::is_none")]
    migrated_from_chat_id: Option<MarkedId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a Author>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to_message_id: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward: Option<&'a Forward>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media: Option<&'a Media>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grouped_id: Option<i64>,
    #[serde(skip_serializing_if = "<[Entity]>::is_empty")]
    entities: &'a [Entity],
    #[serde(skip_serializing_if = "Option::is_none")]
    views: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    edit_date: Option<String>,
    is_outgoing: bool,
    is_service: bool,
    recovered: bool,
}

/// `incoming_telegram_message`. The three flags are always present; everything else that does not
/// apply is absent.
pub fn incoming_message(
    context: &MessageContext<'_>,
    message: &Message,
    now: UnixMillis,
) -> OutboxEntry {
    let kind = INCOMING_MESSAGE;
    let body = IncomingBody {
        event: kind,
        chat_id: &context.chat.spelling,
        message_id: message.id,
        date: iso8601(message.date),
        text: &message.text,
        metadata: Metadata {
            session_id: context.session,
            marked_chat_id: context.marked,
            migrated_from_chat_id: context.migrated_from,
            chat_title: context.title,
            sender: message.sender.as_ref(),
            reply_to_message_id: message.reply_to_message_id,
            forward: message.forward.as_ref(),
            media: message.media.as_ref(),
            grouped_id: message.grouped_id,
            entities: &message.entities,
            views: message.views,
            edit_date: message.edit_date.map(iso8601),
            is_outgoing: message.is_outgoing,
            is_service: message.is_service,
            recovered: context.recovered,
        },
    };
    let owner = context.owner.map_or(0, |owner| owner.0);
    let name = format!("{}|{}|{owner:x}|{}", context.key, context.marked, message.id);
    let entry = entry(Route::Event, kind, &name, &body, now);
    OutboxEntry { said_at: Some(message.date), ..entry }
}

/// `access_lost`. Each loss is an event of its own, so its time is part of its identity.
pub fn access_lost(
    chat: &ChatRef,
    session: &SessionId,
    reason: LostReason,
    now: UnixMillis,
) -> OutboxEntry {
    #[derive(Serialize)]
    struct Body<'a> {
        event: &'static str,
        chat_id: &'a ChatSpelling,
        session_id: &'a SessionId,
        reason: LostReason,
    }
    let kind = ACCESS_LOST;
    let body = Body { event: kind, chat_id: &chat.spelling, session_id: session, reason };
    let name = format!("{}|{session}|{reason:?}|{}", chat.key(), now.0);
    entry(Route::Event, kind, &name, &body, now)
}

/// `monitor_started`, `monitor_failed_over` or `monitor_stopped`.
pub fn monitor_changed(
    chat: &ChatRef,
    session: &SessionId,
    change: MonitorChange,
    now: UnixMillis,
) -> OutboxEntry {
    #[derive(Serialize)]
    struct Body<'a> {
        event: &'static str,
        chat_id: &'a ChatSpelling,
        session_id: &'a SessionId,
    }
    let kind = change.kind();
    let body = Body { event: kind, chat_id: &chat.spelling, session_id: session };
    let name = format!("{}|{session}|{kind}|{}", chat.key(), now.0);
    entry(Route::Event, kind, &name, &body, now)
}

/// `monitor_migrated`: the basic group `from` has become the supergroup `to`, and events go on under
/// that id. It happens once to a chat, so the same event has the same id whenever it is told.
pub fn monitor_migrated(
    chat: &ChatRef,
    session: &SessionId,
    from: MarkedId,
    to: MarkedId,
    now: UnixMillis,
) -> OutboxEntry {
    #[derive(Serialize)]
    struct Body<'a> {
        event: &'static str,
        chat_id: &'a ChatSpelling,
        session_id: &'a SessionId,
        marked_chat_id: MarkedId,
        migrated_from_chat_id: MarkedId,
    }
    let kind = MONITOR_MIGRATED;
    let body = Body {
        event: kind,
        chat_id: &chat.spelling,
        session_id: session,
        marked_chat_id: to,
        migrated_from_chat_id: from,
    };
    let name = format!("{}|{from}|{kind}|{to}", chat.key());
    entry(Route::Event, kind, &name, &body, now)
}

/// The outcome of a command, for its `reply_to`. `id` becomes its `message_id`.
pub fn reply(to: &ReplyTo, outcome: &CommandOutcome, id: Uuid, now: UnixMillis) -> OutboxEntry {
    let route = Route::Reply { queue: to.queue.clone(), correlation_id: to.correlation_id.clone() };
    let reply = entry(route, "command_reply", "", &outcome_body(outcome), now);
    OutboxEntry { message_id: id, ..reply }
}

/// The same, and that these sessions are forgotten with it, because nothing uses them any more.
pub fn reply_forgetting(
    to: &ReplyTo,
    outcome: &CommandOutcome,
    forgotten: &[SessionId],
    id: Uuid,
    now: UnixMillis,
) -> OutboxEntry {
    let mut body = outcome_body(outcome);
    if !forgotten.is_empty()
        && let Some(result) = body.get_mut("result")
    {
        result["forgotten_sessions"] = serde_json::json!(forgotten);
    }
    OutboxEntry { body: json(&body), ..reply(to, outcome, id, now) }
}

/// The body of a reply to a command that could not be understood.
pub fn failed_reply_body(code: &str, message: &str) -> Vec<u8> {
    json(&outcome_body(&CommandOutcome::failed(code, message)))
}

fn outcome_body(outcome: &CommandOutcome) -> serde_json::Value {
    use serde_json::json;
    let mut result = match outcome {
        CommandOutcome::Monitoring { chat, changed } => {
            json!({ "chat_id": chat.spelling, "state": "monitoring", "changed": changed })
        }
        CommandOutcome::Stopped { chat, was_monitored } => {
            json!({ "chat_id": chat.spelling, "state": "stopped", "was_monitored": was_monitored })
        }
        CommandOutcome::Joined { chat, session, marked_chat_id, title, requested } => json!({
            "chat_id": chat.spelling,
            "session_id": session,
            "state": if *requested { "requested" } else { "joined" },
            "marked_chat_id": marked_chat_id,
            "chat_title": title,
        }),
        CommandOutcome::Failed { code, message } => {
            return json!({ "ok": false, "error": { "code": code, "message": message } });
        }
    };
    if let Some(fields) = result.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    json!({ "ok": true, "result": result })
}

fn entry(
    route: Route,
    kind: &str,
    name: &str,
    body: &impl Serialize,
    now: UnixMillis,
) -> OutboxEntry {
    debug_assert!(route != Route::Event || KINDS.contains(&kind), "{kind} is in no list");
    OutboxEntry {
        route,
        kind: kind.to_owned(),
        message_id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
        timestamp: u64::try_from(now.seconds()).unwrap_or(0),
        said_at: None,
        owner: None,
        body: json(body),
    }
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("our bodies hold only strings, numbers and lists")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn chat(spelling: ChatSpelling) -> ChatRef {
        ChatRef::parse(spelling).unwrap()
    }

    fn incoming(chat: &ChatRef, message: &Message, recovered: bool) -> OutboxEntry {
        let context = MessageContext {
            chat,
            key: &chat.key(),
            marked: MarkedId(-1000000000042),
            migrated_from: None,
            title: Some("Room"),
            session: &SessionId("s-1".into()),
            owner: None,
            recovered,
        };
        incoming_message(&context, message, UnixMillis(1_795_230_245_999))
    }

    fn body(entry: &OutboxEntry) -> Value {
        serde_json::from_slice(&entry.body).unwrap()
    }

    #[test]
    fn a_plain_message_carries_nothing_that_does_not_apply() {
        let chat = chat(ChatSpelling::Text("@Room_chat".into()));
        let message =
            Message { id: 7, date: 1_795_230_245, text: "hi".into(), ..Message::default() };
        let entry = incoming(&chat, &message, false);
        assert_eq!(
            body(&entry),
            json!({
                "event": "incoming_telegram_message",
                "chat_id": "@Room_chat",
                "message_id": 7,
                "date": "2026-11-21T03:04:05Z",
                "text": "hi",
                "metadata": {
                    "session_id": "s-1",
                    "marked_chat_id": -1000000000042_i64,
                    "chat_title": "Room",
                    "is_outgoing": false,
                    "is_service": false,
                    "recovered": false,
                },
            })
        );
        assert_eq!(
            (entry.kind.as_str(), entry.timestamp),
            ("incoming_telegram_message", 1_795_230_245)
        );
    }

    #[test]
    fn what_became_a_supergroup_says_what_it_was() {
        let (chat, session) = (chat(ChatSpelling::Number(-42)), SessionId("s-1".into()));
        let (from, to) = (MarkedId(-42), MarkedId(-1000000000042));
        let at = UnixMillis(1_795_230_245_999);
        let entry = monitor_migrated(&chat, &session, from, to, at);
        let expected = json!({
            "event": "monitor_migrated",
            "chat_id": -42,
            "session_id": "s-1",
            "marked_chat_id": -1000000000042_i64,
            "migrated_from_chat_id": -42,
        });
        assert_eq!((entry.kind.as_str(), body(&entry)), ("monitor_migrated", expected));
        let again = monitor_migrated(&chat, &SessionId("s-2".into()), from, to, UnixMillis(7));
        assert_eq!(entry.message_id, again.message_id, "it happens once");
        let context = MessageContext {
            chat: &chat,
            key: &chat.key(),
            marked: to,
            migrated_from: Some(from),
            title: None,
            session: &session,
            owner: None,
            recovered: false,
        };
        let told = body(&incoming_message(&context, &Message::default(), at));
        assert_eq!(told["metadata"]["migrated_from_chat_id"], -42);
        assert_eq!(
            (&told["chat_id"], &told["metadata"]["marked_chat_id"]),
            (&json!(-42), &json!(to))
        );
    }

    #[test]
    fn the_same_message_has_the_same_id_however_it_came() {
        let number = chat(ChatSpelling::Number(-1000000000042));
        let text = chat(ChatSpelling::Text("-1000000000042".into()));
        let other = chat(ChatSpelling::Text("@room".into()));
        let message = Message { id: 7, ..Message::default() };
        let id = incoming(&number, &message, false).message_id;
        assert_eq!(id, incoming(&text, &message, true).message_id);
        assert_ne!(id, incoming(&other, &message, false).message_id);
        assert_ne!(id, incoming(&number, &Message { id: 8, ..message }, false).message_id);
        assert_eq!(
            body(&incoming(&number, &Message::default(), false))["chat_id"],
            -1000000000042_i64
        );
    }

    #[test]
    fn reasons_are_those_of_the_contract() {
        let chat = chat(ChatSpelling::Number(-1000000000042));
        let lost = |reason| {
            let entry = access_lost(&chat, &SessionId("s-1".into()), reason, UnixMillis(5));
            body(&entry)["reason"].as_str().unwrap().to_owned()
        };
        assert_eq!(lost(LostReason::AuthKeyUnregistered), "auth_key_unregistered");
        assert_eq!(lost(LostReason::NotAMember), "not_a_member");
        assert_eq!(lost(LostReason::NoBackupLeft), "no_backup_left");
    }

    #[test]
    fn outcomes_are_told_as_the_contract_says() {
        let chat = chat(ChatSpelling::Number(-1000000000042));
        let to = ReplyTo { queue: "answers".into(), correlation_id: Some("c-1".into()) };
        let outcome = CommandOutcome::Monitoring { chat, changed: true };
        let told = reply(&to, &outcome, Uuid::nil(), UnixMillis(5));
        assert_eq!(body(&told)["ok"], true);
        assert_eq!(body(&told)["result"]["chat_id"], -1000000000042_i64);
        let gone = [SessionId("s-1".into())];
        let told = reply_forgetting(&to, &outcome, &gone, Uuid::nil(), UnixMillis(5));
        assert_eq!(body(&told)["result"]["forgotten_sessions"], json!(["s-1"]));
        let told = reply_forgetting(&to, &outcome, &[], Uuid::nil(), UnixMillis(5));
        assert_eq!(told, reply(&to, &outcome, Uuid::nil(), UnixMillis(5)), "absent is absent");
        let failed: Value = serde_json::from_slice(&failed_reply_body("bad_json", "why")).unwrap();
        assert_eq!(failed, json!({"ok": false, "error": {"code": "bad_json", "message": "why"}}));
    }
}
