//! The other end of the way: a message that is no job goes to the dead letters, with its reason.

use std::time::Duration;

use bytes::Bytes;
use sluice_types::{Job, Lane, Refusal};

use crate::ack::{NotStored, Stored, Walked};
use crate::failpoint::{Failpoint, at};
use crate::ports::{Burial, DeadLetter, PublishError};
use crate::worker::Worker;

/// Pause before a broker that took no dead letter is asked again.
const BURY_AGAIN: Duration = Duration::from_secs(1);

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
        bury(worker, burial).await?;
        at(Failpoint::Buried, || job_id.clone());
        let reason = refusal.reason;
        let letter = DeadLetter { job_id: job_id.clone(), lane: lane.clone(), refusal, body: body.clone() };
        worker.refusals.submit(letter).await.map_err(|error| {
            tracing::warn!(error = %crate::health::chain(&error), "could not keep a dead letter");
            NotStored
        })?;
        at(Failpoint::Refused, || job_id.clone());
        worker.metrics.refused(reason);
        Ok(Walked::Stored)
    })
}

/// Publishes the copy for `sluice.dead`. A broker that takes nothing now is asked again for as long as deliveries are held:
/// given back at once, the message would come again at once, and be given up by the broker without its reason.
async fn bury(worker: &Worker, burial: Burial) -> Result<(), NotStored> {
    let until = worker.clock.tick() + worker.plan().bounds().unhealthy_release;
    loop {
        let buried = worker.outbox.bury(vec![burial.clone()]).await;
        let Some(error) = buried.into_iter().find_map(Result::err) else { return Ok(()) };
        tracing::warn!(error = %crate::health::chain(&error), "could not publish a dead letter");
        match error {
            // Whoever reads the queue would miss it; the broker is back soon.
            PublishError::Unavailable(_) => {
                if worker.is_draining() || worker.clock.tick() + BURY_AGAIN > until {
                    return Err(NotStored);
                }
                tokio::time::sleep(BURY_AGAIN).await;
            }
            // The queue is gone, or takes no more. It holds a copy, and the row is the dead letter.
            PublishError::Unroutable | PublishError::Refused | PublishError::Duplicate => return Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use sluice_types::RefusalReason;

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

    /// A broker that takes nothing for so many tries.
    #[derive(Debug)]
    struct Alarmed(AtomicUsize);

    #[async_trait]
    impl Outbox for Alarmed {
        async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>> {
            jobs.iter().map(|_| Ok(())).collect()
        }

        async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>> {
            let left = self.0.load(Ordering::Relaxed);
            self.0.store(left.saturating_sub(1), Ordering::Relaxed);
            let answer = || match left {
                0 => Ok(()),
                _ => Err(PublishError::Unavailable("it is short of memory".into())),
            };
            messages.iter().map(|_| answer()).collect()
        }
    }

    /// Given back at once it came again at once, until the broker gave up on it: a dead letter with reason `delivery_limit`.
    #[tokio::test(start_paused = true)]
    async fn a_refused_message_keeps_its_reason_while_the_broker_takes_nothing() {
        let check = async |tries: usize, drains: bool, kept: &[RefusalReason]| {
            let mut rig = Rig::new(ONE_ESP);
            rig.worker.outbox = Arc::new(Alarmed(AtomicUsize::new(tries)));
            if drains {
                rig.worker.drain();
            }
            let (lane, body) = (lane(&rig.worker), Bytes::from_static(b"{}"));
            let stored = refuse(&rig.worker, &lane, &body, Refusal::id_conflict(), None).await;
            assert_eq!(stored.is_ok(), !kept.is_empty(), "{tries} tries");
            let letters = rig.around.refused.lock().unwrap();
            let reasons: Vec<_> = letters.iter().map(|letter| letter.refusal.reason).collect();
            assert_eq!(reasons, kept, "{tries} tries");
        };
        check(10, false, &[RefusalReason::IdConflict]).await;
        check(1_000, false, &[]).await;
        check(10, true, &[]).await;
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
