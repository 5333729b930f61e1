//! An HTTP/1.1 client for one connection that stays open: a request, its answer, the next.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// With what a body begins; the job follows as it came.
pub(super) const FIRST_FIELD: &str = r#"{"job":"#;

/// A connection to the ESP.
#[derive(Debug)]
pub(super) struct Caller {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Caller {
    pub(super) async fn connect(esp: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(esp).await.context("cannot reach the ESP")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::with_capacity(4096), answer: Vec::with_capacity(1024) })
    }

    /// Sends a job, its body as it came, and waits for the 202.
    pub(super) async fn post(&mut self, id: &str, body: &[u8]) -> anyhow::Result<()> {
        let args = last_field(id);
        let length = FIRST_FIELD.len() + body.len() + args.len();
        self.request.clear();
        self.request.extend_from_slice(
            b"POST /v3/mail/send HTTP/1.1\r\nhost: esp\r\nauthorization: Bearer bench\r\ncontent-type: application/json\r\n",
        );
        self.request.extend_from_slice(format!("content-length: {length}\r\n\r\n{FIRST_FIELD}").as_bytes());
        self.request.extend_from_slice(body);
        self.request.extend_from_slice(args.as_bytes());
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 || self.answer.len() > ANSWER_MAX_BYTES {
                bail!("the ESP broke off");
            }
            match status(&self.answer)? {
                Some(202) => return Ok(()),
                Some(status) => bail!("the ESP answered {status}"),
                None => {}
            }
        }
    }
}

/// What ends it, so that the ESP finds the job's id.
pub(super) fn last_field(id: &str) -> String {
    format!(r#","custom_args":{{"job_id":"{id}"}}}}"#)
}

/// The status of an answer without a body, once it is whole.
fn status(answer: &[u8]) -> anyhow::Result<Option<u16>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut response = httparse::Response::new(&mut headers);
    Ok(if response.parse(answer).context("not HTTP/1.1")?.is_complete() { response.code } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_when_it_is_whole() {
        assert_eq!(status(b"HTTP/1.1 202 Accepted\r\ncontent-le").unwrap(), None);
        assert_eq!(status(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").unwrap(), Some(202));
        assert!(status(b"\x01\r\n\r\n").is_err());
    }
}
