//! Messages that the broker gave up on: each was delivered too often without an ack, since it brought its worker down.
//! They become dead letters without being looked at again, but by a process that may die of it.

use std::sync::Arc;
use std::time::Duration;

use sluice_types::{Class, GroupName, Lane, PoolName, Refusal};
use tokio_util::sync::CancellationToken;

use crate::ack::ack;
use crate::health::chain;
use crate::refuse::refuse_as;
use crate::taste::safe_id;
use crate::worker::Worker;

/// Poisonous messages held at a time.
const PREFETCH: u16 = 16;
/// Pause before a feed that is over is opened again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// Pause after a message that could not be kept: it is given back and comes again at once.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Keeps every message that the broker gave up on as a dead letter, until the process drains.
pub(crate) async fn run_poison(worker: Arc<Worker>, stop: CancellationToken) {
    loop {
        match worker.inbox.open_poison(PREFETCH).await {
            Ok(None) => return,
            Ok(Some(mut feed)) => {
                while let Some((lane, delivery)) = tokio::select! {
                    () = stop.cancelled() => return,
                    next = feed.next() => next,
                } {
                    let lane = lane.unwrap_or_else(unknown_lane);
                    let job_id = safe_id(&worker, &delivery.body).await;
                    let trace = delivery.passport.traceparent.as_deref();
                    let refusal = Refusal::delivery_limit();
                    let kept = refuse_as(&worker, &lane, &delivery.body, refusal, trace, job_id).await;
                    let is_kept = kept.is_ok();
                    ack(delivery.receipt, kept.map(drop));
                    if !is_kept {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = tokio::time::sleep(RETRY_PAUSE) => {}
                        }
                    }
                }
            }
            Err(error) => {
                tracing::debug!(error = %chain(&error), "could not consume what the broker gave up on")
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REOPEN_PAUSE) => {}
        }
    }
}

fn unknown_lane() -> Lane {
    Lane { pool: PoolName::default(), class: Class::Bulk, group: GroupName::other(), side: None }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use async_trait::async_trait;
    use bytes::Bytes;

    use super::*;
    use crate::ports::{
        Acker, Delivery, Feed, Inbox, InboxError, LaneDepth, Passport, PoisonFeed, PublishError, Receipt,
    };
    use crate::refuse::tests::{Answers, ONE_ESP};
    use crate::worker::rig::Rig;

    /// A broker with a message that it has given up on, which comes again as soon as it is given back.
    #[derive(Debug)]
    struct Again;

    #[async_trait]
    impl Inbox for Again {
        async fn open(&self, _: &Lane, _: u16) -> Result<Box<dyn Feed>, InboxError> {
            Err(InboxError::Unavailable("there is none".into()))
        }

        async fn depths(&self, _: &[Lane]) -> Result<Vec<LaneDepth>, InboxError> {
            Ok(Vec::new())
        }

        async fn open_poison(&self, _: u16) -> Result<Option<Box<dyn PoisonFeed>>, InboxError> {
            Ok(Some(Box::new(Self)))
        }
    }

    #[async_trait]
    impl PoisonFeed for Again {
        async fn next(&mut self) -> Option<(Option<Lane>, Delivery)> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let delivery = Delivery {
                body: Bytes::from_static(b"{}"),
                passport: Passport::default(),
                redelivered: true,
                returns: 0,
                receipt: Receipt::new(1, Arc::new(Self)),
            };
            Some((None, delivery))
        }
    }

    impl Acker for Again {
        fn ack(&self, _: u64) {}

        fn release(&self, _: u64) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_cannot_be_kept_does_not_spin() {
        let mut rig = Rig::new(ONE_ESP);
        let broker = Arc::new(Answers::new(|| PublishError::Unavailable("it is away".into())));
        rig.worker.inbox = Arc::new(Again);
        rig.worker.outbox = Arc::clone(&broker) as _;
        let poison = run_poison(Arc::new(rig.worker), CancellationToken::new());
        tokio::time::timeout(Duration::from_secs(10), poison).await.unwrap_err();
        let asked = broker.asked.load(Ordering::Relaxed);
        assert!((5..=11).contains(&asked), "{asked} tries in ten seconds");
    }
}
