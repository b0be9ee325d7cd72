//! Just enough of an HTTP client for the control API and the health endpoint.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Longest wait for anything.
const TIMEOUT: Duration = Duration::from_secs(60);

/// `GET`, whatever the status.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<Value> {
    exchange(address, "GET", path, "").map(|(_, body)| body)
}

/// `POST`, which must succeed.
pub(crate) fn post(address: SocketAddr, path: &str, body: &Value) -> Result<Value> {
    let (status, answer) = exchange(address, "POST", path, &body.to_string())?;
    ensure!((200..300).contains(&status), "{path} was answered {status}: {answer}");
    Ok(answer)
}

/// `DELETE`, whatever the status.
pub(crate) fn delete(address: SocketAddr, path: &str) -> Result<Value> {
    exchange(address, "DELETE", path, "").map(|(_, body)| body)
}

fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, Value)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body)? };
    Ok((status, body))
}
