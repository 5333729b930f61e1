use std::collections::BTreeMap;

use super::*;

fn flow(group: &str, tenant: &str, campaign: &str) -> Flow {
    let owned = str::to_owned;
    Flow {
        pool: owned("default"),
        class: owned("bulk"),
        group: owned(group),
        tenant: owned(tenant),
        campaign: owned(campaign),
    }
}

/// Flows, how many due jobs each still has, and what is remembered between batches.
#[derive(Default)]
struct Backlog {
    jobs: BTreeMap<Flow, (u32, i64)>,
    rota: Rota,
    weights: Vec<(&'static str, u32)>,
}

impl Backlog {
    fn of(jobs: &[(&str, &str, &str, u32)]) -> Self {
        let mut backlog = Self::default();
        for ((group, tenant, campaign, count), since) in jobs.iter().zip(0..) {
            backlog.jobs.insert(flow(group, tenant, campaign), (*count, since));
        }
        backlog
    }

    /// Takes a batch of up to `max`; answers how many jobs of each came, by the name that `name` reads off.
    fn batch(&mut self, max: u32, name: fn(&Flow) -> &str) -> BTreeMap<String, u32> {
        let flows: Vec<DueFlow> = self
            .jobs
            .iter()
            .filter(|(_, (count, _))| *count > 0)
            .map(|(flow, (_, since))| DueFlow { flow: flow.clone(), since: *since, taken: (0, 0) })
            .collect();
        let weights = self.weights.iter().copied().collect();
        let mut turns = Turns::new(&flows, &self.rota, &weights);
        let mut taken = BTreeMap::new();
        let mut count = 0;
        while count < max
            && turns
                .turn(|due| {
                    let (left, _) = self.jobs.get_mut(&due.flow).unwrap();
                    if *left == 0 {
                        return Ok::<_, ()>(false);
                    }
                    *left -= 1;
                    count += 1;
                    *taken.entry(name(&due.flow).to_owned()).or_default() += 1;
                    Ok(true)
                })
                .unwrap()
        {}
        self.rota = turns.end();
        taken
    }
}

fn tenant(flow: &Flow) -> &str {
    &flow.tenant
}

fn counts<const N: usize>(of: [(&str, u32); N]) -> BTreeMap<String, u32> {
    of.map(|(name, count)| (name.to_owned(), count)).into()
}

#[test]
fn tenants_take_turns_by_weight_and_what_nobody_wants_goes_to_the_rest() {
    let mut backlog = Backlog::of(&[("g", "a", "", 100), ("g", "b", "", 100), ("g", "c", "", 2)]);
    backlog.weights = vec![("a", 3), ("c", 0)];
    assert_eq!(backlog.batch(18, tenant), counts([("a", 12), ("b", 4), ("c", 2)]));
    assert_eq!(backlog.batch(40, tenant), counts([("a", 30), ("b", 10)]));
    backlog.jobs.retain(|flow, _| flow.tenant == "a");
    assert_eq!(backlog.batch(1000, tenant), counts([("a", 58)]));
    assert_eq!(backlog.batch(1000, tenant), counts([]));
}

#[test]
fn many_campaigns_make_no_more_turns() {
    let mut backlog = Backlog::of(&[
        ("g", "many", "", 50),
        ("g", "many", "autumn", 50),
        ("g", "many", "spring", 50),
        ("g", "one", "spring", 50),
    ]);
    assert_eq!(backlog.batch(30, tenant), counts([("many", 15), ("one", 15)]));
    let by_campaign = backlog.batch(60, |flow| if flow.tenant == "one" { "-" } else { &flow.campaign });
    assert_eq!(by_campaign, counts([("", 10), ("autumn", 10), ("spring", 10), ("-", 30)]));
}

#[test]
fn lanes_take_turns_whoever_is_in_them() {
    let mut backlog = Backlog::of(&[("g", "a", "", 50), ("g", "b", "", 50), ("h", "a", "", 50)]);
    assert_eq!(backlog.batch(40, |flow| &flow.group), counts([("g", 20), ("h", 20)]));
}

#[test]
fn among_equals_the_one_that_has_waited_longest_goes_first() {
    let mut backlog = Backlog::of(&[("g", "z", "", 9), ("g", "m", "", 9), ("g", "a", "", 9)]);
    assert_eq!(backlog.batch(2, tenant), counts([("m", 1), ("z", 1)]));
}

#[test]
fn turns_go_on_where_the_last_batch_ended() {
    let names: Vec<String> = (0..10).map(|n| format!("t{n}")).collect();
    let jobs: Vec<_> = names.iter().map(|name| ("g", name.as_str(), "", 100)).collect();
    let mut backlog = Backlog::of(&jobs);
    backlog.weights = vec![("t3", 2)];
    let mut total = BTreeMap::new();
    for _ in 0..11 {
        for (name, count) in backlog.batch(3, tenant) {
            *total.entry(name).or_insert(0) += count;
        }
    }
    assert!(total.iter().all(|(name, count)| *count == if name == "t3" { 6 } else { 3 }), "{total:?}");
}

#[test]
fn a_newcomer_gets_its_turn_and_nothing_for_the_time_before() {
    let mut backlog = Backlog::of(&[("g", "a", "", 100), ("g", "b", "", 100)]);
    backlog.batch(50, tenant);
    backlog.jobs.insert(flow("g", "late", ""), (100, 7));
    assert_eq!(backlog.batch(9, tenant), counts([("a", 3), ("b", 3), ("late", 3)]));
}
