use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::lease::nanos;

const NOW: i64 = 1_700_000_000_000_000_000;
const MS: i64 = 1_000_000;

fn per_second(count: u32) -> GcraTerms {
    GcraTerms::spaced(NonZeroU32::new(count).unwrap(), Duration::from_secs(1))
}

fn want(count: u32) -> SpacedWant {
    SpacedWant { count, urgent: 0, later: 0 }
}

/// As many, all but `now` of them for jobs that are yet to come.
fn spread_want(count: u32, now: u32) -> SpacedWant {
    SpacedWant { later: count - now, ..want(count) }
}

/// The instants, in nanoseconds, between which each slot of a grant may be used.
fn slots(grant: &Leased, now_ns: i64) -> Vec<(i64, i64)> {
    let of = |run: &crate::SlotRun| {
        let (first, spacing, grace) = (now_ns + nanos(run.opens_in), nanos(run.spacing), nanos(run.grace));
        (0..i64::from(run.count)).map(move |i| (first + i * spacing, first + i * spacing + grace))
    };
    grant.runs.iter().flat_map(of).collect()
}

fn lease(limits: &mut [(GcraTerms, GcraState)], now_ns: i64, want: SpacedWant) -> Leased {
    let mut all: Vec<Spaced<'_>> =
        limits.iter_mut().map(|(terms, state)| Spaced { terms: *terms, state }).collect();
    lease_spaced(&mut all, now_ns, want)
}

#[test]
fn slots_left_out_by_one_are_leased_by_another() {
    let (fast, slow) = ((per_second(50), GcraState::default()), (per_second(20), GcraState::default()));
    let mut both = [fast, slow];
    let joint = lease(&mut both, NOW, want(3));
    assert_eq!(slots(&joint, NOW).len(), 3);
    let [mut fast, _] = both;
    let alone = lease(std::slice::from_mut(&mut fast), NOW, want(100));
    // Nine open within the horizon; three of them are gone.
    assert_eq!(slots(&alone, NOW).len(), 6, "{alone:?}");
    let mut openings: Vec<i64> = slots(&alone, NOW).iter().map(|(opens, _)| *opens).collect();
    openings.extend(joint.parts.chunks(2).map(|parts| parts[0]));
    openings.sort_unstable();
    assert!(openings.windows(2).all(|two| two[1] - two[0] == fast.0.spacing_ns), "{openings:?}");
}

#[test]
fn slots_for_jobs_that_are_yet_to_come_are_spread() {
    for mut limits in [
        vec![(per_second(50_000), GcraState::default())],
        vec![(per_second(50_000), GcraState::default()); 2],
    ] {
        let grant = lease(&mut limits, NOW, spread_want(100, 20));
        let slots = slots(&grant, NOW);
        assert_eq!(slots.len(), 100);
        assert!(slots[19].0 < NOW + MS, "those of jobs that wait open at once");
        // Whenever a job comes in the time that follows, a slot is open.
        for ms in 0..72 {
            let at = NOW + ms * MS;
            assert!(slots.iter().any(|(opens, closes)| (*opens..*closes).contains(&at)), "{ms}: {slots:?}");
        }
        // What is left of a frame stays in one piece, whoever leases of it at which instant.
        for replica in 1..20 {
            let at = NOW + replica * MS / 2;
            assert_eq!(self::slots(&lease(&mut limits, at, spread_want(100, 20)), at).len(), 100);
        }
        assert!(limits.iter().all(|(_, state)| state.holes.len() <= 8), "{:?}", limits[0].1.holes);
    }
}

#[test]
fn slots_that_are_far_apart_follow_each_other() {
    let mut limit = [(per_second(400), GcraState::default())];
    let grant = lease(&mut limit, NOW, spread_want(20, 1));
    assert_eq!(slots(&grant, NOW).len(), 20);
    assert!(limit[0].1.holes.is_empty(), "{:?}", limit[0].1.holes);
}

