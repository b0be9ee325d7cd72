//! Webhooks of users.

use uuid::Uuid;

use super::Api;
use crate::edge::http::api::{DeadDelivery, Page, PageQuery, Webhook, WebhookOrder};
use crate::protocol::owner::{Caller, WebhookId};
use crate::protocol::refusal::Refusal;

impl Api {
    pub(super) fn list_webhooks(
        &self,
        _: &Caller,
        _: &PageQuery,
    ) -> Result<Page<Webhook>, Refusal> {
        Ok(Page { items: Vec::new(), next_cursor: None })
    }

    pub(super) fn look_at_webhook(&self, _: &Caller, _: WebhookId) -> Result<Webhook, Refusal> {
        Err(Refusal::not_found("webhook"))
    }

    pub(super) async fn make_webhook(
        &self,
        _: &Caller,
        _: WebhookOrder,
    ) -> Result<Webhook, Refusal> {
        Err(Refusal::not_found("webhook"))
    }

    pub(super) async fn change_webhook(
        &self,
        _: &Caller,
        _: WebhookId,
        _: WebhookOrder,
    ) -> Result<Webhook, Refusal> {
        Err(Refusal::not_found("webhook"))
    }

    pub(super) async fn drop_webhook(&self, _: &Caller, _: WebhookId) -> Result<(), Refusal> {
        Err(Refusal::not_found("webhook"))
    }

    pub(super) fn list_dead(
        &self,
        _: &Caller,
        _: WebhookId,
        _: &PageQuery,
    ) -> Result<Page<DeadDelivery>, Refusal> {
        Err(Refusal::not_found("webhook"))
    }

    pub(super) async fn put_back_in_line(
        &self,
        _: &Caller,
        _: WebhookId,
        _: Uuid,
    ) -> Result<(), Refusal> {
        Err(Refusal::not_found("webhook"))
    }
}
