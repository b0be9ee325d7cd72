//! Webhooks: one's own endpoints, and what could not be delivered to them.

use std::sync::Arc;

use uuid::Uuid;

use super::{Api, broken};
use crate::actors::tree::context::now;
use crate::actors::webhooks::supervisor::{EndpointMsg, Hook, durable};
use crate::edge::http::api::{DeadDelivery, Page, PageQuery, Time, Webhook, WebhookOrder};
use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::audit::log::AuditEvent;
use crate::protocol::users::owner::{Caller, Scope, UserId, WebhookId};
use crate::protocol::webhooks::deliveries::{
    DeadRecord, Delivery, EVENTS, SECRET_LEN, WebhookRecord, secret_of,
};
use crate::store::{DeadId, DeliveryId, Op, Reader, RowId, StoreError};

/// Endpoints of one user.
const PER_USER_MAX: usize = 20;

impl Api {
    fn hook(&self, who: &Caller, id: WebhookId) -> Result<Arc<Hook>, Refusal> {
        let found = self.hooks.find(&who.scope(), id);
        found.ok_or_else(|| Refusal::not_found("webhook"))
    }

    /// Endpoints as their owners see them.
    async fn webhook_views(&self, hooks: Vec<Arc<Hook>>) -> Result<Vec<Webhook>, Refusal> {
        self.reading(move |store| hooks.iter().map(|hook| webhook_view(store, hook)).collect())
            .await
    }

    pub(super) async fn list_webhooks(
        &self,
        who: &Caller,
        page: &PageQuery,
    ) -> Result<Page<Webhook>, Refusal> {
        let bad = |_| Refusal::field("cursor", "it is not one that a page named");
        let after = page.cursor.as_deref().map(str::parse::<Uuid>).transpose().map_err(bad)?;
        let after = after.map(WebhookId);
        let mut hooks = self.hooks.list(&who.scope(), after, page.limit + 1);
        let has_more = hooks.len() > page.limit;
        hooks.truncate(page.limit);
        let next_cursor = hooks.last().filter(|_| has_more);
        let next_cursor = next_cursor.map(|last| last.record().id.to_string());
        Ok(Page { items: self.webhook_views(hooks).await?, next_cursor })
    }

