//! A clock that stands still until it is turned.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sluice_engine::Clock;
use sluice_types::{Tick, Timestamp};

#[derive(Debug, Default)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    pub(crate) fn turn(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn tick(&self) -> Tick {
        Tick::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
}
