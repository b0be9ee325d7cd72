//! A target: one person of one task, and what became of it. Plain data, and which status may follow which. Small
//! enough for a million: what only few have stands behind a pointer.

use serde::{Deserialize, Serialize};

use super::identity::Identifier;
use super::text::Values;
use crate::protocol::users::owner::AccountId;
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;

/// A target's place in its task: from 1 in the order in which they were added, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TargetId(pub u32);

/// Calls that may be tried for one target before it has failed.
pub const ATTEMPTS_MAX: u16 = 8;
/// Names of one person that are kept. Telegram shows fewer.
pub const NAMES_MAX: usize = 16;

/// What became of a target so far.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TargetStatus {
    /// Waits for its turn.
    #[default]
    Pending,
    /// An intent is durable, and its outcome is not.
    InFlight,
    /// Is in the group by our invitation.
    Invited,
    /// Was invited, and an admin has to let them in.
    Requested,
    /// Got the message.
    Sent,
    /// Does not want it, or cannot be wanted to: never tried again.
    Refused,
    /// It did not work.
    Failed,
    /// Was not tried, for a reason of ours.
    Skipped,
    /// It may have happened. Settled first, by the same account.
    Uncertain,
}

/// All statuses, in the order of [`Statistics`].
pub const STATUSES: [TargetStatus; 9] = [
    TargetStatus::Pending,
    TargetStatus::InFlight,
    TargetStatus::Invited,
    TargetStatus::Requested,
    TargetStatus::Sent,
    TargetStatus::Refused,
    TargetStatus::Failed,
    TargetStatus::Skipped,
    TargetStatus::Uncertain,
];

impl TargetStatus {
    /// As it is stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InFlight => "in_flight",
            Self::Invited => "invited",
            Self::Requested => "requested",
            Self::Sent => "sent",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Uncertain => "uncertain",
        }
    }

    /// Whether nothing follows any more.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::InFlight | Self::Uncertain)
    }

    /// Whether the person was reached, or may have been: the recontact window counts from it.
    pub fn may_have_reached(self) -> bool {
        matches!(
            self,
            Self::InFlight | Self::Uncertain | Self::Invited | Self::Requested | Self::Sent
        )
    }

    /// Which status may follow which. A refusal is for ever, and so is what reached somebody.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => {
                matches!(next, Self::InFlight | Self::Skipped | Self::Failed | Self::Refused)
            }
            // A call that certainly did nothing puts its target back.
            Self::InFlight => next != Self::InFlight,
            Self::Uncertain => next != Self::Uncertain,
            Self::Invited | Self::Sent | Self::Refused => false,
            // An admin has decided, or the person was let in.
            Self::Requested => matches!(next, Self::Invited | Self::Refused),
            // Only what failed for a passing reason: see `Reason::is_passing`.
            Self::Failed => next == Self::Pending,
            // What was skipped because of a setting or a value may be tried when that has changed.
            Self::Skipped => next == Self::Pending,
        }
    }
}

/// Why a target has its status, as reports and the API name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// On a suppression list.
    Suppressed,
    /// Another task reached the person within the recontact window.
    Recontact,
    /// A value of the template is missing and has no fallback.
    MissingValue,
    /// The same person as another target.
    Duplicate,
    /// The name belongs to somebody else by now.
    IdentityChanged,
    /// Was in the group before.
    AlreadyMember,
    /// A bot.
    Bot,
    /// We have blocked them.
    WeBlocked,
    /// A reply is to be read by a person first.
    HeldForReview,
    /// Their privacy settings, or left out of the invitation (`missing_invitees`).
    Privacy,
    /// They take messages for payment or from premium accounts only. Nothing is ever paid.
    Paid,
    /// They left the group or were removed from it.
    OptedOutOfGroup,
    /// They have blocked the account.
    Blocked,
    /// They are in too many groups.
    TooManyGroups,
    /// No such person (any more).
    NotFound,
    /// They could not be added, and got the group's invite link as a message.
    LinkSent,
    /// Nobody is found by that phone number; perhaps they hide it.
    PhoneNotFound,
    /// No account knows that id.
    UnknownPeer,
    /// The account was limited while it tried (`PEER_FLOOD`).
    AccountLimited,
    /// The text is longer than a message.
    TextTooLong,
    /// They have to be a contact first, and the task does not allow to add any.
    NotAContact,
    /// Tried too often.
    TooManyAttempts,
    /// Telegram rejects the call for a reason that is not known here.
    Rejected,
    /// It never became known whether it happened, and a person gave it up.
    Unsettled,
    /// The task was cancelled before its turn.
    Cancelled,
    /// A person left them out.
    LeftOut,
    /// An outcome is missing: the account that tried is being asked.
    NoAnswer,
}

