//! Webhooks: one's own endpoints, and what could not be delivered to them.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Shared, broken};
use crate::actors::webhooks::port::EndpointClient;
use crate::actors::webhooks::supervisor::{EndpointMsg, Hook, Hooks, durable};
use crate::chance;
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::users::owner::{Caller, Scope, UserId, WebhookId};
use crate::protocol::values::ids::UnixMillis;
use crate::protocol::values::page::{Page, PageQuery};
use crate::protocol::webhooks::deliveries::{
    DeadRecord, Delivery, EVENTS, SECRET_LEN, WebhookRecord, secret_of,
};
use crate::store::{DeadId, DeliveryId, Op, Reader, RowId, StoreError};

/// Endpoints of one user.
const PER_USER_MAX: usize = 20;

/// A webhook to be made or changed.
#[derive(Clone, Debug)]
pub struct WebhookOrder {
    /// Where it is called.
    pub url: String,
    /// Which events it gets; empty: all.
    pub events: Vec<String>,
    /// Whether it is called at all.
    pub enabled: bool,
}

/// What is told of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookInfo {
    /// Its id.
    pub id: WebhookId,
    /// Where it is called.
    pub url: String,
    /// Which events it gets; empty: all.
    pub events: Vec<String>,
    /// Whether it is called at all.
    pub enabled: bool,
    /// The signing secret (`whsec_…`); only in the answer that made it.
    pub secret: Option<String>,
    /// Deliveries that wait.
    pub waiting: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// The last failure, until a delivery succeeds.
    pub last_error: Option<String>,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// Where events are delivered to, and what could not be delivered.
#[async_trait]
pub trait WebhookService: Send + Sync + 'static {
    /// The caller's webhooks.
    async fn list(&self, who: &Caller, page: PageQuery) -> Result<Page<WebhookInfo>, Refusal>;
    /// One webhook.
    async fn get(&self, who: &Caller, id: WebhookId) -> Result<WebhookInfo, Refusal>;
    /// Makes one; the answer is the only one that shows its secret.
    async fn create(&self, who: &Caller, order: WebhookOrder) -> Result<WebhookInfo, Refusal>;
    /// Changes one.
    async fn update(
        &self,
        who: &Caller,
        id: WebhookId,
        order: WebhookOrder,
    ) -> Result<WebhookInfo, Refusal>;
    /// Deletes one and what waits for it.
    async fn delete(&self, who: &Caller, id: WebhookId) -> Result<(), Refusal>;
    /// What was given up, the newest first.
    async fn dead_deliveries(
        &self,
        who: &Caller,
        id: WebhookId,
        page: PageQuery,
    ) -> Result<Page<DeadRecord>, Refusal>;
    /// Puts one that was given up back into the queue, as if it had never been tried.
    async fn redeliver(&self, who: &Caller, id: WebhookId, delivery: Uuid) -> Result<(), Refusal>;
}

/// The service on a tree.
pub(super) struct Webhooks {
    shared: Shared,
    hooks: Arc<Hooks>,
    endpoints: Arc<dyn EndpointClient>,
}

#[async_trait]
impl WebhookService for Webhooks {
    async fn list(&self, who: &Caller, page: PageQuery) -> Result<Page<WebhookInfo>, Refusal> {
        let bad = |_| Refusal::field("cursor", "it is not one that a page named");
        let after = page.cursor.as_deref().map(str::parse::<Uuid>).transpose().map_err(bad)?;
        let after = after.map(WebhookId);
        let mut hooks = self.hooks.list(&who.scope(), after, page.limit + 1);
        let has_more = hooks.len() > page.limit;
        hooks.truncate(page.limit);
        let next_cursor = hooks.last().filter(|_| has_more);
        let next_cursor = next_cursor.map(|last| last.record().id.to_string());
        Ok(Page { items: self.infos(hooks).await?, next_cursor })
    }

    async fn get(&self, who: &Caller, id: WebhookId) -> Result<WebhookInfo, Refusal> {
        let views = self.infos(vec![self.hook(who, id)?]).await?;
        views.into_iter().next().ok_or_else(|| Refusal::not_found("webhook"))
    }

