//! Cases of `Ledger` and `Console`.

use std::time::Duration;

use bytes::Bytes;
use sluice_engine::{
    Claim, ClaimVerdict, DeadLetter, Due, Intent, NextStep, ParkVerdict, Parked, RecordVerdict,
    SuppressionEntry,
};
use sluice_types::{Category, JobId, JobState, Outcome, Refusal, RefusalReason, WaitReason};

use super::jobs::{accepted, claim, deferred, fresh_id, parked, record, send_for};
use super::store::{LATER, SOON, Store, up_to};

/// Only the first of two claims goes.
pub async fn a_new_job_is_claimed_once(store: Store) {
    let id = fresh_id("job");
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Go);
    let ClaimVerdict::InFlight { remaining } = store.claim_one(claim(&id)).await else {
        panic!("the second claim must see the first");
    };
    assert!(remaining > Duration::from_secs(8) && remaining <= Duration::from_secs(10), "{remaining:?}");
    assert_eq!(store.state(&id).await, "sending");
}

/// A call whose answer was lost may be repeated.
pub async fn a_repeated_call_finds_its_own_claim(store: Store) {
    let it = claim(&fresh_id("job"));
    assert_eq!(store.claim_one(it.clone()).await, ClaimVerdict::Go);
    assert_eq!(store.claim_one(it).await, ClaimVerdict::Go);
}

/// After a final result every claim is done, and the result can be repeated.
pub async fn a_final_job_is_done(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    assert_eq!(store.record_one(accepted(&id, 1)).await, RecordVerdict::Recorded);
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Done);
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts, job.esp.as_deref()), ("accepted", 1, Some("main")));
    assert_eq!(job.provider_message_id.as_deref(), Some("abc"));
}

/// The first body stands.
pub async fn another_body_under_the_same_id_is_a_conflict(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    let mut other = claim(&id);
    other.fingerprint = 8;
    assert_eq!(store.claim_one(other.clone()).await, ClaimVerdict::Conflict);
    store.record_one(accepted(&id, 1)).await;
    assert_eq!(store.claim_one(other).await, ClaimVerdict::Conflict);
}

/// An id is one tenant's job: another's claim moves nothing and learns nothing of it, whatever its number.
pub async fn a_job_of_another_tenant_under_the_same_id_is_a_conflict(store: Store) {
    let id = fresh_id("job");
    let theirs = |attempt| Claim { tenant: "acme".parse().unwrap(), attempt, ..claim(&id) };
    store.claim_one(claim(&id)).await;
    assert_eq!(store.claim_one(theirs(1)).await, ClaimVerdict::Conflict);
    store.record_one(deferred(&id, 1, LATER)).await;
    assert_eq!(store.claim_one(theirs(2)).await, ClaimVerdict::Conflict);
    assert_eq!(store.state(&id).await, "deferred");
    assert_eq!(store.claim_one(Claim { attempt: 2, ..claim(&id) }).await, ClaimVerdict::Go);
    store.record_one(accepted(&id, 2)).await;
    assert_eq!(store.claim_one(theirs(1)).await, ClaimVerdict::Conflict);
}

/// A second copy of the first publication has nothing to wait for once a later attempt is known, whatever became of it:
/// parked, it would come back as a number that is past.
pub async fn a_copy_whose_number_is_past_is_done(store: Store) {
    let id = fresh_id("job");
    let second = |ttl| Claim { attempt: 2, intent: send_for(ttl), ..claim(&id) };
    store.claim_one(claim(&id)).await;
    store.record_one(deferred(&id, 1, LATER)).await;
    assert_eq!(store.claim_one(second(Duration::from_secs(10))).await, ClaimVerdict::Go);
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Done, "in flight");
    let next = NextStep::Unsent(Box::new(parked(&id, LATER, WaitReason::EspLimit, 2)));
    store.record_one(record(&id, 2, None, next)).await;
    assert_eq!(store.claim_one(second(Duration::from_millis(40))).await, ClaimVerdict::Go);
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Done, "lapsed");
    assert_eq!(store.state(&id).await, "sending", "an old copy gives up on no claim");
    assert_eq!(store.claim_one(second(Duration::ZERO)).await, ClaimVerdict::Lost { attempt: 2 });
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Done, "unknown");
}

