//! What campaigns ask of Telegram, asked of the simulator.

use std::sync::Mutex;

use telewarden_simulator::{
    Account, ChatKind as Kind, ChatRules, MemberRights, NewAccount, NewChat, NewContact as Known,
    NewLink, Privacy, Simulator,
};

use super::*;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::telegram::chat::ChatTarget;
use crate::protocol::values::secret::SecretText;
use crate::telegram::call::Call;
use crate::telegram::group_rights::{GroupRights, InviteObstacle};
use crate::telegram::link::Connection;
use crate::telegram::peers::PeerBook;
use crate::telegram::people::{NewContact, PersonCard};
use crate::telegram::sim::{account, link, simulator};

const PHONE: u64 = 79_990_001_122;

struct Fixture {
    sim: Simulator,
    me: Account,
    bob: Account,
    caller: RawCaller,
    peers: Mutex<PeerBook>,
    _connection: Connection,
}

impl Fixture {
    async fn new() -> Self {
        let sim = simulator().await;
        let me = account(&sim, NewAccount::default()).await;
        let (username, phone) = (Some("Bob_B".into()), Some(format!("+{PHONE}")));
        let bob = account(&sim, NewAccount { username, phone, ..NewAccount::default() }).await;
        let (caller, _, connection) = link(&sim, &me).await.into_parts();
        Self { sim, me, bob, caller, peers: Mutex::default(), _connection: connection }
    }

    async fn run(&self, call: Call) -> Result<Outcome, Failure> {
        Ok(call.run(&self.caller, &self.peers, false).await?.0)
    }

    async fn find(&self, who: Identifier) -> Result<(PeerRecord, PersonCard), Failure> {
        match self.run(Call::FindPerson(who)).await? {
            Outcome::Person { peer, card } => Ok((peer, card)),
            outcome => panic!("unexpected {outcome:?}"),
        }
    }

    async fn bob(&self) -> PeerRecord {
        self.find(name("bob_b")).await.unwrap().0
    }

    /// A chat of this kind that the account made, and how it is named.
    async fn chat(&self, kind: Kind, username: Option<&str>) -> PeerRecord {
        let (title, members) = ("Some".to_owned(), vec![self.me.user_id]);
        let username = username.map(str::to_owned);
        let new = NewChat { kind, title, username, members, admins: vec![] };
        let rules = ChatRules { creator: Some(self.me.user_id), ..ChatRules::default() };
        let chat = self.sim.add_chat_with(new, rules).await.unwrap();
        self.rights(chat.chat_id).await.chat.peer
    }

    async fn rights(&self, chat: i64) -> GroupRights {
        self.rights_of(ChatTarget::Marked(MarkedId(chat))).await
    }

    async fn rights_of(&self, target: ChatTarget) -> GroupRights {
        match self.run(Call::GroupRights(target)).await.unwrap() {
            Outcome::GroupRights(rights) => rights,
            outcome => panic!("unexpected {outcome:?}"),
        }
    }

    async fn invite(&self, group: PeerRecord, person: PeerRecord) -> Result<Outcome, Failure> {
        self.run(Call::Invite { group, person }).await
    }

    async fn membership(&self, group: PeerRecord, person: PeerRecord) -> Membership {
        match self.run(Call::Membership { group, person }).await.unwrap() {
            Outcome::Membership(found) => found,
            outcome => panic!("unexpected {outcome:?}"),
        }
    }

    async fn link(&self, group: PeerRecord) -> (String, bool) {
        match self.run(Call::InviteLink { group, title: "A campaign".into() }).await.unwrap() {
            Outcome::InviteLink { link, needs_approval } => {
                (link.expose().to_owned(), needs_approval)
            }
            outcome => panic!("unexpected {outcome:?}"),
        }
    }
}

fn name(name: &str) -> Identifier {
    Identifier::Username(name.into())
}

fn code<T: std::fmt::Debug>(refused: Result<T, Failure>) -> String {
    refused.unwrap_err().code().to_owned()
}

const IN: Result<Outcome, Failure> = Ok(Outcome::Invited { missing: None });

