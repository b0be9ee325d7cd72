//! The life of an account's link: dialled, followed, looked after, lost. Each dial has a number, by
//! which whatever an older one still sends is recognised.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::work::until_after;
use super::{AccountActor, AccountMsg, Live};
use crate::actors::accounts::context::AccountsContext;
use crate::actors::accounts::dial_limiter::Dialler;
use crate::actors::accounts::link::LinkTask;
use crate::actors::accounts::watchdog::{CHECKUP_EVERY, Watch};
use crate::actors::tree::actor::{ActorProcessingErr, ActorRef};
use crate::actors::tree::ledger;
use crate::clock::instant;
use crate::failpoint;
use crate::protocol::accounts::connection::Input;
use crate::protocol::telegram::failure::{Failure, WaitScope};
use crate::protocol::telegram::pacing::{FloodWaitScope, MethodClass};
use crate::protocol::telegram::updates::UpdateState;
use crate::protocol::values::ids::AuthKeyId;
use crate::store::{Reader, Store, StoreError};
use crate::tasks;
use crate::telegram::{
    Connected, ConnectionLease, DialFailure, Following, PEERS_MAX, PeerBook, TellFrozen,
    TellTrouble, TellWait, WaitLeft,
};

/// What is left of a wait before a dial is sat out by the dial itself up to this long.
const SHORT_WAIT: Duration = Duration::from_secs(2);

impl AccountActor {
    pub(super) fn dial(&mut self, myself: &ActorRef<AccountMsg>) -> Result<(), ActorProcessingErr> {
        self.incarnation += 1;
        let incarnation = self.incarnation;
        let (account, api_id) = (self.record.id, self.api_id);
        let (context, lease) = (Arc::clone(&self.context), self.lease.clone());
        let peers = (!self.peers_recalled).then(|| Arc::clone(&self.peers));
        let target = myself.clone();
        // A wait that Telegram asked for while connecting is kept also by whoever dials after a
        // restart, or because somebody wants the account anew. A long one is told like a new one, so
        // that its monitors need not sit it out.
        if let Some(frozen) = self.held_by_freeze(MethodClass::Auth) {
            myself.cast(AccountMsg::DialEnded { incarnation, outcome: Err(frozen) })?;
            return Ok(());
        }
        let left = self.left_to_wait(MethodClass::Auth);
        if left > SHORT_WAIT {
            myself.cast(AccountMsg::DialEnded { incarnation, outcome: Err(wait_of(left)) })?;
            return Ok(());
        }
        let user_id = self.record.me.as_ref().map(|me| me.user_id);
        let task = async move {
            context.backlog.room().await;
            sleep(left).await;
            let outcome = connect(&context, api_id, account, lease, user_id, peers).await;
            let outcome = outcome.map(Box::new);
            let _ = target.cast(AccountMsg::DialEnded { incarnation, outcome });
        };
        self.dial = Some(supervised(myself, incarnation, task));
        Ok(())
    }

    pub(super) fn hang_up(&mut self) {
        self.incarnation += 1;
        self.trouble = None;
        self.dial = None;
        if let Some(live) = self.live.take() {
            self.context.metrics.session_ended(live.since.elapsed());
        }
        self.queue.forget_under_way();
    }

    pub(super) async fn dial_ended(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        incarnation: u64,
        outcome: Result<Box<Dialled>, Failure>,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(incarnation) {
            return Ok(());
        }
        failpoint::stumble("account.dialled", &self.record.id);
        self.dial = None;
        match outcome {
            Ok(dialled) => {
                self.peers_recalled = true;
                // Boxed at once: it waits for the step below, and whatever waits in a handler is
                // part of every account, twice.
                let following = Box::pin(self.go_live(myself, *dialled));
                self.last_failure = None;
                self.connects = self.connects.saturating_add(1);
                self.step(myself, Input::Connected).await?;
                // Only now, so that every monitor hears of the new link before its first message:
                // what was said in between is read from history first.
                if let Some(live) = &mut self.live {
                    live.task = Some(supervised(myself, incarnation, following));
                }
                self.run_calls(myself);
            }
            Err(failure) => {
                tracing::info!(account = self.called(), error = %failure, "dialling failed");
                self.lost(myself, failure).await?;
            }
        }
        Ok(())
    }

