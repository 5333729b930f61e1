//! Final states are kept to be told, each with the commit that brought it about.

use std::time::Duration;

use sluice_engine::{ClaimVerdict, Ledger, RecordVerdict, Results};

use crate::fixture::*;

/// The states that are untold, `job:state` in order.
async fn untold(fixture: &Fixture) -> String {
    fixture.text("select string_agg(job_id || ':' || state, ' ' order by id) from sluice.result").await
}

#[tokio::test]
async fn a_final_state_is_kept_once_and_no_other_is() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    claim_one(&a, claim("before", 1)).await;
    record_one(&a, sent("before", 1)).await;
    assert!(!a.keeps_results().await.unwrap(), "off without a word");
    a.keep_results(true).await.unwrap();
    a.keep_results(true).await.unwrap();
    assert!(a.keeps_results().await.unwrap());

    for job in ["sent", "later", "lost"] {
        assert_eq!(claim_one(&a, claim(job, 1)).await, ClaimVerdict::Go);
    }
    let results = [sent("sent", 1), retried("later", 1), lost("lost", 1)];
    assert_eq!(a.record(&results).await.unwrap(), [RecordVerdict::Recorded; 3]);
    a.record(&results).await.unwrap();
    assert_eq!(claim_one(&a, close("closed", 1)).await, ClaimVerdict::Closed);
    assert_eq!(claim_one(&a, close("later", 2)).await, ClaimVerdict::Closed);
    assert_eq!(untold(&fixture).await, "sent:accepted closed:expired later:expired");
    let delivered = "update sluice.job set state = 'delivered' where id = 'sent'";
    fixture.sql().await.batch_execute(delivered).await.unwrap();
    assert_eq!(untold(&fixture).await, "sent:accepted closed:expired later:expired sent:delivered");

    a.keep_results(false).await.unwrap();
    claim_one(&a, claim("after", 1)).await;
    record_one(&a, sent("after", 1)).await;
    assert!(!untold(&fixture).await.contains("after"));
}

#[tokio::test]
async fn one_replica_tells_at_a_time_and_only_what_is_told_goes() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    a.keep_results(true).await.unwrap();
    for job in ["x", "y", "z"] {
        claim_one(&a, close(job, 1)).await;
    }
    let batch = a.untold(2).await.unwrap().unwrap();
    let ids: Vec<&str> = batch.results().iter().map(|it| it.job_id.as_str()).collect();
    assert_eq!(ids, ["x", "y"]);
    assert!(b.untold(2).await.unwrap().is_none(), "another one is at it");
    batch.told(1).await.unwrap();
    assert_eq!(untold(&fixture).await, "y:expired z:expired");
    let batch = b.untold(9).await.unwrap().unwrap();
    assert_eq!(batch.results().len(), 2);
    drop(batch);
    let mut again = None;
    while again.is_none() {
        again = a.untold(9).await.unwrap();
    }
    again.unwrap().told(2).await.unwrap();
    assert_eq!(untold(&fixture).await, "");
}

#[tokio::test]
async fn what_nobody_could_tell_goes_after_a_while() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    a.keep_results(true).await.unwrap();
    for job in ["old", "young"] {
        claim_one(&a, close(job, 1)).await;
    }
    let old = "update sluice.result set updated_at = now() - interval '2 hours' where job_id = 'old'";
    fixture.sql().await.batch_execute(old).await.unwrap();
    assert_eq!(a.forget_results(Duration::from_secs(3600), 10).await.unwrap(), 1);
    assert_eq!(untold(&fixture).await, "young:expired");
}
