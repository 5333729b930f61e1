//! Cases of `SlotSource`.

use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Leased, LimitLook, SlotSource, Unused, Want};
use sluice_types::{Limit, LimitScope};
use tokio::time::Instant;

/// A fresh slot source under test; `lessees` share one store.
#[derive(Debug)]
pub struct Source {
    /// At least two handles, where the store allows several workers; else the same one twice.
    pub lessees: Vec<Arc<dyn SlotSource>>,
    /// Whatever must live as long as the source.
    pub keep: Box<dyn std::fmt::Debug + Send + Sync>,
}

fn limit(esp: &str, spec: &str) -> Limit {
    Limit { scope: LimitScope::Esp(esp.parse().unwrap()), spec: spec.parse().unwrap() }
}

fn want(esp: &str, spec: &str, count: u32) -> Want {
    Want::of(limit(esp, spec), count)
}

fn together(limits: &[(&str, &str)], count: u32) -> Want {
    let limits: Arc<[Limit]> = limits.iter().map(|(esp, spec)| limit(esp, spec)).collect();
    Want {
        rates_permille: vec![1000; limits.len()],
        limits,
        count,
        urgent: 0,
        later: 0,
        reserved_permille: 0,
    }
}

fn count(leased: &Leased) -> u32 {
    leased.runs.iter().map(|run| run.count).sum()
}

impl Source {
    async fn lease(&self, lessee: usize, wants: &[Want]) -> Vec<Leased> {
        self.lessees[lessee % self.lessees.len()].lease(wants).await.unwrap()
    }

    async fn lease_one(&self, want: Want) -> Leased {
        self.lease(0, &[want]).await.remove(0)
    }

    async fn give_back(&self, limit: &Limit, count: u32, leased: &Leased) {
        let (limit, mark) = (limit.clone(), leased.marks[0]);
        let unused = Unused { limit, count, openings_ns: Vec::new(), rate_permille: 1000, mark };
        self.lessees[0].give_back(&[unused]).await.unwrap();
    }

    /// Gives a slot of a spaced limit back, by its opening.
    async fn give_one_back(&self, limit: &Limit, opens_ns: i64, leased: &Leased) {
        let (limit, openings_ns, mark) = (limit.clone(), vec![opens_ns], leased.marks[0]);
        let unused = Unused { limit, count: 1, openings_ns, rate_permille: 1000, mark };
        self.lessees[0].give_back(&[unused]).await.unwrap();
    }

    async fn look(&self, limit: &Limit) -> LimitLook {
        self.lessees[0].look(std::slice::from_ref(limit)).await.unwrap()[0]
    }
}

/// Openings, when the answer came `at`.
fn openings_at(leased: &Leased, at: Instant) -> Vec<Instant> {
    let runs = leased.runs.iter();
    runs.flat_map(|run| (0..run.count).map(move |i| at + run.opens_in + run.spacing * i)).collect()
}

/// Openings under one of the limits of a want, on the store's clock.
fn store_openings(want: &Want, leased: &Leased, limit: usize) -> Vec<i64> {
    leased.openings_ns(want, limit).collect()
}

/// Checks that slots of one limit are nowhere closer than its spacing.
fn assert_spaced(openings_ns: &mut [i64], spacing_ns: i64) {
    openings_ns.sort_unstable();
    for two in openings_ns.windows(2) {
        assert!(two[1] - two[0] >= spacing_ns, "{} ns", two[1] - two[0]);
    }
}

