//! Which limits hold: those of the configuration, as an operator has edited them, with ramps and brakes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use sluice_types::{Class, EspId, GroupName, Limit, LimitKind, LimitScope, LimitSpec, Tenant};

use super::Plan;
use crate::slots::LineKey;

/// What holds beside the configuration, as the fleet knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Orders {
    /// Limits set at run time, by key.
    pub(crate) edits: BTreeMap<String, LimitSpec>,
    /// Today's caps of warm-ups, by scope.
    pub(crate) ramps: BTreeMap<LimitScope, u32>,
    /// Limits of scopes under a brake, for those that have none of their own.
    pub(crate) brakes: BTreeMap<LimitScope, LimitSpec>,
}

/// The limits that apply to one group at one ESP, but for those of tenants and single domains.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    timed: Arc<[Limit]>,
    connections: Arc<[Limit]>,
}

/// Which limits a line is under beside those that it shares with all of its group at its ESP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    tenant: bool,
    domain: bool,
}

impl Own {
    pub(crate) const fn of(line: &LineKey) -> Self {
        Self { tenant: line.tenant.is_some(), domain: line.domain.is_some() }
    }
}

impl Plan {
    /// The same plan with other orders of the fleet.
    pub(crate) fn with_orders(&self, orders: Orders) -> Self {
        let mut plan = Self { orders, ..self.clone() };
        plan.index();
        plan
    }

    pub(crate) const fn orders(&self) -> &Orders {
        &self.orders
    }

    /// Joins the limits of each group at each ESP once, and not for each job.
    pub(super) fn index(&mut self) {
        let mut bases: BTreeMap<EspId, BTreeMap<GroupName, Base>> = BTreeMap::new();
        for (esp, esp_plan) in &self.esps {
            for (group, group_plan) in &self.groups {
                let mut limits = self.effective(LimitScope::Esp(esp.clone()), &esp_plan.limits);
                limits.extend(self.effective(LimitScope::Group(group.clone()), &group_plan.limits));
                let both = LimitScope::EspGroup(esp.clone(), group.clone());
                limits.extend(self.effective(both, &group_plan.limits_per_esp));
                let (connections, timed): (Vec<_>, Vec<_>) =
                    limits.into_iter().partition(|limit| limit.spec.kind == LimitKind::Connections);
                let base = Base { timed: timed.into(), connections: connections.into() };
                bases.entry(esp.clone()).or_default().insert(group.clone(), base);
            }
        }
        self.bases = bases;
    }

    /// The limits of a scope as they hold now: configured or set at run time, ramps, and what a brake adds.
    fn effective(&self, scope: LimitScope, configured: &[LimitSpec]) -> Vec<Limit> {
        let of = |spec: LimitSpec| Limit { scope: scope.clone(), spec };
        let mut limits: Vec<Limit> = configured.iter().map(|spec| of(*spec)).collect();
        // A key is text that is made anew: not where nothing is edited, as this is asked for each job of a domain with limits.
        if !self.orders.edits.is_empty() {
            for limit in &mut limits {
                if let Some(edit) = self.orders.edits.get(&limit.key()) {
                    limit.spec = *edit;
                }
            }
            // A limit that is not configured may be set as well.
            for (key, spec) in &self.orders.edits {
                let limit = of(*spec);
                if limit.key() == *key && !limits.iter().any(|known| known.key() == *key) {
                    limits.push(limit);
                }
            }
        }
        if let Some(cap) = self.orders.ramps.get(&scope).and_then(|cap| NonZeroU32::new(*cap)) {
            limits.push(of(LimitSpec { count: cap, kind: LimitKind::Ramp }));
        }
        if let Some(spec) = self.orders.brakes.get(&scope)
            && !limits.iter().any(|limit| is_rate(&limit.spec))
        {
            limits.push(of(*spec));
        }
        limits
    }

    /// Every limit that is configured or set, but for those of single domains; for people and for editing.
    #[must_use]
    pub fn limits(&self) -> Vec<Limit> {
        let mut limits = Vec::new();
        for (esp, plan) in &self.esps {
            limits.extend(self.effective(LimitScope::Esp(esp.clone()), &plan.limits));
        }
        for (group, plan) in &self.groups {
            limits.extend(self.effective(LimitScope::Group(group.clone()), &plan.limits));
            for esp in self.esps.keys() {
                let scope = LimitScope::EspGroup(esp.clone(), group.clone());
                limits.extend(self.effective(scope, &plan.limits_per_esp));
            }
        }
        for (tenant, specs) in &self.tenants {
            limits.extend(self.effective(LimitScope::Tenant(tenant.clone()), specs));
        }
        for key in self.orders.edits.keys() {
            if let Some(scope @ (LimitScope::Domain(_) | LimitScope::Tenant(_))) = Limit::scope_of_key(key)
                && !matches!(&scope, LimitScope::Tenant(tenant) if self.tenants.contains_key(tenant))
            {
                limits.extend(self.scope_limits(&scope).into_iter().filter(|limit| limit.key() == *key));
            }
        }
        limits
    }

