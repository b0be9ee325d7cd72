//! The update pump: follows Telegram's numbered updates (<https://core.telegram.org/api/updates>),
//! fetches differences, and says so when something may have been missed.
//!
//! It drives the library's bookkeeping (`MessageBoxes`) itself instead of its update stream,
//! because the stream has no deadlines, retries without pause, and hides overflowing channels and
//! "too long" differences, each of which loses messages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use grammers_client::session::types::{ChannelState, UpdatesState};
use grammers_client::session::updates::{MessageBoxes, PrematureEndReason, State, UpdatesLike};
use grammers_client::tl;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout_at};

use super::batch::{Batch, ChatNotice, GapScope};
use super::link::{CALL_TIMEOUT, Caller, RawUpdates};
use super::numbers::{self, defuse_difference, defuse_packet};
use super::overflow::OverflowWatch;
use super::peers::PeerBook;
use super::setback::{Sequence, Setbacks};
use crate::protocol::chat::MarkedId;
use crate::protocol::failure::Failure;
use crate::protocol::model::{UpdateState, UpdateStateDelta};
use crate::protocol::watchdog::{Activity, Treadmill};

/// A link that was silent for this long is asked for a sign of life.
const PROBE_INTERVAL: Duration = Duration::from_secs(18);
/// How long the sign of life may take at least: a dead link is found, and dialled again, within
/// 30 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a pump whose channels have to rest looks whether anything else is due.
const REST_LOOK: Duration = Duration::from_secs(1);
/// Messages that a bot takes with one channel difference, and a user. Telegram allows bots 100,000
/// (<https://core.telegram.org/method/updates.getChannelDifference>); a batch is committed as one,
/// so ours stay small.
const CHANNEL_DIFFERENCE_LIMIT: (i32, i32) = (1_000, 100);
/// Tries of a difference before the link is given up.
const DIFFERENCE_TRIES: u32 = 4;
/// First pause between two tries; doubles.
const DIFFERENCE_PAUSE: Duration = Duration::from_millis(500);
/// Longest wait that Telegram may ask for before the link is given up instead. Nothing but this
/// account's own updates waits meanwhile.
const DIFFERENCE_WAIT_MAX_SECONDS: u32 = 120;

/// The pump of one link.
pub struct UpdatePump {
    caller: Caller,
    updates: mpsc::Receiver<UpdatesLike>,
    boxes: MessageBoxes,
    peers: Arc<Mutex<PeerBook>>,
    is_bot: bool,
    primed: bool,
    overflow: OverflowWatch,
    setbacks: Setbacks,
    treadmill: Treadmill,
    /// How often the difference is asked for although nothing is known to be missing: an update that
    /// is lost leaves no gap in a chat in which nothing follows. It costs Telegram more than a sign
    /// of life.
    check_every: Duration,
    /// When a difference last said that nothing is missing, and the server's date then (0 before
    /// the first).
    checked_at: Instant,
    checked_date: i32,
    told_to_wait: TellWait,
    /// Telegram asked to wait before channels' differences are asked for again.
    channels_rest_until: Option<Instant>,
}

/// What becomes of a wait that Telegram asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// It is kept, with everything behind it.
    AreKept,
    /// Whoever called decides.
    AreTold,
}

/// Whoever has to know of a wait that Telegram asks for before updates may be asked for again: it
/// lasts beyond this link. Takes the error's name and the seconds.
pub type TellWait = Box<dyn Fn(&str, u32) + Send + Sync>;

