//! Documents for people and programs: `/openapi.json`, the browser for it at `/docs`, and the list of
//! codes at `/docs/errors`. Everything comes from this process; nothing is loaded from elsewhere.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_swagger_ui::Config;

use super::codes;
use super::packed::{Unpacker, takes_gzip};
use crate::edge::http::NOTHING_HERE;
use crate::edge::http::problem::problem;
use crate::protocol::answers::refusal::{Code, Refusal};

/// What the browser for the document may load: itself. It sets styles on elements, and has small
/// pictures inside its style sheet.
const BROWSER_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self' \
    'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
/// What the list of codes may load: its own style.
const LIST_SECURITY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

struct Pages {
    unpacker: Unpacker,
    document: Bytes,
    errors: Bytes,
    browser: Arc<Config<'static>>,
}

/// The routes for documents.
pub(super) fn router(document: &serde_json::Value) -> Router {
    let browser = Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true);
    let pages = Pages {
        unpacker: Unpacker::new(),
        document: document.to_string().into(),
        errors: codes::page().into(),
        browser: Arc::new(browser),
    };
    Router::new()
        .route("/openapi.json", get(openapi))
        .route("/docs", get(async || Redirect::permanent("/docs/")))
        .route("/docs/", get(browser_start))
        .route("/docs/errors", get(error_list))
        .route("/docs/{*file}", get(browser_file))
        .with_state(Arc::new(pages))
}

async fn openapi(State(pages): State<Arc<Pages>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], pages.document.clone()).into_response()
}

async fn error_list(State(pages): State<Arc<Pages>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, LIST_SECURITY),
    ];
    (headers, pages.errors.clone()).into_response()
}

async fn browser_start(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    browser(&pages, &headers, "index.html")
}

async fn browser_file(
    State(pages): State<Arc<Pages>>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Response {
    browser(&pages, &headers, &file)
}

fn browser(pages: &Pages, asked: &HeaderMap, file: &str) -> Response {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(file, Arc::clone(&pages.browser)) else {
        return problem(StatusCode::NOT_FOUND, Code::NotFound, NOTHING_HERE);
    };
    let mut headers: Vec<(HeaderName, String)> = vec![
        (header::CONTENT_TYPE, file.content_type),
        (header::CONTENT_SECURITY_POLICY, BROWSER_SECURITY.to_owned()),
    ];
    let is_packed = file.gzpipped && takes_gzip(asked);
    if file.gzpipped {
        headers.push((header::VARY, "Accept-Encoding".to_owned()));
    }
    if is_packed {
        headers.push((header::CONTENT_ENCODING, "gzip".to_owned()));
    }
    // Nothing is copied but the one small file that is made for this document.
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    let mut response = match file.gzpipped && !is_packed {
        false => bytes.into_response(),
        true => match pages.unpacker.unpack(bytes) {
            Some(body) => body.into_response(),
            None => return crowded(),
        },
    };
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn crowded() -> Response {
    let detail =
        "too many ask for this file uncompressed; ask again, or with Accept-Encoding: gzip";
    Refusal::new(Code::Overloaded, detail).after(1).into_response()
}
