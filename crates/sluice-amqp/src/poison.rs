//! Messages that exceeded the delivery limit: they brought workers down, so they are to be refused, not tried again.

use async_trait::async_trait;
use sluice_engine::{Delivery, PoisonFeed};
use sluice_types::Lane;

use crate::convert::lane_of_death;
use crate::feed::QueueFeed;

/// The deliveries of `sluice.poison`.
#[derive(Debug)]
pub(crate) struct PoisonQueue(pub(crate) QueueFeed);

#[async_trait]
impl PoisonFeed for PoisonQueue {
    async fn next(&mut self) -> Option<(Option<Lane>, Delivery)> {
        let (delivery, properties) = self.0.next_raw().await?;
        Some((lane_of_death(&properties), delivery))
    }
}
