//! The waiting targets of one task, sorted by who may take them: what only one account may settle, whom which
//! accounts know, and who has to be resolved first. In memory only; made anew from the store after a restart. Taking
//! one costs a few steps of a tree, however many wait. Who is in a place in which nobody is contacted now is passed over.

use std::collections::{BTreeMap, BTreeSet};

use super::identity::Identifier;
use super::quiet::Held;
use super::target::{Step, Target, TargetId, TargetStatus};
use super::task::TaskType;
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;

/// Who may take a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// One account: it is uncertain, or that account's wait on resolving is not passed on.
    Only(AccountId),
    /// Accounts that know the person.
    KnownBy(Box<[AccountId]>),
    /// Any that may look them up.
    Anybody,
}

/// A target that waits, as it is put into the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingTarget {
    /// Which one.
    pub id: TargetId,
    /// Who may take it.
    pub reach: Reach,
    /// What is to be done.
    pub step: Step,
    /// Not before this, on the steady timeline.
    pub not_before: Option<UnixMillis>,
    /// The time zone they are in, where it is known.
    pub zone: Option<Box<str>>,
}

impl WaitingTarget {
    /// Only what is pending waits, and what is uncertain for its own account; `None` for anything else, and for an
    /// uncertain one that is meant for somebody else.
    pub fn of(target: &Target, reach: Reach, step: Step) -> Option<Self> {
        let reach = match (target.status, target.held_by()) {
            (TargetStatus::Pending, _) => reach,
            (TargetStatus::Uncertain, Some(account)) => Reach::Only(account),
            _ => return None,
        };
        let zone = target.zone().map(Into::into);
        Some(Self { id: target.id, reach, step, not_before: target.not_before, zone })
    }
}

/// Where somebody is who waits: a time zone by its number in the queue, or not known, which is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u16);

#[derive(Clone, Debug)]
struct Entry {
    reach: Reach,
    step: Step,
    place: Place,
    /// Set while it waits for a moment.
    until: Option<UnixMillis>,
}

/// The waiting targets of a task.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    entries: BTreeMap<TargetId, Entry>,
    /// By account; `None`: any. In turn by step, so that known people go on while unknown ones wait.
    ready: BTreeMap<(Option<AccountId>, Step), BTreeMap<Place, BTreeSet<TargetId>>>,
    later: BTreeSet<(UnixMillis, TargetId)>,
    /// The time zones, by their numbers from 1.
    zones: Vec<Box<str>>,
    /// How many wait in which place.
    counts: BTreeMap<Place, usize>,
    /// Where nobody is contacted now.
    held: BTreeMap<Place, Held>,
}

/// In what order an account takes steps: what is uncertain or known goes before what is dear to look up.
pub const STEP_ORDER: [Step; 6] =
    [Step::Send, Step::Invite, Step::SendLink, Step::AddContact, Step::Resolve, Step::LookUpPhone];

/// The next step of a target, for an account that knows the person or not. `None`: nobody can look them up.
pub fn next_step(target: &Target, task_type: TaskType, is_known: bool) -> Option<Step> {
    if target.status == TargetStatus::Uncertain {
        return target.intent.as_deref().map(|intent| intent.step);
    }
    if is_known {
        return Some(match (target.wants_link, task_type) {
            (true, _) => Step::SendLink,
            (false, TaskType::InviteToGroup) => Step::Invite,
            (false, TaskType::SendMessages) => Step::Send,
        });
    }
    match &target.identifier {
        Identifier::Username(_) => Some(Step::Resolve),
        Identifier::Phone(_) => Some(Step::LookUpPhone),
        // An id alone opens nothing: some account has to have met them.
        Identifier::Id(_) => None,
    }
}

impl Waiting {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts a target in. Only what is pending waits, and what is uncertain for its own account: anything else, and an
    /// uncertain one for somebody else, is refused with `false`.
    pub fn insert(&mut self, target: &Target, reach: Reach, step: Step, now: UnixMillis) -> bool {
        let waiting = WaitingTarget::of(target, reach, step);
        let is_fit = waiting.is_some();
        waiting.into_iter().for_each(|waiting| self.put(waiting, now));
        is_fit
    }

