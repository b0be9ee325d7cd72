//! What was said in a chat: users read history, bots ask by id or by difference.

mod narrow;

use grammers_client::tl;
use grammers_client::tl::enums::messages::Messages;
use grammers_client::tl::enums::updates::ChannelDifference;
use grammers_client::tl::enums::{Chat, Message, User};
use narrow::Narrowing;
use tokio::time::sleep;

use super::chats::message_peer;
use super::convert::{People, chat_id, chat_title, translate};
use super::link::RawCaller;
use super::outcome::HistoryPage;
use super::peers::{input_channel, input_peer, marked};
use crate::protocol::telegram::chat::PeerKind;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::failure::Failure;

pub(super) use narrow::Narrowings;

/// Messages on one page: the most that Telegram gives.
const PAGE: i32 = 100;
/// Parts of a difference that are fetched in one go.
const DIFFERENCE_PARTS_MAX: usize = 10;
/// Messages that cannot be read and are passed over in one go.
const PASSED_MAX: i32 = 5;
/// Calls that look for the ids of messages that cannot be read, where a chat begins.
const SEARCH_CALLS_MAX: u32 = 16;

/// The id of the newest message dated before `date`, 0 when there is none. Where the newest of them cannot
/// be read and their ids are far apart, that of one before them: then they are told as unreadable too.
pub(super) async fn newest_before(
    caller: &RawCaller,
    peer: &PeerRecord,
    date: i64,
) -> Result<i32, Failure> {
    let mut passed = 0;
    let mut id = loop {
        let request = tl::functions::messages::GetHistory {
            peer: input_peer(peer),
            offset_id: 0,
            offset_date: i32::try_from(date).unwrap_or(i32::MAX),
            add_offset: passed,
            limit: 1,
            max_id: 0,
            min_id: 0,
            hash: 0,
        };
        match caller.call(&request).await {
            Err(Failure::Unreadable { .. }) if passed < PASSED_MAX && !caller.has_ended() => {
                passed += 1;
                sleep(narrow::PAUSE).await;
            }
            answer => break parts(answer?).0.iter().map(Message::id).max().unwrap_or(0),
        }
    };
    // The newest ones cannot be read, but they have ids.
    let mut calls_left = SEARCH_CALLS_MAX;
    for _ in 0..passed {
        match narrow::first_unreadable(caller, peer, id, &mut calls_left).await? {
            Some(unreadable) => id = unreadable,
            None => break,
        }
    }
    Ok(id)
}

/// The oldest messages after `after_id`. Where one cannot be read, those before it; and where it is
/// the first, its id alone. An empty page with more behind it: which one it is, is not found yet.
pub(super) async fn after(
    caller: &RawCaller,
    peer: &PeerRecord,
    after_id: i32,
) -> Result<HistoryPage, Failure> {
    if let Some(at) = caller.narrowings().take(peer.id, after_id) {
        return narrow::go_on(caller, peer, at).await;
    }
    match oldest_after(caller, peer, after_id, PAGE).await {
        Err(Failure::Unreadable { .. }) if !caller.has_ended() => {
            narrow::go_on(caller, peer, Narrowing::begin(after_id)).await
        }
        page => page,
    }
}

/// At most `limit` of the oldest messages after `after_id`. With a negative `add_offset` Telegram
/// counts from `offset_id` towards newer messages (<https://core.telegram.org/api/offsets>).
async fn oldest_after(
    caller: &RawCaller,
    peer: &PeerRecord,
    after_id: i32,
    limit: i32,
) -> Result<HistoryPage, Failure> {
    let request = tl::functions::messages::GetHistory {
        peer: input_peer(peer),
        offset_id: after_id.saturating_add(1),
        offset_date: 0,
        add_offset: -limit,
        limit,
        max_id: 0,
        min_id: after_id,
        hash: 0,
    };
    let (mut wire, chats, users) = parts(caller.call(&request).await?);
    wire.retain(|message| message.id() > after_id);
    // A page may come short of deleted messages; only an empty one is surely the last.
    Ok(page(peer, wire, &chats, &users))
}

pub(super) fn parts(answer: Messages) -> (Vec<Message>, Vec<Chat>, Vec<User>) {
    match answer {
        Messages::Messages(all) => (all.messages, all.chats, all.users),
        Messages::Slice(page) => (page.messages, page.chats, page.users),
        Messages::ChannelMessages(page) => (page.messages, page.chats, page.users),
        Messages::NotModified(_) => (Vec::new(), Vec::new(), Vec::new()),
    }
}

/// Where a channel's updates stand.
pub(super) async fn position(caller: &RawCaller, peer: &PeerRecord) -> Result<i32, Failure> {
    let request = tl::functions::channels::GetFullChannel { channel: input_channel(peer) };
    let tl::enums::messages::ChatFull::Full(answer) = caller.call(&request).await?;
    match answer.full_chat {
        tl::enums::ChatFull::ChannelFull(channel) => Ok(channel.pts),
        _ => Err(Failure::transient("the server describes another kind of chat")),
    }
}

