//! Campaigns on a messenger and a store in memory and a paused clock. The messenger's books are the truth.

mod contact_times;
mod counting;
mod holds;
mod messenger;
mod opening;
mod outlook;
mod people;
mod reaching;
mod refusing;
mod replies;
mod running;
mod unclear;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use uuid::Uuid;

use self::messenger::Messenger;
use super::book::NewTarget;
use super::campaign::{BulkAction, CampaignMsg, Edit, Wanted};
use super::context::{CampaignSettings, CampaignsContext};
use super::replies::Replies;
use super::supervisor::{Campaigns, CampaignsArgs, CampaignsMsg};
use crate::actors::tests::TestEnvironment;
use crate::actors::tree::actor::{ActorRef, spawn_alone};
use crate::clock::now;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::campaign::Added;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::identity::{Hint, Identifier};
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::tally::Tally;
use crate::protocol::campaigns::target::{Reason, Target, TargetStatus};
use crate::protocol::campaigns::task::{Task, TaskId, TaskRequest, TaskStatus, TaskType};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::{AccountId, Caller, Role, UserId};
use crate::protocol::values::ids::AuthKeyId;
use crate::store::Op;

fn ann() -> UserId {
    UserId::new("ann").unwrap()
}

fn who() -> Caller {
    Caller { user: ann(), role: Role::User, address: None }
}

/// What outlives a crash: the store, and the messenger.
struct Fixture {
    environment: TestEnvironment,
    messenger: Messenger,
    accounts: Vec<OwnedAccount>,
    settings: CampaignSettings,
}

/// One life of the daemon's campaigns.
struct Life {
    context: Arc<CampaignsContext>,
    campaigns: ActorRef<CampaignsMsg>,
    replies: Replies,
}

impl Fixture {
    /// So many accounts, connected for long, and so many people.
    async fn new(accounts: u128, people: i64) -> Self {
        let account = |number: u128| OwnedAccount {
            id: AccountId(Uuid::from_u128(number)),
            user: ann(),
            key: AuthKeyId(u64::try_from(number).unwrap()),
            api_id: None,
            is_bot: false,
            telegram_id: 1_000_000 + i64::try_from(number).unwrap(),
            phone_masked: None,
            username: None,
            first_name: None,
            is_paused: false,
            is_made_here: true,
            created_at: now().plus_ms(-100 * 86_400_000),
            updated_at: now(),
        };
        Self {
            environment: TestEnvironment::new(),
            messenger: Messenger::with_people(1..=people),
            accounts: (1..=accounts).map(account).collect(),
            settings: CampaignSettings::for_tests(),
        }
    }

    /// A life on what the store has.
    async fn live(&self) -> Life {
        let accounts = self.environment.accounts();
        for account in &self.accounts {
            accounts.directory.put(account.clone());
        }
        let store = self.environment.store.clone();
        let key = store.installation_key_or([7; 32]).await.unwrap();
        let platform = Arc::new(self.messenger.clone());
        let context = CampaignsContext::new(accounts, self.settings.clone(), platform, key);
        let under_way = store
            .read(|store| store.tasks_in(&[TaskStatus::Running, TaskStatus::Scheduled]))
            .await
            .unwrap();
        let under_way = under_way.into_iter().map(|task| (task.user, task.id)).collect();
        let args = CampaignsArgs { context: Arc::clone(&context), under_way };
        let replies = Replies::default();
        replies.begin(&context);
        Life { context, campaigns: spawn_alone(Campaigns, args).await, replies }
    }

    fn ids(&self) -> Vec<AccountId> {
        self.accounts.iter().map(|account| account.id).collect()
    }

    fn request(&self, task_type: TaskType) -> TaskRequest {
        TaskRequest {
            task_type: Some(task_type),
            title: "test".into(),
            target_group_id: (task_type == TaskType::InviteToGroup).then_some(MarkedId(-5)),
            message_template: (task_type == TaskType::SendMessages)
                .then(|| "Hi {first_name|friend}".into()),
            account_ids: self.ids(),
            audience_basis: "they asked for it".into(),
            ..TaskRequest::default()
        }
    }

    /// A draft for people `@person1` and so on.
    async fn draft(&self, life: &Life, request: TaskRequest, people: i64) -> TaskId {
        let id = TaskId(life.context.new_id());
        let caps = (&self.settings.caps, false);
        let task = Task::new((id, ann()), request, caps, life.context.now()).unwrap();
        let ops = vec![Op::put_row(&task), Op::put_row(&TaskRun::new(&task))];
        self.environment.store.commit(ops).await.unwrap();
        let people = (1..=people).map(|number| NewTarget {
            identifier: named(&format!("@person{number}")),
            details: None,
        });
        let added = life.add(id, people.collect()).await.unwrap();
        assert_eq!(added.duplicates, 0);
        id
    }

