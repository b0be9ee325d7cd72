//! Accounts: found, listed, explained, held, connected anew, and given up.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use super::{STEP_TIMEOUT, Shared, broken, owner_for, scope_of};
use crate::actors::accounts::asking::ask_plainly;
use crate::actors::accounts::calls::Asker;
use crate::actors::accounts::fleet::{FleetMsg, OwnedMsg, Wanted};
use crate::actors::logins::login::lease_of;
use crate::actors::tree::calling::call;
use crate::actors::tree::status::AccountView;
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::daily_limits::SEND;
use crate::protocol::accounts::explanation::Why;
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::answers::account::{AccountInfo, AccountTrouble};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::telegram::chat::ChatRef;
use crate::protocol::telegram::failure::{PEER_FLOOD, is_dead, is_frozen, is_wait};
use crate::protocol::telegram::pacing::FloodWait;
use crate::protocol::tree::member::MemberSnapshot;
use crate::protocol::tree::restart::ChildKind;
use crate::protocol::users::owner::{AccountId, Caller, UserId};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::page::{Page, PageQuery};
use crate::telegram::Call;

/// How long Telegram may take to end a session.
const LOGOUT_MAX: Duration = Duration::from_secs(8);

/// Which accounts, and which page of them.
#[derive(Clone, Debug, Default)]
pub struct AccountQuery {
    /// Only those in this state.
    pub state: Option<AccountState>,
    /// Only bots, or only people's accounts.
    pub is_bot: Option<bool>,
    /// Only those whose username, first name or telegram id holds this text.
    pub text: Option<String>,
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Where the page begins.
    pub page: PageQuery,
}

/// Use of a daily limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyLimitUse {
    /// What is counted.
    pub action: &'static str,
    /// How much of it was used today.
    pub used: u32,
    /// How much is allowed in a day.
    pub limit: u32,
    /// When it begins anew.
    pub resets_at: UnixMillis,
}

/// An account and how it fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// The account.
    pub account: AccountInfo,
    /// Since when its state is what it is.
    pub since: UnixMillis,
    /// What Telegram makes wait.
    pub flood_waits: Vec<FloodWait>,
    /// Today's use of each limit.
    pub daily_limits: Vec<DailyLimitUse>,
    /// Requests that wait for it.
    pub queue_length: u32,
    /// Connections that ended and were made again since the daemon started.
    pub reconnects: u32,
    /// What happens next, in words.
    pub next: &'static str,
}