    /// Makes the new link the current one; answers the work of following its updates.
    fn go_live(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        Dialled { link, state: mut stored }: Dialled,
    ) -> impl Future<Output = ()> + Send + use<> {
        if self.record.me.as_ref() != Some(&link.me) {
            self.record.me = Some(link.me.clone());
            self.changed = true;
        }
        let (is_bot, user_id) = (link.me.is_bot, link.me.user_id);
        self.share_waits();
        let incarnation = self.incarnation;
        if self.doubt.starts_afresh() {
            tracing::warn!(
                account = self.called(),
                "one connection after another ended because of what came over it; updates are followed from now on, and histories say what lies between"
            );
            stored = None;
        }
        if let Some(state) = &mut stored
            && !is_bot
        {
            // What a user missed in a channel is read from its history by the monitor; only bots,
            // which cannot read history, depend on the channel's difference.
            state.channels.clear();
        }
        let Connected { caller, pulse, updates, .. } = link;
        let (tell_wait, wait_left) = self.waits_of_link(myself, user_id);
        let account = myself.clone();
        let target = myself.clone();
        let tell_frozen: TellFrozen = Box::new(move |code| {
            let _ = target.cast(AccountMsg::Frozen { code: code.to_owned() });
        });
        let tell_trouble: TellTrouble = Box::new(move |trouble| {
            let _ = account.cast(AccountMsg::UpdatesTrouble { incarnation, trouble });
        });
        let (context, routes) = (Arc::clone(&self.context), Arc::clone(&self.routes));
        let wanted = Arc::clone(&routes);
        let is_unknown = stored.is_none();
        let updates = updates.follow(Following {
            state: stored,
            peers: Arc::clone(&self.peers),
            is_bot,
            check_every: self.context.settings.difference_every,
            tell_wait,
            tell_trouble,
            tell_frozen,
            wait_left,
            wants_channel: Box::new(move |id| wanted.wants_channel(id)),
        });
        let watch = Watch::over(Arc::clone(&pulse));
        let task = LinkTask::new(self.record.id, context, routes, pulse, is_bot, is_unknown);
        let target = myself.clone();
        let follow = async move {
            // With the stream go the sockets.
            let failure = task.run(updates).await;
            let _ = target.cast(AccountMsg::LinkEnded { incarnation, failure });
        };
        self.live = Some(Live { caller, watch, since: instant(), task: None });
        arm_check_up(myself, incarnation);
        let stable_after = Duration::from_millis(self.machine.stable_after_ms());
        myself.send_after(stable_after, move || AccountMsg::Settled { incarnation });
        follow
    }

    /// How the link of this person tells of waits, and hears of them.
    pub(super) fn waits_of_link(
        &self,
        myself: &ActorRef<AccountMsg>,
        user_id: i64,
    ) -> (TellWait, WaitLeft) {
        let (account, waits) = (myself.clone(), Arc::clone(&self.context));
        let tell_wait: TellWait = Box::new(move |code, seconds| {
            // The other sessions of this person at once; this account when it comes to it.
            let scope = FloodWaitScope::Class(MethodClass::Updates);
            let at = waits.now();
            waits.flood_waits.impose(user_id, scope, until_after(at, seconds), at);
            let _ = account.cast(AccountMsg::UpdatesWait { code: code.to_owned(), seconds });
        });
        // Also what was left over from an earlier link, or is told to a call or another session of
        // the same person meanwhile.
        let (waits, record) = (Arc::clone(&self.context), self.latest.clone());
        let wait_left: WaitLeft = Box::new(move || {
            let at = waits.now();
            let frozen = record.frozen_for(MethodClass::Updates, at);
            waits.flood_waits.left(user_id, MethodClass::Updates, at).max(frozen)
        });
        (tell_wait, wait_left)
    }

    /// Looks whether the link gets on; drops it when it does not, to dial again.
    pub(super) async fn check_up(
        &mut self,
        myself: &ActorRef<AccountMsg>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(live) = &mut self.live else { return Ok(()) };
        let Some(cause) = live.watch.check_up(&self.context.store) else {
            arm_check_up(myself, self.incarnation);
            self.show();
            return Ok(());
        };
        tracing::warn!(account = self.called(), cause, "the link is dropped and dialled again");
        self.give_up(myself, "watchdog", cause).await
    }

    /// Drops the link from our side.
    async fn give_up(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        reason: &'static str,
        cause: String,
    ) -> Result<(), ActorProcessingErr> {
        self.lost(myself, Failure::transient(cause.clone())).await?;
        let (context, attempt) = (&self.context, self.machine.failures());
        ledger::link_dropped(context, self.called(), reason, &cause, attempt, self.retry_at);
        Ok(())
    }

    pub(super) async fn link_ended(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        incarnation: u64,
        failure: Failure,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(incarnation) {
            return Ok(());
        }
        if matches!(failure, Failure::Unreadable { .. }) {
            return self.drop_unreadable(myself, failure).await;
        }
        tracing::info!(account = self.called(), error = %failure, "the connection ended");
        self.lost(myself, failure).await
    }

    /// The connection was dropped because of what came over it. The next one fetches what was meant
    /// in another way.
    async fn drop_unreadable(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        failure: Failure,
    ) -> Result<(), ActorProcessingErr> {
        self.doubt.unreadable();
        let cause = failure.to_string();
        tracing::warn!(
            account = self.called(),
            cause,
            "the connection is dropped because of what came over it; it is dialled again"
        );
        self.lost(myself, failure).await?;
        let (context, attempt) = (&self.context, self.machine.failures());
        ledger::link_dropped(context, self.called(), "unreadable", &cause, attempt, self.retry_at);
        Ok(())
    }

