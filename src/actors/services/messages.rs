//! Sending.

use std::sync::Arc;

use async_trait::async_trait;

use super::Shared;
use crate::actors::messages::sender::MessageSender;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::messages::outgoing::Outgoing;
use crate::protocol::messages::record::SentMessage;
use crate::protocol::users::owner::{AccountId, Caller};

/// Messages that users send.
#[async_trait]
pub trait MessageService: Send + Sync + 'static {
    /// Sends a message. The flag tells that it had been sent before under the same idempotency key.
    async fn send(
        &self,
        who: &Caller,
        id: AccountId,
        message: Outgoing,
    ) -> Result<(SentMessage, bool), Refusal>;
}

/// The service on a tree.
pub(super) struct Messages {
    shared: Shared,
    sender: Arc<MessageSender>,
}

impl Messages {
    pub(super) fn new(shared: Shared, sender: Arc<MessageSender>) -> Self {
        Self { shared, sender }
    }
}

#[async_trait]
impl MessageService for Messages {
    async fn send(
        &self,
        who: &Caller,
        id: AccountId,
        message: Outgoing,
    ) -> Result<(SentMessage, bool), Refusal> {
        self.sender.send(who, self.shared.account(who, id)?, message).await
    }
}
