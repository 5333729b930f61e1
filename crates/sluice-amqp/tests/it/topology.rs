use std::error::Error as _;
use std::slice;
use std::time::Duration;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use sluice_amqp::{Rabbit, RabbitError, RabbitSettings, TopologyPlan};
use sluice_engine::{Inbox, InboxError, Outbox};
use sluice_testkit::services::{PrivateRabbitMq, shared_rabbitmq};
use sluice_types::Side;

use crate::rig::{
    PATIENCE, Producer, client, client_with, in_time, lane, metrics, next, open, plan, ready, settings,
    until_ready,
};

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_declare_the_same_at_once_and_again() {
    let url = shared_rabbitmq().create_vhost();
    let (one, two) = tokio::join!(client(&url), client(&url));
    let three = client(&url).await;
    let depths = three.depths(&plan().lanes()).await.unwrap();
    assert_eq!(depths.len(), 8);
    for rabbit in [one, two, three] {
        assert!(rabbit.takes());
        rabbit.close().await;
        assert!(!rabbit.takes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_with_other_arguments_is_named() {
    let url = shared_rabbitmq().create_vhost();
    let producer = Producer::new(&url).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let name = "sluice.lane.shop.bulk.gmail";
    producer.channel.queue_declare(name.into(), options, arguments).await.unwrap();

    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    let error = rabbit.ready(PATIENCE).await.unwrap_err();
    assert!(matches!(&error, RabbitError::Mismatch { kind: "queue", name: named, .. } if named == name));
    assert_eq!(error.to_string(), "queue sluice.lane.shop.bulk.gmail exists with other arguments");
    assert!(error.source().unwrap().to_string().contains("PRECONDITION"), "{:?}", error.source());
    assert!(matches!(rabbit.open(&lane("shop.bulk.gmail"), 1).await, Err(InboxError::Refused(_))));
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_declaring_a_missing_queue_is_named_and_a_complete_topology_is_enough() {
    let url = shared_rabbitmq().create_vhost();
    let mut bare = settings(&url);
    bare.declare = false;
    let rabbit = Rabbit::start(bare.clone(), metrics()).unwrap();
    let error = rabbit.ready(PATIENCE).await.unwrap_err();
    assert!(matches!(error, RabbitError::Entity { verb: "found", .. }), "{error:?}");

    // The same client goes on once somebody has declared it.
    let other = client(&url).await;
    tokio::time::timeout(PATIENCE, async {
        while rabbit.ready(PATIENCE).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    for rabbit in [rabbit, other, client_with(bare).await] {
        rabbit.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bystander_counts_and_leaves_the_broker_as_it_is() {
    let url = shared_rabbitmq().create_vhost();
    let old = RabbitSettings { bystander: true, ..settings(&url) };
    let before = client_with(old.clone()).await;
    let (gmail, other) = (lane("shop.bulk.gmail"), lane("shop.bulk.other"));
    assert!(matches!(before.depths(slice::from_ref(&gmail)).await, Err(InboxError::Refused(_))));
    before.close().await;

    let mut topology = plan();
    topology.groups.clear();
    let current = client_with(RabbitSettings { topology, ..settings(&url) }).await;
    let bystander = client_with(old).await;
    assert_eq!(ready(&bystander, &other).await, 0);
    assert!(matches!(bystander.depths(&[gmail.clone(), other.clone()]).await, Err(InboxError::Refused(_))));
    let producer = Producer::new(&url).await;
    assert!(producer.publish("shop.bulk.gmail.com", "{}", Default::default()).await);
    until_ready(&current, &other, 1).await;
    assert!(matches!(current.depths(&[gmail]).await, Err(InboxError::Refused(_))), "it was not declared");
    for rabbit in [bystander, current] {
        rabbit.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_unavailable_and_not_refused() {
    let mut nowhere = settings("amqp://guest:guest@127.0.0.1:1/%2f");
    nowhere.timeout = Duration::from_millis(300);
    let rabbit = Rabbit::start(nowhere, metrics()).unwrap();
    assert!(matches!(rabbit.open(&lane("default.bulk.other"), 1).await, Err(InboxError::Unavailable(_))));
    assert!(rabbit.ready(Duration::from_millis(300)).await.is_err());
    rabbit.close().await;
    assert!(matches!(rabbit.open(&lane("default.bulk.other"), 1).await, Err(InboxError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_a_refusal() {
    let url = shared_rabbitmq().create_vhost().replace("guest:guest", "guest:wrong");
    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    let error = rabbit.ready(PATIENCE).await.unwrap_err();
    assert!(error.is_refusal(), "{error:?}");
    assert!(!format!("{error:?}").contains("wrong"));
    rabbit.close().await;
}

/// The plan with a domain in a group of its own that was in another.
fn moved() -> TopologyPlan {
    let mut moved = plan();
    moved.groups[0].1.retain(|domain| domain != "googlemail.com");
    moved.groups.push(("google".parse().unwrap(), vec!["googlemail.com".into()]));
    moved
}

/// A job for that domain comes to its new lane, and to no other.
async fn goes_to_one_lane(rabbit: &Rabbit, url: &str) {
    let producer = Producer::new(url).await;
    assert!(producer.publish("shop.bulk.googlemail.com", "{}", Default::default()).await);
    let mut feed = open(rabbit, &lane("shop.bulk.google"), 1).await;
    next(&mut *feed).await.receipt.ack();
    assert_eq!(ready(rabbit, &lane("shop.bulk.gmail")).await, 0);
}

/// Waits until a connection is lost.
async fn until_gone(rabbit: &Rabbit) {
    in_time(async {
        while rabbit.takes() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_moves_to_another_group_is_not_copied_into_both_lanes() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    rabbit.redeclare(&moved()).await.unwrap();
    goes_to_one_lane(&rabbit, &url).await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_gets_a_side_lane_while_publishers_publish_and_keeps_it_over_a_new_plan() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let producer = Producer::new(&url).await;
    assert!(producer.publish("shop.bulk.slow.example", "{}", Default::default()).await);
    until_ready(&rabbit, &lane("shop.bulk.other"), 1).await;
    let sides = |number| [("slow.example".to_owned(), Side::new(number).unwrap())].into();
    rabbit.sort(&sides(1)).await.unwrap();
    assert!(producer.publish("shop.bulk.slow.example", "{}", Default::default()).await);
    assert!(producer.publish("shop.bulk.free.example", "{}", Default::default()).await);
    until_ready(&rabbit, &lane("shop.bulk.other.1"), 1).await;
    until_ready(&rabbit, &lane("shop.bulk.other"), 2).await;
    rabbit.redeclare(&moved()).await.unwrap();
    assert!(producer.publish("shop.bulk.slow.example", "{}", Default::default()).await);
    until_ready(&rabbit, &lane("shop.bulk.other.1"), 2).await;
    // Another number: from now on there, and only there.
    rabbit.sort(&sides(3)).await.unwrap();
    assert!(producer.publish("shop.bulk.slow.example", "{}", Default::default()).await);
    until_ready(&rabbit, &lane("shop.bulk.other.3"), 1).await;
    assert_eq!(ready(&rabbit, &lane("shop.bulk.other.1")).await, 2);
    assert_eq!(ready(&rabbit, &lane("shop.bulk.other")).await, 2);
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_declare_has_no_side_lanes() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    assert!(rabbit.has_sides());
    let looking = client_with(RabbitSettings { declare: false, ..settings(&url) }).await;
    assert!(!looking.has_sides());
    looking.close().await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_the_broker_is_away_is_declared_when_it_is_back() {
    let broker = PrivateRabbitMq::start();
    let url = broker.create_vhost();
    let mut short = settings(&url);
    short.timeout = Duration::from_secs(2);
    let rabbit = client_with(short).await;
    broker.kill9();
    until_gone(&rabbit).await;
    let error = rabbit.redeclare(&moved()).await.unwrap_err();
    assert!(!error.is_refusal(), "{error:?}");
    broker.restart();
    rabbit.ready(PATIENCE).await.unwrap();
    goes_to_one_lane(&rabbit, &url).await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_the_broker_refuses_is_not_held_on_to() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let producer = Producer::new(&url).await;
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let name = "sluice.lane.later.bulk.gmail";
    producer.channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
    let mut with_later = plan();
    with_later.pools.push("later".parse().unwrap());
    let error = rabbit.redeclare(&with_later).await.unwrap_err();
    assert!(error.is_refusal(), "{error:?}");
    let vhost = url.rsplit('/').next().unwrap();
    shared_rabbitmq().rabbitmqctl(&["close_all_connections", "--vhost", vhost, "test"]);
    until_gone(&rabbit).await;
    // With the refused plan no connection would stand any more.
    rabbit.ready(PATIENCE).await.unwrap();
    rabbit.close().await;
}

/// Declares `sluice.jobs` as some publisher would.
async fn declare_jobs(producer: &Producer, kind: ExchangeKind, arguments: FieldTable) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    producer.channel.exchange_declare("sluice.jobs".into(), kind, options, arguments).await
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_may_declare_the_exchange_before_and_after() {
    let url = shared_rabbitmq().create_vhost();
    let early = Producer::new(&url).await;
    declare_jobs(&early, ExchangeKind::Topic, FieldTable::default()).await.unwrap();
    let rabbit = client(&url).await;
    let late = Producer::new(&url).await;
    declare_jobs(&late, ExchangeKind::Topic, FieldTable::default()).await.unwrap();
    for (producer, key, queue) in [
        (early, "shop.bulk.gmail.com", "shop.bulk.gmail"),
        (late, "nowhere.transactional.example.com", "default.transactional.other"),
    ] {
        assert!(producer.publish(key, "{}", Default::default()).await);
        until_ready(&rabbit, &lane(queue), 1).await;
    }
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_of_another_type_is_named() {
    let url = shared_rabbitmq().create_vhost();
    declare_jobs(&Producer::new(&url).await, ExchangeKind::Fanout, FieldTable::default()).await.unwrap();
    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    let error = rabbit.ready(PATIENCE).await.unwrap_err();
    assert_eq!(error.to_string(), "exchange sluice.jobs exists with other arguments");
    rabbit.close().await;
}

/// Up to now `sluice.jobs` had an alternate exchange, and the lanes were bound to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_of_before_is_taken_over_with_its_bindings() {
    let url = shared_rabbitmq().create_vhost();
    // The lanes are there; only the exchange is that of before.
    client(&url).await.close().await;
    let producer = Producer::new(&url).await;
    producer.channel.exchange_delete("sluice.jobs".into(), ExchangeDeleteOptions::default()).await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("alternate-exchange".into(), AMQPValue::LongString("sluice.jobs.other".into()));
    declare_jobs(&producer, ExchangeKind::Topic, arguments).await.unwrap();
    let options = QueueBindOptions::default();
    let (queue, key) = ("sluice.lane.shop.bulk.gmail", "shop.bulk.googlemail.com");
    let bind = producer.channel.queue_bind(
        queue.into(),
        "sluice.jobs".into(),
        key.into(),
        options,
        FieldTable::default(),
    );
    bind.await.unwrap();

    let rabbit = client(&url).await;
    assert!(producer.publish(key, "{}", Default::default()).await);
    let mut feed = open(&rabbit, &lane("shop.bulk.gmail"), 1).await;
    next(&mut *feed).await.receipt.ack();
    drop(feed);
    assert!(producer.publish("shop.bulk.example.com", "{}", Default::default()).await);
    until_ready(&rabbit, &lane("shop.bulk.other"), 1).await;
    rabbit.redeclare(&moved()).await.unwrap();
    goes_to_one_lane(&rabbit, &url).await;
    rabbit.close().await;
}