    async fn create(&self, who: &Caller, order: WebhookOrder) -> Result<WebhookInfo, Refusal> {
        let _busy = self.shared.context.erasing.enter(&who.user)?;
        let url = self.accept(&order)?;
        let turn = self.hooks.turn().await;
        let own = self.hooks.list(&Scope::Only(who.user.clone()), None, PER_USER_MAX);
        if own.len() >= PER_USER_MAX {
            let detail = format!("there are {PER_USER_MAX} webhooks already; delete one first");
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let record = WebhookRecord {
            id: WebhookId(self.shared.context.new_id()),
            user: who.user.clone(),
            url,
            events: order.events,
            enabled: order.enabled,
            gone_at: None,
            secret: secret_of(&chance::secret::<SECRET_LEN>()),
            created_at: self.shared.context.now(),
        };
        let (id, secret) = (record.id, record.secret.clone());
        let audit_event = self.shared.audit_event(who, &who.user, "webhook.create", id);
        let ops = vec![Op::put_row(&record), Op::Audit(audit_event)];
        let handed_in =
            turn.submit(&self.shared.context.store, ops).await.map_err(|e| broken(&e))?;
        durable(handed_in).await.map_err(|error| broken(&error))?;
        self.hooks.put(record);
        drop(turn);
        let made = self.get(who, id).await?;
        Ok(WebhookInfo { secret: Some(secret), ..made })
    }

    async fn update(
        &self,
        who: &Caller,
        id: WebhookId,
        order: WebhookOrder,
    ) -> Result<WebhookInfo, Refusal> {
        let url = self.accept(&order)?;
        let turn = self.hooks.turn().await;
        let mut record = WebhookRecord::clone(&*self.hook(who, id)?.record());
        (record.url, record.events) = (url, order.events);
        (record.enabled, record.gone_at) =
            (order.enabled, record.gone_at.filter(|_| !order.enabled));
        let audit_event = self.shared.audit_event(who, &record.user, "webhook.update", id);
        let ops = vec![Op::put_row(&record), Op::Audit(audit_event)];
        let handed_in =
            turn.submit(&self.shared.context.store, ops).await.map_err(|e| broken(&e))?;
        durable(handed_in).await.map_err(|error| broken(&error))?;
        self.hooks.put(record);
        drop(turn);
        self.get(who, id).await
    }

    async fn delete(&self, who: &Caller, id: WebhookId) -> Result<(), Refusal> {
        let turn = self.hooks.turn().await;
        let user = self.hook(who, id)?.record().user.clone();
        let ops = vec![
            Op::delete_row::<WebhookRecord>(&user, id),
            Op::delete_rows::<Delivery>(&user, id),
            Op::delete_rows::<DeadRecord>(&user, id),
            Op::Audit(self.shared.audit_event(who, &user, "webhook.delete", id)),
        ];
        let handed_in =
            turn.submit(&self.shared.context.store, ops).await.map_err(|e| broken(&e))?;
        self.hooks.drop_one(id);
        drop(turn);
        durable(handed_in).await.map_err(|error| broken(&error))
    }

    async fn dead_deliveries(
        &self,
        who: &Caller,
        id: WebhookId,
        page: PageQuery,
    ) -> Result<Page<DeadRecord>, Refusal> {
        let user = self.hook(who, id)?.record().user.clone();
        let after = page.cursor.as_deref().map(|cursor| dead_cursor(id, cursor)).transpose()?;
        let (prefix, after) = (Some(RowId::from(id)), after.map(RowId::from));
        let limit = page.limit.saturating_add(1);
        let mut rows: Vec<DeadRecord> =
            self.shared.reading(move |store| store.rows(&user, prefix, after, limit)).await?;
        let has_more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let cursor = |last: &DeadRecord| format!("{}-{}", last.at.0, last.delivery.message_id);
        let next_cursor = rows.last().filter(|_| has_more).map(cursor);
        Ok(Page { items: rows, next_cursor })
    }

    async fn redeliver(&self, who: &Caller, id: WebhookId, delivery: Uuid) -> Result<(), Refusal> {
        let turn = self.hooks.turn().await;
        let hook = self.hook(who, id)?;
        let user = hook.record().user.clone();
        let (place, dead) = self.find_dead(&user, id, delivery).await?;
        let audit_event =
            self.shared.audit_event(who, &user, "webhook.redeliver", format!("{id}/{delivery}"));
        let delivery = dead.delivery.anew(self.shared.context.now());
        let Delivery { seq, line, .. } = delivery;
        let ops = vec![
            Op::delete_row::<DeadRecord>(&user, place),
            Op::put_row(&delivery),
            Op::Audit(audit_event),
        ];
        let handed_in =
            turn.submit(&self.shared.context.store, ops).await.map_err(|e| broken(&e))?;
        // Held until then, so that a second request finds it gone.
        durable(handed_in).await.map_err(|error| broken(&error))?;
        drop(turn);
        hook.tell(EndpointMsg::Arrived(vec![DeliveryId { webhook: id, seq, line }]));
        Ok(())
    }
}

impl Webhooks {
    pub(super) fn new(
        shared: Shared,
        hooks: Arc<Hooks>,
        endpoints: Arc<dyn EndpointClient>,
    ) -> Self {
        Self { shared, hooks, endpoints }
    }

