//! Orders of operators: limits, breakers, campaigns.

use serde_json::{Value, json};
use sluice_policy::Order;

use crate::client::{Answer, call, get, send};
use crate::fakes::Mood;
use crate::rig::{Rig, start};

const JSON: [&str; 1] = ["Content-Type: application/json"];

async fn put(rig: &Rig, key: &str, body: &str) -> Answer {
    send(rig.addr, "PUT", &format!("/rate-limits/{key}"), &JSON, body).await
}

async fn post(rig: &Rig, path: &str, body: &str) -> Answer {
    send(rig.addr, "POST", path, &JSON, body).await
}

async fn delete(rig: &Rig, key: &str) -> Answer {
    call(rig.addr, "DELETE", &format!("/rate-limits/{key}"), &[]).await
}

fn error(answer: &Answer) -> (u16, String, Option<String>) {
    let field = answer.json().pointer("/error/field").and_then(Value::as_str).map(str::to_owned);
    (answer.status, answer.code(), field)
}

#[tokio::test]
async fn a_limit_is_set_shown_and_set_back() {
    let rig = start().await;
    // With its slash encoded or not, or the scope alone.
    for (key, before) in
        [("esp:sandbox/per:s", "100/s"), ("esp%3Asandbox%2Fper%3As", "50/s"), ("esp:sandbox", "50/s")]
    {
        let answer = put(&rig, key, r#"{"limit": "50/s"}"#).await;
        let expected = json!({"key": "esp:sandbox/per:s", "before": before, "after": "50/s"});
        assert_eq!((answer.status, answer.json()), (200, expected), "{key}");
    }
    let status = get(rig.addr, "/rate-limits/status").await.json();
    let limit = &status["limits"][0];
    assert_eq!((&limit["spec"], &limit["configured"]), (&json!("50/s"), &json!("100/s")));
    assert_eq!(limit["edited_by"], json!("http"));

    let answer = delete(&rig, "esp:sandbox%2fper:s").await;
    let expected = json!({"key": "esp:sandbox/per:s", "before": "50/s", "after": "100/s"});
    assert_eq!((answer.status, answer.json()), (200, expected));
    assert_eq!(error(&delete(&rig, "esp:sandbox/per:s").await), (404, "not_set".into(), Some("key".into())));
    assert!(rig.store.view().limit_edits.is_empty());
}

#[tokio::test]
async fn a_limit_with_a_new_window_is_added() {
    let rig = start().await;
    let answer = put(&rig, "esp:spare", r#"{"limit": "2 connections"}"#).await;
    let expected = json!({"key": "esp:spare/connections", "before": null, "after": "2 connections"});
    assert_eq!((answer.status, answer.json()), (200, expected));
    put(&rig, "esp:spare", r#"{"limit": "2/s"}"#).await;
    assert_eq!(error(&delete(&rig, "esp:spare").await), (409, "ambiguous".into(), Some("key".into())));
}

#[tokio::test]
async fn a_bad_limit_is_told_by_code_and_field() {
    let rig = start().await;
    for (key, limit, status, code, field) in [
        ("mars", "1/s", 422, "bad_key", "key"),
        ("esp:sandbox/weekly", "1/s", 422, "bad_key", "key"),
        ("domain:-x-", "1/s", 422, "bad_key", "key"),
        ("domain:gmail.com", "1/s", 422, "bad_key", "key"),
        ("esp:nobody", "1/s", 404, "unknown_esp", "esp"),
        ("group:nobody", "1/s", 404, "unknown_group", "key"),
        ("esp:sandbox/warm-up", "1/s", 422, "warm_up", "key"),
        ("esp:sandbox", "fast", 422, "bad_limit", "limit"),
        ("esp:sandbox/per:s", "1/h", 422, "window_differs", "limit"),
        ("group:gmail", "1 connections", 422, "no_connections", "limit"),
    ] {
        let answer = put(&rig, key, &json!({"limit": limit}).to_string()).await;
        assert_eq!(error(&answer), (status, code.into(), Some(field.into())), "{key} {limit}");
    }
    let answer = put(&rig, "esp:nobody", r#"{"limit": "1/s"}"#).await;
    insta::assert_snapshot!(
        answer.body,
        @r#"{"error":{"code":"unknown_esp","message":"no ESP `nobody` is configured; there are: sandbox, spare","field":"esp"}}"#
    );
    assert!(rig.store.view().limit_edits.is_empty());
}

#[tokio::test]
async fn a_body_that_is_no_order_is_refused() {
    let rig = start().await;
    let long = format!(r#"{{"limit": "{}"}}"#, "1".repeat(5_000));
    for (body, status, code) in [
        ("", 400, "not_json"),
        ("{", 400, "not_json"),
        ("{}x", 400, "not_json"),
        ("{}", 422, "bad_body"),
        ("[]", 422, "bad_body"),
        (r#"["1/s"]"#, 422, "bad_body"),
        (r#"{"limit": 5}"#, 422, "bad_body"),
        (r#"{"limit": "1/s", "until": "noon"}"#, 422, "bad_body"),
        (&long, 413, "too_large"),
    ] {
        let answer = put(&rig, "esp:sandbox", body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{body}");
    }
    let answer = put(&rig, "esp:sandbox", r#"{"limits": "1/s"}"#).await;
    insta::assert_snapshot!(
        answer.body,
        @r#"{"error":{"code":"bad_body","message":"the body is not what this route takes: unknown field `limits`, expected `limit`"}}"#
    );
    for path in ["/esp/sandbox/breaker", "/campaigns/acme/sale/order"] {
        for body in [r#"{"order": "ajar"}"#, r#"{"order": null}"#, r#"{"state": "open"}"#] {
            let answer = post(&rig, path, body).await;
            assert_eq!((answer.status, answer.code().as_str()), (422, "bad_body"), "{path} {body}");
        }
        // What a page of anybody can make a browser send.
        for headers in [&["Content-Type: text/plain"][..], &["Origin: https://evil.example"]] {
            let answer = send(rig.addr, "POST", path, headers, r#"{"order": "auto"}"#).await;
            assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_media_type"), "{path}");
        }
    }
    let view = rig.store.view();
    assert!(view.limit_edits.is_empty() && view.breakers.is_empty() && view.campaigns.is_empty());
}

#[tokio::test]
async fn a_breaker_is_held_and_let_go() {
    let rig = start().await;
    for (order, forced, state) in [
        ("open", json!("open"), "open"),
        ("closed", json!("closed"), "closed"),
        ("auto", json!(null), "closed"),
    ] {
        let answer = post(&rig, "/esp/spare/breaker", &json!({"order": order}).to_string()).await;
        assert_eq!((answer.status, answer.json()), (200, json!({"order": order})));
        let breaker = get(rig.addr, "/esp/status").await.json()["esps"][1]["breaker"].clone();
        assert_eq!((&breaker["forced"], breaker["state"].as_str()), (&forced, Some(state)));
    }
    let answer = post(&rig, "/esp/nobody/breaker", r#"{"order": "open"}"#).await;
    assert_eq!(error(&answer), (404, "unknown_esp".into(), Some("esp".into())));
}

#[tokio::test]
async fn a_cancelled_campaign_has_its_parked_jobs_woken() {
    let rig = start().await;
    let path = "/campaigns/acme/spring%20sale/order";
    let answer = post(&rig, path, r#"{"order": "paused"}"#).await;
    assert_eq!(error(&answer), (422, "bad_name".into(), Some("campaign".into())));

    let path = "/campaigns/acme/spring-sale/order";
    let answer = post(&rig, path, r#"{"order": "paused"}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"order": "paused", "woken": null})));
    let fleet = get(rig.addr, "/system/status").await.json()["fleet"].clone();
    let campaigns = json!([{"tenant": "acme", "campaign": "spring-sale", "order": "paused"}]);
    assert_eq!(fleet["campaigns"], campaigns);
    assert!(rig.console.woken.lock().unwrap().is_empty());

    let answer = post(&rig, path, r#"{"order": "cancelled"}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"order": "cancelled", "woken": 3})));
    assert_eq!(*rig.console.woken.lock().unwrap(), [("acme".to_owned(), "spring-sale".to_owned())]);

    let answer = post(&rig, path, r#"{"order": "running"}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"order": "running", "woken": null})));
    assert!(rig.store.view().campaigns.is_empty());
}

#[tokio::test]
async fn a_cancellation_can_be_repeated_when_the_store_went_away_in_between() {
    let rig = start().await;
    let path = "/campaigns/acme/sale/order";
    rig.console.mood.set(Mood::Away);
    let answer = post(&rig, path, r#"{"order": "cancelled"}"#).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
    assert_eq!(rig.store.view().campaigns[0].order, Order::Cancelled);
    rig.console.mood.set(Mood::Well);
    assert_eq!(post(&rig, path, r#"{"order": "cancelled"}"#).await.status, 200);
}

#[tokio::test]
async fn a_store_that_is_away_takes_no_orders() {
    let rig = start().await;
    rig.store.mood.set(Mood::Away);
    for answer in [
        put(&rig, "esp:sandbox", r#"{"limit": "1/s"}"#).await,
        delete(&rig, "esp:sandbox").await,
        post(&rig, "/esp/sandbox/breaker", r#"{"order": "open"}"#).await,
        post(&rig, "/campaigns/acme/sale/order", r#"{"order": "paused"}"#).await,
        get(rig.addr, "/rate-limits/status").await,
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (503, "store_unavailable"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
}
