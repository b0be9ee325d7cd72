//! The numbers in packets and differences, as far as the library must not be left alone with them:
//! channels in which too much happened, and updates that it drops because of their numbers.

use grammers_client::session::types::UpdatesState;
use grammers_client::session::updates::{
    MessageBox, MessageBoxes, State, UpdateAndPeers, UpdatesLike,
};
use grammers_client::tl::enums::updates::Difference;
use grammers_client::tl::enums::{Update, Updates};

use super::batch::GapScope;
use super::chats::message_peer;
use super::peers::marked;
use super::rest::Rest;
use super::setback::{Sequence, Setbacks};
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::telegram::updates::UpdateStateDelta;

/// The number of one new message.
pub(super) struct Numbered {
    sequence: Sequence,
    number: i32,
    count: i32,
}

/// The numbers of the new messages in a packet.
pub(super) fn of(packet: &UpdatesLike) -> Vec<Numbered> {
    let own = |number, count| Numbered { sequence: None, number, count };
    match packet {
        UpdatesLike::Updates(Updates::Updates(packet)) => {
            packet.updates.iter().filter_map(number).collect()
        }
        UpdatesLike::Updates(Updates::Combined(packet)) => {
            packet.updates.iter().filter_map(number).collect()
        }
        UpdatesLike::Updates(Updates::UpdateShort(packet)) => {
            number(&packet.update).into_iter().collect()
        }
        UpdatesLike::Updates(Updates::UpdateShortMessage(short)) => {
            vec![own(short.pts, short.pts_count)]
        }
        UpdatesLike::Updates(Updates::UpdateShortChatMessage(short)) => {
            vec![own(short.pts, short.pts_count)]
        }
        _ => Vec::new(),
    }
}

fn number(update: &Update) -> Option<Numbered> {
    match update {
        Update::NewMessage(new) => {
            Some(Numbered { sequence: None, number: new.pts, count: new.pts_count })
        }
        Update::NewChannelMessage(new) => {
            let chat = marked(message_peer(&new.message)?);
            Some(Numbered { sequence: Some(chat.bare()), number: new.pts, count: new.pts_count })
        }
        _ => None,
    }
}

/// Where the library stands in each sequence at one moment. Asking it costs a copy of all of them,
/// so that it is done once for a packet, and only for one in which numbers matter.
pub(super) struct Stands(Option<UpdatesState>);

impl Stands {
    /// Before this packet, of whose new messages these are the numbers, is applied.
    pub(super) fn before(
        packet: &UpdatesLike,
        numbered: &[Numbered],
        boxes: &MessageBoxes,
    ) -> Self {
        let matter = !numbered.is_empty() || has_too_long(packet);
        Self(matter.then(|| boxes.session_state()))
    }

    /// Now.
    pub(super) fn of(boxes: &MessageBoxes) -> Self {
        Self(Some(boxes.session_state()))
    }

    fn at(&self, sequence: Sequence) -> Option<i32> {
        let state = self.0.as_ref()?;
        let Some(id) = sequence else { return Some(state.pts) };
        // The library keeps them in this order.
        let place = state.channels.binary_search_by_key(&id, |channel| channel.id).ok()?;
        Some(state.channels[place].pts)
    }

    /// Takes out of `delta` what would move channels over what their differences have yet to bring.
    pub(super) fn hold_back(&self, delta: &mut UpdateStateDelta) {
        delta.channels.retain(|(id, pts)| self.at(Some(*id)).is_some_and(|stands| *pts <= stands));
    }
}

/// Whether the library is going to drop some of it as old.
pub(super) fn any_is_old(numbered: &[Numbered], stands: &Stands) -> bool {
    numbered.iter().any(|new| new.is_old(stands))
}

impl Numbered {
    fn is_old(&self, stands: &Stands) -> bool {
        stands.at(self.sequence).is_some_and(|stands| self.number <= stands)
    }

    fn is_among(&self, applied: &[(Update, State)]) -> bool {
        applied.iter().any(|(_, state)| match state.message_box {
            Some(MessageBox::Common { pts }) => self.sequence.is_none() && pts == self.number,
            Some(MessageBox::Channel { channel_id, pts }) => {
                self.sequence == Some(channel_id) && pts == self.number
            }
            Some(MessageBox::Secondary { .. }) | None => false,
        })
    }
}

/// The new messages in a packet that the library is going to drop as old, in the form that it
/// gives to those it does not.
pub(super) fn old_messages(packet: &UpdatesLike, stands: &Stands) -> Vec<Update> {
    let UpdatesLike::Updates(packet) = packet else { return Vec::new() };
    let packet = UpdatesLike::Updates(packet.clone());
    let Some((updates, ..)) = unnumbered(packet) else { return Vec::new() };
    let updates = updates.into_iter().map(|(update, _)| update);
    updates.filter(|update| number(update).is_some_and(|new| new.is_old(stands))).collect()
}

