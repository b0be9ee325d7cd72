//! Who is never contacted, over HTTP: a user's own list, and the installation's for admins. Of somebody who asked to be
//! erased nothing is shown but that they refuse.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::bodies::IdentifierForm;
use super::imports::suppress_file;
use super::parse::{self, name_of};
use super::shapes::RejectedTarget;
use crate::actors::{NewSuppression, SuppressionList, SuppressionQuery};
use crate::edge::http::api::Shared;
use crate::edge::http::api::bodies::Paging;
use crate::edge::http::api::extract::{Body, Id, LargeBody, Query, creation_key, page, replayed};
use crate::edge::http::api::fields::{Fields, Wrong};
use crate::edge::http::api::parse::{one_of, switch};
use crate::edge::http::api::shapes::{Page, Time};
use crate::edge::http::api::views::page as page_of;
use crate::protocol::answers::refusal::Refusal;
use crate::protocol::answers::suppression::SuppressionCheck;
use crate::protocol::campaigns::identity::Identifier;
use crate::protocol::campaigns::respect::{Covers, List, Source, Suppression, SuppressionId};
use crate::protocol::users::owner::Caller;

/// Identifiers that one request may bring.
const IMPORTED_AT_ONCE_MAX: usize = 1_000;
/// Longest reason, characters.
const REASON_CHARS_MAX: usize = 500;

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new()
        .routes(routes!(suppressions, add_suppression))
        .routes(routes!(import_suppressions))
        .routes(routes!(check_suppression))
        .routes(routes!(remove_suppression))
}

/// Which list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
struct SuppressionScope {
    /// `own`, or for admins `installation`.
    scope: Option<String>,
}

/// Which entries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
struct SuppressionFilter {
    /// `own`, or for admins `installation`.
    scope: Option<String>,
    /// Only those that come from there: `stop_reply`, `blocked`, `privacy`, `manual`, `import`, `erased`.
    source: Option<String>,
}

/// Who is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
struct SuppressionOf {
    /// A `@username`, a user id, or a phone number with `+`, percent-encoded.
    identifier: String,
}

/// Why an entry is removed.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "names a form")]
struct SuppressionRemoval {
    /// `own`, or for admins `installation`.
    scope: Option<String>,
    /// Kept in the audit log: 1 to 500 characters.
    #[param(min_length = 1, max_length = 500)]
    reason: String,
}

/// Somebody who is never to be contacted.
#[derive(ToSchema)]
#[schema(examples(json!({"identifier": "@durov", "covers": "everything"})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
struct AddSuppression {
    /// A `@username`, a user id, or a phone number with `+`.
    identifier: IdentifierForm,
    /// `everything` (also when it is absent), `messages` or `invitations`.
    #[schema(pattern = "^(everything|messages|invitations)$")]
    covers: Option<String>,
    /// They asked to be erased: nothing is kept but a keyed hash of the identifier, and an entry that is there already
    /// forgets it, too.
    erased: Option<bool>,
}

/// People who are never to be contacted.
#[derive(ToSchema)]
#[schema(examples(json!({"identifiers": ["@durov", "+79991234567", 777000]})))]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "names a form")]
struct ImportSuppressions {
    /// Up to 1000, each a `@username`, a user id, or a phone number with `+`.
    #[schema(min_items = 1, max_items = 1000)]
    identifiers: Vec<Value>,
}

/// An entry of a list of who is never contacted.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct SuppressionView {
    /// Its id.
    id: Uuid,
    /// Whose list: `own` or `installation`.
    scope: &'static str,
    /// Who it is; absent when they asked to be erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    identifier: Option<String>,
    /// What is refused: `everything`, `messages`, `invitations` or `this_group`.
    covers: String,
    /// Which group, for `this_group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<i64>,
    /// `stop_reply`, `blocked`, `privacy`, `manual`, `import` or `erased`.
    source: String,
    /// Whether what they answered may have meant something else: they are held until a person has read it.
    is_doubtful: bool,
    /// Since when.
    since: Time,
}

/// A file of people who are never to be contacted.
#[derive(ToSchema)]
#[schema(examples(json!({"file": "username;phone\r\n@durov;\r\n;+79991234567\r\n"})))]
#[expect(dead_code, reason = "names a form")]
struct SuppressFile {
    /// CSV, XLSX or JSON as for campaigns, at most 10 MB. Whoever is in it is refused under each name that it has of
    /// them.
    #[schema(value_type = String, format = Binary)]
    file: String,
}

/// What came of an import. Somebody with two names counts twice.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(super) struct ImportedSuppressions {
    /// Names that are on the list now and were not before.
    pub accepted: u64,
    /// Names that were on it, or came twice.
    pub duplicates: u64,
    /// What is not on it, and why; of a file the first 1000.
    pub rejected: Vec<RejectedTarget>,
    /// Lines of a file that are not on it and not among these.
    pub rejected_left_out: u64,
}