impl Reason {
    /// Whether what failed for it may be tried again when a person asks for it. Never a refusal, never what is
    /// uncertain.
    pub fn is_passing(self) -> bool {
        matches!(
            self,
            Self::TooManyGroups
                | Self::UnknownPeer
                | Self::TextTooLong
                | Self::TooManyAttempts
                | Self::Rejected
                | Self::PhoneNotFound
                | Self::NotAContact
                | Self::MissingValue
                | Self::Recontact
                | Self::LeftOut
                | Self::HeldForReview
        )
    }

    /// As it is stored and shown.
    pub fn name(self) -> String {
        // A unit variant is a JSON string.
        serde_json::to_value(self)
            .ok()
            .and_then(|name| name.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

/// What an intent is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Resolve a username.
    Resolve,
    /// Look a phone number up.
    LookUpPhone,
    /// Add the person as a contact.
    AddContact,
    /// Invite to the group.
    Invite,
    /// Send the message.
    Send,
    /// Send the group's invite link to somebody whose invitation was refused.
    SendLink,
}

impl Step {
    /// Whether the person notices: only these reach somebody, only these must never be done twice.
    pub fn reaches(self) -> bool {
        matches!(self, Self::Invite | Self::Send | Self::SendLink)
    }
}

/// What is durable before a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// By which account. An uncertain target never changes it.
    pub account: AccountId,
    /// What is about to be done.
    pub step: Step,
    /// What Telegram recognises a repetition of a message by. It protects only the account that drew it.
    pub random_id: i64,
    /// When it was tried first, on the steady timeline.
    pub at: UnixMillis,
    /// The same on the wall clock, which goes on while the daemon is down. `None`: an older program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<UnixMillis>,
    /// Whether an earlier call for the same may have happened: then nothing that this one is told proves that
    /// nothing happened.
    pub is_repeat: bool,
}

/// What is known of a person beside their identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Public name, without `@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Box<str>>,
    /// First name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<Box<str>>,
    /// Last name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_name: Option<Box<str>>,
    /// Phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Box<str>>,
    /// Where they are: the IANA name of a time zone that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Box<str>>,
    /// Whatever else came with them: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<str>>,
}

impl Details {
    /// The same with what `others` say instead; what they leave out stays, and what is empty is taken away.
    #[must_use]
    pub fn with(self, others: Self) -> Self {
        let pick = |own: Option<Box<str>>, other: Option<Box<str>>| match other {
            None => own,
            Some(text) => Some(text).filter(|text| !text.trim().is_empty()),
        };
        Self {
            username: pick(self.username, others.username),
            first_name: pick(self.first_name, others.first_name),
            last_name: pick(self.last_name, others.last_name),
            phone: pick(self.phone, others.phone),
            zone: pick(self.zone, others.zone),
            data: pick(self.data, others.data),
        }
    }
}

/// A target, as the store keeps it under its task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its place in the task.
    pub id: TargetId,
    /// Calls that were tried.
    #[serde(default)]
    pub attempts: u16,
    /// What became of it.
    pub status: TargetStatus,
    /// They could not be added, and are to get the group's invite link once. Whatever comes of that, they have
    /// refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wants_link: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Version of the task's text that it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_version: Option<u32>,
    /// As it was named.
    pub identifier: Identifier,
    /// Telegram's id of the person, pinned when it was resolved first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<i64>,
    /// The message that reached them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<i32>,
    /// Not before this, on the steady timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<UnixMillis>,
    /// The newest intent. Of whom nobody was reached by it, only that of a look-up is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Box<Intent>>,
    /// What is known of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// The names that they had at the messenger when they were found there last, [`NAMES_MAX`] at the most: under each
    /// of them they may have refused.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub names: Box<[Identifier]>,
}