/// The second lessee's slots come after the first's.
pub async fn a_spaced_limit_is_spaced_over_lessees(source: Source) {
    let (mut first, mut second, mut all) = (0, 0, Vec::new());
    let want = want("main", "100/s", 5);
    for _ in 0..3 {
        let a = source.lease(0, std::slice::from_ref(&want)).await;
        let b = source.lease(1, std::slice::from_ref(&want)).await;
        (first, second) = (first + count(&a[0]), second + count(&b[0]));
        for run in a[0].runs.iter().chain(&b[0].runs).filter(|run| run.count > 1) {
            assert_eq!(run.spacing, Duration::from_micros(10_200), "the headroom is 2 %");
        }
        all.extend(store_openings(&want, &a[0], 0));
        all.extend(store_openings(&want, &b[0], 0));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(first >= 10 && second >= 10, "{first} {second}");
    assert_spaced(&mut all, 10_200_000);
}

/// And then refills at its rate.
pub async fn a_burst_is_lent_once(source: Source) {
    let first = source.lease(0, &[want("main", "10/s burst 50", 100)]).await;
    let at_once = first[0].runs.iter().find(|run| run.spacing.is_zero()).expect("a burst");
    assert!((45..=50).contains(&at_once.count), "{at_once:?}");
    let second = source.lease(1, &[want("main", "10/s burst 50", 100)]).await;
    assert!(count(&second[0]) <= 3, "{second:?}");
    assert!(second[0].next_in.is_some());
}

/// However deep a bucket is, its lease is answered, and so are those beside it.
pub async fn a_bucket_of_a_hundred_million_stops_nobody(source: Source) {
    for spec in ["1/59min burst 100000000", "1/10min burst 20000000", "1/59min burst 7"] {
        let wants = [want("deep", spec, 1), want("main", "100/s", 1)];
        let counts: Vec<u32> = source.lease(0, &wants).await.iter().map(count).collect();
        assert_eq!(counts[1], 1, "{spec}");
        source.look(&wants[0].limits[0]).await;
    }
}

/// And says when there will be more.
pub async fn a_counted_limit_is_used_up(source: Source) {
    let first = source.lease(0, &[want("main", "30/h", 20)]).await;
    let second = source.lease(1, &[want("main", "30/h", 20)]).await;
    assert_eq!((count(&first[0]), count(&second[0])), (20, 10));
    let third = source.lease(0, &[want("main", "30/h", 1)]).await;
    assert_eq!(count(&third[0]), 0);
    let next = third[0].next_in.expect("a time");
    assert!(next > Duration::from_secs(3500) && next <= Duration::from_secs(3660), "{next:?}");
}

/// One answer per want, in order.
pub async fn several_limits_are_leased_in_one_call(source: Source) {
    let wants = [want("z", "30/h", 3), want("a", "100/s", 1), want("m", "5/h", 9), want("a", "1000/h", 2)];
    let counts: Vec<u32> = source.lease(0, &wants).await.iter().map(count).collect();
    assert_eq!(counts, [3, 1, 5, 2]);
}

/// Halving a limit does not forget the first half.
pub async fn an_edit_keeps_what_was_spent(source: Source) {
    assert_eq!(count(&source.lease(0, &[want("main", "30/h", 20)]).await[0]), 20);
    assert_eq!(count(&source.lease(1, &[want("main", "25/h", 20)]).await[0]), 5);
    assert_eq!(count(&source.lease(0, &[want("main", "10/h", 20)]).await[0]), 0);
    assert_eq!(count(&source.lease(1, &[want("main", "28/h", 20)]).await[0]), 3);
}

/// With a burst as well: the slots that were spent come back at the new rate.
pub async fn a_spent_bucket_that_is_lowered_lends_nothing_of_it_again(source: Source) {
    let spent = source.lease(0, &[want("main", "100/s burst 100", 300)]).await;
    assert!(count(&spent[0]) >= 90, "{spent:?}");
    let mut leased = 0;
    for lowered in ["1/s burst 100", "1/s burst 50", "1/s", "1/s burst 100"] {
        let look = source.look(&limit("main", lowered)).await;
        assert!(!look.next_in.is_zero(), "{lowered}: {look:?}");
        leased += count(&source.lease(1, &[want("main", lowered, 300)]).await[0]);
    }
    // Each lease reaches ahead.
    assert!(leased <= 12, "{leased}");
}

/// Nobody waits for what the old rate would have let go.
pub async fn a_spent_bucket_that_is_raised_lends_at_its_new_rate(source: Source) {
    let spent = source.lease(0, &[want("main", "1/s burst 100", 300)]).await;
    assert!(count(&spent[0]) >= 99, "{spent:?}");
    let look = source.look(&limit("main", "100/s burst 100")).await;
    assert!(look.next_in < Duration::from_millis(1200), "{look:?}");
    tokio::time::sleep(look.next_in).await;
    let raised = source.lease(1, &[want("main", "100/s burst 100", 300)]).await.remove(0);
    assert!((10..90).contains(&count(&raised)), "{raised:?}");
}

/// Nor does a brake, which makes a bucket spaced.
pub async fn a_limit_that_is_spaced_for_a_while_forgets_nothing(source: Source) {
    let bucket = || want("main", "1/s burst 500", 1000);
    let spent = count(&source.lease_one(bucket()).await);
    assert!(spent >= 499, "{spent}");
    for between in [want("main", "1/s", 1), Want { rates_permille: vec![500], ..bucket() }] {
        let between = source.lease_one(between).await;
        assert!(count(&between) <= 3, "{between:?}");
        let after = source.lease_one(bucket()).await;
        assert!(count(&after) <= 3, "{after:?}");
    }
}

/// Eight tasks lease as fast as they can: no window holds more than the limit, and nobody is stuck.
pub async fn lessees_at_the_same_time_never_exceed(source: Source) {
    let source = Arc::new(source);
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    for lessee in 0..8_usize {
        let source = Arc::clone(&source);
        tasks.spawn(async move {
            let (mut mine, mut main, mut spare) = (Vec::new(), Vec::new(), Vec::new());
            while start.elapsed() < Duration::from_millis(1500) {
                // Two keys in opposite orders: a store that locks as it goes would dead-lock.
                let mut both = [("main", "50/s"), ("spare", "70/s")];
                let mut wants = [want("main", "50/s", 2), want("spare", "70/s", 2), together(&both, 2)];
                if lessee % 2 == 0 {
                    both.reverse();
                    wants = [together(&both, 2), want("spare", "70/s", 2), want("main", "50/s", 2)];
                }
                let asked_at = Instant::now();
                let leased = source.lease(lessee, &wants).await;
                // The store answered between these two instants; slots count from the later one.
                let slack = asked_at.elapsed();
                for (want, leased) in wants.iter().zip(&leased) {
                    for (i, limit) in want.limits.iter().enumerate() {
                        let is_main = limit.spec.count.get() == 50;
                        let openings = store_openings(want, leased, i);
                        if is_main { &mut main } else { &mut spare }.extend(openings);
                        if is_main && want.limits.len() == 1 {
                            mine.extend(openings_at(leased, asked_at + slack));
                        }
                    }
                }
            }
            (mine, main, spare)
        });
    }
    let (mut all, mut main, mut spare) = (Vec::new(), Vec::new(), Vec::new());
    for task in tasks.join_all().await {
        all.extend(task.0);
        main.extend(task.1);
        spare.extend(task.2);
    }
    assert_spaced(&mut main, 20_400_000);
    assert_spaced(&mut spare, 14_571_429);
    assert!(main.len() > 50 && spare.len() > 60, "{} {}", main.len(), spare.len());
    all.sort_unstable();
    for (i, first) in all.iter().enumerate() {
        // The answers' own ways differ by some milliseconds on a busy machine; 0.9 s leaves room for that alone.
        let within = all[i..].iter().take_while(|at| **at - *first < Duration::from_millis(900)).count();
        assert!(within <= 50, "{within}");
    }
}

/// Two limits with slots a quarter and half of a second apart.
const BOTH: [(&str, &str); 2] = [("main", "4/s"), ("spare", "2/s")];
/// Half of the first one's spacing, with the headroom.
const HALF_NS: i64 = 510_000_000;

/// Each slot of a joint lease is one of every limit, at the same moment; what lies between is left for others.
pub async fn slots_left_out_by_one_lessee_are_leased_by_another(source: Source) {
    // More would open later than several limits are leased for at once.
    let (both, alone) = (together(&BOTH, 3), want("main", "4/s", 1));
    let joint = source.lease(0, std::slice::from_ref(&both)).await.remove(0);
    assert_eq!(count(&joint), 2, "{joint:?}");
    let (mut main, spare) = (store_openings(&both, &joint, 0), store_openings(&both, &joint, 1));
    assert_eq!((main.len(), spare.len()), (2, 2));
    for (run, (main, spare)) in joint.runs.iter().zip(main.iter().zip(&spare)) {
        let opens_ns = joint.at_ns + i64::try_from(run.opens_in.as_nanos()).unwrap();
        let closes_ns = opens_ns + i64::try_from(run.grace.as_nanos()).unwrap();
        // Usable while both are.
        assert!(opens_ns >= *main.max(spare) && closes_ns <= main + 18_000_000, "{joint:?}");
        assert!(opens_ns < closes_ns);
    }
    let left_out = source.lease(1, std::slice::from_ref(&alone)).await.remove(0);
    assert_eq!(count(&left_out), 1, "{left_out:?}");
    let others = store_openings(&alone, &left_out, 0);
    assert!(others[0] < main[1], "{others:?} {main:?}");
    main.extend(others);
    assert_spaced(&mut main, HALF_NS / 2);
    let spare_alone = want("spare", "2/s", 3);
    let after = source.lease(1, std::slice::from_ref(&spare_alone)).await.remove(0);
    let mut all = [spare, store_openings(&spare_alone, &after, 0)].concat();
    assert_spaced(&mut all, HALF_NS);
}

/// The limit that opens last says when there will be more.
pub async fn a_joint_lease_names_the_limit_that_holds_it_back(source: Source) {
    source.lease_one(want("spare", "50/min", 100)).await;
    let held = source.lease_one(together(&[("main", "2/s"), ("spare", "50/min")], 1)).await;
    assert_eq!((count(&held), held.held_by), (0, 1), "{held:?}");
    assert!(held.next_in.expect("a time") > Duration::from_secs(3), "{held:?}");
    // The other one is as it was.
    assert!(source.look(&limit("main", "2/s")).await.next_in.is_zero());
}

/// Several limits go together only when all are spaced.
pub async fn a_count_is_not_leased_together_with_others(source: Source) {
    let leased = source.lease_one(together(&[("main", "2/s"), ("spare", "30/h")], 3)).await;
    assert_eq!((count(&leased), leased.next_in), (0, None), "{leased:?}");
    assert_eq!(source.look(&limit("spare", "30/h")).await.used, 0);
    assert_eq!(count(&source.lease_one(want("main", "2/s", 1)).await), 1);
}

/// The one that comes next is leased next, by anybody.
pub async fn a_spaced_slot_given_back_is_leased_again(source: Source) {
    let (main, four) = (limit("main", "2/s"), want("main", "2/s", 4));
    let leased = source.lease_one(four.clone()).await;
    let openings = store_openings(&four, &leased, 0);
    assert_eq!(openings.len(), 4, "{leased:?}");
    source.give_one_back(&main, openings[2], &leased).await;
    let look = source.look(&main).await;
    assert!(look.next_in <= Duration::from_millis(1020) && look.next_in > Duration::ZERO, "{look:?}");
    let two = want("main", "2/s", 2);
    let again = source.lease(1, std::slice::from_ref(&two)).await.remove(0);
    let again = store_openings(&two, &again, 0);
    assert_eq!(again, [openings[2], openings[3] + HALF_NS]);
}

/// Slots of different spacings do not go together.
pub async fn a_spaced_slot_of_before_an_edit_lapses(source: Source) {
    let (main, four) = (limit("main", "2/s"), want("main", "2/s", 4));
    let before = source.lease_one(four.clone()).await;
    let openings = store_openings(&four, &before, 0);
    let edited = want("main", "1/s", 1);
    let after = source.lease_one(edited.clone()).await;
    assert_eq!(after.marks[0], before.marks[0] + 1);
    source.give_one_back(&main, openings[3], &before).await;
    let later = source.lease_one(edited.clone()).await;
    let (after, later) = (store_openings(&edited, &after, 0), store_openings(&edited, &later, 0));
    assert_eq!(after[0], openings[3] + 2 * HALF_NS, "what was spent stays spent");
    assert_eq!(later[0], after[0] + 2 * HALF_NS);
}

/// However much bulk waits, slots behind its horizon are left.
pub async fn urgent_jobs_lease_further_than_bulk(source: Source) {
    let bulk = want("main", "2/s", 1000);
    let leased = source.lease_one(bulk.clone()).await;
    let last = store_openings(&bulk, &leased, 0).pop().expect("slots");
    assert!((8..=10).contains(&count(&leased)), "{leased:?}");
    // Another slot may have come within reach meanwhile.
    assert!(count(&source.lease_one(want("main", "2/s", 1000)).await) <= 1);
    let urgent = Want { urgent: 1, ..want("main", "2/s", 1) };
    let one = source.lease_one(urgent.clone()).await;
    assert_eq!(count(&one), 1, "{one:?}");
    assert!(store_openings(&urgent, &one, 0)[0] > last);
    // But no further than two.
    assert!(count(&source.lease_one(Want { urgent: 1000, ..bulk }).await) <= 3);
}

/// Bulk jobs get what is not kept, transactional ones the rest.
pub async fn a_share_of_a_count_is_kept_for_urgent_jobs(source: Source) {
    let shared = |count, urgent| Want { urgent, reserved_permille: 200, ..want("main", "1000/h", count) };
    let bulk = source.lease_one(shared(1000, 0)).await;
    // The reserve melts with the window, of which at most one sub-bucket is over.
    assert!((800..=804).contains(&count(&bulk)), "{bulk:?}");
    let next = bulk.next_in.expect("a time");
    assert!(next > Duration::ZERO && next <= Duration::from_secs(3660), "{next:?}");
    assert_eq!(bulk.next_urgent_in, None, "there are slots for urgent jobs");
    let mixed = source.lease_one(shared(10, 4)).await;
    // Another slot may have melted meanwhile.
    assert!((4..=5).contains(&count(&mixed)), "{mixed:?}");
    let urgent = source.lease_one(shared(1000, 1000)).await;
    assert_eq!(count(&bulk) + count(&mixed) + count(&urgent), 1000);
    assert!(urgent.next_urgent_in.expect("a time") > Duration::from_secs(3500), "{urgent:?}");
}

/// Half the rate is twice the spacing.
pub async fn a_brake_slows(source: Source) {
    let leased = source.lease_one(Want { rates_permille: vec![500], ..want("main", "100/s", 10) }).await;
    let spaced = leased.runs.iter().find(|run| run.count > 1).expect("a run");
    assert_eq!(spaced.spacing, Duration::from_micros(20_400));
    let full = source.lease_one(want("main", "100/s", 10)).await;
    assert!(full.runs.iter().all(|run| run.spacing == Duration::from_micros(10_200)), "{full:?}");
}

/// That is what the receiver complains of.
pub async fn a_brake_lends_no_burst(source: Source) {
    let leased =
        source.lease_one(Want { rates_permille: vec![999], ..want("main", "10/s burst 50", 100) }).await;
    let at_once: u32 = leased.runs.iter().filter(|run| run.opens_in.is_zero()).map(|run| run.count).sum();
    assert!(at_once <= 1, "{leased:?}");
    assert!(count(&leased) >= 2, "{leased:?}");
}

/// A bucket that lends four at once, and the next in about ten seconds.
const SLOW_BUCKET: &str = "6/min burst 5";

/// The last lease can be taken back in part.
pub async fn slots_given_back_are_leased_again(source: Source) {
    let bucket = limit("main", SLOW_BUCKET);
    let leased = source.lease_one(want("main", SLOW_BUCKET, 4)).await;
    assert_eq!(count(&leased), 4);
    assert_eq!(count(&source.lease_one(want("main", SLOW_BUCKET, 4)).await), 0);
    source.give_back(&bucket, 2, &leased).await;
    assert_eq!(source.look(&bucket).await.next_in, Duration::ZERO);
    assert_eq!(count(&source.lease_one(want("main", SLOW_BUCKET, 4)).await), 2);
    source.give_back(&limit("main", "10 connections"), 2, &leased).await;
}

/// Others count on the order of their slots.
pub async fn slots_of_an_earlier_lease_lapse(source: Source) {
    let bucket = limit("main", SLOW_BUCKET);
    let first = source.lease_one(want("main", SLOW_BUCKET, 2)).await;
    let second = source.lease_one(want("main", SLOW_BUCKET, 2)).await;
    assert_eq!((count(&first), count(&second)), (2, 2));
    source.give_back(&bucket, 2, &first).await;
    assert_eq!(count(&source.lease_one(want("main", SLOW_BUCKET, 4)).await), 0);
    source.give_back(&bucket, 1, &second).await;
    assert_eq!(count(&source.lease_one(want("main", SLOW_BUCKET, 4)).await), 1);
}

/// In any order, and never below nothing.
pub async fn a_count_is_given_back_within_its_sub_bucket(source: Source) {
    let hour = limit("main", "30/h");
    let first = source.lease_one(want("main", "30/h", 20)).await;
    let second = source.lease_one(want("main", "30/h", 20)).await;
    assert_eq!((count(&first), count(&second)), (20, 10));
    source.give_back(&hour, 5, &first).await;
    assert_eq!(count(&source.lease_one(want("main", "30/h", 20)).await), 5);
    source.give_back(&hour, 1000, &first).await;
    assert!(source.look(&hour).await.left <= 30);
}

/// What was leased, what is left, and when it comes back.
pub async fn a_look_tells_how_a_count_stands(source: Source) {
    let hour = limit("main", "30/h");
    assert_eq!(source.look(&hour).await, LimitLook { left: 30, ..LimitLook::default() });
    source.lease_one(want("main", "30/h", 20)).await;
    let some = source.look(&hour).await;
    assert_eq!((some.used, some.left, some.next_in), (20, 10, Duration::ZERO));
    let resets_in = some.resets_in.expect("a time");
    assert!(resets_in > Duration::from_secs(3500) && resets_in <= Duration::from_secs(3660), "{some:?}");
    source.lease_one(want("main", "30/h", 20)).await;
    let none = source.look(&hour).await;
    assert_eq!((none.used, none.left), (30, 0));
    assert!(none.next_in > Duration::from_secs(3500), "{none:?}");
    // An operator has cut the limit below what was spent.
    assert_eq!(source.look(&limit("main", "10/h")).await.left, 0);
}

/// The same for a limit that is not counted but spaced.
pub async fn a_look_tells_how_a_bucket_stands(source: Source) {
    let bucket = limit("main", SLOW_BUCKET);
    assert_eq!(source.look(&bucket).await, LimitLook { left: 6, ..LimitLook::default() });
    source.lease_one(want("main", SLOW_BUCKET, 4)).await;
    let used = source.look(&bucket).await;
    // Where the minute has turned meanwhile, part of the last one no longer counts.
    assert!((3..=4).contains(&used.used) && used.left == 6 - used.used, "{used:?}");
    assert!(
        used.next_in > Duration::from_secs(8) && used.next_in < Duration::from_millis(10_201),
        "{used:?}"
    );
    assert!(used.resets_in.is_some());
}

/// In order, whatever there is to tell.
pub async fn a_look_leases_nothing(source: Source) {
    let limits = [limit("main", "5 connections"), limit("main", "30/h"), limit("main", SLOW_BUCKET)];
    source.lease(0, &[want("main", "30/h", 3), want("main", SLOW_BUCKET, 1)]).await;
    for _ in 0..3 {
        let looks = source.lessees[0].look(&limits).await.unwrap();
        assert_eq!(looks[0], LimitLook::default(), "connections are the fleet's matter");
        assert_eq!((looks[1].used, looks[1].left), (3, 27));
        assert_eq!(looks[2].next_in, Duration::ZERO);
    }
    assert_eq!(source.lessees[0].look(&[]).await.unwrap(), []);
}
