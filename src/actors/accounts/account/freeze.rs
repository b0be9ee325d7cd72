//! What follows when Telegram has frozen the account: what was refused is not called again, the monitors
//! go on with other sessions, and once a day it is looked whether the freeze is lifted. Known over
//! restarts.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::{AccountActor, AccountMsg};
use crate::actors::accounts::calls::{Asker, Priority, Reply, Request};
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::protocol::accounts::connection::Input;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::freeze::Frozen;
use crate::protocol::telegram::pacing::MethodClass;
use crate::telegram::{Call, Outcome};

impl AccountActor {
    /// The refusal of calls of `class`, while nothing of it is called.
    pub(super) fn held_by_freeze(&self, class: MethodClass) -> Option<Failure> {
        // A session that is over is told as that.
        let frozen = self.record.frozen.as_ref().filter(|_| self.record.fault.is_none())?;
        frozen.holds(class, self.context.now()).then(|| frozen.failure())
    }

    /// Telegram refused a call of `class`, because it has frozen the account. It is durable before
    /// anybody hears of it, so that no crash has it asked again.
    pub(super) async fn freeze(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        code: &str,
        class: MethodClass,
    ) -> Result<(), ActorProcessingErr> {
        let is_news = self.note_freeze(code, class);
        self.arm_look(myself);
        self.keep().await?;
        self.tell_freeze(class, is_news);
        Ok(())
    }

    /// Answers whether it was not frozen before.
    fn note_freeze(&mut self, code: &str, class: MethodClass) -> bool {
        let known = self.record.frozen.take();
        let is_news = known.is_none();
        self.record.frozen = Some(Frozen::refused(known, code, class, self.context.now()));
        self.changed = true;
        is_news
    }

    fn tell_freeze(&mut self, class: MethodClass, is_news: bool) {
        let Some(frozen) = &self.record.frozen else { return };
        let (failure, code) = (frozen.failure(), &frozen.code);
        if is_news {
            tracing::error!(
                account = self.called(),
                sessions = self.names.join(", "),
                code,
                "telegram has frozen this account: its owner can appeal in an official app"
            );
        }
        if !frozen.holds(class, self.context.now()) {
            return;
        }
        self.queue.refuse_class(class, &failure);
        if is_news || class == MethodClass::Read {
            for subscription in self.subscriptions.values() {
                self.tell_down(&subscription.monitor, &failure);
            }
        }
    }

    /// A call of `class` was not refused.
    pub(super) fn was_allowed(&mut self, class: MethodClass) {
        let Some(frozen) = &mut self.record.frozen else { return };
        let before = frozen.clone();
        let is_over = frozen.passed(class);
        self.changed |= *frozen != before;
        if is_over {
            self.thaw();
        }
    }

    fn thaw(&mut self) {
        tracing::warn!(account = self.called(), "telegram has lifted the freeze of this account");
        self.record.frozen = None;
        self.changed = true;
    }

    /// Sets the timer of the next look.
    pub(super) fn arm_look(&mut self, myself: &ActorRef<AccountMsg>) {
        let Some(frozen) = &self.record.frozen else {
            self.look = None;
            return;
        };
        let left = Duration::from_millis(frozen.until_look(self.context.now()));
        let timer = myself.send_after(left, || AccountMsg::LookAtFreeze);
        // An earlier one goes.
        self.look = Some(AbortOnDropHandle::new(timer));
    }

    /// Somebody says that it may be over: it is looked at once.
    pub(super) async fn look_anew(
        &mut self,
        myself: &ActorRef<AccountMsg>,
    ) -> Result<(), ActorProcessingErr> {
        if self.record.frozen.is_none() {
            return Ok(());
        }
        self.look_at_freeze(myself).await
    }

    /// Asks Telegram whether the account is frozen still.
    pub(super) async fn look_at_freeze(
        &mut self,
        myself: &ActorRef<AccountMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(frozen) = &mut self.record.frozen else { return Ok(()) };
        let may_dial_now = frozen.look(self.context.now());
        self.changed = true;
        self.arm_look(myself);
        if may_dial_now && self.live.is_none() {
            // It waits for a day to be over, and need not any more.
            self.step(myself, Input::RetryDue).await?;
        }
        if std::mem::replace(&mut self.is_looking, true) {
            return Ok(());
        }
        let target = myself.clone();
        let reply = Reply::new(move |outcome| {
            let _ = target.cast(AccountMsg::FreezeSeen { outcome });
        });
        let (call, priority) = (Call::LookAtFreeze, Priority::Check);
        self.request(myself, Request::new(call, priority, Asker::Account, reply)).await
    }

