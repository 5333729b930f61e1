//! `sluice check-config`: every fault at once, or what the configuration means.

mod meaning;

use serde_json::json;
use sluice_config::{Config, ConfigFault};

use self::meaning::{FaultRow, Meaning, WarmupRow};
use crate::output::{self, Format, FormatArg, Table, note};
use crate::settings::SettingsError;

/// Caps of a warm-up that are shown to people.
const CAPS_SHOWN: usize = 6;

const EXAMPLES: &str = "\
Examples:
  sluice check-config --config sluice.toml
  SLUICE__HTTP__LISTEN=0.0.0.0:8025 sluice check-config
  sluice check-config --format json | jq '.lanes[] | select(.prefetch < 10)'
  sluice check-config --format json | jq -r .fleet_digest
      the same on every replica that agrees on what the fleet shares: limits, pools, groups, tenants

Nothing is connected to. Exit code 78: the configuration has faults; all of them are told.";

/// `sluice check-config`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckConfigArgs {
    #[command(flatten)]
    format: FormatArg,
}

/// Prints what the configuration means; its faults are the error.
pub(crate) fn run(loaded: Result<Config, SettingsError>, args: &CheckConfigArgs) -> anyhow::Result<bool> {
    let is_json = args.format.format == Format::Json;
    match loaded {
        Ok(config) if is_json => output::json(&Meaning::of(&config))?,
        Ok(config) => print(&Meaning::of(&config), &config.warnings)?,
        Err(error) => {
            if is_json {
                let faults = match &error {
                    SettingsError::Faulty { faults, .. } => faults.0.iter().map(FaultRow::from).collect(),
                    SettingsError::Unreadable { source, .. } => {
                        vec![FaultRow { key: String::new(), detail: format!("{error}: {source}") }]
                    }
                    SettingsError::Unusable { key, source } => {
                        vec![FaultRow { key: key.clone(), detail: format!("cannot be used: {source}") }]
                    }
                };
                output::json(&json!({ "ok": false, "faults": faults }))?;
            }
            return Err(error.into());
        }
    }
    Ok(true)
}

fn print(meaning: &Meaning, warnings: &[ConfigFault]) -> anyhow::Result<()> {
    let mut blocks = vec!["ok\n".to_owned(), facts(meaning).to_string()];
    let mut esps = Table::new(["esp", "kind", "in flight", "timeout", "limits"]);
    for it in &meaning.esps {
        let in_flight = it.max_in_flight.to_string();
        esps.row([it.name.clone(), it.kind.to_owned(), in_flight, it.timeout.clone(), list(&it.limits)]);
    }
    blocks.push(esps.to_string());
    if !meaning.warmups.is_empty() {
        let mut warmups = Table::new(["warm-up", "days", "caps a day", "held above"]);
        for it in &meaning.warmups {
            warmups.row([it.scope.clone(), it.caps.len().to_string(), caps(it), percent(it.hold_above)]);
        }
        blocks.push(warmups.to_string());
    }
    let mut pools = Table::new(["pool", "members", "failover", "sticky"]);
    for it in &meaning.pools {
        pools.row([it.name.clone(), list(&it.members), list(&it.failover), it.sticky.to_owned()]);
    }
    blocks.push(pools.to_string());
    let mut groups = Table::new(["domain group", "domains", "mx", "limits", "per esp", "per domain"]);
    for it in &meaning.domain_groups {
        let lists = [&it.limits, &it.limits_per_esp, &it.limits_per_domain].map(|of| list(of));
        let [limits, per_esp, per_domain] = lists;
        let (domains, mx) = (it.domains.to_string(), it.mx.len().to_string());
        groups.row([it.name.clone(), domains, mx, limits, per_esp, per_domain]);
    }
    blocks.push(groups.to_string());
    if !meaning.tenants.is_empty() {
        let mut tenants = Table::new(["tenant", "weight", "limits"]);
        for it in &meaning.tenants {
            tenants.row([it.name.clone(), it.weight.to_string(), list(&it.limits)]);
        }
        blocks.push(tenants.to_string());
    }
    let mut lanes = Table::new(["lane", "prefetch"]);
    meaning.lanes.iter().for_each(|it| lanes.row([it.lane.clone(), it.prefetch.to_string()]));
    blocks.push(lanes.to_string());
    output::raw(blocks.join("\n").as_bytes())?;
    warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    Ok(())
}

fn facts(meaning: &Meaning) -> Table {
    let mut facts = Table::of_facts();
    facts.fact("queue", Some(meaning.queue));
    facts.fact("store", Some(meaning.store));
    facts.fact("http", Some(meaning.http.as_deref().unwrap_or("off")));
    facts.fact("mx lookups", Some(if meaning.mx { "on" } else { "off" }));
    let reserved = percent(meaning.reserved_share);
    facts.fact(
        "reserved",
        Some(format_args!("{reserved} of counted limits and of the places in work, for transactional jobs")),
    );
    facts.fact("fleet digest", Some(&meaning.fleet_digest));
    facts
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

/// The first caps, and the last one where there are more.
fn caps(warmup: &WarmupRow) -> String {
    let mut shown: Vec<String> = warmup.caps.iter().take(CAPS_SHOWN).map(ToString::to_string).collect();
    if let Some(last) = warmup.caps.last().filter(|_| warmup.caps.len() > CAPS_SHOWN) {
        shown.push(format!(".. {last}"));
    }
    shown.join(" ")
}

fn percent(share: f64) -> String {
    // A share has two digits that matter.
    format!("{}%", (share * 10_000.0).round() / 100.0)
}
