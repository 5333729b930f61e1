//! Before step 1: a message that may bring its worker down is decoded in a process of its own first.
//!
//! When a worker dies the broker counts that against every message that the worker held, for it cannot know which one was at
//! fault. So who has come back a few times is tasted: whatever kills its taster again and again becomes a dead letter, and all
//! else goes its way. A message that came back so often that the broker would soon give up on it, and is harmless, is
//! replaced by a fresh copy, whose count starts anew.
//!
//! A job may bring its worker down later than in decoding, and cannot be told from its neighbours then. So while suspects
//! are about, what is tasted waits until those that are close to the limit have been replaced: else each such death could
//! count against what waits for its taster, until the broker gives up on it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sluice_types::{Job, JobId, Lane, Tick};
use tokio::sync::watch;

use crate::health::chain;
use crate::ports::{Clock, Passport, Publication, Taste, Taster};
use crate::worker::Worker;

/// One death may be anything, a second one is suspicious; of that many returns there is no more doubt.
const SUSPECT_MAX: u32 = 2;
/// Deaths after which a message is poison, however many more the broker would allow.
const DEATHS_MAX: u32 = 20;
/// Tasters that a message has to kill itself: its other deaths may have been somebody else's.
const OWN_DEATHS_MIN: u32 = 3;
/// Fresh copies of one message. A job that brings workers down later than in decoding cannot be told from its neighbours: it
/// has to end some time.
const RENEWALS_MAX: u32 = 5;
/// So long everything is tasted after a suspicious message was seen: others like it may be among what is fresh.
const AFTER_SUSPECT: Duration = Duration::from_secs(10);
/// And so long after a taster has died.
const AFTER_DEATH: Duration = Duration::from_secs(300);

/// So long at most a message waits for those that are replaced: a broker that confirms nothing must not stop all else.
const REPLACED_WITHIN: Duration = Duration::from_secs(10);

/// What this process knows of its danger.
#[derive(Debug, Default)]
pub(crate) struct Caution {
    /// Until when it tastes whatever it gets, as [`Tick::as_nanos`].
    until: AtomicU64,
    /// Messages in its hands that came back too often and are not replaced yet.
    worn: watch::Sender<usize>,
}

impl Caution {
    fn until(&self, until: Tick) {
        self.until.fetch_max(until.as_nanos(), Ordering::Relaxed);
    }

    fn holds(&self, now: Tick) -> bool {
        now.as_nanos() < self.until.load(Ordering::Relaxed)
    }

    fn hold_worn(&self) -> Worn {
        self.worn.send_modify(|count| *count += 1);
        Worn(self.worn.clone())
    }

    /// Returns when none of them is left, or after [`REPLACED_WITHIN`].
    async fn none_is_worn(&self) {
        let mut worn = self.worn.subscribe();
        drop(tokio::time::timeout(REPLACED_WITHIN, worn.wait_for(|count| *count == 0)).await);
    }
}

/// Holds up what was found harmless, until it is dropped.
#[derive(Debug)]
pub(crate) struct Worn(watch::Sender<usize>);

impl Drop for Worn {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// How many returns mean what, under a delivery limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    /// From here on a message is tasted.
    suspect_from: u32,
    /// From here on a harmless one is replaced by a copy.
    worn_from: u32,
    /// More deaths than this make poison of it.
    deaths_max: u32,
}

impl Terms {
    /// The broker gives up on what comes back more than `limit` times.
    fn of(limit: u32) -> Self {
        Self {
            suspect_from: (limit / 4).clamp(1, SUSPECT_MAX),
            worn_from: (limit / 2).max(1),
            deaths_max: limit.min(DEATHS_MAX),
        }
    }
}

/// What is known of a message before it is decoded here.
#[derive(Debug)]
pub(crate) enum Tasted {
    /// Nothing speaks against it.
    Fine,
    /// It is harmless, and the broker would soon give up on it: to be kept until it is acked.
    Worn(Worn),
    /// It kills whoever decodes it.
    Deadly {
        /// Its job's id, if that can be read.
        job_id: Option<String>,
    },
}

/// Has a message tasted that has come back `returns` times, if that is suspicious or the times are.
pub(crate) async fn taste(worker: &Worker, body: &Bytes, returns: u32, passport: &Passport) -> Tasted {
    let (Some(taster), Some(limit)) = (&worker.taster, worker.inbox.delivery_limit()) else {
        return Tasted::Fine;
    };
    let terms = Terms::of(limit);
    let now = worker.clock.tick();
    if returns >= terms.suspect_from {
        worker.caution.until(now + AFTER_SUSPECT);
    } else if !worker.caution.holds(now) {
        return Tasted::Fine;
    }
    let is_worn = returns >= terms.worn_from && passport.renewals < RENEWALS_MAX;
    let worn = is_worn.then(|| worker.caution.hold_worn());
    let (caution, clock) = (&worker.caution, worker.clock.as_ref());
    // Boxed, as nearly all jobs are none, and each would have room for it.
    Box::pin(taste_suspect(caution, taster.as_ref(), clock, body, returns, terms, worn)).await
}

