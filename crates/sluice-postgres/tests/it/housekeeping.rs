//! Partitions and ageing.

use std::time::Duration;

use sluice_engine::Ledger;

use crate::fixture::{Fixture, claim, retried, sent};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn partitions_are_made_ahead_and_dropped_whole() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    assert_eq!(a.make_partitions(7).await.unwrap(), 0, "the migration has made them");
    assert_eq!(a.make_partitions(9).await.unwrap(), 4, "two days of two tables");
    assert_eq!(a.drop_partitions(30).await.unwrap(), 0);
    let old = "create table sluice.attempt_p20200101 (like sluice.attempt including all); \
               alter table sluice.attempt attach partition sluice.attempt_p20200101 \
               for values from ('2020-01-01 00:00:00+00') to ('2020-01-02 00:00:00+00')";
    fixture.sql().await.batch_execute(old).await.unwrap();
    assert_eq!(a.drop_partitions(30).await.unwrap(), 1);
}

#[tokio::test]
async fn a_day_whose_rows_are_in_the_default_partition_stays_there() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let stray = "insert into sluice.attempt (job_id, tenant, attempt, esp, outcome, started_at, finished_at) \
                 select 'j', 'default', 1, 'main', 'accepted', at, at from (select now() + interval '8 days' as at) t";
    fixture.sql().await.batch_execute(stray).await.unwrap();
    assert_eq!(a.make_partitions(9).await.unwrap(), 3);
    assert_eq!(fixture.attempts("j").await, "1:accepted");
}

#[tokio::test]
async fn only_old_final_jobs_age_out() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let jobs = ["old-1", "old-2", "old-3", "young", "open"];
    a.claim(&jobs.map(|job| claim(job, 1))).await.unwrap();
    let done = ["old-1", "old-2", "old-3", "young"].map(|job| sent(job, 1));
    a.record(&done).await.unwrap();
    a.record(&[retried("open", 1)]).await.unwrap();
    let age = "update sluice.job set created_at = now() - interval '40 days', updated_at = now() - interval '39 days' \
               where id <> 'young'";
    fixture.sql().await.batch_execute(age).await.unwrap();
    assert_eq!(a.age_out(41 * DAY, 10).await.unwrap(), 0);
    assert_eq!(a.age_out(30 * DAY, 2).await.unwrap(), 2);
    assert_eq!(a.age_out(30 * DAY, 2).await.unwrap(), 1);
    let left = fixture.text("select string_agg(id, ' ' order by id) from sluice.job").await;
    assert_eq!(left, "open young");
}
