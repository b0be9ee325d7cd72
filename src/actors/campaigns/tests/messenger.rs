//! A small messenger in memory, beside Telegram the other one of the [`Platform`]s: nothing above that trait knows which
//! one it has. A script says what is answered; the books tell who was reached, by whom and when, and are the truth.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use crate::actors::campaigns::platform::{
    AccountStanding, DayLimit, Deputy, Group, Person, Platform, Reserved, Told,
};
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::links::LinkUses;
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::campaigns::target::Step;
use crate::protocol::campaigns::text::Rendered;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::AccountId;
use crate::store::StoreError;

/// How long a call takes.
const CALL: Duration = Duration::from_millis(50);

/// What a scripted call does.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Then {
    /// Nothing is done, and this is answered.
    Say(Answer),
    /// It is done, and the answer is lost.
    Lose,
}

/// Somebody was reached, or would have been.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reached {
    pub(super) person: i64,
    pub(super) by: AccountId,
    pub(super) step: Step,
    pub(super) text: String,
    pub(super) at: Instant,
}

#[derive(Default)]
pub(super) struct World {
    /// Who there is: names and phones lead to ids.
    pub(super) people: BTreeMap<i64, Person>,
    pub(super) phones: HashMap<u64, i64>,
    pub(super) members: BTreeSet<i64>,
    /// Who comes back from an invitation.
    pub(super) refusing: BTreeSet<i64>,
    pub(super) reached: Vec<Reached>,
    pub(super) lookups: Vec<(AccountId, Identifier)>,
    random_ids: HashMap<(AccountId, i64), i32>,
    pub(super) script: HashMap<Step, VecDeque<Then>>,
    pub(super) gone: HashSet<AccountId>,
    pub(super) link_uses: LinkUses,
    pub(super) times_asked: u32,
    /// Of whom no invitation says what came of it.
    pub(super) unclear: BTreeSet<i64>,
    /// What the group says of somebody, where it is not by who is a member; and how often it was asked.
    pub(super) memberships: HashMap<i64, Membership>,
    pub(super) memberships_asked: HashMap<i64, usize>,
    /// No account may have a link to the group.
    pub(super) is_without_link: bool,
    /// Who was added as a contact, and by which account.
    pub(super) contacts: Vec<(AccountId, Person)>,
    pub(super) away: HashSet<AccountId>,
    /// Who may not invite to any group.
    pub(super) without_rights: HashSet<AccountId>,
    /// Nobody can be added to any group.
    pub(super) is_full: bool,
    /// The group has become another: to where, and from where.
    pub(super) moved: Option<(MarkedId, MarkedId)>,
    /// What is asked of the group comes to nothing, so often.
    pub(super) deaf: usize,
    known: HashSet<(AccountId, i64)>,
    next_message: i32,
    /// Calls under way, by account, and the most of one account that ever were.
    under_way: HashMap<AccountId, usize>,
    pub(super) most_at_once: usize,
}

/// The messenger. It outlives what campaigns do.
#[derive(Clone, Default)]
pub(super) struct Messenger(Arc<Mutex<World>>);

impl Messenger {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// People by the names `@p1` and so on, with these ids.
    pub(super) fn with_people(ids: impl IntoIterator<Item = i64>) -> Self {
        let messenger = Self::default();
        for id in ids {
            let person = Person {
                id,
                username: Some(format!("person{id}")),
                first_name: Some(format!("P{id}")),
                ..Person::default()
            };
            messenger.world().people.insert(id, person);
        }
        messenger
    }

    /// An account knows somebody already.
    pub(super) fn knows(&self, account: AccountId, person: i64) {
        self.world().known.insert((account, person));
    }

    /// What the next calls of a kind do.
    pub(super) fn next(&self, step: Step, then: impl IntoIterator<Item = Then>) {
        self.world().script.entry(step).or_default().extend(then);
    }

    /// Whom it reached, each with how often.
    pub(super) fn times(&self) -> BTreeMap<i64, usize> {
        let mut times = BTreeMap::new();
        for reached in &self.world().reached {
            *times.entry(reached.person).or_default() += 1;
        }
        times
    }

    fn note_under_way(&self, account: AccountId, begins: bool) {
        let mut world = self.world();
        let count = world.under_way.entry(account).or_default();
        *count = if begins { *count + 1 } else { *count - 1 };
        let now = *count;
        world.most_at_once = world.most_at_once.max(now);
    }

    async fn begin(&self, by: &Deputy, step: Step) -> Result<bool, Answer> {
        self.note_under_way(by.account.id, true);
        sleep(CALL).await;
        self.note_under_way(by.account.id, false);
        let mut world = self.world();
        if world.gone.contains(&by.account.id) {
            return Err(Answer::AccountGone);
        }
        match world.script.get_mut(&step).and_then(VecDeque::pop_front) {
            Some(Then::Say(answer)) => Err(answer),
            Some(Then::Lose) => Ok(true),
            None => Ok(false),
        }
    }
}

fn lost_or<T>(is_lost: bool, found: T) -> Told<T> {
    if is_lost { Told::not_done(Answer::NoAnswer, "LOST") } else { Told::done(found) }
}

fn said<T>(answer: Answer) -> Told<T> {
    Told::not_done(answer, format!("{answer:?}"))
}

#[async_trait]
impl Platform for Messenger {
    fn standing(&self, account: &OwnedAccount) -> AccountStanding {
        let world = self.world();
        AccountStanding {
            is_connected: !world.away.contains(&account.id) && !account.is_paused,
            is_gone: world.gone.contains(&account.id),
            ..AccountStanding::default()
        }
    }

