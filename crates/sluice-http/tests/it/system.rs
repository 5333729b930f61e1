//! Health, readiness, metrics and status; and what is no route.

use serde_json::json;
use sluice_policy::{Presence, Report};
use sluice_telemetry::Dependency;

use crate::client::{call, get};
use crate::fakes::Mood;
use crate::rig::{Setup, start, start_with};

#[tokio::test]
async fn health_tells_the_version_and_asks_nobody() {
    let rig = start().await;
    rig.console.mood.set(Mood::Hangs);
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
        answer.body.replace("},{", "},\n{"),
        @r#"
    {"ready":true,"parts":[{"name":"queue","ready":true,"needed":true},
    {"name":"store","ready":true,"needed":true},
    {"name":"configuration","ready":true,"needed":false}]}
    "#
    );

    rig.health.down(Dependency::Store, &std::fmt::Error);
    let answer = get(rig.addr, "/ready").await;
    let json = answer.json();
    assert_eq!((answer.status, &json["ready"]), (503, &json!(false)));
    assert_eq!(json["parts"][1], json!({"name": "store", "ready": false, "needed": true}));

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
    assert_eq!(answer.json()["parts"][3], json!({"name": "draining", "ready": false, "needed": true}));
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
    "ready":true,
    "needed":true},{"name":"store",
    "ready":true,
    "needed":true},{"name":"configuration",
    "ready":true,
    "needed":false}],
    "in_flight":7,
    "counts":{"jobs":{"accepted":3},
    "pending":{"limit":2},
    "dead":{},
    "suppressions":1,
    "estimated":false},
    "fleet":{"replicas":[],
    "configs_agree":true,
    "campaigns":[]}}
    "#
    );
}

#[tokio::test]
async fn system_status_goes_without_counts_when_the_store_is_away() {
    let rig = start().await;
    rig.console.mood.set(Mood::Away);
    let answer = get(rig.addr, "/system/status").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["counts"], json!(null));
}

#[tokio::test]
async fn esp_status_shows_the_fleet_and_this_process() {
    let rig = start().await;
    let answer = get(rig.addr, "/esp/status").await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(answer.body.replace(",\"", ",\n\""), @r#"
    {"esps":[{"name":"sandbox",
    "breaker":{"state":"closed",
    "forced":null,
    "open_for_ms":null,
    "trips":0,
    "probing":0},
    "brakes":[],
    "in_flight":0,
    "rates":{},
    "recent":{},
    "quotas":[{"key":"esp:sandbox/per:s",
    "spec":"100/s",
    "used":0,
    "left":100,
    "resets_in_ms":null}],
    "warm_up":[]},{"name":"spare",
    "breaker":{"state":"closed",
    "forced":null,
    "open_for_ms":null,
    "trips":0,
    "probing":0},
    "brakes":[],
    "in_flight":0,
    "rates":{},
    "recent":{},
    "quotas":[],
    "warm_up":[]}],
    "here":[{"esp":"sandbox",
    "state":"closed",
    "open_for_ms":null,
    "forced":null,
    "weight":1.0},{"esp":"spare",
    "state":"closed",
    "open_for_ms":null,
    "forced":null,
    "weight":1.0}]}
    "#);

    let rig = start_with(Setup { worker: false, ..Setup::default() }).await;
    let status = get(rig.addr, "/esp/status").await.json();
    assert_eq!((&status["here"], status["esps"].as_array().unwrap().len()), (&json!([]), 2));
}

#[tokio::test]
async fn what_only_the_store_knows_is_null_while_it_is_away() {
    let rig = start().await;
    rig.store.mood.set(Mood::Away);
    let esps = get(rig.addr, "/esp/status").await;
    assert_eq!((esps.status, &esps.json()["esps"]), (200, &json!(null)));
    assert_eq!(esps.json()["here"][0]["state"], json!("closed"));
    let system = get(rig.addr, "/system/status").await;
    assert_eq!((system.status, &system.json()["fleet"]), (200, &json!(null)));
}

#[tokio::test]
async fn system_status_has_the_fleet() {
    let rig = start().await;
    let presence = |digest: &str| {
        let config_digest = digest.to_owned();
        Some(Presence { version: "1.2.3".to_owned(), config_digest, works: true, ..Presence::default() })
    };
    for (name, digest) in [("a", "x"), ("b", "y")] {
        rig.store.report(&Report {
            replica: name.to_owned(),
            presence: presence(digest),
            ..Report::default()
        });
    }
    let fleet = get(rig.addr, "/system/status").await.json()["fleet"].clone();
    assert_eq!(fleet["configs_agree"], json!(false));
    let replica = json!({
        "name": "a", "version": "1.2.3", "config_digest": "x", "up_seconds": 0, "seen_ago_ms": 0, "works": true,
        "in_flight": 0,
    });
    assert_eq!((&fleet["replicas"][0], fleet["replicas"].as_array().unwrap().len()), (&replica, 2));
}

#[tokio::test]
async fn rate_limits_are_told_with_what_waits() {
    let rig = start().await;
    let answer = get(rig.addr, "/rate-limits/status").await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(answer.body.replace(",\"", ",\n\""), @r#"
    {"limits":[{"key":"esp:sandbox/per:s",
    "scope":"esp:sandbox",
    "spec":"100/s",
    "configured":"100/s",
    "edited_by":null,
    "edited_at":null,
    "kind":"rate",
    "used":0,
    "left":100,
    "next_slot_in_ms":0,
    "resets_in_ms":null,
    "parked":120,
    "oldest":"2026-12-01T12:00:00Z",
    "waiting":0,
    "holders":{},
    "brake":null,
    "ramp":null}],
    "per_domain":[],
    "waiting_by_reason":{"esp_limit":120,
    "retry":7},
    "left_out":0}
    "#);
}

#[tokio::test]
async fn the_api_describes_itself() {
    let rig = start().await;
    let answer = get(rig.addr, "/openapi.json").await;
    assert_eq!((answer.status, &answer.body), (200, &sluice_http::openapi()));
    assert_eq!(answer.json()["openapi"], json!("3.1.0"));
    assert_eq!(answer.json()["info"]["version"], json!(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn what_is_no_route_is_told_in_json_and_never_redirected() {
    let rig = start().await;
    for path in
        ["/dashboard", "/health/", "//health", "/jobs/", "/jobs/a/b", "/rate-limits", "/%00", "/HEALTH"]
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
        ("PUT", "/rate-limits/status", "get,head"),
        ("GET", "/rate-limits/esp:sandbox/per:s", "put,delete"),
        ("GET", "/esp/sandbox/breaker", "post"),
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
    rig.console.mood.set(Mood::Panics);
    let answer = get(rig.addr, "/jobs/known").await;
    assert_eq!((answer.status, answer.code().as_str()), (500, "internal"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    rig.console.mood.set(Mood::Well);
    assert_eq!(get(rig.addr, "/jobs/known").await.status, 200);
}
