//! Opening a chat: runs the calls that `opening.rs` asks for, learns what the
//! chat is, and publishes what history brings, until the chat is open.

use std::collections::HashSet;
use std::time::Duration;

use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};

use super::{MonitorActor, MonitorMsg};
use crate::actors::accounts::account::AccountMsg;
use crate::actors::accounts::calls::{Asker, Priority, Reply, Request};
use crate::actors::accounts::fleet::FleetMsg;
use crate::actors::monitors::opening::{Step, owed_from};
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::bridge::event;
use crate::protocol::bridge::event::MonitorChange;
use crate::protocol::monitors::cursor::Cursor;
use crate::protocol::monitors::failover::{Input, MonitorState};
use crate::protocol::monitors::record::MonitorRecord;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::server_time::{AHEAD_MAX_MS, Moment};
use crate::protocol::tree::restart::Backoff;
use crate::protocol::values::ids::AuthKeyId;
use crate::store::Op;
use crate::telegram::{Call, HistoryPage, Outcome};

/// Pause before history is read while the backlog is full.
const BACKLOG_PAUSE: Duration = Duration::from_secs(2);
/// After history knew nothing of the ids that a live message left out, others may do the same.
const LEAPS_ALLOWED_FOR: Duration = Duration::from_secs(60);
/// Failed tries of opening a chat over a live connection before the session is given up.
const OPENING_TRIES: u32 = 4;
/// Looks at a chat that is just being joined, while other sessions stand by: some three minutes.
const JOIN_TRIES: u32 = 10;
/// A wait longer than this is not kept while another session of the pool may do without it.
const LONG_WAIT: Duration = Duration::from_secs(60);
/// Pauses between them.
const OPENING_BACKOFF: Backoff = Backoff { min_ms: 1_000, max_ms: 30_000 };

impl MonitorActor {
    pub(super) async fn reopen(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        account: AuthKeyId,
        hint: Option<Failure>,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(account) {
            return Ok(());
        }
        self.opening.hint = hint.or(self.opening.hint.take());
        self.anchored = false;
        self.opening.is_first_look = false;
        if self.machine.state() == MonitorState::Opening {
            // What is under way goes on, and is done once more at its end: thrown away each time, it
            // would never come to one.
            self.opening.once_more = true;
            return Ok(());
        }
        self.step(myself, Input::Reopen).await
    }

    /// Takes the next step of opening the chat.
    pub(super) async fn advance(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
    ) -> Result<(), ActorProcessingErr> {
        if self.machine.state() != MonitorState::Opening {
            return Ok(());
        }
        loop {
            match self.opening.step(&self.record, self.cursor.as_ref()) {
                Step::Run(Call::History { .. } | Call::Since { .. })
                    if self.context.backlog.is_full() =>
                {
                    let epoch = self.epoch;
                    myself.send_after(BACKLOG_PAUSE, move || MonitorMsg::OpenAgain { epoch });
                    return Ok(());
                }
                Step::Run(call) => {
                    self.run(myself, call);
                    return Ok(());
                }
                Step::StartBlind => self.start_after(0).await?,
                Step::Done if self.opening.once_more => {
                    self.opening.again();
                    if self.keeps_pause(myself) {
                        return Ok(());
                    }
                }
                Step::Done if self.overflowed && !self.is_blind() => {
                    // More came live than could be kept; history has it.
                    self.overflowed = false;
                    self.held.clear();
                    self.opening.read_again();
                }
                Step::Done
                    if !self.looked_twice
                        && (self.is_leap(&self.held) || self.would_forget(&self.held)) =>
                {
                    self.looked_twice = true;
                    self.opening.read_again();
                }
                Step::Done if let Some(peer) = self.opening.migrated_to => {
                    if !self.leave_group(myself, peer).await? {
                        return Ok(());
                    }
                }
                Step::Done => return self.opened(myself).await,
            }
        }
    }

    /// Whether the next look at the chat has to wait, because there were too many of late.
    pub(super) fn keeps_pause(&mut self, myself: &ActorRef<MonitorMsg>) -> bool {
        let pause = self.brake.pause(instant());
        if pause.is_zero() {
            return false;
        }
        self.opening.is_braked = true;
        let epoch = self.epoch;
        myself.send_after(pause, move || MonitorMsg::OpenAgain { epoch });
        true
    }

