//! Telegrams for unit tests, behind the port: one in memory that does what its script says, and one that nobody
//! reaches. Owns a small world (people and their keys, chats, messages, groups and who may be invited into them), a script
//! of what is to go otherwise, and two books: who asked what and when, and who was reached by whom. Lives by tokio's clock, so that with a paused one hours pass in no time. Holds
//! its callers to one promise of its own: a key is never connected twice at a time.

mod connecting;
mod groups;
mod login;
mod people;
mod unreachable;
mod world;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep};

use super::batch::Batch;
use super::call::Call;
use super::outcome::Outcome;
use crate::clock::{Clock, RuntimeTime, now};
use crate::protocol::accounts::record::Me;
use crate::protocol::logins::delivery::CodeVia;
use crate::protocol::logins::steps::{LoginFailure, Step};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::AuthKeyId;

pub(crate) use groups::Group;
pub(crate) use people::{Contacted, Reach, Somebody};
pub(crate) use unreachable::Unreachable;
pub(crate) use world::{CODE, EMAIL_PATTERN, PASSWORD, RECOVERY_CODE, channel};

/// How long the world takes for an answer that the script says nothing about.
const ANSWER: Duration = Duration::from_millis(20);
/// How long somebody waits who is not answered, as in `link.rs`.
const SILENCE: Duration = Duration::from_secs(15);

/// What is asked for: of the script, and in the book. Calls by their method, steps of logins by theirs.
pub(crate) type Method = &'static str;

/// What comes instead of what the world would answer.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    /// What the world says.
    World,
    /// This.
    Fail(Failure),
    /// The same to a login.
    Refuse(LoginFailure),
    /// This outcome of a call.
    Find(Outcome),
    /// This step of a login.
    Lead(Step),
    /// The login belongs to that datacenter: it moves there, and the world answers.
    MoveTo(i32),
    /// What was asked for is done, and the answer is lost.
    DoneUnheard,
    /// Nothing comes; whoever waits gives up after a while.
    Silence,
    /// The library panics.
    Panic,
}

/// An answer of the script.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    after: Duration,
    then: Then,
}

impl Answer {
    /// At once.
    pub(crate) fn now(then: Then) -> Self {
        Self { after: Duration::ZERO, then }
    }

    /// After a while.
    pub(crate) fn after(after: Duration, then: Then) -> Self {
        Self { after, then }
    }
}

/// A line of the book.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// When, since the fake was made.
    pub(crate) at: Duration,
    /// Over which key; `None`: over a fresh one.
    pub(crate) key: Option<AuthKeyId>,
    /// What.
    pub(crate) method: Method,
    /// The call, if it was one.
    pub(crate) call: Option<Call>,
}

/// What comes over a connection unasked.
enum News {
    Batch(Batch),
    Wait(String, u32),
    Trouble(Option<String>),
    Frozen(String),
    /// The connection ends.
    End(Failure),
    /// The library panics.
    Panic,
    /// The library does nothing any more and does not say so.
    Stall,
}

/// An open connection.
struct Open {
    /// Of one key there is one at most.
    number: u64,
    news: mpsc::UnboundedSender<News>,
}

/// Whether a connection has ended, for calls that are under way over it.
#[derive(Default)]
struct Ended {
    is_over: std::sync::atomic::AtomicBool,
    told: Notify,
}

#[derive(Default)]
struct State {
    people: HashMap<AuthKeyId, Me>,
    /// Keys at which Telegram waits for the password of somebody.
    half_in: HashMap<AuthKeyId, world::Account>,
    /// Keys over which a recovery code was asked for.
    recovering: HashSet<AuthKeyId>,
    /// How the newest code went out that was asked for over a key.
    went_by: HashMap<AuthKeyId, CodeVia>,
    /// By phone number.
    accounts: HashMap<String, world::Account>,
    /// Whose phone has scanned which picture, by the key that shows it.
    scanned: HashMap<AuthKeyId, Me>,
    keys_made: u8,
    chats: world::Chats,
    population: people::Population,
    once: HashMap<(Option<AuthKeyId>, Method), VecDeque<Answer>>,
    always: HashMap<(Option<AuthKeyId>, Method), Answer>,
    book: Vec<Asked>,
    open: HashMap<AuthKeyId, Open>,
    opened: u64,
    /// Keys that were connected twice at a time.
    doubled: HashSet<AuthKeyId>,
    /// How long sockets take to close.
    closing: Duration,
    /// Whether somebody has asked what time it is there.
    time_is_known: bool,
}

/// A Telegram in memory. Clones are the same one.
#[derive(Clone)]
pub(crate) struct FakeTelegram(Arc<Shared>);

struct Shared {
    began: Instant,
    clock: Clock,
    state: Mutex<State>,
    scan: Notify,
}

impl FakeTelegram {
    /// With nobody and nothing in it.
    pub(crate) fn new() -> Self {
        let (state, scan) = Default::default();
        let clock = RuntimeTime::clock(now());
        Self(Arc::new(Shared { began: Instant::now(), clock, state, scan }))
    }

