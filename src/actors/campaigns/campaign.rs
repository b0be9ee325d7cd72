//! One campaign: the only owner of its task, of how it fares and of its targets. Everything that changes them comes
//! through its mailbox, and is durable before it is answered. What takes time (reading, calling) runs beside it and
//! comes back as a message with the number of the run it belongs to, so that what is late is recognised.

mod acting;
mod calling;
mod group;
mod opening;
mod orders;
mod outcome;
mod people;
mod settling;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use self::acting::Prepared;
use self::opening::Loaded;
pub use self::orders::{Edit, Wanted};
pub(in crate::actors) use self::orders::{ignore_recontact_action, refused};
use self::outcome::Answered;
pub(in crate::actors) use self::people::fingerprint;
pub use self::people::{BULK_MAX, BulkAction, TargetEdit};
use self::settling::Settled;
use super::allocator::{AllocatorMsg, TaskStanding};
use super::book::{NewTarget, TargetBook};
use super::context::{CampaignsContext, Contacting};
use super::supervisor::CampaignsMsg;
use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, named};
use crate::actors::tree::metrics::Depth;
use crate::actors::tree::status::CampaignView;
use crate::protocol::answers::campaign::Added;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::campaigns::block::StatusPage;
use crate::protocol::campaigns::caps::Caps;
use crate::protocol::campaigns::choose::Action;
use crate::protocol::campaigns::creation::CreationRecord;
use crate::protocol::campaigns::import::ImportRecord;
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::settings::Settings;
use crate::protocol::campaigns::target::{Reason, Target, TargetId, TargetStatus};
use crate::protocol::campaigns::task::{Task, TaskStatus};
use crate::protocol::campaigns::text::Template;
use crate::protocol::campaigns::waiting::WaitingTarget;
use crate::protocol::users::owner::{AccountId, Caller};
use crate::protocol::values::ids::UnixMillis;
use crate::tasks;

/// How long a campaign that has nothing to do keeps its actor.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The actor.
pub(in crate::actors) struct Campaign;

/// What it is started with.
pub(in crate::actors) struct CampaignArgs {
    pub(in crate::actors) context: Arc<CampaignsContext>,
    pub(in crate::actors) supervisor: ActorRef<CampaignsMsg>,
    pub(in crate::actors) allocator: ActorRef<AllocatorMsg>,
    pub(in crate::actors) task: Task,
    pub(in crate::actors) run: TaskRun,
    pub(in crate::actors) pages: Vec<StatusPage>,
}

/// Whoever waits for a change of a task is told the task as it is then.
pub(in crate::actors) type TaskReply = RpcReplyPort<Result<Task, Refusal>>;

/// Its messages.
pub(in crate::actors) enum CampaignMsg {
    /// It lives.
    Begin,
    /// A person wants something of it.
    Order { wanted: Wanted, who: Caller, reply: TaskReply },
    /// It is to be another.
    Edit { edit: Box<Edit>, who: Caller, reply: TaskReply },
    /// It and all its targets are to go.
    Delete { who: Caller, reply: RpcReplyPort<Result<(), Refusal>> },
    /// People are to be added.
    Add {
        people: Vec<NewTarget>,
        /// Written in the same commit, as what was made.
        creation: Option<Box<CreationRecord>>,
        who: Caller,
        reply: RpcReplyPort<Result<Added, Refusal>>,
    },
    /// A piece of an import is to be added, and noted with it.
    Import {
        people: Vec<NewTarget>,
        import: Box<ImportRecord>,
        who: Caller,
        reply: RpcReplyPort<Result<(Added, ImportRecord), Refusal>>,
    },
    /// One of its targets is to be another.
    EditTarget { edit: Box<TargetEdit>, who: Caller, reply: RpcReplyPort<Result<Target, Refusal>> },
    /// Some of its targets are to be removed, or tried again.
    Bulk { action: BulkAction, who: Caller, reply: RpcReplyPort<Result<u64, Refusal>> },
    /// Its targets were read; it may go on.
    Loaded { run: u64, loaded: Box<Loaded> },
    /// What could not be read is to be read again.
    Reopen { run: u64 },
    /// An account is to do something.
    Act { run: u64, action: Action },
    /// What is known of somebody before they are contacted.
    Prepared { run: u64, prepared: Box<Prepared> },
    /// What came of an action.
    Answered(Box<Answered>),
    /// It is time to settle what is uncertain.
    Settle { run: u64 },
    /// What became of one of them.
    Settled { run: u64, settled: Box<Settled> },
    /// An account is gone or out of it, and nobody else knows these.
    AccountLeft { account: AccountId, targets: Vec<TargetId> },
    /// An account that was gone is there again.
    AccountReturned { account: AccountId },
    /// These settings, if they still are its own, leave no time in which people may be contacted.
    NoContactTime { settings: Arc<Settings> },
    /// Its time has come.
    Due { epoch: u64 },
    /// The daemon stops: nothing is begun any more; told when nothing is under way.
    Stop(RpcReplyPort<()>),
    /// The allocator was made anew.
    Reenter { allocator: ActorRef<AllocatorMsg> },
    /// It has had nothing to do for a while.
    IdleOver { epoch: u64 },
}

