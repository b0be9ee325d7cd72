//! Chats and people at Telegram: resolve, inspect, join.

use grammers_client::tl;
use grammers_client::tl::enums::messages::{Chats, Dialogs};
use grammers_client::tl::enums::{Chat, ChatInvite, Dialog, Message, Peer, User};

use super::convert::{chat_id, chat_title};
use super::link::RawCaller;
use super::outcome::Outcome;
use super::peers::{input_channel, input_peer, marked, peer_of_chat, peer_of_user};
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId, PeerKind};
use crate::protocol::telegram::failure::Failure;

/// Messages and dialogs on one page: the most that Telegram gives.
const PAGE: i32 = 100;
/// Pages of dialogs that are searched for a chat, so at most 2,000 dialogs. An account is in at
/// most 500 channels and 500 groups; the rest are private chats, which sort in between by date.
const DIALOG_PAGES_MAX: usize = 20;

/// A chat that was found.
pub(super) struct Found {
    pub(super) peer: PeerRecord,
    pub(super) title: Option<String>,
}

/// Finds a chat: from the peer cache, by username, or in the account's dialogs.
pub(super) async fn resolve(
    caller: &RawCaller,
    target: &ChatTarget,
    known: Option<PeerRecord>,
    is_bot: bool,
) -> Result<Found, Failure> {
    match (target, known) {
        (_, Some(peer)) => Ok(Found { peer, title: None }),
        (ChatTarget::Username(name), None) => by_username(caller, name).await,
        // A basic group needs no access hash, and bots may name with a zero one whatever they have
        // met; inspecting it tells whether it exists.
        (ChatTarget::Marked(id), None) if is_bot || id.kind() == PeerKind::Group => {
            let peer = PeerRecord { id: *id, access_hash: 0, is_bot: false, is_broadcast: false };
            Ok(Found { peer, title: None })
        }
        (ChatTarget::Marked(id), None) => in_dialogs(caller, *id).await,
        (ChatTarget::Invite(hash), None) => match check_invite(caller, hash).await? {
            Some(chat) => found_chat(&chat),
            None => Err(Failure::ChatLost { code: "USER_NOT_PARTICIPANT".into() }),
        },
    }
}

/// Finds whom a message is for.
pub(super) async fn resolve_target(
    caller: &RawCaller,
    target: &Target,
    known: Option<PeerRecord>,
    is_bot: bool,
) -> Result<Found, Failure> {
    match target {
        Target::Chat(target) => resolve(caller, target, known, is_bot).await,
        Target::Me => {
            let myself = tl::enums::InputUser::UserSelf;
            let users = caller.call(&tl::functions::users::GetUsers { id: vec![myself] }).await?;
            users.first().map_or_else(|| Err(not_found()), found_user)
        }
        Target::Phone(phone) => {
            let phone = phone.expose().to_owned();
            let request = tl::functions::contacts::ResolvePhone { phone };
            picked(caller.call(&request).await?)
        }
    }
}

pub(super) fn not_found() -> Failure {
    Failure::ChatLost { code: "CHAT_ID_INVALID".into() }
}

fn found_chat(chat: &Chat) -> Result<Found, Failure> {
    let peer = peer_of_chat(chat).ok_or_else(not_found)?;
    Ok(Found { peer, title: chat_title(chat).map(str::to_owned) })
}

fn found_user(user: &User) -> Result<Found, Failure> {
    let peer = peer_of_user(user).ok_or_else(not_found)?;
    let title = match user {
        User::User(user) => user.first_name.clone(),
        User::Empty(_) => None,
    };
    Ok(Found { peer, title })
}

async fn by_username(caller: &RawCaller, name: &str) -> Result<Found, Failure> {
    let request = tl::functions::contacts::ResolveUsername { username: name.into(), referer: None };
    picked(caller.call(&request).await?)
}

fn picked(answer: tl::enums::contacts::ResolvedPeer) -> Result<Found, Failure> {
    let tl::enums::contacts::ResolvedPeer::Peer(found) = answer;
    pick(marked(&found.peer), &found.chats, &found.users).unwrap_or_else(|| Err(not_found()))
}

/// The wanted peer among those that came with an answer.
fn pick(wanted: MarkedId, chats: &[Chat], users: &[User]) -> Option<Result<Found, Failure>> {
    let chat = chats.iter().find(|chat| chat_id(chat) == Some(wanted)).map(found_chat);
    chat.or_else(|| {
        let user = users.iter().find(|user| MarkedId::user(user.id()) == wanted);
        user.map(found_user)
    })
}

