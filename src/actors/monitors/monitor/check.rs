//! Proof that nothing is missing: now and then an open chat is compared with its history, inside the
//! account's read budget and behind everything that somebody waits for. What is missing makes the
//! chat open once more, which publishes it.

use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::{MonitorActor, MonitorMsg};
use crate::actors::accounts::account::AccountMsg;
use crate::actors::accounts::calls::{Asker, Priority, Reply, Request};
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::actors::tree::metrics::Check;
use crate::protocol::monitors::failover::{Input, MonitorState};
use crate::protocol::telegram::failure::Failure;
use crate::telegram::{Call, HistoryPage, Outcome};

/// Between two comparisons at the least.
const CHECK_FLOOR: Duration = Duration::from_millis(100);
/// How often the pause doubles at the most while one comparison after the other fails.
const CHECK_DOUBLINGS_MAX: u32 = 5;
/// A message that is younger than this may still be on its way to us, seconds.
const FRESH_SECONDS: i64 = 15;

impl MonitorActor {
    /// Sets the timer of the next check. Chats that were opened together are spread over the whole
    /// interval.
    pub(super) fn plan_check(&mut self, myself: &ActorRef<MonitorMsg>) {
        let Some(every) = self.context.settings.check_every else { return };
        let epoch = self.epoch;
        let pause = every.mul_f64(0.5 + self.context.jitter()).max(CHECK_FLOOR);
        // A look that fails is not taken as often as one that tells something.
        let pause = pause.saturating_mul(1 << self.checks_failed.min(CHECK_DOUBLINGS_MAX));
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
        let knows_time = self.context.clocks.telegrams_now().is_some();
        let asks_time = asks_time(after, knows_time, self.has_asked_time);
        self.has_asked_time = asks_time;
        if after.is_none() {
            // History that is asked from now on has all that there is up to here.
            self.check_to = known_id;
        }
        let call = match asks_time {
            true => Call::LearnTime,
            false => Call::History { peer, after_id, known_id },
        };
        let interest = Some(self.interest.token());
        let asker = Asker::Monitor(self.key.clone());
        let request = Request::new(call, Priority::Check, asker, reply);
        let request = Request { interest, ..request };
        let _ = source.cast(AccountMsg::Request(request));
    }

    pub(super) async fn checked(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        outcome: Result<Outcome, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        let page = match outcome {
            Ok(Outcome::History(page)) => page,
            Ok(Outcome::TimeLearnt) => {
                self.check(myself, None);
                return Ok(());
            }
            _ => {
                self.context.metrics.checked(Check::Failed);
                self.checks_failed = self.checks_failed.saturating_add(1);
                self.plan_check(myself);
                return Ok(());
            }
        };
        self.checks_failed = 0;
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
            self.context.metrics.checked(Check::Whole);
            self.plan_check(myself);
            return Ok(());
        }
        tracing::warn!(chat = %self.key, missing, "history has messages that did not come live; they are published now");
        self.context.metrics.checked(Check::Gap);
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
        let latest = self.context.telegrams_now().seconds() - FRESH_SECONDS;
        let is_missing = |id, date| !cursor.covers(id) && date <= latest;
        let unread = page.unreadable.iter().flatten().filter(|id| !cursor.covers(**id)).count();
        let missing = page.messages.iter().filter(|message| is_missing(message.id, message.date));
        missing.count() + unread
    }
}

/// Whether a comparison asks for Telegram's time before the page after `after` (`None`: the first one).
/// How old a message is says only Telegram's clock. Where nobody tells, ours has to do: it is asked for
/// once, and before the first page, since the answer leads back there.
fn asks_time(after: Option<i32>, knows_time: bool, has_asked: bool) -> bool {
    after.is_none() && !knows_time && !has_asked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whether or not Telegram's time can be read, now or later.
        #[test]
        fn a_comparison_ends_without_a_clock(
            pages in 1..50_i32, had_asked in any::<bool>(),
            clock in prop::collection::vec(any::<bool>(), 60), never in any::<bool>(),
        ) {
            let (mut after, mut has_asked) = (None, had_asked);
            let (mut asked, mut read) = (0, 0);
            for knows_time in clock {
                has_asked = asks_time(after, knows_time && !never, has_asked);
                if has_asked {
                    asked += 1;
                    after = None;
                    continue;
                }
                read += 1;
                if read == pages {
                    break;
                }
                after = Some(read * 100);
            }
            prop_assert_eq!(read, pages, "it ends");
            prop_assert!(asked <= 1, "{}", asked);
        }
    }
}