/// What is in a packet, whatever its numbers say; `None` when it only says that there is something.
pub(super) fn unnumbered(mut packet: UpdatesLike) -> Option<UpdateAndPeers> {
    unchain(&mut packet);
    // To one that knows no numbers nothing is old and nothing missing.
    MessageBoxes::new().process_updates(packet).ok()
}

/// Makes a packet count for itself: the library would throw all of it away, channels' messages
/// included, because of a packet that is missing before it, to have it with the difference.
pub(super) fn unchain(packet: &mut UpdatesLike) {
    match packet {
        UpdatesLike::Updates(Updates::Updates(packet)) => packet.seq = 0,
        UpdatesLike::Updates(Updates::Combined(packet)) => {
            (packet.seq_start, packet.seq) = (0, 0);
        }
        _ => {}
    }
}

/// Whether an update of the account's own sequence, of which these are the numbers in a packet, is
/// the first after something that did not come.
pub(super) fn any_leaps(
    numbered: &[Numbered],
    applied: &[(Update, State)],
    rest: &mut Rest,
) -> bool {
    let mut leaps = false;
    for (_, state) in applied {
        let Some(MessageBox::Common { pts }) = state.message_box else { continue };
        let known = numbered.iter().find(|new| new.sequence.is_none() && new.number == pts);
        leaps |= rest.leaps(pts, known.map(|new| new.count));
    }
    leaps
}

/// The sequences of which the library keeps a packet's messages back, waiting for those before.
pub(super) fn kept_back(
    numbered: &[Numbered],
    applied: &[(Update, State)],
    stands: &Stands,
) -> Vec<Sequence> {
    let ahead = numbered.iter().filter(|new| !new.is_old(stands) && !new.is_among(applied));
    let mut sequences: Vec<_> = ahead.map(|new| new.sequence).collect();
    sequences.dedup();
    sequences
}

/// Notes which of a packet's numbers the library applied and which it ignored.
pub(super) fn compare(
    numbered: &[Numbered],
    applied: &[(Update, State)],
    stands: &Stands,
    setbacks: &mut Setbacks,
) {
    for new in numbered {
        if new.is_among(applied) {
            setbacks.applied(new.sequence);
        } else if let Some(stands) = stands.at(new.sequence) {
            setbacks.ignored(new.sequence, new.number, new.count, stands);
        }
    }
}

fn has_too_long(packet: &UpdatesLike) -> bool {
    let is_too_long = |update: &Update| matches!(update, Update::ChannelTooLong(_));
    match packet {
        UpdatesLike::Updates(Updates::Updates(packet)) => packet.updates.iter().any(is_too_long),
        UpdatesLike::Updates(Updates::Combined(packet)) => packet.updates.iter().any(is_too_long),
        _ => false,
    }
}

/// Channels that Telegram says too much happened in. Such an update may carry the channel's newest
/// pts, to which the library jumps, over whatever lies between; without it the library fetches the
/// difference from where we stand. When we stand there already, nothing is missing.
fn defuse_too_long(updates: &mut Vec<Update>, stands: &Stands) -> Vec<GapScope> {
    let mut gaps = Vec::new();
    updates.retain_mut(|update| {
        let Update::ChannelTooLong(update) = update else { return true };
        let stands = stands.at(Some(update.channel_id));
        if update.pts.is_some() && update.pts == stands {
            return false;
        }
        // Numbers that went back are followed.
        if update.pts > stands {
            update.pts = None;
        }
        gaps.push(GapScope::Channel(MarkedId::channel(update.channel_id)));
        true
    });
    gaps
}

pub(super) fn defuse_packet(packet: &mut UpdatesLike, stands: &Stands) -> Vec<GapScope> {
    match packet {
        UpdatesLike::Updates(Updates::Updates(packet)) => {
            defuse_too_long(&mut packet.updates, stands)
        }
        UpdatesLike::Updates(Updates::Combined(packet)) => {
            defuse_too_long(&mut packet.updates, stands)
        }
        UpdatesLike::Updates(Updates::UpdateShort(packet)) => {
            let Update::ChannelTooLong(update) = &mut packet.update else { return Vec::new() };
            update.pts = None;
            vec![GapScope::Channel(MarkedId::channel(update.channel_id))]
        }
        _ => Vec::new(),
    }
}

pub(super) fn defuse_difference(answer: &mut Difference, stands: &Stands) -> Vec<GapScope> {
    match answer {
        Difference::Difference(whole) => defuse_too_long(&mut whole.other_updates, stands),
        Difference::Slice(part) => defuse_too_long(&mut part.other_updates, stands),
        Difference::TooLong(_) => vec![GapScope::Common],
        Difference::Empty(_) => Vec::new(),
    }
}