/// Pages through the dialogs: a session string carries no access hashes, and this is how an
/// account learns those of the chats it is in.
async fn in_dialogs(caller: &RawCaller, wanted: MarkedId) -> Result<Found, Failure> {
    let mut request = tl::functions::messages::GetDialogs {
        exclude_pinned: false,
        folder_id: None,
        offset_date: 0,
        offset_id: 0,
        offset_peer: tl::enums::InputPeer::Empty,
        limit: PAGE,
        hash: 0,
    };
    for _ in 0..DIALOG_PAGES_MAX {
        let (dialogs, messages, chats, users, is_last) = match caller.call(&request).await? {
            Dialogs::Dialogs(all) => (all.dialogs, all.messages, all.chats, all.users, true),
            Dialogs::Slice(page) => (page.dialogs, page.messages, page.chats, page.users, false),
            Dialogs::NotModified(_) => break,
        };
        if let Some(found) = pick(wanted, &chats, &users) {
            return found;
        }
        let next = dialogs.last().and_then(|last| next_page(last, &messages, &chats, &users));
        match next {
            // The same page once more would lead nowhere.
            Some((date, id, peer))
                if !is_last
                    && date > 0
                    && (date, id) != (request.offset_date, request.offset_id) =>
            {
                request.exclude_pinned = true;
                (request.offset_date, request.offset_id) = (date, id);
                request.offset_peer = input_peer(&peer);
            }
            _ => break,
        }
    }
    Err(not_found())
}

/// Where the page after `last` begins.
fn next_page(
    last: &Dialog,
    messages: &[Message],
    chats: &[Chat],
    users: &[User],
) -> Option<(i32, i32, PeerRecord)> {
    let Dialog::Dialog(last) = last else { return None };
    let message = messages.iter().find(|message| {
        message.id() == last.top_message && message_peer(message) == Some(&last.peer)
    });
    let date = match message? {
        Message::Message(message) => message.date,
        Message::Service(message) => message.date,
        Message::Empty(_) => return None,
    };
    let peer = pick(marked(&last.peer), chats, users)?.ok()?.peer;
    Some((date, last.top_message, peer))
}

pub(super) fn message_peer(message: &Message) -> Option<&Peer> {
    match message {
        Message::Message(message) => Some(&message.peer_id),
        Message::Service(message) => Some(&message.peer_id),
        Message::Empty(message) => message.peer_id.as_ref(),
    }
}

/// Asks whether the account is in the chat; answers what the chat is called.
pub(super) async fn inspect(caller: &RawCaller, peer: &PeerRecord) -> Result<Outcome, Failure> {
    if peer.id.kind() == PeerKind::User {
        // A private chat has no members; history tells whether it can be read.
        return Ok(Outcome::Member { title: None, names: Vec::new(), migrated_to: None });
    }
    let chat = look_at(caller, peer).await?;
    let migrated_to = migrated_to(&chat);
    if migrated_to.is_none() {
        membership(&chat)?;
    }
    let (title, names) = (chat_title(&chat).map(str::to_owned), public_names(&chat));
    Ok(Outcome::Member { title, names, migrated_to })
}

/// The supergroup that a basic group has become (<https://core.telegram.org/api/channel#migration>).
/// Whether the account is in that one is told by looking at it.
pub(super) fn migrated_to(chat: &Chat) -> Option<PeerRecord> {
    let Chat::Chat(tl::types::Chat { migrated_to: Some(successor), .. }) = chat else {
        return None;
    };
    match successor {
        tl::enums::InputChannel::Channel(channel) => Some(PeerRecord {
            id: MarkedId::channel(channel.channel_id),
            access_hash: channel.access_hash,
            is_bot: false,
            is_broadcast: false,
        }),
        _ => None,
    }
}

/// The names under which everybody finds a chat, lower case.
fn public_names(chat: &Chat) -> Vec<String> {
    let Chat::Channel(channel) = chat else { return Vec::new() };
    let further = channel.usernames.iter().flatten().filter_map(|name| match name {
        tl::enums::Username::Username(name) if name.active => Some(&name.username),
        tl::enums::Username::Username(_) => None,
    });
    let mut names: Vec<String> =
        channel.username.iter().chain(further).map(|name| name.to_lowercase()).collect();
    names.dedup();
    names
}

