use super::*;

fn group(is_member: bool, can_invite: bool, is_full: Option<bool>) -> GroupRights {
    let peer =
        PeerRecord { id: MarkedId::channel(5), access_hash: 1, is_bot: false, is_broadcast: false };
    let chat = ChatRights {
        peer,
        title: "Some".into(),
        kind: ChatKind::Supergroup,
        username: None,
        is_member,
        is_admin: false,
        can_post: is_member,
        can_invite,
    };
    let (upgraded_from, formerly, members) = (None, None, None);
    let (sees_members, needs_approval) = (true, false);
    GroupRights { chat, upgraded_from, formerly, members, is_full, sees_members, needs_approval }
}

#[test]
fn what_keeps_an_account_from_inviting_is_named() {
    assert_eq!(group(true, true, None).obstacle(), None, "what is not known is no obstacle");
    assert_eq!(group(true, true, Some(false)).obstacle(), None);
    assert_eq!(group(true, true, Some(true)).obstacle(), Some(InviteObstacle::Full));
    assert!(group(true, true, Some(true)).lacks_room());
    assert!(!group(true, false, Some(true)).lacks_room() && !group(true, true, None).lacks_room());
    assert_eq!(group(true, false, Some(true)).obstacle(), Some(InviteObstacle::NoRight));
    assert_eq!(group(false, false, None).obstacle(), Some(InviteObstacle::NotMember));
}

#[test]
fn each_kind_of_chat_is_full_at_its_own_number() {
    for (kind, most) in
        [(ChatKind::Group, 200), (ChatKind::Supergroup, 200_000), (ChatKind::Channel, 200)]
    {
        assert_eq!(is_full(kind, Some(most - 1)), Some(false), "{kind:?}");
        assert_eq!(is_full(kind, Some(most)), Some(true), "{kind:?}");
        assert_eq!(is_full(kind, None), None, "{kind:?}");
    }
}
