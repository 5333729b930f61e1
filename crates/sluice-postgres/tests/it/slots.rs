//! Slot leases: the same as the model, and never too many.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sluice_engine::{Leased, LimitLook, SlotSource, Unused, Want};
use sluice_policy::{
    CountedState, CountedWant, GcraState, Grant, Terms, give_back_counted, give_back_gcra, lease_counted,
    lease_gcra, look_counted, look_gcra,
};
use sluice_postgres::Postgres;
use sluice_types::{EspId, Limit, LimitScope};

use crate::fixture::Fixture;

/// Some instant of the store's clock.
const START_NS: i64 = 1_795_521_600_123_456_000;

fn limit(esp: &str, spec: &str) -> Limit {
    Limit { scope: LimitScope::Esp(EspId::new(esp).unwrap()), spec: spec.parse().unwrap() }
}

fn want(esp: &str, spec: &str, count: u32) -> Want {
    Want { limit: limit(esp, spec), count, urgent: 0, reserved_permille: 0, rate_permille: 1000 }
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
        let Grant { runs, next_in, next_urgent_in, mark } = match Terms::of(&want.limit.spec) {
            Some(Terms::Gcra(terms)) => {
                let terms = terms.at_rate(want.rate_permille);
                lease_gcra(&terms, self.gcra.entry(key).or_default(), now_ns, want.count)
            }
            Some(Terms::Counted(terms)) => {
                let Want { count, urgent, reserved_permille, .. } = *want;
                let want = CountedWant { count, urgent, reserved_permille };
                lease_counted(&terms, self.counted.entry(key).or_default(), now_ns, want)
            }
            None => Grant::default(),
        };
        Leased { runs, next_in, next_urgent_in, mark, at_ns: now_ns }
    }

    fn give_back(&mut self, unused: &Unused) {
        let key = unused.limit.key();
        match Terms::of(&unused.limit.spec) {
            Some(Terms::Gcra(terms)) => {
                let terms = terms.at_rate(unused.rate_permille);
                give_back_gcra(&terms, self.gcra.entry(key).or_default(), unused.count, unused.mark);
            }
            Some(Terms::Counted(_)) => {
                give_back_counted(self.counted.entry(key).or_default(), unused.count, unused.mark);
            }
            None => {}
        }
    }

    fn look(&self, limit: &Limit, now_ns: i64) -> LimitLook {
        let key = limit.key();
        let standing = match Terms::of(&limit.spec) {
            Some(Terms::Gcra(terms)) => {
                look_gcra(&terms, &self.gcra.get(&key).copied().unwrap_or_default(), now_ns)
            }
            Some(Terms::Counted(terms)) => {
                look_counted(&terms, &self.counted.get(&key).cloned().unwrap_or_default(), now_ns)
            }
            None => return LimitLook::default(),
        };
        let left = u64::from(limit.spec.count.get()).saturating_sub(standing.used);
        LimitLook { used: standing.used, left, next_in: standing.next_in, resets_in: standing.resets_in }
    }
}

/// One wish.
#[derive(Clone, Debug)]
struct Wish {
    spec: &'static str,
    count: u32,
    urgent: u32,
    reserved_permille: u32,
    rate_permille: u32,
}

/// What happens at one instant: leases, then what of them and of earlier ones is given back.
#[derive(Clone, Debug)]
struct Step {
    after_ns: u64,
    wishes: Vec<Wish>,
    /// How many leases ago, and how many slots.
    unused: Vec<(usize, u32)>,
}