    /// The limits of one scope as they hold now; those of a single domain come from the group `other`.
    #[must_use]
    pub fn scope_limits(&self, scope: &LimitScope) -> Vec<Limit> {
        let none: &[LimitSpec] = &[];
        let configured = match scope {
            LimitScope::Esp(esp) => self.esps.get(esp).map_or(none, |plan| &plan.limits),
            LimitScope::Group(group) => self.groups.get(group).map_or(none, |plan| &plan.limits),
            LimitScope::EspGroup(_, group) => {
                self.groups.get(group).map_or(none, |plan| &plan.limits_per_esp)
            }
            LimitScope::Tenant(tenant) => self.tenants.get(tenant).map_or(none, Vec::as_slice),
            LimitScope::Domain(_) => {
                self.groups.get(&GroupName::other()).map_or(none, |plan| &plan.limits_per_domain)
            }
        };
        self.effective(scope.clone(), configured)
    }

    /// Whether the scope names something that is configured; a tenant or a domain always does.
    #[must_use]
    pub fn knows_scope(&self, scope: &LimitScope) -> bool {
        match scope {
            LimitScope::Esp(esp) => self.esps.contains_key(esp),
            LimitScope::Group(group) => self.groups.contains_key(group),
            LimitScope::EspGroup(esp, group) => {
                self.esps.contains_key(esp) && self.groups.contains_key(group)
            }
            LimitScope::Tenant(_) => true,
            LimitScope::Domain(domain) => self.group_of(domain).is_other(),
        }
    }

    /// The limit of a key, if it is one that holds now: none of an ESP or a group that is no more does, nor what was set for it.
    #[must_use]
    pub fn limit_of_key(&self, key: &str) -> Option<Limit> {
        let scope = Limit::scope_of_key(key).filter(|scope| self.knows_scope(scope))?;
        self.scope_limits(&scope).into_iter().find(|limit| limit.key() == key)
    }

    /// The limits that govern every job of a group at `esp`, but for connections.
    pub(crate) fn shared_limits(&self, esp: &EspId, group: &GroupName) -> Arc<[Limit]> {
        self.base(esp, group).map_or_else(|| Arc::from([]), |base| Arc::clone(&base.timed))
    }

    /// The limits on connections for a group at `esp`.
    pub(crate) fn connection_limits(&self, esp: &EspId, group: &GroupName) -> Arc<[Limit]> {
        self.base(esp, group).map_or_else(|| Arc::from([]), |base| Arc::clone(&base.connections))
    }

    /// A group that is no more leaves jobs behind for a while; they go as those of `other`.
    fn base(&self, esp: &EspId, group: &GroupName) -> Option<&Base> {
        let groups = self.bases.get(esp)?;
        groups.get(group).or_else(|| groups.get(&GroupName::other()))
    }

    /// The line that a job of this kind waits in at `esp`, and the limits that apply to it.
    pub(crate) fn line(
        &self,
        class: Class,
        esp: &EspId,
        group: &GroupName,
        tenant: &Tenant,
        domain: &str,
    ) -> (LineKey, Arc<[Limit]>) {
        let shared = self.shared_limits(esp, group);
        let (own_tenant, own_domain, own) = self.own_limits(group, tenant, domain);
        let key =
            LineKey { class, esp: esp.clone(), group: group.clone(), tenant: own_tenant, domain: own_domain };
        let limits = if own.is_empty() { shared } else { shared.iter().cloned().chain(own).collect() };
        (key, limits)
    }

    /// The tenant and the domain of a job, each if it has limits of its own, and these limits.
    fn own_limits(
        &self,
        group: &GroupName,
        tenant: &Tenant,
        domain: &str,
    ) -> (Option<Tenant>, Option<Arc<str>>, Vec<Limit>) {
        let mut own: Vec<Limit> = Vec::new();
        let mut own_domain = None;
        if self.domains_have_limits() && !self.names_domain(domain) {
            let name: Arc<str> = Arc::from(domain);
            let limits = self.domain_limits(group, &name);
            if !limits.is_empty() {
                own.extend(limits);
                own_domain = Some(name);
            }
        }
        let mut own_tenant = None;
        if self.tenants_have_limits(tenant) {
            let limits = self.scope_limits(&LimitScope::Tenant(tenant.clone()));
            if !limits.is_empty() {
                own.extend(limits);
                own_tenant = Some(tenant.clone());
            }
        }
        (own_tenant, own_domain, own)
    }