    /// The same for people whose ids alone are given.
    async fn draft_by_id(&self, life: &Life, request: TaskRequest, people: i64) -> TaskId {
        let id = self.draft(life, request, 0).await;
        let people = (1..=people)
            .map(|person| NewTarget { identifier: Identifier::Id(person), details: None });
        life.add(id, people.collect()).await.unwrap();
        id
    }

    async fn draft_of_nobody(&self, life: &Life) -> TaskId {
        self.draft(life, self.request(TaskType::SendMessages), 0).await
    }

    async fn task(&self, id: TaskId) -> Task {
        let read = move |store: &crate::store::Reader| store.row::<Task>(&ann(), id);
        self.environment.store.read(read).await.unwrap().unwrap()
    }

    async fn run_now(&self, id: TaskId) -> TaskRun {
        let read = move |store: &crate::store::Reader| store.row::<TaskRun>(&ann(), id);
        self.environment.store.read(read).await.unwrap().unwrap()
    }

    async fn targets(&self, id: TaskId) -> Vec<Target> {
        let read = move |store: &crate::store::Reader| store.target_blocks(&ann(), id, 0..1_000);
        let blocks = self.environment.store.read(read).await.unwrap();
        blocks.into_iter().flat_map(|block| block.targets).collect()
    }

    /// How many targets have which status, by the targets themselves; and that this is what is told.
    async fn statuses(&self, id: TaskId) -> BTreeMap<TargetStatus, usize> {
        let mut statuses = BTreeMap::new();
        // As they were at one moment.
        let (run, targets) = loop {
            let before = self.run_now(id).await;
            let targets = self.targets(id).await;
            if self.run_now(id).await == before {
                break (before, targets);
            }
        };
        for target in &targets {
            *statuses.entry(target.status).or_default() += 1;
        }
        let recount = run.tally.clone().recounted(Tally::of(&targets));
        assert_eq!(run.tally, recount, "counted once each");
        for (status, count) in &statuses {
            assert_eq!(run.statistics.count(*status), *count as u64, "{status:?}");
        }
        statuses
    }

    async fn reasons(&self, id: TaskId) -> BTreeMap<i64, (TargetStatus, Option<Reason>)> {
        let targets = self.targets(id).await;
        let number = |target: &Target| i64::from(target.id.0) + 1;
        targets.iter().map(|target| (number(target), (target.status, target.reason))).collect()
    }
}

impl Life {
    fn tell(&self, task: TaskId, message: CampaignMsg) {
        let message = Box::new(message);
        self.campaigns.cast(CampaignsMsg::Tell { user: ann(), task, message }).unwrap();
    }

    async fn add(&self, task: TaskId, people: Vec<NewTarget>) -> Result<Added, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(
            task,
            CampaignMsg::Add { people, creation: None, who: who(), reply: reply.into() },
        );
        answer.await.unwrap()
    }

    async fn order(&self, task: TaskId, wanted: Wanted) -> Result<Task, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(task, CampaignMsg::Order { wanted, who: who(), reply: reply.into() });
        answer.await.unwrap()
    }

    async fn edit(&self, task: TaskId, request: TaskRequest) -> Result<Task, Refusal> {
        let (reply, answer) = oneshot::channel();
        let edit = Box::new(Edit { request, revision: None, confirms_basis: false });
        self.tell(task, CampaignMsg::Edit { edit, who: who(), reply: reply.into() });
        answer.await.unwrap()
    }

    async fn bulk(&self, task: TaskId, action: BulkAction) -> Result<u64, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(task, CampaignMsg::Bulk { action, who: who(), reply: reply.into() });
        answer.await.unwrap()
    }

    /// As a crash of the process does.
    fn kill(self) {
        self.campaigns.get_cell().get_children().iter().for_each(|child| child.kill());
        self.campaigns.kill();
    }
}

fn named(text: &str) -> Identifier {
    Identifier::parse(text, Hint::Any, None).unwrap()
}

/// Waits until a task has this status, for days at the most.
async fn until(fixture: &Fixture, task: TaskId, status: TaskStatus) {
    for _ in 0..40_000 {
        if fixture.task(task).await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    panic!("the task never came to be {status:?}: {:?}", fixture.statuses(task).await);
}