    pub(super) fn freeze_seen(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        outcome: Result<Outcome, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        self.is_looking = false;
        match (outcome, self.record.frozen.take()) {
            (Ok(Outcome::Frozen(false)), Some(_)) => {
                self.thaw();
                self.look = None;
                if self.live.is_some() {
                    self.tell_all_up(myself);
                }
            }
            (Ok(Outcome::Frozen(true)), Some(frozen)) => {
                self.record.frozen = Some(frozen.seen(self.context.now()));
                self.changed = true;
                self.arm_look(myself);
            }
            // It is looked again soon.
            (_, frozen) => self.record.frozen = frozen,
        }
        self.show();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::actors::accounts::account::{AccountArgs, LatestRecord};
    use crate::actors::accounts::context::AccountsContext;
    use crate::actors::accounts::fleet::{Fleet, FleetArgs};
    use crate::actors::tree::actor::{Actor, spawn_alone};
    use crate::clock::now;
    use crate::protocol::accounts::connection::{LinkState, Standing};
    use crate::protocol::accounts::record::AccountRecord;
    use crate::protocol::telegram::freeze::LOOK_EVERY_MS;
    use crate::protocol::values::ids::{AuthKeyId, UnixMillis};
    use crate::protocol::values::secret::{AUTH_KEY_LEN, AuthKey};
    use crate::store::Store;
    use crate::telegram::ConnectionLease;

    const CODE: &str = "FROZEN_METHOD_INVALID";

    /// Takes what the account sends itself.
    struct Sink;

    impl Actor for Sink {
        type Msg = AccountMsg;
        type State = ();
        type Arguments = ();

        async fn pre_start(
            &self,
            _: ActorRef<AccountMsg>,
            (): (),
        ) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    /// An account that is dialling, with `frozen` known from an earlier life.
    async fn dialling(frozen: Option<Frozen>) -> (AccountActor, ActorRef<AccountMsg>) {
        let (store, _outbox) = Store::in_memory().unwrap();
        let id = AuthKeyId::of(&AuthKey::new([3; AUTH_KEY_LEN]));
        let (me, fault, flood_waits, created_at) = (None, None, Vec::new(), UnixMillis(1));
        let record = AccountRecord { id, me, fault, flood_waits, frozen, created_at };
        let context = AccountsContext::for_tests(store);
        let fleet = spawn_alone(Fleet, FleetArgs::empty(&context)).await;
        let mut account = AccountActor::new(AccountArgs {
            context,
            fleet,
            latest: LatestRecord::new(record),
            names: Vec::new(),
            api_id: 1,
            subscriptions: HashMap::new(),
            standing: Standing::Kept,
            lease: ConnectionLease::new(),
        });
        let myself = spawn_alone(Sink, ()).await;
        account.begin(&myself).await.unwrap();
        assert_eq!(*account.machine.link(), LinkState::Dialling);
        (account, myself)
    }

    fn refused() -> Failure {
        Failure::Frozen { code: CODE.into() }
    }

    #[tokio::test]
    async fn one_that_was_frozen_while_dialling_is_dialled_when_somebody_says_that_it_may_be_over()
    {
        let (mut account, myself) = dialling(None).await;
        account.lost(&myself, refused()).await.unwrap();
        assert_eq!(*account.machine.link(), LinkState::Waiting);
        assert!(account.held_by_freeze(MethodClass::Auth).is_some());
        account.retry(&myself).await.unwrap();
        assert_eq!(*account.machine.link(), LinkState::Dialling);
        // The network is away: its own pauses are kept, and one look waits for it.
        account.lost(&myself, Failure::transient("reset")).await.unwrap();
        for _ in 0..24 {
            account.look_at_freeze(&myself).await.unwrap();
            assert_eq!(*account.machine.link(), LinkState::Waiting);
            assert_eq!(account.queue.len(), 1);
        }
        let outcome = Err(Failure::transient("not connected"));
        account.freeze_seen(&myself, outcome).unwrap();
        account.look_at_freeze(&myself).await.unwrap();
        assert_eq!(account.queue.len(), 2, "the one before has been answered");
        myself.stop(None);
    }

    #[tokio::test]
    async fn a_restart_does_not_begin_another_day() {
        let met = now().plus_ms(3_600_000 - LOOK_EVERY_MS);
        let frozen = Frozen::refused(None, CODE, MethodClass::Auth, met);
        let look_at = frozen.look_at;
        let (mut account, myself) = dialling(Some(frozen)).await;
        // What the dial that is not made says.
        account.lost(&myself, refused()).await.unwrap();
        assert_eq!(*account.machine.link(), LinkState::Waiting);
        let retry_at = account.retry_at.unwrap();
        assert!((retry_at.0 - look_at.0).abs() < 60_000, "{retry_at:?}, {look_at:?}");
        myself.stop(None);
    }

    #[tokio::test]
    async fn a_link_asks_for_no_difference_while_that_is_refused_and_for_no_longer() {
        let (mut account, myself) = dialling(None).await;
        let (_tell_wait, wait_left) = account.waits_of_link(&myself, 7);
        assert_eq!(wait_left(), Duration::ZERO);
        account.freeze(&myself, CODE, MethodClass::Send).await.unwrap();
        assert_eq!(wait_left(), Duration::ZERO, "that is another class");
        account.freeze(&myself, CODE, MethodClass::Updates).await.unwrap();
        let day = Duration::from_millis(LOOK_EVERY_MS.unsigned_abs());
        assert!(wait_left() > day - Duration::from_secs(60));
        // The next link hears of it, too.
        let (tell_wait, next_left) = account.waits_of_link(&myself, 7);
        assert!(next_left() > day - Duration::from_secs(60));
        tell_wait("FLOOD_WAIT", 2 * 24 * 60 * 60);
        assert!(wait_left() > day, "the longer one holds");
        let (_, others_left) = account.waits_of_link(&myself, 8);
        assert!(others_left() <= day);
        account.freeze_seen(&myself, Ok(Outcome::Frozen(false))).unwrap();
        account.save_if_changed().await.unwrap();
        assert_eq!(others_left(), Duration::ZERO, "the freeze is over");
        myself.stop(None);
    }
}
