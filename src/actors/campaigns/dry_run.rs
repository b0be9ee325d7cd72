//! The dry run of a task: who would be contacted and who not, by whom, and when it would end. Decides by the functions
//! of a running campaign (`protocol/campaigns/{fitness,choose,forecast}.rs`) on what the store has; sends nothing, and
//! asks the messenger only what the accounts may do in the group. Reads in pieces, off the campaign's actor; of a task
//! that is too large for its time it looks at a part, and says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, timeout};

use super::context::CampaignsContext;
use super::outlook::{
    Ahead, Outlook, READ_MAX, accounts_of, blocks_with, carried_over, outlook, spread, template_of,
};
use super::platform::{Deputy, Group, Told};
use crate::actors::tree::calling::broken;
use crate::clock::instant;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::campaign_report::{
    DryRun, DryRunAccount, DryRunPerson, Problem, ProblemCode,
};
use crate::protocol::answers::refusal::Refusal as Refused;
use crate::protocol::campaigns::account::{CampaignAccount, budget_of};
use crate::protocol::campaigns::block::TargetBlock;
use crate::protocol::campaigns::fitness::{Rules, Seen, Verdict};
use crate::protocol::campaigns::rehearsal::Rehearsal;
use crate::protocol::campaigns::respect::{Contacted, Refusal};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::schedule::{Due, Schedule};
use crate::protocol::campaigns::target::{Reason, Step, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Blocked, Task, TaskStatus};
use crate::protocol::campaigns::text::{RenderError, Template};
use crate::protocol::campaigns::waiting::{Reach, WaitingTarget, next_step};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;
use crate::store::{ContactedRecord, Reader, StoreError};

/// Blocks that are looked at: 65,536 targets. Of more, these many are spread evenly.
const BLOCKS_MAX: usize = 4_096;
/// Blocks that are read at a time.
const BLOCKS_AT_ONCE: usize = 32;
/// How long is looked.
const LOOK_MAX: Duration = Duration::from_secs(15);
/// Accounts that are asked about the group, and how many at a time.
const ASKED_MAX: usize = 40;
const ASKED_AT_ONCE: usize = 8;
/// How long one may take to answer.
const ASK_MAX: Duration = Duration::from_secs(6);
/// People of whom it is told who comes first.
const FIRST_MAX: usize = 10;
/// Targets among which these are chosen.
const FIRST_OF: usize = 500;

/// One waiting target, and what is known of it.
struct Looked {
    target: Target,
    refusals: Vec<Refusal>,
    contacted: Option<Contacted>,
}

/// What was found so far.
#[derive(Default)]
struct Found {
    looked_at: u64,
    ahead: Ahead,
    skipped: BTreeMap<Reason, u64>,
    /// Who is known to be whom.
    people: HashMap<i64, TargetId>,
    /// The first who wait, with what they are called.
    first: Vec<(WaitingTarget, String)>,
    /// The first of those who wait until it is day where they are.
    asleep: Vec<(WaitingTarget, String)>,
    /// Those whose values may yet be found when they are looked up.
    perhaps_missing: u64,
    too_long: u64,
}

/// Looks at one task.
struct Looking<'a> {
    context: &'a Arc<CampaignsContext>,
    task: &'a Task,
    run: &'a TaskRun,
    template: Option<Template>,
    own: Vec<OwnedAccount>,
}

/// What would become of a task.
///
/// # Errors
/// When the store fails.
pub(in crate::actors) async fn dry_run(
    context: &Arc<CampaignsContext>,
    task: &Task,
    run: &TaskRun,
) -> Result<DryRun, Refused> {
    let own = accounts_of(context, task, run).await.map_err(|error| broken(&error))?;
    let looking = Looking { context, task, run, template: template_of(task), own };
    let until = instant() + LOOK_MAX;
    let (found, rights) = tokio::join!(looking.look(until), looking.rights());
    let (found, waiting) = found.map_err(|error| broken(&error))?;
    looking.told(found, waiting, rights).await
}

/// What the accounts said of the group; `None`: not in time.
type Rights = BTreeMap<AccountId, Option<Told<Group>>>;

