use std::collections::BTreeMap;

use proptest::prelude::*;
use sluice_types::{EspId, LimitScope};

use super::*;
use crate::slots::LimitStates;

const NOW: i64 = 1_700_000_000_000_000_000;
const MS: i64 = 1_000_000;

fn limit(esp: &str, spec: &str) -> Limit {
    Limit { scope: LimitScope::Esp(EspId::new(esp).unwrap()), spec: spec.parse().unwrap() }
}

/// A slot under each of these.
fn one(limits: &[(&str, &str)]) -> Want {
    let limits: Vec<Limit> = limits.iter().map(|(scope, spec)| limit(scope, spec)).collect();
    Want { rates_permille: vec![1000; limits.len()], ..Want { limits: limits.into(), ..any() } }
}

fn any() -> Want {
    Want::of(limit("any", "1/s"), 1)
}

fn urgent(want: Want) -> Want {
    Want { urgent: want.count, ..want }
}

/// One slot for each of so many domains of 100/s, under an ESP.
fn domains(count: usize, esp: &str) -> Vec<Want> {
    (0..count).map(|n| one(&[(&format!("d{n}"), "100/s"), ("shared", esp)])).collect()
}

fn slots(leased: &[Leased]) -> u32 {
    leased.iter().flat_map(|it| &it.runs).map(|run| run.count).sum()
}

/// Openings by key.
fn openings(wants: &[Want], leased: &[Leased]) -> BTreeMap<String, Vec<i64>> {
    let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (want, leased) in wants.iter().zip(leased) {
        for (i, limit) in want.limits.iter().enumerate() {
            all.entry(limit.key()).or_default().extend(leased.openings_ns(want, i));
        }
    }
    all
}

#[test]
fn domains_under_one_esp_are_leased_for_as_one() {
    let wants = domains(20, "1000/s");
    let Bundled { before, bundles, after } = Bundled::of(&wants);
    assert!(before.is_empty() && after.is_empty());
    let [bundle] = &bundles[..] else { panic!("{bundles:?}") };
    assert_eq!(bundle.members.len(), 20);
    let mut states = LimitStates::default();
    let leased = states.lease_all(&wants, NOW);
    let opens: Vec<i64> = leased.iter().map(|it| nanos(it.runs[0].opens_in)).collect();
    let every = 1_020_000;
    assert_eq!(opens, (0..20).map(|n| n * every).collect::<Vec<_>>());
    for (n, leased) in leased.iter().enumerate() {
        // The domain's own slot opens with that of the ESP, and closes no later than either.
        assert_eq!(leased.parts, [NOW + opens[n]; 2]);
        assert_eq!(leased.runs[0].grace, duration(18 * MS));
    }
    // Of the ESP the next slot follows; of each domain one spacing after its own.
    assert_eq!(states.gcra["esp:shared/per:s"].tat_ns, NOW + 20 * every);
    assert_eq!(states.gcra["esp:d7/per:s"].tat_ns, NOW + 7 * every + 10_200_000);
    assert_eq!(states.gcra["esp:d7/per:s"].used, 1);
}

#[test]
fn whose_own_limit_is_not_fresh_is_leased_for_by_itself() {
    let mut states = LimitStates::default();
    let wants = domains(6, "1000/s");
    let other = one(&[("d3", "100/s"), ("shared", "1000/s")]);
    let before = states.lease_all(std::slice::from_ref(&other), NOW);
    let leased = states.lease_all(&wants, NOW);
    assert_eq!(slots(&leased), 6);
    let first = before[0].openings_ns(&other, 0).next().unwrap();
    let next = leased[3].openings_ns(&wants[3], 0).next().unwrap();
    assert!(next - first >= 10_200_000, "{} ns", next - first);
    // An edit is not for a bundle either.
    let edited: Vec<Want> =
        (0..6).map(|n| one(&[(&format!("d{n}"), "50/s"), ("shared", "1000/s")])).collect();
    let leased = states.lease_all(&edited, NOW + 1_000 * MS);
    assert_eq!(slots(&leased), 6);
    assert!(leased.iter().all(|it| it.marks[0] == 1), "another grid: {leased:?}");
}

#[test]
fn domains_that_share_nothing_are_all_open_at_once() {
    let wants: Vec<Want> = (0..5).map(|n| one(&[(&format!("d{n}"), "2/min")])).collect();
    assert_eq!(Bundled::of(&wants).bundles.len(), 1);
    let mut states = LimitStates::default();
    let mut alone = LimitStates::default();
    let each: Vec<Leased> = wants.iter().map(|want| alone.lease(want, NOW)).collect();
    assert_eq!(states.lease_all(&wants, NOW), each, "as if each were leased for by itself");
    assert_eq!(states, alone);
}

