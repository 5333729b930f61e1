//! Slot leases: the policy's model, kept in the file.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use sluice_embedded::Embedded;
use sluice_engine::{Leased, LimitLook, SlotError, SlotSource, Unused, Want};
use sluice_policy::{
    CountedState, CountedWant, GcraState, Terms, give_back_counted, give_back_gcra, lease_counted,
    lease_gcra, look_counted, look_gcra,
};
use sluice_types::{EspId, Limit, LimitScope};

use crate::support::*;

const SENTENCES: [&str; 6] =
    ["100/s", "50/s burst 20", "3/min", "1000/h", "5000/day calendar", "10 connections"];

const DAY: Duration = Duration::from_secs(24 * 3600);

fn limit(esp: &str, sentence: &str) -> Limit {
    let esp: EspId = esp.parse().unwrap();
    Limit { scope: LimitScope::Esp(esp), spec: sentence.parse().unwrap() }
}

fn want(esp: &str, sentence: &str, count: u32) -> Want {
    Want { limit: limit(esp, sentence), count, urgent: 0, reserved_permille: 0, rate_permille: 1000 }
}

fn granted(leased: &[Leased]) -> u32 {
    leased.iter().flat_map(|one| &one.runs).map(|run| run.count).sum()
}

/// What the policy says, with its state in memory.
#[derive(Default)]
struct Model {
    gcra: HashMap<String, GcraState>,
    counted: HashMap<String, CountedState>,
}

impl Model {
    fn lease(&mut self, want: &Want, now_ns: i64) -> Leased {
        let key = want.limit.key();
        let grant = match Terms::of(&want.limit.spec) {
            Some(Terms::Gcra(terms)) => {
                let terms = terms.at_rate(want.rate_permille);
                lease_gcra(&terms, self.gcra.entry(key).or_default(), now_ns, want.count)
            }
            Some(Terms::Counted(terms)) => {
                let Want { count, urgent, reserved_permille, .. } = *want;
                let wish = CountedWant { count, urgent, reserved_permille };
                lease_counted(&terms, self.counted.entry(key).or_default(), now_ns, wish)
            }
            None => return Leased { at_ns: now_ns, ..Leased::default() },
        };
        let next_urgent_in = grant.next_urgent_in;
        Leased { runs: grant.runs, next_in: grant.next_in, next_urgent_in, mark: grant.mark, at_ns: now_ns }
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

    fn look(&mut self, limit: &Limit, now_ns: i64) -> LimitLook {
        let key = limit.key();
        let standing = match Terms::of(&limit.spec) {
            Some(Terms::Gcra(terms)) => look_gcra(&terms, self.gcra.entry(key).or_default(), now_ns),
            Some(Terms::Counted(terms)) => look_counted(&terms, self.counted.entry(key).or_default(), now_ns),
            None => return LimitLook::default(),
        };
        LimitLook {
            used: standing.used,
            left: u64::from(limit.spec.count.get()).saturating_sub(standing.used),
            next_in: standing.next_in,
            resets_in: standing.resets_in,
        }
    }
}

/// One step of a property: time passes, slots are leased, some are given back, and perhaps the process restarts.
#[derive(Clone, Debug)]
struct Step {
    micros: u64,
    wants: Vec<(u32, u32, u32, u32)>,
    unused: Vec<u32>,
    reopen: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let want = (0_u32..300, 0_u32..100, 0_u32..400, prop_oneof![Just(1000_u32), 1_u32..1200]);
    let wants = prop::collection::vec(want, SENTENCES.len());
    let unused = prop::collection::vec(prop_oneof![2 => Just(0_u32), 1 => 1_u32..40], SENTENCES.len());
    (0_u64..40_000_000, wants, unused, prop::bool::weighted(0.1))
        .prop_map(|(micros, wants, unused, reopen)| Step { micros, wants, unused, reopen })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn slots_are_what_the_policy_says(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::new();
            let mut store = place.open();
            let mut model = Model::default();
            for Step { micros, wants, unused, reopen } in steps {
                place.clock.advance(Duration::from_micros(micros));
                if reopen {
                    drop(store);
                    store = place.open();
                }
                let of = |(sentence, (count, urgent, reserved_permille, rate_permille)): (&&str, _)| {
                    Want { urgent, reserved_permille, rate_permille, ..want("main", sentence, count) }
                };
                let wants: Vec<Want> = SENTENCES.iter().zip(wants).map(of).collect();
                let now_ns = place.clock.micros() * 1000;
                let expected: Vec<Leased> = wants.iter().map(|want| model.lease(want, now_ns)).collect();
                assert_eq!(store.lease(&wants).await.unwrap(), expected);
                let of = |((want, leased), count): ((Want, Leased), u32)| {
                    let count = count.min(granted(std::slice::from_ref(&leased)));
                    let Want { limit, rate_permille, .. } = want;
                    Unused { limit, count, rate_permille, mark: leased.mark }
                };
                let unused: Vec<Unused> = wants.into_iter().zip(expected).zip(unused).map(of).collect();
                unused.iter().for_each(|one| model.give_back(one));
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
    fn tick(&self) -> sluice_types::Tick {
        self.clock.tick()
    }

    fn now(&self) -> sluice_types::Timestamp {
        let by = i64::try_from(self.by.as_micros()).unwrap();
        sluice_types::Timestamp::from_micros(self.clock.micros() - by)
    }
}
