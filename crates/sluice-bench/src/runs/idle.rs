//! What a replica costs that has nothing to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Scale;
use super::programs::{Programs, Workers, enter_memory};
use crate::journal::Journal;
use crate::process;
use crate::run::{Figure, Run};
use crate::site::{Limits, Site};
use crate::stage::Stage;

const START_TIMEOUT: Duration = Duration::from_secs(90);
/// What is done once at the start is over by then.
const SETTLE: Duration = Duration::from_secs(5);

pub(super) fn run(stage: &Stage, scale: &Scale) -> anyhow::Result<Run> {
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(0));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let site = Site::new(scene.store(), vec![esp.addr()], Limits::Idle);
    let mut workers = Workers::start(&site.toml(), 1);
    workers.0.iter().for_each(|worker| worker.wait_ready(START_TIMEOUT));
    std::thread::sleep(SETTLE);
    let pids = workers.pids();
    let (begin, before) = (Instant::now(), process::cpu_of(&pids)?);
    std::thread::sleep(scale.idle);
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), process::cpu_of(&pids)?.saturating_sub(before));
    workers.check()?;
    workers.0.iter().for_each(|worker| worker.wait_ready(Duration::from_secs(1)));
    let mut run = Run { seconds, ..Run::default() };
    run.set(Figure::IdlePercent, cpu.as_secs_f64() / seconds * 100.0);
    enter_memory(&mut run, &pids)?;
    run.faults.extend(journal.faults(0..0));
    run.faults.extend(scene.queue_faults());
    Ok(run)
}
