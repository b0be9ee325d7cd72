//! The numbers in packets and differences, as far as the library must not be left alone with them:
//! channels in which too much happened, and updates that it drops because of their numbers.

use grammers_client::session::updates::{MessageBox, MessageBoxes, State, UpdatesLike};
use grammers_client::tl::enums::updates::Difference;
use grammers_client::tl::enums::{Update, Updates};

use super::batch::GapScope;
use super::chats::message_peer;
use super::peers::marked;
use super::setback::{Sequence, Setbacks};
use crate::protocol::chat::MarkedId;

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

/// Whether the library is going to drop some of it as old.
pub(super) fn any_is_old(numbered: &[Numbered], boxes: &MessageBoxes) -> bool {
    !numbered.is_empty() && numbered.iter().any(|new| new.is_old(boxes))
}

impl Numbered {
    fn is_old(&self, boxes: &MessageBoxes) -> bool {
        stands(boxes, self.sequence).is_some_and(|stands| self.number <= stands)
    }
}

/// The new messages in a packet that the library is going to drop as old, in the form that it
/// gives to those it does not.
pub(super) fn old_messages(packet: &UpdatesLike, boxes: &MessageBoxes) -> Vec<Update> {
    let UpdatesLike::Updates(packet) = packet else { return Vec::new() };
    let mut packet = packet.clone();
    match &mut packet {
        Updates::Updates(packet) => packet.seq = 0,
        Updates::Combined(packet) => packet.seq_start = 0,
        _ => {}
    }
    // To one that knows no numbers nothing is old.
    let adapted = MessageBoxes::new().process_updates(UpdatesLike::Updates(packet));
    let Ok((updates, ..)) = adapted else { return Vec::new() };
    let updates = updates.into_iter().map(|(update, _)| update);
    updates.filter(|update| number(update).is_some_and(|new| new.is_old(boxes))).collect()
}

/// Notes which of a packet's numbers the library applied and which it ignored.
pub(super) fn compare(
    numbered: &[Numbered],
    applied: &[(Update, State)],
    boxes: &MessageBoxes,
    setbacks: &mut Setbacks,
) {
    for Numbered { sequence, number, count } in numbered {
        let is_applied = applied.iter().any(|(_, state)| match state.message_box {
            Some(MessageBox::Common { pts }) => sequence.is_none() && pts == *number,
            Some(MessageBox::Channel { channel_id, pts }) => {
                *sequence == Some(channel_id) && pts == *number
            }
            Some(MessageBox::Secondary { .. }) | None => false,
        });
        if is_applied {
            setbacks.applied(*sequence);
        } else if let Some(stands) = stands(boxes, *sequence) {
            setbacks.ignored(*sequence, *number, *count, stands);
        }
    }
}

/// Where the library stands in a sequence.
fn stands(boxes: &MessageBoxes, sequence: Sequence) -> Option<i32> {
    let state = boxes.session_state();
    match sequence {
        None => Some(state.pts),
        Some(id) => state.channels.iter().find(|channel| channel.id == id).map(|known| known.pts),
    }
}

/// Channels that Telegram says too much happened in. Such an update may carry the channel's newest
/// pts, to which the library jumps, over whatever lies between; without it the library fetches the
/// difference from where we stand. When we stand there already, nothing is missing.
fn defuse_too_long(updates: &mut Vec<Update>, boxes: &MessageBoxes) -> Vec<GapScope> {
    let mut gaps = Vec::new();
    updates.retain_mut(|update| {
        let Update::ChannelTooLong(update) = update else { return true };
        let stands = stands(boxes, Some(update.channel_id));
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

pub(super) fn defuse_packet(packet: &mut UpdatesLike, boxes: &MessageBoxes) -> Vec<GapScope> {
    match packet {
        UpdatesLike::Updates(Updates::Updates(packet)) => {
            defuse_too_long(&mut packet.updates, boxes)
        }
        UpdatesLike::Updates(Updates::Combined(packet)) => {
            defuse_too_long(&mut packet.updates, boxes)
        }
        UpdatesLike::Updates(Updates::UpdateShort(packet)) => {
            let Update::ChannelTooLong(update) = &mut packet.update else { return Vec::new() };
            update.pts = None;
            vec![GapScope::Channel(MarkedId::channel(update.channel_id))]
        }
        _ => Vec::new(),
    }
}

pub(super) fn defuse_difference(answer: &mut Difference, boxes: &MessageBoxes) -> Vec<GapScope> {
    match answer {
        Difference::Difference(whole) => defuse_too_long(&mut whole.other_updates, boxes),
        Difference::Slice(part) => defuse_too_long(&mut part.other_updates, boxes),
        Difference::TooLong(_) => vec![GapScope::Common],
        Difference::Empty(_) => Vec::new(),
    }
}
