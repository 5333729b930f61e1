//! An SMTP server of a few lines that can misbehave at any step.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does at a step.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes this and a CRLF.
    Say(&'static str),
    /// Writes these bytes and a CRLF.
    SayBytes(&'static [u8]),
    /// Writes this and closes.
    SayAndClose(&'static str),
    /// Closes.
    Close,
    /// Says nothing any more.
    Hang,
    /// Writes digits for ever, without a line end.
    Babble,
}

/// The step: a verb, `GREETING`, `DOT`, or `BODY` (DATA was answered and nothing read yet).
pub(crate) struct Step<'a> {
    /// How often the verb came before on this connection.
    pub(crate) before: usize,
    pub(crate) verb: &'a str,
}

type Script = dyn Fn(&Step<'_>) -> Option<Act> + Send + Sync;

#[derive(Default)]
struct Log {
    lines: Vec<(usize, String)>,
    messages: Vec<String>,
    connections: usize,
    open: usize,
    most_open: usize,
}

/// The server; its threads end with the test binary.
pub(crate) struct RawSmtp {
    addr: SocketAddr,
    log: Arc<Mutex<Log>>,
}

impl RawSmtp {
    /// Starts one; `script` may answer instead of it at any step.
    pub(crate) fn start(script: impl Fn(&Step<'_>) -> Option<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new(Log::default()));
        let (script, shared): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, script, log) = (stream.unwrap(), Arc::clone(&script), Arc::clone(&shared));
                std::thread::spawn(move || {
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.connections += 1;
                        log.open += 1;
                        log.most_open = log.most_open.max(log.open);
                        log.connections
                    };
                    converse(&stream, number, &*script, &log);
                    log.lock().unwrap().open -= 1;
                    stream.shutdown(Shutdown::Both).ok();
                });
            }
        });
        Self { addr, log }
    }

    /// One that answers `act` whenever `verb` comes.
    pub(crate) fn at(verb: &'static str, act: Act) -> Self {
        Self::start(move |step| (step.verb == verb).then(|| act.clone()))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Lines that clients wrote, without those of messages.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.log.lock().unwrap().lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// The verbs of one connection.
    pub(crate) fn verbs(&self, connection: usize) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let of_it = log.lines.iter().filter(|(number, _)| *number == connection);
        of_it.map(|(_, line)| verb(line).to_owned()).collect()
    }

    /// Messages with their final dot.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.log.lock().unwrap().messages.clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().connections
    }

    /// Most connections at one time.
    pub(crate) fn most_open(&self) -> usize {
        self.log.lock().unwrap().most_open
    }
}

fn verb(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

#[derive(PartialEq)]
enum Went {
    AsUsual,
    Otherwise,
}

fn converse(stream: &TcpStream, connection: usize, script: &Script, log: &Mutex<Log>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut seen: Vec<String> = Vec::new();
    let mut step = |verb: &str, usual: &'static str| {
        let before = seen.iter().filter(|it| *it == verb).count();
        seen.push(verb.to_owned());
        match script(&Step { before, verb }) {
            Some(act) => perform(stream, &act).map(|()| Went::Otherwise),
            None => perform(stream, &Act::Say(usual)).map(|()| Went::AsUsual),
        }
    };
    step("GREETING", "220 raw.example ready")?;
    loop {
        let line = read_line(&mut reader)?;
        log.lock().unwrap().lines.push((connection, line.clone()));
        let verb = verb(&line).to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => step("EHLO", "250-raw.example\r\n250-AUTH PLAIN LOGIN\r\n250 8BITMIME").map(drop)?,
            "AUTH" => step("AUTH", "235 2.7.0 welcome").map(drop)?,
            "DATA" => {
                if step("DATA", "354 go on")? == Went::Otherwise {
                    continue;
                }
                if script(&Step { before: 0, verb: "BODY" }).is_some() {
                    // Leave what comes unread, so that the close is a reset.
                    let mut some = [0_u8; 64];
                    reader.read_exact(&mut some).ok()?;
                    return None;
                }
                let mut message = String::new();
                loop {
                    match read_line(&mut reader)?.as_str() {
                        "." => break,
                        line => message.push_str(&format!("{}\r\n", line.strip_prefix('.').unwrap_or(line))),
                    }
                }
                log.lock().unwrap().messages.push(message);
                step("DOT", "250 2.0.0 Ok: queued as 4XyZ12abc")?;
            }
            "QUIT" => {
                step("QUIT", "221 bye")?;
                return Some(());
            }
            other => step(other, "250 2.1.0 Ok").map(drop)?,
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

fn perform(mut stream: &TcpStream, act: &Act) -> Option<()> {
    match act {
        Act::Say(text) => stream.write_all(format!("{text}\r\n").as_bytes()).ok(),
        Act::SayBytes(bytes) => stream.write_all(&[bytes, b"\r\n".as_slice()].concat()).ok(),
        Act::SayAndClose(text) => {
            stream.write_all(format!("{text}\r\n").as_bytes()).ok()?;
            None
        }
        Act::Close => None,
        Act::Hang => {
            // Until the client goes away.
            stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
            let mut sink = [0_u8; 1024];
            while stream.read(&mut sink).is_ok_and(|read| read > 0) {}
            None
        }
        Act::Babble => {
            while stream.write_all(&[b'2'; 4096]).is_ok() {}
            None
        }
    }
}
