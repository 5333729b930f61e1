//! `sluice dead`. The dead letters are put where a worker would put them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_embedded::{Embedded, EmbeddedSettings};
use sluice_engine::{
    Claim, ClaimVerdict, Clock, DeadLetter, Due, DueQuery, Inbox, Intent, Ledger, NextStep, Parked, Passport,
    Record, RecordVerdict, SystemClock,
};
use sluice_types::{Category, Job, Outcome, Refusal, RefusalReason, WaitReason};

use crate::rig::{Rig, job_line};

fn letter(reason: RefusalReason, body: impl Into<Bytes>) -> DeadLetter {
    DeadLetter {
        job_id: None,
        lane: "default.bulk.gmail".parse().unwrap(),
        refusal: Refusal::new(reason, "pool", "no such pool is configured"),
        body: body.into(),
    }
}

/// A folder whose store holds these, numbered from 1.
fn rig(letters: &[DeadLetter]) -> Rig {
    let rig = Rig::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Embedded::open_client(&rig.store()).unwrap();
        store.refuse(letters).await.unwrap();
        store.close().await;
    });
    rig
}

fn three() -> Rig {
    rig(&[
        letter(RefusalReason::UnknownPool, job_line("a", "ada@gmail.com")),
        letter(RefusalReason::UnknownPool, r#"{"v":1,"id":"b"}"#),
        letter(RefusalReason::NotUtf8, &b"\xff\x1b[2J"[..]),
    ])
}

#[test]
fn they_are_listed_newest_first_and_by_reason() {
    let rig = three();
    let all = rig.json(&["dead", "list"]);
    let ids: Vec<i64> = all.as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [3, 2, 1]);
    assert!(all[0].get("body").is_none());
    assert_eq!(rig.json(&["dead", "list", "--reason", "not_utf8"]).as_array().unwrap().len(), 1);
    let said = rig.run(&["dead", "list", "--max", "1"]);
    assert_eq!(said.out.lines().count(), 2, "{}", said.out);
    assert!(said.err.contains("--max"), "{}", said.err);
}

#[test]
fn one_is_shown_with_its_body() {
    let rig = three();
    let said = rig.run(&["dead", "show", "1"]);
    assert!(said.out.contains("reason       unknown_pool"), "{}", said.out);
    assert!(said.out.contains("\"email\": \"ada@gmail.com\""), "{}", said.out);
    assert_eq!(rig.run(&["dead", "show", "1", "--body"]).out, job_line("a", "ada@gmail.com"));
    let binary = rig.json(&["dead", "show", "3"]);
    assert_eq!(binary["body_base64"], "/xtbMko=");
    assert!(!rig.run(&["dead", "show", "3"]).out.contains('\u{1b}'), "a body cannot steer the terminal");
    assert_eq!(rig.run(&["dead", "show", "99"]).code, 1);
}

#[test]
fn what_stands_now_is_replayed_and_what_does_not_stays() {
    let rig = three();
    let said = rig.run(&["dead", "replay", "--all"]);
    assert_eq!((said.code, said.out.as_str()), (1, "replayed 1, 2 stayed\n"), "{said:?}");
    assert!(said.err.contains("2: still refused: from: is required (missing_field)"), "{}", said.err);
    assert!(said.err.contains("3: still refused: the body is not UTF-8"), "{}", said.err);
    assert_eq!(rig.json(&["dead", "list"]).as_array().unwrap().len(), 2);
    assert_eq!(
        rig.json(&["status"])["lanes"].as_array().unwrap().iter().filter(|it| it["ready"] == 1).count(),
        1
    );
}

#[test]
fn a_replay_by_number_tells_what_became_of_each() {
    let rig = three();
    let said = rig.run(&["dead", "replay", "1", "2", "77", "--format", "json"]);
    assert_eq!(said.code, 1);
    let fates = said.json();
    let words: Vec<&str> =
        fates.as_array().unwrap().iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(words, ["queued", "refused", "missing"]);
    assert_eq!(fates[1]["field"], "from");
}

