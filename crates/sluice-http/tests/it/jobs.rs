//! `POST /jobs` and `GET /jobs/{id}`.

use serde_json::{Value, json};

use crate::client::{get, post, post_with};
use crate::fakes::Mood;
use crate::rig::{Setup, job, start, start_with};

#[tokio::test]
async fn one_job_is_queued() {
    let rig = start().await;
    let answer = post(rig.addr, job("a").to_string()).await;
    assert_eq!(answer.status, 202);
    insta::assert_snapshot!(answer.body, @r#"{"status":"queued","id":"a"}"#);
    assert_eq!(rig.outbox.bodies(), [job("a").to_string()]);
}

#[tokio::test]
async fn a_known_job_is_a_duplicate() {
    let rig = start().await;
    for id in ["known", "twice"] {
        let answer = post(rig.addr, job(id).to_string()).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"status": "duplicate", "id": id})));
    }
    assert!(rig.outbox.bodies().is_empty());
}

#[tokio::test]
async fn a_bad_job_names_the_field() {
    let rig = start().await;
    let mut bad = job("a");
    bad["to"]["email"] = json!("nobody");
    let answer = post(rig.addr, bad.to_string()).await;
    assert_eq!(answer.status, 422);
    let json = answer.json();
    assert_eq!(json["status"], "error");
    assert_eq!((json["id"].as_str(), json["field"].as_str()), (Some("a"), Some("to.email")));
    assert_eq!(json["reason"], "invalid_value");
    assert!(json["detail"].is_string());

    // Without an id that can be read, there is none in the answer.
    let answer = post(rig.addr, "{}").await;
    assert_eq!((answer.status, answer.json().get("id").cloned()), (422, None));
    for body in ["5", "null", "\"x\"", "true"] {
        let answer = post(rig.addr, body).await;
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (422, Some("wrong_type")), "{body}");
    }
}

#[tokio::test]
async fn a_queue_that_is_away_is_unavailable() {
    let rig = start().await;
    rig.outbox.mood.set(Mood::Away);
    let answer = post(rig.addr, job("a").to_string()).await;
    assert_eq!((answer.status, answer.json()), (503, json!({"status": "unavailable", "id": "a"})));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let answer = post(rig.addr, json!([job("a"), job("b")]).to_string()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn a_store_that_is_away_keeps_no_job_out() {
    let rig = start().await;
    rig.console.mood.set(Mood::Away);
    assert_eq!(post(rig.addr, job("a").to_string()).await.status, 202);
}

#[tokio::test]
async fn a_list_is_answered_in_order() {
    let rig = start().await;
    let mut other = job("a");
    other["subject"] = json!("Another");
    // The second copy of what was not queued is no duplicate: who was told so would not publish it again.
    let list = json!([
        job("a"), job("known"), {"v": 1}, job("a"), other, job("full"), 7, job("z"), job("twice"), job("full"), job("twice"),
    ]);
    let answer = post(rig.addr, list.to_string()).await;
    assert_eq!(answer.status, 207);
    let short: Vec<Value> = answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|it| json!([it["id"], it["status"], it["reason"]]))
        .collect();
    assert_eq!(
        Value::from(short),
        json!([
            ["a", "queued", null],
            ["known", "duplicate", null],
            [null, "error", "missing_field"],
            ["a", "duplicate", null],
            ["a", "error", "id_conflict"],
            ["full", "unavailable", null],
            [null, "error", "wrong_type"],
            ["z", "queued", null],
            ["twice", "duplicate", null],
            ["full", "unavailable", null],
            ["twice", "duplicate", null],
        ])
    );
    assert_eq!(rig.outbox.bodies(), [job("a").to_string(), job("z").to_string()]);
}

#[tokio::test]
async fn the_status_of_a_list_sums_it_up() {
    let rig = start().await;
    for (list, status) in [
        (json!([job("a"), job("known")]), 202),
        (json!([job("known")]), 202),
        (json!([{}, 1]), 422),
        (json!([job("full")]), 503),
        (json!([job("full"), {}]), 207),
    ] {
        let answer = post(rig.addr, list.to_string()).await;
        assert_eq!(answer.status, status, "{list}");
        assert_eq!(answer.json().as_array().unwrap().len(), list.as_array().unwrap().len());
    }
}

#[tokio::test]
async fn a_job_in_a_list_keeps_its_bytes() {
    let rig = start().await;
    let odd = r#"{ "text":"a\u00e4\/", "vars": {"n": 1.0, "big": 12345678901234567890123, "e": 1e2},
        "v":1,"id":"odd","subject":"s","to":{"email":"ada@gmail.com"} ,"from":{"email":"n@acme.example"}}"#;
    let answer = post(rig.addr, format!("[ {odd} ]")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(rig.outbox.bodies(), [odd]);
    // The same text alone, with white space around it, is the same job.
    let rig = start().await;
    assert_eq!(post(rig.addr, format!("\n{odd}\n")).await.status, 202);
    assert_eq!(rig.outbox.bodies(), [odd]);
}

#[tokio::test]
async fn a_thousand_jobs_at_once_and_no_more() {
    let rig = start().await;
    let list =
        |count: usize| Value::from((0..count).map(|n| job(&n.to_string())).collect::<Vec<_>>()).to_string();
    let answer = post(rig.addr, list(1_000)).await;
    assert_eq!((answer.status, rig.outbox.bodies().len()), (202, 1_000));
    let answer = post(rig.addr, list(1_001)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_many_jobs"));
    assert_eq!(rig.outbox.bodies().len(), 1_000);
    let answer = post(rig.addr, "[]").await;
    assert_eq!((answer.status, answer.code().as_str()), (422, "no_jobs"));
}

#[tokio::test]
async fn what_is_not_json_at_all_is_a_bad_request() {
    let rig = start().await;
    for body in ["", " ", "{", "[{}", "[{},]", "{'v': 1}", "v=1", "{} {}", "[] []", "\u{feff}{}", "nul"] {
        let answer = post(rig.addr, body).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "not_json"), "{body:?}");
    }
    let answer = post(rig.addr, "{\n  oops\n}").await;
    insta::assert_snapshot!(
        answer.body,
        @r#"{"error":{"code":"not_json","message":"the body is not JSON (line 2, column 3)"}}"#
    );
}

