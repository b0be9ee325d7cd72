//! Telegram as a messenger of campaigns: each question is one call of an account, behind what its own users want, and
//! messages leave by the sender. Translates; decides nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::platform::{AccountStanding, DayLimit, Deputy, Group, Person, Platform, Reserved, Told};
use crate::actors::accounts::asking::{Unmet, ask};
use crate::actors::accounts::calls::Asker;
use crate::actors::accounts::context::AccountsContext;
use crate::actors::accounts::fleet::FleetMsg;
use crate::actors::messages::sender::MessageSender;
use crate::actors::tree::actor::ActorRef;
use crate::clock::instant;
use crate::protocol::accounts::connection::AccountState;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::links::LinkUses;
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::campaigns::target::Step;
use crate::protocol::campaigns::text::Rendered;
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::{ChatTarget, MarkedId, PeerRecord};
use crate::protocol::telegram::failure::{Failure, is_dead, is_frozen};
use crate::protocol::telegram::pacing::FloodWait;
use crate::protocol::users::owner::Scope;
use crate::protocol::values::ids::AuthKeyId;
use crate::protocol::values::secret::SecretText;
use crate::store::{Reader, StoreError};
use crate::telegram::{Call, NewContact, Outcome, SendMessage};

/// How long a call may wait for its turn. What Telegram makes wait for longer is told, and done later.
const PATIENCE: Duration = Duration::from_secs(20);

/// Telegram.
pub(in crate::actors) struct TelegramPlatform {
    context: Arc<AccountsContext>,
    fleet: ActorRef<FleetMsg>,
    sender: Arc<MessageSender>,
}

impl TelegramPlatform {
    pub(in crate::actors) fn new(
        context: Arc<AccountsContext>,
        fleet: ActorRef<FleetMsg>,
        sender: Arc<MessageSender>,
    ) -> Self {
        Self { context, fleet, sender }
    }

    /// The session that the account has now.
    fn key_of(&self, account: &OwnedAccount) -> AuthKeyId {
        let now = self.context.directory.get(&Scope::Only(account.user.clone()), account.id);
        now.map_or(account.key, |now| now.key)
    }

    /// What an account keeps of somebody or some group.
    async fn peer<T>(
        &self,
        by: &Deputy,
        id: MarkedId,
        none: fn() -> Told<T>,
    ) -> Result<PeerRecord, Told<T>> {
        let key = self.key_of(&by.account);
        match self.context.store.read(move |store: &Reader| store.peer(key, id)).await {
            Ok(peer) => peer.ok_or_else(none),
            // It says nothing of them.
            Err(error) => {
                tracing::error!(account = %by.account.id, %error, "what an account knows cannot be read");
                Err(Told::not_done(Answer::NotBegun, "UNREADABLE"))
            }
        }
    }

    /// Has the account make a call.
    async fn call(&self, by: &Deputy, call: Call) -> Result<Outcome, Unmet> {
        let (key, asker) = (self.key_of(&by.account), Asker::Campaign(by.task));
        match ask(&self.fleet, key, asker, call, instant() + PATIENCE).await {
            Err(Unmet::Unclear(answer)) => {
                let ended = |_| Err(Failure::transient("the account ended under the call"));
                answer.await.unwrap_or_else(ended).map_err(Unmet::Failed)
            }
            told => told,
        }
    }

    /// The same, where only one kind of outcome is meant.
    async fn ask_for<T>(
        &self,
        by: &Deputy,
        call: Call,
        read: impl FnOnce(Outcome) -> Option<Told<T>>,
    ) -> Told<T> {
        match self.call(by, call).await {
            Ok(outcome) => read(outcome)
                .unwrap_or_else(|| Told::not_done(Answer::NoAnswer, "UNEXPECTED_ANSWER")),
            Err(unmet) => not_done(unmet),
        }
    }

    async fn send_to(
        &self,
        by: &Deputy,
        peer: PeerRecord,
        text: &Rendered,
        random_id: i64,
    ) -> Told<i32> {
        let message = SendMessage {
            peer,
            text: text.source.clone(),
            parse_mode: text.mode,
            reply_to: None,
            silent: false,
            random_id,
        };
        let deadline = instant() + PATIENCE;
        match self.sender.deliver(&by.account, by.task, message, deadline).await {
            Ok(Outcome::Sent { message_id, .. }) => Told::done(message_id),
            Ok(_) => Told { answer: Answer::AcceptedBefore, code: None, found: None },
            Err(unmet) => not_done(unmet),
        }
    }
}

