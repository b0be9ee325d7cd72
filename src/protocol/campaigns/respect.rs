//! Who is never contacted, and who not now: suppression and the recontact window. Pure; the installation's key is an
//! argument. Asked right before each action, in the commit of its intent.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::identity::Identifier;
use super::target::Step;
use super::task::TaskId;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::users::owner::UserId;
use crate::protocol::values::ids::UnixMillis;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Within how many days a person is not contacted by two tasks by default (`campaign.recontact_days`).
pub const RECONTACT_DAYS: u32 = 30;

/// Under what a refusal is found: an HMAC of the identifier under a key of the installation's. A bare hash of a
/// phone number can be guessed, since there are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SuppressionKey(pub [u8; 32]);

impl SuppressionKey {
    /// Of one identifier.
    pub fn of(installation_key: &[u8; 32], identifier: &Identifier) -> Self {
        // Its canonical form also tells the kinds apart: `@1`, `+1` and `1`.
        Self(keyed(installation_key, b"suppression\0", identifier.to_string().as_bytes()))
    }
}

/// All that one person is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownAs {
    /// Telegram's id.
    pub id: Option<i64>,
    /// Public name, normalised.
    pub username: Option<Box<str>>,
    /// Phone number, normalised.
    pub phone: Option<u64>,
}

impl KnownAs {
    /// As somebody named them.
    pub fn named(identifier: &Identifier) -> Self {
        let mut known = Self::default();
        known.learn(identifier);
        known
    }

    /// Adds another name of the same person.
    pub fn learn(&mut self, identifier: &Identifier) {
        match identifier {
            Identifier::Id(id) => self.id = Some(*id),
            Identifier::Username(name) => self.username = Some(name.clone()),
            Identifier::Phone(phone) => self.phone = Some(*phone),
        }
    }

    /// All names.
    pub fn identifiers(&self) -> impl Iterator<Item = Identifier> + '_ {
        let names = [
            self.id.map(Identifier::Id),
            self.username.clone().map(Identifier::Username),
            self.phone.map(Identifier::Phone),
        ];
        names.into_iter().flatten()
    }

    /// Under what refusals of this person may lie. To be looked up again after resolving, when more is known.
    pub fn keys(&self, installation_key: &[u8; 32]) -> Vec<SuppressionKey> {
        self.identifiers().map(|name| SuppressionKey::of(installation_key, &name)).collect()
    }

    /// Whether two are certainly one person.
    pub fn is_same(&self, other: &Self) -> bool {
        fn both<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> Option<bool> {
            Some(one.as_ref()? == other.as_ref()?)
        }
        // Names and numbers change hands; ids do not.
        both(&self.id, &other.id).unwrap_or_else(|| {
            both(&self.username, &other.username) == Some(true)
                || both(&self.phone, &other.phone) == Some(true)
        })
    }
}

/// Where a refusal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// They answered "stop".
    StopReply,
    /// They blocked the account.
    Blocked,
    /// Their privacy settings, or they left the group.
    Privacy,
    /// A person put them there.
    Manual,
    /// Came with a list.
    Import,
    /// They asked to be erased; only the key is left of them.
    Erased,
}

/// What somebody refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Covers {
    /// Any contact.
    Everything,
    /// Messages.
    Messages,
    /// Invitations to whatever.
    Invitations,
    /// Invitations to one group: the entry's, or that of the task.
    ThisGroup,
}

/// Whose list an entry is on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// A user's own.
    User(UserId),
    /// Everybody's.
    Installation,
}

/// Names a list where no user may be named: a refusal outlives the user who wrote it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListTag(pub [u8; 16]);

impl ListTag {
    /// Everybody's list.
    pub const INSTALLATION: Self = Self([0; 16]);

    /// Of one list.
    pub fn of(installation_key: &[u8; 32], list: &List) -> Self {
        let List::User(user) = list else { return Self::INSTALLATION };
        let whole = keyed(installation_key, b"list\0", user.as_str().as_bytes());
        let mut tag = [0; 16];
        tag.copy_from_slice(&whole[..16]);
        Self(tag)
    }
}