    fn run(&self, myself: &ActorRef<MonitorMsg>, call: Call) {
        let Some(source) = &self.source else { return };
        let (target, epoch) = (myself.clone(), self.epoch);
        let reply = Reply::new(move |outcome| {
            let _ = target.cast(MonitorMsg::Found { epoch, outcome });
        });
        let interest = Some(self.interest.token());
        let patience = (self.opening.is_first_look || self.has_stand_in()).then_some(LONG_WAIT);
        let asker = Asker::Monitor(self.key.clone());
        let request = Request::new(call, Priority::Bridge, asker, reply);
        let request = Request { patience, interest, ..request };
        let _ = source.cast(AccountMsg::Request(request));
    }

    /// Whether another account may open the chat sooner than one that has to wait for long.
    fn has_stand_in(&self) -> bool {
        let now = instant();
        self.machine.pool().iter().any(|member| {
            let waits = self.waits.get(&member.account).is_some_and(|until| now < *until);
            !self.is_current(member.account)
                && !waits
                && !self.context.status.is_in_trouble(member.account)
        })
    }

    /// Has another session open the chat, because this one has to wait for long.
    async fn hand_on(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        seconds: u32,
        failure: &Failure,
    ) -> Result<(), ActorProcessingErr> {
        if let Some(member) = self.machine.current() {
            let until = instant() + Duration::from_secs(u64::from(seconds));
            self.waits.insert(member.account, until);
            tracing::warn!(chat = %self.key, session = %member.session, seconds, "telegram makes this session wait before the chat can be read; another one takes over");
        }
        self.give_up(myself, failure).await
    }

    pub(super) async fn found(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        outcome: Result<Outcome, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        match outcome {
            Ok(outcome) => {
                self.opening_failures = 0;
                self.take_outcome(outcome).await?;
                self.advance(myself).await
            }
            Err(failure) => self.failed(myself, failure).await,
        }
    }

    async fn take_outcome(&mut self, outcome: Outcome) -> Result<(), ActorProcessingErr> {
        match outcome {
            Outcome::Resolved { peer, title } => {
                self.opening.peer = Some(peer);
                self.learn(Some(peer.id), title, None).await
            }
            Outcome::Member { title, names, migrated_to } => {
                (self.opening.inspected, self.opening.migrated_to) = (true, migrated_to);
                self.learn(None, title, Some(names)).await
            }
            Outcome::TimeLearnt => {
                self.date_the_start();
                Ok(())
            }
            Outcome::NewestBefore(id) => self.start_after(id).await,
            Outcome::Position(pts) => {
                self.record.start_pts = Some(pts);
                self.start_after(0).await
            }
            Outcome::History(page) => self.take_history(page).await,
            Outcome::Joined { .. }
            | Outcome::Rights(_)
            | Outcome::Sent { .. }
            | Outcome::SentBefore
            | Outcome::LoggedOut
            | Outcome::Frozen(_)
            | Outcome::Person { .. }
            | Outcome::ContactAdded { .. }
            | Outcome::Invited { .. }
            | Outcome::Membership(_)
            | Outcome::GroupRights(_)
            | Outcome::InviteLink { .. }
            | Outcome::LinkUses { .. } => Ok(()),
        }
    }

    async fn failed(
        &mut self,
        myself: &ActorRef<MonitorMsg>,
        failure: Failure,
    ) -> Result<(), ActorProcessingErr> {
        if let Failure::Wait { seconds, .. } = failure {
            if !self.opening.is_first_look || self.has_stand_in() {
                return self.hand_on(myself, seconds, &failure).await;
            }
            // The next comparison finds what is left out among the newest ids. Where the cursor would
            // forget what is left out, the look is waited for.
            let may_skip = !self.would_forget(&self.held);
            self.opening.is_first_look = may_skip;
            if may_skip {
                (self.opening.inspected, self.opening.caught_up) = (true, true);
            }
            return self.advance(myself).await;
        }
        if self.is_closed_behind(&failure) {
            self.opening.is_closed = true;
            return self.advance(myself).await;
        }
        if self.may_have_moved(&failure) {
            self.opening.look_up_anew(failure);
            return self.advance(myself).await;
        }
        let retry = matches!(
            failure,
            Failure::Transient { .. } | Failure::Unreadable { .. } | Failure::Migrate { .. }
        );
        self.opening_failures += 1;
        if self.is_joining(&failure) || (retry && self.opening_failures < OPENING_TRIES) {
            self.last_error = Some(failure.to_string());
            let pause = OPENING_BACKOFF.delay_ms(self.opening_failures, self.context.jitter());
            let epoch = self.epoch;
            let again = move || MonitorMsg::OpenAgain { epoch };
            myself.send_after(Duration::from_millis(pause), again);
            self.show();
            return Ok(());
        }
        let failure = self.opening.first_failure.take().unwrap_or(failure);
        self.give_up(myself, &failure).await
    }

