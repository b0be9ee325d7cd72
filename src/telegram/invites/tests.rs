use grammers_client::tl::types;

use super::*;

fn invitee(user_id: i64, allows: bool, pm: bool) -> MissingInvitee {
    let (premium_would_allow_invite, premium_required_for_pm) = (allows, pm);
    types::MissingInvitee { premium_would_allow_invite, premium_required_for_pm, user_id }.into()
}

#[test]
fn whoever_is_missing_is_the_one_who_was_invited() {
    let ann = MarkedId::user(1);
    assert_eq!(missing(&[], ann), None, "only then they are in");
    let found = |needs_premium, needs_premium_to_write| {
        Some(Missing { needs_premium, needs_premium_to_write })
    };
    assert_eq!(missing(&[invitee(1, false, false)], ann), found(false, false));
    let several = [invitee(2, false, false), invitee(1, true, true)];
    assert_eq!(missing(&several, ann), found(true, true), "by their name");
    assert_eq!(
        missing(&[invitee(2, true, false)], ann),
        found(true, false),
        "there was nobody else"
    );
}

fn banned(left: bool, view_messages: bool) -> ChannelParticipant {
    let taken = types::ChatBannedRights {
        view_messages,
        send_messages: true,
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
    types::ChannelParticipantBanned {
        left,
        peer: types::PeerUser { user_id: 1 }.into(),
        kicked_by: 2,
        date: 3,
        banned_rights: taken.into(),
        rank: None,
    }
    .into()
}

#[test]
fn whoever_was_only_kept_from_writing_is_a_member_still() {
    assert_eq!(place(&banned(false, false)), Membership::Member);
    assert_eq!(place(&banned(true, false)), Membership::Left);
    assert_eq!(place(&banned(true, true)), Membership::Banned);
    assert_eq!(place(&banned(false, true)), Membership::Banned);
    let peer = types::PeerUser { user_id: 1 }.into();
    assert_eq!(place(&types::ChannelParticipantLeft { peer }.into()), Membership::Left);
    let (subscription_until_date, rank) = (None, None);
    let member = types::ChannelParticipant { user_id: 1, date: 3, subscription_until_date, rank };
    assert_eq!(place(&member.into()), Membership::Member);
}
