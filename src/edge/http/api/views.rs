//! From what the core tells to the API's shapes. Pure.

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::shapes::{
    Account, AccountStatus, AuditEntry, Cap, Chat, CodeSent, CodeWay, CooldownView, DeadDelivery,
    Erased, KeyStatus, Kind, Login, LoginError, LoginState, MemberView, MessageView, Monitor, Page,
    PreviousSession, Qr, Rights, Sent, State, Time, TimerView, Trouble, Webhook, WhyView,
};
use crate::actors;
use crate::actors::{
    AccountWhy, ConnectedAccount, DailyLimitUse, DetailedHealth, TroubledAccountInfo,
    TroubledMonitorInfo, TroubledPage, UserArchive, WebhookInfo,
};
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::explanation::Timer;
use crate::protocol::accounts::owned;
use crate::protocol::accounts::owned::AttachedChat;
use crate::protocol::answers::account::{AccountInfo, AccountTrouble};
use crate::protocol::answers::login::LoginInfo;
use crate::protocol::answers::monitor::MonitorInfo;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::Entry;
use crate::protocol::logins::delivery::{CodeDelivery, CodeVia};
use crate::protocol::logins::steps;
use crate::protocol::messages::record::SentMessage;
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope};
use crate::protocol::tree::member::{LastMessage, MemberSnapshot};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::page;
use crate::protocol::webhooks::deliveries::DeadRecord;

/// A page whose rows are shown by `view`.
pub(super) fn page<T, U: ToSchema>(page: page::Page<T>, view: impl FnMut(T) -> U) -> Page<U> {
    let page::Page { items, next_cursor } = page;
    Page { items: items.into_iter().map(view).collect(), next_cursor }
}

pub(super) fn account(account: AccountInfo) -> Account {
    Account {
        id: account.id.0,
        owner: account.owner.map(|owner| owner.to_string()),
        platform: "telegram",
        kind: if account.is_bot { Kind::Bot } else { Kind::User },
        telegram_id: account.telegram_id,
        phone_masked: account.phone_masked,
        username: account.username,
        first_name: account.first_name,
        state: state(account.state),
        error: account.trouble.map(trouble),
        previous_session: None,
        created_at: Time(account.created_at),
        updated_at: Time(account.updated_at),
    }
}

fn state(state: AccountState) -> State {
    match state {
        AccountState::Connecting => State::Connecting,
        AccountState::Active => State::Active,
        AccountState::CoolingDown => State::CoolingDown,
        AccountState::Limited => State::Limited,
        AccountState::Paused => State::Paused,
        AccountState::Reconnecting => State::Reconnecting,
        AccountState::Error => State::Error,
    }
}

fn trouble(trouble: AccountTrouble) -> Trouble {
    let AccountTrouble { code, detail, since } = trouble;
    Trouble { code: code.name().into(), detail, since: Time(since) }
}

/// An account that was connected.
pub(super) fn connected(connected: ConnectedAccount) -> Account {
    with_previous(account(connected.account), connected.previous_session)
}

fn with_previous(account: Account, previous: Option<owned::PreviousSession>) -> Account {
    let previous_session = previous.map(|previous| match previous {
        owned::PreviousSession::Ended => PreviousSession::Ended,
        owned::PreviousSession::Kept => PreviousSession::Kept,
    });
    Account { previous_session, ..account }
}

pub(super) fn account_status(status: actors::AccountStatus) -> AccountStatus {
    AccountStatus {
        account: account(status.account),
        since: Time(status.since),
        cooldowns: status.flood_waits.iter().map(cooldown).collect(),
        caps: status.daily_limits.into_iter().map(cap).collect(),
        queue_length: status.queue_length,
        reconnects: status.reconnects,
        next: status.next.to_owned(),
    }
}

fn cooldown(wait: &FloodWait) -> CooldownView {
    CooldownView {
        scope: match &wait.scope {
            FloodWaitScope::Class(class) => class.name().to_owned(),
            FloodWaitScope::Chat(chat) => format!("chat {chat}"),
            FloodWaitScope::Account => "account".to_owned(),
        },
        until: Time(wait.until),
    }
}

fn cap(limit: DailyLimitUse) -> Cap {
    let DailyLimitUse { action, used, limit, resets_at } = limit;
    Cap { action: action.to_owned(), used, limit, resets_at: Time(resets_at) }
}

