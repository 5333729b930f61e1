//! What is logged of a connection that does not come about.

use std::time::Duration;

use sluice_amqp::Rabbit;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tracing_subscriber::filter::LevelFilter;

use crate::rig::{in_time, metrics, settings};

/// What the adapter wrote.
fn ours(log: &NamedTempFile) -> Vec<String> {
    let text = std::fs::read_to_string(log.path()).unwrap();
    text.lines().filter(|line| line.contains("sluice_amqp")).map(str::to_owned).collect()
}

/// A command that was done before both connections stood told "broker not reached: client is closed".
#[tokio::test]
async fn only_an_end_that_nobody_asked_for_is_told() {
    let log = NamedTempFile::new().unwrap();
    let writer = log.reopen().unwrap();
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(writer);
    // While there is but one subscriber in the process, whether a line is wanted is asked of the thread that comes to it first,
    // and kept: in another test that would be none.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    // This test and what it spawns run on one thread.
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let broker = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://guest:guest@{}/%2f", broker.local_addr().unwrap());

    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    let (line, _) = in_time(broker.accept()).await.unwrap();
    rabbit.close().await;
    assert_eq!(ours(&log), [""; 0]);

    drop((line, broker));
    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    in_time(async {
        while ours(&log).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(ours(&log)[0].contains("broker not reached"), "{:?}", ours(&log));
    rabbit.close().await;
}