    /// Whether the session is out of the chat only until a join that was ordered has come through.
    /// With others in the pool it has some minutes for that.
    fn is_joining(&self, failure: &Failure) -> bool {
        let is_out = matches!(failure, Failure::ChatLost { .. } | Failure::Rejected { .. });
        let is_alone = self.machine.pool().len() == 1;
        let Some(member) = self.machine.current() else { return false };
        is_out
            && (is_alone || self.opening_failures < JOIN_TRIES)
            && self.context.joins.may_lead_to(member.account, &self.record.chat.target)
    }

    /// A chat is first looked for where it was last time. Should it not be there, its name may stand
    /// for another one by now.
    fn may_have_moved(&self, failure: &Failure) -> bool {
        let was_known = self.record.marked_id.is_some() && !self.opening.id_in_vain;
        let by_name = matches!(self.record.chat.target, ChatTarget::Username(_));
        let unexplained = self.opening.hint.is_none() && !self.opening.inspected;
        let is_gone = matches!(failure, Failure::ChatLost { .. } | Failure::Rejected { .. });
        was_known && is_gone && unexplained && (by_name || self.opening.peer.is_none())
    }

    /// Takes note of what the chat is, durably when that is news.
    async fn learn(
        &mut self,
        id: Option<MarkedId>,
        title: Option<String>,
        names: Option<Vec<String>>,
    ) -> Result<(), ActorProcessingErr> {
        let id = id.or(self.record.marked_id);
        let title = title.or_else(|| self.record.title.clone());
        if let (Some(chat), Some(member)) = (id, self.machine.current()) {
            let (account, key) = (member.account, self.key.clone());
            // Straight to the account, ahead of the next call: what comes live must find its way
            // here before history is read to its end. The fleet keeps it for the account's restart.
            if let Some(source) = &self.source {
                let _ = source.cast(AccountMsg::Follow { key: key.clone(), chat });
            }
            let _ = self.fleet.cast(FleetMsg::Follow { account, key, chat });
        }
        // Those of another chat are none of this one.
        let known = self.record.names.clone();
        let known = if id == self.record.marked_id { known } else { Vec::new() };
        let names = names.unwrap_or(known);
        let is_known = (&id, &title, &names)
            == (&self.record.marked_id, &self.record.title, &self.record.names);
        if is_known {
            return Ok(());
        }
        let mut ops = Vec::new();
        if self.record.marked_id.is_some_and(|known| id != Some(known)) {
            tracing::warn!(chat = %self.key, "the name stands for another chat now; it is listened to from here on");
            // The cursor counts the old chat's messages, and goes together with it.
            ops.push(Op::DeleteMonitor(self.key.clone()));
            (self.cursor, self.record.start_pts) = (None, None);
            let Moment { wall, steady } = self.context.clock.moment();
            (self.record.started_at, self.record.started_steady) = (wall, Some(steady));
            self.record.owed_from = self.context.clocks.telegrams_now();
            self.record.migrated_from = None;
            self.forget_held();
            self.opening.known_id = 0;
        }
        (self.record.marked_id, self.record.title, self.record.names) = (id, title, names);
        ops.push(Op::PutMonitor(self.record.clone()));
        self.context.store.submit(ops, |_| {}).await?;
        Ok(())
    }

    /// Takes note of when the chat was asked for by Telegram's clock; durable with the cursor that
    /// follows from it. Where nobody tells Telegram's time, ours is ahead of it by no more than
    /// Telegram puts up with, or there would be no connection.
    fn date_the_start(&mut self) {
        let MonitorRecord { started_at, started_steady, owed_from, .. } = &mut self.record;
        let moment = self.context.clocks.telegrams_moment(*started_at, *started_steady);
        if moment.is_none() {
            tracing::warn!(chat = %self.key, "telegram's time is not known; the chat is told from half a minute before it was asked for");
        }
        *owed_from = Some(moment.unwrap_or_else(|| started_at.plus_ms(-AHEAD_MAX_MS)));
    }

    /// Makes the cursor: everything up to `id` counts as published.
    async fn start_after(&mut self, id: i32) -> Result<(), ActorProcessingErr> {
        let Some(peer) = self.opening.peer else { return Ok(()) };
        let cursor = match (self.opening.owner(peer), &self.cursor) {
            (Some(owner), Some(known)) => known.continued_by(owner, id),
            (owner, _) => Cursor::starting_after(id, owed_from(&self.record).seconds(), owner),
        };
        self.cursor = Some(cursor.clone());
        let cursor = Op::PutCursor { chat: self.key.clone(), cursor };
        let ops = vec![Op::PutMonitor(self.record.clone()), cursor];
        failpoint::reach("monitor.start.before");
        self.context.store.submit(ops, |_| {}).await?;
        failpoint::reach("monitor.start.after");
        Ok(())
    }

