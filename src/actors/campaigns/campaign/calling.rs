//! The call of an action, whose intent is durable by now: which question of the messenger each step is.

use std::sync::Arc;

use crate::actors::campaigns::context::CampaignsContext;
use crate::actors::campaigns::platform::{Deputy, Person, Told};
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
                nothing(platform.invite(by, group, person).await)
            }
            (Step::Send, Some(person), _) => match &self.text {
                Some(text) => {
                    let random_id = self.intent.random_id;
                    platform.send(by, person, text, random_id).await.map(Found::Message)
                }
                None => Told::not_done(Answer::Rejected, "NO_TEXT"),
            },
            (Step::SendLink, Some(person), Some(group)) => self.send_link(group, person).await,
            _ => unknown(),
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
