//! A small HTTP server that can also misbehave: below every stand-in of an ESP with an HTTP interface.

mod http2;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::HttpRequest;
use crate::background;

/// What a stand-in does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpAnswer {
    /// Answers, after a while if wanted.
    Reply {
        /// 202
        status: u16,
        /// Besides `Content-Length`.
        headers: Vec<(String, String)>,
        /// May be empty.
        body: Vec<u8>,
        /// How long the client waits for it.
        after: Duration,
    },
    /// Writes these bytes, whatever they are, a few at a time with `pause` in between, and closes the connection. Over
    /// HTTP/2, where they would mean nothing, it only closes it.
    Raw {
        /// All that the client gets.
        bytes: Vec<u8>,
        /// How many go at once.
        step: usize,
        /// The wait between two steps.
        pause: Duration,
    },
    /// Closes the connection without a byte, with all that it carries.
    Cut,
    /// Says nothing until the client gives up.
    Hang,
}

type Handler = dyn Fn(HttpRequest) -> HttpAnswer + Send + Sync;

/// With what a client begins that speaks HTTP/2 (RFC 9113 section 3.4), as far as it takes to tell.
const HTTP2_BEGINS: [u8; 4] = *b"PRI ";

/// A server on a free loopback port, of HTTP/1.1 with keep-alive and of HTTP/2, as each client begins. Gone, with its
/// connections, on drop.
pub struct HttpPeer {
    addr: SocketAddr,
    cut_at_head: Arc<AtomicBool>,
    _stop: DropGuard,
}

impl HttpPeer {
    /// Starts a server that asks `handler` about each request.
    ///
    /// # Panics
    /// If no socket can be had.
    pub fn start(handler: impl Fn(HttpRequest) -> HttpAnswer + Send + Sync + 'static) -> Self {
        let listener =
            background::wait_for(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a port is free");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let cut_at_head = Arc::new(AtomicBool::new(false));
        let stop = CancellationToken::new();
        let service = Service { handler: Arc::new(handler), cut_at_head: Arc::clone(&cut_at_head) };
        background::spawn(stop.clone().run_until_cancelled_owned(serve(listener, service, stop.clone())));
        Self { addr, cut_at_head, _stop: stop.drop_guard() }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// While true, every connection is closed as soon as a request's head is there: the body is never read and the
    /// handler not asked.
    pub fn cut_at_head(&self, on: bool) {
        self.cut_at_head.store(on, Ordering::SeqCst);
    }
}

impl fmt::Debug for HttpPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPeer").field("addr", &self.addr).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Service {
    handler: Arc<Handler>,
    cut_at_head: Arc<AtomicBool>,
}

async fn serve(listener: TcpListener, service: Service, stop: CancellationToken) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            background::spawn(stop.clone().run_until_cancelled_owned(async move {
                // A client that breaks off is what many tests are about.
                connection(stream, service).await.ok();
            }));
        }
    }
}

async fn connection(stream: TcpStream, service: Service) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; HTTP2_BEGINS.len()];
    stream.peek(&mut first).await?;
    if first == HTTP2_BEGINS {
        http2::serve(stream, service).await.map_err(io::Error::other)
    } else {
        serve_http1(stream, service).await
    }
}

async fn serve_http1(mut stream: TcpStream, service: Service) -> io::Result<()> {
    let (reads, mut writes) = stream.split();
    let mut reads = BufReader::new(reads);
    while let Some(mut request) = HttpRequest::read_head(&mut reads).await? {
        if service.cut_at_head.load(Ordering::SeqCst) {
            return Ok(());
        }
        if request.expects_continue() {
            writes.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        request.read_body(&mut reads).await?;
        let keeps_alive = request.keeps_alive();
        match (service.handler)(request) {
            HttpAnswer::Reply { status, headers, body, after } => {
                tokio::time::sleep(after).await;
                writes.write_all(&reply(status, &headers, &body, keeps_alive)).await?;
            }
            HttpAnswer::Raw { bytes, step, pause } => {
                for part in bytes.chunks(step.max(1)) {
                    writes.write_all(part).await?;
                    tokio::time::sleep(pause).await;
                }
                return Ok(());
            }
            HttpAnswer::Cut => return Ok(()),
            HttpAnswer::Hang => {
                reads.read_u8().await?;
                return Ok(());
            }
        }
        if !keeps_alive {
            return Ok(());
        }
    }
    Ok(())
}

fn reply(status: u16, headers: &[(String, String)], body: &[u8], keeps_alive: bool) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} {}\r\nContent-Length: {}\r\n", reason(status), body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(if keeps_alive { "\r\n" } else { "Connection: close\r\n\r\n" });
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Clients do not read it; people with a packet dump do.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Payload Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Scripted",
    }
}
