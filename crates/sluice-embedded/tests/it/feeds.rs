//! Lanes: order, prefetch, acks, sharing.

use std::collections::HashSet;

use sluice_engine::{Inbox, Outbox, Passport, Publication, PublishError};
use sluice_types::Timestamp;

use crate::support::*;

const LANE: &str = "default.bulk.gmail";

#[tokio::test]
async fn messages_come_in_order_with_their_passport() {
    let place = Place::new();
    let store = place.open();
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    let passport = Passport {
        attempt: 4,
        first_seen: Some(Timestamp::from_micros(12)),
        faulted: vec![esp()],
        resend: true,
        renewals: 0,
        traceparent: Some("00-1-2-01".to_owned()),
    };
    let second = Publication { passport: passport.clone(), ..publication("b", LANE) };
    let results = store.publish(vec![publication("a", LANE), second]).await;
    assert!(results.iter().all(Result::is_ok));
    let (first, second) = (next(&mut feed).await, next(&mut feed).await);
    assert_eq!((body(&first), &first.passport), ("body of a", &Passport::default()));
    assert_eq!((body(&second), &second.passport), ("body of b", &passport));
    assert!(!first.redelivered);
}

#[tokio::test]
async fn a_lane_sees_only_its_own_messages() {
    let place = Place::new();
    let store = place.open();
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    publish(&store, "a", "default.bulk.other").await.unwrap();
    assert!(nothing(&mut feed).await);
    publish(&store, "b", LANE).await.unwrap();
    assert_eq!(body(&next(&mut feed).await), "body of b");
}

#[tokio::test]
async fn no_more_is_lent_than_the_prefetch() {
    let place = Place::new();
    let store = place.open();
    let mut feed = store.open(&lane(LANE), 3).await.unwrap();
    let jobs = (0..10).map(|n| publication(&format!("j{n}"), LANE)).collect();
    store.publish(jobs).await;
    let mut lent = Vec::new();
    for _ in 0..3 {
        lent.push(next(&mut feed).await);
    }
    assert!(nothing(&mut feed).await);
    lent.remove(0).receipt.ack();
    lent.push(next(&mut feed).await);
    assert_eq!(body(&lent[2]), "body of j3");
    assert!(nothing(&mut feed).await);
    // A released one makes room for itself first.
    lent.remove(0).receipt.release();
    let again = next(&mut feed).await;
    assert_eq!((body(&again), again.redelivered), ("body of j1", true));
}

#[tokio::test]
async fn feeds_share_a_lane_without_overlap() {
    let place = Place::new();
    let store = place.open();
    let (mut one, mut two) =
        (store.open(&lane(LANE), 50).await.unwrap(), store.open(&lane(LANE), 50).await.unwrap());
    for n in 0..10 {
        let jobs = (0..20).map(|m| publication(&format!("j{n}-{m}"), LANE)).collect();
        store.publish(jobs).await;
    }
    let mut seen = HashSet::new();
    while seen.len() < 200 {
        let delivery = tokio::select! {
            delivery = one.next() => delivery.unwrap(),
            delivery = two.next() => delivery.unwrap(),
        };
        assert!(seen.insert(body(&delivery).to_owned()), "{} came twice", body(&delivery));
        delivery.receipt.ack();
    }
    drop((one, two));
    let mut after = store.open(&lane(LANE), 50).await.unwrap();
    assert!(nothing(&mut after).await);
}

#[tokio::test]
async fn what_a_dropped_feed_had_is_delivered_by_the_next() {
    let place = Place::new();
    let store = place.open();
    store.publish((0..5).map(|n| publication(&format!("j{n}"), LANE)).collect()).await;
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    let held = next(&mut feed).await;
    drop(feed);
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    for n in 1..5 {
        let delivery = next(&mut feed).await;
        assert_eq!(body(&delivery), format!("body of j{n}"));
        delivery.receipt.ack();
    }
    assert!(nothing(&mut feed).await);
    drop(held);
    assert_eq!(body(&next(&mut feed).await), "body of j0");
}

#[tokio::test]
async fn a_stopped_feed_gives_out_what_it_had_and_ends() {
    let place = Place::new();
    let store = place.open();
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    store.publish((0..3).map(|n| publication(&format!("j{n}"), LANE)).collect()).await;
    let _held = next(&mut feed).await;
    feed.stop().await;
    publish(&store, "late", LANE).await.unwrap();
    let mut rest = Vec::new();
    while let Some(delivery) = feed.next().await {
        rest.push(body(&delivery).to_owned());
    }
    assert_eq!(rest, ["body of j1", "body of j2"]);
}

#[tokio::test]
async fn a_cancelled_next_loses_nothing() {
    let place = Place::new();
    let store = place.open();
    let mut feed = store.open(&lane(LANE), 1000).await.unwrap();
    let mut seen = HashSet::new();
    for n in 0..300 {
        publish(&store, &format!("j{n}"), LANE).await.unwrap();
        tokio::select! {
            biased;
            Some(delivery) = feed.next() => {
                seen.insert(body(&delivery).to_owned());
                delivery.receipt.ack();
            }
            () = tokio::task::yield_now() => {}
        }
    }
    while seen.len() < 300 {
        let delivery = next(&mut feed).await;
        assert!(seen.insert(body(&delivery).to_owned()));
        delivery.receipt.ack();
    }
}

#[tokio::test]
async fn a_job_that_waits_in_the_lane_is_a_duplicate() {
    let place = Place::new();
    let store = place.open();
    publish(&store, "a", LANE).await.unwrap();
    let mixed = vec![publication("b", LANE), publication("a", LANE), publication("b", LANE)];
    let results = store.publish(mixed).await;
    let duplicates: Vec<bool> = results.iter().map(is_duplicate).collect();
    assert_eq!(duplicates, [false, true, true]);
    // Not the same message: another body (a conflict, for the claim to find), another attempt.
    let changed = Publication { body: "changed".into(), ..publication("a", LANE) };
    let retried =
        Publication { passport: Passport { attempt: 2, ..Passport::default() }, ..publication("a", LANE) };
    assert!(store.publish(vec![changed, retried]).await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn depths_count_what_nobody_holds() {
    let place = Place::new();
    let store = place.open();
    store.publish((0..5).map(|n| publication(&format!("j{n}"), LANE)).collect()).await;
    let lanes = [lane(LANE), lane("default.bulk.other")];
    let ready = |depths: Vec<sluice_engine::LaneDepth>| depths.iter().map(|d| d.ready).collect::<Vec<_>>();
    assert_eq!(ready(store.depths(&lanes).await.unwrap()), [5, 0]);
    let mut feed = store.open(&lane(LANE), 2).await.unwrap();
    let held = next(&mut feed).await;
    assert_eq!(ready(store.depths(&lanes).await.unwrap()), [3, 0]);
    drop(held);
    drop(feed);
    assert_eq!(ready(store.depths(&lanes).await.unwrap()), [5, 0]);
}

#[tokio::test]
async fn feeds_end_and_calls_fail_when_the_store_is_closed() {
    let place = Place::new();
    let store = place.open();
    let mut feed = store.open(&lane(LANE), 2).await.unwrap();
    store.close().await;
    assert!(feed.next().await.is_none());
    assert!(matches!(publish(&store, "a", LANE).await, Err(PublishError::Unavailable(_))));
    assert!(store.open(&lane(LANE), 2).await.is_err());
    // Closing lets the next worker in, though the handle is still there.
    place.open();
}
