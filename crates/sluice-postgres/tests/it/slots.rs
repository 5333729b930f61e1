//! Slot leases: the same as the model, and never too many.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluice_engine::{Leased, SlotSource, Want};
use sluice_policy::{CountedState, GcraState, Grant, Terms, lease_counted, lease_gcra};
use sluice_types::{EspId, Limit, LimitScope};

use crate::fixture::Fixture;

/// Some instant of the store's clock.
const START_NS: i64 = 1_795_521_600_123_456_000;

fn limit(esp: &str, spec: &str) -> Limit {
    Limit { scope: LimitScope::Esp(EspId::new(esp).unwrap()), spec: spec.parse().unwrap() }
}

fn want(esp: &str, spec: &str, count: u32) -> Want {
    Want { limit: limit(esp, spec), count }
}

fn slots(leased: &Leased) -> u32 {
    leased.runs.iter().map(|run| run.count).sum()
}

/// The states of all limits as the model keeps them.
#[derive(Default)]
struct Model {
    gcra: BTreeMap<String, GcraState>,
    counted: BTreeMap<String, CountedState>,
}

impl Model {
    fn lease(&mut self, want: &Want, now_ns: i64) -> Leased {
        let key = want.limit.key();
        let Grant { runs, next_in } = match Terms::of(&want.limit.spec) {
            Some(Terms::Gcra(terms)) => {
                lease_gcra(&terms, self.gcra.entry(key).or_default(), now_ns, want.count)
            }
            Some(Terms::Counted(terms)) => {
                lease_counted(&terms, self.counted.entry(key).or_default(), now_ns, want.count)
            }
            None => Grant::default(),
        };
        Leased { runs, next_in }
    }
}

/// Ticks of leases: how long after the last one, and the wants by limit. Edits of a count keep the key.
fn ticks() -> impl Strategy<Value = Vec<(u64, Vec<(usize, u32)>)>> {
    let elapsed = prop_oneof![
        Just(0),
        1_u64..1_000_000,
        1_000_000_u64..2_000_000_000,
        2_000_000_000_u64..200_000_000_000,
        200_000_000_000_u64..100_000_000_000_000,
    ];
    let wants = prop::collection::vec((0..SPECS.len(), prop_oneof![Just(0_u32), 1_u32..5, 5_u32..300]), 1..6);
    prop::collection::vec((elapsed, wants), 1..25)
}

const SPECS: [&str; 14] = [
    "50/s",
    "25/s",
    "1/s",
    "1000000/s",
    "3/min",
    "100/s burst 200",
    "100/s burst 1",
    "7/min burst 3",
    "100/min burst 40",
    "50/h",
    "200/h",
    "1000/day",
    "100/day calendar",
    "20/10s rolling",
];

#[test]
fn a_lease_equals_the_model() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let (store, sql) = runtime.block_on(async { (fixture.worker("a"), fixture.sql().await) });
    let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
    let compared = runner.run(&ticks(), |ticks| {
        runtime.block_on(sql.batch_execute("truncate sluice.limit_gcra, sluice.limit_count")).unwrap();
        let mut model = Model::default();
        let mut now_ns = START_NS;
        for (elapsed, wants) in ticks {
            now_ns += i64::try_from(elapsed).unwrap();
            let mut by_key = BTreeMap::new();
            for (spec, count) in wants {
                let want = want("main", SPECS[spec], count);
                by_key.insert(want.limit.key(), want);
            }
            // Any order but that of the keys.
            let wants: Vec<Want> = by_key.into_values().rev().collect();
            let modelled: Vec<Leased> = wants.iter().map(|want| model.lease(want, now_ns)).collect();
            let leased = runtime.block_on(store.lease_at(&wants, Some(now_ns))).unwrap();
            prop_assert_eq!(leased, modelled, "{:?} at {}", wants, now_ns);
        }
        Ok(())
    });
    compared.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_lessees_neither_deadlock_nor_exceed() {
    const ROUNDS: u32 = 40;
    let fixture = Fixture::new().await;
    let began = tokio::time::Instant::now();
    let tasks = (0..4).map(|n| {
        let store = fixture.worker(&format!("w{n}"));
        tokio::spawn(async move {
            let mut taken = BTreeMap::new();
            for _ in 0..ROUNDS {
                let mut wants = vec![
                    want("a", "100/h", 7),
                    want("b", "50/s", 20),
                    want("c", "100/s burst 50", 30),
                    want("d", "60/day calendar", 3),
                ];
                let turn = n % wants.len();
                wants.rotate_left(turn);
                for (want, leased) in wants.iter().zip(store.lease(&wants).await.unwrap()) {
                    *taken.entry(want.limit.key()).or_insert(0_u32) += slots(&leased);
                }
            }
            taken
        })
    });
    let mut taken = BTreeMap::new();
    for task in tasks.collect::<Vec<_>>() {
        for (key, n) in task.await.unwrap() {
            *taken.entry(key).or_insert(0) += n;
        }
    }
    let span = began.elapsed().as_secs_f64();
    assert_eq!(taken["esp:a counted h"], 100);
    // A span over midnight would see two calendar days.
    assert!(taken["esp:d calendar day"] == 60 || taken["esp:d calendar day"] == 120);
    // A lease reaches 0.3 s ahead.
    let spaced = 50.0 * (span + 0.3) + 1.0;
    assert!(f64::from(taken["esp:b gcra s"]) <= spaced, "{taken:?} in {span} s");
    let bucket = 50.0 + 100.0 * (span + 0.3) + 1.0;
    assert!(f64::from(taken["esp:c gcra s"]) <= bucket, "{taken:?} in {span} s");
    assert!(taken["esp:b gcra s"] >= 15, "{taken:?}");
}

#[tokio::test]
async fn an_edit_keeps_what_was_spent() {
    let fixture = Fixture::new().await;
    let store = fixture.worker("a");
    let lease = async |spec| store.lease(&[want("main", spec, 1000)]).await.unwrap().remove(0);
    assert_eq!(slots(&lease("100/h").await), 100);
    assert_eq!(slots(&lease("130/h").await), 30);
    let none = lease("50/h").await;
    assert_eq!(slots(&none), 0);
    assert!(none.next_in.unwrap() > Duration::from_secs(3500));
}

#[tokio::test]
async fn connections_are_not_leased_by_time() {
    let fixture = Fixture::new().await;
    let wants = [want("a", "10 connections", 3), want("a", "5/s", 1)];
    let leased = fixture.worker("a").lease(&wants).await.unwrap();
    assert_eq!(leased[0], Leased::default());
    assert_eq!(slots(&leased[1]), 1);
    assert_eq!(fixture.worker("a").lease(&[]).await.unwrap(), []);
}
