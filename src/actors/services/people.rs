//! What concerns users as a whole: the audit log, erasing, handing out what is kept; and what concerns
//! the daemon: its keys and its health.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::webhooks::webhook_view;
use super::{Api, broken, views};
use crate::actors::tree::context::now;
use crate::actors::tree::erasing::ErasingGuard;
use crate::edge::http::api::{AuditEntry, AuditQuery, Chat, Erased, KeyStatus, Page, Time};
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::{AuditEvent, Entry};
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::users::owner::{Caller, Role, Scope, UserId};
use crate::store::{AuditLogQuery, Op, Reader, RowId, StoreError};

/// Audit entries that are handed out at the most.
const EXPORTED_ENTRIES_MAX: usize = 100_000;
/// Exports that are made at once: each may take 100 MB of memory while it is made.
pub(super) const EXPORTS_MAX: usize = 2;
/// How long reading for one may take: a hundred thousand entries of the audit log are some seconds.
const EXPORT_MAX: Duration = Duration::from_secs(120);
/// How long a change of an account may be on its way to the disk, and how often that is looked at.
const CHANGE_MAX: Duration = Duration::from_secs(10);
const CHANGE_LOOK: Duration = Duration::from_millis(100);
/// Rows that are read at once.
const PAGE: usize = 1_000;