impl Looking<'_> {
    fn rules(&self) -> Rules<'_> {
        let (context, task) = (self.context, self.task);
        let is_ignored = task.settings.ignore_recontact;
        Rules {
            task: task.id,
            goal: task.task_type.goal(),
            group: task.target_group_id,
            former_group: self.run.former_group,
            list: context.list_of(&task.user),
            recontact_days: if is_ignored { 0 } else { context.settings.recontact_days },
            template: self.template.as_ref(),
            opt_out_line: task.settings.opt_out_line.as_deref(),
            settings: &task.settings,
            wall: context.now().plus_ms(self.start().1),
            steady: context.budgets.now(context),
        }
    }

    fn has_link(&self) -> bool {
        let line = self.task.settings.opt_out_line.as_deref();
        self.template.as_ref().is_some_and(|template| template.has_link_with(line))
    }

    /// Looks at who waits. Answers how many there are, too.
    async fn look(&self, until: Instant) -> Result<(Found, u64), StoreError> {
        let task = self.task.clone();
        let is_waiting = |status| status == TargetStatus::Pending;
        let read = move |store: &Reader| blocks_with(store, &task, is_waiting);
        let (waiting, blocks) = self.context.store.read_within(READ_MAX, read).await?;
        let (mut found, rules) = (Found::default(), self.rules());
        for numbers in spread(&blocks, BLOCKS_MAX).chunks(BLOCKS_AT_ONCE) {
            let (pieces, others) = self.piece(numbers.to_vec()).await?;
            for (person, id) in others {
                found.people.entry(person).or_insert(id);
            }
            let known = self.known(&pieces).await?;
            pieces.into_iter().for_each(|looked| self.sort(&rules, looked, &known, &mut found));
            if instant() >= until {
                break;
            }
        }
        Ok((found, waiting))
    }

    /// Those of some blocks who wait, and who all the people of these blocks are.
    async fn piece(
        &self,
        numbers: Vec<u32>,
    ) -> Result<(Vec<Looked>, Vec<(i64, TargetId)>), StoreError> {
        let (context, user, task) =
            (Arc::clone(self.context), self.task.user.clone(), self.task.id);
        let list = context.recontact_list(&user);
        let read = move |store: &Reader| {
            let (mut pieces, mut people) = (Vec::new(), Vec::new());
            for number in numbers {
                let Some(block) = store.row::<TargetBlock>(&user, (task, number))? else {
                    continue;
                };
                // Whoever was not contacted under one name may be under another.
                let is_owner = |target: &&Target| {
                    !matches!(target.status, TargetStatus::Failed | TargetStatus::Skipped)
                };
                let named = |target: &Target| target.person.map(|person| (person, target.id));
                people.extend(block.targets.iter().filter(is_owner).filter_map(named));
                let waiting = block.targets.into_iter();
                for target in waiting.filter(|target| target.status == TargetStatus::Pending) {
                    let mut refusals = Vec::new();
                    for key in context.refusal_keys(&target) {
                        refusals.extend(store.refusals(key)?);
                    }
                    let contacted: Option<ContactedRecord> = match target.person {
                        Some(person) => store.shared_row((person, list))?,
                        None => None,
                    };
                    let contacted = contacted.map(|contacted| contacted.last);
                    pieces.push(Looked { target, refusals, contacted });
                }
            }
            Ok((pieces, people))
        };
        self.context.store.read_within(READ_MAX, read).await
    }

    /// Which accounts can name whom of some.
    async fn known(&self, pieces: &[Looked]) -> Result<HashMap<i64, Vec<AccountId>>, StoreError> {
        let people: Vec<i64> = pieces.iter().filter_map(|looked| looked.target.person).collect();
        let mut known: HashMap<i64, Vec<AccountId>> = HashMap::new();
        for account in self.own.iter().filter(|_| !people.is_empty()) {
            for person in self.context.platform.known(account, people.clone()).await? {
                known.entry(person).or_default().push(account.id);
            }
        }
        Ok(known)
    }

    /// Finds out what would become of one of them.
    fn sort(
        &self,
        rules: &Rules<'_>,
        looked: Looked,
        known: &HashMap<i64, Vec<AccountId>>,
        found: &mut Found,
    ) {
        let Looked { target, refusals, contacted } = looked;
        found.looked_at += 1;
        let by = target.person.and_then(|person| known.get(&person)).filter(|by| !by.is_empty());
        let Some(step) = next_step(&target, self.task.task_type, by.is_some()) else {
            *found.skipped.entry(Reason::UnknownPeer).or_default() += 1;
            return;
        };
        let same = target.person.and_then(|person| found.people.get(&person));
        let seen = Seen {
            refusals: &refusals,
            contacted: contacted.as_ref(),
            is_another: same.is_some_and(|id| *id != target.id),
        };
        let verdict = rules.verdict(&target, step, &seen);
        let is_asleep = matches!(verdict, Verdict::Later(_));
        match verdict {
            Verdict::Go(_) | Verdict::Later(_) => {}
            Verdict::Gone => return,
            Verdict::Skip(_, reason) => {
                found.too_long += u64::from(reason == Reason::TextTooLong);
                *found.skipped.entry(reason).or_default() += 1;
                return;
            }
        }
        if by.is_none() && self.template.is_some() {
            let text = rules.text_for(&target);
            found.perhaps_missing += u64::from(matches!(text, Err(RenderError::Missing(_))));
        }
        found.ahead.count(&target, by.is_some());
        let first = if is_asleep { &mut found.asleep } else { &mut found.first };
        if first.len() < FIRST_OF {
            let reach = match by {
                Some(by) => Reach::KnownBy(by.clone().into()),
                None => Reach::Anybody,
            };
            let name = target.identifier.to_string();
            let waiting = WaitingTarget::of(&target, reach, step);
            first.extend(waiting.map(|waiting| (waiting, name)));
        }
    }

    /// Asks the accounts what they may do in the group.
    async fn rights(&self) -> Rights {
        let Some(group) = self.task.target_group_id else { return Rights::new() };
        if self.task.task_type.goal() != Step::Invite {
            return Rights::new();
        }
        let ask = |account: &OwnedAccount| {
            let by = Deputy { account: account.clone(), task: self.task.id };
            async move {
                let told = timeout(ASK_MAX, self.context.platform.group(&by, group)).await;
                (by.account.id, told.ok())
            }
        };
        let usable = self.own.iter().filter(|account| {
            let standing = self.context.platform.standing(account);
            standing.is_connected && !standing.is_gone
        });
        let asked: Vec<_> = usable.take(ASKED_MAX).map(ask).collect();
        let mut told = Rights::new();
        let mut answers = stream::iter(asked).buffer_unordered(ASKED_AT_ONCE);
        // What some have told is not lost with those that say nothing.
        let all = async {
            while let Some((account, rights)) = answers.next().await {
                told.insert(account, rights);
            }
        };
        let _ = timeout(LOOK_MAX, all).await;
        told
    }

    async fn told(&self, found: Found, waiting: u64, rights: Rights) -> Result<DryRun, Refused> {
        let (context, task) = (self.context, self.task);
        let all = found.ahead.carried_over(found.looked_at, waiting);
        let over = |count: &u64| carried_over(*count, found.looked_at, waiting);
        let mut skipped: BTreeMap<Reason, u64> =
            found.skipped.iter().map(|(reason, count)| (*reason, over(count))).collect();
        // What rounding has left out waits like most.
        let rest = waiting.saturating_sub(all.ready + skipped.values().sum::<u64>());
        let ready = all.ready + rest;
        skipped.retain(|_, count| *count > 0);
        let (starts_at, delay_ms) = self.start();
        let without: Vec<AccountId> = rights
            .iter()
            .filter(|(_, told)| told.as_ref().is_some_and(|told| may_invite(told) == Some(false)))
            .map(|(id, _)| *id)
            .collect();
        let mut run = self.run.clone();
        run.out.extend(&without);
        let ahead = Ahead { ready, ..all };
        let Outlook { forecast, accounts } =
            outlook(context, (task, self.run), ahead.clone(), delay_ms, without).await?;
        let running = context.campaigns_running(&task.user).await;
        let running = running.map_err(|error| broken(&error))?;
        let mut problems = self.problems(running, &rights, &accounts);
        if context.has_no_contact_time(&task.settings).await {
            problems.push(problem(ProblemCode::NoContactTime, Blocked::NoContactTime.to_string()));
        }
        problems.extend(self.problems_of_people(&found, &ahead, waiting));
        if forecast.ends_in_ms.is_none() && ready > 0 {
            let detail = "as things are it would not end: no account can act, or nobody may be contacted at any time";
            problems.push(problem(ProblemCode::NeverEnds, detail));
        }
        // Whoever is awake comes first.
        let first = if found.first.is_empty() { found.asleep } else { found.first };
        let first = self.first(first, &accounts, &run);
        let slots: u64 = forecast.binding.iter().map(|(_, slots)| slots).sum();
        let percent = |slots_of: u64| u32::try_from(slots_of * 100 / slots.max(1)).unwrap_or(100);
        Ok(DryRun {
            statistics: self.run.statistics,
            ready,
            skipped,
            accounts: self.accounts(&accounts, &forecast.by_account, &rights),
            first,
            binding: forecast
                .binding
                .iter()
                .map(|(limit, slots)| (*limit, percent(*slots)))
                .filter(|(_, percent)| *percent > 0)
                .collect(),
            takes_ms: forecast.ends_in_ms,
            starts_at,
            problems,
            looked_at: (found.looked_at < waiting).then_some(found.looked_at),
        })
    }

    /// When it starts by itself, and how long that is away.
    fn start(&self) -> (Option<UnixMillis>, i64) {
        let now = self.context.now();
        let is_to_come = self.task.is_for_later(self.context.settings.max_late_ms, now);
        let at = self.task.schedule.as_ref().filter(|_| is_to_come).map(Schedule::instant);
        (at, at.map_or(0, |at| at.0.saturating_sub(now.0)))
    }

    fn first(
        &self,
        first: Vec<(WaitingTarget, String)>,
        accounts: &BTreeMap<AccountId, CampaignAccount>,
        run: &TaskRun,
    ) -> Vec<DryRunPerson> {
        let (context, task) = (self.context, self.task);
        let least = task.settings.pause_seconds(context.settings.min_pause_seconds);
        let caps = task.caps(&context.settings.caps);
        let ids: Vec<AccountId> = run.accounts(task).collect();
        let names: HashMap<TargetId, String> =
            first.iter().map(|(waiting, name)| (waiting.id, name.clone())).collect();
        let rehearsal = Rehearsal {
            task: task.id,
            goal: task.task_type.goal(),
            accounts: &ids,
            caps: &caps,
            has_link: self.has_link(),
            pause_ms: run.pace.mean_pause_ms(least),
            steady: context.budgets.now(context),
        };
        let waiting = first.into_iter().map(|(waiting, _)| waiting).collect();
        let found = rehearsal.first(waiting, accounts.clone(), FIRST_MAX);
        let person = |(target, account): (TargetId, AccountId)| {
            let identifier = names.get(&target).cloned().unwrap_or_default();
            DryRunPerson { target, identifier, account }
        };
        found.into_iter().map(person).collect()
    }

    fn accounts(
        &self,
        accounts: &BTreeMap<AccountId, CampaignAccount>,
        would: &BTreeMap<AccountId, u64>,
        rights: &Rights,
    ) -> Vec<DryRunAccount> {
        let goal = self.task.task_type.goal();
        let has_link = self.has_link();
        let caps = self.task.caps(&self.context.settings.caps);
        let now = self.context.budgets.now(self.context);
        let one = |own: &OwnedAccount| {
            let account = accounts.get(&own.id);
            let out = self.run.out.contains(&own.id);
            let status = account.map(|account| account.status(goal, out, now))?;
            Some(DryRunAccount {
                account: own.id,
                name: name_of(own),
                status,
                would_contact: would.get(&own.id).copied().unwrap_or(0),
                left_today: account
                    .map_or(0, |account| account.usage.left(budget_of(goal, has_link), &caps, now)),
                may_invite: rights.get(&own.id).and_then(Option::as_ref).and_then(may_invite),
            })
        };
        self.own.iter().filter_map(one).collect()
    }

    /// What is in the way of the task and its accounts.
    fn problems(
        &self,
        running: usize,
        rights: &Rights,
        accounts: &BTreeMap<AccountId, CampaignAccount>,
    ) -> Vec<Problem> {
        let (context, task) = (self.context, self.task);
        let blocked = task.blocked_by(running, context.settings.running_max as usize);
        let mut problems = Vec::new();
        match blocked {
            Some(Blocked::BasisNotConfirmed) => {
                let detail = "the audience_basis was given for other people: confirm it with PUT";
                problems.push(problem(ProblemCode::BasisNotConfirmed, detail));
            }
            Some(Blocked::TooManyRunning) => {
                let detail = format!("{running} tasks run, as many as may at once");
                problems.push(problem(ProblemCode::TooManyRunning, detail));
            }
            Some(Blocked::NoAccounts | Blocked::NoContactTime) | None => {}
        }
        let due = task.schedule.as_ref().filter(|_| task.status == TaskStatus::Scheduled);
        let due = due.map(|due| due.due(context.settings.max_late_ms, context.now()));
        if matches!(due, Some(Due::TooLate { .. })) {
            let detail = "its time has passed for so long that a person has to start it";
            problems.push(problem(ProblemCode::TooLate, detail));
        }
        let there: HashSet<AccountId> = self.own.iter().map(|account| account.id).collect();
        for id in self.run.accounts(task).filter(|id| !there.contains(id)) {
            problems.push(of_account(
                ProblemCode::AccountMissing,
                id,
                "it does not exist any more",
            ));
        }
        for (id, account) in accounts {
            if account.is_gone {
                let detail =
                    "its session is over or frozen: it does nothing until it is connected anew";
                problems.push(of_account(ProblemCode::AccountGone, *id, detail));
            } else if !account.is_connected {
                let detail = "it is not connected now: others do its part until it is";
                problems.push(of_account(ProblemCode::AccountAway, *id, detail));
            }
        }
        problems.extend(self.problems_of_rights(rights, accounts));
        let is_usable = |id: &AccountId| accounts.get(id).is_some_and(|account| !account.is_gone);
        let may = |id: &AccountId| {
            let told = rights.get(id).and_then(Option::as_ref);
            told.and_then(may_invite) != Some(false)
        };
        if !self.own.iter().any(|own| is_usable(&own.id) && may(&own.id)) {
            let detail = "no account of the task could act: set account_ids, or connect them";
            problems.push(problem(ProblemCode::NoAccounts, detail));
        }
        problems
    }

    fn problems_of_rights(
        &self,
        rights: &Rights,
        accounts: &BTreeMap<AccountId, CampaignAccount>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.task.target_group_id.is_none() || self.task.task_type.goal() != Step::Invite {
            return problems;
        }
        let (mut moved, mut is_full): (Option<MarkedId>, bool) = (None, false);
        for id in accounts.iter().filter(|(_, account)| !account.is_gone).map(|(id, _)| id) {
            match rights.get(id) {
                Some(Some(told)) => {
                    moved = moved.or(told.found.as_ref().and_then(|group| group.moved_to));
                    if told.found.as_ref().is_some_and(|group| group.is_full) {
                        is_full = true;
                        continue;
                    }
                    let code = told.code.as_deref().unwrap_or("no right to invite");
                    match may_invite(told) {
                        Some(true) => {}
                        Some(false) => {
                            let detail = format!("it may not invite to the group ({code})");
                            problems.push(of_account(ProblemCode::NoRights, *id, detail));
                        }
                        None => {
                            let detail = format!("it could not tell about the group ({code})");
                            problems.push(of_account(ProblemCode::NotAsked, *id, detail));
                        }
                    }
                }
                Some(None) => {
                    let detail = "it has not told in time what it may do in the group";
                    problems.push(of_account(ProblemCode::NotAsked, *id, detail));
                }
                None => {
                    let detail = "it was not asked what it may do in the group";
                    problems.push(of_account(ProblemCode::NotAsked, *id, detail));
                }
            }
        }
        if is_full {
            let detail = "the group is full, or takes no more additions: make room first";
            problems.push(problem(ProblemCode::GroupFull, detail));
        }
        if let Some(MarkedId(moved)) = moved {
            let detail = format!("the group has become {moved}; the task follows it when it runs");
            problems.push(problem(ProblemCode::GroupMoved, detail));
        }
        problems
    }

    /// What somebody should know of the people.
    fn problems_of_people(&self, found: &Found, ahead: &Ahead, waiting: u64) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut note = |count: u64, code, detail: &str| {
            if count > 0 {
                let count = carried_over(count, found.looked_at, waiting);
                problems.push(problem(code, format!("{count} {detail}")));
            }
        };
        note(
            found.ahead.names + found.ahead.phones,
            ProblemCode::NotLookedUp,
            "are known by name or phone number only: whether they exist, were contacted lately or are somebody else \
             of the list shows when they are looked up",
        );
        note(
            found.perhaps_missing,
            ProblemCode::MissingValues,
            "lack a value that the text needs; they are skipped if looking them up does not find it",
        );
        note(
            found.too_long,
            ProblemCode::TextTooLong,
            "would get a text that is longer than a message: the first of them pauses the task",
        );
        if ahead.ready == 0 {
            problems.push(problem(ProblemCode::NobodyReady, "nobody would be contacted"));
        }
        if found.looked_at < waiting {
            let detail = format!(
                "{} of {waiting} waiting targets were looked at, and counts are carried over to all",
                found.looked_at
            );
            problems.push(problem(ProblemCode::Sample, detail));
        }
        problems
    }
}

fn problem(code: ProblemCode, detail: impl Into<String>) -> Problem {
    Problem { code, detail: detail.into(), account: None }
}

fn of_account(code: ProblemCode, account: AccountId, detail: impl Into<String>) -> Problem {
    Problem { account: Some(account), ..problem(code, detail) }
}

/// Whether an account may invite, as far as it has told.
fn may_invite(told: &Told<Group>) -> Option<bool> {
    use crate::protocol::campaigns::answers::Answer;
    match &told.found {
        Some(group) => Some(group.may_invite),
        None if told.answer == Answer::NoRights => Some(false),
        None => None,
    }
}

/// What an account is called.
pub(in crate::actors) fn name_of(account: &OwnedAccount) -> Option<String> {
    let username = account.username.as_ref().map(|name| format!("@{name}"));
    username.or_else(|| account.first_name.clone()).or_else(|| account.phone_masked.clone())
}
