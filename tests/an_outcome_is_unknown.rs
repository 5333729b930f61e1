//! The answers of an ESP are lost: what an operator, a webhook and an idempotency key make of it.

use std::time::Duration;

use serde_json::Value;
use sluice_testkit::peers::SendGridAnswer;
use sluice_testkit::services::SluiceProcess;

use crate::support::{Options, PATIENCE, Rig, WebhookSender, event, job, line, until};

/// A rig whose pool `hooked` sends through an ESP with a webhook.
fn rig(sender: &WebhookSender) -> Rig {
    let more = format!(
        r#"
        [[esp]]
        name = "hook"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "10s"
        webhook_public_key = "{}"

        [[pool]]
        name = "hooked"
        members = [{{ esp = "hook" }}]
        "#,
        // The rig puts the stand-in's key where `KEY` stands.
        escape(&sender.public_key())
    );
    Rig::new(Options { more, ..Options::default() })
}

/// The letters KEY in a key would be taken for the rig's word; TOML reads the escape back.
fn escape(key: &str) -> String {
    key.replace("KEY", "\\u004BEY")
}

async fn wait_for_state(rig: &Rig, id: &str, state: &str) -> Value {
    let mut job = Value::Null;
    until(&format!("{id} is {state}"), async || {
        if rig.count(&format!("select count(*) from sluice.job where id = '{id}'")).await < 1 {
            return false;
        }
        job = rig.cli(&["why", id]);
        job["state"] == state
    })
    .await;
    job
}

