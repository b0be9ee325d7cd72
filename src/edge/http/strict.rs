//! What must be true of a request before anybody looks at what it asks: whom it is meant for, and that its
//! content is not wrapped in what nobody here unwraps. Pure.

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::problem;
use crate::protocol::answers::refusal::Code;

/// Refuses what does not say for which host it is, as HTTP/1.1 demands.
pub(super) async fn one_host(request: Request, next: Next) -> Response {
    match wrong_host(request.version(), request.headers()) {
        Some(detail) => problem(StatusCode::BAD_REQUEST, Code::Validation, detail),
        None => next.run(request).await,
    }
}

/// "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a
/// Host header field and to any request message that contains more than one Host header field line or a
/// Host header field with an invalid field value" (RFC 9112 section 3.2).
fn wrong_host(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version >= Version::HTTP_11 => {
            Some("the request lacks the header Host, which HTTP/1.1 demands (RFC 9112 section 3.2)")
        }
        (Some(_), Some(_)) => Some("the request has more than one header Host; send one"),
        (Some(host), None) if !is_host(host) => {
            Some("the header Host is not valid; expected host or host:port")
        }
        _ => None,
    }
}

/// `uri-host [ ":" port ]`, which may be empty (RFC 9110 section 7.2).
fn is_host(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or("@");
    let is_authority = || text.parse::<Authority>().is_ok_and(|host| !host.as_str().contains('@'));
    text.is_empty() || is_authority()
}

/// Why the content of a request cannot be read as it stands; `None` when it can.
pub(super) fn wrapped(headers: &HeaderMap) -> Option<Response> {
    if !has_only(headers, header::CONTENT_ENCODING, "identity") {
        let detail = "the body is compressed (Content-Encoding), and nothing unpacks it here; send it as \
                      it is";
        let mut response = problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Validation, detail);
        // What is taken instead (RFC 9110 sections 12.5.3 and 15.5.16).
        let identity = HeaderValue::from_static("identity");
        response.headers_mut().insert(header::ACCEPT_ENCODING, identity);
        return Some(response);
    }
    // RFC 9112 section 6.1.
    (!has_only(headers, header::TRANSFER_ENCODING, "chunked")).then(|| {
        let detail = "the body has a Transfer-Encoding besides chunked, which is not known here";
        problem(StatusCode::NOT_IMPLEMENTED, Code::Validation, detail)
    })
}

/// Whether a list of codings names nothing but `known`.
fn has_only(headers: &HeaderMap, name: header::HeaderName, known: &str) -> bool {
    headers.get_all(name).iter().all(|list| {
        let codings = list.to_str().unwrap_or("?").split(',').map(str::trim);
        codings.into_iter().all(|one| one.is_empty() || one.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn there_is_one_host_and_it_is_one() {
        let is_wrong = |version, hosts: &[&str]| {
            let mut all = HeaderMap::new();
            for host in hosts {
                all.append(header::HOST, host.parse().unwrap());
            }
            wrong_host(version, &all).is_some()
        };
        for good in ["x", "x:80", "127.0.0.1:8080", "[::1]:8080", "a_b.example.org", ""] {
            assert!(!is_wrong(Version::HTTP_11, &[good]), "{good}");
        }
        for bad in ["a@b", "x/y", "a b", "x:y:z", "[::1", "a,b/"] {
            assert!(is_wrong(Version::HTTP_11, &[bad]), "{bad}");
        }
        assert!(is_wrong(Version::HTTP_11, &[]));
        assert!(!is_wrong(Version::HTTP_10, &[]));
        assert!(is_wrong(Version::HTTP_11, &["x", "x"]) && is_wrong(Version::HTTP_10, &["x", "y"]));
    }

    #[test]
    fn content_comes_as_it_is() {
        let status = |name, values: &[&str]| {
            wrapped(&headers(name, values)).map(|response| response.status().as_u16())
        };
        for fine in [&[][..], &["identity"], &["Identity, identity"], &[""]] {
            assert_eq!(status(header::CONTENT_ENCODING, fine), None, "{fine:?}");
        }
        for packed in [&["gzip"][..], &["identity, gzip"], &["br"], &["deflate"], &["zstd"]] {
            assert_eq!(status(header::CONTENT_ENCODING, packed), Some(415), "{packed:?}");
        }
        assert_eq!(status(header::TRANSFER_ENCODING, &["chunked"]), None);
        assert_eq!(status(header::TRANSFER_ENCODING, &["gzip, chunked"]), Some(501));
    }
}
