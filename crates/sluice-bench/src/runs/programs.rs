//! The processes that are measured.

use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use sluice_testkit::services::SluiceProcess;

use crate::metrics;
use crate::process;
use crate::run::{Figure, Run};

/// Twice what a worker takes at most, by default, to drain.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// How many threads the runtime of a process has.
pub(super) const THREADS: &str = "TOKIO_WORKER_THREADS";

/// As the README tells operators: processes that share a machine have its cores divided among them.
pub(super) fn threads_of_each(count: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (cores / count.max(1)).max(1).to_string()
}

/// Processes whose CPU and memory count.
pub(super) trait Programs {
    fn pids(&self) -> Vec<u32>;

    /// Fails if one of them is gone.
    fn check(&mut self) -> anyhow::Result<()>;
}

/// Replicas of the worker.
#[derive(Debug)]
pub(super) struct Workers(pub(super) Vec<SluiceProcess>);

impl Workers {
    pub(super) fn start(toml: &str, count: usize) -> Self {
        Self((0..count).map(|_| Self::start_one(toml, count)).collect())
    }

    /// One of `count` that share the machine.
    pub(super) fn start_one(toml: &str, count: usize) -> SluiceProcess {
        SluiceProcess::command(toml).env(THREADS, threads_of_each(count)).start()
    }

    /// Tells them to end and waits until they have. One that does not end in order is a fault of the run.
    pub(super) fn end(self) -> Vec<String> {
        self.0.iter().for_each(SluiceProcess::sigterm);
        let ended = self.0.iter().map(|worker| worker.wait(END_TIMEOUT));
        ended
            .filter(|status| !status.success())
            .map(|status| format!("a worker ended with {status}"))
            .collect()
    }

    /// Enters batch sizes and memory.
    pub(super) fn enter(&self, run: &mut Run) -> anyhow::Result<()> {
        let pages = self.0.iter().map(|worker| worker.get("/metrics").map(|(_, page)| page));
        let pages = pages.collect::<Result<Vec<_>, _>>().context("a worker does not show its metrics")?;
        run.set_some(Figure::ClaimRows, metrics::mean_rows(&pages, "claim"));
        run.set_some(Figure::RecordRows, metrics::mean_rows(&pages, "record"));
        enter_memory(run, &self.pids())
    }
}

impl Programs for Workers {
    fn pids(&self) -> Vec<u32> {
        self.0.iter().map(SluiceProcess::pid).collect()
    }

    fn check(&mut self) -> anyhow::Result<()> {
        match self.0.iter().find_map(|worker| Some((worker.status()?, worker.log()))) {
            Some((status, log)) => bail!("a worker has ended with {status}:\n{log}"),
            None => Ok(()),
        }
    }
}

/// A program that works until its standard input ends.
#[derive(Debug)]
pub(super) struct Reference {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Reference {
    pub(super) fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the program")?;
        let lines = BufReader::new(child.stdout.take().context("its output is piped")?);
        Ok(Self { child, lines })
    }

    /// The next line that it prints.
    pub(super) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Ends it, and answers its last line.
    pub(super) fn end(mut self) -> anyhow::Result<String> {
        drop(self.child.stdin.take());
        let line = self.line()?;
        self.child.wait()?;
        Ok(line)
    }
}

/// One or several on the same lane.
#[derive(Debug)]
pub(super) struct References(pub(super) Vec<Reference>);

impl Programs for References {
    fn pids(&self) -> Vec<u32> {
        self.0.iter().map(|program| program.child.id()).collect()
    }

    fn check(&mut self) -> anyhow::Result<()> {
        for program in &mut self.0 {
            if let Some(status) = program.child.try_wait()? {
                bail!("the program has ended with {status}");
            }
        }
        Ok(())
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // Already gone after an orderly end.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Enters the largest memory of `pids`.
pub(super) fn enter_memory(run: &mut Run, pids: &[u32]) -> anyhow::Result<()> {
    let peaks = pids.iter().map(|pid| process::peak_rss_mib(*pid)).collect::<anyhow::Result<Vec<f64>>>()?;
    run.set_some(Figure::PeakRssMib, peaks.into_iter().reduce(f64::max));
    Ok(())
}