#[test]
fn a_narrow_limit_is_used_in_full_beside_a_wide_one() {
    // Slots that are far apart meet less often: the last pair loses some.
    for (wide, narrow, least) in
        [(50, 20, 97), (10, 3, 95), (100, 99, 95), (1000, 20, 97), (2, 1, 95), (7, 5, 85)]
    {
        let mut both = [(per_second(wide), GcraState::default()), (per_second(narrow), GcraState::default())];
        let (mut joint, mut alone) = (0_usize, 0_usize);
        for tick in 0..600 {
            let now = NOW + tick * 100 * MS;
            joint += slots(&lease(&mut both, now, want(3 + narrow / 9)), now).len();
            let [wide, _] = &mut both;
            let share = want(2 + wide_share(wide));
            alone += slots(&lease(std::slice::from_mut(wide), now, share), now).len();
        }
        let (joint_most, most) = (60 * narrow as usize, 60 * wide as usize);
        eprintln!("{wide} and {narrow}: {joint} of {joint_most}, {} of {most}", joint + alone);
        assert!(joint * 100 >= joint_most * least, "{wide} and {narrow}: {joint} of {joint_most}");
        assert!((joint + alone) * 100 >= most * 80, "{wide} and {narrow}: {} of {most}", joint + alone);
    }
}

/// About as many as open in a tick.
fn wide_share((terms, _): &(GcraTerms, GcraState)) -> u32 {
    u32::try_from(100 * MS / terms.spacing_ns).unwrap()
}

#[test]
fn limits_of_many_slots_go_in_runs() {
    for (wide, narrow, runs_most) in [(20_000, 20_000, 1), (50_000, 20_000, 20), (400, 400, 1)] {
        let mut both = [(per_second(wide), GcraState::default()), (per_second(narrow), GcraState::default())];
        let mut joint = 0;
        for tick in 0..50 {
            let now = NOW + tick * 20 * MS;
            let grant = lease(&mut both, now, want(narrow / 50));
            assert!(grant.runs.len() <= runs_most, "{wide} and {narrow}: {} runs", grant.runs.len());
            joint += slots(&grant, now).len();
        }
        assert!(joint * 100 >= narrow as usize * 97, "{wide} and {narrow}: {joint}");
    }
}

#[test]
fn a_transactional_job_waits_no_longer_than_bulk_may_look_ahead() {
    for rate in [1, 5, 20, 50, 400] {
        let mut limit = [(per_second(rate), GcraState::default())];
        let terms = limit[0].0;
        // Bulk takes all that it may, again and again.
        for tick in 0..100 {
            let now = NOW + tick * 7 * MS;
            lease(&mut limit, now, want(1000));
        }
        let now = NOW + 700 * MS;
        let urgent = lease(&mut limit, now, SpacedWant { count: 1, urgent: 1, later: 0 });
        let wait = slots(&urgent, now)[0].0 - now;
        assert!(wait <= (10 * terms.spacing_ns).max(170 * MS), "{rate}/s: {} ms", wait / MS);
    }
}

#[test]
fn what_is_given_back_is_leased_again() {
    let mut limit = [(per_second(10), GcraState::default())];
    let first = lease(&mut limit, NOW, want(3));
    let openings: Vec<i64> = slots(&first, NOW).iter().map(|(opens, _)| *opens).collect();
    give_back_spaced(&mut limit[0].1, &openings[1..], first.marks[0] + 1, NOW);
    assert!(limit[0].1.holes.is_empty(), "another grid");
    give_back_spaced(&mut limit[0].1, &openings[1..], first.marks[0], NOW);
    let again: Vec<i64> =
        slots(&lease(&mut limit, NOW + MS, want(2)), NOW + MS).iter().map(|s| s.0).collect();
    assert_eq!(again, openings[1..]);
}

#[derive(Clone, Debug)]
struct Step {
    pause_ns: i64,
    /// Which of the two limits: the first, the second, both.
    which: u8,
    /// Of the rate of each, at times under a brake.
    rates_permille: [u32; 2],
    count: u32,
    urgent: u32,
    later: u32,
    late_percent: i64,
    /// One slot of so many comes back, after so many more steps.
    back: Option<(usize, usize)>,
}

