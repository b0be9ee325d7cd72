//! A messenger as campaigns reach it: plain questions and answers. One implementation a messenger; nothing above this
//! file knows which one it is.

use async_trait::async_trait;

use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::links::LinkUses;
use crate::protocol::campaigns::settle::Membership;
use crate::protocol::campaigns::target::Step;
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::campaigns::text::Rendered;
use crate::protocol::telegram::chat::MarkedId;
use crate::protocol::telegram::pacing::FloodWaitScope;
use crate::store::{Op, StoreError};

/// By which account, for which task: of those who want something of one account, tasks take turns.
#[derive(Clone, Debug)]
pub(in crate::actors) struct Deputy {
    pub(in crate::actors) account: OwnedAccount,
    pub(in crate::actors) task: TaskId,
}

/// How an account stands.
#[derive(Clone, Debug, Default)]
pub(in crate::actors) struct AccountStanding {
    /// It is connected, and may call.
    pub(in crate::actors) is_connected: bool,
    /// Its session is dead, frozen or removed.
    pub(in crate::actors) is_gone: bool,
    /// What the messenger has it wait for, and for how many milliseconds more.
    pub(in crate::actors) waits: Vec<(FloodWaitScope, i64)>,
    /// Its own users want something of it.
    pub(in crate::actors) has_own_work: bool,
}

/// Somebody who was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::actors) struct Person {
    pub(in crate::actors) id: i64,
    pub(in crate::actors) username: Option<String>,
    pub(in crate::actors) first_name: Option<String>,
    pub(in crate::actors) last_name: Option<String>,
    /// All names by which they are found at the messenger.
    pub(in crate::actors) names: Vec<Identifier>,
    pub(in crate::actors) is_bot: bool,
    pub(in crate::actors) is_deleted: bool,
    pub(in crate::actors) is_contact: bool,
}

/// A group as one account sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::actors) struct Group {
    pub(in crate::actors) title: Option<String>,
    pub(in crate::actors) may_invite: bool,
    /// The account might invite, and nobody can be added: the group is full, or takes no more additions.
    pub(in crate::actors) is_full: bool,
    /// What it has become, where it has moved.
    pub(in crate::actors) moved_to: Option<MarkedId>,
    /// What it was before it moved, whichever was asked for.
    pub(in crate::actors) formerly: Option<MarkedId>,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actors) struct Told<T> {
    /// In the words of no messenger.
    pub(in crate::actors) answer: Answer,
    /// The messenger's name for it, for the log; `None` when all went well.
    pub(in crate::actors) code: Option<String>,
    /// What was found, where something was.
    pub(in crate::actors) found: Option<T>,
}

impl<T> Told<T> {
    /// It was done, and this was found.
    pub(in crate::actors) fn done(found: T) -> Self {
        Self { answer: Answer::Accepted, code: None, found: Some(found) }
    }

    /// It was not, or nobody knows.
    pub(in crate::actors) fn not_done(answer: Answer, code: impl Into<String>) -> Self {
        Self { answer, code: Some(code.into()), found: None }
    }

    /// The same with another view of what was found.
    pub(in crate::actors) fn map<U>(self, view: impl FnOnce(T) -> U) -> Told<U> {
        Told { answer: self.answer, code: self.code, found: self.found.map(view) }
    }
}

/// Gives back what was counted for a step, when certainly nothing was done.
pub(in crate::actors) type GiveBack = Box<dyn FnOnce() + Send>;

/// An account has spent what it may do in a day, whoever asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) struct DayLimit {
    /// When the next day begins.
    pub(in crate::actors) seconds: u32,
}

/// What a messenger has of its own to count before a step. Gives it back when it is dropped unspent.
pub(in crate::actors) struct Reserved {
    ops: Vec<Op>,
    give_back: Option<GiveBack>,
}

impl Reserved {
    /// `ops` belong into the commit of the intent.
    pub(in crate::actors) fn new(ops: Vec<Op>, give_back: GiveBack) -> Self {
        Self { ops, give_back: Some(give_back) }
    }

    /// Nothing is counted.
    pub(in crate::actors) fn nothing() -> Self {
        Self { ops: Vec::new(), give_back: None }
    }

    /// The step is about to be taken: the writes for the commit of its intent, and the way back, for whoever knows
    /// that nothing was done.
    pub(in crate::actors) fn spend(mut self) -> (Vec<Op>, GiveBack) {
        let give_back = self.give_back.take();
        (std::mem::take(&mut self.ops), give_back.unwrap_or_else(|| Box::new(|| {})))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(give_back) = self.give_back.take() {
            give_back();
        }
    }
}

/// A messenger. Each question is one call, or none where nothing has to be asked; none of them waits for longer than a
/// call may take, and none is asked again in here.
#[async_trait]
pub(in crate::actors) trait Platform: Send + Sync {
    /// How an account stands. Asks nobody.
    fn standing(&self, account: &OwnedAccount) -> AccountStanding;

    /// Which of `people` the account can name without looking them up.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn known(&self, account: &OwnedAccount, people: Vec<i64>)
    -> Result<Vec<i64>, StoreError>;

    /// Takes what the messenger limits beyond the caps of campaigns.
    ///
    /// # Errors
    /// What is told instead of acting.
    async fn reserve(&self, by: &Deputy, step: Step) -> Result<Reserved, DayLimit>;

    /// Looks somebody up.
    async fn find(&self, by: &Deputy, who: &Identifier) -> Told<Person>;

    /// Makes somebody a contact of the account. Never shows them the account's own number.
    async fn add_contact(&self, by: &Deputy, who: &Person) -> Told<()>;

    /// Has the messenger tell what time it is there, unless that is known.
    async fn learn_time(&self, by: &Deputy);

    /// Invites somebody to a group.
    async fn invite(&self, by: &Deputy, group: MarkedId, person: i64) -> Told<()>;

    /// Writes to somebody. Harmless to repeat with the same `random_id` from the same account. Finds the message's id.
    async fn send(&self, by: &Deputy, person: i64, text: &Rendered, random_id: i64) -> Told<i32>;

    /// Writes to the account itself.
    async fn send_to_self(&self, by: &Deputy, text: &Rendered, random_id: i64) -> Told<i32>;

    /// Whether somebody is in a group.
    async fn membership(&self, by: &Deputy, group: MarkedId, person: i64) -> Told<Membership>;

    /// What the account may do in a group.
    async fn group(&self, by: &Deputy, group: MarkedId) -> Told<Group>;

    /// The link by which people join a group.
    async fn invite_link(&self, by: &Deputy, group: MarkedId) -> Told<String>;

    /// Who came by a link that [`Platform::invite_link`] has found.
    async fn link_uses(&self, by: &Deputy, group: MarkedId, link: &str) -> Told<LinkUses>;
}
