//! Partitions and ageing.

use std::time::Duration;

use sluice_engine::{ClaimVerdict, Due, Ledger};
use sluice_postgres::{Kept, Retention};
use sluice_types::WaitReason;

use crate::fixture::{Fixture, claim, claim_one, parked, record_one, retried, sent};

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

#[tokio::test]
async fn a_job_of_which_a_copy_is_parked_stays_known() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    claim_one(&a, claim("j", 1)).await;
    record_one(&a, sent("j", 1)).await;
    a.park(&[parked("j", 1, Due::Held, WaitReason::CampaignPaused)]).await.unwrap();
    let age = "update sluice.job set created_at = now() - interval '40 days', updated_at = now() - interval '40 days'";
    fixture.sql().await.batch_execute(age).await.unwrap();
    assert_eq!(a.age_out(30 * DAY, 10).await.unwrap(), 0);
    assert_eq!(claim_one(&a, claim("j", 1)).await, ClaimVerdict::Done, "the copy is not sent again");
    fixture.sql().await.batch_execute("delete from sluice.pending").await.unwrap();
    assert_eq!(a.age_out(30 * DAY, 10).await.unwrap(), 1);
}

#[tokio::test]
async fn the_oldest_go_first_and_are_found_by_their_age() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let jobs = ["newer", "older"];
    a.claim(&jobs.map(|job| claim(job, 1))).await.unwrap();
    a.record(&jobs.map(|job| sent(job, 1))).await.unwrap();
    let age = "update sluice.job set updated_at = now() - interval '40 days', \
               created_at = now() - case id when 'older' then interval '50 days' else interval '40 days' end; \
               insert into sluice.event_id (esp, id, received_at) values ('main', 'newer', now() - interval '8 days'); \
               insert into sluice.event_id (esp, id, received_at) values ('main', 'older', now() - interval '9 days')";
    fixture.sql().await.batch_execute(age).await.unwrap();
    assert_eq!(a.age_out(30 * DAY, 1).await.unwrap(), 1);
    assert_eq!(fixture.text("select string_agg(id, ' ') from sluice.job").await, "newer");
    assert_eq!(a.forget_event_ids(7 * DAY, 1).await.unwrap(), 1);
    assert_eq!(fixture.text("select string_agg(id, ' ') from sluice.event_id").await, "newer");
    // The ranges of a BRIN never narrow: what has aged out would be read for ever.
    let wide = "select string_agg(indexdef, ' ') from pg_indexes where schemaname = 'sluice' and indexdef like '%brin%'";
    assert_eq!(fixture.text(wide).await, "");
}

#[tokio::test]
async fn limits_that_nobody_uses_are_forgotten() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    let fill = "
        with at as (select (extract(epoch from now()) * 1000000)::bigint * 1000 as ns, 86400000000000 as day)
        insert into sluice.limit_gcra (key, tat_ns)
        select key, ns - days * day
        from at, (values ('domain:a/per:s', 40), ('domain:b/per:s', 32), ('domain:c/per:s', -1)) as k (key, days);
        with at as (select (extract(epoch from now()) * 1000000)::bigint * 1000 as ns, 86400000000000 as day)
        insert into sluice.limit_count (key, bucket_ns, used)
        select key, ns - days * day, 1
        from at, (values ('esp:d/per:day', 40), ('esp:d/per:day', 1), ('esp:e/per:day', 40)) as k (key, days);
        insert into sluice.limit_gcra (key) values ('esp:d/per:day'), ('esp:e/per:day')";
    fixture.sql().await.batch_execute(fill).await.unwrap();
    while a.prune_limits(1).await.unwrap() > 0 {}
    let left = "select string_agg(key, ' ' order by key) from";
    let states = fixture.text(&format!("{left} sluice.limit_gcra")).await;
    assert_eq!(states, "domain:b/per:s domain:c/per:s esp:d/per:day");
    assert_eq!(fixture.text(&format!("{left} sluice.limit_count")).await, "esp:d/per:day");
}

#[tokio::test]
async fn one_replica_at_a_time_keeps_house() {
    let fixture = Fixture::new().await;
    let (a, b) = (fixture.worker("a"), fixture.worker("b"));
    let jobs = ["old", "young"];
    a.claim(&jobs.map(|job| claim(job, 1))).await.unwrap();
    a.record(&jobs.map(|job| sent(job, 1))).await.unwrap();
    let old = "update sluice.job set created_at = now() - interval '9 days', updated_at = now() - interval '9 days' \
               where id = 'old'; \
               create table sluice.event_p20200101 (like sluice.event including all); \
               alter table sluice.event attach partition sluice.event_p20200101 \
               for values from ('2020-01-01 00:00:00+00') to ('2020-01-02 00:00:00+00')";
    fixture.sql().await.batch_execute(old).await.unwrap();
    let retention = Retention { jobs: 8 * DAY, attempts: 30 * DAY, partitions_ahead: 8 };

    let other = fixture.sql().await;
    other.batch_execute("select pg_advisory_lock(8260193412707)").await.unwrap();
    assert_eq!(a.keep_house(&retention).await.unwrap(), None, "another one is at it");
    drop(other);
    let mut kept = None;
    while kept.is_none() {
        kept = a.keep_house(&retention).await.unwrap();
    }
    let expected = Kept { partitions_made: 2, partitions_dropped: 1, jobs: 1, ..Kept::default() };
    assert_eq!(kept, Some(expected));
    assert_eq!(fixture.text("select string_agg(id, ' ') from sluice.job").await, "young");
    assert!(b.keep_house(&retention).await.unwrap().unwrap().is_nothing(), "the lock is free again");
}

#[tokio::test]
async fn what_fails_keeps_no_other_from_its_turn() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    claim_one(&a, claim("old", 1)).await;
    record_one(&a, sent("old", 1)).await;
    let old = "update sluice.job set created_at = now() - interval '9 days', updated_at = now() - interval '9 days'; \
               alter function sluice.drop_partitions rename to elsewhere";
    fixture.sql().await.batch_execute(old).await.unwrap();
    let retention = Retention { jobs: 8 * DAY, attempts: 30 * DAY, partitions_ahead: 8 };
    a.keep_house(&retention).await.unwrap_err();
    assert_eq!(fixture.text("select count(*)::text from sluice.job").await, "0");
}
