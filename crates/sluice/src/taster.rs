//! Has messages decoded by a child, `sluice taste`, that may die of it. See [`crate::commands::taste`] for the other end.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use sluice_engine::{Taste, Taster};
use sluice_types::{BODY_MAX_BYTES, JobId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use crate::commands::taste::{COMMAND, SURVIVED};

/// Longest time to decode one message; whoever takes longer counts as dead. Good ones take well under a millisecond.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the child with the first message that needs it, and another one when it has died.
#[derive(Debug, Default)]
pub(crate) struct ChildTaster(Mutex<Option<Tasting>>);

/// A child that lives. Dropped it is killed: nobody knows where in a message it stands.
#[derive(Debug)]
struct Tasting {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

#[async_trait]
impl Taster for ChildTaster {
    async fn taste(&self, body: &Bytes) -> Taste {
        let mut lent = self.0.lock().await;
        let started = lent.take().map_or_else(Tasting::start, Ok);
        let mut tasting = match started {
            Ok(tasting) => tasting,
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "suspicious messages are decoded here");
                return Taste::Unknown;
            }
        };
        let mut job_id = None;
        match tokio::time::timeout(TIMEOUT, tasting.taste(body, &mut job_id)).await {
            Ok(Ok(())) => {
                *lent = Some(tasting);
                Taste::Harmless
            }
            Ok(Err(_)) | Err(_) => {
                // Waits for its end, so that a long row of deaths leaves no row of zombies.
                drop(tasting.child.kill().await);
                Taste::Deadly { job_id }
            }
        }
    }
}

impl Tasting {
    fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program has no path")?;
        let mut child = Command::new(program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It could only say what it died of, in words that may quote the message.
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a child that tastes them")?;
        let stdin = child.stdin.take().context("the child has no stdin")?;
        let stdout = child.stdout.take().context("the child has no stdout")?;
        Ok(Self { child, stdin, stdout })
    }

    /// An error when the child is gone, or answers what none of ours does.
    async fn taste(&mut self, body: &Bytes, job_id: &mut Option<String>) -> anyhow::Result<()> {
        // Of a body that is too long no more than that is looked at.
        let body = body.slice(..body.len().min(BODY_MAX_BYTES + 1));
        self.stdin.write_u32(u32::try_from(body.len())?).await?;
        self.stdin.write_all(&body).await?;
        self.stdin.flush().await?;
        let mut id = vec![0; usize::from(self.stdout.read_u8().await?)];
        self.stdout.read_exact(&mut id).await?;
        *job_id = String::from_utf8(id).ok().filter(|id| JobId::new(id).is_ok());
        anyhow::ensure!(self.stdout.read_u8().await? == SURVIVED, "not an answer");
        Ok(())
    }
}