/// A change that a target does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The status does not follow.
    #[error("a target that is {from:?} does not become {to:?}")]
    Status {
        /// What it is.
        from: TargetStatus,
        /// What it was to be.
        to: TargetStatus,
    },
    /// An uncertain target is for the account that has tried.
    #[error("the target is uncertain and belongs to another account")]
    OtherAccount,
    /// An uncertain target is repeated with the same random id only.
    #[error("the target is uncertain and was tried with another random id")]
    OtherRandomId,
    /// What failed would fail again, or was refused.
    #[error("the target failed for a reason that does not pass")]
    NotPassing,
    /// The name belongs to somebody else by now.
    #[error("the name belongs to another person by now")]
    IdentityChanged,
}

impl Target {
    /// Somebody new.
    pub fn new(id: TargetId, identifier: Identifier, details: Option<Details>) -> Self {
        let person = if let Identifier::Id(person) = identifier { Some(person) } else { None };
        let details = details.filter(|details| *details != Details::default()).map(Box::new);
        Self {
            id,
            attempts: 0,
            status: TargetStatus::Pending,
            wants_link: false,
            reason: None,
            text_version: None,
            identifier,
            person,
            message_id: None,
            not_before: None,
            intent: None,
            details,
            names: Box::default(),
        }
    }

    /// Whether their identifier or one of their names holds `words`, which are in lower case. A phone number is found
    /// however its digits are grouped.
    pub fn holds(&self, words: &str) -> bool {
        let digits: String = words.chars().filter(|one| !" -()".contains(*one)).collect();
        let identifier = self.identifier.to_string();
        let is_named = |text: &Option<Box<str>>| {
            text.as_ref().is_some_and(|text| text.to_lowercase().contains(words))
        };
        let details = self.details.as_deref();
        identifier.contains(words)
            || (digits.bytes().any(|byte| byte.is_ascii_digit()) && identifier.contains(&digits))
            || details.is_some_and(|Details { username, first_name, last_name, phone, .. }| {
                [username, first_name, last_name, phone].into_iter().any(is_named)
            })
    }

    /// Takes an intent: it is in flight from here on. Belongs into the commit that takes the cap.
    ///
    /// # Errors
    /// When it is not waiting, or an uncertain one changes its account or its random id.
    pub fn begin(&mut self, intent: Intent, text_version: u32) -> Result<(), TargetError> {
        if self.status == TargetStatus::Uncertain {
            let known = self.intent.as_deref();
            if known.is_some_and(|known| known.account != intent.account) {
                return Err(TargetError::OtherAccount);
            }
            if known.is_some_and(|known| known.random_id != intent.random_id) {
                return Err(TargetError::OtherRandomId);
            }
        }
        let is_repeat = intent.is_repeat || self.status == TargetStatus::Uncertain;
        self.become_status(TargetStatus::InFlight, None)?;
        self.attempts = self.attempts.saturating_add(1);
        self.not_before = None;
        if intent.step.reaches() && !is_repeat {
            self.text_version = Some(text_version);
        }
        self.intent = Some(Box::new(Intent { is_repeat, ..intent }));
        Ok(())
    }

    /// Goes on to another status.
    ///
    /// # Errors
    /// When that status does not follow, or what failed does not pass.
    pub fn become_status(
        &mut self,
        next: TargetStatus,
        reason: Option<Reason>,
    ) -> Result<(), TargetError> {
        // Who could not be added stays refused, whatever keeps the link from them.
        let is_refused =
            self.wants_link && matches!(next, TargetStatus::Skipped | TargetStatus::Failed);
        let next = if is_refused { TargetStatus::Refused } else { next };
        // Of whom a message or an invitation may have reached nobody says that nothing was tried, or tries anew.
        let is_ended = matches!(next, TargetStatus::Skipped | TargetStatus::Failed);
        let (next, reason) = if is_ended && self.may_have_been_reached() {
            (TargetStatus::Failed, Some(Reason::Unsettled))
        } else {
            (next, reason)
        };
        if !self.status.may_become(next) {
            return Err(TargetError::Status { from: self.status, to: next });
        }
        let was_final = self.status.is_final();
        if was_final && next == TargetStatus::Pending {
            if !self.reason.is_some_and(Reason::is_passing) {
                return Err(TargetError::NotPassing);
            }
            self.attempts = 0;
        }
        let is_untried = self.status == TargetStatus::Pending && next != TargetStatus::InFlight;
        (self.status, self.reason) = (next, reason);
        if next == TargetStatus::Pending {
            // Nobody was reached: whoever tries next draws an id of their own. Who looked them up last is kept.
            self.intent.take_if(|intent| was_final || intent.step.reaches());
            self.text_version = None;
        } else if is_untried {
            self.intent = None;
        }
        Ok(())
    }

