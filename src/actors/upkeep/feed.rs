//! The change feed: tells followers what became of what changed. Looks the newest state up when it comes to it,
//! and says nothing when that looks as it did.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;

use crate::actors::logins::context::LoginsContext;
use crate::actors::services::views;
use crate::actors::tree::changes::{LastTold, Subject};
use crate::actors::tree::children::watched_task;
use crate::protocol::users::owner::{Scope, UserId};

/// Starts telling; it ends when what is returned is dropped.
pub(in crate::actors) fn start(context: &Arc<LoginsContext>) -> AbortOnDropHandle<()> {
    let shared = Arc::clone(context);
    let telling = Arc::new(Mutex::new(Telling::default()));
    watched_task(&context.accounts.tree, "herald", move || {
        follow(Arc::clone(&shared), Arc::clone(&telling))
    })
}

/// What outlives a panic, which so costs the one thing over which it came about.
#[derive(Default)]
struct Telling {
    told: LastTold<Subject>,
    untold: Vec<Subject>,
}

async fn follow(context: Arc<LoginsContext>, telling: Arc<Mutex<Telling>>) {
    loop {
        {
            let mut telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
            while let Some(subject) = telling.untold.pop() {
                tell(&context, &mut telling.told, subject);
            }
        }
        let news = context.status.changes().next().await;
        telling.lock().unwrap_or_else(PoisonError::into_inner).untold.extend(news);
    }
}

fn tell(context: &LoginsContext, told: &mut LastTold<Subject>, subject: Subject) {
    // Logins come to their end, and nothing follows.
    let mut is_last = false;
    let news = match &subject {
        Subject::Account(key) => context.directory.of_key(*key).map(|owned| {
            let view = context.status.view(*key);
            let data = json(&views::account(&owned, view.as_ref()));
            (owned.user, "account.changed", data)
        }),
        Subject::Login(user, id) => {
            let found = context.login_registry.get(&Scope::Only(user.clone()), *id);
            let view = found.and_then(|(_, view)| {
                is_last = view.state.is_over();
                let scope = Scope::Only(user.clone());
                let account = view.account.and_then(|id| context.directory.get(&scope, id));
                let account = account
                    .map(|owned| views::account(&owned, context.status.view(owned.key).as_ref()));
                views::login(*id, view, account).ok()
            });
            view.map(|view| (user.clone(), "login.changed", json(&view)))
        }
        Subject::Monitor(key) => context.status.monitor_view(key).and_then(|view| {
            let owner = key.parts().1.and_then(|owner| UserId::new(owner).ok());
            // As everything else says it: a number where it was asked for by its number.
            let spelling = context.store.monitor_spelling(key)?;
            let mut data = serde_json::json!({
                "chat_id": spelling,
                "state": view.state,
                "since": crate::protocol::values::time::rfc3339_ms(view.since),
            });
            if let Some(session) = &view.session {
                data["session"] = session.to_string().into();
            }
            if let Some(error) = &view.error {
                data["error"] = error.clone().into();
            }
            owner.map(|owner| (owner, "monitor.changed", data))
        }),
    };
    let Some((owner, event, data)) = news else {
        if let Some(chat) = told.forget(&subject)
            && let Subject::Monitor(key) = &subject
            && let Some(owner) = key.parts().1
            && let Ok(owner) = UserId::new(owner)
        {
            let gone = serde_json::json!({ "chat_id": chat });
            context.changes.tell(&owner, "monitor.removed", &gone);
        }
        return;
    };
    let name = data.get("chat_id").cloned().unwrap_or_default();
    if told.is_news(subject.clone(), &data.to_string(), name) {
        context.changes.tell(&owner, event, &data);
    }
    if is_last {
        told.forget(&subject);
    }
}

fn json(value: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::actors::logins::registry::LoginView;
    use crate::actors::tree::changes::Follower;
    use crate::actors::tree::context::now;
    use crate::actors::tree::status::MonitorView;
    use crate::edge::http::api::Change;
    use crate::protocol::logins::steps::LoginState;
    use crate::protocol::monitors::failover::MonitorState;
    use crate::protocol::monitors::record::{MonitorPhase, MonitorRecord};
    use crate::protocol::telegram::chat::{ChatRef, ChatSpelling};
    use crate::protocol::users::owner::LoginId;
    use crate::store::{Op, Store};

    fn ann() -> UserId {
        UserId::new("ann").unwrap()
    }

    fn monitor(spelling: ChatSpelling) -> MonitorRecord {
        MonitorRecord {
            owner: Some(ann()),
            chat: ChatRef::parse(spelling).unwrap(),
            ordered: Vec::new(),
            pool: Vec::new(),
            phase: MonitorPhase::Running,
            started_at: now(),
            started_steady: None,
            owed_from: None,
            marked_id: None,
            migrated_from: None,
            title: None,
            names: Vec::new(),
            start_pts: None,
            exhausted: None,
        }
    }

    async fn next(changes: &mut tokio::sync::mpsc::Receiver<Change>) -> (&'static str, Value) {
        let change = tokio::time::timeout(Duration::from_secs(20), changes.recv()).await;
        let change = change.unwrap().unwrap();
        (change.event, serde_json::from_str::<Value>(&change.data).unwrap()["chat_id"].clone())
    }

    #[tokio::test]
    async fn a_monitor_is_called_as_it_was_asked_for_until_it_is_gone() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = LoginsContext::for_tests(store.clone());
        let mut changes = Follower::start(&context.accounts.tree, Scope::Only(ann()), None);
        // It follows from where it came in.
        tokio::task::yield_now().await;
        let _feed = start(&context);
        let view =
            MonitorView { state: MonitorState::Waiting, since: now(), session: None, error: None };
        let number = (ChatSpelling::Number(-1_000_000_000_005), json!(-1_000_000_000_005_i64));
        let name = (ChatSpelling::Text("t.me/Durov".into()), json!("t.me/Durov"));
        for (spelling, called) in [number, name] {
            let record = monitor(spelling);
            let key = record.key();
            store.commit(vec![Op::PutMonitor(record)]).await.unwrap();
            context.status.monitor(&key, view.clone());
            assert_eq!(next(&mut changes).await, ("monitor.changed", called.clone()));
            store.commit(vec![Op::DeleteMonitor(key.clone())]).await.unwrap();
            context.status.monitor_gone(&key);
            assert_eq!(next(&mut changes).await, ("monitor.removed", called));
        }
    }

    #[tokio::test]
    async fn a_login_that_is_over_or_given_up_is_remembered_no_longer() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = LoginsContext::for_tests(store);
        let (ended, open, dropped) =
            (LoginId(Uuid::from_u128(1)), LoginId(Uuid::from_u128(2)), LoginId(Uuid::from_u128(3)));
        let mut told = LastTold::default();
        let states = [
            (ended, LoginState::Failed),
            (open, LoginState::CodeSent),
            (dropped, LoginState::CodeSent),
        ];
        for (id, state) in states {
            let expires_at = now().plus_ms(60_000);
            let (account, hint, token, error, previous) = (None, None, None, None, None);
            let view = LoginView { state, expires_at, account, hint, token, error, previous };
            context.login_registry.put(&ann(), id, view, now());
            tell(&context, &mut told, Subject::Login(ann(), id));
        }
        context.login_registry.remove(&ann(), dropped);
        tell(&context, &mut told, Subject::Login(ann(), dropped));
        let is_known = |id| told.forget(&Subject::Login(ann(), id)).is_some();
        assert_eq!([ended, open, dropped].map(is_known), [false, true, false]);
    }
}
