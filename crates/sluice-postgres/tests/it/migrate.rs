//! Migrations.

use std::time::{Duration, Instant};

use secrecy::SecretString;
use sluice_engine::{Console, Due, Fleet, Ledger, LedgerError};
use sluice_postgres::{MigrateError, Postgres, PostgresSettings};
use sluice_testkit::services::shared_postgres;

use sluice_types::WaitReason;

use crate::fixture::{Fixture, claim, claim_one, id, parked, up_to};

fn worker(url: &str) -> Postgres {
    Postgres::connect(PostgresSettings::new(SecretString::from(url), "w")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_may_migrate_at_once() {
    let url = shared_postgres().create_database();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let store = worker(&url);
            tokio::spawn(async move { store.migrate().await.unwrap() })
        })
        .collect();
    let mut applied = Vec::new();
    for task in tasks {
        applied.push(task.await.unwrap());
    }
    applied.sort_unstable();
    assert_eq!(applied[..3], [0, 0, 0]);
    assert!(applied[3] > 0);
    claim_one(&worker(&url), claim("j", 1)).await;
}

#[tokio::test]
async fn a_database_that_knows_more_is_left_as_it_is() {
    let fixture = Fixture::new().await;
    let newer = "insert into sluice.migration (version, name, applied_on, checksum) \
                 select 9999, 'newer', max(applied_on), '1' from sluice.migration";
    fixture.sql().await.batch_execute(newer).await.unwrap();
    assert_eq!(fixture.worker("old").migrate().await.unwrap(), 0);
}

#[tokio::test]
async fn a_schema_that_is_missing_or_too_old_is_told() {
    let url = shared_postgres().create_database();
    let store = worker(&url);
    let error = store.check_schema().await.unwrap_err();
    assert!(matches!(error, MigrateError::Outdated { found: 0, needed: 4.. }), "{error:?}");
    assert!(error.is_misconfiguration() && !error.is_transient());
    store.migrate().await.unwrap();
    store.check_schema().await.unwrap();
    let fixture = Fixture { url };
    fixture.sql().await.batch_execute("delete from sluice.migration where version > 3").await.unwrap();
    let error = store.check_schema().await.unwrap_err();
    assert!(matches!(error, MigrateError::Outdated { found: 3, .. }), "{error:?}");
    assert!(error.to_string().contains("sluice migrate"), "{error}");
}

#[tokio::test]
async fn what_no_waiting_mends_is_told_from_a_store_that_is_away() {
    let good = shared_postgres().create_database();
    let no_database = shared_postgres().url("nowhere");
    let no_server = "postgres://postgres@127.0.0.1:1/x".to_owned();
    let stranger = good.replace("postgres@", "stranger:secret@");
    for (url, is_wrong) in [(no_database, true), (stranger, true), (no_server, false)] {
        let error = worker(&url).migrate().await.unwrap_err();
        assert_eq!((error.is_misconfiguration(), error.is_transient()), (is_wrong, !is_wrong), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("secret"));
    }
}

