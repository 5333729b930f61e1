use std::net::SocketAddr;
use std::time::Duration;

use sluice_amqp::{Rabbit, RabbitSettings};
use sluice_engine::{Inbox, Outbox, PublishError};
use sluice_testkit::services::{PrivateRabbitMq, TcpProxy, shared_rabbitmq};

use crate::rig::{
    PATIENCE, fill, in_time, job, lane, metrics, next, nothing, open, ready, settings, until_ready,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_ends_the_feed_and_nothing_has_to_be_restarted() {
    let broker = PrivateRabbitMq::start();
    let metrics = metrics();
    let rabbit = Rabbit::start(settings(&broker.create_vhost()), metrics.clone()).unwrap();
    rabbit.ready(PATIENCE).await.unwrap();
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 5).await;
    let mut feed = open(&rabbit, &lane, 2).await;
    let (first, second) = (next(&mut *feed).await, next(&mut *feed).await);

    broker.kill9();
    assert!(in_time(feed.next()).await.is_none());
    assert!(in_time(feed.next()).await.is_none());
    in_time(async {
        while rabbit.takes() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // Both are of a generation that is over.
    first.receipt.ack();
    second.receipt.release();

    broker.restart();
    rabbit.ready(PATIENCE).await.unwrap();
    let mut feed = open(&rabbit, &lane, 10).await;
    let mut bodies = Vec::new();
    for _ in 0..5 {
        let delivery = next(&mut *feed).await;
        bodies.push(String::from_utf8(delivery.body.to_vec()).unwrap());
        delivery.receipt.ack();
    }
    bodies.sort();
    assert_eq!(bodies, (0..5).map(|id| format!("{{\"id\":\"job-{id}\"}}")).collect::<Vec<_>>());
    nothing(&mut *feed).await;
    let text = metrics.render().unwrap();
    assert!(text.contains("sluice_reconnects_total{dependency=\"queue\"} 2"), "{text}");
    assert!(rabbit.takes());
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publications_under_way_when_the_broker_dies_are_not_called_safe() {
    let broker = PrivateRabbitMq::start();
    let rabbit = Rabbit::start(settings(&broker.create_vhost()), metrics()).unwrap();
    rabbit.ready(PATIENCE).await.unwrap();
    let lane = lane("default.bulk.gmail");
    let publishing = async {
        let mut safe = 0_u64;
        loop {
            let answers = rabbit.publish((0..1000).map(|id| job(&lane, id)).collect()).await;
            safe += answers.iter().filter(|answer| answer.is_ok()).count() as u64;
            if answers.iter().any(|answer| matches!(answer, Err(PublishError::Unavailable(_)))) {
                return safe;
            }
        }
    };
    let killing = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        tokio::task::block_in_place(|| broker.kill9());
    };
    let (safe, ()) = in_time(async { tokio::join!(publishing, killing) }).await;
    assert!(safe > 0);
    broker.restart();
    rabbit.ready(PATIENCE).await.unwrap();
    in_time(async {
        while ready(&rabbit, &lane).await < safe {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    fill(&rabbit, &lane, 1).await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_line_ends_the_feed_and_both_connections_come_back() {
    let (rabbit, proxy) = behind_a_proxy(Duration::from_secs(5)).await;
    let lane = lane("default.bulk.gmail");
    fill(&rabbit, &lane, 1).await;
    let mut feed = open(&rabbit, &lane, 1).await;
    let held = next(&mut *feed).await;
    for _ in 0..3 {
        proxy.cut();
        // What had come already may still come out.
        while in_time(feed.next()).await.is_some() {}
        rabbit.ready(PATIENCE).await.unwrap();
        feed = in_time(async {
            loop {
                if let Ok(feed) = rabbit.open(&lane, 1).await {
                    return feed;
                }
            }
        })
        .await;
    }
    held.receipt.ack();
    let again = next(&mut *feed).await;
    assert!(again.redelivered);
    again.receipt.ack();
    nothing(&mut *feed).await;
    in_time(async { while rabbit.publish(vec![job(&lane, 1)]).await[0].is_err() {} }).await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_swallows_everything_costs_timeouts_and_never_hangs() {
    let (rabbit, proxy) = behind_a_proxy(Duration::from_secs(1)).await;
    let lane = lane("default.bulk.gmail");
    let mut feed = open(&rabbit, &lane, 1).await;
    proxy.black_hole(true);
    let answers = in_time(rabbit.publish(vec![job(&lane, 0)])).await;
    assert!(matches!(answers[..], [Err(PublishError::Unavailable(_))]), "{answers:?}");
    assert!(in_time(rabbit.open(&lane, 1)).await.is_err());
    assert!(in_time(rabbit.depths(std::slice::from_ref(&lane))).await.is_err());
    // Heartbeats find out.
    assert!(in_time(feed.next()).await.is_none());
    proxy.black_hole(false);
    in_time(async {
        while rabbit.ready(PATIENCE).await.is_err() || rabbit.publish(vec![job(&lane, 1)]).await[0].is_err() {
        }
    })
    .await;
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_ends_only_its_own_feed() {
    let broker = shared_rabbitmq();
    let url = broker.create_vhost();
    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    rabbit.ready(PATIENCE).await.unwrap();
    let (gone, stays) = (lane("shop.bulk.gmail"), lane("default.bulk.gmail"));
    let (mut ending, mut going_on) = (open(&rabbit, &gone, 1).await, open(&rabbit, &stays, 1).await);
    broker.delete_queue(&url, "sluice.lane.shop.bulk.gmail");
    assert!(in_time(ending.next()).await.is_none());
    let answers = rabbit.publish(vec![job(&gone, 1), job(&stays, 2)]).await;
    assert!(matches!(answers[..], [Err(PublishError::Unroutable), Ok(())]), "{answers:?}");
    next(&mut *going_on).await.receipt.ack();
    until_ready(&rabbit, &stays, 0).await;
    rabbit.close().await;
}

/// Until the next connection nobody declared it again: its jobs could not be published, nor any lane be counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_there_again_for_whoever_opens_or_counts_it() {
    let broker = shared_rabbitmq();
    let url = broker.create_vhost();
    let rabbit = Rabbit::start(settings(&url), metrics()).unwrap();
    rabbit.ready(PATIENCE).await.unwrap();
    let lane = lane("shop.bulk.gmail");
    broker.delete_queue(&url, "sluice.lane.shop.bulk.gmail");
    let mut feed = open(&rabbit, &lane, 1).await;
    assert!(matches!(rabbit.publish(vec![job(&lane, 1)]).await[..], [Ok(())]));
    next(&mut *feed).await.receipt.ack();
    until_ready(&rabbit, &lane, 0).await;
    broker.delete_queue(&url, "sluice.lane.shop.bulk.gmail");
    assert!(rabbit.depths(std::slice::from_ref(&lane)).await.is_ok());
    rabbit.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_stays_so_where_we_may_not_declare() {
    let broker = shared_rabbitmq();
    let url = broker.create_vhost();
    let declarer = Rabbit::start(settings(&url), metrics()).unwrap();
    declarer.ready(PATIENCE).await.unwrap();
    declarer.close().await;
    let rabbit = Rabbit::start(RabbitSettings { declare: false, ..settings(&url) }, metrics()).unwrap();
    rabbit.ready(PATIENCE).await.unwrap();
    let lane = lane("shop.bulk.gmail");
    broker.delete_queue(&url, "sluice.lane.shop.bulk.gmail");
    assert!(rabbit.open(&lane, 1).await.is_err());
    assert!(rabbit.depths(std::slice::from_ref(&lane)).await.is_err());
    rabbit.close().await;
}

async fn behind_a_proxy(timeout: Duration) -> (Rabbit, TcpProxy) {
    let broker = shared_rabbitmq();
    let url = broker.create_vhost();
    let proxy = TcpProxy::start(SocketAddr::from(([127, 0, 0, 1], broker.port())));
    let url = url.replace(&format!(":{}/", broker.port()), &format!(":{}/", proxy.addr().port()));
    let mut settings = settings(&url);
    settings.timeout = timeout;
    settings.heartbeat = Duration::from_secs(1);
    let rabbit = Rabbit::start(settings, metrics()).unwrap();
    rabbit.ready(PATIENCE).await.unwrap();
    (rabbit, proxy)
}
