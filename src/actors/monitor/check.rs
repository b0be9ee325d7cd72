//! Proof that nothing is missing: now and then an open chat is compared with its history, inside the
//! account's read budget and behind everything that somebody waits for. What is missing makes the
//! chat open once more, which publishes it.

use std::time::Duration;

use ractor::{ActorProcessingErr, ActorRef};
use tokio_util::task::AbortOnDropHandle;

use super::{MonitorActor, MonitorMsg};
use crate::actors::account::AccountMsg;
use crate::actors::context::{jitter, now};
use crate::actors::errands::{Priority, Reply, Request};
use crate::actors::meters::Check;
use crate::protocol::failure::Failure;
use crate::protocol::monitor::{Input, MonitorState};
use crate::telegram::{Errand, Finding, HistoryPage};

/// A message that is younger than this may still be on its way to us, seconds.
const FRESH_SECONDS: i64 = 15;

impl MonitorActor {
    /// Sets the timer of the next check. Chats that were opened together are spread over the whole
    /// interval.
    pub(super) fn plan_check(&mut self, myself: &ActorRef<MonitorMsg>) {
        let Some(every) = self.context.settings.check_every else { return };
        let epoch = self.epoch;
        let pause = every.mul_f64(0.5 + jitter());
        let pause = pause.max(Duration::from_millis(100));
        let timer = myself.send_after(pause, move || MonitorMsg::CheckDue { epoch });
        // An earlier one goes.
        self.check_timer = Some(AbortOnDropHandle::new(timer));
    }

    /// Asks for what history has after the last gapless message, or after `after`.
    pub(super) fn check(&mut self, myself: &ActorRef<MonitorMsg>, after: Option<i32>) {
        let (Some(peer), Some(source), Some(cursor)) =
            (self.opening.peer, &self.source, &self.cursor)
        else {
            return;
        };
        let knows_where = cursor.last_id > 0 || !self.opening.is_bot;
        let is_full = self.context.backlog.is_full();
        if self.machine.state() != MonitorState::Active || !knows_where || is_full {
            return self.plan_check(myself);
        }
        let (target, epoch) = (myself.clone(), self.epoch);
        let reply = Reply::new(move |outcome| {
            let _ = target.cast(MonitorMsg::Checked { epoch, outcome });
        });
        let known_id = cursor.last_id;
        let after_id = after.unwrap_or_else(|| cursor.resume_from());
        if after.is_none() {
            // History that is asked from now on has all that there is up to here.
            self.check_to = known_id;
        }
        let errand = Errand::History { peer, after_id, known_id };
        let wish = Some(self.wish.token());
        let priority = Priority::Check;
        let request = Request { errand, priority, patience: None, wish, reply };
        let _ = source.cast(AccountMsg::Request(request));
    }

    pub(super) async fn checked(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        outcome: Result<Finding, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        let Ok(Finding::History(page)) = outcome else {
            self.context.meters.checked(Check::Failed);
            self.plan_check(myself);
            return Ok(());
        };
        let missing = self.missing_of(&page);
        if missing == 0 {
            self.leave_open(&page);
            if let Some(after) = self.rest_of(&page) {
                self.check(myself, Some(after));
                return Ok(());
            }
            if let Some(cursor) = &mut self.cursor {
                // What history does not know below does not exist.
                cursor.settle_to(self.check_to);
            }
            self.context.meters.checked(Check::Whole);
            self.plan_check(myself);
            return Ok(());
        }
        tracing::warn!(chat = %self.key, missing, "history has messages that did not come live; they are published now");
        self.context.meters.checked(Check::Gap);
        self.step(myself, Input::Reopen).await
    }

    /// From where on to ask, when the page ends before what was published when the comparison began.
    /// What has come since is left to the next one, or a busy chat would never be done.
    fn rest_of(&self, page: &HistoryPage) -> Option<i32> {
        page.newest_id.filter(|newest| page.more && *newest < self.check_to)
    }

    /// What is still on its way exists: nothing from there on may be settled.
    fn leave_open(&mut self, page: &HistoryPage) {
        let Some(cursor) = &self.cursor else { return };
        let uncovered = page.messages.iter().map(|message| message.id);
        if let Some(first) = uncovered.filter(|id| !cursor.covers(*id)).min() {
            self.check_to = self.check_to.min(first.saturating_sub(1));
        }
    }

    /// Messages of a page that should have been published by now.
    fn missing_of(&self, page: &HistoryPage) -> usize {
        let Some(cursor) = &self.cursor else { return 0 };
        let latest = now().seconds() - FRESH_SECONDS;
        let is_missing = |id, date| !cursor.covers(id) && date <= latest;
        let unread = page.unreadable.iter().flatten().filter(|id| !cursor.covers(**id)).count();
        let missing = page.messages.iter().filter(|message| is_missing(message.id, message.date));
        missing.count() + unread
    }
}
