//! `sluice demo`: the real pipeline on the embedded default, three sandbox ESPs, and a count of what became of every
//! message. `scenario.rs` says what is sent, `stage.rs` runs it, `tally.rs` compares the ledger with the journals.

mod config;
mod counters;
mod evidence;
mod message;
mod progress;
mod publisher;
mod report;
mod scenario;
mod stage;
mod tally;

use std::path::PathBuf;

use self::config::Files;
use self::report::{Facts, Report};
use self::scenario::Scenario;
use self::stage::Stage;
use self::tally::Tally;
use crate::output::{Format, FormatArg, json};

/// The seed when none is given: every demo shows the same.
const SEED: u64 = 1;

/// Shows the whole pipeline at work: no server, no configuration, and no mail is delivered.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Messages to enqueue, copies and malformed ones included
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    jobs: u32,
    /// Leave the SQLite file, the configuration and the ESPs' journals in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Another seed gives other recipients in another order
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
    #[command(flatten)]
    format: FormatArg,
}

/// Runs the demo; answers whether every message is accounted for, and none was sent twice.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<bool> {
    let files = Files::new(args.keep.as_deref())?;
    let config = config::load(&files, args.jobs)?;
    let scenario = Scenario::new(args.jobs, args.seed);
    let stage = Stage::set(&config).await?;
    let played = stage.play(&scenario).await?;
    let enqueued = scenario.samples.get(..played.enqueued_at.len()).unwrap_or_default();
    let evidence = evidence::collect(stage.outside(), &files, enqueued).await?;
    stage.close().await;
    let tally = Tally::of(enqueued, &played.enqueued_at, &evidence);
    let report = Report::of(&Facts {
        tally: &tally,
        counters: &played.counters,
        breakers: &played.breakers,
        took: played.took,
        interrupted: played.interrupted,
        seed: args.seed,
    });
    match args.format.format {
        Format::Json => json(&report)?,
        Format::Text => report.print(files.kept())?,
    }
    Ok(tally.is_sound())
}
