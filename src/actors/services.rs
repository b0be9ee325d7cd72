//! What the HTTP API may ask of the tree. Looks rows up in the scope of the one who asks, has the parts of
//! the tree do what is asked, and puts what they say into the API's shapes. Decides nothing itself.

mod accounts;
mod chats;
mod logins;
mod monitors;
mod overview;
mod people;
#[cfg(test)]
mod tests;
pub(super) mod views;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ractor::ActorRef;
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::accounts::fleet::FleetMsg;
use super::logins::context::LoginsContext;
use super::logins::registrar::LoginsMsg;
use super::messages::sender::MessageSender;
use super::monitors::commands::Commands;
use super::tree::calling::{Unanswered, broken};
use super::tree::changes::Follower;
use super::tree::context::now;
use super::webhooks::port::EndpointClient;
use super::webhooks::supervisor::Hooks;
use crate::edge::http::api::{
    Account, AccountQuery, AccountStatus, AuditEntry, AuditQuery, Change, Chat, Connected,
    DeadDelivery, Erased, HealthQuery, KeyStatus, Login, Monitor, MonitorQuery, Outgoing, Page,
    PageQuery, PastedSession, Phone, Sent, Service, Webhook, WebhookOrder, WhyView,
};
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::telegram::chat::ChatRef;
use crate::protocol::users::owner::{AccountId, Caller, LoginId, UserId, WebhookId};
use crate::protocol::values::secret::SecretText;
use crate::store::{Op, Reader, StoreError};

/// How long a part of the tree may take that waits for nothing but the disk.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);

/// The service behind the API. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    context: Arc<LoginsContext>,
    fleet: ActorRef<FleetMsg>,
    logins: ActorRef<LoginsMsg>,
    orders: Commands,
    sender: Arc<MessageSender>,
    hooks: Arc<Hooks>,
    endpoints: Arc<dyn EndpointClient>,
    /// The room for exports, which may be large.
    exports: Arc<Semaphore>,
}

impl Api {
    pub(super) fn new(
        context: Arc<LoginsContext>,
        fleet: ActorRef<FleetMsg>,
        logins: ActorRef<LoginsMsg>,
        orders: Commands,
        hooks: Arc<Hooks>,
        endpoints: Arc<dyn EndpointClient>,
    ) -> Self {
        let sender = MessageSender::new(Arc::clone(&context.accounts), fleet.clone());
        let exports = Arc::new(Semaphore::new(people::EXPORTS_MAX));
        Self { context, fleet, logins, orders, sender, hooks, endpoints, exports }
    }

    /// Takes no more messages, and waits for those under way.
    pub(super) async fn close(&self) {
        self.sender.close().await;
    }

    /// Why a part of the tree does not answer. Where the store has failed, that is why: everything stops.
    fn unanswered(&self, why: Unanswered) -> Refusal {
        match self.context.store.failure() {
            Some(failure) => broken(&failure),
            None => why.into(),
        }
    }

    /// A line for the audit log about something of `owner`'s.
    fn audit_event(
        &self,
        who: &Caller,
        owner: &UserId,
        action: &str,
        target: impl ToString,
    ) -> AuditEvent {
        AuditEvent::by(who, owner, action, now()).on(target)
    }

    /// Reads from the store for the one who asks.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.context.store.read(read).await.map_err(|error| broken(&error))
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<(), Refusal> {
        self.context.store.commit(ops).await.map_err(|error| broken(&error))
    }
}

#[async_trait]
impl Service for Api {
    async fn connect_sms(&self, who: &Caller, phone: Phone) -> Result<Login, Refusal> {
        self.begin_sms(who, phone).await
    }

    async fn connect_qr(&self, who: &Caller) -> Result<Login, Refusal> {
        self.begin_qr(who).await
    }

    async fn connect_bot(&self, who: &Caller, token: SecretText) -> Result<Account, Refusal> {
        self.bring_bot(who, token).await
    }

    async fn connect_session(
        &self,
        who: &Caller,
        session: PastedSession,
    ) -> Result<Connected, Refusal> {
        self.bring_session(who, session).await
    }

    async fn login(&self, who: &Caller, id: LoginId) -> Result<Login, Refusal> {
        self.look_at_login(who, id)
    }

    async fn login_code(
        &self,
        who: &Caller,
        id: LoginId,
        code: SecretText,
    ) -> Result<Login, Refusal> {
        self.hand_in_code(who, id, code).await
    }

    async fn login_password(
        &self,
        who: &Caller,
        id: LoginId,
        password: SecretText,
    ) -> Result<Login, Refusal> {
        self.hand_in_password(who, id, password).await
    }

    async fn abandon_login(&self, who: &Caller, id: LoginId) -> Result<(), Refusal> {
        self.give_up_login(who, id).await
    }

    async fn accounts(&self, who: &Caller, query: AccountQuery) -> Result<Page<Account>, Refusal> {
        self.list_accounts(who, query)
    }

