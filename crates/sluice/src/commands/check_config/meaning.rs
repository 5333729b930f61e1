//! What a configuration means, in the words of its sections and without secrets.

use serde::Serialize;
use sluice_config::{
    Config, ConfigFault, DurationText, EspConfig, GroupConfig, PoolConfig, StoreKind, TenantConfig,
};
use sluice_engine::Plan;
use sluice_types::{LimitScope, LimitSpec};

/// The whole configuration.
#[derive(Serialize)]
pub(super) struct Meaning {
    ok: bool,
    pub(super) queue: &'static str,
    pub(super) store: &'static str,
    pub(super) http: Option<String>,
    /// Whether the mailbox providers of domains that no group names are looked up.
    pub(super) mx: bool,
    /// Share that transactional jobs keep for themselves, 0.0 to 1.0.
    pub(super) reserved_share: f64,
    /// The same for all replicas that agree on what the fleet shares.
    pub(super) fleet_digest: String,
    pub(super) esps: Vec<EspRow>,
    pub(super) warmups: Vec<WarmupRow>,
    pub(super) pools: Vec<PoolRow>,
    pub(super) domain_groups: Vec<GroupRow>,
    pub(super) tenants: Vec<TenantRow>,
    pub(super) lanes: Vec<LaneRow>,
    warnings: Vec<FaultRow>,
}

#[derive(Serialize)]
pub(super) struct FaultRow {
    pub(super) key: String,
    pub(super) detail: String,
}

#[derive(Serialize)]
pub(super) struct EspRow {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) limits: Vec<String>,
    pub(super) max_in_flight: u32,
    pub(super) timeout: String,
}

#[derive(Serialize)]
pub(super) struct WarmupRow {
    /// `esp:NAME` or `esp:NAME/group:NAME`.
    pub(super) scope: String,
    /// Most messages of each sending day.
    pub(super) caps: Vec<u32>,
    pub(super) hold_above: f64,
}

#[derive(Serialize)]
pub(super) struct PoolRow {
    pub(super) name: String,
    pub(super) members: Vec<String>,
    pub(super) failover: Vec<String>,
    pub(super) sticky: &'static str,
}

#[derive(Serialize)]
pub(super) struct GroupRow {
    pub(super) name: String,
    pub(super) domains: usize,
    /// Ends of mail exchanger names.
    pub(super) mx: Vec<String>,
    pub(super) limits: Vec<String>,
    pub(super) limits_per_esp: Vec<String>,
    pub(super) limits_per_domain: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct TenantRow {
    pub(super) name: String,
    pub(super) weight: u32,
    pub(super) limits: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct LaneRow {
    pub(super) lane: String,
    pub(super) prefetch: u16,
}

impl Meaning {
    pub(super) fn of(config: &Config) -> Self {
        let plan = Plan::of(config);
        let lanes = plan.lanes();
        let lanes = lanes.iter().map(|it| LaneRow { lane: it.to_string(), prefetch: plan.prefetch(it) });
        let servers = config.store.kind == StoreKind::Postgres;
        Self {
            ok: true,
            queue: if servers { "rabbitmq" } else { "embedded" },
            store: if servers { "postgres" } else { "embedded" },
            http: config.http.listen.map(|listen| listen.to_string()),
            mx: config.mx.enabled,
            reserved_share: config.worker.reserved_share,
            fleet_digest: config.fleet_digest(),
            esps: config.esps.iter().map(EspRow::from).collect(),
            warmups: config.esps.iter().flat_map(warmups).collect(),
            pools: config.pools.iter().map(PoolRow::from).collect(),
            domain_groups: config.groups.iter().map(GroupRow::from).collect(),
            tenants: config.tenants.iter().map(TenantRow::from).collect(),
            lanes: lanes.collect(),
            warnings: config.warnings.iter().map(FaultRow::from).collect(),
        }
    }
}

fn words(specs: &[LimitSpec]) -> Vec<String> {
    specs.iter().map(ToString::to_string).collect()
}

/// The ramps of one ESP: its own first, then those of single groups.
fn warmups(esp: &EspConfig) -> Vec<WarmupRow> {
    let Some(warmup) = &esp.warmup else { return Vec::new() };
    let row = |scope: LimitScope, caps: &[u32], hold_above| WarmupRow {
        scope: scope.to_string(),
        caps: caps.to_vec(),
        hold_above,
    };
    let own = row(LimitScope::Esp(esp.name.clone()), &warmup.caps, warmup.hold_above);
    let groups = warmup.groups.iter().map(|(group, ramp)| {
        row(LimitScope::EspGroup(esp.name.clone(), group.clone()), &ramp.caps, ramp.hold_above)
    });
    std::iter::once(own).chain(groups).collect()
}

impl From<&ConfigFault> for FaultRow {
    fn from(fault: &ConfigFault) -> Self {
        Self { key: fault.key.clone(), detail: fault.detail.clone() }
    }
}

impl From<&EspConfig> for EspRow {
    fn from(esp: &EspConfig) -> Self {
        Self {
            name: esp.name.to_string(),
            kind: esp.kind.as_str(),
            limits: words(&esp.limits),
            max_in_flight: esp.max_in_flight,
            timeout: DurationText(esp.timeout).to_string(),
        }
    }
}

impl From<&PoolConfig> for PoolRow {
    fn from(pool: &PoolConfig) -> Self {
        Self {
            name: pool.name.to_string(),
            members: pool.members.iter().map(|it| format!("{} x{}", it.esp, it.weight)).collect(),
            failover: pool.failover.iter().map(ToString::to_string).collect(),
            sticky: pool.sticky.as_str(),
        }
    }
}

impl From<&GroupConfig> for GroupRow {
    fn from(group: &GroupConfig) -> Self {
        Self {
            name: group.name.to_string(),
            domains: group.domains.len(),
            mx: group.mx.clone(),
            limits: words(&group.limits),
            limits_per_esp: words(&group.limits_per_esp),
            limits_per_domain: words(&group.limits_per_domain),
        }
    }
}

impl From<&TenantConfig> for TenantRow {
    fn from(tenant: &TenantConfig) -> Self {
        Self { name: tenant.name.to_string(), weight: tenant.weight, limits: words(&tenant.limits) }
    }
}
