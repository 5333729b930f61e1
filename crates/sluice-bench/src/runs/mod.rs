//! One run of each kind of case.

mod backlog;
mod embedded;
mod fan_out;
mod isolation;
mod priority;
mod programs;
mod references;
mod timing;
mod workers;

use crate::case::Kind;
use crate::run::Run;
use crate::stage::Stage;

/// How much work the runs do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Jobs of a backlog that is timed.
    pub(crate) jobs: usize,
    /// Jobs of a plain Python worker.
    pub(crate) python_jobs: usize,
    /// Jobs that are published at a steady pace afterwards, for the waits.
    pub(crate) paced_jobs: usize,
    /// Of each half of the isolation cases.
    pub(crate) half: usize,
    /// Bulk jobs that wait under one limit.
    pub(crate) priority_backlog: usize,
    /// Transactional jobs behind them.
    pub(crate) urgent: usize,
}

impl Scale {
    /// To measure.
    pub(crate) fn full(jobs: usize) -> Self {
        Self {
            jobs,
            python_jobs: jobs / 10,
            paced_jobs: 2_000,
            half: 10_000,
            priority_backlog: 100_000,
            urgent: 100,
        }
    }

    /// Just enough to see whether all is correct.
    pub(crate) fn quick(jobs: usize) -> Self {
        Self {
            jobs,
            python_jobs: jobs / 4,
            paced_jobs: 100,
            half: jobs / 2,
            priority_backlog: jobs,
            urgent: 20,
        }
    }
}

/// Measures once.
pub(crate) fn run(stage: &Stage, kind: &Kind, scale: &Scale) -> anyhow::Result<Run> {
    match kind {
        Kind::Reference(reference, latency) => references::bare(stage, *reference, *latency, scale),
        Kind::Python(latency) => references::python(stage, *latency, scale),
        Kind::Worker(shape) => workers::run(stage, shape, scale),
        Kind::Backlog => backlog::run(stage, scale),
        Kind::FanOut => fan_out::run(stage, scale),
        Kind::Embedded => embedded::run(stage, scale),
        Kind::Isolation(stuck, limits) => isolation::run(stage, *stuck, *limits, scale),
        Kind::Priority => priority::run(stage, scale),
    }
}
