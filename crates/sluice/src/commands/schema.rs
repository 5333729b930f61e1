//! `sluice schema`: what Sluice reads and answers, for machines; generated from the types and routes that do it.

mod asyncapi;

use clap::ValueEnum;
use sluice_types::JobDocument;

use crate::output;

const EXAMPLES: &str = "\
Examples:
  sluice schema job > job.schema.json          for publishers: what a job may hold
  sluice schema config > sluice.schema.json    for editors: completion and checks of sluice.toml
  sluice schema openapi > openapi.json         for clients of the HTTP API
  sluice schema asyncapi > asyncapi.json       for clients of RabbitMQ: where jobs go and how";

/// What the schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// The body of a job, as it is published, posted or enqueued.
    Job,
    /// The configuration file.
    Config,
    /// The HTTP API.
    Openapi,
    /// The exchanges of RabbitMQ.
    Asyncapi,
}

/// `sluice schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SchemaArgs {
    /// What to describe: `job` and `config` as JSON Schema, the HTTP API as OpenAPI 3.1, RabbitMQ as AsyncAPI 3.0
    #[arg(value_enum, value_name = "job|config|openapi|asyncapi", hide_possible_values = true)]
    subject: Subject,
}

/// Prints the description as one JSON object.
pub(crate) fn run(args: &SchemaArgs) -> anyhow::Result<bool> {
    match args.subject {
        Subject::Job => output::json(&schemars::schema_for!(JobDocument))?,
        Subject::Config => output::json(&sluice_config::json_schema())?,
        Subject::Openapi => output::line(sluice_http::openapi())?,
        Subject::Asyncapi => output::json(&asyncapi::document())?,
    }
    Ok(true)
}
