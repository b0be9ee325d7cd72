//! Asking an account for something on a user's behalf: with a deadline, behind the bridge and before
//! checks, and with words for every way in which it may come to nothing.

use std::time::Duration;

use ractor::ActorRef;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::errands::{Priority, Reply, Request, Wish};
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
    let (told, mut answer) = oneshot::channel();
    let reply = Reply::new(move |outcome| drop(told.send(outcome)));
    let wish = Wish::default();
    let token = wish.token();
    let claim = token.claim();
    let request = Request {
        errand,
        priority: Priority::Api,
        patience: Some(deadline.saturating_duration_since(Instant::now())),
        wish: Some(token),
        waits: 0,
        reply,
    };
    let _ = fleet.cast(FleetMsg::Request { account, request });
    match timeout_at(deadline, &mut answer).await {
        Ok(Ok(Err(failure))) if !claim.has_begun() => Err(Unmet::Refused(failure)),
        Ok(Ok(outcome)) => outcome.map_err(Unmet::Failed),
        Ok(Err(_)) => Err(Unmet::Failed(Failure::transient("the daemon is stopping"))),
        Err(_) if claim.withdraw() => Err(Unmet::TakenBack),
        Err(_) => Err(Unmet::Unclear(answer)),
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
