//! Whatever panics, and at whatever step: the account or its connection begins anew, whoever waits is told, and the
//! siblings do not notice.

use std::time::Duration;

use crate::actors::tests::{FleetFixture, Heard, TestEnvironment, message, pass, soon};
use crate::failpoint;
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::record::Credentials;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::telegram::Call;
use crate::telegram::fake::{Answer, Then, channel};

fn room() -> MarkedId {
    channel(5)
}

fn look_up() -> Call {
    Call::Resolve(ChatTarget::Marked(room()))
}

/// Two accounts, both listened through, of which the second is not to notice anything.
struct Fixture {
    environment: TestEnvironment,
    fixture: FleetFixture,
    ann: Credentials,
    bob: Credentials,
}

impl Fixture {
    async fn new() -> Self {
        let environment = TestEnvironment::new();
        let (ann, bob) = (environment.telegram.person(1, 7), environment.telegram.person(2, 8));
        environment.telegram.chat(room(), "room", None);
        environment.bring(&ann).await;
        environment.bring(&bob).await;
        let fixture = environment.fleet().await;
        Self { environment, fixture, ann, bob }
    }

    fn dials_of(&self, who: &Credentials) -> usize {
        let dials = self.environment.telegram.who_asked("dial");
        dials.into_iter().filter(|key| *key == Some(who.account)).count()
    }