/// Not only a claim to send may be repeated.
pub async fn a_repeated_call_finds_what_it_closed(store: Store) {
    let expired = Intent::Close { state: JobState::Expired, category: Category::Expired };
    let it = Claim { intent: expired.clone(), ..claim(&fresh_id("job")) };
    assert_eq!(store.claim_one(it.clone()).await, ClaimVerdict::Closed);
    assert_eq!(store.claim_one(it.clone()).await, ClaimVerdict::Closed);
    assert_eq!(store.claim_one(Claim { token: it.token + 1, ..it }).await, ClaimVerdict::Done);
    store.console.suppress(&[suppression(None, "ada@gmail.com")]).await.unwrap();
    let it = claim(&fresh_id("job"));
    assert_eq!(store.claim_one(it.clone()).await, ClaimVerdict::Suppressed);
    assert_eq!(store.claim_one(it.clone()).await, ClaimVerdict::Suppressed);
    assert_eq!(store.claim_one(Claim { token: it.token + 1, ..it }).await, ClaimVerdict::Done);
}

/// Nobody knows whether a job in doubt was sent: it is closed only by a copy that may also send it again.
pub async fn a_job_in_doubt_closes_with_a_resend_only(store: Store) {
    let id = fresh_id("job");
    lapsed(&store, &id).await;
    let expired = Intent::Close { state: JobState::Expired, category: Category::Expired };
    let close = |resend| Claim { attempt: 2, resend, intent: expired.clone(), ..claim(&id) };
    assert_eq!(store.claim_one(close(false)).await, ClaimVerdict::Unknown { attempt: 1 });
    assert_eq!(store.claim_one(close(true)).await, ClaimVerdict::Closed);
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts), ("expired", 1));
}

/// The answer to its claim was lost, and nothing is sent before that is known.
pub async fn a_job_suppressed_before_its_claim_is_repeated_is_closed(store: Store) {
    let it = claim(&fresh_id("job"));
    assert_eq!(store.claim_one(it.clone()).await, ClaimVerdict::Go);
    store.console.suppress(&[suppression(None, "ada@gmail.com")]).await.unwrap();
    assert_eq!(store.claim_one(it.clone()).await, ClaimVerdict::Suppressed);
    let job = store.console.job(&it.id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts, job.attempt_list.len()), ("suppressed", 0, 0));
}

fn suppression(tenant: Option<&str>, recipient: &str) -> SuppressionEntry {
    SuppressionEntry {
        tenant: tenant.map(|name| name.parse().unwrap()),
        recipient: recipient.to_owned(),
        reason: "manual".to_owned(),
        source: "test".to_owned(),
        created_at: None,
    }
}

/// Case does not matter, and nothing is sent.
pub async fn a_suppressed_recipient_closes_the_job(store: Store) {
    assert_eq!(store.console.suppress(&[suppression(None, "ada@gmail.com")]).await.unwrap(), 1);
    let id = fresh_id("job");
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Suppressed);
    assert_eq!(store.state(&id).await, "suppressed");
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Done);
}

/// One tenant's suppressions are its own.
pub async fn a_suppression_of_one_tenant_concerns_no_other(store: Store) {
    store.console.suppress(&[suppression(Some("acme"), "ada@gmail.com")]).await.unwrap();
    assert_eq!(store.claim_one(claim(&fresh_id("job"))).await, ClaimVerdict::Go);
    let mut theirs = claim(&fresh_id("job"));
    theirs.tenant = "acme".parse().unwrap();
    assert_eq!(store.claim_one(theirs).await, ClaimVerdict::Suppressed);
}

/// A retry has the next number; a second copy of the first publication is a no-op meanwhile.
pub async fn a_deferred_job_waits_and_is_claimed_with_its_next_number(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    assert_eq!(store.record_one(deferred(&id, 1, SOON)).await, RecordVerdict::Recorded);
    assert_eq!(store.state(&id).await, "deferred");
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Done);
    let batch = store.ledger.due(&up_to(100)).await.unwrap().expect("the retry is due");
    assert_eq!(batch.jobs()[0].passport.attempt, 2);
    batch.published(std::slice::from_ref(&id)).await.unwrap();
    assert!(store.due_ids().await.is_empty());
    let mut second = claim(&id);
    second.attempt = 2;
    assert_eq!(store.claim_one(second.clone()).await, ClaimVerdict::Go);
    assert_eq!(store.record_one(accepted(&id, 2)).await, RecordVerdict::Recorded);
    second.token += 1;
    assert_eq!(store.claim_one(second).await, ClaimVerdict::Done);
    assert_eq!(store.console.job(&id).await.unwrap().unwrap().attempt_list.len(), 2);
}

