//! When a job that was deferred or faulted is tried again, and when it is given up.
//!
//! Not for resending after an unknown outcome: that waits for the ESP's word first.

use std::time::Duration;

use sluice_types::{Class, Timestamp};

/// Longest wait taken from a server's hint.
pub const HINT_MAX: Duration = Duration::from_secs(24 * 3600);
/// A hint below this (such as `Retry-After: 0`) does not replace our backoff, or a job would be tried without pause.
pub const HINT_MIN: Duration = Duration::from_secs(1);

/// The retry schedule of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryTerms {
    /// Longest wait after the first attempt; it doubles with each further one. The shortest wait is half of it.
    pub initial: Duration,
    /// Longest wait of all.
    pub max: Duration,
    /// No attempt starts later than this after the end of the first.
    pub give_up_after: Duration,
}

/// What becomes of a job after an attempt that did not settle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this time.
    After(Duration),
    /// The next attempt would come after [`RetryTerms::give_up_after`].
    GiveUp,
    /// The next attempt would not come before `expires_at`.
    Expired,
}

impl RetryTerms {
    /// The defaults of a class: transactional 1 s to 10 min for 1 h, bulk 1 min to 4 h for 24 h.
    #[must_use]
    pub const fn of(class: Class) -> Self {
        match class {
            Class::Transactional => Self {
                initial: Duration::from_secs(1),
                max: Duration::from_secs(10 * 60),
                give_up_after: Duration::from_secs(3600),
            },
            Class::Bulk => Self {
                initial: Duration::from_secs(60),
                max: Duration::from_secs(4 * 3600),
                give_up_after: Duration::from_secs(24 * 3600),
            },
        }
    }

    /// Decides after attempt `attempt` (counted from 1) at `now`; the first one ended at `since`.
    ///
    /// The wait is the server's `hint`, at most [`HINT_MAX`]; without one it is [`Self::backoff`]. A hint that would
    /// leave no attempt before the end is cut to half of the time that is left, as long as that is half of `initial`
    /// or more: a server that asks for two hours must not end a job that is given up after one. Any other attempt that
    /// would come too late is not waited for: the answer is then [`Next::Expired`] or [`Next::GiveUp`] at once, the
    /// former when both hold.
    #[must_use]
    pub fn next(
        &self,
        attempt: u32,
        since: Timestamp,
        now: Timestamp,
        hint: Option<Duration>,
        expires_at: Option<Timestamp>,
        rng: &mut fastrand::Rng,
    ) -> Next {
        let wait = match hint {
            Some(hint) if hint >= HINT_MIN => hint.min(HINT_MAX),
            Some(hint) => self.backoff(attempt, rng).max(hint),
            None => self.backoff(attempt, rng),
        };
        let late =
            |due: Timestamp| expires_at.is_some_and(|end| due >= end) || due > since + self.give_up_after;
        let mut due = now + wait;
        if late(due) && hint.is_some_and(|hint| hint >= HINT_MIN) {
            let given_up = since + self.give_up_after;
            let left = expires_at.map_or(given_up, |end| end.min(given_up)).after(now);
            if left / 2 >= self.initial / 2 && !late(now + left / 2) {
                due = now + left / 2;
            }
        }
        if expires_at.is_some_and(|end| due >= end) {
            Next::Expired
        } else if due > since + self.give_up_after {
            Next::GiveUp
        } else {
            Next::After(due.after(now))
        }
    }