    /// What is being tried, or was when they came to their end; not what came before while they wait again.
    pub fn tried(&self) -> Option<&Intent> {
        self.intent.as_deref().filter(|_| self.status != TargetStatus::Pending)
    }

    /// What changes whenever an edit, or whatever forbids one, has changed it: who it is, what is known of them, where
    /// it stands.
    pub fn version(&self) -> u64 {
        let identifier = self.identifier.to_string();
        let details = self.details.as_deref().cloned().unwrap_or_default();
        let Details { username, first_name, last_name, phone, zone, data } = &details;
        let known = [username, first_name, last_name, phone, zone, data];
        let known = known.map(|part| part.as_deref().unwrap_or_default().as_bytes());
        let parts = [identifier.as_bytes(), self.status.name().as_bytes()].into_iter().chain(known);
        let Fingerprint(whole) = Fingerprint::of(parts);
        whole.first_chunk::<8>().map_or(0, |part| u64::from_be_bytes(*part))
    }

    /// The name of the time zone that the person is in, where it is known.
    pub fn zone(&self) -> Option<&str> {
        self.details.as_deref().and_then(|details| details.zone.as_deref())
    }

    /// The account that looked somebody up last who waits.
    pub fn looked_up_by(&self) -> Option<AccountId> {
        let is_waiting = self.status == TargetStatus::Pending;
        let intent = self.intent.as_deref().filter(|intent| is_waiting && !intent.step.reaches());
        intent.map(|intent| intent.account)
    }

    /// Whether the newest call for them has reached the person, or may have: others count it as a contact.
    pub fn may_have_been_contacted(&self) -> bool {
        self.status.may_have_reached()
            || matches!(self.reason, Some(Reason::LinkSent | Reason::Unsettled))
    }

    /// Whether a call was tried of which nobody knows whether it has reached the person.
    fn may_have_been_reached(&self) -> bool {
        let reaching = self.intent.as_deref().filter(|intent| intent.step.reaches());
        reaching.is_some_and(|intent| match self.status {
            TargetStatus::Uncertain => true,
            TargetStatus::InFlight => intent.is_repeat,
            _ => false,
        })
    }

    /// Takes note of who the name belongs to.
    ///
    /// # Errors
    /// When it was pinned to somebody else: it is to be skipped.
    pub fn pin(&mut self, person: i64) -> Result<(), TargetError> {
        match self.person {
            Some(known) if known != person => Err(TargetError::IdentityChanged),
            _ => {
                self.person = Some(person);
                Ok(())
            }
        }
    }

    /// Takes note of the names that the person has at the messenger.
    pub fn note_names(&mut self, names: impl IntoIterator<Item = Identifier>) {
        let names = names.into_iter().filter(|name| *name != self.identifier);
        self.names = names.take(NAMES_MAX).collect();
    }

    /// Which account an unsettled intent belongs to.
    pub fn held_by(&self) -> Option<AccountId> {
        let is_held = matches!(self.status, TargetStatus::Uncertain | TargetStatus::InFlight);
        self.intent.as_deref().filter(|_| is_held).map(|intent| intent.account)
    }

    /// Its values for a template. A phone or username that it was named by counts, too.
    pub fn values<'a>(&'a self, shown: &'a str) -> Values<'a> {
        let details = self.details.as_deref();
        let (mut username, mut phone) = (None, None);
        match &self.identifier {
            Identifier::Username(name) => username = Some(&**name),
            Identifier::Phone(_) => phone = Some(shown),
            Identifier::Id(_) => {}
        }
        Values {
            username: details.and_then(|known| known.username.as_deref()).or(username),
            first_name: details.and_then(|known| known.first_name.as_deref()),
            last_name: details.and_then(|known| known.last_name.as_deref()),
            phone: details.and_then(|known| known.phone.as_deref()).or(phone),
        }
    }

