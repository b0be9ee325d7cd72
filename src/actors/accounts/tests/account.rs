//! One account: every state that its connection can be in, left and reached by everything that can happen to it;
//! timers and answers of a connection that is over; and how long it lingers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::actors::accounts::account::{Account, AccountArgs, AccountMsg, LatestRecord};
use crate::actors::accounts::context::AccountsContext;
use crate::actors::tests::{
    FleetFixture, Heard, TestEnvironment, TestListener, pass, record, request, soon,
};
use crate::actors::tree::actor::ActorRef;
use crate::actors::tree::actor::spawn_alone;
use crate::protocol::accounts::connection::{AccountState, Standing};
use crate::protocol::accounts::record::Credentials;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::AuthKeyId;
use crate::telegram::fake::{Answer, Then, channel};
use crate::telegram::{Call, ConnectionLease, Outcome};

/// The chat that everybody listens to.
fn room() -> MarkedId {
    channel(5)
}

fn look_up() -> Call {
    Call::Resolve(ChatTarget::Marked(room()))
}

fn reset() -> Failure {
    Failure::transient("connection reset")
}

fn revoked() -> Failure {
    Failure::Dead { code: "SESSION_REVOKED".into() }
}

/// An account's actor with nobody above it but a fleet that knows no account.
struct Fixture {
    environment: TestEnvironment,
    key: AuthKeyId,
    fleet: FleetFixture,
    account: ActorRef<AccountMsg>,
    /// Listens from the beginning, unless it is on demand.
    listener: TestListener,
}

impl Fixture {
    async fn new(standing: Standing) -> Self {
        Self::on(TestEnvironment::new(), standing, |_, _| {}).await
    }

    /// An account that comes to life after `prepare`.
    async fn on(
        environment: TestEnvironment,
        standing: Standing,
        prepare: impl FnOnce(&TestEnvironment, &Credentials),
    ) -> Self {
        let credentials = environment.telegram.person(1, 7);
        environment.telegram.chat(room(), "room", None);
        environment.bring(&credentials).await;
        prepare(&environment, &credentials);
        let (fleet, listener) = (TestEnvironment::new().fleet().await, TestListener::new().await);
        let account = spawn(&environment.accounts(), &fleet, standing, &listener).await;
        Self { key: credentials.account, environment, fleet, account, listener }
    }

    fn cast(&self, message: AccountMsg) {
        self.account.cast(message).unwrap();
    }

    fn ask(&self, call: Call) -> oneshot::Receiver<Result<Outcome, Failure>> {
        let (request, answer) = request(call);
        self.cast(AccountMsg::Request(request));
        answer
    }

    async fn watch(&self) -> TestListener {
        let listener = TestListener::new().await;
        let (key, subscription) = (listener.key(room()), listener.subscription(room()));
        self.cast(AccountMsg::Watch { key, subscription });
        listener
    }

    fn unwatch(&self, listener: &TestListener) {
        let (key, monitor) = (listener.key(room()), listener.actor.get_id());
        self.cast(AccountMsg::Unwatch { key, monitor });
    }

    fn dials(&self) -> usize {
        self.environment.telegram.count("dial")
    }

    fn is_connected(&self) -> bool {
        self.environment.telegram.is_connected(self.key)
    }
}

async fn spawn(
    context: &Arc<AccountsContext>,
    fleet: &FleetFixture,
    standing: Standing,
    listener: &TestListener,
) -> ActorRef<AccountMsg> {
    let key = context.store.load().unwrap().accounts[0].id;
    let mut subscriptions = HashMap::new();
    if standing != Standing::OnDemand {
        subscriptions.insert(listener.key(room()), listener.subscription(room()));
    }
    let known = context.store.account(key).unwrap().unwrap_or_else(|| record(key));
    let args = AccountArgs {
        context: Arc::clone(context),
        fleet: fleet.fleet.clone(),
        latest: LatestRecord::new(known),
        names: Vec::new(),
        api_id: 1,
        subscriptions,
        standing,
        lease: ConnectionLease::new(),
    };
    spawn_alone(Account, args).await
}

/// Where an account is when something happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Resting,
    Dialling,
    Active,
    Waiting,
    DiallingAgain,
    Paused,
    Dead,
}

impl From {
    const ALL: [Self; 7] = [
        Self::Resting,
        Self::Dialling,
        Self::Active,
        Self::Waiting,
        Self::DiallingAgain,
        Self::Paused,
        Self::Dead,
    ];

