//! A group or a pool is taken out of the configuration and comes back, by SIGHUP.

use std::process::Command;
use std::time::Duration;

use sluice_testkit::services::{SluiceProcess, sluice_binary};

use crate::support::{Options, PATIENCE, Rig, job, line, until};

const GROUP: &str = "[[domain_group]]\nname = \"x\"\ndomains = [\"x.example\"]\n";

async fn reread(replica: &SluiceProcess, config: &str) {
    let times = |replica: &SluiceProcess| replica.log().matches("configuration was read again").count();
    let before = times(replica);
    replica.rewrite_config(config);
    replica.sighup();
    until("it is read", async || times(replica) > before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_queue_may_be_deleted_and_no_question_brings_it_back() {
    let rig = Rig::new(Options { more: GROUP.to_owned(), ..Options::default() });
    let with = rig.config();
    let without = with.replace(GROUP, "");
    let replicas = rig.start(1);
    let replica = &replicas[0];
    let queues: Vec<String> =
        ["transactional", "bulk"].iter().map(|class| format!("sluice.lane.default.{class}.x")).collect();
    let there =
        || queues.iter().filter(|it| rig.broker().queue_depths(rig.vhost()).contains_key(*it)).count();
    let bindings = || rig.broker().rabbitmqctl(&["list_bindings", "-p", rig.vhost()]);
    assert_eq!(there(), 2);

    reread(replica, &without).await;
    queues.iter().for_each(|it| rig.broker().delete_queue(rig.vhost(), it));
    until("the lanes end", async || replica.log().matches("lane is gone").count() == 2).await;
    let gone = "sluice_lane_ready{lane=\"default.bulk.x\"}";
    until("their gauges end", async || !replica.get("/metrics").unwrap().1.contains(gone)).await;
    assert_eq!(replica.get("/ready").unwrap().0, 200);
    assert!(!replica.log().contains("dependency is down"), "{}", replica.log());

    // Who asks with the file of before changes nothing.
    let before = bindings();
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.toml");
    std::fs::write(&old, &with).unwrap();
    for args in [&["status"][..], &["unknown", "list"]] {
        let output = Command::new(sluice_binary()).arg("--config").arg(&old).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
    }
    assert_eq!((bindings(), there()), (before, 0));

    reread(replica, &with).await;
    rig.publish(&[line(&job("back", "default", "ada@x.example"))]);
    until("it is sent", async || {
        rig.count("select count(*) from sluice.job where state = 'accepted'").await == 1
    })
    .await;
    assert_eq!(there(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_pool_wait_for_it() {
    let rig = Rig::new(Options::default());
    // It borrows so few at once that it cannot have begun all before it hears of the change.
    let with = rig.config().replace("[worker]", "[worker]\nprefetch_max = 10");
    let misspelt = with.replace("name = \"mail\"", "name = \"mial\"");
    let replica = &SluiceProcess::start(&with);
    replica.wait_ready(PATIENCE);
    // A backlog: the process stands still while it is published.
    replica.pause();
    let jobs: Vec<_> =
        (0..2_000).map(|i| line(&job(&format!("j-{i}"), "mail", &format!("u{i}@gmail.com")))).collect();
    rig.publish(&jobs);
    replica.rewrite_config(&misspelt);
    replica.sighup();
    replica.resume();
    let reads = || replica.log().matches("configuration was read again").count();
    until("it is read", async || reads() == 1).await;
    until("what was begun ends", async || rig.lent() == 0).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let dead = "select count(*) from sluice.dead_letter";
    assert_eq!(rig.count(dead).await, 0);
    let left = rig.ready();
    assert!(left > 0, "all went before the pool was taken away");
    reread(replica, &with).await;
    until("all are sent", async || {
        rig.count("select count(*) from sluice.job where state = 'accepted'").await == 2_000
    })
    .await;
    assert_eq!((rig.count(dead).await, rig.in_lanes()), (0, 0));
}