    /// Puts a target in, in the place of what was known of it.
    pub fn put(&mut self, waiting: WaitingTarget, now: UnixMillis) {
        let WaitingTarget { id, reach, step, not_before, zone } = waiting;
        self.remove(id);
        let until = not_before.filter(|until| *until > now);
        let place = zone.map_or(Place::default(), |zone| self.place_of(zone));
        *self.counts.entry(place).or_default() += 1;
        let entry = Entry { reach, step, place, until };
        match until {
            Some(until) => drop(self.later.insert((until, id))),
            None => self.make_ready(id, &entry),
        }
        self.entries.insert(id, entry);
    }

    /// Takes a target out. Answers whether it was in.
    pub fn remove(&mut self, id: TargetId) -> bool {
        let Some(entry) = self.entries.remove(&id) else { return false };
        if let Some(count) = self.counts.get_mut(&entry.place) {
            *count -= 1;
        }
        if let Some(until) = entry.until {
            self.later.remove(&(until, id));
        }
        for key in keys(&entry) {
            let Some(places) = self.ready.get_mut(&key) else { continue };
            if let Some(ids) = places.get_mut(&entry.place) {
                ids.remove(&id);
            }
            places.retain(|_, ids| !ids.is_empty());
            if places.is_empty() {
                self.ready.remove(&key);
            }
        }
        true
    }

    /// Lets go of those whose moment has come.
    pub fn release(&mut self, now: UnixMillis) {
        while let Some((until, id)) = self.later.first().copied().filter(|(until, _)| *until <= now)
        {
            self.later.remove(&(until, id));
            if let Some(mut entry) = self.entries.remove(&id) {
                entry.until = None;
                self.make_ready(id, &entry);
                self.entries.insert(id, entry);
            }
        }
    }

    /// When the next one's moment comes.
    pub fn next_release(&self) -> Option<UnixMillis> {
        self.later.first().map(|(until, _)| *until)
    }

    /// The first target that `account` may take with `step`, of those who may be contacted now.
    pub fn first(&self, account: AccountId, step: Step) -> Option<TargetId> {
        let of = |who| {
            let places = self.ready.get(&(who, step))?.iter();
            let open = places.filter(|(place, _)| !self.held.contains_key(place));
            open.filter_map(|(_, ids)| ids.first()).min()
        };
        of(Some(account)).or_else(|| of(None)).copied()
    }

    /// Where people are who wait: the names of their time zones, where they are known.
    pub fn places(&self) -> impl Iterator<Item = (Place, Option<&str>)> {
        let some = self.counts.iter().filter(|(_, count)| **count > 0);
        some.map(|(place, _)| {
            let zone = usize::from(place.0).checked_sub(1).and_then(|at| self.zones.get(at));
            (*place, zone.map(|zone| &**zone))
        })
    }

    /// Who is in a place is not contacted as long as something is `held`.
    pub fn hold(&mut self, place: Place, held: Option<Held>) {
        match held {
            Some(held) => drop(self.held.insert(place, held)),
            None => drop(self.held.remove(&place)),
        }
    }

    /// What holds people who wait, where they are: what ends first.
    pub fn held(&self) -> Option<Held> {
        let held = self.places().filter_map(|(place, _)| self.held.get(&place));
        held.min_by_key(|held| (held.until.is_none(), held.until)).copied()
    }

    /// The place of a zone, which gets a number if it has none.
    fn place_of(&mut self, zone: Box<str>) -> Place {
        let known = self.zones.iter().position(|known| *known == zone);
        let at = known.unwrap_or_else(|| {
            self.zones.push(zone);
            self.zones.len() - 1
        });
        // There are some hundred names of zones.
        Place(u16::try_from(at + 1).unwrap_or_default())
    }

