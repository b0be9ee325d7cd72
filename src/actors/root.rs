//! The root: starts the tree in order, stops it in the opposite one, and gives up the process
//! when a part ends without which going on would be a lie.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::accounts::context::{AccountSettings, AccountsContext, ReadPrivate};
use super::accounts::directory::Directory;
use super::accounts::fleet::{Fleet, FleetArgs, FleetMsg, Holder};
use super::accounts::joins::{Jobs, JobsArgs, JobsMsg};
use super::bridge::links::{Bridge, BridgeArgs, BridgeMsg};
use super::bridge::port::BrokerLinks;
use super::campaigns::context::{CampaignSettings, CampaignsContext};
use super::campaigns::replies::Replies;
use super::campaigns::supervisor::{Campaigns, CampaignsArgs, CampaignsMsg};
use super::campaigns::telegram::TelegramPlatform;
use super::logins::context::LoginsContext;
use super::logins::registrar::{Logins, LoginsArgs, LoginsMsg};
use super::messages::sender::MessageSender;
use super::monitors::commands::Commands;
use super::monitors::context::{MonitorSettings, MonitorsContext};
use super::monitors::rekeying;
use super::monitors::supervisor::{Monitors, MonitorsArgs, MonitorsMsg};
use super::services::{ServiceParts, Services};
use super::tree::backlog;
use super::tree::context::Context;
use super::tree::ledger;
use super::upkeep::feed;
use super::upkeep::retention;
use super::webhooks::port::EndpointClient;
use super::webhooks::supervisor::{Hooks, WebhookSettings};
use super::webhooks::supervisor::{Webhooks, WebhooksArgs, WebhooksMsg};
use crate::actors::tree::actor::{
    Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, RpcReplyPort,
    SupervisionEvent, named, spawn, spawn_child,
};
use crate::chance::secret;
use crate::clock::instant;
use crate::protocol::accounts::record::PoolMember;
use crate::protocol::bridge::job::JobRecord;
use crate::protocol::campaigns::caps::CapClock;
use crate::protocol::campaigns::run::TaskRun;
use crate::protocol::campaigns::target::TargetStatus;
use crate::protocol::campaigns::task::{TaskId, TaskStatus};
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::tree::restart::{ChildKind, RestartDecision, RestartHistory};
use crate::protocol::tree::table::{self, TableRow};
use crate::protocol::users::owner::UserId;
use crate::store::{CampaignClock, InstallationKey, Outbox, Reader, RowId, Snapshot, StoreError};
use crate::telegram::TelegramClient;

/// How long the end of a part may wait for its line in the ledger.
const LEDGER_MAX: Duration = Duration::from_secs(1);

/// Why the tree cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// A part of the tree could not be started.
    #[error("{part} could not be started: {cause}")]
    Start {
        /// Which one.
        part: &'static str,
        /// Why.
        cause: String,
    },
    /// A part of the tree ended that must not.
    #[error("{part} ended: {cause}")]
    Ended {
        /// Which one.
        part: String,
        /// Why.
        cause: String,
    },
}

/// Settings of the tree, by room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of accounts.
    pub accounts: AccountSettings,
    /// Of monitors.
    pub monitors: MonitorSettings,
    /// Of webhooks.
    pub webhooks: WebhookSettings,
    /// Of campaigns.
    pub campaigns: CampaignSettings,
}

/// What the tree reaches the world by. It is handed in: the tree knows no edge, and no library.
pub struct Ports {
    /// Telegram.
    pub telegram: Arc<dyn TelegramClient>,
    /// The bridge, where there is one.
    pub bridge: Option<BridgeParts>,
    /// Calls webhooks' endpoints.
    pub endpoints: Arc<dyn EndpointClient>,
}