    /// Bytes that it takes in memory, with what it points at.
    pub fn memory_bytes(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
        let details = self.details.as_deref().map_or(0, |known| {
            let texts =
                [&known.username, &known.first_name, &known.last_name, &known.phone, &known.data];
            size_of::<Details>() + texts.into_iter().map(text).sum::<usize>()
        });
        let intent = self.intent.as_ref().map_or(0, |_| size_of::<Intent>());
        let name = |name: &Identifier| size_of::<Identifier>() + name.heap_bytes();
        let names: usize = self.names.iter().map(name).sum();
        size_of::<Self>() + self.identifier.heap_bytes() + details + intent + names
    }
}

/// How many targets of a task have which status. They always add up to the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Statistics([u64; STATUSES.len()]);

/// The numbers of a task's progress. `done` is succeeded, refused, failed and skipped; with `pending` it is the
/// total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// All targets.
    pub total: u64,
    /// Those for whom nothing follows.
    pub done: u64,
    /// Invited, requested or sent.
    pub succeeded: u64,
    /// Refused.
    pub refused: u64,
    /// Failed.
    pub failed: u64,
    /// Skipped.
    pub skipped: u64,
    /// Pending, in flight or uncertain.
    pub pending: u64,
}

impl Statistics {
    /// Counts targets anew.
    pub fn of<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Self {
        let mut counts = Self::default();
        targets.into_iter().for_each(|target| counts.add(target.status));
        counts
    }

    /// How many have this status.
    pub fn count(&self, status: TargetStatus) -> u64 {
        self.0[status as usize]
    }

    /// All.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// One more target.
    pub fn add(&mut self, status: TargetStatus) {
        self.0[status as usize] += 1;
    }

    /// So many have this status.
    pub(super) fn put(&mut self, status: TargetStatus, count: u64) {
        self.0[status as usize] = count;
    }

    /// One less.
    pub fn remove(&mut self, status: TargetStatus) {
        self.0[status as usize] = self.0[status as usize].saturating_sub(1);
    }

    /// One has another status.
    pub fn moved(&mut self, from: TargetStatus, to: TargetStatus) {
        if self.count(from) > 0 {
            self.remove(from);
            self.add(to);
        }
    }

    /// Those for whom something follows.
    pub fn unfinished(&self) -> u64 {
        let unfinished = STATUSES.into_iter().filter(|status| !status.is_final());
        unfinished.map(|status| self.count(status)).sum()
    }

