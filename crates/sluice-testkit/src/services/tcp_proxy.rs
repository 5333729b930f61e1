//! A TCP proxy that breaks the line on demand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ports;
use crate::background;

const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks under way in one direction of one connection; more than a delayed line needs to stay full.
const CHUNKS: usize = 1_024;

/// Forwards connections to one address until told otherwise. Gone, with its connections, on drop.
#[derive(Debug)]
pub struct TcpProxy {
    addr: SocketAddr,
    line: Arc<Line>,
    listening: watch::Receiver<bool>,
    _stop: DropGuard,
}

/// What is wrong with the line at the moment.
#[derive(Debug)]
struct Line {
    upstream: SocketAddr,
    cuts: watch::Sender<u64>,
    black_hole: watch::Sender<bool>,
    refuse: watch::Sender<bool>,
    delay: watch::Sender<Duration>,
    /// Bytes a second in each direction of each connection; zero is no bound.
    width: watch::Sender<u32>,
    lose_answers: watch::Sender<bool>,
    /// How much of what clients send is let through, over all connections; none is no bound.
    allowance: watch::Sender<Option<usize>>,
}

/// The direction of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    ToUpstream,
    ToClient,
}

impl TcpProxy {
    /// Starts a proxy in front of `upstream`, which need not listen yet.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start(upstream: SocketAddr) -> Self {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_port()));
        let line = Arc::new(Line {
            upstream,
            cuts: watch::Sender::new(0),
            black_hole: watch::Sender::new(false),
            refuse: watch::Sender::new(false),
            delay: watch::Sender::new(Duration::ZERO),
            width: watch::Sender::new(0),
            lose_answers: watch::Sender::new(false),
            allowance: watch::Sender::new(None),
        });
        let stop = CancellationToken::new();
        let (state, listening) = watch::channel(false);
        background::spawn(stop.clone().run_until_cancelled_owned(serve(
            addr,
            Arc::clone(&line),
            state,
            stop.clone(),
        )));
        let proxy = Self { addr, line, listening, _stop: stop.drop_guard() };
        proxy.wait_until_listening(true);
        proxy
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Drops all connections there are, both ends; new ones are welcome.
    pub fn cut(&self) {
        self.line.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// While true, connections stay open and new ones are taken, and not a byte passes either way. What was sent
    /// meanwhile arrives afterwards.
    pub fn black_hole(&self, on: bool) {
        self.line.black_hole.send_replace(on);
    }

    /// Each byte arrives this much later, in each direction; the throughput stays. Zero switches it off.
    pub fn delay(&self, delay: Duration) {
        self.line.delay.send_replace(delay);
    }

    /// At most so many bytes a second in each direction of each connection; zero switches it off.
    pub fn narrow(&self, bytes_per_second: u32) {
        self.line.width.send_replace(bytes_per_second);
    }

    /// While true, what clients send arrives, and what is answered is lost: [`cut`](Self::cut) the connections before
    /// switching it off, since those there are miss a part by then.
    pub fn lose_answers(&self, on: bool) {
        self.line.lose_answers.send_replace(on);
    }

    /// Lets so many more bytes of clients through, and then none: a request that stays half written. `None` switches
    /// it off; what was held arrives then.
    pub fn allow_only(&self, bytes: Option<usize>) {
        self.line.allowance.send_replace(bytes);
    }

    /// Waits until all that [`allow_only`](Self::allow_only) lets through has gone, and more is held; false if that
    /// does not come within `timeout`.
    pub fn wait_held(&self, timeout: Duration) -> bool {
        let mut allowance = self.line.allowance.subscribe();
        background::wait_for(async move {
            let held = allowance.wait_for(|left| *left == Some(0));
            tokio::time::timeout(timeout, held).await.is_ok_and(|held| held.is_ok())
        })
    }

    /// While true, new connections are refused; those there are go on. Returns when it is so.
    pub fn refuse(&self, on: bool) {
        self.line.refuse.send_replace(on);
        self.wait_until_listening(!on);
    }

    fn wait_until_listening(&self, wanted: bool) {
        let mut listening = self.listening.clone();
        background::wait_for(async move {
            listening
                .wait_for(|now| *now == wanted)
                .await
                .expect("the proxy runs as long as its owner")
                .to_owned()
        });
    }
}

async fn serve(addr: SocketAddr, line: Arc<Line>, state: watch::Sender<bool>, stop: CancellationToken) {
    let mut refuse = line.refuse.subscribe();
    loop {
        until(&mut refuse, false).await;
        let listener = TcpListener::bind(addr).await.expect("the port was free");
        state.send_replace(true);
        loop {
            tokio::select! {
                biased;
                () = until(&mut refuse, true) => break,
                accepted = listener.accept() => if let Ok((client, _)) = accepted {
                    background::spawn(stop.clone().run_until_cancelled_owned(connection(client, Arc::clone(&line))));
                },
            }
        }
        drop(listener);
        state.send_replace(false);
    }
}

async fn connection(client: TcpStream, line: Arc<Line>) {
    let mut cuts = line.cuts.subscribe();
    tokio::select! {
        _ = cuts.changed() => {}
        () = forward(client, &line) => {}
    }
}

async fn forward(client: TcpStream, line: &Line) {
    until(&mut line.black_hole.subscribe(), false).await;
    let Ok(upstream) = TcpStream::connect(line.upstream).await else { return };
    if client.set_nodelay(true).and(upstream.set_nodelay(true)).is_err() {
        return;
    }
    let (client_reads, client_writes) = client.into_split();
    let (upstream_reads, upstream_writes) = upstream.into_split();
    // One direction may end (half close) while the other goes on.
    tokio::join!(
        one_way(client_reads, upstream_writes, line, Way::ToUpstream),
        one_way(upstream_reads, client_writes, line, Way::ToClient)
    );
}

/// Passes bytes on; the delay holds each chunk on its own, so a slow line is not also a narrow one.
async fn one_way(reads: OwnedReadHalf, writes: OwnedWriteHalf, line: &Line, way: Way) {
    let (send, receive) = mpsc::channel(CHUNKS);
    tokio::join!(take(reads, send, line, way), give(writes, receive, line, way));
}

async fn take(mut reads: OwnedReadHalf, chunks: mpsc::Sender<(Instant, Vec<u8>)>, line: &Line, way: Way) {
    let mut black_hole = line.black_hole.subscribe();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        until(&mut black_hole, false).await;
        let Ok(length @ 1..) = reads.read(&mut buffer).await else { return };
        if way == Way::ToClient && *line.lose_answers.borrow() {
            continue;
        }
        let due = Instant::now() + *line.delay.borrow();
        let chunk = buffer.iter().take(length).copied().collect();
        if chunks.send((due, chunk)).await.is_err() {
            return;
        }
    }
}

