//! The audit log: who did what, when, from where, and how it ended. Each entry carries a hash over
//! itself and the hash of the entry before, so that nobody changes or removes one unnoticed. What tells
//! of people is outside the chain and only committed to by a salted hash, so that it can be forgotten
//! without breaking the chain. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::protocol::users::owner::{Caller, UserId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::UnixMillis;

/// How long entries are kept, milliseconds (a year).
pub const AUDIT_LOG_KEPT_MS: i64 = 365 * 24 * 60 * 60 * 1_000;

/// Longest text that an entry takes along, characters.
pub const DETAILS_CHARS_MAX: usize = 500;

/// A hash of the chain.
pub type Hash = [u8; 32];

/// What precedes the first entry.
pub const ORIGIN: Hash = [0; 32];

/// What somebody wrote about what was done, e.g. how the people of a campaign agreed. Not for logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Details(String);

impl Details {
    /// The text, or its beginning when it is longer than [`DETAILS_CHARS_MAX`].
    pub fn new(text: &str) -> Self {
        match text.char_indices().nth(DETAILS_CHARS_MAX) {
            None => Self(text.to_owned()),
            Some(_) => {
                let start = text.chars().take(DETAILS_CHARS_MAX - 1);
                Self(start.chain(['…']).collect())
            }
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Details {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Details(..)")
    }
}

/// Something that was done, to be noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// When.
    pub at: UnixMillis,
    /// Who did it.
    pub actor: UserId,
    /// Whose thing it was done to.
    pub owner: UserId,
    /// What was done, e.g. `message.send`.
    pub action: String,
    /// To what.
    pub target: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// How it ended: `ok`, or a refusal's code.
    pub outcome: String,
    /// What was written about it.
    pub details: Option<Details>,
}

impl AuditEvent {
    /// Something done to what is one's own, from nowhere in particular, that went well.
    pub fn own(user: &UserId, action: &str, at: UnixMillis) -> Self {
        Self {
            at,
            actor: user.clone(),
            owner: user.clone(),
            action: action.to_owned(),
            target: None,
            address: None,
            outcome: "ok".to_owned(),
            details: None,
        }
    }

    /// Something that `who` did to what is `owner`'s, and that went well.
    pub fn by(who: &Caller, owner: &UserId, action: &str, at: UnixMillis) -> Self {
        let address = who.address.map(|address| address.to_string());
        Self { owner: owner.clone(), address, ..Self::own(&who.user, action, at) }
    }

    /// To what it was done.
    #[must_use]
    pub fn on(self, target: impl ToString) -> Self {
        Self { target: Some(target.to_string()), ..self }
    }

    /// What was written about it.
    #[must_use]
    pub fn with(self, details: Details) -> Self {
        Self { details: Some(details), ..self }
    }

    /// How it ended, if not well.
    #[must_use]
    pub fn ended(self, outcome: &str) -> Self {
        Self { outcome: outcome.to_owned(), ..self }
    }
}

/// The part of an entry that the chain is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLink {
    /// Its number; the first is 1.
    pub number: u64,
    /// When.
    pub at: UnixMillis,
    /// What was done.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Commits to the [`Persons`].
    pub persons: Fingerprint,
    /// Over all of the above and the hash of the entry before.
    pub hash: Hash,
}

/// The part of an entry that tells of people and their things.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persons {
    /// Makes the commitment unguessable; gone once the entry was pseudonymised.
    pub salt: Option<[u8; 16]>,
    /// Who did it, or a pseudonym.
    pub actor: String,
    /// Whose thing it was, or a pseudonym.
    pub owner: String,
    /// To what.
    pub target: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// What was written about it. Older entries have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// An entry as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The part in the chain.
    pub link: ChainLink,
    /// The part that tells of people.
    pub persons: Persons,
}

impl Persons {
    /// What the chain says of it; `None` once it was pseudonymised.
    pub fn commitment(&self) -> Option<Fingerprint> {
        let salt = self.salt?;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (target, address) = (text(&self.target), text(&self.address));
        let parts = [
            &salt[..],
            self.actor.as_bytes(),
            self.owner.as_bytes(),
            &[u8::from(self.target.is_some()), u8::from(self.address.is_some())],
            target.as_bytes(),
            address.as_bytes(),
        ];
        // One part more, where there are details, so that entries without hash as they always did.
        let details = self.details.as_ref().map(|details| details.0.as_bytes());
        Some(Fingerprint::of(parts.into_iter().chain(details)))
    }

    /// Forgets the user `id`, whose place `pseudonym` takes. An entry that tells of somebody else, too,
    /// keeps that one.
    pub fn forget(&mut self, id: &UserId, pseudonym: &str) {
        for person in [&mut self.actor, &mut self.owner] {
            if person == id.as_str() {
                pseudonym.clone_into(person);
            }
        }
        (self.salt, self.target, self.address, self.details) = (None, None, None, None);
    }
}

impl ChainLink {
    /// The hash of an entry with these contents behind one with the hash `before`.
    fn hash_of(&self, before: &Hash) -> Hash {
        let mut digest = Sha256::new();
        digest.update(b"telewarden audit\0");
        digest.update(before);
        digest.update(self.number.to_be_bytes());
        digest.update(self.at.0.to_be_bytes());
        for text in [&self.action, &self.outcome] {
            digest.update((text.len() as u64).to_be_bytes());
            digest.update(text.as_bytes());
        }
        digest.update(self.persons.0);
        digest.finalize().into()
    }

