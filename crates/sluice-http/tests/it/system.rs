//! Health, readiness, metrics and status; and what is no route.

use serde_json::json;
use sluice_telemetry::Dependency;

use crate::client::{call, get};
use crate::fakes::Mood;
use crate::rig::{Setup, start, start_with};

#[tokio::test]
async fn health_tells_the_version_and_asks_nobody() {
    let rig = start().await;
    rig.console.0.set(Mood::Hangs);
    rig.health.down(Dependency::Store, &std::fmt::Error);
    let answer = get(rig.addr, "/health").await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(answer.body, @r#"{"status":"alive","version":"1.2.3"}"#);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn ready_names_the_part_that_is_not() {
    let rig = start().await;
    let answer = get(rig.addr, "/ready").await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(
        answer.body,
        @r#"{"ready":true,"parts":[{"name":"queue","ready":true},{"name":"store","ready":true}]}"#
    );

    rig.health.down(Dependency::Store, &std::fmt::Error);
    let answer = get(rig.addr, "/ready").await;
    assert_eq!(answer.status, 503);
    insta::assert_snapshot!(
        answer.body,
        @r#"{"ready":false,"parts":[{"name":"queue","ready":true},{"name":"store","ready":false}]}"#
    );

    rig.health.up(Dependency::Store);
    rig.health.down(Dependency::Queue, &std::fmt::Error);
    let answer = get(rig.addr, "/ready").await;
    assert_eq!((answer.status, answer.json()["parts"][0]["ready"].as_bool()), (503, Some(false)));
}

#[tokio::test]
async fn a_process_that_drains_is_alive_but_not_ready() {
    let rig = start().await;
    rig.draining.cancel();
    let answer = get(rig.addr, "/ready").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["parts"][2], json!({"name": "draining", "ready": false}));
    assert_eq!(get(rig.addr, "/health").await.status, 200);
}

#[tokio::test]
async fn metrics_are_in_the_text_format() {
    let rig = start().await;
    let answer = get(rig.addr, "/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(answer.body.contains("sluice_build_info{version=\"1.2.3\"} 1\n"), "{}", answer.body);
    assert!(answer.body.contains("sluice_dependency_up{dependency=\"store\"} 1\n"), "{}", answer.body);
}

#[tokio::test]
async fn system_status_has_the_process_and_the_counts() {
    let rig = start().await;
    let answer = get(rig.addr, "/system/status").await;
    assert_eq!(answer.status, 200);
    let uptime = answer.json()["uptime_seconds"].as_u64().unwrap();
    assert!(uptime < 60, "{uptime}");
    let body = answer.body.replace(&format!("\"uptime_seconds\":{uptime}"), "\"uptime_seconds\":0");
    insta::assert_snapshot!(
        body.replace(",\"", ",\n\""),
        @r#"
    {"version":"1.2.3",
    "uptime_seconds":0,
    "ready":true,
    "parts":[{"name":"queue",
    "ready":true},{"name":"store",
    "ready":true}],
    "in_flight":7,
    "counts":{"jobs":{"accepted":3},
    "pending":{"limit":2},
    "dead":{},
    "suppressions":1}}
    "#
    );
}

#[tokio::test]
async fn system_status_goes_without_counts_when_the_store_is_away() {
    let rig = start().await;
    rig.console.0.set(Mood::Away);
    let answer = get(rig.addr, "/system/status").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["counts"], json!(null));
}

#[tokio::test]
async fn esp_status_shows_every_breaker() {
    let rig = start().await;
    let answer = get(rig.addr, "/esp/status").await;
    assert_eq!(answer.status, 200);
    let status = answer.json();
    assert_eq!(status["worker"], json!(true));
    assert_eq!(status["esps"], json!([{"esp": "sandbox", "state": "closed", "open_for_ms": null}]));

    let rig = start_with(Setup { worker: false, ..Setup::default() }).await;
    let answer = get(rig.addr, "/esp/status").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"worker": false, "esps": []})));
}

#[tokio::test]
async fn what_is_no_route_is_told_in_json_and_never_redirected() {
    let rig = start().await;
    for path in ["/", "/health/", "//health", "/jobs/", "/jobs/a/b", "/rate-limits/status", "/%00", "/HEALTH"]
    {
        let answer = get(rig.addr, path).await;
        assert_eq!((answer.status, answer.header("location")), (404, None), "{path}");
    }
    let answer = get(rig.addr, "/nowhere").await;
    insta::assert_snapshot!(
        answer.body,
        @r#"{"error":{"code":"unknown_route","message":"there is no such route"}}"#
    );
}

#[tokio::test]
async fn a_wrong_method_is_told_in_json_with_the_right_ones() {
    let rig = start().await;
    for (method, path, allow) in [
        ("GET", "/jobs", "post"),
        ("HEAD", "/jobs", "post"),
        ("OPTIONS", "/jobs", "post"),
        ("POST", "/health", "get,head"),
        ("DELETE", "/jobs/known", "get,head"),
        ("PUT", "/esp/status", "get,head"),
        ("BREW", "/system/status", "get,head"),
    ] {
        let answer = call(rig.addr, method, path, &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some(allow)), "{method} {path}");
        if method != "HEAD" {
            assert_eq!(answer.code(), "wrong_method");
        }
    }
    let answer = call(rig.addr, "HEAD", "/health", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_next_request_is_served() {
    let rig = start().await;
    rig.console.0.set(Mood::Panics);
    let answer = get(rig.addr, "/jobs/known").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    rig.console.0.set(Mood::Well);
    assert_eq!(get(rig.addr, "/jobs/known").await.status, 200);
}