    pub(super) async fn panicked(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        incarnation: u64,
    ) -> Result<(), ActorProcessingErr> {
        if !self.is_current(incarnation) {
            return Ok(());
        }
        let in_a_row = self.doubt.panicked();
        tracing::error!(account = self.called(), in_a_row, "the telegram library panicked");
        self.give_up(myself, "panic", "the telegram library failed (panic)".into()).await
    }

    pub(super) async fn lost(
        &mut self,
        myself: &ActorRef<AccountMsg>,
        failure: Failure,
    ) -> Result<(), ActorProcessingErr> {
        if let Failure::Wait { code, seconds, .. } = &failure {
            let class = if self.live.is_some() { MethodClass::Updates } else { MethodClass::Auth };
            // Unless it is known already.
            if self.left_to_wait(class) < Duration::from_secs(u64::from(*seconds)) {
                self.wait(class, code, *seconds);
                self.keep().await?;
            }
        }
        if let Failure::Frozen { code } = &failure
            && self.live.is_none()
            && self.held_by_freeze(MethodClass::Auth).is_none()
        {
            self.freeze(myself, code, MethodClass::Auth).await?;
        }
        self.last_failure = Some(failure.clone());
        self.step(myself, Input::Lost(failure)).await
    }
}

fn arm_check_up(myself: &ActorRef<AccountMsg>, incarnation: u64) {
    myself.send_after(CHECKUP_EVERY, move || AccountMsg::CheckUp { incarnation });
}

/// What is left of a wait, as if Telegram had just asked for it.
fn wait_of(left: Duration) -> Failure {
    let seconds = u32::try_from(left.as_secs()).unwrap_or(u32::MAX);
    Failure::Wait { code: "FLOOD_WAIT".into(), seconds, scope: WaitScope::MethodClass }
}

/// A link that has just come up, and where the store says that its updates stand.
pub(in crate::actors) struct Dialled {
    link: Connected,
    state: Option<UpdateState>,
}

async fn connect(
    context: &AccountsContext,
    api_id: i32,
    account: AuthKeyId,
    lease: ConnectionLease,
    user_id: Option<i64>,
    peers: Option<Arc<Mutex<PeerBook>>>,
) -> Result<Dialled, Failure> {
    let credentials = context.store.read(move |store| store.credentials(account)).await;
    let Some(credentials) = credentials.map_err(unreadable)? else {
        // It was wiped here; Telegram said nothing.
        return Err(Failure::Removed);
    };
    // Others may dial while the key's previous connection closes.
    drop(lease.hold().await?);
    let permit = context
        .dial_limiter
        .begin(Dialler::Account, credentials.dc_id, Some(credentials.account))
        .await?;
    // Another session of the same person may have been told to wait meanwhile.
    let left = user_id.map_or(Duration::ZERO, |id| {
        context.flood_waits.left(id, MethodClass::Auth, context.now())
    });
    if !left.is_zero() {
        return Err(wait_of(left));
    }
    match context.telegram.connect(&credentials, api_id, lease).await {
        Ok(link) => {
            let state = recall(&context.store, account, peers).await?;
            permit.ended(true);
            Ok(Dialled { link, state })
        }
        Err(DialFailure { failure, is_answered }) => {
            permit.ended(is_answered);
            Err(failure)
        }
    }
}

/// Reads what the store kept of the account: its chats, unless the book has them, and where its updates
/// stand. By as many accounts at once as may dial.
async fn recall(
    store: &Store,
    account: AuthKeyId,
    book: Option<Arc<Mutex<PeerBook>>>,
) -> Result<Option<UpdateState>, Failure> {
    let read = move |store: &Reader| {
        if let Some(book) = book {
            let peers = store.peers(account, PEERS_MAX)?;
            book.lock().unwrap_or_else(PoisonError::into_inner).recall(peers);
        }
        store.update_state(account)
    };
    store.read(read).await.map_err(unreadable)
}

fn unreadable(error: StoreError) -> Failure {
    Failure::transient(format!("what is kept of the account cannot be read: {error}"))
}

/// Runs a link's task so that its panic is the end of that link and of nothing else.
fn supervised(
    myself: &ActorRef<AccountMsg>,
    incarnation: u64,
    task: impl Future<Output = ()> + Send + 'static,
) -> AbortOnDropHandle<()> {
    let target = myself.clone();
    tasks::owned(async move {
        if tasks::owned(task).await.is_err_and(|error| error.is_panic()) {
            let _ = target.cast(AccountMsg::Panicked { incarnation });
        }
    })
}
