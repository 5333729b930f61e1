//! The deliveries of one queue: one channel, one consumer, one prefetch.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Consumer};
use sluice_engine::{Delivery, Feed, Receipt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acker::{AckLoop, LaneAcker};
use crate::connect::{call, open_channel, within};
use crate::convert::{passport, returns};
use crate::error::RabbitError;
use crate::supervisor::Live;
use crate::topology::short;

/// Consumes one queue until the consumer is stopped or its connection is lost.
#[derive(Debug)]
pub(crate) struct QueueFeed {
    consumer: Option<Consumer>,
    acker: Arc<LaneAcker>,
    over: CancellationToken,
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
            channel,
            queue: name,
            over: live.over.clone(),
            closing: ackers.closing.clone(),
            timeout,
        };
        ackers.all.spawn(ackers.own.track_future(Arc::clone(&acker).run(on)));
        Ok(Self { consumer: Some(consumer), acker, over: live.over })
    }

    /// The next delivery and its AMQP properties.
    pub(crate) async fn next_raw(&mut self) -> Option<(Delivery, BasicProperties)> {
        let consumer = self.consumer.as_mut()?;
        let delivered = tokio::select! {
            biased;
            () = self.over.cancelled() => None,
            delivered = consumer.next() => delivered,
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
}

#[async_trait]
impl Feed for QueueFeed {
    async fn next(&mut self) -> Option<Delivery> {
        self.next_raw().await.map(|(delivery, _)| delivery)
    }

    async fn stop(&mut self) {
        if let Some(consumer) = &self.consumer {
            self.acker.stop(consumer.tag());
        }
    }
}

impl Drop for QueueFeed {
    fn drop(&mut self) {
        self.acker.feed_gone(self.consumer.take());
    }
}