    /// An account there. Dials that are under way get no answer.
    async fn fixture(self) -> (Fixture, Arc<AccountsContext>) {
        let standing = if self == Self::Resting { Standing::OnDemand } else { Standing::Kept };
        let environment = TestEnvironment::new();
        let credentials = environment.telegram.person(1, 7);
        environment.telegram.chat(room(), "room", None);
        environment.bring(&credentials).await;
        if self == Self::Dialling {
            environment.telegram.next("dial", Answer::now(Then::Silence));
        }
        let (fleet, listener) = (TestEnvironment::new().fleet().await, TestListener::new().await);
        let context = environment.accounts();
        let account = spawn(&context, &fleet, standing, &listener).await;
        let fixture = Fixture { key: credentials.account, environment, fleet, account, listener };
        soon().await;
        match self {
            Self::Resting | Self::Dialling | Self::Active => {}
            Self::Waiting => {
                fixture.environment.telegram.hang_up(fixture.key, reset());
                sleep(Duration::from_millis(1)).await;
            }
            Self::DiallingAgain => {
                fixture.environment.telegram.hang_up(fixture.key, reset());
                fixture.environment.telegram.next("dial", Answer::now(Then::Silence));
                sleep(Duration::from_millis(600)).await;
            }
            Self::Paused => {
                fixture.cast(AccountMsg::Stand(Standing::Held));
                soon().await;
            }
            Self::Dead => {
                fixture.environment.telegram.hang_up(fixture.key, revoked());
                soon().await;
            }
        }
        fixture.listener.heard();
        (fixture, context)
    }
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Watch,
    Ask,
    Hold,
    Keep,
    Redial,
    Retry,
    Lost,
    Ended,
}

/// What follows within a moment: the state, whether a connection is there or being made, and how many dials.
type After = (AccountState, bool, usize);

