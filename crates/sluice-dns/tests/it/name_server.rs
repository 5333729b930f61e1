//! A name server on the loopback, by UDP and TCP, which answers as told and counts what it is asked.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::wire::{Message, Question, question};

/// What the server does with a query.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Answers the question.
    Message(Message),
    /// Answers by TCP; by UDP says that the answer is too long.
    ByTcp(Message),
    /// Sends these bytes behind the query's id.
    Raw(Vec<u8>),
    /// Sends these bytes.
    RawWithoutId(Vec<u8>),
    /// Answers another question.
    OtherQuestion(Message),
    /// Nothing.
    Silence,
    /// Waits until the gate is opened.
    Held(Gate, Message),
    /// Waits for a while.
    Late(Duration, Message),
}

/// Holds answers back until it is opened.
#[derive(Clone)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn shut() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }
}

/// The server; it ends when dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    script: Arc<Script>,
    _tasks: JoinSet<()>,
}

struct Script {
    replies: Mutex<HashMap<String, Reply>>,
    otherwise: Mutex<Reply>,
    /// Id and domain of each query: one that is sent again has the same id.
    asked: watch::Sender<HashSet<(u16, String)>>,
    received: AtomicUsize,
}

impl NameServer {
    /// A server that is silent about every domain.
    pub(crate) async fn start() -> Self {
        let script = Arc::new(Script {
            replies: Mutex::default(),
            otherwise: Mutex::new(Reply::Silence),
            asked: watch::Sender::default(),
            received: AtomicUsize::new(0),
        });
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(Arc::new(udp), Arc::clone(&script)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&script)));
        Self { address, script, _tasks: tasks }
    }

    /// Answers like this for `domain`.
    pub(crate) fn set(&self, domain: &str, reply: Reply) {
        self.script.replies.lock().unwrap().insert(String::from(domain), reply);
    }

    /// Answers like this for every domain without a reply of its own.
    pub(crate) fn set_for_others(&self, reply: Reply) {
        *self.script.otherwise.lock().unwrap() = reply;
    }

    /// How many different queries have come.
    pub(crate) fn queries(&self) -> usize {
        self.script.asked.borrow().len()
    }

    /// How many queries have come, with those that were sent again.
    pub(crate) fn received(&self) -> usize {
        self.script.received.load(Ordering::SeqCst)
    }

    /// Waits until this many different queries have come.
    pub(crate) async fn has_been_asked(&self, queries: usize) {
        let mut asked = self.script.asked.subscribe();
        tokio::time::timeout(Duration::from_secs(10), asked.wait_for(|asked| asked.len() >= queries))
            .await
            .unwrap()
            .unwrap();
    }
}

impl Script {
    fn reply(&self, asked: &Question) -> Reply {
        // Whether anybody is there is asked of the root, and is no query for a domain.
        if !asked.domain.is_empty() {
            self.received.fetch_add(1, Ordering::SeqCst);
            self.asked.send_modify(|all| {
                all.insert((asked.id, asked.domain.clone()));
            });
        }
        let reply = self.replies.lock().unwrap().get(&asked.domain).cloned();
        reply.unwrap_or_else(|| self.otherwise.lock().unwrap().clone())
    }
}

/// Two sockets on the same port.
async fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free for UDP and TCP");
}

async fn serve_udp(socket: Arc<UdpSocket>, script: Arc<Script>) {
    let mut answers = JoinSet::new();
    let mut buffer = vec![0; 4096];
    loop {
        let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
        let asked = question(&buffer[..length]);
        let reply = script.reply(&asked);
        let socket = Arc::clone(&socket);
        answers.spawn(async move {
            if let Some(bytes) = answer(&asked, reply, false).await {
                socket.send_to(&bytes, peer).await.unwrap();
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, script: Arc<Script>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve_connection(stream, Arc::clone(&script)));
    }
}

async fn serve_connection(mut stream: TcpStream, script: Arc<Script>) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; usize::from(length)];
        stream.read_exact(&mut query).await.unwrap();
        let asked = question(&query);
        let reply = script.reply(&asked);
        if let Some(bytes) = answer(&asked, reply, true).await {
            stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        }
    }
}

async fn answer(asked: &Question, reply: Reply, by_tcp: bool) -> Option<Vec<u8>> {
    let message = match reply {
        Reply::Message(message) => message,
        Reply::ByTcp(message) if by_tcp => message,
        Reply::ByTcp(_) => Message { truncated: true, ..Message::default() },
        Reply::Raw(bytes) => return Some([asked.id.to_be_bytes().to_vec(), bytes].concat()),
        Reply::RawWithoutId(bytes) => return Some(bytes),
        Reply::OtherQuestion(message) => {
            let section = [crate::wire::name("other.example"), vec![0, 15, 0, 1]].concat();
            return Some(message.encode(asked.id, &section));
        }
        Reply::Silence => return None,
        Reply::Held(gate, message) => {
            gate.0.subscribe().wait_for(|open| *open).await.unwrap();
            message
        }
        Reply::Late(after, message) => {
            tokio::time::sleep(after).await;
            message
        }
    };
    Some(message.encode(asked.id, &asked.section))
}