async fn lapsed(store: &Store, id: &JobId) {
    let mut short = claim(id);
    short.intent = send_for(Duration::from_millis(40));
    assert_eq!(store.claim_one(short).await, ClaimVerdict::Go);
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(store.claim_one(claim(id)).await, ClaimVerdict::Lost { attempt: 1 });
}

/// Nobody knows what a worker did that went away: flagged, recorded, and sent again only on request.
pub async fn a_lapsed_claim_leaves_the_job_unknown(store: Store) {
    let id = fresh_id("job");
    lapsed(&store, &id).await;
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Unknown { attempt: 1 });
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.category.as_deref()), ("unknown", Some("worker_lost")));
    assert_eq!(job.attempt_list.len(), 1);
    assert_eq!(job.attempt_list[0].outcome, "unknown");
    let mut again = claim(&id);
    again.attempt = 2;
    assert_eq!(store.claim_one(again.clone()).await, ClaimVerdict::Unknown { attempt: 1 });
    again.resend = true;
    assert_eq!(store.claim_one(again).await, ClaimVerdict::Go);
}

/// The answer came after all.
pub async fn a_late_answer_settles_an_unknown_job(store: Store) {
    let id = fresh_id("job");
    lapsed(&store, &id).await;
    store.ledger.park(&[parked(&id, LATER, WaitReason::Unknown, 2)]).await.unwrap();
    assert_eq!(store.record_one(accepted(&id, 1)).await, RecordVerdict::Recorded);
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.pending), ("accepted", None));
}

/// Nor does the answer, or its repetition, take away that the job was in doubt.
pub async fn a_late_answer_stands_beside_the_attempt_that_was_given_up_on(store: Store) {
    let id = fresh_id("job");
    lapsed(&store, &id).await;
    store.record_one(accepted(&id, 1)).await;
    store.record_one(accepted(&id, 1)).await;
    let job = store.console.job(&id).await.unwrap().unwrap();
    let kept = job.attempt_list.iter().map(|it| (it.attempt, it.outcome.as_str(), it.category.as_deref()));
    let mut kept: Vec<_> = kept.collect();
    kept.sort_unstable();
    assert_eq!(kept, [(1, "accepted", None), (1, "unknown", Some("worker_lost"))]);
}

/// A worker that was given up on may not overwrite what came later.
pub async fn a_result_after_a_resend_is_not_ours(store: Store) {
    let id = fresh_id("job");
    lapsed(&store, &id).await;
    let mut again = claim(&id);
    (again.attempt, again.resend) = (2, true);
    assert_eq!(store.claim_one(again).await, ClaimVerdict::Go);
    assert_eq!(store.record_one(accepted(&id, 1)).await, RecordVerdict::NotOurs);
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts), ("sending", 2));
}

/// A claim that led to no call does not count.
pub async fn an_unsent_job_gets_its_number_back(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    let next = NextStep::Unsent(Box::new(parked(&id, SOON, WaitReason::EspLimit, 1)));
    assert_eq!(store.record_one(record(&id, 1, None, next)).await, RecordVerdict::Recorded);
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts, job.attempt_list.len()), ("deferred", 0, 0));
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Go);
}

/// A resend that led to no call leaves the job in doubt as it was: listed, and settled by the late answer.
pub async fn an_unsent_resend_leaves_the_job_in_doubt(store: Store) {
    let id = fresh_id("job");
    lapsed(&store, &id).await;
    let again = Claim { attempt: 2, resend: true, ..claim(&id) };
    assert_eq!(store.claim_one(again.clone()).await, ClaimVerdict::Go);
    let mut copy = parked(&id, LATER, WaitReason::EspLimit, 2);
    copy.passport.resend = true;
    let unsent = record(&id, 2, None, NextStep::Unsent(Box::new(copy)));
    assert_eq!(store.record_one(unsent.clone()).await, RecordVerdict::Recorded);
    assert_eq!(store.record_one(unsent.clone()).await, RecordVerdict::Recorded, "the call is repeated");
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts), ("unknown", 1));
    assert_eq!(store.claim_one(Claim { token: again.token + 1, ..again }).await, ClaimVerdict::Go);
    assert_eq!(store.record_one(unsent).await, RecordVerdict::Recorded);
    assert_eq!(store.record_one(accepted(&id, 1)).await, RecordVerdict::Recorded);
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.pending), ("accepted", None));
}

