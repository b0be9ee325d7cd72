//! Sending in a whole tree, on a Telegram in memory and in virtual time. What is asked each time: was the message sent
//! once at the most, and what is its sender told.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::actors::messages::sender::UNDER_WAY_MAX;
use crate::actors::root::Root;
use crate::actors::services::MessageService;
use crate::actors::tests::{TestEnvironment, pass, soon, user};
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::campaigns::caps::Budget;
use crate::protocol::messages::outgoing::Outgoing;
use crate::protocol::messages::record::SentMessage;
use crate::protocol::telegram::failure::{Failure, WaitScope};
use crate::protocol::values::secret::SecretText;
use crate::store::Op;
use crate::store::gated::GatedDisk;
use crate::telegram::Call;
use crate::telegram::fake::{Answer, Then, channel};

type Told = Result<(SentMessage, bool), Refusal>;

/// A tree, and Ann, who has an account and writes into a room.
struct Fixture {
    environment: TestEnvironment,
    root: Root,
    account: OwnedAccount,
}

impl Fixture {
    async fn new() -> Self {
        Self::on(TestEnvironment::new()).await
    }

    async fn on(environment: TestEnvironment) -> Self {
        let credentials = environment.telegram.person(1, 7);
        environment.telegram.chat(channel(5), "room", None);
        let account = environment.own(&credentials, "ann").await;
        let root = environment.tree().await;
        soon().await;
        Self { environment, root, account }
    }

    fn messages(&self) -> Arc<dyn MessageService> {
        self.root.services().messages
    }

    fn begin(&self, text: &str, key: Option<&str>, seconds: u64) -> JoinHandle<Told> {
        let (messages, id) = (self.messages(), self.account.id);
        let message = Outgoing {
            to: channel(5).0.to_string(),
            text: SecretText::new(text.into()),
            parse_mode: None,
            reply_to: None,
            silent: false,
            timeout: Duration::from_secs(seconds),
            idempotency_key: key.map(str::to_owned),
        };
        tokio::spawn(async move { messages.send(&user("ann"), id, message).await })
    }

    async fn send(&self, text: &str, key: Option<&str>, seconds: u64) -> Told {
        self.begin(text, key, seconds).await.unwrap()
    }

    /// What campaigns that act by the account count as sent.
    async fn counted_for_campaigns(&self) -> u32 {
        let person = self.account.telegram_id;
        let counts =
            self.environment.store.read(move |store| store.use_counts(person)).await.unwrap();
        let messages = counts.iter().filter(|count| count.budget == Budget::Message);
        messages.map(|count| count.used - count.given_back).sum()
    }

    /// The `random_id` of every try.
    fn tries(&self) -> Vec<i64> {
        let calls = self.environment.telegram.book().into_iter().filter_map(|asked| asked.call);
        let random_id = |call| match call {
            Call::Send(message) => Some(message.random_id),
            _ => None,
        };
        calls.filter_map(random_id).collect()
    }
}

fn lost_answer() -> Answer {
    Answer::now(Then::DoneUnheard)
}

