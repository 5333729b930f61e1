use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const UP: Availability = Availability::Up { weight: 1.0 };

fn esp(name: &str) -> EspId {
    EspId::new(name).unwrap()
}

fn tick(seconds: u64) -> Tick {
    Tick::ZERO + Duration::from_secs(seconds)
}

fn down(seconds: u64) -> Availability {
    Availability::Down { until: tick(seconds) }
}

fn pool(members: &[(&str, u32)], failover: &[&str]) -> PoolMembers {
    PoolMembers {
        members: members.iter().map(|(name, weight)| (esp(name), *weight)).collect(),
        failover: failover.iter().map(|name| esp(name)).collect(),
    }
}

/// Draws 2000 times and returns how often each ESP came, failover ones marked with `!`.
fn spread(pool: &PoolMembers, of: impl Fn(&str) -> Availability, avoid: &[&str]) -> HashMap<String, u32> {
    let avoid: Vec<EspId> = avoid.iter().map(|name| esp(name)).collect();
    let mut rng = fastrand::Rng::with_seed(3);
    let mut counts = HashMap::new();
    for _ in 0..2000 {
        let word = match choose(pool, |esp| of(esp.as_str()), |_| false, &avoid, Luck::Random(&mut rng)) {
            Choice::Esp { esp, failover: false } => esp.to_string(),
            Choice::Esp { esp, failover: true } => format!("{esp}!"),
            Choice::Wait { .. } => "wait".to_owned(),
        };
        *counts.entry(word).or_default() += 1;
    }
    counts
}

fn only(pool: &PoolMembers, of: impl Fn(&str) -> Availability, avoid: &[&str], expected: &str) {
    let counts = spread(pool, of, avoid);
    assert_eq!(counts, HashMap::from([(expected.to_owned(), 2000)]), "avoiding {avoid:?}");
}

#[test]
fn traffic_follows_weight_times_availability() {
    let pool = pool(&[("a", 3), ("b", 1)], &["c"]);
    let counts = spread(&pool, |_| UP, &[]);
    assert!((1400..1600).contains(&counts["a"]), "{counts:?}");
    assert_eq!(counts["a"] + counts["b"], 2000);
    let recovering = |name: &str| Availability::Up { weight: if name == "a" { 0.1 } else { 1.0 } };
    let counts = spread(&pool, recovering, &[]);
    assert!((380..550).contains(&counts["a"]), "{counts:?}");
}

#[test]
fn failover_only_when_no_member_is_up() {
    let pool = pool(&[("a", 3), ("b", 1)], &["c", "d"]);
    only(&pool, |name| if name == "a" { down(5) } else { UP }, &[], "b");
    only(&pool, |name| if name < "c" { down(5) } else { UP }, &[], "c!");
    only(&pool, |name| if name < "d" { down(5) } else { UP }, &[], "d!");
}

#[test]
fn a_spare_serves_when_the_others_are_down_or_avoided() {
    let pool = pool(&[("a", 1), ("b", 1), ("spare", 0)], &["c"]);
    only(&pool, |name| if name == "a" { down(5) } else { UP }, &["b"], "spare");
    assert!(!spread(&pool, |_| UP, &[]).contains_key("spare"));
}

#[test]
fn an_avoided_esp_is_the_last_resort() {
    let pool = pool(&[("a", 9), ("b", 1)], &["c"]);
    only(&pool, |_| UP, &["a"], "b");
    only(&pool, |_| UP, &["a", "b"], "c!");
    only(&pool, |name| if name == "a" { UP } else { down(9) }, &["a"], "a");
    only(&pool, |name| if name == "c" { UP } else { down(9) }, &["a", "c"], "c!");
}

#[test]
fn a_long_line_passes_work_on_within_its_tier_only() {
    let all = pool(&[("a", 1), ("b", 1)], &["c", "d"]);
    let pick = |of: fn(&str) -> Availability, long: &str, avoid: &[&str]| {
        let avoid: Vec<EspId> = avoid.iter().map(|name| esp(name)).collect();
        let mut names = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let (mut rng, is_long) =
                (fastrand::Rng::with_seed(seed), |esp: &EspId| long.contains(esp.as_str()));
            match choose(&all, |esp| of(esp.as_str()), is_long, &avoid, Luck::Random(&mut rng)) {
                Choice::Esp { esp, .. } => names.insert(esp.to_string()),
                Choice::Wait { .. } => unreachable!(),
            };
        }
        names.into_iter().collect::<String>()
    };
    let no_member: fn(&str) -> Availability = |name| if name < "c" { down(5) } else { UP };
    for (of, long, avoid, expected) in [
        ((|_| UP) as fn(&str) -> Availability, "", &[] as &[&str], "ab"),
        (|_| UP, "a", &[], "b"),
        // Its members are up, so the failover ESPs have no part in it.
        (|_| UP, "ab", &[], "ab"),
        (|name| if name == "b" { down(5) } else { UP }, "a", &[], "a"),
        (no_member, "c", &[], "d"),
        (no_member, "cd", &[], "c"),
        // Nor does a job go back to the one that failed it.
        (|_| UP, "b", &["a"], "b"),
        (|_| UP, "c", &["a", "b"], "d"),
        (|_| UP, "a", &["a", "b", "c", "d"], "b"),
    ] {
        assert_eq!(pick(of, long, avoid), expected, "long at {long:?}, avoiding {avoid:?}");
    }
}

