//! An account in the eyes of campaigns: what it has done, what it waits for, and whether it may act now. Pure.

use serde::{Deserialize, Serialize};

use super::answers::AccountVerdict;
use super::caps::{Bound, Budget, Caps, Usage, UseCount};
use super::pace::{PeerFloods, PhoneLookups};
use super::target::Step;
use crate::protocol::telegram::pacing::{FloodWaitScope, FloodWaits, MethodClass, WAIT_MARGIN_MS};
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::ids::UnixMillis;

/// How long an account rests beyond its pause when it has to be slower, milliseconds.
const SLOWER_MS: i64 = 5 * 60_000;

/// An account as a task shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// Works.
    Active,
    /// Waits because Telegram asked for it.
    Cooldown,
    /// Was limited (`PEER_FLOOD`).
    Limited,
    /// Is gone, or out of the task.
    Blocked,
}

/// What campaigns know of one account. All moments are on the steady timeline.
#[derive(Clone, Debug)]
pub struct CampaignAccount {
    /// Its id.
    pub id: AccountId,
    /// What it has done, for the caps.
    pub usage: Usage,
    /// Its `PEER_FLOOD`s.
    pub floods: PeerFloods,
    /// Whether it still looks phones up.
    pub lookups: PhoneLookups,
    /// What Telegram has it wait for.
    pub waits: FloodWaits,
    /// Until when it was last told here to leave contacts alone; it is among the waits as long as it holds.
    pub contacts_wait: Option<UnixMillis>,
    /// Until when it has sent what it may in a day, whoever asks for it.
    pub spent_until: Option<UnixMillis>,
    /// Whether it is connected and may call.
    pub is_connected: bool,
    /// Whether its session is dead, frozen or removed.
    pub is_gone: bool,
    /// Whether its own users want something of it: that goes first.
    pub has_own_work: bool,
    /// Whether it is acting for a campaign.
    pub is_busy: bool,
}

/// What is kept of a person or bot at Telegram beside the counts of what they did ([`super::caps::UseCount`]). It
/// outlives the account. All moments are on the steady timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorRecord {
    /// The person or bot at Telegram.
    pub telegram_id: i64,
    /// Since when it has been connected, for the ramp.
    pub since: UnixMillis,
    /// Before this nothing is done by a campaign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_until: Option<UnixMillis>,
    /// Its `PEER_FLOOD`s.
    #[serde(default)]
    pub floods: PeerFloods,
    /// Whether it still looks phones up.
    #[serde(default)]
    pub lookups: PhoneLookups,
    /// Until when it looks no phones up and adds nobody, because it was told to do so later. Telegram need not have
    /// named a wait for that, so that nobody else knows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contacts_wait: Option<UnixMillis>,
}

/// Why an account does not act now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// Its session is dead, frozen or removed.
    Gone,
    /// It is not connected.
    Disconnected,
    /// Its own users come first.
    OwnWork,
    /// It is acting.
    Busy,
    /// It was limited.
    Limited,
    /// Telegram has it wait.
    FloodWait,
    /// It has met too many phones that nobody has.
    PhoneLookups,
    /// A cap, or the pause between two actions.
    Cap(Bound),
}

/// An account holds, and until when, if time alone ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Why.
    pub hold: Hold,
    /// Until when.
    pub until: Option<UnixMillis>,
}

/// What a step spends.
pub fn budget_of(step: Step, has_link: bool) -> Budget {
    match step {
        Step::Resolve => Budget::Resolve,
        Step::LookUpPhone | Step::AddContact => Budget::Contact,
        Step::Invite => Budget::Invite,
        Step::Send if has_link => Budget::LinkMessage,
        Step::Send => Budget::Message,
        Step::SendLink => Budget::LinkMessage,
    }
}

/// The class of calls of a step.
pub fn class_of(step: Step) -> MethodClass {
    match step {
        Step::Resolve => MethodClass::Resolve,
        Step::LookUpPhone | Step::AddContact => MethodClass::Contacts,
        Step::Invite => MethodClass::Invite,
        Step::Send | Step::SendLink => MethodClass::Send,
    }
}