#[tokio::test]
async fn people_are_found_and_named_by_what_the_account_keeps_of_them() {
    let fixture = Fixture::new().await;
    let id = Identifier::Id(fixture.bob.user_id);
    assert_eq!(code(fixture.find(id.clone()).await), "USER_ID_INVALID", "nobody met them");
    assert_eq!(code(fixture.find(name("nobody_here")).await), "USERNAME_NOT_OCCUPIED");
    assert_eq!(code(fixture.find(Identifier::Phone(79_990_009_999)).await), "PHONE_NOT_OCCUPIED");
    fixture.chat(Kind::Supergroup, Some("some_chat")).await;
    assert_eq!(code(fixture.find(name("some_chat")).await), "NOT_A_PERSON");

    let (peer, card) = fixture.find(Identifier::Phone(PHONE)).await.unwrap();
    assert_eq!((peer.id.bare(), card.id), (fixture.bob.user_id, fixture.bob.user_id));
    assert_eq!((&card.usernames[..], card.is_contact), (&["Bob_B".to_owned()][..], false));
    assert_eq!(fixture.find(name("bob_b")).await.unwrap(), (peer, card.clone()));
    assert_eq!(fixture.find(id.clone()).await.unwrap(), (peer, card), "the book knows them now");
    // Access hashes belong to an account.
    let other = PeerRecord { access_hash: peer.access_hash ^ 1, ..peer };
    fixture.peers.lock().unwrap().learn_one(other);
    assert_eq!(code(fixture.find(id).await), "USER_ID_INVALID");
}

#[tokio::test]
async fn a_contact_is_added_without_our_phone_and_under_one_part_of_a_name_at_least() {
    let fixture = Fixture::new().await;
    let person = fixture.bob().await;
    let contact = |first: &str, last: &str| {
        let (first_name, last_name) = (first.to_owned(), last.to_owned());
        Call::AddContact(NewContact { person, first_name, last_name })
    };
    assert_eq!(code(fixture.run(contact(" ", "")).await), "CONTACT_NAME_EMPTY");
    let added = |is_mutual| Ok(Outcome::ContactAdded { is_mutual });
    assert_eq!(fixture.run(contact("", "Bee")).await, added(false));
    let all = fixture.sim.contacts(fixture.me.user_id).await.unwrap();
    assert_eq!((all.len(), all[0].first_name.as_str(), all[0].shares_phone), (1, "Bee", false));
    let me = Known { user_id: fixture.me.user_id, ..Known::default() };
    fixture.sim.add_contact(fixture.bob.user_id, me).await.unwrap();
    assert_eq!(fixture.run(contact("Bob", "Bee")).await, added(true), "again, by another name");
    let (_, card) = fixture.find(name("bob_b")).await.unwrap();
    assert!(card.is_contact && card.is_mutual_contact);
    assert_eq!(card.first_name.as_deref(), Some("Bob"));
}

#[tokio::test]
async fn somebody_is_invited_into_every_kind_of_chat_and_is_in_it_then() {
    let fixture = Fixture::new().await;
    let bob = fixture.bob().await;
    for kind in [Kind::Group, Kind::Supergroup, Kind::Channel] {
        let group = fixture.chat(kind, None).await;
        assert_eq!(fixture.membership(group, bob).await, Membership::Absent, "{kind:?}");
        assert_eq!(fixture.invite(group, bob).await, IN, "{kind:?}");
        assert_eq!(fixture.membership(group, bob).await, Membership::Member, "{kind:?}");
        let again = fixture.invite(group, bob).await;
        let code = "USER_ALREADY_PARTICIPANT".to_owned();
        assert_eq!(again, Err(Failure::AlreadyDone { code }), "{kind:?}");
    }
    let reached = fixture.sim.contacted().await;
    assert_eq!(reached.iter().filter(|one| one.accepted).count(), 3);
}

#[tokio::test]
async fn whoever_cannot_be_added_is_missing_and_whoever_was_removed_refuses() {
    let fixture = Fixture::new().await;
    let bob = fixture.bob().await;
    for kind in [Kind::Group, Kind::Supergroup] {
        let group = fixture.chat(kind, None).await;
        let missing = |needs_premium, needs_premium_to_write| {
            let missing = Some(Missing { needs_premium, needs_premium_to_write });
            Ok(Outcome::Invited { missing })
        };
        let refuses = Privacy { refuse_invites: true, ..Privacy::default() };
        fixture.sim.set_privacy(fixture.bob.user_id, refuses).await.unwrap();
        assert_eq!(fixture.invite(group, bob).await, missing(false, false), "{kind:?}");
        let premium = Privacy { premium_required: true, ..Privacy::default() };
        fixture.sim.set_privacy(fixture.bob.user_id, premium).await.unwrap();
        assert_eq!(fixture.invite(group, bob).await, missing(true, true), "{kind:?}");
        assert_eq!(fixture.membership(group, bob).await, Membership::Absent, "{kind:?}");
        fixture.sim.set_privacy(fixture.bob.user_id, Privacy::default()).await.unwrap();
        fixture.sim.ban(group.id.0, fixture.bob.user_id).await.unwrap();
        let refused = code(fixture.invite(group, bob).await);
        let (expected, place) = match kind {
            Kind::Group => ("USER_NOT_MUTUAL_CONTACT", Membership::Absent),
            _ => ("USER_KICKED", Membership::Banned),
        };
        assert_eq!((refused.as_str(), fixture.membership(group, bob).await), (expected, place));
    }
}

