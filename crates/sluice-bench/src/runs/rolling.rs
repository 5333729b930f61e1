//! A backlog whose replicas are restarted one after the other, as a new version is rolled out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Scale;
use super::programs::{Programs, Workers};
use super::timing::work_timeout;
use super::workers::committed;
use crate::job::{Address, message};
use crate::journal::Journal;
use crate::ledger;
use crate::run::{Figure, Run};
use crate::site::{Limits, ONE_DOMAIN, Site};
use crate::stage::{Stage, wait};

const REPLICAS: usize = 4;
/// As long as the orchestrator of an operator would wait for one to start, or to end.
const TURN_TIMEOUT: Duration = Duration::from_secs(90);
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// One replica at a time ends and is replaced, the next as soon as the new one is ready, until all jobs have been sent.
pub(super) fn run(stage: &Stage, scale: &Scale) -> anyhow::Result<Run> {
    let jobs = scale.jobs;
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(jobs));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let site = Site::new(scene.store(), vec![esp.addr()], Limits::Idle);
    scene.prepare(&site.toml())?;
    scene.publish((0..jobs).map(|number| message(number, &Address::bulk(ONE_DOMAIN))))?;
    let mut workers = Workers::start(&site.toml(), REPLICAS);
    wait("the first call", TURN_TIMEOUT, || workers.check().map(|()| journal.accepted() > 0))?;
    let (mut restarts, until) = (0_u32, Instant::now() + work_timeout(jobs));
    while restarts == 0 || (journal.accepted() < jobs && Instant::now() < until) {
        let oldest = workers.0.remove(0);
        oldest.sigterm();
        let status = oldest.wait(TURN_TIMEOUT);
        anyhow::ensure!(status.success(), "a worker ended with {status}:\n{}", oldest.log());
        let next = Workers::start_one(&site.toml(), REPLICAS);
        next.wait_ready(TURN_TIMEOUT);
        workers.0.push(next);
        workers.check()?;
        restarts += 1;
    }
    wait("all rows", COMMIT_TIMEOUT, || Ok(scene.count(&committed())? >= jobs))?;
    let arrivals = journal.arrivals(0..jobs);
    let (begin, end) = arrivals.first().zip(arrivals.last()).context("nothing has come")?;
    let mut run = Run::new(jobs, (*end - *begin).as_secs_f64());
    run.set(Figure::Restarts, f64::from(restarts));
    let pauses = arrivals.iter().zip(arrivals.iter().skip(1)).map(|(one, next)| *next - *one);
    run.set_some(Figure::PauseMs, pauses.max().map(|pause| pause.as_secs_f64() * 1_000.0));
    workers.enter(&mut run)?;
    run.faults.extend(workers.end());
    run.faults.extend(journal.faults(0..jobs));
    run.faults.extend(scene.queue_faults());
    run.faults.extend(stage.runtime.block_on(ledger::faults_of_worker(&scene.sql, jobs))?);
    Ok(run)
}
