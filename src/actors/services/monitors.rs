//! Monitors over HTTP: the same orders as the bridge's, for a user's own accounts. Admins see those of
//! everybody and of the bridge, and change their own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Api, broken, views};
use crate::actors::bridge::port::Rejected;
use crate::actors::monitors::supervisor::Stop;
use crate::edge::http::api::{Monitor, MonitorQuery, Page, Time};
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::monitors::record::{MonitorPhase, MonitorRecord};
use crate::protocol::telegram::chat::{ChatKey, ChatRef, ChatTarget};
use crate::protocol::users::owner::{AccountId, Caller, Scope, UserId};
use crate::protocol::values::ids::SessionId;
use crate::store::Op;

/// Monitors of one user. Each is an actor and a record of some kilobytes.
pub(super) const PER_USER_MAX: usize = 1_000;

impl Api {
    pub(super) fn monitor_view(&self, record: &MonitorRecord) -> Monitor {
        let view = self.context.status.monitor_view(&record.key());
        let state = view.as_ref().map(|view| view.state);
        let state = state.and_then(|state| serde_json::to_value(state).ok());
        let resting = match record.phase {
            MonitorPhase::Running => "waiting",
            MonitorPhase::Exhausted => "exhausted",
        };
        Monitor {
            chat_id: serde_json::to_value(&record.chat.spelling).unwrap_or_default(),
            owner: None,
            marked_chat_id: record.marked_id.map(|id| id.0),
            migrated_from_chat_id: record.migrated_from.map(|id| id.0),
            title: record.title.clone(),
            state: state
                .and_then(|state| state.as_str().map(str::to_owned))
                .unwrap_or(resting.into()),
            since: view
                .as_ref()
                .map(|view| view.since)
                .or(record.exhausted.as_ref().map(|exhausted| exhausted.since))
                .map(Time),
            sessions: record.ordered.iter().map(|member| member.session.to_string()).collect(),
            session: view.as_ref().and_then(|view| view.session.as_ref()).map(ToString::to_string),
            error: match view {
                Some(view) => view.error,
                None => record.exhausted.clone().and_then(|exhausted| exhausted.because),
            },
            started_at: Time(record.started_at),
        }
    }

    /// The same for the one who asks.
    fn monitor_for(&self, who: &Caller, record: &MonitorRecord) -> Monitor {
        let owner = views::owner_for(who, record.owner.as_ref());
        Monitor { owner, ..self.monitor_view(record) }
    }

    pub(super) async fn list_monitors(
        &self,
        who: &Caller,
        query: MonitorQuery,
    ) -> Result<Page<Monitor>, Refusal> {
        let MonitorQuery { user, page } = query;
        let Some(scope) = views::scope_of(who, user) else { return Ok(views::nothing()) };
        let after = page.cursor.as_deref().map(key_of_cursor).transpose()?;
        let limit = page.limit.saturating_add(1);
        let mut keys = self.context.store.monitor_keys(&scope, after.as_ref(), limit);
        let more = keys.len() > page.limit;
        keys.truncate(page.limit);
        let next_cursor = keys.last().filter(|_| more).map(cursor_of);
        let rows = self.reading(move |store| store.monitors_at(&keys)).await?;
        Ok(Page {
            items: rows.iter().map(|record| self.monitor_for(who, record)).collect(),
            next_cursor,
        })
    }

    /// Which monitor of `chat` exists for the one who asks: one's own first, and for admins the bridge's,
    /// then anybody's.
    async fn find_monitor(&self, who: &Caller, chat: &ChatRef) -> Result<MonitorRecord, Refusal> {
        let store = &self.context.store;
        let own = store.monitor_of(&Scope::Only(who.user.clone()), chat);
        let found = own.or_else(|| store.monitor_of(&who.scope(), chat));
        self.monitor_at(found.ok_or_else(no_monitor)?).await
    }

