//! Who listens to a chat through an account, and what an account tells it. Monitors are listeners; an account does
//! not know what they do with what they hear.

use crate::actors::tree::actor::{ActorRef, DerivedRef};

use super::account::AccountMsg;
use super::delivery::Delivery;
use crate::protocol::telegram::failure::Failure;
use crate::protocol::values::ids::AuthKeyId;

/// Somebody who listens.
pub(in crate::actors) type Listener = DerivedRef<ListenerMsg>;

/// What it is told.
pub(in crate::actors) enum ListenerMsg {
    /// An account is up, for the first time or again.
    SourceUp { account: AuthKeyId, actor: ActorRef<AccountMsg>, is_bot: bool },
    /// An account is lost.
    SourceLost { account: AuthKeyId, failure: Failure },
    /// New messages.
    Deliver(Delivery),
    /// Something may have been missed, or access lost.
    Reopen {
        account: AuthKeyId,
        /// How access was lost, if Telegram said so.
        hint: Option<Failure>,
    },
}

#[cfg(test)]
crate::actors::tree::actor::named!(ListenerMsg: SourceUp, SourceLost, Deliver, Reopen);
