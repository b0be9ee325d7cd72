//! The update pump: follows Telegram's numbered updates (<https://core.telegram.org/api/updates>),
//! fetches differences, and says so when something may have been missed.
//!
//! It drives the library's bookkeeping (`MessageBoxes`) itself instead of its update stream,
//! because the stream has no deadlines, retries without pause, and hides overflowing channels and
//! "too long" differences, each of which loses messages.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use grammers_client::session::types::{ChannelState, UpdatesState};
use grammers_client::session::updates::{
    MessageBox, MessageBoxes, PrematureEndReason, State, UpdatesLike,
};
use grammers_client::tl;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout, timeout_at};

use super::chats::membership;
use super::convert::chat_id;
use super::link::{Caller, PROBE_INTERVAL, RawUpdates};
use super::overflow::OverflowWatch;
use super::peers::{PeerBook, marked};
use crate::protocol::chat::MarkedId;
use crate::protocol::failure::Failure;
use crate::protocol::model::{PeerRecord, UpdateState, UpdateStateDelta};

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

/// Something may have been missed, and only history can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapScope {
    /// In any private chat or basic group.
    Common,
    /// In one channel or supergroup.
    Channel(MarkedId),
    /// Anywhere: the library dropped updates.
    Everything,
}

/// A message and the chat it belongs to, as it came.
pub struct NewMessage {
    /// The chat.
    pub chat: MarkedId,
    pub(super) message: tl::enums::Message,
}

/// News about a chat itself: membership or rights may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatNotice {
    /// The chat.
    pub chat: MarkedId,
    /// What the packet says about our place in it, when it says that we have none. Asking later
    /// gets a less telling answer.
    pub loss: Option<Failure>,
}

/// Everything one packet or difference brought.
#[derive(Default)]
pub struct Batch {
    /// New messages, in Telegram's order.
    pub messages: Vec<NewMessage>,
    /// Chats to look at again.
    pub notices: Vec<ChatNotice>,
    /// What may have been missed.
    pub gaps: Vec<GapScope>,
    /// Chats met for the first time.
    pub new_peers: Vec<PeerRecord>,
    /// How the update state moves once all of this is safe.
    pub delta: UpdateStateDelta,
    pub(super) users: Vec<tl::enums::User>,
    pub(super) chats: Vec<tl::enums::Chat>,
}

/// The pump of one link.
pub struct UpdatePump {
    caller: Caller,
    updates: mpsc::Receiver<UpdatesLike>,
    boxes: MessageBoxes,
    peers: Arc<Mutex<PeerBook>>,
    is_bot: bool,
    primed: bool,
    overflow: OverflowWatch,
    told_to_wait: TellWait,
}

/// Whoever has to know of a wait that Telegram asks for before updates may be asked for again: it
/// lasts beyond this link. Takes the error's name and the seconds.
pub type TellWait = Box<dyn Fn(&str, u32) + Send + Sync>;

impl UpdatePump {
    /// Continues from `state`, fetching what was missed since; from now on when `state` is empty.
    pub fn new(
        caller: Caller,
        updates: RawUpdates,
        state: Option<UpdateState>,
        peers: Arc<Mutex<PeerBook>>,
        is_bot: bool,
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
        Self { caller, updates, boxes, peers, is_bot, primed, overflow, told_to_wait }
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
        let answer = self.patiently(&tl::functions::updates::GetState {}).await?;
        let tl::enums::updates::State::State(state) = answer;
        let delta = UpdateStateDelta {
            common: Some((state.pts, state.date, state.seq)),
            qts: Some(state.qts),
            ..Default::default()
        };
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
        match self.boxes.get_channel_difference() {
            Some(request) => self.fetch_channel(request).await.map(Some),
            None => Ok(None),
        }
    }

