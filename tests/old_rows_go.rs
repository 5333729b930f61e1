//! Time passes: one replica makes the coming days' tables and drops what is old, whole days and single jobs.

use crate::support::{Options, Rig, job, line, until};

const OLD: &str = "
    create table sluice.attempt_p20200101 (like sluice.attempt including all);
    alter table sluice.attempt attach partition sluice.attempt_p20200101
        for values from ('2020-01-01 00:00:00+00') to ('2020-01-02 00:00:00+00');
    insert into sluice.attempt (job_id, tenant, attempt, esp, outcome, started_at, finished_at)
    values ('old', 'default', 1, 'grid', 'accepted', '2020-01-01 12:00:00+00', '2020-01-01 12:00:01+00');
    update sluice.job set created_at = now() - interval '3 days', updated_at = now() - interval '3 days'
    where id = 'old'
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_days_and_old_jobs_go_and_young_ones_stay() {
    let more = "[retention]\njobs = \"2d\"\nattempts = \"30d\"\npartitions_ahead = 9\ninterval = \"1s\"";
    let rig = Rig::new(Options { more: more.to_owned(), ..Options::default() });
    let replicas = rig.start(2);
    let jobs = ["old", "young"].map(|id| job(id, "default", &format!("{id}@gmail.com")));
    rig.publish(&jobs.each_ref().map(line));
    rig.judge(&jobs, false).await;
    rig.sql().await.batch_execute(OLD).await.unwrap();
    until("they are gone", async || {
        let jobs = rig.count("select count(*) from sluice.job").await;
        let tables = "select count(*) from pg_class where relname = 'attempt_p20200101'";
        jobs == 1 && rig.count(tables).await == 0
    })
    .await;
    assert_eq!(rig.count("select count(*) from sluice.job where id = 'young'").await, 1);
    assert_eq!(rig.count("select count(*) from sluice.attempt where job_id = 'young'").await, 1);
    let ahead = "select count(*) from pg_class where relname = 'event_p' || to_char((now() at time zone 'UTC')::date + 9, 'YYYYMMDD')";
    assert_eq!(rig.count(ahead).await, 1);
    assert!(replicas.iter().any(|replica| replica.log().contains("kept house")));
    drop(replicas);
}
