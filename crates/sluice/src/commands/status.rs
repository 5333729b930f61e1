//! `sluice status`: what is queued, sent, waiting and refused, over all replicas.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Serialize;
use sluice_config::Config;
use sluice_engine::{FleetView, LaneDepth, StatusView};
use sluice_types::JobState;

use super::ask;
use super::span::span;
use crate::output::{self, Format, FormatArg, Table, note};
use crate::wiring::Outside;

const EXAMPLES: &str = "\
Examples:
  sluice status
  sluice status --format json | jq '.jobs.accepted'
  sluice status --format json | jq -e .fleet.configs_agree      fails while replicas differ
  watch -n 2 sluice status

It asks the store and the queue, so it works beside running workers and when there are none.";

/// `sluice status`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    format: FormatArg,
}

#[derive(Serialize)]
struct Status {
    #[serde(flatten)]
    store: StatusView,
    /// What is ready in each lane; `null` when the queue could not be asked.
    lanes: Option<Vec<LaneRow>>,
    /// The replicas, and what operators have ordered.
    fleet: FleetView,
}

#[derive(Serialize)]
struct LaneRow {
    lane: String,
    ready: u64,
}

/// Prints the counts; a queue that cannot be asked leaves the lanes out and fails the command.
pub(crate) async fn run(config: &Config, args: &StatusArgs) -> anyhow::Result<bool> {
    let outside = ask::open_existing_bystander(config)?;
    let asked = question(&outside).await;
    ask::close(&outside).await;
    let status = asked?;
    match args.format.format {
        Format::Json => output::json(&status)?,
        Format::Text => print(&status)?,
    }
    Ok(status.lanes.is_some())
}

async fn question(outside: &Outside) -> anyhow::Result<Status> {
    let store = outside.console.status().await.context("cannot ask the store")?;
    let fleet = ask::overview(outside).system().await.map_err(|it| ask::failed("fleet", it))?;
    let lanes = match outside.depths(ask::BROKER_WAIT).await {
        Ok(depths) => Some(depths.iter().map(LaneRow::from).collect()),
        Err(error) => {
            note(format_args!("cannot ask the queue: {error:#}"));
            None
        }
    };
    Ok(Status { store, lanes, fleet })
}

impl From<&LaneDepth> for LaneRow {
    fn from(depth: &LaneDepth) -> Self {
        Self { lane: depth.lane.to_string(), ready: depth.ready }
    }
}

fn print(status: &Status) -> anyhow::Result<()> {
    let mut blocks = Vec::new();
    let mut jobs = Table::new(["jobs", ""]);
    for state in JobState::ALL {
        if let Some(count) = status.store.jobs.get(state.as_str()) {
            jobs.row([state.to_string(), count.to_string()]);
        }
    }
    blocks.push(if status.store.jobs.is_empty() { "no jobs yet\n".to_owned() } else { jobs.to_string() });
    blocks.extend(counts("waiting", &status.store.pending));
    blocks.extend(counts("dead letters", &status.store.dead));
    if let Some(lanes) = &status.lanes {
        let mut table = Table::new(["lane", "ready"]);
        let busy = lanes.iter().filter(|lane| lane.ready > 0);
        busy.for_each(|lane| table.row([lane.lane.clone(), lane.ready.to_string()]));
        let idle = lanes.iter().filter(|lane| lane.ready == 0).count();
        blocks.push(match idle {
            0 if lanes.is_empty() => "there are no lanes yet: `sluice run` makes them\n".to_owned(),
            0 => table.to_string(),
            idle if idle == lanes.len() => format!("all {idle} lanes are empty\n"),
            idle => format!("{table}({idle} more lanes are empty)\n"),
        });
    }
    if status.store.suppressions > 0 {
        blocks.push(format!("{} suppressed recipients\n", status.store.suppressions));
    }
    if status.store.estimated {
        blocks.push("(counts of long tables are estimates, from a sample of each)\n".to_owned());
    }
    blocks.push(replicas(&status.fleet));
    output::raw(blocks.join("\n").as_bytes())?;
    if !status.fleet.configs_agree {
        note("the replicas run with different limits, pools or groups: see their CONFIG");
    }
    Ok(())
}

fn replicas(fleet: &FleetView) -> String {
    if fleet.replicas.is_empty() {
        return "no replica is running\n".to_owned();
    }
    let mut table = Table::new(["replica", "version", "config", "up", "seen", "works lanes", "in flight"]);
    for it in &fleet.replicas {
        table.row([
            it.name.clone(),
            it.version.clone(),
            it.config_digest.clone(),
            span(it.up_seconds.saturating_mul(1000)),
            format!("{} ago", span(it.seen_ago_ms)),
            if it.works { "yes" } else { "no" }.to_owned(),
            it.in_flight.to_string(),
        ]);
    }
    table.to_string()
}

fn counts(head: &str, counts: &BTreeMap<String, u64>) -> Option<String> {
    let mut table = Table::new([head, ""]);
    counts.iter().for_each(|(word, count)| table.row([word.clone(), count.to_string()]));
    (!counts.is_empty()).then(|| table.to_string())
}
