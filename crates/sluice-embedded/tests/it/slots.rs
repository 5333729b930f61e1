//! Slot leases: the policy's model, kept in the file.

use std::time::Duration;

use proptest::prelude::*;
use sluice_embedded::Embedded;
use sluice_engine::{Leased, LimitLook, SlotError, SlotSource, Unused, Want};
use sluice_policy::LimitStates;
use sluice_types::{EspId, Limit, LimitScope, Tick, Timestamp};

use crate::support::*;

const SENTENCES: [&str; 6] =
    ["100/s", "50/s burst 20", "3/min", "1000/h", "5000/day calendar", "10 connections"];

const DAY: Duration = Duration::from_secs(24 * 3600);

fn limit(esp: &str, sentence: &str) -> Limit {
    let esp: EspId = esp.parse().unwrap();
    Limit { scope: LimitScope::Esp(esp), spec: sentence.parse().unwrap() }
}

fn want(esp: &str, sentence: &str, count: u32) -> Want {
    Want::of(limit(esp, sentence), count)
}

fn granted(leased: &[Leased]) -> u32 {
    leased.iter().flat_map(|one| &one.runs).map(|run| run.count).sum()
}

/// Limits that are leased together, and alone.
const TOGETHER: [(&str, &str); 4] =
    [("wide", "100/s"), ("spare", "40/s"), ("third", "1/s"), ("third", "2/s")];
/// How many of the wants of a step are of one limit.
const ALONE: usize = SENTENCES.len();

/// One step of a property: time passes, slots are leased, some are given back, and perhaps the process restarts.
#[derive(Clone, Debug)]
struct Step {
    micros: u64,
    wants: Vec<(u32, u32, u32, u32)>,
    /// Which of [`TOGETHER`] the other wants take, as bits.
    sets: Vec<usize>,
    unused: Vec<u32>,
    reopen: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let want = (0_u32..300, 0_u32..100, 0_u32..400, prop_oneof![4 => Just(1000_u32), 1 => 1_u32..1200]);
    let wants = prop::collection::vec(want, ALONE + 2);
    let sets = prop::collection::vec(1_usize..8, 2);
    let unused = prop::collection::vec(prop_oneof![2 => Just(0_u32), 1 => 1_u32..40], ALONE + 2);
    let micros = prop_oneof![2 => 0_u64..400_000, 1 => 0_u64..40_000_000];
    (micros, wants, sets, unused, prop::bool::weighted(0.1))
        .prop_map(|(micros, wants, sets, unused, reopen)| Step { micros, wants, sets, unused, reopen })
}

/// The wants of a step: those of several limits stand among those of one.
fn wants_of(wants: Vec<(u32, u32, u32, u32)>, sets: &[usize]) -> Vec<Want> {
    let mut limits: Vec<Vec<Limit>> = SENTENCES.iter().map(|it| vec![limit("main", it)]).collect();
    for (i, set) in sets.iter().enumerate() {
        let chosen = TOGETHER.iter().enumerate().filter(|(n, _)| match n {
            0 | 1 => set & (1 << n) != 0,
            // The third has been edited or not.
            _ => set & 4 != 0 && (n - 2) == i,
        });
        limits.insert(i * 3, chosen.map(|(_, (esp, it))| limit(esp, it)).collect());
    }
    let of = |(limits, (count, urgent, reserved_permille, rate)): (Vec<Limit>, (u32, u32, u32, u32))| {
        let rates_permille =
            (0_u32..).zip(&limits).map(|(i, _)| rate.saturating_sub(i * 100).max(1)).collect();
        Want { limits: limits.into(), rates_permille, count, urgent, later: count / 3, reserved_permille }
    };
    limits.into_iter().zip(wants).map(of).collect()
}

/// What can be given back of a lease: `count` slots, of a spaced limit every other one.
fn unused_of(want: &Want, leased: &Leased, count: u32) -> Vec<Unused> {
    let of = |(i, limit): (usize, &Limit)| {
        let openings = leased.openings_ns(want, i);
        Unused {
            limit: limit.clone(),
            count: count.min(granted(std::slice::from_ref(leased))),
            openings_ns: openings.step_by(2).take(usize::try_from(count).unwrap()).collect(),
            rate_permille: want.rates_permille.get(i).copied().unwrap(),
            mark: leased.marks.get(i).copied().unwrap_or_default(),
        }
    };
    want.limits.iter().enumerate().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn slots_are_what_the_policy_says(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::new();
            let mut store = place.open();
            let mut model = LimitStates::default();
            for Step { micros, wants, sets, unused, reopen } in steps {
                place.clock.advance(Duration::from_micros(micros));
                if reopen {
                    drop(store);
                    store = place.open();
                }
                let wants = wants_of(wants, &sets);
                let now_ns = place.clock.micros() * 1000;
                let expected = model.lease_all(&wants, now_ns);
                assert_eq!(store.lease(&wants).await.unwrap(), expected);
                let of = |((want, leased), count): ((&Want, Leased), u32)| unused_of(want, &leased, count);
                let unused: Vec<Unused> = wants.iter().zip(expected).zip(unused).flat_map(of).collect();
                unused.iter().for_each(|one| model.give_back(one, now_ns));
                store.give_back(&unused).await.unwrap();
                let limits: Vec<Limit> = unused.into_iter().map(|one| one.limit).collect();
                let expected: Vec<LimitLook> = limits.iter().map(|limit| model.look(limit, now_ns)).collect();
                assert_eq!(store.look(&limits).await.unwrap(), expected);
            }
        });
    }
}

