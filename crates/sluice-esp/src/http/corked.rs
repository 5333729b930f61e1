//! A connection whose small writes leave as one. What is above it ends each request with a flush, and a write costs the
//! kernel as much as hundreds of bytes do.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// No more is gathered than this; about what the kernel takes at once.
const GATHERED_MAX_BYTES: usize = 64 * 1024;

/// The connection as its user sees it. A flush of his writes nothing: whoever drives him has to [`Outlet::poll_drain`].
#[derive(Debug)]
pub(super) struct Corked<T>(Arc<Mutex<Pipe<T>>>);

/// Where what was gathered leaves.
#[derive(Debug)]
pub(super) struct Outlet<T>(Arc<Mutex<Pipe<T>>>);

#[derive(Debug)]
struct Pipe<T> {
    inner: T,
    gathered: Vec<u8>,
    /// How much of it is written already.
    written: usize,
}

/// Puts a cork on `inner`.
pub(super) fn cork<T>(inner: T) -> (Corked<T>, Outlet<T>) {
    let pipe = Arc::new(Mutex::new(Pipe { inner, gathered: Vec::new(), written: 0 }));
    (Corked(Arc::clone(&pipe)), Outlet(pipe))
}

impl<T: AsyncWrite + Unpin> Outlet<T> {
    /// Writes all that was gathered.
    pub(super) fn poll_drain(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_drain(context)
    }
}

impl<T: AsyncWrite + Unpin> Pipe<T> {
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.gathered.get(self.written..).filter(|rest| !rest.is_empty()) {
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.gathered.clear();
        self.written = 0;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// Takes what there is room for; drains first where there is none.
    fn poll_gather(&mut self, context: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.gathered.len() >= GATHERED_MAX_BYTES {
            ready!(self.poll_drain(context))?;
        }
        let mut taken = 0;
        for piece in pieces {
            let room = GATHERED_MAX_BYTES - self.gathered.len();
            let part = piece.get(..room).unwrap_or(piece);
            self.gathered.extend_from_slice(part);
            taken += part.len();
        }
        Poll::Ready(Ok(taken))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Corked<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.0).inner).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Corked<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_gather(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        lock(&self.0).poll_gather(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = lock(&self.0);
        ready!(pipe.poll_drain(context))?;
        Pin::new(&mut pipe.inner).poll_shutdown(context)
    }
}

fn lock<T>(pipe: &Mutex<Pipe<T>>) -> MutexGuard<'_, Pipe<T>> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn nothing_leaves_before_it_is_drained_and_then_all_at_once() {
        let (near, mut far) = duplex(1024);
        let (mut corked, outlet) = cork(near);
        for word in ["one ", "two ", "three"] {
            corked.write_all(word.as_bytes()).await.unwrap();
            corked.flush().await.unwrap();
        }
        let mut buffer = [0; 64];
        let mut early = ReadBuf::new(&mut buffer);
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut far).poll_read(&mut context, &mut early).is_pending());
        poll_fn(|context| outlet.poll_drain(context)).await.unwrap();
        let read = far.read(&mut buffer).await.unwrap();
        assert_eq!(buffer.get(..read), Some(b"one two three".as_slice()));
    }

    /// Whatever the sizes, and however little the pipe takes at a time.
    #[tokio::test]
    async fn all_arrives_in_order() {
        let (near, mut far) = duplex(777);
        let (mut corked, outlet) = cork(near);
        let sent: Vec<u8> = (0..400_000_u32).map(|place| (place % 251) as u8).collect();
        let pieces = sent.clone();
        let writes = async move {
            for (piece, size) in pieces.chunks(9_000).zip(1..) {
                for part in piece.chunks(size * 7) {
                    corked.write_all(part).await.unwrap();
                }
                poll_fn(|context| outlet.poll_drain(context)).await.unwrap();
            }
            corked.write_all(&pieces).await.unwrap();
            corked.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let (_, ended) = tokio::join!(writes, far.read_to_end(&mut read));
        ended.unwrap();
        assert!(read == [sent.clone(), sent].concat(), "{} bytes", read.len());
    }

    #[tokio::test]
    async fn no_more_is_gathered_than_the_bound() {
        let (near, _far) = duplex(1);
        let (mut corked, _outlet) = cork(near);
        corked.write_all(&vec![0; GATHERED_MAX_BYTES]).await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut corked).poll_write(&mut context, b"x").is_pending());
        assert_eq!(lock(&corked.0).gathered.len(), GATHERED_MAX_BYTES);
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error() {
        let (near, far) = duplex(64);
        let (mut corked, outlet) = cork(near);
        drop(far);
        corked.write_all(b"x").await.unwrap();
        assert!(poll_fn(|context| outlet.poll_drain(context)).await.is_err());
    }
}