fn publish(rig: &Rig, ids: &[&str]) {
    let jobs: Vec<Value> = ids.iter().map(|id| line(&job(id, "hooked", "ada@gmail.com"))).collect();
    rig.publish(&jobs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_and_a_webhook_resolve_it() {
    let sender = WebhookSender::new();
    let rig = rig(&sender);
    let replicas = rig.start(1);
    let to = replicas[0].http_addr();
    rig.sendgrid.answer_all(Some(SendGridAnswer::CutAfter));
    let ids = ["settled", "resent", "reported", "left"];
    publish(&rig, &ids);
    until("all are in doubt", async || {
        rig.count("select count(*) from sluice.job where state = 'unknown'").await == 4
    })
    .await;
    rig.sendgrid.answer_all(None);
    let listed = rig.cli(&["unknown", "list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(4), "{listed}");
    for it in listed.as_array().unwrap() {
        assert_eq!(
            (&it["has_body"], &it["esp"], &it["resend_at"]),
            (&true.into(), &"hook".into(), &Value::Null)
        );
    }

    rig.cli(&["unknown", "settle", "settled", "--as", "accepted", "--note", "seen at the ESP"]);
    let settled = wait_for_state(&rig, "settled", "accepted").await;
    assert_eq!(settled["resolutions"][0]["note"], "seen at the ESP");

    // The second copy is sent, and says that it is one.
    rig.cli(&["unknown", "resend", "resent"]);
    let resent = wait_for_state(&rig, "resent", "accepted").await;
    assert_eq!((&resent["attempts"], &resent["resolutions"][0]["verdict"]), (&2.into(), &"resend".into()));
    assert_eq!(resent["attempt_list"][0]["outcome"], "unknown");
    assert_eq!(rig.sendgrid.accepted_by_job()["resent"], 2);
    let flags = "select count(*) from sluice.job where id = 'resent' and resent";
    assert_eq!(rig.count(flags).await, 1);

    // Nobody but the ESP reports, and it does so once.
    let delivered = [event("delivered", "reported")];
    assert_eq!(sender.post_unsigned(to, "hook", &delivered).await, 403);
    assert_eq!(WebhookSender::new().post(to, "hook", &delivered).await.0, 403);
    assert_eq!(sender.post_signed_at(to, "hook", &delivered, 1_600_112_502).await.0, 403);
    assert_eq!(sender.post(to, "grid", &delivered).await.0, 404, "this one has no key");
    assert_eq!(rig.count("select count(*) from sluice.event").await, 0);
    let (status, answer) = sender.post(to, "hook", &delivered).await;
    assert_eq!((status, &answer["taken"], &answer["duplicates"]), (200, &1.into(), &0.into()), "{answer}");
    let (status, answer) = sender.post(to, "hook", &delivered).await;
    assert_eq!((status, &answer["taken"], &answer["duplicates"]), (200, &0.into(), &1.into()), "{answer}");
    let reported = wait_for_state(&rig, "reported", "delivered").await;
    let resolution = &reported["resolutions"][0];
    assert_eq!((&resolution["by"], &resolution["before"]), (&"webhook:hook".into(), &"unknown".into()));
    assert_eq!(
        (&reported["pending"], &reported["provider_message_id"]),
        (&Value::Null, &"14c5d75ce93".into())
    );
    assert_eq!(rig.sendgrid.accepted_by_job()["reported"], 1, "what was reported is not sent again");

    // A late report undoes nothing; a hard bounce suppresses the recipient.
    let mut bounce = event("bounce", "resent");
    bounce["status"] = "5.1.1".into();
    bounce["type"] = "bounce".into();
    let (status, _) = sender.post(to, "hook", &[event("processed", "reported"), bounce]).await;
    assert_eq!(status, 200);
    assert_eq!(wait_for_state(&rig, "resent", "bounced").await["category"], "recipient_unknown");
    assert_eq!(rig.cli(&["why", "reported"])["state"], "delivered");
    let suppressed = rig.cli(&["suppress", "list"]);
    let entry = &suppressed[0];
    assert_eq!((&entry["recipient"], &entry["reason"]), (&"ada@gmail.com".into(), &"bounce".into()));
    assert_eq!(rig.cli(&["unknown", "list"]).as_array().map(Vec::len), Some(1));
    assert!(rig.metric(&replicas, "sluice_webhooks_refused_total") >= 4.0);
    assert!((rig.metric(&replicas, "sluice_resolved_total") - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_comes_before_the_result() {
    let sender = WebhookSender::new();
    let rig = rig(&sender);
    let replicas = rig.start(2);
    let to = replicas[0].http_addr();
    rig.sendgrid.answer_all(Some(SendGridAnswer::AcceptAfter(Duration::from_secs(4))));

    // Before the job is known at all.
    assert_eq!(sender.post(to, "hook", &[event("delivered", "unheard")]).await.0, 200);
    publish(&rig, &["unheard", "early"]);

    // While its call is under way.
    wait_for_state(&rig, "early", "sending").await;
    assert_eq!(sender.post(to, "hook", &[event("delivered", "early")]).await.0, 200);
    let job = rig.cli(&["why", "early"]);
    assert_eq!((&job["state"], &job["events"][0]["applied"]), (&"sending".into(), &false.into()), "{job}");

    for id in ["unheard", "early"] {
        let job = wait_for_state(&rig, id, "delivered").await;
        assert_eq!((&job["events"][0]["applied"], &job["attempts"]), (&true.into(), &1.into()), "{job}");
        assert_eq!(job["attempt_list"][0]["outcome"], "accepted", "the send's own result is kept too");
        assert_eq!(job["resolutions"].as_array().map(Vec::len), Some(0), "it was never in doubt");
    }
    assert_eq!(rig.sendgrid.accepted(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_resolves_it() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal.jsonl");
    let config = format!(
        r#"
        [store]
        path = "{}"

        [retry.bulk]
        initial = "1s"
        max = "1s"
        give_up_after = "10min"

        [[esp]]
        name = "box"
        kind = "sandbox"
        [esp.sandbox]
        journal = "{}"
        idempotent = true
        "#,
        dir.path().join("sluice.db").display(),
        journal.display(),
    );
    rustls::crypto::ring::default_provider().install_default().ok();
    let replica = SluiceProcess::start(&config);
    replica.wait_ready(PATIENCE);
    let http = reqwest::Client::new();
    let url = format!("http://{}/jobs", replica.http_addr());
    let queued =
        http.post(&url).json(&job("keyed", "default", "unknown.ada@gmail.com")).send().await.unwrap();
    assert_eq!(queued.status().as_u16(), 202);
    let mut view = Value::Null;
    until("the second call has told", async || {
        view = http.get(format!("{url}/keyed")).send().await.unwrap().json().await.unwrap();
        view["state"] == "accepted"
    })
    .await;
    assert_eq!((&view["attempts"], &view["attempt_list"][0]["outcome"]), (&2.into(), &"unknown".into()));
    let lines = std::fs::read_to_string(&journal).unwrap();
    assert_eq!(lines.lines().count(), 1, "taken once: {lines}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_never_answered_is_left_to_an_operator_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        r#"
        [store]
        path = "{}"

        [unknown]
        window = "1s"

        [retry.transactional]
        max = "1s"
        give_up_after = "3s"
        "#,
        dir.path().join("sluice.db").display(),
    );
    rustls::crypto::ring::default_provider().install_default().ok();
    let replica = SluiceProcess::start(&config);
    replica.wait_ready(PATIENCE);
    let http = reqwest::Client::new();
    let url = format!("http://{}/jobs", replica.http_addr());
    let mut lost = job("lost", "default", "unknown.ada@gmail.com");
    lost["class"] = "transactional".into();
    assert_eq!(http.post(&url).json(&lost).send().await.unwrap().status().as_u16(), 202);
    let mut view = Value::Null;
    until("nobody will send it again", async || {
        view = http.get(format!("{url}/lost")).send().await.unwrap().json().await.unwrap();
        view["pending"]["reason"] == "unknown" && view["pending"]["due_at"].is_null()
    })
    .await;
    let attempts = view["attempts"].as_u64().unwrap();
    assert!(view["state"] == "unknown" && (2..=4).contains(&attempts), "{view}");
}
