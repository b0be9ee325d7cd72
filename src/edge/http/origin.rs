//! Where a request comes from and what it belongs to, as its headers say: the caller's address behind
//! proxies, the id of the request, the trace around it. Pure; believes nobody without reason.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::chance;
use crate::protocol::values::network::Network;

/// Header with the id of a request.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest request id that is taken over.
const REQUEST_ID_MAX: usize = 128;

/// The caller's address: `peer`, or what the trusted proxies say. Each proxy appends whom it heard,
/// so the list is read from its end, up to the first address that is no proxy of ours.
pub(super) fn caller_address(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.holds(address));
    let mut address = peer.to_canonical();
    let lists = headers.get_all(FORWARDED_FOR).iter().rev();
    let heard = lists.flat_map(|list| list.to_str().unwrap_or("?").rsplit(','));
    for text in heard {
        if !is_trusted(address) {
            break;
        }
        // What cannot be read was not written by a proxy of ours.
        let Ok(next) = text.trim().parse::<IpAddr>() else { break };
        address = next.to_canonical();
    }
    address
}

/// The request's id: the given one, if it is short and plain, or a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let given = headers.get(REQUEST_ID).filter(|id| {
        (1..=REQUEST_ID_MAX).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
    });
    given.cloned().unwrap_or_else(|| {
        let id = chance::id().to_string();
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The id of the trace around the request (<https://www.w3.org/TR/trace-context/#traceparent-header>).
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let flags = parts.next()?;
    let is_hex = |text: &str, length: usize| {
        text.len() == length
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let is_whole = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    (is_whole && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = [Network::parse("10.0.0.0/8").unwrap()];
        let address = |peer: &str, lists: &[&str], trusted: &[Network]| {
            let headers = headers(FORWARDED_FOR, lists);
            caller_address(peer.parse().unwrap(), &headers, trusted).to_string()
        };
        assert_eq!(address("10.0.0.1", &["1.2.3.4"], &[]), "10.0.0.1");
        assert_eq!(address("10.0.0.1", &["1.2.3.4"], &proxies), "1.2.3.4");
        assert_eq!(address("9.9.9.9", &["1.2.3.4"], &proxies), "9.9.9.9");
        // What the caller wrote itself stands first and is passed over.
        assert_eq!(address("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], &proxies), "1.2.3.4");
        assert_eq!(address("10.0.0.1", &["6.6.6.6", "1.2.3.4"], &proxies), "1.2.3.4");
        assert_eq!(address("10.0.0.1", &["1.2.3.4, nonsense"], &proxies), "10.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1", &["2001:db8::1"], &proxies), "2001:db8::1");
        assert_eq!(address("10.0.0.1", &[], &proxies), "10.0.0.1");
    }

    #[test]
    fn a_trace_is_taken_over_when_it_is_one() {
        let of = |text: &str| trace_id(&headers(TRACEPARENT, &[text])).map(str::to_owned);
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let good = format!("00-{trace}-b7ad6b7169203331-01");
        assert_eq!(of(&good).as_deref(), Some(trace));
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &format!("{good}-x"),
            &format!("ff-{trace}-b7ad6b7169203331-01"),
            &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_request_id_is_plain_whatever_was_given(given in "[ -~]{0,200}") {
            let id = request_id(&headers(REQUEST_ID, &[&given]));
            let text = id.to_str().unwrap();
            prop_assert!((1..=128).contains(&text.len()));
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)));
        }

        #[test]
        fn any_header_gives_an_address(list in "[ -~]{0,80}") {
            let trusted = [Network::parse("0.0.0.0/0").unwrap()];
            caller_address([127, 0, 0, 1].into(), &headers(FORWARDED_FOR, &[&list]), &trusted);
            let _ = trace_id(&headers(TRACEPARENT, &[&list]));
        }
    }
}
