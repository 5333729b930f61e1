//! Not a test: `cargo test --release -p sluice-amqp -- --ignored --nocapture throughput`.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use sluice_engine::{Outbox, Publication};
use sluice_testkit::services::shared_rabbitmq;
use tokio::time::Instant;

use crate::rig::{client, job, lane, next, open};

const JOBS: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn throughput() {
    let rabbit = client(&shared_rabbitmq().create_vhost()).await;
    let lane = lane("default.bulk.gmail");
    let body = Bytes::from(vec![b'x'; 1024]);
    for callers in [1, 4] {
        let start = Instant::now();
        let jobs = |from: usize| -> Vec<Publication> {
            (from..from + 500).map(|id| Publication { body: body.clone(), ..job(&lane, id) }).collect()
        };
        stream::iter((0..JOBS / 2).step_by(500))
            .map(|from| rabbit.publish(jobs(from)))
            .buffer_unordered(callers)
            .for_each(async |answers| answers.into_iter().for_each(|answer| answer.unwrap()))
            .await;
        report(&format!("publish with confirms, {callers} callers"), JOBS / 2, start.elapsed());
    }
    let mut feed = open(&rabbit, &lane, 500).await;
    let start = Instant::now();
    for _ in 0..JOBS / 2 {
        next(&mut *feed).await.receipt.ack();
    }
    report("consume and ack in order", JOBS / 2, start.elapsed());
    let start = Instant::now();
    let mut held = Vec::new();
    for _ in 0..JOBS / 2 {
        held.push(next(&mut *feed).await.receipt);
        if held.len() == 200 {
            held.swap_remove(fastrand::usize(..200)).ack();
        }
    }
    report("consume and ack in random order, 200 held", JOBS / 2, start.elapsed());
    held.into_iter().for_each(|receipt| receipt.ack());
    rabbit.close().await;
}

fn report(what: &str, count: usize, took: Duration) {
    eprintln!("{what}: {:.0}/s", count as f64 / took.as_secs_f64());
}
