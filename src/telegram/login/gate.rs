//! When a login may dial: somebody else's decision, asked for before each connection.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::AuthKeyId;

/// The right to dial, until it is told how that ended.
pub trait DialRight: Send + Sync {
    /// The dial ended; `is_answered` when the datacenter said anything, be it a refusal.
    fn ended(self: Box<Self>, is_answered: bool);
}

/// Waits for the right to dial.
pub type DialRightFor = Pin<Box<dyn Future<Output = Result<Box<dyn DialRight>, Failure>> + Send>>;

type Ask = dyn Fn(i32, Option<AuthKeyId>) -> DialRightFor + Send + Sync;

/// Whom to ask before a datacenter is dialled; by default nobody.
#[derive(Clone, Default)]
pub struct DialGate(Option<Arc<Ask>>);

impl DialGate {
    /// One that `ask` decides about: by the datacenter, and by the key where there is one already.
    pub fn new(
        ask: impl Fn(i32, Option<AuthKeyId>) -> DialRightFor + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// Waits for the right to dial.
    pub(in crate::telegram) async fn begin(
        &self,
        dc_id: i32,
        key: Option<AuthKeyId>,
    ) -> Result<Box<dyn DialRight>, Failure> {
        match &self.0 {
            Some(ask) => ask(dc_id, key).await,
            None => Ok(Box::new(Free)),
        }
    }
}

impl fmt::Debug for DialGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DialGate").field(&self.0.is_some()).finish()
    }
}

/// Where nobody is asked.
struct Free;

impl DialRight for Free {
    fn ended(self: Box<Self>, _is_answered: bool) {}
}
