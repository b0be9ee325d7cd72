//! Performs what the plan says: at the daemon, at the broker, at Telegram.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use telewarden_simulator::{FaultKind, FaultSpec, Simulator};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::cast::Cast;
use super::checkers::{comes_true, exhaustions};
use super::judges::Outage;
use super::plan::{Event, Planned, Trouble, UpdateTrouble};
use super::report::{Complaints, Figures};
use super::talk::Talk;
use crate::support::{Backend, Daemon};

/// How long a delayed call waits.
const DELAY_MS: u64 = 1_500;

/// Everything the faults strike.
pub(super) struct Director<'a> {
    pub(super) sim: &'a Simulator,
    pub(super) backend: &'a Backend,
    pub(super) talk: &'a Talk<'a>,
    pub(super) daemon: Daemon,
    pub(super) cast: Cast,
    pub(super) random: StdRng,
    pub(super) figures: Figures,
    pub(super) complaints: Complaints,
    pub(super) broker_stop: Option<JoinHandle<Outage>>,
    /// When the daemon or the broker was interrupted, so that events may come again.
    pub(super) outages: Vec<Outage>,
}

impl Director<'_> {
    /// Performs a plan, for at most `duration`.
    pub(super) async fn perform(&mut self, plan: Vec<Planned>, duration: Duration) {
        let began = Instant::now();
        // Repairs take their time; what follows them comes that much later.
        let mut delay = Duration::ZERO;
        for Planned { at, event } in plan {
            if began.elapsed() >= duration {
                return;
            }
            sleep_until(began + at + delay).await;
            println!("{:>7.1} s  {event:?}", began.elapsed().as_secs_f64());
            let starts = Instant::now();
            let is_repair = event == Event::Repair;
            self.figures.faults += u32::from(!is_repair);
            self.strike(event).await;
            if is_repair {
                delay += starts.elapsed();
            }
        }
    }

    async fn strike(&mut self, event: Event) {
        match event {
            Event::Kill { pause_ms } => self.kill(pause_ms).await,
            Event::KillTwice { after_ms } => {
                self.kill(0).await;
                sleep(Duration::from_millis(after_ms)).await;
                self.kill(0).await;
            }
            Event::Terminate { pause_ms } => self.terminate(pause_ms).await,
            Event::StopBroker { pause_ms } => self.stop_broker(pause_ms).await,
            Event::Refuse { account, times } => {
                self.fault(account, FaultKind::RefuseConnections, None, times).await;
                self.cut(account).await;
            }
            Event::MuteConnection { account } => {
                self.fault(account, FaultKind::Mute, None, 1).await;
                self.cut(account).await;
            }
            Event::Cut { account } => self.cut(account).await,
            Event::Calls { account, trouble, times } => {
                self.trouble_calls(account, trouble, times).await;
            }
            Event::Flood { account, method, seconds } => {
                self.flood(account, method, seconds).await;
            }
            Event::Updates { account, trouble, times } => {
                self.trouble_updates(account, trouble, times).await;
            }
            Event::TooLong { account, of_channels, times } => {
                self.too_long(account, of_channels, times).await;
            }
            Event::Kick { chat, is_ban } => self.kick(chat, is_ban).await,
            Event::KickAll { chat } => self.kick_all(chat).await,
            Event::Revoke { account, error } => self.revoke(account, error).await,
            Event::Repair => self.repair().await,
            Event::Burst { chat, count } => self.burst(chat, count).await,
        }
    }

    async fn kill(&mut self, pause_ms: u64) {
        self.figures.strike("kills");
        let from = Instant::now();
        self.daemon.kill();
        self.sim.client_killed().await;
        sleep(Duration::from_millis(pause_ms)).await;
        self.daemon.launch();
        self.outages.push(Outage { from, to: Instant::now() });
    }

    async fn terminate(&mut self, pause_ms: u64) {
        // Before it listens, the signal would just end it.
        comes_true(async || self.daemon.get("/health/live").await.is_ok()).await;
        self.figures.strike("stops by SIGTERM");
        let status = self.daemon.terminate().await;
        if status.code() != Some(0) {
            self.complaints.add(format!("SIGTERM ends it with {status}"));
        }
        sleep(Duration::from_millis(pause_ms)).await;
        self.daemon.launch();
    }

    async fn stop_broker(&mut self, pause_ms: u64) {
        self.await_broker().await;
        self.figures.strike("broker stops");
        let broker = self.backend.broker.clone();
        let stop = async move {
            let from = Instant::now();
            broker.pause(Duration::from_millis(pause_ms)).await;
            Outage { from, to: Instant::now() }
        };
        self.broker_stop = Some(tokio::spawn(stop));
    }

    async fn await_broker(&mut self) {
        if let Some(stop) = self.broker_stop.take() {
            self.outages.push(stop.await.expect("the broker comes back"));
        }
    }

    async fn cut(&self, account: usize) {
        let user_id = self.cast.user_id(account);
        self.sim.disconnect(user_id).await.expect("it is cut off");
    }

    async fn add(&self, account: usize, spec: FaultSpec) {
        let spec = FaultSpec { user_id: Some(self.cast.user_id(account)), ..spec };
        self.sim.add_fault(spec).await.expect("a fault");
    }

    async fn fault(&self, account: usize, kind: FaultKind, method: Option<&str>, times: u32) {
        let method = method.map(str::to_owned);
        let spec = FaultSpec { kind: Some(kind), method, times: Some(times), ..Default::default() };
        self.add(account, spec).await;
    }

    async fn trouble_calls(&self, account: usize, trouble: Trouble, times: u32) {
        let kind = match trouble {
            Trouble::Disconnect => Some(FaultKind::Disconnect),
            Trouble::Reset => Some(FaultKind::Reset),
            Trouble::LoseAnswer => Some(FaultKind::LoseAnswer),
            Trouble::Garbage => Some(FaultKind::Garbage),
            Trouble::Mute => Some(FaultKind::Mute),
            Trouble::ServerError | Trouble::Delay => None,
        };
        let error = (trouble == Trouble::ServerError).then(|| "RPC_CALL_FAIL".to_owned());
        let delay_ms = (trouble == Trouble::Delay).then_some(DELAY_MS);
        let (method, times) = (Some("*".to_owned()), Some(times));
        let spec = FaultSpec { kind, error, delay_ms, method, times, ..FaultSpec::default() };
        self.add(account, spec).await;
        self.cut(account).await;
    }

    async fn flood(&self, account: usize, method: &str, seconds: u32) {
        let spec = FaultSpec {
            error: Some(format!("FLOOD_WAIT_{seconds}")),
            method: Some(method.to_owned()),
            times: Some(1),
            ..Default::default()
        };
        self.add(account, spec).await;
        self.cut(account).await;
    }

    async fn trouble_updates(&self, account: usize, trouble: UpdateTrouble, times: u32) {
        let kind = match trouble {
            UpdateTrouble::Swallow => FaultKind::SwallowUpdates,
            UpdateTrouble::Duplicate => FaultKind::DuplicateUpdates,
            UpdateTrouble::Reorder => FaultKind::ReorderUpdates,
        };
        self.fault(account, kind, None, times).await;
    }

    async fn too_long(&self, account: usize, of_channels: bool, times: u32) {
        let (kind, method) = match of_channels {
            true => (FaultKind::ChannelDifferenceTooLong, "updates.getChannelDifference"),
            false => (FaultKind::DifferenceTooLong, "updates.getDifference"),
        };
        self.fault(account, kind, Some(method), times).await;
        self.cut(account).await;
    }

    async fn kick(&mut self, chat: usize, is_ban: bool) {
        let Some(account) = self.cast.removable(chat) else { return };
        // Telegram tells of a removal once and by no number, so it must not be swallowed.
        self.sim.lift_faults().await;
        let (chat_id, user_id) = (self.cast.rooms[chat].chat.chat_id, self.cast.user_id(account));
        let is_ban = is_ban && self.cast.can_ban(chat);
        match is_ban {
            true => self.sim.ban(chat_id, user_id).await.expect("it is banned"),
            false => self.sim.remove_member(chat_id, user_id).await.expect("it is removed"),
        }
        self.figures.strike(if is_ban { "bans" } else { "removals" });
        self.cast.removed(chat, account, is_ban);
    }

    async fn kick_all(&mut self, chat: usize) {
        self.sim.lift_faults().await;
        let chat_id = self.cast.rooms[chat].chat.chat_id;
        for account in self.cast.all_removable(chat) {
            let user_id = self.cast.user_id(account);
            self.sim.remove_member(chat_id, user_id).await.expect("it is removed");
            self.cast.removed(chat, account, false);
        }
        self.figures.strike("chats left without anybody");
    }

    async fn revoke(&mut self, account: usize, error: &str) {
        if self.cast.revoked(account) {
            let user_id = self.cast.user_id(account);
            self.figures.strike("revocations");
            self.sim.revoke(user_id, Some(error.to_owned())).await.expect("it is revoked");
            self.cut(account).await;
        }
    }

    /// Lifts everything, waits until whoever lost its last session was told so, and has the backend
    /// name sessions that work.
    pub(super) async fn repair(&mut self) {
        self.await_broker().await;
        self.sim.lift_faults().await;
        for room in &self.cast.rooms {
            if !comes_true(async || exhaustions(self.backend, room) >= room.emptied).await {
                let chat = &room.spelling;
                self.complaints.add(format!("chat {chat}: nobody is left, and that is not told"));
            }
        }
        let mut orders = Vec::new();
        for room in self.cast.mend(self.sim).await {
            orders.push(self.name_sessions(room).await);
        }
        // A command that is still on its way would meet sessions that were lost after it was sent.
        for id in orders {
            comes_true(async || self.backend.outcome(&id).is_some()).await;
        }
    }

    /// Has the backend name a chat's sessions, in some order.
    pub(super) async fn name_sessions(&mut self, room: usize) -> String {
        // The same sessions in the same order would change nothing, whoever had left the pool.
        let turn = self.random.random_range(1..self.cast.pool_size(room).max(2));
        self.order(room, turn).await
    }

    /// Has the backend name a chat's sessions, turned by so many; answers the command's id.
    pub(super) async fn order(&mut self, room: usize, turn: usize) -> String {
        let (order, id) = self.cast.order(room, turn);
        self.backend.order(&order, &id).await;
        id
    }

    async fn burst(&self, chat: usize, count: u32) {
        for _ in 0..count {
            self.talk.say(chat).await;
        }
    }
}