/// Accounts of users, and the chats attached to them.
#[async_trait]
pub trait AccountService: Send + Sync + 'static {
    /// The caller's accounts.
    async fn list(&self, who: &Caller, query: AccountQuery) -> Result<Page<AccountInfo>, Refusal>;
    /// One account.
    async fn get(&self, who: &Caller, id: AccountId) -> Result<AccountInfo, Refusal>;
    /// How it fares.
    async fn status(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal>;
    /// Why it is as it is.
    async fn explain(&self, who: &Caller, id: AccountId) -> Result<AccountWhy, Refusal>;
    /// Holds it.
    async fn pause(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal>;
    /// Lets it go on.
    async fn resume(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal>;
    /// Connects it anew.
    async fn reconnect(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal>;
    /// Stops it and wipes its session; with `logout` Telegram is told to forget the session, too.
    async fn remove(&self, who: &Caller, id: AccountId, logout: bool) -> Result<(), Refusal>;
    /// The chats attached to it.
    async fn chats(
        &self,
        who: &Caller,
        id: AccountId,
        page: PageQuery,
    ) -> Result<Page<AttachedChat>, Refusal>;
    /// Attaches a chat: looks up what it is and what the account may do there.
    async fn attach_chat(
        &self,
        who: &Caller,
        id: AccountId,
        chat: ChatRef,
    ) -> Result<AttachedChat, Refusal>;
}

/// Why an account is as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountWhy {
    /// In words.
    pub why: Why,
    /// What its actor shows of itself; `None` while it has none.
    pub actor: Option<MemberSnapshot>,
}

/// The service on a tree.
#[derive(Clone)]
pub(super) struct Accounts {
    pub(super) shared: Shared,
}

#[async_trait]
impl AccountService for Accounts {
    async fn list(&self, who: &Caller, query: AccountQuery) -> Result<Page<AccountInfo>, Refusal> {
        self.list_of(who, query)
    }

    async fn get(&self, who: &Caller, id: AccountId) -> Result<AccountInfo, Refusal> {
        Ok(self.info_for(who, &self.shared.account(who, id)?))
    }

    async fn status(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.status_of(&self.shared.account(who, id)?).await
    }

    async fn explain(&self, who: &Caller, id: AccountId) -> Result<AccountWhy, Refusal> {
        let account = self.shared.account(who, id)?;
        let name = self.shared.context.directory.name_of(account.key);
        let name = format!("{}/{name}", ChildKind::Account.name());
        let actor = self.shared.context.members().of(&name);
        Ok(AccountWhy { why: self.why(&account), actor })
    }

    async fn pause(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.hold(who, id, true).await
    }

    async fn resume(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.hold(who, id, false).await
    }

    async fn reconnect(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        let account = self.shared.account(who, id)?;
        if account.is_paused {
            let detail = "the account is paused; resume it, which connects it, too";
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let changed = self.change(who, &account, Wanted::Redialled, "account.reconnect").await?;
        self.status_of(&changed).await
    }

    async fn remove(&self, who: &Caller, id: AccountId, logout: bool) -> Result<(), Refusal> {
        self.give_up(who, &self.shared.account(who, id)?, logout).await
    }

    async fn chats(
        &self,
        who: &Caller,
        id: AccountId,
        page: PageQuery,
    ) -> Result<Page<AttachedChat>, Refusal> {
        self.chats_of(self.shared.account(who, id)?, page).await
    }

    async fn attach_chat(
        &self,
        who: &Caller,
        id: AccountId,
        chat: ChatRef,
    ) -> Result<AttachedChat, Refusal> {
        self.attach(who, &self.shared.account(who, id)?, chat).await
    }
}

impl Accounts {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    pub(super) fn info(&self, account: &OwnedAccount) -> AccountInfo {
        info(account, self.shared.context.status.view(account.key).as_ref())
    }

    /// The same for the one who asks.
    fn info_for(&self, who: &Caller, account: &OwnedAccount) -> AccountInfo {
        let owner = owner_for(who, Some(&account.user));
        AccountInfo { owner, ..self.info(account) }
    }

    fn list_of(&self, who: &Caller, query: AccountQuery) -> Result<Page<AccountInfo>, Refusal> {
        let context = &self.shared.context;
        let after = query.page.cursor.as_deref().map(parse_cursor).transpose()?;
        let text = query.text.as_ref().map(|text| text.trim_start_matches('@').to_lowercase());
        let is_wanted = |account: &OwnedAccount| {
            let state = || state(account, context.status.view(account.key).as_ref());
            query.is_bot.is_none_or(|is_bot| is_bot == account.is_bot)
                && text.as_ref().is_none_or(|text| holds(account, text))
                && query.state.is_none_or(|wanted| wanted == state())
        };
        let limit = query.page.limit;
        let Some(scope) = scope_of(who, query.user) else { return Ok(Page::default()) };
        let mut rows = context.directory.list(&scope, after, limit + 1, is_wanted);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
        let items = rows.iter().map(|account| self.info_for(who, account)).collect();
        Ok(Page { items, next_cursor })
    }

    async fn status_of(&self, account: &OwnedAccount) -> Result<AccountStatus, Refusal> {
        let context = &self.shared.context;
        let view = context.status.view(account.key);
        let at = self.shared.context.now();
        let why = self.why(account);
        let limit = context.settings.limits.borrow().sends_per_day;
        let (daily_limits, store) = (&context.daily_limits, &context.store);
        let used = daily_limits.used(store, account.telegram_id, SEND, at).await;
        let (used, resets_at) = used.map_err(|error| broken(&error))?;
        let daily_limits = vec![DailyLimitUse { action: SEND, used, limit, resets_at }];
        let (account, since) = (info(account, view.as_ref()), account.updated_at);
        let next = why.next;
        Ok(match view {
            None => AccountStatus {
                account,
                since,
                flood_waits: Vec::new(),
                daily_limits,
                queue_length: 0,
                reconnects: 0,
                next,
            },
            Some(view) => AccountStatus {
                account,
                since: view.since,
                flood_waits: view.flood_waits,
                daily_limits,
                queue_length: u32::try_from(view.queued).unwrap_or(u32::MAX),
                reconnects: view.reconnects,
                next,
            },
        })
    }

    fn why(&self, account: &OwnedAccount) -> Why {
        if account.is_paused {
            let evidence = vec!["it is paused".to_owned()];
            let next = "it stays disconnected until somebody resumes it";
            return Why { evidence, timers: Vec::new(), next };
        }
        let view = self.shared.context.status.view(account.key);
        // Right after it was resumed its actor has not said so yet.
        let view = view.filter(|view| view.state != AccountState::Paused);
        match view {
            Some(view) => why(view.why(self.shared.context.now()), &view),
            None => Why {
                evidence: vec!["it has not been dialled yet".to_owned()],
                timers: Vec::new(),
                next: "it is dialled when its turn comes",
            },
        }
    }

    async fn hold(
        &self,
        who: &Caller,
        id: AccountId,
        is_paused: bool,
    ) -> Result<AccountStatus, Refusal> {
        let account = self.shared.account(who, id)?;
        if account.is_paused == is_paused {
            return self.status_of(&account).await;
        }
        let (action, wanted) = match is_paused {
            true => ("account.pause", Wanted::Held),
            false => ("account.resume", Wanted::Resumed),
        };
        self.status_of(&self.change(who, &account, wanted, action).await?).await
    }

    /// Has the fleet change something about an account.
    async fn change(
        &self,
        who: &Caller,
        account: &OwnedAccount,
        wanted: Wanted,
        action: &str,
    ) -> Result<OwnedAccount, Refusal> {
        let (user, id) = (account.user.clone(), account.id);
        let audit_event = self.shared.audit_event(who, &user, action, id);
        let change = |reply| OwnedMsg::Change { user, id, wanted, audit_event, reply };
        let change = |reply| FleetMsg::Owned(change(reply));
        let changed = call(&self.shared.fleet, change, STEP_TIMEOUT).await;
        Ok(changed.map_err(|why| self.shared.unanswered(why))??.account)
    }

    /// Has Telegram forget the session of an account that is not to be connected otherwise.
    async fn log_out_while_paused(&self, account: &OwnedAccount) -> Result<(), Refusal> {
        let key = account.key;
        let credentials = self.shared.reading(move |store| store.credentials(key)).await?;
        let Some(credentials) = credentials else { return Ok(()) };
        let context = &self.shared.context.accounts;
        let setup = context.login_setup(account.api_id);
        let (lease, _) = lease_of(&self.shared.fleet, account.key).await;
        let leave = async {
            let mut link = context.telegram.resume_login(setup, &credentials, lease).await?;
            let outcome = link.log_out().await;
            link.close().await;
            outcome
        };
        match timeout(LOGOUT_MAX, leave).await {
            Ok(outcome) => outcome.map_err(Refusal::from),
            Err(_) => {
                let detail = "telegram has not answered in time";
                Err(Refusal::new(Code::TelegramUnavailable, detail).after(5))
            }
        }
    }

    /// Stops an account and wipes its session; `logout` has Telegram forget the session first.
    pub(super) async fn give_up(
        &self,
        who: &Caller,
        account: &OwnedAccount,
        logout: bool,
    ) -> Result<(), Refusal> {
        if logout {
            self.log_out(account).await?;
        }
        self.change(who, account, Wanted::Gone, "account.remove").await.map(drop)
    }

    async fn log_out(&self, account: &OwnedAccount) -> Result<(), Refusal> {
        let ended = if account.is_paused {
            self.log_out_while_paused(account).await
        } else {
            let asked = ask_plainly(
                &self.shared.fleet,
                account.key,
                Asker::User(account.user.clone()),
                Call::LogOut,
                LOGOUT_MAX,
            );
            asked.await.map(drop)
        };
        match ended {
            Ok(()) => Ok(()),
            // It is over already, which is what was asked for.
            Err(refusal) if refusal.code == Code::SessionExpired => Ok(()),
            Err(refusal) => {
                let detail = format!(
                    "telegram did not end the session, so nothing was removed ({}); try again, \
                     or remove the account without logging out",
                    refusal.detail
                );
                Err(Refusal { detail, ..refusal })
            }
        }
    }
}

/// An account as its owner is told of it; `view` is what its actor last said, if it runs.
pub(in crate::actors) fn info(owned: &OwnedAccount, view: Option<&AccountView>) -> AccountInfo {
    AccountInfo {
        id: owned.id,
        owner: None,
        is_bot: owned.is_bot,
        telegram_id: owned.telegram_id,
        phone_masked: owned.phone_masked.clone(),
        username: owned.username.clone(),
        first_name: owned.first_name.clone(),
        state: state(owned, view),
        trouble: view.and_then(trouble),
        created_at: owned.created_at,
        updated_at: owned.updated_at,
    }
}

fn state(owned: &OwnedAccount, view: Option<&AccountView>) -> AccountState {
    if owned.is_paused {
        return AccountState::Paused;
    }
    match view.map_or(AccountState::Connecting, |view| view.state) {
        // Its user has just let it go on.
        AccountState::Paused => AccountState::Connecting,
        state => state,
    }
}

fn trouble(view: &AccountView) -> Option<AccountTrouble> {
    let (code, detail) = view.error.as_ref()?;
    let code = match code.as_str() {
        code if is_dead(code) => Code::SessionExpired,
        code if is_wait(code) || code == PEER_FLOOD => Code::TelegramWait,
        code if is_frozen(code) => Code::Conflict,
        "CRASHED" => Code::Internal,
        _ => Code::TelegramUnavailable,
    };
    Some(AccountTrouble { code, detail: detail.clone(), since: view.since })
}

/// The explanation for the account's user, who alone can bring another session.
fn why(why: Why, view: &AccountView) -> Why {
    let is_over = view.error.as_ref().is_some_and(|(code, _)| is_dead(code));
    let next = match is_over {
        true => "connect it again: its session is over, and only its user can make another one",
        false => why.next,
    };
    Why { next, ..why }
}

fn parse_cursor(text: &str) -> Result<AccountId, Refusal> {
    let id = uuid::Uuid::parse_str(text);
    id.map(AccountId).map_err(|_| Refusal::field("cursor", "it is none that a page gave"))
}

fn holds(account: &OwnedAccount, text: &str) -> bool {
    let name = |name: &Option<String>| {
        name.as_ref().is_some_and(|name| name.to_lowercase().contains(text))
    };
    name(&account.username)
        || name(&account.first_name)
        || account.telegram_id.to_string().contains(text)
}