named!(
    CampaignMsg: Begin, Order, Edit, Delete, Add, Import, EditTarget, Bulk, Loaded, Reopen, Act, Prepared, Answered,
    Settle, Settled, AccountLeft, AccountReturned, NoContactTime, Due, Stop, Reenter, IdleOver,
);

/// An action under way.
struct Acting {
    /// Nobody else contacts that person meanwhile.
    contacting: Option<Contacting>,
    /// Ends with the actor. What has been called comes to its end at Telegram all the same, and is settled then.
    _work: AbortOnDropHandle<()>,
}

/// The target that a person is contacted as, if at all.
#[derive(Clone, Copy, Debug)]
struct Owner {
    target: TargetId,
    /// They were reached as that one, may have been, or have refused; not only: they are going to be.
    is_certain: bool,
}

/// Its state.
pub(in crate::actors) struct CampaignState {
    context: Arc<CampaignsContext>,
    supervisor: ActorRef<CampaignsMsg>,
    allocator: ActorRef<AllocatorMsg>,
    task: Task,
    run: TaskRun,
    book: TargetBook,
    template: Option<Template>,
    settings: Arc<Settings>,
    /// Which run it is: each start, pause and resumption is another.
    number: u64,
    /// Counts what timers are for.
    epoch: u64,
    /// Whether the allocator knows of it.
    is_entered: bool,
    /// Who waits, gathered until all were read.
    to_enter: Vec<WaitingTarget>,
    acting: HashMap<TargetId, Acting>,
    /// Whose each person is, so that nobody is contacted under two names.
    people: HashMap<i64, Owner>,
    /// Which accounts can name whom without looking them up.
    known: HashMap<i64, Vec<AccountId>>,
    /// Accounts whose sessions are over, for now.
    gone: HashSet<AccountId>,
    /// Accounts that were told what the group is and what they may do there.
    seen_group: HashSet<AccountId>,
    /// Who is a contact of which account, as far as that was seen.
    contacts: HashSet<(i64, AccountId)>,
    /// Who is in the list, while people are added.
    listed: Option<HashSet<u128>>,
    /// Whom only accounts know that cannot act now. They wait for these, and nothing else is to be done about them.
    stranded: HashMap<TargetId, i64>,
    /// Uncertain ones of whom the group says nothing: how often it was asked, and when it is again, on the steady
    /// timeline.
    unknown: HashMap<TargetId, (u16, UnixMillis)>,
    /// Uncertain ones that only a person can settle.
    beyond: HashSet<TargetId>,
    /// In which run the uncertain ones are looked at; once at a time.
    is_settling: Option<u64>,
    /// Where the last look at them ended.
    settled_to: Option<TargetId>,
    /// Nothing is begun any more.
    is_stopping: bool,
    /// Waits for what is under way to be noted, when the daemon stops.
    stopping: Option<RpcReplyPort<()>>,
    /// Whether it is counted as running.
    active: Depth,
    /// What runs beside it for the whole of it: reading, checking rights, settling.
    beside: Vec<AbortOnDropHandle<()>>,
}

