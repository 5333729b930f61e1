//! `sluice campaign`: paused, resumed and cancelled by hand, while the service runs.

use std::io::IsTerminal;

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;
use sluice_config::Config;
use sluice_engine::{CampaignView, Order};
use sluice_types::{Campaign, Tenant};

use super::ask;
use crate::output::{self, Format, FormatArg, Table, note};
use crate::wiring::Outside;

const EXAMPLES: &str = "\
Examples:
  sluice campaign pause acme spring-sale
  sluice campaign list
  sluice campaign resume acme spring-sale
  sluice campaign cancel acme spring-sale --yes

A campaign is the `tenant` and `campaign` of its jobs; jobs without a tenant have `default`. An
order may be given before its first job is queued. It holds until `resume`, restarts included.";

const PAUSE_EXAMPLES: &str = "\
Examples:
  sluice campaign pause acme spring-sale

Nothing of it is sent from then on, but for calls under way. Its jobs wait in the store, with the
reason `campaign_paused` or the one that they waited for before; their `expires_at` is not moved.";

const RESUME_EXAMPLES: &str = "\
Examples:
  sluice campaign resume acme spring-sale

What waited goes on, first seen first. After `cancel` it lets jobs of this name pass again; what
was closed stays closed.";

const CANCEL_EXAMPLES: &str = "\
Examples:
  sluice campaign cancel acme spring-sale
  sluice campaign cancel acme spring-sale --yes --format json | jq .parked

Every job of it that is not sent yet ends in the state `cancelled`: parked ones at once, queued
ones as they come up, and those that are queued later too. What may have been sent stays
`unknown`. This is not undone by `resume`. On a terminal it asks first, unless --yes is given.";

/// `sluice campaign`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CampaignArgs {
    #[command(subcommand)]
    command: CampaignCommand,
}

#[derive(Debug, Subcommand)]
enum CampaignCommand {
    /// List the campaigns that are paused or cancelled
    List(ListArgs),
    /// Send nothing more of a campaign until it is resumed
    #[command(after_help = PAUSE_EXAMPLES)]
    Pause(OrderArgs),
    /// Let a campaign go on
    #[command(after_help = RESUME_EXAMPLES)]
    Resume(OrderArgs),
    /// Close what is left of a campaign unsent
    #[command(after_help = CANCEL_EXAMPLES)]
    Cancel(CancelArgs),
}

/// `sluice campaign list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    format: FormatArg,
}

/// `sluice campaign pause` and `resume`.
#[derive(Debug, clap::Args)]
struct OrderArgs {
    #[command(flatten)]
    of: Named,
    #[command(flatten)]
    format: FormatArg,
}

/// `sluice campaign cancel`.
#[derive(Debug, clap::Args)]
struct CancelArgs {
    #[command(flatten)]
    of: Named,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    format: FormatArg,
}

/// Which campaign.
#[derive(Debug, clap::Args)]
struct Named {
    /// The `tenant` of its jobs
    #[arg(value_name = "TENANT")]
    tenant: Tenant,
    /// The `campaign` of its jobs
    #[arg(value_name = "CAMPAIGN")]
    campaign: Campaign,
}

/// Does what the subcommand says.
pub(crate) async fn run(config: &Config, args: CampaignArgs) -> anyhow::Result<bool> {
    let outside = ask::open_existing_store(config)?;
    let done = match args.command {
        CampaignCommand::List(args) => list(&outside, &args).await,
        CampaignCommand::Pause(args) => order(&outside, &args, Some(Order::Paused)).await,
        CampaignCommand::Resume(args) => order(&outside, &args, None).await,
        CampaignCommand::Cancel(args) => cancel(&outside, &args).await,
    };
    ask::close(&outside).await;
    done
}

async fn list(outside: &Outside, args: &ListArgs) -> anyhow::Result<bool> {
    let campaigns = standing(outside).await?;
    if args.format.format == Format::Json {
        output::json(&campaigns)?;
        return Ok(true);
    }
    if campaigns.is_empty() {
        note("no campaign is paused or cancelled");
        return Ok(true);
    }
    let mut table = Table::new(["tenant", "campaign", "order"]);
    for it in &campaigns {
        table.row([it.tenant.clone(), it.campaign.clone(), word(it.order).to_owned()]);
    }
    table.print()?;
    Ok(true)
}

/// What an operator has ordered.
#[derive(Serialize)]
struct Ordered<'a> {
    tenant: &'a Tenant,
    campaign: &'a Campaign,
    /// What stood before.
    before: Option<Order>,
    /// What stands now; `null`: it goes on.
    order: Option<Order>,
    /// Of a cancelled one: parked jobs that are being closed, but for those that a relay has taken up by itself meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<u64>,
}

async fn order(outside: &Outside, args: &OrderArgs, order: Option<Order>) -> anyhow::Result<bool> {
    let ordered = give(outside, &args.of, order).await?;
    if args.format.format == Format::Json {
        output::json(&ordered)?;
        return Ok(true);
    }
    let Named { tenant, campaign } = &args.of;
    match (ordered.before, order) {
        (_, Some(order)) => output::line(format_args!("{} {campaign} of {tenant}", word(order)))?,
        (Some(_), None) => output::line(format_args!("resumed {campaign} of {tenant}"))?,
        (None, None) => output::line(format_args!("{campaign} of {tenant} was not paused"))?,
    }
    if (ordered.before, order) == (Some(Order::Cancelled), None) {
        note("it was cancelled: what was closed stays closed, what is queued from now on is sent");
    }
    Ok(true)
}

async fn cancel(outside: &Outside, args: &CancelArgs) -> anyhow::Result<bool> {
    let Named { tenant, campaign } = &args.of;
    let question = || format!("close every job of {campaign} of {tenant} that is not sent yet, for good?");
    if !args.yes && std::io::stdin().is_terminal() && !output::confirm(&question())? {
        note("nothing was cancelled");
        return Ok(false);
    }
    let mut ordered = give(outside, &args.of, Some(Order::Cancelled)).await?;
    // Not before every replica knows of the order: it would send them.
    let parked = outside.console.wake_campaign(tenant, campaign).await.context(
        "it is cancelled, but its parked jobs could not be woken to be closed; run the command again",
    )?;
    ordered.parked = Some(parked);
    match args.format.format {
        Format::Json => output::json(&ordered)?,
        Format::Text => output::line(format_args!(
            "cancelled {campaign} of {tenant}; {parked} parked jobs are being closed"
        ))?,
    }
    Ok(true)
}

async fn give<'a>(outside: &Outside, of: &'a Named, order: Option<Order>) -> anyhow::Result<Ordered<'a>> {
    let Named { tenant, campaign } = of;
    let is_it = |it: &CampaignView| it.tenant == tenant.as_str() && it.campaign == campaign.as_str();
    let before = standing(outside).await?.into_iter().find(is_it).map(|it| it.order);
    let given = ask::overview(outside).order_campaign(tenant.as_str(), campaign.as_str(), order).await;
    given.map_err(|it| ask::failed("CAMPAIGN", it))?;
    Ok(Ordered { tenant, campaign, before, order, parked: None })
}

async fn standing(outside: &Outside) -> anyhow::Result<Vec<CampaignView>> {
    let fleet = ask::overview(outside).system().await.map_err(|it| ask::failed("campaigns", it))?;
    Ok(fleet.campaigns)
}

/// The order in one word.
pub(super) const fn word(order: Order) -> &'static str {
    match order {
        Order::Paused => "paused",
        Order::Cancelled => "cancelled",
    }
}
