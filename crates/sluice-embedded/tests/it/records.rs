//! Results, and the guard that keeps a late one from undoing a newer.

use std::time::Duration;

use sluice_engine::{ClaimVerdict, Console, Due, Ledger, NextStep, RecordVerdict};
use sluice_types::Outcome;

use crate::support::*;

#[tokio::test]
async fn an_accepted_job_is_final_and_leaves_nothing_parked() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    store.park(&[parked("a", 1, Due::Held)]).await.unwrap();
    assert_eq!(record_one(&store, accept("a", 1)).await, RecordVerdict::Recorded);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.provider_message_id.as_deref()), ("accepted", Some("pm-1")));
    assert_eq!(view.pending, None);
    assert_eq!(view.attempt_list.len(), 1);
    // A repeated call is told the same.
    assert_eq!(record_one(&store, accept("a", 1)).await, RecordVerdict::Recorded);
    assert_eq!(store.job(&id("a")).await.unwrap().unwrap(), view);
}

#[tokio::test]
async fn a_retry_waits_in_pending_with_its_body() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    let retry = NextStep::Retry(Box::new(parked("a", 2, Due::In(Duration::from_secs(30)))));
    let verdict = record_one(&store, record("a", 1, Some(faulted()), retry)).await;
    assert_eq!(verdict, RecordVerdict::Recorded);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.category.as_deref()), ("deferred", Some("connect")));
    assert_eq!(view.pending.unwrap().reason, "retry");
    assert_eq!(due_ids(&store).await, Vec::<String>::new());
    place.clock.advance(Duration::from_secs(30));
    let batch = store.due(&up_to(10)).await.unwrap().unwrap();
    assert_eq!(batch.jobs()[0].passport.attempt, 2);
    assert_eq!(batch.jobs()[0].body, "body of a");
}

#[tokio::test]
async fn a_job_given_back_unsent_has_no_attempt_more() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    let unsent = NextStep::Unsent(Box::new(parked("a", 1, Due::Held)));
    assert_eq!(record_one(&store, record("a", 1, None, unsent)).await, RecordVerdict::Recorded);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts, view.attempt_list.len()), ("deferred", 0, 0));
    assert_eq!(claim_one(&store, claim("a", 1, 2)).await, ClaimVerdict::Go);
}

#[tokio::test]
async fn a_result_that_is_not_ours_keeps_the_attempt_only() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    place.clock.advance(TTL);
    claim_one(&store, claim("a", 1, 2)).await;
    // The claim was lost; the late result wants a retry, which nobody may grant any more.
    let retry = NextStep::Retry(Box::new(parked("a", 2, Due::Held)));
    let verdict = record_one(&store, record("a", 1, Some(faulted()), retry)).await;
    assert_eq!(verdict, RecordVerdict::NotOurs);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.pending), ("unknown", None));
    // What really happened, beside that nobody knew.
    let mut outcomes: Vec<_> = view.attempt_list.iter().map(|it| it.outcome.as_str()).collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["faulted", "unknown"]);
}

#[tokio::test]
async fn a_late_final_result_settles_an_unknown_job() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    place.clock.advance(TTL);
    claim_one(&store, claim("a", 1, 2)).await;
    store.park(&[parked("a", 1, Due::Held)]).await.unwrap();
    assert_eq!(record_one(&store, accept("a", 1)).await, RecordVerdict::Recorded);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.pending), ("accepted", None));
    // Of another attempt it would not.
    claim_one(&store, claim("b", 1, 3)).await;
    assert_eq!(record_one(&store, accept("b", 2)).await, RecordVerdict::NotOurs);
}

#[tokio::test]
async fn an_unknown_outcome_keeps_the_body() {
    let place = Place::new();
    let store = place.open();
    claim_one(&store, claim("a", 1, 1)).await;
    let lost = Outcome::Unknown { detail: "connection reset".to_owned() };
    let next = NextStep::Unknown(Box::new(parked("a", 2, Due::Held)));
    assert_eq!(record_one(&store, record("a", 1, Some(lost), next)).await, RecordVerdict::Recorded);
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.category.as_deref()), ("unknown", Some("answer_lost")));
    assert_eq!(view.pending.unwrap().due_at, None);
}

#[tokio::test]
async fn one_bad_request_does_not_undo_the_others() {
    let place = Place::new();
    let store = place.open();
    let other = rusqlite::Connection::open(place.path()).unwrap();
    let trigger = "create trigger picky before insert on pending when new.job_id = 'bad'
                   begin select raise(abort, 'not this one'); end";
    other.execute_batch(trigger).unwrap();
    // While another process writes, requests gather and go into one transaction.
    other.execute_batch("begin immediate").unwrap();
    let batch = |job: &str| [parked("fine", 1, Due::Held), parked(job, 1, Due::Held)];
    let (first, bad, good) = ([parked("first", 1, Due::Held)], batch("bad"), batch("good"));
    let release = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        other.execute_batch("commit").unwrap();
    };
    let (first, bad, good, ()) =
        tokio::join!(store.park(&first), store.park(&bad), store.park(&good), release);
    assert!(matches!(bad, Err(sluice_engine::LedgerError::Refused(_))), "{bad:?}");
    assert!(first.is_ok() && good.is_ok());
    let known = store.known(&[id("first"), id("bad"), id("fine"), id("good")]).await.unwrap();
    assert_eq!(known.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true, true]);
}
