//! Asking an account for something on a user's behalf: with a deadline, behind the bridge and before
//! checks, and with words for every way in which it may come to nothing.

use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::errands::{Claim, Priority, Reply, Request, Wish};
use super::fleet::FleetMsg;
use crate::protocol::failure::Failure;
use crate::protocol::ids::AuthKeyId;
use crate::protocol::refusal::{Code, Refusal};
use crate::telegram::{Errand, Finding};

/// How what was asked for came to nothing.
#[derive(Debug)]
pub(super) enum Unmet {
    /// It ended with this, without having begun: it certainly did not happen.
    Refused(Failure),
    /// It ended with this.
    Failed(Failure),
    /// Its time was over before it began: it certainly did not happen.
    TakenBack,
    /// Its time is over and it is under way: whether it happens is told later, if at all.
    Unclear(oneshot::Receiver<Result<Finding, Failure>>),
}

/// Has `account` run an errand that begins before `deadline`.
pub(super) async fn ask(
    fleet: &ActorRef<FleetMsg>,
    account: AuthKeyId,
    errand: Errand,
    deadline: Instant,
) -> Result<Finding, Unmet> {
    let patience = deadline.saturating_duration_since(Instant::now());
    begin_asking(fleet, account, errand, patience).until(sleep_until(deadline)).await
}

/// An errand that was handed to an account. Dropped before it begins it is void.
pub(super) struct Asked {
    _wish: Wish,
    claim: Claim,
    answer: oneshot::Receiver<Result<Finding, Failure>>,
}

/// Hands an errand to `account`, that keeps no wait of Telegram's longer than `patience`.
pub(super) fn begin_asking(
    fleet: &ActorRef<FleetMsg>,
    account: AuthKeyId,
    errand: Errand,
    patience: Duration,
) -> Asked {
    let (told, answer) = oneshot::channel();
    let reply = Reply::new(move |outcome| drop(told.send(outcome)));
    let wish = Wish::default();
    let token = wish.token();
    let claim = token.claim();
    let request = Request {
        errand,
        priority: Priority::Api,
        patience: Some(patience),
        wish: Some(token),
        waits: 0,
        reply,
    };
    let _ = fleet.cast(FleetMsg::Request { account, request });
    Asked { _wish: wish, claim, answer }
}

impl Asked {
    /// Tells whether it has begun.
    pub(super) fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Waits for the answer until `over`.
    async fn until(mut self, over: impl Future<Output = ()>) -> Result<Finding, Unmet> {
        let outcome = tokio::select! {
            biased;
            outcome = &mut self.answer => Some(outcome),
            () = over => None,
        };
        match outcome {
            Some(Ok(Err(failure))) if !self.claim.has_begun() => Err(Unmet::Refused(failure)),
            Some(Ok(outcome)) => outcome.map_err(Unmet::Failed),
            Some(Err(_)) => Err(Unmet::Failed(Failure::transient("the daemon is stopping"))),
            None if self.claim.withdraw() => Err(Unmet::TakenBack),
            None => Err(Unmet::Unclear(self.answer)),
        }
    }

    /// The same until a deadline that may be put off meanwhile.
    pub(super) async fn until_last(
        self,
        mut deadline: watch::Receiver<Instant>,
    ) -> Result<Finding, Unmet> {
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
pub(super) async fn ask_plainly(
    fleet: &ActorRef<FleetMsg>,
    account: AuthKeyId,
    errand: Errand,
    limit: Duration,
) -> Result<Finding, Refusal> {
    match ask(fleet, account, errand, Instant::now() + limit).await {
        Ok(finding) => Ok(finding),
        Err(Unmet::Refused(failure) | Unmet::Failed(failure)) => Err(failure.into()),
        Err(Unmet::TakenBack) => Err(busy(1)),
        Err(Unmet::Unclear(_)) => {
            let detail = "telegram has not answered in time; ask again";
            Err(Refusal::new(Code::TelegramUnavailable, detail).after(5))
        }
    }
}

/// The account's own rate, or what waits before, does not allow it in time.
pub(super) fn busy(after_seconds: u64) -> Refusal {
    let detail = format!(
        "the account's own rate did not come to this in time and it was not done; try again in \
         {after_seconds} s"
    );
    Refusal::new(Code::RateLimited, detail).after(after_seconds)
}
