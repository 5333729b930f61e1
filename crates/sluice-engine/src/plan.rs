//! What the configuration means for a job: which pool, group, limits and times apply.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sluice_config::{Config, EspConfig, Sticky, UnknownAction};
use sluice_policy::{BreakerTerms, PoolMembers, RampTerms, RetryTerms, permille};
use sluice_types::{Class, EspId, GroupName, LimitScope, LimitSpec, PoolName, Tenant};

mod frozen;
mod lanes;
mod limits;
mod live;

pub use lanes::Sides;
pub(crate) use limits::{Orders, Own, is_rate};
pub use live::LivePlan;

/// One ESP account as the engine sees it.
#[derive(Clone, Debug)]
pub struct EspPlan {
    /// Limits over everything it sends; those on connections among them.
    pub limits: Vec<LimitSpec>,
    /// Calls at the same time in this process.
    pub max_in_flight: usize,
    /// The account's own timeout for a call.
    pub timeout: Duration,
    /// Its warm-up, and those of single groups.
    ramps: Vec<RampTerms>,
}

/// One domain group as the engine sees it.
#[derive(Clone, Debug, Default)]
struct GroupPlan {
    limits: Vec<LimitSpec>,
    limits_per_esp: Vec<LimitSpec>,
    limits_per_domain: Vec<LimitSpec>,
}

/// One pool as the engine sees it.
#[derive(Clone, Debug)]
pub(crate) struct PoolPlan {
    pub(crate) members: PoolMembers,
    pub(crate) sticky: Sticky,
}

/// Times and bounds of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A job whose own limit opens later than this is parked.
    pub hold_max: Duration,
    /// A job that waits for a limit of its whole lane is held so long before it is parked.
    pub lane_hold_max: Duration,
    /// How long a claim stands.
    pub claim_ttl: Duration,
    /// Jobs in work at the same time over all lanes.
    pub max_in_flight: usize,
    /// Largest prefetch of a lane.
    pub prefetch_max: u16,
    /// Deliveries are given back when the store is away for longer.
    pub unhealthy_release: Duration,
    /// Parked jobs published in one batch.
    pub relay_batch: u32,
    /// Pause of the relay when nothing is due.
    pub relay_interval: Duration,
    /// An unknown outcome is left so long to webhooks before policy acts.
    pub unknown_window: Duration,
    /// Claims and results are written by so many tasks each.
    pub writers: usize,
    /// The share of counted limits and of the places in work that is kept for transactional jobs, in permille.
    pub reserved_permille: u32,
    /// From a full stop back to the full rate after replies that ask us to slow down; `None`: they are not heeded.
    pub brake_recover: Option<Duration>,
}

/// The configuration, indexed for the way of a job.
#[derive(Clone, Debug)]
pub struct Plan {
    pools: BTreeMap<PoolName, PoolPlan>,
    esps: BTreeMap<EspId, EspPlan>,
    groups: BTreeMap<GroupName, GroupPlan>,
    group_of_domain: HashMap<String, GroupName>,
    /// Names that mail exchanges end with, and the group that they tell.
    group_of_mx: HashMap<String, GroupName>,
    tenants: HashMap<Tenant, Vec<LimitSpec>>,
    weights: Vec<(Tenant, u32)>,
    orders: Orders,
    sides: Sides,
    bases: BTreeMap<EspId, BTreeMap<GroupName, limits::Base>>,
    digest: String,
    retry: [(Class, RetryTerms); 2],
    resend_unknown: [(Class, bool); 2],
    breaker: BreakerTerms,
    bounds: Bounds,
}

