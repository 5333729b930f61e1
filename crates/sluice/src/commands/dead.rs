//! `sluice dead`: refused messages, for a person to look at, publish again, or drop.

mod drop;
mod list;
mod replay;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sluice_config::Config;
use sluice_types::RefusalReason;

use super::ask;

const EXAMPLES: &str = "\
Examples:
  sluice dead list                           newest first, without bodies
  sluice dead list --reason unknown_pool
  sluice dead show 17                        one of them with its body
  sluice dead show 17 --body > job.json      the body alone: mend it on its one line, then `sluice enqueue job.json`
  sluice dead replay --all --reason template
  sluice dead drop 17 18";

const REPLAY_EXAMPLES: &str = "\
Examples:
  sluice dead replay 17 18
  sluice dead replay --all --reason unknown_pool     after the pool was added to the configuration

Each body goes through every check again and, if it stands, back into its lane; then the dead letter
is removed. One that is still refused is told with its field, and stays. Exit code 1: some stayed.";

const DROP_EXAMPLES: &str = "\
Examples:
  sluice dead drop 17 18
  sluice dead drop --all --reason not_json --yes

The body goes with it. RabbitMQ has a copy of it in the queue `sluice.dead`, which goes when it is 7 days old, or
with `rabbitmqctl purge_queue sluice.dead`. On a terminal it asks first, unless --yes is given.";

/// `sluice dead`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DeadArgs {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    /// List refused messages, newest first
    List(list::ListArgs),
    /// Show one refused message with its body
    Show(list::ShowArgs),
    /// Publish refused messages again
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(replay::ReplayArgs),
    /// Remove refused messages and their bodies from the store
    #[command(after_help = DROP_EXAMPLES)]
    Drop(drop::DropArgs),
}

/// Does what the subcommand says.
pub(crate) async fn run(config: &Config, args: DeadArgs) -> anyhow::Result<bool> {
    // Only what is published again needs the broker.
    let outside = match &args.command {
        DeadCommand::Replay(_) => ask::open_existing(config)?,
        DeadCommand::List(_) | DeadCommand::Show(_) | DeadCommand::Drop(_) => {
            ask::open_existing_store(config)?
        }
    };
    let done = match args.command {
        DeadCommand::List(args) => list::list(&outside, &args).await,
        DeadCommand::Show(args) => list::show(&outside, &args).await,
        DeadCommand::Replay(args) => replay::run(&outside, args).await,
        DeadCommand::Drop(args) => drop::run(&outside, args).await,
    };
    ask::close(&outside).await;
    done
}

/// Takes a word of the closed list of reasons.
fn reason() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(RefusalReason::ALL.map(RefusalReason::as_str))
}