    /// As it is told.
    pub fn progress(&self) -> Progress {
        let sum =
            |statuses: &[TargetStatus]| statuses.iter().map(|status| self.count(*status)).sum();
        let pending = self.unfinished();
        Progress {
            total: self.total(),
            done: self.total() - pending,
            succeeded: sum(&[TargetStatus::Invited, TargetStatus::Requested, TargetStatus::Sent]),
            refused: sum(&[TargetStatus::Refused]),
            failed: sum(&[TargetStatus::Failed]),
            skipped: sum(&[TargetStatus::Skipped]),
            pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn target() -> Target {
        Target::new(TargetId(1), Identifier::Username("durov".into()), None)
    }

    fn intent(account: u128, random_id: i64) -> Intent {
        Intent {
            account: AccountId(Uuid::from_u128(account)),
            step: Step::Send,
            random_id,
            at: UnixMillis(0),
            is_repeat: false,
            wall: None,
        }
    }

    #[test]
    fn a_version_is_another_one_after_each_change_and_the_same_without_one() {
        let details =
            |name: &str| Some(Details { first_name: Some(name.into()), ..Details::default() });
        let new = |name: &str, details| {
            Target::new(TargetId(1), Identifier::Username(name.into()), details)
        };
        let target = new("durov", details("P"));
        assert_eq!(target.version(), new("durov", details("P")).version());
        let mut skipped = target.clone();
        skipped.become_status(TargetStatus::Skipped, Some(Reason::LeftOut)).unwrap();
        let others =
            [new("other", details("P")), new("durov", details("Q")), new("durov", None), skipped];
        assert!(others.iter().all(|other| other.version() != target.version()));
    }

    #[test]
    fn a_waiting_target_is_small() {
        let details = Details {
            first_name: Some("Aleksandra".into()),
            last_name: Some("Konstantinopolskaya".into()),
            phone: Some("+79991234567".into()),
            ..Details::default()
        };
        let waiting = Target::new(
            TargetId(1),
            Identifier::Username("a_name_of_twenty_two".into()),
            Some(details),
        );
        assert!(target().memory_bytes() <= 128, "{}", target().memory_bytes());
        assert!(waiting.memory_bytes() < 300, "{}", waiting.memory_bytes());
        let json = serde_json::to_string(&waiting).unwrap();
        assert_eq!(serde_json::from_str::<Target>(&json).unwrap(), waiting);
        assert!(serde_json::to_string(&target()).unwrap().len() < 80);
    }

    #[test]
    fn an_uncertain_target_keeps_its_account_and_its_random_id() {
        let mut target = target();
        target.begin(intent(1, 7), 3).unwrap();
        assert_eq!(
            target.begin(intent(1, 7), 3),
            Err(TargetError::Status { from: TargetStatus::InFlight, to: TargetStatus::InFlight })
        );
        target.become_status(TargetStatus::Uncertain, Some(Reason::NoAnswer)).unwrap();
        assert_eq!(target.begin(intent(2, 7), 4), Err(TargetError::OtherAccount));
        assert_eq!(target.begin(intent(1, 8), 4), Err(TargetError::OtherRandomId));
        target.begin(intent(1, 7), 4).unwrap();
        assert_eq!(target.intent.as_ref().map(|intent| intent.is_repeat), Some(true));
        assert_eq!(
            (target.text_version, target.attempts),
            (Some(3), 2),
            "the text it was sent first"
        );
    }

    #[test]
    fn a_refusal_is_for_ever_and_passing_failures_are_not() {
        let ended = |status, reason| {
            let mut target = target();
            target.begin(intent(1, 7), 1).unwrap();
            target.become_status(status, Some(reason)).unwrap();
            target.become_status(TargetStatus::Pending, None)
        };
        assert!(ended(TargetStatus::Refused, Reason::Privacy).is_err());
        assert!(ended(TargetStatus::Sent, Reason::Rejected).is_err());
        assert_eq!(
            ended(TargetStatus::Failed, Reason::AccountLimited),
            Err(TargetError::NotPassing)
        );
        assert_eq!(ended(TargetStatus::Failed, Reason::Unsettled), Err(TargetError::NotPassing));
        assert_eq!(ended(TargetStatus::Failed, Reason::TooManyGroups), Ok(()));
        assert_eq!(ended(TargetStatus::Skipped, Reason::Suppressed), Err(TargetError::NotPassing));
    }

    #[test]
    fn the_person_is_pinned_at_the_first_resolution() {
        let mut target = target();
        assert_eq!(
            (target.pin(5), target.pin(5), target.pin(6)),
            (Ok(()), Ok(()), Err(TargetError::IdentityChanged))
        );
        let mut by_id = Target::new(TargetId(2), Identifier::Id(9), None);
        assert_eq!(by_id.pin(10), Err(TargetError::IdentityChanged));
        assert_eq!(Reason::IdentityChanged.name(), "identity_changed");
    }

    proptest! {
        #[test]
        fn counts_always_add_up(steps in prop::collection::vec((0..6_usize, 0..9_usize), 0..200)) {
            let mut targets: Vec<Target> = (0..6).map(|_| target()).collect();
            let mut counts = Statistics::of(&targets);
            for (which, next) in steps {
                let from = targets[which].status;
                if targets[which].become_status(STATUSES[next], None).is_ok() {
                    counts.moved(from, STATUSES[next]);
                }
                prop_assert_eq!(counts, Statistics::of(&targets));
                let progress = counts.progress();
                prop_assert_eq!(progress.total, 6);
                prop_assert_eq!(progress.done + progress.pending, 6);
                prop_assert_eq!(progress.succeeded + progress.refused + progress.failed + progress.skipped, progress.done);
            }
        }

        #[test]
        fn whoever_was_reached_is_never_tried_again(steps in prop::collection::vec(0..9_usize, 0..60)) {
            let mut target = target();
            let mut reached = false;
            for next in steps {
                let _ = target.become_status(STATUSES[next], Some(Reason::Rejected));
                reached |= matches!(target.status, TargetStatus::Invited | TargetStatus::Requested | TargetStatus::Sent | TargetStatus::Refused);
                prop_assert!(!reached || target.status.is_final());
            }
        }
    }
}
