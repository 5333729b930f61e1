//! The deliveries of one queue: one channel, one consumer, one prefetch.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Consumer};
use sluice_engine::{Delivery, Feed, Receipt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acker::{AckLoop, LaneAcker};
use crate::connect::{call, open_channel, within};
use crate::convert::{passport, returns};
use crate::error::RabbitError;
use crate::supervisor::Live;
use crate::topology::short;

/// So long nothing is acked before a consumer is cancelled: the broker has lent all that it may by then, and none of it is on its way.
/// What is still comes back redelivered, as if this process had died of it. A round trip and a little; more: acks that come later.
const HOLD_ACKS: Duration = Duration::from_millis(30);

/// Consumes one queue until the consumer is stopped or its connection is lost.
#[derive(Debug)]
pub(crate) struct QueueFeed {
    consumer: Option<Consumer>,
    channel: Channel,
    acker: Arc<LaneAcker>,
    over: CancellationToken,
    timeout: Duration,
    /// When the consumer is to be cancelled.
    cancel_at: Option<Instant>,
}

/// Where a feed's acker runs, and what ends it.
#[derive(Clone, Debug)]
pub(crate) struct Ackers {
    /// Owns every task of the process.
    pub(crate) all: TaskTracker,
    /// Only the ackers, so that a close can wait for them.
    pub(crate) own: TaskTracker,
    pub(crate) closing: CancellationToken,
}

impl QueueFeed {
    /// Starts to consume `queue` over `live`, with at most `prefetch` deliveries out at once.
    pub(crate) async fn open(
        live: Live,
        queue: &str,
        prefetch: u16,
        ackers: &Ackers,
        timeout: Duration,
    ) -> Result<Self, RabbitError> {
        // Zero would mean "no bound".
        let prefetch = prefetch.max(1);
        let channel = open_channel(&live.connection, timeout).await?;
        let qos = channel.basic_qos(prefetch, BasicQosOptions { global: false });
        call(timeout, "basic.qos", qos).await?;
        let name = short(queue)?;
        let consumer = within(timeout, "basic.consume", async {
            let options = BasicConsumeOptions::default();
            let consume = channel.basic_consume(name.clone(), "".into(), options, FieldTable::default());
            consume.await.map_err(|error| RabbitError::declaring("queue", queue, "consumed", error))
        })
        .await?;
        let acker = Arc::new(LaneAcker::new(prefetch));
        let on = AckLoop {
            channel: channel.clone(),
            queue: name,
            over: live.over.clone(),
            closing: ackers.closing.clone(),
            timeout,
        };
        ackers.all.spawn(ackers.own.track_future(Arc::clone(&acker).run(on)));
        Ok(Self { consumer: Some(consumer), channel, acker, over: live.over, timeout, cancel_at: None })
    }

    /// The next delivery and its AMQP properties.
    pub(crate) async fn next_raw(&mut self) -> Option<(Delivery, BasicProperties)> {
        let delivered = loop {
            let cancel_at = self.cancel_at;
            let consumer = self.consumer.as_mut()?;
            tokio::select! {
                biased;
                () = self.over.cancelled() => break None,
                () = until(cancel_at) => self.cancel().await,
                delivered = consumer.next() => break delivered,
            }
        };
        match delivered {
            Some(Ok(delivery)) => {
                let lent = self.acker.lend(delivery.delivery_tag, delivery.acker);
                if lent {
                    return Some((
                        Delivery {
                            body: Bytes::from(delivery.data),
                            passport: passport(&delivery.properties),
                            redelivered: delivery.redelivered,
                            returns: returns(&delivery.properties, delivery.redelivered),
                            receipt: Receipt::new(delivery.delivery_tag, Arc::clone(&self.acker) as _),
                        },
                        delivery.properties,
                    ));
                }
            }
            Some(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "lane channel lost");
                self.acker.end();
            }
            // Cancelled, by us or by the broker: the channel stands, and what is out can still be acked.
            None => {}
        }
        self.consumer = None;
        None
    }

    /// Asks the broker for no more. What is lent by then can still be taken.
    async fn cancel(&mut self) {
        let Some(consumer) = &self.consumer else { return };
        let cancel = self.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
        if let Err(error) = call(self.timeout, "basic.cancel", cancel).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "consumer not cancelled in order");
        }
        self.cancel_at = None;
        self.acker.go_on();
    }
}

#[async_trait]
impl Feed for QueueFeed {
    async fn next(&mut self) -> Option<Delivery> {
        self.next_raw().await.map(|(delivery, _)| delivery)
    }

    async fn stop(&mut self) {
        if self.consumer.is_some() && self.cancel_at.is_none() {
            self.acker.hold(HOLD_ACKS + self.timeout);
            self.cancel_at = Some(Instant::now() + HOLD_ACKS);
        }
    }
}

/// Returns at that instant, or never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Drop for QueueFeed {
    fn drop(&mut self) {
        self.acker.feed_gone(self.consumer.take());
    }
}
