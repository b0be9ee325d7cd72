//! Jobs: what a command asked to be done once at Telegram (joining a chat). The command is long
//! acknowledged; the job is in the store until its outcome is, so a crash repeats it and a flood
//! wait of hours is simply waited out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::calls::{Asker, Priority, Reply, Request};
use super::fleet::replying;
use super::fleet::{CommandHold, FleetMsg, Hold, Holder};
use crate::actors::accounts::context::AccountsContext;
use crate::actors::tree::actor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, named};
use crate::failpoint;
use crate::protocol::bridge::event::CommandOutcome;
use crate::protocol::bridge::job::{JobRecord, JobWork};
use crate::protocol::telegram::chat::{ChatTarget, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::tree::restart::Backoff;
use crate::store::{CommitError, Op};
use crate::telegram::{Call, Outcome};

/// Pauses between tries of a job that met a transient failure.
const BACKOFF: Backoff = Backoff { min_ms: 2_000, max_ms: 5 * 60_000 };
/// After this long a job that still fails is given up, milliseconds (24 h).
const GIVE_UP_AFTER_MS: i64 = 24 * 60 * 60 * 1_000;

/// The actor.
pub(in crate::actors) struct Jobs;

/// What it is started with.
pub(in crate::actors) struct JobsArgs {
    pub(in crate::actors) context: Arc<AccountsContext>,
    pub(in crate::actors) fleet: ActorRef<FleetMsg>,
    pub(in crate::actors) jobs: Vec<JobRecord>,
}

/// Its messages.
pub(in crate::actors) enum JobsMsg {
    /// Take over what the store knows, or has just been given.
    Begin { jobs: Vec<JobRecord> },
    /// A command asks for something.
    Add { job: JobRecord, hold: CommandHold, reply: RpcReplyPort<Result<(), CommitError>> },
    /// Try a job.
    Try { id: Uuid },
    /// A try ended.
    Ended { id: Uuid, outcome: Result<Outcome, Failure> },
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

named!(JobsMsg: Begin, Add, Try, Ended, Pulse);

/// Its state.
pub(in crate::actors) struct JobsState {
    context: Arc<AccountsContext>,
    fleet: ActorRef<FleetMsg>,
    jobs: HashMap<Uuid, Job>,
    /// On their way to the disk.
    coming: HashSet<Uuid>,
}

struct Job {
    record: JobRecord,
    tries: u32,
    /// What its username stands for, once that is known: looking it up has limits of its own, so
    /// it is done once and as a call of its own.
    resolved: Option<MarkedId>,
}

impl Actor for Jobs {
    type Msg = JobsMsg;
    type State = JobsState;
    type Arguments = JobsArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<JobsMsg>,
        args: JobsArgs,
    ) -> Result<JobsState, ActorProcessingErr> {
        let JobsArgs { context, fleet, jobs } = args;
        jobs.iter().for_each(|job| begin(&context, job));
        myself.cast(JobsMsg::Begin { jobs })?;
        Ok(JobsState { context, fleet, jobs: HashMap::new(), coming: HashSet::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<JobsMsg>,
        message: JobsMsg,
        state: &mut JobsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            JobsMsg::Begin { jobs } => jobs.into_iter().for_each(|job| state.take(&myself, job)),
            // The hold lasts until the job has the session.
            JobsMsg::Add { job, hold: _hold, reply } => state.add(&myself, job, reply).await,
            JobsMsg::Try { id } => state.attempt(&myself, id),
            JobsMsg::Ended { id, outcome } => state.ended(&myself, id, outcome).await?,
            JobsMsg::Pulse(reply) => drop(reply.send(())),
        }
        Ok(())
    }
}

impl JobsState {
    fn take(&mut self, myself: &ActorRef<JobsMsg>, job: JobRecord) {
        let id = job.id;
        self.coming.remove(&id);
        self.jobs.insert(id, Job { record: job, tries: 0, resolved: None });
        self.attempt(myself, id);
    }

    async fn add(
        &mut self,
        myself: &ActorRef<JobsMsg>,
        job: JobRecord,
        reply: RpcReplyPort<Result<(), CommitError>>,
    ) {
        if self.jobs.contains_key(&job.id) {
            // The command was delivered again; the job is under way.
            let _ = reply.send(Ok(()));
            return;
        }
        if !self.coming.insert(job.id) {
            // The same, and the disk does not have it yet: what is handed in now is durable later.
            self.hand_in(&job, Vec::new(), |outcome| drop(reply.send(outcome))).await;
            return;
        }
        failpoint::reach("job.add.before");
        // Nobody waits here for the disk: joins behind this one share its commit, and a slow disk
        // does not keep the heartbeat waiting.
        let (target, ops) = (myself.clone(), vec![Op::PutJob(job.clone())]);
        let held = job.clone();
        let context = Arc::clone(&self.context);
        let done = move |outcome: Result<(), CommitError>| {
            failpoint::reach("job.add.after");
            if outcome.is_ok() {
                // Before anybody hears of it and orders what depends on the join.
                begin(&context, &job);
                let _ = target.cast(JobsMsg::Begin { jobs: vec![job] });
            }
            let _ = reply.send(outcome);
        };
        // Refused at the door, the reply is dropped, and the command comes again.
        self.hand_in(&held, ops, done).await;
    }

    /// Hands in what keeps a job's session.
    async fn hand_in(
        &self,
        job: &JobRecord,
        ops: Vec<Op>,
        done: impl FnOnce(Result<(), CommitError>) + Send + 'static,
    ) {
        let (holder, sessions) = (Holder::Join(job.id), vec![job.work.member()]);
        let hold = Hold { holder, sessions, ops, reply: None, done: Box::new(done) };
        hold.hand_in(&self.fleet, &self.context.store).await;
    }

    fn attempt(&mut self, myself: &ActorRef<JobsMsg>, id: Uuid) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.tries += 1;
        let JobWork::Join { chat, account, .. } = &job.record.work;
        let call = match (&chat.target, job.resolved) {
            (_, Some(chat)) => Call::Join(ChatTarget::Marked(chat)),
            (ChatTarget::Username(_), None) => Call::Resolve(chat.target.clone()),
            (target, None) => Call::Join(target.clone()),
        };
        let target = myself.clone();
        let reply = Reply::new(move |outcome| {
            let _ = target.cast(JobsMsg::Ended { id, outcome });
        });
        let request = Request::new(call, Priority::Bridge, Asker::Command(id), reply);
        let _ = self.fleet.cast(FleetMsg::Request { account: *account, request });
    }

    async fn ended(
        &mut self,
        myself: &ActorRef<JobsMsg>,
        id: Uuid,
        outcome: Result<Outcome, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(job) = self.jobs.get_mut(&id) else { return Ok(()) };
        if let Ok(Outcome::Resolved { peer, .. }) = &outcome {
            job.resolved = Some(peer.id);
            self.attempt(myself, id);
            return Ok(());
        }
        let (job, tries) = (&job.record, job.tries);
        let passing = matches!(
            outcome,
            Err(Failure::Transient { .. } | Failure::Migrate { .. } | Failure::Limited)
        );
        let too_old = self.context.now() > job.created_at.plus_ms(GIVE_UP_AFTER_MS);
        if passing && !too_old {
            let pause = BACKOFF.delay_ms(tries, self.context.jitter());
            myself.send_after(Duration::from_millis(pause), move || JobsMsg::Try { id });
            return Ok(());
        }
        let JobWork::Join { chat, account, .. } = &job.work;
        self.context.joins.end(*account, &chat.target);
        let outcome = describe(job, outcome);
        let reply = job.reply.clone().map(|to| replying(&self.context.tree, to, outcome));
        self.jobs.remove(&id);
        failpoint::reach("job.done.before");
        let (holder, sessions, ops) = (Holder::Join(id), Vec::new(), vec![Op::DeleteJob(id)]);
        let hold = Hold { holder, sessions, ops, reply, done: Box::new(|_| {}) };
        hold.hand_in(&self.fleet, &self.context.store).await;
        failpoint::reach("job.done.after");
        Ok(())
    }
}

/// Monitors may see the join from here on until it ends.
fn begin(context: &AccountsContext, job: &JobRecord) {
    let JobWork::Join { chat, account, .. } = &job.work;
    context.joins.begin(*account, chat.target.clone());
}

fn describe(job: &JobRecord, outcome: Result<Outcome, Failure>) -> CommandOutcome {
    let JobWork::Join { chat, session, .. } = &job.work;
    match outcome {
        Ok(Outcome::Joined { chat: joined, title, requested }) => {
            tracing::info!(chat = %chat.key().redacted(), session = %session, requested, "joined a chat");
            let (chat, session) = (chat.clone(), session.clone());
            CommandOutcome::Joined { chat, session, marked_chat_id: joined, title, requested }
        }
        Ok(_) => CommandOutcome::failed("internal", "the account answered something else"),
        Err(failure) => {
            tracing::warn!(chat = %chat.key().redacted(), session = %session, error = %failure, "joining a chat failed");
            CommandOutcome::failed(&failure.code().to_ascii_lowercase(), &failure.to_string())
        }
    }
}