#[tokio::test(start_paused = true)]
async fn a_repetition_under_the_same_key_gets_the_same_answer_also_in_the_next_life() {
    let fixture = Fixture::new().await;
    let (sent, was_before) = fixture.send("hello", Some("one"), 10).await.unwrap();
    assert!(!was_before);
    assert_eq!(fixture.send("hello", Some("one"), 10).await.unwrap(), (sent, true));
    let other = fixture.send("good bye", Some("one"), 10).await.unwrap_err();
    assert_eq!(other.code, Code::Conflict, "the key stands for another message");
    let Fixture { environment, root, account } = fixture;
    environment.stop(root).await;
    let root = environment.tree().await;
    let fixture = Fixture { environment, root, account };
    assert_eq!(fixture.send("hello", Some("one"), 10).await.unwrap(), (sent, true));
    assert_eq!(fixture.tries().len(), 1);
    // Without a key each is a message of its own.
    fixture.send("hello", None, 10).await.unwrap();
    fixture.send("hello", None, 10).await.unwrap();
    assert_eq!(fixture.environment.telegram.sent(), 3);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_the_same_while_it_is_under_way_joins_it() {
    let fixture = Fixture::new().await;
    fixture.environment.telegram.next("send", Answer::after(Duration::from_secs(3), Then::World));
    let first = fixture.begin("hello", Some("one"), 10);
    soon().await;
    let second = fixture.begin("hello", Some("one"), 10);
    let other = fixture.begin("another", Some("one"), 10);
    assert_eq!(other.await.unwrap().unwrap_err().code, Code::Conflict);
    assert_eq!(first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!(fixture.tries().len(), 1);
    // Its caller goes away: it is sent, and noted, all the same.
    fixture.environment.telegram.next("send", Answer::after(Duration::from_secs(3), Then::World));
    let gone = fixture.begin("more", Some("two"), 10);
    soon().await;
    gone.abort();
    pass(5).await;
    assert!(fixture.send("more", Some("two"), 10).await.unwrap().1, "it was sent before");
    assert_eq!(fixture.tries().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_room_a_message_is_refused_and_a_repetition_joins_all_the_same() {
    let fixture = Fixture::new().await;
    let slow = || Answer::after(Duration::from_secs(3), Then::World);
    (0..UNDER_WAY_MAX).for_each(|_| fixture.environment.telegram.next("send", slow()));
    let begun: Vec<_> = (0..UNDER_WAY_MAX)
        .map(|number| fixture.begin("hello", Some(&number.to_string()), 60))
        .collect();
    soon().await;
    let refused = fixture.send("hello", Some("more"), 60).await.unwrap_err();
    assert_eq!(refused.code, Code::Overloaded);
    let joined = fixture.begin("hello", Some("0"), 60);
    for sending in begun {
        sending.await.unwrap().unwrap();
    }
    joined.await.unwrap().unwrap();
    assert_eq!(fixture.tries().len(), UNDER_WAY_MAX, "what was refused was not sent");
    fixture.send("hello", Some("more"), 60).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_under_the_same_random_id() {
    let fixture = Fixture::new().await;
    fixture.environment.telegram.next("send", lost_answer());
    fixture.send("hello", None, 40).await.unwrap();
    let tries = fixture.tries();
    assert_eq!((tries.len(), fixture.environment.telegram.sent()), (2, 1));
    assert_eq!(tries[0], tries[1]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_under_a_message_has_it_sent_over_the_next() {
    let fixture = Fixture::new().await;
    fixture.environment.telegram.next("send", Answer::after(Duration::from_secs(9), Then::World));
    let sending = fixture.begin("hello", Some("one"), 30);
    soon().await;
    let reset = Failure::transient("connection reset");
    fixture.environment.telegram.hang_up(fixture.account.key, reset);
    sending.await.unwrap().unwrap();
    assert_eq!((fixture.tries().len(), fixture.environment.telegram.sent()), (2, 1));
}

/// Its caller is told that it is not known, and learns it by asking once more.
#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_too_late_for_its_caller_is_noted() {
    let fixture = Fixture::new().await;
    fixture.environment.telegram.next("send", Answer::after(Duration::from_secs(10), Then::World));
    let refusal = fixture.send("hello", Some("one"), 3).await.unwrap_err();
    assert!(refusal.detail.contains("to learn the outcome without sending twice"), "{refusal:?}");
    pass(10).await;
    assert!(fixture.send("hello", Some("one"), 3).await.unwrap().1);
    assert_eq!(fixture.tries().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_comes_is_learnt_by_a_repetition_without_sending_twice() {
    let fixture = Fixture::new().await;
    fixture.environment.telegram.next("send", lost_answer());
    let refusal = fixture.send("hello", Some("one"), 3).await.unwrap_err();
    assert!(refusal.detail.contains("to learn the outcome without sending twice"), "{refusal:?}");
    pass(30).await;
    fixture.send("hello", Some("one"), 10).await.unwrap();
    let tries = fixture.tries();
    assert_eq!((tries.len(), fixture.environment.telegram.sent()), (2, 1));
    assert_eq!(tries[0], tries[1]);
}

/// The power is cut between the intent and the outcome, whether Telegram took the message or not.
#[tokio::test(start_paused = true)]
async fn after_a_power_cut_a_repetition_sends_with_the_same_random_id() {
    for then in [Then::DoneUnheard, Then::Silence] {
        let disk = GatedDisk::default();
        let (store, outbox, _) = disk.open();
        let fixture = Fixture::on(TestEnvironment::on(store, outbox)).await;
        fixture.environment.telegram.next("send", Answer::now(then));
        let _sending = fixture.begin("hello", Some("one"), 30);
        soon().await;
        let (store, outbox, _) = disk.after_a_power_cut().open();
        let telegram = fixture.environment.telegram.clone();
        fixture.root.kill();
        soon().await;
        let environment = TestEnvironment::on(store, outbox).before(telegram);
        let root = environment.tree().await;
        let fixture = Fixture { environment, root, account: fixture.account };
        soon().await;
        fixture.send("hello", Some("one"), 10).await.unwrap();
        let tries = fixture.tries();
        assert_eq!((tries.len(), fixture.environment.telegram.sent()), (2, 1));
        assert_eq!(tries[0], tries[1]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_wait_is_told_and_nothing_is_sent_meanwhile() {
    let fixture = Fixture::new().await;
    let scope = WaitScope::MethodClass;
    let wait = Failure::Wait { code: "FLOOD_WAIT".into(), seconds: 600, scope };
    fixture.environment.telegram.next("send", Answer::now(Then::Fail(wait)));
    for _ in 0..2 {
        let refusal = fixture.send("hello", Some("one"), 10).await.unwrap_err();
        assert_eq!(refusal.code, Code::TelegramWait);
        assert!(refusal.detail.contains("nothing was sent"), "{refusal:?}");
        assert!(refusal.retry_after.is_some_and(|after| after > 500), "{refusal:?}");
    }
    assert_eq!((fixture.tries().len(), fixture.environment.telegram.sent()), (1, 0));
    let kept = fixture.environment.kept(fixture.account.key).await.unwrap();
    assert_eq!(kept.flood_waits.len(), 1);
}

/// What was certainly not sent does not count; what may have been sent does.
#[tokio::test(start_paused = true)]
async fn the_daily_limit_counts_what_was_sent_or_may_have_been() {
    let fixture = Fixture::new().await;
    fixture.environment.limits.send_modify(|limits| limits.sends_per_day = 2);
    let lost = Failure::ChatLost { code: "CHAT_WRITE_FORBIDDEN".into() };
    fixture.environment.telegram.next("send", Answer::now(Then::Fail(lost)));
    let refusal = fixture.send("not this one", None, 10).await.unwrap_err();
    assert_eq!(refusal.code, Code::ChatForbidden);
    assert_eq!(fixture.counted_for_campaigns().await, 0);
    fixture.send("one", None, 10).await.unwrap();
    fixture.environment.telegram.next("send", Answer::now(Then::Silence));
    assert!(fixture.send("maybe", Some("maybe"), 3).await.is_err());
    pass(30).await;
    let refusal = fixture.send("too many", None, 10).await.unwrap_err();
    assert_eq!(refusal.code, Code::RateLimited);
    assert!(refusal.detail.contains("daily limit"), "{refusal:?}");
    fixture.send("maybe", Some("maybe"), 10).await.unwrap();
    assert_eq!(fixture.environment.telegram.sent(), 2);
    assert_eq!(fixture.counted_for_campaigns().await, 2);
    // The next life has counted, too.
    let Fixture { environment, root, account } = fixture;
    environment.stop(root).await;
    let root = environment.tree().await;
    let fixture = Fixture { environment, root, account };
    soon().await;
    assert_eq!(fixture.send("again", None, 10).await.unwrap_err().code, Code::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn a_new_day_has_a_count_of_its_own_as_the_refusal_of_the_old_one_says() {
    let fixture = Fixture::new().await;
    fixture.environment.limits.send_modify(|limits| limits.sends_per_day = 1);
    fixture.send("one", None, 10).await.unwrap();
    let refusal = fixture.send("too many", None, 10).await.unwrap_err();
    let midnight = refusal.retry_after.unwrap();
    assert!((1..=86_400).contains(&midnight), "{refusal:?}");
    pass(midnight.saturating_sub(60)).await;
    assert_eq!(fixture.send("still", None, 10).await.unwrap_err().code, Code::RateLimited);
    pass(61).await;
    fixture.send("two", None, 10).await.unwrap();
    assert_eq!(fixture.send("too many", None, 10).await.unwrap_err().code, Code::RateLimited);
    assert_eq!(fixture.environment.telegram.sent(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_held_or_cannot_be_connected_sends_nothing() {
    let environment = TestEnvironment::new();
    let credentials = environment.telegram.person(1, 7);
    environment.telegram.chat(channel(5), "room", None);
    let account = OwnedAccount { is_paused: true, ..environment.own(&credentials, "ann").await };
    environment.store.commit(vec![Op::put_row(&account)]).await.unwrap();
    let root = environment.tree().await;
    let fixture = Fixture { environment, root, account };
    assert_eq!(fixture.send("hello", None, 10).await.unwrap_err().code, Code::Conflict);
    assert_eq!((fixture.tries().len(), fixture.environment.telegram.count("dial")), (0, 0));

    let fixture = Fixture::new().await;
    let reset = Failure::transient("connection reset");
    fixture.environment.telegram.always("dial", Answer::now(Then::Fail(reset.clone())));
    fixture.environment.telegram.hang_up(fixture.account.key, reset);
    soon().await;
    let refusal = fixture.send("hello", Some("one"), 10).await.unwrap_err();
    assert_eq!(refusal.code, Code::TelegramUnavailable, "{refusal:?}");
    assert_eq!(fixture.tries().len(), 0);
    fixture.environment.telegram.always("dial", Answer::now(Then::World));
    pass(120).await;
    assert!(!fixture.send("hello", Some("one"), 10).await.unwrap().1);
}
