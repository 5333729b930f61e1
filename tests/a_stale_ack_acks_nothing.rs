//! The line to the broker is cut with jobs in work. They finish later, over a channel that is gone: their acks must not
//! reach the new channel, where the same numbers belong to other jobs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use sluice_testkit::peers::SendGridAnswer;
use sluice_testkit::services::{SluiceProcess, TcpProxy};

use crate::support::{Options, PATIENCE, Rig, job, line, until};

fn batch(word: &str, count: usize) -> Vec<Value> {
    (0..count).map(|i| job(&format!("{word}-{i}"), "default", &format!("{word}+{i}@acme.example"))).collect()
}

/// Whether the jobs' lane borrows as many as `worker.prefetch_max` lets it.
fn borrows_all(rig: &Rig) -> bool {
    let vhost = rig.amqp_url.rsplit('/').next().unwrap_or_default();
    let list = ["list_consumers", "--silent", "-p", vhost, "queue_name", "prefetch_count"];
    rig.broker().rabbitmqctl(&list).lines().any(|line| line == "sluice.lane.default.bulk.other\t3000")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_new_channel_lends_comes_again_after_a_kill() {
    let rig = Rig::new(Options { claim_ttl: "12s", timeout: "8s", ..Options::default() });
    rig.sendgrid.script(|call| {
        let after = match call.recipient.split('+').next() {
            Some("first") => 4,
            Some("second") => 7,
            _ => return None,
        };
        Some(SendGridAnswer::AcceptAfter(Duration::from_secs(after)))
    });
    let port = rig.broker().port();
    let proxy = TcpProxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let url = rig.amqp_url.replace(&format!(":{port}/"), &format!(":{}/", proxy.addr().port()));
    let replica = SluiceProcess::command(&rig.config()).env("SLUICE__QUEUE__URL", url).start();
    replica.wait_ready(PATIENCE);
    let mut jobs = batch("quick", 10);
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    until("the quick ones are sent", async || rig.sendgrid.calls() == 10).await;
    // Now that the ESP has answered the lane borrows more at a time, as soon as it looks after the next job: over another channel,
    // which counts from 1 again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let more = batch("more", 11);
    let lines = more.iter().map(line).collect::<Vec<_>>();
    rig.publish(&lines[..1]);
    until("the lane has its last channel", async || borrows_all(&rig)).await;
    rig.publish(&lines[1..]);
    jobs.extend(more);
    until("the quick ones are sent again", async || rig.sendgrid.calls() == 21).await;
    let first = batch("first", 5);
    rig.publish(&first.iter().map(line).collect::<Vec<_>>());
    until("the first ones are under way", async || rig.sendgrid.calls() == 26).await;
    proxy.cut();
    let second = batch("second", 20);
    rig.publish(&second.iter().map(line).collect::<Vec<_>>());
    until("the second ones are under way", async || rig.sendgrid.calls() == 46).await;
    let done = "select count(*) from sluice.job where state = 'accepted' and id like 'first-%'";
    until("the first ones are done", async || rig.count(done).await == 5).await;
    // Their acks wait for each other for some milliseconds.
    tokio::time::sleep(Duration::from_millis(300)).await;
    replica.kill9();
    let _next = rig.start(1);
    jobs.extend(first);
    jobs.extend(second);
    let verdict = rig.judge(&jobs, true).await;
    assert_eq!(verdict.states.get("accepted"), Some(&26), "{verdict:?}");
    assert_eq!(verdict.states.get("unknown"), Some(&20), "killed in the middle of their calls: {verdict:?}");
}
