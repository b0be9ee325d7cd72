//! Everything of a user: erased, or handed out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::accounts::Accounts;
use super::campaigns::Campaigns;
use super::logins::{LoginService, Logins};
use super::monitors::Monitors;
use super::suppression::holds;
use super::webhooks::{WebhookInfo, webhook_info};
use super::{Shared, broken};
use crate::actors::tree::erasing::ErasingGuard;
use crate::actors::webhooks::supervisor::Hooks;
use crate::clock::instant;
use crate::protocol::accounts::owned::{AttachedChat, OwnedAccount};
use crate::protocol::answers::account::AccountInfo;
use crate::protocol::answers::campaign::CampaignInfo;
use crate::protocol::answers::erasure::Erasure;
use crate::protocol::answers::monitor::MonitorInfo;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::Entry;
use crate::protocol::campaigns::respect::{List, Suppression};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::Target;
use crate::protocol::campaigns::task::Task;
use crate::protocol::telegram::chat::ChatKey;
use crate::protocol::users::owner::{Caller, Scope, UserId};
use crate::protocol::values::ids::UnixMillis;
use crate::store::{AuditLogQuery, Op, Reader, RowId, StoreError};
use crate::tasks;

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
/// People of campaigns, and entries of the list of whom they never contact, that are handed out at the most.
const EXPORTED_PEOPLE_MAX: usize = 100_000;
/// Blocks of targets that are read at once.
const BLOCKS: u32 = 64;

/// What became of a user's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Accounts whose sessions were wiped.
    pub accounts: u64,
    /// Monitors that were stopped.
    pub monitors: u64,
    /// Audit entries that were pseudonymised.
    pub audit_entries: u64,
}

/// What is kept of a user, without any secret.
#[derive(Clone, Debug)]
pub struct UserArchive {
    /// Whose it is.
    pub user: UserId,
    /// When it was put together.
    pub made_at: UnixMillis,
    /// The accounts.
    pub accounts: Vec<AccountInfo>,
    /// The chats attached to them.
    pub chats: Vec<AttachedChat>,
    /// The monitors.
    pub monitors: Vec<MonitorInfo>,
    /// The webhooks.
    pub webhooks: Vec<WebhookInfo>,
    /// The campaigns, each with whom it is for.
    pub campaigns: Vec<ArchivedCampaign>,
    /// Who is never contacted, the newest first; bounded.
    pub suppression: Vec<Suppression>,
    /// What the audit log tells of the user, the newest entries first; bounded.
    pub audit: Vec<Entry>,
}

/// A campaign with whom it is for.
#[derive(Clone, Debug)]
pub struct ArchivedCampaign {
    /// What it is, and how it fares.
    pub info: CampaignInfo,
    /// Its targets, until the archive was full.
    pub targets: Vec<Target>,
    /// How many are left out: its report has all of them.
    pub targets_left_out: u64,
}

/// Writes an archive in the form in which it is handed out. It runs on a thread that may block, within the bound on
/// exports made at once.
pub type WriteArchive = Box<dyn FnOnce(UserArchive) -> Vec<u8> + Send>;

/// Everything of a user.
#[async_trait]
pub trait UserDataService: Send + Sync + 'static {
    /// Wipes everything of a user: accounts with their sessions, monitors, logins, chats, sends, webhooks; in the
    /// audit log a pseudonym takes the user's place. It goes on when nobody waits for it any more.
    async fn erase(&self, who: &Caller, user: UserId) -> Result<Erased, Refusal>;

    /// Everything of a user without secrets, as `write` writes it.
    async fn export(
        &self,
        who: &Caller,
        user: UserId,
        write: WriteArchive,
    ) -> Result<Vec<u8>, Refusal>;
}

/// The service on a tree.
#[derive(Clone)]
pub(super) struct UserData {
    shared: Shared,
    accounts: Accounts,
    logins: Logins,
    monitors: Monitors,
    campaigns: Campaigns,
    hooks: Arc<Hooks>,
    /// The room for exports, which may be large.
    exports: Arc<Semaphore>,
}

#[async_trait]
impl UserDataService for UserData {
    async fn erase(&self, who: &Caller, user: UserId) -> Result<Erased, Refusal> {
        if !who.is_or_may_see(&user) {
            return Err(Refusal::not_found("user"));
        }
        let begun = self.shared.context.erasing.begin(&user)?;
        let (service, who) = (self.clone(), who.clone());
        let erased = tasks::brief(async move { service.erase_all(&who, begun).await });
        erased.await.map_err(|error| broken(&error))?
    }

