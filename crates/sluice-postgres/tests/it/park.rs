//! Parking.

use std::time::Duration;

use bytes::Bytes;
use sluice_engine::{Due, Ledger, NextStep, ParkVerdict, Parked, Passport};
use sluice_types::{Campaign, EspId, WaitReason};
use tokio::time::timeout;

use crate::fixture::{
    Fixture, MINUTE, NOON, claim, claim_one, from_line, id, parked, record, record_one, up_to,
};

#[tokio::test]
async fn a_parked_job_keeps_its_first_row() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let twice = [
        parked("j", 1, Due::In(MINUTE), WaitReason::GroupLimit),
        parked("j", 1, Due::Held, WaitReason::Unknown),
    ];
    a.park(&twice).await.unwrap();
    a.park(&[parked("j", 1, Due::In(Duration::ZERO), WaitReason::Retry)]).await.unwrap();
    assert_eq!(fixture.pending("j").await, "group_limit/1/{}");
    assert!(a.due(&up_to(10)).await.unwrap().is_none());
}

#[tokio::test]
async fn everything_parked_comes_back() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let passport = Passport {
        attempt: 3,
        first_seen: Some(NOON),
        faulted: vec![EspId::new("main").unwrap(), EspId::new("spare-1").unwrap()],
        resend: true,
        renewals: 0,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    let job = Parked {
        campaign: Some(Campaign::new("spring").unwrap()),
        limit_key: Some("group:gmail/per:s".to_owned()),
        body: Bytes::from_static(b"\0\xff{}"),
        passport: passport.clone(),
        ..parked("j", 3, Due::At(NOON), WaitReason::GroupLimit)
    };
    a.park(&[job]).await.unwrap();
    // It is due at noon of a day that may lie ahead.
    fixture.sql().await.batch_execute("update sluice.pending set due_at = now()").await.unwrap();
    let batch = a.due(&up_to(10)).await.unwrap().unwrap();
    let [back] = batch.jobs() else { panic!("one job") };
    assert_eq!((back.id.clone(), back.domain.as_str()), (id("j"), "gmail.com"));
    assert_eq!(back.body.as_ref(), b"\0\xff{}");
    assert_eq!(back.passport, passport);
}

#[tokio::test]
async fn the_due_time_is_the_stores() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let jobs = [
        parked("in", 1, Due::In(MINUTE), WaitReason::Retry),
        parked("at", 1, Due::At(NOON), WaitReason::Scheduled),
        parked("held", 1, Due::Held, WaitReason::Unknown),
        parked("ever", 1, Due::In(Duration::MAX), WaitReason::Retry),
    ];
    a.park(&jobs).await.unwrap();
    for (job, due) in [
        ("in", "due_at between now() + interval '50 s' and now() + interval '60 s'"),
        ("at", "due_at = '2026-11-24T12:00:00Z'"),
        ("held", "due_at is null"),
        ("ever", "due_at > now() + interval '90 years'"),
    ] {
        let query = format!("select ({due})::text from sluice.pending where job_id = '{job}'");
        assert_eq!(fixture.text(&query).await, "true", "{job}");
    }
}

/// A relay has published a job and is about to delete its row when the worker that got the copy parks it again.
#[tokio::test]
async fn a_job_parked_again_while_its_relay_still_holds_the_row_is_not_lost() {
    let fixture = Fixture::new().await;
    let (relay, worker) = (fixture.worker("relay"), fixture.worker("worker"));
    relay.park(&[parked("j", 1, Due::In(Duration::ZERO), WaitReason::GroupLimit)]).await.unwrap();
    let batch = relay.due(&up_to(10)).await.unwrap().unwrap();
    let again =
        tokio::spawn(
            async move { worker.park(&[parked("j", 1, Due::In(MINUTE), WaitReason::EspLimit)]).await },
        );
    assert!(
        timeout(Duration::from_millis(300), async {
            while !again.is_finished() {
                tokio::task::yield_now().await
            }
        })
        .await
        .is_err()
    );
    batch.published(&[id("j")]).await.unwrap();
    again.await.unwrap().unwrap();
    assert_eq!(fixture.pending("j").await, "esp_limit/1/{}");
}

/// The same with another body: it is parked when the row goes, and a conflict when that stays, but never both or neither.
#[tokio::test]
async fn another_body_under_a_row_that_a_relay_holds_is_parked_or_a_conflict() {
    for (is_published, verdict, is_other) in
        [(true, ParkVerdict::Parked, "true"), (false, ParkVerdict::Conflict, "false")]
    {
        let fixture = Fixture::new().await;
        let (relay, worker) = (fixture.worker("relay"), fixture.worker("worker"));
        relay.park(&[parked("j", 1, Due::In(Duration::ZERO), WaitReason::GroupLimit)]).await.unwrap();
        let batch = relay.due(&up_to(10)).await.unwrap().unwrap();
        let other = Parked {
            body: bytes::Bytes::from_static(b"other"),
            ..parked("j", 1, Due::In(MINUTE), WaitReason::EspLimit)
        };
        let park = tokio::spawn(async move { worker.park(&[other]).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!park.is_finished(), "it waits for the relay");
        let published = if is_published { vec![id("j")] } else { Vec::new() };
        batch.published(&published).await.unwrap();
        assert_eq!(park.await.unwrap().unwrap(), [verdict], "published: {is_published}");
        let query = "select (body = 'other')::text from sluice.pending";
        assert_eq!(fixture.text(query).await, is_other, "published: {is_published}");
    }
}

/// It would wait for ever.
#[tokio::test]
async fn a_job_in_no_line_is_due_at_once() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    a.park(&[parked("j", 1, Due::InLine, WaitReason::GroupLimit)]).await.unwrap();
    assert_eq!(a.due(&up_to(10)).await.unwrap().unwrap().jobs().len(), 1);
}

/// A record parks like anybody else.
#[tokio::test]
async fn a_record_puts_a_job_in_line() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    claim_one(&a, claim("j", 1)).await;
    let in_line =
        Parked { limit_key: Some("k".to_owned()), ..parked("j", 1, Due::InLine, WaitReason::GroupLimit) };
    record_one(&a, record("j", 1, None, NextStep::Unsent(Box::new(in_line)))).await;
    let batch = a.release(&from_line("k", 1)).await.unwrap().unwrap();
    assert_eq!((batch.jobs()[0].id.clone(), batch.jobs()[0].group.as_str()), (id("j"), "gmail"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn copies_of_the_same_jobs_may_be_parked_at_once() {
    let fixture = Fixture::new().await;
    let tasks = (0..4).map(|n| {
        let worker = fixture.worker(&format!("w{n}"));
        tokio::spawn(async move {
            let mut batch: Vec<_> =
                (0..200).map(|job| parked(&format!("j{job}"), 1, Due::Held, WaitReason::Unknown)).collect();
            let turn = batch.len() / 4 * n;
            batch.rotate_left(turn);
            worker.park(&batch).await.unwrap()
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap().iter().all(|verdict| *verdict == ParkVerdict::Parked));
    }
    assert_eq!(fixture.text("select count(*)::text from sluice.pending").await, "200");
}
