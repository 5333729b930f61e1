//! Whether an account has fallen silent, or fails call after call: its calls under way, and since when none has been answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use sluice_types::{Category, Outcome, Tick};

use super::{CallTime, Places};

/// No shorter pause between two answers is a silence.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Nor is one that is no longer than so many calls usually take.
const PAUSE_CALLS: u32 = 8;
/// One call may fail at any time; so many in a row are no chance.
const FAULTS_MIN: u32 = 2;
/// A call under way, in [`Silence::calls`].
const UNDER_WAY: u64 = 1 << 32;

/// The calls of one account, and its last answer.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// Calls under way in the upper half; in the lower one those that had no answer as the last came, and those begun since,
    /// whether they have ended without one or not.
    calls: AtomicU64,
    /// When an answer came last, or the first of the calls under way began, in nanoseconds.
    since: AtomicU64,
    /// Calls in a row that have faulted.
    faults: AtomicU32,
    /// So many calls are put at stake on an account that is silent, or fails.
    most: AtomicU32,
    /// How long a call takes that is answered.
    answer: CallTime,
}

impl Silence {
    pub(super) fn set_stake(&self, calls: u32) {
        self.most.store(calls, Ordering::Relaxed);
    }

    fn begins(&self, now: Tick) {
        if self.calls.fetch_add(UNDER_WAY + 1, Ordering::Relaxed) < UNDER_WAY {
            self.since.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    fn ends(&self, answered_after: Option<Duration>, now: Tick) {
        let end = |calls: u64| {
            let under_way = (calls >> 32).saturating_sub(1);
            let unanswered = if answered_after.is_some() { under_way } else { calls & (UNDER_WAY - 1) };
            Some(under_way * UNDER_WAY + unanswered)
        };
        // It always has an end to note.
        self.calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end).ok();
        if let Some(took) = answered_after {
            self.since.store(now.as_nanos(), Ordering::Relaxed);
            self.answer.note(took);
        }
    }

    /// For how long calls have been under way and none was answered.
    pub(super) fn lasts(&self, now: Tick) -> Duration {
        match self.calls.load(Ordering::Relaxed) >> 32 {
            0 => Duration::ZERO,
            _ => now.since(Tick::from_nanos(self.since.load(Ordering::Relaxed))),
        }
    }

    /// Whether enough calls are at stake already: no more until one is answered, or all have ended.
    pub(super) fn holds(&self, now: impl Fn() -> Tick) -> bool {
        let unanswered = self.calls.load(Ordering::Relaxed) & (UNDER_WAY - 1);
        let most = self.most.load(Ordering::Relaxed);
        most > 0
            && unanswered >= u64::from(most)
            && self.lasts(now()) > PAUSE_MIN.max(self.answer.about().saturating_mul(PAUSE_CALLS))
    }
}

impl Silence {
    /// Whether those that have failed in a row, and `used` places, are as many calls as are put at stake: no more until one succeeds.
    /// One at a time goes on, since the breaker may be held closed.
    pub(super) fn has_enough_at_stake(&self, used: u64) -> bool {
        let faults = self.faults.load(Ordering::Relaxed);
        let most = self.most.load(Ordering::Relaxed);
        most > 0 && faults >= FAULTS_MIN && used >= u64::from(most.saturating_sub(faults).max(1))
    }

    fn judge(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Faulted { .. } => {
                let more = |faults: u32| Some(faults.saturating_add(1));
                // It always has one more to note.
                self.faults.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
            }
            Outcome::Accepted { .. } | Outcome::Rejected { .. } | Outcome::Deferred { .. } => {
                self.faults.store(0, Ordering::Relaxed);
            }
            // It tells nothing.
            Outcome::Unknown { .. } => {}
        }
    }
}

/// A call under way. Dropped, it has had no answer.
#[derive(Debug)]
pub(crate) struct Calling(Option<Arc<Places>>);

impl Calling {
    pub(super) fn begin(places: &Arc<Places>) -> Self {
        places.silence.begins(places.clock.tick());
        Self(Some(Arc::clone(places)))
    }

    /// The call took so long and has come to this: an answer, unless nothing was heard of the ESP. Without an outcome it has let us
    /// connect.
    pub(crate) fn ends(mut self, outcome: Option<&Outcome>, took: Duration) {
        let is_answered = outcome.is_none_or(|outcome| {
            outcome.category() != Some(Category::Timeout) && !matches!(outcome, Outcome::Unknown { .. })
        });
        if let Some(places) = self.0.take() {
            outcome.into_iter().for_each(|outcome| places.silence.judge(outcome));
            places.silence.ends(is_answered.then_some(took), places.clock.tick());
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some(places) = &self.0 {
            places.silence.ends(None, places.clock.tick());
        }
    }
}
