//! How many unacknowledged deliveries a lane borrows from the broker, and how many of them it works on.

use std::time::Duration;

/// Seconds of the lane's allowed rate to hold ahead: enough to ride out one slow answer of the broker, few enough that
/// another worker can take over what this one cannot send.
const AHEAD_SECONDS: f64 = 2.0;
/// So many deliveries may be on the way to their calls at the same time. More: throughput where a claim takes long (500 in 13 ms are
/// 38,000 a second), and more in memory, so that each takes longer to fetch.
const UNDER_WAY_MAX: u16 = 500;

/// The prefetch of a lane that may send `rate_per_second` messages a second: about two seconds' worth, in `1..=max`.
///
/// `max` for a lane without a limit (`None`, or a rate that is not a number). Never 0, even when `max` is: to a broker
/// that means "no bound".
#[must_use]
pub fn prefetch(rate_per_second: Option<f64>, max: u16) -> u16 {
    let max = max.max(1);
    let Some(rate) = rate_per_second else { return max };
    let wanted = rate * AHEAD_SECONDS;
    (1..=max).find(|count| f64::from(*count) >= wanted).unwrap_or(max)
}

/// The prefetch of a lane whose calls are bounded by number: `at_once` of them, each about `call` long. These, and about two
/// seconds' worth, in `1..=max`.
#[must_use]
pub fn prefetch_at_once(at_once: u32, call: Duration, max: u16) -> u16 {
    let max = max.max(1);
    let at_once = f64::from(at_once);
    // Nothing waits long for calls that take no time.
    let wanted = at_once + at_once * AHEAD_SECONDS / call.as_secs_f64().max(f64::MIN_POSITIVE);
    (1..=max).find(|count| f64::from(*count) >= wanted).unwrap_or(max)
}

/// How many of `prefetch` deliveries are on the way to their calls at a time: all of few, and some of many. The others wait for that,
/// are in their calls, or are done and wait to be acked together with those before them: an ack of its own costs the broker as much as
/// one of hundreds.
#[must_use]
pub fn under_way(prefetch: u16) -> u16 {
    prefetch.min(UNDER_WAY_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_prefetch_is_two_seconds_of_the_rate() {
        for (rate, max, expected) in [
            (None, 200, 200),
            (None, 0, 1),
            (Some(0.0), 200, 1),
            (Some(-3.0), 200, 1),
            (Some(0.01), 200, 1),
            (Some(1.0), 200, 2),
            (Some(1.2), 200, 3),
            (Some(14.0), 200, 28),
            (Some(1e9), 200, 200),
            (Some(f64::INFINITY), u16::MAX, u16::MAX),
            (Some(f64::NAN), 200, 200),
            (Some(14.0), 0, 1),
        ] {
            assert_eq!(prefetch(rate, max), expected, "{rate:?} of {max}");
        }
    }

    #[test]
    fn few_calls_at_once_borrow_little_ahead() {
        for (at_once, call_ms, max, expected) in [
            (10, 1000, 500, 30),
            (10, 100, 500, 210),
            (10, 20_000, 500, 11),
            (1, 30_000, 500, 2),
            (256, 300, 500, 500),
            (0, 300, 500, 1),
            (10, 0, 500, 500),
            (u32::MAX, 1, u16::MAX, u16::MAX),
            (10, 1000, 0, 1),
        ] {
            let call = Duration::from_millis(call_ms);
            assert_eq!(prefetch_at_once(at_once, call, max), expected, "{at_once} of {call:?}");
        }
    }

    #[test]
    fn few_are_all_under_way_and_some_of_many() {
        for (prefetch, expected) in [(1, 1), (50, 50), (500, 500), (501, 500), (3_000, 500), (4_000, 500)] {
            assert_eq!(under_way(prefetch), expected, "of {prefetch}");
        }
    }

    proptest! {
        #[test]
        fn a_prefetch_keeps_its_bounds_and_grows_with_the_rate(
            slow in 0.0..20_000.0f64, more in 0.0..20_000.0f64, max in 1..2_000u16,
        ) {
            let (less, more) = (prefetch(Some(slow), max), prefetch(Some(slow + more), max));
            prop_assert!((1..=max).contains(&less) && (1..=max).contains(&more));
            prop_assert!(less <= more);
            prop_assert!(less == max || f64::from(less) >= slow * AHEAD_SECONDS);
        }
    }
}
