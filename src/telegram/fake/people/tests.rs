//! Reaching people in the fake's world.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::protocol::accounts::record::Credentials;
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::telegram::chat::ChatTarget;
use crate::telegram::call::Call;
use crate::telegram::fake::{Answer, Contacted, Group, Reach, Somebody, Then, channel};
use crate::telegram::group_rights::InviteObstacle;
use crate::telegram::invites::Missing;
use crate::telegram::lease::ConnectionLease;
use crate::telegram::peers::PeerBook;
use crate::telegram::port::{AccountCaller, Connected, TelegramClient};

/// The person who invites, whom they invite, and where.
const ANN: i64 = 7;
const BOB: i64 = 20;

struct Fixture {
    telegram: FakeTelegram,
    caller: Arc<dyn AccountCaller>,
    peers: Mutex<PeerBook>,
    group: PeerRecord,
    _connected: Connected,
}

impl Fixture {
    async fn set(bob: Somebody, group: Group) -> Self {
        let telegram = FakeTelegram::new();
        let ann: Credentials = telegram.person(1, ANN);
        telegram.somebody(BOB, Somebody { username: Some("bob_b".into()), ..bob });
        let mut group = group;
        group.members.insert(ANN);
        telegram.group(channel(5), "room", Some("room"), group);
        let connected = telegram.connect(&ann, 1, ConnectionLease::new()).await.ok().unwrap();
        let group =
            PeerRecord { id: channel(5), access_hash: 1, is_bot: false, is_broadcast: false };
        let (caller, peers) = (Arc::clone(&connected.caller), Mutex::default());
        Self { telegram, caller, peers, group, _connected: connected }
    }

    async fn run(&self, call: Call) -> Result<Outcome, Failure> {
        self.caller.run(&call, &self.peers, false).await.map(|performed| performed.0)
    }

    async fn find(&self, who: Identifier) -> Result<PersonCard, Failure> {
        match self.run(Call::FindPerson(who)).await? {
            Outcome::Person { card, .. } => Ok(card),
            outcome => panic!("unexpected {outcome:?}"),
        }
    }

    fn bob(&self) -> PeerRecord {
        self.telegram.peer_of(ANN, BOB)
    }

    async fn invite(&self) -> Result<Outcome, Failure> {
        self.run(Call::Invite { group: self.group, person: self.bob() }).await
    }

    async fn membership(&self) -> Membership {
        let call = Call::Membership { group: self.group, person: self.bob() };
        match self.run(call).await.unwrap() {
            Outcome::Membership(found) => found,
            outcome => panic!("unexpected {outcome:?}"),
        }
    }

    fn last(&self) -> (Reach, bool) {
        let contacted = self.telegram.contacted();
        let last: &Contacted = contacted.last().expect("somebody was contacted");
        assert_eq!((last.person, last.by), (BOB, ANN));
        (last.reach, last.is_accepted)
    }
}

fn code<T: std::fmt::Debug>(refused: Result<T, Failure>) -> String {
    refused.unwrap_err().code().to_owned()
}

fn name(name: &str) -> Identifier {
    Identifier::Username(name.into())
}

