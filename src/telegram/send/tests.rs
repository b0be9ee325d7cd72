use std::sync::Mutex;

use telewarden_simulator::{
    Account, Chat, ChatKind, FaultKind, FaultSpec, NewAccount, NewChat, Simulator,
};

use super::super::call::Call;
use super::super::peers::PeerBook;
use super::super::sim::{account, link, simulator};
use super::*;
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId};
use crate::protocol::telegram::failure::WaitScope;
use crate::protocol::values::secret::SecretText;

struct Fixture {
    sim: Simulator,
    me: Account,
    other: Account,
    caller: RawCaller,
    peers: Mutex<PeerBook>,
    _connection: super::super::link::Connection,
}

impl Fixture {
    async fn new() -> Self {
        let sim = simulator().await;
        let me = account(&sim, NewAccount::default()).await;
        let username = Some("other_one".into());
        let phone = Some("+79990001122".into());
        let other = account(&sim, NewAccount { username, phone, ..NewAccount::default() }).await;
        let (caller, _, connection) = link(&sim, &me).await.into_parts();
        let peers = Mutex::default();
        Self { sim, me, other, caller, peers, _connection: connection }
    }

    async fn run(&self, call: Call) -> Result<Outcome, Failure> {
        Ok(call.run(&self.caller, &self.peers, false).await?.0)
    }

    async fn resolved(&self, target: Target) -> PeerRecord {
        match self.run(Call::ResolveTarget(target)).await.unwrap() {
            Outcome::Resolved { peer, .. } => peer,
            finding => panic!("unexpected {finding:?}"),
        }
    }

    async fn to_other(&self) -> PeerRecord {
        self.resolved(Target::Chat(ChatTarget::Username("other_one".into()))).await
    }

    async fn chat(&self, kind: ChatKind, members: Vec<i64>, admins: Vec<i64>) -> Chat {
        let username = (kind != ChatKind::Group).then(|| "some_chat".into());
        let new = NewChat { kind, title: "Some".into(), username, members, admins };
        self.sim.add_chat(new).await.unwrap()
    }
}

fn message(peer: PeerRecord, text: &str, random_id: i64) -> SendMessage {
    let text = text.to_owned();
    SendMessage { peer, text, parse_mode: None, reply_to: None, silent: false, random_id }
}

fn id_of(finding: Outcome) -> i32 {
    match finding {
        Outcome::Sent { message_id, date } => {
            assert!(date > 1_700_000_000, "{date}");
            message_id
        }
        finding => panic!("unexpected {finding:?}"),
    }
}

#[tokio::test]
async fn a_message_to_a_person_a_group_and_a_channel_is_found_under_its_id() {
    let fixture = Fixture::new().await;
    let (me, other) = (fixture.me.user_id, fixture.other.user_id);
    let peer = fixture.to_other().await;
    let id = id_of(fixture.run(Call::Send(message(peer, "to one", 1))).await.unwrap());
    let inbox = fixture.sim.inbox(other).await.unwrap();
    assert_eq!((inbox.len(), inbox[0].text.as_str(), inbox[0].from), (1, "to one", me));
    assert!(id > 0);

    for (kind, random_id) in [(ChatKind::Group, 2), (ChatKind::Supergroup, 3)] {
        let chat = fixture.chat(kind, vec![me, other], vec![]).await;
        let target = ChatTarget::Marked(MarkedId(chat.chat_id));
        let peer = fixture.resolved(Target::Chat(target)).await;
        let finding = fixture.run(Call::Send(message(peer, "to all", random_id))).await;
        let id = id_of(finding.unwrap());
        let stored = fixture.sim.messages_of(chat.chat_id, me).await.unwrap();
        let sent = stored.iter().find(|stored| stored.message_id == id).unwrap();
        assert_eq!((sent.text.as_str(), sent.from), ("to all", me));
    }
}

#[tokio::test]
async fn markup_and_answers_arrive_as_such() {
    let fixture = Fixture::new().await;
    let peer = fixture.to_other().await;
    let first = id_of(fixture.run(Call::Send(message(peer, "a", 1))).await.unwrap());
    let mut second = message(peer, "<b>b</b> &amp; c", 2);
    (second.parse_mode, second.reply_to) = (Some(ParseMode::Html), Some(first));
    let second = id_of(fixture.run(Call::Send(second)).await.unwrap());
    let history = Call::History { peer, after_id: 0, known_id: 0 };
    let Outcome::History(page) = fixture.run(history).await.unwrap() else { unreachable!() };
    let found = page.messages.iter().find(|message| message.id == second).unwrap();
    assert_eq!((found.text.as_str(), found.reply_to_message_id), ("b & c", Some(first)));
    assert_eq!(found.entities.len(), 1);
    assert_eq!(found.entities[0].kind, "bold");

    let mut unreadable = message(peer, "<b>b", 3);
    unreadable.parse_mode = Some(ParseMode::Html);
    let failure = fixture.run(Call::Send(unreadable)).await.unwrap_err();
    assert_eq!(failure.code(), "ENTITIES_UNREADABLE");
}