    async fn take_history(&mut self, page: HistoryPage) -> Result<(), ActorProcessingErr> {
        if page.is_torn {
            self.context.metrics.gap_unfillable();
            tracing::warn!(chat = %self.key, "more was said than telegram lets a bot read back; what lies between is missing");
        }
        let unheard = self.unheard_of(&page);
        let published = self.publish(page.messages, true, Vec::new()).await?;
        self.pass_over(&page.unreadable).await?;
        let missed = unheard.min(published);
        if missed > 0 {
            match self.opening.is_gap {
                true => self.context.metrics.filled(missed, !self.opening.found_gap),
                false => self.context.metrics.caught_up(missed),
            }
            self.opening.found_gap = true;
        }
        self.opening.read_to = page.newest_id.or(self.opening.read_to);
        self.opening.caught_up = !page.more;
        if self.opening.caught_up
            && let Some(cursor) = &mut self.cursor
        {
            cursor.settle();
        }
        Ok(())
    }

    /// Counts and names the messages of a page that cannot be read, each once: they are as good as
    /// told, so that nobody waits for them.
    async fn pass_over(&mut self, unreadable: &[Option<i32>]) -> Result<(), ActorProcessingErr> {
        let mut has_moved = false;
        for id in unreadable {
            if let (Some(id), Some(cursor)) = (id, &mut self.cursor) {
                if !cursor.pass_over(*id) {
                    continue;
                }
                has_moved = true;
            }
            self.context.metrics.gap_unfillable();
            tracing::warn!(chat = %self.key, message_id = id, "a message cannot be read, because it is of a kind that this version does not know; it is passed over. Look for a newer telewarden");
        }
        if let Some(cursor) = self.cursor.clone().filter(|_| has_moved) {
            let op = Op::PutCursor { chat: self.key.clone(), cursor };
            self.context.store.submit(vec![op], |_| {}).await?;
        }
        Ok(())
    }

    /// Messages of a page that neither were published nor came live meanwhile.
    fn unheard_of(&self, page: &HistoryPage) -> usize {
        let held: HashSet<i32> = self.held.iter().map(|message| message.id).collect();
        let is_known =
            |id| held.contains(&id) || self.cursor.as_ref().is_some_and(|cursor| cursor.covers(id));
        page.messages.iter().filter(|message| !is_known(message.id)).count()
    }

    async fn opened(&mut self, myself: &ActorRef<MonitorMsg>) -> Result<(), ActorProcessingErr> {
        let (held, shares) =
            (std::mem::take(&mut self.held), std::mem::take(&mut self.held_shares));
        self.publish(held, false, shares).await?;
        self.last_error = None;
        if std::mem::take(&mut self.overflowed) {
            self.context.metrics.gap_unfillable();
            tracing::warn!(chat = %self.key, "more was said while the chat was being opened than a bot can keep; the newest of it is missing");
        }
        let was_missed = std::mem::take(&mut self.is_missed);
        let session = self.machine.current().map(|member| &member.session);
        if session != self.listening.as_ref() {
            tracing::info!(chat = %self.key, session = session.map(ToString::to_string), "the chat is being listened to");
        } else if was_missed {
            tracing::info!(chat = %self.key, session = session.map(ToString::to_string), "the chat is being listened to again by the same session");
        }
        self.announce_listening().await?;
        self.opening.was_open = true;
        self.plan_check(myself);
        self.looked_twice = false;
        if std::mem::take(&mut self.leaping) && !self.opening.found_gap {
            self.leaps_until = Some(instant() + LEAPS_ALLOWED_FOR);
        }
        (self.opening.hint, self.opening.first_failure) = (None, None);
        self.opening.is_first_look = false;
        self.feed(myself, Input::Opened).await.map(drop)
    }

    /// Says which session listens, when that is news and wanted.
    async fn announce_listening(&mut self) -> Result<(), ActorProcessingErr> {
        let Some(session) = self.machine.current().map(|member| member.session.clone()) else {
            return Ok(());
        };
        let change = match &self.listening {
            Some(known) if *known == session => return Ok(()),
            Some(_) => MonitorChange::FailedOver,
            None => MonitorChange::Started,
        };
        if self.context.settings.extra_events {
            let entry =
                event::monitor_changed(&self.record.chat, &session, change, self.context.now());
            self.context.store.submit(vec![self.append(entry)], |_| {}).await?;
        }
        self.listening = Some(session);
        Ok(())
    }
}
