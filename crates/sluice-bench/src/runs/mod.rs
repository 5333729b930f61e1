//! One run of each kind of case.

mod aged;
mod backlog;
mod depth;
mod embedded;
mod enqueue;
mod fan_out;
mod fan_out_lanes;
mod idle;
mod isolation;
mod limit;
mod priority;
mod programs;
mod references;
mod rolling;
mod timing;
mod webhooks;
mod workers;

use std::time::Duration;

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
    /// Files, tables and backlogs of the cases of growth are so many times smaller than their names say.
    pub(crate) smaller: usize,
    /// Workers that are started one after another on a backlog; its rate is the median of theirs.
    pub(crate) samples: usize,
    /// How long a replica is watched that has nothing to do.
    pub(crate) idle: Duration,
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
            smaller: 1,
            samples: 5,
            idle: Duration::from_secs(60),
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
            smaller: 100,
            samples: 2,
            idle: Duration::from_secs(2),
        }
    }
}

/// Measures once.
pub(crate) fn run(stage: &Stage, kind: &Kind, scale: &Scale) -> anyhow::Result<Run> {
    match kind {
        Kind::Reference(reference, latency, copies) => {
            references::bare(stage, *reference, *latency, *copies, scale)
        }
        Kind::Python(latency) => references::python(stage, *latency, scale),
        Kind::Worker(shape) => workers::run(stage, shape, scale),
        Kind::Backlog => backlog::run(stage, scale),
        Kind::FanOut => fan_out::run(stage, scale),
        Kind::FanOutLanes => fan_out_lanes::run(stage, scale),
        Kind::Webhooks => webhooks::run(stage, scale),
        Kind::Enqueue(lines) => enqueue::run(stage, lines / scale.smaller, scale),
        Kind::Embedded => embedded::run(stage, scale),
        Kind::Isolation(stuck, limits) => isolation::run(stage, *stuck, *limits, scale),
        Kind::Priority => priority::run(stage, scale),
        Kind::Rolling => rolling::run(stage, scale),
        Kind::Depth(backlog) => depth::run(stage, backlog / scale.smaller, scale),
        Kind::Idle => idle::run(stage, scale),
    }
}