    /// Whether the tenant or the domain of a job has limits that its line is not under.
    pub(crate) fn has_more_limits(
        &self,
        line: Own,
        group: &GroupName,
        tenant: &Tenant,
        domain: &str,
    ) -> bool {
        let (of_tenant, of_domain, _) = self.own_limits(group, tenant, domain);
        (of_tenant.is_some() && !line.tenant) || (of_domain.is_some() && !line.domain)
    }

    /// The limits of a line that is there already; `None` when its ESP is no more, and with it what they are.
    pub(crate) fn limits_of_line(&self, line: &LineKey) -> Option<Arc<[Limit]>> {
        let shared = Arc::clone(&self.base(&line.esp, &line.group)?.timed);
        let mut own: Vec<Limit> = Vec::new();
        if let Some(domain) = &line.domain {
            own.extend(self.domain_limits(&line.group, domain));
        }
        if let Some(tenant) = &line.tenant {
            own.extend(self.scope_limits(&LimitScope::Tenant(tenant.clone())));
        }
        Some(if own.is_empty() { shared } else { shared.iter().cloned().chain(own).collect() })
    }

    /// The limits of a single domain that no group names. What is set for it by name holds too where its mail exchanges tell
    /// another group than `other`.
    fn domain_limits(&self, group: &GroupName, domain: &Arc<str>) -> Vec<Limit> {
        let scope = LimitScope::Domain(Arc::clone(domain));
        if group.is_other() { self.scope_limits(&scope) } else { self.effective(scope, &[]) }
    }

    fn domains_have_limits(&self) -> bool {
        let of_other = self.groups.get(&GroupName::other());
        of_other.is_some_and(|plan| !plan.limits_per_domain.is_empty())
            || self.orders.brakes.keys().any(|scope| matches!(scope, LimitScope::Domain(_)))
            || self.orders.edits.keys().any(|key| key.starts_with("domain:"))
    }

    fn tenants_have_limits(&self, tenant: &Tenant) -> bool {
        self.tenants.contains_key(tenant) || self.orders.edits.keys().any(|key| key.starts_with("tenant:"))
    }
}

