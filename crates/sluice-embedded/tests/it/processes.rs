//! Several processes on one file, and what survives their end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use sluice_embedded::{Embedded, EmbeddedError, EmbeddedSettings};
use sluice_engine::{Inbox, InboxError, Ledger, LedgerError, Outbox, SystemClock};

use crate::support::*;

const LANE: &str = "default.bulk.gmail";
/// Names the file for the process that [`an_endless_publisher`] runs in.
const PATH_VARIABLE: &str = "SLUICE_EMBEDDED_TEST_FILE";

#[tokio::test]
async fn a_second_worker_is_refused_until_the_first_is_gone() {
    let place = Place::new();
    let store = place.open();
    let error = Embedded::open(place.settings()).unwrap_err();
    assert!(matches!(error, EmbeddedError::WorkerRunning { .. }), "{error}");
    assert!(error.to_string().contains("another worker is running on"));
    drop(store);
    place.open();
}

#[test]
fn many_may_open_a_fresh_file_at_once() {
    for _ in 0..20 {
        let place = Place::new();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| Embedded::open_client(&place.path()).unwrap());
            }
            scope.spawn(|| place.open());
        });
    }
}

#[tokio::test]
async fn a_file_of_a_later_version_is_refused() {
    let place = Place::new();
    drop(place.open());
    rusqlite::Connection::open(place.path()).unwrap().pragma_update(None, "user_version", 999).unwrap();
    let error = Embedded::open(place.settings()).unwrap_err();
    assert!(matches!(error, EmbeddedError::TooNew { found: 999, .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let place = Place::new();
    std::fs::write(place.path(), "this is not a database, but long enough to be looked at ".repeat(20))
        .unwrap();
    let error = Embedded::open(place.settings()).unwrap_err();
    assert!(matches!(error, EmbeddedError::Open { .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let _store = place.open();
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn what_another_process_publishes_is_noticed() {
    let place = Place::new();
    let store = place.open();
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    assert!(nothing(&mut feed).await);
    let client = Embedded::open_client(&place.path()).unwrap();
    publish(&client, "a", LANE).await.unwrap();
    assert_eq!(body(&next(&mut feed).await), "body of a");
    assert!(is_duplicate(&publish(&client, "a", LANE).await));
}

#[tokio::test]
async fn a_client_neither_feeds_nor_relays() {
    let place = Place::new();
    let client = Embedded::open_client(&place.path()).unwrap();
    assert!(matches!(client.open(&lane(LANE), 1).await, Err(InboxError::Refused(_))));
    assert!(matches!(client.due(&up_to(1)).await, Err(LedgerError::Refused(_))));
    client.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_at_the_same_time() {
    let place = Place::new();
    let (store, client) = (place.open(), Embedded::open_client(&place.path()).unwrap());
    let work = |store: std::sync::Arc<Embedded>, name: &'static str| async move {
        for n in 0..50 {
            publish(&store, &format!("{name}{n}"), LANE).await.unwrap();
        }
    };
    tokio::join!(work(store.clone(), "worker"), work(client, "client"));
    assert_eq!(store.depths(&[lane(LANE)]).await.unwrap()[0].ready, 100);
}

#[tokio::test]
async fn unacked_messages_are_delivered_again_and_acked_ones_are_not() {
    let place = Place::new();
    let store = place.open();
    store.publish((0..4).map(|n| publication(&format!("j{n}"), LANE)).collect()).await;
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    let (first, second, third) = (next(&mut feed).await, next(&mut feed).await, next(&mut feed).await);
    first.receipt.ack();
    third.receipt.ack();
    drop(store);
    assert!(feed.next().await.is_some(), "what was read before still comes out");
    drop((feed, second));

    let store = place.open();
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    for expected in ["body of j1", "body of j3"] {
        let delivery = next(&mut feed).await;
        assert_eq!((body(&delivery), delivery.redelivered), (expected, true));
        delivery.receipt.ack();
    }
    assert!(nothing(&mut feed).await);
}

#[tokio::test]
async fn an_ack_is_kept_without_other_writes() {
    let place = Place::new();
    let store = place.open();
    publish(&store, "a", LANE).await.unwrap();
    let mut feed = store.open(&lane(LANE), 10).await.unwrap();
    next(&mut feed).await.receipt.ack();
    let other = Embedded::open_client(&place.path()).unwrap();
    for _ in 0..1000 {
        if other.depths(&[lane(LANE)]).await.unwrap()[0].ready == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the acked message is still there");
}

/// The child of the next test; without a path in the environment it has nothing to do. Publishes until it is killed and says each job that was confirmed.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the parent hands the path over in the environment")]
async fn an_endless_publisher() {
    let Ok(path) = std::env::var(PATH_VARIABLE) else { return };
    let clock = std::sync::Arc::new(SystemClock::new());
    let settings = EmbeddedSettings { path: path.into(), worker: "w".to_owned(), clock };
    let store = Embedded::open(settings).unwrap();
    for n in 0.. {
        let job = format!("j{n}");
        publish(&store, &job, LANE).await.unwrap();
        assert_eq!(claim_one(&store, claim(&job, 1, n)).await, sluice_engine::ClaimVerdict::Go);
        println!("confirmed {job}");
    }
}

#[tokio::test]
async fn what_was_confirmed_survives_kill_9() {
    let place = Place::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "processes::an_endless_publisher", "--nocapture"])
        .env(PATH_VARIABLE, place.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut confirmed: Vec<String> = Vec::new();
    let job_of = |line: String| line.split("confirmed ").nth(1).map(str::to_owned);
    while confirmed.len() < 100 {
        confirmed.extend(job_of(lines.next().expect("the child goes on").unwrap()));
    }
    assert!(Embedded::open(place.settings()).is_err(), "the child holds the lock");
    child.kill().unwrap();
    child.wait().unwrap();
    confirmed.extend(lines.map_while(Result::ok).filter_map(job_of));

    let clock = std::sync::Arc::new(SystemClock::new());
    let store = Embedded::open(EmbeddedSettings { clock, ..place.settings() }).unwrap();
    let mut feed = store.open(&lane(LANE), 1000).await.unwrap();
    for job in confirmed {
        let delivery = next(&mut feed).await;
        assert_eq!(body(&delivery), format!("body of {job}"));
        // Its claim is a dead process's.
        let token = job.trim_start_matches('j').parse().unwrap();
        let verdict = claim_one(&store, claim(&job, 1, token)).await;
        assert_eq!(verdict, sluice_engine::ClaimVerdict::Lost { attempt: 1 }, "{job}");
        delivery.receipt.ack();
    }
}