    async fn fetch_common(
        &mut self,
        request: tl::functions::updates::GetDifference,
    ) -> Result<Batch, Failure> {
        let mut answer = self.patiently(&request).await?;
        let gaps = defuse_difference(&mut answer);
        let (updates, users, chats) = self.boxes.apply_difference(answer);
        let mut batch = self.batch(updates, users, chats);
        let state = self.boxes.session_state();
        batch.delta.common = Some((state.pts, state.date, state.seq));
        batch.delta.qts = Some(state.qts);
        batch.gaps.extend(gaps);
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
        let answer = match self.patiently(&request).await {
            Ok(answer) => answer,
            Err(Failure::ChatLost { .. } | Failure::Rejected { .. }) => {
                return Ok(self.end_channel(id, PrematureEndReason::Banned));
            }
            Err(Failure::Transient { .. }) => {
                // One channel's trouble is not the link's. Should the link itself be broken, the
                // next look at it says so.
                self.boxes.end_channel_difference(PrematureEndReason::TemporaryServerIssues);
                return Ok(Batch { gaps: vec![GapScope::Channel(id)], ..Default::default() });
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
        if too_long {
            batch.gaps.push(GapScope::Channel(id));
        }
        Ok(batch)
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

    /// Waits for a packet, probing the link when it stays silent. `None`: look for due
    /// differences again.
    async fn receive(&mut self) -> Result<Option<Batch>, Failure> {
        if self.overflow.look(self.updates.len()) {
            return Ok(Some(self.heal_overflow()));
        }
        let deadline = self.boxes.check_deadlines();
        let packet = timeout_at(deadline.into(), timeout(PROBE_INTERVAL, self.updates.recv()));
        match packet.await {
            Err(_) => Ok(None),
            Ok(Err(_)) => self.probe().await.map(Some),
            Ok(Ok(None)) => Err(Failure::transient("the connection ended")),
            Ok(Ok(Some(UpdatesLike::ConnectionClosed))) => {
                Err(Failure::transient("the server closed the connection"))
            }
            Ok(Ok(Some(mut packet))) => {
                self.overflow.took();
                let gaps = defuse_packet(&mut packet);
                let mut batch = match self.boxes.process_updates(packet) {
                    Ok((updates, users, chats)) => self.batch(updates, users, chats),
                    // A gap: the difference is due now.
                    Err(_) => Batch::default(),
                };
                batch.gaps.extend(gaps);
                Ok(Some(batch))
            }
        }
    }

    /// Asks a silent link for a sign of life. Should Telegram be ahead of us and nothing have come
    /// meanwhile, updates do not reach us: the difference is due.
    async fn probe(&mut self) -> Result<Batch, Failure> {
        let theirs = self.caller.probe().await?;
        if self.updates.is_empty() && theirs.pts > self.boxes.session_state().pts {
            let _ = self.boxes.process_updates(UpdatesLike::MalformedUpdates);
        }
        Ok(Batch::default())
    }

    /// After an overflow the common difference is fetched, and the monitors read history before
    /// they publish anything that came after it.
    fn heal_overflow(&mut self) -> Batch {
        // Malformed updates are a gap to the library: it fetches the common difference.
        let _ = self.boxes.process_updates(UpdatesLike::MalformedUpdates);
        Batch { gaps: vec![GapScope::Everything], ..Default::default() }
    }

    /// Calls with a few tries and keeps the waits that Telegram asks for.
    async fn patiently<R: tl::RemoteCall>(&self, request: &R) -> Result<R::Return, Failure> {
        let mut pause = DIFFERENCE_PAUSE;
        for _ in 1..DIFFERENCE_TRIES {
            match self.caller.call(request).await {
                Err(Failure::Transient { .. }) => sleep(pause).await,
                Err(Failure::Wait { code, seconds, .. })
                    if seconds <= DIFFERENCE_WAIT_MAX_SECONDS =>
                {
                    (self.told_to_wait)(&code, seconds);
                    sleep(Duration::from_secs(u64::from(seconds)) + DIFFERENCE_PAUSE).await;
                }
                outcome => return outcome,
            }
            pause *= 2;
        }
        self.caller.call(request).await
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

impl Batch {
    /// Whether nothing in it needs anybody's attention.
    pub fn is_idle(&self) -> bool {
        self.messages.is_empty() && self.notices.is_empty() && self.gaps.is_empty()
    }

    fn move_state(&mut self, state: &State) {
        match state.message_box {
            Some(MessageBox::Common { pts }) => {
                let newest = self.delta.common.map_or(pts, |(known, _, _)| known.max(pts));
                self.delta.common = Some((newest, state.date, state.seq));
            }
            Some(MessageBox::Secondary { qts }) => {
                self.delta.qts = Some(self.delta.qts.map_or(qts, |known| known.max(qts)));
            }
            Some(MessageBox::Channel { channel_id, pts }) => {
                match self.delta.channels.iter_mut().find(|(id, _)| *id == channel_id) {
                    Some((_, known)) => *known = pts.max(*known),
                    None => self.delta.channels.push((channel_id, pts)),
                }
            }
            None => {}
        }
    }

    fn take(&mut self, update: tl::enums::Update) {
        let message = match update {
            tl::enums::Update::NewMessage(update) => update.message,
            tl::enums::Update::NewChannelMessage(update) => update.message,
            tl::enums::Update::Channel(update) => {
                return self.notice(MarkedId::channel(update.channel_id));
            }
            tl::enums::Update::Chat(update) => {
                return self.notice(MarkedId::group(update.chat_id));
            }
            tl::enums::Update::ChatParticipantDelete(update) => {
                return self.notice(MarkedId::group(update.chat_id));
            }
            _ => return,
        };
        let chat = match &message {
            tl::enums::Message::Message(message) => marked(&message.peer_id),
            tl::enums::Message::Service(message) => {
                let chat = marked(&message.peer_id);
                if matches!(message.action, tl::enums::MessageAction::ChatDeleteUser(_)) {
                    self.notice(chat);
                }
                chat
            }
            tl::enums::Message::Empty(_) => return,
        };
        self.messages.push(NewMessage { chat, message });
    }

    fn notice(&mut self, chat: MarkedId) {
        if !self.notices.iter().any(|notice| notice.chat == chat) {
            self.notices.push(ChatNotice { chat, loss: None });
        }
    }

    /// Chats that came as forbidden are news, whatever update they came with.
    fn note_losses(&mut self) {
        for chat in &self.chats {
            let forbidden = matches!(
                chat,
                tl::enums::Chat::Forbidden(_) | tl::enums::Chat::ChannelForbidden(_)
            );
            let (true, Some(id), Err(loss)) = (forbidden, chat_id(chat), membership(chat)) else {
                continue;
            };
            self.notices.retain(|notice| notice.chat != id);
            self.notices.push(ChatNotice { chat: id, loss: Some(loss) });
        }
    }
}

/// Channels that Telegram says too much happened in. Such an update may carry the channel's newest
/// pts, to which the library jumps, over whatever lies between; without it the library fetches the
/// difference from where we stand.
fn defuse_too_long(updates: &mut [tl::enums::Update]) -> Vec<GapScope> {
    let channels = updates.iter_mut().filter_map(|update| match update {
        tl::enums::Update::ChannelTooLong(update) => {
            update.pts = None;
            Some(GapScope::Channel(MarkedId::channel(update.channel_id)))
        }
        _ => None,
    });
    channels.collect()
}

fn defuse_packet(packet: &mut UpdatesLike) -> Vec<GapScope> {
    match packet {
        UpdatesLike::Updates(tl::enums::Updates::Updates(packet)) => {
            defuse_too_long(&mut packet.updates)
        }
        UpdatesLike::Updates(tl::enums::Updates::Combined(packet)) => {
            defuse_too_long(&mut packet.updates)
        }
        UpdatesLike::Updates(tl::enums::Updates::UpdateShort(packet)) => {
            defuse_too_long(std::slice::from_mut(&mut packet.update))
        }
        _ => Vec::new(),
    }
}

fn defuse_difference(answer: &mut tl::enums::updates::Difference) -> Vec<GapScope> {
    match answer {
        tl::enums::updates::Difference::Difference(whole) => {
            defuse_too_long(&mut whole.other_updates)
        }
        tl::enums::updates::Difference::Slice(part) => defuse_too_long(&mut part.other_updates),
        tl::enums::updates::Difference::TooLong(_) => vec![GapScope::Common],
        tl::enums::updates::Difference::Empty(_) => Vec::new(),
    }
}
