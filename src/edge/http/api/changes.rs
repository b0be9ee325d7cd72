//! What changed, as event streams say it: the name of the event, and its JSON. Owns these forms; the id comes from
//! the feed. What changed may hold a login's link, so whoever sends it wipes it.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::views;
use crate::protocol::answers::campaign::CampaignChange;
use crate::protocol::answers::monitor::MonitorChange;
use crate::protocol::feed::event::{FeedEntry, FeedEvent};
use crate::protocol::values::json::wipe;
use crate::protocol::values::time::rfc3339_ms;

/// Something that changed, as it is sent. What changed may hold a login's link: no revealing `Debug`; whoever
/// sends it wipes it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct StreamEvent {
    /// Its id in the stream, for resuming.
    pub(super) id: String,
    /// What it is: `account.changed`, `account.removed`, `login.changed`, `monitor.changed`,
    /// `monitor.removed`, `campaign.changed`, `campaign.removed`, `reset`.
    pub(super) event: &'static str,
    /// The JSON of what changed.
    pub(super) data: String,
}

impl fmt::Debug for StreamEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, event, data: _ } = self;
        f.debug_struct("StreamEvent").field("id", id).field("event", event).finish_non_exhaustive()
    }
}

impl StreamEvent {
    /// The form of a change; `None` when the picture of a login's link cannot be drawn.
    pub(super) fn of(entry: FeedEntry) -> Option<Self> {
        let (event, json) = match &*entry.event {
            FeedEvent::Account(account) => {
                ("account.changed", value(&views::account(account.clone())))
            }
            FeedEvent::AccountRemoved(id) => ("account.removed", json!({ "id": id })),
            FeedEvent::Login(login) => ("login.changed", value(&views::login(login.clone()).ok()?)),
            FeedEvent::Monitor(monitor) => ("monitor.changed", monitor_change(monitor)),
            FeedEvent::MonitorRemoved(chat) => ("monitor.removed", json!({ "chat_id": chat })),
            FeedEvent::Campaign(campaign) => ("campaign.changed", campaign_change(campaign)),
            FeedEvent::CampaignRemoved(id) => ("campaign.removed", json!({ "task_id": id })),
            FeedEvent::Reset => {
                let reason = "some changes are forgotten; fetch the lists anew";
                ("reset", json!({ "reason": reason }))
            }
        };
        let data = json.to_string();
        wipe(json);
        Some(Self { id: entry.id, event, data })
    }
}

fn value(shape: &impl Serialize) -> Value {
    serde_json::to_value(shape).unwrap_or_default()
}

fn monitor_change(monitor: &MonitorChange) -> Value {
    let mut data = json!({
        "chat_id": monitor.chat,
        "state": monitor.state,
        "since": rfc3339_ms(monitor.since),
    });
    if let Some(session) = &monitor.session {
        data["session"] = session.to_string().into();
    }
    if let Some(error) = &monitor.error {
        data["error"] = error.clone().into();
    }
    data
}

