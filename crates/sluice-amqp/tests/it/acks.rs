use std::time::Duration;

use sluice_engine::{Delivery, Inbox as _};
use sluice_testkit::services::shared_rabbitmq;

use crate::rig::{
    A_WHILE, client, client_with, fill, in_time, lane, next, nothing, open, plan, ready, settings,
    until_ready,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acked_comes_again_after_the_client_is_gone() {
    let url = shared_rabbitmq().create_vhost();
    let lane = lane("default.bulk.gmail");
    let mut dying = settings(&url);
    dying.timeout = Duration::from_secs(5);
    let stop = dying.stop.clone();
    let rabbit = client_with(dying).await;
    fill(&rabbit, &lane, 3).await;
    let mut feed = open(&rabbit, &lane, 10).await;
    let (first, second) = (next(&mut *feed).await, next(&mut *feed).await);
    let kept = next(&mut *feed).await;
    second.receipt.ack();
    tokio::time::sleep(A_WHILE).await;
    stop.cancel();
    assert!(in_time(feed.next()).await.is_none());
    // Too late: the generation is over.
    first.receipt.ack();
    drop(kept);

    let rabbit = client(&url).await;
    until_ready(&rabbit, &lane, 2).await;
    let mut feed = open(&rabbit, &lane, 10).await;
    for body in ["{\"id\":\"job-0\"}", "{\"id\":\"job-2\"}"] {
        let delivery = next(&mut *feed).await;
        assert!(delivery.redelivered);
        assert_eq!(delivery.body, body);
        delivery.receipt.ack();
    }
    nothing(&mut *feed).await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_the_prefetch_is_out_at_once() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 10).await;
    let mut feed = open(&rabbit, &lane, 3).await;
    let mut out = Vec::new();
    for _ in 0..3 {
        out.push(next(&mut *feed).await);
    }
    nothing(&mut *feed).await;
    out.remove(1).receipt.ack();
    out.push(next(&mut *feed).await);
    nothing(&mut *feed).await;
    assert_eq!(ready(&rabbit, &lane).await, 6);
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_message_comes_again_and_a_dropped_receipt_is_a_release() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 1).await;
    let mut feed = open(&rabbit, &lane, 5).await;
    let first = next(&mut *feed).await;
    first.receipt.release();
    let second = next(&mut *feed).await;
    assert!(second.redelivered);
    drop(second);
    next(&mut *feed).await.receipt.ack();
    nothing(&mut *feed).await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_any_order_each_ack_takes_its_own_message_and_each_release_brings_it_back() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let lane = lane("default.bulk.gmail");
    const COUNT: usize = 400;
    fill(&rabbit, &lane, COUNT).await;
    let mut feed = open(&rabbit, &lane, 500).await;
    let mut out = Vec::new();
    for _ in 0..COUNT {
        out.push(next(&mut *feed).await);
    }
    fastrand::shuffle(&mut out);
    let (mut kept, mut released) = (Vec::new(), Vec::new());
    for (place, delivery) in out.into_iter().enumerate() {
        let Delivery { body, receipt, .. } = delivery;
        match place % 10 {
            3 => kept.push((body, receipt)),
            5 => {
                released.push(body);
                receipt.release();
            }
            _ => receipt.ack(),
        }
        if place % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let mut again = Vec::new();
    for _ in 0..released.len() {
        let delivery = next(&mut *feed).await;
        again.push(delivery.body);
        delivery.receipt.ack();
    }
    nothing(&mut *feed).await;
    again.sort();
    released.sort();
    assert_eq!(again, released);

    // What nobody gave back returns when the client closes.
    rabbit.close().await;
    let rabbit = client(&url).await;
    until_ready(&rabbit, &lane, kept.len() as u64).await;
    let mut feed = open(&rabbit, &lane, 500).await;
    let mut left = Vec::new();
    for _ in 0..kept.len() {
        let delivery = next(&mut *feed).await;
        left.push(delivery.body);
        delivery.receipt.ack();
    }
    left.sort();
    let mut kept: Vec<_> = kept.into_iter().map(|(body, _late)| body).collect();
    kept.sort();
    assert_eq!(left, kept);
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_feed_returns_what_nobody_took_and_still_takes_acks() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 10).await;
    let mut feed = open(&rabbit, &lane, 10).await;
    let held = next(&mut *feed).await;
    drop(feed);
    // Nine at once, while the tenth is still held.
    until_ready(&rabbit, &lane, 9).await;
    held.receipt.ack();
    rabbit.close().await;
    let rabbit = client(&url).await;
    assert_eq!(ready(&rabbit, &lane).await, 9);
    rabbit.close().await;
}