#[cfg(test)]
impl Ports {
    /// No datacenter to dial, no bridge, and endpoints that cannot be reached.
    pub(crate) fn closed() -> Self {
        let telegram = Arc::new(crate::telegram::Unreachable);
        Self { telegram, bridge: None, endpoints: Arc::new(super::webhooks::port::Unreachable) }
    }
}

/// What the bridge needs.
pub struct BridgeParts {
    /// The links to the broker.
    pub links: Arc<dyn BrokerLinks>,
    /// The outbox.
    pub outbox: Outbox,
}

/// A part that a heartbeat goes through.
pub struct Part {
    /// What it is called in logs.
    pub name: &'static str,
    ask: Box<dyn Fn() -> oneshot::Receiver<()> + Send>,
}

impl Part {
    /// The part `name`, which is asked by `ask` and answers by what that returns.
    pub fn new(
        name: &'static str,
        ask: impl Fn() -> oneshot::Receiver<()> + Send + 'static,
    ) -> Self {
        Self { name, ask: Box::new(ask) }
    }

    /// The part whose root is `actor`: it answers from its own mailbox, behind what waits there.
    fn of<M: Message>(
        name: &'static str,
        actor: &ActorRef<M>,
        pulse: fn(RpcReplyPort<()>) -> M,
    ) -> Self {
        let actor = actor.clone();
        Self::new(name, move || {
            let (reply, answer) = oneshot::channel();
            let _ = actor.cast(pulse(reply.into()));
            answer
        })
    }

    /// Asks for a sign of life. The answer may never come; it fails when the part is gone.
    pub fn ask(&self) -> oneshot::Receiver<()> {
        (self.ask)()
    }
}

/// What the store knows of campaigns at the start.
struct KnownOfCampaigns {
    cap_clock: Option<CapClock>,
    installation_key: InstallationKey,
    /// The tasks that run or are scheduled, and those that were given up with something to settle.
    under_way: Vec<(UserId, TaskId)>,
}

async fn known_of_campaigns(context: &Context) -> Result<KnownOfCampaigns, StoreError> {
    let installation_key = context.store.installation_key_or(*secret()).await?;
    let read = |store: &Reader| {
        let clock: Option<CampaignClock> = store.shared_row(RowId::ONLY)?;
        let mut tasks = store.tasks_in(&[TaskStatus::Running, TaskStatus::Scheduled])?;
        for task in store.tasks_in(&[TaskStatus::Cancelled])? {
            let run = store.row::<TaskRun>(&task.user, task.id)?;
            let is_left = |run: TaskRun| {
                let left = [TargetStatus::InFlight, TargetStatus::Uncertain];
                left.into_iter().any(|status| run.statistics.count(status) > 0)
            };
            if run.is_some_and(is_left) {
                tasks.push(task);
            }
        }
        Ok((clock, tasks))
    };
    let (clock, tasks) = context.store.read(read).await?;
    let cap_clock = clock.map(|stored| stored.clock);
    let under_way = tasks.into_iter().map(|task| (task.user, task.id)).collect();
    Ok(KnownOfCampaigns { cap_clock, installation_key, under_way })
}

/// A running tree.
pub struct Root {
    supervisor: ActorRef<RootMsg>,
    fleet: ActorRef<FleetMsg>,
    monitors: ActorRef<MonitorsMsg>,
    jobs: ActorRef<JobsMsg>,
    logins: ActorRef<LoginsMsg>,
    webhooks: ActorRef<WebhooksMsg>,
    campaigns: ActorRef<CampaignsMsg>,
    bridge: Option<ActorRef<BridgeMsg>>,
    commands: Commands,
    services: Services,
    sender: Arc<MessageSender>,
    /// What tells, tidies and looks after something.
    helpers: [AbortOnDropHandle<()>; 4],
    ended: watch::Receiver<Option<RootError>>,
}