fn keyed(installation_key: &[u8; 32], purpose: &[u8], what: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(installation_key)
        .unwrap_or_else(|_| unreachable!("an HMAC takes keys of any length"));
    mac.update(purpose);
    mac.update(what);
    mac.finalize().into_bytes().into()
}

/// What is looked up of a refusal right before each action: nobody's name is in it, so it outlives what is known of
/// the person and of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Under what it is found.
    pub key: SuppressionKey,
    /// On whose list.
    pub list: ListTag,
    /// What is refused.
    pub covers: Covers,
    /// Which group, for [`Covers::ThisGroup`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<MarkedId>,
    /// Where it comes from.
    pub source: Source,
    /// Whether a person has to read first what they wrote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_doubtful: bool,
    /// Since when.
    pub since: UnixMillis,
    /// The entry of the list that tells people of it, the newest where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<SuppressionId>,
}

impl Refusal {
    /// Whether it forbids a step that a task of the user with the list `mine` takes towards `group`.
    pub fn forbids(&self, mine: ListTag, step: Step, group: Option<MarkedId>) -> bool {
        let is_ours = self.list == mine || self.list == ListTag::INSTALLATION;
        let is_message = matches!(step, Step::Send | Step::SendLink);
        let covers = match self.covers {
            Covers::Everything => true,
            Covers::Messages => is_message,
            Covers::Invitations => step == Step::Invite,
            // The invite link leads there, too.
            Covers::ThisGroup => group.is_some() && self.group == group && step != Step::Send,
        };
        is_ours && covers
    }
}

/// An entry's id (a UUID of version 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SuppressionId(pub Uuid);

/// An entry of a list of refusals, as people see it. Deleting a task or a target never deletes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// Its id.
    pub id: SuppressionId,
    /// Under what it is found.
    pub key: SuppressionKey,
    /// On whose list.
    pub list: List,
    /// What is refused.
    pub covers: Covers,
    /// Which group, for [`Covers::ThisGroup`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<MarkedId>,
    /// Where it comes from.
    pub source: Source,
    /// Whether a reply may mean it: they are held until a person has read it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_doubtful: bool,
    /// Since when.
    pub since: UnixMillis,
    /// Who it is, unless they asked to be erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<Identifier>,
}

impl Suppression {
    /// They asked to be erased: the refusal outlives what is known of them.
    pub fn erase(&mut self) {
        self.identifier = None;
        self.source = Source::Erased;
    }

    /// What is looked up of it.
    pub fn refusal(&self, installation_key: &[u8; 32]) -> Refusal {
        let list = ListTag::of(installation_key, &self.list);
        let Self { key, covers, group, source, is_doubtful, since, .. } = *self;
        Refusal { key, list, covers, group, source, is_doubtful, since, entry: Some(self.id) }
    }
}

/// How a refusal may be lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifting<'a> {
    /// The person wrote that they want to hear from us again.
    WroteAgain,
    /// A person removes it; audited with the reason.
    Removed {
        /// Why.
        reason: &'a str,
    },
    /// A list is imported, or a task or target deleted.
    ByTheWay,
}

/// Whether it may.
pub fn may_be_lifted(how: Lifting<'_>) -> bool {
    match how {
        Lifting::WroteAgain => true,
        Lifting::Removed { reason } => !reason.trim().is_empty(),
        Lifting::ByTheWay => false,
    }
}

/// When a task reached somebody last, kept by the person's id for the recontact window. One that may have been is
/// counted as one. On the steady timeline, so that no clock that is set forward opens the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contacted {
    /// By which task.
    pub task: TaskId,
    /// When.
    pub at: UnixMillis,
}

