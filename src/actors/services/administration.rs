//! The daemon itself, for admins: its keys, and the health of everything, page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Shared, broken};
use crate::actors::tree::status::{AccountView, MonitorView};
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::monitors::failover::MonitorState;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::tree::member::MemberSnapshot;
use crate::protocol::tree::table::TABLE;
use crate::protocol::users::owner::{Caller, Role};
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};
use crate::store::{Op, Reader};

/// How the keys fare that protect the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Where the root key comes from.
    pub provider: String,
    /// The generation that seals now, in words.
    pub generation: String,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Records that are still under an older one.
    pub pending: u64,
}

/// Which page of what is in trouble.
#[derive(Clone, Debug)]
pub struct HealthQuery {
    /// Rows of a page, of accounts and of monitors.
    pub limit: usize,
    /// Where the page of accounts begins.
    pub accounts_cursor: Option<String>,
    /// Where the page of monitors begins.
    pub monitors_cursor: Option<String>,
}

/// The health of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailedHealth {
    /// Of accounts.
    pub accounts: TroubledPage<AccountState, TroubledAccountInfo>,
    /// Of monitors.
    pub monitors: TroubledPage<MonitorState, TroubledMonitorInfo>,
    /// What the tree is made of, without accounts, monitors, logins and endpoints.
    pub tree: Vec<MemberSnapshot>,
    /// Of the store.
    pub store: StoreFigures,
    /// The number of the newest entry of the audit log.
    pub audit_newest: u64,
    /// The hash of that entry, SHA-256.
    pub audit_hash: [u8; 32],
}

/// How many there are in each state, and a page of those in trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubledPage<S, T> {
    /// How many there are in each state.
    pub by_state: BTreeMap<S, usize>,
    /// How many are in trouble.
    pub total: usize,
    /// The page of those.
    pub listed: Vec<T>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

/// An account in trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubledAccountInfo {
    /// What it is called.
    pub account: String,
    /// The session ids that it came under.
    pub sessions: Vec<String>,
    /// Where it stands.
    pub state: AccountState,
    /// Since when.
    pub since: UnixMillis,
    /// The code of the last failure.
    pub error: Option<String>,
    /// What happens next, in words.
    pub next: &'static str,
}

/// A monitor in trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TroubledMonitorInfo {
    /// Its chat, without what must not be shown.
    pub chat: String,
    /// Where it stands.
    pub state: MonitorState,
    /// The last trouble.
    pub error: Option<String>,
}

/// How the store fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFigures {
    /// Events that wait for the broker.
    pub outbox_depth: u64,
    /// Submissions that wait to become durable.
    pub waiting: usize,
    /// What it takes on disk, bytes.
    pub disk_bytes: u64,
    /// How long 99 of 100 commits took at the most.
    pub commit_p99: Duration,
}

/// The daemon itself, for admins; for others nothing of it exists.
#[async_trait]
pub trait AdministrationService: Send + Sync + 'static {
    /// How the keys fare.
    async fn key_status(&self, who: &Caller) -> Result<KeyStatus, Refusal>;
    /// Makes a new key and wraps everything with it.
    async fn rotate_keys(&self, who: &Caller) -> Result<KeyStatus, Refusal>;
    /// The health of everything, in detail.
    async fn health(&self, who: &Caller, query: HealthQuery) -> Result<DetailedHealth, Refusal>;
}

/// The service on a tree.
pub(super) struct Administration {
    shared: Shared,
}

#[async_trait]
impl AdministrationService for Administration {
    async fn key_status(&self, who: &Caller) -> Result<KeyStatus, Refusal> {
        as_admin(who)?;
        let status = self.shared.reading(Reader::key_status).await?;
        Ok(KeyStatus {
            provider: status.provider,
            generation: format!("{} ({})", status.generation, status.id),
            created_at: status.created_at,
            pending: status.pending,
        })
    }

