//! The ESP: SendGrid's `POST /v3/mail/send` on loopback, which accepts everything, and costs next to nothing.

mod http2;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;

use crate::job;
use crate::journal::Journal;

const HEADERS_MAX: usize = 32;
/// Larger than any request of ours; a client that never ends its head is cut off.
const REQUEST_MAX_BYTES: usize = 256 * 1024;
/// Connections that may wait to be accepted; the kernel has a bound of its own. Sixteen workers open thousands at once.
const WAITING_MAX: u32 = 16_384;
const JOB_ID: &[u8] = br#""job_id":""#;
/// With what a client begins that speaks HTTP/2 (RFC 9113 section 3.4), as far as it takes to tell.
const HTTP2_BEGINS: [u8; 4] = *b"PRI ";
const ACCEPTED: &[u8] = b"HTTP/1.1 202 Accepted\r\nx-message-id: stand-in\r\ncontent-length: 0\r\n\r\n";

/// One thread for all stand-ins, apart from what publishes and looks on.
#[derive(Debug)]
pub(crate) struct StandIns(Runtime);

/// One listening ESP; gone, with its connections, on drop.
#[derive(Debug)]
pub(crate) struct StandIn {
    addr: SocketAddr,
    task: AbortHandle,
}

impl StandIns {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("stand-in")
            .enable_all()
            .build()
            .context("cannot start the thread of the stand-in")?;
        Ok(Self(runtime))
    }

    /// An ESP that answers 202 `latency` after each request.
    pub(crate) fn listen(&self, journal: Arc<Journal>, latency: Duration) -> anyhow::Result<StandIn> {
        let listener = self.0.block_on(async { open() }).context("no free port")?;
        let addr = listener.local_addr().context("a bound socket has an address")?;
        let accept = async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(serve(stream, Arc::clone(&journal), latency));
                }
                while connections.try_join_next().is_some() {}
            }
        };
        Ok(StandIn { addr, task: self.0.spawn(accept).abort_handle() })
    }
}

impl StandIn {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn open() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(WAITING_MAX)
}

/// One connection, in the HTTP that the client has chosen.
async fn serve(stream: TcpStream, journal: Arc<Journal>, latency: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut first = [0; HTTP2_BEGINS.len()];
    // A client's first segment is longer than this.
    stream.peek(&mut first).await?;
    if first == HTTP2_BEGINS {
        http2::serve(stream, journal, latency).await.map_err(io::Error::other)
    } else {
        serve_http1(stream, &journal, latency).await
    }
}

/// Request after request.
async fn serve_http1(mut stream: TcpStream, journal: &Journal, latency: Duration) -> io::Result<()> {
    let mut buffer: Vec<u8> = Vec::with_capacity(16 * 1024);
    loop {
        let length = match request_length(&buffer)? {
            Some(length) if length <= buffer.len() => length,
            Some(_) | None if buffer.len() > REQUEST_MAX_BYTES => {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Some(_) | None => {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
                continue;
            }
        };
        journal.record(buffer.get(..length).and_then(job_number));
        buffer.drain(..length);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        stream.write_all(ACCEPTED).await?;
    }
}

/// Bytes of the first request with its body; `None` while its head is not whole.
fn request_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let httparse::Status::Complete(head) = request.parse(bytes).map_err(|_| invalid("not HTTP/1.1"))? else {
        return Ok(None);
    };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    length.map(|length| Some(head.saturating_add(length))).ok_or_else(|| invalid("no content-length"))
}

/// The job that a request names, as `custom_args.job_id` does; it stands near the end.
fn job_number(request: &[u8]) -> Option<usize> {
    let start = memmem::rfind(request, JOB_ID)? + JOB_ID.len();
    let rest = request.get(start..)?;
    job::number(rest.get(..memchr::memchr(b'"', rest)?)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn request(body: &str) -> String {
        format!("POST /v3/mail/send HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_request_is_whole_when_its_body_is() {
        let whole = request(r#"{"custom_args":{"job_id":"x"}}"#);
        assert_eq!(request_length(whole.as_bytes()).unwrap(), Some(whole.len()));
        assert_eq!(request_length(&whole.as_bytes()[..20]).unwrap(), None);
        assert!(request_length(b"POST / HTTP/1.1\r\nhost: x\r\n\r\n").is_err());
        assert!(request_length(b"\x00\x01\x02\r\n\r\n").is_err());
    }

    #[test]
    fn requests_on_one_connection_are_answered_and_noted() {
        let stand_ins = StandIns::start().unwrap();
        let journal = Arc::new(Journal::new(3));
        let esp = stand_ins.listen(Arc::clone(&journal), Duration::ZERO).unwrap();
        let mut stream = std::net::TcpStream::connect(esp.addr()).unwrap();
        for number in [2, 0] {
            let body = format!(r#"{{"custom_args":{{"job_id":"{}","tenant":"acme"}}}}"#, job::id(number));
            stream.write_all(request(&body).as_bytes()).unwrap();
            let mut answer = vec![0; ACCEPTED.len()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, ACCEPTED);
        }
        assert_eq!(journal.accepted(), 2);
        assert_eq!(journal.faults(0..1), Vec::<String>::new());
    }
}