    async fn export(
        &self,
        who: &Caller,
        user: UserId,
        write: WriteArchive,
    ) -> Result<Vec<u8>, Refusal> {
        if !who.is_or_may_see(&user) {
            return Err(Refusal::not_found("user"));
        }
        let _busy = self.shared.context.erasing.enter(&user)?;
        let room = Arc::clone(&self.exports).try_acquire_owned().map_err(|_| {
            let detail = format!("{EXPORTS_MAX} exports are being made already; ask again");
            Refusal::new(Code::Overloaded, detail).after(10)
        })?;
        let (service, of) = (self.clone(), user.clone());
        let export = self.shared.context.store.read_within(EXPORT_MAX, move |store| {
            // Also when nobody waits for it any more: what it reads is being read.
            let _room = room;
            service.archive_of(store, of).map(write)
        });
        let archive = export.await.map_err(|error| broken(&error))?;
        let exported = Op::Audit(self.shared.audit_event(who, &user, "user.export", &user));
        self.shared.commit(vec![exported]).await?;
        Ok(archive)
    }
}

impl UserData {
    pub(super) fn new(
        accounts: Accounts,
        logins: Logins,
        monitors: Monitors,
        campaigns: Campaigns,
        hooks: Arc<Hooks>,
    ) -> Self {
        let (shared, exports) = (accounts.shared.clone(), Arc::new(Semaphore::new(EXPORTS_MAX)));
        Self { shared, accounts, logins, monitors, campaigns, hooks, exports }
    }

    async fn erase_all(&self, who: &Caller, mut begun: ErasingGuard) -> Result<Erased, Refusal> {
        let (context, user) = (&self.shared.context, begun.user().clone());
        self.abandon_logins(who, &user).await?;
        begun.quiet().await?;
        let keys = self.monitor_keys_of(&user);
        let monitors = self.shared.reading(move |store| store.monitors_at(&keys)).await?;
        let only = Scope::Only(user.clone());
        let accounts = context.directory.list(&only, None, usize::MAX, |_| true);
        let erasure = self.erasure_of(who, &user).await?;
        context.store.mark_erasure(&erasure).await.map_err(|error| broken(&error))?;
        begun.marked();
        for record in &monitors {
            self.monitors.stop(who, record).await?;
        }
        // Nothing of them acts for it, or writes, from here on.
        self.campaigns.forget(&user).await?;
        for account in &accounts {
            self.give_up_patiently(who, account).await?;
        }
        // First, so that nothing is queued for them behind the deletion.
        self.hooks.drop_user(&user).await;
        let entries = context.store.erase(&erasure).await.map_err(|error| broken(&error))?;
        context.changes.forget(&user);
        context.status.forget(&user);
        begun.over();
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Ok(Erased {
            accounts: count(accounts.len()),
            monitors: count(monitors.len()),
            audit_entries: entries,
        })
    }

