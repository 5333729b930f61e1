//! `sluice-chaos`: runs scenarios for some minutes, one JSON line a run, and makes the table of docs/reliability.md.
//! Start it with `scripts/chaos`, which builds what it needs.
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a tool for tests, in real time")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use fastrand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_chaos::{
    ALL_FAULTS, Fault, LONG_FAULTS, MIXED, Report, Scenario, Servers, backlog, backlog_table, fault_of,
    named, strikes_table, table,
};

/// From so many minutes on, the faults of ten minutes have a run each too, before the others.
const LONG_FROM_MINUTES: u64 = 30;
/// The name of a run without faults.
const NO_FAULTS: &str = "none";
/// How long the load of a run with a fault of ten minutes lasts.
const LONG_LOAD_S: f64 = 650.0;
/// How long a replica is watched before a backlog.
const WATCHED: Duration = Duration::from_secs(60);

/// Breaks Sluice, and judges what is left.
#[derive(Debug, Parser)]
struct Options {
    /// The first run's seed; each further run takes the next one. By default a random one.
    #[arg(long)]
    seed: Option<u64>,
    /// How long to begin new runs.
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// Only these faults, each in runs of its own; `mixed` for runs of all. By default all of them in turns, and from half an hour
    /// on those of ten minutes first.
    #[arg(long)]
    fault: Vec<String>,
    /// Messages of each run.
    #[arg(long, default_value_t = 10_000)]
    messages: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 400.0)]
    rate: f64,
    /// Replicas; by default 1 to 4, by the seed.
    #[arg(long)]
    replicas: Option<usize>,
    /// Begins each run with replicas of this older binary, and replaces them one by one by this build's. Without --fault there
    /// are no faults beside that.
    #[arg(long)]
    upgrade_from: Option<PathBuf>,
    /// Where the JSON lines are appended.
    #[arg(long, default_value = "target/chaos/runs.jsonl")]
    out: PathBuf,
    /// Of a thousand messages, how many are no jobs.
    #[arg(long, default_value_t = 5)]
    malformed: u32,
    /// No more strikes than this in a run, from each of the two threads of faults.
    #[arg(long, default_value_t = usize::MAX)]
    strikes: usize,
    /// Plays no runs: queues so many jobs before a replica starts, and tells what memory that needs.
    #[arg(long)]
    backlog: Option<usize>,
    /// Plays one run without faults, of so many malformed messages and a tenth as many jobs.
    #[arg(long, conflicts_with = "backlog")]
    flood: Option<usize>,
    /// Only prints the tables of what is in `--out`, and of the backlogs beside it.
    #[arg(long)]
    table: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if options.table {
        let reports = read::<Report>(&options.out)?;
        print!("{}\n{}", table(&reports), strikes_table(&reports));
        let backlogs = backlogs(&options.out);
        if backlogs.exists() {
            print!("\n{}", backlog_table(&read(&backlogs)?));
        }
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let failed = runtime.block_on(play(&options))?;
    anyhow::ensure!(failed == 0, "{failed} runs failed, see {}", options.out.display());
    Ok(())
}

/// Plays runs until the time is over; how many of them failed.
async fn play(options: &Options) -> anyhow::Result<usize> {
    let first = options.seed.unwrap_or_else(|| fastrand::u64(1..1_000_000));
    println!("seed {first}");
    let mut servers = Arc::new(tokio::task::spawn_blocking(Servers::start).await?);
    if let Some(count) = options.backlog {
        let seen = backlog(&servers, count, WATCHED).await;
        println!("{}", serde_json::to_string(&seen)?);
        append(&backlogs(&options.out), &seen)?;
        return Ok(0);
    }
    if let Some(count) = options.flood {
        let report = flood(options, first, count).run(&servers).await;
        say(&report);
        append(&options.out, &report)?;
        return Ok(usize::from(!report.verdict.holds()));
    }
    let begin = Instant::now();
    let (mut runs, mut failed) = (0_u64, 0);
    let mut long = longs(options).into_iter();
    let mut seeds = first..;
    while runs == 0 || begin.elapsed() < Duration::from_secs(options.minutes * 60) {
        let scenario = match long.next() {
            Some(fault) => long_scenario(options, first, fault),
            None => scenario(options, seeds.next().unwrap_or(first))?,
        };
        runs += 1;
        println!("seed {}: {}, {} replicas", scenario.seed, scenario.name, scenario.replicas);
        let (its, played) = (Arc::clone(&servers), scenario.seed);
        let report = match tokio::spawn(async move { scenario.run(&its).await }).await {
            Ok(report) => report,
            // Not a verdict: a server that did not come up again in time, say. The next run has fresh ones.
            Err(error) => {
                println!("  NO VERDICT, the harness itself broke at seed {played}: {error}");
                failed += 1;
                servers = Arc::new(tokio::task::spawn_blocking(Servers::start).await?);
                continue;
            }
        };
        failed += usize::from(!report.verdict.holds());
        say(&report);
        append(&options.out, &report)?;
    }
    Ok(failed)
}

