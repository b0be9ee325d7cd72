//! What people answer to campaigns: who wants no more of them goes on the user's list, durably, before the account's
//! update state moves past the reply. Keeps no reply, and reads those of nobody whom no campaign has reached.

use std::sync::{Arc, OnceLock, Weak};

use super::context::{CampaignsContext, Refused, Refusing};
use super::platform::Deputy;
use crate::actors::accounts::context::PrivateMessages;
use crate::failpoint;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::campaigns::answers::Answer;
use crate::protocol::campaigns::identity::{Hint, Identifier};
use crate::protocol::campaigns::opt_out::Reply;
use crate::protocol::campaigns::respect::{Contacted, Covers, KnownAs, List, Refusal, Source};
use crate::protocol::campaigns::target::Step;
use crate::protocol::campaigns::task::{Task, TaskId};
use crate::protocol::campaigns::text::Rendered;
use crate::protocol::messages::message::{Author, Message};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::store::{CommitError, ContactedRecord, Op, Reader, StoreError};
use crate::tasks;

/// Reads replies, while campaigns have a context. What comes before or after is fetched again. Accounts keep it, so it
/// does not keep the context, which keeps the accounts'.
#[derive(Clone, Default)]
pub(in crate::actors) struct Replies(Arc<OnceLock<Weak<CampaignsContext>>>);

/// Somebody wrote something that means something.
struct Meant {
    who: Author,
    reply: Reply,
}

/// What is known of who wrote it.
struct Writer {
    known: KnownAs,
    /// When a campaign reached them last, if one did.
    contacted: Option<Contacted>,
    /// That campaign, if it is still there and the user's.
    task: Option<Task>,
    refusals: Vec<Refusal>,
}

