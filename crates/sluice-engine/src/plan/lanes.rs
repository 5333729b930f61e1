//! Which lanes there are, which one a job belongs into, and how much of each is worth borrowing.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_policy::prefetch;
use sluice_types::{Class, GroupName, Lane, Limit, LimitScope, PoolName, Side};

use super::{Plan, is_rate};

/// Domains of the group `other` that have a side lane, and which.
pub type Sides = Arc<BTreeMap<String, Side>>;

impl Plan {
    /// The same plan with other side lanes.
    #[must_use]
    pub fn with_sides(&self, sides: Sides) -> Self {
        Self { sides, ..self.clone() }
    }

    pub(crate) const fn sides(&self) -> &Sides {
        &self.sides
    }

    /// Every lane: pool x class x group, and the side lanes of `other` up to the last one that was ever given to a domain.
    #[must_use]
    pub fn lanes(&self) -> Vec<Lane> {
        let last = self.sides.values().max();
        let mut lanes = Vec::new();
        for pool in self.pools.keys() {
            for class in Class::ALL {
                for group in self.groups.keys() {
                    let lane = Lane { pool: pool.clone(), class, group: group.clone(), side: None };
                    if group.is_other() {
                        let sides = Side::all().take_while(|side| last.is_some_and(|last| side <= last));
                        lanes.extend(sides.map(|side| Lane { side: Some(side), ..lane.clone() }));
                    }
                    lanes.push(lane);
                }
            }
        }
        lanes
    }

    /// The lane of a job by its domain; that of the pool `default` when its pool is not configured (any more).
    #[must_use]
    pub fn lane(&self, pool: &PoolName, class: Class, domain: &str) -> Lane {
        self.lane_of_group(pool, class, self.group_of(domain), domain)
    }

    /// The lane of a job by its group and domain; that of `other` when the group is not configured (any more).
    pub(crate) fn lane_of_group(
        &self,
        pool: &PoolName,
        class: Class,
        group: GroupName,
        domain: &str,
    ) -> Lane {
        let pool = if self.has_pool(pool) { pool.clone() } else { PoolName::default() };
        let group = if self.groups.contains_key(&group) { group } else { GroupName::other() };
        let side = if group.is_other() { self.sides.get(domain).copied() } else { None };
        Lane { pool, class, group, side }
    }

    /// Whether a lane holds jobs of this domain of `other` alone, but for a few of one that had the lane before.
    pub(crate) fn is_lane_of_domain(&self, lane: &Lane, domain: &str) -> bool {
        lane.side.is_some() && self.sides.get(domain).copied() == lane.side
    }

    /// The limits of the domain that has this side lane; of other lanes none.
    pub(crate) fn limits_of_side(&self, lane: &Lane) -> Vec<Limit> {
        let Some(side) = lane.side else { return Vec::new() };
        let domain = self.sides.iter().find(|(_, of)| **of == side);
        domain.map_or_else(Vec::new, |(domain, _)| {
            self.scope_limits(&LimitScope::Domain(Arc::from(domain.as_str())))
        })
    }

    /// How many deliveries a lane may hold: about two seconds of the rate that its limits allow.
    #[must_use]
    pub fn prefetch(&self, lane: &Lane) -> u16 {
        prefetch(self.lane_rate(lane), self.bounds.prefetch_max)
    }

    /// Messages per second that the limits of a lane allow; `None` without a limit.
    pub(crate) fn lane_rate(&self, lane: &Lane) -> Option<f64> {
        // A count over hours may be used up at once, so it says nothing of the rate.
        let rate = |limits: &[Limit]| {
            let rates = limits.iter().filter(|limit| is_rate(&limit.spec));
            rates.filter_map(|limit| limit.spec.rate_per_second()).reduce(f64::min)
        };
        let of_group = rate(&self.scope_limits(&LimitScope::Group(lane.group.clone())));
        let of_side = rate(&self.limits_of_side(lane));
        let of_esp = |esp| {
            let own = rate(&self.scope_limits(&LimitScope::Esp(Clone::clone(esp))));
            let both = LimitScope::EspGroup(Clone::clone(esp), lane.group.clone());
            own.unwrap_or(f64::INFINITY).min(rate(&self.scope_limits(&both)).unwrap_or(f64::INFINITY))
        };
        let pool = self.pools.get(&lane.pool);
        let of_pool = pool.and_then(|pool| pool.esps().map(of_esp).reduce(|sum, rate| sum + rate));
        let of_pool = of_pool.filter(|sum| sum.is_finite());
        [of_group, of_side, of_pool].into_iter().flatten().reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Orders;

    fn plan() -> Plan {
        let text = "[[esp]]\nname = \"main\"\nkind = \"sandbox\"\n";
        let plan = Plan::of(&sluice_config::Config::load(text, &[], &|_| Err(String::new())).unwrap());
        let edits = [("domain:slow.example/per:s".to_owned(), "1/s".parse().unwrap())].into();
        plan.with_orders(Orders { edits, ..Orders::default() })
    }

    fn sides(of: &[(&str, u8)]) -> Sides {
        let sides = of.iter().map(|(domain, number)| ((*domain).to_owned(), Side::new(*number).unwrap()));
        Arc::new(sides.collect())
    }

    #[test]
    fn a_domain_with_a_side_lane_has_it_in_every_class_and_its_rate() {
        let (plan, pool) = (plan(), PoolName::default());
        let before = plan.lanes().len();
        assert_eq!(plan.lane(&pool, Class::Bulk, "slow.example").to_string(), "default.bulk.other");
        let plan = plan.with_sides(sides(&[("slow.example", 2)]));
        // The first may hold jobs of a domain of before.
        assert_eq!(plan.lanes().len(), before + 4);
        let lane = plan.lane(&pool, Class::Bulk, "slow.example");
        assert_eq!(lane.to_string(), "default.bulk.other.2");
        assert!(plan.lanes().contains(&lane));
        assert_eq!((plan.lane_rate(&lane), plan.prefetch(&lane)), (Some(1.0), 2));
        assert!(plan.is_lane_of_domain(&lane, "slow.example"));
        assert!(!plan.is_lane_of_domain(&lane, "free.example"));
        let other = plan.lane(&pool, Class::Bulk, "free.example");
        assert_eq!((other.to_string().as_str(), plan.lane_rate(&other)), ("default.bulk.other", None));
        assert!(!plan.is_lane_of_domain(&other, "slow.example"));
    }

    #[test]
    fn a_domain_that_a_group_names_is_in_the_lane_of_its_group() {
        let plan = plan().with_sides(sides(&[("gmail.com", 1)]));
        let lane = plan.lane(&PoolName::default(), Class::Bulk, "gmail.com");
        assert_eq!(lane.to_string(), "default.bulk.gmail");
    }
}