#[tokio::test(start_paused = true)]
async fn people_are_found_by_name_and_phone_and_by_id_once_they_are_known() {
    let phone = Some(79_991_234_567);
    let fixture = Fixture::set(Somebody { phone, ..Somebody::default() }, Group::default()).await;
    assert_eq!(code(fixture.find(Identifier::Id(BOB)).await), "USER_ID_INVALID", "nobody met them");
    assert_eq!(code(fixture.find(name("nobody_at_all")).await), "USERNAME_NOT_OCCUPIED");
    assert_eq!(code(fixture.find(name("room")).await), "NOT_A_PERSON");
    let card = fixture.find(name("bob_b")).await.unwrap();
    assert_eq!((card.id, card.usernames, card.phone), (BOB, vec!["bob_b".to_owned()], None));
    assert_eq!(fixture.find(Identifier::Id(BOB)).await.unwrap().id, BOB, "the book knows them now");
    assert_eq!(fixture.find(Identifier::Phone(79_991_234_567)).await.unwrap().id, BOB);
    fixture.telegram.change_somebody(BOB, |bob| bob.hides_phone = true);
    let hidden = fixture.find(Identifier::Phone(79_991_234_567)).await;
    assert_eq!(code(hidden), "PHONE_NOT_OCCUPIED");
    let call = Call::FindPerson(name("bob_b")).shortened(&fixture.peers);
    assert_eq!(call, Call::FindPerson(Identifier::Id(BOB)), "a name is believed for a while");
    assert_eq!(fixture.telegram.count("find_person"), 7);
    assert!(fixture.telegram.contacted().is_empty(), "looking reaches nobody");
}

