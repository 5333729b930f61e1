//! Enqueues the samples: most at the door, as `POST /jobs` does; malformed ones and some copies straight into a lane, as
//! an AMQP client would.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use sluice_engine::{Clock, Intake, IntakeAnswer, Outbox, Passport, Plan, Publication, PublishError};
use sluice_types::{JobId, PoolName, Timestamp};
use tokio_util::sync::CancellationToken;

use super::message;
use super::scenario::{Kind, Sample, Scenario};

/// Samples enqueued in one go.
const CHUNK: usize = 250;
/// The late samples are spread over this long, unless they are hurried.
const LATE_SPAN: Duration = Duration::from_secs(8);
/// How often, and after what pause, a message is offered again that the queue could not take.
const TRIES: u32 = 20;
const TRY_PAUSE: Duration = Duration::from_millis(250);

/// Puts samples into the queue.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) plan: Arc<Plan>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) intake: Intake,
    pub(super) clock: Arc<dyn Clock>,
    /// The demo ends early: enqueue no more.
    pub(super) stop: CancellationToken,
    /// The late samples need not be late any more.
    pub(super) hurry: CancellationToken,
    pub(super) counts: Arc<Counts>,
}

/// What was enqueued so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    enqueued: AtomicU64,
    known_at_once: AtomicU64,
}

impl Counts {
    /// Messages enqueued.
    pub(super) fn enqueued(&self) -> u64 {
        self.enqueued.load(Ordering::Relaxed)
    }

    /// Copies that were recognised before they came into a lane.
    pub(super) fn known_at_once(&self) -> u64 {
        self.known_at_once.load(Ordering::Relaxed)
    }
}

/// A message on its way in.
struct Letter {
    number: u32,
    sample: Sample,
    body: Bytes,
}

impl Publisher {
    /// Enqueues all samples; answers when each was, in order. Ends early when it is told to stop.
    pub(super) async fn run(&self, scenario: &Scenario) -> anyhow::Result<Vec<Timestamp>> {
        let mut enqueued_at = Vec::with_capacity(scenario.samples.len());
        let (main, late) = scenario.samples.split_at(scenario.samples.len().saturating_sub(scenario.late));
        for chunk in main.chunks(CHUNK) {
            if self.stop.is_cancelled() {
                return Ok(enqueued_at);
            }
            self.enqueue(chunk, &mut enqueued_at).await?;
        }
        let pause = LATE_SPAN / u32::try_from(late.len()).unwrap_or(u32::MAX).max(1);
        for sample in late {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(enqueued_at),
                () = self.hurry.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
            self.enqueue(std::slice::from_ref(sample), &mut enqueued_at).await?;
        }
        Ok(enqueued_at)
    }

    async fn enqueue(&self, samples: &[Sample], enqueued_at: &mut Vec<Timestamp>) -> anyhow::Result<()> {
        let now = self.clock.now();
        let first = u32::try_from(enqueued_at.len()).context("too many samples")?;
        let (mut door, mut lane) = (Vec::new(), Vec::new());
        for (number, sample) in (first..).zip(samples) {
            let letter = Letter { number, sample: *sample, body: message::body(number, sample, now)? };
            let straight = match sample.kind {
                Kind::Malformed(_) => true,
                Kind::Copy { .. } => number.is_multiple_of(2),
                Kind::Plain
                | Kind::Suppressed
                | Kind::Expired
                | Kind::Deferred
                | Kind::Rejected
                | Kind::Unknown => false,
            };
            if straight { lane.push(letter) } else { door.push(letter) }
        }
        self.submit(door).await?;
        self.publish(lane).await?;
        enqueued_at.extend(samples.iter().map(|_| now));
        self.counts.enqueued.fetch_add(u64::try_from(samples.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        Ok(())
    }

    /// Through the door.
    async fn submit(&self, mut letters: Vec<Letter>) -> anyhow::Result<()> {
        for _ in 0..TRIES {
            if letters.is_empty() {
                return Ok(());
            }
            let answers =
                self.intake.submit(letters.iter().map(|letter| letter.body.clone()).collect()).await;
            let mut again = Vec::new();
            for (letter, answer) in letters.into_iter().zip(answers) {
                match answer {
                    IntakeAnswer::Queued { .. } => {}
                    IntakeAnswer::Duplicate { .. } => self.note_copy(&letter)?,
                    IntakeAnswer::Unavailable { .. } => again.push(letter),
                    IntakeAnswer::Error { refusal, .. } => {
                        anyhow::bail!("sample {} was refused at the door: {refusal}", letter.number)
                    }
                }
            }
            letters = again;
            self.pause_for(&letters).await;
        }
        anyhow::bail!("the queue took no messages for {TRIES} tries")
    }

    /// Past the door, into a lane.
    async fn publish(&self, mut letters: Vec<Letter>) -> anyhow::Result<()> {
        for _ in 0..TRIES {
            if letters.is_empty() {
                return Ok(());
            }
            let publications =
                letters.iter().map(|letter| self.publication(letter)).collect::<Result<_, _>>()?;
            let results = self.outbox.publish(publications).await;
            let mut again = Vec::new();
            for (letter, result) in letters.into_iter().zip(results) {
                match result {
                    Ok(()) => {}
                    Err(PublishError::Duplicate) => self.note_copy(&letter)?,
                    Err(PublishError::Unavailable(_) | PublishError::Refused) => again.push(letter),
                    Err(error @ PublishError::Unroutable) => {
                        return Err(error).with_context(|| format!("sample {}", letter.number));
                    }
                }
            }
            letters = again;
            self.pause_for(&letters).await;
        }
        anyhow::bail!("the queue took no messages for {TRIES} tries")
    }

    async fn pause_for(&self, letters: &[Letter]) {
        if !letters.is_empty() {
            tokio::time::sleep(TRY_PAUSE).await;
        }
    }

    fn publication(&self, letter: &Letter) -> anyhow::Result<Publication> {
        let Letter { number, sample, body } = letter;
        let pool: PoolName = sample.pool.name().parse().context("a pool of the demo")?;
        let lane = self.plan.lane(&pool, message::class(*number, sample), sample.group.domain(*number));
        let id: JobId = message::job_id(*number, sample)?;
        Ok(Publication { id, lane, body: body.clone(), passport: Passport::default() })
    }

    /// A copy was recognised; anything else that is taken for one would be lost.
    fn note_copy(&self, letter: &Letter) -> anyhow::Result<()> {
        anyhow::ensure!(
            matches!(letter.sample.kind, Kind::Copy { .. }),
            "sample {} was taken for a copy of another message",
            letter.number
        );
        self.counts.known_at_once.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
