//! Which accounts campaigns may use, and how all campaigns of one user stand.

use super::Campaigns;
use crate::actors::tree::calling::broken;
use crate::protocol::answers::campaign::{CampaignAccountInfo, CampaignsHealth, HeldTask};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::account::{AccountStatus, Hold, Holding};
use crate::protocol::campaigns::caps::BUDGETS;
use crate::protocol::campaigns::target::Step;
use crate::protocol::campaigns::task::{TASK_STATUSES, Task, TaskId, TaskStatus};
use crate::protocol::users::owner::{AccountId, Scope, UserId};
use crate::store::Reader;

/// Held tasks that are told of.
const HELD_MAX: usize = 100;

impl Campaigns {
    /// A user's accounts as campaigns may use them.
    pub(super) async fn accounts_of(
        &self,
        user: &UserId,
    ) -> Result<Vec<CampaignAccountInfo>, Refusal> {
        let own = Scope::Only(user.clone());
        let all = self.context.directory.list(&own, None, usize::MAX, |account| !account.is_bot);
        for account in &all {
            let loaded = self.context.budgets.load(&self.context, account).await;
            loaded.map_err(|error| broken(&error))?;
        }
        let caps = self.context.settings.caps;
        let infos = self.context.budgets.with(&self.context, |accounts, now| {
            let info = |id: &AccountId| {
                let account = accounts.get(id)?;
                let held = account.check(Step::Send, false, &caps, now).err();
                let left = |budget| (budget, account.usage.left(budget, &caps, now));
                Some(CampaignAccountInfo {
                    account: *id,
                    status: account.status(Step::Send, false, now),
                    left: BUDGETS.into_iter().map(left).collect(),
                    held: held.map(|Holding { hold, until }| (words_of(hold), until)),
                })
            };
            all.iter().filter_map(|account| info(&account.id)).collect()
        });
        Ok(infos)
    }

    /// How all campaigns of a user stand, and what holds them.
    pub(super) async fn health_of(&self, user: &UserId) -> Result<CampaignsHealth, Refusal> {
        let owner = user.clone();
        let tasks = self.shared.reading(move |store| store.task_statuses(&owner)).await?;
        let count = |status| tasks.iter().filter(|(_, at)| *at == status).count() as u64;
        let by_status = TASK_STATUSES.map(|status| (status, count(status))).to_vec();
        let error = |id| self.context.status.campaign_view(user, id).and_then(|view| view.error);
        // The newest first.
        let is_held = |(id, status): &&(TaskId, TaskStatus)| match status {
            TaskStatus::Paused => true,
            TaskStatus::Running | TaskStatus::Scheduled => error(*id).is_some(),
            _ => false,
        };
        let all: Vec<TaskId> = tasks.iter().rev().filter(is_held).map(|(id, _)| *id).collect();
        let (owner, shown) = (user.clone(), all.iter().copied().take(HELD_MAX).collect::<Vec<_>>());
        let read = move |store: &Reader| {
            let mut found = Vec::new();
            for id in shown {
                // Only what is told of them is held.
                let task = store.row::<Task>(&owner, id)?;
                found.extend(task.map(|task| (id, task.title, task.status, task.paused_because)));
            }
            Ok(found)
        };
        let held =
            self.shared.reading(read).await?.into_iter().map(|(task, title, status, because)| {
                HeldTask { task, title, status, because, error: error(task) }
            });
        let accounts = self.accounts_of(user).await?;
        Ok(CampaignsHealth {
            tasks: by_status,
            running_max: self.context.settings.running_max,
            held: held.collect(),
            held_left_out: all.len().saturating_sub(HELD_MAX) as u64,
            ..health_of_accounts(&accounts)
        })
    }
}

/// What the accounts say of it.
fn health_of_accounts(accounts: &[CampaignAccountInfo]) -> CampaignsHealth {
    let mut health = CampaignsHealth {
        accounts: [
            AccountStatus::Active,
            AccountStatus::Cooldown,
            AccountStatus::Limited,
            AccountStatus::Blocked,
        ]
        .map(|status| (status, 0))
        .to_vec(),
        left: BUDGETS.map(|budget| (budget, 0)).to_vec(),
        ..CampaignsHealth::default()
    };
    for account in accounts {
        let same = health.accounts.iter_mut().filter(|(status, _)| *status == account.status);
        same.for_each(|(_, count)| *count += 1);
        if let Some((why, _)) = account.held {
            match health.accounts_held.iter_mut().find(|(known, _)| *known == why) {
                Some((_, count)) => *count += 1,
                None => health.accounts_held.push((why, 1)),
            }
        }
        // Whoever is limited or gone does nothing with what is left.
        if matches!(account.status, AccountStatus::Active | AccountStatus::Cooldown) {
            for (budget, left) in &account.left {
                let sums = health.left.iter_mut().filter(|(known, _)| known == budget);
                sums.for_each(|(_, sum)| *sum += u64::from(*left));
            }
        }
    }
    health
}

/// What holds an account, in words.
fn words_of(hold: Hold) -> &'static str {
    match hold {
        Hold::Gone => "its session is over, frozen or removed",
        Hold::Disconnected => "it is not connected",
        Hold::OwnWork => "its own users want something of it",
        Hold::Busy => "it is acting",
        Hold::Limited => "telegram has limited it",
        Hold::FloodWait => "telegram has it wait",
        Hold::PhoneLookups => "it has met too many phone numbers that nobody has",
        Hold::Cap(_) => "a cap, or the pause between two actions",
    }
}
