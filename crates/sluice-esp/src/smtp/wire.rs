//! The byte stream below the SMTP dialogue: TCP, or TLS over TCP from the first byte.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Most bytes a server may send between two writes of ours; a reply is far shorter, a TLS handshake too.
const UNANSWERED_MAX_BYTES: usize = 256 * 1024;

/// A stream that lettre can drive.
///
/// Until STARTTLS has answered it hands out one byte at a time. So nothing that an attacker puts behind the plain
/// reply is buffered and later taken for an encrypted one (CVE-2021-38371 and kin): it lands in the handshake, which fails.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    bytewise: bool,
    unanswered: usize,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Wire {
    /// Plain TCP; STARTTLS may follow.
    pub(super) fn tcp(stream: TcpStream) -> Self {
        Self { stream: Stream::Tcp(stream), bytewise: true, unanswered: 0 }
    }

    /// TLS from the first byte.
    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), bytewise: false, unanswered: 0 }
    }

    fn inner_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr(),
            Stream::Tls(stream) => stream.get_ref().0.peer_addr(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unanswered > UNANSWERED_MAX_BYTES {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the reply is too long")));
        }
        let before = buf.filled().len();
        if self.bytewise && buf.remaining() > 1 {
            let mut byte = [0_u8; 1];
            let mut one = ReadBuf::new(&mut byte);
            ready!(self.inner_read(cx, &mut one))?;
            buf.put_slice(one.filled());
        } else {
            ready!(self.inner_read(cx, buf))?;
        }
        let read = buf.filled().len().saturating_sub(before);
        if read == 0 && buf.remaining() > 0 {
            // No reply ends with the stream; said as an error, lettre does not take it for a malformed reply.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.unanswered = self.unanswered.saturating_add(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.unanswered = 0;
        self.bytewise &= buf.starts_with(b"EHLO ") || buf.starts_with(b"STARTTLS");
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_follows_the_starttls_reply_is_left_to_the_handshake() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"220 go on\r\n250 injected\r\n").await.unwrap();
        let mut wire = Wire::tcp(stream);
        let mut buffer = [0_u8; 64];
        for command in ["EHLO worker.example\r\n", "STARTTLS\r\n"] {
            wire.write_all(command.as_bytes()).await.unwrap();
            assert_eq!(wire.read(&mut buffer).await.unwrap(), 1);
        }
        // A handshake, or any other command, ends it.
        wire.write_all(b"\x16\x03\x01").await.unwrap();
        assert!(wire.read(&mut buffer).await.unwrap() > 1);
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(listener.accept().await.unwrap());
        let error = Wire::tcp(stream).read(&mut [0_u8; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