fn after(from: From, event: Event) -> Option<After> {
    use AccountState::{Active, Connecting, Error, Paused, Reconnecting};
    let unchanged = match from {
        From::Resting => (Connecting, false, 0),
        From::Dialling => (Connecting, true, 0),
        From::Active => (Active, true, 0),
        From::Waiting => (Reconnecting, false, 0),
        From::DiallingAgain => (Reconnecting, true, 0),
        From::Paused => (Paused, false, 0),
        From::Dead => (Error, false, 0),
    };
    Some(match (from, event) {
        // Only what is connected can lose its connection.
        (From::Active, Event::Lost) => (Reconnecting, false, 0),
        (From::Active, Event::Ended) => (Error, false, 0),
        (_, Event::Lost | Event::Ended) => return None,
        // Nobody need hear of what is over, and it stays over.
        (From::Dead, Event::Hold | Event::Watch | Event::Ask | Event::Keep) => unchanged,
        (From::Dead, Event::Redial | Event::Retry) => (Active, true, 1),
        (_, Event::Hold) => (Paused, false, 0),
        (From::Paused, Event::Keep) => (Active, true, 1),
        (From::Paused, _) => unchanged,
        (From::Resting, Event::Watch | Event::Ask | Event::Keep) => (Active, true, 1),
        // Nobody needs it.
        (From::Resting, _) => unchanged,
        (_, Event::Redial) => (Active, true, 1),
        _ => unchanged,
    })
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_in_whatever_state_leads_where_it_should() {
    for from in From::ALL {
        for event in [
            Event::Watch,
            Event::Ask,
            Event::Hold,
            Event::Keep,
            Event::Redial,
            Event::Retry,
            Event::Lost,
            Event::Ended,
        ] {
            let Some((state, is_connected, dials)) = after(from, event) else { continue };
            let (fixture, context) = from.fixture().await;
            let before = fixture.dials();
            let (mut listener, mut answer) = (None, None);
            match event {
                Event::Watch => listener = Some(fixture.watch().await),
                Event::Ask => answer = Some(fixture.ask(look_up())),
                Event::Hold => fixture.cast(AccountMsg::Stand(Standing::Held)),
                Event::Keep => fixture.cast(AccountMsg::Stand(Standing::Kept)),
                Event::Redial => fixture.cast(AccountMsg::Redial),
                Event::Retry => fixture.cast(AccountMsg::Retry),
                Event::Lost => fixture.environment.telegram.hang_up(fixture.key, reset()),
                Event::Ended => fixture.environment.telegram.hang_up(fixture.key, revoked()),
            }
            soon().await;
            // One that nobody has needed yet has not said anything of itself.
            let view = context.status.view(fixture.key);
            let seen_state = view.map_or(AccountState::Connecting, |view| view.state);
            let seen = (seen_state, fixture.is_connected(), fixture.dials() - before);
            assert_eq!(seen, (state, is_connected, dials), "{from:?}, {event:?}");
            assert_eq!(fixture.environment.telegram.doubled(), 0, "{from:?}, {event:?}");
            if let Some(listener) = listener {
                assert_eq!(listener.heard(), heard_at_once(from), "{from:?}");
            }
            if let Some(mut answer) = answer.take() {
                assert_eq!(
                    answer.try_recv().ok().map(|told| told.map(drop)),
                    told(from),
                    "{from:?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_is_not_dialled_when_it_is_held_and_resumed() {
    let (fixture, context) = From::Dead.fixture().await;
    let before = fixture.dials();
    for standing in [Standing::Held, Standing::Kept] {
        fixture.cast(AccountMsg::Stand(standing));
        soon().await;
        let view = context.status.view(fixture.key).unwrap();
        assert_eq!(view.state, AccountState::Error, "{standing:?}");
        assert_eq!(view.error.unwrap().0, "SESSION_REVOKED", "{standing:?}");
    }
    pass(3_600).await;
    assert_eq!(fixture.dials(), before);
}

/// What somebody hears at once who begins to listen.
fn heard_at_once(from: From) -> Vec<Heard> {
    match from {
        From::Resting | From::Active => vec![Heard::Up],
        From::Paused => vec![Heard::Lost(Failure::transient("the account is paused"))],
        From::Dead => vec![Heard::Lost(revoked())],
        From::Dialling | From::Waiting | From::DiallingAgain => Vec::new(),
    }
}

/// What somebody is told at once who asks for a call; `None`: it waits.
fn told(from: From) -> Option<Result<(), Failure>> {
    match from {
        From::Resting | From::Active => Some(Ok(())),
        From::Paused => Some(Err(Failure::transient("the account is paused"))),
        From::Dead => Some(Err(revoked())),
        From::Dialling | From::Waiting | From::DiallingAgain => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_timer_of_a_connection_that_is_over_does_nothing() {
    let (fixture, context) = From::Waiting.fixture().await;
    // The pause before the next dial is under way, and ends while the account is held.
    fixture.cast(AccountMsg::Stand(Standing::Held));
    let dials = fixture.dials();
    pass(60).await;
    assert_eq!(fixture.dials(), dials, "what is held is not dialled");
    fixture.cast(AccountMsg::Stand(Standing::Kept));
    soon().await;
    // Another one is under way, and ends beside a connection that somebody asked for meanwhile.
    fixture.environment.telegram.hang_up(fixture.key, reset());
    sleep(Duration::from_millis(1)).await;
    fixture.cast(AccountMsg::Redial);
    pass(60).await;
    assert_eq!(fixture.dials(), dials + 2, "one by each who asked, and none by the timer");
    assert_eq!(context.status.view(fixture.key).unwrap().state, AccountState::Active);
    assert_eq!(fixture.environment.telegram.connections(), 1);
    // That a connection held for long is nothing to the one after it.
    fixture.environment.telegram.hang_up(fixture.key, reset());
    pass(19).await;
    fixture.environment.telegram.hang_up(fixture.key, reset());
    pass(5).await;
    assert_eq!(context.status.view(fixture.key).unwrap().failures, 2, "neither of them was stable");
    pass(60).await;
    assert_eq!(context.status.view(fixture.key).unwrap().failures, 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_hears_of_a_connection_that_ends_under_the_call() {
    let (fixture, _context) = From::Active.fixture().await;
    // As many as may be under way at once, and one that waits behind them.
    for _ in 0..4 {
        fixture
            .environment
            .telegram
            .next("resolve", Answer::after(Duration::from_secs(9), Then::World));
    }
    let mut answers: Vec<_> = (0..5).map(|_| fixture.ask(look_up())).collect();
    soon().await;
    assert_eq!(fixture.environment.telegram.count("resolve"), 4);
    fixture.cast(AccountMsg::Redial);
    soon().await;
    let waiting = answers.pop().unwrap();
    for answer in answers {
        let told = answer.await.unwrap().unwrap_err();
        assert_eq!(told, Failure::transient("the connection ended"));
    }
    assert!(waiting.await.unwrap().is_ok(), "the new connection does it");
    // What the old ones were is not counted against the new one.
    for _ in 0..4 {
        fixture
            .environment
            .telegram
            .next("resolve", Answer::after(Duration::from_secs(9), Then::World));
    }
    let answers: Vec<_> = (0..4).map(|_| fixture.ask(look_up())).collect();
    soon().await;
    assert_eq!(fixture.environment.telegram.count("resolve"), 9);
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    // Nor is the answer of an account that is held by then.
    fixture
        .environment
        .telegram
        .next("resolve", Answer::after(Duration::from_secs(9), Then::World));
    let answer = fixture.ask(look_up());
    soon().await;
    fixture.cast(AccountMsg::Stand(Standing::Held));
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_answered_after_it_was_given_up_is_not_used() {
    let environment = TestEnvironment::new();
    let late = Answer::after(Duration::from_secs(5), Then::World);
    environment.telegram.next("dial", late);
    let fixture = Fixture::on(environment, Standing::Kept, |_, _| {}).await;
    soon().await;
    fixture.cast(AccountMsg::Stand(Standing::Held));
    pass(30).await;
    assert!(!fixture.is_connected());
    assert_eq!(fixture.dials(), 1);
    assert_eq!(
        fixture.listener.heard(),
        [Heard::Lost(Failure::transient("the account is paused"))]
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_is_dialled_again_only_once_its_sockets_are_closed() {
    let (fixture, context) = From::Active.fixture().await;
    for closing in [3, 25] {
        fixture.environment.telegram.closing_takes(Duration::from_secs(closing));
        fixture.environment.telegram.hang_up(fixture.key, reset());
        pass(2).await;
        assert!(!fixture.listener.heard().contains(&Heard::Up), "{closing} s: the lease is held");
        pass(90).await;
        assert_eq!(fixture.environment.telegram.doubled(), 0);
        assert_eq!(context.status.view(fixture.key).unwrap().state, AccountState::Active);
        fixture.listener.heard();
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_loss_is_no_news_and_a_long_one_is_once_as_is_its_end() {
    let (fixture, _context) = From::Active.fixture().await;
    fixture.environment.telegram.hang_up(fixture.key, reset());
    pass(5).await;
    assert_eq!(
        fixture.listener.heard(),
        [Heard::Up],
        "only that it is there, so that the chat is read"
    );
    fixture.environment.telegram.always("dial", Answer::now(Then::Fail(reset())));
    fixture.environment.telegram.hang_up(fixture.key, reset());
    pass(300).await;
    assert_eq!(fixture.listener.heard(), [Heard::Lost(reset())], "once, however many dials fail");
    let times = fixture.environment.telegram.times("dial");
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.last().unwrap() >= &Duration::from_secs(30), "{pauses:?}");
    fixture.environment.telegram.always("dial", Answer::now(Then::World));
    pass(120).await;
    assert_eq!(fixture.listener.heard(), [Heard::Up]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_needs_lingers_and_is_hung_up() {
    let fixture = Fixture::new(Standing::OnDemand).await;
    let listener = fixture.watch().await;
    soon().await;
    assert_eq!(listener.heard(), [Heard::Up]);
    fixture.unwatch(&listener);
    pass(4).await;
    assert!(fixture.is_connected(), "a monitor may come back");
    let listener = fixture.watch().await;
    pass(60).await;
    assert_eq!((fixture.dials(), listener.heard()), (1, vec![Heard::Up]));
    fixture.unwatch(&listener);
    pass(6).await;
    assert!(!fixture.is_connected());
    // A call that is under way is somebody who needs it.
    fixture
        .environment
        .telegram
        .next("resolve", Answer::after(Duration::from_secs(14), Then::World));
    let answer = fixture.ask(look_up());
    pass(10).await;
    assert!(fixture.is_connected());
    assert!(answer.await.unwrap().is_ok());
    pass(6).await;
    assert_eq!((fixture.is_connected(), fixture.dials()), (false, 2));
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_leaves_while_it_is_dialled_leaves_nothing_behind() {
    let environment = TestEnvironment::new();
    environment.telegram.next("dial", Answer::now(Then::Silence));
    let fixture = Fixture::on(environment, Standing::OnDemand, |_, _| {}).await;
    let listener = fixture.watch().await;
    soon().await;
    fixture.unwatch(&listener);
    pass(6).await;
    assert!(!fixture.is_connected());
    pass(60).await;
    assert_eq!((fixture.dials(), listener.heard()), (1, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn what_the_connection_cannot_get_is_told_while_it_lasts() {
    let (fixture, context) = From::Active.fixture().await;
    fixture
        .environment
        .telegram
        .trouble(fixture.key, Some("telegram does not say what was missed"));
    soon().await;
    let view = context.status.view(fixture.key).unwrap();
    assert_eq!(view.state, AccountState::Active);
    assert_eq!(view.error.unwrap().0, "UPDATES_FAILING");
    fixture.environment.telegram.trouble(fixture.key, None);
    soon().await;
    assert_eq!(context.status.view(fixture.key).unwrap().error, None);
    // With the connection goes what was said of it.
    fixture
        .environment
        .telegram
        .trouble(fixture.key, Some("telegram does not say what was missed"));
    fixture.environment.telegram.hang_up(fixture.key, reset());
    pass(5).await;
    assert_eq!(context.status.view(fixture.key).unwrap().error, None);
    fixture.fleet.stop().await;
}
