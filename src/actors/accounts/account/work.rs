//! The account's work: its calls, and the waits that Telegram asks for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::{AccountActor, AccountMsg};
use crate::actors::accounts::calls::{Next, Request, lending_class};
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::failpoint;
use crate::protocol::accounts::connection::{Input, Standing};
use crate::protocol::telegram::failure::{Failure, WaitScope};
use crate::protocol::telegram::pacing::{FloodWait, FloodWaitScope, MethodClass};
use crate::protocol::telegram::pacing::{LIMITED_REST_MS, WAIT_MARGIN_MS};
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};
use crate::store::{Op, Reader, Store};
use crate::tasks;
use crate::telegram::{AccountCaller, Call, Outcome, PeerBook};

impl AccountActor {
    pub(super) async fn request(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        request: Request,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(me) = &self.record.me {
            failpoint::stumble("account", &me.user_id);
        }
        if let Some(fault) = &self.record.fault {
            request.reply.send(Err(Failure::Dead { code: fault.code.clone() }));
            return Ok(());
        }
        if self.standing == Standing::Held {
            request.reply.send(Err(self.why()));
            return Ok(());
        }
        if let Some(frozen) = self.held_by_freeze(request.call.class()) {
            request.reply.send(Err(frozen));
            return Ok(());
        }
        let call = request.call.shortened(&self.peers);
        self.queue.push(Request { call, ..request });
        self.linger_epoch += 1;
        if self.live.is_none() {
            self.step(myself, Input::Wanted).await?;
        }
        self.run_calls(myself);
        Ok(())
    }

    /// Starts what may run; sets a timer for what may not yet.
    pub(super) fn run_calls(&mut self, myself: &ActorRef<AccountMsg>) {
        self.hear_of_waits();
        let Some(live) = &self.live else { return };
        loop {
            match self.queue.next(&self.flood_waits, self.context.now()) {
                Next::Run(request) => {
                    let (incarnation, store) = (self.incarnation, self.context.store.clone());
                    let work = Work {
                        account: self.record.id,
                        caller: Arc::clone(&live.caller),
                        peers: Arc::clone(&self.peers),
                        is_bot: self.is_bot(),
                        store,
                    };
                    tasks::brief(work.run(request, myself.clone(), incarnation));
                }
                Next::Later(pause) => {
                    let timer = myself.send_after(pause, || AccountMsg::Wake);
                    self.wake = Some(AbortOnDropHandle::new(timer));
                    return;
                }
                Next::Idle => return,
            }
        }
    }

    pub(super) async fn call_ended(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        incarnation: u64,
        mut request: Request,
        outcome: Result<Outcome, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        failpoint::stumble("account.called", &self.record.id);
        let current = self.is_current(incarnation);
        if current {
            self.queue.finished();
        }
        match outcome {
            Err(Failure::Wait { code, seconds, scope: WaitScope::Chat })
                if let Some(chat) = request.call.sends_into() =>
            {
                let seconds = request.waits_again(seconds);
                self.impose(FloodWaitScope::Chat(chat), until_after(self.context.now(), seconds));
                self.keep().await?;
                let wait = Failure::Wait { code, seconds, scope: WaitScope::Chat };
                self.put_back(myself, request, wait).await?;
            }
            Err(Failure::Wait { code, seconds, .. }) => {
                let seconds = request.waits_again(seconds);
                self.wait(request.call.class(), &code, seconds);
                // It may have been asked of the method that it borrows.
                if let Some(class) = lending_class(&request.call) {
                    self.impose(
                        FloodWaitScope::Class(class),
                        until_after(self.context.now(), seconds),
                    );
                }
                self.keep().await?;
                let wait = Failure::Wait { code, seconds, scope: WaitScope::MethodClass };
                self.put_back(myself, request, wait).await?;
            }
            Err(Failure::Limited) => {
                let until = self.context.now().plus_ms(LIMITED_REST_MS);
                self.impose(FloodWaitScope::Account, until);
                self.keep().await?;
                request.reply.send(Err(Failure::Limited));
            }
            Err(Failure::Frozen { code }) => {
                let class = request.call.class();
                self.freeze(myself, &code, class).await?;
                request.reply.send(Err(Failure::Frozen { code }));
            }
            Err(failure @ Failure::Dead { .. }) => {
                if current {
                    self.lost(myself, failure.clone()).await?;
                }
                request.reply.send(Err(failure));
            }
            outcome => {
                if outcome.is_ok() {
                    self.was_allowed(request.call.class());
                }
                request.reply.send(outcome);
            }
        }
        self.run_calls(myself);
        if !self.is_needed() && self.queue.is_idle() {
            self.arm_linger(myself);
        }
        self.show();
        Ok(())
    }

