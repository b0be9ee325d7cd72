//! The broker's address, read as the clients of the replaced service read it. Must never show the
//! password.

use lapin::uri::AMQPUri;

use super::link::LinkError;

/// Both ends notice within two of these that the other is gone.
const HEARTBEAT_SECONDS: u16 = 10;
/// The largest frame that is agreed upon, which is RabbitMQ's own default. The buffers have room
/// for 32 of them, and headers may come in larger ones, so neither an address nor a broker without
/// a limit may change it. A broker with a smaller limit gets its own.
pub(super) const FRAME_MAX: u32 = 131_072;
/// A virtual host's name is an AMQP short string.
const VHOST_MAX: usize = 255;

/// Reads an address.
pub(super) fn parse(url: &str) -> Result<AMQPUri, LinkError> {
    // The parser's own words may quote the URL.
    let mut uri: AMQPUri = url.parse().map_err(|_| LinkError::BadUrl)?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    uri.query.frame_max = Some(FRAME_MAX);
    // RabbitMQ's own rules (<https://www.rabbitmq.com/docs/uri-spec>) make this a host without a
    // name, which does not exist; to aio-pika it is `/`, as if the path were not there.
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    if uri.vhost.len() > VHOST_MAX {
        return Err(LinkError::BadUrl);
    }
    // The parser takes an address of IPv6 for none, and goes to localhost.
    if let Some(host) = bracketed_host(url) {
        uri.authority.host = host.to_owned();
    }
    Ok(uri)
}

/// The host if it is written in brackets, as those of IPv6 are (RFC 3986, section 3.2.2).
fn bracketed_host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(host, _)| host)
}

/// The text without the password, should somebody's error quote it.
pub(super) fn without(text: &str, password: &str) -> String {
    if password.is_empty() { text.to_owned() } else { text.replace(password, "[redacted]") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_read_is_not_quoted() {
        let long = format!("amqp://u:pass-word@host/{}", "v".repeat(256));
        for url in ["amqp://u:pass-word@host:port/", "http://u:pass-word@host", "pass-word", &long]
        {
            let text = parse(url).unwrap_err().to_string();
            assert!(!text.contains("pass-word"), "{text}");
        }
    }

    #[test]
    fn a_heartbeat_is_set_unless_the_url_names_one() {
        assert_eq!(parse("amqp://h/%2f").unwrap().query.heartbeat, Some(10));
        assert_eq!(parse("amqp://h/%2f?heartbeat=3").unwrap().query.heartbeat, Some(3));
    }

    #[test]
    fn a_virtual_host_is_read_as_aio_pika_reads_it() {
        for (url, vhost) in [
            ("amqp://h", "/"),
            ("amqp://h/", "/"),
            ("amqp://h//", "/"),
            ("amqp://h/%2F", "/"),
            ("amqp://h/?heartbeat=5", "/"),
            ("amqp://h?heartbeat=5", "/"),
            ("amqps://h:1/", "/"),
            ("amqp://h/fleet", "fleet"),
            ("amqp://h/a%2Fb", "a/b"),
            ("amqp://h/fleet/", "fleet/"),
            ("amqp://h/%20", " "),
        ] {
            assert_eq!(parse(url).unwrap().vhost, vhost, "{url}");
        }
    }

    #[test]
    fn the_host_may_be_a_name_or_an_address_of_either_kind() {
        for (url, host, port) in [
            ("amqp://u:p@broker.example:1/", "broker.example", 1),
            ("amqp://127.0.0.1", "127.0.0.1", 5672),
            ("amqp://u:p@[::1]:7/%2f", "::1", 7),
            ("amqps://[2001:db8::5]", "2001:db8::5", 5671),
        ] {
            let authority = parse(url).unwrap().authority;
            assert_eq!((authority.host.as_str(), authority.port), (host, port), "{url}");
        }
    }

    #[test]
    fn nobody_makes_frames_so_small_that_headers_do_not_fit_or_so_large_that_memory_does_not() {
        for url in ["amqp://h", "amqp://h?frame_max=4096", "amqp://h?frame_max=4294967295"] {
            assert_eq!(parse(url).unwrap().query.frame_max, Some(FRAME_MAX));
        }
    }

    #[test]
    fn a_password_in_somebodys_error_is_struck_out() {
        assert_eq!(without("cannot use pass-word here", "pass-word"), "cannot use [redacted] here");
    }
}
