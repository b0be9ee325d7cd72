//! The allocator of one user: chooses, over all running tasks of that user, which account does what for whom next, one
//! action at a time, and tells the campaign. Owns the queues of who waits and whose turn it is; both are made anew after
//! a crash. The rules are `protocol/campaigns/choose.rs`. Accounts are never shared between users, so neither is this.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::campaign::CampaignMsg;
use super::context::CampaignsContext;
use super::platform::AccountStanding;
use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, MessagingErr, named};
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::account::CampaignAccount;
use crate::protocol::campaigns::caps::Caps;
use crate::protocol::campaigns::choose::{
    Action, Binding, Bindings, Choice, RunningTask, TaskHold, Turns, choose,
};
use crate::protocol::campaigns::pace::Breaker;
use crate::protocol::campaigns::quiet::Checked;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::{Step, TargetId};
use crate::protocol::campaigns::task::{Priority, TaskId};
use crate::protocol::campaigns::waiting::{Place, Waiting, WaitingTarget};
use crate::protocol::campaigns::zone::Zone;
use crate::protocol::users::owner::{AccountId, Scope, UserId};
use crate::protocol::values::ids::UnixMillis;

/// It looks again after this at the latest: how accounts stand, and the wall clock, nobody tells it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What holds a task is told anew when its end is another by more than this, milliseconds.
const HOLD_STEP_MS: u64 = 1_000;
/// It looks again not sooner than this because of the time alone.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// The actor.
pub(in crate::actors) struct Allocator;

/// What it is started with.
pub(in crate::actors) struct AllocatorArgs {
    pub(in crate::actors) context: Arc<CampaignsContext>,
    pub(in crate::actors) user: UserId,
}

/// How a running task stands, as far as choosing is concerned.
#[derive(Clone, Debug)]
pub(in crate::actors) struct TaskStanding {
    pub(super) priority: Priority,
    /// What it comes to for each person.
    pub(super) goal: Step,
    /// Its accounts, without those that are out of it.
    pub(super) accounts: Vec<AccountId>,
    /// Those whose sessions are over, for now.
    pub(super) gone: Vec<AccountId>,
    pub(super) caps: Caps,
    pub(super) has_link: bool,
    pub(super) parallel: u32,
    pub(super) breaker: Breaker,
    /// When people may be contacted.
    pub(super) settings: Arc<Settings>,
}

/// A task that runs from here on.
pub(in crate::actors) struct Entry {
    pub(super) task: TaskId,
    pub(super) campaign: ActorRef<CampaignMsg>,
    pub(super) standing: TaskStanding,
    /// Which run of it.
    pub(super) run: u64,
    /// Who waits.
    pub(super) waiting: Vec<WaitingTarget>,
}

/// Its messages.
pub(in crate::actors) enum AllocatorMsg {
    /// A task runs. What was known of it before is forgotten.
    Enter(Box<Entry>),
    /// How a task stands has changed.
    Stands { task: TaskId, standing: Box<TaskStanding> },
    /// An action is over, and this is who waits for what now because of it.
    Over {
        task: TaskId,
        target: TargetId,
        waiting: Option<WaitingTarget>,
        standing: Box<TaskStanding>,
    },
    /// Somebody waits.
    Wait { task: TaskId, waiting: WaitingTarget },
    /// An account is out of a task, or gone.
    AccountLeft { task: TaskId, account: AccountId },
    /// A task does not run any more.
    Leave { task: TaskId },
    /// Time went by.
    Look,
}

named!(AllocatorMsg: Enter, Stands, Over, Wait, AccountLeft, Leave, Look);

/// Its state.
pub(in crate::actors) struct AllocatorState {
    context: Arc<CampaignsContext>,
    user: UserId,
    tasks: BTreeMap<TaskId, Running>,
    turns: Turns,
    wake: Option<AbortOnDropHandle<Result<(), MessagingErr<AllocatorMsg>>>>,
}

struct Running {
    campaign: ActorRef<CampaignMsg>,
    run: u64,
    standing: TaskStanding,
    waiting: Waiting,
    /// Which account acts for whom.
    acting: HashMap<TargetId, AccountId>,
    /// What holds it while nothing is done for it, as it was told last.
    hold: Option<TaskHold>,
    /// What was found of contact times, where its people are.
    times: BTreeMap<Place, Checked>,
}

/// A place of which it is to be found out whether people there may be contacted.
struct Unlooked {
    task: TaskId,
    place: Place,
    /// The time zone, where it is known.
    zone: Option<Box<str>>,
    settings: Arc<Settings>,
}

