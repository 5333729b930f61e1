//! How long calls and claims take.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a call takes in nanoseconds, until some have taken twice or half as long.
const CALL_NS: u64 = 1_000_000_000;

/// How long the calls of an account take. It steers how much is borrowed from the broker, and each change of that costs a
/// consumer: so it moves only when calls take twice or half as long.
#[derive(Debug)]
pub(super) struct CallTime {
    pub(super) mean: MeanTime,
    about_ns: AtomicU64,
}

impl Default for CallTime {
    fn default() -> Self {
        Self { mean: MeanTime::default(), about_ns: AtomicU64::new(CALL_NS) }
    }
}

impl CallTime {
    pub(super) fn note(&self, took: Duration) {
        let mean = self.mean.note(took);
        let about = self.about_ns.load(Ordering::Relaxed);
        if mean > about.saturating_mul(2) || mean < about / 2 {
            self.about_ns.store(mean, Ordering::Relaxed);
        }
    }

    pub(super) fn about(&self) -> Duration {
        Duration::from_nanos(self.about_ns.load(Ordering::Relaxed))
    }
}

/// A moving mean in nanoseconds; 0: nothing was noted. What one of two that come at once adds may be lost.
#[derive(Debug, Default)]
pub(super) struct MeanTime(AtomicU64);

impl MeanTime {
    /// One more; answers the mean.
    pub(super) fn note(&self, took: Duration) -> u64 {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mean = match self.0.load(Ordering::Relaxed) {
            0 => took,
            mean => (mean - mean / 8 + took / 8).max(1),
        };
        self.0.store(mean, Ordering::Relaxed);
        mean
    }

    pub(super) fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
