//! What came of a file.

use std::time::Duration;

use serde::Serialize;
use sluice_types::Refusal;

use crate::commands::progress::Progress;

/// So many bad lines are told one by one.
const BAD_LINES_TOLD: usize = 20;

/// Counts, and the first bad lines.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    lines: u64,
    queued: u64,
    duplicate: u64,
    errors: u64,
    unavailable: u64,
    dry_run: bool,
    /// The last line that was handed over, when the queue could not be reached for long.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_at_line: Option<u64>,
    /// The first of them.
    bad_lines: Vec<BadLine>,
    #[serde(skip)]
    progress: Progress,
}

/// A line that is no job.
#[derive(Debug, Serialize)]
struct BadLine {
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(flatten)]
    refusal: Refusal,
}

impl Report {
    pub(super) const fn new(dry_run: bool, progress: Progress) -> Self {
        Self {
            lines: 0,
            queued: 0,
            duplicate: 0,
            errors: 0,
            unavailable: 0,
            dry_run,
            stopped_at_line: None,
            bad_lines: Vec::new(),
            progress,
        }
    }

    /// A line was read, up to so many bytes of the file.
    pub(super) fn read(&mut self, consumed_bytes: u64) {
        self.lines += 1;
        let (queued, duplicate, errors) = (self.queued, self.duplicate, self.errors);
        self.progress
            .at(consumed_bytes, || format!("queued {queued}, duplicate {duplicate}, errors {errors}"));
    }

    pub(super) const fn queued(&mut self) {
        self.queued += 1;
    }

    pub(super) const fn duplicate(&mut self) {
        self.duplicate += 1;
    }

    /// A line is no job; the first ones are told.
    pub(super) fn bad_line(&mut self, line: u64, id: Option<String>, refusal: Refusal) {
        self.errors += 1;
        if self.bad_lines.len() < BAD_LINES_TOLD {
            self.progress.say(format_args!("line {line}: {refusal} ({})", refusal.reason));
            self.bad_lines.push(BadLine { line, id, refusal });
        }
    }

    /// Some jobs are tried again after a pause.
    pub(super) fn waits(&self, jobs: usize, pause: Duration) {
        self.progress.say(format_args!("{jobs} jobs could not be queued; again in {} ms", pause.as_millis()));
    }

    /// They were given up.
    pub(super) fn unavailable(&mut self, jobs: usize) {
        self.unavailable += u64::try_from(jobs).unwrap_or(u64::MAX);
    }

    /// The rest of the file is not read.
    pub(super) fn stop(&mut self, line: u64) {
        self.stopped_at_line = Some(line);
        self.end();
        self.progress.say(format_args!(
            "stopped after line {line}: the queue cannot be reached. Run it again when it can; nothing is sent twice"
        ));
    }

    /// The file has ended.
    pub(super) fn end(&mut self) {
        self.progress.finish();
        let told = u64::try_from(self.bad_lines.len()).unwrap_or(u64::MAX);
        if self.errors > told {
            self.progress.say(format_args!("and {} more bad lines", self.errors - told));
        }
    }

    /// Whether every line is a job that is queued now, or was before.
    pub(super) const fn is_clean(&self) -> bool {
        self.errors == 0 && self.unavailable == 0
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.dry_run { "dry run, nothing was queued: would queue" } else { "queued" };
        write!(
            f,
            "{word} {}, duplicate {}, errors {}, unavailable {}",
            self.queued, self.duplicate, self.errors, self.unavailable
        )
    }
}