pub(super) fn why(AccountWhy { why, actor }: AccountWhy) -> WhyView {
    let timer = |Timer { what, until }| TimerView { what, until: Time(until) };
    WhyView {
        evidence: why.evidence,
        timers: why.timers.into_iter().map(timer).collect(),
        next: why.next.to_owned(),
        actor: actor.map(member),
    }
}

fn member(member: MemberSnapshot) -> MemberView {
    let last =
        |LastMessage { name, at, is_running }| MessageView { name, at: Time(at), is_running };
    MemberView {
        name: member.name,
        state: member.state.name(),
        since: Time(member.since),
        mailbox: member.mailbox,
        last_message: member.last_message.map(last),
        restarts: member.restarts,
    }
}

/// A login as its user sees it, with the picture of its link.
///
/// # Errors
/// `INTERNAL` when the picture cannot be drawn.
pub(super) fn login(login: LoginInfo) -> Result<Login, Refusal> {
    let previous = login.previous_session;
    let qr = login.link.map(|(link, until)| picture(link.expose(), until)).transpose()?;
    Ok(Login {
        login_id: login.id.0,
        state: match login.state {
            steps::LoginState::CodeSent => LoginState::CodeSent,
            steps::LoginState::WaitingScan => LoginState::WaitingScan,
            steps::LoginState::PasswordRequired => LoginState::PasswordRequired,
            steps::LoginState::Active => LoginState::Active,
            steps::LoginState::Failed => LoginState::Failed,
            steps::LoginState::Expired => LoginState::Expired,
        },
        expires_at: Time(login.expires_at),
        account: login.account.map(|told| with_previous(account(told), previous)),
        code: login.code.map(code_sent),
        hint: login.hint,
        email_pattern: login.email_pattern,
        qr,
        error: login.error.map(|(code, detail)| LoginError { code, detail }),
    })
}

fn code_sent(code: CodeDelivery) -> CodeSent {
    let CodeDelivery { via, length, next } = code;
    CodeSent {
        via: code_way(via),
        length,
        next: next.map(|next| code_way(next.via)),
        next_after_seconds: next.map(|next| next.after_seconds),
        next_at: next.map(|next| Time(next.at)),
    }
}

fn code_way(via: CodeVia) -> CodeWay {
    match via {
        CodeVia::App => CodeWay::App,
        CodeVia::Sms => CodeWay::Sms,
        CodeVia::Call => CodeWay::Call,
        CodeVia::CallerNumber => CodeWay::CallerNumber,
        CodeVia::Email => CodeWay::Email,
        CodeVia::Fragment => CodeWay::Fragment,
        CodeVia::Other => CodeWay::Other,
    }
}

fn picture(url: &str, until: UnixMillis) -> Result<Qr, Refusal> {
    let code = qrcode::QrCode::new(url.as_bytes())
        .map_err(|_| Refusal::new(Code::Internal, "the QR code could not be drawn"))?;
    let svg = code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(240, 240).build();
    Ok(Qr { url: url.to_owned(), svg, expires_at: Time(until) })
}

/// A message that Telegram took.
pub(super) fn sent(sent: SentMessage) -> Sent {
    let date = Time(UnixMillis(sent.date.saturating_mul(1_000)));
    Sent { message_id: sent.message_id, date }
}

pub(super) fn chat(chat: AttachedChat) -> Chat {
    let AttachedChat { is_member, is_admin, can_post, can_invite, .. } = chat;
    let rights = Rights { is_member, is_admin, can_post, can_invite };
    Chat {
        id: chat.chat.0,
        chat_id: chat.chat.0,
        title: chat.title,
        kind: chat.kind,
        username: chat.username,
        is_member,
        is_admin,
        can_post,
        can_invite,
        rights,
        checked_at: Time(chat.checked_at),
    }
}

pub(super) fn monitor(monitor: MonitorInfo) -> Monitor {
    Monitor {
        chat_id: json!(monitor.chat),
        owner: monitor.owner.map(|owner| owner.to_string()),
        marked_chat_id: monitor.marked_id.map(|id| id.0),
        migrated_from_chat_id: monitor.migrated_from.map(|id| id.0),
        title: monitor.title,
        state: json!(monitor.state).as_str().unwrap_or_default().to_owned(),
        since: monitor.since.map(Time),
        sessions: monitor.sessions.iter().map(ToString::to_string).collect(),
        session: monitor.session.as_ref().map(ToString::to_string),
        error: monitor.error,
        started_at: Time(monitor.started_at),
    }
}

