//! Monitors over HTTP: the same orders as the bridge's, for a user's own accounts. Admins see those of
//! everybody and of the bridge, and change their own.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Api, broken};
use crate::actors::monitors::Stop;
use crate::edge::amqp::Rejected;
use crate::edge::http::api::{Monitor, Page, PageQuery, Time};
use crate::protocol::chat::{ChatKey, ChatRef, ChatTarget};
use crate::protocol::ids::SessionId;
use crate::protocol::model::{MonitorPhase, MonitorRecord, PoolMember};
use crate::protocol::owner::{AccountId, Caller, Scope, UserId};
use crate::protocol::refusal::{Code, Refusal};
use crate::store::Op;

impl Api {
    pub(super) fn monitor_view(&self, record: &MonitorRecord) -> Monitor {
        let view = self.context.board.monitor_view(&record.key());
        let state = view.as_ref().map(|view| view.state);
        let state = state.and_then(|state| serde_json::to_value(state).ok());
        let resting = match record.phase {
            MonitorPhase::Running => "waiting",
            MonitorPhase::Exhausted => "exhausted",
        };
        Monitor {
            chat_id: serde_json::to_value(&record.chat.spelling).unwrap_or_default(),
            marked_chat_id: record.marked_id.map(|id| id.0),
            title: record.title.clone(),
            state: state
                .and_then(|state| state.as_str().map(str::to_owned))
                .unwrap_or(resting.into()),
            since: view.as_ref().map(|view| Time(view.since)),
            sessions: record.ordered.iter().map(|member| member.session.to_string()).collect(),
            session: view.as_ref().and_then(|view| view.session.as_ref()).map(ToString::to_string),
            error: view.and_then(|view| view.error),
            started_at: Time(record.started_at),
        }
    }

    pub(super) fn list_monitors(
        &self,
        who: &Caller,
        page: &PageQuery,
    ) -> Result<Page<Monitor>, Refusal> {
        let scope = who.scope();
        let is_own = |record: &MonitorRecord| match (&record.owner, &scope) {
            (Some(owner), scope) => scope.covers(owner),
            (None, scope) => *scope == Scope::Everybody,
        };
        let after = page.cursor.as_deref().map(key_of_cursor).transpose()?;
        let rows = self.context.store.monitors(after.as_ref(), page.limit + 1, is_own);
        let mut rows = rows.map_err(|error| broken(&error))?;
        let more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| cursor_of(&last.key()));
        Ok(Page {
            items: rows.iter().map(|record| self.monitor_view(record)).collect(),
            next_cursor,
        })
    }

    /// Whose monitor of `chat` exists for the one who asks: one's own, and for admins the bridge's.
    fn find_monitor(&self, who: &Caller, chat: &ChatRef) -> Result<MonitorRecord, Refusal> {
        let owners = match who.scope() {
            Scope::Only(user) => vec![Some(user)],
            Scope::Everybody => vec![Some(who.user.clone()), None],
        };
        for owner in owners {
            let key = ChatKey::of(owner.as_ref(), chat);
            if let Some(record) =
                self.context.store.monitor(&key).map_err(|error| broken(&error))?
            {
                return Ok(record);
            }
        }
        // It may have been asked for by a name and be named by its number now; and admins may mean one
        // of somebody else's.
        let scope = who.scope();
        let marked = match chat.target {
            ChatTarget::Marked(id) => Some(id),
            ChatTarget::Username(_) | ChatTarget::Invite(_) => None,
        };
        let is_it = |record: &MonitorRecord| {
            let is_chat = record.chat.target == chat.target
                || (marked.is_some() && record.marked_id == marked);
            is_chat
                && match &record.owner {
                    Some(owner) => scope.covers(owner),
                    None => scope == Scope::Everybody,
                }
        };
        let found = self.context.store.monitors(None, 1, is_it).map_err(|error| broken(&error))?;
        found.into_iter().next().ok_or_else(no_monitor)
    }

    pub(super) fn look_at_monitor(&self, who: &Caller, chat: &ChatRef) -> Result<Monitor, Refusal> {
        Ok(self.monitor_view(&self.find_monitor(who, chat)?))
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
        let key = ChatKey::of(Some(&owner), &chat);
        let known = self.context.store.monitor(&key).map_err(|error| broken(&error))?;
        let also = vec![Op::Audit(self.deed(who, &owner, "monitor.put", key.parts().0))];
        let watched = self.orders.watch(Some(owner), chat, pool, None, also).await;
        watched.map_err(rejected)?;
        let record = self.context.store.monitor(&key).map_err(|error| broken(&error))?;
        let record = record.ok_or_else(no_monitor)?;
        Ok((self.monitor_view(&record), known.is_none()))
    }

    fn pool_member(&self, who: &Caller, id: AccountId) -> Result<(UserId, PoolMember), Refusal> {
        let account = self.find(who, id)?;
        let session = SessionId(account.id.to_string());
        Ok((account.user, PoolMember { session, account: account.key }))
    }

    pub(super) async fn stop_monitor(&self, who: &Caller, chat: ChatRef) -> Result<(), Refusal> {
        let record = self.find_monitor(who, &chat)?;
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
        let also = vec![Op::Audit(self.deed(who, owner, "monitor.delete", target))];
        let (owner, chat) = (record.owner.clone(), record.chat.clone());
        let stop = Stop { owner, chat, reply_to: None, also };
        self.orders.unwatch(stop).await.map_err(rejected)
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

fn rejected(rejected: Rejected) -> Refusal {
    match rejected {
        Rejected::Unavailable => {
            let detail = "the daemon could not note it just now; try again";
            Refusal::new(Code::Overloaded, detail).after(2)
        }
        Rejected::Refused(why) => Refusal::new(Code::Internal, why),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::request;

    proptest! {
        #[test]
        fn a_cursor_names_its_key_whoever_it_belongs_to(key in "\\PC{1,120}") {
            let key = ChatKey(key);
            let cursor = request::cursor(cursor_of(&key).into()).expect("it is one for the edge, too");
            prop_assert_eq!(key_of_cursor(&cursor).ok(), Some(key));
        }

        #[test]
        fn any_text_is_a_key_or_refused(text in any::<String>()) {
            let _ = key_of_cursor(&text);
        }
    }
}