/// A tail that is leased together with another limit need not begin where the last lease ended. Given back, the slot behind such a gap
/// and those before it both reached into it at another spacing.
#[test]
fn what_is_free_between_two_stretches_is_free_once_at_another_spacing() {
    let (old_ns, gap_ns) = (48 * MS, 27 * MS);
    for new_ns in [2 * MS, 10 * MS, 47 * MS, 49 * MS, 80 * MS] {
        let first = Hole { first_ns: NOW, count: 5 };
        let second = Hole { first_ns: NOW + 5 * old_ns + gap_ns, count: 1 };
        let tat_ns = second.first_ns + 2 * old_ns;
        let kept = regrid(&[first, second], old_ns, new_ns, tat_ns);
        let openings: Vec<i64> =
            kept.iter().flat_map(|hole| (0..hole.count).map(|n| hole.first_ns + n * new_ns)).collect();
        assert!(openings.windows(2).all(|two| two[1] - two[0] >= new_ns), "{new_ns}: {kept:?}");
        // From a new spacing after the slot before them to one before the next that is used.
        assert!(
            openings.iter().all(|at| *at >= NOW - old_ns + new_ns && at + new_ns <= second.first_ns + old_ns)
        );
        let room = second.first_ns + old_ns - (NOW - old_ns + new_ns);
        assert!(i64::try_from(openings.len()).unwrap() >= room / new_ns - 2, "{new_ns}: {kept:?}");
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rate = || prop_oneof![12 => Just(1000_u32), 1 => Just(500), 1 => 1_u32..1000];
    let back = proptest::option::weighted(0.3, (1_usize..4, 0_usize..5));
    let pause = prop_oneof![1 => Just(0), 4 => 0_i64..400 * MS];
    let counts = (0_u32..40, 0_u32..5, prop_oneof![Just(0), 0_u32..50]);
    let step = (pause, 0_u8..3, [rate(), rate()], counts, 0_i64..=100, back);
    let step =
        step.prop_map(|(pause_ns, which, rates_permille, (count, urgent, later), late_percent, back)| Step {
            pause_ns,
            which,
            rates_permille,
            count,
            urgent,
            later,
            late_percent,
            back,
        });
    proptest::collection::vec(step, 1..80)
}

/// Slots of the one meet one by one, those of the other in runs.
fn rates() -> impl Strategy<Value = u32> {
    prop_oneof![1_u32..200, 300_u32..400, 20_000_u32..20_003]
}

proptest! {
    /// Whoever leases which, alone or together, under which brakes, and gives back what and when: no second holds more than
    /// the limit.
    #[test]
    fn no_window_holds_more_than_either_limit(a in rates(), b in rates(), steps in steps()) {
        let full = [per_second(a), per_second(b)];
        let mut limits = full.map(|terms| (terms, GcraState::default()));
        let mut uses = [Vec::new(), Vec::new()];
        // When, of which limit, which slots, of which grid.
        let mut backs: Vec<(usize, usize, Vec<i64>, i64)> = Vec::new();
        let mut now = NOW;
        for (at, step) in steps.into_iter().enumerate() {
            now += step.pause_ns;
            for (_, i, openings, grid) in backs.extract_if(.., |(due, ..)| *due == at) {
                give_back_spaced(&mut limits[i].1, &openings, grid, now);
            }
            for (i, permille) in step.rates_permille.into_iter().enumerate() {
                limits[i].0 = full[i].at_rate(permille);
            }
            let want = SpacedWant { count: step.count, urgent: step.urgent, later: step.later };
            let range = match step.which { 0 => 0..1, 1 => 1..2, _ => 0..2 };
            let grant = lease(&mut limits[range.clone()], now, want);
            let goes_back = |number: usize| step.back.is_some_and(|(one_of, _)| number.is_multiple_of(one_of));
            for (i, (terms, state)) in limits[range.clone()].iter().enumerate() {
                let firsts = grant.parts.iter().skip(i).step_by(range.len()).zip(&grant.runs);
                let mut openings = Vec::new();
                for (first, run) in firsts {
                    let opens = now + nanos(run.opens_in);
                    for k in 0..i64::from(run.count) {
                        let own = first + k * terms.spacing_ns;
                        let behind = opens + k * nanos(run.spacing) - own;
                        prop_assert!(behind >= 0, "it is used before it opens");
                        prop_assert!(behind + nanos(run.grace) <= terms.grace_ns, "it is used after it closed");
                        openings.push(own);
                    }
                }
                prop_assert_eq!(grant.marks[i], state.grid);
                if let Some((_, later)) = step.back {
                    let openings = openings.into_iter().enumerate().filter(|(number, _)| goes_back(*number));
                    backs.push((at + 1 + later, range.start + i, openings.map(|(_, own)| own).collect::<Vec<_>>(), grant.marks[i]));
                }
            }
            for (number, (opens, closes)) in slots(&grant, now).into_iter().enumerate() {
                prop_assert!(opens >= now && closes > opens);
                if goes_back(number) {
                    continue;
                }
                for i in range.clone() {
                    uses[i].push(opens + (closes - opens) * step.late_percent / 100);
                }
            }
        }
        for (uses, limit) in uses.iter_mut().zip([a, b]) {
            uses.sort_unstable();
            for (i, first) in uses.iter().enumerate() {
                let within = uses[i..].iter().take_while(|at| **at - first <= 1_000_000_000).count();
                prop_assert!(within <= limit as usize, "{} > {}", within, limit);
            }
        }
    }
}
