//! Sending, and what a client can tell beforehand of whether it may.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod support;

use grammers_client::tl::{enums, functions as f, types};
use support::{Client, Stage, peer, send};
use telewarden_simulator::{
    Chat, ChatKind, ChatRules, MemberRights, NewAccount, NewChat, Privacy, StoredEntity,
};

fn bold(offset: i32, length: i32) -> enums::MessageEntity {
    types::MessageEntityBold { offset, length }.into()
}

fn reply_to(reply_to_msg_id: i32) -> enums::InputReplyTo {
    types::InputReplyToMessage {
        reply_to_msg_id,
        top_msg_id: None,
        reply_to_peer_id: None,
        quote_text: None,
        quote_entities: None,
        quote_offset: None,
        monoforum_peer_id: None,
        todo_item_id: None,
        poll_option: None,
    }
    .into()
}

fn history(peer: enums::InputPeer) -> f::messages::GetHistory {
    let (offset_id, offset_date, add_offset, limit) = (0, 0, 0, 100);
    let (max_id, min_id, hash) = (0, 0, 0);
    f::messages::GetHistory {
        peer,
        offset_id,
        offset_date,
        add_offset,
        limit,
        max_id,
        min_id,
        hash,
    }
}

impl Stage {
    async fn chat_with(&self, kind: ChatKind, rules: ChatRules, admins: &[i64]) -> Chat {
        let (members, admins) = (self.ids(), admins.to_vec());
        let title = "Everybody".to_owned();
        let new = NewChat { kind, title, username: None, members, admins };
        self.simulator.add_chat_with(new, rules).await.unwrap()
    }
}

/// Somebody else as the client may write to them.
async fn found(client: &Client, phone: &str) -> types::InputPeerUser {
    let phone = phone.to_owned();
    let enums::contacts::ResolvedPeer::Peer(resolved) =
        client.invoke(&f::contacts::ResolvePhone { phone }).await.unwrap();
    let [enums::User::User(user)] = &resolved.users[..] else { panic!("one user") };
    types::InputPeerUser { user_id: user.id, access_hash: user.access_hash.unwrap() }
}

#[tokio::test]
async fn silence_replies_and_formatting_are_kept_in_every_copy() {
    let stage = Stage::with_accounts(2).await;
    let [me, friend] = stage.ids()[..] else { panic!("two accounts") };
    // Something that only the friend has shifts the friend's numbering.
    stage.simulator.post_private(friend, friend, "aside").await.unwrap();
    let client = stage.client(0).await;
    let input = found(&client, &stage.accounts[1].phone).await;
    client.invoke(&send(input.clone().into(), "question", 1)).await.unwrap();
    let answer = f::messages::SendMessage {
        silent: true,
        reply_to: Some(reply_to(1)),
        entities: Some(vec![bold(0, 2)]),
        ..send(input.clone().into(), "an answer", 2)
    };
    client.invoke(&answer).await.unwrap();
    let held = stage.simulator.inbox(friend).await.unwrap();
    let marked =
        StoredEntity { kind: "bold".to_owned(), offset: 0, length: 2, url: None, language: None };
    assert_eq!((held[1].message_id, held[1].silent, held[1].reply_to), (3, true, Some(2)));
    assert_eq!(held[1].entities, [marked]);
    let enums::messages::Messages::Messages(own) =
        client.invoke(&history(input.clone().into())).await.unwrap()
    else {
        panic!("a private chat in full");
    };
    let enums::Message::Message(newest) = &own.messages[0] else { panic!("a text") };
    let Some(enums::MessageReplyHeader::Header(header)) = &newest.reply_to else {
        panic!("a reply");
    };
    assert_eq!((newest.silent, header.reply_to_msg_id), (true, Some(1)));
    assert_eq!(newest.entities, Some(vec![bold(0, 2)]));
    let lost = f::messages::SendMessage {
        reply_to: Some(reply_to(99)),
        ..send(input.into(), "to what?", 3)
    };
    assert_eq!(client.refused(&lost).await, "REPLY_MESSAGE_ID_INVALID");
    assert_eq!(me, client.user_id);
    stage.assert_clean().await;
}

