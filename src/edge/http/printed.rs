//! Answers in JSON that operators look at with programs of their own: whatever strangers wrote in them
//! (replies of brokers, errors of servers, titles of chats) forges and hides nothing in a terminal.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::protocol::values::printable;

/// JSON of which every character is printable. It means the same.
pub(super) struct Printed<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Printed<T> {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        match printable::json(&self.0) {
            Ok(text) => ([(header::CONTENT_TYPE, json)], text).into_response(),
            // Only a type with keys that are no texts gets here.
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}
