//! The health of everything, for admins: what is in trouble, page by page, and how the store fares.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Api;
use crate::actors::tree::context::now;
use crate::actors::tree::status::{AccountView, MonitorView};
use crate::edge::http::api::{HealthQuery, Time};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::users::owner::Caller;
use crate::protocol::values::ids::AuthKeyId;
use crate::store::Reader;

impl Api {
    pub(super) async fn detailed(
        &self,
        who: &Caller,
        query: &HealthQuery,
    ) -> Result<Value, Refusal> {
        Self::as_admin(who)?;
        let read = |store: &Reader| Ok((store.stats(), store.audit_log_head()?));
        let (stats, head) = self.reading(read).await?;
        let hash: String = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(json!({
            "accounts": self.accounts_in_detail(query)?,
            "monitors": self.monitors_in_detail(query)?,
            "store": {
                "outbox_depth": stats.outbox_depth,
                "waiting": stats.waiting,
                "disk_bytes": stats.disk_bytes,
                "commit_p99_ms": u64::try_from(stats.latency_p99.as_millis()).unwrap_or(u64::MAX),
            },
            "audit": { "newest": head.number, "hash": hash },
        }))
    }

    fn accounts_in_detail(&self, query: &HealthQuery) -> Result<Value, Refusal> {
        let status = &self.context.status;
        let after = query.accounts_cursor.as_deref().map(key_of_account).transpose()?;
        let troubled = status.troubled_accounts(after, query.limit);
        let account = |(key, view): &(AuthKeyId, AccountView)| {
            json!({
                "account": self.context.directory.name_of(*key),
                "sessions": status.names(*key),
                "state": view.state,
                "since": Time(view.since),
                "error": view.error.as_ref().map(|(code, _)| code),
                "next": view.why(now()).next,
            })
        };
        let last = troubled.listed.last().filter(|_| troubled.is_cut);
        let next = last.map(|(key, _)| cursor_of(&key.to_string()));
        let listed: Vec<_> = troubled.listed.iter().map(account).collect();
        Ok(page(json!(status.account_states()), troubled.total, listed, next))
    }

    fn monitors_in_detail(&self, query: &HealthQuery) -> Result<Value, Refusal> {
        let status = &self.context.status;
        let after = query.monitors_cursor.as_deref().map(text_of).transpose()?.map(ChatKey);
        let troubled = status.troubled_monitors(after.as_ref(), query.limit, |_| true);
        let monitor = |(key, view): &(ChatKey, MonitorView)| json!({ "chat": key.redacted(), "state": view.state, "error": view.error });
        let last = troubled.listed.last().filter(|_| troubled.is_cut);
        let next = last.map(|(key, _)| cursor_of(&key.0));
        let listed: Vec<_> = troubled.listed.iter().map(monitor).collect();
        Ok(page(json!(status.monitor_states()), troubled.total, listed, next))
    }
}

fn page(by_state: Value, total: usize, listed: Vec<Value>, next: Option<String>) -> Value {
    let mut page = json!({ "by_state": by_state, "troubled_total": total, "troubled": listed });
    if let Some(next) = next {
        page["next_cursor"] = next.into();
    }
    page
}

fn cursor_of(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

fn text_of(cursor: &str) -> Result<String, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(no_cursor)
}

fn key_of_account(cursor: &str) -> Result<AuthKeyId, Refusal> {
    let text = text_of(cursor)?;
    u64::from_str_radix(&text, 16).map(AuthKeyId).map_err(|_| no_cursor())
}

fn no_cursor() -> Refusal {
    Refusal::field("cursor", "it is none that a page gave")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::values::page::is_cursor;

    proptest! {
        #[test]
        fn a_cursor_leads_back_to_its_key(key in any::<u64>(), chat in "\\PC{1,120}") {
            let cursor = cursor_of(&AuthKeyId(key).to_string());
            prop_assert!(is_cursor(&cursor), "it is one for the edge, too");
            prop_assert_eq!(key_of_account(&cursor).ok(), Some(AuthKeyId(key)));
            let cursor = cursor_of(&chat);
            prop_assert!(is_cursor(&cursor), "it is one");
            prop_assert_eq!(text_of(&cursor).ok(), Some(chat));
        }

        #[test]
        fn any_text_is_a_cursor_or_refused(text in any::<String>()) {
            let _ = (key_of_account(&text), text_of(&text));
        }
    }
}
