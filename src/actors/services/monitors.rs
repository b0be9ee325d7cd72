//! Monitors of users: the same orders as the bridge's, for a user's own accounts. Admins see those of everybody
//! and of the bridge, and change their own.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Shared, broken, owner_for, scope_of};
use crate::actors::monitors::commands::{Commands, Rejected};
use crate::actors::monitors::supervisor::Stop;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::answers::monitor::MonitorInfo;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::monitors::failover::MonitorState;
use crate::protocol::monitors::record::{MonitorPhase, MonitorRecord};
use crate::protocol::telegram::chat::{ChatKey, ChatRef, ChatTarget};
use crate::protocol::users::owner::{AccountId, Caller, Scope, UserId};
use crate::protocol::values::ids::SessionId;
use crate::protocol::values::page::{Page, PageQuery};
use crate::store::Op;

/// Monitors of one user. Each is an actor and a record of some kilobytes.
pub(super) const PER_USER_MAX: usize = 1_000;

/// Which monitors, and which page of them.
#[derive(Clone, Debug, Default)]
pub struct MonitorQuery {
    /// Only those of this user.
    pub user: Option<UserId>,
    /// Where the page begins.
    pub page: PageQuery,
}

/// Which chats are watched, and by which accounts.
#[async_trait]
pub trait MonitorService: Send + Sync + 'static {
    /// The caller's monitors.
    async fn list(&self, who: &Caller, query: MonitorQuery) -> Result<Page<MonitorInfo>, Refusal>;
    /// One monitor.
    async fn get(&self, who: &Caller, chat: ChatRef) -> Result<MonitorInfo, Refusal>;
    /// Has a chat monitored by these accounts, the first as the primary one. The flag tells that
    /// the monitor is new.
    async fn put(
        &self,
        who: &Caller,
        chat: ChatRef,
        accounts: Vec<AccountId>,
    ) -> Result<(MonitorInfo, bool), Refusal>;
    /// Stops monitoring a chat.
    async fn delete(&self, who: &Caller, chat: ChatRef) -> Result<(), Refusal>;
}

/// The service on a tree.
#[derive(Clone)]
pub(super) struct Monitors {
    shared: Shared,
    commands: Commands,
}

#[async_trait]
impl MonitorService for Monitors {
    async fn list(&self, who: &Caller, query: MonitorQuery) -> Result<Page<MonitorInfo>, Refusal> {
        let MonitorQuery { user, page } = query;
        let Some(scope) = scope_of(who, user) else { return Ok(Page::default()) };
        let after = page.cursor.as_deref().map(key_of_cursor).transpose()?;
        let limit = page.limit.saturating_add(1);
        let mut keys = self.shared.context.store.monitor_keys(&scope, after.as_ref(), limit);
        let more = keys.len() > page.limit;
        keys.truncate(page.limit);
        let next_cursor = keys.last().filter(|_| more).map(cursor_of);
        let rows = self.shared.reading(move |store| store.monitors_at(&keys)).await?;
        Ok(Page {
            items: rows.iter().map(|record| self.info_for(who, record)).collect(),
            next_cursor,
        })
    }

    async fn get(&self, who: &Caller, chat: ChatRef) -> Result<MonitorInfo, Refusal> {
        Ok(self.info_for(who, &self.find(who, &chat).await?))
    }

    async fn put(
        &self,
        who: &Caller,
        chat: ChatRef,
        accounts: Vec<AccountId>,
    ) -> Result<(MonitorInfo, bool), Refusal> {
        if matches!(chat.target, ChatTarget::Invite(_)) {
            let text = "an invite link can be joined but not monitored; use the chat's id";
            return Err(Refusal::field("chat_id", text));
        }
        let pool = accounts.iter().enumerate().map(|(at, id)| self.pool_member(who, at, *id));
        let (owner, pool) = whose(pool.collect::<Result<Vec<_>, _>>()?)?;
        let _busy = self.shared.context.erasing.enter(&owner)?;
        let _turn = self.shared.context.user_locks.take(&owner).await;
        let (chat, is_new) = self.chat_of(&owner, chat).await?;
        let key = ChatKey::of(Some(&owner), &chat);
        let also =
            vec![Op::Audit(self.shared.audit_event(who, &owner, "monitor.put", key.parts().0))];
        let watched = self.commands.watch(Some(owner), chat, pool, None, also).await;
        watched.map_err(|why| self.rejected(why))?;
        Ok((self.info_for(who, &self.at(key).await?), is_new))
    }

    async fn delete(&self, who: &Caller, chat: ChatRef) -> Result<(), Refusal> {
        let record = self.find(who, &chat).await?;
        let _turn = match &record.owner {
            Some(owner) => Some(self.shared.context.user_locks.take(owner).await),
            None => None,
        };
        self.stop(who, &record).await
    }
}

impl Monitors {
    pub(super) fn new(shared: Shared, commands: Commands) -> Self {
        Self { shared, commands }
    }

    pub(super) fn info(&self, record: &MonitorRecord) -> MonitorInfo {
        let view = self.shared.context.status.monitor_view(&record.key());
        let exhausted = record.exhausted.as_ref();
        let resting = match record.phase {
            MonitorPhase::Running => MonitorState::Waiting,
            MonitorPhase::Exhausted => MonitorState::Exhausted,
        };
        let (state, since, session, error) = match view {
            Some(view) => (view.state, Some(view.since), view.session, view.error),
            None => {
                let since = exhausted.map(|exhausted| exhausted.since);
                (resting, since, None, exhausted.and_then(|exhausted| exhausted.because.clone()))
            }
        };
        MonitorInfo {
            chat: record.chat.spelling.clone(),
            owner: None,
            marked_id: record.marked_id,
            migrated_from: record.migrated_from,
            title: record.title.clone(),
            state,
            since,
            sessions: record.ordered.iter().map(|member| member.session.clone()).collect(),
            session,
            error,
            started_at: record.started_at,
        }
    }