/// What kept a reply from being heeded.
#[derive(Debug, thiserror::Error)]
enum NotHeeded {
    #[error(transparent)]
    Unread(#[from] StoreError),
    #[error(transparent)]
    Unwritten(#[from] CommitError),
}

impl Replies {
    /// Campaigns run from here on.
    pub(in crate::actors) fn begin(&self, context: &Arc<CampaignsContext>) {
        let _ = self.0.set(Arc::downgrade(context));
    }

    /// Reads what was written to an account, in the order in which it was. Answers whether what follows from it is
    /// durable.
    pub(in crate::actors) async fn read(self, private: PrivateMessages) -> bool {
        let Some(context) = self.0.get().and_then(Weak::upgrade) else { return false };
        let PrivateMessages { account, messages } = private;
        for meant in messages.into_iter().filter_map(|message| context.meant(message)) {
            if let Err(error) = context.heed(&account, meant).await {
                tracing::error!(account = %account.id, %error, "a reply to a campaign cannot be heeded; it is fetched again");
                return false;
            }
        }
        true
    }
}

impl CampaignsContext {
    fn meant(&self, message: Message) -> Option<Meant> {
        let reply = self.settings.phrases.read(&message.text);
        let who = message.sender.filter(|_| reply != Reply::Other)?;
        Some(Meant { who, reply })
    }

    /// Does what somebody wants, if a campaign of the account's user has reached them.
    async fn heed(self: &Arc<Self>, account: &OwnedAccount, meant: Meant) -> Result<(), NotHeeded> {
        let Meant { who, reply } = meant;
        // Of an erased user nothing is written any more.
        let Ok(_busy) = self.erasing.enter(&account.user) else { return Ok(()) };
        // What one person says to several accounts is heeded one after the other.
        let _turn = self.replying.take(&who.id).await;
        let known = known_as(&who);
        // Announced before it is looked what is there: whoever takes a refusal away meanwhile hears of it.
        let refusing = self.refusing(self.keys(&known));
        let writer = self.writer(account, who.id, known).await?;
        let Some(contacted) = writer.contacted else { return Ok(()) };
        let (covers, is_doubtful) = match reply {
            Reply::OptOut(covers) => (covers, false),
            Reply::Doubtful => (Covers::Everything, true),
            Reply::OptIn => return self.lift(account, &writer, refusing).await,
            Reply::Other => return Ok(()),
        };
        let group = writer.task.as_ref().and_then(|task| task.target_group_id);
        // Of a campaign that is gone nobody knows which group was meant.
        let covers = match (covers, group) {
            (Covers::ThisGroup, None) => Covers::Invitations,
            (covers, _) => covers,
        };
        let group = group.filter(|_| covers == Covers::ThisGroup);
        let mine = self.list_of(&account.user);
        let is_there = |refusal: &Refusal| {
            let is_as_much = refusal.covers == Covers::Everything
                || (refusal.covers == covers && refusal.group == group);
            // What was doubtful becomes clear.
            refusal.list == mine && is_as_much && (is_doubtful || !refusal.is_doubtful)
        };
        if writer.refusals.iter().any(is_there) {
            return Ok(());
        }
        let refused = Refused { covers, group, source: Source::StopReply, is_doubtful };
        let mut ops = self.put_refusals(&account.user, &refused, &writer.known);
        let confirmation = writer.task.filter(|_| !is_doubtful);
        let confirmation = confirmation.and_then(|task| task.settings.opt_out_confirmation);
        let by = Deputy { account: account.clone(), task: contacted.task };
        let reserved = match confirmation {
            Some(_) => self.platform.reserve(&by, Step::Send).await.ok(),
            None => None,
        };
        let give_back = reserved.map(|reserved| {
            let (counted, give_back) = reserved.spend();
            ops.extend(counted);
            give_back
        });
        failpoint::reach("campaign.reply.before");
        self.store.commit(ops).await?;
        failpoint::reach("campaign.reply.after");
        drop(refusing);
        tracing::info!(account = %account.id, campaign = %contacted.task, ?covers, is_doubtful, "somebody wants no more of a campaign");
        if let (Some(text), Some(give_back)) = (confirmation, give_back) {
            // Beside it: nothing that comes in waits for what goes out.
            let context = Arc::clone(self);
            tasks::brief(async move {
                if context.confirm(&by, who.id, text).await == Answer::NotBegun {
                    give_back();
                }
            });
        }
        Ok(())
    }

    /// Whoever wants to hear from us again is taken off the user's list, as far as they had put themselves there.
    async fn lift(
        self: &Arc<Self>,
        account: &OwnedAccount,
        writer: &Writer,
        lifting: Refusing,
    ) -> Result<(), NotHeeded> {
        let mine = self.list_of(&account.user);
        let own = |refusal: &&Refusal| refusal.list == mine && refusal.source == Source::StopReply;
        // While it is lifted nobody is contacted who refuses under these names.
        let list = List::User(account.user.clone());
        let lift = |refusal: &Refusal| Op::LiftRefusal { list: list.clone(), refusal: *refusal };
        let ops: Vec<Op> = writer.refusals.iter().filter(own).map(lift).collect();
        // Of somebody who refuses at the same moment nothing is lifted, and what was renewed by then stays.
        if ops.is_empty() || !lifting.is_alone() {
            return Ok(());
        }
        self.store.commit(ops).await?;
        drop(lifting);
        tracing::info!(account = %account.id, "somebody wants to hear from campaigns again");
        Ok(())
    }

    async fn writer(
        &self,
        account: &OwnedAccount,
        person: i64,
        known: KnownAs,
    ) -> Result<Writer, StoreError> {
        let (keys, list) = (self.keys(&known), self.recontact_list(&account.user));
        let user = account.user.clone();
        let read = move |store: &Reader| {
            let contacted: Option<ContactedRecord> = store.shared_row((person, list))?;
            let contacted = contacted.map(|contacted| contacted.last);
            let task = match contacted {
                Some(Contacted { task, .. }) => store.row::<Task>(&user, task)?,
                None => None,
            };
            let mut refusals = Vec::new();
            for key in keys.iter().filter(|_| contacted.is_some()) {
                refusals.extend(store.refusals(*key)?);
            }
            Ok((contacted, task, refusals))
        };
        let (contacted, task, refusals) = self.store.read(read).await?;
        Ok(Writer { known, contacted, task, refusals })
    }

    /// Answers that it was understood. At most once: after a crash the refusal is there, and nothing is answered.
    async fn confirm(&self, by: &Deputy, person: i64, text: String) -> Answer {
        let text = Rendered { source: text, mode: None, has_link: false };
        let told = self.platform.send(by, person, &text, confirmation_id(by.task, person)).await;
        if let Some(code) = &told.code {
            tracing::warn!(account = %by.account.id, code, "an opt-out was not confirmed; it holds all the same");
        }
        told.answer
    }
}

/// Under which names somebody's refusals are kept.
fn known_as(who: &Author) -> KnownAs {
    let mut known = KnownAs::named(&Identifier::Id(who.id));
    let parse = |name: &str| Identifier::parse(name, Hint::Username, None).ok();
    let username = who.username.as_deref().and_then(parse);
    username.iter().for_each(|name| known.learn(name));
    known
}

/// Always the same for one person of one campaign, so that Telegram takes it once.
fn confirmation_id(task: TaskId, person: i64) -> i64 {
    let parts: [&[u8]; 3] = [b"opt-out confirmation", task.0.as_bytes(), &person.to_be_bytes()];
    let Fingerprint(whole) = Fingerprint::of(parts);
    whole.first_chunk::<8>().map_or(0, |part| i64::from_be_bytes(*part))
}
