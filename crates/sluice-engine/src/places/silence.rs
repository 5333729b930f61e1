//! Whether an account has fallen silent: its calls under way, and since when none has been answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluice_types::{Category, Outcome, Tick};

use super::Places;
use super::call_time::CallTime;

/// No shorter pause between two answers is a silence.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Nor is one that is no longer than so many calls usually take.
const PAUSE_CALLS: u32 = 8;
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
    /// How long a call takes that is answered.
    answer: CallTime,
}

impl Silence {
    fn begins(&self, now: impl FnOnce() -> Tick) {
        if self.calls.fetch_add(UNDER_WAY + 1, Ordering::Relaxed) < UNDER_WAY {
            self.since.store(now().as_nanos(), Ordering::Relaxed);
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

    /// Whether `stake` calls, as many as may be, are unanswered already: no more until one is answered, or all have ended.
    pub(super) fn holds(&self, stake: u32, now: impl Fn() -> Tick) -> bool {
        let unanswered = self.calls.load(Ordering::Relaxed) & (UNDER_WAY - 1);
        stake > 0
            && unanswered >= u64::from(stake)
            && self.lasts(now()) > PAUSE_MIN.max(self.answer.about().saturating_mul(PAUSE_CALLS))
    }
}

/// A call under way. Dropped, it has had no answer.
#[derive(Debug)]
pub(crate) struct Calling(Option<Arc<Places>>);

impl Calling {
    pub(super) fn begin(places: &Arc<Places>) -> Self {
        places.silence.begins(|| places.clock.tick());
        Self(Some(Arc::clone(places)))
    }

    /// The call took so long and has come to this: an answer, unless nothing was heard of the ESP. Without an outcome it has let us
    /// connect.
    pub(crate) fn ends(mut self, outcome: Option<&Outcome>, took: Duration) {
        let is_answered = outcome.is_none_or(|outcome| {
            outcome.category() != Some(Category::Timeout) && !matches!(outcome, Outcome::Unknown { .. })
        });
        if let Some(places) = self.0.take() {
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
