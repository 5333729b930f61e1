//! A stand-in for SendGrid over HTTP/2, `tests/peers/http2_peer.py`: an implementation that is not ours.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

use super::certificate::Certificate;
use super::python::{read_journal, start_peer};
use crate::services::{GuardedChild, ScratchDir};

/// How to start the stand-in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Http2Options {
    /// TLS, and the protocols that it agrees on there, with commas; else HTTP/2 in plain text.
    pub alpn: Option<&'static str>,
    /// Requests that it allows at the same time on a connection; any number by default.
    pub streams: Option<usize>,
}

/// One request, or a stream that the client has given up, which has neither version nor job.
#[derive(Debug, Clone)]
pub struct Http2Call {
    /// Which connection it came over, from 1.
    pub connection: u64,
    /// `2`, or `1.1`.
    pub version: String,
    /// Names in lower case over HTTP/2, with its pseudo-headers.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Value,
    /// `custom_args.job_id`.
    pub job_id: String,
    /// The word that was followed, `accepted` for none.
    pub action: String,
}

/// SendGrid's sending interface on a free loopback port. The recipient's local part, up to its `+`, says what it does:
/// `refused`, `always-refused`, `reset`, `away`, `away-amiss`, `cut`, `hang`, `slowMS`, `ends-late`, `rejected`; see the
/// program. Anything else is accepted. Killed on drop.
#[derive(Debug)]
pub struct Http2StandIn {
    // Holds the child; dropped, it is killed.
    _child: Mutex<GuardedChild>,
    dir: ScratchDir,
    addr: SocketAddr,
    ca_file: Option<PathBuf>,
}

impl Http2StandIn {
    /// Starts one.
    ///
    /// # Panics
    /// If Python or openssl is missing, or it does not listen within 30 seconds; the message has its log.
    pub fn start(options: Http2Options) -> Self {
        let dir = ScratchDir::new("http2");
        let mut args = vec!["--journal".into(), dir.join("journal").into_os_string()];
        let certificate = options.alpn.map(|alpn| (alpn, Certificate::for_loopback(dir.path())));
        if let Some((alpn, made)) = &certificate {
            args.extend(["--cert".into(), made.chain.clone().into_os_string()]);
            args.extend(["--key".into(), made.key.clone().into_os_string(), "--alpn".into(), alpn.into()]);
        }
        if let Some(streams) = options.streams {
            args.extend(["--streams".into(), streams.to_string().into()]);
        }
        let (child, addr) = start_peer("http2_peer.py", args, &dir);
        let ca_file = certificate.map(|(_, made)| made.authority);
        Self { _child: Mutex::new(child), dir, addr, ca_file }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to configure as `base_url`.
    pub fn url(&self) -> String {
        let port = self.addr.port();
        if self.ca_file.is_some() {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        }
    }

    /// The authority a client has to trust, when there is TLS.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// All entries so far, in the order they came.
    ///
    /// # Panics
    /// If the journal cannot be read.
    pub fn journal(&self) -> Vec<Http2Call> {
        read_journal(&self.dir, entry)
    }
}

fn entry(line: &str) -> Option<Http2Call> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let headers = value.get("headers").and_then(Value::as_object).into_iter().flatten();
    Some(Http2Call {
        connection: value.get("connection")?.as_u64()?,
        version: text("version"),
        headers: headers
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect(),
        body: value.get("body").cloned().unwrap_or_default(),
        job_id: text("job_id"),
        action: text("action"),
    })
}