    async fn rotate_keys(&self, who: &Caller) -> Result<KeyStatus, Refusal> {
        as_admin(who)?;
        let rotated = |target: &str| self.shared.audit_event(who, &who.user, "keys.rotate", target);
        let store = &self.shared.context.store;
        if let Err(error) = store.rotate_key().await {
            let outcome = Code::Internal.name().to_owned();
            let failed = AuditEvent { outcome, ..rotated("the store") };
            let _ = self.shared.commit(vec![Op::Audit(failed)]).await;
            if let Some(failure) = store.failure() {
                return Err(broken(&failure));
            }
            let detail = format!("the keys were not renewed: {error}");
            return Err(Refusal::new(Code::Internal, detail));
        }
        let status = self.key_status(who).await?;
        self.shared.commit(vec![Op::Audit(rotated(&status.generation))]).await?;
        Ok(status)
    }

    async fn health(&self, who: &Caller, query: HealthQuery) -> Result<DetailedHealth, Refusal> {
        as_admin(who)?;
        let read = |store: &Reader| Ok((store.stats(), store.audit_log_head()?));
        let (stats, head) = self.shared.reading(read).await?;
        Ok(DetailedHealth {
            accounts: self.accounts(&query)?,
            monitors: self.monitors(&query)?,
            tree: self.tree(),
            store: StoreFigures {
                outbox_depth: stats.outbox_depth,
                waiting: stats.waiting,
                disk_bytes: stats.disk_bytes,
                commit_p99: stats.latency_p99,
            },
            audit_newest: head.number,
            audit_hash: head.hash,
        })
    }
}

impl Administration {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared }
    }

    fn tree(&self) -> Vec<MemberSnapshot> {
        let members = self.shared.context.members();
        TABLE
            .iter()
            .filter(|row| row.name.is_some())
            .filter_map(|row| members.of(&row.path()))
            .collect()
    }

    fn accounts(
        &self,
        query: &HealthQuery,
    ) -> Result<TroubledPage<AccountState, TroubledAccountInfo>, Refusal> {
        let (status, directory) = (&self.shared.context.status, &self.shared.context.directory);
        let after = query.accounts_cursor.as_deref().map(key_of_account).transpose()?;
        let troubled = status.troubled_accounts(after, query.limit);
        let last = troubled.listed.last().filter(|_| troubled.is_cut);
        let next_cursor = last.map(|(key, _)| cursor_of(&key.to_string()));
        let account = |(key, view): (AuthKeyId, AccountView)| TroubledAccountInfo {
            account: directory.name_of(key),
            sessions: status.names(key),
            state: view.state,
            since: view.since,
            next: view.why(self.shared.context.now()).next,
            error: view.error.map(|(code, _)| code),
        };
        Ok(TroubledPage {
            by_state: status.account_states(),
            total: troubled.total,
            listed: troubled.listed.into_iter().map(account).collect(),
            next_cursor,
        })
    }

    fn monitors(
        &self,
        query: &HealthQuery,
    ) -> Result<TroubledPage<MonitorState, TroubledMonitorInfo>, Refusal> {
        let status = &self.shared.context.status;
        let after = query.monitors_cursor.as_deref().map(text_of).transpose()?.map(ChatKey);
        let troubled = status.troubled_monitors(after.as_ref(), query.limit, |_| true);
        let last = troubled.listed.last().filter(|_| troubled.is_cut);
        let next_cursor = last.map(|(key, _)| cursor_of(&key.0));
        let monitor = |(key, view): (ChatKey, MonitorView)| TroubledMonitorInfo {
            chat: key.redacted().to_string(),
            state: view.state,
            error: view.error,
        };
        Ok(TroubledPage {
            by_state: status.monitor_states(),
            total: troubled.total,
            listed: troubled.listed.into_iter().map(monitor).collect(),
            next_cursor,
        })
    }
}

fn as_admin(who: &Caller) -> Result<(), Refusal> {
    match who.role {
        Role::Admin => Ok(()),
        // Nobody is told what there is for others.
        Role::User => Err(Refusal::not_found("address")),
    }
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