#[tokio::test]
async fn texts_must_be_there_and_fit_and_hold_their_marks() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let myself = || enums::InputPeer::PeerSelf;
    assert_eq!(client.refused(&send(myself(), " \n", 1)).await, "MESSAGE_EMPTY");
    // The lock is two UTF-16 units and four bytes.
    let long = "\u{1f512}".repeat(2049);
    assert_eq!(client.refused(&send(myself(), &long, 2)).await, "MESSAGE_TOO_LONG");
    client.invoke(&send(myself(), &"\u{1f512}".repeat(2048), 3)).await.unwrap();
    for entity in [bold(0, 5), bold(-1, 2), bold(1, 0), bold(3, 2)] {
        let marked =
            f::messages::SendMessage { entities: Some(vec![entity]), ..send(myself(), "four", 4) };
        assert_eq!(client.refused(&marked).await, "ENTITY_BOUNDS_INVALID");
    }
    assert_eq!(client.refused(&send(myself(), "nothing", 0)).await, "RANDOM_ID_EMPTY");
    assert_eq!(stage.simulator.stats().await.sends_accepted, 1);
}

#[tokio::test]
async fn a_repeated_random_id_is_answered_with_the_message_it_made() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let client = stage.client(0).await;
    let to_chat = send(peer(&client.channel().await), "once", 5);
    client.invoke(&to_chat).await.unwrap();
    let friend = found(&client, &stage.accounts[1].phone).await;
    let to_friend = send(friend.into(), "once", 6);
    client.invoke(&to_friend).await.unwrap();
    client.invoke(&send(enums::InputPeer::PeerSelf, "later", 7)).await.unwrap();
    for (request, id, pts) in [(&to_chat, 1, 2), (&to_friend, 1, 2)] {
        let enums::Updates::Updates(again) = client.invoke(request).await.unwrap() else {
            panic!("repetitions are answered in full");
        };
        let [enums::Update::MessageId(number), new] = &again.updates[..] else {
            panic!("a number and a message");
        };
        assert_eq!((number.id, number.random_id), (id, request.random_id));
        let (message, told) = match new {
            enums::Update::NewChannelMessage(new) => (&new.message, (new.pts, new.pts_count)),
            enums::Update::NewMessage(new) => (&new.message, (new.pts, new.pts_count)),
            other => panic!("unexpected {other:?}"),
        };
        assert_eq!((message.id(), told), (id, (pts, 0)));
    }
    let elsewhere = send(enums::InputPeer::PeerSelf, "once", 5);
    assert_eq!(client.refused(&elsewhere).await, "RANDOM_ID_DUPLICATE");
    assert_eq!(stage.simulator.messages(chat.chat_id).await.unwrap().len(), 1);
    assert_eq!(stage.simulator.inbox(stage.ids()[1]).await.unwrap().len(), 1);
    let stats = stage.simulator.stats().await;
    assert_eq!((stats.sends_accepted, stats.sends_repeated), (3, 3));
    stage.assert_clean().await;
}

#[tokio::test]
async fn people_are_found_by_phone_and_by_name() {
    let stage = Stage::with_accounts(2).await;
    let named = NewAccount { username: Some("a_bot".to_owned()), bot: true, ..Default::default() };
    let bot = stage.simulator.add_account(named).await.unwrap();
    let client = stage.client(0).await;
    let resolved = client.resolve("A_bot").await;
    let [enums::User::User(user)] = &resolved.users[..] else { panic!("one user") };
    assert!(user.bot && user.id == bot.user_id);
    let hash = user.access_hash.unwrap();
    let input = types::InputPeerUser { user_id: user.id, access_hash: hash };
    client.invoke(&send(input.into(), "/start", 1)).await.unwrap();
    let friend = found(&client, stage.accounts[1].phone.trim_start_matches('+')).await;
    assert_eq!(friend.user_id, stage.ids()[1]);
    for nobody in ["+441234567890", "not a phone"] {
        let request = f::contacts::ResolvePhone { phone: nobody.to_owned() };
        assert_eq!(client.refused(&request).await, "PHONE_NOT_OCCUPIED");
    }
    let borrowed = Client::connect(&bot).await;
    let request = f::contacts::ResolvePhone { phone: stage.accounts[1].phone.clone() };
    assert_eq!(borrowed.refused(&request).await, "BOT_METHOD_INVALID");
}

