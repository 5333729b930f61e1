//! A stand-in for a mail server, `tests/peers/smtp_peer.py`: a real SMTP implementation that is not ours.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

use super::certificate::Certificate;
use super::python::{read_journal, start_peer};
use crate::services::{GuardedChild, ScratchDir};

const USER: &str = "sluice";
const PASSWORD: &str = "open-the-gate";

/// How the stand-in encrypts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SmtpTls {
    /// Not at all.
    #[default]
    None,
    /// Offers STARTTLS and refuses mail before it.
    StartTls,
    /// From the first byte.
    Implicit,
}

/// How to start the stand-in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SmtpOptions {
    /// Encryption, with the certificate of [`SmtpStandIn::ca_file`].
    pub tls: SmtpTls,
    /// Whether mail is refused before AUTH (PLAIN or LOGIN) with [`SmtpStandIn::user`].
    pub auth: bool,
}

/// What became of one recipient of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SmtpOutcome {
    /// 250 after the final dot.
    Accepted,
    /// Accepted, and the connection dropped instead of the reply.
    AcceptedThenDropped,
    /// Refused with this reply, at RCPT or after the final dot.
    Refused(String),
    /// The connection was dropped at RCPT.
    Dropped,
}

/// One entry of the journal: a recipient, and what became of it.
#[derive(Debug, Clone)]
pub struct SmtpMessage {
    /// Seconds on the monotonic clock of this machine, when RCPT or the final dot came.
    pub received_s: f64,
    /// The header `X-Sluice-Job-Id`; never there for a recipient refused at RCPT.
    pub job_id: Option<String>,
    /// The header `Message-ID`.
    pub message_id: Option<String>,
    /// The envelope's sender.
    pub sender: String,
    /// The envelope's recipient.
    pub recipient: String,
    /// What was answered.
    pub outcome: SmtpOutcome,
    /// The header block as it came.
    pub headers: String,
    /// Whether the session was encrypted.
    pub tls: bool,
    /// Whether the session had logged in.
    pub authenticated: bool,
}

impl SmtpMessage {
    /// Whether the message counts as sent, whatever the client was told.
    pub fn accepted(&self) -> bool {
        match self.outcome {
            SmtpOutcome::Accepted | SmtpOutcome::AcceptedThenDropped => true,
            SmtpOutcome::Refused(_) | SmtpOutcome::Dropped => false,
        }
    }
}

/// A mail server on a free loopback port. The local part of the recipient, up to its `+`, says what it does: `r421`
/// (421 4.7.28 at RCPT, then it closes), `r450` (450 4.2.1), `r550` (550 5.1.1), `data550` (550 5.7.1 after the final
/// dot), `dropdata` (accepts, then drops the connection without a reply), `dropearly` (drops at RCPT), `slowMS` (late
/// reply to the final dot). Anything else is accepted. Killed on drop.
#[derive(Debug)]
pub struct SmtpStandIn {
    // Holds the child; dropped, it is killed.
    _child: Mutex<GuardedChild>,
    dir: ScratchDir,
    addr: SocketAddr,
    ca_file: Option<PathBuf>,
}

impl SmtpStandIn {
    /// Starts one without encryption and without a login.
    ///
    /// # Panics
    /// As [`start_with`](Self::start_with).
    pub fn start() -> Self {
        Self::start_with(SmtpOptions::default())
    }

    /// Starts one.
    ///
    /// # Panics
    /// If Python or openssl is missing, or it does not listen within 30 seconds; the message has its log.
    pub fn start_with(options: SmtpOptions) -> Self {
        let dir = ScratchDir::new("smtp");
        let mut args = vec!["--journal".into(), dir.join("journal").into_os_string()];
        let certificate = (options.tls != SmtpTls::None).then(|| Certificate::for_loopback(dir.path()));
        if let Some(made) = &certificate {
            let mode = if options.tls == SmtpTls::Implicit { "implicit" } else { "starttls" };
            args.extend(["--tls".into(), mode.into(), "--cert".into(), made.chain.clone().into_os_string()]);
            args.extend(["--key".into(), made.key.clone().into_os_string()]);
        }
        if options.auth {
            args.extend(["--user".into(), USER.into(), "--password".into(), PASSWORD.into()]);
        }
        let (child, addr) = start_peer("smtp_peer.py", args, &dir);
        Self { _child: Mutex::new(child), dir, addr, ca_file: certificate.map(|made| made.authority) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The user it knows, when it asks for one.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The password of that user.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    /// The authority a client has to trust (PEM; `SSL_CERT_FILE` for a child process), when there is encryption.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// All entries so far, in the order they came.
    ///
    /// # Panics
    /// If the journal cannot be read.
    pub fn journal(&self) -> Vec<SmtpMessage> {
        read_journal(&self.dir, entry)
    }

    /// How often each job was accepted. More than one is a duplicate. Mail without a job is under "".
    ///
    /// # Panics
    /// As [`journal`](Self::journal).
    pub fn accepted_by_job(&self) -> HashMap<String, u32> {
        let mut counts = HashMap::new();
        for message in self.journal().into_iter().filter(SmtpMessage::accepted) {
            *counts.entry(message.job_id.unwrap_or_default()).or_default() += 1;
        }
        counts
    }
}

fn entry(line: &str) -> Option<SmtpMessage> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    let flag = |name: &str| value.get(name)?.as_bool();
    let outcome = match text("outcome")?.as_str() {
        "accepted" => SmtpOutcome::Accepted,
        "accepted then dropped" => SmtpOutcome::AcceptedThenDropped,
        "dropped" => SmtpOutcome::Dropped,
        reply => SmtpOutcome::Refused(reply.to_owned()),
    };
    Some(SmtpMessage {
        received_s: value.get("time")?.as_f64()?,
        job_id: text("job_id"),
        message_id: text("message_id"),
        sender: text("sender")?,
        recipient: text("recipient")?,
        outcome,
        headers: text("headers")?,
        tls: flag("tls")?,
        authenticated: flag("authenticated")?,
    })
}
