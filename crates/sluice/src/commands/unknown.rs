//! `sluice unknown`: jobs that may or may not have been sent, for a person to decide about.

mod decide;
mod list;
mod resend;
mod settle;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sluice_config::Config;
use sluice_engine::UnknownQuery;
use sluice_types::{Class, Tenant};

use super::ask;

const EXAMPLES: &str = "\
Examples:
  sluice unknown list
  sluice unknown list --class bulk --format json | jq -r '.[].id'
  sluice unknown settle JOB_ID --as accepted --note \"seen in the ESP's activity feed\"
  sluice unknown resend JOB_ID                 perhaps the second copy; the job is marked `resent`

A job is `unknown` when its request went out and the answer was lost, or its worker died meanwhile.
It is settled by, in this order:
  1. the ESP's webhook: any event that names the job (see `webhook_public_key` in [[esp]])
  2. policy, after `unknown.window`: transactional jobs are sent again, bulk ones stay
  3. you: look the job up at the ESP, then `settle` or `resend` it

Whatever settles a job is kept with it: `sluice why JOB_ID` shows who and when.";

const RESEND_EXAMPLES: &str = "\
Examples:
  sluice unknown resend 0192f0c1-6f0e-7c3a-b0de-3f1d0a7c1e55
  sluice unknown resend --all --class bulk --esp sendgrid-main --note \"their incident of 24 November\"

Each job is due at once and goes through every limit like any other. Its recipient may get it twice:
the job is marked `resent`, and the lost attempt stays in its list with the outcome `unknown`.
A job whose body is not parked cannot be sent again and is told so: it is on its way already, or its
body is still in its lane. On a terminal --all asks first, unless --yes is given.
Exit code 1: some could not be resent.";

const SETTLE_EXAMPLES: &str = "\
Examples:
  sluice unknown settle JOB_ID --as accepted
  sluice unknown settle JOB_ID --as rejected --note \"the ESP never saw it, and it is too late now\"

`accepted`: it was sent. `rejected`: it was not, and shall not be; to send it, use `resend`.
The parked body goes with it. An event that comes later still has the last word.
Exit code 1: some could not be settled.";

/// `sluice unknown`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UnknownArgs {
    #[command(subcommand)]
    command: UnknownCommand,
}

#[derive(Debug, Subcommand)]
enum UnknownCommand {
    /// List jobs in doubt, the longest first
    List(list::ListArgs),
    /// Send jobs in doubt again, perhaps twice
    #[command(after_help = RESEND_EXAMPLES)]
    Resend(resend::ResendArgs),
    /// Say what became of jobs in doubt
    #[command(after_help = SETTLE_EXAMPLES)]
    Settle(settle::SettleArgs),
}

/// Which jobs, for `list` and `resend --all`.
#[derive(Clone, Debug, Default, clap::Args)]
struct Filter {
    /// Only jobs of this tenant
    #[arg(long)]
    tenant: Option<Tenant>,
    /// Only jobs of this class
    #[arg(long, value_name = "transactional|bulk", value_parser = class(), hide_possible_values = true)]
    class: Option<Class>,
    /// Only jobs whose last attempt was through this ESP
    #[arg(long, value_name = "ESP")]
    esp: Option<String>,
}

impl Filter {
    fn query(&self, max: u32) -> UnknownQuery {
        let Self { tenant, class, esp } = self.clone();
        UnknownQuery { tenant, class, esp, after: None, max }
    }
}

fn class() -> impl TypedValueParser<Value = Class> {
    PossibleValuesParser::new([Class::Transactional.as_str(), Class::Bulk.as_str()])
        .map(|word| if word == Class::Bulk.as_str() { Class::Bulk } else { Class::Transactional })
}

/// Does what the subcommand says.
pub(crate) async fn run(config: &Config, args: UnknownArgs) -> anyhow::Result<bool> {
    // What is resent becomes due in the store; the relay of a replica publishes it.
    let outside = ask::open_existing_store(config)?;
    let done = match args.command {
        UnknownCommand::List(args) => list::run(&outside, &args).await,
        UnknownCommand::Resend(args) => resend::run(&outside, args).await,
        UnknownCommand::Settle(args) => settle::run(&outside, args).await,
    };
    ask::close(&outside).await;
    done
}
