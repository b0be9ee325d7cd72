//! `telewarden keys status` and `keys rotate`: ask the running daemon over HTTP, with an admin token of a
//! minute made with the daemon's own secret. Must never touch the store, which the daemon holds, nor
//! let the token leave the machine.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{KeysArgs, TokenArgs, fail, health, say, say_json, token};
use crate::config::ConfigError;

/// Who the audit log says it was.
const USER: &str = "command-line";
/// How long the token is valid: longer than one request.
const TOKEN_LIFE: &str = "1m";
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Longest wait for an answer. The daemon itself gives up after 28 s.
const ANSWER_MAX: Duration = Duration::from_secs(40);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeysRequest {
    Status,
    Rotate,
}

impl KeysRequest {
    fn request(self) -> (Method, &'static str) {
        match self {
            Self::Status => (Method::GET, "/api/v1/keys"),
            Self::Rotate => (Method::POST, "/api/v1/keys/rotate"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Token(#[from] token::TokenCommandError),
    #[error(
        "reach the daemon at {0}: nobody listens there; start it with telewarden run, or say with \
         --listen where it listens"
    )]
    NotRunning(SocketAddr),
    #[error(
        "ask the daemon at {0}: that is no loopback address, and the token of an admin would cross a \
         network unencrypted, to whoever answers there; run it on the daemon's machine with --listen \
         127.0.0.1:{port} if the daemon listens there, too, or ask its proxy over https:// with curl and \
         a token of telewarden token --role admin --ttl 1m", port = .0.port()
    )]
    Remote(SocketAddr),
    #[error("ask the daemon at {0}: {1}")]
    Broken(SocketAddr, String),
    #[error("understand what answers at {0}: it is not telewarden, or another version of it")]
    Foreign(SocketAddr),
    #[error("{request}: {detail} ({code})")]
    Refused { request: &'static str, code: String, detail: String },
    #[error("start the runtime: {0}")]
    Runtime(std::io::Error),
}

/// How the keys fare, as the daemon says it.
#[derive(Debug, Deserialize)]
struct Status {
    provider: String,
    generation: String,
    created_at: Option<String>,
    pending: u64,
}

/// Tells how the keys fare; 1 when the daemon does not say.
pub fn keys_status(args: &KeysArgs) -> ExitCode {
    run(args, KeysRequest::Status)
}

/// Has the daemon renew its keys; 1 when it did not.
pub fn keys_rotate(args: &KeysArgs) -> ExitCode {
    run(args, KeysRequest::Rotate)
}

fn run(args: &KeysArgs, wanted: KeysRequest) -> ExitCode {
    let (listen, answer) = match ask(args, wanted) {
        Ok(answered) => answered,
        Err(error) => return fail(&format!("failed to {error}")),
    };
    if args.json {
        say_json(&answer);
        return ExitCode::SUCCESS;
    }
    match serde_json::from_value(answer) {
        Ok(status) => as_text(&status, wanted).into_iter().for_each(say),
        Err(_) => return fail(&format!("failed to {}", KeysError::Foreign(listen))),
    }
    ExitCode::SUCCESS
}

fn as_text(status: &Status, wanted: KeysRequest) -> Vec<String> {
    let Status { provider, generation, created_at, pending } = status;
    let since = created_at.as_ref().map_or(String::new(), |at| format!(", since {at}"));
    let mut lines = vec![
        format!("root        {provider}"),
        format!("generation  {generation}{since}"),
        format!("pending     {pending} records under older generations"),
    ];
    if wanted == KeysRequest::Rotate {
        lines.push("the keys were renewed".to_owned());
    }
    lines
}

fn ask(args: &KeysArgs, wanted: KeysRequest) -> Result<(SocketAddr, Value), KeysError> {
    let config = args.config.clone();
    let listen = health::reachable(config.load()?.http.listen);
    if !listen.ip().to_canonical().is_loopback() {
        return Err(KeysError::Remote(listen));
    }
    let (user, role, ttl) = (USER.to_owned(), "admin".to_owned(), TOKEN_LIFE.to_owned());
    let token = token::make(&TokenArgs { user, role, ttl, config })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(KeysError::Runtime)?;
    runtime.block_on(exchange(listen, wanted, &token)).map(|answer| (listen, answer))
}

async fn exchange(
    listen: SocketAddr,
    wanted: KeysRequest,
    token: &str,
) -> Result<Value, KeysError> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // It speaks plain HTTP on loopback. Without this a system without authorities would refuse.
        .tls_certs_only([])
        .connect_timeout(CONNECT_MAX)
        .timeout(ANSWER_MAX)
        .build()
        .map_err(|error| broken(listen, &error))?;
    let (method, path) = wanted.request();
    let request = client.request(method, format!("http://{listen}{path}")).bearer_auth(token);
    let response = request.send().await.map_err(|error| broken(listen, &error))?;
    let is_fine = response.status().is_success();
    let answer: Value = response.json().await.map_err(|_| KeysError::Foreign(listen))?;
    if is_fine {
        return Ok(answer);
    }
    let text = |name: &str| answer[name].as_str().map(str::to_owned);
    let (Some(code), Some(detail)) = (text("code"), text("detail")) else {
        return Err(KeysError::Foreign(listen));
    };
    let detail = match code.as_str() {
        "UNAUTHORIZED" => {
            format!("{detail}; does the daemon run with this configuration and this store?")
        }
        _ => detail,
    };
    let request = match wanted {
        KeysRequest::Status => "learn how the keys fare",
        KeysRequest::Rotate => "have the keys renewed",
    };
    Err(KeysError::Refused { request, code, detail })
}