impl UpdatePump {
    /// Continues from `state`, fetching what was missed since; from now on when `state` is empty.
    /// Asks at least every `check_every` whether something did not come.
    pub fn new(
        caller: Caller,
        updates: RawUpdates,
        state: Option<UpdateState>,
        peers: Arc<Mutex<PeerBook>>,
        is_bot: bool,
        check_every: Duration,
        told_to_wait: TellWait,
    ) -> Self {
        let known = state.filter(|state| state.pts != 0);
        let primed = known.is_some();
        let boxes = known.map_or_else(MessageBoxes::new, |state| {
            let channels = state.channels.into_iter();
            MessageBoxes::load(UpdatesState {
                pts: state.pts,
                qts: state.qts,
                date: state.date,
                seq: state.seq,
                channels: channels.map(|(id, pts)| ChannelState { id, pts }).collect(),
            })
        });
        let updates = updates.0;
        let overflow = OverflowWatch::new(updates.max_capacity());
        Self {
            caller,
            updates,
            boxes,
            peers,
            is_bot,
            primed,
            overflow,
            setbacks: Setbacks::default(),
            treadmill: Treadmill::default(),
            check_every,
            checked_at: Instant::now(),
            checked_date: 0,
            channels_rest_until: None,
            told_to_wait,
        }
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// The failure that ended the link: it is of no more use and everything not yet handed out is
    /// fetched again by the next one.
    pub async fn next(&mut self) -> Result<Batch, Failure> {
        if !self.primed {
            return self.prime().await;
        }
        loop {
            if let Some(batch) = self.fetch_due().await? {
                return Ok(batch);
            }
            if let Some(batch) = self.receive().await? {
                return Ok(batch);
            }
        }
    }

    /// Asks where the account's updates stand, to start from there.
    async fn prime(&mut self) -> Result<Batch, Failure> {
        let tl::enums::updates::State::State(state) =
            self.patiently(&tl::functions::updates::GetState {}, Waits::AreKept).await?;
        self.checked_date = state.date;
        let delta = delta_to(&state);
        self.boxes.set_state(state);
        self.primed = true;
        Ok(Batch { delta, ..Default::default() })
    }

    /// Fetches a difference that is due, if any.
    async fn fetch_due(&mut self) -> Result<Option<Batch>, Failure> {
        self.boxes.check_deadlines();
        if let Some(request) = self.boxes.get_difference() {
            return self.fetch_common(request).await.map(Some);
        }
        if self.channels_rest_until.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        match self.boxes.get_channel_difference() {
            Some(request) => self.fetch_channel(request).await.map(Some),
            None => Ok(None),
        }
    }

    async fn fetch_common(
        &mut self,
        mut request: tl::functions::updates::GetDifference,
    ) -> Result<Batch, Failure> {
        if self.checked_date > 0 {
            // The library's date is that of the newest update; what was lost may be older.
            request.date = request.date.min(self.checked_date);
        }
        let mut answer = match self.patiently(&request, Waits::AreKept).await {
            // It takes the numbers that we know for impossible.
            Err(Failure::Rejected { .. }) => {
                let theirs = self.ask_state().await?;
                return Ok(self.adopt(theirs));
            }
            answer => answer?,
        };
        let gaps = defuse_difference(&mut answer, &self.boxes);
        let is_last = !matches!(answer, tl::enums::updates::Difference::Slice(_));
        let (updates, users, chats) = self.boxes.apply_difference(answer);
        let mut batch = self.batch(updates, users, chats);
        let state = self.boxes.session_state();
        batch.delta.common = Some((state.pts, state.date, state.seq));
        batch.delta.qts = Some(state.qts);
        batch.gaps.extend(gaps);
        if is_last {
            (self.checked_at, self.checked_date) = (Instant::now(), state.date);
        }
        // Either number may be the one that gets on.
        self.tread(None, state.pts.saturating_add(state.qts))?;
        Ok(batch)
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
        let (bot, user) = CHANNEL_DIFFERENCE_LIMIT;
        request.limit = if self.is_bot { bot } else { user };
        let (began, queued) = (Instant::now(), self.updates.len());
        let answer = match self.patiently(&request, Waits::AreTold).await {
            Ok(answer) => answer,
            Err(Failure::ChatLost { .. } | Failure::Rejected { .. }) => {
                return Ok(self.end_channel(id, PrematureEndReason::Banned));
            }
            Err(Failure::Wait { code, seconds, .. }) => {
                if seconds <= DIFFERENCE_WAIT_MAX_SECONDS {
                    (self.told_to_wait)(&code, seconds);
                }
                self.channels_rest_until =
                    Some(began + Duration::from_secs(u64::from(seconds) + 1));
                return Ok(self.postpone_channel(id));
            }
            // One channel's trouble is not the link's, unless nothing at all comes over it.
            Err(Failure::Transient { .. }) if self.is_alive_since(began, queued) => {
                return Ok(self.postpone_channel(id));
            }
            Err(failure) => return Err(failure),
        };
        let too_long = matches!(answer, tl::enums::updates::ChannelDifference::TooLong(_));
        let (updates, users, chats) = self.boxes.apply_channel_difference(answer);
        let mut batch = self.batch(updates, users, chats);
        let state = self.boxes.session_state();
        let at = state.channels.iter().find(|channel| channel.id == id.bare());
        batch.delta.channels.retain(|(channel, _)| *channel != id.bare());
        batch.delta.channels.extend(at.map(|channel| (channel.id, channel.pts)));
        self.tread(Some(id.bare()), at.map_or(0, |channel| channel.pts))?;
        if too_long {
            batch.gaps.push(GapScope::Channel(id));
        }
        Ok(batch)
    }

    /// The channel's difference cannot be had for now; history says what it would have brought.
    fn postpone_channel(&mut self, id: MarkedId) -> Batch {
        self.boxes.end_channel_difference(PrematureEndReason::TemporaryServerIssues);
        Batch { gaps: vec![GapScope::Channel(id)], ..Default::default() }
    }

    fn is_alive_since(&self, began: Instant, queued: usize) -> bool {
        self.updates.len() > queued || self.caller.pulse().heard_at() > began
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

    /// Waits for a packet, probing the link when it stays silent. `None`: look for due
    /// differences again.
    async fn receive(&mut self) -> Result<Option<Batch>, Failure> {
        if self.overflow.look(self.updates.len()) {
            return Ok(Some(self.heal_overflow()));
        }
        self.treadmill.rest();
        if self.updates.is_empty()
            && let Some((sequence, before)) = self.setbacks.take(Instant::now())
        {
            return self.put_right(sequence, before).await.map(Some);
        }
        let probe_at = self.probe_at();
        let mend_at = self.setbacks.due_at(Instant::now());
        let wake_at = self.boxes.check_deadlines().min(probe_at);
        let wake_at = mend_at.map_or(wake_at, |due| due.min(wake_at));
        // What is due and has to rest is due all the time.
        let wake_at = match self.channels_rest_until {
            Some(until) if Instant::now() < until => wake_at.max(Instant::now() + REST_LOOK),
            _ => wake_at,
        };
        self.caller.pulse().begin(Activity::Listening);
        // Nothing is waited for while the packet is there: its 5 KiB would be part of every link.
        match timeout_at(wake_at.into(), self.updates.recv()).await {
            Err(_) => {}
            Ok(None) => return Err(Failure::transient("the connection ended")),
            Ok(Some(UpdatesLike::ConnectionClosed)) => {
                return Err(Failure::transient("the server closed the connection"));
            }
            Ok(Some(packet)) => return Ok(Some(self.take(packet))),
        }
        if Instant::now() >= probe_at { self.probe().await.map(Some) } else { Ok(None) }
    }

    fn take(&mut self, mut packet: UpdatesLike) -> Batch {
        self.overflow.took();
        self.caller.pulse().heard();
        let gaps = defuse_packet(&mut packet, &self.boxes);
        let numbered = numbers::of(&packet);
        let old = match numbers::any_is_old(&numbered, &self.boxes) {
            true => numbers::old_messages(&packet, &self.boxes),
            false => Vec::new(),
        };
        let mut batch = match self.boxes.process_updates(packet) {
            Ok((updates, users, chats)) => {
                numbers::compare(&numbered, &updates, &self.boxes, &mut self.setbacks);
                self.batch(updates, users, chats)
            }
            // A gap: the difference is due now.
            Err(_) => Batch::default(),
        };
        // Told from repetitions by their ids, which the monitors know.
        old.into_iter().for_each(|update| batch.take(update));
        batch.gaps.extend(gaps);
        batch
    }

    /// When the link is to be asked for a sign of life, unless something comes before.
    fn probe_at(&self) -> Instant {
        let silent = self.caller.pulse().heard_at() + PROBE_INTERVAL;
        silent.min(self.checked_at + self.check_every)
    }

    /// Asks the link for a sign of life. Unlike a ping the state also tells that a session was
    /// ended, or that Telegram is ahead of us; now and then the difference is asked for instead,
    /// which brings what did not reach us, in channels, too.
    async fn probe(&mut self) -> Result<Batch, Failure> {
        if self.checked_at.elapsed() < self.check_every {
            let theirs = self.ask_state().await?;
            if !self.updates.is_empty() || theirs.pts <= self.boxes.session_state().pts {
                return Ok(Batch::default());
            }
        }
        self.checked_at = Instant::now();
        // Malformed updates are a gap to the library: it fetches the common difference.
        let _ = self.boxes.process_updates(UpdatesLike::MalformedUpdates);
        match self.boxes.get_difference() {
            Some(request) => self.fetch_common(request).await,
            None => Err(Failure::transient("the account's updates were lost track of")),
        }
    }

    /// An update had a number below where we stand. Numbers may have gone back: the library is
    /// told to go on from before that update, and history is read for what else there may be.
    async fn put_right(&mut self, sequence: Sequence, before: i32) -> Result<Batch, Failure> {
        let Some(channel_id) = sequence else {
            let theirs = self.ask_state().await?;
            let ours = self.boxes.session_state().pts;
            return Ok(if theirs.pts < ours { self.adopt(theirs) } else { Batch::default() });
        };
        let pts = Some(before);
        let update = tl::types::UpdateChannelTooLong { channel_id, pts }.into();
        let packet = tl::types::UpdateShort { update, date: 0 }.into();
        let _ = self.boxes.process_updates(UpdatesLike::Updates(packet));
        let gaps = vec![GapScope::Channel(MarkedId::channel(channel_id))];
        Ok(Batch { gaps, ..Default::default() })
    }

    async fn ask_state(&self) -> Result<tl::types::updates::State, Failure> {
        let answer = self.patiently(&tl::functions::updates::GetState {}, Waits::AreKept).await?;
        let tl::enums::updates::State::State(state) = answer;
        Ok(state)
    }

    /// Goes on with Telegram's idea of where the account's own sequence stands. What may be
    /// missing by it is read from history.
    fn adopt(&mut self, theirs: tl::types::updates::State) -> Batch {
        tracing::info!(
            ours = self.boxes.session_state().pts,
            theirs = theirs.pts,
            "following telegram's own account of where the updates stand"
        );
        let channels = self.boxes.session_state().channels;
        let delta = delta_to(&theirs);
        self.boxes = MessageBoxes::new();
        self.boxes.set_state(theirs);
        let mut gaps = vec![GapScope::Common];
        for ChannelState { id, pts } in channels {
            self.boxes.try_set_channel_state(id, pts);
            // Its difference may have been due.
            gaps.push(GapScope::Channel(MarkedId::channel(id)));
        }
        Batch { gaps, delta, ..Default::default() }
    }

    /// After an overflow the common difference is fetched, and the monitors read history before
    /// they publish anything that came after it.
    fn heal_overflow(&mut self) -> Batch {
        // Malformed updates are a gap to the library: it fetches the common difference.
        let _ = self.boxes.process_updates(UpdatesLike::MalformedUpdates);
        Batch { gaps: vec![GapScope::Everything], ..Default::default() }
    }

    /// Calls with a few tries and keeps the waits that Telegram asks for. When no answer comes and
    /// nothing else either, the link is dead: there is no use in trying.
    async fn patiently<R: tl::RemoteCall>(
        &self,
        request: &R,
        waits: Waits,
    ) -> Result<R::Return, Failure> {
        let pulse = self.caller.pulse();
        let mut pause = DIFFERENCE_PAUSE;
        let mut attempt = 1;
        loop {
            let (began, queued) = (Instant::now(), self.updates.len());
            pulse.begin(Activity::Asking);
            let outcome = self.caller.call_for(request, self.answer_limit()).await;
            let is_alive = self.is_alive_since(began, queued);
            let rest = match &outcome {
                Err(Failure::Transient { .. }) if is_alive => Duration::ZERO,
                Err(Failure::Wait { code, seconds, .. })
                    if waits == Waits::AreKept && *seconds <= DIFFERENCE_WAIT_MAX_SECONDS =>
                {
                    (self.told_to_wait)(code, *seconds);
                    Duration::from_secs(u64::from(*seconds))
                }
                _ => return outcome,
            };
            if attempt == DIFFERENCE_TRIES {
                return outcome;
            }
            pulse.begin(Activity::Pausing);
            sleep(rest + pause).await;
            if !rest.is_zero() {
                pulse.rested();
            }
            pause *= 2;
            attempt += 1;
        }
    }

    /// How long an answer may take, so that a link which has been silent is found dead in time.
    fn answer_limit(&self) -> Duration {
        let silent = self.caller.pulse().heard_at().elapsed();
        let left = (PROBE_INTERVAL + PROBE_TIMEOUT).saturating_sub(silent);
        left.clamp(PROBE_TIMEOUT, CALL_TIMEOUT)
    }

    fn batch(
        &mut self,
        updates: Vec<(tl::enums::Update, State)>,
        users: Vec<tl::enums::User>,
        chats: Vec<tl::enums::Chat>,
    ) -> Batch {
        let new_peers = if chats.is_empty() {
            Vec::new()
        } else {
            self.peers.lock().unwrap_or_else(PoisonError::into_inner).learn(&chats)
        };
        let mut batch = Batch { new_peers, users, chats, ..Default::default() };
        batch.messages.reserve(updates.len());
        for (update, state) in updates {
            batch.move_state(&state);
            batch.take(update);
        }
        batch.note_losses();
        batch
    }
}

/// The move to where Telegram says that the account stands.
fn delta_to(state: &tl::types::updates::State) -> UpdateStateDelta {
    UpdateStateDelta {
        common: Some((state.pts, state.date, state.seq)),
        qts: Some(state.qts),
        ..Default::default()
    }
}
