//! Webhooks: where events are sent to, and what could not be delivered.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Shared;
use super::bodies::{Paging, PutWebhook};
use super::extract::{Body, Id, Query, page};
use super::fields::Fields;
use super::parse;
use super::shapes::{DeadDelivery, Page, Webhook};
use super::views;
use crate::actors::WebhookOrder;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::users::owner::{Caller, WebhookId};

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(webhooks, create_webhook))
        .routes(routes!(webhook, update_webhook, delete_webhook))
        .routes(routes!(dead_deliveries))
        .routes(routes!(redeliver))
}

fn order(mut fields: Fields) -> Result<WebhookOrder, Refusal> {
    let url = fields.required("url", parse::webhook_url);
    let events = fields.optional("events", parse::event_names).unwrap_or_default();
    let enabled = fields.optional("enabled", parse::switch).unwrap_or(true);
    let order = url.map(|url| WebhookOrder { url, events, enabled });
    fields.finish(order)
}

/// List webhooks
#[utoipa::path(
    get,
    path = "/webhooks",
    tag = "webhooks",
    params(Paging),
    responses((status = 200, description = "A page of them", body = Page<Webhook>)),
)]
async fn webhooks(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut fields): Query,
) -> Result<Json<Page<Webhook>>, Refusal> {
    let page = page(&mut fields);
    let page = fields.finish(Some(page))?;
    let webhooks = api.services.webhooks.list(&who, page).await?;
    Ok(Json(views::page(webhooks, views::webhook)))
}

/// Make a webhook
///
/// The answer is the only one that shows the secret by which deliveries are signed.
#[utoipa::path(
    post,
    path = "/webhooks",
    tag = "webhooks",
    request_body = PutWebhook,
    responses((status = 201, description = "It was made", body = Webhook)),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn create_webhook(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Body(fields): Body,
) -> Result<(StatusCode, Json<Webhook>), Refusal> {
    let order = order(fields)?;
    let webhook = api.services.webhooks.create(&who, order).await?;
    Ok((StatusCode::CREATED, Json(views::webhook(webhook))))
}

/// A webhook
#[utoipa::path(
    get,
    path = "/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The webhook")),
    responses((status = 200, description = "The webhook", body = Webhook)),
)]
async fn webhook(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<WebhookId>,
) -> Result<Json<Webhook>, Refusal> {
    api.services.webhooks.get(&who, id).await.map(views::webhook).map(Json)
}

/// Change a webhook
#[utoipa::path(
    put,
    path = "/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The webhook")),
    request_body = PutWebhook,
    responses((status = 200, description = "It was changed", body = Webhook)),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn update_webhook(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<WebhookId>,
    Body(fields): Body,
) -> Result<Json<Webhook>, Refusal> {
    let order = order(fields)?;
    api.services.webhooks.update(&who, id, order).await.map(views::webhook).map(Json)
}

/// Delete a webhook
///
/// And what waits for it.
#[utoipa::path(
    delete,
    path = "/webhooks/{id}",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The webhook")),
    responses((status = 204, description = "It is gone")),
)]
async fn delete_webhook(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<WebhookId>,
) -> Result<StatusCode, Refusal> {
    api.services.webhooks.delete(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List deliveries that were given up
#[utoipa::path(
    get,
    path = "/webhooks/{id}/dead",
    tag = "webhooks",
    params(("id" = Uuid, Path, description = "The webhook"), Paging),
    responses((status = 200, description = "A page of them", body = Page<DeadDelivery>)),
)]
async fn dead_deliveries(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<WebhookId>,
    Query(mut fields): Query,
) -> Result<Json<Page<DeadDelivery>>, Refusal> {
    let page = page(&mut fields);
    let page = fields.finish(Some(page))?;
    let dead = api.services.webhooks.dead_deliveries(&who, id, page).await?;
    Ok(Json(views::page(dead, views::dead_delivery)))
}

/// Deliver again what was given up
#[utoipa::path(
    post,
    path = "/webhooks/{id}/dead/{delivery_id}/redeliver",
    tag = "webhooks",
    params(
        ("id" = Uuid, Path, description = "The webhook"),
        ("delivery_id" = Uuid, Path, description = "The delivery"),
    ),
    responses((status = 202, description = "It is in line again")),
    extensions(("x-codes" = json!(["OVERLOADED"]))),
)]
async fn redeliver(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<WebhookId>,
    Id(delivery): Id<Uuid>,
) -> Result<StatusCode, Refusal> {
    api.services.webhooks.redeliver(&who, id, delivery).await?;
    Ok(StatusCode::ACCEPTED)
}