    /// The same for the one who asks.
    fn info_for(&self, who: &Caller, record: &MonitorRecord) -> MonitorInfo {
        let owner = owner_for(who, record.owner.as_ref());
        MonitorInfo { owner, ..self.info(record) }
    }

    /// Which monitor of `chat` exists for the one who asks: one's own first, and for admins the bridge's,
    /// then anybody's.
    async fn find(&self, who: &Caller, chat: &ChatRef) -> Result<MonitorRecord, Refusal> {
        let store = &self.shared.context.store;
        let own = store.monitor_of(&Scope::Only(who.user.clone()), chat);
        let found = own.or_else(|| store.monitor_of(&who.scope(), chat));
        self.at(found.ok_or_else(no_monitor)?).await
    }

    async fn at(&self, key: ChatKey) -> Result<MonitorRecord, Refusal> {
        self.shared.reading(move |store| store.monitor(&key)).await?.ok_or_else(no_monitor)
    }

    /// By what name a user's monitor of `chat` goes, and whether it is still to be made. One chat has one
    /// monitor of a user, whichever of its names is used.
    async fn chat_of(&self, owner: &UserId, chat: ChatRef) -> Result<(ChatRef, bool), Refusal> {
        let store = &self.shared.context.store;
        match store.monitor_of(&Scope::Only(owner.clone()), &chat) {
            // The same name, perhaps in another spelling, which is the one to show from here on.
            Some(key) if key == ChatKey::of(Some(owner), &chat) => Ok((chat, false)),
            Some(key) => Ok((self.at(key).await?.chat, false)),
            None if store.monitor_count(owner) >= PER_USER_MAX => {
                let detail = format!(
                    "{PER_USER_MAX} chats are monitored already; stop monitoring some of them first"
                );
                Err(Refusal::new(Code::RateLimited, detail).after(60))
            }
            None => Ok((chat, true)),
        }
    }

    /// The account at place `at` of those that are named.
    fn pool_member(
        &self,
        who: &Caller,
        at: usize,
        id: AccountId,
    ) -> Result<(UserId, PoolMember), Refusal> {
        let missing = |refusal: Refusal| {
            let detail = format!("{}: number {} of accounts", refusal.detail, at + 1);
            Refusal { detail, ..refusal }
        };
        let account = self.shared.account(who, id).map_err(missing)?;
        let session = SessionId(account.id.to_string());
        Ok((account.user, PoolMember { session, account: account.key }))
    }

    pub(super) async fn stop(&self, who: &Caller, record: &MonitorRecord) -> Result<(), Refusal> {
        let key = record.key();
        let target = key.parts().0.to_owned();
        let owner = record.owner.as_ref().unwrap_or(&who.user);
        let also = vec![Op::Audit(self.shared.audit_event(who, owner, "monitor.delete", target))];
        let (owner, chat) = (record.owner.clone(), record.chat.clone());
        let stop = Stop { owner, chat, reply_to: None, also };
        self.commands.unwatch(stop).await.map_err(|why| self.rejected(why))
    }

    fn rejected(&self, rejected: Rejected) -> Refusal {
        match rejected {
            Rejected::Unavailable => match self.shared.context.store.failure() {
                Some(failure) => broken(&failure),
                None => {
                    let detail = "the daemon could not note it just now; try again";
                    Refusal::new(Code::Overloaded, detail).after(2)
                }
            },
            Rejected::Refused(why) => Refusal::new(Code::Internal, why),
        }
    }
}

/// All accounts of one monitor belong to one user: so does the monitor.
fn whose(pool: Vec<(UserId, PoolMember)>) -> Result<(UserId, Vec<PoolMember>), Refusal> {
    let (mut owners, members): (Vec<UserId>, Vec<PoolMember>) = pool.into_iter().unzip();
    owners.dedup();
    match <[UserId; 1]>::try_from(owners) {
        Ok([owner]) => Ok((owner, members)),
        Err(_) => Err(Refusal::field("accounts", "they have to belong to one user")),
    }
}

/// A key as a page's cursor. Keys hold spaces and names of users in any script, and cursors stand in
/// addresses.
fn cursor_of(key: &ChatKey) -> String {
    URL_SAFE_NO_PAD.encode(&key.0)
}

fn key_of_cursor(cursor: &str) -> Result<ChatKey, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    key.map(ChatKey).ok_or_else(|| Refusal::field("cursor", "it is none that a page gave"))
}

fn no_monitor() -> Refusal {
    Refusal::not_found("monitor")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::values::page::is_cursor;

    proptest! {
        #[test]
        fn a_cursor_names_its_key_whoever_it_belongs_to(key in "\\PC{1,120}") {
            let key = ChatKey(key);
            let cursor = cursor_of(&key);
            prop_assert!(is_cursor(&cursor), "it is one for the edge, too");
            prop_assert_eq!(key_of_cursor(&cursor).ok(), Some(key));
        }

        #[test]
        fn any_text_is_a_key_or_refused(text in any::<String>()) {
            let _ = key_of_cursor(&text);
        }
    }
}