/// Whether the limit spaces its slots, so that a brake can slow it.
pub(crate) const fn is_rate(spec: &LimitSpec) -> bool {
    matches!(spec.kind, LimitKind::Spaced { .. } | LimitKind::Bucket { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Plan {
        Plan::of(&sluice_config::Config::load(text, &[], &|_| Err(String::new())).unwrap())
    }

    #[test]
    fn jobs_of_a_group_or_an_esp_that_is_no_more_are_not_without_limits() {
        // Not a group that every configuration has.
        let esp = "[[esp]]\nname = \"main\"\nkind = \"sandbox\"\nlimits = [\"50/s\"]\n";
        let group = "[[domain_group]]\nname = \"club\"\ndomains = [\"club.example\"]\nlimits = [\"20/s\"]\n";
        let (before, after) = (plan(&format!("{esp}{group}")), plan(esp));
        let (main, club) = ("main".parse().unwrap(), "club".parse().unwrap());
        let tenant = "acme".parse().unwrap();
        let (line, limits) = before.line(Class::Bulk, &main, &club, &tenant, "club.example");
        assert_eq!(limits.len(), 2);
        let of_esp =
            |limits: &[Limit]| limits.iter().map(Limit::key).collect::<Vec<_>>() == ["esp:main/per:s"];
        assert!(of_esp(&after.limits_of_line(&line).unwrap()));
        assert!(of_esp(&after.shared_limits(&main, &club)));
        let other = plan(&esp.replace("main", "new"));
        assert_eq!(other.limits_of_line(&line), None, "it stays as it is");
    }

    #[test]
    fn a_limit_set_for_a_hosted_domain_holds_beside_those_of_its_provider() {
        let groups = r#"
            [[esp]]
            name = "main"
            kind = "sandbox"
            [[domain_group]]
            name = "club"
            domains = ["club.example"]
            limits = ["20/s"]
            [[domain_group]]
            name = "other"
            limits_per_domain = ["9/s"]
        "#;
        let edits = ["hosted", "club"]
            .map(|name| (format!("domain:{name}.example/per:min"), "1/min".parse().unwrap()));
        let plan = plan(groups).with_orders(Orders { edits: edits.into(), ..Orders::default() });
        let (main, club) = ("main".parse().unwrap(), "club".parse().unwrap());
        let keys = |domain: &str| -> Vec<String> {
            let (line, limits) = plan.line(Class::Bulk, &main, &club, &Tenant::default(), domain);
            assert_eq!(plan.limits_of_line(&line).unwrap(), limits);
            limits.iter().map(Limit::key).collect()
        };
        assert_eq!(keys("hosted.example"), ["group:club/per:s", "domain:hosted.example/per:min"]);
        assert_eq!(keys("club.example"), ["group:club/per:s"], "it is named by the group");
    }

    /// The first limit of a tenant or a domain let those go that were in memory already.
    #[test]
    fn a_first_limit_takes_jobs_out_of_the_line_that_they_are_in() {
        let free = plan("[[esp]]\nname = \"main\"\nkind = \"sandbox\"\nlimits = [\"50/s\"]\n");
        let with = |key: &str| {
            let edits = [(key.to_owned(), "1/min".parse().unwrap())].into();
            free.with_orders(Orders { edits, ..Orders::default() })
        };
        let braked = |scope: &str| {
            let brakes = [(scope.parse().unwrap(), "1/min".parse().unwrap())].into();
            free.with_orders(Orders { brakes, ..Orders::default() })
        };
        let (main, other) = ("main".parse().unwrap(), GroupName::other());
        let acme = "acme".parse().unwrap();
        let line = |plan: &Plan| Own::of(&plan.line(Class::Bulk, &main, &other, &acme, "a.example").0);
        for (plan, more) in [
            (with("tenant:acme/per:min"), true),
            (with("domain:a.example/per:min"), true),
            (braked("domain:a.example"), true),
            (with("tenant:else/per:min"), false),
            (with("domain:b.example/per:min"), false),
            (with("esp:main/per:min"), false),
            (free.clone(), false),
        ] {
            let edits = &plan.orders;
            assert_eq!(plan.has_more_limits(line(&free), &other, &acme, "a.example"), more, "{edits:?}");
            // Its line is under these, whatever becomes of them, and it keeps its place.
            assert!(!free.has_more_limits(line(&plan), &other, &acme, "a.example"), "{edits:?}");
            assert!(!plan.has_more_limits(line(&plan), &other, &acme, "a.example"), "{edits:?}");
        }
        let (tenant, both) = (with("tenant:acme/per:min"), {
            let keys = ["tenant:acme/per:min", "domain:a.example/per:min"];
            let edits = keys.map(|key| (key.to_owned(), "1/min".parse().unwrap())).into();
            free.with_orders(Orders { edits, ..Orders::default() })
        });
        assert!(both.has_more_limits(line(&tenant), &other, &acme, "a.example"));
    }

    /// The relay frees the lines of limits that do not hold; these were released at a rate that nobody used, or never.
    #[test]
    fn no_limit_of_an_esp_or_a_group_that_is_no_more_holds_anybody() {
        let esp = "[[esp]]\nname = \"main\"\nkind = \"sandbox\"\nlimits = [\"50/s\"]\n";
        let group = "[[domain_group]]\nname = \"club\"\ndomains = [\"club.example\"]\n\
            limits = [\"20/s\"]\nlimits_per_esp = [\"9/day\"]\n";
        let set = |plan: Plan| {
            let keys = [
                "esp:main/per:h",
                "group:club/per:h",
                "esp:main/group:club/per:h",
                "domain:club.example/per:h",
            ];
            let edits = keys.map(|key| (key.to_owned(), "5/h".parse().unwrap())).into();
            plan.with_orders(Orders { edits, ..Orders::default() })
        };
        let all = set(plan(&format!("{esp}{group}")));
        let no_esp = set(plan(&format!("{}{group}", esp.replace("main", "new"))));
        let no_group = set(plan(esp));
        for (key, holds) in [
            ("esp:main/per:s", [true, false, true]),
            ("esp:main/per:h", [true, false, true]),
            ("group:club/per:s", [true, true, false]),
            ("group:club/per:h", [true, true, false]),
            ("esp:main/group:club/per:day", [true, false, false]),
            ("esp:main/group:club/per:h", [true, false, false]),
            ("esp:main/group:other/per:h", [false, false, false]),
            // Its group has limits of its own.
            ("domain:club.example/per:h", [false, false, true]),
        ] {
            assert_eq!(
                [&all, &no_esp, &no_group].map(|plan| plan.limit_of_key(key).is_some()),
                holds,
                "{key}"
            );
        }
    }
}
