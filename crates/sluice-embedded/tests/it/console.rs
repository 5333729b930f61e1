//! Answers for people, and text that means harm.

use std::sync::Arc;

use bytes::Bytes;
use sluice_engine::{
    Burial, Claim, ClaimVerdict, Console, DeadLetter, Due, Inbox, Ledger, NextStep, Outbox, Publication,
    SuppressionEntry,
};
use sluice_types::{Campaign, Category, JobState, Outcome, Refusal, RefusalReason, Tenant};

use crate::support::*;

const LANE: &str = "default.bulk.gmail";
const HOSTILE: [&str; 6] = [
    "'; drop table job; --",
    "\" or 1=1 --",
    "nul \0 in the middle",
    "line\r\nbreak\u{85}\u{2028}",
    "\u{202e}right to left \u{1f4a3}",
    "%s ?1 :name @x $y \\",
];

fn dead(reason: RefusalReason, text: &str, body: Vec<u8>) -> DeadLetter {
    DeadLetter {
        job_id: Some(text.to_owned()),
        lane: lane(LANE),
        // As one could be that was not made by `Refusal::new`.
        refusal: Refusal { reason, field: text.to_owned(), detail: text.to_owned() },
        body: Bytes::from(body),
    }
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_dropped() {
    let place = Place::new();
    let store = place.open();
    let first = dead(RefusalReason::NotJson, "x", b"{".to_vec());
    let second = DeadLetter { job_id: None, ..dead(RefusalReason::TooLarge, "y", vec![b'z'; 300_000]) };
    store.refuse(&[first, second]).await.unwrap();
    let all = store.dead_list(None, 10).await.unwrap();
    assert_eq!(all.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>(), ["too_large", "not_json"]);
    assert_eq!((all[0].job_id.as_deref(), all[0].body_bytes), (None, 300_000));
    assert_eq!(all[1].received_at, "2023-11-14T22:13:20Z");
    assert_eq!(store.dead_list(None, 1).await.unwrap().len(), 1);
    let narrowed = store.dead_list(Some("not_json"), 10).await.unwrap();
    assert_eq!(narrowed, all[1..]);
    let (view, body) = store.dead_show(narrowed[0].id).await.unwrap().unwrap();
    assert_eq!((view, &body[..]), (narrowed[0].clone(), &b"{"[..]));
    assert_eq!(store.dead_drop(&[narrowed[0].id, 999]).await.unwrap(), 1);
    assert_eq!(store.dead_show(narrowed[0].id).await.unwrap(), None);
    let burial = Burial {
        job_id: None,
        refusal: Refusal::new(RefusalReason::NotJson, "", "x"),
        lane: lane(LANE),
        body: Bytes::new(),
        traceparent: None,
    };
    assert!(store.bury(vec![burial]).await[0].is_ok());
}

#[tokio::test]
async fn status_counts_by_word() {
    let place = Place::new();
    let store = place.open();
    for (job, token) in [("a", 1), ("b", 2), ("c", 3)] {
        claim_one(&store, claim(job, 1, token)).await;
    }
    record_one(&store, accept("a", 1)).await;
    record_one(&store, accept("b", 1)).await;
    store.park(&[parked("d", 1, Due::Held)]).await.unwrap();
    store.refuse(&[dead(RefusalReason::NotJson, "x", Vec::new())]).await.unwrap();
    let status = store.status().await.unwrap();
    assert_eq!(status.jobs.get("accepted"), Some(&2));
    assert_eq!(status.jobs.get("sending"), Some(&1));
    assert_eq!(status.pending.get("retry"), Some(&1));
    assert_eq!(status.dead.get("not_json"), Some(&1));
    assert_eq!(status.suppressions, 0);
}

#[tokio::test]
async fn a_job_shows_its_attempts_and_its_parked_copy() {
    let place = Place::new();
    let store = place.open();
    assert_eq!(store.job(&id("a")).await.unwrap(), None);
    store.park(&[parked("a", 1, Due::Held)]).await.unwrap();
    let view = store.job(&id("a")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.attempts), ("pending", 0));
    assert_eq!(view.pending.as_ref().unwrap().due_at, None);

    let with_campaign = Claim { campaign: Some(Campaign::new("spring").unwrap()), ..claim("b", 1, 1) };
    claim_one(&store, with_campaign).await;
    let next = NextStep::Final { state: JobState::Rejected, category: Some(Category::Policy) };
    let outcome = Outcome::Rejected { category: Category::Policy, detail: "blocked".to_owned() };
    record_one(&store, record("b", 1, Some(outcome), next)).await;
    let view = store.job(&id("b")).await.unwrap().unwrap();
    assert_eq!((view.state.as_str(), view.campaign.as_deref()), ("rejected", Some("spring")));
    assert_eq!(view.attempt_list[0].detail.as_deref(), Some("blocked"));
    assert_eq!(view.attempt_list[0].started_at, "1970-01-01T00:00:00.00001Z");
    let known = store.known(&[id("b")]).await.unwrap().pop().unwrap().unwrap();
    assert_eq!((known.fingerprint, known.state.as_str()), (Some(1), "rejected"));
}

