//! One's own accounts: found, listed, explained, held, connected anew, and given up.

use std::time::Duration;

use tokio::time::timeout;

use super::{Api, STEP_TIMEOUT, broken, views};
use crate::actors::accounts::asking::ask_plainly;
use crate::actors::accounts::fleet::{FleetMsg, OwnedMsg, Wanted};
use crate::actors::logins::login::lease_of;
use crate::actors::tree::calling::call;
use crate::actors::tree::context::now;
use crate::edge::http::api::{
    Account, AccountQuery, AccountStatus, Cap, Kind, Page, State, Time, WhyView,
};
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::daily_limits::SEND;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::users::owner::{AccountId, Caller};
use crate::telegram::{Call, LoginLink};

/// How long Telegram may take to end a session.
const LOGOUT_MAX: Duration = Duration::from_secs(8);

impl Api {
    /// The account `id`, if it exists for the one who asks.
    pub(super) fn find(&self, who: &Caller, id: AccountId) -> Result<OwnedAccount, Refusal> {
        let found = self.context.directory.get(&who.scope(), id);
        found.ok_or_else(|| Refusal::not_found("account"))
    }

    pub(super) fn account_view(&self, account: &OwnedAccount) -> Account {
        views::account(account, self.context.status.view(account.key).as_ref())
    }

    /// The same for the one who asks.
    pub(super) fn account_for(&self, who: &Caller, account: &OwnedAccount) -> Account {
        let owner = views::owner_for(who, Some(&account.user));
        Account { owner, ..self.account_view(account) }
    }

    pub(super) fn list_accounts(
        &self,
        who: &Caller,
        query: AccountQuery,
    ) -> Result<Page<Account>, Refusal> {
        let after = query.page.cursor.as_deref().map(parse_cursor).transpose()?;
        let text = query.text.as_ref().map(|text| text.trim_start_matches('@').to_lowercase());
        let is_wanted = |account: &OwnedAccount| {
            let state = || views::state(account, self.context.status.view(account.key).as_ref());
            query.kind.is_none_or(|kind| (kind == Kind::Bot) == account.is_bot)
                && text.as_ref().is_none_or(|text| holds(account, text))
                && query.state.is_none_or(|wanted: State| wanted == state())
        };
        let limit = query.page.limit;
        let Some(scope) = views::scope_of(who, query.user) else { return Ok(views::nothing()) };
        let mut rows = self.context.directory.list(&scope, after, limit + 1, is_wanted);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| last.id.to_string());
        let items = rows.iter().map(|account| self.account_for(who, account)).collect();
        Ok(Page { items, next_cursor })
    }

    pub(super) async fn status(&self, account: &OwnedAccount) -> Result<AccountStatus, Refusal> {
        let view = self.context.status.view(account.key);
        let at = now();
        let why = self.explain(account);
        let limit = self.context.settings.limits.borrow().sends_per_day;
        let (caps, store) = (&self.context.daily_limits, &self.context.store);
        let used = caps.used(store, account.telegram_id, SEND, at).await;
        let (used, resets_at) = used.map_err(|error| broken(&error))?;
        let cap = Cap { action: SEND.into(), used, limit, resets_at: Time(resets_at) };
        Ok(AccountStatus {
            account: views::account(account, view.as_ref()),
            since: Time(view.as_ref().map_or(account.updated_at, |view| view.since)),
            cooldowns: views::cooldowns(view.as_ref().map_or(&[], |view| &view.cooldowns)),
            caps: vec![cap],
            queue_length: view
                .as_ref()
                .map_or(0, |view| u32::try_from(view.queued).unwrap_or(u32::MAX)),
            reconnects: view.as_ref().map_or(0, |view| view.reconnects),
            next: why.next,
        })
    }

    pub(super) fn explain(&self, account: &OwnedAccount) -> WhyView {
        if account.is_paused {
            let evidence = vec!["it is paused".to_owned()];
            let next = "it stays disconnected until somebody resumes it".to_owned();
            return WhyView { evidence, timers: Vec::new(), next };
        }
        let view = self.context.status.view(account.key);
        // Right after it was resumed its actor has not said so yet.
        let view = view.filter(|view| view.state != AccountState::Paused);
        match view {
            Some(view) => views::why(view.why(now()), &view),
            None => WhyView {
                evidence: vec!["it has not been dialled yet".to_owned()],
                timers: Vec::new(),
                next: "it is dialled when its turn comes".to_owned(),
            },
        }
    }

    pub(super) async fn hold(
        &self,
        who: &Caller,
        id: AccountId,
        is_paused: bool,
    ) -> Result<AccountStatus, Refusal> {
        let account = self.find(who, id)?;
        if account.is_paused == is_paused {
            return self.status(&account).await;
        }
        let (action, interest) = match is_paused {
            true => ("account.pause", Wanted::Held),
            false => ("account.resume", Wanted::Resumed),
        };
        self.status(&self.change(who, &account, interest, action).await?).await
    }

    pub(super) async fn redial(
        &self,
        who: &Caller,
        id: AccountId,
    ) -> Result<AccountStatus, Refusal> {
        let account = self.find(who, id)?;
        if account.is_paused {
            let detail = "the account is paused; resume it, which connects it, too";
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let changed = self.change(who, &account, Wanted::Redialled, "account.reconnect").await?;
        self.status(&changed).await
    }

    /// Has the fleet change something about an account.
    async fn change(
        &self,
        who: &Caller,
        account: &OwnedAccount,
        interest: Wanted,
        action: &str,
    ) -> Result<OwnedAccount, Refusal> {
        let (user, id) = (account.user.clone(), account.id);
        let audit_event = self.audit_event(who, &user, action, id);
        let change = |reply| OwnedMsg::Change { user, id, interest, audit_event, reply };
        let change = |reply| FleetMsg::Owned(change(reply));
        let changed = call(&self.fleet, change, STEP_TIMEOUT).await;
        Ok(changed.map_err(|why| self.unanswered(why))??.account)
    }

    /// Has Telegram forget the session of an account that is not to be connected otherwise.
    async fn log_out_while_paused(&self, account: &OwnedAccount) -> Result<(), Refusal> {
        let key = account.key;
        let Some(credentials) = self.reading(move |store| store.credentials(key)).await? else {
            return Ok(());
        };
        let options = self.context.accounts.login_options();
        let options = match account.api_id {
            Some(api_id) => options.with_api_id(api_id),
            None => options,
        };
        let (lease, _) = lease_of(&self.fleet, account.key).await;
        let leave = async {
            let mut link = LoginLink::resume(&options, &credentials, lease).await?;
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
            let ended = if account.is_paused {
                self.log_out_while_paused(account).await
            } else {
                let asked = ask_plainly(&self.fleet, account.key, Call::LogOut, LOGOUT_MAX);
                asked.await.map(drop)
            };
            match ended {
                Ok(()) => {}
                // It is over already, which is what was asked for.
                Err(refusal) if refusal.code == Code::SessionExpired => {}
                Err(refusal) => {
                    let detail = format!(
                        "telegram did not end the session, so nothing was removed ({}); try again, \
                         or remove the account without logging out",
                        refusal.detail
                    );
                    return Err(Refusal { detail, ..refusal });
                }
            }
        }
        self.change(who, account, Wanted::Gone, "account.remove").await.map(drop)
    }
}

pub(super) fn parse_cursor(text: &str) -> Result<AccountId, Refusal> {
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
