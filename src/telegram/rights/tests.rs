use std::sync::{Arc, Mutex};

use telewarden_simulator::{ChatKind as Kind, ChatRules, MemberRights, NewAccount, NewChat};

use super::super::call::Call;
use super::super::outcome::Outcome;
use super::super::peers::PeerBook;
use super::super::sim::{account, link, simulator};
use super::*;
use crate::protocol::telegram::chat::MarkedId;

/// Member, admin, may post, may invite.
fn place(rights: &ChatRights) -> (bool, bool, bool, bool) {
    (rights.is_member, rights.is_admin, rights.can_post, rights.can_invite)
}

#[tokio::test]
async fn rights_follow_ones_place_in_a_chat_and_looking_joins_nothing() {
    let sim = simulator().await;
    let me = account(&sim, NewAccount::default()).await;
    let (caller, _, _connection) = link(&sim, &me).await.into_parts();
    let peers: Arc<Mutex<PeerBook>> = Arc::default();
    let look = async |target| {
        let outcome = Call::Rights(target).run(&caller, &peers, false).await;
        outcome.map(|(finding, _)| match finding {
            Outcome::Rights(rights) => rights,
            finding => panic!("unexpected {finding:?}"),
        })
    };
    let mut number = 0;
    let mut chat = async |kind, members, admins| {
        number += 1;
        let username = (kind != Kind::Group).then(|| format!("chat_number_{number}"));
        let title = format!("Chat {number}");
        let new = NewChat { kind, title, username: username.clone(), members, admins };
        let chat = sim.add_chat(new).await.unwrap();
        match username {
            Some(username) => ChatTarget::Username(username),
            None => ChatTarget::Marked(MarkedId(chat.chat_id)),
        }
    };
    let mine = || vec![me.user_id];

    let channel = chat(Kind::Channel, vec![], vec![]).await;
    let found = look(channel.clone()).await.unwrap();
    assert_eq!((found.kind, place(&found)), (ChatKind::Channel, (false, false, false, false)));
    assert_eq!(found.username.as_deref(), Some("chat_number_1"));
    assert_eq!(found.title, "Chat 1");
    assert_eq!(place(&look(channel).await.unwrap()), (false, false, false, false));

    let channel = chat(Kind::Channel, mine(), vec![]).await;
    assert_eq!(place(&look(channel).await.unwrap()), (true, false, false, false));
    let channel = chat(Kind::Channel, vec![], mine()).await;
    let found = look(channel).await.unwrap();
    assert_eq!((found.is_member, found.is_admin, found.can_post), (true, true, true));
    // By its number it is found in the peer book.
    let again = look(ChatTarget::Marked(found.peer.id)).await.unwrap();
    assert_eq!(again, found);

    let supergroup = chat(Kind::Supergroup, mine(), vec![]).await;
    let found = look(supergroup).await.unwrap();
    assert_eq!((found.kind, found.is_member, found.can_post), (ChatKind::Supergroup, true, true));
    let group = chat(Kind::Group, mine(), vec![]).await;
    let found = look(group).await.unwrap();
    assert_eq!((found.kind, found.is_member, found.can_post), (ChatKind::Group, true, true));

    let person = look(ChatTarget::Marked(MarkedId(5))).await.unwrap_err();
    assert_eq!(person.code(), "NOT_A_CHAT");
}

#[tokio::test]
async fn what_a_chat_or_its_admins_forbid_is_not_allowed() {
    let sim = simulator().await;
    let me = account(&sim, NewAccount::default()).await;
    let (caller, _, _connection) = link(&sim, &me).await.into_parts();
    let peers: Arc<Mutex<PeerBook>> = Arc::default();
    let look = async |chat_id| {
        let call = Call::Rights(ChatTarget::Marked(MarkedId(chat_id)));
        match call.run(&caller, &peers, false).await.unwrap().0 {
            Outcome::Rights(rights) => place(&rights),
            finding => panic!("unexpected {finding:?}"),
        }
    };
    for kind in [Kind::Group, Kind::Supergroup] {
        let (title, members) = ("Some".to_owned(), vec![me.user_id]);
        let new = NewChat { kind, title, username: None, members, admins: vec![] };
        let chat = sim.add_chat(new).await.unwrap().chat_id;
        assert_eq!(look(chat).await, (true, false, true, true), "{kind:?}");
        let (no, yes) = (Some(false), Some(true));
        let rules =
            ChatRules { members_may_post: no, members_may_invite: no, ..ChatRules::default() };
        sim.set_rules(chat, rules).await.unwrap();
        assert_eq!(look(chat).await, (true, false, false, false), "{kind:?}");
        let rights = MemberRights { admin: yes, may_post: yes, may_invite: yes };
        sim.set_rights(chat, me.user_id, rights).await.unwrap();
        assert_eq!(look(chat).await, (true, true, true, true), "{kind:?}");
    }
}

fn restricted(
    change: impl FnOnce(&mut tl::types::ChatBannedRights),
) -> Option<tl::enums::ChatBannedRights> {
    let mut taken = tl::types::ChatBannedRights {
        view_messages: false,
        send_messages: false,
        send_media: false,
        send_stickers: false,
        send_gifs: false,
        send_games: false,
        send_inline: false,
        embed_links: false,
        send_polls: false,
        change_info: false,
        invite_users: false,
        pin_messages: false,
        manage_topics: false,
        send_photos: false,
        send_videos: false,
        send_roundvideos: false,
        send_audios: false,
        send_voices: false,
        send_docs: false,
        send_plain: false,
        edit_rank: false,
        send_reactions: false,
        manage_linked_peers: false,
        until_date: 0,
    };
    change(&mut taken);
    Some(taken.into())
}

#[test]
fn each_restriction_takes_what_it_names() {
    assert_eq!(left_by(&[&None, &None]), (true, true));
    assert_eq!(left_by(&[&restricted(|_| {}), &None]), (true, true));
    assert_eq!(left_by(&[&None, &restricted(|taken| taken.send_plain = true)]), (false, true));
    assert_eq!(left_by(&[&restricted(|taken| taken.send_messages = true)]), (false, true));
    assert_eq!(left_by(&[&restricted(|taken| taken.invite_users = true)]), (true, false));
}

#[test]
fn a_channels_admin_posts_by_right_and_its_members_never_do() {
    let place = |is_creator, posts| Membership {
        is_creator,
        is_admin: false,
        admin_posts: false,
        admin_invites: false,
        posts,
        invites: false,
    };
    assert!(!place(false, true).may(false, true, true));
    assert!(place(true, false).may(false, true, false));
    assert!(place(false, true).may(true, true, false));
    assert!(place(false, true).may(false, false, true));
}
