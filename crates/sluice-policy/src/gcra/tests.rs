use proptest::prelude::*;

use super::*;

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

/// Several lessees lease in random order and use each slot somewhere within its grace.
fn uses(terms: &GcraTerms, steps: &[(i64, u32, f64)]) -> Vec<i64> {
    let mut state = GcraState::default();
    let mut now = 1_700_000_000_000_000_000_i64;
    let mut uses = Vec::new();
    for (pause, want, late) in steps {
        now += pause;
        for run in lease_gcra(terms, &mut state, now, *want).runs {
            for i in 0..i64::from(run.count) {
                let opens = now + nanos(run.opens_in) + i * nanos(run.spacing);
                assert!(opens >= now && opens <= now + terms.horizon_ns);
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "test data")]
                let late = (terms.grace_ns as f64 * late) as i64;
                // A use cannot lie before the lease, nor be reordered by more than the grace.
                uses.push(opens + if i % 2 == 0 { late } else { 0 });
            }
        }
    }
    uses.sort_unstable();
    uses
}

fn steps() -> impl Strategy<Value = Vec<(i64, u32, f64)>> {
    proptest::collection::vec((0_i64..400_000_000, 0_u32..40, 0.0_f64..=1.0), 1..120)
}

proptest! {
    #[test]
    fn no_window_holds_more_than_a_spaced_limit(limit in 1_u32..400, seconds in 1_u64..20, steps in steps()) {
        let window = Duration::from_secs(seconds);
        let uses = uses(&GcraTerms::spaced(count(limit), window), &steps);
        for (i, first) in uses.iter().enumerate() {
            let within = uses[i..].iter().take_while(|at| **at - first <= nanos(window)).count();
            prop_assert!(within <= limit as usize, "{within} > {limit}");
        }
    }

    #[test]
    fn no_span_holds_more_than_a_bucket_promises(
        limit in 1_u32..400,
        burst in 2_u32..400,
        steps in steps(),
    ) {
        let window = Duration::from_secs(1);
        let terms = GcraTerms::bucket(count(limit), window, count(burst));
        let uses = uses(&terms, &steps);
        for (i, first) in uses.iter().enumerate() {
            for (n, at) in (1_u32..).zip(&uses[i..]) {
                #[expect(clippy::cast_precision_loss, reason = "test data")]
                let promised = f64::from(burst) + (at - first) as f64 * f64::from(limit) / 1e9;
                prop_assert!(f64::from(n) <= promised + 1e-6, "{n} > {promised}");
            }
        }
    }
}

#[test]
fn a_bucket_whose_slots_would_close_at_once_is_spaced_like_the_plain_limit() {
    for (spec, plain) in [
        ("100/s burst 1", Some("100/s")),
        ("10/s burst 1", Some("10/s")),
        ("1000/s burst 2", Some("1000/s")),
        ("1000/s burst 19", Some("1000/s")),
        ("5000/s burst 90", Some("5000/s")),
        ("100/min burst 1", Some("100/min")),
        ("1/s burst 1", None),
        ("100/s burst 2", None),
        ("1000/s burst 20", None),
        ("5000/s burst 100", None),
        ("100/s burst 200", None),
    ] {
        let spec: sluice_types::LimitSpec = spec.parse().unwrap();
        let is_spaced = crate::Terms::are_spaced(&spec);
        assert_eq!(is_spaced, plain.is_some(), "{spec}");
        match (crate::Terms::of(&spec), plain) {
            (Some(crate::Terms::Gcra(terms)), None) => assert!(terms.grace_ns >= 10_000_000, "{spec}"),
            (of, plain) => assert_eq!(of, crate::Terms::of(&plain.unwrap().parse().unwrap()), "{spec}"),
        }
    }
}

#[test]
fn no_bucket_is_so_deep_that_a_number_runs_over() {
    const NOW: i64 = 1_900_000_000_000_000_000;
    let huge = ["1/59min burst 100000000", "1/10min burst 20000000", "3/min burst 100000000"];
    for spec in huge {
        let mut state = GcraState::default();
        assert!(look_gcra(&terms(spec), false, &state, NOW).next_in.is_zero(), "{spec}");
        let spent = lease_gcra(&terms(spec), &mut state, NOW, u32::MAX);
        assert!(at_once(&spent).0 >= 500_000, "{spec}");
        // To and fro: what is owed stays within its bounds too.
        for other in huge.iter().chain(&["1/59min", "100000000/s", "1/s burst 1"]) {
            let full = terms(other);
            for terms in [full, full.at_rate(1), full] {
                lease_gcra(&terms, &mut state, NOW, u32::MAX);
                look_gcra(&terms, false, &state, NOW + 1);
                assert!(state.tat_ns >= NOW && state.owed_ns >= 0, "{spec} to {other}");
            }
        }
    }
}

