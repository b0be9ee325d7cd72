//! The herald: tells followers what became of what changed. Looks the newest state up when it comes to it,
//! and says nothing when that looks as it did.

use std::sync::Arc;

use serde::Serialize;
use tokio_util::task::AbortOnDropHandle;

use super::api::views;
use super::changes::LastTold;
use super::context::Context;
use crate::protocol::chat::ChatKey;
use crate::protocol::ids::AuthKeyId;
use crate::protocol::owner::{LoginId, Scope, UserId};

/// What may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Subject {
    Account(AuthKeyId),
    Login(UserId, LoginId),
    Monitor(ChatKey),
}

/// Starts telling; it ends when what is returned is dropped.
pub(super) fn start(context: &Arc<Context>) -> AbortOnDropHandle<()> {
    let context = Arc::clone(context);
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut told = LastTold::default();
        loop {
            for subject in context.board.changes().next().await {
                tell(&context, &mut told, subject);
            }
        }
    }))
}

fn tell(context: &Context, told: &mut LastTold<Subject>, subject: Subject) {
    let news = match &subject {
        Subject::Account(key) => context.directory.of_key(*key).map(|owned| {
            let view = context.board.view(*key);
            let data = json(&views::account(&owned, view.as_ref()));
            (owned.user, "account.changed", data)
        }),
        Subject::Login(user, id) => {
            let found = context.lobby.get(&Scope::Only(user.clone()), *id);
            let view = found.and_then(|(_, view)| {
                let scope = Scope::Only(user.clone());
                let account = view.account.and_then(|id| context.directory.get(&scope, id));
                let account = account
                    .map(|owned| views::account(&owned, context.board.view(owned.key).as_ref()));
                views::login(*id, view, account).ok()
            });
            view.map(|view| (user.clone(), "login.changed", json(&view)))
        }
        Subject::Monitor(key) => context.board.monitor_view(key).and_then(|view| {
            let (chat, owner) = key.parts();
            let owner = owner.and_then(|owner| UserId::new(owner).ok());
            let mut data = serde_json::json!({
                "chat_id": chat,
                "state": view.state,
                "since": crate::protocol::time::rfc3339_ms(view.since),
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
        if told.forget(&subject)
            && let Subject::Monitor(key) = &subject
            && let (chat, Some(owner)) = key.parts()
            && let Ok(owner) = UserId::new(owner)
        {
            let gone = serde_json::json!({ "chat_id": chat });
            context.changes.tell(&owner, "monitor.removed", &gone);
        }
        return;
    };
    if told.is_news(subject, data.to_string()) {
        context.changes.tell(&owner, event, &data);
    }
}

fn json(value: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}
