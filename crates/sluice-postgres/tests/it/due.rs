//! Due batches.

use std::time::Duration;

use sluice_engine::{Console, Due, DueBatch, Ledger, NextStep, Parked, ReleaseQuery};
use sluice_types::{Campaign, JobId, JobState, Tenant, WaitReason};

use crate::fixture::{Fixture, MINUTE, claim, claim_one, from_line, id, parked, record, record_one, up_to};

const NOW: Due = Due::In(Duration::ZERO);

fn ids(batch: &dyn DueBatch) -> Vec<&str> {
    batch.jobs().iter().map(|job| job.id.as_str()).collect()
}

/// Waits until the relay's rows show again; a dropped connection takes the server a moment.
async fn next_due(worker: &sluice_postgres::Postgres) -> Box<dyn DueBatch> {
    let look = async {
        loop {
            if let Some(batch) = worker.due(&up_to(10)).await.unwrap() {
                return batch;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), look).await.unwrap()
}

#[tokio::test]
async fn due_jobs_come_oldest_first_and_hide_from_other_relays() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    assert!(a.due(&up_to(10)).await.unwrap().is_none());
    for job in ["first", "second", "third"] {
        a.park(&[parked(job, 1, NOW, WaitReason::Retry)]).await.unwrap();
    }
    a.park(&[parked("later", 1, Due::In(MINUTE), WaitReason::Retry)]).await.unwrap();
    a.park(&[parked("held", 1, Due::Held, WaitReason::Unknown)]).await.unwrap();

    let two = a.due(&up_to(2)).await.unwrap().unwrap();
    assert_eq!(ids(&*two), ["first", "second"]);
    let rest = b.due(&up_to(10)).await.unwrap().unwrap();
    assert_eq!(ids(&*rest), ["third"]);
    assert!(b.due(&up_to(10)).await.unwrap().is_none());

    drop(two);
    let again = next_due(&b).await;
    assert_eq!(ids(&*again), ["first", "second"]);
    again.published(&[id("first")]).await.unwrap();
    rest.published(&[id("third")]).await.unwrap();
    let unconfirmed = a.due(&up_to(10)).await.unwrap().unwrap();
    assert_eq!(ids(&*unconfirmed), ["second"]);
    unconfirmed.published(&[id("second")]).await.unwrap();
    assert!(a.due(&up_to(10)).await.unwrap().is_none());
    assert_eq!(fixture.text("select count(*)::text from sluice.pending").await, "2");
}

#[tokio::test]
async fn no_relay_connection_is_left_in_a_transaction() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    a.park(&[parked("j", 1, NOW, WaitReason::Retry)]).await.unwrap();
    for _ in 0..10 {
        drop(next_due(&a).await);
    }
    let batch = next_due(&a).await;
    let none: [JobId; 0] = [];
    batch.published(&none).await.unwrap();
    assert_eq!(ids(&*next_due(&a).await), ["j"]);
    let open = "select count(*)::text from pg_stat_activity \
                where datname = current_database() and state like 'idle in transaction%' and query not like 'ROLL%'";
    let gone = async {
        while fixture.text(open).await != "0" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
}

#[tokio::test]
async fn a_final_record_does_not_wait_for_a_relay() {
    let fixture = Fixture::new().await;
    let (relay, worker) = (fixture.worker("relay"), fixture.worker("worker"));
    claim_one(&worker, claim("j", 1)).await;
    worker.park(&[parked("j", 1, NOW, WaitReason::InFlightElsewhere)]).await.unwrap();
    let batch = relay.due(&up_to(10)).await.unwrap().unwrap();
    let done = record("j", 1, None, NextStep::Final { state: JobState::Cancelled, category: None });
    let recorded = tokio::time::timeout(Duration::from_secs(60), record_one(&worker, done)).await;
    assert!(recorded.is_ok());
    batch.published(&[id("j")]).await.unwrap();
    assert_eq!(fixture.pending("j").await, "");
}

#[tokio::test]
async fn a_row_that_is_no_job_is_held_and_the_rest_go() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let bad = "insert into sluice.pending (job_id, tenant, pool, class, domain, due_at, reason, attempt, body) \
               values ('bad', 'default', 'default', 'slow', 'x.example', '2020-01-01Z', 'retry', 1, '')";
    fixture.sql().await.batch_execute(bad).await.unwrap();
    assert!(a.due(&up_to(1)).await.unwrap().is_none());
    a.park(&[parked("good", 1, NOW, WaitReason::Retry)]).await.unwrap();
    assert_eq!(ids(&*a.due(&up_to(1)).await.unwrap().unwrap()), ["good"]);
    assert_eq!(fixture.text("select due_at::text from sluice.pending where job_id = 'bad'").await, "");
}

