//! The command line.

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::{Parser, Subcommand};

use crate::case::{self, Case};
use crate::reference::{self, ReferenceArgs};
use crate::report::{Machine, Measured, Report, update};
use crate::run::{Figure, Run};
use crate::runs::{self, Scale};
use crate::stage::Stage;

/// So many, some five seconds of work, that the start is a small part: the worker has connections to open and slots to lease first.
const JOBS: usize = 150_000;
const RUNS: usize = 3;
const QUICK_JOBS: usize = 1_000;
/// Ids and journal have room for more; nobody waits for it.
const JOBS_MAX: usize = 5_000_000;

const EXPLANATION: &str = "\
How it is measured:
  Private RabbitMQ (quorum queues) and Postgres (fsync and synchronous_commit on) with stock
  settings; real `sluice run` processes, built as for the image; an ESP on loopback, inside this
  process, that answers 202 and notes which job came when. Jobs of 1.5 KB lie in their lanes before
  the worker starts, so that no publisher is measured.
    jobs/s        from the first call at the ESP to the last committed row; in `fan-out-lanes`,
                  `webhooks` and `enqueue-*` rows, events and lines
    CPU s/1,000   CPU seconds of all workers, user and system, for 1,000 jobs; then the same of
                  RabbitMQ, of Postgres and of the ESP, with which they share the machine
    p50, p99      from publication to the ESP, of jobs published afterwards at 500/s; in `backlog`
                  and `priority` those of the transactional jobs; in `isolation-*` and `paced-*`
                  from the worker's start
    rows/claim    rows of a statement on average; rows/result likewise
  With --growth:
    of the first  jobs/s, as a share of the first case of the same kind
    over 150,000  jobs/s over so many jobs of a backlog; the other figure is over 14,000 after
                  4,000, five times
    log, table    bytes that Postgres wrote to its log, and that the tables grew by with their
                  indexes, per job
    idle CPU      of a replica without work, in percent of one core
  The reference programs do less than the worker on the same queue and the same ESP: the ratios are
  the result, the absolute figures are the machine's.

  Each run is also a check: every job reached the ESP once, the rows say the same, queues and
  `pending` are empty, no limit was exceeded in any second. If not, it says so and the exit code
  is 1.

Examples:
  scripts/bench                                   all cases, 3 runs each; an hour or so
  scripts/bench --quick                           is all correct? 1 run with few jobs, some minutes
  scripts/bench --case base --case ideal-claim    two cases beside each other
  scripts/bench --growth                          how cost grows: with the age of the tables, the
                                                  backlog, replicas, keys; an hour, 20 GB of disk
  scripts/bench --case limits-idle --jobs 200000 --runs 1
  scripts/bench --json > figures.json
  scripts/bench --list";

/// Measures the worker beside bare programs of the same kind.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench", after_help = EXPLANATION, disable_help_subcommand = true)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    /// Only this case; may be given several times
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Jobs of a run on a backlog [default: 150000, with --quick 1000]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Runs of each case [default: 3, with --quick 1]
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// The cases of growth instead of the others
    #[arg(long, conflicts_with = "cases")]
    growth: bool,
    /// Few jobs, one run, each kind of case once: shows whether all is correct, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
    /// Write table and plot into DIR/benchmarks.md and DIR/benchmarks.svg
    #[arg(long, value_name = "DIR")]
    update_docs: Option<PathBuf>,
    /// List the cases and end
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One of the reference programs, as this program starts it
    #[command(hide = true)]
    Reference(ReferenceArgs),
}