impl Actor for Allocator {
    type Msg = AllocatorMsg;
    type State = AllocatorState;
    type Arguments = AllocatorArgs;

    async fn pre_start(
        &self,
        _: ActorRef<AllocatorMsg>,
        args: AllocatorArgs,
    ) -> Result<AllocatorState, ActorProcessingErr> {
        let AllocatorArgs { context, user } = args;
        // Whoever a former life had chosen is free.
        let own = context.directory.list(&Scope::Only(user.clone()), None, usize::MAX, |_| true);
        context.budgets.with(&context, |accounts, _| {
            own.iter().for_each(|account| free(accounts, account.id));
        });
        let (tasks, turns, wake) = (BTreeMap::new(), Turns::default(), None);
        Ok(AllocatorState { context, user, tasks, turns, wake })
    }

    async fn handle(
        &self,
        myself: ActorRef<AllocatorMsg>,
        message: AllocatorMsg,
        state: &mut AllocatorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AllocatorMsg::Enter(entry) => state.enter(*entry).await?,
            AllocatorMsg::Stands { task, standing } => state.stands(task, *standing),
            AllocatorMsg::Over { task, target, waiting, standing } => {
                state.over(task, target, waiting, *standing);
            }
            AllocatorMsg::Wait { task, waiting } => state.wait(task, waiting),
            AllocatorMsg::AccountLeft { task, account } => state.account_left(task, account),
            AllocatorMsg::Leave { task } => state.leave(task),
            AllocatorMsg::Look => {}
        }
        state.look_at_times().await?;
        state.allocate(&myself);
        Ok(())
    }

    /// Whoever was chosen is free again, for the next life of this.
    async fn post_stop(
        &self,
        _: ActorRef<AllocatorMsg>,
        state: &mut AllocatorState,
    ) -> Result<(), ActorProcessingErr> {
        for task in state.tasks.keys().copied().collect::<Vec<_>>() {
            state.leave(task);
        }
        Ok(())
    }
}

impl AllocatorState {
    async fn enter(&mut self, entry: Entry) -> Result<(), ActorProcessingErr> {
        let Entry { task, campaign, standing, run, waiting } = entry;
        self.leave(task);
        for id in &standing.accounts {
            if let Some(account) = self.account(*id) {
                self.context.budgets.load(&self.context, &account).await?;
            }
        }
        let now = self.context.budgets.now(&self.context);
        let mut queue = Waiting::default();
        waiting.into_iter().for_each(|waiting| queue.put(waiting, now));
        let (acting, hold, times) = (HashMap::new(), None, BTreeMap::new());
        let running = Running { campaign, run, standing, waiting: queue, acting, hold, times };
        self.tasks.insert(task, running);
        Ok(())
    }

    fn stands(&mut self, task: TaskId, standing: TaskStanding) {
        if let Some(running) = self.tasks.get_mut(&task) {
            running.stands(standing);
        }
    }

    fn over(
        &mut self,
        task: TaskId,
        target: TargetId,
        waiting: Option<WaitingTarget>,
        standing: TaskStanding,
    ) {
        let now = self.context.budgets.now(&self.context);
        let Some(running) = self.tasks.get_mut(&task) else { return };
        running.stands(standing);
        if let Some(account) = running.acting.remove(&target) {
            self.context.budgets.with(&self.context, |accounts, _| {
                free(accounts, account);
            });
        }
        if let Some(waiting) = waiting {
            running.waiting.put(waiting, now);
        }
    }

    fn wait(&mut self, task: TaskId, waiting: WaitingTarget) {
        let now = self.context.budgets.now(&self.context);
        if let Some(running) = self.tasks.get_mut(&task) {
            running.waiting.put(waiting, now);
        }
    }

    fn account_left(&mut self, task: TaskId, account: AccountId) {
        let Some(running) = self.tasks.get_mut(&task) else { return };
        running.standing.accounts.retain(|id| *id != account);
        if !running.standing.gone.contains(&account) {
            running.standing.gone.push(account);
        }
        // Who was known by it alone is looked up anew by somebody else, if they can be: the campaign knows how.
        let targets = running.waiting.account_left(account, |_| None);
        let _ = running.campaign.cast(CampaignMsg::AccountLeft { account, targets });
    }

