//! The sender: messages that users send. Under an idempotency key an intent with its `random_id` is durable
//! before Telegram is called and the outcome before the caller is told; a repetition gets the same answer
//! or, after a crash in between, sends with the same `random_id`, which Telegram recognises. A caller that
//! goes away does not stop what was begun.

mod lookups;
mod words;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lookups::Lookups;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use words::{crowded, doubtful, moved, other_request, paused, sent_before, unclear, unnoted};

use crate::actors::accounts::asking::{Unmet, ask, busy};
use crate::actors::accounts::budgets::Taken;
use crate::actors::accounts::calls::Asker;
use crate::actors::accounts::context::AccountsContext;
use crate::actors::accounts::daily_limits::Unit;
use crate::actors::accounts::fleet::FleetMsg;
use crate::actors::tree::actor::ActorRef;
use crate::actors::tree::calling::broken;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::accounts::daily_limits::SEND;
use crate::protocol::accounts::owned::OwnedAccount;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::campaigns::task::TaskId;
use crate::protocol::messages::message::TEXT_UNITS_MAX;
use crate::protocol::messages::outgoing::Outgoing;
use crate::protocol::messages::record::{SendRecord, SentMessage};
use crate::protocol::messages::target::Target;
use crate::protocol::telegram::chat::PeerRecord;
use crate::protocol::telegram::chat::{ChatSpelling, ChatTarget, PeerKind};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::telegram::pacing::MethodClass;
use crate::protocol::tree::restart::Backoff;
use crate::protocol::users::owner::{AccountId, Caller, Scope, UserId};
use crate::protocol::values::fingerprint::Fingerprint;
use crate::protocol::values::ids::{AuthKeyId, UnixMillis};
use crate::protocol::values::time::rfc3339_ms;
use crate::store::{Op, Reader};
use crate::telegram::{Call, Outcome, SendMessage, measure_markup};

/// What the audit log says of a message before Telegram is called. A line of the same target says how it
/// ended; where there is none the daemon ended meanwhile, and whether it was sent is not known.
const BEGUN: &str = "begun";
/// Formatted parts of one message beyond which Telegram passes over the rest without a word: found by
/// trial, as `MAX_MESSAGE_ENTITIES` of python-telegram-bot says.
const ENTITIES_MAX: usize = 100;
/// Pauses before a send is tried again that a lost connection cut off.
const AGAIN: Backoff = Backoff { min_ms: 500, max_ms: 10_000 };
/// How much longer than their timeout callers wait for the answer to what has begun.
const GRACE: Duration = Duration::from_secs(1);

/// Messages under way at once, of all accounts: at 4,096 units and a copy or two, some 50 MiB at the very most.
pub(in crate::actors) const UNDER_WAY_MAX: usize = if cfg!(test) { 8 } else { 2_048 };

type Answer = Result<(SentMessage, bool), Refusal>;

/// One message under an idempotency key.
type Name = (UserId, AccountId, Fingerprint);

/// The sender.
pub(in crate::actors) struct MessageSender {
    context: Arc<AccountsContext>,
    fleet: ActorRef<FleetMsg>,
    /// What is under way under idempotency keys.
    open: Mutex<HashMap<Name, Open>>,
    /// What is under way at all; closed once the daemon stops.
    under_way: TaskTracker,
    /// The room for them: each holds its text, whoever waits for it.
    room: Arc<Semaphore>,
    /// Who recipients are.
    lookups: Arc<Lookups>,
}

struct Open {
    request: Fingerprint,
    outcome: watch::Receiver<Option<Answer>>,
}

/// What a message takes of what may be sent. A repetition takes nothing more.
struct Counted {
    /// Of the day.
    unit: Option<Unit>,
    /// Of what campaigns go by.
    taken: Option<Taken>,
}

/// A message on its way.
struct Dispatch {
    who: Caller,
    account: OwnedAccount,
    message: Outgoing,
    target: Target,
    deadline: Instant,
    name: Option<(Name, Fingerprint)>,
}

/// A message that is being sent, or was before.
pub(in crate::actors) struct Sending(watch::Receiver<Option<Answer>>);

