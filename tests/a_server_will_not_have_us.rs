//! A server refuses what is configured: at the start that ends the process with code 78 and a word that names the section;
//! a server that is merely away is waited for.

use std::time::{Duration, Instant};

use sluice_testkit::services::SluiceProcess;

use crate::support::{Options, PATIENCE, Rig, until};

fn ends_with_78(config: &str, words: &[&str]) {
    let replica = SluiceProcess::start(config);
    let status = replica.wait(PATIENCE);
    let log = replica.log();
    assert_eq!(status.code(), Some(78), "{log}");
    for word in words {
        assert!(log.contains(word), "{word} is not in {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_configured_wrongly_ends_the_start() {
    let rig = Rig::new(Options::default());
    let good = rig.config();
    let change = |from: &str, to: &str| {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good, "{from}");
        changed
    };
    // With the port, since the vhost may have the same name.
    let (_, place) = rig.db_url.split_once('@').unwrap();
    let (server, _) = place.split_once('/').unwrap();
    ends_with_78(&change(place, &format!("{server}/nowhere")), &["error: store cannot be used", "nowhere"]);
    ends_with_78(
        &change("postgres://postgres:", "postgres://stranger:"),
        &["error: store cannot be used", "stranger"],
    );
    ends_with_78(
        &change("kind = \"postgres\"", "kind = \"postgres\"\ntls_ca_file = \"/nowhere.pem\""),
        &["error: store cannot be used", "/nowhere.pem"],
    );
    ends_with_78(
        &change("kind = \"postgres\"", "kind = \"postgres\"\nmigrate = false"),
        &["error: store cannot be used", "sluice migrate"],
    );
    ends_with_78(
        &change("[log]", "[http]\ntls_cert_file = \"/nowhere.pem\"\ntls_key_file = \"/nowhere.key\"\n[log]"),
        &["error: http.tls_cert_file cannot be used", "/nowhere.pem"],
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_refuses_ends_the_start() {
    let rig = Rig::new(Options::default());
    let good = rig.config();
    let stranger = good.replacen("guest:guest@", "stranger:planted-mq-secret@", 1);
    assert_ne!(stranger, good);
    ends_with_78(&stranger, &["error: queue cannot be used"]);
    let vhost = good.replacen(&format!("/{}\"", rig.vhost()), "/nowhere\"", 1);
    assert_ne!(vhost, good);
    ends_with_78(&vhost, &["error: queue cannot be used"]);

    // Its queues are there with another limit.
    drop(rig.start(1));
    let limit = good.replacen("kind = \"rabbitmq\"", "kind = \"rabbitmq\"\ndelivery_limit = 7", 1);
    ends_with_78(&limit, &["error: queue cannot be used", "exists with other arguments"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_are_waited_for_and_told() {
    let rig = Rig::new(Options { own_servers: true, ..Options::default() });
    rig.broker().kill9();
    rig.database().stop_immediate();
    let replica = SluiceProcess::start(&rig.config());
    let began = Instant::now();
    until("it says what it lacks", async || {
        replica.get("/ready").is_ok_and(|(status, body)| {
            let parts: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
            status == 503 && parts["parts"][0]["ready"] == false && parts["parts"][1]["ready"] == false
        })
    })
    .await;
    let (_, metrics) = replica.get("/metrics").unwrap();
    for dependency in ["queue", "store"] {
        assert!(
            metrics.contains(&format!("sluice_dependency_up{{dependency=\"{dependency}\"}} 0")),
            "{metrics}"
        );
    }
    // Longer than a refusal has to last.
    tokio::time::sleep(Duration::from_secs(15).saturating_sub(began.elapsed())).await;
    assert!(replica.status().is_none(), "{}", replica.log());
    rig.database().restart();
    rig.broker().restart();
    replica.wait_ready(PATIENCE);
    rig.database().stop_immediate();
    until("it notices", async || replica.get("/ready").is_ok_and(|(status, _)| status == 503)).await;
    rig.database().restart();
    replica.wait_ready(PATIENCE);
    let (_, metrics) = replica.get("/metrics").unwrap();
    assert!(metrics.contains("sluice_reconnects_total{dependency=\"store\"} 1"), "{metrics}");
    assert!(replica.status().is_none(), "{}", replica.log());
}
