//! Migrations.

use secrecy::SecretString;
use sluice_engine::{Ledger, LedgerError};
use sluice_postgres::{Postgres, PostgresSettings};
use sluice_testkit::services::shared_postgres;

use crate::fixture::{Fixture, claim, claim_one};

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
async fn before_the_migration_the_store_is_unavailable() {
    let url = shared_postgres().create_database();
    let error = worker(&url).claim(&[claim("j", 1)]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable(_)), "{error:?}");
}