#[tokio::test]
async fn whoever_asks_to_be_let_in_is_seen_by_those_who_let_people_in() {
    let fixture = Fixture::new().await;
    let bob = fixture.bob().await;
    for kind in [Kind::Group, Kind::Supergroup] {
        let group = fixture.chat(kind, None).await;
        let new = NewLink { request_needed: true, ..NewLink::default() };
        let link = fixture.sim.add_link(group.id.0, new).await.unwrap().invite_link;
        fixture.sim.join(fixture.bob.user_id, &link).await.unwrap();
        assert_eq!(fixture.membership(group, bob).await, Membership::Requested, "{kind:?}");
        let link = SecretText::new(link);
        let uses = fixture.run(Call::LinkUses { group, link }).await;
        assert_eq!(uses, Ok(Outcome::LinkUses { joined: 0, waiting: 1 }), "{kind:?}");
    }
}

#[tokio::test]
async fn rights_room_and_an_upgrade_are_told_before_anybody_is_invited() {
    let fixture = Fixture::new().await;
    let group = fixture.chat(Kind::Supergroup, None).await;
    let rights = fixture.rights(group.id.0).await;
    assert_eq!((rights.members, rights.is_full, rights.obstacle()), (Some(1), Some(false), None));
    assert!(rights.sees_members && !rights.needs_approval && rights.upgraded_from.is_none());

    let (title, members) = ("Theirs".to_owned(), vec![fixture.me.user_id, fixture.bob.user_id]);
    let username = Some("their_chat".to_owned());
    let new = NewChat { kind: Kind::Supergroup, title, username, members, admins: vec![] };
    let theirs = fixture.sim.add_chat(new).await.unwrap();
    let may_not = MemberRights { may_invite: Some(false), ..MemberRights::default() };
    fixture.sim.set_rights(theirs.chat_id, fixture.me.user_id, may_not).await.unwrap();
    let rights = fixture.rights_of(ChatTarget::Username("their_chat".into())).await;
    assert_eq!((rights.members, rights.obstacle()), (Some(2), Some(InviteObstacle::NoRight)));

    let basic = fixture.chat(Kind::Group, None).await;
    let successor = fixture.sim.upgrade(basic.id.0).await.unwrap();
    let rights = fixture.rights(basic.id.0).await;
    assert_eq!((rights.chat.peer.id.0, rights.upgraded_from), (successor, Some(basic.id)));
    let asked_anew = fixture.rights(successor).await;
    assert_eq!((asked_anew.upgraded_from, asked_anew.formerly), (None, Some(basic.id)));
    let bob = fixture.bob().await;
    assert!(matches!(fixture.invite(basic, bob).await, Err(Failure::ChatLost { .. })));
    assert_eq!(fixture.invite(rights.chat.peer, bob).await, IN);
    assert_eq!(fixture.membership(basic, bob).await, Membership::Member, "asked of the successor");
}

#[tokio::test]
async fn there_is_one_link_whoever_asks_and_however_often() {
    let fixture = Fixture::new().await;
    let bob = fixture.bob().await;
    for kind in [Kind::Group, Kind::Supergroup, Kind::Channel] {
        let group = fixture.chat(kind, None).await;
        let (link, needs_approval) = fixture.link(group).await;
        assert!(link.starts_with("https://t.me/+") && !needs_approval, "{kind:?} {link}");
        assert_eq!(fixture.link(group).await.0, link, "{kind:?}");
        fixture.sim.join(fixture.bob.user_id, &link).await.unwrap();
        let call = || Call::LinkUses { group, link: SecretText::new(link.clone()) };
        assert_eq!(fixture.run(call()).await, Ok(Outcome::LinkUses { joined: 1, waiting: 0 }));
        assert_eq!(fixture.membership(group, bob).await, Membership::Member, "{kind:?}");
        let links = fixture.sim.links(group.id.0).await.unwrap();
        assert!(links.iter().all(|link| !link.revoked), "{kind:?}");
    }
    let (title, members) = ("Theirs".to_owned(), vec![fixture.me.user_id]);
    let username = Some("their_chat".to_owned());
    let new = NewChat { kind: Kind::Supergroup, title, username, members, admins: vec![] };
    let theirs = fixture.sim.add_chat(new).await.unwrap().chat_id;
    let group = fixture.rights_of(ChatTarget::Username("their_chat".into())).await.chat.peer;
    assert_eq!(group.id.0, theirs);
    assert_eq!(fixture.link(group).await.0, "https://t.me/their_chat", "who is no admin");
}