impl Sending {
    /// What comes of it, once that is durable. It comes to an end by itself: the message has a deadline to begin by,
    /// and what has begun Telegram answers within the time of a call, or the connection ends.
    pub(in crate::actors) async fn outcome(mut self) -> Answer {
        match self.0.wait_for(Option::is_some).await {
            Ok(seen) => seen.clone().unwrap_or_else(|| Err(unclear())),
            // It panicked, maybe after Telegram had taken the message.
            Err(_) => Err(unclear()),
        }
    }
}

impl MessageSender {
    pub(in crate::actors) fn new(
        context: Arc<AccountsContext>,
        fleet: ActorRef<FleetMsg>,
    ) -> Arc<Self> {
        let (open, under_way) = (Mutex::default(), TaskTracker::new());
        let lookups = Lookups::new(fleet.clone());
        let room = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        Arc::new(Self { context, fleet, open, under_way, room, lookups })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Name, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more messages, and waits for those under way to be noted.
    pub(in crate::actors) async fn close(&self) {
        self.under_way.close();
        self.under_way.wait().await;
    }

    /// Sends `message` from `account`, and waits for what came of it, at the most for as long as the message says.
    /// The flag tells that it was sent before.
    pub(in crate::actors) async fn send(
        self: &Arc<Self>,
        who: &Caller,
        account: OwnedAccount,
        message: Outgoing,
    ) -> Answer {
        let deadline = instant() + message.timeout + GRACE;
        let sending = self.begin_sending(who, account, message)?;
        timeout_at(deadline, sending.outcome()).await.unwrap_or_else(|_| Err(unclear()))
    }

    /// The same for whoever does not wait: what has begun comes to its end whether or not anybody asks for its
    /// outcome.
    ///
    /// # Errors
    /// When nothing was begun.
    pub(in crate::actors) fn begin_sending(
        self: &Arc<Self>,
        who: &Caller,
        account: OwnedAccount,
        message: Outgoing,
    ) -> Result<Sending, Refusal> {
        let target = Target::parse(ChatSpelling::Text(message.to.clone()))
            .map_err(|error| Refusal::field("to", error.to_string()))?;
        check_text(&message)?;
        let name = message.idempotency_key.as_ref().map(|key| {
            let (user, id) = (account.user.clone(), account.id);
            let parts = [user.as_str().as_bytes(), id.0.as_bytes(), key.as_bytes()];
            ((user.clone(), id, Fingerprint::of(parts)), request_of(key, &message))
        });
        let deadline = instant() + message.timeout;
        let dispatch = Dispatch { who: who.clone(), account, message, target, deadline, name };
        self.begin(dispatch).map(Sending)
    }

    /// Begins, or joins what is under way under the same key.
    fn begin(
        self: &Arc<Self>,
        dispatch: Dispatch,
    ) -> Result<watch::Receiver<Option<Answer>>, Refusal> {
        if self.under_way.is_closed() {
            let detail = "the daemon is stopping; nothing was sent. Send it again in a moment";
            return Err(Refusal::new(Code::Overloaded, detail).after(5));
        }
        let busy = self.context.erasing.enter(&dispatch.account.user)?;
        let (tell, outcome) = watch::channel(None);
        let mut open = self.open();
        if let Some((name, request)) = &dispatch.name
            && let Some(known) = open.get(name)
        {
            let same = known.request == *request;
            return same.then(|| known.outcome.clone()).ok_or_else(other_request);
        }
        // Who joins what is under way needs no room of its own.
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| crowded())?;
        if let Some((name, request)) = &dispatch.name {
            let entry = Open { request: *request, outcome: outcome.clone() };
            open.insert(name.clone(), entry);
        }
        drop(open);
        let sender = Arc::clone(self);
        self.under_way.spawn(async move {
            let (_busy, _room) = (busy, room);
            let entry =
                Entry { sender: &sender, name: dispatch.name.clone().map(|(name, _)| name) };
            let answer = sender.dispatch(&dispatch).await;
            tell.send_replace(Some(answer));
            drop(entry);
        });
        Ok(outcome)
    }

