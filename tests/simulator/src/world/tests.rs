//! The world without a wire: numbering, boxes, membership, what each account may see.

use std::net::{Ipv4Addr, SocketAddrV4};

use proptest::prelude::*;

use super::chats::Kind;
use super::membership::Entrance;
use super::messages::Content;
use super::users::{Event, NewUser};
use super::*;

fn world(accounts: usize) -> (World, Vec<i64>) {
    let mut world = World::new(1, Dcs::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), &[]));
    let ids = (0..accounts).map(|_| world.add_user(NewUser::default()).unwrap()).collect();
    (world, ids)
}

fn chat(world: &mut World, kind: Kind, members: &[i64]) -> Peer {
    world.add_chat(kind, "Chat".to_owned(), None, members, &[]).unwrap()
}

fn channel_id(peer: Peer) -> i64 {
    let Peer::Channel(id) = peer else { panic!("a channel") };
    id
}

proptest! {
    #[test]
    fn every_message_takes_one_number_in_each_box_it_enters(
        script in proptest::collection::vec((0usize..3, 0usize..3, 0usize..3), 0..60),
    ) {
        let (mut world, ids) = world(3);
        let group = chat(&mut world, Kind::Group, &ids);
        let supergroup = chat(&mut world, Kind::Supergroup, &ids);
        for (kind, from, to) in script {
            let (from, to) = (ids[from], ids[to]);
            match (kind, group, supergroup) {
                (0, _, _) => { world.post_to_user(to, from, Content::text("t"), None); }
                (1, Peer::Group(id), _) => {
                    world.post_to_group(id, from, &Content::text("t"), None, None);
                }
                (_, _, Peer::Channel(id)) => {
                    world.post_to_channel(id, from, Content::text("t"), None);
                }
                _ => unreachable!(),
            }
        }
        for id in ids {
            let user = world.user(id);
            prop_assert_eq!(user.pts() as usize, user.messages.len() + 1);
            let numbered = user.events.iter().map(|Event::NewMessage(id)| *id);
            prop_assert!(numbered.eq(1..=user.messages.len() as i32));
            prop_assert_eq!(user.events_after(user.pts()).len(), 0);
            prop_assert_eq!(user.events_after(1).len(), user.messages.len());
            let in_dialogs: usize = user.dialogs.values().map(|dialog| dialog.ids.len()).sum();
            prop_assert_eq!(in_dialogs, user.messages.len());
        }
        let channel = &world.channels[&channel_id(supergroup)];
        prop_assert_eq!(channel.pts() as usize, channel.messages.len() + 1);
    }
}

#[test]
fn a_note_to_oneself_is_one_message() {
    let (mut world, ids) = world(1);
    world.post_to_user(ids[0], ids[0], Content::text("remember"), None);
    assert_eq!(world.user(ids[0]).messages.len(), 1);
}

#[test]
fn creating_a_chat_makes_no_message_and_joining_does() {
    let (mut world, ids) = world(3);
    let supergroup = chat(&mut world, Kind::Supergroup, &ids[..2]);
    let broadcast = chat(&mut world, Kind::Channel, &ids[..2]);
    let group = chat(&mut world, Kind::Group, &ids[..2]);
    let count = |world: &World, peer: Peer| world.channels[&channel_id(peer)].messages.len();
    assert_eq!((count(&world, supergroup), count(&world, broadcast)), (0, 0));
    for peer in [supergroup, broadcast, group] {
        world.join(peer, ids[2], Entrance::Door, None);
        world.join(peer, ids[2], Entrance::Door, None);
    }
    assert_eq!((count(&world, supergroup), count(&world, broadcast)), (1, 0));
    assert!(ids.iter().all(|id| world.user(*id).messages.len() == 1));
    world.leave(group, ids[2], ids[0], None);
    // The one who was removed still gets the message about it.
    assert!(ids.iter().all(|id| world.user(*id).messages.len() == 2));
}

#[test]
fn private_channels_are_closed_to_others_and_public_ones_to_the_banned() {
    let (mut world, ids) = world(3);
    let private = channel_id(chat(&mut world, Kind::Channel, &ids[..1]));
    let name = Some("open_to_all".to_owned());
    let public = world.add_chat(Kind::Channel, "P".to_owned(), name, &[], &[]).unwrap();
    world.ban(public, ids[2]);
    let readers =
        |id: i64| ids.iter().filter(|user| world.channels[&id].readable_by(**user)).count();
    assert_eq!(readers(private), 1);
    assert_eq!(readers(channel_id(public)), 2);
}

#[test]
fn access_hashes_differ_for_every_account_and_peer() {
    let (world, ids) = world(2);
    let mut hashes: Vec<i64> = (0..100)
        .flat_map(|id| [Peer::User(id), Peer::Group(id), Peer::Channel(id)])
        .flat_map(|peer| [world.access_hash(ids[0], peer), world.access_hash(ids[1], peer)])
        .collect();
    assert!(!hashes.contains(&0));
    hashes.sort_unstable();
    hashes.dedup();
    // Users 0 and groups 0 share the marked id 0, which nobody has.
    assert_eq!(hashes.len(), 2 * (3 * 100 - 1));
}

#[test]
fn salts_count_for_their_half_hour_and_its_neighbours() {
    let (mut world, ids) = world(1);
    let key_id = world.issue_key(Some(ids[0]), dcs::HOME_DC).id();
    let now = 1_800_000_000;
    let salt = world.current_salt(key_id, now);
    assert!(world.salt_is_valid(key_id, salt, now + keys::SALT_SECONDS));
    assert!(!world.salt_is_valid(key_id, salt, now + 2 * keys::SALT_SECONDS));
    assert!(!world.salt_is_valid(key_id, 0, now));
    let future = world.future_salts(key_id, now, 64);
    assert_eq!((future.len(), future[0].value), (64, salt));
    assert!(future.iter().all(|salt| salt.since < salt.until));
}

#[test]
fn usernames_and_phones_are_given_once() {
    let (mut world, ids) = world(1);
    world.claim_username("Somebody", Peer::User(ids[0])).unwrap();
    world.claim_username("somebody", Peer::User(ids[0])).unwrap_err();
    world.claim_username("no spaces", Peer::User(ids[0])).unwrap_err();
    let phone = || NewUser { phone: Some("79990000000".to_owned()), ..NewUser::default() };
    world.add_user(phone()).unwrap_err();
}
