//! The fleet: who needs an account, who is told what, and what is left when one goes.

use std::time::Duration;

use tokio::time::timeout;

use crate::actors::accounts::fleet::{Changed, FleetMsg, OwnedMsg, Wanted};
use crate::actors::tests::{FleetFixture, Heard, TestEnvironment, message, pass, soon};
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::telegram::Call;
use crate::telegram::fake::{Answer, Then, channel};

fn room(number: i64) -> MarkedId {
    channel(number)
}

impl FleetFixture {
    /// Its user wants something of an account.
    async fn change(&self, account: &OwnedAccount, wanted: Wanted) -> Result<Changed, Refusal> {
        let (user, id) = (account.user.clone(), account.id);
        let who = crate::actors::tests::user(user.as_str());
        let audit_event = AuditEvent::by(&who, &user, "account.change", crate::clock::now()).on(id);
        let ask =
            |reply| FleetMsg::Owned(OwnedMsg::Change { user, id, wanted, audit_event, reply });
        crate::actors::tree::calling::call(&self.fleet, ask, Duration::from_secs(20))
            .await
            .unwrap_or_else(|_| panic!("the fleet answers"))
    }
}

#[tokio::test(start_paused = true)]
async fn two_monitors_share_the_connection_of_an_account_and_each_hears_its_own_chat() {
    let environment = TestEnvironment::new();
    let ann = environment.telegram.person(1, 7);
    for number in [1, 2] {
        environment.telegram.chat(room(number), "room", None);
    }
    environment.bring(&ann).await;
    let stage = environment.fleet().await;
    let one = stage.watch(ann.account, room(1), false).await;
    let two = stage.watch(ann.account, room(2), false).await;
    soon().await;
    environment.telegram.say(room(1), message(4));
    environment.telegram.say(room(2), message(9));
    environment.telegram.say(room(1), message(5));
    soon().await;
    assert_eq!(one.heard(), [Heard::Up, Heard::Said(vec![4]), Heard::Said(vec![5])]);
    assert_eq!(two.heard(), [Heard::Up, Heard::Said(vec![9])]);
    stage.unwatch(ann.account, room(1), &one);
    pass(60).await;
    environment.telegram.say(room(1), message(6));
    environment.telegram.say(room(2), message(10));
    soon().await;
    assert_eq!((one.heard(), two.heard()), (vec![], vec![Heard::Said(vec![10])]));
    assert_eq!((environment.telegram.count("dial"), environment.telegram.connections()), (1, 1));
    stage.unwatch(ann.account, room(2), &two);
    pass(6).await;
    assert_eq!(environment.telegram.connections(), 0);
    // The next one who wants it has it dialled.
    let three = stage.watch(ann.account, room(1), false).await;
    soon().await;
    assert_eq!((three.heard(), environment.telegram.doubled()), (vec![Heard::Up], 0));
}

#[tokio::test(start_paused = true)]
async fn accounts_of_users_are_connected_though_nobody_listens_and_as_their_users_say() {
    let environment = TestEnvironment::new();
    let ann = environment.telegram.person(1, 7);
    let owned = environment.own(&ann, "ann").await;
    let stage = environment.fleet().await;
    let state = || stage.context.status.view(ann.account).unwrap().state;
    pass(60).await;
    assert_eq!((state(), environment.telegram.connections()), (AccountState::Active, 1));
    stage.change(&owned, Wanted::Held).await.unwrap();
    soon().await;
    assert_eq!((state(), environment.telegram.connections()), (AccountState::Paused, 0));
    pass(600).await;
    stage.change(&owned, Wanted::Redialled).await.unwrap();
    soon().await;
    assert_eq!(environment.telegram.count("dial"), 1, "what is held stays so");
    stage.stop().await;
    let stage = environment.fleet().await;
    pass(60).await;
    assert_eq!(environment.telegram.count("dial"), 1, "also in the next life");
    stage.change(&owned, Wanted::Resumed).await.unwrap();
    soon().await;
    stage.change(&owned, Wanted::Redialled).await.unwrap();
    soon().await;
    assert_eq!((environment.telegram.count("dial"), environment.telegram.connections()), (3, 1));
    assert_eq!(environment.telegram.doubled(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_removed_while_it_dials_leaves_nothing_behind() {
    let environment = TestEnvironment::new();
    let ann = environment.telegram.person(1, 7);
    let owned = environment.own(&ann, "ann").await;
    environment.telegram.next("dial", Answer::after(Duration::from_secs(5), Then::World));
    let stage = environment.fleet().await;
    let key = crate::protocol::telegram::chat::ChatKey("room\0ann".into());
    soon().await;
    let listener = crate::actors::tests::TestListener::new().await;
    let (account, subscription) = (ann.account, listener.subscription(room(1)));
    stage.fleet.cast(FleetMsg::Watch { account, key, subscription, retry: false }).unwrap();
    let waiting = stage.ask(ann.account, Call::Resolve(ChatTarget::Marked(room(1))));
    soon().await;
    assert!(environment.telegram.is_connected(ann.account), "it dials");
    stage.change(&owned, Wanted::Gone).await.unwrap();
    let told = timeout(Duration::from_secs(1), waiting).await.expect("whoever waits is told");
    assert!(matches!(told, Ok(Err(_))));
    pass(60).await;
    assert_eq!((environment.telegram.connections(), environment.telegram.count("dial")), (0, 1));
    assert!(environment.kept(ann.account).await.is_none());
    assert!(environment.store.credentials(ann.account).unwrap().is_none(), "the session is wiped");
    assert!(listener.heard().iter().any(|heard| matches!(heard, Heard::Lost(_))));
    let again = stage.change(&owned, Wanted::Resumed).await;
    assert!(again.is_err(), "there is no such account");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_accounts_is_connected_each_once() {
    let environment = TestEnvironment::new();
    let mut ears = Vec::new();
    let people: Vec<_> = (1..=30)
        .map(|number| environment.telegram.person(number, 100 + i64::from(number)))
        .collect();
    environment.telegram.chat(room(1), "room", None);
    for person in &people {
        environment.bring(person).await;
    }
    let stage = environment.fleet().await;
    for person in &people {
        ears.push(stage.watch(person.account, room(1), false).await);
    }
    pass(10).await;
    assert_eq!((environment.telegram.connections(), environment.telegram.count("dial")), (30, 30));
    for person in &people {
        environment.telegram.hang_up(person.account, Failure::transient("connection reset"));
    }
    pass(20).await;
    assert_eq!((environment.telegram.connections(), environment.telegram.count("dial")), (30, 60));
    assert!(ears.iter().all(|listener| listener.heard() == [Heard::Up, Heard::Up]));
    assert_eq!(environment.telegram.doubled(), 0);
    stage.stop().await;
    soon().await;
    assert_eq!(environment.telegram.connections(), 0, "with the fleet goes every connection");
}
