//! Whether one limit can be reached behind another.

use std::time::Duration;

use sluice_types::{LimitKind, LimitSpec};

/// Whether `looser` never holds anything back that `stricter` would let through.
pub(super) fn is_always_stricter(stricter: &LimitSpec, looser: &LimitSpec) -> bool {
    let allowed = u64::from(looser.count.get());
    match looser.kind {
        LimitKind::Spaced { .. } | LimitKind::Bucket { .. } => {
            let (stricter, looser) = (Envelope::of(stricter), Envelope::of(looser));
            stricter.zip(looser).is_some_and(|(stricter, looser)| stricter.is_within(&looser))
        }
        LimitKind::Counted { window } => most(stricter, window, false).is_some_and(|most| most <= allowed),
        LimitKind::Calendar { window } => most(stricter, window, true).is_some_and(|most| most <= allowed),
        LimitKind::Ramp | LimitKind::Connections => false,
    }
}

/// Any span `t` holds at most `peak + count * t / window` messages.
struct Envelope {
    peak: u64,
    count: u64,
    window: u64,
}

impl Envelope {
    fn of(spec: &LimitSpec) -> Option<Self> {
        let count = u64::from(spec.count.get());
        let peak = match spec.kind {
            LimitKind::Spaced { .. } => 1,
            LimitKind::Bucket { burst, .. } => u64::from(burst.get()),
            LimitKind::Counted { .. } => count,
            // The end of one window and the beginning of the next.
            LimitKind::Calendar { .. } => 2 * count,
            LimitKind::Ramp | LimitKind::Connections => return None,
        };
        Some(Self { peak, count, window: spec.window()?.as_secs() })
    }

    const fn is_within(&self, other: &Self) -> bool {
        self.peak <= other.peak && self.count * other.window <= other.count * self.window
    }
}

/// The most messages in any `span`, or in any calendar window of that length. Nothing if that is not bounded.
fn most(spec: &LimitSpec, span: Duration, is_calendar: bool) -> Option<u64> {
    let span = span.as_secs();
    let count = u64::from(spec.count.get());
    let most = match spec.kind {
        LimitKind::Spaced { window } => (count * span).div_ceil(window.as_secs()),
        LimitKind::Bucket { window, burst } => u64::from(burst.get()) + count * span / window.as_secs(),
        LimitKind::Counted { window } => count * span.div_ceil(window.as_secs()),
        // Hours begin with the day; any other span may begin within a window, and touches one more.
        LimitKind::Calendar { window } => count * (span.div_ceil(window.as_secs()) + u64::from(!is_calendar)),
        LimitKind::Ramp | LimitKind::Connections => return None,
    };
    Some(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stricter: &str, looser: &str, expected: bool) {
        let found = is_always_stricter(&stricter.parse().unwrap(), &looser.parse().unwrap());
        assert_eq!(found, expected, "{stricter} over {looser}");
    }

    #[test]
    fn a_spaced_limit_bounds_every_longer_window() {
        check("10/s", "1000000/h", true);
        check("10/s", "36000/h", true);
        check("10/s", "35999/h", false);
        check("10/s", "864000/day calendar", true);
        check("10/s", "100/10s rolling", true);
        check("7/3s", "2/s rolling", false);
        check("7/3s", "3/s rolling", true);
    }

    #[test]
    fn spaced_limits_compare_by_their_rate() {
        check("1/s", "100/min", true);
        check("60/min", "2/s", true);
        check("60/min", "60/min burst 1", true);
        check("2/s", "60/min", false);
        check("1/s", "60/min", true);
        check("60/min", "1/s", true);
    }

    #[test]
    fn a_bucket_holds_its_burst_on_top() {
        check("10/s burst 100", "36000/h", false);
        check("10/s burst 100", "36100/h", true);
        check("10/s burst 100", "1000/min burst 100", true);
        check("10/s burst 100", "1000/min burst 99", false);
        check("10/s burst 100", "1000/min", false);
    }

    #[test]
    fn counted_windows_add_up() {
        check("100/h", "2400/day", true);
        check("100/h", "2399/day", false);
        check("1000/day", "1000/h", true);
        check("1000/day", "999/h", false);
        check("1000/h", "1000/s burst 1000", true);
        check("1000/h", "1000/s", false);
        check("100/s burst 100", "50000/h", false);
        check("50000/h", "1000000/day", false);
    }

    #[test]
    fn a_span_may_touch_two_calendar_windows() {
        check("100/h calendar", "2400/day calendar", true);
        check("100/h calendar", "2400/day", false);
        check("100/h calendar", "2500/day", true);
        check("1000/day calendar", "1000/h calendar", true);
        check("1000/day calendar", "1000/h", false);
        check("1000/day calendar", "2000/h", true);
        check("100/h calendar", "200/s burst 200", true);
    }

    #[test]
    fn connections_are_not_messages() {
        check("1 connection", "100/s", false);
        check("1/day", "100 connections", false);
        check("1 connection", "2 connections", false);
    }
}
