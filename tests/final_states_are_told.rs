//! Upstream services hear of every final state over `sluice.results`, where that is on: after the fact, in order, also when the
//! replica that sent the job tells nobody.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_testkit::peers::Listener;
use sluice_testkit::services::SluiceProcess;

use crate::support::{Options, PATIENCE, Rig, job, line, until};

fn replica(rig: &Rig, roles: &str) -> SluiceProcess {
    let replica = SluiceProcess::command(&rig.config())
        .args(["run", "--roles", roles])
        .env("SLUICE__QUEUE__RESULTS", "true")
        .start();
    replica.wait_ready(PATIENCE);
    replica
}

fn jobs() -> Vec<Value> {
    let mut jobs: Vec<Value> =
        (0..40).map(|i| job(&format!("told-{i}"), "default", &format!("u{i}@gmail.com"))).collect();
    jobs.push(job("refused", "default", "r400+a@gmail.com"));
    let mut late = job("late", "default", "ada@gmail.com");
    late["expires_at"] = json!("2020-01-01T00:00:00Z");
    late["tenant"] = json!("acme.east");
    jobs.push(late);
    jobs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_told_once_it_is_committed() {
    let rig = Rig::new(Options::default());
    let worker = replica(&rig, "worker,http");
    let mut listener = Listener::start(&rig.amqp_url, "sluice.results", "#").await;
    let jobs = jobs();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&40));
    // Nobody relays yet. What there is to tell is in the store, and has not held anybody up.
    assert_eq!(rig.count("select count(*) from sluice.result").await, 42);
    assert_eq!(listener.take().await, []);
    worker.kill9();

    let _relay = replica(&rig, "relay,http");
    let mut told = Vec::new();
    until("all is told", async || {
        told.extend(listener.take().await);
        told.len() >= 42 && rig.count("select count(*) from sluice.result").await == 0
    })
    .await;
    let keys: BTreeMap<String, String> =
        told.iter().map(|(key, body)| (body["id"].as_str().unwrap().to_owned(), key.clone())).collect();
    assert_eq!((told.len(), keys.len()), (42, 42), "each once");
    for (id, key) in &keys {
        let expected = match id.as_str() {
            "refused" => "default.rejected",
            "late" => "acme.east.expired",
            _ => "default.accepted",
        };
        assert_eq!(key, expected, "{id}");
    }
    let body = &told.iter().find(|(_, body)| body["id"] == "told-7").unwrap().1;
    assert_eq!((&body["v"], &body["state"], &body["attempts"]), (&json!(1), &json!("accepted"), &json!(1)));
    assert_eq!(
        (&body["esp"], &body["class"], &body["pool"]),
        (&json!("grid"), &json!("bulk"), &json!("default"))
    );
    assert!(body["provider_message_id"].is_string() && body["updated_at"].is_string(), "{body}");
    assert!(!told.iter().any(|(_, body)| body.to_string().contains("@gmail.com")), "no recipient is named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_key_nothing_is_kept_to_be_told() {
    let rig = Rig::new(Options::default());
    drop(replica(&rig, "worker,http"));
    // The one that was started last decides.
    let _replicas = rig.start(1);
    let jobs = jobs();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    rig.judge(&jobs, false).await;
    assert_eq!(rig.count("select count(*) from sluice.result").await, 0);
}