    /// Exponential backoff with full jitter: even between half of `initial` and `initial * 2^(attempt - 1)`, the latter
    /// at most `max`.
    #[must_use]
    pub fn backoff(&self, attempt: u32, rng: &mut fastrand::Rng) -> Duration {
        let doublings = attempt.saturating_sub(1);
        let longest = self.initial.saturating_mul(2u32.saturating_pow(doublings)).min(self.max);
        let shortest = (self.initial / 2).min(longest);
        Duration::from_nanos(rng.u64(nanos(shortest)..=nanos(longest)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn check(
        class: Class,
        since: Duration,
        hint: Option<Duration>,
        expires_in: Option<Duration>,
        expected: Next,
    ) {
        let now = START + since;
        let expires_at = expires_in.map(|wait| now + wait);
        let mut rng = fastrand::Rng::with_seed(7);
        let next = RetryTerms::of(class).next(1, START, now, hint, expires_at, &mut rng);
        assert_eq!(next, expected, "{class} after {since:?}, hint {hint:?}, expires in {expires_in:?}");
    }

    #[test]
    fn the_hint_beats_our_backoff() {
        check(Class::Bulk, MINUTE, Some(MINUTE / 30), None, Next::After(MINUTE / 30));
        check(Class::Transactional, MINUTE, Some(MINUTE * 30), None, Next::After(MINUTE * 30));
        check(Class::Bulk, Duration::ZERO, Some(HOUR * 99), None, Next::After(HINT_MAX));
    }

    #[test]
    fn no_attempt_comes_after_the_end() {
        check(Class::Transactional, HOUR, None, None, Next::GiveUp);
        check(Class::Transactional, HOUR - MINUTE / 240, Some(MINUTE * 31), None, Next::GiveUp);
        check(Class::Bulk, HOUR * 25, Some(MINUTE), None, Next::GiveUp);
    }

    #[test]
    fn expires_at_wins() {
        check(Class::Bulk, MINUTE, None, Some(MINUTE / 4), Next::Expired);
        check(Class::Bulk, MINUTE, Some(MINUTE), Some(MINUTE / 4), Next::Expired);
        check(Class::Bulk, MINUTE, Some(MINUTE), Some(MINUTE * 2), Next::After(MINUTE));
        check(Class::Transactional, HOUR * 2, None, Some(Duration::ZERO), Next::Expired);
        check(Class::Transactional, HOUR * 2, None, Some(HOUR), Next::GiveUp);
    }

    #[test]
    fn a_hint_past_the_end_leaves_another_attempt() {
        check(Class::Transactional, Duration::ZERO, Some(HOUR * 2), None, Next::After(HOUR / 2));
        check(Class::Transactional, MINUTE * 30, Some(MINUTE * 31), None, Next::After(MINUTE * 15));
        check(Class::Transactional, MINUTE, Some(HOUR * 2), Some(MINUTE), Next::After(MINUTE / 2));
        check(Class::Bulk, MINUTE * 2, Some(HOUR * 24), None, Next::After(HOUR * 12 - MINUTE));
        check(Class::Bulk, MINUTE, Some(MINUTE), Some(MINUTE), Next::After(MINUTE / 2));
    }

    #[test]
    fn hints_past_the_end_bring_no_more_than_a_few_attempts() {
        for class in [Class::Transactional, Class::Bulk] {
            let terms = RetryTerms::of(class);
            let (mut now, mut attempts, mut rng) = (START, 1, fastrand::Rng::with_seed(3));
            while let Next::After(wait) = terms.next(attempts, START, now, Some(HINT_MAX * 9), None, &mut rng)
            {
                (now, attempts) = (now + wait, attempts + 1);
            }
            assert!((2..=16).contains(&attempts), "{class}: {attempts}");
        }
    }

    #[test]
    fn a_hint_of_zero_does_not_make_a_busy_loop() {
        let mut rng = fastrand::Rng::with_seed(1);
        let next = RetryTerms::of(Class::Bulk).next(1, START, START, Some(Duration::ZERO), None, &mut rng);
        assert!(matches!(next, Next::After(wait) if wait >= MINUTE / 2), "{next:?}");
    }

    fn class() -> impl Strategy<Value = Class> {
        prop_oneof![Just(Class::Transactional), Just(Class::Bulk)]
    }

    proptest! {
        #[test]
        fn backoff_stays_within_half_of_initial_and_the_doubled_bound(
            class in class(), attempt in any::<u32>(), seed in any::<u64>(),
        ) {
            let terms = RetryTerms::of(class);
            let wait = terms.backoff(attempt, &mut fastrand::Rng::with_seed(seed));
            let doubled = terms.initial.as_secs_f64() * 2f64.powf(f64::from(attempt.max(1)) - 1.0);
            prop_assert!(wait >= terms.initial / 2);
            prop_assert!(wait <= terms.max);
            prop_assert!(wait.as_secs_f64() <= doubled * 1.000_001);
        }

        #[test]
        fn an_attempt_is_due_before_either_end_and_not_before_the_hint(
            class in class(), attempt in 1..50u32, seed in any::<u64>(),
            since_ms in 0..100_000_000u64, hint_ms in proptest::option::of(0..200_000_000u64),
            expires_ms in proptest::option::of(0..100_000_000u64),
        ) {
            let terms = RetryTerms::of(class);
            let now = START + Duration::from_millis(since_ms);
            let hint = hint_ms.map(Duration::from_millis);
            let expires_at = expires_ms.map(|ms| now + Duration::from_millis(ms));
            let mut rng = fastrand::Rng::with_seed(seed);
            if let Next::After(wait) = terms.next(attempt, START, now, hint, expires_at, &mut rng) {
                prop_assert!(now + wait <= START + terms.give_up_after);
                prop_assert!(expires_at.is_none_or(|end| now + wait < end));
                let asked = hint.unwrap_or_default().min(HINT_MAX);
                let left = expires_at.map_or(START + terms.give_up_after, |end| end.min(START + terms.give_up_after)).after(now);
                prop_assert!(wait >= asked || (now + asked >= now + left && wait == left / 2));
                prop_assert!(wait >= terms.initial / 2 || hint.is_some_and(|hint| hint >= HINT_MIN));
            }
        }

        #[test]
        fn a_schedule_always_ends(class in class(), seed in any::<u64>()) {
            let terms = RetryTerms::of(class);
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut now = START;
            let ended = (1..10_000).any(|attempt| {
                match terms.next(attempt, START, now, None, None, &mut rng) {
                    Next::After(wait) => { now = now + wait; false }
                    Next::GiveUp => true,
                    Next::Expired => false,
                }
            });
            prop_assert!(ended);
        }
    }
}
