use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use sluice_engine::Passport;
use sluice_testkit::services::shared_rabbitmq;

use crate::rig::{Producer, client, lane, next, nothing, open};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test(flavor = "multi_thread")]
async fn every_key_lands_once_in_the_lane_meant_for_it() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let producer = Producer::new(&url).await;
    for (key, meant) in [
        ("default.bulk.gmail.com", "default.bulk.gmail"),
        ("shop.transactional.googlemail.com", "shop.transactional.gmail"),
        ("shop.bulk.example.org", "shop.bulk.other"),
        ("default.transactional.mail.gmail.com", "default.transactional.other"),
        ("nobody.transactional.gmail.com", "default.transactional.other"),
        ("nobody.bulk.example.org", "default.bulk.other"),
        ("shop.urgent.gmail.com", "default.bulk.other"),
        ("", "default.bulk.other"),
        ("what even is this", "default.bulk.other"),
        ("shop.bulk", "shop.bulk.other"),
    ] {
        assert!(producer.publish(key, key, BasicProperties::default()).await, "{key:?} was returned");
        let mut feed = open(&rabbit, &lane(meant), 1).await;
        let delivery = next(&mut *feed).await;
        assert_eq!(delivery.body, key.as_bytes(), "{key:?}");
        delivery.receipt.ack();
        drop(feed);
        for other in crate::rig::plan().lanes() {
            assert_eq!(crate::rig::ready(&rabbit, &other).await, 0, "{key:?} is in {other} too");
        }
    }
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_job_has_the_default_passport_whatever_its_headers_say() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let producer = Producer::new(&url).await;
    let mut feed = open(&rabbit, &lane("default.bulk.gmail"), 10).await;
    let mut hostile = FieldTable::default();
    hostile.insert("x-sluice-attempt".into(), AMQPValue::LongString("9".into()));
    hostile.insert("x-sluice-first-seen".into(), AMQPValue::LongLongInt(-5));
    hostile.insert("x-sluice-faulted".into(), AMQPValue::Boolean(true));
    hostile.insert("traceparent".into(), AMQPValue::LongString("x".repeat(70_000).into()));
    let mut traced = FieldTable::default();
    traced.insert("traceparent".into(), AMQPValue::LongString(TRACE.into()));
    for (headers, traceparent) in [(hostile, None), (traced, Some(TRACE.to_owned()))] {
        let properties = BasicProperties::default().with_headers(headers);
        assert!(producer.publish("default.bulk.gmail.com", "{}", properties).await);
        let delivery = next(&mut *feed).await;
        assert_eq!(delivery.passport, Passport { traceparent, ..Passport::default() });
        delivery.receipt.ack();
    }
    nothing(&mut *feed).await;
    rabbit.close().await;
}