#[test]
fn steady_demand_uses_at_least_97_per_cent() {
    let terms = GcraTerms::spaced(count(50), Duration::from_secs(1));
    let steps: Vec<_> = (0..600).map(|_| (100_000_000, 20, 0.0)).collect();
    let used = uses(&terms, &steps).len();
    assert!(used >= 50 * 60 * 97 / 100, "{used}");
}

#[test]
fn a_slow_limit_leases_one_slot_ahead() {
    let terms = GcraTerms::spaced(count(6), Duration::from_secs(60));
    let mut state = GcraState::default();
    let now = 1_000_000_000_000;
    assert_eq!(lease_gcra(&terms, &mut state, now, 9).runs[0].count, 1);
    let second = lease_gcra(&terms, &mut state, now + 1, 9);
    assert_eq!((second.runs.len(), second.next_in), (0, Some(Duration::from_nanos(10_199_999_999))));
    let third = lease_gcra(&terms, &mut state, now + 6_000_000_000, 9);
    assert_eq!((third.runs[0].count, third.runs[0].opens_in), (1, Duration::from_millis(4200)));
}

#[test]
fn a_burst_opens_at_once_and_the_rest_is_spaced() {
    let terms = GcraTerms::bucket(count(10), Duration::from_secs(1), count(20));
    let grant = lease_gcra(&terms, &mut GcraState::default(), 1_000_000_000_000, 100);
    assert_eq!(grant.runs[0].count, terms.burst);
    assert_eq!(grant.runs[1].opens_in, Duration::from_millis(102));
    assert!(terms.burst >= 18);
}

#[test]
fn an_edited_limit_goes_on_one_new_spacing_after_the_last_slot() {
    let per_minute = |limit| GcraTerms::spaced(count(limit), Duration::from_secs(60));
    let now = 1_000_000_000_000;
    let mut state = GcraState::default();
    assert_eq!(lease_gcra(&per_minute(1), &mut state, now, 1).runs[0].count, 1);
    let raised = lease_gcra(&per_minute(30), &mut state, now + 1_000_000_000, 1);
    assert_eq!(raised.runs[0].opens_in, Duration::from_millis(1040), "not after the minute of the old limit");
    let lowered = lease_gcra(&per_minute(6), &mut state, now + 1_000_000_000, 1);
    assert_eq!(lowered.next_in, Some(Duration::from_millis(1040 + 10_200)), "what was spent stays spent");
    assert_eq!(
        look_gcra(&per_minute(30), true, &state, now + 1_000_000_000).next_in,
        Duration::from_millis(1040 + 2040)
    );
}

fn terms(spec: &str) -> GcraTerms {
    match crate::Terms::of(&spec.parse().unwrap()) {
        Some(crate::Terms::Spaced(terms) | crate::Terms::Gcra(terms)) => terms,
        other => panic!("{other:?}"),
    }
}

/// How many slots a lease has that are open at once, and when the next opens, in ms.
fn at_once(grant: &Leased) -> (u32, Option<u128>) {
    let open = grant.runs.iter().filter(|run| run.opens_in.is_zero()).map(|run| run.count).sum();
    let later = grant.runs.iter().find(|run| !run.opens_in.is_zero()).map(|run| run.opens_in);
    (open, later.or(grant.next_in).map(|wait| wait.as_millis()))
}