#[tokio::test]
async fn who_does_not_want_to_hear_from_somebody_does_not() {
    let stage = Stage::with_accounts(2).await;
    let friend = stage.ids()[1];
    let client = stage.client(0).await;
    let input: enums::InputPeer = found(&client, &stage.accounts[1].phone).await.into();
    let refuse_messages = Some("USER_PRIVACY_RESTRICTED".to_owned());
    let closed = Privacy { refuse_messages, ..Privacy::default() };
    stage.simulator.set_privacy(friend, closed).await.unwrap();
    let request = send(input, "hello", 1);
    assert_eq!(client.refused(&request).await, "USER_PRIVACY_RESTRICTED");
    let blocks = Privacy { blocked: [client.user_id].into(), ..Privacy::default() };
    stage.simulator.set_privacy(friend, blocks).await.unwrap();
    assert_eq!(client.refused(&request).await, "USER_IS_BLOCKED");
    stage.simulator.set_privacy(friend, Privacy::default()).await.unwrap();
    client.invoke(&request).await.unwrap();
    stage.assert_clean().await;
}

#[tokio::test]
async fn slow_mode_makes_members_wait_and_shows() {
    let stage = Stage::with_accounts(2).await;
    let rules = ChatRules { slowmode_seconds: Some(30), ..ChatRules::default() };
    let chat = stage.chat_with(ChatKind::Supergroup, rules, &stage.ids()[1..]).await;
    let (member, admin) = (stage.client(0).await, stage.client(1).await);
    let channel = member.channel().await;
    member.invoke(&send(peer(&channel), "first", 1)).await.unwrap();
    let second = send(peer(&channel), "second", 2);
    assert_eq!(member.refused(&second).await, "SLOWMODE_WAIT");
    let request = f::channels::GetFullChannel { channel: channel.into() };
    let enums::messages::ChatFull::Full(full) = member.invoke(&request).await.unwrap();
    let enums::ChatFull::ChannelFull(about) = full.full_chat else { panic!("a channel") };
    assert_eq!(about.slowmode_seconds, Some(30));
    assert!(about.slowmode_next_send_date.is_some());
    assert!(matches!(&full.chats[..], [enums::Chat::Channel(chat)] if chat.slowmode_enabled));
    let theirs = admin.channel().await;
    for random_id in 1..=3 {
        admin.invoke(&send(peer(&theirs), "fast", random_id)).await.unwrap();
    }
    let off = ChatRules { slowmode_seconds: Some(0), ..ChatRules::default() };
    stage.simulator.set_rules(chat.chat_id, off).await.unwrap();
    member.invoke(&second).await.unwrap();
    let slow = ChatRules { slowmode_seconds: Some(1), ..ChatRules::default() };
    let group = stage.chat(ChatKind::Group).await;
    stage.simulator.set_rules(group.chat_id, slow).await.unwrap_err();
}

/// A channel or supergroup as the caller sees it, the same way in all answers.
async fn seen(client: &Client) -> types::Channel {
    let channel = client.channel().await;
    let request = f::channels::GetChannels { id: vec![channel.clone().into()] };
    let enums::messages::Chats::Chats(chats) = client.invoke(&request).await.unwrap() else {
        panic!("all chats");
    };
    let request = f::channels::GetFullChannel { channel: channel.into() };
    let enums::messages::ChatFull::Full(full) = client.invoke(&request).await.unwrap();
    assert_eq!(full.chats, chats.chats);
    match &chats.chats[..] {
        [enums::Chat::Channel(channel)] => channel.clone(),
        other => panic!("unexpected {other:?}"),
    }
}

fn admin_rights(channel: &types::Channel) -> Option<(bool, bool)> {
    let enums::ChatAdminRights::Rights(rights) = channel.admin_rights.as_ref()?;
    Some((rights.post_messages, rights.invite_users))
}

