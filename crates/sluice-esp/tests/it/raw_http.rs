//! An HTTP server of a few lines that writes whatever bytes it is told to.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Writes these bytes and keeps the connection.
    Write(Vec<u8>),
    /// Writes these bytes and closes.
    WriteAndClose(Vec<u8>),
    /// Writes these bytes and says nothing any more.
    WriteAndHang(Vec<u8>),
    /// Writes the head, then zeros for ever.
    WriteAndFlood(Vec<u8>),
    /// Closes without having read the body.
    CloseAtHead,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// The server; its threads end with the test binary.
pub(crate) struct RawHttp {
    addr: SocketAddr,
    log: Arc<Mutex<(usize, Vec<Request>)>>,
}

impl RawHttp {
    /// Starts one that answers every request with `act`.
    pub(crate) fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let log = Arc::new(Mutex::new((0, Vec::new())));
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, act, log) = (stream.unwrap(), act.clone(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    log.lock().unwrap().0 += 1;
                    serve(&stream, &act, &log);
                    stream.shutdown(Shutdown::Both).ok();
                });
            }
        });
        Self { addr, log }
    }

    /// One that answers with this status, these header lines and this body.
    pub(crate) fn answering(status: u16, headers: &str, body: &str) -> Self {
        Self::start(Act::Write(answer(status, headers, body)))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn connections(&self) -> usize {
        self.log.lock().unwrap().0
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().1.clone()
    }
}

/// A whole answer; `headers` is lines with their CRLF.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn serve(mut stream: &TcpStream, act: &Act, log: &Mutex<(usize, Vec<Request>)>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let line = read_line(&mut reader)?;
        let mut headers = BTreeMap::new();
        loop {
            let header = read_line(&mut reader)?;
            let Some((name, value)) = header.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let mut body = Vec::new();
        if !matches!(act, Act::CloseAtHead) {
            let length: u64 = headers.get("content-length")?.parse().ok()?;
            reader.by_ref().take(length).read_to_end(&mut body).ok()?;
        }
        log.lock().unwrap().1.push(Request { line, headers, body });
        match act {
            Act::Write(bytes) => stream.write_all(bytes).ok()?,
            Act::WriteAndClose(bytes) => {
                stream.write_all(bytes).ok()?;
                return None;
            }
            Act::WriteAndHang(bytes) => {
                stream.write_all(bytes).ok()?;
                stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
                while stream.read(&mut [0_u8; 64]).is_ok_and(|read| read > 0) {}
                return None;
            }
            Act::WriteAndFlood(bytes) => {
                stream.write_all(bytes).ok()?;
                while stream.write_all(&[0_u8; 65_536]).is_ok() {}
                return None;
            }
            Act::CloseAtHead => return None,
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}