impl Actor for Campaign {
    type Msg = CampaignMsg;
    type State = CampaignState;
    type Arguments = CampaignArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<CampaignMsg>,
        args: CampaignArgs,
    ) -> Result<CampaignState, ActorProcessingErr> {
        let CampaignArgs { context, supervisor, allocator, task, run, pages } = args;
        myself.cast(CampaignMsg::Begin)?;
        let active = context.metrics.campaigns.active();
        let book = TargetBook::new(task.user.clone(), task.id, pages);
        let mut state = CampaignState {
            context,
            supervisor,
            allocator,
            template: None,
            task,
            run,
            book,
            settings: Arc::default(),
            number: 0,
            epoch: 0,
            is_entered: false,
            to_enter: Vec::new(),
            acting: HashMap::new(),
            people: HashMap::new(),
            known: HashMap::new(),
            gone: HashSet::new(),
            seen_group: HashSet::new(),
            contacts: HashSet::new(),
            listed: None,
            stranded: HashMap::new(),
            unknown: HashMap::new(),
            beyond: HashSet::new(),
            is_settling: None,
            settled_to: None,
            is_stopping: false,
            stopping: None,
            beside: Vec::new(),
            active,
        };
        state.read_task();
        state.show();
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<CampaignMsg>,
        message: CampaignMsg,
        state: &mut CampaignState,
    ) -> Result<(), ActorProcessingErr> {
        state.epoch += 1;
        match message {
            CampaignMsg::Begin => state.begin(&myself).await?,
            CampaignMsg::Order { wanted, who, reply } => {
                let _ = reply.send(state.wanted(&myself, wanted, &who).await);
            }
            CampaignMsg::Edit { edit, who, reply } => {
                let _ = reply.send(state.edit(&myself, *edit, &who).await);
            }
            CampaignMsg::Delete { who, reply } => {
                let _ = reply.send(state.delete(&myself, &who).await);
            }
            CampaignMsg::Add { people, creation, who, reply } => {
                let _ = reply.send(state.add(people, creation, &who).await);
            }
            CampaignMsg::Import { people, mut import, who, reply } => {
                let added = state.import(people, &mut import, &who).await;
                let _ = reply.send(added.map(|added| (added, *import)));
            }
            CampaignMsg::EditTarget { edit, who, reply } => {
                let _ = reply.send(state.edit_target(*edit, &who).await);
            }
            CampaignMsg::Bulk { action, who, reply } => {
                let _ = reply.send(state.bulk(&myself, action, &who).await);
            }
            CampaignMsg::Loaded { run, loaded } if run == state.number => {
                state.loaded(&myself, *loaded).await?;
            }
            CampaignMsg::Reopen { run } if run == state.number => state.open(&myself),
            CampaignMsg::Act { run, action } if run == state.number => state.act(&myself, action),
            CampaignMsg::Prepared { run, prepared } => {
                state.prepared(&myself, *prepared, run).await?;
            }
            CampaignMsg::Answered(answered) => state.answered(&myself, *answered).await?,
            CampaignMsg::Settle { run } if run == state.number => state.settle(&myself),
            CampaignMsg::Settled { run, settled } if run == state.number => {
                state.settled(&myself, *settled).await?;
            }
            CampaignMsg::AccountLeft { account, targets } => {
                state.account_left(&myself, account, targets).await?;
            }
            CampaignMsg::AccountReturned { account } => state.account_returned(account),
            CampaignMsg::NoContactTime { settings } => {
                state.no_contact_time(&myself, &settings).await?;
            }
            CampaignMsg::Due { epoch } if epoch == state.number => state.due(&myself).await?,
            CampaignMsg::Stop(reply) => state.stop(reply),
            CampaignMsg::Reenter { allocator } => state.reenter(&myself, allocator),
            CampaignMsg::IdleOver { epoch } if epoch + 1 == state.epoch => {
                if state.is_idle() {
                    myself.stop(None);
                }
            }
            CampaignMsg::Loaded { .. }
            | CampaignMsg::Reopen { .. }
            // Chosen in an earlier run: who waits was told to the allocator anew.
            | CampaignMsg::Act { .. }
            | CampaignMsg::Settle { .. }
            | CampaignMsg::Settled { .. }
            | CampaignMsg::Due { .. }
            | CampaignMsg::IdleOver { .. } => {}
        }
        if state.acting.is_empty()
            && let Some(reply) = state.stopping.take()
        {
            let _ = reply.send(());
        }
        if state.is_idle() {
            let epoch = state.epoch;
            myself.send_after(IDLE_MAX, move || CampaignMsg::IdleOver { epoch });
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _: ActorRef<CampaignMsg>,
        state: &mut CampaignState,
    ) -> Result<(), ActorProcessingErr> {
        let _ = state.allocator.cast(AllocatorMsg::Leave { task: state.task.id });
        state.context.status.campaign_gone(&state.task.user, state.task.id);
        Ok(())
    }
}

