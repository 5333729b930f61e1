//! How many unacknowledged deliveries a lane borrows from the broker.

use std::time::Duration;

/// Seconds of the lane's allowed rate to hold ahead: enough to ride out one slow answer of the broker, few enough that
/// another worker can take over what this one cannot send.
const AHEAD_SECONDS: f64 = 2.0;
/// Deliveries of a lane that are not in a call, but on their way to a claim, a result or an ack: what keeps two cores busy.
/// Measured: 500 and 700 of them sent 22,500 and 25,400 jobs a second, 1,000 and 1,400 no more; each takes memory.
const BESIDE_CALLS: f64 = 700.0;
/// A call that takes as long keeps its delivery out of the rest of the way.
const LONG_CALL: Duration = Duration::from_millis(10);

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

/// What one ESP lets through at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRoom {
    /// Calls at the same time.
    pub at_once: u32,
    /// About how long one takes.
    pub call: Duration,
}

/// The prefetch of a lane whose calls are bounded by number, in `1..=max`: as many as can be in a call, where calls take long
/// enough for that, and about two seconds' worth beside them, 700 at most. So a lane has more than that only while an ESP
/// keeps it waiting, and `max_in_flight` of an ESP can be used up by one lane.
#[must_use]
pub fn prefetch_for_calls(rooms: &[CallRoom], max: u16) -> u16 {
    let long = rooms.iter().filter(|room| room.call >= LONG_CALL);
    let in_calls = long.fold(0_u32, |sum, room| sum.saturating_add(room.at_once));
    // Nothing waits long for calls that take no time.
    let seconds = |room: &CallRoom| room.call.as_secs_f64().max(f64::MIN_POSITIVE);
    let ahead: f64 = rooms.iter().map(|room| f64::from(room.at_once) * AHEAD_SECONDS / seconds(room)).sum();
    let wanted = f64::from(in_calls) + ahead.min(BESIDE_CALLS);
    (1..=max).find(|count| f64::from(*count) >= wanted).unwrap_or(max.max(1))
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
            (10, 1000, 2000, 30),
            (10, 100, 2000, 210),
            (10, 20_000, 2000, 11),
            (1, 30_000, 2000, 2),
            (0, 300, 2000, 1),
            (10, 0, 2000, 700),
            (10, 0, 500, 500),
            (10, 1000, 0, 1),
        ] {
            let room = CallRoom { at_once, call: Duration::from_millis(call_ms) };
            assert_eq!(prefetch_for_calls(&[room], max), expected, "{room:?}");
        }
    }

    #[test]
    fn long_calls_have_their_deliveries_beside_the_others() {
        let room = |at_once, call_ms| CallRoom { at_once, call: Duration::from_millis(call_ms) };
        for (rooms, expected) in [
            (vec![room(256, 300)], 956),
            (vec![room(1000, 20)], 1700),
            (vec![room(1000, 9)], 700),
            (vec![room(256, 300), room(256, 1)], 956),
            (vec![room(256, 1); 8], 700),
            (vec![room(10, 1000), room(20, 500)], 30 + 100),
            (vec![room(u32::MAX, 10); 2], 2000),
            (vec![], 1),
        ] {
            assert_eq!(prefetch_for_calls(&rooms, 2000), expected, "{rooms:?}");
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
