//! The named steps of a shutdown, and what was left at its end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::engine::Engine;
use crate::health::chain;

/// What the broker has lent is begun for so long, if it can go: that takes less time than others need to borrow it, and does not
/// count as returned by a worker that may have died of it. More: a longer drain where limits hold it up.
const BEGIN_FOR: Duration = Duration::from_secs(1);
/// And for this part of the deadline at most.
const BEGIN_PART: u32 = 4;
/// How long results may still be written after the deadline.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a drain left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DrainReport {
    /// Jobs still in work at the deadline, by lane; the broker gives them to others.
    pub left: BTreeMap<String, usize>,
}

impl DrainReport {
    /// Whether nothing was left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.left.is_empty()
    }
}

/// Stops consuming, begins what is lent for a while and returns the rest, finishes what was begun, until `deadline`.
pub(crate) async fn drain(engine: &Engine, deadline: Duration) -> DrainReport {
    tracing::info!(step = "stop consuming", "drain");
    engine.stop.cancel();
    engine.worker.drain();
    engine.lane_tasks.close();
    let began = engine.worker.clock.tick();
    let time_left = || deadline.saturating_sub(engine.worker.clock.tick().since(began));
    if tokio::time::timeout(BEGIN_FOR.min(deadline / BEGIN_PART), engine.lane_tasks.wait()).await.is_err() {
        tracing::info!(step = "return what is not begun", "drain");
    }
    engine.give_back.cancel();
    if tokio::time::timeout(time_left(), engine.lane_tasks.wait()).await.is_err() {
        tracing::warn!(tasks = engine.lane_tasks.len(), "lanes or the relay did not end in time");
    }

    tracing::info!(step = "finish in flight", in_flight = engine.jobs.len(), "drain");
    engine.jobs.close();
    if tokio::time::timeout(time_left(), engine.jobs.wait()).await.is_err() {
        tracing::warn!(step = "deadline passed", in_flight = engine.jobs.len(), "drain");
        engine.worker.health.close();
        if tokio::time::timeout(LAST_WORDS, engine.jobs.wait()).await.is_err() {
            tracing::warn!(in_flight = engine.jobs.len(), "jobs are left to other workers");
        }
    }
    let left = report(engine);
    tracing::info!(step = "stop services", "drain");
    engine.stop_services.cancel();
    engine.services.close();
    if tokio::time::timeout(LAST_WORDS, engine.services.wait()).await.is_err() {
        tracing::warn!("services did not end in time");
    }
    // Not before: a service would lease again, and tell the fleet that this process is still there.
    give_back(engine).await;
    left
}

/// Gives leased slots, connections and probes back, so that others have them at once and not when they lapse.
async fn give_back(engine: &Engine) {
    tracing::info!(step = "give leases back", "drain");
    let worker = &engine.worker;
    let unused = worker.slots.take_unused();
    let all = async {
        if !unused.is_empty()
            && let Err(error) = worker.slot_source.give_back(&unused).await
        {
            tracing::warn!(error = %chain(&error), "slots could not be given back, they lapse");
        }
        if let Err(error) = worker.link.leave().await {
            tracing::warn!(error = %chain(&error), "could not leave the fleet, it will notice");
        }
    };
    if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
        tracing::warn!("leases could not be given back in time, they lapse");
    }
}

