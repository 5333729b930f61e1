//! Cases of `SlotSource`.

use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Leased, SlotSource, Want};
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

fn want(scope: &str, spec: &str, count: u32) -> Want {
    let scope = LimitScope::Esp(scope.parse().unwrap());
    Want { limit: Limit { scope, spec: spec.parse().unwrap() }, count }
}

fn count(leased: &Leased) -> u32 {
    leased.runs.iter().map(|run| run.count).sum()
}

impl Source {
    async fn lease(&self, lessee: usize, wants: &[Want]) -> Vec<Leased> {
        self.lessees[lessee % self.lessees.len()].lease(wants).await.unwrap()
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
