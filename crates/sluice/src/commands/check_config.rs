//! `sluice check-config`: every fault at once, or what the configuration means.

use serde::Serialize;
use serde_json::json;
use sluice_config::{Config, ConfigFault, DurationText, StoreKind};
use sluice_engine::Plan;
use sluice_types::LimitSpec;

use crate::output::{self, Format, FormatArg, Table, note};
use crate::settings::SettingsError;

const EXAMPLES: &str = "\
Examples:
  sluice check-config --config sluice.toml
  SLUICE__HTTP__LISTEN=0.0.0.0:8025 sluice check-config
  sluice check-config --format json | jq '.lanes[] | select(.prefetch < 10)'

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
                };
                output::json(&json!({ "ok": false, "faults": faults }))?;
            }
            return Err(error.into());
        }
    }
    Ok(true)
}

#[derive(Serialize)]
struct FaultRow {
    key: String,
    detail: String,
}

impl From<&ConfigFault> for FaultRow {
    fn from(fault: &ConfigFault) -> Self {
        Self { key: fault.key.clone(), detail: fault.detail.clone() }
    }
}

/// The configuration in the words of its sections, without secrets.
#[derive(Serialize)]
struct Meaning {
    ok: bool,
    queue: &'static str,
    store: &'static str,
    http: Option<String>,
    esps: Vec<EspRow>,
    pools: Vec<PoolRow>,
    domain_groups: Vec<GroupRow>,
    lanes: Vec<LaneRow>,
    warnings: Vec<FaultRow>,
}

#[derive(Serialize)]
struct EspRow {
    name: String,
    kind: &'static str,
    limits: Vec<String>,
    max_in_flight: u32,
    timeout: String,
}

#[derive(Serialize)]
struct PoolRow {
    name: String,
    members: Vec<String>,
    failover: Vec<String>,
}

#[derive(Serialize)]
struct GroupRow {
    name: String,
    domains: usize,
    limits: Vec<String>,
    limits_per_esp: Vec<String>,
    limits_per_domain: Vec<String>,
}

#[derive(Serialize)]
struct LaneRow {
    lane: String,
    prefetch: u16,
}

impl Meaning {
    fn of(config: &Config) -> Self {
        let plan = Plan::of(config);
        let words = |specs: &[LimitSpec]| specs.iter().map(ToString::to_string).collect();
        let esps = config.esps.iter().map(|esp| EspRow {
            name: esp.name.to_string(),
            kind: esp.kind.as_str(),
            limits: words(&esp.limits),
            max_in_flight: esp.max_in_flight,
            timeout: DurationText(esp.timeout).to_string(),
        });
        let pools = config.pools.iter().map(|pool| PoolRow {
            name: pool.name.to_string(),
            members: pool.members.iter().map(|it| format!("{} x{}", it.esp, it.weight)).collect(),
            failover: pool.failover.iter().map(ToString::to_string).collect(),
        });
        let groups = config.groups.iter().map(|group| GroupRow {
            name: group.name.to_string(),
            domains: group.domains.len(),
            limits: words(&group.limits),
            limits_per_esp: words(&group.limits_per_esp),
            limits_per_domain: words(&group.limits_per_domain),
        });
        let lanes = plan.lanes();
        let lanes = lanes.iter().map(|it| LaneRow { lane: it.to_string(), prefetch: plan.prefetch(it) });
        let servers = config.store.kind == StoreKind::Postgres;
        Self {
            ok: true,
            queue: if servers { "rabbitmq" } else { "embedded" },
            store: if servers { "postgres" } else { "embedded" },
            http: config.http.listen.map(|listen| listen.to_string()),
            esps: esps.collect(),
            pools: pools.collect(),
            domain_groups: groups.collect(),
            lanes: lanes.collect(),
            warnings: config.warnings.iter().map(FaultRow::from).collect(),
        }
    }
}

fn print(meaning: &Meaning, warnings: &[ConfigFault]) -> anyhow::Result<()> {
    let none = |list: &[String]| if list.is_empty() { "-".to_owned() } else { list.join(", ") };
    let mut facts = Table::of_facts();
    facts.fact("queue", Some(meaning.queue));
    facts.fact("store", Some(meaning.store));
    facts.fact("http", Some(meaning.http.as_deref().unwrap_or("off")));
    let mut esps = Table::new(["esp", "kind", "in flight", "timeout", "limits"]);
    for it in &meaning.esps {
        let in_flight = it.max_in_flight.to_string();
        esps.row([it.name.clone(), it.kind.to_owned(), in_flight, it.timeout.clone(), none(&it.limits)]);
    }
    let mut pools = Table::new(["pool", "members", "failover"]);
    for it in &meaning.pools {
        pools.row([it.name.clone(), none(&it.members), none(&it.failover)]);
    }
    let mut groups = Table::new(["domain group", "domains", "limits", "per esp", "per domain"]);
    for it in &meaning.domain_groups {
        let lists = [&it.limits, &it.limits_per_esp, &it.limits_per_domain].map(|list| none(list));
        let [limits, per_esp, per_domain] = lists;
        groups.row([it.name.clone(), it.domains.to_string(), limits, per_esp, per_domain]);
    }
    let mut lanes = Table::new(["lane", "prefetch"]);
    meaning.lanes.iter().for_each(|it| lanes.row([it.lane.clone(), it.prefetch.to_string()]));
    output::raw(format!("ok\n\n{facts}\n{esps}\n{pools}\n{groups}\n{lanes}").as_bytes())?;
    warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    Ok(())
}