#[tokio::test]
async fn only_json_is_read() {
    let rig = start().await;
    for (headers, status) in [
        (&["Content-Type: application/json"][..], 202),
        (&["Content-Type: Application/JSON; charset=UTF-8"], 202),
        (&["Content-Type: application/vnd.acme+json"], 202),
        (&["Content-Type: application/json", "Content-Encoding: identity"], 202),
        (&["Content-Type: application/json", "Origin: https://evil.example"], 202),
        (&[], 202),
        (&["Origin: https://evil.example"], 415),
        (&["Content-Type: text/plain", "Origin: https://evil.example"], 415),
        (&["Content-Type: text/plain"], 415),
        (&["Content-Type: application/x-www-form-urlencoded"], 415),
        (&["Content-Type: multipart/form-data; boundary=x"], 415),
        (&["Content-Type:"], 415),
        (&["Content-Type: application/json", "Content-Encoding: gzip"], 415),
    ] {
        let answer = post_with(rig.addr, headers, job("a").to_string()).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    let answer = post_with(rig.addr, &["Content-Type: text/plain"], "{}").await;
    insta::assert_snapshot!(
        answer.body,
        @r#"{"error":{"code":"unsupported_media_type","message":"the body must be application/json","field":"content-type"}}"#
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told_the_bound() {
    let rig = start_with(Setup::limited(|it| it.body_max_bytes = 2_000)).await;
    let padded = |bytes: usize| format!("{}{}", job("a"), " ".repeat(bytes - job("a").to_string().len()));
    assert_eq!(post(rig.addr, padded(2_000)).await.status, 202);
    let answer = post(rig.addr, padded(2_001)).await;
    assert_eq!(answer.status, 413);
    insta::assert_snapshot!(
        answer.body,
        @r#"{"error":{"code":"too_large","message":"the body is larger than 2000 bytes (`http.body_max_bytes`); send fewer jobs at once"}}"#
    );
}

#[tokio::test]
async fn the_default_bound_is_8_mib() {
    let rig = start().await;
    let answer = post(rig.addr, " ".repeat(8 * 1024 * 1024 + 1)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too_large"));
    let answer = post(rig.addr, " ".repeat(8 * 1024 * 1024)).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "not_json"));
}

#[tokio::test]
async fn one_job_is_shown() {
    let rig = start().await;
    let answer = get(rig.addr, "/jobs/known").await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(
        answer.body.replace(",\"", ",\n\""),
        @r#"
    {"id":"known",
    "tenant":"acme",
    "campaign":null,
    "campaign_order":null,
    "class":"bulk",
    "state":"accepted",
    "attempts":1,
    "esp":"sandbox",
    "provider_message_id":"m-1",
    "category":null,
    "detail":null,
    "updated_at":"2026-11-24T12:00:01Z",
    "attempt_list":[{"attempt":1,
    "esp":"sandbox",
    "outcome":"accepted",
    "category":null,
    "detail":null,
    "started_at":"2026-11-24T12:00:00Z",
    "finished_at":"2026-11-24T12:00:01Z"}],
    "pending":null,
    "events":[],
    "resolutions":[]}
    "#
    );
}

#[tokio::test]
async fn an_unknown_job_is_not_found() {
    let rig = start().await;
    let long = format!("/jobs/{}", "x".repeat(5_000));
    for path in ["/jobs/unknown", "/jobs/a%20b", "/jobs/%ff%fe", "/jobs/%2e%2e%2fknown", "/jobs/%00", &long] {
        let answer = get(rig.addr, path).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "unknown_job"), "{path}");
    }
    assert_eq!(get(rig.addr, "/jobs/kno%77n").await.status, 200);
}

#[tokio::test]
async fn a_job_cannot_be_shown_while_the_store_is_away() {
    let rig = start().await;
    rig.console.mood.set(Mood::Away);
    let answer = get(rig.addr, "/jobs/known").await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_waiting_job_says_why_and_until_when() {
    let rig = start().await;
    let pending = async |id: &str| {
        get(rig.addr, &format!("/jobs/{id}")).await.json().pointer("/pending").cloned().unwrap()
    };
    let due = json!({"at": "2026-11-24T13:00:00Z", "estimated": false});
    assert_eq!(
        pending("due").await,
        json!({"reason": "scheduled", "limit_key": null, "due_at": "2026-11-24T13:00:00Z", "ahead": null, "until": due})
    );
    let inline = pending("inline").await;
    assert_eq!((&inline["limit_key"], &inline["ahead"]), (&json!("esp:sandbox/per:s"), &json!(120)));
    assert_eq!((&inline["due_at"], &inline["until"]["estimated"]), (&json!(null), &json!(true)));
    assert!(inline["until"]["at"].as_str().unwrap().ends_with('Z'), "{inline}");
    assert_eq!(pending("held").await["until"], json!(null));
    // Without the estimate the rest is told all the same.
    rig.store.mood.set(Mood::Away);
    assert_eq!(pending("inline").await["until"], json!(null));
}