impl CampaignAccount {
    /// One that has done nothing, is connected and free.
    pub fn fresh(id: AccountId, usage: Usage) -> Self {
        Self {
            id,
            usage,
            floods: PeerFloods::default(),
            lookups: PhoneLookups::default(),
            waits: FloodWaits::default(),
            contacts_wait: None,
            spent_until: None,
            is_connected: true,
            is_gone: false,
            has_own_work: false,
            is_busy: false,
        }
    }

    /// One as it was kept, connected and free.
    pub fn restored(
        id: AccountId,
        record: ActorRecord,
        counts: impl IntoIterator<Item = UseCount>,
    ) -> Self {
        let mut usage = Usage::none(record.telegram_id, record.since);
        usage.rests_until = record.rests_until.unwrap_or(usage.rests_until);
        usage.restore(counts);
        let (floods, lookups, contacts_wait) =
            (record.floods, record.lookups, record.contacts_wait);
        let mut waits = FloodWaits::default();
        if let Some(until) = contacts_wait {
            let scope = FloodWaitScope::Class(MethodClass::Contacts);
            waits.impose(scope, until, UnixMillis(i64::MIN));
        }
        Self { floods, lookups, waits, contacts_wait, ..Self::fresh(id, usage) }
    }

    /// What is kept of it.
    pub fn record(&self) -> ActorRecord {
        let rests_until = Some(self.usage.rests_until).filter(|until| until.0 != i64::MIN);
        ActorRecord {
            telegram_id: self.usage.telegram_id,
            since: self.usage.since,
            rests_until,
            floods: self.floods.clone(),
            lookups: self.lookups,
            contacts_wait: self.contacts_wait,
        }
    }

    /// Whether it may take a step now.
    ///
    /// # Errors
    /// What holds it.
    pub fn check(
        &self,
        step: Step,
        has_link: bool,
        caps: &Caps,
        now: UnixMillis,
    ) -> Result<(), Holding> {
        self.may_call(step, now)?;
        self.usage
            .check(budget_of(step, has_link), caps, now)
            .map_err(|hit| Holding { hold: Hold::Cap(hit.bound), until: hit.free_at })
    }

    /// Whether Telegram lets it do `goal` with somebody whom it has looked up.
    ///
    /// # Errors
    /// What holds it.
    pub fn may_go_on_with(&self, goal: Step, now: UnixMillis) -> Result<(), Holding> {
        let limited = self.floods.limited_until(now).map(|until| (Hold::Limited, until));
        let wait = self.waits.holds(class_of(goal), now).map(|until| (Hold::FloodWait, until));
        let held = limited.or(wait).map(|(hold, until)| Holding { hold, until: Some(until) });
        held.map_or(Ok(()), Err)
    }

    /// Whether it may call at all for a step, whatever the caps say.
    fn may_call(&self, step: Step, now: UnixMillis) -> Result<(), Holding> {
        let limited = self.floods.limited_until(now);
        let wait = self.waits.holds(class_of(step), now);
        let lookups = self.lookups.rests_until(now).filter(|_| step == Step::LookUpPhone);
        let sends = matches!(step, Step::Send | Step::SendLink);
        let spent = self.spent_until.filter(|until| sends && *until > now);
        let holds = [
            (self.is_gone, Hold::Gone, None),
            (!self.is_connected, Hold::Disconnected, None),
            (limited.is_some(), Hold::Limited, limited),
            (wait.is_some(), Hold::FloodWait, wait),
            (lookups.is_some(), Hold::PhoneLookups, lookups),
            (spent.is_some(), Hold::Cap(Bound::Day(Budget::Message)), spent),
            (self.has_own_work, Hold::OwnWork, None),
            (self.is_busy, Hold::Busy, None),
        ];
        let found = holds.into_iter().find(|(holds, _, _)| *holds);
        found.map_or(Ok(()), |(_, hold, until)| Err(Holding { hold, until }))
    }