#[test]
fn an_edit_keeps_as_many_slots_spent_as_were() {
    const NOW: i64 = 1_700_000_000_000_000_000;
    // (before, slots leased at once, then after so many ms, slots that are open, ms to the next)
    for (before, spent, to, after_ms, open, next_ms) in [
        // Spent, then lowered: nothing of it is forgotten. (A tenth of a second is the grace of a bucket: ten slots at 100/s.)
        ("100/s burst 100", 90, "1/s burst 100", 0, 9, 1020),
        ("100/s burst 100", 90, "1/s burst 90", 0, 0, 1020),
        ("100/s burst 100", 90, "1/s burst 20", 0, 0, 1020),
        ("100/s burst 100", 40, "50/s burst 30", 0, 0, 20),
        ("100/s burst 100", 10, "50/s burst 30", 0, 15, 20),
        // Spent, then raised: what is refilled from now on comes at the new rate.
        ("1/s burst 100", 99, "100/s burst 100", 0, 0, 10),
        ("1/s burst 100", 99, "100/s burst 120", 0, 11, 10),
        ("1/s burst 1000", 999, "2/s burst 10", 0, 0, 510),
        ("1/s burst 100", 99, "100/s burst 100", 51_000, 41, 10),
        ("1/s burst 100", 99, "1/s burst 150", 0, 50, 1020),
        // A limit that becomes spaced, or was.
        ("1/s burst 100", 99, "100/s", 0, 0, 10),
        ("100/s burst 100", 90, "1/s", 0, 0, 1020),
        ("100/s burst 100", 90, "100/s", 0, 0, 10),
        ("1/s", 1, "100/s burst 100", 500, 90, 10),
        ("100/s", 1, "1/s burst 100", 0, 98, 1020),
        ("100/s", 1, "100/s burst 100", 0, 89, 10),
    ] {
        let mut state = GcraState::default();
        let spent_at = lease_gcra(&terms(before), &mut state, NOW, spent);
        assert_eq!(at_once(&spent_at).0, spent, "{before}");
        let now = NOW + after_ms * 1_000_000;
        assert_eq!(look_gcra(&terms(to), false, &state, now).next_in.is_zero(), open > 0, "{before} to {to}");
        let edited = lease_gcra(&terms(to), &mut state, now, 10_000);
        assert_eq!(at_once(&edited), (open, Some(next_ms)), "{before} to {to} after {after_ms} ms");
    }
}

#[test]
fn a_brake_on_a_spent_bucket_neither_stops_it_nor_fills_it() {
    let full = terms("1/s burst 1000");
    let mut state = GcraState::default();
    let mut now = 1_700_000_000_000_000_000;
    lease_gcra(&full, &mut state, now, 2000);
    // Half the rate, and back to the full one within a minute, a little every second.
    let mut leased = 0;
    for second in 0..60 {
        now += 1_000_000_000;
        let braked = lease_gcra(&full.at_rate(500 + second * 500 / 60), &mut state, now, 1000);
        leased += braked.runs.iter().map(|run| run.count).sum::<u32>();
    }
    assert!((40..=60).contains(&leased), "{leased}");
    let after = lease_gcra(&full, &mut state, now, 1000);
    let open: u32 = after.runs.iter().map(|run| run.count).sum();
    assert!(open <= 20, "{open}: the bucket was spent, and refilled only by what the brake had held back");
}

#[test]
fn slots_of_a_braked_lease_lapse_when_others_were_leased_at_the_full_rate() {
    let full = terms("50/s");
    let mut state = GcraState::default();
    let now = 1_700_000_000_000_000_000;
    let braked = lease_gcra(&full.at_rate(500), &mut state, now, 1);
    lease_gcra(&full, &mut state, now, 1);
    assert_eq!(braked.marks, [state.tat_ns], "two spacings after the braked slot, either way");
    give_back_gcra(&full.at_rate(500), &mut state, 1, braked.marks[0]);
    assert_eq!(state.tat_ns, now + 2 * full.spacing_ns);
    let next = lease_gcra(&full, &mut state, now, 1);
    assert_eq!(next.runs[0].opens_in, Duration::from_nanos(2 * full.spacing_ns.unsigned_abs()));
}

proptest! {
    /// Whatever lower limits and brakes there were in between, and whatever was given back, at once or after other leases.
    #[test]
    fn a_bucket_edited_to_and_fro_keeps_its_promise(
        steps in proptest::collection::vec(
            (prop_oneof![Just(0), 0_i64..900_000_000], 0_u32..80, 0_usize..8, proptest::option::of((0_usize..3, 1_u32..80))),
            1..120,
        )
    ) {
        let full = terms("50/s burst 60");
        let others = ["50/s burst 20", "10/s burst 60", "2/s burst 5", "50/s", "30/s", "1/s"];
        let mut state = GcraState::default();
        let mut now = 1_700_000_000_000_000_000_i64;
        let mut uses = Vec::new();
        let mut unused = Vec::new();
        for (i, (pause, want, which, back)) in steps.into_iter().enumerate() {
            now += pause;
            let terms = match which {
                0 => full.at_rate(500),
                1..7 => terms(others[which - 1]),
                _ => full,
            };
            let leased = lease_gcra(&terms, &mut state, now, want);
            for run in &leased.runs {
                uses.extend((0..i64::from(run.count)).map(|i| now + nanos(run.opens_in) + i * nanos(run.spacing)));
            }
            if let Some((leases_later, count)) = back {
                let count = count.min(leased.runs.iter().map(|run| run.count).sum());
                uses.truncate(uses.len() - count as usize);
                unused.push((i + leases_later, terms, count, leased.marks[0]));
            }
            for (_, terms, count, mark_ns) in unused.extract_if(.., |(at, ..)| *at == i) {
                give_back_gcra(&terms, &mut state, count, mark_ns);
            }
        }
        uses.sort_unstable();
        for (i, first) in uses.iter().enumerate() {
            for (n, at) in (1_u32..).zip(&uses[i..]) {
                #[expect(clippy::cast_precision_loss, reason = "test data")]
                let promised = 60.0 + (at - first) as f64 * 50.0 / 1e9;
                prop_assert!(f64::from(n) <= promised + 1e-6, "{n} > {promised}");
            }
        }
    }
}

