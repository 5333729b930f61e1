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
fn traffic_comes_back_from_the_failover_by_degrees() {
    let alone = pool(&[("a", 1)], &["f", "g"]);
    let part =
        |share: f64| move |name: &str| Availability::Up { weight: if name < "f" { share } else { 1.0 } };
    for (share, least, most) in [(0.1, 140, 270), (0.55, 1_000, 1_200)] {
        let counts = spread(&alone, part(share), &[]);
        assert!((least..most).contains(&counts["a"]), "{counts:?} at {share}");
        assert_eq!(counts["a"] + counts["f!"], 2000, "{counts:?} at {share}");
    }
    only(&alone, part(1.0), &[], "a");
    only(&alone, part(0.0), &[], "f!");
    only(&alone, |name| if name < "f" { part(0.1)(name) } else { down(5) }, &[], "a");
    // As soon as one member is back in full, no more goes to the failover.
    let two = pool(&[("a", 1), ("b", 1)], &["f"]);
    let counts = spread(&two, |name| if name == "b" { UP } else { part(0.1)(name) }, &[]);
    assert!(!counts.contains_key("f!"), "{counts:?}");
}

#[test]
fn traffic_comes_back_from_a_spare_by_degrees_too() {
    let pool = pool(&[("a", 1), ("spare", 0)], &["f"]);
    let part =
        |share: f64| move |name: &str| Availability::Up { weight: if name == "a" { share } else { 1.0 } };
    for (share, least, most) in [(0.1, 140, 270), (0.55, 1_000, 1_200)] {
        let counts = spread(&pool, part(share), &[]);
        assert!((least..most).contains(&counts["a"]), "{counts:?} at {share}");
        assert_eq!(counts["a"] + counts["spare"], 2000, "{counts:?} at {share}");
    }
    only(&pool, part(1.0), &[], "a");
    only(&pool, part(0.0), &[], "spare");
    // A spare alone that recovers leaves the rest to the failover, as a member does.
    let counts = spread(
        &pool,
        |name| {
            if name == "a" {
                down(5)
            } else {
                Availability::Up { weight: if name == "f" { 1.0 } else { 0.1 } }
            }
        },
        &[],
    );
    assert!((140..270).contains(&counts["spare"]), "{counts:?}");
    assert_eq!(counts["spare"] + counts["f!"], 2000, "{counts:?}");
    // With neither a spare nor a failover that is up it gets all.
    only(&pool, |name| if name == "a" { part(0.1)(name) } else { down(5) }, &[], "a");
}

/// All came back to the first one with its first good answer.
#[test]
fn traffic_comes_back_to_a_failover_esp_by_degrees_too() {
    let pool = pool(&[("a", 1)], &["f", "g"]);
    let counts = spread(
        &pool,
        |name| match name {
            "a" => down(9),
            "f" => Availability::Up { weight: 0.1 },
            _ => UP,
        },
        &[],
    );
    assert!((140..270).contains(&counts["f!"]), "{counts:?}");
    assert_eq!(counts["f!"] + counts["g!"], 2000);
}

/// The other one has a line since it had all of the traffic, and all of it came back at once.
#[test]
fn a_long_line_at_its_peer_gives_a_recovering_member_no_more_than_its_part() {
    let pool = pool(&[("a", 1), ("b", 1)], &[]);
    let of = |esp: &EspId| Availability::Up { weight: if esp.as_str() == "a" { 0.1 } else { 1.0 } };
    let mut rng = fastrand::Rng::with_seed(3);
    let mut chosen = || choose(&pool, of, |esp| esp.as_str() == "b", &[], Luck::Random(&mut rng));
    let to_a = Choice::Esp { esp: esp("a"), failover: false };
    let count = (0..2000).filter(|_| chosen() == to_a).count();
    assert!((200..500).contains(&count), "{count}");
}

#[test]
fn a_tenant_comes_back_from_the_failover_once() {
    let pool = pool(&[("a", 1), ("b", 1)], &["f"]);
    let pick = |number: u64, weight: f64| {
        let of = |esp: &EspId| Availability::Up { weight: if esp.as_str() == "f" { 1.0 } else { weight } };
        match choose(&pool, of, |_| false, &[], Luck::Sticky(number)) {
            Choice::Esp { esp, .. } => esp.to_string(),
            Choice::Wait { .. } => unreachable!(),
        }
    };
    let mut back_at_once = 0;
    for number in 0..1000 {
        let seen: Vec<_> = [0.1, 0.3, 0.5, 0.7, 0.9, 1.0].map(|weight| pick(number, weight)).into();
        let mut stays = seen.clone();
        stays.dedup();
        let moves = stays.len() - 1;
        assert!(moves == 0 || (moves == 1 && stays.first().unwrap() == "f"), "{seen:?}");
        back_at_once += u32::from(moves == 0);
    }
    assert!((60..140).contains(&back_at_once), "{back_at_once} of 1,000");
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

/// With a pool of eight each job asked for the lines of all eight, one and a half microseconds each.
#[test]
fn the_others_are_asked_only_when_whoever_is_drawn_has_a_long_line() {
    let all = pool(&[("a", 3), ("b", 1), ("c", 4)], &[]);
    let drawn = |long: &str| {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut asked, mut by_name) = (0, HashMap::<String, u32>::new());
        for _ in 0..8000 {
            let is_long = |esp: &EspId| {
                asked += 1;
                esp.as_str() == long
            };
            match choose(&all, |_| UP, is_long, &[], Luck::Random(&mut rng)) {
                Choice::Esp { esp, .. } => *by_name.entry(esp.to_string()).or_default() += 1,
                Choice::Wait { .. } => unreachable!(),
            }
        }
        (asked, by_name)
    };
    assert_eq!(drawn("none").0, 8000);
    // What c gets no more of is shared by the others as all is.
    let (asked, by_name) = drawn("c");
    assert!((19_000..21_000).contains(&asked), "{asked}");
    assert!((5800..6200).contains(&by_name["a"]) && !by_name.contains_key("c"), "{by_name:?}");
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
                // Members that recover leave a part to the spares, and these to the failover.
                let best = ranks.values().min();
                let most = |of: u8| {
                    let all = ranks.iter().filter(|(_, rank)| **rank == of).filter_map(|(esp, _)| weights.get(esp));
                    all.fold(0.0, |most: f64, weight| most.max(*weight))
                };
                let left_over = best.is_some_and(|best| *best < 2)
                    && ranks.get(&esp).is_some_and(|rank| *rank <= 2 && (0..*rank).all(|before| most(before) < 1.0));
                prop_assert!(ranks.get(&esp) == best || left_over, "{:?} of {:?}", esp, ranks);
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
