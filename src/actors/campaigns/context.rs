//! What campaigns share.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::platform::Platform;
use crate::actors::accounts::context::AccountsContext;
use crate::actors::tree::keyed_lock::KeyedLock;
use crate::protocol::campaigns::caps::{Caps, DAY_MS};
use crate::protocol::campaigns::fitness::names_of;
use crate::protocol::campaigns::identity::{Country, Identifier};
use crate::protocol::campaigns::opt_out::Phrases;
use crate::protocol::campaigns::respect::{
    Contacted, Covers, KnownAs, List, ListTag, Source, Suppression, SuppressionId, SuppressionKey,
};
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::Target;
use crate::protocol::campaigns::task::{TaskId, TaskStatus};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::UserId;
use crate::store::{ContactedRecord, InstallationKey, Op, Reader, StoreError};

/// Settings of campaigns.
#[derive(Clone, Debug)]
pub struct CampaignSettings {
    /// Targets of a task, at most.
    pub targets_max: u32,
    /// Tasks of one user that run at once, at most.
    pub running_max: u32,
    /// Days during which nobody is contacted by two tasks.
    pub recontact_days: u32,
    /// Whether that holds over all users of this installation.
    pub is_recontact_shared: bool,
    /// Least pause between two actions of an account, seconds.
    pub min_pause_seconds: u32,
    /// Caps of every account.
    pub caps: Caps,
    /// How late a task may begin without a person, milliseconds.
    pub max_late_ms: i64,
    /// Where phone numbers without a country code are from.
    pub country: Option<Country>,
    /// What replies opt out.
    pub phrases: Phrases,
}

#[cfg(test)]
impl CampaignSettings {
    /// As they are without a configuration.
    pub(crate) fn for_tests() -> Self {
        Self {
            targets_max: 1_000,
            running_max: 10,
            recontact_days: crate::protocol::campaigns::respect::RECONTACT_DAYS,
            is_recontact_shared: false,
            min_pause_seconds: crate::protocol::campaigns::pace::MIN_PAUSE_SECONDS,
            caps: Caps::default(),
            max_late_ms: crate::protocol::campaigns::schedule::MAX_LATE_MS,
            country: None,
            phrases: Phrases::with([]),
        }
    }
}

/// The accounts' context, and what campaigns share.
pub(in crate::actors) struct CampaignsContext {
    pub(in crate::actors) accounts: Arc<AccountsContext>,
    pub(in crate::actors) settings: CampaignSettings,
    pub(in crate::actors) platform: Arc<dyn Platform>,
    /// Makes the names under which refusals are found.
    installation_key: InstallationKey,
    refusals: Mutex<RefusalsUnderWay>,
    /// Who is being contacted now, and by which task.
    contacting: Mutex<HashMap<i64, TaskId>>,
    /// Whose replies are being heeded.
    pub(super) replying: KeyedLock<i64>,
}

impl Deref for CampaignsContext {
    type Target = AccountsContext;

    fn deref(&self) -> &AccountsContext {
        &self.accounts
    }
}

/// For how many days who was reached is known at least, so that their replies are understood.
const REPLY_DAYS: u32 = 365;

/// What somebody refuses, and how that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    pub(super) covers: Covers,
    /// Which group, for [`Covers::ThisGroup`].
    pub(super) group: Option<MarkedId>,
    pub(super) source: Source,
    /// A person has to read it.
    pub(super) is_doubtful: bool,
}

/// Refusals on their way to the disk. Who has looked for refusals looks again where some came through meanwhile, and
/// holds where some are under way: so none that is durable before an intent is passed over by it.
#[derive(Debug, Default)]
struct RefusalsUnderWay {
    keys: HashMap<SuppressionKey, UnderWay>,
    /// Counts those that came through.
    through: u64,
}

/// What is under way under one key.
#[derive(Debug, Default)]
struct UnderWay {
    /// How many.
    now: u32,
    /// How many there were since somebody was the first.
    since: u32,
}

/// Refusals that are on their way to the disk as long as this lives.
pub(in crate::actors) struct Refusing {
    context: Arc<CampaignsContext>,
    keys: Vec<SuppressionKey>,
}

impl Refusing {
    /// Whether nobody else has been writing down a refusal under any of its keys as long as it lives: then what is
    /// there is what was read meanwhile.
    pub(in crate::actors) fn is_alone(&self) -> bool {
        let refusals = self.context.refusals();
        self.keys.iter().all(|key| refusals.keys.get(key).is_some_and(|one| one.since == 1))
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        let mut refusals = self.context.refusals();
        refusals.through += 1;
        for key in &self.keys {
            if let Some(under_way) = refusals.keys.get_mut(key) {
                under_way.now -= 1;
                if under_way.now == 0 {
                    refusals.keys.remove(key);
                }
            }
        }
    }
}

/// The right to contact somebody: nobody else does while it lives.
pub(super) struct Contacting {
    context: Arc<CampaignsContext>,
    person: i64,
}

impl Drop for Contacting {
    fn drop(&mut self) {
        let mut contacting = self.context.contacting.lock().unwrap_or_else(PoisonError::into_inner);
        contacting.remove(&self.person);
    }
}

impl CampaignsContext {
    /// Puts the parts together.
    pub(in crate::actors) fn new(
        accounts: Arc<AccountsContext>,
        settings: CampaignSettings,
        platform: Arc<dyn Platform>,
        installation_key: InstallationKey,
    ) -> Arc<Self> {
        Arc::new(Self {
            accounts,
            settings,
            platform,
            installation_key,
            refusals: Mutex::default(),
            contacting: Mutex::default(),
            replying: KeyedLock::default(),
        })
    }