    async fn dispatch(&self, dispatch: &Dispatch) -> Answer {
        let known = self.known(dispatch).await?;
        match known {
            Some(SendRecord { sent: Some(sent), .. }) => return Ok((sent, true)),
            Some(SendRecord { is_nameless: true, .. }) => return Err(sent_before()),
            _ => {}
        }
        let random_id =
            known.as_ref().map_or_else(|| self.context.chance.any(), |known| known.random_id);
        let mut outcome = self.attempt(dispatch, known, random_id).await;
        if let Err(refusal) = &mut outcome {
            let audit_event =
                dispatch.audit_event(self.context.now(), random_id, refusal.code.name());
            let noted = self.context.store.commit(vec![Op::Audit(audit_event)]).await;
            refusal.is_audited = noted.is_ok();
        }
        outcome?.map(|sent| (sent, false)).ok_or_else(sent_before)
    }

    /// What an earlier life of the daemon, or an earlier try, left under this key.
    async fn known(&self, dispatch: &Dispatch) -> Result<Option<SendRecord>, Refusal> {
        let Some(((user, account, key), request)) = dispatch.name.clone() else { return Ok(None) };
        let read = move |store: &Reader| store.row::<SendRecord>(&user, (account, key));
        match self.context.store.read(read).await.map_err(|error| broken(&error))? {
            Some(known) if known.request != request => Err(other_request()),
            known => Ok(known),
        }
    }

    /// Sends it. `None`: it was sent before, and which of the chat's messages it is cannot be told.
    async fn attempt(
        &self,
        dispatch: &Dispatch,
        known: Option<SendRecord>,
        random_id: i64,
    ) -> Result<Option<SentMessage>, Refusal> {
        if dispatch.account.is_paused {
            return Err(paused());
        }
        // An earlier try, maybe in an earlier life, may have reached Telegram.
        let maybe_sent = known.as_ref().is_some_and(|known| !known.is_unsent);
        let peer = self.peer(dispatch).await;
        let peer = peer.map_err(|refusal| if maybe_sent { doubtful(refusal) } else { refusal })?;
        let intent = dispatch
            .record(random_id, known.map_or_else(|| self.context.now(), |known| known.created_at));
        let counted = self.intend(dispatch, random_id, intent.as_ref(), maybe_sent).await?;
        let message = SendMessage {
            peer,
            text: dispatch.message.text.expose().to_owned(),
            parse_mode: dispatch.message.parse_mode,
            reply_to: dispatch.message.reply_to,
            silent: dispatch.message.silent,
            random_id,
        };
        let sent = match self.call(dispatch, message, maybe_sent).await {
            Ok(sent) => sent,
            Err((refusal, is_certain)) => {
                if is_certain {
                    self.note_unsent(intent, counted).await;
                }
                return Err(refusal);
            }
        };
        failpoint::reach("send.outcome.before");
        let mut ops = vec![Op::Audit(dispatch.audit_event(self.context.now(), random_id, "ok"))];
        ops.extend(intent.map(|intent| {
            Op::put_row(&SendRecord { sent, is_nameless: sent.is_none(), ..intent })
        }));
        self.context.store.commit(ops).await.map_err(|error| unnoted(&error, sent))?;
        failpoint::reach("send.outcome.after");
        Ok(sent)
    }

    /// It was certainly not sent: a repetition need not fear that it was, and the day and the account's budget have
    /// one more to send. Durable before the caller is told to repeat it; should the store fail, the repetition is told
    /// that it is not known.
    async fn note_unsent(&self, intent: Option<SendRecord>, counted: Counted) {
        let mut ops = self.give_back(counted);
        ops.extend(intent.map(|intent| Op::put_row(&SendRecord { is_unsent: true, ..intent })));
        if !ops.is_empty() {
            let _ = self.context.store.commit(ops).await;
        }
    }

    /// Nothing was sent of what was counted. Answers what is to be written.
    fn give_back(&self, counted: Counted) -> Vec<Op> {
        let Counted { unit, taken } = counted;
        unit.iter().for_each(|unit| self.context.daily_limits.give_back(unit));
        taken.map(|taken| self.context.budgets.give_back(taken)).unwrap_or_default()
    }