    /// An account has left the task, or is gone. What it alone knew is for anybody to look up again, and answered
    /// where nobody can; what is uncertain by it stays, and waits for a person.
    pub fn account_left(
        &mut self,
        account: AccountId,
        targets: impl Fn(TargetId) -> Option<Step>,
    ) -> Vec<TargetId> {
        let knows = |entry: &Entry| match &entry.reach {
            Reach::KnownBy(accounts) => accounts.contains(&account),
            // What is uncertain reaches somebody; what is not was only to be looked up by it.
            Reach::Only(only) => *only == account && !entry.step.reaches(),
            Reach::Anybody => false,
        };
        let affected: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| knows(entry))
            .map(|(id, entry)| (*id, entry.clone()))
            .collect();
        let mut lost = Vec::new();
        for (id, mut entry) in affected {
            self.remove(id);
            let rest: Vec<_> = match &entry.reach {
                Reach::KnownBy(accounts) => {
                    accounts.iter().copied().filter(|known| *known != account).collect()
                }
                Reach::Only(_) | Reach::Anybody => Vec::new(),
            };
            if rest.is_empty() {
                let Some(step) = targets(id) else {
                    lost.push(id);
                    continue;
                };
                (entry.reach, entry.step) = (Reach::Anybody, step);
            } else {
                entry.reach = Reach::KnownBy(rest.into());
            }
            match entry.until {
                Some(until) => drop(self.later.insert((until, id))),
                None => self.make_ready(id, &entry),
            }
            *self.counts.entry(entry.place).or_default() += 1;
            self.entries.insert(id, entry);
        }
        lost
    }

    fn make_ready(&mut self, id: TargetId, entry: &Entry) {
        for key in keys(entry) {
            self.ready.entry(key).or_default().entry(entry.place).or_default().insert(id);
        }
    }
}