#[test]
fn a_job_that_is_queued_already_is_not_queued_again() {
    let job = job_line("a", "ada@gmail.com");
    let rig =
        rig(&[letter(RefusalReason::UnknownPool, job.clone()), letter(RefusalReason::UnknownPool, job)]);
    let said = rig.run(&["dead", "replay", "--all", "--reason", "unknown_pool", "--format", "json"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.json()[1]["status"], "duplicate");
    assert!(rig.json(&["dead", "list"]).as_array().unwrap().is_empty());
}

/// The store as a worker has it.
fn open(rig: &Rig) -> Arc<Embedded> {
    let settings = EmbeddedSettings {
        path: rig.store(),
        worker: "lost".to_owned(),
        clock: Arc::new(SystemClock::new()),
    };
    Embedded::open(settings).unwrap()
}

/// Claims the first attempt of the job of `body`.
async fn claim(store: &Embedded, body: &str) {
    let job = Job::parse(body.as_bytes()).unwrap();
    let claim = Claim {
        id: job.id,
        tenant: job.tenant,
        campaign: job.campaign,
        pool: job.pool,
        class: job.class,
        recipient: job.to.email,
        fingerprint: job.fingerprint,
        attempt: 1,
        resend: false,
        token: 1,
        intent: Intent::Send { ttl: Duration::from_secs(60), esp: "sandbox".parse().unwrap() },
    };
    assert_eq!(store.claim(&[claim]).await.unwrap(), [ClaimVerdict::Go]);
}

/// Claims the job of `body` as a worker that dies before it records a result.
async fn claim_and_die(rig: &Rig, body: &str) {
    let store = open(rig);
    claim(&store, body).await;
    store.close().await;
}

/// The first attempt of the job of `body` ends as `outcome`; its parked copy is due at once.
async fn try_once(rig: &Rig, body: &str, outcome: Outcome) {
    let store = open(rig);
    claim(&store, body).await;
    let job = Job::parse(body.as_bytes()).unwrap();
    let now = SystemClock::new().now();
    let is_unknown = matches!(outcome, Outcome::Unknown { .. });
    let copy = Box::new(Parked {
        id: job.id.clone(),
        tenant: job.tenant.clone(),
        campaign: job.campaign.clone(),
        pool: job.pool.clone(),
        class: job.class,
        domain: "gmail.com".to_owned(),
        group: "gmail".parse().unwrap(),
        due: Due::At(now),
        reason: if is_unknown { WaitReason::Unknown } else { WaitReason::Retry },
        limit_key: None,
        expires_at: None,
        body: Bytes::from(body.to_owned()),
        passport: Passport { attempt: 2, resend: is_unknown, ..Passport::default() },
    });
    let record = Record {
        id: job.id,
        tenant: job.tenant,
        attempt: 1,
        token: None,
        esp: "sandbox".parse().unwrap(),
        started_at: now,
        finished_at: now,
        outcome: Some(outcome),
        next: if is_unknown { NextStep::Unknown(copy) } else { NextStep::Retry(copy) },
    };
    assert_eq!(store.record(&[record]).await.unwrap(), [RecordVerdict::Recorded]);
    store.close().await;
}

/// The relay publishes what is due, and a worker refuses it: no copy is left in the store or in a lane.
async fn lose_the_copy(rig: &Rig) {
    let store = open(rig);
    let batch = store.due(&DueQuery { max: 10, ..DueQuery::default() }).await.unwrap().unwrap();
    let ids: Vec<_> = batch.jobs().iter().map(|job| job.id.clone()).collect();
    assert_eq!(ids.len(), 1);
    batch.published(&ids).await.unwrap();
    store.close().await;
}

#[test]
fn a_job_whose_worker_was_lost_is_not_taken_for_done() {
    let body = job_line("a", "ada@gmail.com");
    let rig = rig(&[letter(RefusalReason::DeliveryLimit, body.clone())]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(claim_and_die(&rig, &body));
    assert_eq!(rig.json(&["dead", "replay", "1"])[0]["status"], "queued");
    let status = rig.json(&["status"]);
    assert_eq!(status["jobs"]["sending"], 1);
    assert_eq!(status["lanes"].as_array().unwrap().iter().filter(|it| it["ready"] == 1).count(), 1);
}

/// The attempt that the only job in `lane` is to have.
async fn queued_attempt(rig: &Rig, lane: &str) -> u32 {
    let store = open(rig);
    let mut feed = store.open(&lane.parse().unwrap(), 1).await.unwrap();
    let delivery = tokio::time::timeout(Duration::from_secs(20), feed.next()).await.unwrap().unwrap();
    let attempt = delivery.passport.attempt;
    delivery.receipt.release();
    store.close().await;
    attempt
}

#[test]
fn a_job_whose_next_attempt_was_refused_goes_on_with_it() {
    let faulted = Outcome::Faulted { category: Category::Connect, detail: "refused".to_owned() };
    let unknown = Outcome::Unknown { detail: "reset".to_owned() };
    for (outcome, state) in [(faulted, "deferred"), (unknown, "unknown")] {
        let body = job_line("a", "ada@gmail.com");
        let letter = letter(RefusalReason::UnknownPool, body.clone());
        let rig = rig(&[letter.clone(), letter]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(try_once(&rig, &body, outcome));
        assert_eq!(rig.json(&["dead", "replay", "1"])[0]["status"], "duplicate", "its copy is parked");
        runtime.block_on(lose_the_copy(&rig));
        assert_eq!(rig.json(&["dead", "replay", "2"])[0]["status"], "queued");
        let status = rig.json(&["status"]);
        assert_eq!(status["jobs"][state], 1);
        let lane = status["lanes"].as_array().unwrap().iter().find(|it| it["ready"] == 1).unwrap();
        let attempt = runtime.block_on(queued_attempt(&rig, lane["lane"].as_str().unwrap()));
        assert_eq!(attempt, 2, "{state}");
    }
}

#[test]
fn all_of_many_are_replayed_though_some_stay() {
    let bad = letter(RefusalReason::Template, r#"{"v":1}"#);
    let mut letters = vec![bad; 700];
    letters.extend(
        (0..600).map(|at| letter(RefusalReason::Template, job_line(&format!("job-{at}"), "a@gmail.com"))),
    );
    letters.extend(vec![letter(RefusalReason::Template, "no json"); 600]);
    let rig = rig(&letters);
    let said = rig.run(&["dead", "replay", "--all"]);
    assert_eq!(said.out, "replayed 600, 1300 stayed\n");
}

#[test]
fn they_are_dropped_by_number_and_by_reason() {
    let rig = three();
    let said = rig.run(&["dead", "drop", "3", "99"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.out.starts_with("dropped 1; "), "{}", said.out);
    let dropped = rig.json(&["dead", "drop", "--all", "--reason", "unknown_pool", "--yes"]);
    assert_eq!(dropped["dropped"], 2);
    assert_eq!(rig.json(&["dead", "list"]), serde_json::json!([]));
}

#[test]
fn a_question_makes_no_store() {
    let rig = Rig::new();
    for args in [&["dead", "list"][..], &["status"], &["why", "a"], &["suppress", "list"]] {
        let said = rig.run(args);
        assert_eq!(said.code, 1, "{args:?}");
        assert!(said.err.contains("there is no store at sluice.db"), "{}", said.err);
    }
    assert!(!rig.store().exists());
}
