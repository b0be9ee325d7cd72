//! What concerns users as a whole: the audit log, erasing, handing out what is kept; and what concerns
//! the daemon: its keys and its health.

use serde_json::json;

use super::{Api, broken, views};
use crate::actors::board::MonitorView;
use crate::actors::context::now;
use crate::edge::http::api::{AuditEntry, AuditQuery, Erased, KeyStatus, Page, Time};
use crate::protocol::estate::{AttachedChat, OwnedAccount};
use crate::protocol::model::MonitorRecord;
use crate::protocol::owner::{Caller, Role, Scope, UserId};
use crate::protocol::refusal::{Code, Refusal};
use crate::protocol::trail::{Deed, Entry};
use crate::store::{Op, TrailQuery};

/// Audit entries that are handed out at the most.
const EXPORTED_ENTRIES_MAX: usize = 100_000;

impl Api {
    pub(super) fn read_trail(
        &self,
        who: &Caller,
        query: AuditQuery,
    ) -> Result<Page<AuditEntry>, Refusal> {
        let before = query.page.cursor.as_deref().map(|cursor| {
            cursor.parse().map_err(|_| Refusal::field("cursor", "it is none that a page gave"))
        });
        let query = TrailQuery {
            user: match who.scope() {
                Scope::Only(user) => Some(user),
                Scope::Everybody => None,
            },
            before: before.transpose()?,
            since: query.since.map(|since| since.0),
            actor: query.actor,
            action: query.action,
            limit: query.page.limit,
        };
        let page = self.context.store.trail(&query).map_err(|error| broken(&error))?;
        let items = page.entries.into_iter().map(audit_entry).collect();
        Ok(Page { items, next_cursor: page.next.map(|next| next.to_string()) })
    }

    /// Everything of a user goes: accounts with their sessions, monitors, logins, chats, sends, webhooks;
    /// in the audit log a pseudonym takes the user's place.
    pub(super) async fn wipe(&self, who: &Caller, user: UserId) -> Result<Erased, Refusal> {
        if !who.is_or_may_see(&user) {
            return Err(Refusal::not_found("user"));
        }
        let erasure = self.context.erasing.begin(&user)?;
        for login in self.context.lobby.open(&user) {
            let as_user = Caller { user: user.clone(), ..who.clone() };
            match self.give_up_login(&as_user, login).await {
                // It has just succeeded, so there is an account to be removed below.
                Err(refusal) if refusal.code == Code::Conflict => {}
                outcome => outcome?,
            }
        }
        erasure.quiet().await?;
        let only = Scope::Only(user.clone());
        let monitors = self.monitors_of(&user)?;
        for record in &monitors {
            self.stop_monitor_of(who, record).await?;
        }
        let accounts = self.context.directory.list(&only, None, usize::MAX, |_| true);
        for account in &accounts {
            self.give_up(who, account, false).await?;
        }
        let query =
            TrailQuery { user: Some(user.clone()), limit: usize::MAX, ..TrailQuery::default() };
        let entries = self.count_entries(query)?;
        let pseudonym = format!("erased-{}", uuid::Uuid::now_v7().simple());
        // The entry that tells of the erasing names nobody who is erased.
        let mut deed = self.deed(who, &user, "user.erase", &pseudonym);
        let stand_in = UserId::new(pseudonym.clone())
            .map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
        deed.owner = stand_in.clone();
        if who.user == user {
            (deed.actor, deed.address) = (stand_in, None);
        }
        let forget = Op::Pseudonymise { user: user.clone(), pseudonym };
        // First, so that nothing is put in line for them behind the deletion.
        self.context.hooks.drop_user(&user).await;
        self.commit(vec![Op::DeleteOwner(user), forget, Op::Audit(deed)]).await?;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(Erased {
            accounts: count(accounts.len()),
            monitors: count(monitors.len()),
            audit_entries: entries,
        })
    }

    fn count_entries(&self, mut query: TrailQuery) -> Result<u64, Refusal> {
        let mut count = 0;
        loop {
            let page = self.context.store.trail(&query).map_err(|error| broken(&error))?;
            count += page.entries.len() as u64;
            match page.next {
                Some(next) => query.before = Some(next),
                None => return Ok(count),
            }
        }
    }

    fn monitors_of(&self, user: &UserId) -> Result<Vec<MonitorRecord>, Refusal> {
        let is_own = |record: &MonitorRecord| record.owner.as_ref() == Some(user);
        let own = self.context.store.monitors(None, usize::MAX, is_own);
        own.map_err(|error| broken(&error))
    }