impl Root {
    /// Starts the tree on what the store knows.
    pub async fn start(
        context: Arc<Context>,
        settings: Settings,
        directory: Arc<Directory>,
        snapshot: Snapshot,
        ports: Ports,
        drain: Duration,
    ) -> Result<Self, RootError> {
        let Ports { telegram, bridge, endpoints } = ports;
        let (tell, ended) = watch::channel(None);
        let state = SupervisorState { context: Arc::clone(&context), parts: HashMap::new(), tell };
        let member = context.members().of_row(&table::ROOT);
        let supervisor = spawn(member, Supervisor, state).await.map_err(failed("root"))?;
        let Snapshot { sessions, accounts, owned, logins, login_waits, .. } = snapshot;
        let Snapshot { monitors, jobs, restarts, .. } = snapshot;
        let Settings {
            accounts: settings,
            monitors: monitor_settings,
            webhooks: webhook_settings,
            campaigns: campaign_settings,
        } = settings;
        let unread =
            |error: StoreError| RootError::Start { part: "campaigns", cause: error.to_string() };
        let known = known_of_campaigns(&context).await.map_err(unread)?;
        let KnownOfCampaigns { cap_clock, installation_key, under_way } = known;
        let tree = Arc::clone(&context);
        let of_accounts = AccountsContext::new(tree, settings, telegram, directory, cap_clock);
        let of_monitors = MonitorsContext::new(Arc::clone(&of_accounts), monitor_settings);
        let of_logins = LoginsContext::new(Arc::clone(&of_accounts));
        let hooks = Arc::new(Hooks::default());
        of_logins.login_flood_waits.recall(login_waits, context.now());
        restarts.into_iter().for_each(|record| context.status.restart(record));
        let replies = Replies::default();
        let reader = replies.clone();
        let read: ReadPrivate = Box::new(move |private| reader.clone().read(private).boxed());
        let _ = of_accounts.read_private.set(read);
        let (shared, held) = (Arc::clone(&of_accounts), held_by(&monitors, &jobs));
        let args = FleetArgs { context: shared, accounts, sessions, owned, held };
        let fleet = start(&supervisor, &context, &table::FLEET, Fleet, args).await?;
        let (shared, records) = (Arc::clone(&of_monitors), monitors);
        let args = MonitorsArgs { context: shared, fleet: fleet.clone(), records };
        let monitors = start(&supervisor, &context, &table::MONITORS, Monitors, args).await?;
        let args = JobsArgs { context: Arc::clone(&of_accounts), fleet: fleet.clone(), jobs };
        let jobs = start(&supervisor, &context, &table::JOBS, Jobs, args).await?;
        let (login_context, login_fleet) = (Arc::clone(&of_logins), fleet.clone());
        let args = LoginsArgs { context: login_context, fleet: login_fleet, interrupted: logins };
        let logins = start(&supervisor, &context, &table::LOGINS, Logins, args).await?;
        let args = WebhooksArgs {
            context: Arc::clone(&context),
            registry: Arc::clone(&hooks),
            settings: webhook_settings,
            client: Arc::clone(&endpoints),
            drain,
        };
        let webhooks = start(&supervisor, &context, &table::WEBHOOKS, Webhooks, args).await?;
        let clock = context.clock.clone();
        let commands = Commands::new(fleet.clone(), monitors.clone(), jobs.clone(), clock);
        let helpers = [
            feed::start(&of_logins),
            retention::start(&context),
            rekeying::start(&of_monitors, &commands),
            backlog::start(&context),
        ];
        let sender = MessageSender::new(Arc::clone(&of_accounts), fleet.clone());
        let (shared, asked) = (Arc::clone(&of_accounts), fleet.clone());
        let platform = Arc::new(TelegramPlatform::new(shared, asked, Arc::clone(&sender)));
        let of_campaigns =
            CampaignsContext::new(of_accounts, campaign_settings, platform, installation_key);
        replies.begin(&of_campaigns);
        let args = CampaignsArgs { context: Arc::clone(&of_campaigns), under_way };
        let campaigns = start(&supervisor, &context, &table::CAMPAIGNS, Campaigns, args).await?;
        let services = Services::new(ServiceParts {
            context: of_logins,
            fleet: fleet.clone(),
            logins: logins.clone(),
            commands: commands.clone(),
            sender: Arc::clone(&sender),
            of_campaigns,
            campaigns: campaigns.clone(),
            hooks,
            endpoints,
        });
        let bridge = match bridge {
            None => None,
            Some(BridgeParts { links, outbox }) => {
                let commands = commands.clone();
                let args =
                    BridgeArgs { context: Arc::clone(&context), links, outbox, commands, drain };
                Some(start(&supervisor, &context, &table::BRIDGE, Bridge, args).await?)
            }
        };
        Ok(Self {
            supervisor,
            fleet,
            monitors,
            jobs,
            logins,
            webhooks,
            campaigns,
            bridge,
            commands,
            services,
            sender,
            helpers,
            ended,
        })
    }

