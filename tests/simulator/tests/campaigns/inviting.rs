//! Adding people to chats.

use grammers_client::tl::{enums, functions as f, types};
use telewarden_simulator::{
    ChatKind, ChatRules, FaultKind, FaultSpec, Limits, MemberRights, NewAccount, NewContact,
    Privacy,
};

use super::steps::*;
use crate::support::{Client, Stage, messages};

#[tokio::test]
async fn who_allows_it_is_in_and_who_does_not_is_named() {
    let mut stage = Stage::with_accounts(4).await;
    let [me, open, closed, premium] = stage.ids()[..] else { panic!("four accounts") };
    let chat = stage.chat_of_admin(ChatKind::Supergroup, ChatRules::default()).await;
    let refuses = Privacy { refuse_invites: true, ..Privacy::default() };
    stage.simulator.set_privacy(closed, refuses).await.unwrap();
    let wants = Privacy { premium_required: true, ..Privacy::default() };
    stage.simulator.set_privacy(premium, wants).await.unwrap();
    let client = stage.client(0).await;
    let mut invited = stage.client(1).await;
    let channel = client.channel().await;
    let mut people = Vec::new();
    for account in &stage.accounts[1..] {
        people.push(found(&client, &account.phone).await);
    }
    let all: Vec<_> = people.iter().collect();
    let answer = client.invoke(&invitation(&channel, &all)).await.unwrap();
    let missing = vec![(closed, false, false), (premium, true, true)];
    assert_eq!(outcome(answer), (1, missing));
    assert_eq!(stage.member_ids(chat).await, [me, open]);
    // The one who was added is told so, and by whom.
    let (_, text) = invited.next_message().await;
    assert_eq!(text, "service");
    let participant = f::channels::GetParticipant {
        channel: invited.channel().await.into(),
        participant: enums::InputPeer::PeerSelf,
    };
    let enums::channels::ChannelParticipant::Participant(participant) =
        invited.invoke(&participant).await.unwrap();
    let enums::ChannelParticipant::ParticipantSelf(participant) = participant.participant else {
        panic!("oneself");
    };
    assert_eq!(participant.inviter_id, me);
    let missing = Some("missing_invitee".to_owned());
    let books = [(open, me, None), (closed, me, missing.clone()), (premium, me, missing)];
    assert_eq!(stage.reached().await, books);
    let entry = &stage.simulator.contacted().await[0];
    assert_eq!(entry.chat_id, Some(chat));
    stage.assert_clean().await;
    // An account with Telegram Premium reaches who asks for that.
    let rich = NewAccount { premium: true, ..NewAccount::default() };
    stage.accounts[0] = stage.simulator.add_account(rich).await.unwrap();
    let chat = stage.chat_of_admin(ChatKind::Supergroup, ChatRules::default()).await;
    let client = stage.client(0).await;
    let channel = client.channel().await;
    let person = found(&client, &stage.accounts[3].phone).await;
    let answer = client.invoke(&invitation(&channel, &[&person])).await.unwrap();
    assert_eq!(outcome(answer), (1, vec![]));
    assert_eq!(stage.member_ids(chat).await.len(), 2);
}

#[tokio::test]
async fn a_refusal_is_counted_when_the_person_is_invited_again_by_whomever() {
    let stage = Stage::with_accounts(3).await;
    let [_, other, person] = stage.ids()[..] else { panic!("three accounts") };
    let rules = ChatRules { creator: Some(other), ..ChatRules::default() };
    stage.chat_of_admin(ChatKind::Supergroup, rules).await;
    let refuses = Privacy { refuse_invites: true, ..Privacy::default() };
    stage.simulator.set_privacy(person, refuses).await.unwrap();
    let (one, two) = (stage.client(0).await, stage.client(1).await);
    let invite = async |client: &Client| {
        let input = found(client, &stage.accounts[2].phone).await;
        client.invoke(&invitation(&client.channel().await, &[&input])).await.unwrap()
    };
    invite(&one).await;
    assert_eq!(stage.violations("invited_after_refusal").await, 0);
    invite(&two).await;
    assert_eq!(stage.violations("invited_after_refusal").await, 1);
    // What the person says anew counts.
    stage.simulator.set_privacy(person, Privacy::default()).await.unwrap();
    assert_eq!(outcome(invite(&two).await), (1, vec![]));
    assert_eq!(stage.violations("invited_after_refusal").await, 1);
}

