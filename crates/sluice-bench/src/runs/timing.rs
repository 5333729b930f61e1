//! From the first call to the last committed row, and the CPU between the two.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::programs::Programs;
use crate::journal::Journal;
use crate::process;
use crate::run::{Figure, Run};
use crate::stage::{Scene, Stage, comes, wait};

const START_TIMEOUT: Duration = Duration::from_secs(90);
/// No sound run is slower than this and a minute: what has come by then is the result, and a fault.
const LEAST_PER_SECOND: u32 = 500;
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// Times the jobs `0..jobs`, until `committed` (a query) counts all of them.
pub(super) fn timed(
    scene: &Scene<'_>,
    programs: &mut impl Programs,
    journal: &Journal,
    jobs: usize,
    committed: &str,
) -> anyhow::Result<Run> {
    let pids = programs.pids();
    wait("the first call", START_TIMEOUT, || programs.check().map(|()| journal.accepted() > 0))?;
    let cpu_before = process::cpu_of(&pids)?;
    let others = Others::now(scene);
    let timeout = work_timeout(jobs);
    if !comes(timeout, || programs.check().map(|()| journal.accepted() >= jobs))? {
        let come = journal.accepted();
        let mut run = Run::new(come, timeout.as_secs_f64());
        run.faults.push(format!("only {come} of {jobs} jobs in {} s", timeout.as_secs()));
        return Ok(run);
    }
    wait("all rows", COMMIT_TIMEOUT, || Ok(scene.count(committed)? >= jobs))?;
    let end = Instant::now();
    let cpu = process::cpu_of(&pids)?.saturating_sub(cpu_before);
    let begin = journal.arrivals(0..jobs).first().copied().context("nothing has come")?;
    let mut run = Run::new(jobs, (end - begin).as_secs_f64());
    run.set(Figure::CpuPerThousand, cpu.as_secs_f64() * 1_000.0 / jobs as f64);
    others.enter(&mut run, &Others::now(scene));
    Ok(run)
}

/// CPU time of all that shares the machine with the workers.
struct Others([(Figure, Duration); 3]);

impl Others {
    fn now(scene: &Scene<'_>) -> Self {
        let Stage { broker, database, .. } = scene.stage;
        Self([
            (Figure::BrokerCpuPerThousand, process::cpu_of_server(&broker.pids())),
            (Figure::DatabaseCpuPerThousand, process::cpu_of_server(&database.pids())),
            (Figure::EspCpuPerThousand, process::cpu_of_server(&[std::process::id()])),
        ])
    }

    fn enter(&self, run: &mut Run, then: &Self) {
        for ((figure, before), (_, after)) in self.0.iter().zip(then.0) {
            let cpu = after.saturating_sub(*before).as_secs_f64();
            run.set(*figure, cpu * 1_000.0 / run.jobs as f64);
        }
    }
}

/// How long `jobs` may take.
pub(super) fn work_timeout(jobs: usize) -> Duration {
    Duration::from_secs(240)
        + Duration::from_secs(1) * u32::try_from(jobs).unwrap_or(u32::MAX) / LEAST_PER_SECOND
}
