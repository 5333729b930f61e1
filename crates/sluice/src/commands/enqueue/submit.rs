//! Hands jobs over in batches, and tries again those that could not be queued now.

use std::time::Duration;

use bytes::Bytes;
use sluice_engine::{Intake, IntakeAnswer};
use sluice_types::Refusal;

use super::report::Report;
use super::source::Record;

/// Lines in one batch.
const BATCH_LINES: usize = 500;
/// A batch with more bytes than this is handed over as it is.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Pauses before each further try: a broker that is restarted is back within them.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];

/// The batch that is being filled.
#[derive(Debug)]
pub(super) struct Submission {
    intake: Intake,
    /// Bad lines too, so that what is told is in the order of the file.
    records: Vec<Record>,
    bytes: usize,
}

impl Submission {
    /// Hands over to `intake`.
    pub(super) const fn new(intake: Intake) -> Self {
        Self { intake, records: Vec::new(), bytes: 0 }
    }

    /// Adds a line.
    pub(super) fn add(&mut self, record: Record) {
        self.bytes += record.body.as_ref().map_or(0, Bytes::len);
        self.records.push(record);
    }

    /// Whether it is time to hand over.
    pub(super) const fn is_full(&self) -> bool {
        self.records.len() >= BATCH_LINES || self.bytes >= BATCH_BYTES
    }

    /// Hands over; `false` when in spite of every further try some could not be queued.
    pub(super) async fn submit(&mut self, report: &mut Report) -> bool {
        self.bytes = 0;
        let mut records = std::mem::take(&mut self.records);
        let mut pauses = PAUSES.iter();
        loop {
            records = self.once(records, report).await;
            if records.is_empty() {
                return true;
            }
            let Some(pause) = pauses.next() else { break };
            report.waits(records.len(), *pause);
            tokio::time::sleep(*pause).await;
        }
        report.unavailable(records.len());
        false
    }

    /// One try; answers those that could not be queued.
    async fn once(&self, records: Vec<Record>, report: &mut Report) -> Vec<Record> {
        let bodies: Vec<Bytes> = records.iter().filter_map(|it| it.body.clone().ok()).collect();
        let answers = if bodies.is_empty() { Vec::new() } else { self.intake.submit(bodies).await };
        let mut answers = answers.into_iter();
        let mut left = Vec::new();
        for Record { line, body } in records {
            let answer = match &body {
                Ok(_) => answers.next(),
                Err(refusal) => Some(refused(refusal)),
            };
            match answer {
                Some(IntakeAnswer::Queued { .. }) => report.queued(),
                Some(IntakeAnswer::Duplicate { .. }) => report.duplicate(),
                Some(IntakeAnswer::Error { id, refusal }) => report.bad_line(line, id, refusal),
                Some(IntakeAnswer::Unavailable { .. }) | None => left.push(Record { line, body }),
            }
        }
        left
    }
}

/// The answer for a line that never was a job.
fn refused(refusal: &Refusal) -> IntakeAnswer {
    IntakeAnswer::Error { id: None, refusal: refusal.clone() }
}
