//! Has messages decoded by a child, `sluice taste`, that may die of it. See [`crate::commands::taste`] for the other end.
//!
//! A thousand harmless ones often come at once: all that a replica held when it ended has come back. They are given to the child
//! together, as the way to another process and back takes far longer than to decode one. Where it dies of them, each of those that it
//! has not answered is given to a child by itself: nobody is blamed for a neighbour.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use sluice_engine::{Taste, Taster};
use sluice_types::{BODY_MAX_BYTES, JobId};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{Mutex, oneshot};

use crate::commands::taste::{COMMAND, SURVIVED};

/// Longest time to decode one message, or those that are given together; a child that takes longer counts as dead. Good ones take
/// well under a millisecond.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Messages given together at most.
const TOGETHER_MAX: usize = 64;

/// Starts the child with the first message that needs it, and another one when it has died.
#[derive(Debug, Default)]
pub(crate) struct ChildTaster {
    waiting: std::sync::Mutex<VecDeque<Waiting>>,
    child: Mutex<Option<Tasting>>,
}

/// A message that nobody has given to the child yet.
#[derive(Debug)]
struct Waiting {
    body: Bytes,
    tell: oneshot::Sender<Taste>,
}

#[async_trait]
impl Taster for ChildTaster {
    async fn taste(&self, body: &Bytes) -> Taste {
        loop {
            let (tell, mut told) = oneshot::channel();
            self.waiting().push_back(Waiting { body: body.clone(), tell });
            let mut child = tokio::select! {
                biased;
                Ok(taste) = &mut told => return taste,
                child = self.child.lock() => child,
            };
            // Whoever has the child gives it all that waits.
            loop {
                match told.try_recv() {
                    Ok(taste) => return taste,
                    Err(TryRecvError::Empty) => taste_all(&mut child, self.take_waiting()).await,
                    // Somebody has taken it along and was given up: it waits anew.
                    Err(TryRecvError::Closed) => break,
                }
            }
        }
    }
}

impl ChildTaster {
    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_waiting(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let count = waiting.len().min(TOGETHER_MAX);
        waiting.drain(..count).filter(|it| !it.tell.is_closed()).collect()
    }
}

/// Answers each of them.
async fn taste_all(child: &mut Option<Tasting>, mut waiting: Vec<Waiting>) {
    if waiting.len() > 1 {
        let survived = taste_together(child, &waiting).await;
        waiting.drain(..survived).for_each(|it| it.tell(Taste::Harmless));
    }
    for it in waiting {
        let taste = taste_alone(child, &it.body).await;
        it.tell(taste);
    }
}

/// How many of them it has survived, from the first on. A child that has died is gone.
async fn taste_together(child: &mut Option<Tasting>, waiting: &[Waiting]) -> usize {
    let Some(mut tasting) = at_hand(child) else { return 0 };
    let mut survived = 0;
    let all = tasting.taste_together(waiting, &mut survived);
    if matches!(tokio::time::timeout(TIMEOUT, all).await, Ok(Ok(()))) {
        *child = Some(tasting);
    } else {
        tasting.end().await;
    }
    survived
}

async fn taste_alone(child: &mut Option<Tasting>, body: &Bytes) -> Taste {
    let Some(mut tasting) = at_hand(child) else { return Taste::Unknown };
    let mut job_id = None;
    match tokio::time::timeout(TIMEOUT, tasting.taste_alone(body, &mut job_id)).await {
        Ok(Ok(())) => {
            *child = Some(tasting);
            Taste::Harmless
        }
        Ok(Err(_)) | Err(_) => {
            tasting.end().await;
            Taste::Deadly { job_id }
        }
    }
}

/// The child, or a new one. Taken, so that whoever is given up with it leaves none that stands in the middle of a message.
fn at_hand(child: &mut Option<Tasting>) -> Option<Tasting> {
    match child.take().map_or_else(Tasting::start, Ok) {
        Ok(tasting) => Some(tasting),
        Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "suspicious messages are decoded here");
            None
        }
    }
}

impl Waiting {
    fn tell(self, taste: Taste) {
        // Nobody waits for it where its job was given up.
        drop(self.tell.send(taste));
    }
}

/// A child that lives. Dropped it is killed: nobody knows where in a message it stands.
#[derive(Debug)]
struct Tasting {
    child: Child,
    stdin: BufWriter<ChildStdin>,
    stdout: BufReader<ChildStdout>,
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
        Ok(Self { child, stdin: BufWriter::new(stdin), stdout: BufReader::new(stdout) })
    }

    /// An error when the child is gone, or answers what none of ours does.
    async fn taste_alone(&mut self, body: &Bytes, job_id: &mut Option<String>) -> anyhow::Result<()> {
        write(&mut self.stdin, body).await?;
        self.stdin.flush().await?;
        read(&mut self.stdout, job_id).await
    }

    /// The same for many at once; `survived` counts those that are answered.
    async fn taste_together(&mut self, waiting: &[Waiting], survived: &mut usize) -> anyhow::Result<()> {
        let Self { stdin, stdout, .. } = self;
        let give = async {
            for it in waiting {
                write(stdin, &it.body).await?;
            }
            anyhow::Ok(stdin.flush().await?)
        };
        // Beside each other: the child may wait until its answers are read.
        let hear = async {
            for _ in waiting {
                read(stdout, &mut None).await?;
                *survived += 1;
            }
            Ok(())
        };
        tokio::try_join!(give, hear).map(|((), ())| ())
    }

    /// Waits for its end, so that a long row of deaths leaves no row of zombies.
    async fn end(mut self) {
        drop(self.child.kill().await);
    }
}

/// Of a body that is too long no more than that is looked at.
async fn write(stdin: &mut BufWriter<ChildStdin>, body: &Bytes) -> anyhow::Result<()> {
    let body = body.slice(..body.len().min(BODY_MAX_BYTES + 1));
    stdin.write_u32(u32::try_from(body.len())?).await?;
    Ok(stdin.write_all(&body).await?)
}

async fn read(stdout: &mut BufReader<ChildStdout>, job_id: &mut Option<String>) -> anyhow::Result<()> {
    let mut id = vec![0; usize::from(stdout.read_u8().await?)];
    stdout.read_exact(&mut id).await?;
    *job_id = String::from_utf8(id).ok().filter(|id| JobId::new(id).is_ok());
    anyhow::ensure!(stdout.read_u8().await? == SURVIVED, "not an answer");
    Ok(())
}