/// What may have been sent is not called cancelled.
pub async fn a_job_in_doubt_is_not_cancelled(store: Store) {
    let id = fresh_id("job");
    lapsed(&store, &id).await;
    let intent = Intent::Close { state: JobState::Cancelled, category: Category::Cancelled };
    let cancel = Claim { attempt: 2, resend: true, intent, ..claim(&id) };
    assert_eq!(store.claim_one(cancel).await, ClaimVerdict::Unknown { attempt: 1 });
    assert_eq!(store.state(&id).await, "unknown");
}

/// Closed without a call.
pub async fn a_closed_job_is_final(store: Store) {
    let id = fresh_id("job");
    let mut it = claim(&id);
    it.intent = Intent::Close { state: JobState::Expired, category: Category::Expired };
    assert_eq!(store.claim_one(it).await, ClaimVerdict::Closed);
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts, job.category.as_deref()), ("expired", 0, Some("expired")));
    assert_eq!(store.claim_one(claim(&id)).await, ClaimVerdict::Done);
}

/// A redelivered job that parks again changes nothing.
pub async fn parking_twice_keeps_the_first_row(store: Store) {
    let id = fresh_id("job");
    store.ledger.park(&[parked(&id, LATER, WaitReason::Scheduled, 1)]).await.unwrap();
    store.ledger.park(&[parked(&id, SOON, WaitReason::Retry, 1)]).await.unwrap();
    assert!(store.due_ids().await.is_empty());
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.pending.unwrap().reason.as_str()), ("pending", "scheduled"));
}

/// What an older copy left behind would be published under a number that is past, which nobody sends.
pub async fn a_copy_that_is_further_along_takes_the_place_of_an_older_one(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    store.record_one(deferred(&id, 1, SOON)).await;
    let batch = store.ledger.due(&up_to(100)).await.unwrap().unwrap();
    batch.published(std::slice::from_ref(&id)).await.unwrap();
    // The second copy of the first publication found the claim in flight, and is only parked now.
    store.ledger.park(&[parked(&id, LATER, WaitReason::InFlightElsewhere, 1)]).await.unwrap();
    // The retry finds a breaker open.
    store.ledger.park(&[parked(&id, SOON, WaitReason::BreakerOpen, 2)]).await.unwrap();
    store.ledger.park(&[parked(&id, LATER, WaitReason::InFlightElsewhere, 1)]).await.unwrap();
    let batch = store.ledger.due(&up_to(100)).await.unwrap().expect("the retry is parked");
    assert_eq!(batch.jobs()[0].passport.attempt, 2);
    batch.published(std::slice::from_ref(&id)).await.unwrap();
    let mut again = claim(&id);
    again.attempt = 2;
    assert_eq!(store.claim_one(again).await, ClaimVerdict::Go);
}

/// A number that was given back unsent is claimed again. A record of the first claim whose answer was lost comes twice.
pub async fn a_repeated_record_does_not_settle_a_later_claim(store: Store) {
    let id = fresh_id("job");
    let (mut first, mut second) = (claim(&id), claim(&id));
    (first.token, second.token) = (1, 2);
    store.claim_one(first).await;
    let mut unsent =
        record(&id, 1, None, NextStep::Unsent(Box::new(parked(&id, SOON, WaitReason::BreakerOpen, 1))));
    unsent.token = Some(1);
    assert_eq!(store.record_one(unsent.clone()).await, RecordVerdict::Recorded);
    assert_eq!(store.claim_one(second).await, ClaimVerdict::Go);
    store.record_one(unsent).await;
    assert_eq!(store.state(&id).await, "sending", "the second claim stands");
    let mut sent = accepted(&id, 1);
    sent.token = Some(2);
    assert_eq!(store.record_one(sent).await, RecordVerdict::Recorded);
}