async fn give(
    mut writes: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<(Instant, Vec<u8>)>,
    line: &Line,
    way: Way,
) {
    let mut black_hole = line.black_hole.subscribe();
    while let Some((due, chunk)) = chunks.recv().await {
        sleep_until(due).await;
        until(&mut black_hole, false).await;
        let mut rest = chunk.as_slice();
        while !rest.is_empty() {
            let part = if way == Way::ToUpstream { allowed(line, rest.len()).await } else { rest.len() };
            let (now, later) = rest.split_at(part);
            if writes.write_all(now).await.is_err() {
                return;
            }
            rest = later;
        }
        let width = *line.width.borrow();
        if width > 0 {
            let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            sleep_until(
                Instant::now() + Duration::from_secs(1).mul_f64(f64::from(length) / f64::from(width)),
            )
            .await;
        }
    }
    // The other side may be gone already.
    writes.shutdown().await.ok();
}

/// How many of `wanted` bytes may pass now, one at least; waits while none may.
async fn allowed(line: &Line, wanted: usize) -> usize {
    let mut allowance = line.allowance.subscribe();
    loop {
        let mut part = wanted;
        line.allowance.send_if_modified(|left| {
            let Some(left) = left else { return false };
            part = wanted.min(*left);
            *left -= part;
            part > 0
        });
        if part > 0 {
            return part;
        }
        if allowance.changed().await.is_err() {
            // The proxy is gone, and with it soon this task.
            std::future::pending::<()>().await;
        }
    }
}

/// Waits until the switch is `wanted`.
async fn until(switch: &mut watch::Receiver<bool>, wanted: bool) {
    if switch.wait_for(|now| *now == wanted).await.is_err() {
        // The proxy is gone, and with it soon this task.
        std::future::pending::<()>().await;
    }
}
