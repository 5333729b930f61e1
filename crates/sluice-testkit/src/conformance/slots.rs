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
    Want { limit: limit(esp, spec), count, urgent: 0, reserved_permille: 0, rate_permille: 1000 }
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
        let unused = Unused { limit: limit.clone(), count, rate_permille: 1000, mark: leased.mark };
        self.lessees[0].give_back(&[unused]).await.unwrap();
    }

    async fn look(&self, limit: &Limit) -> LimitLook {
        self.lessees[0].look(std::slice::from_ref(limit)).await.unwrap()[0]
    }
}

/// Openings on the clock of the asker, at the earliest they can be.
fn openings(leased: &Leased, asked_at: Instant) -> Vec<Instant> {
    let runs = leased.runs.iter();
    runs.flat_map(|run| (0..run.count).map(move |i| asked_at + run.opens_in + run.spacing * i)).collect()
}

/// The second lessee's slots come after the first's.
pub async fn a_spaced_limit_is_spaced_over_lessees(source: Source) {
    let (mut first, mut second) = (0, 0);
    for _ in 0..3 {
        let a = source.lease(0, &[want("main", "100/s", 10)]).await;
        let b = source.lease(1, &[want("main", "100/s", 10)]).await;
        (first, second) = (first + count(&a[0]), second + count(&b[0]));
        for run in a[0].runs.iter().chain(&b[0].runs).filter(|run| run.count > 1) {
            assert_eq!(run.spacing, Duration::from_micros(10_200), "the headroom is 2 %");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(first >= 10 && second >= 10, "{first} {second}");
    // Leases reach 300 ms ahead, and some time has passed.
    assert!(first + second <= 90, "{}", first + second);
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

/// Eight tasks lease as fast as they can: no window holds more than the limit, and nobody is stuck.
pub async fn lessees_at_the_same_time_never_exceed(source: Source) {
    let source = Arc::new(source);
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    for lessee in 0..8_usize {
        let source = Arc::clone(&source);
        tasks.spawn(async move {
            let mut mine = Vec::new();
            while start.elapsed() < Duration::from_millis(1500) {
                // Two keys in opposite orders: a store that locks as it goes would dead-lock.
                let mut wants = [want("main", "50/s", 4), want("spare", "70/s", 4)];
                if lessee % 2 == 0 {
                    wants.reverse();
                }
                let asked_at = Instant::now();
                let leased = source.lease(lessee, &wants).await;
                let main = wants.iter().position(|it| it.limit.spec.count.get() == 50).unwrap();
                // The store answered between these two instants; slots count from the later one.
                let slack = asked_at.elapsed();
                mine.extend(openings(&leased[main], asked_at).into_iter().map(|at| at + slack));
            }
            mine
        });
    }
    let mut all: Vec<Instant> = tasks.join_all().await.into_iter().flatten().collect();
    all.sort_unstable();
    for (i, first) in all.iter().enumerate() {
        // The answers' own ways differ by some milliseconds on a busy machine; 0.9 s leaves room for that alone.
        let within = all[i..].iter().take_while(|at| **at - *first < Duration::from_millis(900)).count();
        assert!(within <= 50, "{within}");
    }
    assert!(all.len() > 50, "{}", all.len());
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
    let leased = source.lease_one(Want { rate_permille: 500, ..want("main", "100/s", 10) }).await;
    let spaced = leased.runs.iter().find(|run| run.count > 1).expect("a run");
    assert_eq!(spaced.spacing, Duration::from_micros(20_400));
    let full = source.lease_one(want("main", "100/s", 10)).await;
    assert!(full.runs.iter().all(|run| run.spacing == Duration::from_micros(10_200)), "{full:?}");
}

/// That is what the receiver complains of.
pub async fn a_brake_lends_no_burst(source: Source) {
    let leased = source.lease_one(Want { rate_permille: 999, ..want("main", "10/s burst 50", 100) }).await;
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