/// Does what the command line says; false if a run was not correct.
pub(crate) fn main() -> anyhow::Result<bool> {
    let cli = Cli::parse();
    if let Some(Command::Reference(args)) = &cli.command {
        return reference::main(args).map(|()| true);
    }
    if cli.list {
        let lines = case::all().into_iter().map(|case| format!("{:<26} {}\n", case.name, case.about));
        return print(&lines.collect::<String>()).map(|()| true);
    }
    let cases = chosen(&cli)?;
    let (jobs, runs) = if cli.quick { (QUICK_JOBS, 1) } else { (JOBS, RUNS) };
    let (jobs, runs) = (cli.jobs.unwrap_or(jobs), cli.runs.unwrap_or(runs));
    ensure!((100..=JOBS_MAX).contains(&jobs), "--jobs must be between 100 and {JOBS_MAX}");
    ensure!((1..=100).contains(&runs), "--runs must be between 1 and 100");
    let scale = if cli.quick { Scale::quick(jobs) } else { Scale::full(jobs) };

    let load = crate::report::load();
    note("starting RabbitMQ and Postgres");
    let stage = Stage::start(cli.quick)?;
    let machine = Machine::look(&stage, load)?;
    // Round by round, so that a noisy minute spoils one run of several cases and not all of one.
    let mut measured: Vec<Measured> = cases
        .iter()
        .map(|case| Measured {
            name: case.name,
            about: case.about,
            kind: case.kind.clone(),
            is_growth: case.is_growth,
            runs: Vec::new(),
        })
        .collect();
    for round in 1..=runs {
        for case in &mut measured {
            note(&format!("{} ({round} of {runs})", case.name));
            let begin = Instant::now();
            let run = runs::run(&stage, &case.kind, &scale).unwrap_or_else(|error| failed(&error));
            note(&format!("    {} ({:.0} s in all)", summary(&run), begin.elapsed().as_secs_f64()));
            case.runs.push(run);
        }
    }
    let report = Report { machine, measured, quick: cli.quick };
    if let Some(docs) = &cli.update_docs {
        update(docs, &report)?;
    }
    if cli.json {
        print(&format!("{:#}\n", report.json()))?;
    } else {
        print(&report.text())?;
    }
    Ok(report.is_correct())
}

fn chosen(cli: &Cli) -> anyhow::Result<Vec<Case>> {
    let all = case::all();
    if let Some(unknown) = cli.cases.iter().find(|name| !all.iter().any(|case| case.name == name.as_str())) {
        anyhow::bail!("--case: there is no {unknown:?}; scripts/bench --list names all");
    }
    let is_chosen = |case: &Case| {
        if cli.cases.is_empty() {
            if cli.quick && !cli.growth { case.is_smoke() } else { case.is_growth == cli.growth }
        } else {
            cli.cases.iter().any(|name| name == case.name)
        }
    };
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// A run that could not be finished is not correct; the others go on.
fn failed(error: &anyhow::Error) -> Run {
    Run { faults: vec![format!("{error:#}")], ..Run::default() }
}

fn summary(run: &Run) -> String {
    let figure =
        |figure, unit: &str| run.figures.get(&figure).map(|value: &f64| format!("{value:.1} {unit}"));
    let figures = [
        figure(Figure::JobsPerSecond, "jobs/s"),
        figure(Figure::P50Ms, "ms p50"),
        figure(Figure::P99Ms, "ms p99"),
        figure(Figure::PeakRssMib, "MiB"),
        figure(Figure::IdlePercent, "% of a core"),
        figure(Figure::Restarts, "restarts"),
        figure(Figure::PauseMs, "ms pause"),
    ];
    let mut words: Vec<String> = figures.into_iter().flatten().collect();
    words.extend(run.faults.iter().map(|fault| format!("NOT CORRECT: {fault}")));
    words.join(", ")
}

/// Progress, on stderr; there is nobody to tell if that fails.
pub(crate) fn note(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_an_unknown_case_is_named() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let chosen = |args: &[&str]| {
            chosen(&Cli::try_parse_from(["bench"].iter().chain(args)).unwrap())
                .map(|cases| cases.into_iter().map(|case| case.name).collect::<Vec<_>>())
        };
        let error = chosen(&["--case", "base", "--case", "bsae"]).unwrap_err().to_string();
        assert!(error.contains("--case: there is no \"bsae\""), "{error}");
        assert_eq!(chosen(&["--case", "base", "--case", "drain"]).unwrap(), ["drain", "base"]);
        let (usual, growth, quick) =
            (chosen(&[]).unwrap(), chosen(&["--growth"]).unwrap(), chosen(&["--quick"]).unwrap());
        assert_eq!(usual.len() + growth.len(), case::all().len());
        assert!(usual.contains(&"base") && !usual.contains(&"growth-idle"), "{usual:?}");
        assert!(growth.contains(&"growth-idle") && !growth.contains(&"base"), "{growth:?}");
        assert!(quick.contains(&"base") && quick.contains(&"growth-idle"), "{quick:?}");
        assert!(!quick.contains(&"python-20ms") && !quick.contains(&"growth-keys-1"), "{quick:?}");
    }
}