    /// Takes note of accounts whose sessions are over, or are there again.
    fn note_gone(&mut self, standings: &BTreeMap<AccountId, Option<AccountStanding>>) {
        let is_gone = |id: &AccountId| {
            standings.get(id).is_some_and(|seen| seen.as_ref().is_none_or(|seen| seen.is_gone))
        };
        let (mut left, mut returned) = (Vec::new(), Vec::new());
        for (task, running) in &self.tasks {
            let TaskStanding { accounts, gone, .. } = &running.standing;
            left.extend(accounts.iter().filter(|id| is_gone(id)).map(|id| (*task, *id)));
            returned.extend(gone.iter().filter(|id| !is_gone(id)).map(|id| (*task, *id)));
        }
        left.into_iter().for_each(|(task, account)| self.account_left(task, account));
        for (task, account) in returned {
            if let Some(running) = self.tasks.get_mut(&task) {
                running.standing.gone.retain(|id| *id != account);
                let _ = running.campaign.cast(CampaignMsg::AccountReturned { account });
            }
        }
    }

    fn leave(&mut self, task: TaskId) {
        self.turns.forget(task);
        let Some(running) = self.tasks.remove(&task) else { return };
        self.context.budgets.with(&self.context, |accounts, _| {
            running.acting.values().for_each(|account| free(accounts, *account));
        });
    }

    fn account(&self, id: AccountId) -> Option<OwnedAccount> {
        self.context.directory.get(&Scope::Only(self.user.clone()), id)
    }

    /// Sees to it that it is known of all who wait whether they may be contacted now, where they are. A task that leaves
    /// no time for it is told so.
    async fn look_at_times(&mut self) -> Result<(), ActorProcessingErr> {
        let wall = self.context.now();
        let unknown: Vec<Unlooked> =
            self.tasks.iter().flat_map(|(id, running)| running.unlooked(*id, wall)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let look = move || {
            let utc = Zone::utc();
            let of = |unlooked: Unlooked| {
                let zone = unlooked.zone.as_deref().and_then(|name| Zone::named(name).ok());
                let times = unlooked.settings.contact_times(zone.as_ref(), &utc).check(wall);
                (unlooked, times)
            };
            unknown.into_iter().map(of).collect::<Vec<_>>()
        };
        for (Unlooked { task, place, settings, .. }, times) in
            tokio::task::spawn_blocking(look).await?
        {
            let Some(running) = self.tasks.get_mut(&task) else { continue };
            running.times.insert(place, times);
            running.waiting.hold(place, times.held);
            if times.is_never() && place == Place::default() {
                let _ = running.campaign.cast(CampaignMsg::NoContactTime { settings });
            }
        }
        Ok(())
    }

    /// Hands out as much as may be done now.
    fn allocate(&mut self, myself: &ActorRef<AllocatorMsg>) {
        self.wake = None;
        if self.tasks.is_empty() {
            return;
        }
        let standings = self.standings();
        self.note_gone(&standings);
        let (context, tasks, turns) = (&self.context, &mut self.tasks, &mut self.turns);
        let (pause, bindings, now) = context.budgets.with(context, |accounts, now| {
            for (id, standing) in standings {
                let Some(account) = accounts.get_mut(&id) else { continue };
                match standing {
                    Some(standing) => {
                        account.is_connected = standing.is_connected;
                        account.is_gone = standing.is_gone;
                        account.has_own_work = standing.has_own_work;
                        for (scope, left_ms) in standing.waits {
                            account.waits.impose(scope, now.plus_ms(left_ms), now);
                        }
                    }
                    None => account.is_gone = true,
                }
            }
            tasks.values_mut().for_each(|running| running.waiting.release(now));
            loop {
                let views: Vec<RunningTask<'_>> =
                    tasks.iter().map(|(id, running)| running.view(*id, now)).collect();
                match choose(&views, accounts, turns, now) {
                    Choice::Act(action) => {
                        turns.took(&action, &views);
                        drop(views);
                        if let Some(account) = accounts.get_mut(&action.account) {
                            account.is_busy = true;
                        }
                        if let Some(running) = tasks.get_mut(&action.task) {
                            running.act(action);
                        }
                    }
                    Choice::Nothing { until, bindings } => {
                        let left = until.map(|until| until.0.saturating_sub(now.0).max(0));
                        let left = left.map(|left| Duration::from_millis(left.unsigned_abs()));
                        let pause =
                            left.map_or(LOOK_EVERY, |left| left.clamp(LOOK_PAUSE, LOOK_EVERY));
                        return (pause, bindings, now);
                    }
                }
            }
        });
        self.tell_holds(&bindings, now);
        let timer = myself.send_after(pause, || AllocatorMsg::Look);
        self.wake = Some(AbortOnDropHandle::new(timer));
    }

    /// Has others see what holds the tasks for which nothing is done. `steady` is when that was found.
    fn tell_holds(&mut self, bindings: &Bindings, steady: UnixMillis) {
        let wall = self.context.now();
        for (task, running) in &mut self.tasks {
            let hold = running.hold(*task, bindings, (steady, wall));
            if is_another(running.hold, hold) {
                running.hold = hold;
                self.context.status.campaign_held(&self.user, *task, hold);
            }
        }
    }

    /// How the accounts of all tasks stand; `None`: there is none any more.
    fn standings(&self) -> BTreeMap<AccountId, Option<AccountStanding>> {
        let all = self
            .tasks
            .values()
            .flat_map(|running| running.standing.accounts.iter().chain(&running.standing.gone));
        let all: BTreeSet<AccountId> = all.copied().collect();
        let standing = |id| {
            let account = self.account(id);
            (id, account.map(|account| self.context.platform.standing(&account)))
        };
        all.into_iter().map(standing).collect()
    }
}

/// An account does not act for a campaign any more.
fn free(accounts: &mut BTreeMap<AccountId, CampaignAccount>, account: AccountId) {
    if let Some(account) = accounts.get_mut(&account) {
        account.is_busy = false;
    }
}

/// Whether what holds a task now is worth telling anew.
fn is_another(told: Option<TaskHold>, now: Option<TaskHold>) -> bool {
    match (told, now) {
        (
            Some(TaskHold { by, until: Some(then) }),
            Some(TaskHold { by: now, until: Some(until) }),
        ) => by != now || then.0.abs_diff(until.0) > HOLD_STEP_MS,
        (told, now) => told != now,
    }
}

impl Running {
    /// What holds it, if nothing is done for it.
    fn hold(
        &self,
        id: TaskId,
        bindings: &Bindings,
        (steady, wall): (UnixMillis, UnixMillis),
    ) -> Option<TaskHold> {
        if !self.acting.is_empty() {
            return None;
        }
        if self.waiting.is_empty() {
            return Some(TaskHold { by: Binding::Settling, until: None });
        }
        let own = bindings.iter().filter(|((of, _), _)| *of == id);
        let holds = own.map(|((_, by), until)| {
            let until = match by {
                Binding::ContactTime(_) => self.waiting.held().and_then(|held| held.until),
                _ => until.map(|until| wall.plus_ms(until.0.saturating_sub(steady.0))),
            };
            TaskHold { by: *by, until }
        });
        TaskHold::first(holds)
    }

