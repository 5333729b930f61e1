//! Bare programs on the same backlog, in the same lane, with the same ESP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Scale;
use super::programs::{Programs, Reference, References, THREADS, enter_memory, threads_of_each};
use super::timing::timed;
use super::workers::PACE_PER_SECOND;
use crate::job::{Address, message};
use crate::journal::Journal;
use crate::latency;
use crate::ledger;
use crate::process;
use crate::reference::Kind;
use crate::run::{Figure, Run};
use crate::site::{CALLS, Limits, ONE_DOMAIN, Site};
use crate::stage::{Scene, Stage, wait};

const QUEUE: &str = "sluice.lane.default.bulk.gmail";
const TABLE: &str = "CREATE TABLE result (id text COLLATE \"C\" PRIMARY KEY, state text NOT NULL, esp text,
    provider_message_id text, worker text, deadline timestamptz, updated_at timestamptz NOT NULL DEFAULT now())
    WITH (fillfactor = 50)";
const COMMITTED: &str = "SELECT count(*) FROM result WHERE state = 'accepted'";
/// Deliveries that the Python worker has in work.
const PYTHON_CONCURRENCY: usize = 200;
const PACED_TIMEOUT: Duration = Duration::from_secs(60);

/// One of ours, or several on the same lane.
pub(super) fn bare(
    stage: &Stage,
    kind: Kind,
    latency: Duration,
    copies: usize,
    scale: &Scale,
) -> anyhow::Result<Run> {
    let program = |scene: &Scene<'_>, esp: SocketAddr| -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("a running program has a path")?);
        let name = match kind {
            Kind::Drain => "drain",
            Kind::Ideal => "ideal",
            Kind::IdealClaim => "ideal-claim",
            Kind::IdealClaimHttp2 => "ideal-claim-http2",
            Kind::IdealWork => "ideal-work",
        };
        command.args(["reference", name, "--queue", QUEUE, "--amqp", &scene.amqp, "--db", &scene.db]);
        command.args(["--esp", &esp.to_string(), "--connections", &CALLS.to_string()]);
        command.args(["--jobs", &scale.jobs.to_string()]);
        command.env(THREADS, threads_of_each(copies));
        Ok(command)
    };
    if kind == Kind::Drain {
        drain(stage, scale, program)
    } else {
        work(stage, latency, copies, scale.jobs, scale, program)
    }
}

/// The one in Python.
pub(super) fn python(stage: &Stage, latency: Duration, scale: &Scale) -> anyhow::Result<Run> {
    let python = python_program()?;
    let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/worker.py");
    work(stage, latency, 1, scale.python_jobs, scale, |scene, esp| {
        let mut command = Command::new(&python);
        command.arg(&worker).args([&scene.amqp, QUEUE, &scene.db, &esp.to_string()]);
        command.arg(PYTHON_CONCURRENCY.to_string());
        Ok(command)
    })
}

fn python_program() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("SLUICE_BENCH_PYTHON")
        .context("SLUICE_BENCH_PYTHON is not set: run scripts/bench")?;
    let python = PathBuf::from(named);
    ensure!(python.is_file(), "SLUICE_BENCH_PYTHON: there is no {}", python.display());
    Ok(python)
}

/// A vhost with the lanes and `jobs` in one of them, and an empty table.
fn scene<'a>(stage: &'a Stage, esp: SocketAddr, jobs: usize) -> anyhow::Result<Scene<'a>> {
    let scene = stage.scene()?;
    let site = Site::new(scene.store(), vec![esp], Limits::Off);
    scene.prepare(&site.toml())?;
    scene.run_sql(TABLE)?;
    let address = Address::bulk(ONE_DOMAIN);
    scene.publish((0..jobs).map(|number| message(number, &address)))?;
    Ok(scene)
}

fn work(
    stage: &Stage,
    latency: Duration,
    copies: usize,
    jobs: usize,
    scale: &Scale,
    program: impl Fn(&Scene<'_>, SocketAddr) -> anyhow::Result<Command>,
) -> anyhow::Result<Run> {
    let all = jobs + scale.paced_jobs;
    let journal = Arc::new(Journal::new(all));
    let esp = stage.esp(&journal, latency)?;
    let scene = scene(stage, esp.addr(), jobs)?;
    let programs = (0..copies).map(|_| Reference::start(program(&scene, esp.addr())?));
    let mut programs = References(programs.collect::<anyhow::Result<_>>()?);
    let mut run = timed(&scene, &mut programs, &journal, jobs, COMMITTED)?;
    if !run.faults.is_empty() {
        return Ok(run);
    }
    enter_memory(&mut run, &programs.pids())?;
    let to = Address::bulk(ONE_DOMAIN);
    let steady = latency::publish_steadily(&scene.amqp, &to, jobs, scale.paced_jobs, PACE_PER_SECOND);
    let published = stage.runtime.block_on(steady);
    wait("the paced jobs", PACED_TIMEOUT, || Ok(scene.count(COMMITTED)? >= all))?;
    latency::enter(&mut run, &latency::waits(&journal, jobs, &published));
    run.faults.extend(scene.queue_faults());
    let told = programs.0.into_iter().map(Reference::end).collect::<anyhow::Result<Vec<_>>>()?;
    let told: Vec<Value> = told.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    run.set_some(Figure::ClaimRows, mean_rows(&told, "claim"));
    run.set_some(Figure::RecordRows, mean_rows(&told, "record"));
    run.faults.extend(journal.faults(0..all));
    run.faults.extend(stage.runtime.block_on(ledger::faults_of_reference(&scene.sql, all))?);
    Ok(run)
}

/// Over all programs, of which each tells rows and batches as a pair.
fn mean_rows(told: &[Value], batch: &str) -> Option<f64> {
    let sum = |place| -> f64 { told.iter().filter_map(|told| told.get(batch)?.get(place)?.as_f64()).sum() };
    let (rows, batches) = (sum(0_usize), sum(1));
    (batches > 0.0).then(|| rows / batches)
}

fn drain(
    stage: &Stage,
    scale: &Scale,
    program: impl Fn(&Scene<'_>, SocketAddr) -> anyhow::Result<Command>,
) -> anyhow::Result<Run> {
    let journal = Arc::new(Journal::new(0));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let scene = scene(stage, esp.addr(), scale.jobs)?;
    let mut programs = References(vec![Reference::start(program(&scene, esp.addr())?)?]);
    let pids = programs.pids();
    let before = process::cpu_of(&pids)?;
    let first = programs.0.first_mut().context("one was started")?;
    let seconds: f64 = first.line()?.parse().context("the program has failed")?;
    let cpu = process::cpu_of(&pids)?.saturating_sub(before);
    let mut run = Run::new(scale.jobs, seconds);
    run.set(Figure::CpuPerThousand, cpu.as_secs_f64() * 1_000.0 / scale.jobs as f64);
    enter_memory(&mut run, &pids)?;
    run.faults.extend(scene.queue_faults());
    Ok(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_sizes_are_means_and_missing_ones_are_left_out() {
        let told = |rows: u64| serde_json::json!({"claim": [0, 0], "record": [rows, 4]});
        let both = [told(300), told(500)];
        assert_eq!(mean_rows(&both, "record"), Some(100.0));
        assert_eq!(mean_rows(&both, "claim"), None);
        assert_eq!(mean_rows(&[Value::Null], "claim"), None);
    }
}
