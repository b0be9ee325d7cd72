//! The call of an action, whose intent is durable by now: which question of the messenger each step is.

use std::sync::Arc;

use super::group::may_have_moved;
use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::campaigns::platform::{Deputy, Group, Person, Told};
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::choose::Action;
use crate::protocol::campaigns::target::{Intent, Step, Target};
use crate::protocol::campaigns::text::Rendered;
use crate::protocol::telegram::chat::MarkedId;

/// What an action found.
pub(super) enum Found {
    Nothing,
    Person(Person),
    Message(i32),
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
            (Step::AddContact, Some(id), _) => {
                let details = target.details.as_deref();
                let part = |text: Option<&str>| text.map(str::to_owned);
                let person = Person {
                    id,
                    first_name: part(details.and_then(|known| known.first_name.as_deref())),
                    last_name: part(details.and_then(|known| known.last_name.as_deref())),
                    ..Person::default()
                };
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
        let text = Rendered { source: link, mode: None, has_link: true };
        let random_id = self.intent.random_id;
        platform.send(&self.by, person, &text, random_id).await.map(Found::Message)
    }
}
