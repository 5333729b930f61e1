//! What goes through another ESP than the one whose line it is in, beside what then gets a slot there.

use std::collections::BTreeSet;

use sluice_config::Config;
use sluice_policy::{FleetBreaker, FleetState, LimitStates, Report, Want};

use super::super::openings::openings;
use super::*;
use crate::plan::Orders;

const MS_NS: i64 = 1_000_000;
/// Some noon.
const NOON_NS: i64 = (20_000 * 24 + 12) * 3_600_000 * MS_NS;
const RESERVED_PERMILLE: u32 = 200;
const BATCH: u32 = 500;

/// Lanes, and how many jobs of which lines.
type Going = (BTreeSet<String>, Vec<(String, u32)>);

/// Relays look at the lines of a fleet twice a second.
struct Sim {
    plan: Plan,
    states: LimitStates,
    fleet: FleetState,
    view: View,
    now_ns: i64,
    lines: Vec<(&'static str, u32)>,
}

impl Sim {
    fn new(toml: &str, lines: &[(&'static str, u32)]) -> Self {
        Self {
            plan: Plan::of(&Config::load(toml, &[], &|_| Err(String::new())).unwrap()),
            states: LimitStates::default(),
            fleet: FleetState::default(),
            view: View::default(),
            now_ns: NOON_NS,
            lines: lines.to_vec(),
        }
    }

    /// Takes so many slots; answers how many there were.
    fn lease(&mut self, key: &str, count: u32) -> u32 {
        let limit = self.plan.limit_of_key(key).unwrap();
        let want = Want { reserved_permille: RESERVED_PERMILLE, ..Want::of(limit, count) };
        self.states.lease(&want, self.now_ns).runs.iter().map(|run| run.count).sum()
    }

    /// Takes all slots that there are.
    fn use_up(&mut self, key: &str) {
        let want = Want::of(self.plan.limit_of_key(key).unwrap(), 100);
        while !self.states.lease(&want, self.now_ns).runs.is_empty() {}
    }

    /// One round of a relay.
    fn round(&mut self) -> Vec<Going> {
        self.now_ns += 500 * MS_NS;
        let scope = |key: &str| self.plan.limit_of_key(key).unwrap().scope;
        let lines = self.lines.iter().filter(|(_, count)| *count > 0);
        let held = |(key, count): &(&str, u32)| Held {
            key: (*key).to_owned(),
            scope: scope(key),
            count: (*count).min(BATCH),
        };
        let held: Vec<Held> = lines.map(held).collect();
        let opening =
            |limit: &Limit| openings(limit, &self.states.look(limit, self.now_ns), None, RESERVED_PERMILLE);
        let (ahead_ns, pools) = (5_000 * MS_NS, pools(&self.plan, &held));
        let mut known = HashMap::new();
        let mut releases = Vec::new();
        for line in &held {
            let opening = opening(&self.plan.limit_of_key(&line.key).unwrap());
            known.insert(line.key.clone(), opening.any);
            releases.extend(opening.wishes(line.key.clone(), line.count, ahead_ns));
        }
        let others = limits(&self.plan, &pools, &held);
        known.extend(others.iter().map(|limit| (limit.key(), opening(limit).any)));
        let (plan, view) = (&self.plan, &self.view);
        let looks =
            Looks { plan, pools: &pools, view, held: &held, openings: &known, ahead_ns, count_max: BATCH };
        let ways = looks.ways();
        releases.extend(wishes(&ways, BATCH, ahead_ns));
        let report = Report { replica: "r".to_owned(), releases, ..Report::default() };
        let granted = self.fleet.exchange(self.now_ns, &report).releases;
        let lanes = |way: &Way| way.lanes.iter().map(Lane::to_string).collect();
        let counts = counts(&ways, &granted, BATCH);
        ways.iter().map(lanes).zip(counts).filter(|(_, counts)| !counts.is_empty()).collect()
    }

    fn released(&mut self) -> u32 {
        self.round().iter().flat_map(|(_, counts)| counts).map(|(_, count)| count).sum()
    }
}

const TWO: &str = r#"
    esp = [
        { name = "a", kind = "sandbox", limits = ["10000/h"] }, { name = "b", kind = "sandbox", limits = ["50/h"] },
    ]
    pool = [{ name = "default", members = [{ esp = "a" }, { esp = "b" }] }]
"#;

/// They waited for the next slots of the one that had been the first to open: 50 an hour, beside 10,000.
#[test]
fn jobs_go_through_the_esp_that_has_opened_meanwhile() {
    let mut sim = Sim::new(TWO, &[("esp:b/per:h", 100)]);
    sim.use_up("esp:b/per:h");
    assert_eq!(sim.released(), 100);
    assert_eq!(sim.lease("esp:a/per:h", 100), 100);
    sim.lines = vec![("esp:b/per:h", 0)];
    assert_eq!(sim.released(), 0);
}

#[test]
fn nothing_goes_round_while_both_are_used_up() {
    let toml = TWO.replace("10000/h", "200/h");
    let mut sim = Sim::new(&toml, &[("esp:b/per:h", 10_000)]);
    sim.use_up("esp:b/per:h");
    sim.use_up("esp:a/per:h");
    for _ in 0..600 {
        assert_eq!(sim.released(), 0);
    }
    let (mut released, mut sent) = (0, 0);
    for _ in 0..2 * 3600 * 3 {
        let count = sim.released();
        released += count;
        sent += if count > 0 { sim.lease("esp:a/per:h", count) } else { 0 };
    }
    assert!(sent >= 350, "{sent}");
    assert!(released <= sent + sent / 20, "{released} released for {sent} that were sent");
}

#[test]
fn only_those_go_that_routing_would_send() {
    let check = |toml: &str, lines: &[(&'static str, u32)], expected: u32| {
        assert_eq!(Sim::new(toml, lines).released(), expected, "{lines:?} under {toml}");
    };
    let held = [("esp:b/per:h", 100)];
    check(TWO, &held, 100);
    let alone = TWO.replace(r#"members = [{ esp = "a" }, { esp = "b" }]"#, r#"members = [{ esp = "b" }]"#);
    check(&alone, &held, 0);
    // A member has slots, so the failover stands by.
    let failover = TWO.replace(
        r#"members = [{ esp = "a" }, { esp = "b" }]"#,
        r#"members = [{ esp = "b" }], failover = ["a"]"#,
    );
    check(&failover, &held, 0);
    let mut sim = Sim::new(&failover, &held);
    sim.use_up("esp:b/per:h");
    assert_eq!(sim.released(), 100);
    // Those in its own line come first.
    check(TWO, &[("esp:a/per:h", BATCH), ("esp:b/per:h", 100)], 0);
    check(&TWO.replace("10000", "100"), &[("esp:a/per:h", 50), ("esp:b/per:h", 100)], 30);
    // And nothing goes for the slots that these have been released for, while they are on their way.
    let mut sim = Sim::new(&TWO.replace("10000", "100"), &[("esp:a/per:h", 50), ("esp:b/per:h", 100)]);
    assert_eq!(sim.released(), 30);
    sim.lines = vec![("esp:b/per:h", 70)];
    assert_eq!(sim.released(), 0);
    // A spare stands by as well.
    let spare = TWO.replace(r#"{ esp = "a" }"#, r#"{ esp = "a", weight = 0 }"#);
    check(&spare, &held, 0);
    let mut sim = Sim::new(&spare, &held);
    sim.use_up("esp:b/per:h");
    assert_eq!(sim.released(), 100);
    // A tenant would go back.
    let sticky = TWO.replace("members", "sticky = \"tenant\", members");
    check(&sticky, &held, 0);
    let mut sim = Sim::new(&sticky, &held);
    sim.use_up("esp:b/per:h");
    assert_eq!(sim.released(), 100);
    let open = FleetBreaker { open_for_ns: Some(1), trips: 1, ..FleetBreaker::default() };
    sim.view.breakers = [("a".to_owned(), open)].into();
    sim.now_ns += 10_000 * MS_NS;
    assert_eq!(sim.released(), 0);
}

#[test]
fn jobs_of_a_group_that_is_shut_there_stay() {
    let toml = format!(
        "{TWO}\n[[domain_group]]\nname = \"big\"\ndomains = [\"big.example\"]\nlimits_per_esp = [\"100/day\"]"
    );
    let mut sim = Sim::new(&toml, &[("esp:b/per:h", 400)]);
    let groups =
        |round: Vec<Going>| -> BTreeSet<String> { round.into_iter().flat_map(|(lanes, _)| lanes).collect() };
    let big = |lanes: &BTreeSet<String>| lanes.contains("default.bulk.big");
    let lanes = groups(sim.round());
    assert!(big(&lanes) && lanes.contains("default.bulk.other"), "{lanes:?}");
    let key = sim.plan.scope_limits(&"esp:a/group:big".parse().unwrap()).first().map(Limit::key);
    sim.use_up(key.as_deref().unwrap());
    sim.now_ns += 10_000 * MS_NS;
    let lanes = groups(sim.round());
    assert!(!big(&lanes) && lanes.contains("default.bulk.other"), "{lanes:?}");
}

#[test]
fn jobs_of_a_warm_up_go_through_the_other_account() {
    let mut sim = Sim::new(
        r#"
        esp = [
            { name = "w", kind = "sandbox", warmup = { caps = [200] } }, { name = "m", kind = "sandbox", limits = ["50000/day"] },
        ]
        pool = [{ name = "default", members = [{ esp = "w" }, { esp = "m" }] }]
        "#,
        &[],
    );
    let ramps = [("esp:w".parse().unwrap(), 200)].into();
    sim.plan = sim.plan.with_orders(Orders { ramps, ..Orders::default() });
    sim.lines = vec![("esp:w/warm-up", 300)];
    sim.use_up("esp:w/warm-up");
    assert_eq!(sim.released(), 300);
}