#[tokio::test]
async fn obstacles_are_errors_when_one_person_is_invited() {
    let stage = Stage::with_accounts(3).await;
    let [me, person, gone] = stage.ids()[..] else { panic!("three accounts") };
    let chat = stage.chat_of_admin(ChatKind::Supergroup, ChatRules::default()).await;
    let client = stage.client(0).await;
    let channel = client.channel().await;
    let input = found(&client, &stage.accounts[1].phone).await;
    let deleted = found(&client, &stage.accounts[2].phone).await;
    let request = invitation(&channel, &[&input]);
    let refused = async || client.refused(&request).await;
    let limited = async |limits: Limits| stage.simulator.set_limits(limits).await;
    limited(Limits { channels_per_account: 0, ..Limits::default() }).await;
    assert_eq!(refused().await, "USER_CHANNELS_TOO_MUCH");
    limited(Limits { supergroup_size: 1, ..Limits::default() }).await;
    assert_eq!(refused().await, "USERS_TOO_MUCH");
    limited(Limits::default()).await;
    client.invoke(&f::contacts::Block { my_stories_from: false, id: to(&input) }).await.unwrap();
    assert_eq!(refused().await, "USER_BLOCKED");
    client.invoke(&f::contacts::Unblock { my_stories_from: false, id: to(&input) }).await.unwrap();
    client.invoke(&request).await.unwrap();
    assert_eq!(refused().await, "USER_ALREADY_PARTICIPANT");
    stage.simulator.leave(chat, person).await.unwrap();
    assert_eq!(refused().await, "USER_NOT_MUTUAL_CONTACT");
    stage.simulator.set_privacy(person, Privacy::default()).await.unwrap();
    for (owner, user_id) in [(me, person), (person, me)] {
        let new = NewContact { user_id, ..NewContact::default() };
        stage.simulator.add_contact(owner, new).await.unwrap();
    }
    client.invoke(&request).await.unwrap();
    stage.simulator.ban(chat, person).await.unwrap();
    assert_eq!(refused().await, "USER_KICKED");
    stage.simulator.delete_account(gone).await.unwrap();
    let request = invitation(&channel, &[&deleted]);
    assert_eq!(client.refused(&request).await, "INPUT_USER_DEACTIVATED");
    let stranger = types::InputUser { user_id: person, access_hash: 5 };
    let request = invitation(&channel, &[&stranger]);
    assert_eq!(client.refused(&request).await, "USER_ID_INVALID");
    assert_eq!(client.refused(&invitation(&channel, &[])).await, "USERS_TOO_FEW");
    stage.assert_clean().await;
}

#[tokio::test]
async fn rights_are_asked_before_anything_about_the_person() {
    let stage = Stage::with_accounts(3).await;
    let [admin, member, _] = stage.ids()[..] else { panic!("three accounts") };
    let rules = ChatRules { members_may_invite: Some(false), ..ChatRules::default() };
    let chat = stage.chat_of_admin(ChatKind::Supergroup, rules).await;
    stage.simulator.add_member(chat, member).await.unwrap();
    let clients = [stage.client(0).await, stage.client(1).await];
    let invite = async |client: &Client| {
        let input = found(client, &stage.accounts[2].phone).await;
        client.refused(&invitation(&client.channel().await, &[&input])).await
    };
    assert_eq!(invite(&clients[1]).await, "CHAT_ADMIN_REQUIRED");
    let open = ChatRules { members_may_invite: Some(true), ..ChatRules::default() };
    stage.simulator.set_rules(chat, open).await.unwrap();
    let taken = MemberRights { may_invite: Some(false), ..MemberRights::default() };
    stage.simulator.set_rights(chat, member, taken).await.unwrap();
    assert_eq!(invite(&clients[1]).await, "USER_BANNED_IN_CHANNEL");
    stage.simulator.set_rights(chat, admin, taken).await.unwrap();
    assert_eq!(invite(&clients[0]).await, "CHAT_ADMIN_REQUIRED");
    stage.simulator.freeze(admin, true).await.unwrap();
    assert_eq!(invite(&clients[0]).await, "FROZEN_METHOD_INVALID");
    stage.simulator.freeze(admin, false).await.unwrap();
    let channel = clients[1].channel().await;
    stage.simulator.ban(chat, member).await.unwrap();
    let input = found(&clients[1], &stage.accounts[2].phone).await;
    let request = invitation(&channel, &[&input]);
    assert_eq!(clients[1].refused(&request).await, "CHANNEL_PRIVATE");
    assert!(stage.reached().await.is_empty());
}