fn campaign_change(campaign: &CampaignChange) -> Value {
    let mut data = json!({
        "task_id": campaign.task,
        "status": campaign.status,
        "priority": campaign.priority,
        "progress": campaign.statistics.progress(),
    });
    if let Some(because) = &campaign.paused_because {
        data["paused_because"] = value(because);
    }
    if let Some(error) = &campaign.error {
        data["error"] = error.clone().into();
    }
    data
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::protocol::accounts::connection::AccountState;
    use crate::protocol::answers::account::AccountInfo;
    use crate::protocol::answers::login::LoginInfo;
    use crate::protocol::logins::steps::LoginState;
    use crate::protocol::monitors::failover::MonitorState;
    use crate::protocol::telegram::chat::ChatSpelling;
    use crate::protocol::users::owner::{AccountId, LoginId};
    use crate::protocol::values::ids::{SessionId, UnixMillis};
    use crate::protocol::values::secret::SecretText;
    use crate::secrets::freed::freed_with;

    const AT: UnixMillis = UnixMillis(1_795_230_245_678);
    const LINK: &str = "tg://login?token=SWORDFISH";

    fn said(event: FeedEvent) -> (&'static str, String) {
        let entry = FeedEntry { id: "1".to_owned(), event: Arc::new(event) };
        let StreamEvent { event, data, .. } = StreamEvent::of(entry).unwrap();
        (event, data)
    }

    fn login() -> FeedEvent {
        FeedEvent::Login(LoginInfo {
            id: LoginId(Uuid::nil()),
            state: LoginState::WaitingScan,
            expires_at: AT,
            account: None,
            previous_session: None,
            code: None,
            hint: None,
            email_pattern: None,
            link: Some((SecretText::new(LINK.to_owned()), AT)),
            error: None,
        })
    }

    #[test]
    fn accounts_are_told_as_the_api_shows_them() {
        let account = AccountInfo {
            id: AccountId(Uuid::nil()),
            owner: None,
            is_bot: false,
            telegram_id: 42,
            phone_masked: None,
            username: Some("ann".to_owned()),
            first_name: None,
            state: AccountState::Active,
            trouble: None,
            created_at: AT,
            updated_at: AT,
        };
        let (event, data) = said(FeedEvent::Account(account));
        assert_eq!(event, "account.changed");
        assert_eq!(
            data,
            "{\"created_at\":\"2026-11-21T03:04:05.678Z\",\
             \"id\":\"00000000-0000-0000-0000-000000000000\",\"kind\":\"user\",\
             \"platform\":\"telegram\",\"state\":\"active\",\"telegram_id\":42,\
             \"updated_at\":\"2026-11-21T03:04:05.678Z\",\"username\":\"ann\"}"
        );
        let (event, data) = said(FeedEvent::AccountRemoved(AccountId(Uuid::nil())));
        let gone = "{\"id\":\"00000000-0000-0000-0000-000000000000\"}".to_owned();
        assert_eq!((event, data), ("account.removed", gone));
    }

    #[test]
    fn a_monitor_is_called_as_it_was_asked_for() {
        let number = (ChatSpelling::Number(-1_000_000_000_005), "-1000000000005");
        let name = (ChatSpelling::Text("t.me/Durov".into()), "\"t.me/Durov\"");
        for (chat, called) in [number, name] {
            let (state, since) = (MonitorState::Waiting, AT);
            let quiet =
                MonitorChange { chat: chat.clone(), state, since, session: None, error: None };
            let (event, data) = said(FeedEvent::Monitor(quiet.clone()));
            assert_eq!(event, "monitor.changed");
            let rest = "\"since\":\"2026-11-21T03:04:05.678Z\",\"state\":\"waiting\"}";
            assert_eq!(data, format!("{{\"chat_id\":{called},{rest}"));
            let session = Some(SessionId("s-1".to_owned()));
            let told = MonitorChange { session, error: Some("why".to_owned()), ..quiet };
            let data = said(FeedEvent::Monitor(told)).1;
            let told = format!("{{\"chat_id\":{called},\"error\":\"why\",\"session\":\"s-1\",");
            assert_eq!(data, format!("{told}{rest}"));
            let gone = format!("{{\"chat_id\":{called}}}");
            assert_eq!(said(FeedEvent::MonitorRemoved(chat)), ("monitor.removed", gone));
        }
    }

    #[test]
    fn who_has_missed_something_is_told_to_begin_anew() {
        let data = "{\"reason\":\"some changes are forgotten; fetch the lists anew\"}".to_owned();
        assert_eq!(said(FeedEvent::Reset), ("reset", data));
    }

    #[test]
    fn a_login_brings_the_picture_of_its_link() {
        let (event, data) = said(login());
        assert_eq!(event, "login.changed");
        let data: Value = serde_json::from_str(&data).unwrap();
        assert_eq!((&data["state"], &data["qr"]["url"]), (&json!("waiting_scan"), &json!(LINK)));
        assert!(data["qr"]["svg"].as_str().unwrap().contains("<svg"));
    }

    #[test]
    fn a_login_link_in_the_feed_is_neither_shown_nor_left_in_memory() {
        let freed = freed_with(LINK, || {
            let entry = FeedEntry { id: "1".to_owned(), event: Arc::new(login()) };
            assert!(!format!("{entry:?}").contains("SWORDFISH"));
            drop(entry);
        });
        assert_eq!(freed, 0);
    }
}
