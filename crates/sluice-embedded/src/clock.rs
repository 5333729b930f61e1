//! The store's clock: the process's wall clock for records, and one that never steps back for slots.

use std::sync::{Arc, Mutex, PoisonError};

use sluice_engine::Clock;
use sluice_types::{Tick, Timestamp};

/// Reads time for the store.
#[derive(Debug)]
pub(crate) struct StoreClock {
    clock: Arc<dyn Clock>,
    last: Mutex<(Timestamp, Tick)>,
}

impl StoreClock {
    /// A clock whose slot time starts no earlier than `floor`, the latest instant that the file knows of.
    pub(crate) fn new(clock: Arc<dyn Clock>, floor: Timestamp) -> Self {
        let start = clock.now().max(floor);
        let tick = clock.tick();
        Self { clock, last: Mutex::new((start, tick)) }
    }

    /// The wall clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time by which slots are leased.
    ///
    /// When the wall clock steps back it goes on at the pace of the monotonic clock: to follow would open slots of a
    /// counted window twice, and to stand still would open none.
    pub(crate) fn slot_now(&self) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let tick = self.clock.tick();
        let (then, then_tick) = *last;
        let paced = then + tick.since(then_tick);
        let now = paced.max(self.clock.now());
        // `paced` cuts off below a microsecond; moving the anchor on each call would let that add up.
        if now > paced || tick.since(then_tick).as_secs() >= 1 {
            *last = (now, tick);
        }
        now
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Default)]
    struct Hands {
        wall: AtomicI64,
        tick: AtomicU64,
    }

    impl Clock for Hands {
        fn tick(&self) -> Tick {
            Tick::ZERO + Duration::from_micros(self.tick.load(Ordering::Relaxed))
        }

        fn now(&self) -> Timestamp {
            Timestamp::from_micros(self.wall.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn slot_time_goes_on_when_the_wall_clock_steps_back() {
        let hands = Arc::new(Hands::default());
        hands.wall.store(1_000_000, Ordering::Relaxed);
        let clock = StoreClock::new(hands.clone(), Timestamp::from_micros(0));
        assert_eq!(clock.slot_now().as_micros(), 1_000_000);
        hands.wall.store(500_000, Ordering::Relaxed);
        hands.tick.store(250, Ordering::Relaxed);
        assert_eq!(clock.slot_now().as_micros(), 1_000_250);
        hands.wall.store(3_000_000, Ordering::Relaxed);
        assert_eq!(clock.slot_now().as_micros(), 3_000_000);
        assert_eq!(clock.now().as_micros(), 3_000_000);
    }

    #[test]
    fn slot_time_starts_after_what_the_file_knows() {
        let clock = StoreClock::new(Arc::new(Hands::default()), Timestamp::from_micros(77));
        assert_eq!(clock.slot_now().as_micros(), 77);
    }
}