    /// What time it is here and there: it moves with the runtime's.
    pub(crate) fn clock(&self) -> Clock {
        self.0.clock.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next time that `method` is asked for, whoever asks; several such are used up in order.
    pub(crate) fn next(&self, method: Method, answer: Answer) {
        self.state().once.entry((None, method)).or_default().push_back(answer);
    }

    /// The same over one key.
    pub(crate) fn next_of(&self, key: AuthKeyId, method: Method, answer: Answer) {
        self.state().once.entry((Some(key), method)).or_default().push_back(answer);
    }

    /// Whenever `method` is asked for, unless [`Self::next`] says otherwise.
    pub(crate) fn always(&self, method: Method, answer: Answer) {
        self.state().always.insert((None, method), answer);
    }

    /// The same over one key.
    pub(crate) fn always_of(&self, key: AuthKeyId, method: Method, answer: Answer) {
        self.state().always.insert((Some(key), method), answer);
    }

    /// How long sockets take to close.
    pub(crate) fn closing_takes(&self, closing: Duration) {
        self.state().closing = closing;
    }

    /// What was asked for, in order.
    pub(crate) fn book(&self) -> Vec<Asked> {
        self.state().book.clone()
    }

    /// When `method` was asked for, since the fake was made.
    pub(crate) fn times(&self, method: Method) -> Vec<Duration> {
        let asked = self.book().into_iter().filter(|asked| asked.method == method);
        asked.map(|asked| asked.at).collect()
    }

    /// How often `method` was asked for.
    pub(crate) fn count(&self, method: Method) -> usize {
        self.times(method).len()
    }

    /// Which keys asked for `method`, in order.
    pub(crate) fn who_asked(&self, method: Method) -> Vec<Option<AuthKeyId>> {
        let asked = self.book().into_iter().filter(|asked| asked.method == method);
        asked.map(|asked| asked.key).collect()
    }

    /// Whether there is a connection of this key.
    pub(crate) fn is_connected(&self, key: AuthKeyId) -> bool {
        self.state().open.contains_key(&key)
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.state().open.len()
    }

    /// Keys that were connected twice at a time: Telegram would have ended them.
    pub(crate) fn doubled(&self) -> usize {
        self.state().doubled.len()
    }

    /// The connection of a key ends with this.
    pub(crate) fn hang_up(&self, key: AuthKeyId, failure: Failure) {
        self.tell(key, News::End(failure));
    }

    /// The library does nothing more with the updates of a key, and does not say so.
    pub(crate) fn stall(&self, key: AuthKeyId) {
        self.tell(key, News::Stall);
    }

    /// The library panics while following the updates of a key.
    pub(crate) fn panic_while_following(&self, key: AuthKeyId) {
        self.tell(key, News::Panic);
    }

    /// A batch comes over the connection of a key.
    pub(crate) fn push(&self, key: AuthKeyId, batch: Batch) {
        self.tell(key, News::Batch(batch));
    }

    /// Telegram asks to wait before updates are asked for again.
    pub(crate) fn ask_to_wait_with_updates(&self, key: AuthKeyId, seconds: u32) {
        self.tell(key, News::Wait("FLOOD_WAIT".into(), seconds));
    }

    /// Something cannot be got over the connection, or can be again.
    pub(crate) fn trouble(&self, key: AuthKeyId, trouble: Option<&str>) {
        self.tell(key, News::Trouble(trouble.map(str::to_owned)));
    }

    /// The connection is told that the account is frozen.
    pub(crate) fn freeze(&self, key: AuthKeyId, code: &str) {
        self.tell(key, News::Frozen(code.to_owned()));
    }

    fn tell(&self, key: AuthKeyId, news: News) {
        let state = self.state();
        let open = state.open.get(&key).expect("the key is connected");
        open.news.send(news).unwrap_or_else(|_| panic!("nobody follows {key}"));
    }

    fn note(&self, key: Option<AuthKeyId>, method: Method, call: Option<Call>) {
        let at = self.0.began.elapsed();
        self.state().book.push(Asked { at, key, method, call });
    }

    /// What the script says of this.
    fn scripted(&self, key: Option<AuthKeyId>, method: Method) -> Answer {
        let mut state = self.state();
        for whose in [key, None] {
            let next = state.once.get_mut(&(whose, method)).and_then(VecDeque::pop_front);
            if let Some(answer) = next {
                return answer;
            }
        }
        let always = [key, None].iter().find_map(|whose| state.always.get(&(*whose, method)));
        always.cloned().unwrap_or(Answer { after: ANSWER, then: Then::World })
    }

    /// Writes into the book what is asked for, and waits until it is answered.
    async fn asked(&self, key: Option<AuthKeyId>, method: Method, call: Option<Call>) -> Then {
        self.note(key, method, call);
        let Answer { after, then } = self.scripted(key, method);
        sleep(after).await;
        match then {
            Then::Panic => panic!("{method} panics, as it was told to"),
            Then::Silence => {
                sleep(SILENCE).await;
                Then::Silence
            }
            then => then,
        }
    }
}

/// What whoever waits in vain is told.
fn silence() -> Failure {
    Failure::transient("telegram did not answer within 15 s")
}

mod tests;
