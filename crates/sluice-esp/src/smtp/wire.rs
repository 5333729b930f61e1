//! The byte stream below the SMTP dialogue: TCP, or TLS over TCP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;

/// Most bytes a server may send between two writes of ours; a reply is far shorter, a TLS handshake too.
const UNANSWERED_MAX_BYTES: usize = 256 * 1024;

/// What stands for the greeting after STARTTLS, where a server says none and lettre waits for one.
const GREETING_AFTER_STARTTLS: &[u8] = b"220 encrypted\r\n";

/// A stream that lettre can drive. It carries the dialogue alone, never the records of a TLS above it: STARTTLS ends one wire,
/// and another begins.
///
/// Until STARTTLS has answered it hands out one byte at a time. So nothing that an attacker puts behind the plain
/// reply is buffered and later taken for an encrypted one (CVE-2021-38371 and kin): it lands in the handshake, which fails.
///
/// A byte that is not ASCII is read as `?`. The words of a reply may be in any encoding, and lettre takes no reply, and so
/// no code either, that is not UTF-8.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    bytewise: bool,
    unanswered: usize,
    /// What is read before anything of the stream.
    first: &'static [u8],
    /// Who gets the TCP stream when this is dropped.
    heir: Option<oneshot::Sender<TcpStream>>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Gone,
}

impl Wire {
    /// Plain TCP; STARTTLS may follow. The stream is there again once this has been dropped.
    pub(super) fn tcp(stream: TcpStream) -> (Self, oneshot::Receiver<TcpStream>) {
        let (heir, left) = oneshot::channel();
        let mut wire = Self::over(Stream::Tcp(stream));
        (wire.bytewise, wire.heir) = (true, Some(heir));
        (wire, left)
    }

    /// TLS from the first byte.
    pub(super) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::over(Stream::Tls(Box::new(stream)))
    }

    /// TLS since STARTTLS.
    pub(super) fn starttls(stream: TlsStream<TcpStream>) -> Self {
        let mut wire = Self::tls(stream);
        wire.first = GREETING_AFTER_STARTTLS;
        wire
    }

    fn over(stream: Stream) -> Self {
        Self { stream, bytewise: false, unanswered: 0, first: b"", heir: None }
    }

    fn inner_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let (now, later) = self.first.split_at(self.first.len().min(buf.remaining()));
            buf.put_slice(now);
            self.first = later;
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(heir) = self.heir.take()
            && let Stream::Tcp(stream) = std::mem::replace(&mut self.stream, Stream::Gone)
        {
            // Where nobody waits for it any more, it closes.
            drop(heir.send(stream));
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr(),
            Stream::Tls(stream) => stream.get_ref().0.peer_addr(),
            Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
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
        for byte in buf.filled_mut().iter_mut().skip(before).filter(|byte| !byte.is_ascii()) {
            *byte = b'?';
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
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Gone => Poll::Ready(Ok(())),
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
        let (mut wire, mut left) = Wire::tcp(stream);
        let mut buffer = [0_u8; 64];
        for command in ["EHLO worker.example\r\n", "STARTTLS\r\n"] {
            wire.write_all(command.as_bytes()).await.unwrap();
            assert_eq!(wire.read(&mut buffer).await.unwrap(), 1);
        }
        assert!(left.try_recv().is_err());
        drop(wire);
        let read = left.try_recv().unwrap().read(&mut buffer).await.unwrap();
        assert_eq!(buffer.get(..read).unwrap(), b"0 go on\r\n250 injected\r\n");
    }

    #[tokio::test]
    async fn any_other_command_ends_the_reading_by_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(b"250 2.1.0 na\xefve \xff\r\n").await.unwrap();
        let (mut wire, _left) = Wire::tcp(stream);
        wire.write_all(b"MAIL FROM:<>\r\n").await.unwrap();
        let mut buffer = [0_u8; 64];
        let read = wire.read(&mut buffer).await.unwrap();
        assert_eq!(buffer.get(..read).unwrap(), b"250 2.1.0 na?ve ?\r\n");
    }

    #[tokio::test]
    async fn the_end_of_the_stream_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        drop(listener.accept().await.unwrap());
        let error = Wire::tcp(stream).0.read(&mut [0_u8; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
