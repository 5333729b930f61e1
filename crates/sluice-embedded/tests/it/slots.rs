//! Slot leases: the policy's model, kept in the file.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use sluice_embedded::Embedded;
use sluice_engine::{Leased, SlotSource, Want};
use sluice_policy::{CountedState, GcraState, Terms, lease_counted, lease_gcra};
use sluice_types::{EspId, Limit, LimitScope};

use crate::support::*;

const SENTENCES: [&str; 6] =
    ["100/s", "50/s burst 20", "3/min", "1000/h", "5000/day calendar", "10 connections"];

fn want(esp: &str, sentence: &str, count: u32) -> Want {
    let esp: EspId = esp.parse().unwrap();
    Want { limit: Limit { scope: LimitScope::Esp(esp), spec: sentence.parse().unwrap() }, count }
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
                lease_gcra(&terms, self.gcra.entry(key).or_default(), now_ns, want.count)
            }
            Some(Terms::Counted(terms)) => {
                lease_counted(&terms, self.counted.entry(key).or_default(), now_ns, want.count)
            }
            None => return Leased::default(),
        };
        Leased { runs: grant.runs, next_in: grant.next_in }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn leases_are_what_the_policy_says(
        steps in prop::collection::vec((0_u64..40_000_000, prop::collection::vec(0_u32..300, 6), prop::bool::weighted(0.1)), 1..25)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::new();
            let mut store = place.open();
            let mut model = Model::default();
            for (micros, counts, reopen) in steps {
                place.clock.advance(Duration::from_micros(micros));
                if reopen {
                    drop(store);
                    store = place.open();
                }
                let wants: Vec<Want> =
                    SENTENCES.iter().zip(counts).map(|(sentence, count)| want("main", sentence, count)).collect();
                let now_ns = place.clock.micros() * 1000;
                let expected: Vec<Leased> = wants.iter().map(|want| model.lease(want, now_ns)).collect();
                assert_eq!(store.lease(&wants).await.unwrap(), expected);
            }
        });
    }
}

#[tokio::test]
async fn keys_do_not_share_slots_and_edits_keep_what_was_spent() {
    let place = Place::new();
    let store = place.open();
    let granted = |leased: &Leased| leased.runs.iter().map(|run| run.count).sum::<u32>();
    let first = store.lease(&[want("a", "10/h", 8), want("b", "10/h", 8)]).await.unwrap();
    assert_eq!(first.iter().map(granted).collect::<Vec<_>>(), [8, 8]);
    let edited = store.lease(&[want("a", "12/h", 8)]).await.unwrap();
    assert_eq!(granted(&edited[0]), 4);
}

#[tokio::test]
async fn a_wall_clock_that_stepped_back_over_a_restart_opens_no_window_twice() {
    let place = Place::new();
    let store = place.open();
    let granted = |leased: &[Leased]| leased[0].runs.iter().map(|run| run.count).sum::<u32>();
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