#[test]
fn odd_availability_weights_still_choose() {
    let pool = pool(&[("a", 1)], &[]);
    for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        only(&pool, |_| Availability::Up { weight }, &[], "a");
    }
}

#[test]
fn waiting_ends_with_the_first_esp_to_ask_again() {
    let mut rng = fastrand::Rng::with_seed(1);
    let all = pool(&[("a", 1), ("b", 1)], &["c"]);
    let of = |esp: &EspId| {
        down(match esp.as_str() {
            "a" => 30,
            "b" => 20,
            _ => 10,
        })
    };
    assert_eq!(
        choose(&all, of, |_| false, &[esp("c")], Luck::Random(&mut rng)),
        Choice::Wait { until: Some(tick(10)) }
    );
    assert_eq!(
        choose(&pool(&[], &[]), |_| UP, |_| false, &[], Luck::Random(&mut rng)),
        Choice::Wait { until: None }
    );
}

proptest! {
    /// Ranks: fresh member, fresh spare, fresh failover, avoided member, avoided spare, avoided failover.
    #[test]
    fn the_choice_is_always_of_the_best_rank(
        members in proptest::collection::vec((0..3u32, any::<bool>(), any::<bool>(), 0.0..1.0f64), 0..5),
        failover in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..4),
        seed in any::<u64>(),
    ) {
        let mut pool = PoolMembers::default();
        let (mut ranks, mut weights, mut avoid) = (HashMap::new(), HashMap::new(), Vec::new());
        for (i, (weight, up, avoided, part)) in members.iter().enumerate() {
            let id = esp(&format!("m{i}"));
            pool.members.push((id.clone(), *weight));
            if *avoided { avoid.push(id.clone()); }
            if *up {
                ranks.insert(id.clone(), 3 * u8::from(*avoided) + u8::from(*weight == 0));
                weights.insert(id, *part);
            }
        }
        for (i, (up, avoided)) in failover.iter().enumerate() {
            let id = esp(&format!("f{i}"));
            pool.failover.push(id.clone());
            if *avoided { avoid.push(id.clone()); }
            if *up {
                ranks.insert(id.clone(), 3 * u8::from(*avoided) + 2);
                weights.insert(id, 1.0);
            }
        }
        let of = |esp: &EspId| weights.get(esp).map_or(down(1), |weight| Availability::Up { weight: *weight });
        match choose(&pool, of, |_| false, &avoid, Luck::Random(&mut fastrand::Rng::with_seed(seed))) {
            Choice::Esp { esp, failover } => {
                prop_assert_eq!(ranks.get(&esp), ranks.values().min());
                prop_assert_eq!(failover, pool.failover.contains(&esp));
            }
            Choice::Wait { until } => {
                prop_assert!(ranks.is_empty());
                prop_assert_eq!(until.is_none(), members.is_empty() && failover.is_empty());
            }
        }
    }
}

#[test]
fn a_sticky_choice_stays_and_moves_only_what_it_must() {
    let pool = pool(&[("a", 100), ("b", 100), ("c", 200)], &[]);
    let pick = |number: u64, without: &str| {
        let of = |esp: &EspId| if esp.as_str() == without { down(10) } else { UP };
        match choose(&pool, of, |_| false, &[], Luck::Sticky(number)) {
            Choice::Esp { esp, .. } => esp.to_string(),
            Choice::Wait { .. } => "wait".to_owned(),
        }
    };
    let mut counts: HashMap<String, u32> = HashMap::new();
    for number in 0..4000 {
        let (first, again, without_a) = (pick(number, ""), pick(number, ""), pick(number, "a"));
        assert_eq!(first, again);
        if first != "a" {
            assert_eq!(first, without_a, "only those of `a` move");
        }
        *counts.entry(first).or_default() += 1;
    }
    assert!((800..1200).contains(&counts["a"]) && (1800..2200).contains(&counts["c"]), "{counts:?}");
}
