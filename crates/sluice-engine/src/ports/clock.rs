//! The one place where time is read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sluice_types::{Tick, Timestamp};

/// Reads both clocks.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The monotonic clock, for limits, breakers and deadlines.
    fn tick(&self) -> Tick;
    /// The wall clock in UTC, for records.
    fn now(&self) -> Timestamp;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose ticks count from now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn tick(&self) -> Tick {
        Tick::ZERO + self.start.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else asks")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}
