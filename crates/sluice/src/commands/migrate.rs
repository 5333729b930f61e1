//! `sluice migrate`: brings the schema of the store up to date.

use serde::Serialize;
use sluice_config::Config;

use super::ask;
use crate::output::{self, Format, FormatArg};
use crate::settings::SettingsError;

const EXAMPLES: &str = "\
Examples:
  sluice migrate --config sluice.toml
      apply what is missing, and make the coming days' partitions; several replicas may do this at once
  with store.migrate = false in the configuration `sluice run` applies nothing, and this is a step of your deployment

With queue.results the store also begins to keep final states to be told, and without it it stops.
An embedded store is brought up to date whenever it is opened.";

/// `sluice migrate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    format: FormatArg,
}

#[derive(Serialize)]
struct Migrated {
    store: &'static str,
    /// How many migrations were new; none is counted for an embedded store.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<usize>,
}

/// Migrates, and says how many migrations were new.
pub(crate) async fn run(config: &Config, args: &MigrateArgs) -> anyhow::Result<bool> {
    let outside = ask::open_store(config)?;
    let migrated = match outside.postgres() {
        None => Ok(Migrated { store: "embedded", applied: None }),
        Some(postgres) => {
            let applied = outside.migrate(postgres).await.map_err(|error| {
                if error.is_misconfiguration() {
                    SettingsError::unusable("store", error).into()
                } else {
                    anyhow::Error::from(error).context("migrations")
                }
            });
            applied.map(|applied| Migrated { store: "postgres", applied: Some(applied) })
        }
    };
    ask::close(&outside).await;
    let migrated = migrated?;
    match (args.format.format, migrated.applied) {
        (Format::Json, _) => output::json(&migrated)?,
        (Format::Text, None) => output::line(format_args!("{} is up to date", config.store.path.display()))?,
        (Format::Text, Some(0)) => output::line("the schema was up to date")?,
        (Format::Text, Some(1)) => output::line("applied 1 migration")?,
        (Format::Text, Some(applied)) => output::line(format_args!("applied {applied} migrations"))?,
    }
    Ok(true)
}