/// What is told of a call that came to nothing.
fn not_done<T>(unmet: Unmet) -> Told<T> {
    match unmet {
        // It never began.
        Unmet::TakenBack => Told::not_done(Answer::NotBegun, "NO_TURN"),
        Unmet::Refused(failure @ (Failure::Transient { .. } | Failure::Unreadable { .. })) => {
            Told::not_done(Answer::NotBegun, failure.code())
        }
        Unmet::Refused(failure) | Unmet::Failed(failure) => {
            Told::not_done(Answer::of_failure(&failure), failure.code())
        }
        Unmet::Unclear(_) => Told::not_done(Answer::NoAnswer, "NO_ANSWER"),
    }
}

#[async_trait]
impl Platform for TelegramPlatform {
    fn standing(&self, account: &OwnedAccount) -> AccountStanding {
        let Some(view) = self.context.status.view(self.key_of(account)) else {
            return AccountStanding::default();
        };
        let is_connected = matches!(
            view.state,
            AccountState::Active | AccountState::CoolingDown | AccountState::Limited
        );
        let now = self.context.now();
        let left = |wait: FloodWait| (wait.scope, wait.until.0.saturating_sub(now.0));
        let waits = view.flood_waits.into_iter().map(left).filter(|(_, left)| *left > 0).collect();
        let code = view.error.as_ref().map(|(code, _)| code.as_str());
        AccountStanding {
            is_connected: is_connected && !account.is_paused,
            is_gone: code.is_some_and(|code| is_dead(code) || is_frozen(code)),
            has_own_work: view.queued > 0,
            waits,
        }
    }

    async fn known(
        &self,
        account: &OwnedAccount,
        people: Vec<i64>,
    ) -> Result<Vec<i64>, StoreError> {
        let key = self.key_of(account);
        let read = move |store: &Reader| {
            let mut known = Vec::new();
            for person in people {
                if store.peer(key, MarkedId::user(person))?.is_some() {
                    known.push(person);
                }
            }
            Ok(known)
        };
        self.context.store.read_within(PATIENCE, read).await
    }

    async fn reserve(&self, by: &Deputy, step: Step) -> Result<Reserved, DayLimit> {
        if !matches!(step, Step::Send | Step::SendLink) {
            return Ok(Reserved::nothing());
        }
        match self.sender.count(&by.account).await {
            Ok((unit, op)) => {
                let context = Arc::clone(&self.context);
                let give_back = Box::new(move || context.daily_limits.give_back(&unit));
                Ok(Reserved::new(vec![op], give_back))
            }
            Err(refusal) => {
                let seconds = refusal.retry_after.unwrap_or(60).min(u64::from(u32::MAX));
                Err(DayLimit { seconds: u32::try_from(seconds).unwrap_or(u32::MAX) })
            }
        }
    }

    async fn find(&self, by: &Deputy, who: &Identifier) -> Told<Person> {
        let read = |outcome| match outcome {
            Outcome::Person { card, .. } => Some(Told::done(Person {
                names: card.identifiers(),
                id: card.id,
                username: card.usernames.first().cloned(),
                first_name: card.first_name,
                last_name: card.last_name,
                is_bot: card.is_bot,
                is_deleted: card.is_deleted,
                is_contact: card.is_contact,
            })),
            _ => None,
        };
        self.ask_for(by, Call::FindPerson(who.clone()), read).await
    }

    async fn add_contact(&self, by: &Deputy, who: &Person) -> Told<()> {
        let person = match self.peer(by, MarkedId::user(who.id), unknown).await {
            Ok(person) => person,
            Err(told) => return told,
        };
        let (first_name, last_name) =
            (who.first_name.clone().unwrap_or_default(), who.last_name.clone().unwrap_or_default());
        let contact = NewContact { person, first_name, last_name };
        let read =
            |outcome| matches!(outcome, Outcome::ContactAdded { .. }).then(|| Told::done(()));
        self.ask_for(by, Call::AddContact(contact), read).await
    }