fn report(engine: &Engine) -> DrainReport {
    let lanes = engine.lanes.all();
    let counts = lanes.iter().map(|it| (it.lane.to_string(), it.in_flight.load(Ordering::Relaxed)));
    let left: BTreeMap<String, usize> = counts.filter(|(_, count)| *count > 0).collect();
    if left.is_empty() {
        tracing::info!("drained: nothing left");
    } else {
        tracing::warn!(left = ?left, "drained: jobs left in work by lane");
    }
    DrainReport { left }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use sluice_types::{Class, Lane};

    use super::*;
    use crate::ports::{Acker, Delivery, Feed, Inbox, InboxError, LaneDepth, Passport, Receipt};
    use crate::worker::rig::parts;

    const TWO_AT_A_TIME: &str = r#"
        esp = [{ name = "a", kind = "sandbox" }]
        pool = [{ name = "default", members = [{ esp = "a" }] }]
        worker = { max_in_flight = 2 }
    "#;
    const MANY_AT_A_TIME: &str = r#"
        esp = [{ name = "a", kind = "sandbox" }]
        pool = [{ name = "default", members = [{ esp = "a" }] }]
    "#;

    /// A broker with so many jobs in the lane of all domains.
    #[derive(Debug)]
    struct Lends(AtomicU64, Arc<Released>);

    /// The tags of what was given back.
    #[derive(Debug, Default)]
    struct Released(Mutex<Vec<u64>>);

    fn lends(count: u64) -> (Arc<Lends>, Arc<Released>) {
        let released = Arc::<Released>::default();
        (Arc::new(Lends(AtomicU64::new(count), Arc::clone(&released))), released)
    }

    struct Lent {
        left: Vec<Delivery>,
        is_stopped: bool,
    }

    #[async_trait]
    impl Inbox for Lends {
        async fn open(&self, lane: &Lane, _: u16) -> Result<Box<dyn Feed>, InboxError> {
            let has_some = lane.group.is_other() && lane.class == Class::Bulk;
            let count = if has_some { self.0.swap(0, Ordering::Relaxed) } else { 0 };
            let delivery = |tag: u64| {
                Delivery {
                body: format!(
                    r#"{{"v": 1, "id": "j{tag}", "to": {{"email": "ada@a.example"}}, "from": {{"email": "shop@b.example"}},
                    "subject": "Hi", "text": "Hello"}}"#
                )
                .into(),
                passport: Passport::default(),
                redelivered: false,
                returns: 0,
                receipt: Receipt::new(tag, Arc::clone(&self.1) as _),
            }
            };
            Ok(Box::new(Lent { left: (1..=count).rev().map(delivery).collect(), is_stopped: false }))
        }

        async fn depths(&self, _: &[Lane]) -> Result<Vec<LaneDepth>, InboxError> {
            Ok(Vec::new())
        }
    }

    #[async_trait]
    impl Feed for Lent {
        async fn next(&mut self) -> Option<Delivery> {
            match self.left.pop() {
                None if !self.is_stopped => std::future::pending().await,
                next => next,
            }
        }

        async fn stop(&mut self) {
            self.is_stopped = true;
        }
    }

    impl Acker for Released {
        fn ack(&self, _: u64) {}

        fn release(&self, tag: u64) {
            self.0.lock().unwrap().push(tag);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_recorded_is_not_in_work_any_more() {
        let (parts, around) = parts(MANY_AT_A_TIME, lends(3).0);
        *around.record_takes.lock().unwrap() = Duration::from_secs(3);
        let engine = Engine::start(parts);
        let mut in_work = Vec::new();
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            in_work.push(engine.in_flight());
        }
        assert_eq!((in_work, around.sent.lock().unwrap().len()), (vec![3, 0], 3));
        assert_eq!(engine.drain(Duration::from_secs(1)).await, DrainReport::default());
    }

    /// A lane that stood before a full house waited for a place without end, and the drain for the lane.
    #[tokio::test(start_paused = true)]
    async fn a_lane_that_waits_for_a_place_does_not_outlast_the_deadline() {
        let (lends, released) = lends(3);
        let (parts, around) = parts(TWO_AT_A_TIME, lends);
        around.records_hang.store(true, Ordering::Relaxed);
        let clock = Arc::clone(&parts.clock);
        let engine = Engine::start(parts);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!((engine.in_flight(), around.sent.lock().unwrap().len()), (2, 2));
        let began = clock.tick();
        let deadline = Duration::from_secs(1);
        let report = tokio::time::timeout(Duration::from_secs(60), engine.drain(deadline)).await.unwrap();
        let took = clock.tick().since(began);
        assert!(took <= deadline + 3 * LAST_WORDS, "{took:?}");
        assert_eq!(report.left.get("default.bulk.other"), Some(&2), "{report:?}");
        assert_eq!(*released.0.lock().unwrap(), [3], "what was not begun goes back");
    }

    /// It came back to others, and twice made a suspect of it.
    #[tokio::test(start_paused = true)]
    async fn what_is_lent_is_sent_before_the_rest_goes_back() {
        // Two at a time go through in the second that there is.
        for (call_takes, begun) in [(10, 50), (400, 8)] {
            let (lends, released) = lends(50);
            let (parts, around) = parts(TWO_AT_A_TIME, lends);
            *around.call_takes.lock().unwrap() = Duration::from_millis(call_takes);
            let engine = Engine::start(parts);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(engine.drain(Duration::from_secs(30)).await, DrainReport::default());
            let (sent, returned) = (around.sent.lock().unwrap().len(), released.0.lock().unwrap().len());
            assert_eq!(sent + returned, 50);
            assert!(sent.abs_diff(begun) <= 2, "{sent} were sent where a call takes {call_takes} ms");
        }
    }
}