/// What Telegram says about a group or channel.
pub(super) async fn look_at(caller: &RawCaller, peer: &PeerRecord) -> Result<Chat, Failure> {
    let answer = match peer.id.kind() {
        PeerKind::User => return Err(not_found()),
        PeerKind::Group => {
            let request = tl::functions::messages::GetChats { id: vec![peer.id.bare()] };
            caller.call(&request).await?
        }
        PeerKind::Channel => {
            let request = tl::functions::channels::GetChannels { id: vec![input_channel(peer)] };
            caller.call(&request).await?
        }
    };
    let chats = match answer {
        Chats::Chats(all) => all.chats,
        Chats::Slice(page) => page.chats,
    };
    chats.into_iter().find(|chat| chat_id(chat) == Some(peer.id)).ok_or_else(not_found)
}

/// What Telegram's flags of a chat say about our place in it.
pub(super) fn membership(chat: &Chat) -> Result<(), Failure> {
    let lost = |code: &str| Err(Failure::ChatLost { code: code.into() });
    match chat {
        Chat::Channel(channel) => {
            let banned = channel.banned_rights.as_ref().is_some_and(|rights| {
                let tl::enums::ChatBannedRights::Rights(rights) = rights;
                rights.view_messages
            });
            match (banned, channel.left) {
                (true, _) => lost("USER_BANNED_IN_CHANNEL"),
                (false, true) => lost("USER_NOT_PARTICIPANT"),
                (false, false) => Ok(()),
            }
        }
        // With an end date it is a ban, without one a removal.
        Chat::ChannelForbidden(channel) if channel.until_date.is_some() => {
            lost("USER_BANNED_IN_CHANNEL")
        }
        Chat::ChannelForbidden(_) | Chat::Forbidden(_) => lost("CHAT_FORBIDDEN"),
        Chat::Chat(group) if group.left => lost("USER_NOT_PARTICIPANT"),
        Chat::Chat(group) if group.deactivated => lost("CHAT_INVALID"),
        Chat::Chat(_) => Ok(()),
        _ => Err(not_found()),
    }
}

/// Joins a chat; what is so already is a success.
pub(super) async fn join(
    caller: &RawCaller,
    target: &ChatTarget,
    known: Option<PeerRecord>,
    is_bot: bool,
) -> Result<(Outcome, Vec<Chat>), Failure> {
    let (outcome, found) = match target {
        ChatTarget::Invite(hash) => {
            let request = tl::functions::messages::ImportChatInvite { hash: hash.clone() };
            (caller.call(&request).await, None)
        }
        ChatTarget::Username(_) | ChatTarget::Marked(_) => {
            let found = resolve(caller, target, known, is_bot).await?;
            if found.peer.id.kind() != PeerKind::Channel {
                return Err(Failure::Rejected { code: "CHAT_NOT_JOINABLE".into() });
            }
            let channel = input_channel(&found.peer);
            (caller.call(&tl::functions::channels::JoinChannel { channel }).await, Some(found))
        }
    };
    let requested = match outcome {
        Ok(tl::enums::messages::ChatInviteJoinResult::Ok(joined)) => {
            return Ok(joined_by(&joined.updates, found));
        }
        Ok(_) => return Err(Failure::Rejected { code: "JOIN_NEEDS_A_PERSON".into() }),
        Err(Failure::AlreadyDone { code }) => code == "INVITE_REQUEST_SENT",
        Err(failure) => return Err(failure),
    };
    let chat = match (target, &found) {
        (ChatTarget::Invite(hash), None) if !requested => check_invite(caller, hash).await?,
        _ => None,
    };
    let met: Vec<Chat> = chat.into_iter().collect();
    let found = found.or_else(|| met.first().and_then(|chat| found_chat(chat).ok()));
    Ok((joined(found, requested), met))
}

fn joined_by(updates: &tl::enums::Updates, found: Option<Found>) -> (Outcome, Vec<Chat>) {
    let met = match updates {
        tl::enums::Updates::Updates(updates) => updates.chats.clone(),
        tl::enums::Updates::Combined(updates) => updates.chats.clone(),
        _ => Vec::new(),
    };
    let found = found.or_else(|| met.first().and_then(|chat| found_chat(chat).ok()));
    (joined(found, false), met)
}

fn joined(found: Option<Found>, requested: bool) -> Outcome {
    let (chat, title) = found.map_or((None, None), |found| (Some(found.peer.id), found.title));
    Outcome::Joined { chat, title, requested }
}

/// The chat behind an invite link, if the account is in it.
async fn check_invite(caller: &RawCaller, hash: &str) -> Result<Option<Chat>, Failure> {
    match caller.call(&tl::functions::messages::CheckChatInvite { hash: hash.into() }).await? {
        ChatInvite::Already(invite) => Ok(Some(invite.chat)),
        ChatInvite::Peek(_) | ChatInvite::Invite(_) => Ok(None),
    }
}
