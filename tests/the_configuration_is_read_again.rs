//! SIGHUP: what is live takes effect at once, what is not is named.

use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, Rig, job, line, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_goes_by_its_new_terms_and_the_rest_is_named_and_stays() {
    let more = r#"
        [[pool]]
        name = "both"
        members = [{ esp = "grid" }]
        failover = ["post"]
        [breaker]
        min_calls = 10000
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), ..Options::default() });
    let replicas = rig.start(1);
    let replica = &replicas[0];
    rig.sendgrid.answer_all(Some(SendGridAnswer::Status(500)));
    let send = async |from: usize| {
        let jobs: Vec<_> =
            (from..from + 20).map(|i| job(&format!("hup-{i}"), "both", &format!("u{i}@gmail.com"))).collect();
        rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
        until("they go elsewhere", async || rig.smtp.accepted_by_job().len() >= from + 20).await;
    };
    let is_open = || replica.get("/metrics").unwrap().1.contains("sluice_breaker_state{esp=\"grid\"} 1");
    send(0).await;
    assert!(!is_open(), "10000 calls are needed");

    let config = rig.config();
    let changed = config
        .replace("min_calls = 10000", "min_calls = 5")
        .replace("[mx]\n", "[mx]\ntimeout = \"3s\"\n")
        .replace("api_key = \"", "max_in_flight = 99\napi_key = \"")
        // Calls that may last longer than the leases of connections: with this timeout none was begun any more.
        .replace("limits = [\"2000/s burst 200\"]", "limits = [\"10 connections\"]")
        .replace("timeout = \"5s\"", "timeout = \"5min\"")
        .replace("claim_ttl = ", "claim_ttl = \"30min\" # ");
    replica.rewrite_config(&changed);
    replica.sighup();
    until("it is read", async || replica.log().contains("was read again")).await;
    let log = replica.log();
    let told = log.lines().find(|line| line.contains("needs a restart")).unwrap();
    assert!(told.contains("mx, esp grid"), "{told}");
    send(20).await;
    until("the breaker opens", async || is_open()).await;

    replica.rewrite_config("[worker]\nhold_max = 7");
    replica.sighup();
    until("it is refused", async || replica.log().contains("has faults")).await;
    assert!(replica.status().is_none());
}
