//! What follows when Telegram has frozen the account: what was refused is not called again, the monitors
//! go on with other sessions, and once a day it is looked whether the freeze is lifted. Known over
//! restarts.

use std::time::Duration;

use ractor::{ActorProcessingErr, ActorRef};
use tokio_util::task::AbortOnDropHandle;

use super::{AccountActor, AccountMsg};
use crate::actors::context::now;
use crate::actors::errands::{Priority, Reply, Request};
use crate::protocol::failure::Failure;
use crate::protocol::frozen::Frozen;
use crate::protocol::model::MethodClass;
use crate::telegram::{Errand, Finding};

impl AccountActor {
    /// The refusal of calls of `class`, while nothing of it is called.
    pub(super) fn held_by_freeze(&self, class: MethodClass) -> Option<Failure> {
        // A session that is over is told as that.
        let frozen = self.record.frozen.as_ref().filter(|_| self.record.fault.is_none())?;
        frozen.holds(class, now()).then(|| frozen.failure())
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
        self.record.frozen = Some(Frozen::refused(known, code, class, now()));
        self.changed = true;
        is_news
    }

    fn tell_freeze(&mut self, class: MethodClass, is_news: bool) {
        let Some(frozen) = &self.record.frozen else { return };
        let (failure, code) = (frozen.failure(), &frozen.code);
        if is_news {
            tracing::error!(account = %self.record.id, sessions = self.names.join(", "), code, "telegram has frozen this account: its owner can appeal in an official app");
        }
        if !frozen.holds(class, now()) {
            return;
        }
        self.queue.refuse_class(class, &failure);
        if is_news || class == MethodClass::Read {
            for interest in self.interests.values() {
                self.tell_down(&interest.monitor, &failure);
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
        tracing::warn!(account = %self.record.id, "telegram has lifted the freeze of this account");
        self.record.frozen = None;
        self.changed = true;
    }

    /// Sets the timer of the next look.
    pub(super) fn arm_look(&mut self, myself: &ActorRef<AccountMsg>) {
        let Some(frozen) = &self.record.frozen else {
            self.look = None;
            return;
        };
        let left = u64::try_from(frozen.look_at.0 - now().0).unwrap_or(0);
        let timer = myself.send_after(Duration::from_millis(left), || AccountMsg::LookAtFreeze);
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
        frozen.look(now());
        self.changed = true;
        self.arm_look(myself);
        let target = myself.clone();
        let reply = Reply::new(move |outcome| {
            let _ = target.cast(AccountMsg::FreezeSeen { outcome });
        });
        let (errand, priority) = (Errand::LookAtFreeze, Priority::Check);
        self.request(
            myself,
            Request { errand, priority, patience: None, wish: None, waits: 0, reply },
        )
        .await
    }

    pub(super) fn freeze_seen(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        outcome: Result<Finding, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        match (outcome, self.record.frozen.take()) {
            (Ok(Finding::Frozen(false)), Some(_)) => {
                self.thaw();
                self.look = None;
                if self.live.is_some() {
                    self.tell_all_up(myself);
                }
            }
            (Ok(Finding::Frozen(true)), Some(frozen)) => {
                self.record.frozen = Some(frozen.seen(now()));
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
