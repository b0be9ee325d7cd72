//! The forms of bodies and queries, for the OpenAPI document. They are never made: requests are taken
//! apart by `parse.rs`, and a test holds the two against each other.

use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// A phone number that a code is sent to.
#[derive(ToSchema)]
#[schema(examples(json!({"phone": "+79991234567"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct ConnectSms {
    /// In international form; spaces, dashes and parentheses do not matter.
    #[schema(examples("+7 999 123-45-67"))]
    phone: String,
}

/// Nothing.
#[derive(ToSchema)]
#[schema(examples(json!({})))]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectQr {}

/// A bot.
#[derive(ToSchema)]
#[schema(examples(json!({"token": "123456:ABC-def"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct ConnectBot {
    /// As BotFather gives it.
    #[schema(pattern = r"^\d+:[\w-]+$", max_length = 256)]
    token: String,
}

/// A session that was made elsewhere.
#[derive(ToSchema)]
#[schema(examples(json!({"session_string": "1ApWapzMBu0", "api_id": 12345})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct ConnectSession {
    /// Telethon's or Pyrogram's form.
    #[schema(min_length = 1, max_length = 4096)]
    session_string: String,
    /// The application that the session was made for.
    #[schema(minimum = 1)]
    api_id: Option<i32>,
    /// Its hash. It is looked at and dropped, since a session that exists needs none.
    #[schema(pattern = "^[0-9a-fA-F]{32}$")]
    api_hash: Option<String>,
}

/// The code that Telegram sent.
#[derive(ToSchema)]
#[schema(examples(json!({"code": "12345"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct LoginCode {
    /// Its digits; spaces and dashes do not matter.
    code: String,
}

/// The code for a forgotten password, from the recovery mail.
#[derive(ToSchema)]
#[schema(examples(json!({"code": "123456"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct RecoveryCode {
    /// Its digits; spaces and dashes do not matter.
    code: String,
}

/// The account's password.
#[derive(ToSchema)]
#[schema(examples(json!({"password": "correct horse"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct LoginPassword {
    /// It is used once, and neither stored nor logged.
    #[schema(min_length = 1, max_length = 4096, format = Password)]
    password: String,
}

/// A message.
#[derive(ToSchema)]
#[schema(examples(json!({"to": "@durov", "text": "Hello", "silent": true})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct Message {
    /// A marked id, a `@username`, a `t.me` link, or `me`.
    to: ChatName,
    /// 1 to 4096 UTF-16 units without its markup, of which there may be 100 formatted parts; with it at
    /// most 20480 bytes.
    #[schema(min_length = 1, max_length = 20480)]
    text: String,
    /// How the text is marked up; plain when absent.
    #[schema(inline)]
    parse_mode: Option<ParseModeName>,
    /// The message that it answers.
    #[schema(minimum = 1)]
    reply_to: Option<i32>,
    /// Whether it arrives without a sound.
    silent: Option<bool>,
    /// Seconds that the caller waits at the most; 10 when absent.
    #[schema(minimum = 1, maximum = 25, default = 10)]
    timeout: Option<u32>,
}

/// How a text is marked up.
#[derive(ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "names a form")]
pub(super) enum ParseModeName {
    Markdown,
    Html,
}

/// A chat as somebody spells it.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "names a form")]
pub(super) enum ChatName {
    /// A marked id.
    Id(i64),
    /// A marked id, a `@username` or a `t.me` link.
    Text(String),
}

/// A chat to be attached.
#[derive(ToSchema)]
#[schema(examples(json!({"chat": "@some_channel"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct AttachChat {
    /// A marked id, a `@username` or a `t.me` link.
    chat: ChatName,
}

/// Who monitors a chat.
#[derive(ToSchema)]
#[schema(examples(json!({"accounts": ["0192d3c4-0000-7000-8000-000000000001"]})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct PutMonitor {
    /// Accounts, the primary one first, none twice.
    #[schema(min_items = 1, max_items = 32)]
    accounts: Vec<Uuid>,
}

/// A webhook.
#[derive(ToSchema)]
#[schema(examples(json!({"url": "https://example.org/hook", "events": ["incoming_telegram_message"]})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct PutWebhook {
    /// Where it is called: `https` (`http` where the daemon allows it), without user and password.
    #[schema(max_length = 2048)]
    url: String,
    /// Which events it gets; all when empty or absent.
    #[schema(max_items = 64)]
    events: Option<Vec<String>>,
    /// Whether it is called at all; `true` when absent.
    enabled: Option<bool>,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct Paging {
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// Rows at the most; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Which page of what is in trouble.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
pub(super) struct DetailedHealth {
    /// The `next_cursor` of `accounts` of the page before.
    accounts_cursor: Option<String>,
    /// The `next_cursor` of `monitors` of the page before.
    monitors_cursor: Option<String>,
    /// Rows of each list at the most; 100 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}