    /// Where people wait of whom it is not known whether they may be contacted at `wall`.
    fn unlooked(&self, task: TaskId, wall: UnixMillis) -> Vec<Unlooked> {
        let is_known =
            |place: Place| self.times.get(&place).is_some_and(|times| times.is_valid(wall));
        let unknown = self.waiting.places().filter(|(place, _)| !is_known(*place));
        let unlooked = |(place, zone): (Place, Option<&str>)| Unlooked {
            task,
            place,
            zone: zone.map(Into::into),
            settings: Arc::clone(&self.standing.settings),
        };
        unknown.map(unlooked).collect()
    }

    /// How the task stands now.
    fn stands(&mut self, standing: TaskStanding) {
        if !Arc::ptr_eq(&self.standing.settings, &standing.settings) {
            self.times.clear();
        }
        self.standing = standing;
    }

    fn view(&self, id: TaskId, steady: UnixMillis) -> RunningTask<'_> {
        let TaskStanding { priority, goal, accounts, caps, has_link, parallel, breaker, .. } =
            &self.standing;
        RunningTask {
            id,
            priority: *priority,
            waiting: &self.waiting,
            goal: *goal,
            accounts,
            caps,
            has_link: *has_link,
            in_flight: u32::try_from(self.acting.len()).unwrap_or(u32::MAX),
            parallel: *parallel,
            allowance: breaker.allows(steady),
        }
    }

    /// Has the campaign do it.
    fn act(&mut self, action: Action) {
        self.waiting.remove(action.target);
        self.acting.insert(action.target, action.account);
        if action.is_probe {
            // One at a time, until the campaign says what came of it.
            self.standing.breaker.probe();
        }
        let _ = self.campaign.cast(CampaignMsg::Act { run: self.run, action });
    }
}