    /// A tree on what `snapshot` holds, with no datacenter to dial, no bridge, and endpoints that cannot be
    /// reached.
    #[cfg(test)]
    pub(super) async fn for_tests(store: &crate::store::Store, snapshot: Snapshot) -> Self {
        Self::calling(store, snapshot, WebhookSettings::default(), Ports::closed()).await
    }

    /// The same, which reaches the world by `ports`.
    #[cfg(test)]
    pub(crate) async fn calling(
        store: &crate::store::Store,
        snapshot: Snapshot,
        webhooks: WebhookSettings,
        ports: Ports,
    ) -> Self {
        Self::around(Context::for_tests(store.clone()), snapshot, webhooks, ports).await
    }

    /// The same in a context of one's own.
    #[cfg(test)]
    async fn around(
        context: Arc<Context>,
        snapshot: Snapshot,
        webhooks: WebhookSettings,
        ports: Ports,
    ) -> Self {
        let (accounts, monitors) = (AccountSettings::for_tests(), MonitorSettings::for_tests());
        let campaigns = CampaignSettings::for_tests();
        let settings = Settings { accounts, monitors, webhooks, campaigns };
        let drain = Duration::from_millis(50);
        Self::start(context, settings, Arc::default(), snapshot, ports, drain).await.unwrap()
    }

    /// What the product can be asked, for the edges.
    pub fn services(&self) -> Services {
        self.services.clone()
    }

    /// Ends it at once, as a crash of the process does.
    #[cfg(test)]
    pub(super) fn kill(self) {
        let parts: [ActorCell; 5] = [
            self.logins.into(),
            self.fleet.into(),
            self.jobs.into(),
            self.monitors.into(),
            self.supervisor.into(),
        ];
        parts.iter().for_each(ActorCell::kill);
    }

    #[cfg(test)]
    pub(super) fn fleet(&self) -> &ActorRef<FleetMsg> {
        &self.fleet
    }