    pub(super) async fn look_at_webhook(
        &self,
        who: &Caller,
        id: WebhookId,
    ) -> Result<Webhook, Refusal> {
        let views = self.webhook_views(vec![self.hook(who, id)?]).await?;
        views.into_iter().next().ok_or_else(|| Refusal::not_found("webhook"))
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

    pub(super) async fn make_webhook(
        &self,
        who: &Caller,
        order: WebhookOrder,
    ) -> Result<Webhook, Refusal> {
        let _busy = self.context.erasing.enter(&who.user)?;
        let url = self.accept(&order)?;
        let turn = self.hooks.turn().await;
        let own = self.hooks.list(&Scope::Only(who.user.clone()), None, PER_USER_MAX);
        if own.len() >= PER_USER_MAX {
            let detail = format!("there are {PER_USER_MAX} webhooks already; delete one first");
            return Err(Refusal::new(Code::Conflict, detail));
        }
        let record = WebhookRecord {
            id: WebhookId(Uuid::now_v7()),
            user: who.user.clone(),
            url,
            events: order.events,
            enabled: order.enabled,
            gone_at: None,
            secret: secret_of(&rand::random::<[u8; SECRET_LEN]>()),
            created_at: now(),
        };
        let (id, secret) = (record.id, record.secret.clone());
        let audit_event = self.audit_event(who, &who.user, "webhook.create", id);
        let ops = vec![Op::put_row(&record), Op::Audit(audit_event)];
        let handed_in = turn.submit(&self.context.store, ops).await.map_err(|e| broken(&e))?;
        durable(handed_in).await.map_err(|error| broken(&error))?;
        self.hooks.put(record);
        drop(turn);
        let made = self.look_at_webhook(who, id).await?;
        Ok(Webhook { secret: Some(secret), ..made })
    }

    pub(super) async fn change_webhook(
        &self,
        who: &Caller,
        id: WebhookId,
        order: WebhookOrder,
    ) -> Result<Webhook, Refusal> {
        let url = self.accept(&order)?;
        let turn = self.hooks.turn().await;
        let mut record = WebhookRecord::clone(&*self.hook(who, id)?.record());
        (record.url, record.events) = (url, order.events);
        (record.enabled, record.gone_at) =
            (order.enabled, record.gone_at.filter(|_| !order.enabled));
        let audit_event = self.audit_event(who, &record.user, "webhook.update", id);
        let ops = vec![Op::put_row(&record), Op::Audit(audit_event)];
        let handed_in = turn.submit(&self.context.store, ops).await.map_err(|e| broken(&e))?;
        durable(handed_in).await.map_err(|error| broken(&error))?;
        self.hooks.put(record);
        drop(turn);
        self.look_at_webhook(who, id).await
    }

    pub(super) async fn drop_webhook(&self, who: &Caller, id: WebhookId) -> Result<(), Refusal> {
        let turn = self.hooks.turn().await;
        let user = self.hook(who, id)?.record().user.clone();
        let ops = vec![
            Op::delete_row::<WebhookRecord>(&user, id),
            Op::delete_rows::<Delivery>(&user, id),
            Op::delete_rows::<DeadRecord>(&user, id),
            Op::Audit(self.audit_event(who, &user, "webhook.delete", id)),
        ];
        let handed_in = turn.submit(&self.context.store, ops).await.map_err(|e| broken(&e))?;
        self.hooks.drop_one(id);
        drop(turn);
        durable(handed_in).await.map_err(|error| broken(&error))
    }

    pub(super) async fn list_dead(
        &self,
        who: &Caller,
        id: WebhookId,
        page: &PageQuery,
    ) -> Result<Page<DeadDelivery>, Refusal> {
        let user = self.hook(who, id)?.record().user.clone();
        let after = page.cursor.as_deref().map(|cursor| dead_cursor(id, cursor)).transpose()?;
        let (prefix, after) = (Some(RowId::from(id)), after.map(RowId::from));
        let limit = page.limit.saturating_add(1);
        let mut rows: Vec<DeadRecord> =
            self.reading(move |store| store.rows(&user, prefix, after, limit)).await?;
        let has_more = rows.len() > page.limit;
        rows.truncate(page.limit);
        let cursor = |last: &DeadRecord| format!("{}-{}", last.at.0, last.delivery.message_id);
        let next_cursor = rows.last().filter(|_| has_more).map(cursor);
        let items = rows.into_iter().map(|dead| DeadDelivery {
            id: dead.delivery.message_id,
            event: dead.delivery.kind,
            attempts: dead.delivery.attempts,
            error: dead.reason,
            at: Time(dead.at),
        });
        Ok(Page { items: items.collect(), next_cursor })
    }

    /// Puts what was given up back in line, as if it had never been tried.
    pub(super) async fn put_back_in_line(
        &self,
        who: &Caller,
        id: WebhookId,
        delivery: Uuid,
    ) -> Result<(), Refusal> {
        let turn = self.hooks.turn().await;
        let hook = self.hook(who, id)?;
        let user = hook.record().user.clone();
        let (place, dead) = self.find_dead(&user, id, delivery).await?;
        let mut audit_event: AuditEvent = self.audit_event(who, &user, "webhook.redeliver", id);
        audit_event.target = Some(format!("{id}/{delivery}"));
        let delivery = dead.delivery.anew(now());
        let Delivery { seq, line, .. } = delivery;
        let ops = vec![
            Op::delete_row::<DeadRecord>(&user, place),
            Op::put_row(&delivery),
            Op::Audit(audit_event),
        ];
        let handed_in = turn.submit(&self.context.store, ops).await.map_err(|e| broken(&e))?;
        // Held until then, so that a second request finds it gone.
        durable(handed_in).await.map_err(|error| broken(&error))?;
        drop(turn);
        hook.tell(EndpointMsg::Arrived(vec![DeliveryId { webhook: id, seq, line }]));
        Ok(())
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
        let found = self.reading(find).await?;
        found.ok_or_else(|| Refusal::not_found("delivery that was given up"))
    }
}

/// An endpoint as its owner sees it. Reads what was given up for it.
pub(super) fn webhook_view(store: &Reader, hook: &Hook) -> Result<Webhook, StoreError> {
    let record = hook.record();
    let dead = store.dead_ids(&record.user, record.id)?;
    Ok(Webhook {
        id: record.id.0,
        url: record.url.clone(),
        events: record.events.clone(),
        enabled: record.enabled,
        secret: None,
        waiting: hook.waiting(),
        dead: dead.len() as u64,
        last_error: hook.last_error().or_else(|| {
            record.gone_at.map(|_| "it answered 410 (gone), so it was disabled".to_owned())
        }),
        created_at: Time(record.created_at),
    })
}

/// The place after which a page begins.
fn dead_cursor(webhook: WebhookId, cursor: &str) -> Result<DeadId, Refusal> {
    let parse = || {
        let (at, message_id) = cursor.split_once('-')?;
        let (at, message_id) = (at.parse().ok()?, message_id.parse().ok()?);
        Some(DeadId { webhook, at: crate::protocol::values::ids::UnixMillis(at), message_id })
    };
    parse().ok_or_else(|| Refusal::field("cursor", "it is not one that a page named"))
}
