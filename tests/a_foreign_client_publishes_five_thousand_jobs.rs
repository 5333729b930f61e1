//! 5,000 jobs by a client that is not ours, to two replicas with an SMTP server and a SendGrid stand-in.

use crate::support::{Options, PATIENCE, Rig, mixed_jobs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_ends_in_one_state_and_the_journals_agree() {
    let rig = Rig::new(Options::default());
    let replicas = rig.start(2);
    let mix = mixed_jobs("five", 5000);
    rig.publish(&mix.lines);
    let verdict = rig.judge(&mix.jobs, false).await;
    assert_eq!(verdict.states.get("rejected"), Some(&200), "{verdict:?}");
    assert_eq!(verdict.states.get("accepted"), Some(&4800), "{verdict:?}");
    assert_eq!(verdict.flagged_duplicates, 0);

    let client = rig.sql().await;
    let workers: i64 =
        client.query_one("select count(distinct worker) from sluice.job", &[]).await.unwrap().get(0);
    assert_eq!(workers, 2, "both replicas took part");
    let message = rig.sendgrid.journal().into_iter().find(|call| call.accepted).unwrap();
    assert_eq!(message.body["subject"], "Hello Ada");
    assert!(message.authorized);
    let mail = rig.smtp.journal().into_iter().find(|mail| mail.accepted()).unwrap();
    assert!(mail.headers.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{}", mail.headers);
    for replica in &replicas {
        let (status, metrics) = replica.get("/metrics").unwrap();
        assert_eq!(status, 200);
        assert!(metrics.contains("sluice_attempts_total{esp=\"grid\",outcome=\"accepted\"}"), "{metrics}");
        let log = replica.log();
        assert!(
            !log.contains("@gmail.com") && !log.contains(rig.sendgrid.api_key()),
            "an address or a key was logged"
        );
    }
    for replica in &replicas {
        replica.sigterm();
        let status = replica.wait(PATIENCE);
        assert!(status.success(), "{status}: {}", replica.log());
    }
}
