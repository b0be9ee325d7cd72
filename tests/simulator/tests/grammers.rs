//! The simulator as an unchanged grammers client meets it.

#![expect(clippy::unwrap_used, reason = "what fails here is meant to fail the test")]

mod support;

use grammers_client::tl::{enums, functions as f, types};
use support::{Client, DEADLINE, Stage, peer, send};
use telewarden_simulator::{ChatKind, NewAccount, NewChat};

/// The newest hundred messages.
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

#[tokio::test]
async fn what_one_writes_in_a_supergroup_the_others_receive() {
    let stage = Stage::with_accounts(3).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let writer = stage.client(0).await;
    let mut readers = [stage.client(1).await, stage.client(2).await];
    let channel = writer.channel().await;
    let enums::Updates::Updates(answer) =
        writer.invoke(&send(peer(&channel), "first", 77)).await.unwrap()
    else {
        panic!("a message in a channel is answered with full updates");
    };
    let number = types::UpdateMessageId { id: 1, random_id: 77 };
    assert_eq!(answer.updates[0], enums::Update::MessageId(number));
    for reader in &mut readers {
        assert_eq!(reader.next_message().await, (1, "first".to_owned()));
    }
    let held = stage.simulator.messages(chat.chat_id).await.unwrap();
    assert_eq!((held[0].from, held[0].text.as_str()), (writer.user_id, "first"));
    stage.assert_clean().await;
}

#[tokio::test]
async fn strangers_come_in_full_and_acquaintances_in_short() {
    let stage = Stage::with_accounts(2).await;
    let mut reader = stage.client(0).await;
    let [me, friend] = stage.ids()[..] else { panic!("two accounts") };
    stage.simulator.post_private(me, friend, "who is this").await.unwrap();
    let full = reader
        .next(|updates| matches!(updates, enums::Updates::Updates(_)).then(|| updates.clone()))
        .await;
    let enums::Updates::Updates(full) = full else { panic!("checked above") };
    assert!(full.users.iter().any(|user| user.id() == friend));
    stage.simulator.post_private(me, friend, "it is me").await.unwrap();
    let short = reader
        .next(|updates| match updates {
            enums::Updates::UpdateShortMessage(short) => Some(short.clone()),
            _ => None,
        })
        .await;
    assert_eq!((short.user_id, short.message.as_str(), short.id), (friend, "it is me", 2));
    let inbox = stage.simulator.inbox(me).await.unwrap();
    assert_eq!(inbox.len(), 2);
}

#[tokio::test]
async fn each_member_of_a_basic_group_has_copies_of_their_own() {
    let stage = Stage::with_accounts(3).await;
    let chat = stage.chat(ChatKind::Group).await;
    let [me, other, third] = stage.ids()[..] else { panic!("three accounts") };
    // Something private shifts the numbering of one member.
    stage.simulator.post_private(other, me, "aside").await.unwrap();
    let mut reader = stage.client(1).await;
    let id = stage.simulator.post(chat.chat_id, third, "hello group").await.unwrap();
    assert_eq!(id, 1);
    assert_eq!(reader.next_message().await, (2, "hello group".to_owned()));
    let copies = stage.simulator.messages_of(chat.chat_id, other).await.unwrap();
    assert_eq!(copies[0].message_id, 2);
}

#[tokio::test]
async fn access_hashes_of_others_and_made_up_ones_are_refused() {
    let stage = Stage::with_accounts(2).await;
    stage.chat(ChatKind::Supergroup).await;
    let (mine, theirs) = (stage.client(0).await, stage.client(1).await);
    let borrowed = theirs.channel().await;
    assert_eq!(mine.refused(&history(peer(&borrowed))).await, "CHANNEL_INVALID");
    let stranger = types::InputPeerUser { user_id: theirs.user_id, access_hash: 0 };
    assert_eq!(mine.refused(&history(stranger.into())).await, "PEER_ID_INVALID");
    let nobody = types::InputPeerUser { user_id: 5, access_hash: 5 };
    assert_eq!(mine.refused(&send(nobody.into(), "hello", 1)).await, "PEER_ID_INVALID");
}

