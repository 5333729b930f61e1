//! The embedded default: queue and ledger on one SQLite file, filled by `sluice enqueue` before the worker starts.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;
use sluice_testkit::services::{SluiceProcess, sluice_binary};

use super::Scale;
use super::programs::{Programs, Workers};
use super::timing::work_timeout;
use crate::job::{self, Address};
use crate::journal::Journal;
use crate::process;
use crate::run::{Figure, Run};
use crate::site::{Limits, ONE_DOMAIN, Site, Store};
use crate::stage::{Stage, wait};

const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(stage: &Stage, scale: &Scale) -> anyhow::Result<Run> {
    let jobs = scale.jobs;
    // A disk, where /tmp may be memory.
    let folder = tempfile::Builder::new().prefix("sluice-bench-").tempdir_in("/var/tmp")?;
    let journal = Arc::new(Journal::new(jobs));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let store = Store::Embedded { file: folder.path().join("sluice.db") };
    let site = Site::new(store, vec![esp.addr()], Limits::Off);
    let config = folder.path().join("sluice.toml");
    std::fs::write(&config, site.toml())?;
    let lines = folder.path().join("jobs.jsonl");
    write_jobs(&lines, jobs)?;
    let enqueued =
        Command::new(sluice_binary()).arg("--config").arg(&config).arg("enqueue").arg(&lines).output();
    let enqueued = enqueued.context("cannot run sluice enqueue")?;
    ensure!(enqueued.status.success(), "sluice enqueue: {}", String::from_utf8_lossy(&enqueued.stderr));

    let mut workers = Workers::start(&site.toml(), 1);
    let pids = workers.pids();
    wait("the first call", work_timeout(jobs), || workers.check().map(|()| journal.accepted() > 0))?;
    let before = process::cpu_of(&pids)?;
    wait("all calls", work_timeout(jobs), || workers.check().map(|()| journal.accepted() >= jobs))?;
    let worker = workers.0.first().context("there is one")?;
    wait("all rows", COMMIT_TIMEOUT, || Ok(accepted(worker)? >= jobs))?;
    let end = Instant::now();
    let cpu = process::cpu_of(&pids)?.saturating_sub(before);
    let begin = journal.arrivals(0..jobs).first().copied().context("nothing has come")?;
    let mut run = Run::new(jobs, (end - begin).as_secs_f64());
    run.set(Figure::CpuPerThousand, cpu.as_secs_f64() * 1_000.0 / jobs as f64);
    workers.enter(&mut run)?;
    run.faults.extend(journal.faults(0..jobs));
    let status = status(workers.0.first().context("there is one")?)?;
    if status.get("jobs") != Some(&only_accepted(&status, jobs)) {
        run.faults.push(format!("not {jobs} accepted jobs and no others: {status}"));
    }
    Ok(run)
}

fn write_jobs(file: &std::path::Path, jobs: usize) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    let address = Address::bulk(ONE_DOMAIN);
    for number in 0..jobs {
        writeln!(out, "{}", job::body(number, &address))?;
    }
    out.flush().context("cannot write the jobs")
}

/// What `/system/status` says of the store.
fn status(worker: &SluiceProcess) -> anyhow::Result<Value> {
    let (_, body) = worker.get("/system/status").context("the worker does not answer")?;
    let status: Value = serde_json::from_str(&body).context("the status is not JSON")?;
    status.get("counts").filter(|counts| counts.is_object()).cloned().context("the status lacks the counts")
}

fn accepted(worker: &SluiceProcess) -> anyhow::Result<usize> {
    let count = status(worker)?.pointer("/jobs/accepted").and_then(Value::as_u64).unwrap_or(0);
    Ok(usize::try_from(count)?)
}

/// The counts by state as they should be: those that are there, all of them 0 but one.
fn only_accepted(status: &Value, jobs: usize) -> Value {
    let states =
        status.get("jobs").and_then(Value::as_object).map(|it| it.keys().cloned().collect::<Vec<_>>());
    let count = |state: &str| if state == "accepted" { jobs } else { 0 };
    states.unwrap_or_default().into_iter().map(|state| (state.clone(), Value::from(count(&state)))).collect()
}