/// What was said in a channel since its updates stood at `pts`.
pub(super) async fn since(
    caller: &RawCaller,
    peer: &PeerRecord,
    pts: i32,
) -> Result<HistoryPage, Failure> {
    let mut request = tl::functions::updates::GetChannelDifference {
        force: false,
        channel: input_channel(peer),
        filter: tl::enums::ChannelMessagesFilter::Empty,
        pts,
        limit: PAGE,
    };
    let (mut messages, mut chats, mut users) = (Vec::new(), Vec::new(), Vec::new());
    let (mut is_torn, mut unreadable) = (false, Vec::new());
    let mut parts_left = DIFFERENCE_PARTS_MAX;
    while parts_left > 0 {
        let answer = match caller.call(&request).await {
            Err(Failure::Unreadable { .. })
                if unreadable.len() < PASSED_MAX as usize && !caller.has_ended() =>
            {
                // Shorter parts, down to what cannot be read alone: that is one step of the numbers.
                if request.limit == 1 {
                    (request.pts, request.limit) = (request.pts.saturating_add(1), PAGE);
                    unreadable.push(None);
                } else {
                    request.limit /= 2;
                }
                sleep(narrow::PAUSE).await;
                continue;
            }
            answer => answer?,
        };
        parts_left -= 1;
        let is_last = match answer {
            ChannelDifference::Empty(_) => true,
            ChannelDifference::TooLong(answer) => {
                is_torn = true;
                messages.extend(answer.messages);
                chats.extend(answer.chats);
                users.extend(answer.users);
                true
            }
            ChannelDifference::Difference(answer) => {
                messages.extend(answer.new_messages);
                chats.extend(answer.chats);
                users.extend(answer.users);
                request.pts = answer.pts;
                answer.r#final
            }
        };
        if is_last {
            break;
        }
    }
    let mut found = page(peer, messages, &chats, &users);
    // What comes after is asked for by id.
    (found.more, found.is_torn) = (found.newest_id.is_some(), is_torn);
    found.unreadable = unreadable;
    Ok(found)
}

/// The messages with the next ids. Beyond `known_id`, the highest one that is known to exist, a page
/// without a single message is taken for the end: a hundred ids in a row are deleted together so
/// rarely that it is worth one page less at every opening. Where one cannot be read, those before
/// it; and where it is the first, its id alone.
pub(super) async fn by_ids_after(
    caller: &RawCaller,
    peer: &PeerRecord,
    after_id: i32,
    known_id: i32,
) -> Result<HistoryPage, Failure> {
    let (mut count, mut known_id) = (PAGE, known_id);
    loop {
        match next_ids(caller, peer, after_id, count, known_id).await {
            Err(Failure::Unreadable { .. }) if caller.has_ended() => {
                return Err(caller.why_ended());
            }
            Err(Failure::Unreadable { .. }) if count == 1 => {
                return Ok(HistoryPage::unreadable(after_id.saturating_add(1)));
            }
            Err(Failure::Unreadable { .. }) => {
                // Something lies among these, so that what comes before it is no end.
                known_id = known_id.max(after_id.saturating_add(count));
                count /= 2;
                sleep(narrow::PAUSE).await;
            }
            page => return page,
        }
    }
}

async fn next_ids(
    caller: &RawCaller,
    peer: &PeerRecord,
    after_id: i32,
    count: i32,
    known_id: i32,
) -> Result<HistoryPage, Failure> {
    let ids = (1..=count).filter_map(|step| after_id.checked_add(step));
    let id: Vec<_> = ids.map(|id| tl::types::InputMessageId { id }.into()).collect();
    let answer = if peer.id.kind() == PeerKind::Channel {
        let channel = input_channel(peer);
        caller.call(&tl::functions::channels::GetMessages { channel, id }).await?
    } else {
        caller.call(&tl::functions::messages::GetMessages { id }).await?
    };
    let (mut wire, chats, users) = parts(answer);
    wire.retain(|message| !matches!(message, Message::Empty(_)));
    let looked_to = after_id.saturating_add(count);
    let newest_id = wire.iter().map(Message::id).max();
    let newest_id = newest_id.or((looked_to < known_id).then_some(looked_to));
    // Outside channels ids are the account's, over all of its chats.
    wire.retain(|message| message_peer(message).is_some_and(|of| marked(of) == peer.id));
    let mut found = page(peer, wire, &chats, &users);
    (found.newest_id, found.more) = (newest_id, newest_id.is_some());
    Ok(found)
}

/// Puts messages in order and translates them.
fn page(peer: &PeerRecord, mut wire: Vec<Message>, chats: &[Chat], users: &[User]) -> HistoryPage {
    wire.sort_by_key(Message::id);
    let title = chats.iter().find(|chat| chat_id(chat) == Some(peer.id)).and_then(chat_title);
    let title = title.map(str::to_owned);
    let newest_id = wire.last().map(Message::id);
    let people = People { users, chats };
    let messages = wire.into_iter().filter_map(|message| translate(message, &people)).collect();
    let more = newest_id.is_some();
    HistoryPage { messages, newest_id, more, is_torn: false, title, unreadable: Vec::new() }
}