/// Each brake forgot what was spent of the slot that filled just then.
#[test]
fn brakes_on_a_bucket_spare_no_slot() {
    let full = terms("1/s burst 5");
    let mut state = GcraState::default();
    let begin = 1_700_000_000_000_000_000_i64;
    let mut used = 0;
    for step in 0..400 {
        let now = begin + step * 250_000_000;
        for terms in [full.at_rate(100), full.at_rate(300), full] {
            used += i64::from(
                lease_gcra(&terms, &mut state, now, 0).runs.iter().map(|run| run.count).sum::<u32>(),
            );
        }
        let leased = lease_gcra(&full, &mut state, now, 1);
        used += leased
            .runs
            .iter()
            .filter(|run| run.opens_in.is_zero())
            .map(|run| i64::from(run.count))
            .sum::<i64>();
        if leased.runs.iter().any(|run| !run.opens_in.is_zero()) {
            give_back_gcra(&full, &mut state, 1, leased.marks[0]);
        }
        let most = i64::from(full.burst) + (now - begin) / full.spacing_ns;
        assert!(used <= most, "{used} of {most} after {step} steps");
    }
    assert!(used >= i64::from(full.burst), "{used}");
}

proptest! {
    /// However often and far the store's clock steps back: uses are counted in the time that passes for the receiver.
    #[test]
    fn no_backward_step_of_the_clock_exceeds_a_limit_or_stops_it(
        which in 0_usize..6,
        steps in proptest::collection::vec(
            (
                prop_oneof![3 => 0_i64..400_000_000, 1 => 0_i64..12_000_000_000],
                prop_oneof![8 => Just(0), 1 => 0_i64..9_000_000_000, 2 => 0_i64..400_000_000_000],
                0_u32..40,
                prop_oneof![3 => Just(1000_u32), 1 => 100_u32..1000],
                prop_oneof![2 => Just(0), 1 => 0_i64..500_000_000],
            ),
            1..80,
        ),
    ) {
        let spec = ["100/s", "7/min", "2/s", "50/s burst 60", "1/s burst 5", "3/min burst 40"][which];
        let limit = sluice_types::Limit { scope: "esp:main".parse().unwrap(), spec: spec.parse().unwrap() };
        let full = terms(spec);
        let mut states = crate::LimitStates::default();
        let mut real = 1_700_000_000_000_000_000_i64;
        let mut behind = 0;
        let mut uses = Vec::new();
        for (pause, step, want, rate, lead) in steps {
            real += pause;
            behind += step;
            let want = crate::Want { rates_permille: vec![rate], urgent: want / 3, ..crate::Want::of(limit.clone(), want) };
            // A lease may begin later than at once, where answers are slow; not of a bucket.
            let lead = if matches!(crate::Terms::of(&limit.spec), Some(crate::Terms::Spaced(_))) { lead } else { 0 };
            let leased = states.lease(&want, real - behind + lead);
            for run in &leased.runs {
                let opens = |i| real + lead + nanos(run.opens_in) + i * nanos(run.spacing);
                prop_assert!(opens(i64::from(run.count) - 1) - real < AHEAD_MAX_NS);
                uses.extend((0..i64::from(run.count)).map(opens));
            }
            let next_in = nanos(states.look(&limit, real - behind).next_in);
            prop_assert!(next_in <= AHEAD_MAX_NS + full.spacing_ns, "{next_in} after {step} back");
        }
        uses.sort_unstable();
        for (i, first) in uses.iter().enumerate() {
            for (n, at) in (0_i64..).zip(&uses[i..]) {
                prop_assert!((n + 1 - i64::from(full.burst)) * full.spacing_ns <= at - first, "{n} after the first");
            }
        }
    }
}