    /// Counts it, notes that it begins and, under a key, what Telegram will recognise it by: durable
    /// before the call, all in one commit. A try that may have been the one that sent it was counted.
    async fn intend(
        &self,
        dispatch: &Dispatch,
        random_id: i64,
        intent: Option<&SendRecord>,
        is_counted: bool,
    ) -> Result<Counted, Refusal> {
        let taken = if is_counted { None } else { Some(self.count(&dispatch.account).await?) };
        let (unit, count) = taken.unzip();
        let noted = match unit {
            Some(_) => self.context.budgets.note_message(&self.context, &dispatch.account).await,
            None => Ok(None),
        };
        let (taken, noted) = match noted {
            Ok(noted) => noted.unzip(),
            Err(error) => {
                self.give_back(Counted { unit, taken: None });
                return Err(broken(&error));
            }
        };
        let counted = Counted { unit, taken };
        failpoint::reach("send.intent.before");
        let begun = Op::Audit(dispatch.audit_event(self.context.now(), random_id, BEGUN));
        let ops = [count, intent.map(Op::put_row), Some(begun)].into_iter().flatten();
        let ops = ops.chain(noted.into_iter().flatten()).collect();
        if let Err(error) = self.context.store.commit(ops).await {
            self.give_back(counted);
            return Err(broken(&error));
        }
        failpoint::reach("send.intent.after");
        Ok(counted)
    }

    /// Has `account` send a message of a campaign, whose intent is durable already: once, and whatever comes of it is
    /// told as it is. The same way out as that of users' messages, behind theirs.
    pub(in crate::actors) async fn deliver(
        &self,
        account: &OwnedAccount,
        task: TaskId,
        message: SendMessage,
        deadline: Instant,
    ) -> Result<Outcome, Unmet> {
        let stopping = || Unmet::Refused(Failure::transient("the daemon is stopping"));
        if self.under_way.is_closed() {
            return Err(stopping());
        }
        let _token = self.under_way.token();
        let Ok(_room) = self.room.try_acquire() else {
            return Err(Unmet::Refused(Failure::transient("too many messages are under way")));
        };
        let (call, asker) = (Call::Send(message), Asker::Campaign(task));
        match ask(&self.fleet, self.key_now(account), asker, call, deadline).await {
            // Telegram answers within the time of a call, or the connection ends.
            Err(Unmet::Unclear(answer)) => {
                let answer = answer.await.unwrap_or_else(|_| {
                    Err(Failure::transient("the account ended under the message"))
                });
                answer.map_err(Unmet::Failed)
            }
            told => told,
        }
    }

    /// Takes one of what the account may send today.
    pub(in crate::actors) async fn count(
        &self,
        account: &OwnedAccount,
    ) -> Result<(Unit, Op), Refusal> {
        let (store, at) = (&self.context.store, self.context.now());
        let limit = self.context.settings.limits.borrow().sends_per_day;
        let caps = &self.context.daily_limits;
        let taken = caps.take(store, account.telegram_id, SEND, limit, at).await;
        if let Some(taken) = taken.map_err(|error| broken(&error))? {
            return Ok(taken);
        }
        let (_, until) = caps
            .used(store, account.telegram_id, SEND, at)
            .await
            .map_err(|error| broken(&error))?;
        let detail = format!(
            "this account has sent {limit} messages today, which is its daily limit \
             (telegram.limits.send.per_day); it begins anew at {}, midnight UTC",
            rfc3339_ms(until)
        );
        Err(Refusal::new(Code::RateLimited, detail).after(seconds_until(until, at)))
    }

