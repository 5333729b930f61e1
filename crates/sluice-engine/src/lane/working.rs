//! The deliveries of a feed, of which only so many are on the way to their calls at a time; the broker lends more.

use crate::ports::{Delivery, Feed};
use crate::room::{Room, Rooms};

/// A feed, and the room for those of its deliveries that are under way.
pub(super) struct Working {
    feed: Box<dyn Feed>,
    rooms: Rooms,
}

impl Working {
    pub(super) fn new(feed: Box<dyn Feed>, under_way: u16) -> Self {
        Self { feed, rooms: Rooms::new(under_way) }
    }

    /// The next delivery, once there is room for it. Given up, it loses none.
    pub(super) async fn next(&mut self) -> Option<(Delivery, Room)> {
        let room = self.rooms.take().await?;
        Some((self.feed.next().await?, room))
    }

    /// Asks the broker for no more.
    pub(super) async fn stop(&mut self) {
        self.feed.stop().await;
    }

    /// Ends the feed and returns what it holds to the broker.
    pub(super) async fn give_back(mut self) {
        self.feed.stop().await;
        while let Some(delivery) = self.feed.next().await {
            delivery.receipt.release();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::ports::{Acker, Passport, Receipt};

    /// Deliveries with the bodies `1` to `last`.
    #[derive(Debug, Default)]
    pub(in crate::lane) struct Numbers {
        pub(in crate::lane) last: u64,
        pub(in crate::lane) released: Arc<Mutex<Vec<u64>>>,
        pub(in crate::lane) given: u64,
    }

    #[async_trait]
    impl Feed for Numbers {
        async fn next(&mut self) -> Option<Delivery> {
            self.given += 1;
            (self.given <= self.last).then(|| Delivery {
                body: Bytes::from(self.given.to_string()),
                passport: Passport::default(),
                redelivered: false,
                returns: 0,
                receipt: Receipt::new(self.given, Arc::new(Released(Arc::clone(&self.released)))),
            })
        }

        async fn stop(&mut self) {}
    }

    #[derive(Debug)]
    struct Released(Arc<Mutex<Vec<u64>>>);

    impl Acker for Released {
        fn ack(&self, _: u64) {}

        fn release(&self, tag: u64) {
            self.0.lock().unwrap().push(tag);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_delivery_waits_for_one_that_is_under_way_and_is_not_lost_meanwhile() {
        let mut feed = Working::new(Box::new(Numbers { last: 3, ..Numbers::default() }), 2);
        let _first = feed.next().await.unwrap();
        let (_, second) = feed.next().await.unwrap();
        let waits = tokio::time::timeout(Duration::from_secs(1), feed.next()).await;
        assert!(waits.is_err(), "there is room for two");
        drop(second);
        let (third, _) = feed.next().await.unwrap();
        assert_eq!(third.body, "3");
    }
}