    fn state(&self) -> AccountState {
        self.fixture.context.status.view(self.ann.account).unwrap().state
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The library, while dialling.
    Dialling,
    /// The actor, as it hears of the dial's end.
    Dialled,
    /// The library, while calling.
    Calling,
    /// The actor, as it is asked for a call.
    Asked,
    /// The actor, as it hears of the call's end.
    Called,
    /// The library, while following updates.
    Following,
    /// Ours, while handing a batch to the monitors.
    Delivering,
}

#[tokio::test(start_paused = true)]
async fn a_panic_at_any_step_is_over_soon_and_nobody_else_notices() {
    for step in [
        Step::Dialling,
        Step::Dialled,
        Step::Calling,
        Step::Asked,
        Step::Called,
        Step::Following,
        Step::Delivering,
    ] {
        let fixture = Fixture::new().await;
        let Fixture { environment, fixture: fleet, ann, bob } = &fixture;
        let sibling = fleet.watch(bob.account, room(), false).await;
        soon().await;
        match step {
            Step::Dialling => {
                environment.telegram.next_of(ann.account, "dial", Answer::now(Then::Panic));
            }
            Step::Dialled => failpoint::trip("account.dialled", &ann.account, 1),
            _ => {}
        }
        let listener = fleet.watch(ann.account, room(), false).await;
        soon().await;
        let mut answer = None;
        match step {
            Step::Dialling | Step::Dialled => {}
            Step::Calling => {
                environment.telegram.next_of(ann.account, "resolve", Answer::now(Then::Panic));
                answer = Some(fleet.ask(ann.account, look_up()));
            }
            Step::Asked => {
                failpoint::trip("account", &7, 1);
                answer = Some(fleet.ask(ann.account, look_up()));
            }
            Step::Called => {
                failpoint::trip("account.called", &ann.account, 1);
                answer = Some(fleet.ask(ann.account, look_up()));
            }
            Step::Following => environment.telegram.panic_while_following(ann.account),
            Step::Delivering => {
                failpoint::trip("account.delivers", &ann.account, 1);
                environment.telegram.say(room(), message(1));
            }
        }
        if let Some(answer) = answer {
            let told = tokio::time::timeout(Duration::from_secs(1), answer).await;
            let told = told.unwrap_or_else(|_| panic!("{step:?}: whoever waits is told"));
            assert!(matches!(told, Ok(Err(Failure::Transient { .. }))), "{step:?}: {told:?}");
        }
        pass(10).await;
        assert_eq!(fixture.state(), AccountState::Active, "{step:?}");
        assert_eq!(listener.heard().last(), Some(&Heard::Up), "{step:?}");
        let dials = if step == Step::Calling { 1 } else { 2 };
        assert_eq!(fixture.dials_of(ann), dials, "{step:?}");
        assert!(fleet.ask(ann.account, look_up()).await.unwrap().is_ok(), "{step:?}");
        let expected = if step == Step::Delivering {
            vec![Heard::Up, Heard::Said(vec![1])]
        } else {
            vec![Heard::Up]
        };
        assert_eq!(sibling.heard(), expected, "{step:?}");
        assert_eq!((fixture.dials_of(bob), environment.telegram.doubled()), (1, 0), "{step:?}");
        // What becomes of a connection is told by the account's state; the ledger is for actors.
        let is_actor = matches!(step, Step::Dialled | Step::Asked | Step::Called);
        assert_eq!(environment.ledger().await.len(), usize::from(is_actor), "{step:?}");
    }
}

/// The library's own deadlines are not what ends it: they stand still with it.
#[tokio::test(start_paused = true)]
async fn a_connection_that_stands_still_is_dropped_and_dialled_again_and_nobody_else_notices() {
    let environment = TestEnvironment::new();
    let people = [environment.telegram.person(1, 7), environment.telegram.person(2, 8)];
    let room = channel(5);
    environment.telegram.chat(room, "room", None);
    for person in &people {
        environment.bring(person).await;
    }
    let fixture = environment.fleet().await;
    let [stalled, sound] = [&people[0], &people[1]];
    let listener = fixture.watch(stalled.account, room, false).await;
    let other = fixture.watch(sound.account, channel(6), false).await;
    soon().await;
    listener.heard();
    other.heard();
    environment.telegram.stall(stalled.account);
    pass(30).await;
    assert_eq!(environment.telegram.count("dial"), 2, "it is given time");
    pass(60).await;
    assert_eq!(environment.telegram.who_asked("dial")[2..], [Some(stalled.account)]);
    environment.telegram.say(room, message(1));
    soon().await;
    assert!(listener.heard().contains(&Heard::Said(vec![1])), "its chat goes on");
    assert_eq!((other.heard(), environment.telegram.doubled()), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn an_account_that_crashes_again_and_again_is_parked_until_somebody_asks_for_it() {
    let fixture = Fixture::new().await;
    let Fixture { environment, fixture: fleet, ann, bob } = &fixture;
    let sibling = fleet.watch(bob.account, room(), false).await;
    failpoint::trip("account.dialled", &ann.account, u32::MAX);
    let listener = fleet.watch(ann.account, room(), false).await;
    pass(120).await;
    let times: Vec<_> = environment.telegram.book().into_iter().collect();
    let dials: Vec<_> = times
        .iter()
        .filter(|asked| asked.method == "dial" && asked.key == Some(ann.account))
        .map(|asked| asked.at)
        .collect();
    assert_eq!(dials.len(), 6, "{dials:?}");
    let pauses: Vec<_> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]), "they grow: {pauses:?}");
    assert!(pauses[0] >= Duration::from_millis(250), "{pauses:?}");
    let parked = Failure::transient("the account keeps crashing and is parked");
    assert_eq!(listener.heard(), [Heard::Lost(parked.clone())]);
    assert_eq!(environment.ledger().await.len(), 6);
    assert_eq!(fixture.state(), AccountState::Error);
    // Whoever asks is told so, and whoever listens.
    let told = fleet.ask(ann.account, look_up()).await.unwrap();
    assert_eq!(told, Err(Failure::transient("the account is not running")));
    let late = fleet.watch(ann.account, room(), false).await;
    soon().await;
    assert_eq!(late.heard(), [Heard::Lost(parked)]);
    assert!(fleet.ask(bob.account, look_up()).await.unwrap().is_ok());
    assert_eq!((sibling.heard(), fixture.dials_of(bob)), (vec![Heard::Up], 1));
    assert_eq!(environment.telegram.connections(), 1, "what crashed left nothing open");
    failpoint::trip("account.dialled", &ann.account, 0);
    let again = fleet.watch(ann.account, room(), true).await;
    soon().await;
    assert_eq!((again.heard(), listener.heard()), (vec![Heard::Up], vec![Heard::Up]));
    assert_eq!(environment.telegram.doubled(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_account_that_crashes_while_its_sockets_close_slowly_is_not_connected_twice() {
    let fixture = Fixture::new().await;
    let Fixture { environment, fixture: fleet, ann, .. } = &fixture;
    let listener = fleet.watch(ann.account, room(), false).await;
    soon().await;
    environment.telegram.closing_takes(Duration::from_secs(5));
    failpoint::trip("account", &7, 1);
    assert!(fleet.ask(ann.account, look_up()).await.unwrap().is_err());
    pass(3).await;
    assert_eq!(fixture.dials_of(ann), 1, "its next life waits for the sockets");
    pass(10).await;
    assert_eq!((fixture.dials_of(ann), environment.telegram.doubled()), (2, 0));
    assert_eq!(listener.heard(), [Heard::Up, Heard::Up]);
}