    /// Has the account send it; a refusal tells whether it is certain that nothing was sent. A lost
    /// connection is tried again with the same `random_id`.
    async fn call(
        &self,
        dispatch: &Dispatch,
        message: SendMessage,
        mut maybe_sent: bool,
    ) -> Result<Option<SentMessage>, (Refusal, bool)> {
        let Dispatch { account, deadline, .. } = dispatch;
        let mut tries = 0;
        loop {
            tries += 1;
            let pause = Duration::from_millis(AGAIN.delay_ms(tries, 1.0));
            let call = Call::Send(message.clone());
            // It may have logged in anew since: the send goes on over its new session.
            let key = self.key_now(account);
            let outcome = match ask(&self.fleet, key, dispatch.asker(), call, *deadline).await {
                Err(Unmet::Unclear(answer)) => {
                    let ended = |_| Err(Failure::transient("the daemon is stopping"));
                    answer.await.unwrap_or_else(ended).map_err(Unmet::Failed)
                }
                outcome => outcome,
            };
            match outcome {
                Ok(Outcome::Sent { message_id, date }) => {
                    self.context.metrics.sent();
                    return Ok(Some(SentMessage { message_id, date }));
                }
                Ok(_) => return Ok(None),
                Err(
                    unmet @ (Unmet::Failed(Failure::Transient { .. })
                    | Unmet::Refused(Failure::Transient { .. })),
                ) if instant() + pause < *deadline && !self.is_paused(account) => {
                    maybe_sent |= matches!(unmet, Unmet::Failed(_));
                    sleep(pause).await;
                }
                Err(_) if maybe_sent => return Err((unclear(), false)),
                Err(unmet) => {
                    let is_unclear = matches!(
                        unmet,
                        Unmet::Unclear(_) | Unmet::Failed(Failure::Transient { .. })
                    );
                    let refusal = match self.moved(dispatch, message.peer, &unmet).await {
                        Some(refusal) => refusal,
                        None => self.unsent(dispatch, message.peer, unmet),
                    };
                    return Err((refusal, !is_unclear));
                }
            }
        }
    }

    fn key_now(&self, account: &OwnedAccount) -> AuthKeyId {
        let now = self.context.directory.get(&Scope::Only(account.user.clone()), account.id);
        now.map_or(account.key, |now| now.key)
    }

    /// Whether its user holds it by now: then nothing is tried again.
    fn is_paused(&self, account: &OwnedAccount) -> bool {
        let now = self.context.directory.get(&Scope::Only(account.user.clone()), account.id);
        now.is_some_and(|now| now.is_paused)
    }

    /// Whether a basic group took the message no more because it has become a supergroup
    /// (<https://core.telegram.org/api/channel#migration>): no error of sending says so, the group does.
    async fn moved(&self, dispatch: &Dispatch, peer: PeerRecord, unmet: &Unmet) -> Option<Refusal> {
        use Failure::{ChatLost, Rejected, TargetRefused};
        let is_refused = matches!(
            unmet,
            Unmet::Failed(ChatLost { .. } | Rejected { .. } | TargetRefused { .. })
        );
        if !is_refused || peer.id.kind() != PeerKind::Group {
            return None;
        }
        let key = self.key_now(&dispatch.account);
        match ask(&self.fleet, key, dispatch.asker(), Call::Inspect(peer), dispatch.deadline).await
        {
            Ok(Outcome::Member { migrated_to: Some(successor), .. }) => {
                Some(moved(peer.id, successor.id))
            }
            _ => None,
        }
    }

    /// The only try came to nothing: what the caller is told.
    fn unsent(&self, dispatch: &Dispatch, peer: PeerRecord, unmet: Unmet) -> Refusal {
        match unmet {
            Unmet::TakenBack => busy(self.next_token(dispatch.account.key, peer)),
            Unmet::Refused(Failure::Transient { .. }) if self.is_paused(&dispatch.account) => {
                paused()
            }
            Unmet::Refused(failure)
            | Unmet::Failed(failure @ (Failure::Wait { .. } | Failure::Frozen { .. })) => {
                let refusal = Refusal::from(failure);
                Refusal { detail: format!("{}; nothing was sent", refusal.detail), ..refusal }
            }
            Unmet::Failed(Failure::Transient { detail }) => {
                let detail = format!(
                    "{detail}; whether the message was sent is not known. Repeat the request with the \
                     same Idempotency-Key to learn it without sending twice"
                );
                Refusal::new(Code::TelegramUnavailable, detail).after(5)
            }
            Unmet::Failed(failure @ Failure::Limited) => {
                let refusal = Refusal::from(failure);
                refusal.after(self.next_token(dispatch.account.key, peer))
            }
            Unmet::Failed(failure) => {
                if matches!(failure, Failure::ChatLost { .. } | Failure::TargetRefused { .. }) {
                    self.lookups.forget(dispatch.account.key, peer);
                }
                failure.into()
            }
            Unmet::Unclear(_) => unclear(),
        }
    }