    async fn learn_time(&self, by: &Deputy) {
        if self.context.clocks.telegrams_now_roughly().is_none() {
            let _ = self.call(by, Call::LearnTime).await;
        }
    }

    async fn invite(&self, by: &Deputy, group: MarkedId, person: i64) -> Told<()> {
        let group = match self.peer(by, group, no_group).await {
            Ok(group) => group,
            Err(told) => return told,
        };
        let person = match self.peer(by, MarkedId::user(person), unknown).await {
            Ok(person) => person,
            Err(told) => return told,
        };
        let read = |outcome| match outcome {
            Outcome::Invited { missing: None } => Some(Told::done(())),
            Outcome::Invited { missing: Some(missing) } => {
                let answer = Answer::NotAdded { is_paid: missing.needs_premium_to_write };
                Some(Told::not_done(answer, "MISSING_INVITEE"))
            }
            _ => None,
        };
        self.ask_for(by, Call::Invite { group, person }, read).await
    }

    async fn send(&self, by: &Deputy, person: i64, text: &Rendered, random_id: i64) -> Told<i32> {
        let peer = match self.peer(by, MarkedId::user(person), unknown).await {
            Ok(peer) => peer,
            Err(told) => return told,
        };
        self.send_to(by, peer, text, random_id).await
    }

    async fn send_to_self(&self, by: &Deputy, text: &Rendered, random_id: i64) -> Told<i32> {
        let read = |outcome| match outcome {
            Outcome::Resolved { peer, .. } => Some(Told::done(peer)),
            _ => None,
        };
        let told = self.ask_for(by, Call::ResolveTarget(Target::Me), read).await;
        match told.found {
            Some(peer) => self.send_to(by, peer, text, random_id).await,
            None => Told { answer: told.answer, code: told.code, found: None },
        }
    }

    async fn membership(&self, by: &Deputy, group: MarkedId, person: i64) -> Told<Membership> {
        let group = match self.peer(by, group, no_group).await {
            Ok(group) => group,
            Err(told) => return told,
        };
        let person = match self.peer(by, MarkedId::user(person), unknown).await {
            Ok(person) => person,
            Err(told) => return told,
        };
        let read = |outcome| match outcome {
            Outcome::Membership(found) => Some(Told::done(found)),
            _ => None,
        };
        self.ask_for(by, Call::Membership { group, person }, read).await
    }

    async fn group(&self, by: &Deputy, group: MarkedId) -> Told<Group> {
        let read = |outcome| match outcome {
            Outcome::GroupRights(rights) => Some(Told::done(Group {
                moved_to: rights.upgraded_from.map(|_| rights.chat.peer.id),
                formerly: rights.formerly,
                may_invite: rights.obstacle().is_none(),
                is_full: rights.lacks_room(),
                title: Some(rights.chat.title),
            })),
            _ => None,
        };
        self.ask_for(by, Call::GroupRights(ChatTarget::Marked(group)), read).await
    }

    async fn invite_link(&self, by: &Deputy, group: MarkedId) -> Told<String> {
        let group = match self.peer(by, group, no_group).await {
            Ok(group) => group,
            Err(told) => return told,
        };
        let read = |outcome| match outcome {
            Outcome::InviteLink { link, .. } => Some(Told::done(link.expose().to_owned())),
            _ => None,
        };
        let title = "invitations".to_owned();
        self.ask_for(by, Call::InviteLink { group, title }, read).await
    }

    async fn link_uses(&self, by: &Deputy, group: MarkedId, link: &str) -> Told<LinkUses> {
        let group = match self.peer(by, group, no_group).await {
            Ok(group) => group,
            Err(told) => return told,
        };
        let read = |outcome| match outcome {
            Outcome::LinkUses { joined, waiting } => Some(Told::done(LinkUses { joined, waiting })),
            _ => None,
        };
        let link = SecretText::new(link.to_owned());
        self.ask_for(by, Call::LinkUses { group, link }, read).await
    }
}

fn unknown<T>() -> Told<T> {
    Told::not_done(Answer::UnknownPeer, "UNKNOWN_PERSON")
}

fn no_group<T>() -> Told<T> {
    Told::not_done(Answer::NoRights, "UNKNOWN_GROUP")
}