#[tokio::test]
async fn bots_use_channels_without_a_hash_but_have_no_history() {
    let stage = Stage::with_accounts(1).await;
    let new = NewAccount { bot: true, ..NewAccount::default() };
    let account = stage.simulator.add_account(new).await.unwrap();
    assert!(account.bot_token.as_ref().unwrap().starts_with(&format!("{}:", account.user_id)));
    let chat = NewChat {
        kind: ChatKind::Supergroup,
        title: "With a bot".to_owned(),
        username: None,
        members: vec![account.user_id],
        admins: stage.ids(),
    };
    let chat = stage.simulator.add_chat(chat).await.unwrap();
    let bot = Client::connect(&account).await;
    let channel_id = -1_000_000_000_000 - chat.chat_id;
    let channel = types::InputChannel { channel_id, access_hash: 0 };
    bot.invoke(&send(peer(&channel), "beep", 1)).await.unwrap();
    assert_eq!(bot.refused(&history(peer(&channel))).await, "BOT_METHOD_INVALID");
    let request = f::channels::GetFullChannel { channel: channel.into() };
    bot.invoke(&request).await.unwrap();
}

/// All pages of an account's common difference: message texts and the number of pages.
async fn difference(client: &Client, mut pts: i32) -> (Vec<String>, usize) {
    let mut texts = Vec::new();
    for page in 1.. {
        let (pts_limit, pts_total_limit, qts_limit) = (None, None, None);
        let (date, qts) = (i32::MAX, 0);
        let request =
            f::updates::GetDifference { pts, pts_limit, pts_total_limit, date, qts, qts_limit };
        let text = |message: &enums::Message| match message {
            enums::Message::Message(message) => message.message.clone(),
            _ => "service".to_owned(),
        };
        match client.invoke(&request).await.unwrap() {
            enums::updates::Difference::Slice(slice) => {
                let enums::updates::State::State(state) = slice.intermediate_state;
                pts = state.pts;
                texts.extend(slice.new_messages.iter().map(text));
            }
            enums::updates::Difference::Difference(last) => {
                texts.extend(last.new_messages.iter().map(text));
                return (texts, page);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    unreachable!("pages end");
}

#[tokio::test]
async fn a_long_absence_is_made_up_for_in_slices() {
    let stage = Stage::with_accounts(2).await;
    let [me, friend] = stage.ids()[..] else { panic!("two accounts") };
    let expected: Vec<String> = (0..2300).map(|number| format!("missed {number}")).collect();
    for text in &expected {
        stage.simulator.post_private(me, friend, text).await.unwrap();
    }
    let client = stage.client(0).await;
    let (texts, pages) = difference(&client, 1).await;
    assert_eq!(texts, expected);
    assert_eq!(pages, 3);
}

#[tokio::test]
async fn a_channels_difference_honours_the_limit_and_marks_its_end() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    for number in 0..130 {
        stage.simulator.post(chat.chat_id, stage.ids()[1], &format!("{number}")).await.unwrap();
    }
    let client = stage.client(0).await;
    let channel: enums::InputChannel = client.channel().await.into();
    let (mut pts, mut got, mut ends) = (1, 0, Vec::new());
    while ends.last() != Some(&true) {
        let request = f::updates::GetChannelDifference {
            force: false,
            channel: channel.clone(),
            filter: enums::ChannelMessagesFilter::Empty,
            pts,
            limit: 50,
        };
        let enums::updates::ChannelDifference::Difference(slice) =
            client.invoke(&request).await.unwrap()
        else {
            panic!("there is something to tell");
        };
        got += slice.new_messages.len();
        pts = slice.pts;
        ends.push(slice.r#final);
    }
    assert_eq!((got, pts, ends), (130, 131, vec![false, false, true]));
}

#[tokio::test]
async fn dialogs_page_by_the_last_one_seen() {
    let stage = Stage::with_accounts(1).await;
    for number in 0..25 {
        let chat = NewChat {
            kind: ChatKind::Supergroup,
            title: format!("{number}"),
            username: None,
            members: stage.ids(),
            admins: vec![],
        };
        let chat = stage.simulator.add_chat(chat).await.unwrap();
        stage.simulator.post(chat.chat_id, stage.ids()[0], "hello").await.unwrap();
    }
    let client = stage.client(0).await;
    let mut request = f::messages::GetDialogs {
        exclude_pinned: false,
        folder_id: None,
        offset_date: 0,
        offset_id: 0,
        offset_peer: enums::InputPeer::Empty,
        limit: 10,
        hash: 0,
    };
    let mut seen = Vec::new();
    while seen.len() < 25 {
        let enums::messages::Dialogs::Slice(page) = client.invoke(&request).await.unwrap() else {
            panic!("25 dialogs do not fit a page of 10");
        };
        assert_eq!(page.count, 25);
        assert!(!page.dialogs.is_empty(), "after {}", seen.len());
        let enums::Dialog::Dialog(last) = page.dialogs.last().unwrap() else { panic!("a dialog") };
        let enums::Peer::Channel(last_peer) = &last.peer else { panic!("a channel") };
        let hash = page.chats.iter().find_map(|chat| match chat {
            enums::Chat::Channel(channel) if channel.id == last_peer.channel_id => {
                channel.access_hash
            }
            _ => None,
        });
        request.offset_id = last.top_message;
        request.offset_date = match page.messages.last().unwrap() {
            enums::Message::Message(message) => message.date,
            _ => panic!("a text"),
        };
        request.offset_peer = types::InputPeerChannel {
            channel_id: last_peer.channel_id,
            access_hash: hash.unwrap(),
        }
        .into();
        seen.extend(page.chats.iter().map(|chat| chat.id()));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 25);
}

#[tokio::test]
async fn coming_in_by_a_link_and_being_banned() {
    let stage = Stage::with_accounts(2).await;
    let owner = stage.ids()[0];
    let chat = NewChat {
        kind: ChatKind::Supergroup,
        title: "Behind a link".to_owned(),
        username: None,
        members: vec![],
        admins: vec![owner],
    };
    let chat = stage.simulator.add_chat(chat).await.unwrap();
    let hash = chat.invite_link.strip_prefix("https://t.me/+").unwrap().to_owned();
    let mut guest = stage.client(1).await;
    let check = f::messages::CheckChatInvite { hash: hash.clone() };
    let before = guest.invoke(&check).await.unwrap();
    assert!(matches!(before, enums::ChatInvite::Invite(invite) if invite.megagroup));
    let import = f::messages::ImportChatInvite { hash };
    guest.invoke(&import).await.unwrap();
    assert_eq!(guest.refused(&import).await, "USER_ALREADY_PARTICIPANT");
    assert!(matches!(guest.invoke(&check).await.unwrap(), enums::ChatInvite::Already(_)));
    let channel: enums::InputChannel = guest.channel().await.into();

    stage.simulator.ban(chat.chat_id, guest.user_id).await.unwrap();
    let forbidden = guest
        .next(|updates| match updates {
            enums::Updates::Updates(updates) => updates.chats.iter().find_map(|chat| match chat {
                enums::Chat::ChannelForbidden(forbidden) => Some(forbidden.id),
                _ => None,
            }),
            _ => None,
        })
        .await;
    assert_eq!(forbidden, -1_000_000_000_000 - chat.chat_id);
    let me = enums::InputPeer::PeerSelf;
    let who = f::channels::GetParticipant { channel: channel.clone(), participant: me };
    assert_eq!(guest.refused(&who).await, "CHANNEL_PRIVATE");
    let join = f::channels::JoinChannel { channel };
    assert_eq!(guest.refused(&join).await, "USER_BANNED_IN_CHANNEL");
    assert_eq!(guest.refused(&import).await, "INVITE_HASH_EXPIRED");
    let members = stage.simulator.members(chat.chat_id).await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!((members[0].user_id, members[0].role.as_str()), (owner, "admin"));
}

#[tokio::test]
async fn being_removed_from_a_basic_group_comes_as_a_message() {
    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Group).await;
    let mut removed = stage.client(1).await;
    stage.simulator.remove_member(chat.chat_id, removed.user_id).await.unwrap();
    let action = removed
        .next(|updates| {
            let enums::Updates::Updates(updates) = updates else { return None };
            assert!(matches!(updates.chats[..], [enums::Chat::Forbidden(_)]));
            match &updates.updates[..] {
                [enums::Update::NewMessage(new)] => match &new.message {
                    enums::Message::Service(service) => Some(service.action.clone()),
                    _ => None,
                },
                _ => None,
            }
        })
        .await;
    let user_id = removed.user_id;
    let expected = types::MessageActionChatDeleteUser { user_id };
    assert_eq!(action, enums::MessageAction::ChatDeleteUser(expected));
    let input = types::InputPeerChat { chat_id: -chat.chat_id };
    assert_eq!(removed.refused(&send(input.into(), "hello?", 1)).await, "CHAT_WRITE_FORBIDDEN");
}

#[tokio::test]
async fn usernames_resolve_for_those_that_exist() {
    let stage = Stage::with_accounts(1).await;
    let chat = NewChat {
        kind: ChatKind::Channel,
        title: "News".to_owned(),
        username: Some("daily_news".to_owned()),
        members: vec![],
        admins: vec![],
    };
    stage.simulator.add_chat(chat).await.unwrap();
    let mut client = stage.client(0).await;
    let found = client.resolve("Daily_News").await;
    let [enums::Chat::Channel(channel)] = &found.chats[..] else { panic!("a channel") };
    assert!(channel.left && channel.broadcast);
    let resolve =
        |name: &str| f::contacts::ResolveUsername { username: name.to_owned(), referer: None };
    assert_eq!(client.refused(&resolve("nobody_here")).await, "USERNAME_NOT_OCCUPIED");
    assert_eq!(client.refused(&resolve("no!")).await, "USERNAME_INVALID");
    let access_hash = channel.access_hash.unwrap();
    let input = types::InputChannel { channel_id: channel.id, access_hash };
    assert_eq!(client.refused(&send(peer(&input), "me too", 1)).await, "CHAT_WRITE_FORBIDDEN");
    client.invoke(&f::channels::JoinChannel { channel: input.into() }).await.unwrap();
    // A channel's members hear of its posts, not of its joins.
    let chat_id = -1_000_000_000_000 - channel.id;
    stage.simulator.post(chat_id, client.user_id, "extra, extra").await.unwrap();
    assert_eq!(client.next_message().await, (1, "extra, extra".to_owned()));
}

#[tokio::test]
async fn a_client_that_logged_out_is_a_stranger() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    client.invoke(&f::auth::LogOut {}).await.unwrap();
    let request = f::updates::GetState {};
    assert_eq!(client.refused(&request).await, "AUTH_KEY_UNREGISTERED");
}

#[tokio::test]
async fn unknown_methods_are_refused_and_counted() {
    let stage = Stage::with_accounts(1).await;
    let client = stage.client(0).await;
    let request = f::messages::GetDhConfig { version: 0, random_length: 0 };
    assert_eq!(client.refused(&request).await, "INPUT_METHOD_INVALID");
    let stats = stage.simulator.stats().await;
    assert_eq!(stats.unknown_methods["messages.getDhConfig"], 1);
}

#[tokio::test]
async fn the_librarys_own_update_stream_delivers_in_order() {
    use grammers_client::sender::{SenderPool, UpdatesConfiguration};
    use grammers_client::update::Update;

    let stage = Stage::with_accounts(2).await;
    let chat = stage.chat(ChatKind::Supergroup).await;
    let session = std::sync::Arc::new(support::session(&stage.accounts[0]));
    let SenderPool { runner, handle, updates } = SenderPool::new(session, 1);
    let running = tokio::spawn(runner.run());
    let client = grammers_client::Client::new(handle);
    let mut stream =
        client.stream_updates(updates, UpdatesConfiguration { catch_up: true }).await.unwrap();
    let dialogs = client.iter_dialogs().next().await.unwrap();
    assert_eq!(dialogs.unwrap().peer().name(), Some("Everybody"));
    let simulator = &stage.simulator;
    let mut got = Vec::new();
    let receive = async {
        for number in 0..50 {
            simulator.post(chat.chat_id, stage.ids()[1], &format!("{number}")).await.unwrap();
        }
        while got.len() < 50 {
            if let Update::NewMessage(message) = stream.next().await.unwrap() {
                got.push(message.text().to_owned());
            }
        }
    };
    tokio::time::timeout(DEADLINE, receive).await.unwrap();
    assert_eq!(got, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
    running.abort();
    stage.assert_clean().await;
}

#[tokio::test]
async fn a_large_request_and_a_large_answer_pass_compressed() {
    let stage = Stage::with_accounts(1).await;
    stage.chat(ChatKind::Supergroup).await;
    let client = stage.client(0).await;
    let input = peer(&client.channel().await);
    let text = "long ".repeat(800);
    for random_id in 1..=60 {
        client.invoke(&send(input.clone(), &text, random_id)).await.unwrap();
    }
    let enums::messages::Messages::ChannelMessages(page) =
        client.invoke(&history(input)).await.unwrap()
    else {
        panic!("a channel's history");
    };
    assert_eq!((page.count, page.messages.len(), page.pts), (60, 60, 61));
}

#[tokio::test]
async fn a_basic_group_becomes_a_supergroup_as_telegram_makes_it_one() {
    let stage = Stage::with_accounts(2).await;
    let group = stage.chat(ChatKind::Group).await;
    let [member, other] = stage.ids()[..] else { panic!("two accounts") };
    let mut reader = stage.client(0).await;
    stage.simulator.post(group.chat_id, other, "before").await.unwrap();
    let new_id = stage.simulator.upgrade(group.chat_id).await.unwrap();
    let told = reader
        .next(|updates| match updates {
            enums::Updates::Updates(all) => all.updates.iter().find_map(|update| match update {
                enums::Update::NewMessage(new) => match &new.message {
                    enums::Message::Service(message) => Some((message.action.clone(), all.clone())),
                    _ => None,
                },
                _ => None,
            }),
            _ => None,
        })
        .await;
    let (enums::MessageAction::ChatMigrateTo(action), packet) = told else { panic!("{told:?}") };
    let bare = -1_000_000_000_000 - new_id;
    assert_eq!(action.channel_id, bare);
    let old = packet.chats.iter().find_map(|chat| match chat {
        enums::Chat::Chat(chat) => Some(chat.clone()),
        _ => None,
    });
    let old = old.expect("the packet describes the group");
    let Some(enums::InputChannel::Channel(channel)) = old.migrated_to else {
        panic!("it says what it has become")
    };
    assert!(old.deactivated && channel.channel_id == bare);
    // The hash is good, and what was said before can be read as ever.
    let answer = reader.invoke(&history(peer(&channel))).await.unwrap();
    let enums::messages::Messages::ChannelMessages(page) = answer else { panic!("a channel's") };
    let first = page.messages.last().expect("its first message");
    let enums::Message::Service(first) = first else { panic!("{first:?}") };
    let enums::MessageAction::ChannelMigrateFrom(action) = &first.action else {
        panic!("{:?}", first.action)
    };
    assert_eq!((first.id, action.chat_id), (1, -group.chat_id));
    let before = types::InputPeerChat { chat_id: -group.chat_id }.into();
    let answer = reader.invoke(&history(before)).await.unwrap();
    let enums::messages::Messages::Messages(page) = answer else { panic!("a whole box") };
    assert_eq!(page.messages.len(), 2);
    let members = stage.simulator.members(new_id).await.unwrap();
    assert!(members.iter().any(|known| known.user_id == member));
    stage.simulator.post(group.chat_id, other, "after").await.unwrap_err();
    stage.simulator.upgrade(group.chat_id).await.unwrap_err();
    stage.simulator.post(new_id, other, "after").await.unwrap();
    stage.assert_clean().await;
}
