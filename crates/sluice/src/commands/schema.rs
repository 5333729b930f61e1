//! `sluice schema`: JSON Schemas, generated from the types that read what they describe.

use clap::ValueEnum;
use sluice_types::JobDocument;

use crate::output;

const EXAMPLES: &str = "\
Examples:
  sluice schema job > job.schema.json          for publishers: what a job may hold
  sluice schema config > sluice.schema.json    for editors: completion and checks of sluice.toml";

/// What the schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// The body of a job, as it is published, posted or enqueued.
    Job,
    /// The configuration file.
    Config,
}

/// `sluice schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SchemaArgs {
    /// What to describe
    #[arg(value_enum, value_name = "job|config", hide_possible_values = true)]
    subject: Subject,
}

/// Prints the schema as one JSON object.
pub(crate) fn run(args: &SchemaArgs) -> anyhow::Result<bool> {
    match args.subject {
        Subject::Job => output::json(&schemars::schema_for!(JobDocument))?,
        Subject::Config => output::json(&sluice_config::json_schema())?,
    }
    Ok(true)
}
