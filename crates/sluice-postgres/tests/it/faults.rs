//! A store that breaks, and comes back.

use std::time::Duration;

use secrecy::SecretString;
use sluice_engine::{ClaimVerdict, Due, Ledger, LedgerError, SlotSource};
use sluice_postgres::{Postgres, PostgresSettings};
use sluice_testkit::services::PrivatePostgres;
use sluice_types::WaitReason;

use crate::fixture::{Fixture, claim, claim_one, id, parked, up_to};

#[tokio::test]
async fn a_store_that_is_away_is_unavailable() {
    let url = SecretString::from("postgres://nobody@127.0.0.1:1/nowhere");
    let store = Postgres::connect(PostgresSettings::new(url, "w")).unwrap();
    assert!(matches!(store.ping().await, Err(LedgerError::Unavailable(_))));
    assert!(matches!(store.claim(&[claim("j", 1)]).await, Err(LedgerError::Unavailable(_))));
    assert!(matches!(store.due(&up_to(1)).await, Err(LedgerError::Unavailable(_))));
    assert!(store.lease(&[]).await.is_ok(), "nothing was asked");
}

#[tokio::test]
async fn a_killed_connection_is_made_again() {
    let fixture = Fixture::new().await;
    let settings = PostgresSettings {
        writers: 1,
        ..PostgresSettings::new(SecretString::from(fixture.url.as_str()), "w")
    };
    let store = Postgres::connect(settings).unwrap();
    let sql = fixture.sql().await;
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and application_name = 'sluice'";
    store.park(&[parked("p", 1, Due::In(Duration::ZERO), WaitReason::Retry)]).await.unwrap();
    let batch = store.due(&up_to(1)).await.unwrap().unwrap();
    assert_eq!(claim_one(&store, claim("before", 1)).await, ClaimVerdict::Go);
    // One that waits for a lock is cut in the middle of its call.
    sql.batch_execute("begin; lock table sluice.job in exclusive mode").await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.claim(&[claim("cut", 1)]).await }
    });
    let held = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'sluice'";
    while sql.query_one(held, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    sql.batch_execute(kill).await.unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable(_)), "{error:?}");
    assert!(matches!(batch.published(&[id("p")]).await, Err(LedgerError::Unavailable(_))));
    sql.batch_execute("commit").await.unwrap();

    assert_eq!(claim_one(&store, claim("after", 1)).await, ClaimVerdict::Go);
    assert_eq!(store.due(&up_to(1)).await.unwrap().unwrap().jobs().len(), 1);
    store.ping().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_ends() {
    let fixture = Fixture::new().await;
    let settings = PostgresSettings {
        statement_timeout: Duration::from_secs(1),
        ..PostgresSettings::new(SecretString::from(fixture.url.as_str()), "w")
    };
    let store = Postgres::connect(settings).unwrap();
    let sql = fixture.sql().await;
    sql.batch_execute("begin; lock table sluice.job in exclusive mode").await.unwrap();
    let error = store.claim(&[claim("j", 1)]).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unavailable(_)), "{error:?}");
    sql.batch_execute("commit").await.unwrap();
    assert_eq!(claim_one(&store, claim("j", 1)).await, ClaimVerdict::Go);
}

#[tokio::test]
async fn a_store_that_hangs_is_given_up_on() {
    let server = PrivatePostgres::start();
    let url = SecretString::from(server.create_database());
    let settings = PostgresSettings {
        statement_timeout: Duration::from_millis(500),
        connect_timeout: Duration::from_secs(2),
        ..PostgresSettings::new(url, "w")
    };
    let store = Postgres::connect(settings).unwrap();
    store.ping().await.unwrap();
    server.pause();
    let began = tokio::time::Instant::now();
    assert!(matches!(store.ping().await, Err(LedgerError::Unavailable(_))));
    assert!(matches!(store.ping().await, Err(LedgerError::Unavailable(_))));
    assert!(began.elapsed() < Duration::from_secs(20));
    server.resume();
    store.ping().await.unwrap();
}
