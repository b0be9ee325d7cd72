//! The books of who was reached by whom: every attempt of a client to write to a person or to
//! invite them, as the server saw it. Reports of campaigns are compared with them.
//!
//! Only attempts that were decided about the person are in them. What was refused before (a flood
//! wait, a missing right in the chat, a fault) never got as far, and what a `random_id` repeats is
//! no new attempt. Attempts on bots and on oneself are left out.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::World;
use super::ids::Peer;
use crate::clock::unix_seconds;
use crate::flood_waits::HEARD_AFTER;
use crate::violations::Violation;

/// Most attempts that are kept; what comes later is only counted.
const KEPT_MAX: usize = 1_000_000;

/// How a person was to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContactedKind {
    /// By a private message.
    Message,
    /// By being added to a chat.
    Invite,
}

/// One attempt to reach a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contacted {
    /// The person.
    pub user_id: i64,
    /// The account that tried.
    pub by: i64,
    /// How.
    pub kind: ContactedKind,
    /// Unix seconds.
    pub date: i32,
    /// Whether the message was delivered, or the person is in the chat now.
    pub accepted: bool,
    /// The chat of an invitation, marked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<i64>,
    /// Telegram's name for why not, or `missing_invitee`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_with: Option<Cow<'static, str>>,
}

/// Which invitations somebody refused: those to one chat, or all. And when the client was told.
type Refusals = HashMap<Option<Peer>, Instant>;

/// The attempts, and what must be remembered to judge them.
#[derive(Default)]
pub(crate) struct Books {
    contacted: Vec<Contacted>,
    /// Attempts that are not kept.
    pub(crate) lost: u64,
    refusals: HashMap<i64, Refusals>,
    /// Refusals of the call that is executed now.
    fresh: Vec<(i64, Option<Peer>)>,
}

impl Books {
    /// All attempts, oldest first.
    pub(crate) fn contacted(&self) -> &[Contacted] {
        &self.contacted
    }

    /// What a person says from now on is not what they said before.
    pub(crate) fn forget_refusals(&mut self, person: i64) {
        self.refusals.remove(&person);
    }

    fn note(&mut self, entry: Contacted) {
        if self.contacted.len() < KEPT_MAX {
            self.contacted.push(entry);
        } else {
            self.lost += 1;
        }
    }

    fn has_refused(&self, person: i64, chat: Peer) -> bool {
        let refusals = self.refusals.get(&person);
        refusals.is_some_and(|told| told.contains_key(&None) || told.contains_key(&Some(chat)))
    }

    /// Remembers why an invitation did not get through, if it was the person's own will: a privacy
    /// setting is about all invitations, having left or been removed about that chat.
    fn refuse(&mut self, person: i64, chat: Peer, why: &str, now: Instant) {
        let what = match why {
            MISSING_INVITEE | "USER_PRIVACY_RESTRICTED" | "USER_IS_BLOCKED" => None,
            "USER_NOT_MUTUAL_CONTACT" | "USER_KICKED" => Some(chat),
            _ => return,
        };
        if let Entry::Vacant(place) = self.refusals.entry(person).or_default().entry(what) {
            place.insert(now);
            self.fresh.push((person, what));
        }
    }

    /// Another call begins.
    pub(crate) fn begin_call(&mut self) {
        self.fresh.clear();
    }

    /// The answer of the call will not be heard: nobody has been told of a refusal. The attempts
    /// stay.
    pub(crate) fn answer_lost(&mut self) {
        for (person, what) in std::mem::take(&mut self.fresh) {
            if let Some(refusals) = self.refusals.get_mut(&person) {
                refusals.remove(&what);
            }
        }
    }

    /// The client was killed: what it was told just before it had no time to keep.
    pub(crate) fn client_killed(&mut self, now: Instant) {
        for refusals in self.refusals.values_mut() {
            refusals.retain(|_, told| now.duration_since(*told) >= HEARD_AFTER);
        }
    }
}

/// Why somebody is not in the chat when the answer only says that.
pub(crate) const MISSING_INVITEE: &str = "missing_invitee";

impl World {
    /// Notes an attempt to write to a person.
    pub(crate) fn note_message(&mut self, to: i64, by: i64, why_not: Option<Cow<'static, str>>) {
        let (user_id, kind) = (to, ContactedKind::Message);
        self.note_attempt(Contacted {
            user_id,
            by,
            kind,
            date: unix_seconds(),
            accepted: why_not.is_none(),
            chat_id: None,
            refused_with: why_not,
        });
    }