    async fn monitor_at(&self, key: ChatKey) -> Result<MonitorRecord, Refusal> {
        self.reading(move |store| store.monitor(&key)).await?.ok_or_else(no_monitor)
    }

    pub(super) async fn look_at_monitor(
        &self,
        who: &Caller,
        chat: &ChatRef,
    ) -> Result<Monitor, Refusal> {
        Ok(self.monitor_for(who, &self.find_monitor(who, chat).await?))
    }

    pub(super) async fn configure_monitor(
        &self,
        who: &Caller,
        chat: ChatRef,
        accounts: &[AccountId],
    ) -> Result<(Monitor, bool), Refusal> {
        if matches!(chat.target, ChatTarget::Invite(_)) {
            let text = "an invite link can be joined but not monitored; use the chat's id";
            return Err(Refusal::field("chat_id", text));
        }
        let pool = accounts.iter().map(|id| self.pool_member(who, *id));
        let (owner, pool) = whose(pool.collect::<Result<Vec<_>, _>>()?)?;
        let _busy = self.context.erasing.enter(&owner)?;
        let _turn = self.context.user_locks.take(&owner).await;
        let (chat, is_new) = self.chat_to_monitor(&owner, chat).await?;
        let key = ChatKey::of(Some(&owner), &chat);
        let also = vec![Op::Audit(self.audit_event(who, &owner, "monitor.put", key.parts().0))];
        let watched = self.orders.watch(Some(owner), chat, pool, None, also).await;
        watched.map_err(|why| self.rejected(why))?;
        Ok((self.monitor_for(who, &self.monitor_at(key).await?), is_new))
    }

    /// By what name a user's monitor of `chat` goes, and whether it is still to be made. One chat has one
    /// monitor of a user, whichever of its names is used.
    async fn chat_to_monitor(
        &self,
        owner: &UserId,
        chat: ChatRef,
    ) -> Result<(ChatRef, bool), Refusal> {
        let store = &self.context.store;
        match store.monitor_of(&Scope::Only(owner.clone()), &chat) {
            // The same name, perhaps in another spelling, which is the one to show from here on.
            Some(key) if key == ChatKey::of(Some(owner), &chat) => Ok((chat, false)),
            Some(key) => Ok((self.monitor_at(key).await?.chat, false)),
            None if store.monitor_count(owner) >= PER_USER_MAX => {
                let detail = format!(
                    "{PER_USER_MAX} chats are monitored already; stop monitoring some of them first"
                );
                Err(Refusal::new(Code::RateLimited, detail).after(60))
            }
            None => Ok((chat, true)),
        }
    }

    fn pool_member(&self, who: &Caller, id: AccountId) -> Result<(UserId, PoolMember), Refusal> {
        let account = self.find(who, id)?;
        let session = SessionId(account.id.to_string());
        Ok((account.user, PoolMember { session, account: account.key }))
    }

    pub(super) async fn stop_monitor(&self, who: &Caller, chat: ChatRef) -> Result<(), Refusal> {
        let record = self.find_monitor(who, &chat).await?;
        let _turn = match &record.owner {
            Some(owner) => Some(self.context.user_locks.take(owner).await),
            None => None,
        };
        self.stop_monitor_of(who, &record).await
    }

    pub(super) async fn stop_monitor_of(
        &self,
        who: &Caller,
        record: &MonitorRecord,
    ) -> Result<(), Refusal> {
        let key = record.key();
        let target = key.parts().0.to_owned();
        let owner = record.owner.as_ref().unwrap_or(&who.user);
        let also = vec![Op::Audit(self.audit_event(who, owner, "monitor.delete", target))];
        let (owner, chat) = (record.owner.clone(), record.chat.clone());
        let stop = Stop { owner, chat, reply_to: None, also };
        self.orders.unwatch(stop).await.map_err(|why| self.rejected(why))
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

impl Api {
    fn rejected(&self, rejected: Rejected) -> Refusal {
        match rejected {
            Rejected::Unavailable => match self.context.store.failure() {
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