#[test]
fn a_short_esp_gives_to_the_first_and_tells_the_others_when() {
    // 160 ms ahead, one each 102 ms: two.
    let wants = domains(5, "10/s");
    let leased = LimitStates::default().lease_all(&wants, NOW);
    let counts: Vec<u32> = leased.iter().map(|it| slots(std::slice::from_ref(it))).collect();
    let got = usize::try_from(slots(&leased)).unwrap();
    assert!((1..5).contains(&got), "{counts:?}");
    assert_eq!(counts, [vec![1; got], vec![0; 5 - got]].concat());
    for none in &leased[got..] {
        assert!(none.next_in.is_some_and(|wait| !wait.is_zero()), "{none:?}");
        // The ESP stands behind the domain's own.
        assert_eq!(none.held_by, 1);
        assert_eq!(none.marks.len(), 2);
    }
}

#[test]
fn transactional_wants_go_before_a_bundle_of_bulk() {
    let several = Want { count: 10, ..one(&[("shared", "1000/s")]) };
    let mut wants = domains(5, "1000/s");
    wants.insert(2, several.clone());
    wants.insert(3, urgent(several));
    wants.extend((5..9).map(|n| urgent(one(&[(&format!("d{n}"), "100/s"), ("shared", "1000/s")]))));
    let Bundled { before, bundles, after } = Bundled::of(&wants);
    assert_eq!((before, after), (vec![3], vec![2]));
    let members = |bundle: &Bundle| bundle.members.iter().map(|it| it.place).collect::<Vec<_>>();
    assert_eq!(
        bundles.iter().map(|it| (it.is_urgent, members(it))).collect::<Vec<_>>(),
        [(true, vec![7, 8, 9, 10]), (false, vec![0, 1, 4, 5, 6])]
    );
}

#[test]
fn only_single_slots_with_one_limit_of_their_own_are_bundled() {
    let order = |wants: &[Want]| Bundled::of(wants);
    let all = |count| Bundled { after: (0..count).collect(), ..Bundled::default() };
    assert_eq!(order(&[]), all(0));
    // Too few.
    assert_eq!(order(&domains(3, "9/s")), all(3));
    // More than a slot, a count, a bucket, two limits of one's own, none.
    let mut wants: Vec<Want> = domains(4, "9/s").into_iter().map(|want| Want { count: 2, ..want }).collect();
    wants.extend((0..4).map(|n| one(&[(&format!("h{n}"), "9/h")])));
    wants.extend((0..4).map(|n| one(&[(&format!("b{n}"), "9/s burst 90")])));
    wants.extend((0..4).map(|n| one(&[(&format!("x{n}"), "9/s"), (&format!("y{n}"), "9/s")])));
    wants.extend((0..4).map(|_| one(&[("shared", "9/s")])));
    assert_eq!(order(&wants), all(20));
    // The same key under another count is not one's own.
    let keys = ["9/s", "8/s", "9/s", "8/s"].map(|spec| one(&[("same", spec)]));
    assert_eq!(order(&keys), all(4));
}

proptest! {
    #[test]
    fn no_slot_is_leased_twice_and_none_too_close(
        calls in prop::collection::vec((0_i64..200 * MS, prop::collection::vec((0_usize..8, 0_usize..3, 1_u32..3), 0..12)), 1..40)
    ) {
        const SHARED: [(&str, &str); 3] = [("e0", "200/s"), ("e1", "30/s"), ("e1", "30/s")];
        let (mut states, mut now_ns) = (LimitStates::default(), NOW);
        let mut all: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (after_ns, wishes) in calls {
            now_ns += after_ns;
            let wants: Vec<Want> = wishes
                .into_iter()
                .map(|(domain, shared, count)| {
                    let own = format!("d{domain}");
                    let limits = [(own.as_str(), "20/s"), SHARED[shared]];
                    Want { count, ..one(&limits[..1 + usize::from(shared < 2)]) }
                })
                .collect();
            let leased = states.lease_all(&wants, now_ns);
            for (key, openings) in openings(&wants, &leased) {
                all.entry(key).or_default().extend(openings);
            }
        }
        for (key, mut openings) in all {
            openings.sort_unstable();
            let spacing_ns = match key.as_str() {
                "esp:e0/per:s" => 5_100_000,
                "esp:e1/per:s" => 34_000_000,
                _ => 51_000_000,
            };
            prop_assert!(openings.windows(2).all(|two| two[1] - two[0] >= spacing_ns), "{key}: {openings:?}");
        }
    }
}
