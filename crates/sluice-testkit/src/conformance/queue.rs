//! Cases of `Inbox` and `Outbox`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_engine::{Delivery, Feed, Inbox, Outbox, Passport, Publication};
use sluice_types::{JobId, Lane, Timestamp};

use super::jobs::fresh_id;

/// A fresh queue under test with the lanes `default.{transactional,bulk}.{gmail,other}`.
#[derive(Debug)]
pub struct Queue {
    /// The lanes.
    pub inbox: Arc<dyn Inbox>,
    /// Publishing into them.
    pub outbox: Arc<dyn Outbox>,
    /// Whatever must live as long as the queue.
    pub keep: Box<dyn std::fmt::Debug + Send + Sync>,
}

const PATIENCE: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_millis(300);

fn lane(text: &str) -> Lane {
    text.parse().unwrap()
}

fn publication(lane_name: &str, id: &JobId) -> Publication {
    Publication {
        id: id.clone(),
        lane: lane(lane_name),
        body: Bytes::from(format!("{{\"id\":\"{id}\"}}")),
        passport: Passport::default(),
    }
}

impl Queue {
    async fn publish(&self, lane_name: &str, count: usize) -> Vec<JobId> {
        let ids: Vec<JobId> = (0..count).map(|_| fresh_id("job")).collect();
        let jobs = ids.iter().map(|id| publication(lane_name, id)).collect();
        for result in self.outbox.publish(jobs).await {
            result.unwrap();
        }
        ids
    }

    async fn open(&self, lane_name: &str, prefetch: u16) -> Box<dyn Feed> {
        self.inbox.open(&lane(lane_name), prefetch).await.unwrap()
    }
}

async fn next(feed: &mut Box<dyn Feed>) -> Delivery {
    tokio::time::timeout(PATIENCE, feed.next()).await.expect("a delivery in time").expect("the feed goes on")
}

async fn nothing_comes(feed: &mut Box<dyn Feed>) {
    if let Ok(delivery) = tokio::time::timeout(QUIET, feed.next()).await {
        panic!("nothing should come, but {delivery:?} did");
    }
}

fn id_of(delivery: &Delivery) -> String {
    let value: serde_json::Value = serde_json::from_slice(&delivery.body).unwrap();
    value["id"].as_str().unwrap().to_owned()
}