/// Until when `task` leaves somebody alone whom another task has reached. A clock that was set back makes it no
/// shorter.
pub fn recontact_until(
    last: Option<&Contacted>,
    task: TaskId,
    days: u32,
    now: UnixMillis,
) -> Option<UnixMillis> {
    let last = last.filter(|last| last.task != task)?;
    let until = last.at.plus_ms(i64::from(days) * DAY_MS);
    (until > now).then_some(until)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn entry(list: List, covers: Covers) -> Suppression {
        let who = Identifier::Username("durov".into());
        let key = SuppressionKey::of(&KEY, &who);
        Suppression {
            id: SuppressionId(Uuid::nil()),
            key,
            list,
            covers,
            group: Some(MarkedId(-5)),
            source: Source::StopReply,
            is_doubtful: false,
            since: UnixMillis(0),
            identifier: Some(who),
        }
    }

    #[test]
    fn a_person_is_found_by_each_name_and_by_no_other_key() {
        let mut known = KnownAs::named(&Identifier::Username("durov".into()));
        known.learn(&Identifier::Phone(79_991_234_567));
        known.learn(&Identifier::Id(1));
        assert_eq!(known.keys(&KEY).len(), 3);
        assert!(known.keys(&KEY).contains(&entry(List::Installation, Covers::Everything).key));
        assert!(!known.keys(&[8; 32]).contains(&entry(List::Installation, Covers::Everything).key));
        let phone = KnownAs::named(&Identifier::Phone(79_991_234_567));
        let renamed = KnownAs { id: Some(2), ..known.clone() };
        assert!(
            known.is_same(&phone)
                && !known.is_same(&renamed)
                && !KnownAs::default().is_same(&known)
        );
    }

    #[test]
    fn lists_and_scopes_are_told_apart() {
        let (ann, bob) = (UserId::new("ann").unwrap(), UserId::new("bob").unwrap());
        let mine = ListTag::of(&KEY, &List::User(ann.clone()));
        assert_ne!(mine, ListTag::of(&[8; 32], &List::User(ann.clone())));
        let within =
            |entry: &Suppression, step, group| entry.refusal(&KEY).forbids(mine, step, group);
        let forbids = |entry: &Suppression, step| within(entry, step, Some(MarkedId(-5)));
        assert!(forbids(&entry(List::Installation, Covers::Everything), Step::Send));
        assert!(!forbids(&entry(List::User(bob), Covers::Everything), Step::Send));
        let messages = entry(List::User(ann.clone()), Covers::Messages);
        assert_eq!(
            [Step::Send, Step::SendLink, Step::Invite].map(|step| forbids(&messages, step)),
            [true, true, false]
        );
        let group = entry(List::User(ann.clone()), Covers::ThisGroup);
        assert_eq!(
            [Step::Send, Step::SendLink, Step::Invite].map(|step| forbids(&group, step)),
            [false, true, true]
        );
        assert!(
            !within(&group, Step::Invite, Some(MarkedId(-6)))
                && !within(&group, Step::Invite, None)
        );
    }

    #[test]
    fn an_eraser_leaves_the_key_only() {
        let mut entry = entry(List::Installation, Covers::Everything);
        entry.erase();
        let json = serde_json::to_string(&entry).unwrap();
        assert!(!json.contains("durov") && json.contains("erased"));
        assert_eq!(serde_json::from_str::<Suppression>(&json).unwrap(), entry);
    }

    #[test]
    fn only_the_person_or_a_reason_lifts_a_refusal() {
        assert!(
            may_be_lifted(Lifting::WroteAgain)
                && may_be_lifted(Lifting::Removed { reason: "by phone" })
        );
        assert!(
            !may_be_lifted(Lifting::Removed { reason: " " }) && !may_be_lifted(Lifting::ByTheWay)
        );
    }

    proptest! {
        #[test]
        fn no_second_task_contacts_within_the_window(at in 0..1_000_000_000_i64, later in 0..6_000_000_000_i64, back in 0..1_000_000_000_i64) {
            let task = |id| TaskId(Uuid::from_u128(id));
            let last = Contacted { task: task(1), at: UnixMillis(at) };
            let held = |now| recontact_until(Some(&last), task(2), RECONTACT_DAYS, UnixMillis(now));
            prop_assert_eq!(held(at + later).is_none(), later >= 30 * DAY_MS);
            prop_assert!(held(at - back).is_some(), "a clock that was set back");
            prop_assert_eq!(recontact_until(Some(&last), task(1), RECONTACT_DAYS, UnixMillis(at)), None);
        }
    }
}