fn broken(listen: SocketAddr, error: &reqwest::Error) -> KeysError {
    if error.is_connect() {
        return KeysError::NotRunning(listen);
    }
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        said = format!("{said}: {deeper}");
        cause = deeper.source();
    }
    KeysError::Broken(listen, said)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::cli::ConfigArgs;
    use crate::clock::Clock;
    use crate::edge::http::{TokenSecret, Tokens};
    use crate::protocol::users::owner::Role;

    fn args(state: &std::path::Path, listen: SocketAddr) -> KeysArgs {
        let (state, listen) = (Some(state.display().to_string()), Some(listen.to_string()));
        KeysArgs { json: false, config: ConfigArgs { state, listen, ..ConfigArgs::default() } }
    }

    /// Somebody who listens, answers once, and tells what was asked.
    fn answering(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let count = stream.read(&mut part).unwrap();
                assert!(count > 0, "the request broke off");
                request.extend(&part[..count]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, asked)
    }

    const FARES: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
        {\"provider\":\"the key file\",\"generation\":\"4 (ab12)\",\"created_at\":\
        \"2026-11-21T03:04:05.000Z\",\"pending\":0}";

    #[test]
    fn the_daemon_is_asked_as_an_admin_with_a_token_that_ends_soon() {
        let state = tempfile::tempdir().unwrap();
        let secret = TokenSecret::find_or_make(None, state.path()).unwrap();
        let (address, asked) = answering(FARES);
        let (_, answer) = ask(&args(state.path(), address), KeysRequest::Rotate).unwrap();
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("POST /api/v1/keys/rotate HTTP/1.1\r\n"), "{asked}");
        let token = asked.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
        let grant = Tokens::new(&secret, Clock::system()).check(token.unwrap().trim()).unwrap();
        assert_eq!((grant.user.as_str(), grant.role), (USER, Role::Admin));
        assert!(grant.left(Clock::system().now()) <= Duration::from_secs(60));
        let lines = as_text(&serde_json::from_value(answer).unwrap(), KeysRequest::Rotate);
        assert_eq!(lines[1], "generation  4 (ab12), since 2026-11-21T03:04:05.000Z");
        assert_eq!(lines[3], "the keys were renewed");
    }

    #[test]
    fn the_token_of_an_admin_does_not_leave_the_machine() {
        let state = tempfile::tempdir().unwrap();
        TokenSecret::find_or_make(None, state.path()).unwrap();
        // Addresses for documentation (RFC 5737, RFC 3849): nobody answers there.
        for remote in ["192.0.2.1:8080", "[2001:db8::1]:8080", "[::ffff:192.0.2.1]:8080"] {
            let error = ask(&args(state.path(), remote.parse().unwrap()), KeysRequest::Status);
            let error = error.unwrap_err();
            assert!(matches!(error, KeysError::Remote(_)), "{error}");
            let text = error.to_string();
            assert!(text.contains("unencrypted") && text.contains("127.0.0.1:8080"), "{text}");
        }
        // What listens everywhere is asked here.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let everywhere = SocketAddr::from(([0, 0, 0, 0], free));
        let error = ask(&args(state.path(), everywhere), KeysRequest::Status).unwrap_err();
        assert!(matches!(error, KeysError::NotRunning(_)), "{error}");
    }

    #[test]
    fn a_daemon_that_does_not_run_or_refuses_is_told_in_plain_words() {
        let state = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let refused = ask(&args(state.path(), free), KeysRequest::Status).unwrap_err().to_string();
        assert!(refused.contains("jwt-secret") && refused.contains("start it once"), "{refused}");
        TokenSecret::find_or_make(None, state.path()).unwrap();
        let refused = ask(&args(state.path(), free), KeysRequest::Status).unwrap_err().to_string();
        assert!(refused.contains("nobody listens there"), "{refused}");

        let (address, _asked) = answering(
            "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/problem+json\r\nconnection: \
             close\r\n\r\n{\"code\":\"UNAUTHORIZED\",\"detail\":\"the signature is wrong\"}",
        );
        let refused =
            ask(&args(state.path(), address), KeysRequest::Status).unwrap_err().to_string();
        assert!(refused.contains("the signature is wrong; does the daemon run"), "{refused}");

        let (address, _asked) =
            answering("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n<html>something else</html>");
        let refused =
            ask(&args(state.path(), address), KeysRequest::Status).unwrap_err().to_string();
        assert!(refused.contains("it is not telewarden"), "{refused}");
    }
}
