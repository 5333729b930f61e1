//! A client that writes every byte itself and reads to the end of the connection.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No test waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The status line and the headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The code of an error.
    pub(crate) fn code(&self) -> String {
        self.json().pointer("/error/code").and_then(Value::as_str).unwrap().to_owned()
    }
}

/// Sends a request without a body.
pub(crate) async fn call(addr: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Answer {
    exchange(addr, &request(method, path, headers, None)).await
}

/// `GET` without a token.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> Answer {
    call(addr, "GET", path, &[]).await
}

/// Sends a request with a body.
pub(crate) async fn send(addr: SocketAddr, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
    exchange(addr, &request(method, path, headers, Some(body.as_bytes()))).await
}

/// Posts to `/jobs` as JSON.
pub(crate) async fn post(addr: SocketAddr, body: impl AsRef<[u8]>) -> Answer {
    post_with(addr, &["Content-Type: application/json"], body).await
}

/// Posts to `/jobs` with these headers.
pub(crate) async fn post_with(addr: SocketAddr, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
    exchange(addr, &request("POST", "/jobs", headers, Some(body.as_ref()))).await
}

/// The bytes of a request; the connection closes after its answer.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: Option<&[u8]>) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if let Some(body) = body {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// Writes bytes, reads the answer.
pub(crate) async fn exchange(addr: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    // A server may refuse before it has read everything.
    let _sent = stream.write_all(bytes).await;
    read(&mut stream).await
}

/// Reads an answer up to the end of the connection.
pub(crate) async fn read(stream: &mut TcpStream) -> Answer {
    let bytes = read_to_end(stream).await;
    let text = String::from_utf8(bytes).unwrap();
    let parts = text.split_once("\r\n\r\n");
    assert!(parts.is_some(), "no answer: {text:?}");
    let (head, body) = parts.unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Reads up to the end of the connection.
pub(crate) async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server held the connection").ok();
    bytes
}