#[tokio::test]
async fn basic_groups_are_filled_one_by_one() {
    let stage = Stage::with_accounts(3).await;
    let [me, friend, closed] = stage.ids()[..] else { panic!("three accounts") };
    let chat = stage.chat_of_admin(ChatKind::Group, ChatRules::default()).await;
    let refuses = Privacy { refuse_invites: true, ..Privacy::default() };
    stage.simulator.set_privacy(closed, refuses).await.unwrap();
    let client = stage.client(0).await;
    let mut invited = stage.client(1).await;
    let input = found(&client, &stage.accounts[1].phone).await;
    let answer = client.invoke(&addition(-chat, &input)).await.unwrap();
    assert_eq!(outcome(answer), (1, vec![]));
    let told = invited.next(|updates| messages(updates).into_iter().next()).await;
    assert_eq!(told.1, "service");
    let again = addition(-chat, &input);
    assert_eq!(client.refused(&again).await, "USER_ALREADY_PARTICIPANT");
    let refusing = found(&client, &stage.accounts[2].phone).await;
    let answer = client.invoke(&addition(-chat, &refusing)).await.unwrap();
    assert_eq!(outcome(answer), (0, vec![(closed, false, false)]));
    let leave = f::messages::DeleteChatUser {
        revoke_history: false,
        chat_id: -chat,
        user_id: enums::InputUser::UserSelf,
    };
    invited.invoke(&leave).await.unwrap();
    assert_eq!(client.refused(&again).await, "USER_NOT_MUTUAL_CONTACT");
    assert_eq!(stage.member_ids(chat).await, [me]);
    let full = Limits { group_size: 1, ..Limits::default() };
    stage.simulator.set_limits(full).await;
    let refused = client.refused(&addition(-chat, &refusing)).await;
    assert_eq!(refused, "USERS_TOO_MUCH");
    assert_eq!(client.refused(&addition(5, &input)).await, "CHAT_ID_INVALID");
    stage.simulator.upgrade(chat).await.unwrap();
    assert_eq!(client.refused(&again).await, "CHAT_WRITE_FORBIDDEN");
    assert_eq!(stage.reached().await[0], (friend, me, None));
}

#[tokio::test]
async fn bots_cannot_be_added_to_channels() {
    let stage = Stage::with_accounts(1).await;
    let username = Some("helping_bot".to_owned());
    let bot = NewAccount { bot: true, username, ..NewAccount::default() };
    let bot = stage.simulator.add_account(bot).await.unwrap();
    stage.chat_of_admin(ChatKind::Channel, ChatRules::default()).await;
    let client = stage.client(0).await;
    let resolved = client.resolve("helping_bot").await;
    let [enums::User::User(user)] = &resolved.users[..] else { panic!("one user") };
    let input = types::InputUser { user_id: bot.user_id, access_hash: user.access_hash.unwrap() };
    let request = invitation(&client.channel().await, &[&input]);
    assert_eq!(client.refused(&request).await, "USER_BOT");
    let group = stage.chat_of_admin(ChatKind::Group, ChatRules::default()).await;
    let closed = Privacy { refuse_invites: true, ..Privacy::default() };
    stage.simulator.set_privacy(bot.user_id, closed).await.unwrap();
    assert_eq!(client.refused(&addition(-group, &input)).await, "BOT_GROUPS_BLOCKED");
    // Bots are no people: nothing about them is in the books.
    assert!(stage.reached().await.is_empty());
}

#[tokio::test]
async fn a_refusal_that_was_never_heard_may_be_asked_for_again() {
    let stage = Stage::with_accounts(2).await;
    let [me, person] = stage.ids()[..] else { panic!("two accounts") };
    stage.chat_of_admin(ChatKind::Supergroup, ChatRules::default()).await;
    let refuses = Privacy { refuse_invites: true, ..Privacy::default() };
    stage.simulator.set_privacy(person, refuses).await.unwrap();
    let client = stage.client(0).await;
    let input = found(&client, &stage.accounts[1].phone).await;
    let request = invitation(&client.channel().await, &[&input]);
    let fault = FaultSpec {
        method: Some("channels.inviteToChannel".to_owned()),
        kind: Some(FaultKind::LoseAnswer),
        times: Some(1),
        ..FaultSpec::default()
    };
    stage.simulator.add_fault(fault).await.unwrap();
    client.invoke(&request).await.unwrap_err();
    let answer = client.invoke(&request).await.unwrap();
    assert_eq!(outcome(answer), (0, vec![(person, false, false)]));
    // Both attempts were made, and neither was wrong.
    let missing = Some("missing_invitee".to_owned());
    assert_eq!(stage.reached().await, [(person, me, missing.clone()), (person, me, missing)]);
    stage.assert_clean().await;
    client.invoke(&request).await.unwrap();
    assert_eq!(stage.violations("invited_after_refusal").await, 1);
}
