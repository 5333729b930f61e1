//! `sluice run` with no server beside it: jobs by HTTP and by file, kill -9, and nothing lost.

use serde_json::Value;
use sluice_testkit::peers::SendGridStandIn;
use sluice_testkit::services::SluiceProcess;

use crate::support::{PATIENCE, job, until};

fn config(sendgrid: &SendGridStandIn, file: &std::path::Path) -> String {
    format!(
        r#"
        [store]
        path = "{}"

        [unknown]
        window = "1s"

        [[esp]]
        name = "grid"
        kind = "sendgrid"
        base_url = "{}"
        api_key = "{}"
        timeout = "2s"
        limits = ["100/s"]
        "#,
        file.display(),
        sendgrid.url(),
        sendgrid.api_key(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_queued_is_sent_after_a_restart() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sluice.db");
    let sendgrid = SendGridStandIn::start();
    let replica = SluiceProcess::start(&config(&sendgrid, &file));
    replica.wait_ready(PATIENCE);
    let mut jobs: Vec<Value> =
        (0..400).map(|i| job(&format!("kept-{i}"), "default", &format!("u{i}@gmail.com"))).collect();
    for job in &mut jobs {
        job["class"] = "transactional".into();
    }
    let http = reqwest::Client::new();
    let url = format!("http://{}/jobs", replica.http_addr());
    let answer: Vec<Value> = http.post(&url).json(&jobs).send().await.unwrap().json().await.unwrap();
    assert!(answer.iter().all(|it| it["status"] == "queued"), "{answer:?}");
    let again: Vec<Value> = http.post(&url).json(&jobs).send().await.unwrap().json().await.unwrap();
    assert!(again.iter().all(|it| it["status"] == "duplicate"), "{again:?}");
    let wrong: Value = http
        .post(&url)
        .json(&serde_json::json!({"v": 1, "id": "x"}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!((&wrong["status"], &wrong["field"]), (&"error".into(), &"from".into()), "{wrong}");

    until("a part is sent", async || sendgrid.accepted() > 60).await;
    replica.kill9();
    let before = sendgrid.accepted();
    assert!(before < 400, "killed too late to tell");
    let replica = SluiceProcess::start(&config(&sendgrid, &file));
    replica.wait_ready(PATIENCE);
    until("the rest is sent", async || sendgrid.accepted_by_job().len() == 400).await;

    let view = |id: String| {
        let (http, addr) = (http.clone(), replica.http_addr());
        async move {
            http.get(format!("http://{addr}/jobs/{id}")).send().await.unwrap().json::<Value>().await.unwrap()
        }
    };
    let accepted = sendgrid.accepted_by_job();
    for job in &jobs {
        let id = job["id"].as_str().unwrap().to_owned();
        until(&format!("{id} is accepted"), async || view(id.clone()).await["state"] == "accepted").await;
        let times = accepted[&id];
        let flagged = view(id.clone()).await["attempt_list"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["outcome"] == "unknown");
        assert!(times == 1 || flagged, "{id} was accepted {times} times and nothing says so");
    }
}
