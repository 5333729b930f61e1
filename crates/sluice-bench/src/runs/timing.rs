//! From the first call to the last committed row, and the CPU between the two.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::programs::Programs;
use crate::journal::Journal;
use crate::process;
use crate::run::{Figure, Run};
use crate::stage::{Scene, wait};

const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Far more than any sound run takes.
const WORK_TIMEOUT: Duration = Duration::from_secs(600);
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
    wait("all calls", WORK_TIMEOUT, || programs.check().map(|()| journal.accepted() >= jobs))?;
    wait("all rows", COMMIT_TIMEOUT, || Ok(scene.count(committed)? >= jobs))?;
    let end = Instant::now();
    let cpu = process::cpu_of(&pids)?.saturating_sub(cpu_before);
    let begin = journal.arrivals(0..jobs).first().copied().context("nothing has come")?;
    let mut run = Run::new(jobs, (end - begin).as_secs_f64());
    run.set(Figure::CpuPerThousand, cpu.as_secs_f64() * 1_000.0 / jobs as f64);
    Ok(run)
}
