//! RabbitMQ is short of memory: it delivers, and takes no message. `/ready` says so for as long as it lasts.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Options, Rig, job, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_is_not_ready_while_its_broker_takes_no_messages() {
    let rig = Rig::new(Options { own_servers: true, ..Options::default() });
    let replicas = rig.start(1);
    let queue_is_up = || {
        let (status, body) = replicas[0].get("/ready").unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        let queue = body["parts"].as_array().unwrap().iter().find(|part| part["name"] == "queue").unwrap();
        assert_eq!(status == 200, queue["ready"] == true, "{body}");
        let gauge = rig.metric(&replicas, "sluice_dependency_up{dependency=\"queue\"}");
        (status == 200, gauge)
    };
    rig.broker().rabbitmqctl(&["set_vm_memory_high_watermark", "0"]);
    let job = job("one", "default", "ada@gmail.com").to_string();
    until("the replica is told", async || {
        // A connection hears of it when it publishes, and the first waits for its confirm longer than we do.
        let refused = replicas[0].post("/jobs", &job).is_ok_and(|(status, _)| status == 503);
        refused && queue_is_up() == (false, 0.0)
    })
    .await;
    // For longer than depths of lanes are kept, which the broker tells all the time.
    for _ in 0..30 {
        assert_eq!(queue_is_up(), (false, 0.0));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.broker().rabbitmqctl(&["set_vm_memory_high_watermark", "0.9"]);
    until("the replica is ready", async || queue_is_up() == (true, 1.0)).await;
}
