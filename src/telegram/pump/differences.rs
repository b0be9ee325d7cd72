//! What was missed, fetched from Telegram: the account's own difference and those of channels, each
//! with the waits that Telegram asks for, which hold up nothing but themselves.

use std::sync::PoisonError;
use std::time::Duration;

use grammers_client::session::types::ChannelState;
use grammers_client::session::updates::{MessageBoxes, PrematureEndReason};
use grammers_client::tl;
use tokio::time::sleep;

use super::{PROBE_INTERVAL, PROBE_TIMEOUT, UpdatePump};
use crate::chance::jitter;
use crate::clock::instant;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::updates::UpdateStateDelta;
use crate::protocol::tree::watchdog::Activity;
use crate::telegram::batch::{Batch, ChatNotice, GapScope};
use crate::telegram::link::CALL_TIMEOUT;
use crate::telegram::numbers::{Stands, defuse_difference};
use crate::telegram::rest::Rest;
use crate::telegram::setback::Sequence;

/// Messages that are taken with one difference, of the account or of a channel. Telegram allows bots
/// 100,000 in channels (<https://core.telegram.org/method/updates.getChannelDifference>); but an answer
/// is read only up to 8 MiB, which a thousand messages of 4,096 letters exceed, and a batch is committed
/// as one. Where a channel has more, Telegram may say that it is too much: then its messages are asked
/// for by their ids, as many at once.
const DIFFERENCE_LIMIT: i32 = 100;
/// As few as are asked for when so many cannot be read.
const DIFFERENCE_LIMIT_LEAST: i32 = 10;
/// Tries of a difference before the link is given up.
const DIFFERENCE_TRIES: u32 = 4;
/// First pause between two tries; doubles.
const DIFFERENCE_PAUSE: Duration = Duration::from_millis(500);

impl UpdatePump {
    /// Fetches a difference that is due, if any, and may be asked for.
    pub(super) async fn fetch_due(&mut self) -> Result<Option<Batch>, Failure> {
        self.boxes.check_deadlines();
        if self.caller.has_ended() {
            // A call would make another connection.
            return Ok(None);
        }
        if !self.rests() {
            if (!self.primed || self.boxes.get_difference().is_some()) && self.must_rest() {
                return Ok(None);
            }
            if !self.primed {
                return self.prime().await.map(Some);
            }
            if let Some(request) = self.boxes.get_difference() {
                return self.fetch_common(request).await.map(Some);
            }
            self.rest = None;
        } else if self.boxes.get_difference().is_some()
            && self.rest.as_mut().is_some_and(Rest::tell)
        {
            let gap = match self.troubles.is_own_failing() {
                true => GapScope::Anything,
                false => GapScope::Common,
            };
            return Ok(Some(Batch { gaps: vec![gap], ..Default::default() }));
        }
        let unwanted = self.drop_unwanted_channels();
        if unwanted.is_some() {
            return Ok(unwanted);
        }
        match self.boxes.get_channel_difference() {
            Some(request) if self.channels_rest() || self.rests_in(&request.channel) => {
                Ok(Some(self.leave_to_history(&request)))
            }
            Some(request) => self.fetch_channel(request).await.map(Some),
            None => Ok(None),
        }
    }

    /// Asks where the account's updates stand, to start from there.
    async fn prime(&mut self) -> Result<Batch, Failure> {
        let asked = self.asking();
        let state = match self.ask_state().await {
            Ok(state) => state,
            Err(failure) => return self.put_off(failure, asked),
        };
        self.troubles.own_mended();
        self.checked_date = state.date;
        self.primed = true;
        // What came before was handed out as it came; something else may have been missed.
        let gaps = self.rest.take().map(|_| GapScope::Common).into_iter().collect();
        let delta = delta_to(&state);
        self.boxes.set_state(state);
        Ok(Batch { gaps, delta, ..Default::default() })
    }