fn keys(entry: &Entry) -> Vec<(Option<AccountId>, Step)> {
    match &entry.reach {
        Reach::Only(account) => vec![(Some(*account), entry.step)],
        Reach::KnownBy(accounts) => {
            accounts.iter().map(|account| (Some(*account), entry.step)).collect()
        }
        Reach::Anybody => vec![(None, entry.step)],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::quiet::HeldBy;
    use crate::protocol::campaigns::target::Intent;

    fn account(id: u128) -> AccountId {
        AccountId(Uuid::from_u128(id))
    }

    fn target(id: u32) -> Target {
        Target::new(TargetId(id), Identifier::Username("durov".into()), None)
    }

    #[test]
    fn who_knows_a_person_takes_them_and_others_look_up() {
        let mut waiting = Waiting::default();
        let now = UnixMillis(0);
        assert!(waiting.insert(&target(1), Reach::KnownBy([account(1)].into()), Step::Send, now));
        assert!(waiting.insert(&target(2), Reach::Anybody, Step::Resolve, now));
        assert_eq!(waiting.first(account(1), Step::Send), Some(TargetId(1)));
        assert_eq!(
            (waiting.first(account(2), Step::Send), waiting.first(account(2), Step::Resolve)),
            (None, Some(TargetId(2)))
        );
        assert_eq!(waiting.account_left(account(1), |_| None), [TargetId(1)]);
        assert_eq!(waiting.len(), 1);
    }

    #[test]
    fn an_uncertain_target_waits_for_its_account_only_and_an_ended_one_not_at_all() {
        let mut waiting = Waiting::default();
        let mut unsure = target(1);
        let intent = Intent {
            account: account(1),
            step: Step::Send,
            random_id: 1,
            at: UnixMillis(0),
            is_repeat: false,
            wall: None,
        };
        unsure.begin(intent, 1).unwrap();
        assert!(!waiting.insert(&unsure, Reach::Anybody, Step::Send, UnixMillis(0)), "in flight");
        unsure.become_status(TargetStatus::Uncertain, None).unwrap();
        assert!(waiting.insert(&unsure, Reach::Anybody, Step::Send, UnixMillis(0)));
        assert_eq!(
            (waiting.first(account(2), Step::Send), waiting.first(account(1), Step::Send)),
            (None, Some(TargetId(1)))
        );
        assert!(
            waiting.account_left(account(1), |_| None).is_empty() && waiting.len() == 1,
            "it stays"
        );
        unsure.become_status(TargetStatus::Refused, None).unwrap();
        assert!(!waiting.insert(&unsure, Reach::Anybody, Step::Send, UnixMillis(0)));
    }

    #[test]
    fn a_target_waits_for_its_moment() {
        let mut waiting = Waiting::default();
        let late = Target { not_before: Some(UnixMillis(50)), ..target(1) };
        waiting.insert(&late, Reach::Anybody, Step::Resolve, UnixMillis(0));
        assert_eq!(
            (waiting.first(account(1), Step::Resolve), waiting.next_release()),
            (None, Some(UnixMillis(50)))
        );
        waiting.release(UnixMillis(50));
        assert_eq!(
            (waiting.first(account(1), Step::Resolve), waiting.next_release()),
            (Some(TargetId(1)), None)
        );
    }

    #[test]
    fn who_may_not_be_contacted_where_they_are_keeps_nobody_else_waiting() {
        let (mut waiting, now) = (Waiting::default(), UnixMillis(0));
        let of = |id, zone: Option<&str>| WaitingTarget {
            id: TargetId(id),
            reach: Reach::Anybody,
            step: Step::Resolve,
            not_before: None,
            zone: zone.map(Into::into),
        };
        let zones = [Some("Asia/Tokyo"), Some("Europe/Berlin"), None, Some("Asia/Tokyo")];
        (1..).zip(zones).for_each(|(id, zone)| waiting.put(of(id, zone), now));
        let places: Vec<_> =
            waiting.places().map(|(at, zone)| (at, zone.map(str::to_owned))).collect();
        let place =
            |zone: Option<&str>| places.iter().find(|(_, of)| of.as_deref() == zone).unwrap().0;
        assert_eq!(places.len(), 3, "each once");
        let first = |waiting: &Waiting| waiting.first(account(1), Step::Resolve);
        assert_eq!(first(&waiting), Some(TargetId(1)));
        let night = |until| Some(Held { by: HeldBy::QuietHours, until: Some(UnixMillis(until)) });
        waiting.hold(place(Some("Asia/Tokyo")), night(70));
        assert_eq!(first(&waiting), Some(TargetId(2)));
        waiting.hold(place(None), night(50));
        waiting.hold(place(Some("Europe/Berlin")), night(60));
        assert_eq!((first(&waiting), waiting.held()), (None, night(50)));
        waiting.remove(TargetId(3));
        assert_eq!(waiting.held(), night(60), "where nobody waits nothing is held");
        waiting.hold(place(Some("Asia/Tokyo")), None);
        assert_eq!(first(&waiting), Some(TargetId(1)));
        assert_eq!(waiting.account_left(account(1), |_| None), []);
        waiting.remove(TargetId(1));
        assert_eq!(first(&waiting), Some(TargetId(4)));
    }

    proptest! {
        #[test]
        fn nobody_is_lost_in_the_queue(steps in prop::collection::vec((0..4_u8, 1..20_u32, 0..4_u128), 0..200)) {
            let (mut waiting, mut inside) = (Waiting::default(), BTreeSet::new());
            for (step, id, who) in steps {
                match step {
                    0 => { waiting.insert(&target(id), Reach::KnownBy([account(who), account(9)].into()), Step::Send, UnixMillis(0)); inside.insert(id); }
                    1 => { waiting.insert(&target(id), Reach::Anybody, Step::Resolve, UnixMillis(0)); inside.insert(id); }
                    2 => prop_assert_eq!(waiting.remove(TargetId(id)), inside.remove(&id)),
                    _ => prop_assert!(waiting.account_left(account(who), |_| Some(Step::Resolve)).is_empty()),
                }
                prop_assert_eq!(waiting.len(), inside.len());
                let mut reached = BTreeSet::new();
                let mut copy = waiting.clone();
                while let Some(id) = copy.first(account(9), Step::Send).or(copy.first(account(9), Step::Resolve)) {
                    copy.remove(id);
                    reached.insert(id.0);
                }
                prop_assert_eq!(&reached, &inside);
            }
        }
    }
}
