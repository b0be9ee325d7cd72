//! The call of an action, whose intent is durable by now: which question of the messenger each step is.

use std::sync::Arc;

use super::group::may_have_moved;
use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::campaigns::platform::{Deputy, Group, Person, Told};
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::choose::Action;
use crate::protocol::campaigns::links::SentLink;
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::campaigns::target::{Intent, Step, Target};
use crate::protocol::campaigns::text::Rendered;
use crate::protocol::telegram::chat::MarkedId;

/// What an action found.
pub(super) enum Found {
    Nothing,
    Person(Person),
    Message(i32),
    /// The invite link was written to somebody.
    Link(i32, Option<SentLink>),
    /// The group has moved, and nothing was done.
    Moved(Group),
}

/// An action that is about to be called.
pub(super) struct Calling {
    pub(super) context: Arc<CampaignsContext>,
    pub(super) by: Deputy,
    pub(super) action: Action,
    pub(super) target: Target,
    pub(super) intent: Intent,
    /// What is written.
    pub(super) text: Option<Rendered>,
    pub(super) group: Option<MarkedId>,
    /// Whether the task sends the account's link for the first time.
    pub(super) is_first_link: bool,
}

impl Calling {
    pub(super) async fn call(&self) -> Told<Found> {
        let platform = &self.context.platform;
        let (by, target) = (&self.by, &self.target);
        let nothing = |told: Told<()>| told.map(|()| Found::Nothing);
        // Of an erased user nobody is contacted.
        let Ok(_busy) = self.context.erasing.enter(&by.account.user) else {
            return Told::not_done(Answer::NotBegun, "USER_IS_ERASED");
        };
        let unknown = || Told::not_done(Answer::UnknownPeer, "UNKNOWN_PERSON");
        match (self.action.step, target.person, self.group) {
            (Step::Resolve | Step::LookUpPhone, _, _) => {
                platform.find(by, &target.identifier).await.map(Found::Person)
            }
            (Step::AddContact, Some(id), group) => {
                if let Some(answer) = self.why_no_contact(group, id).await {
                    return Told::not_done(answer, "NOT_TO_BE_ADDED");
                }
                let details = target.details.as_deref();
                let part = |text: Option<&str>| {
                    text.filter(|text| !text.trim().is_empty()).map(str::to_owned)
                };
                let first_name = part(details.and_then(|known| known.first_name.as_deref()));
                let last_name = part(details.and_then(|known| known.last_name.as_deref()));
                // A contact has a name. It is seen in the account's own address book alone.
                let is_named = first_name.is_some() || last_name.is_some();
                let first_name =
                    first_name.or_else(|| (!is_named).then(|| target.identifier.to_string()));
                let person = Person { id, first_name, last_name, ..Person::default() };
                let told = platform.add_contact(by, &person).await;
                told.map(|()| Found::Person(Person { is_contact: true, ..person }))
            }
            (Step::Invite, Some(person), Some(group)) => {
                let told = nothing(platform.invite(by, group, person).await);
                self.unless_it_moved(group, told).await
            }
            (Step::Send, Some(person), _) => match &self.text {
                Some(text) => {
                    let random_id = self.intent.random_id;
                    platform.send(by, person, text, random_id).await.map(Found::Message)
                }
                None => Told::not_done(Answer::Rejected, "NO_TEXT"),
            },
            (Step::SendLink, Some(person), Some(group)) => {
                let told = self.send_link(group, person).await;
                self.unless_it_moved(group, told).await
            }
            _ => unknown(),
        }
    }

    /// Why somebody is not added as a contact: they left the group by themselves, or are in it.
    async fn why_no_contact(&self, group: Option<MarkedId>, person: i64) -> Option<Answer> {
        let told = self.context.platform.membership(&self.by, group?, person).await;
        match told.found? {
            Membership::Left | Membership::Banned => Some(Answer::OptedOutOfGroup),
            Membership::Member => Some(Answer::AlreadyMember),
            Membership::Requested | Membership::Absent | Membership::Unknown => None,
        }
    }

    /// What was told of a step in the group, or that the group is not there any more but somewhere else.
    async fn unless_it_moved(&self, group: MarkedId, told: Told<Found>) -> Told<Found> {
        if !may_have_moved(group, told.answer) {
            return told;
        }
        let seen = self.context.platform.group(&self.by, group).await.found;
        match seen.filter(|seen| seen.moved_to.is_some()) {
            Some(seen) => {
                let found = Some(Found::Moved(seen));
                Told { answer: Answer::NotBegun, code: Some("GROUP_MOVED".into()), found }
            }
            None => told,
        }
    }

    async fn send_link(&self, group: MarkedId, person: i64) -> Told<Found> {
        let platform = &self.context.platform;
        let told = platform.invite_link(&self.by, group).await;
        let Some(link) = told.found.clone() else {
            // Without a link nothing was sent.
            let answer =
                if told.answer == Answer::NoAnswer { Answer::NotBegun } else { told.answer };
            return Told { answer, code: told.code, found: None };
        };
        let sent = if self.is_first_link { self.first_sent(group, &link).await } else { None };
        let text = Rendered { source: link, mode: None, has_link: true };
        let random_id = self.intent.random_id;
        let told = platform.send(&self.by, person, &text, random_id).await;
        told.map(|id| Found::Link(id, sent))
    }

    /// Who had come by the account's link before the task sent it. A public name is no link whose uses are counted.
    async fn first_sent(&self, group: MarkedId, link: &str) -> Option<SentLink> {
        let uses = self.context.platform.link_uses(&self.by, group, link).await.found?;
        Some(SentLink::of(self.action.account, link, uses.joined))
    }
}