    /// Whether it follows an entry with the hash `before`.
    pub fn follows(&self, before: &Hash) -> bool {
        self.hash == self.hash_of(before)
    }
}

impl Entry {
    /// The entry of an audit event, number `number`, behind one with the hash `before`.
    pub fn of(audit_event: AuditEvent, number: u64, before: &Hash, salt: [u8; 16]) -> Self {
        let AuditEvent { at, actor, owner, action, target, address, outcome, details } =
            audit_event;
        let (actor, owner) = (actor.into(), owner.into());
        let persons = Persons { salt: Some(salt), actor, owner, target, address, details };
        let commitment = persons.commitment().unwrap_or(Fingerprint(ORIGIN));
        let mut link = ChainLink { number, at, action, outcome, persons: commitment, hash: ORIGIN };
        link.hash = link.hash_of(before);
        Self { link, persons }
    }

    /// Whether the part that tells of people is the one that the chain commits to. One that was
    /// pseudonymised cannot be told from another.
    pub fn is_whole(&self) -> bool {
        self.persons.commitment().is_none_or(|commitment| commitment == self.link.persons)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::users::owner::Role;

    fn audit_event(action: &str, actor: &str) -> AuditEvent {
        let who = Caller { user: UserId::new(actor).unwrap(), role: Role::User, address: None };
        AuditEvent::by(&who, &UserId::new("owner").unwrap(), action, UnixMillis(5)).on("thing-7")
    }

    #[test]
    fn entries_from_before_there_were_details_are_read_and_whole() {
        let json = r#"{"salt":[3,3,3,3,3,3,3,3,3,3,3,3,3,3,3,3],"actor":"ann","owner":"ann","target":"x","address":null}"#;
        let persons: Persons = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&persons).unwrap(), json, "and written as they were");
        let committed = Fingerprint::of([&[3; 16][..], b"ann", b"ann", &[1, 0], b"x", b""]);
        assert_eq!(persons.commitment(), Some(committed));
        let told = Persons { details: Some(Details::new("")), ..persons.clone() };
        assert_ne!(
            told.commitment(),
            persons.commitment(),
            "nor is an empty text put in unnoticed"
        );
    }

    #[test]
    fn details_are_bounded_and_not_for_logs() {
        let long = Details::new(&"я".repeat(DETAILS_CHARS_MAX + 1));
        assert_eq!(long.as_str().chars().count(), DETAILS_CHARS_MAX);
        assert!(long.as_str().ends_with("я…"));
        let whole = "я".repeat(DETAILS_CHARS_MAX);
        assert_eq!(Details::new(&whole).as_str(), whole);
        let event = audit_event("campaign.create", "ann").with(Details::new("they asked"));
        assert!(!format!("{event:?}").contains("they asked"));
    }

    #[test]
    fn forgetting_a_person_leaves_the_chain_whole() {
        let event = audit_event("message.send", "somebody").with(Details::new("they asked"));
        let mut entry = Entry::of(event, 1, &ORIGIN, [3; 16]);
        assert!(entry.is_whole());
        entry.persons.forget(&UserId::new("somebody").unwrap(), "erased-1");
        assert!(entry.link.follows(&ORIGIN) && entry.is_whole());
        let shown = format!("{entry:?}");
        assert!(!shown.contains("somebody") && !shown.contains("thing-7"), "{shown}");
        assert_eq!((entry.persons.owner.as_str(), &entry.persons.details), ("owner", &None));
    }

    proptest! {
        #[test]
        fn no_part_of_an_entry_changes_unnoticed(
            action in "[a-z.]{1,12}", outcome in "[a-z]{1,4}", at in any::<i64>(),
            actor in "[a-z]{1,9}", target in prop::option::of("[a-z]{0,9}"),
            address in prop::option::of("[a-z]{0,9}"), details in prop::option::of("[a-z]{0,9}"), which in 0..9usize,
        ) {
            let audit_event = AuditEvent {
                at: UnixMillis(at), outcome, target, address, details: details.map(Details),
                ..audit_event(&action, &actor)
            };
            let whole = Entry::of(audit_event, 7, &[1; 32], [9; 16]);
            prop_assert!(whole.link.follows(&[1; 32]) && whole.is_whole());
            let mut changed = whole.clone();
            match which {
                0 => changed.link.number += 1,
                1 => changed.link.at = UnixMillis(at.wrapping_add(1)),
                2 => changed.link.action.push('x'),
                3 => changed.link.outcome.push('x'),
                4 => changed.persons.actor.push('x'),
                5 => changed.persons.owner.push('x'),
                6 => changed.persons.target = Some(changed.persons.target.unwrap_or_default() + "x"),
                7 => changed.persons.details = match changed.persons.details {
                    Some(_) if at % 2 == 0 => None,
                    Some(Details(text)) => Some(Details(text + "x")),
                    None => Some(Details(String::new())),
                },
                _ => changed.persons.address = Some(changed.persons.address.unwrap_or_default() + "x"),
            }
            prop_assert!(!(changed.link.follows(&[1; 32]) && changed.is_whole()), "{which}");
            prop_assert!(!whole.link.follows(&[2; 32]));
        }
    }
}
