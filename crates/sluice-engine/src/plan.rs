//! What the configuration means for a job: which pool, group, limits and times apply.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sluice_config::{Config, UnknownAction};
use sluice_policy::{BreakerTerms, PoolMembers, RetryTerms, prefetch};
use sluice_types::{
    Class, EspId, GroupName, Lane, Limit, LimitKind, LimitScope, LimitSpec, PoolName, Tenant,
};

use crate::slots::LineKey;

/// One ESP account as the engine sees it.
#[derive(Clone, Debug)]
pub struct EspPlan {
    /// Limits over everything it sends.
    pub limits: Vec<LimitSpec>,
    /// Calls at the same time in this process: `max_in_flight`, or its limit on connections if that is lower.
    pub max_in_flight: usize,
    /// The account's own timeout for a call.
    pub timeout: Duration,
}

/// One domain group as the engine sees it.
#[derive(Clone, Debug, Default)]
struct GroupPlan {
    limits: Vec<LimitSpec>,
    limits_per_esp: Vec<LimitSpec>,
    limits_per_domain: Vec<LimitSpec>,
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
    /// No send begins so shortly before the claim ends.
    pub claim_margin: Duration,
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
}

/// The configuration, indexed for the way of a job.
#[derive(Clone, Debug)]
pub struct Plan {
    pools: BTreeMap<PoolName, PoolMembers>,
    esps: BTreeMap<EspId, EspPlan>,
    groups: BTreeMap<GroupName, GroupPlan>,
    group_of_domain: HashMap<String, GroupName>,
    tenants: HashMap<Tenant, Vec<LimitSpec>>,
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
            let connections = esp.limits.iter().filter(|spec| spec.kind == LimitKind::Connections);
            let most =
                connections.map(|spec| spec.count.get()).min().unwrap_or(u32::MAX).min(esp.max_in_flight);
            let plan = EspPlan {
                limits: timed(&esp.limits),
                max_in_flight: usize::try_from(most).unwrap_or(usize::MAX).max(1),
                timeout: esp.timeout,
            };
            (esp.name.clone(), plan)
        });
        let pools = config.pools.iter().map(|pool| {
            let members = pool.members.iter().map(|member| (member.esp.clone(), member.weight)).collect();
            (pool.name.clone(), PoolMembers { members, failover: pool.failover.clone() })
        });
        let mut groups: BTreeMap<GroupName, GroupPlan> = config
            .groups
            .iter()
            .map(|group| {
                let plan = GroupPlan {
                    limits: timed(&group.limits),
                    limits_per_esp: timed(&group.limits_per_esp),
                    limits_per_domain: timed(&group.limits_per_domain),
                };
                (group.name.clone(), plan)
            })
            .collect();
        groups.entry(GroupName::other()).or_default();
        let domains = config
            .groups
            .iter()
            .flat_map(|group| group.domains.iter().map(|domain| (domain.clone(), group.name.clone())));
        let schedule = |it: &sluice_config::RetrySchedule| RetryTerms {
            initial: it.initial,
            max: it.max,
            give_up_after: it.give_up_after,
        };
        let resends = |action: UnknownAction| action == UnknownAction::Resend;
        Self {
            pools: pools.collect(),
            esps: esps.collect(),
            groups,
            group_of_domain: domains.collect(),
            tenants: config.tenants.iter().map(|it| (it.name.clone(), timed(&it.limits))).collect(),
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
                claim_margin: CLAIM_MARGIN,
                max_in_flight: usize::try_from(config.worker.max_in_flight).unwrap_or(usize::MAX),
                prefetch_max: config.worker.prefetch_max,
                unhealthy_release: config.worker.unhealthy_release,
                relay_batch: config.relay.batch,
                relay_interval: config.relay.interval,
                unknown_window: config.unknown.window,
                writers: usize::from(config.store.writers),
            },
        }
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

    /// Every lane: pool x class x group.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        let mut lanes = Vec::new();
        for pool in self.pools.keys() {
            for class in Class::ALL {
                for group in self.groups.keys() {
                    lanes.push(Lane { pool: pool.clone(), class, group: group.clone() });
                }
            }
        }
        lanes
    }

    /// The lane of a job; that of the pool `default` when its pool is not configured (any more).
    #[must_use]
    pub fn lane(&self, pool: &PoolName, class: Class, domain: &str) -> Lane {
        let pool = if self.has_pool(pool) { pool.clone() } else { PoolName::default() };
        Lane { pool, class, group: self.group_of(domain) }
    }

    /// The group of a domain.
    #[must_use]
    pub fn group_of(&self, domain: &str) -> GroupName {
        self.group_of_domain.get(domain).cloned().unwrap_or_else(GroupName::other)
    }

    pub(crate) fn has_pool(&self, pool: &PoolName) -> bool {
        self.pools.contains_key(pool)
    }

    pub(crate) fn pool(&self, pool: &PoolName) -> Option<&PoolMembers> {
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

    /// The line that a job of this kind waits in at `esp`, and the limits that apply to it.
    pub(crate) fn line(
        &self,
        class: Class,
        esp: &EspId,
        group: &GroupName,
        tenant: &Tenant,
        domain: &str,
    ) -> (LineKey, Vec<Limit>) {
        let mut limits = Vec::new();
        let mut add = |scope: LimitScope, specs: &[LimitSpec]| {
            limits.extend(specs.iter().map(|spec| Limit { scope: scope.clone(), spec: *spec }));
        };
        if let Some(plan) = self.esps.get(esp) {
            add(LimitScope::Esp(esp.clone()), &plan.limits);
        }
        let group_plan = self.groups.get(group);
        let mut own_domain = None;
        if let Some(plan) = group_plan {
            add(LimitScope::Group(group.clone()), &plan.limits);
            add(LimitScope::EspGroup(esp.clone(), group.clone()), &plan.limits_per_esp);
            if !plan.limits_per_domain.is_empty() {
                let domain: Arc<str> = Arc::from(domain);
                add(LimitScope::Domain(Arc::clone(&domain)), &plan.limits_per_domain);
                own_domain = Some(domain);
            }
        }
        let own_tenant = self.tenants.get(tenant).filter(|specs| !specs.is_empty()).map(|specs| {
            add(LimitScope::Tenant(tenant.clone()), specs);
            tenant.clone()
        });
        let key =
            LineKey { class, esp: esp.clone(), group: group.clone(), tenant: own_tenant, domain: own_domain };
        (key, limits)
    }

    /// How many deliveries a lane may hold: about two seconds of the rate that its limits allow.
    #[must_use]
    pub fn prefetch(&self, lane: &Lane) -> u16 {
        let rate = |specs: &[LimitSpec]| specs.iter().filter_map(LimitSpec::rate_per_second).reduce(f64::min);
        let group = self.groups.get(&lane.group);
        let of_group = group.and_then(|plan| rate(&plan.limits));
        let of_pool = self.pools.get(&lane.pool).and_then(|pool| {
            let esps = pool.members.iter().map(|(esp, _)| esp).chain(&pool.failover);
            esps.map(|esp| {
                let own = self.esps.get(esp).and_then(|plan| rate(&plan.limits)).unwrap_or(f64::INFINITY);
                let at_group = group.and_then(|plan| rate(&plan.limits_per_esp)).unwrap_or(f64::INFINITY);
                own.min(at_group)
            })
            .reduce(|sum, rate| sum + rate)
            .filter(|sum| sum.is_finite())
        });
        let allowed = match (of_group, of_pool) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, other) => one.or(other),
        };
        prefetch(allowed, self.bounds.prefetch_max)
    }
}

/// No send begins so shortly before its claim ends.
const CLAIM_MARGIN: Duration = Duration::from_secs(2);

/// The limits that are leased as slots; connections are held by `max_in_flight`.
fn timed(specs: &[LimitSpec]) -> Vec<LimitSpec> {
    specs.iter().filter(|spec| spec.kind != LimitKind::Connections).copied().collect()
}
