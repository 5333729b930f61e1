//! A private Postgres keeps what it committed, through every way to go down.

use std::time::Duration;

use sluice_testkit::services::{PrivatePostgres, shared_postgres};
use tokio_postgres::{Client, NoTls};

async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("the server takes connections");
    tokio::task::spawn_local(connection);
    client
}

/// Runs `test` where connections can be driven beside it.
fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
    tokio::task::LocalSet::new().block_on(&runtime, test);
}

#[test]
fn commits_outlive_a_crash_an_immediate_stop_and_a_restart() {
    run(async {
        let server = PrivatePostgres::start();
        let url = server.create_database();
        let client = connect(&url).await;
        client.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)").await.unwrap();
        for (n, down) in [PrivatePostgres::kill9, PrivatePostgres::stop_immediate, |_: &PrivatePostgres| {}]
            .into_iter()
            .enumerate()
        {
            down(&server);
            server.restart();
            let client = connect(&url).await;
            let kept: i64 = client.query_one("SELECT count(*) FROM kept", &[]).await.unwrap().get(0);
            assert_eq!(kept, i64::try_from(n).unwrap() + 1);
            client.execute("INSERT INTO kept VALUES (1)", &[]).await.unwrap();
        }
        assert!(server.log().contains("database system was not properly shut down"));
    });
}

#[test]
fn a_killed_server_refuses_and_a_paused_one_says_nothing() {
    run(async {
        let server = PrivatePostgres::start();
        let client = connect(&server.url("postgres")).await;
        server.pause();
        let asked = client.query_one("SELECT 1", &[]);
        let mut asked = std::pin::pin!(asked);
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut asked).await.is_err());
        server.resume();
        asked.await.unwrap();
        server.kill9();
        assert!(client.query_one("SELECT 1", &[]).await.is_err());
        assert!(tokio_postgres::connect(&server.url("postgres"), NoTls).await.is_err());
    });
}

#[test]
fn each_database_is_new_and_the_settings_are_those_of_production() {
    run(async {
        let (one, other) = (shared_postgres().create_database(), shared_postgres().create_database());
        assert_ne!(one, other);
        connect(&one).await.batch_execute("CREATE TABLE mine ()").await.unwrap();
        let client = connect(&other).await;
        assert!(client.batch_execute("SELECT FROM mine").await.is_err());
        for (setting, expected) in [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("max_connections", "300"),
            ("listen_addresses", "127.0.0.1"),
            ("server_encoding", "UTF8"),
        ] {
            let value: String = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap().get(0);
            assert_eq!(value, expected, "{setting}");
        }
    });
}