    /// The door for commands that do not come over the bridge.
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Everything that a heartbeat has to go through. An account or a monitor that hangs alone is
    /// no reason to end the others, so the heartbeat asks their parents only.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![
            Part::of("root", &self.supervisor, RootMsg::Pulse),
            Part::of("fleet", &self.fleet, FleetMsg::Pulse),
            Part::of("monitors", &self.monitors, MonitorsMsg::Pulse),
            Part::of("jobs", &self.jobs, JobsMsg::Pulse),
            Part::of("logins", &self.logins, LoginsMsg::Pulse),
            Part::of("webhooks", &self.webhooks, WebhooksMsg::Pulse),
            Part::of("campaigns", &self.campaigns, CampaignsMsg::Pulse),
        ];
        let bridge = self.bridge.as_ref();
        parts.extend(bridge.map(|bridge| Part::of("bridge", bridge, BridgeMsg::Pulse)));
        parts
    }

    /// Waits until a part ends that must not, and tells why.
    pub async fn ended(&self) -> RootError {
        let mut ended = self.ended.clone();
        let seen = ended.wait_for(Option::is_some).await;
        seen.ok().and_then(|seen| seen.clone()).unwrap_or_else(|| RootError::Ended {
            part: "root".into(),
            cause: "its actor is gone".into(),
        })
    }

    /// Stops the tree from the leaves up before `deadline`: commands first, then sessions, then
    /// what listens to them, then what the broker still takes.
    pub async fn stop(self, deadline: Instant) {
        let Self {
            supervisor,
            fleet,
            monitors,
            jobs,
            logins,
            webhooks,
            campaigns,
            bridge,
            helpers,
            sender,
            ..
        } = self;
        // Known before the first part ends: supervision events overtake messages.
        let _ = timeout_at(deadline, supervisor.call(RootMsg::Stopping, None)).await;
        if let Some(bridge) = &bridge {
            // Half of the time at the most: what follows needs some, too.
            let half = instant() + deadline.duration_since(instant()) / 2;
            let asked = bridge.call(BridgeMsg::StopConsuming, None);
            let _ = timeout_at(half, asked).await;
        }
        // Campaigns begin nothing more; what is under way is noted, so that it need not be settled.
        let sixth = instant() + deadline.duration_since(instant()) / 6;
        let _ = timeout_at(sixth, campaigns.call(CampaignsMsg::Stop, None)).await;
        // What users send is under way for some seconds at the most.
        let third = instant() + deadline.duration_since(instant()) / 3;
        let _ = timeout_at(third, sender.close()).await;
        // Logins before the fleet, which takes in the accounts of those that have just succeeded.
        let parts: [ActorCell; 4] = [logins.into(), fleet.into(), jobs.into(), monitors.into()];
        for part in parts {
            let _ = timeout_at(deadline, part.drain_and_wait(None)).await;
        }
        let asked = webhooks.call(WebhooksMsg::Stop, None);
        match &bridge {
            Some(bridge) => {
                let publisher = bridge.call(BridgeMsg::StopPublishing, None);
                let both = async { tokio::join!(publisher, asked) };
                let _ = timeout_at(deadline, both).await;
            }
            None => drop(timeout_at(deadline, asked).await),
        }
        drop(helpers);
        let _ = timeout_at(deadline, supervisor.stop_and_wait(None, None)).await;
    }
}

/// Which sessions the records of the bridge name.
fn held_by(
    monitors: &[(MonitorRecord, Option<Cursor>)],
    jobs: &[JobRecord],
) -> Vec<(Holder, Vec<PoolMember>)> {
    let of_bridge = monitors.iter().filter(|(record, _)| record.owner.is_none());
    let monitors = of_bridge.map(|(record, _)| {
        let sessions = record.ordered.iter().chain(&record.pool).cloned().collect();
        (Holder::Monitor(record.key()), sessions)
    });
    let joins = jobs.iter().map(|job| (Holder::Join(job.id), vec![job.work.member()]));
    monitors.chain(joins).collect()
}

/// Starts a part of the tree under the root.
async fn start<A: Actor>(
    supervisor: &ActorRef<RootMsg>,
    context: &Context,
    row: &TableRow,
    actor: A,
    args: A::Arguments,
) -> Result<ActorRef<A::Msg>, RootError> {
    let part = row.name.unwrap_or_default();
    let member = context.members().of_row(row);
    let spawned = spawn_child(member, actor, args, supervisor.get_cell()).await;
    let child = spawned.map_err(failed(part))?;
    // Known before anything else is done: supervision events overtake messages.
    let id = child.get_id();
    let _ = supervisor.call(|reply| RootMsg::Named { child: id, part, reply }, None).await;
    Ok(child)
}

fn failed(part: &'static str) -> impl Fn(crate::actors::tree::actor::SpawnErr) -> RootError {
    move |error| RootError::Start { part, cause: error.to_string() }
}