fn wish() -> impl Strategy<Value = Wish> {
    let count = || prop_oneof![Just(0_u32), 1_u32..5, 5_u32..300];
    let permille = || prop_oneof![Just(0_u32), 1_u32..1000, Just(1000), Just(1200)];
    let rate = prop_oneof![3 => Just(1000_u32), 1 => 0_u32..1000];
    let fields = (prop::sample::select(SPECS.to_vec()), count(), count(), permille(), rate);
    fields.prop_map(|(spec, count, urgent, reserved_permille, rate_permille)| Wish {
        spec,
        count,
        urgent,
        reserved_permille,
        rate_permille,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after_ns = prop_oneof![
        Just(0),
        1_u64..1_000_000,
        1_000_000_u64..2_000_000_000,
        2_000_000_000_u64..200_000_000_000,
        200_000_000_000_u64..100_000_000_000_000,
    ];
    let unused = prop::collection::vec((0..8_usize, 0_u32..20), 0..3);
    let step = (after_ns, prop::collection::vec(wish(), 1..6), unused);
    let step = step.prop_map(|(after_ns, wishes, unused)| Step { after_ns, wishes, unused });
    prop::collection::vec(step, 1..25)
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

/// The wants of one call: no limit twice, in any order but that of the keys. Edits of a count keep the key.
fn wants_of(wishes: &[Wish]) -> Vec<Want> {
    let mut by_key = BTreeMap::new();
    for Wish { spec, count, urgent, reserved_permille, rate_permille } in wishes.iter().cloned() {
        let limit = limit("main", spec);
        by_key.insert(limit.key(), Want { limit, count, urgent, reserved_permille, rate_permille });
    }
    by_key.into_values().rev().collect()
}

/// Runs the same steps on the store and on the model.
async fn compare(store: &Postgres, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let limits: Vec<Limit> = SPECS.iter().map(|spec| limit("main", spec)).collect();
    let mut model = Model::default();
    let mut now_ns = START_NS;
    // What could be given back of each lease.
    let mut leases: Vec<Unused> = Vec::new();
    for Step { after_ns, wishes, unused } in steps {
        now_ns += i64::try_from(after_ns).unwrap();
        let wants = wants_of(&wishes);
        let modelled: Vec<Leased> = wants.iter().map(|want| model.lease(want, now_ns)).collect();
        let leased = store.lease_at(&wants, Some(now_ns)).await.unwrap();
        prop_assert_eq!(&leased, &modelled, "{:?} at {}", wants, now_ns);
        leases.extend(wants.into_iter().zip(leased).map(|(want, leased)| Unused {
            limit: want.limit,
            count: slots(&leased),
            rate_permille: want.rate_permille,
            mark: leased.mark,
        }));
        let given: Vec<Unused> = unused
            .into_iter()
            .filter_map(|(ago, count)| {
                let lease = leases.iter().rev().nth(ago)?.clone();
                Some(Unused { count: count.min(lease.count), ..lease })
            })
            .collect();
        given.iter().for_each(|unused| model.give_back(unused));
        store.give_back(&given).await.unwrap();
        let looks = store.look_at(&limits, Some(now_ns)).await.unwrap();
        let modelled: Vec<LimitLook> = limits.iter().map(|limit| model.look(limit, now_ns)).collect();
        prop_assert_eq!(looks, modelled, "after {:?} at {}", given, now_ns);
    }
    Ok(())
}

#[test]
fn slots_equal_the_model() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let (store, sql) = runtime.block_on(async { (fixture.worker("a"), fixture.sql().await) });
    let mut runner = TestRunner::new(Config { cases: 100, ..Config::default() });
    let compared = runner.run(&steps(), |steps| {
        runtime.block_on(async {
            sql.batch_execute("truncate sluice.limit_gcra, sluice.limit_count").await.unwrap();
            compare(&store, steps).await
        })
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
    assert_eq!(taken["esp:a/per:h"], 100);
    // A span over midnight would see two calendar days.
    assert!(taken["esp:d/per:day:calendar"] == 60 || taken["esp:d/per:day:calendar"] == 120);
    // A lease reaches 0.3 s ahead.
    let spaced = 50.0 * (span + 0.3) + 1.0;
    assert!(f64::from(taken["esp:b/per:s"]) <= spaced, "{taken:?} in {span} s");
    let bucket = 50.0 + 100.0 * (span + 0.3) + 1.0;
    assert!(f64::from(taken["esp:c/per:s"]) <= bucket, "{taken:?} in {span} s");
    assert!(taken["esp:b/per:s"] >= 15, "{taken:?}");
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

/// While replicas are updated one by one, the old ones still lease by the function of V3.
#[tokio::test]
async fn old_replicas_lease_from_the_same_state() {
    let fixture = Fixture::new().await;
    let store = fixture.worker("a");
    let old = "select (open_now + then_count)::text from sluice.lease(\
               array['esp:main/per:s', 'esp:main/per:h'], array[4, 9], array[10200000000, null], array[4, null], \
               array[100000000, null], array[5000000000, null], array[null, 30], array[null, 61000000000], \
               array[null, 60], null) order by position";
    let bucket = want("main", "100/s burst 5", 1);
    assert_eq!(fixture.text(old).await, "4");
    let look = store.look(&[bucket.limit.clone(), limit("main", "30/h")]).await.unwrap();
    assert!(look[0].next_in > Duration::from_secs(35), "{look:?}");
    assert_eq!(look[1].used, 9);
    assert_eq!(slots(&store.lease(&[bucket]).await.unwrap()[0]), 0);
}
