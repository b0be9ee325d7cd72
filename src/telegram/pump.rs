//! The update pump: follows Telegram's numbered updates (<https://core.telegram.org/api/updates>),
//! fetches differences, and says so when something may have been missed.
//!
//! It drives the library's bookkeeping (`MessageBoxes`) itself instead of its update stream,
//! because the stream has no deadlines, retries without pause, and hides overflowing channels and
//! "too long" differences, each of which loses messages.

mod differences;
mod trouble;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grammers_client::session::types::{ChannelState, UpdatesState};
use grammers_client::session::updates::{MessageBox, MessageBoxes, State, UpdatesLike};
use grammers_client::tl;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio::time::timeout_at;
use trouble::Troubles;

use super::batch::{Batch, GapScope};
use super::link::{RawCaller, RawUpdates};
use super::numbers::{self, Numbered, Stands, defuse_packet};
use super::overflow::OverflowWatch;
use super::peers::PeerBook;
use super::port::{Following, TellFrozen, TellTrouble, TellWait, WaitLeft, WantsChannel};
use super::rest::Rest;
use super::setback::{Sequence, Setbacks};
use crate::clock::instant;
use crate::protocol::telegram::chat::{MarkedId, PeerKind};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::tree::watchdog::{Activity, Treadmill};

/// A link that was silent for this long is asked for a sign of life.
const PROBE_INTERVAL: Duration = Duration::from_secs(18);
/// How long the sign of life may take at least: a dead link is found, and dialled again, within
/// 30 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a pump that may not ask for a difference looks whether anything else is due.
const REST_LOOK: Duration = Duration::from_secs(1);

/// The pump of one link.
pub(super) struct UpdatePump {
    caller: RawCaller,
    updates: mpsc::Receiver<UpdatesLike>,
    boxes: MessageBoxes,
    peers: Arc<Mutex<PeerBook>>,
    is_bot: bool,
    /// Whether it is known where the account's own sequence stands.
    primed: bool,
    overflow: OverflowWatch,
    setbacks: Setbacks,
    treadmill: Treadmill,
    check_every: Duration,
    /// When a difference last said that nothing is missing, and the server's date then (0 before
    /// the first).
    checked_at: Instant,
    checked_date: i32,
    tell_wait: TellWait,
    wait_left: WaitLeft,
    wants_channel: WantsChannel,
    /// Telegram asked to wait before anything is asked for again. It may be over already.
    rest: Option<Rest>,
    /// Telegram asked to wait before channels' differences are asked for again.
    channels_rest_until: Option<Instant>,
    /// What cannot be got although the link works.
    troubles: Troubles,
    tell_trouble: TellTrouble,
    tell_frozen: TellFrozen,
    /// Whether it was said that updates cannot be read.
    has_warned: bool,
}

impl UpdatePump {
    /// One that follows what comes by itself, `updates`, and asks `caller` for differences.
    pub(super) fn new(caller: RawCaller, updates: RawUpdates, parts: Following) -> Self {
        let known = parts.state.filter(|state| state.pts != 0);
        let primed = known.is_some();
        let now = instant();
        let reached = known.as_ref().map(|state| state.pts);
        let wait = (parts.wait_left)();
        let rest = (!wait.is_zero()).then(|| Rest::inherited(now, Rest::until_look(wait), reached));
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
        // What comes during the wait moves the library's own date.
        let checked_date = rest.map_or(0, |_| boxes.session_state().date);
        Self {
            caller,
            updates,
            boxes,
            peers: parts.peers,
            is_bot: parts.is_bot,
            primed,
            overflow,
            setbacks: Setbacks::default(),
            treadmill: Treadmill::default(),
            check_every: parts.check_every,
            checked_at: now,
            checked_date,
            tell_wait: parts.tell_wait,
            wait_left: parts.wait_left,
            wants_channel: parts.wants_channel,
            rest,
            channels_rest_until: None,
            troubles: Troubles::default(),
            tell_trouble: parts.tell_trouble,
            tell_frozen: parts.tell_frozen,
            has_warned: false,
        }
    }

    /// Waits for the next batch.
    ///
    /// # Errors
    /// The failure that ended the link: it is of no more use and everything not yet handed out is
    /// fetched again by the next one.
    pub(super) async fn next(&mut self) -> Result<Batch, Failure> {
        self.find_next().await.map_err(|failure| self.caller.explain(failure))
    }

    async fn find_next(&mut self) -> Result<Batch, Failure> {
        loop {
            if self.caller.has_ended() && self.updates.is_empty() {
                return Err(self.caller.why_ended());
            }
            self.tell_troubles();
            if let Some(batch) = self.fetch_due().await? {
                return Ok(batch);
            }
            if let Some(batch) = self.receive().await? {
                return Ok(batch);
            }
        }
    }