    /// Spends what a step costs and is busy with it. Belongs into the commit of the intent.
    ///
    /// # Errors
    /// What holds it; nothing is spent then.
    pub fn take(
        &mut self,
        step: Step,
        has_link: bool,
        (caps, pause_ms): (&Caps, i64),
        now: UnixMillis,
    ) -> Result<(), Holding> {
        self.check(step, has_link, caps, now)?;
        let taken = self.usage.take(budget_of(step, has_link), caps, pause_ms, now);
        taken.map_err(|hit| Holding { hold: Hold::Cap(hit.bound), until: hit.free_at })?;
        self.is_busy = true;
        Ok(())
    }

    /// Takes note of what an answer means for it; it is free again.
    pub fn apply(&mut self, verdict: AccountVerdict, step: Step, now: UnixMillis) {
        self.is_busy = false;
        match verdict {
            AccountVerdict::Waits { seconds } => {
                let until = now.plus_ms(i64::from(seconds) * 1_000 + WAIT_MARGIN_MS);
                let class = class_of(step);
                self.waits.impose(FloodWaitScope::Class(class), until, now);
                if class == MethodClass::Contacts {
                    self.contacts_wait = self.contacts_wait.max(Some(until));
                }
            }
            AccountVerdict::SpentDay { seconds } => {
                let until = now.plus_ms(i64::from(seconds) * 1_000);
                self.spent_until = self.spent_until.max(Some(until));
            }
            AccountVerdict::Limited => drop(self.floods.note(now)),
            AccountVerdict::Blocked => self.is_gone = true,
            AccountVerdict::Slower => {
                self.usage.rests_until = self.usage.rests_until.max(now.plus_ms(SLOWER_MS));
            }
            AccountVerdict::FewerPhones => self.lookups.not_found(now),
            AccountVerdict::FoundPhone => self.lookups.found(),
            // What it forgets, and which task it leaves, is not its own to know.
            AccountVerdict::Fine | AccountVerdict::OutOfTask | AccountVerdict::ForgetsPeer => {}
        }
    }

