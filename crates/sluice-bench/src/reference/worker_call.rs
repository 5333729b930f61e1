//! A call as the worker makes it: the job parsed, checked and rendered, and sent by the worker's own client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::SecretString;
use sluice_engine::{Esp, SystemClock, rehearse};
use sluice_esp::{HttpVersion, SendGridEsp, SendGridSettings};
use sluice_types::{EspId, Outcome};

const TIMEOUT: Duration = Duration::from_secs(30);

/// The worker's client of an ESP.
#[derive(Debug)]
pub(super) struct WorkerCall(SendGridEsp);

impl WorkerCall {
    pub(super) fn new(esp: SocketAddr) -> anyhow::Result<Self> {
        let settings = SendGridSettings {
            id: EspId::new("main")?,
            base_url: format!("http://{esp}"),
            allow_plain_http: false,
            api_key: SecretString::from("bench"),
            http_version: HttpVersion::Http2,
            timeout: TIMEOUT,
            tls_ca_file: None,
        };
        SendGridEsp::new(&settings, Arc::new(SystemClock::new())).map(Self).context("no client")
    }

    /// Sends a job, and waits for the ESP to accept it.
    pub(super) async fn post(&self, body: &[u8]) -> anyhow::Result<()> {
        let Ok(job) = rehearse(body) else { bail!("a job is none") };
        match self.0.send(&job, 1).await.outcome {
            Outcome::Accepted { .. } => Ok(()),
            other => bail!("the ESP has not accepted: {}", other.kind().as_str()),
        }
    }
}
