//! Asking an account for something on behalf of a user or a campaign: with a deadline, behind the bridge and before
//! checks, and with words for every way in which it may come to nothing.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::calls::{Asker, Cancellation, Interest, Priority, Reply, Request};
use super::fleet::FleetMsg;
use crate::actors::tree::actor::ActorRef;
use crate::clock::instant;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::AuthKeyId;
use crate::telegram::{Call, Outcome};

/// How what was asked for came to nothing.
#[derive(Debug)]
pub(in crate::actors) enum Unmet {
    /// It ended with this, without having begun: it certainly did not happen.
    Refused(Failure),
    /// It ended with this.
    Failed(Failure),
    /// Its time was over before it began: it certainly did not happen.
    TakenBack,
    /// Its time is over and it is under way: whether it happens is told later, if at all.
    Unclear(oneshot::Receiver<Result<Outcome, Failure>>),
}

/// Has `account` run a call that begins before `deadline`.
pub(in crate::actors) async fn ask(
    fleet: &ActorRef<FleetMsg>,
    account: AuthKeyId,
    asker: Asker,
    call: Call,
    deadline: Instant,
) -> Result<Outcome, Unmet> {
    let patience = deadline.saturating_duration_since(instant());
    begin_asking(fleet, account, asker, call, patience).until(sleep_until(deadline)).await
}

/// A call that was handed to an account. Dropped before it begins it is void.
pub(in crate::actors) struct Asked {
    _interest: Interest,
    cancellation: Cancellation,
    answer: oneshot::Receiver<Result<Outcome, Failure>>,
}

/// Hands a call to `account`, that keeps no wait of Telegram's longer than `patience`.
pub(in crate::actors) fn begin_asking(
    fleet: &ActorRef<FleetMsg>,
    account: AuthKeyId,
    asker: Asker,
    call: Call,
    patience: Duration,
) -> Asked {
    let (told, answer) = oneshot::channel();
    let reply = Reply::new(move |outcome| drop(told.send(outcome)));
    let interest = Interest::default();
    let token = interest.token();
    let cancellation = token.cancellation();
    let priority = match &asker {
        Asker::Campaign(_) => Priority::Campaign,
        _ => Priority::Api,
    };
    let request = Request::new(call, priority, asker, reply);
    let request = Request { patience: Some(patience), interest: Some(token), ..request };
    let _ = fleet.cast(FleetMsg::Request { account, request });
    Asked { _interest: interest, cancellation, answer }
}

impl Asked {
    /// Tells whether it has begun.
    pub(in crate::actors) fn cancellation(&self) -> Cancellation {
        self.cancellation.clone()
    }

    /// Waits for the answer until `over`.
    async fn until(mut self, over: impl Future<Output = ()>) -> Result<Outcome, Unmet> {
        let outcome = tokio::select! {
            biased;
            outcome = &mut self.answer => Some(outcome),
            () = over => None,
        };
        match outcome {
            Some(Ok(Err(failure))) if !self.cancellation.has_begun() => {
                Err(Unmet::Refused(failure))
            }
            Some(Ok(outcome)) => outcome.map_err(Unmet::Failed),
            Some(Err(_)) => Err(Unmet::Failed(Failure::transient("the daemon is stopping"))),
            None if self.cancellation.withdraw() => Err(Unmet::TakenBack),
            None => Err(Unmet::Unclear(self.answer)),
        }
    }

    /// The same until a deadline that may be put off meanwhile.
    pub(in crate::actors) async fn until_last(
        self,
        mut deadline: watch::Receiver<Instant>,
    ) -> Result<Outcome, Unmet> {
        let over = async move {
            loop {
                let at = *deadline.borrow_and_update();
                tokio::select! {
                    () = sleep_until(at) => return,
                    Ok(()) = deadline.changed() => {}
                }
            }
        };
        self.until(over).await
    }
}

/// The same for what is harmless to repeat: whoever asks is told how it stands.
pub(in crate::actors) async fn ask_plainly(
    fleet: &ActorRef<FleetMsg>,
    account: AuthKeyId,
    asker: Asker,
    call: Call,
    limit: Duration,
) -> Result<Outcome, Refusal> {
    match ask(fleet, account, asker, call, instant() + limit).await {
        Ok(outcome) => Ok(outcome),
        Err(Unmet::Refused(failure) | Unmet::Failed(failure)) => Err(failure.into()),
        Err(Unmet::TakenBack) => Err(busy(1)),
        Err(Unmet::Unclear(_)) => {
            let detail = "telegram has not answered in time; ask again";
            Err(Refusal::new(Code::TelegramUnavailable, detail).after(5))
        }
    }
}

/// The account's own rate, or what waits before, does not allow it in time.
pub(in crate::actors) fn busy(after_seconds: u64) -> Refusal {
    let detail = format!(
        "the account's own rate did not come to this in time and it was not done; try again in \
         {after_seconds} s"
    );
    Refusal::new(Code::RateLimited, detail).after(after_seconds)
}