/// A refusal that holds for somebody.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct SuppressionCheckEntry {
    /// Its id, where the caller may remove it.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    /// Whose list: `own` or `installation`.
    scope: &'static str,
    /// What is refused.
    covers: String,
    /// Which group, for `this_group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    group_id: Option<i64>,
    /// Where it comes from.
    source: String,
    /// Since when.
    since: Time,
}

/// Whether somebody may be contacted, as far as the lists say.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct SuppressionChecked {
    /// As it was understood.
    identifier: String,
    /// Whether anything is refused.
    is_suppressed: bool,
    /// What, and by which list.
    refusals: Vec<SuppressionCheckEntry>,
}

/// List who is never contacted
#[utoipa::path(
    get,
    path = "/suppression",
    tag = "campaigns",
    params(SuppressionFilter, Paging),
    responses((status = 200, description = "A page of entries, the newest first", body = Page<SuppressionView>)),
    extensions(("x-codes" = json!(["NOT_FOUND"]))),
)]
async fn suppressions(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut fields): Query,
) -> Result<Json<Page<SuppressionView>>, Refusal> {
    let list = scope(&mut fields);
    let source = fields.optional("source", source);
    let page = page(&mut fields);
    let query = fields.finish(Some(SuppressionQuery { list, source, page }))?;
    let found = api.services.suppression.list(&who, query).await?;
    Ok(Json(page_of(found, view)))
}

/// Never contact somebody
///
/// By no campaign, running ones included, from this answer on. Whoever is on the list already is answered with the entry
/// that is there.
#[utoipa::path(
    post,
    path = "/suppression",
    tag = "campaigns",
    params(
        SuppressionScope,
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name for this entry"),
    ),
    request_body = AddSuppression,
    responses(
        (status = 201, description = "The entry", body = SuppressionView),
        (status = 200, description = "The entry that was there", body = SuppressionView),
    ),
    extensions(("x-codes" = json!(["CONFLICT", "NOT_FOUND"]))),
)]
async fn add_suppression(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut query): Query,
    headers: HeaderMap,
    Body(mut fields): Body,
) -> Result<Response, Refusal> {
    let list = scope(&mut query);
    let list = query.finish(Some(list))?;
    let key = creation_key(&headers, &mut fields);
    let country = api.services.campaigns.country();
    let identifier = fields.required("identifier", |value| parse::identifier(value, country));
    let covers = fields.optional("covers", covers).unwrap_or(Covers::Everything);
    let is_erased = fields.optional("erased", switch).unwrap_or(false);
    let new = identifier.map(|identifier| NewSuppression { identifier, covers, is_erased });
    let new = fields.finish(new)?;
    let added = api.services.suppression.add(&who, list, new, key).await?;
    let status = if added.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(replayed(added.is_replayed, (status, Json(view(added.entry))).into_response()))
}

/// Never contact many people
///
/// A list of identifiers, or a file. Whoever is on the list already counts as a duplicate. A file that cannot be read to
/// its end changes nothing; one that takes long is answered with 202 and what was done so far, and goes on.
#[utoipa::path(
    post,
    path = "/suppression/import",
    tag = "campaigns",
    params(
        SuppressionScope,
        ("Idempotency-Key" = Option<String>, Header, description = "The caller's name for this piece"),
    ),
    request_body(content(
        (ImportSuppressions = "application/json"),
        (SuppressFile = "multipart/form-data"),
    )),
    responses(
        (status = 200, description = "What came of it", body = ImportedSuppressions),
        (status = 202, description = "It goes on; so much was done", body = ImportedSuppressions),
    ),
    extensions(("x-codes" = json!(["CONFLICT", "NOT_FOUND"]))),
)]
async fn import_suppressions(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut query): Query,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Response> {
    let list = scope(&mut query);
    let list = query.finish(Some(list)).map_err(IntoResponse::into_response)?;
    if is_form(&headers) {
        // Sent twice it changes nothing more, with a key or without.
        return suppress_file(api, who, list, request).await;
    }
    let LargeBody(fields) = LargeBody::from_request(request, &()).await?;
    import_identifiers(&api, &who, list, &headers, fields)
        .await
        .map_err(IntoResponse::into_response)
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("multipart/form-data"))
}