/// Two relays never publish the same row, and a crash between loses nothing.
pub async fn what_is_due_is_hidden_until_it_is_published_or_dropped(store: Store) {
    let (one, two) = (fresh_id("one"), fresh_id("two"));
    store.ledger.park(&[parked(&one, SOON, WaitReason::Retry, 1)]).await.unwrap();
    store.ledger.park(&[parked(&two, SOON, WaitReason::Retry, 3)]).await.unwrap();
    let batch = store.ledger.due(&up_to(100)).await.unwrap().unwrap();
    assert_eq!(batch.jobs().len(), 2);
    assert!(store.due_ids().await.is_empty(), "hidden while it is held");
    drop(batch);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let batch = store.ledger.due(&up_to(100)).await.unwrap().expect("visible again");
    let job = batch.jobs().iter().find(|job| job.id == two).unwrap();
    assert_eq!(
        (job.passport.attempt, job.domain.as_str(), &job.body[..]),
        (3, "gmail.com", &b"{\"v\":1}"[..])
    );
    assert_eq!(job.passport.first_seen, Some(sluice_types::Timestamp::from_micros(1_000_000)));
    batch.published(std::slice::from_ref(&one)).await.unwrap();
    assert_eq!(store.due_ids().await, vec![two]);
}

/// What is final needs no copy.
pub async fn a_final_result_removes_the_parked_copy(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    store.ledger.park(&[parked(&id, LATER, WaitReason::InFlightElsewhere, 1)]).await.unwrap();
    store.record_one(accepted(&id, 1)).await;
    assert_eq!(store.console.job(&id).await.unwrap().unwrap().pending, None);
}

/// A copy that waited for the claim of a job that is final by now has nothing to wait for.
pub async fn a_copy_of_a_final_job_is_not_parked(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    store.record_one(accepted(&id, 1)).await;
    store.ledger.park(&[parked(&id, LATER, WaitReason::InFlightElsewhere, 1)]).await.unwrap();
    assert_eq!(store.console.job(&id).await.unwrap().unwrap().pending, None);
}

/// The first body stands, and the other is not silently dropped.
pub async fn another_body_under_a_parked_id_is_a_conflict(store: Store) {
    let id = fresh_id("job");
    let first = parked(&id, LATER, WaitReason::GroupLimit, 1);
    let mut second = first.clone();
    second.body = Bytes::from_static(b"{\"v\":1,\"subject\":\"other\"}");
    assert_eq!(store.ledger.park(std::slice::from_ref(&first)).await.unwrap(), [ParkVerdict::Parked]);
    let good = parked(&fresh_id("good"), LATER, WaitReason::GroupLimit, 1);
    let verdicts = store.ledger.park(&[second, good]).await.unwrap();
    assert_eq!(verdicts, [ParkVerdict::Conflict, ParkVerdict::Parked]);
    assert_eq!(store.ledger.park(&[first]).await.unwrap(), [ParkVerdict::Parked]);
    // A copy that waits for a slot outlives the job: only its claim can tell whether it is the same job.
    store.claim_one(claim(&id)).await;
    store.record_one(accepted(&id, 1)).await;
    assert!(store.console.job(&id).await.unwrap().unwrap().pending.is_some());
}

/// A job that waits again takes the place of a copy with another body, which becomes a dead letter.
pub async fn another_body_makes_room_for_the_first(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    let other = b"{\"v\":1,\"subject\":\"other\"}";
    let copy = Parked { body: Bytes::from_static(other), ..parked(&id, LATER, WaitReason::GroupLimit, 1) };
    assert_eq!(store.ledger.park(&[copy]).await.unwrap(), [ParkVerdict::Parked]);
    assert_eq!(store.record_one(deferred(&id, 1, SOON)).await, RecordVerdict::Recorded);
    assert_eq!(store.record_one(deferred(&id, 1, SOON)).await, RecordVerdict::Recorded, "repeated");
    let batch = store.ledger.due(&up_to(100)).await.unwrap().expect("the retry is due");
    assert_eq!((batch.jobs()[0].passport.attempt, &batch.jobs()[0].body[..]), (2, &b"{\"v\":1}"[..]));
    let letters = store.console.dead_list(None, 10).await.unwrap();
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.reason.as_str(), letter.field.as_str()), ("id_conflict", "id"));
    let (_, body) = store.console.dead_show(letter.id).await.unwrap().unwrap();
    assert_eq!(&body[..], other);
}