    pub(super) async fn fetch_common(
        &mut self,
        mut request: tl::functions::updates::GetDifference,
    ) -> Result<Batch, Failure> {
        if self.checked_date > 0 {
            // The library's date is that of the newest update; what was lost may be older.
            request.date = request.date.min(self.checked_date);
        }
        let asked = self.asking();
        let limited = self.within_bounds(&mut request, |request, limit| {
            // No `pts_total_limit`: beyond it everything is left out.
            request.pts_limit = Some(limit);
        });
        let answer = match limited.await {
            // It takes the numbers that we know for impossible.
            Err(Failure::Rejected { .. }) => match self.ask_state().await {
                Ok(theirs) => return Ok(self.adopt(theirs)),
                Err(failure) => Err(failure),
            },
            Err(Failure::Unreadable { detail }) if !self.caller.has_ended() => {
                match self.ask_state().await {
                    Ok(theirs) => return Ok(self.pass_over(theirs, &detail)),
                    Err(failure) => Err(failure),
                }
            }
            answer => answer,
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                // Updates that come meanwhile move the library's date.
                self.checked_date = request.date;
                return self.put_off(failure, asked);
            }
        };
        self.troubles.own_mended();
        let gaps = defuse_difference(&mut answer, &Stands::of(&self.boxes));
        let is_last = !matches!(answer, tl::enums::updates::Difference::Slice(_));
        let (updates, users, chats) = self.boxes.apply_difference(answer);
        let mut batch = self.batch(updates, users, chats);
        let state = self.boxes.session_state();
        batch.delta.common = Some((state.pts, state.date, state.seq));
        batch.delta.qts = Some(state.qts);
        batch.gaps.extend(gaps);
        if is_last {
            (self.checked_at, self.checked_date) = (instant(), state.date);
            self.rest = None;
        }
        // Either number may be the one that gets on.
        self.tread(None, state.pts.saturating_add(state.qts))?;
        Ok(batch)
    }

    /// Channels that nobody monitors are not followed: an account may be in 500 of them, and each
    /// would cost calls. Should one be wanted later, its history is read anyway.
    fn drop_unwanted_channels(&mut self) -> Option<Batch> {
        let mut dropped = Vec::new();
        while let Some(request) = self.boxes.get_channel_difference() {
            let tl::enums::InputChannel::Channel(channel) = request.channel else { break };
            if (self.wants_channel)(channel.channel_id) {
                break;
            }
            self.boxes.end_channel_difference(PrematureEndReason::Banned);
            dropped.push(channel.channel_id);
        }
        let delta = UpdateStateDelta { dropped_channels: dropped, ..Default::default() };
        (!delta.is_empty()).then(|| Batch { delta, ..Default::default() })
    }

    async fn fetch_channel(
        &mut self,
        mut request: tl::functions::updates::GetChannelDifference,
    ) -> Result<Batch, Failure> {
        let tl::enums::InputChannel::Channel(channel) = &mut request.channel else {
            return Err(Failure::transient("the library asks for a channel without a name"));
        };
        let id = MarkedId::channel(channel.channel_id);
        let known = self.peers.lock().unwrap_or_else(PoisonError::into_inner).get(id);
        // Bots may name with a zero hash whatever they have met.
        let Some(access_hash) = known.map(|peer| peer.access_hash).or(self.is_bot.then_some(0))
        else {
            return Ok(self.end_channel(id, PrematureEndReason::Banned));
        };
        channel.access_hash = access_hash;
        let asked = self.asking();
        let limited = self.within_bounds(&mut request, |request, limit| request.limit = limit);
        let answer = match limited.await {
            Ok(answer) => answer,
            Err(Failure::ChatLost { .. } | Failure::Frozen { .. } | Failure::Rejected { .. }) => {
                return Ok(self.end_channel(id, PrematureEndReason::Banned));
            }
            Err(Failure::Wait { code, seconds, .. }) => {
                (self.tell_wait)(&code, seconds);
                // Counted from the answer, which may have taken its time.
                self.channels_rest_until = Some(instant() + Rest::asked_for(seconds));
                return Ok(self.leave_to_history(&request));
            }
            // One channel's trouble is not the link's, unless nothing at all comes over it.
            Err(failure) if self.outlives(&failure, asked) => {
                tracing::warn!(error = %failure, "what was missed in a channel cannot be had; its history is read instead");
                self.troubles.channel_failed(id.bare(), &failure, instant(), jitter());
                return Ok(self.leave_to_history(&request));
            }
            Err(failure) => return Err(failure),
        };
        self.troubles.channel_mended(id.bare());
        let newest = newest_of_too_long(&answer);
        let (updates, users, chats) = self.boxes.apply_channel_difference(answer);
        let mut batch = self.batch(updates, users, chats);
        let state = self.boxes.session_state();
        let at = state.channels.iter().find(|channel| channel.id == id.bare());
        batch.delta.channels.retain(|(channel, _)| *channel != id.bare());
        batch.delta.channels.extend(at.map(|channel| (channel.id, channel.pts)));
        self.tread(Some(id.bare()), at.map_or(0, |channel| channel.pts))?;
        if let Some(newest) = newest {
            batch.gaps.push(GapScope::Channel(id));
            newest.into_iter().for_each(|update| batch.take(update));
        }
        Ok(batch)
    }

    /// The channel's difference may not be asked for; history says what it would have brought. What
    /// comes live from now on is followed, wherever its numbers stand.
    fn leave_to_history(
        &mut self,
        request: &tl::functions::updates::GetChannelDifference,
    ) -> Batch {
        self.boxes.end_channel_difference(PrematureEndReason::Banned);
        let tl::enums::InputChannel::Channel(channel) = &request.channel else {
            return Batch { gaps: vec![GapScope::Anything], ..Default::default() };
        };
        let id = MarkedId::channel(channel.channel_id);
        Batch { gaps: vec![GapScope::Channel(id)], ..Default::default() }
    }

    /// The channel can no longer be followed: forget where it stood and have it looked at.
    fn end_channel(&mut self, id: MarkedId, reason: PrematureEndReason) -> Batch {
        self.boxes.end_channel_difference(reason);
        Batch {
            notices: vec![ChatNotice { chat: id, loss: None }],
            delta: UpdateStateDelta {
                dropped_channels: vec![id.bare()],
                ..UpdateStateDelta::default()
            },
            ..Default::default()
        }
    }

    /// Gives the link up when a difference leads nowhere.
    fn tread(&mut self, sequence: Sequence, number: i32) -> Result<(), Failure> {
        if self.treadmill.turn(sequence, number) {
            return Err(Failure::transient("telegram's answers to what was missed lead nowhere"));
        }
        Ok(())
    }

    /// What the next call is about to be measured by.
    pub(super) fn asking(&self) -> Asked {
        Asked { heard: self.caller.pulse().heard_times(), queued: self.updates.len() }
    }

    /// The account's own updates could not be asked for. A wait is kept; what fails over a link that
    /// works is asked for again after a pause that grows, and the link is kept. What is live goes on
    /// meanwhile, and history says what a difference would have brought.
    ///
    /// # Errors
    /// The failure, when the link is of no more use.
    pub(super) fn put_off(&mut self, failure: Failure, asked: Asked) -> Result<Batch, Failure> {
        self.rest.iter_mut().for_each(Rest::failed_again);
        match failure {
            Failure::Wait { code, seconds, .. } => Ok(self.begin_rest(&code, seconds)),
            Failure::Frozen { code } => {
                (self.tell_frozen)(&code);
                self.rest_for(Rest::refused());
                Ok(Batch::default())
            }
            failure if self.outlives(&failure, asked) => {
                let pause = self.troubles.own_failed(&failure, jitter());
                tracing::warn!(error = %failure, pause_ms = pause.as_millis(), "what was missed cannot be asked for; it is tried again later");
                self.rest_for(pause);
                Ok(Batch::default())
            }
            failure => Err(failure),
        }
    }

    /// Whether the link works although a call over it failed. What is refused in words of whatever kind is answered:
    /// another link would hear the same. Only what concerns the session ends it.
    pub(super) fn outlives(&self, failure: &Failure, asked: Asked) -> bool {
        let is_of_the_session =
            matches!(failure, Failure::Dead { .. } | Failure::Migrate { .. } | Failure::Removed);
        !is_of_the_session && self.is_alive_since(asked)
    }

    /// The difference cannot be read, and would not be the next time: something in it is of a newer
    /// layer. It is passed over, and the histories of all chats that somebody wants are read.
    fn pass_over(&mut self, theirs: tl::types::updates::State, detail: &str) -> Batch {
        tracing::warn!(
            error = detail,
            "what was missed cannot be read; the histories of monitored chats are read instead"
        );
        let pause = self.troubles.own_unread(jitter());
        let batch = self.adopt(theirs);
        self.rest_for(pause);
        Batch { gaps: vec![GapScope::Anything], ..batch }
    }

    /// Whether the difference of this channel failed a short while ago.
    fn rests_in(&self, channel: &tl::enums::InputChannel) -> bool {
        let tl::enums::InputChannel::Channel(channel) = channel else { return false };
        self.troubles.channel_rests(channel.channel_id, instant())
    }

    /// Telegram asks to wait before the account's own updates are asked for again. What is live
    /// goes on; what a difference was to bring is looked for in the histories meanwhile.
    pub(super) fn begin_rest(&mut self, code: &str, seconds: u32) -> Batch {
        (self.tell_wait)(code, seconds);
        self.rest_for(Rest::asked_for(seconds));
        if let Some(rest) = &mut self.rest {
            let wait = rest.asked_again(Rest::asked_for(seconds));
            rest.prolong(instant(), wait);
        }
        Batch::default()
    }

    /// Whether others were told to wait with what the link is about to ask; then it rests, too.
    pub(super) fn must_rest(&mut self) -> bool {
        let left = (self.wait_left)();
        if !left.is_zero() {
            self.rest_for(Rest::until_look(left));
        }
        !left.is_zero()
    }

    fn rest_for(&mut self, wait: Duration) {
        let now = instant();
        if let Some(rest) = &mut self.rest {
            rest.prolong(now, wait);
            return;
        }
        let reached = self.primed.then(|| self.boxes.session_state().pts);
        self.rest = Some(Rest::new(now, wait, reached));
    }

    /// Whether the account's own updates may not be asked for yet.
    pub(super) fn rests(&self) -> bool {
        self.rest.is_some_and(|rest| rest.lasts(instant()))
    }

    /// Whether channels' differences may not be asked for yet.
    pub(super) fn channels_rest(&self) -> bool {
        self.rests()
            || self.channels_rest_until.is_some_and(|until| instant() < until)
            || !(self.wait_left)().is_zero()
    }

    pub(super) async fn ask_state(&self) -> Result<tl::types::updates::State, Failure> {
        let tl::enums::updates::State::State(state) =
            self.patiently(&tl::functions::updates::GetState {}).await?;
        Ok(state)
    }

    /// Goes on with Telegram's idea of where the account's own sequence stands. What may be
    /// missing by it is read from history.
    pub(super) fn adopt(&mut self, theirs: tl::types::updates::State) -> Batch {
        tracing::info!(
            ours = self.boxes.session_state().pts,
            theirs = theirs.pts,
            "following telegram's own account of where the updates stand"
        );
        let channels = self.boxes.session_state().channels;
        let delta = delta_to(&theirs);
        self.boxes = MessageBoxes::new();
        self.boxes.set_state(theirs);
        self.rest = None;
        let mut gaps = vec![GapScope::Common];
        for ChannelState { id, pts } in channels {
            self.boxes.try_set_channel_state(id, pts);
            // Its difference may have been due.
            gaps.push(GapScope::Channel(MarkedId::channel(id)));
        }
        Batch { gaps, delta, ..Default::default() }
    }

    /// Asks for a difference, and for ever less at once while the answer cannot be read: it may be too
    /// large.
    async fn within_bounds<R: tl::RemoteCall>(
        &self,
        request: &mut R,
        set_limit: impl Fn(&mut R, i32),
    ) -> Result<R::Return, Failure> {
        let mut limit = DIFFERENCE_LIMIT;
        loop {
            set_limit(request, limit);
            let answer = self.patiently(request).await;
            let is_unread = matches!(answer, Err(Failure::Unreadable { .. }));
            match fewer(limit).filter(|_| is_unread && !self.caller.has_ended()) {
                Some(fewer) => limit = fewer,
                None => return answer,
            }
            self.caller.pulse().begin(Activity::Pausing);
            sleep(DIFFERENCE_PAUSE).await;
        }
    }

    /// Calls with a few tries. When no answer comes and nothing else either, the link is dead:
    /// there is no use in trying.
    pub(super) async fn patiently<R: tl::RemoteCall>(
        &self,
        request: &R,
    ) -> Result<R::Return, Failure> {
        let pulse = self.caller.pulse();
        let mut pause = DIFFERENCE_PAUSE;
        let mut attempt = 1;
        loop {
            let asked = self.asking();
            pulse.begin(Activity::Asking);
            let outcome = self.caller.call_for(request, self.answer_limit()).await;
            let is_transient = matches!(outcome, Err(Failure::Transient { .. }));
            let may_help = is_transient && self.is_alive_since(asked);
            // What failed so often already is asked for once, after a pause that holds up nobody.
            let tries = if self.troubles.is_own_failing() { 1 } else { DIFFERENCE_TRIES };
            if !may_help || attempt >= tries {
                return outcome;
            }
            pulse.begin(Activity::Pausing);
            sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// Whether something came over the link since then, be it that Telegram cannot answer.
    fn is_alive_since(&self, asked: Asked) -> bool {
        let has_come =
            self.updates.len() > asked.queued || self.caller.pulse().heard_times() > asked.heard;
        has_come && !self.caller.has_ended()
    }

    /// How long an answer may take, so that a link which has been silent is found dead in time.
    fn answer_limit(&self) -> Duration {
        let silent = self.caller.pulse().heard_at().elapsed();
        let left = (PROBE_INTERVAL + PROBE_TIMEOUT).saturating_sub(silent);
        left.clamp(PROBE_TIMEOUT, CALL_TIMEOUT)
    }
}

/// How much had come when something was asked.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    heard: u64,
    queued: usize,
}