    /// What is kept of a user, without any secret.
    pub(super) async fn hand_out(&self, who: &Caller, user: UserId) -> Result<Vec<u8>, Refusal> {
        if !who.is_or_may_see(&user) {
            return Err(Refusal::not_found("user"));
        }
        let only = Scope::Only(user.clone());
        let owned = self.context.directory.list(&only, None, usize::MAX, |_| true);
        let chats = self.context.store.rows::<AttachedChat>(&user, None, None, usize::MAX);
        let chats = chats.map_err(|error| broken(&error))?;
        let monitors = self.monitors_of(&user)?;
        let hooks = self.context.hooks.list(&only, None, usize::MAX);
        let hooks =
            hooks.iter().map(|hook| self.webhook_view(hook)).collect::<Result<Vec<_>, _>>()?;
        let trail = self.entries_of(&user)?;
        let account = |account: &OwnedAccount| self.account_view(account);
        let archive = json!({
            "user": user,
            "made_at": Time(now()),
            "accounts": owned.iter().map(account).collect::<Vec<_>>(),
            "chats": chats.into_iter().map(views::chat).collect::<Vec<_>>(),
            "monitors": monitors.iter().map(|record| self.monitor_view(record)).collect::<Vec<_>>(),
            "webhooks": hooks,
            "audit": trail.into_iter().map(audit_entry).collect::<Vec<_>>(),
        });
        self.commit(vec![Op::Audit(self.deed(who, &user, "user.export", &user))]).await?;
        serde_json::to_vec(&archive).map_err(|error| broken(&error))
    }

    /// Everything that the audit log tells of a user, up to a bound.
    fn entries_of(&self, user: &UserId) -> Result<Vec<Entry>, Refusal> {
        let mut query =
            TrailQuery { user: Some(user.clone()), limit: 1_000, ..TrailQuery::default() };
        let mut entries = Vec::new();
        loop {
            let page = self.context.store.trail(&query).map_err(|error| broken(&error))?;
            entries.extend(page.entries);
            match page.next {
                Some(next) if entries.len() < EXPORTED_ENTRIES_MAX => query.before = Some(next),
                _ => return Ok(entries),
            }
        }
    }

    fn as_admin(who: &Caller) -> Result<(), Refusal> {
        match who.role {
            Role::Admin => Ok(()),
            // Nobody is told what there is for others.
            Role::User => Err(Refusal::not_found("address")),
        }
    }

    pub(super) fn keys(&self, who: &Caller) -> Result<KeyStatus, Refusal> {
        Self::as_admin(who)?;
        let status = self.context.store.key_status().map_err(|error| broken(&error))?;
        Ok(KeyStatus {
            provider: status.provider,
            generation: format!("{} ({})", status.generation, status.id),
            created_at: Some(Time(status.created_at)),
            pending: status.pending,
        })
    }

    pub(super) async fn renew_keys(&self, who: &Caller) -> Result<KeyStatus, Refusal> {
        Self::as_admin(who)?;
        if let Err(error) = self.context.store.rotate_key().await {
            let deed = self.deed(who, &who.user, "keys.rotate", "the store");
            let outcome = Code::Internal.name().to_owned();
            let _ = self.commit(vec![Op::Audit(Deed { outcome, ..deed })]).await;
            let detail = format!("the keys were not renewed: {error}");
            return Err(Refusal::new(Code::Internal, detail));
        }
        let status = self.keys(who)?;
        self.commit(vec![Op::Audit(self.deed(who, &who.user, "keys.rotate", &status.generation))])
            .await?;
        Ok(status)
    }

    pub(super) fn detailed(&self, who: &Caller) -> Result<serde_json::Value, Refusal> {
        Self::as_admin(who)?;
        let (accounts, troubled) = self.context.board.accounts(100);
        let (monitors, waiting) = self.context.board.monitors(100);
        let stats = self.context.store.stats();
        let head = self.context.store.trail_head().map_err(|error| broken(&error))?;
        let hash: String = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let account = |(id, view): &(crate::protocol::ids::AuthKeyId, _)| {
            let view: &crate::actors::board::AccountView = view;
            let owned = self.context.directory.of_key(*id);
            json!({
                "account": owned.map(|owned| owned.id.to_string()),
                "sessions": self.context.board.names(*id),
                "state": view.state,
                "since": Time(view.since),
                "error": view.error.as_ref().map(|(code, _)| code),
                "next": view.why(now()).next,
            })
        };
        let monitor = |(key, view): &(crate::protocol::chat::ChatKey, MonitorView)| json!({ "chat": key.redacted(), "state": view.state, "error": view.error });
        Ok(json!({
            "accounts": { "by_state": accounts, "troubled": troubled.iter().map(account).collect::<Vec<_>>() },
            "monitors": { "by_state": monitors, "troubled": waiting.iter().map(monitor).collect::<Vec<_>>() },
            "store": {
                "outbox_depth": stats.outbox_depth,
                "waiting": stats.waiting,
                "disk_bytes": stats.disk_bytes,
                "commit_p99_ms": u64::try_from(stats.latency_p99.as_millis()).unwrap_or(u64::MAX),
            },
            "audit": { "newest": head.number, "hash": hash },
        }))
    }
}

fn audit_entry(entry: Entry) -> AuditEntry {
    let Entry { link, persons } = entry;
    AuditEntry {
        number: link.number,
        at: Time(link.at),
        actor: persons.actor,
        action: link.action,
        target: persons.target,
        address: persons.address,
        outcome: link.outcome,
        hash: link.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