    /// Puts back what Telegram made wait, for when that is over. Of an account that is held, or whose
    /// session is over, nobody looks at the queue any more: it is refused like those in the queue were.
    /// One that was hung up meanwhile is dialled for its sake.
    async fn put_back(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        request: Request,
        wait: Failure,
    ) -> Result<(), ActorProcessingErr> {
        let Some(request) = request.end_unless_wanted(wait) else { return Ok(()) };
        if self.standing == Standing::Held || self.record.fault.is_some() {
            // It has not been done: see `Cancellation::has_begun`.
            self.queue.put_back(request);
            self.queue.refuse_all(&self.why());
            return Ok(());
        }
        self.queue.put_back(request);
        if self.live.is_none() {
            self.step(myself, Input::Wanted).await?;
        }
        Ok(())
    }

    /// Takes over the waits that other sessions of the same person were told of.
    fn hear_of_waits(&mut self) {
        let Some(me) = &self.record.me else { return };
        let at = self.context.now();
        for FloodWait { scope, until } in self.context.flood_waits.of(me.user_id, at) {
            self.flood_waits.impose(scope, until, at);
        }
    }

    /// Has the other sessions of the same person hear of the waits that this one remembers: who it
    /// is, is known only now.
    pub(super) fn share_waits(&self) {
        let Some(me) = &self.record.me else { return };
        for FloodWait { scope, until } in self.flood_waits.current(self.context.now()) {
            self.context.flood_waits.impose(me.user_id, scope, until, self.context.now());
        }
    }

    /// What is left of a wait that Telegram asked for, maybe in an earlier life.
    pub(super) fn left_to_wait(&mut self, class: MethodClass) -> Duration {
        self.hear_of_waits();
        let at = self.context.now();
        let left = self.flood_waits.holds(class, at).map_or(0, |until| until.0 - at.0);
        Duration::from_millis(u64::try_from(left).unwrap_or(0))
    }

    pub(super) fn wait(&mut self, class: MethodClass, code: &str, seconds: u32) {
        self.context.metrics.waited(class);
        tracing::warn!(account = self.called(), ?class, code, seconds, "telegram asks to wait");
        self.impose(FloodWaitScope::Class(class), until_after(self.context.now(), seconds));
    }

    pub(super) fn impose(&mut self, scope: FloodWaitScope, until: UnixMillis) {
        if let Some(me) = &self.record.me {
            self.context.flood_waits.impose(me.user_id, scope.clone(), until, self.context.now());
        }
        self.flood_waits.impose(scope, until, self.context.now());
        self.record.flood_waits = self.flood_waits.current(self.context.now());
        self.changed = true;
    }
}

/// When a wait is over that Telegram has just asked for.
pub(super) fn until_after(now: UnixMillis, seconds: u32) -> UnixMillis {
    now.plus_ms(i64::from(seconds) * 1_000 + WAIT_MARGIN_MS)
}

/// A call under way.
struct Work {
    account: AuthKeyId,
    caller: Arc<dyn AccountCaller>,
    peers: Arc<Mutex<PeerBook>>,
    is_bot: bool,
    store: Store,
}