impl Plan {
    /// Indexes a checked configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let esps = config.esps.iter().map(|esp| {
            let plan = EspPlan {
                limits: esp.limits.clone(),
                max_in_flight: usize::try_from(esp.max_in_flight).unwrap_or(usize::MAX).max(1),
                timeout: esp.timeout,
                ramps: ramps(esp),
            };
            (esp.name.clone(), plan)
        });
        let pools = config.pools.iter().map(|pool| {
            let members = pool.members.iter().map(|member| (member.esp.clone(), member.weight)).collect();
            let members = PoolMembers { members, failover: pool.failover.clone() };
            (pool.name.clone(), PoolPlan { members, sticky: pool.sticky })
        });
        let mut groups: BTreeMap<GroupName, GroupPlan> = config
            .groups
            .iter()
            .map(|group| {
                let plan = GroupPlan {
                    limits: group.limits.clone(),
                    limits_per_esp: group.limits_per_esp.clone(),
                    limits_per_domain: group.limits_per_domain.clone(),
                };
                (group.name.clone(), plan)
            })
            .collect();
        groups.entry(GroupName::other()).or_default();
        let domains = config
            .groups
            .iter()
            .flat_map(|group| group.domains.iter().map(|domain| (domain.clone(), group.name.clone())));
        let exchanges = config
            .groups
            .iter()
            .flat_map(|group| group.mx.iter().map(|suffix| (suffix.clone(), group.name.clone())));
        let weighted = config.tenants.iter().filter(|it| it.weight != 1);
        let schedule = |it: &sluice_config::RetrySchedule| RetryTerms {
            initial: it.initial,
            max: it.max,
            give_up_after: it.give_up_after,
        };
        let resends = |action: UnknownAction| action == UnknownAction::Resend;
        let mut plan = Self {
            pools: pools.collect(),
            esps: esps.collect(),
            groups,
            group_of_domain: domains.collect(),
            group_of_mx: exchanges.collect(),
            tenants: config.tenants.iter().map(|it| (it.name.clone(), it.limits.clone())).collect(),
            weights: weighted.map(|it| (it.name.clone(), it.weight)).collect(),
            orders: Orders::default(),
            sides: Sides::default(),
            bases: BTreeMap::new(),
            digest: config.fleet_digest(),
            retry: [
                (Class::Transactional, schedule(&config.retry.transactional)),
                (Class::Bulk, schedule(&config.retry.bulk)),
            ],
            resend_unknown: [
                (Class::Transactional, resends(config.unknown.transactional)),
                (Class::Bulk, resends(config.unknown.bulk)),
            ],
            breaker: BreakerTerms {
                window: config.breaker.window,
                failure_rate: config.breaker.failure_rate,
                slow_rate: config.breaker.slow_rate,
                slow_after: config.breaker.slow_after,
                min_calls: config.breaker.min_calls,
                open: config.breaker.open,
                open_max: config.breaker.open_max,
                probes: config.breaker.probes,
            },
            bounds: Bounds {
                hold_max: config.worker.hold_max,
                lane_hold_max: config.worker.lane_hold_max,
                claim_ttl: config.claim_ttl(),
                max_in_flight: usize::try_from(config.worker.max_in_flight).unwrap_or(usize::MAX),
                prefetch_max: config.worker.prefetch_max,
                unhealthy_release: config.worker.unhealthy_release,
                relay_batch: config.relay.batch,
                relay_interval: config.relay.interval,
                unknown_window: config.unknown.window,
                writers: usize::from(config.store.writers),
                reserved_permille: permille(config.worker.reserved_share),
                brake_recover: config.brake.enabled.then_some(config.brake.recover),
            },
        };
        plan.index();
        plan
    }

    /// Tells one configuration of what replicas must agree on from another.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The ramps of all warm-ups.
    pub(crate) fn ramps(&self) -> Vec<RampTerms> {
        self.esps.values().flat_map(|esp| esp.ramps.iter().cloned()).collect()
    }

    /// Tenants whose weight is not 1.
    pub(crate) fn weights(&self) -> &[(Tenant, u32)] {
        &self.weights
    }

    /// Times and bounds.
    #[must_use]
    pub const fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The numbers of every breaker.
    #[must_use]
    pub const fn breaker_terms(&self) -> &BreakerTerms {
        &self.breaker
    }

    /// The ESP accounts.
    pub fn esps(&self) -> impl Iterator<Item = (&EspId, &EspPlan)> {
        self.esps.iter()
    }

    /// The pools, for the topology of the broker.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        self.pools.keys()
    }

    /// The groups with their domains, for the topology of the broker.
    #[must_use]
    pub fn groups(&self) -> Vec<(GroupName, Vec<String>)> {
        let mut groups: BTreeMap<GroupName, Vec<String>> =
            self.groups.keys().map(|name| (name.clone(), Vec::new())).collect();
        for (domain, group) in &self.group_of_domain {
            groups.entry(group.clone()).or_default().push(domain.clone());
        }
        for domains in groups.values_mut() {
            domains.sort_unstable();
        }
        groups.into_iter().collect()
    }

    /// The group that a mail exchange tells: that of the longest configured name that it ends with.
    pub(crate) fn group_of_exchange(&self, host: &str) -> Option<&GroupName> {
        let mut rest = host;
        loop {
            if let Some(group) = self.group_of_mx.get(rest) {
                return Some(group);
            }
            rest = rest.split_once('.')?.1;
        }
    }

    /// Whether any group is told by mail exchanges.
    pub(crate) fn uses_mx(&self) -> bool {
        !self.group_of_mx.is_empty()
    }

    /// Whether the domain is named by a group.
    pub(crate) fn names_domain(&self, domain: &str) -> bool {
        self.group_of_domain.contains_key(domain)
    }

    /// The group of a domain by name.
    #[must_use]
    pub fn group_of(&self, domain: &str) -> GroupName {
        self.group_of_domain.get(domain).cloned().unwrap_or_else(GroupName::other)
    }

    pub(crate) fn has_pool(&self, pool: &PoolName) -> bool {
        self.pools.contains_key(pool)
    }

    pub(crate) fn pool(&self, pool: &PoolName) -> Option<&PoolPlan> {
        self.pools.get(pool)
    }

    pub(crate) fn esp_timeout(&self, esp: &EspId) -> Duration {
        self.esps.get(esp).map_or(Duration::from_secs(30), |plan| plan.timeout)
    }

    pub(crate) fn retry(&self, class: Class) -> &RetryTerms {
        let [(_, transactional), (_, bulk)] = &self.retry;
        match class {
            Class::Transactional => transactional,
            Class::Bulk => bulk,
        }
    }

    pub(crate) fn resends_unknown(&self, class: Class) -> bool {
        self.resend_unknown.iter().any(|(of, resend)| *of == class && *resend)
    }
}

impl PoolPlan {
    /// Every ESP of the pool, members first.
    pub(crate) fn esps(&self) -> impl Iterator<Item = &EspId> {
        self.members.members.iter().map(|(esp, _)| esp).chain(&self.members.failover)
    }
}

/// The ramps of an ESP's warm-up: its own, and those of single groups.
fn ramps(esp: &EspConfig) -> Vec<RampTerms> {
    let Some(warmup) = &esp.warmup else { return Vec::new() };
    let of = |scope: LimitScope, caps: &[u32], hold_above: f64| RampTerms {
        scope: scope.to_string(),
        caps: caps.to_vec(),
        hold_above,
    };
    let own = of(LimitScope::Esp(esp.name.clone()), &warmup.caps, warmup.hold_above);
    let groups = warmup.groups.iter().map(|(group, ramp)| {
        of(LimitScope::EspGroup(esp.name.clone(), group.clone()), &ramp.caps, ramp.hold_above)
    });
    std::iter::once(own).chain(groups).collect()
}