    /// Says what cannot be got, when that is news.
    fn tell_troubles(&mut self) {
        if let Some(news) = self.troubles.news(instant()) {
            (self.tell_trouble)(news);
        }
    }

    /// Waits for a packet, probing the link when it stays silent. `None`: look for due
    /// differences again.
    async fn receive(&mut self) -> Result<Option<Batch>, Failure> {
        if self.overflow.look(self.updates.len()) {
            return Ok(Some(self.heal_overflow()));
        }
        self.treadmill.rest();
        let mends = self.primed && !self.rests();
        let now = instant();
        let is_due = mends && self.setbacks.due_at(now).is_some_and(|due| due <= now);
        if is_due && self.updates.is_empty() {
            // What it asks may be what others were told to wait with.
            if self.must_rest() {
                return Ok(None);
            }
            if let Some((sequence, before)) = self.setbacks.take(now) {
                return self.put_right(sequence, before).await.map(Some);
            }
        }
        let probe_at = self.probe_at();
        let mend_at = self.setbacks.due_at(instant()).filter(|_| mends);
        let wake_at = Instant::from_std(self.boxes.check_deadlines()).min(probe_at);
        let wake_at = mend_at.map_or(wake_at, |due| due.min(wake_at));
        // What is due and has to rest is due all the time.
        let wake_at = match self.rests() {
            true => wake_at.max(instant() + REST_LOOK),
            false => wake_at,
        };
        self.caller.pulse().begin(Activity::Listening);
        // Nothing is waited for while the packet is there: its 5 KiB would be part of every link.
        match timeout_at(wake_at, self.updates.recv()).await {
            Err(_) => {}
            Ok(None | Some(UpdatesLike::ConnectionClosed)) => {
                return Err(self.caller.why_ended());
            }
            Ok(Some(packet)) => return Ok(Some(self.take(packet))),
        }
        if instant() >= probe_at { self.probe().await.map(Some) } else { Ok(None) }
    }

    fn take(&mut self, mut packet: UpdatesLike) -> Batch {
        self.overflow.took();
        self.caller.pulse().heard();
        if matches!(packet, UpdatesLike::MalformedUpdates) && !self.has_warned {
            self.has_warned = true;
            tracing::warn!(
                "telegram sends updates that the library cannot read; they are fetched in another way as far as possible. If this stays, look for a newer telewarden (told once a connection)"
            );
        }
        if !self.primed {
            return self.take_unnumbered(packet);
        }
        let numbered = numbers::of(&packet);
        let stands = Stands::before(&packet, &numbered, &self.boxes);
        let mut gaps = defuse_packet(&mut packet, &stands);
        // Told from repetitions by their ids, which the monitors know.
        let old = match numbers::any_is_old(&numbered, &stands) {
            true => numbers::old_messages(&packet, &stands),
            false => Vec::new(),
        };
        let is_behind = self.is_own_difference_due();
        if is_behind {
            numbers::unchain(&mut packet);
        }
        let mut batch = match self.boxes.process_updates(packet) {
            Ok((updates, users, chats)) => {
                numbers::compare(&numbered, &updates, &stands, &mut self.setbacks);
                gaps.extend(self.notice_gaps(&numbered, &updates, &stands));
                self.batch(updates, users, chats)
            }
            // Telegram says that there is something, and it may be anywhere.
            Err(_) if is_behind => {
                gaps.push(GapScope::Anything);
                Batch::default()
            }
            // A gap: the difference is due now.
            Err(_) => Batch::default(),
        };
        if is_behind && self.is_bot {
            // It cannot look for what came before them; the difference brings both in their order.
            let before = batch.messages.len();
            batch.messages.retain(|message| message.chat.kind() == PeerKind::Channel);
            if batch.messages.len() < before
                && let Some(rest) = &mut self.rest
            {
                rest.left_out();
            }
        }
        // No difference brings these: their numbers lie behind us.
        old.into_iter().for_each(|update| batch.take(update));
        batch.gaps.extend(gaps);
        batch
    }

    /// While it is not known where the account's sequence stands, and may not be asked, everything
    /// is taken as it comes.
    fn take_unnumbered(&mut self, packet: UpdatesLike) -> Batch {
        let Some((updates, users, chats)) = numbers::unnumbered(packet) else {
            return Batch { gaps: vec![GapScope::Anything], ..Default::default() };
        };
        let mut batch = self.batch(updates, users, chats);
        batch.delta = Default::default();
        batch
    }