#[tokio::test]
async fn before_the_migration_the_store_is_unavailable() {
    let url = shared_postgres().create_database();
    let error = worker(&url).claim(&[claim("j", 1)]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_connection_that_ends_amid_the_migrations_is_worth_another_try() {
    let fixture = Fixture::new().await;
    // Two connections: within a transaction the list of backends never changes.
    let (holder, sql) = (fixture.sql().await, fixture.sql().await);
    holder.batch_execute("begin; lock table sluice.migration in access exclusive mode").await.unwrap();
    let worker = fixture.worker("a");
    let cut = async {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and query like '%sluice.migration%'";
        let begin = Instant::now();
        while sql.query(end, &[]).await.unwrap().is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(30), "nobody waits for the table");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        holder.batch_execute("rollback").await.unwrap();
    };
    let (migrated, ()) = tokio::join!(worker.migrate(), cut);
    let error = migrated.unwrap_err();
    assert!(matches!(error, MigrateError::Run(_)) && error.is_transient(), "{error:?}");
    assert_eq!(worker.migrate().await.unwrap(), 0);
}

/// Makes the store what V15 left.
const BACK_TO_V15: &str = "
    drop function sluice.lease_spread(bigint[], bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[],
        bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint) cascade;
    drop function sluice.lease_bundles(boolean[], bigint[], text[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[],
        text[], bigint[], bigint[], bigint);
    drop function sluice.heed_clock(text[], bigint);
    drop index sluice.pending_strand;
    create index pending_owner on sluice.pending (tenant);
    drop function sluice.lease_runs(bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[], bigint[], bigint[],
        bigint[], bigint[], bigint[], bigint[], bigint);
    create function sluice.lease_runs(bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[], bigint[], bigint[],
        bigint[], bigint[], bigint[], bigint[], bigint) returns void language sql as '';
    delete from sluice.migration where version > 15;
";

/// A relay holds rows while it publishes them, and removes them afterwards: between, a migration waits.
#[tokio::test]
async fn a_migration_lets_a_relay_s_batch_end() {
    let fixture = Fixture::new().await;
    let a = fixture.worker("a");
    a.park(&[parked("j", 1, Due::In(Duration::ZERO), WaitReason::Retry)]).await.unwrap();
    fixture.sql().await.batch_execute(BACK_TO_V15).await.unwrap();
    let batch = a.due(&up_to(10)).await.unwrap().unwrap();
    let migrate =
        tokio::spawn(async move { fixture.worker("b").migrate().await.map(|applied| (applied, fixture)) });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!migrate.is_finished(), "it waits for the relay");
    batch.published(&[id("j")]).await.unwrap();
    let (applied, fixture) = migrate.await.unwrap().unwrap();
    assert_eq!(applied, 6);
    assert_eq!(fixture.text("select count(*)::text from sluice.pending").await, "0");
    // One that a deadlock has ended is tried again, which would hide it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let deadlocks = "select deadlocks::text from pg_stat_database where datname = current_database()";
    assert_eq!(fixture.text(deadlocks).await, "0");
}

/// The server ends the migration then, and undoes it.
#[tokio::test]
async fn a_migration_that_a_deadlock_has_ended_is_tried_again() {
    let fixture = Fixture::new().await;
    let holder = fixture.sql().await;
    holder.batch_execute(BACK_TO_V15).await.unwrap();
    holder.batch_execute("begin; lock table sluice.pending in row share mode").await.unwrap();
    let worker = fixture.worker("a");
    let crossed = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        // The lock of whoever migrates: each waits for the other, until the holder gives up.
        let lock = "set local statement_timeout = '2500ms'; select pg_advisory_xact_lock(8260193412706)";
        holder.batch_execute(lock).await.unwrap_err();
        holder.batch_execute("rollback").await.unwrap();
    };
    let (migrated, ()) = tokio::join!(worker.migrate(), crossed);
    assert_eq!(migrated.unwrap(), 6);
    let deadlocks = "select (deadlocks > 0)::text from pg_stat_database where datname = current_database()";
    assert_eq!(fixture.text(deadlocks).await, "true");
}

#[tokio::test]
async fn long_bodies_are_packed_by_lz4_where_the_server_has_it() {
    let fixture = Fixture::new().await;
    let known =
        "select ('lz4' = any (enumvals))::text from pg_settings where name = 'default_toast_compression'";
    let wanted = if fixture.text(known).await == "true" { "l" } else { "" };
    let packed = "select attcompression::text from pg_attribute
        where attrelid = 'sluice.pending'::regclass and attname = 'body'";
    assert_eq!(fixture.text(packed).await, wanted);
}