/// Body and passport arrive as they were sent.
pub async fn a_published_job_is_delivered_with_its_passport(queue: Queue) {
    let id = fresh_id("job");
    let mut job = publication("default.bulk.gmail", &id);
    job.passport = Passport {
        attempt: 3,
        first_seen: Some(Timestamp::from_micros(1_700_000_000_123_456)),
        faulted: vec!["main".parse().unwrap(), "spare".parse().unwrap()],
        resend: true,
        renewals: 0,
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    for result in queue.outbox.publish(vec![job.clone()]).await {
        result.unwrap();
    }
    let mut feed = queue.open("default.bulk.gmail", 10).await;
    let delivery = next(&mut feed).await;
    assert_eq!((&delivery.body, &delivery.passport), (&job.body, &job.passport));
    assert!(!delivery.redelivered);
    delivery.receipt.ack();
}

/// Also for the next consumer.
pub async fn an_acked_job_is_gone(queue: Queue) {
    queue.publish("default.bulk.gmail", 3).await;
    let mut feed = queue.open("default.bulk.gmail", 10).await;
    for _ in 0..3 {
        next(&mut feed).await.receipt.ack();
    }
    nothing_comes(&mut feed).await;
    feed.stop().await;
    drop(feed);
    let mut again = queue.open("default.bulk.gmail", 10).await;
    nothing_comes(&mut again).await;
}

/// And says that it was given before.
pub async fn a_released_job_comes_again(queue: Queue) {
    queue.publish("default.bulk.gmail", 1).await;
    let mut feed = queue.open("default.bulk.gmail", 10).await;
    let first = next(&mut feed).await;
    let id = id_of(&first);
    first.receipt.release();
    let second = next(&mut feed).await;
    assert_eq!((id_of(&second), second.redelivered), (id, true));
    second.receipt.ack();
}

/// A task that panics does not keep its job.
pub async fn a_dropped_receipt_releases(queue: Queue) {
    queue.publish("default.bulk.gmail", 1).await;
    let mut feed = queue.open("default.bulk.gmail", 10).await;
    drop(next(&mut feed).await);
    next(&mut feed).await.receipt.ack();
}

/// Until one is given back.
pub async fn no_more_than_the_prefetch_is_lent(queue: Queue) {
    queue.publish("default.bulk.gmail", 5).await;
    let mut feed = queue.open("default.bulk.gmail", 2).await;
    let (one, _two) = (next(&mut feed).await, next(&mut feed).await);
    nothing_comes(&mut feed).await;
    one.receipt.ack();
    let _three = next(&mut feed).await;
    nothing_comes(&mut feed).await;
}

/// What had been lent can still be acked.
pub async fn a_stopped_feed_runs_dry(queue: Queue) {
    queue.publish("default.bulk.gmail", 5).await;
    let mut feed = queue.open("default.bulk.gmail", 3).await;
    let held = next(&mut feed).await;
    tokio::time::sleep(QUIET).await;
    feed.stop().await;
    let mut rest = 0;
    while let Some(delivery) = tokio::time::timeout(PATIENCE, feed.next()).await.expect("the feed ends") {
        delivery.receipt.release();
        rest += 1;
    }
    assert!(rest <= 2, "{rest}");
    held.receipt.ack();
    tokio::time::sleep(QUIET).await;
    drop(feed);
    let mut again = queue.open("default.bulk.gmail", 10).await;
    let mut left = BTreeSet::new();
    for _ in 0..4 {
        let delivery = next(&mut again).await;
        left.insert(id_of(&delivery));
        delivery.receipt.ack();
    }
    assert_eq!(left.len(), 4);
    nothing_comes(&mut again).await;
}

/// One lane's backlog is not seen in another.
pub async fn lanes_do_not_mix(queue: Queue) {
    queue.publish("default.bulk.gmail", 3).await;
    let ids = queue.publish("default.transactional.other", 1).await;
    let mut feed = queue.open("default.transactional.other", 10).await;
    let delivery = next(&mut feed).await;
    assert_eq!(id_of(&delivery), ids[0].as_str());
    delivery.receipt.ack();
    nothing_comes(&mut feed).await;
}

/// Each job goes to one of them.
pub async fn two_feeds_share_a_lane(queue: Queue) {
    let ids = queue.publish("default.bulk.gmail", 40).await;
    let (mut a, mut b) =
        (queue.open("default.bulk.gmail", 5).await, queue.open("default.bulk.gmail", 5).await);
    let mut seen = BTreeSet::new();
    while seen.len() < ids.len() {
        let delivery = tokio::time::timeout(PATIENCE, async {
            tokio::select! {
                it = a.next() => it,
                it = b.next() => it,
            }
        });
        let delivery = delivery.await.expect("in time").expect("the feeds go on");
        assert!(seen.insert(id_of(&delivery)), "given twice");
        delivery.receipt.ack();
    }
}

/// For the gauges.
pub async fn depths_count_what_waits(queue: Queue) {
    queue.publish("default.bulk.gmail", 7).await;
    let lanes = [lane("default.bulk.gmail"), lane("default.bulk.other")];
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let depths = queue.inbox.depths(&lanes).await.unwrap();
        let ready: Vec<u64> = depths.iter().map(|depth| depth.ready).collect();
        if ready == [7, 0] {
            return;
        }
        // A broker may count a moment later than it confirms.
        assert!(tokio::time::Instant::now() < deadline, "{ready:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