    async fn known(
        &self,
        account: &OwnedAccount,
        people: Vec<i64>,
    ) -> Result<Vec<i64>, StoreError> {
        let world = self.world();
        let is_known = |person: &i64| world.known.contains(&(account.id, *person));
        Ok(people.into_iter().filter(is_known).collect())
    }

    async fn reserve(&self, _: &Deputy, _: Step) -> Result<Reserved, DayLimit> {
        Ok(Reserved::nothing())
    }

    async fn find(&self, by: &Deputy, who: &Identifier) -> Told<Person> {
        let step =
            if matches!(who, Identifier::Phone(_)) { Step::LookUpPhone } else { Step::Resolve };
        let is_lost = match self.begin(by, step).await {
            Ok(is_lost) => is_lost,
            Err(answer) => return said(answer),
        };
        let mut world = self.world();
        world.lookups.push((by.account.id, who.clone()));
        let id = match who {
            Identifier::Id(id) => Some(*id),
            Identifier::Phone(phone) => world.phones.get(phone).copied(),
            Identifier::Username(name) => {
                let named = |person: &&Person| person.username.as_deref() == Some(&**name);
                world.people.values().find(named).map(|person| person.id)
            }
        };
        let Some(person) = id.and_then(|id| world.people.get(&id).cloned()) else {
            let is_phone = step == Step::LookUpPhone;
            return said(if is_phone { Answer::PhoneNotFound } else { Answer::NoSuchPerson });
        };
        world.known.insert((by.account.id, person.id));
        lost_or(is_lost, person)
    }

    async fn add_contact(&self, by: &Deputy, who: &Person) -> Told<()> {
        match self.begin(by, Step::AddContact).await {
            Ok(is_lost) => {
                self.world().contacts.push((by.account.id, who.clone()));
                lost_or(is_lost, ())
            }
            Err(answer) => said(answer),
        }
    }

    async fn invite(&self, by: &Deputy, group: MarkedId, person: i64) -> Told<()> {
        let is_lost = match self.begin(by, Step::Invite).await {
            Ok(is_lost) => is_lost,
            Err(answer) => return said(answer),
        };
        let mut world = self.world();
        if world.unclear.contains(&person) {
            let (by, step, at) = (by.account.id, Step::Invite, Instant::now());
            world.reached.push(Reached { person, by, step, text: String::new(), at });
            return said(Answer::Unclear);
        }
        if world.moved.is_some_and(|(to, _)| to != group) {
            return said(Answer::NoRights);
        }
        if world.members.contains(&person) {
            return said(Answer::AlreadyMember);
        }
        let (by, step, at) = (by.account.id, Step::Invite, Instant::now());
        world.reached.push(Reached { person, by, step, text: String::new(), at });
        if world.refusing.contains(&person) {
            return said(Answer::NotAdded { is_paid: false });
        }
        world.members.insert(person);
        lost_or(is_lost, ())
    }

    async fn send(&self, by: &Deputy, person: i64, text: &Rendered, random_id: i64) -> Told<i32> {
        let is_lost = match self.begin(by, Step::Send).await {
            Ok(is_lost) => is_lost,
            Err(answer) => return said(answer),
        };
        let mut world = self.world();
        if let Some(known) = world.random_ids.get(&(by.account.id, random_id)).copied() {
            return Told { answer: Answer::AcceptedBefore, code: None, found: Some(known) };
        }
        world.next_message += 1;
        let id = world.next_message;
        world.random_ids.insert((by.account.id, random_id), id);
        let (by, step, at) = (by.account.id, Step::Send, Instant::now());
        world.reached.push(Reached { person, by, step, text: text.source.clone(), at });
        lost_or(is_lost, id)
    }

    async fn send_to_self(&self, by: &Deputy, text: &Rendered, random_id: i64) -> Told<i32> {
        self.send(by, by.account.telegram_id, text, random_id).await
    }

    async fn learn_time(&self, _: &Deputy) {
        self.world().times_asked += 1;
    }

    async fn membership(&self, by: &Deputy, _: MarkedId, person: i64) -> Told<Membership> {
        sleep(CALL).await;
        let mut world = self.world();
        *world.memberships_asked.entry(person).or_default() += 1;
        if world.gone.contains(&by.account.id) || world.away.contains(&by.account.id) {
            return said(Answer::NoAnswer);
        }
        if let Some(found) = world.memberships.get(&person) {
            return Told::done(*found);
        }
        let is_in = world.members.contains(&person);
        Told::done(if is_in { Membership::Member } else { Membership::Absent })
    }

    async fn group(&self, by: &Deputy, asked: MarkedId) -> Told<Group> {
        sleep(CALL).await;
        let deaf = self.world().deaf;
        if let Some(left) = deaf.checked_sub(1) {
            self.world().deaf = left;
            return said(Answer::NoAnswer);
        }
        let has_right = !self.world().without_rights.contains(&by.account.id);
        let is_full = has_right && self.world().is_full;
        let may_invite = has_right && !is_full;
        let (moved_to, formerly) = self.world().moved.unzip();
        let moved_to = moved_to.filter(|to| *to != asked);
        let title = Some("group".into());
        Told::done(Group { title, may_invite, is_full, moved_to, formerly })
    }

    async fn invite_link(&self, _: &Deputy, _: MarkedId) -> Told<String> {
        if self.world().is_without_link {
            return said(Answer::NoRights);
        }
        Told::done("https://t.me/+abc".into())
    }

    async fn link_uses(&self, _: &Deputy, _: MarkedId, _: &str) -> Told<LinkUses> {
        Told::done(self.world().link_uses)
    }
}
