//! The other end of the way: a message that is no job goes to the dead letters, with its reason.

use bytes::Bytes;
use sluice_types::{Job, Lane, Refusal};

use crate::ack::{NotStored, Stored};
use crate::failpoint::{Failpoint, at};
use crate::ports::{Burial, DeadLetter, PublishError};
use crate::worker::Worker;

/// Keeps a refused message in `dead_letter` and publishes it to `sluice.dead`; its delivery can be acked then. A queue that does
/// not take it gets no copy.
///
/// # Errors
/// When the store or the broker cannot be reached: the delivery must be given back.
pub(crate) fn refuse<'a>(
    worker: &'a Worker,
    lane: &'a Lane,
    body: &'a Bytes,
    refusal: Refusal,
    traceparent: Option<&'a str>,
) -> Stored<'a> {
    refuse_as(worker, lane, body, refusal, traceparent, Job::peek_id(body))
}

/// As [`refuse`], of a body that must not be looked into. `job_id` is what is known of its id.
///
/// # Errors
/// As [`refuse`].
pub(crate) fn refuse_as<'a>(
    worker: &'a Worker,
    lane: &'a Lane,
    body: &'a Bytes,
    refusal: Refusal,
    traceparent: Option<&'a str>,
    job_id: Option<String>,
) -> Stored<'a> {
    tracing::warn!(lane = %lane, reason = %refusal.reason, field = refusal.logged_field(), "refused a message");
    Box::pin(async move {
        let burial = Burial {
            job_id: job_id.clone(),
            refusal: refusal.clone(),
            lane: lane.clone(),
            body: body.clone(),
            traceparent: traceparent.map(str::to_owned),
        };
        for buried in worker.outbox.bury(vec![burial]).await {
            let Err(error) = buried else { continue };
            tracing::warn!(error = %crate::health::chain(&error), "could not publish a dead letter");
            match error {
                // Whoever reads the queue would miss it; the broker is back soon.
                PublishError::Unavailable(_) => return Err(NotStored),
                // The queue is gone, or takes no more. It holds a copy, and the row is the dead letter.
                PublishError::Unroutable | PublishError::Refused | PublishError::Duplicate => {}
            }
        }
        at(Failpoint::Buried, || job_id.clone());
        let reason = refusal.reason;
        let letter = DeadLetter { job_id: job_id.clone(), lane: lane.clone(), refusal, body: body.clone() };
        worker.refusals.submit(letter).await.map_err(|error| {
            tracing::warn!(error = %crate::health::chain(&error), "could not keep a dead letter");
            NotStored
        })?;
        at(Failpoint::Refused, || job_id.clone());
        worker.metrics.refused(reason);
        Ok(())
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::ports::{Outbox, Publication};
    use crate::worker::rig::{Rig, lane};

    pub(crate) const ONE_ESP: &str = r#"
        esp = [{ name = "a", kind = "sandbox" }]
        pool = [{ name = "default", members = [{ esp = "a" }] }]
    "#;

    /// A broker that answers every message with this.
    #[derive(Debug)]
    pub(crate) struct Answers {
        error: fn() -> PublishError,
        pub(crate) asked: AtomicUsize,
    }

    impl Answers {
        pub(crate) fn new(error: fn() -> PublishError) -> Self {
            Self { error, asked: AtomicUsize::new(0) }
        }
    }

    #[async_trait]
    impl Outbox for Answers {
        async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>> {
            jobs.iter().map(|_| Err((self.error)())).collect()
        }

        async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>> {
            self.asked.fetch_add(messages.len(), Ordering::Relaxed);
            messages.iter().map(|_| Err((self.error)())).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_letter_is_kept_though_its_queue_is_gone() {
        let check = async |error: fn() -> PublishError, is_kept: bool| {
            let mut rig = Rig::new(ONE_ESP);
            rig.worker.outbox = Arc::new(Answers::new(error));
            let (lane, body) = (lane(&rig.worker), Bytes::from_static(b"{}"));
            let kept = refuse(&rig.worker, &lane, &body, Refusal::delivery_limit(), None).await;
            assert_eq!(kept.is_ok(), is_kept, "{:?}", error());
        };
        check(|| PublishError::Unroutable, true).await;
        check(|| PublishError::Refused, true).await;
        check(|| PublishError::Unavailable("it is away".into()), false).await;
    }
}