impl CampaignState {
    /// Whether nothing follows by itself.
    fn is_idle(&self) -> bool {
        let is_waiting = matches!(self.task.status, TaskStatus::Running | TaskStatus::Scheduled);
        let is_settling = self.task.status == TaskStatus::Cancelled && self.is_to_settle();
        !is_waiting && !is_settling && self.acting.is_empty()
    }

    /// Takes over what the task says of its text and its settings.
    fn read_task(&mut self) {
        self.settings = Arc::new(self.task.settings.clone());
        let text = self.task.message_template.as_deref();
        self.template = text.and_then(|text| Template::parse(text, None).ok());
    }

    /// What time it is on the timeline of caps.
    fn steady(&self) -> UnixMillis {
        self.context.budgets.now(&self.context)
    }

    /// The caps that hold for it.
    fn caps(&self) -> Caps {
        self.task.caps(&self.context.settings.caps)
    }

    /// Whether what people are written has a link.
    fn has_link(&self) -> bool {
        let line = self.settings.opt_out_line.as_deref();
        self.template.as_ref().is_some_and(|template| template.has_link_with(line))
    }

    /// Takes note of who a target is, and whether they are contacted as that one.
    fn note_person(&mut self, target: &Target) {
        let Some(person) = target.person else { return };
        let is_certain = match target.status {
            TargetStatus::Pending => false,
            TargetStatus::Failed if target.reason == Some(Reason::Unsettled) => true,
            // Whoever was not contacted under this name may be under another.
            TargetStatus::Failed | TargetStatus::Skipped => {
                if self.people.get(&person).is_some_and(|owner| owner.target == target.id) {
                    self.people.remove(&person);
                }
                return;
            }
            _ => true,
        };
        let owner = Owner { target: target.id, is_certain };
        match self.people.get(&person) {
            Some(known) if known.target != target.id && (known.is_certain || !is_certain) => {}
            _ => drop(self.people.insert(person, owner)),
        }
    }

    /// How it stands, for the allocator.
    fn standing(&self) -> TaskStanding {
        TaskStanding {
            priority: self.task.priority,
            goal: self.task.task_type.goal(),
            accounts: self
                .run
                .accounts(&self.task)
                .filter(|account| !self.gone.contains(account))
                .collect(),
            gone: self.gone.iter().copied().collect(),
            caps: self.caps(),
            has_link: self.has_link(),
            parallel: self.run.pace.parallel(),
            breaker: self.run.breaker,
            settings: Arc::clone(&self.settings),
        }
    }

    /// Whether nothing can be done for those who wait, because nobody is there whom they could be reached by.
    fn is_stranded(&self) -> bool {
        let waiting = self.run.statistics.count(TargetStatus::Pending);
        waiting > 0 && self.stranded.len() as u64 >= waiting && self.acting.is_empty()
    }

    /// Whether an account other than `gone` may still act for it.
    fn is_any_account_left(&self, gone: Option<AccountId>) -> bool {
        let left: Vec<AccountId> =
            self.run.accounts(&self.task).filter(|id| Some(*id) != gone).collect();
        self.context.budgets.with(&self.context, |accounts, _| {
            left.iter().any(|id| accounts.get(id).is_none_or(|account| !account.is_gone))
        })
    }

    /// Has others see how it stands.
    fn show(&mut self) {
        self.active.set(usize::from(self.task.status == TaskStatus::Running));
        let view = CampaignView {
            status: self.task.status,
            priority: self.task.priority,
            statistics: self.run.statistics,
            paused_because: self.task.paused_because,
            held: None,
            error: None,
        };
        self.context.status.campaign(&self.task.user, self.task.id, view);
    }

    /// An account that was gone is there again, with what it knows.
    fn account_returned(&mut self, account: AccountId) {
        if self.gone.remove(&account) && self.is_entered {
            let known = &self.known;
            let knows = |person: &i64| known.get(person).is_some_and(|by| by.contains(&account));
            self.stranded.retain(|_, person| !knows(person));
            let (task, standing) = (self.task.id, Box::new(self.standing()));
            let _ = self.allocator.cast(AllocatorMsg::Stands { task, standing });
        }
    }

    /// Runs `work` beside it for as long as this run lasts.
    fn run_beside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.beside.retain(|work| !work.is_finished());
        self.beside.push(tasks::owned(work));
    }
}
