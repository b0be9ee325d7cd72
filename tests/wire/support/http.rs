//! A GET and nothing else, so that the tests need no HTTP client.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Status and JSON body.
pub(crate) async fn get(address: SocketAddr, path: &str) -> std::io::Result<(u16, Value)> {
    let (status, body) = get_text(address, path).await?;
    Ok((status, serde_json::from_str(&body).map_err(|_| unreadable())?))
}

/// Status and body.
pub(crate) async fn get_text(address: SocketAddr, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(unreadable)?;
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(unreadable)?;
    Ok((status, body.to_owned()))
}

fn unreadable() -> std::io::Error {
    std::io::Error::other("unreadable answer")
}
