//! Counts of calls over a sliding window, kept in buckets.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_types::Tick;

use super::Call;

/// Buckets of a window; the oldest is dropped whole, so the window spans between 9 and 10 of them.
const BUCKETS: u64 = 10;

/// Calls counted by what they say of the ESP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow: u32,
}

/// The calls of the last `span`.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// Length of a bucket in nanoseconds, at least 1.
    bucket_ns: u64,
    /// Number of each bucket since the clock's start, oldest first, with its counts.
    buckets: VecDeque<(u64, Counts)>,
}

impl Window {
    pub(super) fn new(span: Duration) -> Self {
        let span_ns = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Self { bucket_ns: (span_ns / BUCKETS).max(1), buckets: VecDeque::new() }
    }

    /// Adds one call at `now` and returns the sums of the window that ends there.
    pub(super) fn add(&mut self, now: Tick, call: Call) -> Counts {
        let number = now.as_nanos() / self.bucket_ns;
        self.buckets.retain(|(of, _)| of.saturating_add(BUCKETS) > number);
        if self.buckets.back().is_none_or(|(of, _)| *of < number) {
            self.buckets.push_back((number, Counts::default()));
        }
        if let Some((_, counts)) = self.buckets.back_mut() {
            counts.add(Counts::of(call));
        }
        let mut sum = Counts::default();
        self.buckets.iter().for_each(|(_, counts)| sum.add(*counts));
        sum
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }
}

impl Counts {
    fn of(call: Call) -> Self {
        let (failures, slow) = match call {
            Call::Success => (0, 0),
            Call::Slow => (0, 1),
            Call::Failure | Call::AccountFault => (1, 0),
        };
        Self { calls: 1, failures, slow }
    }

    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_counts_the_calls_of_its_buckets(
            steps in proptest::collection::vec((0..20_000u64, 0..3u8), 1..80),
        ) {
            let mut window = Window::new(Duration::from_secs(60));
            let (mut now_ms, mut seen) = (0, Vec::new());
            for (step_ms, kind) in steps {
                now_ms += step_ms;
                let call = match kind { 0 => Call::Success, 1 => Call::Slow, _ => Call::Failure };
                seen.push((now_ms / 6_000, call));
                let sum = window.add(Tick::ZERO + Duration::from_millis(now_ms), call);
                let mut expected = Counts::default();
                seen.iter()
                    .filter(|(bucket, _)| bucket + 10 > now_ms / 6_000)
                    .for_each(|(_, call)| expected.add(Counts::of(*call)));
                prop_assert_eq!(sum, expected);
                prop_assert!(window.buckets.len() <= 10);
            }
        }
    }
}