    /// As a task shows it.
    pub fn status(&self, step: Step, is_out_of_task: bool, now: UnixMillis) -> AccountStatus {
        match () {
            () if self.is_gone || is_out_of_task => AccountStatus::Blocked,
            () if self.floods.limited_until(now).is_some() => AccountStatus::Limited,
            () if self.waits.holds(class_of(step), now).is_some() => AccountStatus::Cooldown,
            () => AccountStatus::Active,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::protocol::campaigns::answers::{Answer, Attempt, judge};

    fn account() -> CampaignAccount {
        let usage = Usage::none(1, UnixMillis(-1_000_000_000_000));
        CampaignAccount::fresh(AccountId(Uuid::from_u128(1)), usage)
    }

    #[test]
    fn who_has_sent_what_it_may_in_a_day_does_everything_else_and_says_so() {
        let (mut account, now) = (account(), UnixMillis(5_000));
        account.apply(AccountVerdict::SpentDay { seconds: 60 }, Step::Send, now);
        let held = account.may_call(Step::SendLink, now).unwrap_err();
        assert_eq!(held.hold, Hold::Cap(Bound::Day(Budget::Message)));
        assert_eq!(held.until, Some(now.plus_ms(60_000)));
        assert_eq!(account.may_call(Step::Invite, now), Ok(()));
        assert_eq!(account.may_call(Step::Send, now.plus_ms(60_000)), Ok(()));
    }

    #[test]
    fn own_users_go_first_and_waits_hold_their_class_only() {
        let (caps, now) = (Caps::default(), UnixMillis(0));
        let mut account = account();
        let held = |account: &CampaignAccount, step| {
            account.check(step, false, &caps, now).map_err(|held| held.hold)
        };
        account.has_own_work = true;
        assert_eq!(held(&account, Step::Send), Err(Hold::OwnWork));
        account.has_own_work = false;
        account.apply(AccountVerdict::Waits { seconds: 10 }, Step::Resolve, now);
        assert_eq!(
            (held(&account, Step::Resolve), held(&account, Step::Send)),
            (Err(Hold::FloodWait), Ok(()))
        );
        assert_eq!(account.status(Step::Resolve, false, now), AccountStatus::Cooldown);
        account.apply(AccountVerdict::Limited, Step::Invite, now);
        assert_eq!(held(&account, Step::Send), Err(Hold::Limited));
        assert_eq!(account.status(Step::Send, false, now), AccountStatus::Limited);
        account.apply(AccountVerdict::Blocked, Step::Invite, now);
        assert_eq!(account.status(Step::Send, false, now), AccountStatus::Blocked);
    }

    #[test]
    fn an_account_acts_for_one_at_a_time_and_spends_what_it_does() {
        let caps = Caps::default();
        let mut account = account();
        account.take(Step::Send, true, (&caps, 15_000), UnixMillis(0)).unwrap();
        let again = account.take(Step::Send, true, (&caps, 15_000), UnixMillis(0));
        assert_eq!(again.map_err(|held| held.hold), Err(Hold::Busy));
        account.apply(AccountVerdict::Fine, Step::Send, UnixMillis(0));
        let rests = Holding { hold: Hold::Cap(Bound::Pause), until: Some(UnixMillis(15_000)) };
        assert_eq!(account.check(Step::Send, false, &caps, UnixMillis(1)), Err(rests));
        assert_eq!(account.usage.left(Budget::LinkMessage, &caps, UnixMillis(1)), 9);
    }

    #[test]
    fn phones_that_nobody_has_stop_lookups_and_nothing_else() {
        let caps = Caps::default();
        let mut account = account();
        (0..4).for_each(|_| {
            account.apply(AccountVerdict::FewerPhones, Step::LookUpPhone, UnixMillis(0))
        });
        let held =
            |step| account.check(step, false, &caps, UnixMillis(1)).map_err(|held| held.hold);
        assert_eq!((held(Step::LookUpPhone), held(Step::Send)), (Err(Hold::PhoneLookups), Ok(())));
    }

    /// What a lookup is told, and what follows for the account.
    fn looks_up(account: &mut CampaignAccount, answer: Answer, now: UnixMillis) {
        let attempt = Attempt {
            step: Step::LookUpPhone,
            is_repeat: false,
            attempts: 1,
            can_be_looked_up: false,
            is_known_elsewhere: false,
            may_get_link: false,
        };
        account.apply(judge(answer, &attempt).account, Step::LookUpPhone, now);
    }

    #[test]
    fn only_a_phone_that_somebody_has_ends_a_row_of_those_that_nobody_has() {
        let now = UnixMillis(0);
        let rests = |between: Answer| {
            let mut account = account();
            for _ in 0..3 {
                looks_up(&mut account, Answer::PhoneNotFound, now);
                looks_up(&mut account, between, now);
            }
            looks_up(&mut account, Answer::PhoneNotFound, now);
            looks_up(&mut account, Answer::PhoneNotFound, now);
            account.lookups.rests_until(now).is_some()
        };
        for nothing in [Answer::NotBegun, Answer::NoAnswer, Answer::Rejected, Answer::LookUpLater] {
            assert!(rests(nothing), "{nothing:?}");
        }
        assert!(!rests(Answer::Accepted));
    }

    #[test]
    fn who_is_to_look_up_later_does_so_also_after_a_restart() {
        let (caps, now) = (Caps::default(), UnixMillis(0));
        let mut account = account();
        looks_up(&mut account, Answer::LookUpLater, now);
        let json = serde_json::to_string(&account.record()).unwrap();
        let record = serde_json::from_str(&json).unwrap();
        let restored = CampaignAccount::restored(account.id, record, []);
        for account in [&account, &restored] {
            let held = |step, at| {
                account.check(step, false, &caps, UnixMillis(at)).map_err(|held| held.hold)
            };
            assert_eq!(held(Step::LookUpPhone, 59 * 60_000), Err(Hold::FloodWait));
            assert_eq!(held(Step::AddContact, 59 * 60_000), Err(Hold::FloodWait));
            assert_eq!(held(Step::Send, 1), Ok(()));
            assert_eq!(held(Step::LookUpPhone, 61 * 60_000), Ok(()));
        }
        assert_eq!(restored.record(), account.record());
        let older = r#"{"telegram_id":1,"since":5}"#;
        let older: ActorRecord = serde_json::from_str(older).unwrap();
        assert_eq!(older.contacts_wait, None);
        assert!(!serde_json::to_string(&older).unwrap().contains("contacts_wait"));
    }
}
