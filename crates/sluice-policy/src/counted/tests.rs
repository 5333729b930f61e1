use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_secs(60);

/// Slots for anybody: nothing is reserved.
fn plain(count: u32) -> CountedWant {
    CountedWant { count, urgent: 0, reserved_permille: 0 }
}

proptest! {
    #[test]
    fn no_rolling_window_holds_more_than_the_limit(
        limit in 1_u32..50,
        steps in proptest::collection::vec((0_i64..3_000_000_000, 0_u32..20, 0.0_f64..1.0), 1..200),
    ) {
        let terms = CountedTerms::rolling(NonZeroU32::new(limit).unwrap(), WINDOW);
        let mut state = CountedState::default();
        let mut now = 1_000_000_000_007_i64;
        let mut uses: Vec<i64> = Vec::new();
        for (pause, want, late) in steps {
            now += pause;
            for run in lease_counted(&terms, &mut state, now, plain(want)).runs {
                let grace = nanos(run.grace);
                #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "test data")]
                let late = (grace as f64 * late) as i64;
                uses.extend(std::iter::repeat_n(now + late, run.count as usize));
            }
        }
        uses.sort_unstable();
        for (i, first) in uses.iter().enumerate() {
            let within = uses[i..].iter().take_while(|at| **at - first < nanos(WINDOW)).count();
            prop_assert!(within <= limit as usize, "{within} > {limit}");
        }
        prop_assert!(state.used.len() <= 61);
    }

    #[test]
    fn no_calendar_window_holds_more_than_the_limit(limit in 1_u32..50, steps in proptest::collection::vec((0_i64..3_000_000_000, 0_u32..20), 1..200)) {
        let terms = CountedTerms::calendar(NonZeroU32::new(limit).unwrap(), WINDOW);
        let mut state = CountedState::default();
        let mut now = 0_i64;
        let mut windows: BTreeMap<i64, u32> = BTreeMap::new();
        for (pause, want) in steps {
            now += pause;
            for run in lease_counted(&terms, &mut state, now, plain(want)).runs {
                let last = now + nanos(run.grace);
                prop_assert_eq!(last / nanos(WINDOW), now / nanos(WINDOW), "the slot closes within its window");
                *windows.entry(now / nanos(WINDOW)).or_default() += run.count;
            }
        }
        prop_assert!(windows.values().all(|n| *n <= limit));
    }
}

#[test]
fn an_exhausted_window_says_when_the_next_slot_opens() {
    let terms = CountedTerms::rolling(NonZeroU32::new(5).unwrap(), WINDOW);
    let mut state = CountedState::default();
    let start = 600_000_000_000;
    assert_eq!(lease_counted(&terms, &mut state, start, plain(9)).next_in, Some(Duration::from_secs(61)));
    assert!(lease_counted(&terms, &mut state, start + 60_999_999_999, plain(1)).runs.is_empty());
    assert_eq!(lease_counted(&terms, &mut state, start + 61_000_000_000, plain(1)).runs[0].count, 1);
}

#[test]
fn a_reserved_share_is_kept_from_bulk_and_melts() {
    let terms = CountedTerms::rolling(NonZeroU32::new(100).unwrap(), WINDOW);
    let mut state = CountedState::default();
    let start = 600_000_000_000;
    let bulk = |count| CountedWant { count, urgent: 0, reserved_permille: 200 };
    let first = lease_counted(&terms, &mut state, start, bulk(1000));
    assert_eq!(first.runs[0].count, 80);
    assert_eq!(first.next_urgent_in, None, "there is room for transactional jobs");
    // One of twenty reserved slots is lent about every three seconds.
    let next = first.next_in.unwrap();
    assert!(next < Duration::from_millis(3_200), "{next:?}");
    let at = start + nanos(next);
    assert_eq!(lease_counted(&terms, &mut state.clone(), at, bulk(1000)).runs[0].count, 1);
    assert!(lease_counted(&terms, &mut state.clone(), at - 62_000_000, bulk(1000)).runs.is_empty());
    let urgent = CountedWant { count: 30, urgent: 25, reserved_permille: 200 };
    let grant = lease_counted(&terms, &mut state.clone(), start, urgent);
    assert_eq!(grant.runs[0].count, 20, "all that is left, and no more");
    assert!(grant.next_urgent_in.is_some());
    assert_eq!(lease_counted(&terms, &mut state, start + 60_900_000_000, bulk(1000)).runs[0].count, 20);
}

#[test]
fn slots_given_back_are_leased_again() {
    let terms = CountedTerms::calendar(NonZeroU32::new(10).unwrap(), WINDOW);
    let mut state = CountedState::default();
    let grant = lease_counted(&terms, &mut state, 0, plain(10));
    give_back_counted(&mut state, 4, grant.marks[0]);
    assert_eq!(look_counted(&terms, &state, 1).used, 6);
    assert_eq!(lease_counted(&terms, &mut state, 1, plain(10)).runs[0].count, 4);
    assert_eq!(look_counted(&terms, &state, 1).next_in, Duration::from_nanos(59_999_999_999));
}