/// RabbitMQ keeps acks back after many releases, and forgets them when their channel closes (rabbitmq-server#10327).
#[tokio::test(flavor = "multi_thread")]
async fn an_ack_after_many_releases_is_heard_before_the_channel_closes() {
    let url = shared_rabbitmq().create_vhost();
    let lane = lane("default.bulk.gmail");
    let (count, prefetch, done) = (2_000, 500, 20);
    let filler = client(&url).await;
    fill(&filler, &lane, count).await;
    let mut left = count;
    for _ in 0..10 {
        let rabbit = client(&url).await;
        let mut feed = open(&rabbit, &lane, prefetch).await;
        let mut out = Vec::new();
        for _ in 0..prefetch {
            out.push(next(&mut *feed).await.receipt);
        }
        in_time(feed.stop()).await;
        let back = out.split_off(done);
        back.into_iter().for_each(sluice_engine::Receipt::release);
        tokio::time::sleep(Duration::from_millis(4)).await;
        out.into_iter().for_each(sluice_engine::Receipt::ack);
        drop(feed);
        rabbit.close().await;
        left -= done;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(ready(&filler, &lane).await, left as u64);
    }
    filler.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_slow_job_does_not_use_up_the_prefetch() {
    let url = shared_rabbitmq().create_vhost();
    let rabbit = client(&url).await;
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 60).await;
    let mut feed = open(&rabbit, &lane, 10).await;
    let slow = next(&mut *feed).await;
    for _ in 0..59 {
        next(&mut *feed).await.receipt.ack();
    }
    slow.receipt.release();
    assert!(next(&mut *feed).await.redelivered);
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_delivery_limit_is_poison_and_names_its_lane() {
    let url = shared_rabbitmq().create_vhost();
    let mut strict = settings(&url);
    strict.delivery_limit = 2;
    let lane = lane("shop.transactional.gmail");
    let rabbit = client_with(strict.clone()).await;
    assert!(plan().lanes().contains(&lane));
    fill(&rabbit, &lane, 1).await;
    rabbit.close().await;
    // A client that dies with the message in hand, as often as allowed and once more. This counts on every version of
    // RabbitMQ; from 4.3 on a release does not.
    for death in 0..3 {
        let mut dying = strict.clone();
        dying.stop = tokio_util::sync::CancellationToken::new();
        let stop = dying.stop.clone();
        let rabbit = client_with(dying).await;
        let mut feed = open(&rabbit, &lane, 1).await;
        let held = next(&mut *feed).await;
        assert_eq!((held.redelivered, held.returns), (death > 0, death));
        stop.cancel();
        assert!(in_time(feed.next()).await.is_none());
        drop(held);
    }
    let mut dying = strict.clone();
    dying.stop = tokio_util::sync::CancellationToken::new();
    let rabbit = client_with(dying).await;
    let mut feed = open(&rabbit, &lane, 1).await;
    nothing(&mut *feed).await;
    let mut poison = rabbit.open_poison(10).await.unwrap().unwrap();
    let (origin, dead) = in_time(poison.next()).await.unwrap();
    assert_eq!(origin, Some(lane));
    assert_eq!(dead.body, "{\"id\":\"job-0\"}");
    dead.receipt.ack();
    rabbit.close().await;
}
