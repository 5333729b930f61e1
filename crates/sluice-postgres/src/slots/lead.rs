//! How far ahead a lease begins, so that its slots are not past when they arrive.
//!
//! A slot of a limit per second stays open for some 18 ms. From a store whose answers take longer, because it is far away or one
//! of the two machines is busy, each slot that opens at once would close on its way. A lease that begins as much later gets
//! the same slots as if it were asked for then: what is leased is still each slot once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluice_engine::{Leased, Want};
use sluice_policy::Terms;

/// What comes within this time is early enough, and a lease begins at once.
const EARLY_ENOUGH: Duration = Duration::from_millis(8);
/// So many answers in a row have to be late: a single one says nothing.
const ANSWERS: usize = 4;

/// How long the last answers to leases took.
#[derive(Debug)]
pub(crate) struct AnswerTimes {
    last: Mutex<VecDeque<Duration>>,
    lead_max: Duration,
}

impl AnswerTimes {
    /// However slow the store is, a lease begins no later than `lead_max`.
    pub(crate) fn new(lead_max: Duration) -> Self {
        Self { last: Mutex::default(), lead_max }
    }

    pub(super) fn learn(&self, took: Duration) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= ANSWERS {
            last.pop_front();
        }
        last.push_back(took);
    }

    /// How much later than at once a lease should begin, of those for which that [is good](begins_later).
    pub(super) fn lead(&self) -> Duration {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let are_late = last.len() >= ANSWERS && last.iter().all(|took| *took > EARLY_ENOUGH);
        let longest = last.iter().max().filter(|_| are_late).copied().unwrap_or_default();
        longest.saturating_sub(EARLY_ENOUGH).min(self.lead_max)
    }
}

/// Whether a lease may begin later than at once. Counted limits and buckets are leased at once always: their windows must not be
/// looked at from later on, and their slots stay open for long.
pub(super) fn begins_later(want: &Want) -> bool {
    want.limits.iter().all(|limit| matches!(Terms::of(&limit.spec), Some(Terms::Spaced(_)) | None))
}

/// Makes the times of a lease that began by `lead` later count from the store's instant at which it was asked for.
pub(super) fn count_from_asking(leased: &mut Leased, lead: Duration) {
    // What was not leased by time has no instant.
    if leased.at_ns == 0 {
        return;
    }
    leased.at_ns -= i64::try_from(lead.as_nanos()).unwrap_or(i64::MAX);
    leased.runs.iter_mut().for_each(|run| run.opens_in += lead);
    for next_in in [&mut leased.next_in, &mut leased.next_urgent_in] {
        *next_in = next_in.map(|wait| wait + lead);
    }
}

#[cfg(test)]
mod tests {
    use sluice_types::{EspId, Limit, LimitScope};

    use super::*;

    fn after(answers: &[u64]) -> Duration {
        let times = AnswerTimes::new(Duration::from_millis(500));
        answers.iter().for_each(|millis| times.learn(Duration::from_millis(*millis)));
        times.lead()
    }

    #[test]
    fn a_quick_store_is_asked_for_slots_that_open_at_once() {
        for answers in [&[][..], &[1, 8, 2, 3, 1], &[100], &[100, 100, 100], &[100, 100, 8, 100]] {
            assert_eq!(after(answers), Duration::ZERO, "{answers:?}");
        }
    }

    #[test]
    fn a_slow_one_is_asked_for_later_slots_until_it_is_quick_again() {
        assert_eq!(after(&[9, 30, 100, 20]), Duration::from_millis(92));
        assert_eq!(after(&[60_000; 4]), Duration::from_millis(500));
        assert_eq!(after(&[100, 100, 100, 100, 1]), Duration::ZERO);
    }

    #[test]
    fn counted_limits_and_buckets_are_always_leased_at_once() {
        let begins_later = |spec: &str| {
            let scope = LimitScope::Esp(EspId::new("main").unwrap());
            begins_later(&Want::of(Limit { scope, spec: spec.parse().unwrap() }, 1))
        };
        assert!(begins_later("50/s"));
        for spec in ["500/h", "100/s burst 200", "50000/day calendar"] {
            assert!(!begins_later(spec), "{spec}");
        }
    }
}