/// One that a relay is publishing becomes a dead letter at its claim, and not here too.
pub async fn another_body_on_its_way_makes_room_by_itself(store: Store) {
    let id = fresh_id("job");
    store.claim_one(claim(&id)).await;
    let other = Bytes::from_static(b"{\"v\":1,\"subject\":\"other\"}");
    let copy = Parked { body: other, ..parked(&id, SOON, WaitReason::GroupLimit, 1) };
    store.ledger.park(&[copy]).await.unwrap();
    let batch = store.ledger.due(&up_to(100)).await.unwrap().expect("it is due");
    let publish = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        batch.published(std::slice::from_ref(&id)).await.unwrap();
    };
    let (recorded, ()) = tokio::join!(store.record_one(deferred(&id, 1, LATER)), publish);
    assert_eq!(recorded, RecordVerdict::Recorded);
    assert!(store.console.dead_list(None, 10).await.unwrap().is_empty());
    let pending = store.console.job(&id).await.unwrap().unwrap().pending.expect("the retry is parked");
    assert_eq!(pending.reason, "retry");
}

/// Until somebody says so.
pub async fn a_held_job_is_never_due(store: Store) {
    let id = fresh_id("job");
    store.ledger.park(&[parked(&id, Due::Held, WaitReason::Unknown, 2)]).await.unwrap();
    assert!(store.due_ids().await.is_empty());
    assert_eq!(store.console.job(&id).await.unwrap().unwrap().pending.unwrap().due_at, None);
    assert_eq!(store.console.status().await.unwrap().pending.get("unknown"), Some(&1));
}

/// Sorting inside must not show outside.
pub async fn a_batch_of_claims_answers_in_order(store: Store) {
    let ids: Vec<JobId> = (0..200).map(|_| fresh_id("job")).collect();
    let first: Vec<_> = ids.iter().step_by(2).map(claim).collect();
    assert!(store.ledger.claim(&first).await.unwrap().iter().all(|verdict| *verdict == ClaimVerdict::Go));
    let all: Vec<_> = ids.iter().map(claim).collect();
    for (i, verdict) in store.ledger.claim(&all).await.unwrap().into_iter().enumerate() {
        if i % 2 == 0 {
            assert!(matches!(verdict, ClaimVerdict::InFlight { .. }), "{i}: {verdict:?}");
        } else {
            assert_eq!(verdict, ClaimVerdict::Go, "{i}");
        }
    }
    let records: Vec<_> = ids.iter().rev().map(|id| accepted(id, 1)).collect();
    assert!(
        store
            .ledger
            .record(&records)
            .await
            .unwrap()
            .iter()
            .all(|verdict| *verdict == RecordVerdict::Recorded)
    );
    assert_eq!(store.console.status().await.unwrap().jobs.get("accepted"), Some(&200));
}

/// Some were never claimed, so they are nobody's: the others are told apart from them.
pub async fn a_batch_of_records_answers_in_order(store: Store) {
    let ids: Vec<JobId> = (0..20).map(|_| fresh_id("job")).collect();
    let claims: Vec<_> = ids.iter().step_by(2).map(claim).collect();
    assert!(store.ledger.claim(&claims).await.unwrap().iter().all(|verdict| *verdict == ClaimVerdict::Go));
    let records: Vec<_> = ids.iter().map(|id| accepted(id, 1)).collect();
    for (i, verdict) in store.ledger.record(&records).await.unwrap().into_iter().enumerate() {
        let ours = if i % 2 == 0 { RecordVerdict::Recorded } else { RecordVerdict::NotOurs };
        assert_eq!(verdict, ours, "{i}");
    }
    assert_eq!(store.console.status().await.unwrap().jobs.get("accepted"), Some(&10));
}

fn dead_letter(body: &'static [u8]) -> DeadLetter {
    DeadLetter {
        job_id: Some("job-1".to_owned()),
        lane: "default.bulk.gmail".parse().unwrap(),
        refusal: Refusal::new(RefusalReason::MissingField, "to", "is required"),
        body: Bytes::from_static(body),
    }
}

/// For a person to look at.
pub async fn dead_letters_are_kept_shown_and_dropped(store: Store) {
    store.ledger.refuse(&[dead_letter(b"\xff\x00 not text"), dead_letter(b"")]).await.unwrap();
    let letters = store.console.dead_list(None, 10).await.unwrap();
    assert_eq!(letters.len(), 2);
    assert_eq!((letters[0].reason.as_str(), letters[0].field.as_str()), ("missing_field", "to"));
    assert!(store.console.dead_list(Some("template"), 10).await.unwrap().is_empty());
    let binary = letters.iter().find(|letter| letter.body_bytes > 0).unwrap();
    let (_, body) = store.console.dead_show(binary.id).await.unwrap().unwrap();
    assert_eq!(&body[..], b"\xff\x00 not text");
    assert_eq!(store.console.dead_drop(&[binary.id, -5]).await.unwrap(), 1);
    assert!(store.console.dead_show(binary.id).await.unwrap().is_none());
    assert_eq!(store.console.status().await.unwrap().dead.get("missing_field"), Some(&1));
}