pub(super) fn audit_entry(entry: Entry) -> AuditEntry {
    let Entry { link, persons } = entry;
    AuditEntry {
        number: link.number,
        at: Time(link.at),
        actor: persons.actor,
        action: link.action,
        target: persons.target,
        address: persons.address,
        outcome: link.outcome,
        details: persons.details.map(|details| details.as_str().to_owned()),
        hash: hexadecimal(&link.hash),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn webhook(webhook: WebhookInfo) -> Webhook {
    Webhook {
        id: webhook.id.0,
        url: webhook.url,
        events: webhook.events,
        enabled: webhook.enabled,
        secret: webhook.secret,
        waiting: webhook.waiting,
        dead: webhook.dead,
        last_error: webhook.last_error,
        created_at: Time(webhook.created_at),
    }
}

pub(super) fn dead_delivery(dead: DeadRecord) -> DeadDelivery {
    DeadDelivery {
        id: dead.delivery.message_id,
        event: dead.delivery.kind,
        attempts: dead.delivery.attempts,
        error: dead.reason,
        at: Time(dead.at),
    }
}

pub(super) fn key_status(status: actors::KeyStatus) -> KeyStatus {
    KeyStatus {
        provider: status.provider,
        generation: status.generation,
        created_at: Some(Time(status.created_at)),
        pending: status.pending,
    }
}

pub(super) fn erased(erased: actors::Erased) -> Erased {
    let actors::Erased { accounts, monitors, audit_entries } = erased;
    Erased { accounts, monitors, audit_entries }
}

/// Everything of a user as one JSON document.
pub(super) fn archive(archive: UserArchive) -> Vec<u8> {
    let UserArchive {
        user,
        made_at,
        accounts,
        chats,
        monitors,
        webhooks,
        campaigns,
        suppression,
        audit,
    } = archive;
    let archive = json!({
        "user": user,
        "made_at": Time(made_at),
        "accounts": accounts.into_iter().map(account).collect::<Vec<_>>(),
        "chats": chats.into_iter().map(chat).collect::<Vec<_>>(),
        "monitors": monitors.into_iter().map(monitor).collect::<Vec<_>>(),
        "webhooks": webhooks.into_iter().map(webhook).collect::<Vec<_>>(),
        "campaigns": campaigns.into_iter().map(super::campaigns::archived).collect::<Vec<_>>(),
        "suppression": suppression.into_iter().map(super::campaigns::suppressed).collect::<Vec<_>>(),
        "audit": audit.into_iter().map(audit_entry).collect::<Vec<_>>(),
    });
    archive.to_string().into_bytes()
}

/// The health of everything.
pub(super) fn health(health: DetailedHealth) -> Value {
    let DetailedHealth { accounts, monitors, tree, store, audit_newest, audit_hash } = health;
    json!({
        "accounts": troubled(accounts, troubled_account),
        "monitors": troubled(monitors, troubled_monitor),
        "tree": tree.into_iter().map(member).collect::<Vec<_>>(),
        "store": {
            "outbox_depth": store.outbox_depth,
            "waiting": store.waiting,
            "disk_bytes": store.disk_bytes,
            "commit_p99_ms": u64::try_from(store.commit_p99.as_millis()).unwrap_or(u64::MAX),
        },
        "audit": { "newest": audit_newest, "hash": hexadecimal(&audit_hash) },
    })
}

fn troubled<S: serde::Serialize + Ord, T>(
    page: TroubledPage<S, T>,
    view: impl FnMut(T) -> Value,
) -> Value {
    let TroubledPage { by_state, total, listed, next_cursor } = page;
    let listed: Vec<Value> = listed.into_iter().map(view).collect();
    let mut page = json!({ "by_state": by_state, "troubled_total": total, "troubled": listed });
    if let Some(next) = next_cursor {
        page["next_cursor"] = next.into();
    }
    page
}

fn troubled_account(account: TroubledAccountInfo) -> Value {
    json!({
        "account": account.account,
        "sessions": account.sessions,
        "state": account.state,
        "since": Time(account.since),
        "error": account.error,
        "next": account.next,
    })
}

fn troubled_monitor(monitor: TroubledMonitorInfo) -> Value {
    json!({ "chat": monitor.chat, "state": monitor.state, "error": monitor.error })
}