/// Undoes V21 to V4, so that the store is as V3 left it.
const BACK_TO_V3: &str = "
    drop index sluice.job_created_at;
    create index job_created_at on sluice.job using brin (created_at) with (pages_per_range = 32, autosummarize = on);
    drop table sluice.event_id, sluice.resolution;
    drop index sluice.event_due;
    alter table sluice.event drop column attempt, drop column category, drop column provider_message_id,
        drop column applied_at, drop column due_at;
    drop trigger job_result_new on sluice.job;
    drop trigger job_result on sluice.job;
    drop function sluice.keep_result();
    drop table sluice.result;
    drop function sluice.give_back(text[], bigint[], bigint[], bigint[]);
    drop function sluice.lease(text[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[],
        bigint[], bigint[], bigint[], bigint);
    drop table sluice.fleet;
    drop function sluice.lease_slots(bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[], bigint[],
        bigint[], bigint[], bigint[], bigint[], bigint[], bigint);
    drop function sluice.lease_runs(bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[], bigint[],
        bigint[], bigint[], bigint[], bigint[], bigint[], bigint);
    drop function sluice.lease_spread(bigint[], bigint[], bigint[], bigint[], bigint[], text[], bigint[], bigint[], bigint[],
        bigint[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint);
    drop function sluice.lease_bundles(boolean[], bigint[], text[], bigint[], bigint[], bigint[], bigint[], bigint[], bigint[],
        text[], bigint[], bigint[], bigint);
    drop function sluice.heed_clock(text[], bigint);
    drop function sluice.give_back_slots(text[], bigint[], bigint[], boolean[], bigint[], bigint[], bigint[], bigint);
    drop function sluice.regrid(bigint[], bigint, bigint, bigint);
    drop function sluice.arrive(bigint, bigint, bigint, bigint, bigint, bigint, bigint);
    drop type sluice.hole_list;
    alter table sluice.limit_gcra drop column spacing_ns, drop column window_no, drop column used, drop column used_before,
        drop column holes, drop column grid, drop column hole_spacing_ns, drop column burst, drop column owed_ns;
    drop index sluice.pending_flow, sluice.pending_line, sluice.pending_strand;
    drop function sluice.flow(text, text, text, text, text);
    alter table sluice.pending drop column group_name, drop column expires_at;
    delete from sluice.migration where version between 4 and 21;
";

#[tokio::test]
async fn parked_jobs_of_the_version_before_stay_parked() {
    let fixture = Fixture::new().await;
    fixture.sql().await.batch_execute(BACK_TO_V3).await.unwrap();
    let of_v3 = "
        insert into sluice.pending (job_id, tenant, pool, class, domain, due_at, reason, limit_key, attempt, body)
        values ('due', 'default', 'default', 'bulk', 'gmail.com', now(), 'group_limit', 'group:gmail', 1, '{}'),
               ('later', 'acme', 'default', 'bulk', 'gmail.com', now() + interval '1 h', 'retry', null, 2, '{}'),
               ('held', 'acme', 'default', 'bulk', 'gmail.com', null, 'unknown', 'group:gmail', 2, '{}');
        insert into sluice.limit_gcra (key, tat_ns) values
            ('esp:main gcra s', 7), ('esp:main counted h', 1), ('esp:main counted 10s', 2),
            ('tenant:acme calendar day', 3), ('esp:main/group:gmail gcra 2min', 4);
        insert into sluice.limit_count (key, bucket_ns, used) values ('esp:main counted h', 60, 9)";
    fixture.sql().await.batch_execute(of_v3).await.unwrap();

    let a = fixture.worker("a");
    assert_eq!(a.migrate().await.unwrap(), 18);
    let batch = a.due(&up_to(10)).await.unwrap().unwrap();
    let [job] = batch.jobs() else { panic!("one job") };
    assert_eq!((job.id.as_str(), job.group.as_str()), ("due", "other"));
    batch.published(&[id("due")]).await.unwrap();
    assert_eq!(a.waiting(None, 10, 10_000).await.unwrap(), [], "what was held is in no line");
    let held = a.job(&id("held")).await.unwrap().unwrap().pending.unwrap();
    assert_eq!((held.due_at, held.limit_key), (None, None));
    assert!(a.look().await.unwrap().replicas.is_empty());
    a.park(&[parked("new", 1, Due::Held, WaitReason::Unknown)]).await.unwrap();
    assert_eq!(fixture.text("select count(*)::text from sluice.pending").await, "3");
    let keys = "select string_agg(key || '=' || tat_ns, ' ' order by tat_ns) from sluice.limit_gcra";
    assert_eq!(
        fixture.text(keys).await,
        "esp:main/per:h=1 esp:main/per:10s:rolling=2 tenant:acme/per:day:calendar=3 esp:main/group:gmail/per:2min=4 \
         esp:main/per:s=7"
    );
    let counts = "select key || '=' || used from sluice.limit_count";
    assert_eq!(fixture.text(counts).await, "esp:main/per:h=9");
}

/// While replicas are updated one by one, the old ones write no group.
#[tokio::test]
async fn a_job_parked_by_an_old_replica_goes_to_the_group_other() {
    let fixture = Fixture::new().await;
    let of_old = "insert into sluice.pending (job_id, tenant, pool, class, domain, due_at, reason, attempt, body) \
                  values ('j', 'default', 'default', 'bulk', 'gmail.com', now(), 'retry', 1, '{}')";
    fixture.sql().await.batch_execute(of_old).await.unwrap();
    let batch = fixture.worker("a").due(&up_to(10)).await.unwrap().unwrap();
    assert!(batch.jobs()[0].group.is_other());
}
