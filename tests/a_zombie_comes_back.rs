//! A replica stands still past the deadline of its claim while another takes the job over; then it goes on. It must not
//! send, and what it writes must not undo what the other has done.

use serde_json::json;
use sluice_testkit::services::SluiceProcess;

use crate::support::{Options, PATIENCE, Rig, job, line, until};

/// Stops the first replica with the job at `point`, lets the second resend it, and wakes the first. Answers the rig when
/// the first has written its result.
async fn wake_after_takeover(point: &str) -> (Rig, Vec<SluiceProcess>) {
    let rig = Rig::new(Options { claim_ttl: "5s", timeout: "2s", ..Options::default() });
    let id = "taken-over";
    let zombie =
        SluiceProcess::command(&rig.config()).env("SLUICE_FAILPOINTS", format!("{point}=stop#{id}")).start();
    zombie.wait_ready(PATIENCE);
    let mut it = job(id, "default", "ada@acme.example");
    it["class"] = json!("transactional");
    rig.publish(&[line(&it)]);
    until("the zombie stands still", async || {
        std::fs::read_to_string(format!("/proc/{}/stat", zombie.pid()))
            .is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" T")))
    })
    .await;
    let other = rig.start(1);
    until("the other has sent it", async || {
        rig.count("select count(*) from sluice.job where state = 'accepted' and attempts = 2 and resent")
            .await
            == 1
    })
    .await;
    zombie.resume();
    until("the zombie is done", async || {
        zombie.log().contains("a result came after the claim had gone to another worker")
    })
    .await;
    let mut replicas = other;
    replicas.push(zombie);
    (rig, replicas)
}

/// The job as the other replica left it: its attempt, its message id, and a worker that is not the zombie.
async fn row(rig: &Rig) -> (String, i32, Option<String>) {
    let sql = "select state, attempts, provider_message_id from sluice.job where id = 'taken-over'";
    let row = rig.sql().await.query_one(sql, &[]).await.unwrap();
    (row.get(0), row.get(1), row.get(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_answer_in_hand_it_does_not_overwrite() {
    let (rig, _replicas) = wake_after_takeover("answered").await;
    let sent = rig.sendgrid.journal();
    assert_eq!(sent.len(), 2, "once by each, and flagged");
    let (state, attempts, message) = row(&rig).await;
    assert_eq!((state.as_str(), attempts), ("accepted", 2));
    assert_eq!(message.as_deref(), Some(sent[1].message_id.as_str()), "the second answer stands");
    assert_eq!(rig.count("select count(*) from sluice.attempt where outcome = 'unknown'").await, 1);
    assert_eq!(rig.count("select count(*) from sluice.attempt where outcome = 'accepted'").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_claim_that_has_lapsed_it_does_not_send() {
    let (rig, _replicas) = wake_after_takeover("claimed").await;
    assert_eq!(rig.sendgrid.calls(), 1, "the other's call, and none of the zombie");
    let (state, attempts, _) = row(&rig).await;
    assert_eq!((state.as_str(), attempts), ("accepted", 2));
}
