//! `telewarden health`: asks a running daemon over plain HTTP. For container health checks,
//! where no other client is at hand; so it must stay free of the runtime and of dependencies.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;

use super::{HealthArgs, note, say};
use crate::clock::instant;
use crate::config::ConfigError;

/// How long one step (connect, send, each read) may take. The daemon answers in 0.1 s.
const STEP_MAX: Duration = Duration::from_secs(2);
/// How long the whole answer may take, also when it comes byte by byte.
const ANSWER_MAX: Duration = Duration::from_secs(4);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("understand the address {0}; expected one such as http://127.0.0.1:8080/health/live")]
    Address(String),
    #[error("reach {0}: {1}; is the daemon running, and does http.listen say the same there?")]
    Unreachable(String, io::Error),
    #[error("find an HTTP answer at {0}")]
    NotHttp(String),
}

/// Asks; 0 when the answer is 200, 1 otherwise.
pub fn health(args: &HealthArgs) -> ExitCode {
    match ask(args) {
        Ok(200) => {
            say("alive");
            ExitCode::SUCCESS
        }
        Ok(status) => {
            note(format_args!(
                "telewarden: the daemon is not well: it answers with status {status}; /health says why"
            ));
            ExitCode::FAILURE
        }
        Err(error) => {
            note(format_args!("telewarden: failed to {error}"));
            ExitCode::FAILURE
        }
    }
}

fn ask(args: &HealthArgs) -> Result<u16, HealthError> {
    let (host, path) = match &args.url {
        Some(url) => split(url).ok_or_else(|| HealthError::Address(url.clone()))?,
        None => (reachable(args.config.load()?.http.listen).to_string(), "/health/live".to_owned()),
    };
    let unreachable = |error| HealthError::Unreachable(host.clone(), error);
    let answer = fetch(&host, &path).map_err(unreachable)?;
    status(&answer).ok_or(HealthError::NotHttp(host))
}

/// `http://host[:port]/path` → host with port, path.
fn split(url: &str) -> Option<(String, String)> {
    let rest = url.strip_prefix("http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_clean = url.chars().all(|c| c.is_ascii_graphic());
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let host = if has_port { host.to_owned() } else { format!("{host}:80") };
    (is_clean && !rest.is_empty()).then(|| (host, format!("/{path}")))
}

/// An address to connect to for one to listen on: "everywhere" is reached over loopback.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn fetch(host: &str, path: &str) -> io::Result<Vec<u8>> {
    let address = host.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, STEP_MAX)?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    read_whole(stream, instant() + ANSWER_MAX)
}

fn read_whole(mut stream: TcpStream, end: Instant) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while answer.len() < ANSWER_BYTES_MAX {
        let left = end.saturating_duration_since(instant());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left.min(STEP_MAX)))?;
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// The status of an HTTP/1.1 answer: the three digits after its version.
fn status(answer: &[u8]) -> Option<u16> {
    let rest = answer.strip_prefix(b"HTTP/1.1 ")?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::cli::ConfigArgs;

    /// A server that reads one request and gives `answer`.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /health/live HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    fn asked(address: SocketAddr) -> Result<u16, String> {
        let url = Some(format!("http://{address}/health/live"));
        ask(&HealthArgs { url, config: ConfigArgs::default() }).map_err(|error| error.to_string())
    }

    #[test]
    fn the_status_decides() {
        assert_eq!(asked(server("HTTP/1.1 200 OK\r\n\r\n{}")), Ok(200));
        assert_eq!(asked(server("HTTP/1.1 503 Service Unavailable\r\n\r\n")), Ok(503));
        assert!(asked(server("SSH-2.0-OpenSSH\r\n")).unwrap_err().starts_with("find an HTTP"));
    }

    #[test]
    fn an_answer_that_never_ends_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let trickle = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Until the other end hangs up.
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        let begun = Instant::now();
        let stream = TcpStream::connect(address).unwrap();
        let error = read_whole(stream, begun + Duration::from_millis(500)).unwrap_err();
        let kinds = [io::ErrorKind::TimedOut, io::ErrorKind::WouldBlock];
        assert!(kinds.contains(&error.kind()), "{error}");
        assert!(begun.elapsed() >= Duration::from_millis(400));
        trickle.join().unwrap();
    }

    #[test]
    fn where_the_configuration_listens_is_asked_by_default() {
        let listen = Some(server("HTTP/1.1 200 OK\r\n\r\n").to_string());
        let config = ConfigArgs { listen, ..ConfigArgs::default() };
        assert_eq!(ask(&HealthArgs { url: None, config }).unwrap(), 200);
    }

    #[test]
    fn nobody_there_is_said() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(asked(closed).unwrap_err().starts_with("reach 127.0.0.1:"));
    }

    #[test]
    fn addresses_are_understood() {
        let of = |url| split(url);
        let expected = Some(("127.0.0.1:8080".to_owned(), "/health/live".to_owned()));
        assert_eq!(of("http://127.0.0.1:8080/health/live"), expected);
        assert_eq!(of("http://[::1]"), Some(("[::1]:80".to_owned(), "/".to_owned())));
        assert_eq!(of("https://127.0.0.1/"), None);
        assert_eq!(of("http://x/\r\nEvil: 1"), None);
        assert_eq!(reachable("0.0.0.0:8080".parse().unwrap()).to_string(), "127.0.0.1:8080");
    }
}