    async fn abandon_logins(&self, who: &Caller, user: &UserId) -> Result<(), Refusal> {
        for login in self.shared.context.login_registry.open(user) {
            let as_user = Caller { user: user.clone(), ..who.clone() };
            match self.logins.abandon(&as_user, login).await {
                // It has just succeeded, so there is an account to be removed later.
                Err(refusal) if refusal.code == Code::Conflict => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    /// Gives up an account of which another change may still be on its way to the disk.
    async fn give_up_patiently(&self, who: &Caller, account: &OwnedAccount) -> Result<(), Refusal> {
        let until = instant() + CHANGE_MAX;
        loop {
            match self.accounts.give_up(who, account, false).await {
                Err(refusal) if refusal.code == Code::NotFound => return Ok(()),
                Err(refusal) if refusal.code == Code::Conflict && instant() < until => {
                    tokio::time::sleep(CHANGE_LOOK).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// The mark of an erasing: the one that is there already, if it was begun before.
    async fn erasure_of(&self, who: &Caller, user: &UserId) -> Result<Erasure, Refusal> {
        let known = self.shared.reading(Reader::erasures).await?;
        if let Some(known) = known.into_iter().find(|known| known.user == *user) {
            return Ok(known);
        }
        let pseudonym = UserId::new(format!("erased-{}", self.shared.context.new_id().simple()));
        let is_other = who.user != *user;
        Ok(Erasure {
            user: user.clone(),
            pseudonym: pseudonym.map_err(|error| broken(&error))?,
            asked_by: is_other.then(|| who.user.clone()),
            address: who.address.filter(|_| is_other).map(|address| address.to_string()),
            at: self.shared.context.now(),
        })
    }

    /// The keys of all monitors of a user. Reads nothing from disk.
    fn monitor_keys_of(&self, user: &UserId) -> Vec<ChatKey> {
        self.shared.context.store.monitor_keys(&Scope::Only(user.clone()), None, usize::MAX)
    }

    fn campaigns_of(
        &self,
        store: &Reader,
        user: &UserId,
    ) -> Result<Vec<ArchivedCampaign>, StoreError> {
        let (mut campaigns, mut room) = (Vec::new(), EXPORTED_PEOPLE_MAX);
        for (_, id, _) in store.tasks_of(&Scope::Only(user.clone()))? {
            let Some(task) = store.row::<Task>(user, id)? else { continue };
            let run = store.row::<TaskRun>(user, id)?.unwrap_or_else(|| TaskRun::new(&task));
            let targets = targets_of(store, &task, room)?;
            room -= targets.len();
            let left_out = run.statistics.total().saturating_sub(targets.len() as u64);
            let info = self.campaigns.own_info(task, &run);
            campaigns.push(ArchivedCampaign { info, targets, targets_left_out: left_out });
        }
        Ok(campaigns)
    }

    /// The user's list of who is never contacted, as it is shown.
    fn suppressed_by(&self, store: &Reader, user: &UserId) -> Result<Vec<Suppression>, StoreError> {
        let (list, key) = (List::User(user.clone()), self.campaigns.context.installation_key());
        let mut standing = Vec::new();
        for entry in store.suppressions(&list, None, EXPORTED_PEOPLE_MAX)? {
            if holds(store, &entry, key)? {
                standing.push(entry);
            }
        }
        Ok(standing)
    }

    /// The archive of a user. Reads much, and blocks for it.
    fn archive_of(&self, store: &Reader, user: UserId) -> Result<UserArchive, StoreError> {
        let only = Scope::Only(user.clone());
        let owned = self.shared.context.directory.list(&only, None, usize::MAX, |_| true);
        let hooks = self.hooks.list(&only, None, usize::MAX);
        let hooks = hooks.iter().map(|hook| webhook_info(store, hook));
        let monitors = store.monitors_at(&self.monitor_keys_of(&user))?;
        Ok(UserArchive {
            made_at: self.shared.context.now(),
            accounts: owned.iter().map(|account| self.accounts.info(account)).collect(),
            chats: chats_of(store, &user)?,
            monitors: monitors.iter().map(|record| self.monitors.info(record)).collect(),
            webhooks: hooks.collect::<Result<_, _>>()?,
            campaigns: self.campaigns_of(store, &user)?,
            suppression: self.suppressed_by(store, &user)?,
            audit: entries_of(store, &user)?,
            user,
        })
    }
}

fn targets_of(store: &Reader, task: &Task, room: usize) -> Result<Vec<Target>, StoreError> {
    let (mut targets, mut from) = (Vec::new(), 0);
    while targets.len() < room {
        let blocks = store.target_blocks(&task.user, task.id, from..from + BLOCKS)?;
        let Some(last) = blocks.last() else { break };
        from = last.number + 1;
        targets.extend(blocks.into_iter().flat_map(|block| block.targets));
    }
    targets.truncate(room);
    Ok(targets)
}

fn chats_of(store: &Reader, user: &UserId) -> Result<Vec<AttachedChat>, StoreError> {
    let (mut chats, mut after) = (Vec::new(), None);
    loop {
        let page = store.rows::<AttachedChat>(user, None, after, PAGE)?;
        after = page.last().map(|last| RowId::from((last.account, last.chat)));
        if after.is_none() {
            return Ok(chats);
        }
        chats.extend(page);
    }
}

/// Everything that the audit log tells of a user, up to a bound.
fn entries_of(store: &Reader, user: &UserId) -> Result<Vec<Entry>, StoreError> {
    let mut query =
        AuditLogQuery { user: Some(user.clone()), limit: PAGE, ..AuditLogQuery::default() };
    let mut entries = Vec::new();
    loop {
        let page = store.audit_log(&query)?;
        entries.extend(page.entries);
        match page.next {
            Some(next) if entries.len() < EXPORTED_ENTRIES_MAX => query.before = Some(next),
            _ => return Ok(entries),
        }
    }
}
