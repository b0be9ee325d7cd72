//! From what the tree knows to the API's shapes. Pure.

use utoipa::ToSchema;

use crate::actors::logins::registry::LoginView;
use crate::actors::tree::status::AccountView;
use crate::edge::http::api::{
    Account, Chat, CooldownView, Kind, Login, LoginError, LoginState, Page, PreviousSession, Qr,
    Rights, Sent, State, Time, TimerView, Trouble, WhyView,
};
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::explanation::Why;
use crate::protocol::accounts::owned::{self, AttachedChat, OwnedAccount};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::logins::steps;
use crate::protocol::messages::record::SentMessage;
use crate::protocol::telegram::failure::{is_dead, is_frozen, is_wait};
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope};
use crate::protocol::users::owner::{Caller, LoginId, Role, Scope, UserId};
use crate::protocol::values::ids::UnixMillis;

/// Whose something is, for those who are told: admins, who see more than their own.
pub(super) fn owner_for(who: &Caller, owner: Option<&UserId>) -> Option<String> {
    owner.filter(|_| who.role == Role::Admin).map(ToString::to_string)
}

/// What a list of `user`'s things covers for the one who asks; `None` when it holds nothing, because it
/// would be somebody else's.
pub(super) fn scope_of(who: &Caller, user: Option<UserId>) -> Option<Scope> {
    match user {
        None => Some(who.scope()),
        Some(user) => who.is_or_may_see(&user).then_some(Scope::Only(user)),
    }
}

/// A list of nothing.
pub(super) fn nothing<T: ToSchema>() -> Page<T> {
    Page { items: Vec::new(), next_cursor: None }
}

/// An account as its owner sees it; `view` is what its actor last said, if it runs.
pub(in crate::actors) fn account(owned: &OwnedAccount, view: Option<&AccountView>) -> Account {
    Account {
        id: owned.id.0,
        owner: None,
        platform: "telegram",
        kind: if owned.is_bot { Kind::Bot } else { Kind::User },
        telegram_id: owned.telegram_id,
        phone_masked: owned.phone_masked.clone(),
        username: owned.username.clone(),
        first_name: owned.first_name.clone(),
        state: state(owned, view),
        error: view.and_then(trouble),
        previous_session: None,
        created_at: Time(owned.created_at),
        updated_at: Time(owned.updated_at),
    }
}

pub(in crate::actors) fn state(owned: &OwnedAccount, view: Option<&AccountView>) -> State {
    if owned.is_paused {
        return State::Paused;
    }
    match view.map_or(AccountState::Connecting, |view| view.state) {
        AccountState::Connecting => State::Connecting,
        AccountState::Active => State::Active,
        AccountState::CoolingDown => State::CoolingDown,
        AccountState::Limited => State::Limited,
        // Its user has just let it go on.
        AccountState::Paused => State::Connecting,
        AccountState::Reconnecting => State::Reconnecting,
        AccountState::Error => State::Error,
    }
}

fn trouble(view: &AccountView) -> Option<Trouble> {
    let (code, detail) = view.error.as_ref()?;
    let code = match code.as_str() {
        code if is_dead(code) => Code::SessionExpired,
        code if is_wait(code) || code == "PEER_FLOOD" => Code::TelegramWait,
        code if is_frozen(code) => Code::Conflict,
        "CRASHED" => Code::Internal,
        _ => Code::TelegramUnavailable,
    };
    Some(Trouble { code: code.name().into(), detail: detail.clone(), since: Time(view.since) })
}

/// What Telegram makes wait.
pub(in crate::actors) fn cooldowns(cooldowns: &[FloodWait]) -> Vec<CooldownView> {
    let view = |cooldown: &FloodWait| CooldownView {
        scope: match &cooldown.scope {
            FloodWaitScope::Class(class) => class.name().to_owned(),
            FloodWaitScope::Chat(chat) => format!("chat {chat}"),
            FloodWaitScope::Account => "account".to_owned(),
        },
        until: Time(cooldown.until),
    };
    cooldowns.iter().map(view).collect()
}

/// The explanation of an account.
pub(in crate::actors) fn why(why: Why, view: &AccountView) -> WhyView {
    let is_over = view.error.as_ref().is_some_and(|(code, _)| is_dead(code));
    let timer = |timer: crate::protocol::accounts::explanation::Timer| TimerView {
        what: timer.what,
        until: Time(timer.until),
    };
    WhyView {
        evidence: why.evidence,
        timers: why.timers.into_iter().map(timer).collect(),
        next: match is_over {
            true => "connect it again: its session is over, and only its user can make another one",
            false => why.next,
        }
        .to_owned(),
    }
}

/// A login as its user sees it; `account` once it is connected.
pub(in crate::actors) fn login(
    id: LoginId,
    view: LoginView,
    account: Option<Account>,
) -> Result<Login, Refusal> {
    let LoginView { state, expires_at, hint, token, error, previous: before, .. } = view;
    let previous_session = before.map(previous);
    let account = account.map(|account| Account { previous_session, ..account });
    let qr = token.map(|(url, until)| picture(url.expose(), until)).transpose()?;
    Ok(Login {
        login_id: id.0,
        state: match state {
            steps::LoginState::CodeSent => LoginState::CodeSent,
            steps::LoginState::WaitingScan => LoginState::WaitingScan,
            steps::LoginState::PasswordRequired => LoginState::PasswordRequired,
            steps::LoginState::Active => LoginState::Active,
            steps::LoginState::Failed => LoginState::Failed,
            steps::LoginState::Expired => LoginState::Expired,
        },
        expires_at: Time(expires_at),
        account,
        hint,
        qr,
        error: error.map(|(code, detail)| LoginError { code, detail }),
    })
}

/// What becomes of the session that an account had before.
pub(super) fn previous(previous: owned::PreviousSession) -> PreviousSession {
    match previous {
        owned::PreviousSession::Ended => PreviousSession::Ended,
        owned::PreviousSession::Kept => PreviousSession::Kept,
    }
}

fn picture(url: &str, until: UnixMillis) -> Result<Qr, Refusal> {
    let code = qrcode::QrCode::new(url.as_bytes())
        .map_err(|_| Refusal::new(Code::Internal, "the QR code could not be drawn"))?;
    let svg = code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(240, 240).build();
    Ok(Qr { url: url.to_owned(), svg, expires_at: Time(until) })
}

/// A message that Telegram took.
pub(in crate::actors) fn sent(sent: SentMessage) -> Sent {
    let date = Time(UnixMillis(sent.date.saturating_mul(1_000)));
    Sent { message_id: sent.message_id, date }
}

/// A chat that was attached.
pub(in crate::actors) fn chat(chat: AttachedChat) -> Chat {
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