#[tokio::test(start_paused = true)]
async fn an_invitation_becomes_what_the_person_and_the_group_say_to_it() {
    let fixture = Fixture::set(Somebody::default(), Group::default()).await;
    let missing = |needs_premium, needs_premium_to_write| {
        let missing = Missing { needs_premium, needs_premium_to_write };
        Ok(Outcome::Invited { missing: Some(missing) })
    };
    assert_eq!(fixture.membership().await, Membership::Absent);
    fixture.telegram.change_somebody(BOB, |bob| bob.refuses_invites = true);
    assert_eq!(fixture.invite().await, missing(false, false));
    assert_eq!(fixture.last(), (Reach::Invite(channel(5)), false));
    fixture.telegram.change_somebody(BOB, |bob| {
        (bob.refuses_invites, bob.needs_premium) = (false, true);
    });
    assert_eq!(fixture.invite().await, missing(true, true));
    fixture.telegram.change_somebody(BOB, |bob| bob.needs_premium = false);
    fixture.telegram.change_group(channel(5), |group| group.is_full = true);
    assert_eq!(code(fixture.invite().await), "USERS_TOO_MUCH");
    fixture.telegram.change_group(channel(5), |group| {
        (group.is_full, group.needs_approval) = (false, true);
    });
    assert_eq!(code(fixture.invite().await), "INVITE_REQUEST_SENT");
    assert_eq!(fixture.membership().await, Membership::Requested);
    fixture.telegram.change_group(channel(5), |group| group.needs_approval = false);
    assert_eq!(fixture.invite().await, Ok(Outcome::Invited { missing: None }));
    assert_eq!(fixture.last(), (Reach::Invite(channel(5)), true));
    assert_eq!(fixture.membership().await, Membership::Member);
    assert_eq!(code(fixture.invite().await), "USER_ALREADY_PARTICIPANT");
    fixture.telegram.change_group(channel(5), |group| {
        group.members.remove(&BOB);
        group.left.insert(BOB);
    });
    assert_eq!(code(fixture.invite().await), "USER_NOT_MUTUAL_CONTACT");
    assert_eq!(fixture.membership().await, Membership::Left);
    let elsewhere = Call::Invite { group: fixture.group, person: fixture.telegram.peer_of(8, BOB) };
    assert_eq!(
        code(fixture.run(elsewhere).await),
        "USER_ID_INVALID",
        "hashes belong to an account"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_an_invitation_is_settled_by_the_membership() {
    let fixture = Fixture::set(Somebody::default(), Group::default()).await;
    fixture.telegram.next("invite", Answer::now(Then::DoneUnheard));
    assert!(matches!(fixture.invite().await, Err(Failure::Transient { .. })));
    assert_eq!(fixture.membership().await, Membership::Member);
    assert_eq!(fixture.telegram.contacted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn contacts_messages_rights_and_links_are_kept_apart_by_account() {
    let fixture = Fixture::set(Somebody::default(), Group::default()).await;
    let contact = |first: &str| NewContact {
        person: fixture.bob(),
        first_name: first.into(),
        last_name: String::new(),
    };
    assert_eq!(code(fixture.run(Call::AddContact(contact(" "))).await), "CONTACT_NAME_EMPTY");
    let added = fixture.run(Call::AddContact(contact("Bob"))).await;
    assert_eq!(added, Ok(Outcome::ContactAdded { is_mutual: false }));
    fixture.telegram.add_contact(BOB, ANN);
    let added = fixture.run(Call::AddContact(contact("Bob"))).await;
    assert_eq!(added, Ok(Outcome::ContactAdded { is_mutual: true }));
    assert!(fixture.telegram.has_contact(ANN, BOB) && !fixture.telegram.has_contact(8, BOB));

    let send = |random_id| {
        let (peer, text, parse_mode, reply_to) = (fixture.bob(), "hello".into(), None, None);
        Call::Send(SendMessage { peer, text, parse_mode, reply_to, silent: false, random_id })
    };
    for _ in 0..2 {
        assert!(matches!(fixture.run(send(1)).await, Ok(Outcome::Sent { .. })));
    }
    assert_eq!(fixture.telegram.contacted().len(), 1, "the same message once");
    fixture.telegram.change_somebody(BOB, |bob| _ = bob.blocks.insert(ANN));
    assert_eq!(code(fixture.run(send(2)).await), "USER_IS_BLOCKED");
    assert_eq!(fixture.last(), (Reach::Message, false));

    let rights =
        async || match fixture.run(Call::GroupRights(ChatTarget::Username("room".into()))).await {
            Ok(Outcome::GroupRights(rights)) => rights,
            outcome => panic!("unexpected {outcome:?}"),
        };
    assert_eq!((rights().await.members, rights().await.obstacle()), (Some(1), None));
    fixture.telegram.change_group(channel(5), |group| _ = group.may_not_invite.insert(ANN));
    assert_eq!(rights().await.obstacle(), Some(InviteObstacle::NoRight));
    assert_eq!(code(fixture.invite().await), "CHAT_ADMIN_REQUIRED");
    fixture.telegram.change_group(channel(5), |group| group.may_not_invite.clear());

    let ask = || Call::InviteLink { group: fixture.group, title: "campaign".into() };
    let Ok(Outcome::InviteLink { link, .. }) = fixture.run(ask()).await else { panic!("no link") };
    assert_eq!(fixture.telegram.group_now(channel(5)).link.as_deref(), Some(link.expose()));
    fixture.telegram.change_group(channel(5), |group| group.joined_by_link = 3);
    let uses = fixture.run(Call::LinkUses { group: fixture.group, link }).await;
    assert_eq!(uses, Ok(Outcome::LinkUses { joined: 3, waiting: 0 }));
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_group_is_followed_and_not_invited_into() {
    let fixture = Fixture::set(Somebody::default(), Group::default()).await;
    let basic = MarkedId::group(9);
    let group = Group { members: [ANN].into(), ..Group::default() };
    fixture.telegram.group(basic, "small", None, group);
    fixture.telegram.change_group(basic, |group| group.successor = Some(channel(5)));
    let peer = PeerRecord { id: basic, access_hash: 0, ..fixture.group };
    let invited = fixture.run(Call::Invite { group: peer, person: fixture.bob() }).await;
    assert_eq!(code(invited), "CHAT_WRITE_FORBIDDEN");
    let found = fixture.run(Call::GroupRights(ChatTarget::Marked(basic))).await.unwrap();
    let Outcome::GroupRights(rights) = found else { panic!("unexpected {found:?}") };
    assert_eq!((rights.chat.peer.id, rights.upgraded_from), (channel(5), Some(basic)));
    let at = fixture.telegram.times("invite");
    assert!(at.iter().all(|at| *at < Duration::from_secs(1)), "all in no time: {at:?}");
    let asked = Call::Membership { group: peer, person: fixture.bob() };
    assert_eq!(fixture.run(asked).await, Ok(Outcome::Membership(Membership::Absent)));
}