/// What happens to every such call from now on, or once.
fn fault(kind: FaultKind, times: Option<u32>) -> FaultSpec {
    let method = (kind == FaultKind::LoseAnswer).then(|| "messages.sendMessage".into());
    FaultSpec { method, kind: Some(kind), times, ..FaultSpec::default() }
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_once_and_found_again() {
    let fixture = Fixture::new().await;
    let group = fixture.chat(ChatKind::Supergroup, vec![fixture.me.user_id], vec![]).await;
    let group = Target::Chat(ChatTarget::Marked(MarkedId(group.chat_id)));
    for (peer, random_id) in [(fixture.to_other().await, 77), (fixture.resolved(group).await, 87)] {
        fixture.sim.add_fault(fault(FaultKind::LoseAnswer, Some(1))).await.unwrap();
        let call = Call::Send(message(peer, "only once ", random_id));
        let failure = fixture.run(call.clone()).await.unwrap_err();
        assert!(matches!(failure, Failure::Transient { .. }), "{failure}");
        let again = id_of(fixture.run(call.clone()).await.unwrap());

        // The same where the server says no more than that it knows the number.
        fixture.sim.add_fault(fault(FaultKind::RefuseDuplicates, None)).await.unwrap();
        assert_eq!(id_of(fixture.run(call).await.unwrap()), again);
        // With a second one that looks the same it cannot be told which it was.
        let twin = Call::Send(message(peer, "only once", random_id + 1));
        id_of(fixture.run(twin.clone()).await.unwrap());
        assert_eq!(fixture.run(twin).await, Ok(Outcome::SentBefore));
        fixture.sim.lift_faults().await;
    }
    assert_eq!(fixture.sim.inbox(fixture.other.user_id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_bot_that_may_not_look_says_only_that_it_was_sent() {
    let fixture = Fixture::new().await;
    let bot = account(&fixture.sim, NewAccount { bot: true, ..NewAccount::default() }).await;
    let (caller, _, _connection) = link(&fixture.sim, &bot).await.into_parts();
    let group = fixture.chat(ChatKind::Group, vec![bot.user_id, fixture.me.user_id], vec![]).await;
    let id = MarkedId(group.chat_id);
    let peer = PeerRecord { id, access_hash: 0, is_bot: false, is_broadcast: false };
    let call = Call::Send(message(peer, "from a bot", 1));
    let run = async || Ok::<_, Failure>(call.run(&caller, &fixture.peers, true).await?.0);
    id_of(run().await.unwrap());
    fixture.sim.add_fault(fault(FaultKind::RefuseDuplicates, None)).await.unwrap();
    assert_eq!(run().await, Ok(Outcome::SentBefore));
}

#[tokio::test]
async fn people_are_found_by_phone_and_number_and_oneself() {
    let fixture = Fixture::new().await;
    let other = MarkedId::user(fixture.other.user_id);
    let by_name = fixture.to_other().await;
    assert_eq!(by_name.id, other);
    let by_number = fixture.resolved(Target::Chat(ChatTarget::Marked(other))).await;
    assert_eq!(by_number, by_name);
    let phone = |text: &str| Target::Phone(SecretText::new(text.into()));
    assert_eq!(fixture.resolved(phone("79990001122")).await, by_name);
    let nobody = fixture.run(Call::ResolveTarget(phone("79990001199"))).await.unwrap_err();
    assert_eq!(nobody, Failure::TargetRefused { code: "PHONE_NOT_OCCUPIED".into() });
    let myself = fixture.resolved(Target::Me).await;
    assert_eq!(myself.id, MarkedId::user(fixture.me.user_id));
    id_of(fixture.run(Call::Send(message(myself, "note", 1))).await.unwrap());
}

#[tokio::test]
async fn slow_mode_holds_the_chat_and_not_the_account() {
    let fixture = Fixture::new().await;
    let peer = fixture.to_other().await;
    let slow = FaultSpec {
        method: Some("messages.sendMessage".into()),
        error: Some("SLOWMODE_WAIT_30".into()),
        times: Some(1),
        ..FaultSpec::default()
    };
    fixture.sim.add_fault(slow).await.unwrap();
    let call = Call::Send(message(peer, "a", 1));
    assert_eq!(call.sends_into(), Some(peer.id));
    let code = "SLOWMODE_WAIT".to_owned();
    let wait = Failure::Wait { code, seconds: 30, scope: WaitScope::Chat };
    assert_eq!(fixture.run(call).await, Err(wait));
}

#[test]
fn a_message_is_never_shown_with_its_text() {
    let peer = PeerRecord { id: MarkedId(5), access_hash: 99, is_bot: false, is_broadcast: false };
    let shown = format!("{:?}", Call::Send(message(peer, "a secret", 1)));
    assert!(!shown.contains("secret") && !shown.contains("99"), "{shown}");
    let target = Call::ResolveTarget(Target::Phone(SecretText::new("79990001122".into())));
    assert!(!format!("{target:?}").contains("7999"));
}

fn new(id: i32, date: i32) -> Update {
    let message = Message::Empty(types::MessageEmpty { id, peer_id: None });
    let _ = date;
    types::UpdateNewMessage { message, pts: 1, pts_count: 1 }.into()
}

#[test]
fn every_form_of_answer_tells_the_id_and_doubt_tells_none() {
    let named = |id, random_id| Update::from(types::UpdateMessageId { id, random_id });
    let all = |updates| {
        let (users, chats) = (Vec::new(), Vec::new());
        Updates::from(types::Updates { updates, users, chats, date: 9, seq: 0 })
    };
    assert_eq!(sent(&all(vec![named(5, 77), new(5, 8)]), 77), Some((5, 9)));
    assert_eq!(sent(&all(vec![named(5, 78), named(6, 77)]), 77), Some((6, 9)));
    assert_eq!(sent(&all(vec![named(5, 78)]), 77), None);
    assert_eq!(sent(&all(vec![]), 77), None);
    let short = types::UpdateShort { update: named(5, 77), date: 9 };
    assert_eq!(sent(&short.into(), 77), Some((5, 9)));
    assert_eq!(sent(&Updates::TooLong, 77), None);
}
