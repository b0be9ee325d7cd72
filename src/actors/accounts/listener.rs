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
pub(in crate::actors) mod tests {
    use tokio::sync::mpsc;

    use super::{ActorRef, Failure, ListenerMsg};
    use crate::actors::tree::actor::{Actor, ActorProcessingErr, named, spawn_alone};

    named!(ListenerMsg: SourceUp, SourceLost, Deliver, Reopen);

    /// Hears of losses, and of nothing else.
    struct LossListener;

    impl Actor for LossListener {
        type Msg = ListenerMsg;
        type State = mpsc::UnboundedSender<Failure>;
        type Arguments = mpsc::UnboundedSender<Failure>;

        async fn pre_start(
            &self,
            _: ActorRef<ListenerMsg>,
            tell: Self::Arguments,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(tell)
        }

        async fn handle(
            &self,
            _: ActorRef<ListenerMsg>,
            message: ListenerMsg,
            tell: &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            if let ListenerMsg::SourceLost { failure, .. } = message {
                let _ = tell.send(failure);
            }
            Ok(())
        }
    }

    /// A listener, and the losses that it hears of.
    pub(in crate::actors) async fn losses()
    -> (ActorRef<ListenerMsg>, mpsc::UnboundedReceiver<Failure>) {
        let (tell, heard) = mpsc::unbounded_channel();
        (spawn_alone(LossListener, tell).await, heard)
    }
}