    fn hook(&self, who: &Caller, id: WebhookId) -> Result<Arc<Hook>, Refusal> {
        let found = self.hooks.find(&who.scope(), id);
        found.ok_or_else(|| Refusal::not_found("webhook"))
    }

    /// Endpoints as their owners see them.
    async fn infos(&self, hooks: Vec<Arc<Hook>>) -> Result<Vec<WebhookInfo>, Refusal> {
        self.shared
            .reading(move |store| hooks.iter().map(|hook| webhook_info(store, hook)).collect())
            .await
    }

    /// What of an order may be kept: its URL in its normal form.
    fn accept(&self, order: &WebhookOrder) -> Result<String, Refusal> {
        let url = self.endpoints.check(&order.url);
        let url = url.map_err(|refused| Refusal::field("url", refused))?;
        if let Some(unknown) = order.events.iter().find(|name| !EVENTS.contains(&name.as_str())) {
            let known = EVENTS.join(", ");
            let message = format!("there are no events called {unknown:?}; there are {known}");
            return Err(Refusal::field("events", message));
        }
        Ok(url)
    }

    async fn find_dead(
        &self,
        user: &UserId,
        id: WebhookId,
        delivery: Uuid,
    ) -> Result<(DeadId, DeadRecord), Refusal> {
        let user = user.clone();
        let find = move |store: &Reader| {
            let ids = store.dead_ids(&user, id)?;
            let place = ids.into_iter().find(|dead| dead.message_id == delivery);
            let Some(place) = place else { return Ok(None) };
            Ok(store.row(&user, place)?.map(|dead| (place, dead)))
        };
        let found = self.shared.reading(find).await?;
        found.ok_or_else(|| Refusal::not_found("delivery that was given up"))
    }
}

/// An endpoint as its owner sees it. Reads what was given up for it.
pub(super) fn webhook_info(store: &Reader, hook: &Hook) -> Result<WebhookInfo, StoreError> {
    let record = hook.record();
    let dead = store.dead_ids(&record.user, record.id)?;
    Ok(WebhookInfo {
        id: record.id,
        url: record.url.clone(),
        events: record.events.clone(),
        enabled: record.enabled,
        secret: None,
        waiting: hook.waiting(),
        dead: dead.len() as u64,
        last_error: hook.last_error().or_else(|| {
            record.gone_at.map(|_| "it answered 410 (gone), so it was disabled".to_owned())
        }),
        created_at: record.created_at,
    })
}

/// The place after which a page begins.
fn dead_cursor(webhook: WebhookId, cursor: &str) -> Result<DeadId, Refusal> {
    let parse = || {
        let (at, message_id) = cursor.split_once('-')?;
        let (at, message_id) = (at.parse().ok()?, message_id.parse().ok()?);
        Some(DeadId { webhook, at: UnixMillis(at), message_id })
    };
    parse().ok_or_else(|| Refusal::field("cursor", "it is not one that a page named"))
}