    /// Notes an attempt to add a person to a chat, and whether they had refused that before.
    pub(crate) fn note_invite(
        &mut self,
        person: i64,
        by: i64,
        chat: Peer,
        why_not: Option<Cow<'static, str>>,
    ) {
        if self.user(person).is_bot() {
            return;
        }
        if self.books.has_refused(person, chat) {
            let chat = chat.marked();
            let text = format!("account {by} invited account {person} to {chat} again");
            self.violations.count(Violation::InvitedAfterRefusal, text);
        }
        if let Some(why) = &why_not {
            self.books.refuse(person, chat, why, Instant::now());
        }
        self.note_attempt(Contacted {
            user_id: person,
            by,
            kind: ContactedKind::Invite,
            date: unix_seconds(),
            accepted: why_not.is_none(),
            chat_id: Some(chat.marked()),
            refused_with: why_not,
        });
    }

    fn note_attempt(&mut self, entry: Contacted) {
        if entry.user_id != entry.by && !self.user(entry.user_id).is_bot() {
            self.books.note(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::dcs::Dcs;
    use crate::world::users::NewUser;
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Duration;

    fn world() -> (World, i64, i64) {
        let mut world = World::new(1, Dcs::new(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), &[]));
        let one = world.add_user(NewUser::default()).unwrap();
        let other = world.add_user(NewUser::default()).unwrap();
        (world, one, other)
    }

    #[test]
    fn an_entry_has_the_fields_of_the_contract_and_why_not_if_it_was_refused() {
        let (mut world, by, person) = world();
        world.note_message(person, by, None);
        world.note_invite(person, by, Peer::Group(5), Some(MISSING_INVITEE.into()));
        world.note_message(by, by, None);
        let [message, invite] = world.books.contacted() else { panic!("two entries") };
        let date = message.date;
        let expected = serde_json::json!({
            "user_id": person, "by": by, "kind": "message", "date": date, "accepted": true,
        });
        assert_eq!(serde_json::to_value(message).unwrap(), expected);
        let expected = serde_json::json!({
            "user_id": person, "by": by, "kind": "invite", "date": invite.date, "accepted": false,
            "chat_id": -5, "refused_with": "missing_invitee",
        });
        assert_eq!(serde_json::to_value(invite).unwrap(), expected);
    }

    #[test]
    fn privacy_refuses_every_chat_and_having_left_only_that_one() {
        let (mut world, by, person) = world();
        let violations = |world: &World| world.violations.counts()["invited_after_refusal"];
        world.note_invite(person, by, Peer::Group(1), Some("USER_NOT_MUTUAL_CONTACT".into()));
        world.note_invite(person, by, Peer::Group(2), Some("USERS_TOO_MUCH".into()));
        world.note_invite(person, by, Peer::Group(2), Some(MISSING_INVITEE.into()));
        assert_eq!(violations(&world), 0);
        world.note_invite(person, by, Peer::Group(1), None);
        world.note_invite(person, by, Peer::Group(3), None);
        assert_eq!(violations(&world), 2);
        world.books.forget_refusals(person);
        world.note_invite(person, by, Peer::Group(3), None);
        assert_eq!(violations(&world), 2);
    }

    #[test]
    fn a_refusal_that_the_client_cannot_have_kept_does_not_count() {
        let (mut world, by, person) = world();
        let violations = |world: &World| world.violations.counts()["invited_after_refusal"];
        let refuse = |world: &mut World| {
            world.books.begin_call();
            world.note_invite(person, by, Peer::Group(1), Some(MISSING_INVITEE.into()));
        };
        refuse(&mut world);
        world.books.answer_lost();
        refuse(&mut world);
        world.books.client_killed(Instant::now());
        refuse(&mut world);
        assert_eq!(violations(&world), 0);
        world.books.client_killed(Instant::now() + HEARD_AFTER);
        refuse(&mut world);
        // What was told before stays told, though this answer is lost.
        world.books.answer_lost();
        refuse(&mut world);
        assert_eq!(violations(&world), 2);
        assert_eq!(world.books.contacted().len(), 5);
    }

    #[test]
    fn a_hundred_thousand_attempts_are_noted_and_written_out_at_once() {
        let (mut world, by, person) = world();
        let start = Instant::now();
        for number in 0..100_000 {
            world.note_invite(person, by, Peer::Channel(number), None);
        }
        let written = serde_json::to_vec(&world.books.contacted().to_vec()).unwrap();
        assert!(written.len() > 100_000 * 80);
        // A tenth of a second optimized; this is for unoptimized builds on busy machines.
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}