#[tokio::test]
async fn suppressions_are_listed_newest_first() {
    let place = Place::new();
    let store = place.open();
    for (n, tenant) in [None, Some(Tenant::new("acme").unwrap())].into_iter().enumerate() {
        place.clock.advance(std::time::Duration::from_secs(1));
        let entry = SuppressionEntry {
            tenant,
            recipient: format!("u{n}@x.example"),
            reason: "bounce".to_owned(),
            source: "api".to_owned(),
            created_at: None,
        };
        store.suppress(&[entry]).await.unwrap();
    }
    let all = store.suppressions(10).await.unwrap();
    assert_eq!(
        all.iter().map(|one| one.recipient.as_str()).collect::<Vec<_>>(),
        ["u1@x.example", "u0@x.example"]
    );
    assert_eq!(all[0].tenant.as_ref().map(Tenant::as_str), Some("acme"));
    assert!(all[0].created_at > all[1].created_at);
    assert_eq!(store.suppressions(1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn hostile_text_comes_back_as_it_was() {
    let place = Place::new();
    let store: Arc<_> = place.open();
    for (n, text) in HOSTILE.into_iter().enumerate() {
        let n = i64::try_from(n).unwrap();
        store.refuse(&[dead(RefusalReason::InvalidValue, text, text.into())]).await.unwrap();
        let view = store.dead_list(None, 1).await.unwrap().pop().unwrap();
        assert_eq!((view.field.as_str(), view.job_id.as_deref()), (text, Some(text)));
        assert_eq!(store.dead_list(Some(text), 9).await.unwrap(), []);

        let job = format!("h{n}");
        assert_eq!(claim_one(&store, claim(&job, 1, n)).await, ClaimVerdict::Go);
        let outcome = Outcome::Faulted { category: Category::Connect, detail: text.to_owned() };
        let mut waits = parked(&job, 2, Due::InLine);
        waits.limit_key = Some(text.to_owned());
        waits.domain = text.to_owned();
        record_one(&store, record(&job, 1, Some(outcome), NextStep::Retry(Box::new(waits)))).await;
        let view = store.job(&id(&job)).await.unwrap().unwrap();
        assert_eq!(view.detail.as_deref(), Some(text));
        assert_eq!(view.pending.unwrap().limit_key.as_deref(), Some(text));

        let entry = SuppressionEntry {
            tenant: None,
            recipient: text.to_owned(),
            reason: text.to_owned(),
            source: text.to_owned(),
            created_at: None,
        };
        store.suppress(&[entry]).await.unwrap();
        assert_eq!(store.unsuppress(None, &[text.to_owned()]).await.unwrap(), 1);
    }
    let bodies: Vec<Publication> = [&b"\xff\xfe\0"[..], b"", b"'; --"]
        .into_iter()
        .enumerate()
        .map(|(n, body)| Publication {
            body: Bytes::from_static(body),
            ..publication(&format!("b{n}"), LANE)
        })
        .collect();
    store.publish(bodies.clone()).await;
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    for sent in bodies {
        assert_eq!(next(&mut feed).await.body, sent.body);
    }
}