#[tokio::test]
async fn a_row_in_line_that_is_no_job_is_held_and_the_rest_go() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let bad = "insert into sluice.pending (job_id, tenant, pool, class, domain, reason, limit_key, attempt, body) \
               values ('bad', 'default', 'default', 'slow', 'x.example', 'group_limit', 'k', 1, '')";
    fixture.sql().await.batch_execute(bad).await.unwrap();
    let good =
        Parked { limit_key: Some("k".to_owned()), ..parked("good", 1, Due::InLine, WaitReason::GroupLimit) };
    a.park(&[good]).await.unwrap();
    let batch = a.release(&from_line("k", 2)).await.unwrap().unwrap();
    assert_eq!(ids(&*batch), ["good"]);
    batch.published(&[id("good")]).await.unwrap();
    assert_eq!(a.waiting(None, 9, 10_000).await.unwrap(), []);
    assert_eq!(fixture.text("select limit_key from sluice.pending where job_id = 'bad'").await, "");
}

/// More flows than one look walks over, and only the last of them is due.
#[tokio::test]
async fn no_flow_is_out_of_reach() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let many = "
        insert into sluice.pending (job_id, tenant, pool, class, domain, due_at, reason, attempt, body)
        select 'later-' || n, 'tenant-' || n, 'default', 'bulk', 'x.example', now() + interval '1 h', 'retry', 1, '{}'
        from generate_series(1, 4500) n;
        insert into sluice.pending (job_id, tenant, pool, class, domain, due_at, reason, attempt, body)
        select 'due-' || n, 'zz', 'default', 'bulk', 'x.example', now() - interval '1 h', 'retry', 1, '{}'
        from generate_series(1, 30) n";
    fixture.sql().await.batch_execute(many).await.unwrap();
    let mut taken = 0;
    while let Some(batch) = a.due(&up_to(7)).await.unwrap() {
        let published: Vec<JobId> = batch.jobs().iter().map(|job| job.id.clone()).collect();
        assert!(published.iter().all(|id| id.as_str().starts_with("due-")));
        taken += published.len();
        batch.published(&published).await.unwrap();
    }
    assert_eq!(taken, 30);
}

/// More owners in one line than one look walks over.
#[tokio::test]
async fn no_owner_in_a_line_is_out_of_reach() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let many = "
        insert into sluice.pending (job_id, tenant, pool, class, domain, limit_key, reason, attempt, body)
        select 'j' || n, 'tenant-' || n, 'default', 'bulk', 'x.example', 'k', 'domain_limit', 1, '{}'
        from generate_series(1, 4500) n;
        insert into sluice.pending (job_id, tenant, pool, class, domain, limit_key, reason, attempt, body)
        select 'other-' || n, 'tenant-' || n, 'default', 'bulk', 'x.example', 'l', 'domain_limit', 1, '{}'
        from generate_series(1, 3) n";
    fixture.sql().await.batch_execute(many).await.unwrap();
    let query =
        ReleaseQuery { counts: vec![("k".to_owned(), 700), ("l".to_owned(), 1)], ..ReleaseQuery::default() };
    let (mut taken, mut of_other, mut batches) = (0, 0, 0);
    while let Some(batch) = a.release(&query).await.unwrap() {
        let published: Vec<JobId> = batch.jobs().iter().map(|job| job.id.clone()).collect();
        let others = published.iter().filter(|id| id.as_str().starts_with("other-")).count();
        assert!(others <= 1 && published.len() - others <= 700);
        (of_other, taken, batches) = (of_other + others, taken + published.len() - others, batches + 1);
        batch.published(&published).await.unwrap();
    }
    assert_eq!((taken, of_other), (4500, 3));
    assert!(batches <= 10, "{batches}");
}

/// What another relay holds is passed over, and what it has not taken goes.
#[tokio::test]
async fn two_relays_share_a_backlog() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    let jobs: Vec<Parked> = (0..50).map(|n| parked(&format!("j{n}"), 1, NOW, WaitReason::Retry)).collect();
    a.park(&jobs).await.unwrap();
    let (mine, theirs) =
        (a.due(&up_to(20)).await.unwrap().unwrap(), b.due(&up_to(20)).await.unwrap().unwrap());
    let mut both: Vec<&str> = ids(&*mine).into_iter().chain(ids(&*theirs)).collect();
    both.sort_unstable();
    both.dedup();
    assert_eq!(both.len(), 40);
}

#[tokio::test]
async fn a_campaign_is_woken_but_for_what_a_relay_holds() {
    let fixture = Fixture::new().await;
    let (a, relay) = (fixture.worker("a"), fixture.worker("relay"));
    let spring = Campaign::new("spring").unwrap();
    let in_line = |job| Parked {
        campaign: Some(spring.clone()),
        limit_key: Some("k".to_owned()),
        ..parked(job, 1, Due::InLine, WaitReason::GroupLimit)
    };
    a.park(&[in_line("held"), in_line("woken")]).await.unwrap();
    let batch = relay.release(&from_line("k", 1)).await.unwrap().unwrap();
    let woken =
        tokio::time::timeout(Duration::from_secs(60), a.wake_campaign(&Tenant::default(), &spring)).await;
    assert_eq!(woken.unwrap().unwrap(), 1);
    batch.published(&[]).await.unwrap();
    assert_eq!(a.waiting(None, 9, 10_000).await.unwrap().len(), 1);
}