impl Work {
    async fn run(self, request: Request, myself: ActorRef<AccountMsg>, incarnation: u64) {
        let call = request.call.clone();
        if let Err(failure) = self.recall_person(&call).await {
            let _ =
                myself.cast(AccountMsg::CallEnded { incarnation, request, outcome: Err(failure) });
            return;
        }
        let Self { account, caller, peers, is_bot, store } = self;
        let attempt = tasks::brief(async move { caller.run(&call, &peers, is_bot).await }).await;
        let outcome = match attempt {
            Ok(Ok((outcome, news))) => {
                if !news.is_empty() {
                    let op = Op::PutPeers { account, peers: news };
                    let _ = store.submit(vec![op], |_| {}).await;
                }
                Ok(outcome)
            }
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::transient("the telegram library failed (panic)")),
        };
        let _ = myself.cast(AccountMsg::CallEnded { incarnation, request, outcome });
    }

    /// Reads what the store keeps of a person whom the call names by id: the peer book holds those of late only.
    async fn recall_person(&self, call: &Call) -> Result<(), Failure> {
        let Some(person) = call.looks_for() else { return Ok(()) };
        let book = || self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if book().get(person).is_some() {
            return Ok(());
        }
        let account = self.account;
        let stored = self.store.read(move |store: &Reader| store.peer(account, person)).await;
        let stored = stored.map_err(|error| {
            Failure::transient(format!("what is kept of the account cannot be read: {error}"))
        })?;
        book().recall(stored.into_iter().collect());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::actors::accounts::account::{Account, AccountArgs, LatestRecord, Subscription};
    use crate::actors::accounts::calls::{Asker, Priority, Reply};
    use crate::actors::accounts::context::AccountsContext;
    use crate::actors::accounts::fleet::{Fleet, FleetArgs, FleetMsg};
    use crate::actors::accounts::listener::tests::losses;
    use crate::actors::tree::actor::spawn_alone;
    use crate::protocol::accounts::record::{AccountRecord, Credentials};
    use crate::protocol::telegram::chat::ChatKey;
    use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};
    use crate::store::gated::GatedDisk;
    use crate::telegram::ConnectionLease;

    struct Stage {
        context: Arc<AccountsContext>,
        fleet: ActorRef<FleetMsg>,
        account: ActorRef<AccountMsg>,
        id: AuthKeyId,
    }

    impl Stage {
        /// An account that is held.
        async fn set(store: Store) -> Self {
            let auth_key = AuthKey::new([3; AUTH_KEY_LEN]);
            let id = AuthKeyId::of(&auth_key);
            let (me, fault, flood_waits, created_at) = (None, None, Vec::new(), UnixMillis(1));
            let record = AccountRecord { id, me, fault, flood_waits, frozen: None, created_at };
            let credentials = Credentials { account: id, dc_id: 2, auth_key };
            let ops = vec![Op::PutAccount(record.clone()), Op::PutCredentials(credentials)];
            store.commit(ops).await.unwrap();
            let context = AccountsContext::for_tests(store);
            let fleet = spawn_alone(Fleet, FleetArgs::empty(&context)).await;
            let args = AccountArgs {
                context: Arc::clone(&context),
                fleet: fleet.clone(),
                latest: LatestRecord::new(record),
                names: Vec::new(),
                api_id: 1,
                subscriptions: HashMap::new(),
                standing: Standing::Kept,
                lease: ConnectionLease::new(),
            };
            let account = spawn_alone(Account, args).await;
            account.cast(AccountMsg::Stand(Standing::Held)).unwrap();
            Self { context, fleet, account, id }
        }

        /// A call ended, with this; what the one who waits for it hears.
        fn end(&self, failure: Failure) -> oneshot::Receiver<Result<Outcome, Failure>> {
            let (told, answer) = oneshot::channel();
            let reply = Reply::new(move |outcome| drop(told.send(outcome)));
            let request = Request::new(Call::LogOut, Priority::Api, Asker::Account, reply);
            let outcome = Err(failure);
            let ended = AccountMsg::CallEnded { incarnation: 1, request, outcome };
            self.account.cast(ended).unwrap();
            answer
        }

        fn close(self) {
            self.account.stop(None);
            self.fleet.stop(None);
        }
    }

    fn flood_wait() -> Failure {
        let scope = WaitScope::MethodClass;
        Failure::Wait { code: "FLOOD_WAIT".into(), seconds: 600, scope }
    }

    const FROZEN: &str = "FROZEN_METHOD_INVALID";

    fn frozen() -> Failure {
        Failure::Frozen { code: FROZEN.into() }
    }

    #[tokio::test]
    async fn what_telegram_makes_wait_after_the_account_was_held_is_refused_at_once() {
        let (store, _outbox) = Store::in_memory().unwrap();
        let stage = Stage::set(store).await;
        let answer = timeout(Duration::from_secs(10), stage.end(flood_wait())).await;
        let answer = answer.expect("somebody waits for it");
        assert_eq!(answer.unwrap(), Err(Failure::transient("the account is paused")));
        stage.close();
    }

    #[tokio::test]
    async fn nobody_hears_of_a_wait_or_a_limit_before_it_is_durable() {
        for failure in [flood_wait(), Failure::Limited, frozen()] {
            let disk = GatedDisk::default();
            let (store, _outbox, gate) = disk.open();
            let stage = Stage::set(store).await;
            stage.context.store.commit(Vec::new()).await.unwrap();
            gate.hang_writes(true);
            let mut answer = stage.end(failure.clone());
            let early = timeout(Duration::from_millis(50), &mut answer).await;
            assert!(early.is_err(), "{failure}: the disk has not taken it");
            gate.hang_writes(false);
            timeout(Duration::from_secs(30), answer).await.unwrap().unwrap().unwrap_err();
            let (after, _outbox, _) = disk.after_a_power_cut().open();
            let kept = after.account(stage.id).unwrap().unwrap();
            let kept = kept.flood_waits.len() + usize::from(kept.frozen.is_some());
            assert_eq!(kept, 1, "{failure}: it outlives a power cut");
            stage.close();
        }
    }

    /// Over a call, over the link, and while dialling.
    #[tokio::test]
    async fn no_monitor_hears_of_a_freeze_before_it_is_durable() {
        for way in ["call", "link", "dial"] {
            let disk = GatedDisk::default();
            let (store, _outbox, gate) = disk.open();
            let stage = Stage::set(store).await;
            let (monitor, mut hears) = losses().await;
            let key = ChatKey("-1001".into());
            let subscription = Subscription { monitor: monitor.get_derived(), chat: None };
            stage.account.cast(AccountMsg::Watch { key, subscription }).unwrap();
            let limit = Duration::from_secs(30);
            timeout(limit, hears.recv()).await.unwrap().expect("that it is held");
            stage.context.store.commit(Vec::new()).await.unwrap();
            gate.hang_writes(true);
            match way {
                "call" => drop(stage.end(frozen())),
                "link" => stage.account.cast(AccountMsg::Frozen { code: FROZEN.into() }).unwrap(),
                // How often it was hung up by now depends on when its dial failed.
                _ => (1..=4).for_each(|incarnation| {
                    let outcome = Err(frozen());
                    stage.account.cast(AccountMsg::DialEnded { incarnation, outcome }).unwrap();
                }),
            }
            let early = timeout(Duration::from_millis(50), hears.recv()).await;
            assert!(early.is_err(), "{way}: the disk has not taken it");
            gate.hang_writes(false);
            assert_eq!(timeout(limit, hears.recv()).await.unwrap(), Some(frozen()), "{way}");
            let (after, _outbox, _) = disk.after_a_power_cut().open();
            let kept = after.account(stage.id).unwrap().unwrap();
            assert!(kept.frozen.is_some(), "{way}: it outlives a power cut");
            monitor.stop(None);
            stage.close();
        }
    }
}