/// Adding twice adds once.
pub async fn suppressions_are_listed_and_removed(store: Store) {
    let (all, acme) = (suppression(None, "ada@gmail.com"), suppression(Some("acme"), "bob@gmail.com"));
    assert_eq!(store.console.suppress(&[all.clone(), acme.clone()]).await.unwrap(), 2);
    let since = |entries: Vec<SuppressionEntry>| {
        let mut since: Vec<_> = entries.into_iter().map(|it| (it.recipient, it.created_at)).collect();
        since.sort();
        since
    };
    let before = since(store.console.suppressions(10).await.unwrap());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(store.console.suppress(&[all]).await.unwrap(), 0);
    assert_eq!(since(store.console.suppressions(10).await.unwrap()), before, "it keeps its date");
    let bob = ["bob@gmail.com".to_owned()];
    assert_eq!(store.console.unsuppress(None, &bob).await.unwrap(), 0);
    assert_eq!(store.console.unsuppress(acme.tenant.as_ref(), &bob).await.unwrap(), 1);
    let left = store.console.suppressions(10).await.unwrap();
    assert_eq!((left.len(), left[0].recipient.as_str(), &left[0].tenant), (1, "ada@gmail.com", &None));
    assert!(left[0].created_at.is_some());
}

/// For answering `duplicate` at the door, or `id_conflict`.
pub async fn known_jobs_are_told_apart(store: Store) {
    let (sent, waiting, new) = (fresh_id("sent"), fresh_id("waiting"), fresh_id("new"));
    store.claim_one(claim(&sent)).await;
    let copy = parked(&waiting, LATER, WaitReason::Scheduled, 1);
    let body = copy.body.clone();
    store.ledger.park(&[copy, parked(&sent, LATER, WaitReason::CampaignPaused, 1)]).await.unwrap();
    let known = store.console.known(&[new, sent, waiting]).await.unwrap();
    assert_eq!(known[0], None);
    assert_eq!(known[1].as_ref().unwrap().fingerprint, Some(7));
    let waiting = known[2].as_ref().unwrap();
    assert_eq!(waiting.state, "pending");
    assert_eq!(waiting.fingerprint, Some(sluice_types::fingerprint(&body)), "it is told from another body");
}

/// What `sluice why` tells.
pub async fn a_job_is_shown_with_its_attempts(store: Store) {
    let id = fresh_id("job");
    assert_eq!(store.console.job(&id).await.unwrap(), None);
    store.claim_one(claim(&id)).await;
    store.record_one(deferred(&id, 1, LATER)).await;
    let job = store.console.job(&id).await.unwrap().unwrap();
    assert_eq!((job.state.as_str(), job.attempts, job.class.as_str()), ("deferred", 1, "bulk"));
    let attempt = &job.attempt_list[0];
    assert_eq!((attempt.outcome.as_str(), attempt.category.as_deref()), ("deferred", Some("temporary")));
    assert!(attempt.started_at.starts_with("2026-11-24T12:00:00"), "{}", attempt.started_at);
    let pending = job.pending.unwrap();
    assert_eq!(pending.reason, "retry");
    assert!(pending.due_at.unwrap().starts_with("20"));
}

/// SQL is parameterised; what a database cannot keep does not poison the batch.
pub async fn hostile_text_is_kept_as_it_is(store: Store) {
    let (bad, good) = (fresh_id("bad"), fresh_id("good"));
    store.ledger.claim(&[claim(&bad), claim(&good)]).await.unwrap();
    let detail = "'; drop table sluice.job; -- {} \\ \u{1F600} \" NULL".to_owned();
    let outcome = Outcome::Rejected { category: Category::Content, detail: detail.clone() };
    let next = NextStep::Final { state: JobState::Rejected, category: Some(Category::Content) };
    let verdicts =
        store.ledger.record(&[record(&bad, 1, Some(outcome), next), accepted(&good, 1)]).await.unwrap();
    assert_eq!(verdicts, vec![RecordVerdict::Recorded; 2]);
    assert_eq!(store.console.job(&bad).await.unwrap().unwrap().detail, Some(detail));
}