#[tokio::test]
async fn keys_do_not_share_slots_and_edits_keep_what_was_spent() {
    let place = Place::new();
    let store = place.open();
    let first = store.lease(&[want("a", "10/h", 8), want("b", "10/h", 8)]).await.unwrap();
    assert_eq!((granted(&first[..1]), granted(&first[1..])), (8, 8));
    let edited = store.lease(&[want("a", "12/h", 8)]).await.unwrap();
    assert_eq!(granted(&edited), 4);
}

#[tokio::test]
async fn a_wall_clock_that_stepped_back_over_a_restart_opens_no_window_twice() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(granted(&store.lease(&[want("a", "10/h", 10)]).await.unwrap()), 10);
    drop(store);
    let two_hours = Duration::from_secs(7200);
    let behind = Behind { clock: place.clock.clone(), by: two_hours };
    let settings =
        sluice_embedded::EmbeddedSettings { clock: std::sync::Arc::new(behind), ..place.settings() };
    let store = Embedded::open(settings).unwrap();
    assert_eq!(granted(&store.lease(&[want("a", "10/h", 10)]).await.unwrap()), 0);
    // And time goes on.
    place.clock.advance(Duration::from_secs(3700));
    assert_eq!(granted(&store.lease(&[want("a", "10/h", 10)]).await.unwrap()), 10);
}

/// A clock that goes on with each look at it.
#[derive(Debug)]
struct Going(std::sync::Arc<TestClock>);

impl sluice_engine::Clock for Going {
    fn tick(&self) -> Tick {
        self.0.advance(Duration::from_millis(1));
        self.0.tick()
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// It waits for the writer and for the disk: a worker would know the clock no better than to that.
#[tokio::test]
async fn a_lease_tells_how_long_the_store_worked_on_it() {
    let place = Place::new();
    let clock = std::sync::Arc::new(Going(place.clock.clone()));
    let store = Embedded::open(sluice_embedded::EmbeddedSettings { clock, ..place.settings() }).unwrap();
    for leased in store.lease(&[want("a", "100/s", 2), want("b", "10/h", 1)]).await.unwrap() {
        let (asked_ns, answered_ns) = leased.work_ns;
        assert!(asked_ns < leased.at_ns && leased.at_ns < answered_ns, "{leased:?}");
    }
}

#[tokio::test]
async fn counts_outlive_their_arrival_time() {
    let place = Place::new();
    let store = place.open();
    let rows = || -> i64 {
        let file = rusqlite::Connection::open(place.path()).unwrap();
        file.query_row("select count(*) from limit_gcra", [], |row| row.get(0)).unwrap()
    };
    store.lease(&[want("main", "600/30min", 2)]).await.unwrap();
    // Long enough for this lease to prune.
    place.clock.advance(Duration::from_secs(11 * 60));
    store.lease(&[want("spare", "10/s", 1)]).await.unwrap();
    assert_eq!(rows(), 2);
    assert_eq!(store.look(&[limit("main", "600/30min")]).await.unwrap()[0].used, 2);
    place.clock.advance(34 * DAY);
    store.lease(&[want("spare", "10/s", 1)]).await.unwrap();
    assert_eq!(rows(), 1);
}

#[tokio::test]
async fn a_client_looks_at_limits_and_leases_nothing() {
    let place = Place::new();
    let settings = sluice_embedded::EmbeddedSettings {
        clock: std::sync::Arc::new(sluice_engine::SystemClock::new()),
        ..place.settings()
    };
    let store = Embedded::open(settings).unwrap();
    store.lease(&[want("a", "10/h", 3)]).await.unwrap();
    let client = Embedded::open_client(&place.path()).unwrap();
    let look = client.look(&[limit("a", "10/h"), limit("a", "5 connections")]).await.unwrap();
    assert_eq!((look[0].used, look[0].left), (3, 7));
    assert_eq!(look[1], LimitLook::default());
    let not_the_worker = |error: SlotError| error.0.to_string().contains("only the worker");
    assert!(not_the_worker(client.lease(&[want("a", "10/h", 1)]).await.unwrap_err()));
    assert!(not_the_worker(client.give_back(&[]).await.unwrap_err()));
}

#[derive(Debug)]
struct Behind {
    clock: std::sync::Arc<TestClock>,
    by: Duration,
}

impl sluice_engine::Clock for Behind {
    fn tick(&self) -> Tick {
        self.clock.tick()
    }

    fn now(&self) -> Timestamp {
        let by = i64::try_from(self.by.as_micros()).unwrap();
        Timestamp::from_micros(self.clock.micros() - by)
    }
}
