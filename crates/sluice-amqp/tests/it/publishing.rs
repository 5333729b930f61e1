use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use sluice_engine::{Burial, Outbox, Passport, Publication, PublishError};
use sluice_testkit::services::{PrivateRabbitMq, shared_rabbitmq};
use sluice_types::{Refusal, RefusalReason, Timestamp};

use crate::rig::{
    Producer, client, client_with, fill, in_time, job, lane, next, nothing, open, ready, settings,
    until_ready,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_comes_out_as_it_went_in_and_is_gone_once_acked() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let lane = lane("shop.bulk.gmail");
    let passport = Passport {
        attempt: 3,
        first_seen: Some(Timestamp::from_micros(1_764_000_000_000_123)),
        faulted: vec!["ses".parse().unwrap()],
        resend: true,
        renewals: 2,
        traceparent: None,
    };
    let sent = Publication { passport: passport.clone(), ..job(&lane, 7) };
    rabbit.publish(vec![sent.clone()]).await.remove(0).unwrap();
    until_ready(&rabbit, &lane, 1).await;

    let mut feed = open(&rabbit, &lane, 10).await;
    let delivery = next(&mut *feed).await;
    assert_eq!(delivery.body, sent.body);
    assert_eq!(delivery.passport, passport);
    assert!(!delivery.redelivered);
    delivery.receipt.ack();
    rabbit.close().await;

    let rabbit = client(&url).await;
    assert_eq!(ready(&rabbit, &lane).await, 0);
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_batch_exactly_the_unroutable_jobs_fail() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let there = lane("shop.bulk.gmail");
    let nowhere = lane("shop.bulk.nosuchgroup");
    // Confirms come in bunches and out of order: each failure has to find its own job.
    let batch = |round: usize| -> Vec<Publication> {
        (0..700).map(|id| job(if (id + round) % 7 == 3 { &nowhere } else { &there }, id)).collect()
    };
    for round in 0..5 {
        let answers = rabbit.publish(batch(round)).await;
        for (id, answer) in answers.iter().enumerate() {
            let failed = matches!(answer, Err(PublishError::Unroutable));
            assert_eq!(failed, (id + round) % 7 == 3, "round {round}, job {id}: {answer:?}");
            assert!(failed || answer.is_ok(), "round {round}, job {id}: {answer:?}");
        }
    }
    until_ready(&rabbit, &there, 3000).await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_publish_at_once() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = std::sync::Arc::new(client(&url).await);
    let lane = lane("default.transactional.other");
    let all = (0..50).map(|_| {
        let (rabbit, lane) = (std::sync::Arc::clone(&rabbit), lane.clone());
        tokio::task::spawn(async move { fill(&rabbit, &lane, 20).await })
    });
    futures_util::future::join_all(all).await.into_iter().for_each(|done| done.unwrap());
    until_ready(&rabbit, &lane, 1000).await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_buried_with_its_reason() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let burial = Burial {
        job_id: Some("job-1".to_owned()),
        refusal: Refusal::new(RefusalReason::UnknownField, "expire_at", "is not a field"),
        lane: lane("default.bulk.gmail"),
        body: Bytes::from_static(b"{\"expire_at\":1}"),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
    };
    let answers = rabbit.bury(vec![burial.clone(), burial]).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");

    let producer = Producer::new(&url).await;
    let options = BasicConsumeOptions::default();
    let consumed =
        producer.channel.basic_consume("sluice.dead".into(), "".into(), options, FieldTable::default());
    let dead = in_time(consumed.await.unwrap().next()).await.unwrap().unwrap();
    assert_eq!(dead.data, b"{\"expire_at\":1}");
    assert_eq!(dead.properties.message_id().as_ref().map(|it| it.as_str()), Some("job-1"));
    let headers = dead.properties.headers().clone().unwrap();
    for (name, text) in [
        ("reason", "unknown_field"),
        ("field", "expire_at"),
        ("detail", "is not a field"),
        ("lane", "default.bulk.gmail"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ] {
        assert_eq!(headers.inner()[name].as_long_string().unwrap().as_bytes(), text.as_bytes());
    }
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_broker_is_unavailable_for_publishing_but_can_still_be_consumed_from() {
    let broker = PrivateRabbitMq::start();
    let mut short = settings(&broker.create_vhost());
    short.timeout = std::time::Duration::from_secs(2);
    let rabbit = client_with(short).await;
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 3).await;
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "0"]);
    for _ in 0..2 {
        let answers = rabbit.publish(vec![job(&lane, 9)]).await;
        assert!(matches!(answers[..], [Err(PublishError::Unavailable(_))]), "{answers:?}");
    }
    in_time(async {
        while rabbit.takes() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut feed = open(&rabbit, &lane, 1).await;
    for _ in 0..3 {
        next(&mut *feed).await.receipt.ack();
    }
    broker.rabbitmqctl(&["set_vm_memory_high_watermark", "0.9"]);
    in_time(async {
        while !rabbit.takes() || rabbit.publish(vec![job(&lane, 10)]).await[0].is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    rabbit.close().await;
}

/// Hundreds came back with each replica that ended, as if it had died of them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_its_way_to_a_feed_that_stops_does_not_come_back() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let lane = lane("default.bulk.gmail");
    let count = 3_000;
    fill(&rabbit, &lane, count).await;
    let mut taken = 0;
    for round in 0..10 {
        let mut feed = open(&rabbit, &lane, 100).await;
        let last = taken + 150;
        while let Some(delivery) = in_time(feed.next()).await {
            assert!(!delivery.redelivered, "in round {round}");
            delivery.receipt.ack();
            taken += 1;
            if taken == last {
                in_time(feed.stop()).await;
            }
        }
        drop(feed);
        until_ready(&rabbit, &lane, (count - taken) as u64).await;
    }
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_feed_gives_out_what_had_come_and_then_ends() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 5).await;
    let mut feed = open(&rabbit, &lane, 5).await;
    next(&mut *feed).await.receipt.ack();
    until_ready(&rabbit, &lane, 0).await;
    feed.stop().await;
    let mut rest = Vec::new();
    while let Some(delivery) = in_time(feed.next()).await {
        rest.push(delivery);
    }
    assert_eq!(rest.len(), 4);
    fill(&rabbit, &lane, 2).await;
    assert!(in_time(feed.next()).await.is_none());
    // The receipts outlive the feed.
    drop(feed);
    rest.into_iter().for_each(|delivery| delivery.receipt.ack());
    rabbit.close().await;
    let rabbit = client(&url).await;
    assert_eq!(ready(&rabbit, &lane).await, 2);
    let producer = Producer::new(&url).await;
    let queue = format!("sluice.lane.{lane}");
    producer.channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await.unwrap();
    let mut feed = open(&rabbit, &lane, 1).await;
    nothing(&mut *feed).await;
    rabbit.close().await;
}