    /// When the account may send again, seconds.
    fn next_token(&self, key: AuthKeyId, peer: PeerRecord) -> u64 {
        let at = self.context.now();
        let waits = self.context.status.view(key).map(|view| view.flood_waits).unwrap_or_default();
        let waits = crate::protocol::telegram::pacing::FloodWaits::new(waits);
        let held = waits.holds(MethodClass::Send, at).max(waits.holds_chat(peer.id, at));
        let per_minute = u64::from(self.context.settings.limits.borrow().send.per_minute.max(1));
        held.map_or(60_u64.div_ceil(per_minute), |until| seconds_until(until, at))
    }

    async fn peer(&self, dispatch: &Dispatch) -> Result<PeerRecord, Refusal> {
        let (key, target) = (dispatch.account.key, dispatch.target.clone());
        if let Target::Chat(ChatTarget::Marked(id)) = target
            && let Ok(Some(peer)) = self.context.store.read(move |store| store.peer(key, id)).await
        {
            return Ok(peer);
        }
        self.lookups.find(key, &dispatch.asker(), &dispatch.target, dispatch.deadline).await
    }
}

/// Takes a message out of what is under way, however it ends.
struct Entry<'a> {
    sender: &'a MessageSender,
    name: Option<Name>,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            self.sender.open().remove(name);
        }
    }
}

impl Dispatch {
    /// Whose turn at the account it takes.
    fn asker(&self) -> Asker {
        Asker::User(self.who.user.clone())
    }

    /// What is kept under its idempotency key, if it has one.
    fn record(&self, random_id: i64, created_at: UnixMillis) -> Option<SendRecord> {
        let ((user, account, key), request) = self.name.clone()?;
        let (sent, is_unsent, is_nameless) = (None, false, false);
        Some(SendRecord {
            user,
            account,
            key,
            request,
            random_id,
            sent,
            is_unsent,
            is_nameless,
            created_at,
        })
    }

    /// The same target for all that is told of one message, and for no other: its account, and what
    /// Telegram tells it from others by.
    fn audit_event(&self, at: UnixMillis, random_id: i64, outcome: &str) -> AuditEvent {
        let audit_event = AuditEvent::by(&self.who, &self.account.user, "message.send", at);
        let target = format!("{}/{:016x}", self.account.id, random_id.cast_unsigned());
        audit_event.on(target).ended(outcome)
    }
}

fn check_text(message: &Outgoing) -> Result<(), Refusal> {
    let text = message.text.expose();
    let (units, entities) = match message.parse_mode {
        None => (text.encode_utf16().count(), 0),
        Some(mode) => {
            measure_markup(text, mode).map_err(|error| Refusal::field("text", error.to_string()))?
        }
    };
    let wrong = match units {
        0 => "there is nothing to send".to_owned(),
        1..=TEXT_UNITS_MAX if entities <= ENTITIES_MAX => return Ok(()),
        1..=TEXT_UNITS_MAX => format!(
            "it has {entities} formatted parts and telegram shows {ENTITIES_MAX} of a message, the \
             others as plain text; send it in parts"
        ),
        _ => format!(
            "it has {units} UTF-16 units without its markup, and telegram takes {TEXT_UNITS_MAX}; send \
             it in parts"
        ),
    };
    Err(Refusal::field("text", wrong))
}

/// Tells whether a repetition asks for the same.
fn request_of(key: &str, message: &Outgoing) -> Fingerprint {
    let mode = [message.parse_mode.map_or(0, |mode| 1 + mode as u8), u8::from(message.silent)];
    let reply_to = message.reply_to.unwrap_or(0).to_be_bytes();
    let text = message.text.expose().as_bytes();
    Fingerprint::of([key.as_bytes(), message.to.as_bytes(), text, &mode, &reply_to])
}

fn seconds_until(until: UnixMillis, now: UnixMillis) -> u64 {
    u64::try_from((until.0 - now.0).max(0)).unwrap_or(0).div_ceil(1_000).max(1)
}
