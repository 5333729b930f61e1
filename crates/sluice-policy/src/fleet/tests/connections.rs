//! Limits on connections, shared over the fleet.

use super::*;

pub(super) fn connections(replica: &str, in_use: u32, wanted: u32) -> Report {
    connections_of(10, replica, in_use, wanted)
}

fn connections_of(limit: u32, replica: &str, in_use: u32, wanted: u32) -> Report {
    let key = "esp:main/connections".to_owned();
    let wish = ConnectionWish { key, limit, in_use, wanted, ttl_ns: 60 * SECOND_NS };
    Report { connections: vec![wish], ..from(replica) }
}

fn leased(view: &View, replica: &str) -> ConnectionsHeld {
    let it = view.connections.get("esp:main/connections").and_then(|it| it.held.get(replica));
    it.copied().unwrap_or_default()
}

fn held(view: &View, replica: &str) -> u32 {
    leased(view, replica).count
}

#[test]
fn connections_are_shared_and_come_back_when_their_lease_ends() {
    let mut state = FleetState::default();
    assert_eq!(held(&state.exchange(START, &connections("a", 0, 50)), "a"), 10, "alone it may have all");
    assert_eq!(held(&state.exchange(START, &connections("b", 0, 50)), "b"), 0, "none is free yet");
    assert_eq!(held(&state.exchange(START, &connections("a", 8, 50)), "a"), 8, "those in use stay");
    assert_eq!(held(&state.exchange(START, &connections("b", 0, 50)), "b"), 2);
    assert_eq!(held(&state.exchange(START, &connections("a", 3, 50)), "a"), 5, "its fair share");
    assert_eq!(held(&state.exchange(START, &connections("b", 2, 50)), "b"), 5);
    assert_eq!(held(&state.exchange(START + 59 * SECOND_NS, &connections("c", 0, 50)), "c"), 0);
    assert_eq!(
        held(&state.exchange(START + 61 * SECOND_NS, &connections("c", 0, 50)), "c"),
        10,
        "both are gone"
    );
    state.exchange(START, &Report { leaves: true, ..from("c") });
    assert_eq!(held(&state.exchange(START + 62 * SECOND_NS, &connections("a", 0, 1)), "a"), 1);
}

#[test]
fn a_limit_that_is_lowered_counts_what_is_still_in_use() {
    let mut state = FleetState::default();
    let mut exchange = |limit, replica: &str, in_use, wanted| {
        let it = leased(&state.exchange(START, &connections_of(limit, replica, in_use, wanted)), replica);
        (it.count, it.allowed)
    };
    assert_eq!(exchange(10, "a", 0, 6), (6, 6));
    assert_eq!(exchange(10, "b", 0, 4), (4, 4));
    assert_eq!(exchange(4, "a", 6, 6), (6, 0), "six calls are under way, and no seventh begins");
    assert_eq!(exchange(4, "b", 4, 4), (4, 0));
    assert_eq!(exchange(4, "b", 0, 4), (0, 0), "all four belong to the six");
    assert_eq!(exchange(4, "a", 3, 6), (3, 2), "its share");
    assert_eq!(exchange(4, "b", 0, 4), (1, 1));
    assert_eq!(exchange(4, "a", 2, 6), (2, 2));
    assert_eq!(exchange(4, "b", 1, 4), (2, 2));
}

#[test]
fn a_replica_that_uses_all_makes_room_as_its_calls_end() {
    let mut state = FleetState::default();
    assert_eq!(held(&state.exchange(START, &connections("a", 0, 50)), "a"), 10);
    assert_eq!(held(&state.exchange(START, &connections("b", 0, 50)), "b"), 0);
    let busy = leased(&state.exchange(START, &connections("a", 10, 50)), "a");
    assert_eq!(
        (busy.count, busy.allowed),
        (10, 5),
        "what ends is not begun again until it is down to its share"
    );
    state.exchange(START, &connections("a", 7, 50));
    assert_eq!(leased(&state.exchange(START, &connections("b", 0, 50)), "b").allowed, 3);
    assert_eq!(leased(&state.exchange(START, &connections("a", 4, 50)), "a").allowed, 5);
    assert_eq!(leased(&state.exchange(START, &connections("b", 3, 50)), "b").allowed, 5);
}

#[test]
fn what_does_not_divide_evenly_is_used_and_nobody_goes_without_for_long() {
    // Limit, replicas, seconds: what all may use at any time, and that each may use some at some time.
    for (limit, count, seconds) in [(10, 4, 0), (10, 3, 0), (2, 3, 30), (1, 5, 30), (3, 3, 0)] {
        let mut state = FleetState::default();
        let mut had = vec![0; count];
        for second in 0..=seconds {
            let mut allowed = vec![0; count];
            for round in 0..3 {
                for (i, allowed) in allowed.iter_mut().enumerate() {
                    let now = START + second * SECOND_NS + round;
                    let report = connections_of(limit, &format!("r{i}"), 0, 50);
                    *allowed = leased(&state.exchange(now, &report), &format!("r{i}")).allowed;
                }
            }
            assert_eq!(allowed.iter().sum::<u32>(), limit, "{limit} for {count}: {allowed:?}");
            had.iter_mut().zip(allowed).for_each(|(had, allowed)| *had += allowed);
        }
        assert!(had.iter().all(|had| *had > 0), "{limit} for {count}: {had:?}");
    }
}

proptest! {
    #[test]
    fn no_call_begins_above_the_limit_of_connections(
        steps in proptest::collection::vec(
            (0_usize..6, 0_u32..15, 0_i64..40, 0_u32..4, proptest::option::weighted(0.1, 1_u32..20)),
            1..200,
        ),
    ) {
        let mut state = FleetState::default();
        // By replica: what it may use and until when, and what it uses.
        let mut leases: HashMap<usize, (u32, i64)> = HashMap::new();
        let mut in_use: HashMap<usize, u32> = HashMap::new();
        let (mut now, mut limit) = (START, 10);
        for (replica, wanted, pause, ends, lowered_or_raised) in steps {
            now += pause * SECOND_NS;
            limit = lowered_or_raised.unwrap_or(limit);
            for (other, (allowed, until)) in &mut leases {
                // A call ends before the lease does.
                if *until <= now {
                    in_use.insert(*other, 0);
                    *allowed = 0;
                }
            }
            let used = in_use.entry(replica).or_default();
            *used = used.saturating_sub(ends);
            let name = format!("r{replica}");
            let lease = leased(
                &state.exchange(now, &connections_of(limit, &name, *used, wanted.max(*used))), &name);
            prop_assert!(lease.count >= *used, "{} of {used} in use are counted", lease.count);
            leases.insert(replica, (lease.allowed, now + lease.ttl_ns));
            let begins = lease.allowed > *used;
            // It uses all that it may.
            *used = lease.allowed.max(*used);
            if begins {
                let total: u32 = leases
                    .iter()
                    .map(|(it, (allowed, _))| in_use.get(it).copied().unwrap_or(0).max(*allowed))
                    .sum();
                prop_assert!(total <= limit, "{total} of {limit} in use");
            }
        }
    }
}
