//! Calling a part of the tree, or the store, for somebody who waits: with a deadline, and with a word for
//! every way in which no answer comes. Decides nothing about what was asked.

use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{ActorRef, Message, RpcReplyPort};

use crate::protocol::refusal::{Code, Refusal};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// It did not come in time.
    Late,
    /// Whoever was called crashed over it.
    Dropped,
    /// There is nobody to be called: the daemon is stopping.
    Gone,
}

/// Calls `actor` and waits for its answer, no longer than `limit`.
pub(super) async fn call<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    message: impl FnOnce(RpcReplyPort<T>) -> M,
    limit: Duration,
) -> Result<T, Unanswered> {
    match actor.call(message, Some(limit)).await {
        Ok(CallResult::Success(answer)) => Ok(answer),
        Ok(CallResult::Timeout) => Err(Unanswered::Late),
        Ok(CallResult::SenderError) => Err(Unanswered::Dropped),
        Err(_) => Err(Unanswered::Gone),
    }
}

impl From<Unanswered> for Refusal {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::Late => {
                let detail = "the daemon did not come to this in time; ask again";
                Self::new(Code::Overloaded, detail).after(5)
            }
            Unanswered::Dropped | Unanswered::Gone => {
                let detail = "this failed inside, or the daemon is stopping; the log says more";
                Self::new(Code::Internal, detail)
            }
        }
    }
}

/// The store failed somebody who waits: the log says how.
pub(super) fn broken(error: &dyn std::error::Error) -> Refusal {
    tracing::error!(%error, "the store failed behind the API");
    Refusal::new(Code::Internal, "the store does not answer as it should; try again later")
}