/// Finds out what a suspicious message is; one that may go on as it is, and is not `worn`, waits for those that are.
async fn taste_suspect(
    caution: &Caution,
    taster: &dyn Taster,
    clock: &dyn Clock,
    body: &Bytes,
    returns: u32,
    terms: Terms,
    mut worn: Option<Worn>,
) -> Tasted {
    let mut own_deaths = 0_u32;
    loop {
        match taster.taste(body).await {
            Taste::Harmless => break,
            Taste::Unknown => {
                worn = None;
                break;
            }
            Taste::Deadly { job_id } => {
                own_deaths += 1;
                caution.until(clock.tick() + AFTER_DEATH);
                tracing::warn!(job = job_id, returns, deaths = own_deaths, "a message killed its taster");
                if own_deaths >= OWN_DEATHS_MIN && returns.saturating_add(own_deaths) > terms.deaths_max {
                    return Tasted::Deadly { job_id };
                }
            }
        }
    }
    if let Some(worn) = worn {
        return Tasted::Worn(worn);
    }
    caution.none_is_worn().await;
    Tasted::Fine
}

/// Puts a fresh copy of a harmless message at the end of its lane; true once the broker has it, so that the message can be
/// acked. Should both be worked, the claim makes the second a no-op.
pub(crate) async fn renew(
    worker: &Worker,
    lane: &Lane,
    id: &JobId,
    body: &Bytes,
    passport: &Passport,
) -> bool {
    let mut passport = passport.clone();
    passport.renewals = passport.renewals.saturating_add(1);
    let copy = Publication { id: id.clone(), lane: lane.clone(), body: body.clone(), passport };
    for published in worker.outbox.publish(vec![copy]).await {
        if let Err(error) = published {
            tracing::warn!(job = %id, error = %chain(&error), "could not renew a message that came back often");
            return false;
        }
    }
    tracing::info!(job = %id, "renewed a message that came back often");
    true
}

/// The id in a body that the broker gave up on, if it can be read by a process that survives it.
pub(crate) async fn safe_id(worker: &Worker, body: &Bytes) -> Option<String> {
    let Some(taster) = &worker.taster else { return Job::peek_id(body) };
    match taster.taste(body).await {
        Taste::Harmless | Taste::Unknown => Job::peek_id(body),
        Taste::Deadly { job_id } => job_id,
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::ports::SystemClock;

    /// Finds everything the same.
    #[derive(Debug)]
    struct Always(Taste);

    #[async_trait]
    impl Taster for Always {
        async fn taste(&self, _body: &Bytes) -> Taste {
            self.0.clone()
        }
    }

    async fn tasted(caution: &Caution, taste: Taste, worn: Option<Worn>) -> Tasted {
        let (body, clock) = (Bytes::from_static(b"{}"), SystemClock::new());
        taste_suspect(caution, &Always(taste), &clock, &body, 18, Terms::of(20), worn).await
    }

    #[test]
    fn whatever_the_limit_a_message_is_looked_at_before_the_broker_gives_up_on_it() {
        for limit in 1..=1000 {
            let Terms { suspect_from, worn_from, deaths_max } = Terms::of(limit);
            assert!(1 <= suspect_from && suspect_from <= worn_from && worn_from <= limit, "{limit}");
            assert!(deaths_max <= limit, "{limit}");
        }
        assert_eq!(Terms::of(20), Terms { suspect_from: 2, worn_from: 10, deaths_max: 20 });
    }

    #[test]
    fn caution_only_grows_and_ends() {
        let caution = Caution::default();
        let at = |seconds| Tick::ZERO + Duration::from_secs(seconds);
        assert!(!caution.holds(at(0)));
        caution.until(at(300));
        caution.until(at(10));
        assert!(caution.holds(at(299)) && !caution.holds(at(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_harmless_waits_for_what_is_worn_but_not_for_ever() {
        let caution = Caution::default();
        let begin = tokio::time::Instant::now();
        assert!(matches!(tasted(&caution, Taste::Harmless, None).await, Tasted::Fine));
        assert_eq!(begin.elapsed(), Duration::ZERO);
        let first = tasted(&caution, Taste::Harmless, Some(caution.hold_worn())).await;
        let second = tasted(&caution, Taste::Harmless, Some(caution.hold_worn())).await;
        assert!(matches!((&first, &second), (Tasted::Worn(_), Tasted::Worn(_))), "none waits for another");
        assert_eq!(begin.elapsed(), Duration::ZERO);
        drop(first);
        let acked = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(second);
        };
        let (fine, ()) = tokio::join!(tasted(&caution, Taste::Harmless, None), acked);
        assert!(matches!(fine, Tasted::Fine));
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
        let _stays = caution.hold_worn();
        assert!(matches!(tasted(&caution, Taste::Harmless, None).await, Tasted::Fine));
        assert_eq!(begin.elapsed(), Duration::from_secs(2) + REPLACED_WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_tasted_or_is_deadly_holds_nobody_up() {
        let caution = Caution::default();
        let begin = tokio::time::Instant::now();
        let unknown = tasted(&caution, Taste::Unknown, Some(caution.hold_worn())).await;
        assert!(matches!(unknown, Tasted::Fine), "{unknown:?}");
        let deadly = tasted(&caution, Taste::Deadly { job_id: None }, Some(caution.hold_worn())).await;
        assert!(matches!(deadly, Tasted::Deadly { job_id: None }), "{deadly:?}");
        assert!(matches!(tasted(&caution, Taste::Harmless, None).await, Tasted::Fine));
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}
