//! What every test needs: a client on a vhost, jobs, and patience with an end.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use sluice_amqp::{Rabbit, RabbitSettings, TopologyPlan};
use sluice_engine::{Delivery, Feed, Inbox, Outbox, Passport, Publication};
use sluice_telemetry::Metrics;
use sluice_types::Lane;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest wait for something that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// Time in which something that must not happen would have happened.
pub(crate) const A_WHILE: Duration = Duration::from_millis(400);

pub(crate) fn plan() -> TopologyPlan {
    TopologyPlan {
        pools: vec!["default".parse().unwrap(), "shop".parse().unwrap()],
        groups: vec![("gmail".parse().unwrap(), vec!["gmail.com".into(), "googlemail.com".into()])],
        sides: BTreeMap::new(),
        results: true,
    }
}

pub(crate) fn settings(url: &str) -> RabbitSettings {
    RabbitSettings {
        url: url.into(),
        tls_ca_file: None,
        tls_pair: None,
        heartbeat: Duration::from_secs(5),
        timeout: Duration::from_secs(10),
        delivery_limit: 20,
        topology: plan(),
        declare: true,
        bystander: false,
        name: "test".to_owned(),
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
    }
}

pub(crate) fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("0.0.0").unwrap())
}

pub(crate) async fn client(url: &str) -> Rabbit {
    client_with(settings(url)).await
}

pub(crate) async fn client_with(settings: RabbitSettings) -> Rabbit {
    let rabbit = Rabbit::start(settings, metrics()).unwrap();
    rabbit.ready(PATIENCE).await.unwrap();
    rabbit
}

pub(crate) fn lane(text: &str) -> Lane {
    text.parse().unwrap()
}

pub(crate) fn job(lane: &Lane, id: usize) -> Publication {
    Publication {
        id: format!("job-{id}").parse().unwrap(),
        lane: lane.clone(),
        body: Bytes::from(format!("{{\"id\":\"job-{id}\"}}")),
        passport: Passport::default(),
    }
}

/// Publishes jobs `0..count` and sees each confirmed.
pub(crate) async fn fill(rabbit: &Rabbit, lane: &Lane, count: usize) {
    let answers = rabbit.publish((0..count).map(|id| job(lane, id)).collect()).await;
    assert_eq!(answers.len(), count);
    answers.into_iter().for_each(|answer| answer.unwrap());
}

pub(crate) async fn open(rabbit: &Rabbit, lane: &Lane, prefetch: u16) -> Box<dyn Feed> {
    rabbit.open(lane, prefetch).await.unwrap()
}

/// The next delivery, which has to come.
pub(crate) async fn next(feed: &mut dyn Feed) -> Delivery {
    in_time(feed.next()).await.expect("the feed goes on")
}

/// Nothing comes for a while.
pub(crate) async fn nothing(feed: &mut dyn Feed) {
    let come = tokio::time::timeout(A_WHILE, feed.next()).await;
    assert!(come.is_err(), "unexpected: {come:?}");
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

pub(crate) async fn ready(rabbit: &Rabbit, lane: &Lane) -> u64 {
    rabbit.depths(std::slice::from_ref(lane)).await.unwrap()[0].ready
}

/// Waits until `lane` holds `count` jobs that are ready.
pub(crate) async fn until_ready(rabbit: &Rabbit, lane: &Lane, count: u64) {
    in_time(async {
        while ready(rabbit, lane).await != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A publisher that is not ours, with confirms.
pub(crate) struct Producer {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Producer {
    pub(crate) async fn new(url: &str) -> Self {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Self { _connection: connection, channel }
    }

    /// Publishes to `sluice.jobs`; whether a queue took it.
    pub(crate) async fn publish(&self, key: &str, body: &str, properties: BasicProperties) -> bool {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let sent = self
            .channel
            .basic_publish("sluice.jobs".into(), key.into(), options, body.as_bytes(), properties)
            .await
            .unwrap();
        matches!(sent.await.unwrap(), Confirmation::Ack(None))
    }
}
