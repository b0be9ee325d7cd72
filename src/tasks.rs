//! Tasks beside their callers. The only room that spawns them, so that none is left to itself: what goes on for ever is
//! a row of the tree's table and watched (`actors/tree/children.rs`), what has an owner ends with it ([`owned`]),
//! and what is let go ends by itself ([`brief`]).

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// Runs `work` for as long as what is returned lives. Its owner hears of its end, a panic included, by waiting for
/// it, and says what follows.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn owned<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

/// Runs `work` that ends by itself, soon or by a deadline of its own, whoever still waits for it.
#[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
pub fn brief<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work)
}
