//! Answers that hold what others must not see: the link of a QR code. Owns their bytes, which are wiped
//! once they are written. (What hyper copies of them is outside our reach.)

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::protocol::answers::refusal::{Code, Refusal};
use crate::protocol::values::secret::to_json;

/// A JSON answer whose bytes are wiped.
pub(super) struct Wiped<T>(pub(super) StatusCode, pub(super) T);

impl<T: Serialize> IntoResponse for Wiped<T> {
    fn into_response(self) -> Response {
        let Self(status, content) = self;
        let Ok(json) = to_json(&content) else {
            return Refusal::new(Code::Internal, "the answer cannot be written").into_response();
        };
        let mut response = Response::new(Body::from(Bytes::from_owner(json)));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::edge::http::api::changes::StreamEvent;
    use crate::edge::http::api::shapes::{Login, LoginState, Qr, Time};
    use crate::protocol::values::ids::UnixMillis;
    use crate::secrets::freed::freed_with;

    const LINK: &str = "tg://login?token=SWORDFISH";

    fn login() -> Login {
        let at = Time(UnixMillis(1_000));
        let qr = Qr { url: LINK.to_owned(), svg: format!("<svg>{LINK}</svg>"), expires_at: at };
        Login {
            login_id: Uuid::nil(),
            state: LoginState::WaitingScan,
            expires_at: at,
            account: None,
            code: None,
            hint: None,
            email_pattern: None,
            qr: Some(qr),
            error: None,
        }
    }

    #[test]
    fn a_login_link_leaves_no_copy_in_memory_of_ours_and_no_text() {
        let freed = freed_with(LINK, || {
            let login = login();
            assert!(!format!("{login:?}").contains("SWORDFISH"));
            drop(Wiped(StatusCode::OK, login.clone()).into_response());
        });
        let data = format!("{{\"url\":\"{LINK}\"}}");
        let change = StreamEvent { id: "1".to_owned(), event: "login.changed", data };
        assert!(!format!("{change:?}").contains("SWORDFISH"));
        assert_eq!(freed, 0);
    }
}
