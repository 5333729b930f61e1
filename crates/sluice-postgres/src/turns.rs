//! Whose turn it is: a batch is shared by lanes evenly, within a lane (or the line of a limit) by tenants as they weigh, within a
//! tenant by its campaigns evenly. Pure.

use std::collections::{BTreeMap, HashMap};

use fastrand::Rng;

/// What a tenant without a configured weight has.
const USUAL_WEIGHT: u32 = 1;

/// Due jobs of one lane, tenant and campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    /// `<pool>.<class>.<group>/<tenant>/<campaign>`, as the database's function `sluice.flow` writes it.
    pub(crate) name: String,
}

impl Flow {
    /// The lane.
    pub(crate) fn lane(&self) -> &str {
        self.name.split_once('/').map_or("", |(lane, _)| lane)
    }

    /// `<tenant>/<campaign>`.
    pub(crate) fn owner(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, owner)| owner)
    }

    fn tenant(&self) -> &str {
        self.owner().split_once('/').map_or("", |(tenant, _)| tenant)
    }
}

/// How many of `budget` turns each flow gets, in order; all of them are given out.
///
/// Where a share is no whole number, chance says who gets the turn, so that none is passed over for ever.
pub(crate) fn share(
    flows: &[Flow],
    weights: &HashMap<&str, u32>,
    budget: usize,
    chance: &mut Rng,
) -> Vec<usize> {
    let mut lanes: BTreeMap<&str, BTreeMap<&str, Vec<usize>>> = BTreeMap::new();
    for (place, flow) in flows.iter().enumerate() {
        lanes.entry(flow.lane()).or_default().entry(flow.tenant()).or_default().push(place);
    }
    let mut turns = vec![0; flows.len()];
    for (tenants, of_lane) in lanes.values().zip(split(budget, vec![1; lanes.len()], chance)) {
        share_tenants(tenants, weights, of_lane, chance, &mut turns);
    }
    turns
}

/// The same for the owners of jobs in one line, by the tenant of each: tenants as they weigh, a tenant's campaigns evenly.
pub(crate) fn share_owners(
    owners: &[&str],
    weights: &HashMap<&str, u32>,
    budget: usize,
    chance: &mut Rng,
) -> Vec<usize> {
    let mut tenants: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, tenant) in owners.iter().enumerate() {
        tenants.entry(tenant).or_default().push(place);
    }
    let mut turns = vec![0; owners.len()];
    share_tenants(&tenants, weights, budget, chance, &mut turns);
    turns
}

fn share_tenants(
    tenants: &BTreeMap<&str, Vec<usize>>,
    weights: &HashMap<&str, u32>,
    budget: usize,
    chance: &mut Rng,
    turns: &mut [usize],
) {
    let weigh = |tenant: &&str| weights.get(tenant).copied().unwrap_or(USUAL_WEIGHT).max(1);
    let of_tenants = split(budget, tenants.keys().map(weigh).collect(), chance);
    for (places, of_tenant) in tenants.values().zip(of_tenants) {
        for (place, n) in places.iter().zip(split(of_tenant, vec![1; places.len()], chance)) {
            if let Some(turn) = turns.get_mut(*place) {
                *turn = n;
            }
        }
    }
}

/// Splits `total` by weight into whole numbers: each is its share rounded down or up, by a chance that makes it the
/// share in the long run, and their sum is `total`.
fn split(total: usize, weights: Vec<u32>, chance: &mut Rng) -> Vec<usize> {
    let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let total = u64::try_from(total).unwrap_or(u64::MAX).min(u64::from(u32::MAX));
    let offset = chance.u64(0..all.max(1));
    let whole = |upto: u64| (total.saturating_mul(upto) + offset) / all.max(1);
    let mut upto = 0;
    let share = |weight: u32| {
        let before = whole(upto);
        upto += u64::from(weight);
        usize::try_from(whole(upto) - before).unwrap_or(usize::MAX)
    };
    weights.into_iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    fn flows(names: &[&str]) -> Vec<Flow> {
        names.iter().map(|name| Flow { name: (*name).to_owned() }).collect()
    }

    fn check(names: &[&str], weights: &[(&str, u32)], budget: usize, expected: &[usize]) {
        let weights = weights.iter().copied().collect();
        for seed in 0..20 {
            let turns = share(&flows(names), &weights, budget, &mut Rng::with_seed(seed));
            assert_eq!(turns, expected, "{names:?} by {weights:?}");
        }
    }

    #[test]
    fn turns_go_by_lane_then_tenant_then_campaign() {
        check(&[], &[], 10, &[]);
        check(&["a.bulk.x/t/"], &[], 10, &[10]);
        check(&["l/t/", "l/u/", "l/v/"], &[], 30, &[10, 10, 10]);
        check(&["l/t/", "l/u/", "l/v/"], &[("t", 2)], 40, &[20, 10, 10]);
        check(&["l/t/", "l/u/"], &[("t", 0)], 40, &[20, 20]);
        check(&["l/t/a", "l/t/b", "l/t/", "l/u/"], &[], 60, &[10, 10, 10, 30]);
        check(&["l/t/", "l/u/", "m/t/"], &[], 40, &[10, 10, 20]);
        check(&["no flow at all"], &[], 4, &[4]);
    }

    #[test]
    fn turns_in_a_line_go_by_tenant_then_campaign() {
        let weights = HashMap::from([("t", 2)]);
        for (owners, expected) in [
            (vec![], vec![]),
            (vec!["t"], vec![60]),
            (vec!["t", "u"], vec![40, 20]),
            (vec!["t", "t", "u"], vec![20, 20, 20]),
            (vec!["u", "v", "v", "v"], vec![30, 10, 10, 10]),
        ] {
            assert_eq!(share_owners(&owners, &weights, 60, &mut Rng::with_seed(1)), expected, "{owners:?}");
        }
    }

    #[test]
    fn with_fewer_turns_than_flows_each_has_a_chance() {
        let names: Vec<String> = (0..50).map(|n| format!("l/t{n}/")).collect();
        let flows: Vec<Flow> = names.into_iter().map(|name| Flow { name }).collect();
        let mut chance = Rng::with_seed(7);
        let mut got = vec![0; flows.len()];
        for _ in 0..1000 {
            let turns = share(&flows, &HashMap::new(), 5, &mut chance);
            assert_eq!(turns.iter().sum::<usize>(), 5);
            got.iter_mut().zip(turns).for_each(|(got, turn)| *got += turn);
        }
        assert!(got.iter().all(|n| (50..=150).contains(n)), "{got:?}");
    }

    proptest! {
        #[test]
        fn all_turns_are_given_and_none_is_more_than_one_off(
            total in 0_usize..10_000,
            weights in prop::collection::vec(1_u32..1000, 1..50),
            seed: u64,
        ) {
            let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            let parts = split(total, weights.clone(), &mut Rng::with_seed(seed));
            prop_assert_eq!(parts.iter().sum::<usize>(), total);
            for (part, weight) in parts.iter().zip(weights) {
                let floor = total * weight as usize / usize::try_from(all).unwrap();
                prop_assert!(*part == floor || *part == floor + 1);
            }
        }
    }
}