    async fn account(&self, who: &Caller, id: AccountId) -> Result<Account, Refusal> {
        Ok(self.account_for(who, &self.find(who, id)?))
    }

    async fn account_status(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.status(&self.find(who, id)?).await
    }

    async fn why(&self, who: &Caller, id: AccountId) -> Result<WhyView, Refusal> {
        Ok(self.explain(&self.find(who, id)?))
    }

    async fn pause(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.hold(who, id, true).await
    }

    async fn resume(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.hold(who, id, false).await
    }

    async fn reconnect(&self, who: &Caller, id: AccountId) -> Result<AccountStatus, Refusal> {
        self.redial(who, id).await
    }

    async fn remove(&self, who: &Caller, id: AccountId, logout: bool) -> Result<(), Refusal> {
        self.give_up(who, &self.find(who, id)?, logout).await
    }

    async fn send(
        &self,
        who: &Caller,
        id: AccountId,
        message: Outgoing,
    ) -> Result<(Sent, bool), Refusal> {
        let (sent, again) = self.sender.send(who, self.find(who, id)?, message).await?;
        Ok((views::sent(sent), again))
    }

    async fn chats(
        &self,
        who: &Caller,
        id: AccountId,
        page: PageQuery,
    ) -> Result<Page<Chat>, Refusal> {
        self.list_chats(self.find(who, id)?, page).await
    }

    async fn attach_chat(
        &self,
        who: &Caller,
        id: AccountId,
        chat: ChatRef,
    ) -> Result<Chat, Refusal> {
        self.look_up_chat(who, &self.find(who, id)?, chat).await
    }

    async fn monitors(&self, who: &Caller, query: MonitorQuery) -> Result<Page<Monitor>, Refusal> {
        self.list_monitors(who, query).await
    }

    async fn monitor(&self, who: &Caller, chat: ChatRef) -> Result<Monitor, Refusal> {
        self.look_at_monitor(who, &chat).await
    }

    async fn put_monitor(
        &self,
        who: &Caller,
        chat: ChatRef,
        accounts: Vec<AccountId>,
    ) -> Result<(Monitor, bool), Refusal> {
        self.configure_monitor(who, chat, &accounts).await
    }

    async fn delete_monitor(&self, who: &Caller, chat: ChatRef) -> Result<(), Refusal> {
        self.stop_monitor(who, chat).await
    }

    async fn audit(&self, who: &Caller, query: AuditQuery) -> Result<Page<AuditEntry>, Refusal> {
        self.read_audit_log(who, query).await
    }

    async fn erase(&self, who: &Caller, user: UserId) -> Result<Erased, Refusal> {
        self.wipe(who, user).await
    }

    async fn export(&self, who: &Caller, user: UserId) -> Result<Vec<u8>, Refusal> {
        self.hand_out(who, user).await
    }

    fn follow(
        &self,
        who: &Caller,
        after: Option<String>,
    ) -> Result<mpsc::Receiver<Change>, Refusal> {
        Ok(Follower::start(&self.context.accounts.tree, who.scope(), after))
    }

    async fn webhooks(&self, who: &Caller, page: PageQuery) -> Result<Page<Webhook>, Refusal> {
        self.list_webhooks(who, &page).await
    }

    async fn webhook(&self, who: &Caller, id: WebhookId) -> Result<Webhook, Refusal> {
        self.look_at_webhook(who, id).await
    }

    async fn create_webhook(&self, who: &Caller, order: WebhookOrder) -> Result<Webhook, Refusal> {
        self.make_webhook(who, order).await
    }

    async fn update_webhook(
        &self,
        who: &Caller,
        id: WebhookId,
        order: WebhookOrder,
    ) -> Result<Webhook, Refusal> {
        self.change_webhook(who, id, order).await
    }

    async fn delete_webhook(&self, who: &Caller, id: WebhookId) -> Result<(), Refusal> {
        self.drop_webhook(who, id).await
    }

    async fn dead_deliveries(
        &self,
        who: &Caller,
        id: WebhookId,
        page: PageQuery,
    ) -> Result<Page<DeadDelivery>, Refusal> {
        self.list_dead(who, id, &page).await
    }

    async fn redeliver(&self, who: &Caller, id: WebhookId, delivery: Uuid) -> Result<(), Refusal> {
        self.put_back_in_line(who, id, delivery).await
    }

    async fn key_status(&self, who: &Caller) -> Result<KeyStatus, Refusal> {
        self.keys(who).await
    }

    async fn rotate_keys(&self, who: &Caller) -> Result<KeyStatus, Refusal> {
        self.renew_keys(who).await
    }

    async fn detailed_health(
        &self,
        who: &Caller,
        query: HealthQuery,
    ) -> Result<serde_json::Value, Refusal> {
        self.detailed(who, &query).await
    }
}