    /// The names under which refusals of somebody may lie.
    pub(in crate::actors) fn keys(&self, known: &KnownAs) -> Vec<SuppressionKey> {
        known.keys(self.installation_key.expose())
    }

    /// Under what refusals of a target may lie.
    pub(super) fn refusal_keys(&self, target: &Target) -> Vec<SuppressionKey> {
        self.keys_of(&names_of(target, self.settings.country))
    }

    /// Under what refusals lie that were written down for one of `names`.
    pub(in crate::actors) fn keys_of(&self, names: &[Identifier]) -> Vec<SuppressionKey> {
        names.iter().map(|name| SuppressionKey::of(self.installation_key(), name)).collect()
    }

    /// The name of a user's list.
    pub(in crate::actors) fn list_of(&self, user: &UserId) -> ListTag {
        ListTag::of(self.installation_key.expose(), &List::User(user.clone()))
    }

    fn refusals(&self) -> MutexGuard<'_, RefusalsUnderWay> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before refusals are handed to the store, and kept until they are durable.
    pub(in crate::actors) fn refusing(self: &Arc<Self>, keys: Vec<SuppressionKey>) -> Refusing {
        let mut refusals = self.refusals();
        for key in &keys {
            let under_way = refusals.keys.entry(*key).or_default();
            under_way.now += 1;
            under_way.since += 1;
        }
        drop(refusals);
        Refusing { context: Arc::clone(self), keys }
    }

    /// A mark for whoever looks for refusals from here on: see [`CampaignsContext::is_still_free`].
    pub(super) fn refusals_mark(&self) -> u64 {
        self.refusals().through
    }

    /// Whether who found no refusals under `keys` after the mark `since` would find none now.
    pub(super) fn is_still_free(&self, keys: &[SuppressionKey], since: u64) -> bool {
        let refusals = self.refusals();
        refusals.through == since && keys.iter().all(|key| !refusals.keys.contains_key(key))
    }

    /// The installation's key, for entries of the lists.
    pub(in crate::actors) fn installation_key(&self) -> &[u8; 32] {
        self.installation_key.expose()
    }

    /// Entries on a user's list by which somebody is not contacted any more, under each of their names, and what is
    /// looked up of them. Each takes the place of the one that told of the same refusal before. To be written while [`CampaignsContext::refusing`] holds.
    pub(super) fn put_refusals(
        &self,
        user: &UserId,
        refused: &Refused,
        known: &KnownAs,
    ) -> Vec<Op> {
        let Refused { covers, group, source, is_doubtful } = *refused;
        let key = self.installation_key();
        let mut ops = Vec::new();
        for identifier in known.identifiers() {
            let entry = Suppression {
                id: SuppressionId(self.new_id()),
                key: SuppressionKey::of(key, &identifier),
                list: List::User(user.clone()),
                covers,
                group,
                source,
                is_doubtful,
                since: self.now(),
                identifier: Some(identifier),
            };
            ops.extend(Op::refuse(&entry, key));
        }
        ops
    }

    /// What is to be written when a task of `user` reaches somebody.
    pub(super) fn contacted(&self, person: i64, user: &UserId, contacted: Contacted) -> Op {
        let list = self.recontact_list(user);
        let days = self.settings.recontact_days.max(REPLY_DAYS);
        let until = contacted.at.plus_ms(i64::from(days) * DAY_MS);
        Op::put_shared(&ContactedRecord { person, list, last: contacted, until })
    }

    /// What is to be written when it turns out that no task of `user` has reached somebody.
    pub(super) fn never_contacted(&self, person: i64, user: &UserId) -> Op {
        Op::delete_shared::<ContactedRecord>((person, self.recontact_list(user)))
    }

    /// Whose contacts count for the recontact window of a task of `user`.
    pub(super) fn recontact_list(&self, user: &UserId) -> ListTag {
        if self.settings.is_recontact_shared { ListTag::INSTALLATION } else { self.list_of(user) }
    }

    /// How many tasks of a user run, by what the store says: those count that have no actor yet, too. Holds still while
    /// the user's turn is held.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn campaigns_running(&self, user: &UserId) -> Result<usize, StoreError> {
        let user = user.clone();
        let statuses = self.store.read(move |store: &Reader| store.task_statuses(&user)).await?;
        Ok(statuses.iter().filter(|(_, status)| *status == TaskStatus::Running).count())
    }

    /// Whether the settings of a task leave no time in which people may be contacted.
    pub(super) async fn has_no_contact_time(&self, settings: &Settings) -> bool {
        let (settings, now) = (settings.clone(), self.now());
        // Years of nights in many zones are some milliseconds.
        let found = tokio::task::spawn_blocking(move || settings.leave_no_contact_time(now)).await;
        found.unwrap_or(false)
    }

    /// Has `task` contact somebody; `None` while another does.
    pub(super) fn contact(self: &Arc<Self>, person: i64, task: TaskId) -> Option<Contacting> {
        let mut contacting = self.contacting.lock().unwrap_or_else(PoisonError::into_inner);
        if contacting.contains_key(&person) {
            return None;
        }
        contacting.insert(person, task);
        Some(Contacting { context: Arc::clone(self), person })
    }
}
