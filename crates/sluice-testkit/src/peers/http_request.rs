//! One request as a stand-in reads it.

use std::io;
use std::time::Instant;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// More than any real head, so a client that never ends it does not fill the memory.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// More than SendGrid's 30 MB with attachments.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// A whole request.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// `1.1` or `2`: what it came over.
    pub version: &'static str,
    /// `POST`
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// Decoded if it came in chunks.
    pub body: Vec<u8>,
    /// When the last byte of it was there.
    pub received: Instant,
}

impl HttpRequest {
    /// The first header called `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Reads the head; `None` if the client closed between two requests.
    pub(crate) async fn read_head<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<Self>> {
        let Some(request_line) = line(reader).await? else { return Ok(None) };
        let mut parts = request_line.split(' ');
        let (Some(method), Some(path), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(invalid("request line"));
        };
        let mut request = Self {
            version: "1.1",
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            received: Instant::now(),
        };
        loop {
            let header = line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if header.is_empty() {
                return Ok(Some(request));
            }
            let (name, value) = header.split_once(':').ok_or_else(|| invalid("header"))?;
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    /// Reads the body, by its length or in chunks.
    pub(crate) async fn read_body<R: AsyncBufRead + Unpin>(&mut self, reader: &mut R) -> io::Result<()> {
        if self.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            while read_chunk(reader, &mut self.body).await? {}
        } else if let Some(length) = self.header("content-length") {
            let length = length.parse().map_err(|_| invalid("content-length"))?;
            append(reader, &mut self.body, length).await?;
        }
        self.received = Instant::now();
        Ok(())
    }

    /// Whether the client will send another request on this connection.
    pub(crate) fn keeps_alive(&self) -> bool {
        !self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// Whether the client waits for a word before it sends the body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    }
}

/// One line without its end; `None` at the end of the stream.
async fn line<R: AsyncBufRead + Unpin>(reader: &mut R) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let limit = u64::try_from(MAX_HEAD_BYTES).map_err(|_| invalid("limit"))?;
    let read = (&mut *reader).take(limit).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| invalid("line"))
}

/// Reads one chunk; false if it was the last one, trailers included.
async fn read_chunk<R: AsyncBufRead + Unpin>(reader: &mut R, body: &mut Vec<u8>) -> io::Result<bool> {
    let size = line(reader).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let digits = size.split(';').next().unwrap_or_default().trim();
    let size = usize::from_str_radix(digits, 16).map_err(|_| invalid("chunk size"))?;
    append(reader, body, size).await?;
    while let Some(rest) = line(reader).await? {
        // After a chunk one empty line; after the last one trailers, if any, and an empty line.
        if rest.is_empty() {
            break;
        }
    }
    Ok(size != 0)
}

async fn append<R: AsyncBufRead + Unpin>(
    reader: &mut R,
    body: &mut Vec<u8>,
    length: usize,
) -> io::Result<()> {
    if body.len().saturating_add(length) > MAX_BODY_BYTES {
        return Err(invalid("body length"));
    }
    let limit = u64::try_from(length).map_err(|_| invalid("body length"))?;
    let read = (&mut *reader).take(limit).read_to_end(body).await?;
    if read == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1.1: {what}"))
}
