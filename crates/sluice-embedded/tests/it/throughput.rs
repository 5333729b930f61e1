//! How many jobs a second go the whole way: publish, deliver, claim, record, ack, each durable.

use std::sync::Arc;
use std::time::Duration;

use sluice_embedded::{Embedded, EmbeddedSettings};
use sluice_engine::{Claim, ClaimVerdict, Clock, Feed, Inbox, Ledger, Outbox, Publication, SystemClock};

use crate::support::*;

const JOBS: usize = 20_000;
const BATCH: usize = 100;
const LANES: [&str; 4] =
    ["default.bulk.gmail", "default.bulk.yahoo", "default.bulk.other", "default.transactional.gmail"];

/// Run it with `cargo test --release -p sluice-embedded -- --ignored --nocapture throughput`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn throughput() {
    let place = Place::new();
    let clock = Arc::new(SystemClock::new());
    let settings = EmbeddedSettings { clock: clock.clone(), ..place.settings() };
    let store = Embedded::open(settings).unwrap();
    let start = clock.tick();
    let producers = LANES.map(|lane| produce(store.clone(), lane));
    let consumers = LANES.map(|lane| consume(store.clone(), lane));
    let mut tasks = tokio::task::JoinSet::new();
    producers.into_iter().for_each(|producer| drop(tasks.spawn(producer)));
    consumers.into_iter().for_each(|consumer| drop(tasks.spawn(consumer)));
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let took = clock.tick().since(start);
    store.close().await;
    let rate = f64::from(u32::try_from(JOBS).unwrap()) / took.as_secs_f64();
    println!("{JOBS} jobs in {took:.2?}: {rate:.0} jobs/s");
    assert!(rate > 2000.0);
}

async fn produce(store: Arc<Embedded>, lane: &'static str) {
    for batch in 0..JOBS / LANES.len() / BATCH {
        let jobs: Vec<Publication> = (0..BATCH)
            .map(|n| Publication {
                body: vec![b'x'; 2000].into(),
                ..publication(&format!("{n:03}-{batch}-{lane}"), lane)
            })
            .collect();
        assert!(store.publish(jobs).await.iter().all(Result::is_ok));
    }
}

async fn consume(store: Arc<Embedded>, name: &'static str) {
    let mut feed = store.open(&lane(name), 500).await.unwrap();
    let mut left = JOBS / LANES.len();
    let mut token = 0;
    while left > 0 {
        let batch = gather(&mut feed).await;
        let ids: Vec<String> = (0..batch.len()).map(|n| format!("{name}-{token}-{n}")).collect();
        let claims: Vec<Claim> = ids.iter().map(|id| claim(id, 1, token)).collect();
        let verdicts = store.claim(&claims).await.unwrap();
        assert!(verdicts.iter().all(|verdict| *verdict == ClaimVerdict::Go));
        let records: Vec<_> = ids.iter().map(|id| accept(id, 1)).collect();
        store.record(&records).await.unwrap();
        left -= batch.len();
        token += 1;
        batch.into_iter().for_each(|delivery| delivery.receipt.ack());
    }
}

async fn gather(feed: &mut Box<dyn Feed>) -> Vec<sluice_engine::Delivery> {
    let mut batch = vec![next(feed).await];
    while batch.len() < BATCH {
        match tokio::time::timeout(Duration::from_millis(5), feed.next()).await {
            Ok(Some(delivery)) => batch.push(delivery),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}
