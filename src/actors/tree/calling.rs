//! Calling a part of the tree, or the store, for somebody who waits: with a deadline, and with a word for
//! every way in which no answer comes. Decides nothing about what was asked.

use std::time::Duration;

use crate::actors::tree::actor::CallResult;
use crate::actors::tree::actor::{ActorRef, Message, RpcReplyPort};

use crate::protocol::answers::refusal::{Code, Refusal};
use crate::store::{CommitError, DiskTrouble, StoreError};

/// When something may be tried again that somebody has to mend first, in seconds.
const AFTER_MENDING: u64 = 60;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::actors) enum Unanswered {
    /// It did not come in time.
    Late,
    /// Whoever was called crashed over it.
    Dropped,
    /// There is nobody to be called: the daemon is stopping.
    Gone,
}

/// Calls `actor` and waits for its answer, no longer than `limit`.
pub(in crate::actors) async fn call<M: Message, T: Send + 'static>(
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
            Unanswered::Dropped => {
                let detail = "this failed inside; the log says more";
                Self::new(Code::Internal, detail)
            }
            Unanswered::Gone => stopping(),
        }
    }
}

/// There is nobody any more who could do it.
fn stopping() -> Refusal {
    let detail =
        "the daemon is stopping; ask again in a moment, and look first whether it was done";
    Refusal::new(Code::Overloaded, detail).after(5)
}

/// The store failed somebody who waits: the log says how. Where somebody can mend it, the caller learns
/// what has to be done, too.
pub(in crate::actors) fn broken(error: &(dyn std::error::Error + 'static)) -> Refusal {
    tracing::error!(%error, "the store failed behind the API");
    let stored = error.downcast_ref::<StoreError>();
    let commit = error.downcast_ref::<CommitError>().or(match stored {
        Some(StoreError::Stopped(commit)) => Some(commit),
        _ => None,
    });
    if let Some(CommitError::Closed) = commit {
        return stopping();
    }
    let trouble =
        commit.map_or_else(|| stored.and_then(StoreError::disk_trouble), CommitError::disk_trouble);
    match trouble {
        Some(trouble) => takes_no_more(trouble),
        None => {
            let detail = "the store does not answer as it should, and the log says why; look whether \
                          this was done before you repeat it";
            Refusal::new(Code::Internal, detail)
        }
    }
}

/// The disk takes nothing any more, so the daemon ends: what it does could not be noted.
fn takes_no_more(trouble: DiskTrouble) -> Refusal {
    let (what, cure) = (trouble.what(), trouble.cure());
    let detail = format!(
        "{what}, so nothing can be noted and the daemon stops: whoever runs it has to {cure}, then start \
         it again. Look then whether this was done before you repeat it; nothing that was answered \
         before is lost"
    );
    Refusal::new(Code::Overloaded, detail).after(AFTER_MENDING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_takes_no_more_is_no_bug_and_says_what_to_do() {
        for (kind, what, cure) in [
            (std::io::ErrorKind::StorageFull, "disk of the store is full", "make room"),
            (std::io::ErrorKind::QuotaExceeded, "quota", "raise the quota"),
            (std::io::ErrorKind::FileTooLarge, "limit on file sizes", "LimitFSIZE="),
            (std::io::ErrorKind::ReadOnlyFilesystem, "read-only", "mount it"),
        ] {
            let cause = std::io::Error::from(kind);
            let error = StoreError::unwritable(std::path::Path::new("/x"), cause);
            let refusal = broken(&error);
            assert_eq!((refusal.code, refusal.retry_after), (Code::Overloaded, Some(60)));
            assert!(refusal.detail.contains(what) && refusal.detail.contains(cure), "{refusal}");
            assert!(!refusal.detail.contains("bug"), "{refusal}");
        }
        let closed = broken(&StoreError::Stopped(CommitError::Closed));
        assert_eq!(closed.code, Code::Overloaded);
        assert!(closed.detail.contains("is stopping"), "{closed}");
        assert_eq!(broken(&StoreError::Holes).code, Code::Internal);
    }
}
