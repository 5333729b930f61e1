//! Who goes first when more is due than a batch takes.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_engine::{Due, DueQuery, Ledger, Parked};
use sluice_types::Timestamp;

use crate::support::*;

const NOW: Due = Due::In(Duration::ZERO);

fn of(tenant: &str, job: &str) -> Parked {
    Parked { tenant: tenant.parse().unwrap(), ..parked(job, 1, NOW) }
}

#[tokio::test]
async fn a_tenant_with_little_does_not_wait_for_one_with_much() {
    let place = Place::new();
    let store = place.open();
    let big: Vec<Parked> = (0..50).map(|n| of("big", &format!("big{n:02}"))).collect();
    store.park(&big).await.unwrap();
    place.clock.advance(Duration::from_secs(1));
    store.park(&[of("small", "small0"), of("small", "small1")]).await.unwrap();
    let batch = store.due(&up_to(6)).await.unwrap();
    assert_eq!(ids(batch.as_deref()), ["big00", "small0", "big01", "small1", "big02", "big03"]);
    // What is held is passed over.
    let next = store.due(&up_to(2)).await.unwrap();
    assert_eq!(ids(next.as_deref()), ["big04", "big05"]);
}

#[tokio::test]
async fn a_flow_goes_by_age_across_parkings() {
    let place = Place::new();
    let store = place.open();
    let at = |job: &str, micros: i64| {
        parked(job, 1, Due::At(Timestamp::from_micros(place.clock.micros() + micros)))
    };
    store.park(&[at("c", -1), at("a", -9)]).await.unwrap();
    store.park(&[at("b", -5), at("d", -1), at("future", 1)]).await.unwrap();
    assert_eq!(due_ids(&store).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn full_lanes_are_passed_over_whole() {
    let place = Place::new();
    let store = place.open();
    let in_group = |tenant: &str, group: &str| Parked {
        group: group.parse().unwrap(),
        ..of(tenant, &format!("{tenant}-{group}"))
    };
    let jobs =
        [in_group("a", "gmail"), in_group("b", "gmail"), in_group("c", "other"), in_group("d", "yahoo")];
    store.park(&jobs).await.unwrap();
    let query = DueQuery { full: vec![lane("default.bulk.gmail"), lane("default.bulk.other")], ..up_to(9) };
    assert_eq!(ids(store.due(&query).await.unwrap().as_deref()), ["d-yahoo"]);
    assert_eq!(due_ids(&store).await.len(), 4);
}

#[tokio::test]
async fn every_one_of_very_many_tenants_has_its_turn() {
    let place = Place::new();
    let store = place.open();
    let jobs: Vec<Parked> = (0..4_500).map(|n| of(&format!("t{n}"), &format!("j{n}"))).collect();
    store.park(&jobs).await.unwrap();
    let (mut seen, mut batches) = (0, 0);
    while let Some(batch) = store.due(&up_to(1_000)).await.unwrap() {
        let confirmed: Vec<_> = batch.jobs().iter().map(|job| job.id.clone()).collect();
        seen += confirmed.len();
        batches += 1;
        batch.published(&confirmed).await.unwrap();
    }
    assert_eq!(seen, 4_500);
    assert!(batches <= 9, "{batches}");
}

#[tokio::test]
async fn a_batch_stops_at_so_many_bytes_and_loses_nothing() {
    let place = Place::new();
    let store = place.open();
    let big = |n: i32, due, key: Option<&str>| Parked {
        body: vec![b'x'; 9 * 1024 * 1024].into(),
        limit_key: key.map(str::to_owned),
        ..parked(&format!("j{n}"), 1, due)
    };
    for n in 0..3 {
        store.park(&[big(n, NOW, None), big(10 + n, Due::InLine, Some("k"))]).await.unwrap();
    }
    let first = store.due(&up_to(100)).await.unwrap();
    assert_eq!(ids(first.as_deref()), ["j0", "j1"]);
    assert_eq!(due_ids(&store).await, ["j2"]);
    let first = store.release(&from_line("k", 3)).await.unwrap();
    assert_eq!(ids(first.as_deref()), ["j10", "j11"]);
    assert_eq!(ids(store.release(&from_line("k", 3)).await.unwrap().as_deref()), ["j12"]);
}

#[tokio::test]
async fn turns_are_remembered_from_batch_to_batch() {
    let place = Place::new();
    let store = place.open();
    let jobs: Vec<Parked> = (0..40).map(|n| of(&format!("t{}", n % 4), &format!("t{}-{n}", n % 4))).collect();
    store.park(&jobs).await.unwrap();
    let mut turns = BTreeMap::new();
    for _ in 0..4 {
        let batch = store.due(&up_to(3)).await.unwrap().unwrap();
        for job in batch.jobs() {
            *turns.entry(job.id.as_str().split('-').next().unwrap().to_owned()).or_insert(0) += 1;
        }
        let confirmed: Vec<_> = batch.jobs().iter().map(|job| job.id.clone()).collect();
        batch.published(&confirmed).await.unwrap();
    }
    assert!(turns.values().all(|count| *count == 3), "{turns:?}");
}
