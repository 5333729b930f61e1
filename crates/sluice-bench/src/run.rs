//! What one run of a case found out.

use std::collections::BTreeMap;

use serde::Serialize;

/// Figures of one run, and what was wrong with it. A figure that the case does not have is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Run {
    /// Jobs that were timed.
    pub(crate) jobs: usize,
    /// From the first call to the last committed row.
    pub(crate) seconds: f64,
    #[serde(flatten)]
    pub(crate) figures: BTreeMap<Figure, f64>,
    /// What the journal, the rows and the queues say that should not be. Empty: the run was correct.
    pub(crate) faults: Vec<String>,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// Jobs per second.
    JobsPerSecond,
    /// CPU seconds of all workers, user and system, for 1,000 jobs.
    CpuPerThousand,
    /// The same of RabbitMQ.
    BrokerCpuPerThousand,
    /// The same of Postgres.
    DatabaseCpuPerThousand,
    /// The same of this process, which is the ESP.
    EspCpuPerThousand,
    /// The largest resident set of any worker, in MiB.
    PeakRssMib,
    /// Half of the jobs waited no longer than this, from publication to the ESP, in milliseconds.
    P50Ms,
    /// The same for 99 of 100.
    P99Ms,
    /// Rows of a claim statement, on average.
    ClaimRows,
    /// Rows of a result statement, on average.
    RecordRows,
    /// Share of the limit that was used.
    LimitUsed,
    /// The most calls in any one second.
    BusiestSecond,
    /// Messages that a bare publisher has confirmed per second, into the same lanes.
    ConfirmsPerSecond,
    /// Jobs per second over many more of them.
    LongPerSecond,
    /// Replicas that ended and were replaced.
    Restarts,
    /// The longest time in which no job reached the ESP, in milliseconds.
    PauseMs,
    /// CPU of a replica without work, in percent of one core.
    IdlePercent,
    /// Bytes that Postgres wrote to its log, per job.
    LogBytes,
    /// Bytes that a job takes in the tables and their indexes.
    TableBytes,
}

impl Run {
    /// A run of `jobs` that took `seconds`.
    pub(crate) fn new(jobs: usize, seconds: f64) -> Self {
        let mut run = Self { jobs, seconds, ..Self::default() };
        run.set(Figure::JobsPerSecond, jobs as f64 / seconds.max(f64::EPSILON));
        run
    }

    pub(crate) fn set(&mut self, figure: Figure, value: f64) {
        self.figures.insert(figure, value);
    }

    pub(crate) fn set_some(&mut self, figure: Figure, value: Option<f64>) {
        self.figures.extend(value.map(|value| (figure, value)));
    }
}
