//! `sluice dead`. The dead letters are put where a worker would put them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_embedded::{Embedded, EmbeddedSettings};
use sluice_engine::{Claim, ClaimVerdict, DeadLetter, Intent, Ledger, SystemClock};
use sluice_types::{Job, Refusal, RefusalReason};

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

/// Claims the job of `body` as a worker that dies before it records a result.
async fn claim_and_die(rig: &Rig, body: &str) {
    let settings = EmbeddedSettings {
        path: rig.store(),
        worker: "lost".to_owned(),
        clock: Arc::new(SystemClock::new()),
    };
    let store = Embedded::open(settings).unwrap();
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