impl Api {
    pub(super) async fn read_audit_log(
        &self,
        who: &Caller,
        query: AuditQuery,
    ) -> Result<Page<AuditEntry>, Refusal> {
        let before = query.page.cursor.as_deref().map(|cursor| {
            cursor.parse().map_err(|_| Refusal::field("cursor", "it is none that a page gave"))
        });
        let query = AuditLogQuery {
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
        let page = self.reading(move |store| store.audit_log(&query)).await?;
        let items = page.entries.into_iter().map(audit_entry).collect();
        Ok(Page { items, next_cursor: page.next.map(|next| next.to_string()) })
    }

    /// Everything of a user goes: accounts with their sessions, monitors, logins, chats, sends, webhooks;
    /// in the audit log a pseudonym takes the user's place. It goes on when nobody waits for it any more.
    pub(super) async fn wipe(&self, who: &Caller, user: UserId) -> Result<Erased, Refusal> {
        if !who.is_or_may_see(&user) {
            return Err(Refusal::not_found("user"));
        }
        let begun = self.context.erasing.begin(&user)?;
        let (api, who) = (self.clone(), who.clone());
        let erased = tokio::spawn(async move { api.wipe_all(&who, begun).await });
        erased.await.map_err(|error| broken(&error))?
    }

    async fn wipe_all(&self, who: &Caller, mut begun: ErasingGuard) -> Result<Erased, Refusal> {
        let user = begun.user().clone();
        self.give_up_logins(who, &user).await?;
        begun.quiet().await?;
        let keys = self.monitor_keys_of(&user);
        let monitors = self.reading(move |store| store.monitors_at(&keys)).await?;
        let only = Scope::Only(user.clone());
        let accounts = self.context.directory.list(&only, None, usize::MAX, |_| true);
        let erasure = self.erasure_of(who, &user).await?;
        self.context.store.mark_erasure(&erasure).await.map_err(|error| broken(&error))?;
        begun.marked();
        for record in &monitors {
            self.stop_monitor_of(who, record).await?;
        }
        for account in &accounts {
            self.give_up_patiently(who, account).await?;
        }
        // First, so that nothing is put in line for them behind the deletion.
        self.hooks.drop_user(&user).await;
        let entries = self.context.store.erase(&erasure).await.map_err(|error| broken(&error))?;
        self.context.changes.forget(&user);
        self.context.status.forget(&user);
        begun.over();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(Erased {
            accounts: count(accounts.len()),
            monitors: count(monitors.len()),
            audit_entries: entries,
        })
    }

    async fn give_up_logins(&self, who: &Caller, user: &UserId) -> Result<(), Refusal> {
        for login in self.context.login_registry.open(user) {
            let as_user = Caller { user: user.clone(), ..who.clone() };
            match self.give_up_login(&as_user, login).await {
                // It has just succeeded, so there is an account to be removed later.
                Err(refusal) if refusal.code == Code::Conflict => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Gives up an account of which another change may still be on its way to the disk.
    async fn give_up_patiently(&self, who: &Caller, account: &OwnedAccount) -> Result<(), Refusal> {
        let until = Instant::now() + CHANGE_MAX;
        loop {
            match self.give_up(who, account, false).await {
                Err(refusal) if refusal.code == Code::NotFound => return Ok(()),
                Err(refusal) if refusal.code == Code::Conflict && Instant::now() < until => {
                    tokio::time::sleep(CHANGE_LOOK).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The mark of an erasing: the one that is there already, if it was begun before.
    async fn erasure_of(&self, who: &Caller, user: &UserId) -> Result<Erasure, Refusal> {
        let known = self.reading(Reader::erasures).await?;
        if let Some(known) = known.into_iter().find(|known| known.user == *user) {
            return Ok(known);
        }
        let pseudonym = UserId::new(format!("erased-{}", uuid::Uuid::now_v7().simple()));
        let is_other = who.user != *user;
        Ok(Erasure {
            user: user.clone(),
            pseudonym: pseudonym.map_err(|error| broken(&error))?,
            asked_by: is_other.then(|| who.user.clone()),
            address: who.address.filter(|_| is_other).map(|address| address.to_string()),
            at: now(),
        })
    }

    /// The keys of all monitors of a user. Reads nothing from disk.
    fn monitor_keys_of(&self, user: &UserId) -> Vec<ChatKey> {
        self.context.store.monitor_keys(&Scope::Only(user.clone()), None, usize::MAX)
    }

    /// What is kept of a user, without any secret.
    pub(super) async fn hand_out(&self, who: &Caller, user: UserId) -> Result<Vec<u8>, Refusal> {
        if !who.is_or_may_see(&user) {
            return Err(Refusal::not_found("user"));
        }
        let _busy = self.context.erasing.enter(&user)?;
        let room = Arc::clone(&self.exports).try_acquire_owned().map_err(|_| {
            let detail = format!("{EXPORTS_MAX} exports are being made already; ask again");
            Refusal::new(Code::Overloaded, detail).after(10)
        })?;
        let (api, of) = (self.clone(), user.clone());
        let export = self.context.store.read_within(EXPORT_MAX, move |store| {
            // Also when nobody waits for it any more: what it reads is being read.
            let _room = room;
            api.export_of(store, &of)
        });
        let archive = export.await.map_err(|error| broken(&error))?;
        self.commit(vec![Op::Audit(self.audit_event(who, &user, "user.export", &user))]).await?;
        Ok(archive)
    }

    /// The archive of a user. Reads much, and blocks for it.
    fn export_of(&self, store: &Reader, user: &UserId) -> Result<Vec<u8>, StoreError> {
        let only = Scope::Only(user.clone());
        let owned = self.context.directory.list(&only, None, usize::MAX, |_| true);
        let hooks = self.hooks.list(&only, None, usize::MAX);
        let hooks = hooks.iter().map(|hook| webhook_view(store, hook));
        let account = |account: &OwnedAccount| self.account_view(account);
        let monitor = |record: &MonitorRecord| self.monitor_view(record);
        let monitors = store.monitors_at(&self.monitor_keys_of(user))?;
        let archive = json!({
            "user": user,
            "made_at": Time(now()),
            "accounts": owned.iter().map(account).collect::<Vec<_>>(),
            "chats": chats_of(store, user)?,
            "monitors": monitors.iter().map(monitor).collect::<Vec<_>>(),
            "webhooks": hooks.collect::<Result<Vec<_>, _>>()?,
            "audit": entries_of(store, user)?,
        });
        Ok(archive.to_string().into_bytes())
    }

    pub(super) fn as_admin(who: &Caller) -> Result<(), Refusal> {
        match who.role {
            Role::Admin => Ok(()),
            // Nobody is told what there is for others.
            Role::User => Err(Refusal::not_found("address")),
        }
    }

    pub(super) async fn keys(&self, who: &Caller) -> Result<KeyStatus, Refusal> {
        Self::as_admin(who)?;
        let status = self.reading(Reader::key_status).await?;
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
            let audit_event = self.audit_event(who, &who.user, "keys.rotate", "the store");
            let outcome = Code::Internal.name().to_owned();
            let _ = self.commit(vec![Op::Audit(AuditEvent { outcome, ..audit_event })]).await;
            if let Some(failure) = self.context.store.failure() {
                return Err(broken(&failure));
            }
            let detail = format!("the keys were not renewed: {error}");
            return Err(Refusal::new(Code::Internal, detail));
        }
        let status = self.keys(who).await?;
        self.commit(vec![Op::Audit(self.audit_event(
            who,
            &who.user,
            "keys.rotate",
            &status.generation,
        ))])
        .await?;
        Ok(status)
    }
}

fn chats_of(store: &Reader, user: &UserId) -> Result<Vec<Chat>, StoreError> {
    let (mut chats, mut after) = (Vec::new(), None);
    loop {
        let page = store.rows::<AttachedChat>(user, None, after, PAGE)?;
        after = page.last().map(|last| RowId::from((last.account, last.chat)));
        if after.is_none() {
            return Ok(chats);
        }
        chats.extend(page.into_iter().map(views::chat));
    }
}

/// Everything that the audit log tells of a user, up to a bound.
fn entries_of(store: &Reader, user: &UserId) -> Result<Vec<AuditEntry>, StoreError> {
    let mut query =
        AuditLogQuery { user: Some(user.clone()), limit: PAGE, ..AuditLogQuery::default() };
    let mut entries = Vec::new();
    loop {
        let page = store.audit_log(&query)?;
        entries.extend(page.entries.into_iter().map(audit_entry));
        match page.next {
            Some(next) if entries.len() < EXPORTED_ENTRIES_MAX => query.before = Some(next),
            _ => return Ok(entries),
        }
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