async fn import_identifiers(
    api: &Shared,
    who: &Caller,
    list: SuppressionList,
    headers: &HeaderMap,
    mut fields: Fields,
) -> Result<Response, Refusal> {
    let key = creation_key(headers, &mut fields);
    let given = fields.required("identifiers", |value| match value {
        Value::Array(items) if (1..=IMPORTED_AT_ONCE_MAX).contains(&items.len()) => Ok(items),
        _ => Err(format!("must be a list of 1 to {IMPORTED_AT_ONCE_MAX} identifiers")),
    });
    let given = fields.finish(given)?;
    let country = api.services.campaigns.country();
    let (mut identifiers, mut rejected): (Vec<Identifier>, Vec<RejectedTarget>) =
        (Vec::new(), Vec::new());
    for (at, value) in given.into_iter().enumerate() {
        let shown = parse::shown(&value);
        match parse::identifier(value, country) {
            Ok(identifier) => identifiers.push(identifier),
            Err(reason) => {
                rejected.push(RejectedTarget { line: at as u64 + 1, value: shown, reason });
            }
        }
    }
    let done = api.services.suppression.import(who, list, identifiers, key).await?;
    let (accepted, duplicates) = (done.accepted, done.duplicates);
    let told = ImportedSuppressions { accepted, duplicates, rejected, rejected_left_out: 0 };
    let answer = Json(told).into_response();
    Ok(replayed(done.is_replayed, answer))
}

/// Ask whether somebody may be contacted
///
/// Looks at the caller's list and at the installation's.
#[utoipa::path(
    get,
    path = "/suppression/check",
    tag = "campaigns",
    params(SuppressionOf),
    responses((status = 200, description = "What is refused", body = SuppressionChecked)),
)]
async fn check_suppression(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Query(mut fields): Query,
) -> Result<Json<SuppressionChecked>, Refusal> {
    let country = api.services.campaigns.country();
    let identifier = fields.required("identifier", |value| parse::identifier(value, country));
    let identifier = fields.finish(identifier)?;
    let shown = identifier.to_string();
    let found = api.services.suppression.check(&who, identifier).await?;
    let refusals: Vec<_> = found.into_iter().map(checked).collect();
    let is_suppressed = !refusals.is_empty();
    Ok(Json(SuppressionChecked { identifier: shown, is_suppressed, refusals }))
}

/// Lift a refusal
///
/// For a reason, which the audit log keeps. Other entries of the same person, under other names, stand.
#[utoipa::path(
    delete,
    path = "/suppression/{id}",
    tag = "campaigns",
    params(("id" = Uuid, Path, description = "The entry"), SuppressionRemoval),
    responses((status = 204, description = "It is lifted")),
    extensions(("x-codes" = json!(["CONFLICT"]))),
)]
async fn remove_suppression(
    State(api): State<Arc<Shared>>,
    who: Caller,
    Id(id): Id<SuppressionId>,
    Query(mut fields): Query,
) -> Result<StatusCode, Refusal> {
    let list = scope(&mut fields);
    let reason = fields.required("reason", reason);
    let reason = fields.finish(reason)?;
    api.services.suppression.remove(&who, list, id, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn scope(fields: &mut Fields) -> SuppressionList {
    let scopes = [("own", SuppressionList::Own), ("installation", SuppressionList::Installation)];
    fields.optional("scope", |value| one_of(value, &scopes)).unwrap_or_default()
}

fn source(value: Value) -> Result<Source, Wrong> {
    let sources = [
        ("stop_reply", Source::StopReply),
        ("blocked", Source::Blocked),
        ("privacy", Source::Privacy),
        ("manual", Source::Manual),
        ("import", Source::Import),
        ("erased", Source::Erased),
    ];
    one_of(value, &sources)
}

fn covers(value: Value) -> Result<Covers, Wrong> {
    let covers = [
        ("everything", Covers::Everything),
        ("messages", Covers::Messages),
        ("invitations", Covers::Invitations),
    ];
    one_of(value, &covers)
}

fn reason(value: Value) -> Result<String, Wrong> {
    let text = parse::text(value)?;
    let count = text.trim().chars().count();
    let is_fit = (1..=REASON_CHARS_MAX).contains(&count) && !text.chars().any(char::is_control);
    is_fit
        .then_some(text)
        .ok_or_else(|| format!("must be a line of 1 to {REASON_CHARS_MAX} characters"))
}

pub(super) fn view(entry: Suppression) -> SuppressionView {
    SuppressionView {
        id: entry.id.0,
        scope: scope_name(entry.list != List::Installation),
        identifier: entry.identifier.map(|identifier| identifier.to_string()),
        covers: name_of(entry.covers),
        group_id: entry.group.map(|group| group.0),
        source: name_of(entry.source),
        is_doubtful: entry.is_doubtful,
        since: Time(entry.since),
    }
}

fn checked(check: SuppressionCheck) -> SuppressionCheckEntry {
    SuppressionCheckEntry {
        id: check.id.map(|id| id.0),
        scope: scope_name(check.is_own),
        covers: name_of(check.covers),
        group_id: check.group.map(|group| group.0),
        source: name_of(check.source),
        since: Time(check.since),
    }
}

fn scope_name(is_own: bool) -> &'static str {
    if is_own { "own" } else { "installation" }
}