/// How many to ask for when `limit` cannot be read; `None` when asking for fewer is of no use.
fn fewer(limit: i32) -> Option<i32> {
    Some(limit / 2).filter(|fewer| *fewer >= DIFFERENCE_LIMIT_LEAST)
}

/// The newest messages of a channel in which too much happened, oldest first. The library throws them
/// away; but they say up to where a bot, which reads by ids, has to look.
fn newest_of_too_long(
    answer: &tl::enums::updates::ChannelDifference,
) -> Option<Vec<tl::enums::Update>> {
    let tl::enums::updates::ChannelDifference::TooLong(answer) = answer else { return None };
    let mut messages = answer.messages.clone();
    messages.sort_by_key(tl::enums::Message::id);
    let update =
        |message| tl::types::UpdateNewChannelMessage { message, pts: 0, pts_count: 0 }.into();
    Some(messages.into_iter().map(update).collect())
}

/// The move to where Telegram says that the account stands.
fn delta_to(state: &tl::types::updates::State) -> UpdateStateDelta {
    UpdateStateDelta {
        common: Some((state.pts, state.date, state.seq)),
        qts: Some(state.qts),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use grammers_mtproto::mtp::MAX_UNPACKED;

    use super::*;

    /// 4,096 letters of four bytes, as much again of entities, and buttons.
    const LARGE_MESSAGE: usize = 40 * 1024;

    #[test]
    fn a_difference_of_long_messages_is_within_what_is_read() {
        assert!(DIFFERENCE_LIMIT as usize * LARGE_MESSAGE <= MAX_UNPACKED);
    }

    #[test]
    fn a_difference_that_cannot_be_read_is_asked_for_in_ever_smaller_parts_a_few_times() {
        let limits: Vec<_> = std::iter::successors(Some(DIFFERENCE_LIMIT), |n| fewer(*n)).collect();
        assert_eq!(limits, [100, 50, 25, 12]);
    }
}
