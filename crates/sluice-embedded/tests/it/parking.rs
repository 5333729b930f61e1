//! `pending`: what is parked, what is due, and who may see it.

use std::time::Duration;

use sluice_engine::{Claim, ClaimVerdict, Console, Due, Ledger, NextStep};
use sluice_types::Timestamp;

use crate::support::*;

const NOW: Due = Due::In(Duration::ZERO);

#[tokio::test]
async fn a_parked_job_keeps_its_first_row() {
    let place = Place::new();
    let store = place.open();
    store.park(&[parked("a", 2, NOW), parked("a", 1, Due::Held)]).await.unwrap();
    store.park(&[parked("a", 2, Due::Held)]).await.unwrap();
    let batch = store.due(&up_to(10)).await.unwrap().unwrap();
    assert_eq!(batch.jobs().len(), 1);
    assert_eq!(batch.jobs()[0].passport.attempt, 2);
}

#[tokio::test]
async fn due_jobs_come_oldest_first_and_held_ones_never() {
    let place = Place::new();
    let store = place.open();
    let at = |micros: i64| Due::At(Timestamp::from_micros(place.clock.micros() + micros));
    let jobs = [
        parked("later", 1, at(1)),
        parked("held", 1, Due::Held),
        parked("now", 1, NOW),
        parked("past", 1, at(-5)),
    ];
    store.park(&jobs).await.unwrap();
    assert_eq!(due_ids(&store).await, ["past", "now"]);
    place.clock.advance(Duration::from_micros(1));
    assert_eq!(due_ids(&store).await, ["past", "now", "later"]);
}

#[tokio::test]
async fn a_leased_job_is_hidden_and_comes_back() {
    let place = Place::new();
    let store = place.open();
    store.park(&[parked("a", 1, NOW), parked("b", 1, NOW), parked("c", 1, NOW)]).await.unwrap();
    let first = store.due(&up_to(2)).await.unwrap().unwrap();
    assert_eq!(due_ids(&store).await, ["c"]);
    drop(first);
    assert_eq!(due_ids(&store).await, ["a", "b", "c"]);

    let batch = store.due(&up_to(2)).await.unwrap().unwrap();
    batch.published(&[id("b")]).await.unwrap();
    assert_eq!(due_ids(&store).await, ["a", "c"]);
}

#[tokio::test]
async fn a_job_parked_again_while_the_relay_holds_it_is_not_lost() {
    let place = Place::new();
    let store = place.open();
    store.park(&[parked("a", 1, NOW)]).await.unwrap();
    let batch = store.due(&up_to(10)).await.unwrap().unwrap();
    // The relay has published it; a worker is quick to take it and parks it anew before the relay tidies up.
    store.park(&[parked("a", 1, Due::In(Duration::from_secs(9)))]).await.unwrap();
    batch.published(&[id("a")]).await.unwrap();
    assert_eq!(due_ids(&store).await, Vec::<String>::new());
    place.clock.advance(Duration::from_secs(9));
    assert_eq!(due_ids(&store).await, ["a"]);
}

#[tokio::test]
async fn a_retry_recorded_while_the_relay_holds_the_job_is_not_lost() {
    let place = Place::new();
    let store = place.open();
    store.park(&[parked("a", 1, NOW)]).await.unwrap();
    let batch = store.due(&up_to(10)).await.unwrap().unwrap();
    claim_one(&store, claim("a", 1, 1)).await;
    record_one(&store, record("a", 1, Some(faulted()), NextStep::Retry(Box::new(parked("a", 2, NOW))))).await;
    batch.published(&[id("a")]).await.unwrap();
    let batch = store.due(&up_to(10)).await.unwrap().unwrap();
    assert_eq!(batch.jobs()[0].passport.attempt, 2);
}

#[tokio::test]
async fn a_relayed_job_gets_a_message_of_its_own_while_the_old_one_is_in_hand() {
    let place = Place::new();
    let store = place.open();
    let mut feed = sluice_engine::Inbox::open(&*store, &lane("default.bulk.gmail"), 10).await.unwrap();
    publish(&store, "a", "default.bulk.gmail").await.unwrap();
    let delivery = next(&mut feed).await;
    // Parked under a limit; the relay is quicker than the ack.
    store.park(&[parked("a", 1, NOW)]).await.unwrap();
    publish(&store, "a", "default.bulk.gmail").await.unwrap();
    delivery.receipt.ack();
    let again = next(&mut feed).await;
    assert_eq!(body(&again), "body of a");
    assert_eq!(claim_one(&store, claim("a", 1, 1)).await, ClaimVerdict::Go);
}

#[tokio::test]
async fn a_parked_job_survives_the_process() {
    let place = Place::new();
    let mut job = parked("a", 3, NOW);
    job.passport.faulted = vec![esp(), "other".parse().unwrap()];
    job.passport.resend = true;
    job.passport.traceparent = Some("00-abc-def-01".to_owned());
    place.open().park(std::slice::from_ref(&job)).await.unwrap();
    let store = place.open();
    let batch = store.due(&up_to(10)).await.unwrap().unwrap();
    assert_eq!(batch.jobs()[0].passport, job.passport);
    assert_eq!((batch.jobs()[0].class, &batch.jobs()[0].domain), (job.class, &job.domain));
    let known = store.known(&[id("a"), id("b")]).await.unwrap();
    assert_eq!(known[0].as_ref().unwrap().state, "pending");
    assert_eq!(known[1], None);
    let resend = Claim { resend: true, ..claim("a", 3, 1) };
    assert_eq!(claim_one(&store, resend).await, ClaimVerdict::Go);
}
