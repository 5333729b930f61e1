//! The command line: what there is to say, and which exit code the answer becomes.

mod logging;
mod run;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{
    campaign, check_config, dead, demo, enqueue, esp, limits, migrate, schema, status, suppress, taste,
    unknown, why,
};
use crate::output::note;
use crate::settings::{self, SettingsError};

pub(crate) use usage::UsageError;

/// A configuration that does not stand: `EX_CONFIG` of sysexits.h.
const EXIT_CONFIGURATION: u8 = 78;
/// What is left of the runtime at the end may take so long.
const RUNTIME_END: Duration = Duration::from_secs(2);

const EXAMPLES: &str = "\
Examples:
  sluice demo                          see it work: no server, no mail is delivered
  sluice run                           a working service on this machine, mail goes to a sandbox
  sluice run --smtp smtps://user:secret@mail.example:465
                                       the same, and mail is delivered
  sluice enqueue people.csv --from news@acme.example --subject Hi --text-file hi.txt
                                       queue one email for each line of a file
  sluice status                        what is queued, sent, waiting and refused
  sluice limits list                   how far every limit is used, and what waits for it

Without a configuration everything is kept in ./sluice.db.
`--config FILE` names RabbitMQ, Postgres and your ESPs.

Exit codes: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration.";

/// Sends email through other people's mail services, within every limit, and loses none.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, after_help = EXAMPLES)]
#[command(disable_help_subcommand = true, infer_subcommands = false)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Configuration file; else the one that SLUICE_CONFIG names, else the embedded default
    #[arg(long, global = true, value_name = "FILE", display_order = 900)]
    config: Option<PathBuf>,
    /// Form of the log lines on stderr; wins over `log.format`
    #[arg(long, global = true, value_enum, value_name = "text|json", display_order = 901)]
    #[arg(hide_possible_values = true)]
    log_format: Option<LogForm>,
    /// Log lines that are written, such as `debug` or `info,sluice_engine=debug`; wins over `log.filter`
    #[arg(long = "log", global = true, value_name = "FILTER", display_order = 902)]
    log_filter: Option<String>,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    /// A line of text for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the whole pipeline at work, with sandbox ESPs that fail and are slow
    Demo(demo::DemoArgs),
    /// Run the service: work the lanes, relay what is due, answer HTTP, until SIGTERM
    Run(run::RunArgs),
    /// Queue the jobs of a CSV or JSON lines file
    Enqueue(enqueue::EnqueueArgs),
    /// Check the configuration and show what it means, without connecting to anything
    CheckConfig(check_config::CheckConfigArgs),
    /// Bring the schema of the store up to date
    Migrate(migrate::MigrateArgs),
    /// Count jobs by state, waiting reason and lane, dead letters, and replicas
    Status(status::StatusArgs),
    /// Say what became of one job, and why it waits and until when
    Why(why::WhyArgs),
    /// See how far every limit is used, and set limits while the service runs
    Limits(limits::LimitsArgs),
    /// See how the ESPs do, and hold their breakers open or closed
    Esp(esp::EspArgs),
    /// Pause, resume or cancel a campaign
    Campaign(campaign::CampaignArgs),
    /// Look at refused messages, publish them again, or drop them
    Dead(dead::DeadArgs),
    /// Look at jobs that may or may not have been sent; send them again, or settle them
    Unknown(unknown::UnknownArgs),
    /// Say which recipients are never sent to
    Suppress(suppress::SuppressArgs),
    /// Print the schema of jobs, of the configuration, of the HTTP API or of RabbitMQ
    Schema(schema::SchemaArgs),
    /// Decode what a worker gives on stdin; for workers, not for people
    #[command(name = taste::COMMAND, hide = true)]
    Taste,
}

/// Reads the command line, does what it says, and answers with the exit code.
pub(crate) fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too, with code 0.
        Err(error) => {
            drop(error.print());
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match start(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            note(format_args!("error: {error:#}"));
            if error.is::<SettingsError>() {
                ExitCode::from(EXIT_CONFIGURATION)
            } else if error.is::<UsageError>() {
                ExitCode::from(UsageError::EXIT)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let done = runtime.block_on(Box::pin(dispatch(cli)));
    runtime.shutdown_timeout(RUNTIME_END);
    done
}

/// Answers whether all went well.
async fn dispatch(Cli { global, command }: Cli) -> anyhow::Result<bool> {
    let file = global.config.as_deref();
    let configured = || settings::load(file);
    if let Some(filter) = command.quiet_filter() {
        global.log_quietly(filter)?;
    }
    match command {
        Command::Demo(args) => Box::pin(demo::run(args)).await,
        Command::Run(args) => {
            let config = args.configure(configured()?, file)?;
            global.log_as_configured(&config.log)?;
            let reread = || Ok(args.configure(configured()?, file)?);
            Box::pin(crate::commands::run::run(config, args.roles(), reread)).await
        }
        Command::Enqueue(args) => enqueue::run(&configured()?, args).await,
        Command::CheckConfig(args) => check_config::run(configured(), &args),
        Command::Migrate(args) => migrate::run(&configured()?, &args).await,
        Command::Status(args) => status::run(&configured()?, &args).await,
        Command::Why(args) => why::run(&configured()?, &args).await,
        Command::Limits(args) => limits::run(&configured()?, args).await,
        Command::Esp(args) => esp::run(&configured()?, args).await,
        Command::Campaign(args) => campaign::run(&configured()?, args).await,
        Command::Dead(args) => dead::run(&configured()?, args).await,
        Command::Unknown(args) => unknown::run(&configured()?, args).await,
        Command::Suppress(args) => suppress::run(&configured()?, args).await,
        Command::Schema(args) => schema::run(&args),
        Command::Taste => taste::run().await,
    }
}

impl Command {
    /// What is logged unless `--log` says otherwise; `None` for the one command that asks the configuration.
    const fn quiet_filter(&self) -> Option<&'static str> {
        match self {
            Self::Run(_) => None,
            Self::Migrate(_) => Some("warn,sluice_postgres::migrate=info"),
            // Its report says which jobs could not be queued; a log line for each would bury it.
            Self::Enqueue(_) => Some("warn,sluice_engine::intake=error"),
            // A log line would tear the live view; what the demo provokes is told in its report.
            Self::Demo(_) => Some("error,sluice_engine::breakers=off"),
            Self::CheckConfig(_)
            | Self::Why(_)
            | Self::Limits(_)
            | Self::Esp(_)
            | Self::Campaign(_)
            | Self::Unknown(_)
            | Self::Suppress(_)
            | Self::Schema(_)
            | Self::Taste
            | Self::Status(_)
            | Self::Dead(_) => Some("warn"),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
