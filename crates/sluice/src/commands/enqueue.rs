//! `sluice enqueue`: queues the jobs of a file of any size.

mod columns;
mod csv_rows;
mod defaults;
mod identity;
mod outbox;
mod report;
mod source;
mod submit;

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use sluice_config::Config;
use sluice_engine::{Intake, Outbox};

use super::ask;
use super::progress::Progress;
use crate::output::{self, Format, FormatArg, note};
use crate::wiring::Outside;
use defaults::DefaultArgs;
use outbox::NoOutbox;
use report::Report;
use source::Source;
use submit::Submission;

const EXAMPLES: &str = "\
Examples:
  sluice enqueue jobs.jsonl
      one job a line, as `sluice schema job` describes it
  sluice enqueue people.csv --from 'Acme <news@acme.example>' --subject 'Hello {{ first_name }}' \\
      --html-file hello.html --class bulk --campaign spring-sale --var-columns
      a mail merge: the first line names the columns, such as email,name,first_name
  sluice enqueue people.csv --from news@acme.example --subject Hi --text-file hi.txt --dry-run
      check every line and queue nothing
  make-jobs | sluice enqueue - --input jsonl --format json

Columns of a CSV file are the fields of a job, with dots for nested ones:
  id, tenant, class, pool, campaign, from.email (or from), from.name, to.email (or to, or email),
  to.name (or name), reply_to.email, reply_to.name, subject, html, text, unsubscribe_url, send_at,
  expires_at, headers.X, metadata.X, vars.X
An empty cell is no value.

A job without an id gets one from its content, so the same file again sends nothing twice, and
neither does the rest of a file that was interrupted. A bad line is told with its number and field,
and the rest goes on. Exit code 1: there were bad lines, or jobs that could not be queued.";

/// What the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum InputForm {
    /// A header line, then one job a row.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// `sluice enqueue`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EnqueueArgs {
    /// CSV or JSON lines; `-` is stdin
    file: PathBuf,
    /// What the file holds, where its name does not end in .csv, .jsonl, .ndjson or .json
    #[arg(long, value_enum, value_name = "csv|jsonl", hide_possible_values = true)]
    input: Option<InputForm>,
    /// Character between two cells of a CSV file
    #[arg(long, value_name = "CHAR", default_value = ",", value_parser = delimiter, hide_default_value = true)]
    delimiter: u8,
    /// Take every column that is no field of a job as one of `vars`
    #[arg(long)]
    var_columns: bool,
    /// Check every line and queue nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArg,
    #[command(flatten)]
    defaults: DefaultArgs,
}

/// Queues the file; `false` when not every line is a job that is queued now.
pub(crate) async fn run(config: &Config, args: EnqueueArgs) -> anyhow::Result<bool> {
    // First the file, so that a header that is wrong opens nothing.
    let mut source = Source::open(&args)?;
    let outside = if args.dry_run { ask::open_store(config)? } else { ask::open(config)? };
    let report = queue(&outside, &mut source, args.dry_run).await;
    ask::close(&outside).await;
    let report = report?;
    match args.format.format {
        Format::Json => output::json(&report)?,
        Format::Text => output::line(&report)?,
    }
    Ok(report.is_clean())
}

async fn queue(outside: &Outside, source: &mut Source, dry_run: bool) -> anyhow::Result<Report> {
    let outbox: Arc<dyn Outbox> = if dry_run {
        if outside.ledger.ping().await.is_err() {
            note("the store cannot be asked, so jobs that are known already are not told apart");
        }
        Arc::new(NoOutbox)
    } else {
        outside.broker_ready(ask::BROKER_WAIT).await?;
        Arc::clone(&outside.outbox)
    };
    let intake = Intake::new(Arc::clone(&outside.plan), outbox, Arc::clone(&outside.console));
    let mut report = Report::new(dry_run, Progress::new(source.size_bytes()));
    let mut submission = Submission::new(intake);
    while let Some(record) = source.next()? {
        report.read(source.consumed_bytes());
        let line = record.line;
        submission.add(record);
        if submission.is_full() && !submission.submit(&mut report).await {
            report.stop(line);
            return Ok(report);
        }
    }
    submission.submit(&mut report).await;
    report.end();
    Ok(report)
}

/// Reads the character between two cells.
fn delimiter(text: &str) -> Result<u8, &'static str> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n".contains(byte) => Ok(*byte),
        _ => Err("is not one character such as , or ; or \\t"),
    }
}
