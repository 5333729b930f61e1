//! TLS to the store: verified against the right authority, refused with a wrong one, and with a certificate of ours.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use sluice_engine::Ledger;
use sluice_postgres::{ConnectError, Postgres, PostgresSettings};
use sluice_testkit::peers::Certificate;
use sluice_testkit::services::PrivatePostgres;
use tokio_postgres::{Client, NoTls};

/// Lets the server speak TLS, and asks those who use it for a certificate of the same authority. The server's account
/// writes its own files: it wants a key that nobody else can read.
async fn secure(client: &Client, made: &Certificate) {
    let file = |path: &Path| std::fs::read_to_string(path).unwrap();
    let hba = "hostssl certified all 127.0.0.1/32 cert map=any\nhost all all 127.0.0.1/32 trust\n";
    for (name, content) in [
        ("server.crt", file(&made.chain)),
        ("server.key", file(&made.key)),
        ("root.crt", file(&made.authority)),
        ("pg_hba.conf", hba.to_owned()),
        ("pg_ident.conf", "any /^.*$ postgres\n".to_owned()),
    ] {
        let lines = content.trim_end().replace('\'', "''");
        let write = format!(
            "copy (select unnest(string_to_array('{lines}', E'\\n'))) to program 'umask 077; cat > {name}'"
        );
        client.batch_execute(&write).await.unwrap();
    }
    for setting in ["ssl_ca_file = 'root.crt'", "ssl = on"] {
        client.batch_execute(&format!("alter system set {setting}")).await.unwrap();
    }
    client.batch_execute("create database certified").await.unwrap();
    client.batch_execute("select pg_reload_conf()").await.unwrap();
}

fn settings(url: &str, ca_file: &Path) -> PostgresSettings {
    let mut settings = PostgresSettings::new(SecretString::from(url), "w");
    settings.tls_ca_file = Some(ca_file.to_owned());
    settings
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_authority_is_trusted_and_no_other() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = Certificate::for_loopback(dir.path());
    let stranger = Certificate::for_loopback(other.path());
    let server = tokio::task::block_in_place(PrivatePostgres::start);
    let (client, connection) = tokio_postgres::connect(&server.url("postgres"), NoTls).await.unwrap();
    tokio::spawn(connection);
    secure(&client, &made).await;
    let url = |database: &str| format!("{}?sslmode=verify-full", server.url(database));

    // A reload is on its way.
    let store = Postgres::connect(settings(&url("postgres"), &made.authority)).unwrap();
    let mut tries = 0;
    while let Err(error) = store.ping().await {
        tries += 1;
        assert!(tries < 50, "{error:?}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let row = client.query_one("select count(*) from pg_stat_ssl where ssl", &[]).await.unwrap();
    assert!(row.get::<_, i64>(0) >= 1, "the connection is encrypted");

    let error = Postgres::connect(settings(&url("postgres"), &stranger.authority))
        .unwrap()
        .migrate()
        .await
        .unwrap_err();
    assert!(error.is_misconfiguration(), "{error:?}");

    let bare = Postgres::connect(settings(&url("certified"), &made.authority)).unwrap();
    assert!(bare.ping().await.is_err(), "a certificate is asked for");
    let mut with_ours = settings(&url("certified"), &made.authority);
    with_ours.tls_pair = Some((made.chain.clone(), made.key.clone()));
    Postgres::connect(with_ours.clone()).unwrap().ping().await.unwrap();

    with_ours.tls_pair = Some((made.chain.clone(), stranger.key.clone()));
    assert!(matches!(Postgres::connect(with_ours.clone()), Err(ConnectError::Pair { .. })));
    with_ours.tls_pair = Some((PathBuf::from("/nowhere.pem"), made.key.clone()));
    assert!(matches!(Postgres::connect(with_ours), Err(ConnectError::TlsFile { .. })));
}