    /// While a difference is due and has to wait, the library takes what is of its sequence as it
    /// comes, and gets on with no gap in any other.
    fn notice_gaps(
        &mut self,
        numbered: &[Numbered],
        applied: &[(tl::enums::Update, State)],
        stands: &Stands,
    ) -> Vec<GapScope> {
        let mut gaps = Vec::new();
        if let Some(rest) = &mut self.rest
            && numbers::any_leaps(numbered, applied, rest)
        {
            gaps.push(GapScope::Common);
        }
        if !self.is_own_difference_due() && self.boxes.get_channel_difference().is_none() {
            return gaps;
        }
        for sequence in numbers::kept_back(numbered, applied, stands) {
            self.make_due(sequence, None);
        }
        gaps
    }

    /// Whether the account's own difference is due: what is of its sequence is applied as it comes,
    /// and moves nothing.
    fn is_own_difference_due(&self) -> bool {
        self.boxes.get_difference().is_some()
    }

    /// Has the library fetch a sequence's difference; for a channel maybe from `pts` on.
    fn make_due(&mut self, sequence: Sequence, pts: Option<i32>) {
        let packet = match sequence {
            // Malformed updates are a gap to the library: it fetches the common difference.
            None => UpdatesLike::MalformedUpdates,
            Some(channel_id) => {
                let update = tl::types::UpdateChannelTooLong { channel_id, pts }.into();
                UpdatesLike::Updates(tl::types::UpdateShort { update, date: 0 }.into())
            }
        };
        let _ = self.boxes.process_updates(packet);
    }

    /// When the link is to be asked for a sign of life, unless something comes before.
    fn probe_at(&self) -> Instant {
        let silent = self.caller.pulse().heard_at() + PROBE_INTERVAL;
        match self.rests() {
            true => silent,
            false => silent.min(self.checked_at + self.check_every),
        }
    }

    /// Asks the link for a sign of life. Unlike a ping the state also tells that a session was
    /// ended, or that Telegram is ahead of us; now and then the difference is asked for instead,
    /// which brings what did not reach us, in channels, too.
    async fn probe(&mut self) -> Result<Batch, Failure> {
        if self.rests() || self.must_rest() {
            let ping_id = i64::try_from(self.caller.pulse().now()).unwrap_or(0);
            self.patiently(&tl::functions::Ping { ping_id }).await?;
            return Ok(Batch::default());
        }
        if self.checked_at.elapsed() < self.check_every {
            let asked = self.asking();
            let theirs = match self.ask_state().await {
                Ok(theirs) => theirs,
                Err(failure) => return self.put_off(failure, asked),
            };
            self.troubles.own_mended();
            if !self.updates.is_empty() || theirs.pts <= self.boxes.session_state().pts {
                return Ok(Batch::default());
            }
        }
        self.checked_at = instant();
        self.make_due(None, None);
        match self.boxes.get_difference() {
            Some(request) => self.fetch_common(request).await,
            None => Err(Failure::transient("the account's updates were lost track of")),
        }
    }

    /// An update had a number below where we stand. Numbers may have gone back: the library is
    /// told to go on from before that update, and history is read for what else there may be.
    async fn put_right(&mut self, sequence: Sequence, before: i32) -> Result<Batch, Failure> {
        let Some(channel_id) = sequence else {
            let asked = self.asking();
            let theirs = match self.ask_state().await {
                Ok(theirs) => theirs,
                Err(failure) => return self.put_off(failure, asked),
            };
            let ours = self.boxes.session_state().pts;
            return Ok(if theirs.pts < ours { self.adopt(theirs) } else { Batch::default() });
        };
        self.make_due(sequence, Some(before));
        let gaps = vec![GapScope::Channel(MarkedId::channel(channel_id))];
        Ok(Batch { gaps, ..Default::default() })
    }

    /// After an overflow the common difference is fetched, and the monitors read history before
    /// they publish anything that came after it.
    fn heal_overflow(&mut self) -> Batch {
        self.make_due(None, None);
        Batch { gaps: vec![GapScope::Everything], ..Default::default() }
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
        let is_behind = self.is_own_difference_due();
        for (update, state) in updates {
            // What a difference has yet to bring must not be passed over by what is stored.
            if !is_behind || matches!(state.message_box, Some(MessageBox::Channel { .. })) {
                batch.move_state(&state);
            }
            batch.take(update);
        }
        if self.boxes.get_channel_difference().is_some() && !batch.delta.channels.is_empty() {
            Stands::of(&self.boxes).hold_back(&mut batch.delta);
        }
        batch.note_losses();
        batch
    }
}