/// The run that belongs to a seed.
fn scenario(options: &Options, seed: u64) -> anyhow::Result<Scenario> {
    let mut rng = Rng::with_seed(seed);
    let name = match options.fault.as_slice() {
        [] if options.upgrade_from.is_some() => NO_FAULTS.to_owned(),
        [] => fault_of(seed).to_owned(),
        names => rng.choice(names).cloned().unwrap_or_default(),
    };
    let faults: Vec<Fault> = match name.as_str() {
        MIXED => ALL_FAULTS.to_vec(),
        NO_FAULTS => Vec::new(),
        name => vec![named(name).with_context(|| format!("no fault is called {name}"))?],
    };
    Ok(Scenario {
        seed,
        name: match &options.upgrade_from {
            None => name,
            Some(_) if name == NO_FAULTS => "upgrade".to_owned(),
            Some(_) => format!("upgrade + {name}"),
        },
        faults,
        upgrade_from: options.upgrade_from.clone(),
        replicas: options.replicas.unwrap_or_else(|| rng.usize(1..5)),
        messages: options.messages,
        rate: options.rate,
        malformed_permille: options.malformed,
        strikes_max: options.strikes,
        settle_max: Duration::from_secs(240),
    })
}

/// The long faults that have a run each before the turns of the others begin.
fn longs(options: &Options) -> Vec<Fault> {
    let is_long =
        options.fault.is_empty() && options.upgrade_from.is_none() && options.minutes >= LONG_FROM_MINUTES;
    if is_long { LONG_FAULTS.to_vec() } else { Vec::new() }
}

/// One strike of a long fault, and as many messages as in other runs, spread over all of it.
fn long_scenario(options: &Options, seed: u64, fault: Fault) -> Scenario {
    let messages = u32::try_from(options.messages).unwrap_or(u32::MAX);
    Scenario {
        seed,
        name: fault.name.to_owned(),
        faults: vec![fault],
        upgrade_from: None,
        replicas: options.replicas.unwrap_or(2),
        messages: options.messages,
        rate: options.rate.min(f64::from(messages) / LONG_LOAD_S),
        malformed_permille: options.malformed,
        strikes_max: 1,
        settle_max: Duration::from_secs(240),
    }
}

/// Ten malformed messages for each job, and no faults.
fn flood(options: &Options, seed: u64, malformed: usize) -> Scenario {
    Scenario {
        seed,
        name: "malformed_flood".to_owned(),
        faults: Vec::new(),
        upgrade_from: None,
        replicas: options.replicas.unwrap_or(1),
        messages: malformed + malformed / 10,
        rate: options.rate,
        malformed_permille: 910,
        strikes_max: 0,
        settle_max: Duration::from_secs(600),
    }
}

/// Where the backlogs are kept.
fn backlogs(out: &Path) -> PathBuf {
    out.with_file_name("backlogs.jsonl")
}

fn say(report: &Report) {
    let verdict = &report.verdict;
    println!(
        "  {} jobs and {} malformed in {:.0} s + {:.0} s ({:.0} s in all), {} strikes: lost {}, unflagged duplicates {}, \
         flagged unknowns {}, flagged duplicates {}, untold {}, overshoot {:?}, states {:?}",
        verdict.jobs,
        verdict.malformed,
        report.load_s,
        report.settle_s,
        report.total_s,
        report.strikes.len(),
        verdict.lost,
        verdict.unflagged_duplicates,
        verdict.flagged_unknowns,
        verdict.flagged_duplicates,
        verdict.untold + verdict.told_wrongly,
        verdict.overshoot,
        verdict.states,
    );
    for complaint in &verdict.complaints {
        println!("  FAILED: {complaint}");
    }
}

fn append(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::options().create(true).append(true).open(path)?;
    writeln!(file, "{}", serde_json::to_string(report)?).context("runs could not be written")
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| serde_json::from_str(line).context("a line is no report")).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn options(line: &str) -> Options {
        Options::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_options_do_not_contradict_one_another() {
        Options::command().debug_assert();
    }

    #[test]
    fn an_upgrade_has_only_the_faults_that_are_named() {
        let alone = scenario(&options("chaos --upgrade-from /bin/sluice-of-before"), 6).unwrap();
        assert_eq!((alone.name.as_str(), alone.faults.len()), ("upgrade", 0));
        assert_eq!(alone.upgrade_from, Some(PathBuf::from("/bin/sluice-of-before")));
        let mixed = scenario(&options("chaos --upgrade-from old --fault mixed"), 7).unwrap();
        assert_eq!((mixed.name.as_str(), mixed.faults.len()), ("upgrade + mixed", ALL_FAULTS.len()));
        assert!(scenario(&options("chaos --fault nonesuch"), 7).is_err());
    }

    #[test]
    fn only_a_long_play_of_everything_begins_with_the_long_faults() {
        let longs = |line: &str| longs(&options(line)).len();
        assert_eq!(longs("chaos --minutes 60"), LONG_FAULTS.len());
        assert_eq!(longs("chaos --minutes 29"), 0);
        assert_eq!(longs("chaos --minutes 60 --fault line_cut"), 0);
        assert_eq!(longs("chaos --minutes 60 --upgrade-from old"), 0);
        let first = long_scenario(&options("chaos --messages 22000 --rate 700"), 1, LONG_FAULTS[0]);
        assert!((33.0..34.0).contains(&first.rate) && first.strikes_max == 1, "{first:?}");
    }
}