fn banned(rights: Option<&enums::ChatBannedRights>) -> Option<(bool, bool)> {
    let enums::ChatBannedRights::Rights(rights) = rights?;
    Some((rights.send_messages, rights.invite_users))
}

#[tokio::test]
async fn only_admins_with_the_right_post_in_a_channel() {
    let stage = Stage::with_accounts(3).await;
    let [owner, editor, _] = stage.ids()[..] else { panic!("three accounts") };
    let rules = ChatRules { creator: Some(owner), ..ChatRules::default() };
    let chat = stage.chat_with(ChatKind::Channel, rules, &[editor]).await;
    let (owner, editor, reader) =
        (stage.client(0).await, stage.client(1).await, stage.client(2).await);
    let post = async |client: &Client, random_id| {
        client.refused(&send(peer(&client.channel().await), "news", random_id)).await
    };
    assert_eq!(post(&owner, 1).await, "accepted");
    assert_eq!(post(&editor, 2).await, "accepted");
    assert_eq!(post(&reader, 3).await, "CHAT_ADMIN_REQUIRED");
    let mute = MemberRights { may_post: Some(false), ..MemberRights::default() };
    stage.simulator.set_rights(chat.chat_id, editor.user_id, mute).await.unwrap();
    assert_eq!(post(&editor, 4).await, "CHAT_ADMIN_REQUIRED");
    let (owners, editors, readers) = (seen(&owner).await, seen(&editor).await, seen(&reader).await);
    assert!(owners.creator && !editors.creator && !readers.creator && !readers.left);
    assert_eq!(admin_rights(&owners), Some((true, true)));
    assert_eq!(admin_rights(&editors), Some((false, true)));
    assert_eq!(admin_rights(&readers), None);
    let roles: Vec<_> = stage.simulator.members(chat.chat_id).await.unwrap();
    let roles: Vec<_> = roles.iter().map(|member| member.role.as_str()).collect();
    assert_eq!(roles, ["creator", "admin", "member"]);
}

#[tokio::test]
async fn members_of_a_supergroup_may_do_what_is_left_to_them() {
    let stage = Stage::with_accounts(3).await;
    let [admin, ..] = stage.ids()[..] else { panic!("three accounts") };
    let rules = ChatRules {
        members_may_post: Some(false),
        members_may_invite: Some(false),
        ..ChatRules::default()
    };
    let chat = stage.chat_with(ChatKind::Supergroup, rules, &[admin]).await;
    let (admin, member) = (stage.client(0).await, stage.client(1).await);
    let channel = peer(&member.channel().await);
    let request = send(channel, "may I?", 1);
    assert_eq!(member.refused(&request).await, "CHAT_WRITE_FORBIDDEN");
    admin.invoke(&send(peer(&admin.channel().await), "I may", 1)).await.unwrap();
    let members = seen(&member).await;
    assert_eq!(banned(members.default_banned_rights.as_ref()), Some((true, true)));
    let open = ChatRules { members_may_post: Some(true), ..ChatRules::default() };
    stage.simulator.set_rules(chat.chat_id, open).await.unwrap();
    member.invoke(&request).await.unwrap();
    let restricted = MemberRights { may_post: Some(false), ..MemberRights::default() };
    stage.simulator.set_rights(chat.chat_id, member.user_id, restricted).await.unwrap();
    let again = f::messages::SendMessage { random_id: 2, ..request };
    assert_eq!(member.refused(&again).await, "USER_BANNED_IN_CHANNEL");
    let members = seen(&member).await;
    assert_eq!(banned(members.default_banned_rights.as_ref()), Some((false, true)));
    assert_eq!(banned(members.banned_rights.as_ref()), Some((true, false)));
}

#[tokio::test]
async fn the_servers_own_time_for_sends_is_counted() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    for random_id in 1..=20 {
        client.invoke(&send(enums::InputPeer::PeerSelf, "tick", random_id)).await.unwrap();
    }
    let stats = stage.simulator.stats().await;
    assert_eq!((stats.sends_accepted, stats.send_handling_count), (20, 20));
    let mean = stats.send_handling_micros / stats.send_handling_count;
    assert!((1..50_000).contains(&mean), "{mean} us");
}