/// The actor above all others. Its children restart theirs; should one of them end itself, the
/// process is to end, for systemd to start it again.
struct Supervisor;

/// Its messages.
enum RootMsg {
    /// What a child is called. Names are kept here and not in the library's registry, which is one
    /// for the whole process.
    Named { child: ActorId, part: &'static str, reply: RpcReplyPort<()> },
    /// The parts end from now on because they were told to.
    Stopping(RpcReplyPort<()>),
    /// The heartbeat passes.
    Pulse(RpcReplyPort<()>),
}

named!(RootMsg: Named, Stopping, Pulse);

struct SupervisorState {
    context: Arc<Context>,
    parts: HashMap<ActorId, &'static str>,
    tell: watch::Sender<Option<RootError>>,
}

impl Actor for Supervisor {
    type Msg = RootMsg;
    type State = SupervisorState;
    type Arguments = SupervisorState;

    async fn pre_start(
        &self,
        _myself: ActorRef<RootMsg>,
        state: SupervisorState,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(
        &self,
        _myself: ActorRef<RootMsg>,
        message: RootMsg,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMsg::Named { child, part, reply } => {
                state.parts.insert(child, part);
                drop(reply.send(()));
            }
            RootMsg::Stopping(reply) => {
                state.context.begin_stopping();
                drop(reply.send(()));
            }
            RootMsg::Pulse(reply) => drop(reply.send(())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let (child, cause) = match event {
            SupervisionEvent::ActorFailed(child, error) => (child, error.to_string()),
            SupervisionEvent::ActorTerminated(child, _, reason) => {
                (child, reason.unwrap_or_else(|| "stopped".into()))
            }
            _ => return Ok(()),
        };
        if state.context.is_stopping() {
            return Ok(());
        }
        let part = state.parts.get(&child.get_id()).copied().unwrap_or("a part of the tree");
        let history = &mut RestartHistory::default();
        let judged = ledger::judge(&state.context, ChildKind::Part, part, history, &cause);
        // A disk that hangs keeps its line, and nothing else.
        let verdict = timeout(LEDGER_MAX, judged).await;
        debug_assert!(verdict.is_err() || matches!(verdict, Ok(RestartDecision::Escalate { .. })));
        state.tell.send_replace(Some(RootError::Ended { part: part.into(), cause }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::actors::accounts::directory::tests::owned;
    use crate::clock::{Clock, TimeSource, now};
    use crate::protocol::accounts::owned::OwnedAccount;
    use crate::protocol::accounts::record::{AccountRecord, Credentials};
    use crate::protocol::bridge::command::SessionData;
    use crate::protocol::telegram::chat::{ChatRef, ChatSpelling};
    use crate::protocol::telegram::server_time::SteadyMillis;
    use crate::protocol::values::ids::{AuthKeyId, SessionId, UnixMillis};
    use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};
    use crate::store::gated::GatedDisk;
    use crate::store::{Op, Outbox, Store};

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn tree(store: &Store) -> Root {
        Root::for_tests(store, store.load().unwrap()).await
    }

    fn account(number: u64) -> AccountRecord {
        let (id, created_at) = (AuthKeyId(number), now());
        AccountRecord {
            id,
            me: None,
            fault: None,
            flood_waits: Vec::new(),
            frozen: None,
            created_at,
        }
    }

    fn session() -> SessionData {
        let auth_key = AuthKey::new([7; AUTH_KEY_LEN]);
        let (id, account) = (SessionId("one".into()), AuthKeyId::of(&auth_key));
        SessionData { id, api_id: None, account, dc_id: 2, auth_key }
    }

    #[tokio::test]
    async fn every_part_answers_the_heartbeat() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let root = tree(&store).await;
        let parts = root.parts();
        let names: Vec<&str> = parts.iter().map(|part| part.name).collect();
        let all = ["root", "fleet", "monitors", "jobs", "logins", "webhooks", "campaigns"];
        assert_eq!(names, all);
        for part in parts {
            timeout_at(Instant::now() + PATIENCE, part.ask()).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn the_tree_is_made_of_what_the_table_says_and_each_member_shows_itself() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let context = Context::for_tests(store);
        let (snapshot, webhooks) = (Snapshot::default(), WebhookSettings::default());
        let root = Root::around(Arc::clone(&context), snapshot, webhooks, Ports::closed()).await;
        let is_here = |row: &&TableRow| {
            row.name.is_some() && row.under != "app" && !row.path().contains("bridge")
        };
        let mut expected: Vec<String> =
            table::TABLE.iter().filter(is_here).map(TableRow::path).collect();
        expected.push(table::ROOT.path());
        expected.sort();
        let patience = Instant::now() + PATIENCE;
        loop {
            let seen = context.members().list();
            let names: Vec<String> = seen.into_iter().map(|member| member.name).collect();
            if names == expected {
                break;
            }
            assert!(Instant::now() < patience, "{names:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        root.stop(Instant::now() + PATIENCE).await;
    }

    #[tokio::test]
    async fn a_part_that_ends_ends_the_tree_and_the_ledger_says_which_and_why() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let root = tree(&store).await;
        root.fleet.kill();
        let error = timeout_at(Instant::now() + PATIENCE, root.ended()).await.unwrap();
        assert!(matches!(&error, RootError::Ended { part, .. } if part == "fleet"), "{error}");
        store.commit(Vec::new()).await.unwrap();
        let ledger = store.load().unwrap().restarts;
        assert_eq!((ledger.len(), ledger[0].actor.as_str()), (1, "part/fleet"));
        assert_eq!(ledger[0].next_at, None, "nothing starts it again");
    }

    #[tokio::test]
    async fn a_tree_that_is_told_to_stop_leaves_no_line_in_the_ledger() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let root = tree(&store).await;
        root.stop(Instant::now() + PATIENCE).await;
        store.commit(Vec::new()).await.unwrap();
        assert_eq!(store.load().unwrap().restarts, []);
    }

    /// The time that never goes on.
    struct Fixed(UnixMillis);

    impl TimeSource for Fixed {
        fn wall(&self) -> UnixMillis {
            self.0
        }

        fn steady(&self) -> SteadyMillis {
            SteadyMillis(0)
        }
    }

    #[tokio::test]
    async fn two_trees_live_in_one_process_side_by_side_and_share_nothing() {
        let moments = [1_000_000_000_000, 1_900_000_000_000].map(UnixMillis);
        let mut trees = Vec::new();
        for at in moments {
            let clock = Clock::of(Fixed(at));
            let (store, outbox) = Store::in_memory_at(clock.clone()).unwrap();
            let context = Context::for_tests_at(store.clone(), clock);
            let (snapshot, webhooks) = (Snapshot::default(), WebhookSettings::default());
            let root = Root::around(context, snapshot, webhooks, Ports::closed()).await;
            trees.push((root, store, outbox));
        }
        let chat = |number| ChatRef::parse(ChatSpelling::Number(number)).unwrap();
        let watch = async |(root, ..): &(Root, Store, Outbox), number| {
            root.commands().watch(None, chat(number), Vec::new(), None, Vec::new()).await.unwrap();
        };
        watch(&trees[0], -1_000_000_000_001).await;
        watch(&trees[0], -1_000_000_000_002).await;
        watch(&trees[1], -1_000_000_000_001).await;
        for (expected, at, (_, store, _)) in
            [(2, moments[0], &trees[0]), (1, moments[1], &trees[1])]
        {
            let monitors = store.load().unwrap().monitors;
            assert_eq!(monitors.len(), expected);
            assert!(monitors.iter().all(|(record, _)| record.started_at == at), "by its own clock");
        }
        trees[0].0.fleet.kill();
        timeout_at(Instant::now() + PATIENCE, trees[0].0.ended()).await.unwrap();
        for part in trees[1].0.parts() {
            timeout_at(Instant::now() + PATIENCE, part.ask()).await.unwrap().unwrap();
        }
        assert_eq!(trees[1].1.load().unwrap().restarts, [], "what ended belongs to the other one");
        trees.remove(1).0.stop(Instant::now() + PATIENCE).await;
    }

    /// The one thing that handlers wait for is room at the store's door, which there is until the
    /// disk has hung for long.
    #[tokio::test]
    async fn a_fleet_that_waits_for_the_store_does_not_answer_until_it_goes_on() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let root = tree(&store).await;
        let (go_on, hang) = mpsc::channel::<()>();
        let hold = move |_| {
            let _ = hang.recv();
        };
        store.submit(vec![Op::PutAccount(account(0))], hold).await.unwrap();
        let fill = |number| store.submit(vec![Op::PutAccount(account(number))], |_| {});
        let mut number = 1;
        while tokio::time::timeout(Duration::from_secs(1), fill(number)).await.is_ok() {
            number += 1;
        }
        let (reply, registered) = oneshot::channel();
        let (sessions, reply) = (vec![session()], reply.into());
        root.fleet.cast(FleetMsg::Register { sessions, reply }).unwrap();
        let mut answers = Vec::new();
        for part in root.parts() {
            answers.push((part.name, part.ask()));
        }
        let (_, mut fleet) = answers.remove(1);
        for (name, answer) in answers {
            let answer = timeout_at(Instant::now() + PATIENCE, answer).await;
            answer.unwrap_or_else(|_| panic!("{name} has nothing to wait for")).unwrap();
        }
        assert!(fleet.try_recv().is_err(), "it waits");
        drop(go_on);
        timeout_at(Instant::now() + PATIENCE, fleet).await.unwrap().unwrap();
        timeout_at(Instant::now() + PATIENCE, registered).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn reads_on_a_disk_that_hangs_freeze_nothing() {
        let (store, _outbox, gate) = GatedDisk::default().open();
        let auth_key = AuthKey::new([9; AUTH_KEY_LEN]);
        let key = AuthKeyId::of(&auth_key);
        let record = AccountRecord { id: key, ..account(0) };
        let credentials = Credentials { account: key, dc_id: 2, auth_key };
        let owned = OwnedAccount { key, ..owned("ann", 7) };
        let ops =
            vec![Op::PutAccount(record), Op::PutCredentials(credentials), Op::put_row(&owned)];
        store.commit(ops).await.unwrap();
        let snapshot = Snapshot {
            accounts: vec![AccountRecord { id: key, ..account(0) }],
            owned: vec![owned],
            ..Snapshot::default()
        };
        let root = Root::for_tests(&store, snapshot).await;
        gate.hang_reads(true);
        // Each of these reads: chats that are to be started, and the account that dials.
        let commands = root.commands();
        let stuck: Vec<_> = (1..=8)
            .map(|number| {
                let commands = commands.clone();
                let spelling = ChatSpelling::Number(-1_000_000_000_000 - number);
                let chat = ChatRef::parse(spelling).unwrap();
                tokio::spawn(async move {
                    commands.watch(None, chat, Vec::new(), None, Vec::new()).await
                })
            })
            .collect();
        let patience = Instant::now() + PATIENCE;
        while gate.hanging_reads() < 2 {
            assert!(Instant::now() < patience, "nobody reads");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for part in root.parts() {
            let answer = timeout(Duration::from_secs(5), part.ask()).await;
            answer.unwrap_or_else(|_| panic!("{} waits for the disk", part.name)).unwrap();
        }
        store.commit(vec![Op::PutAccount(account(5))]).await.unwrap();
        gate.hang_reads(false);
        for watched in stuck {
            watched.await.unwrap().unwrap();
        }
        root.stop(Instant::now() + PATIENCE).await;
    }
}
