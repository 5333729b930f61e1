//! Where the store's clock stands beside ours, as closely as its answers tell.

use std::time::Duration;

use sluice_types::Tick;

/// How far the two clocks may drift apart, in parts per million: more than crystals do, and than NTP slews by.
const DRIFT_PPM: u64 = 600;

/// Bounds on the store's clock minus ours, in nanoseconds.
///
/// Each answer was given at some instant between the asking and the receipt. The clocks run alike, so what one quick
/// answer told holds for a slow one too: the bounds of all answers are intersected, and widen slowly by the drift. A
/// clock that was set tells itself by bounds that contradict each other; then only the last answer counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StoreClock {
    least: i64,
    most: i64,
    learned: Option<Tick>,
}

impl StoreClock {
    /// The store's clock showed both of these, the earlier first, at some instants between these two of ours: what the store
    /// worked in between does not count as time on the way. Answers whether one of the clocks was set, or has stood still, since
    /// the last time.
    pub(crate) fn learn(&mut self, (from_ns, to_ns): (i64, i64), asked_at: Tick, received_at: Tick) -> bool {
        let (least, most) =
            (to_ns.saturating_sub(nanos(received_at)), from_ns.saturating_sub(nanos(asked_at)));
        let drift = self.learned.map_or(0, |at| {
            let since = u64::try_from(received_at.since(at).as_nanos()).unwrap_or(u64::MAX);
            i64::try_from(since / 1_000_000 * DRIFT_PPM).unwrap_or(i64::MAX)
        });
        let known = (self.least.saturating_sub(drift), self.most.saturating_add(drift));
        let both = (known.0.max(least), known.1.min(most));
        let fits = both.0 <= both.1;
        (self.least, self.most) = if self.learned.is_some() && fits { both } else { (least, most) };
        self.learned.replace(received_at).is_some() && !fits
    }

    /// The store's clock minus ours: the middle of what is known, in nanoseconds.
    pub(crate) fn ahead_ns(&self) -> i64 {
        self.least.midpoint(self.most)
    }

    /// The first instant of ours at which the store's clock surely shows `store_ns` or more.
    pub(crate) fn surely_after(&self, store_ns: i64) -> Tick {
        tick(store_ns.saturating_sub(self.least))
    }

    /// The last instant of ours at which the store's clock surely shows `store_ns` or less.
    pub(crate) fn surely_before(&self, store_ns: i64) -> Tick {
        tick(store_ns.saturating_sub(self.most))
    }
}

fn nanos(tick: Tick) -> i64 {
    i64::try_from(tick.as_nanos()).unwrap_or(i64::MAX)
}

fn tick(nanos: i64) -> Tick {
    Tick::ZERO + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::ZERO + Duration::from_millis(ms)
    }

    fn once(store_ns: i64) -> (i64, i64) {
        (store_ns, store_ns)
    }

    const STORE: i64 = 1_000_000_000_000;
    const MS: i64 = 1_000_000;

    #[test]
    fn a_quick_answer_is_remembered_for_slow_ones() {
        let mut clock = StoreClock::default();
        // It is ahead by STORE; the answer came in the middle of 4 ms.
        clock.learn(once(STORE + 102 * MS), at(100), at(104));
        assert_eq!(
            (clock.surely_after(STORE + 200 * MS), clock.surely_before(STORE + 200 * MS)),
            (at(202), at(198))
        );
        clock.learn(once(STORE + 240 * MS), at(200), at(280));
        assert!((clock.ahead_ns() - STORE).abs() <= 2 * MS, "{}", clock.ahead_ns());
        let late = clock.surely_after(STORE + 300 * MS).since(at(300));
        assert!(late <= Duration::from_micros(2200), "{late:?}");
    }

    #[test]
    fn a_clock_that_was_set_is_learned_anew() {
        let mut clock = StoreClock::default();
        clock.learn(once(STORE), at(0), at(2));
        clock.learn(once(STORE + 5_000 * MS), at(100), at(104));
        assert_eq!(clock.surely_after(STORE + 5_000 * MS), at(104));
        clock.learn(once(STORE - 5_000 * MS), at(200), at(203));
        assert_eq!(clock.surely_before(STORE - 5_000 * MS), at(200));
    }

    #[test]
    fn what_the_store_works_on_an_answer_is_not_time_on_the_way() {
        let mut clock = StoreClock::default();
        // One millisecond there, 60 of work, one back.
        assert!(!clock.learn((STORE + 101 * MS, STORE + 161 * MS), at(100), at(162)));
        let opens = STORE + 200 * MS;
        assert_eq!((clock.surely_after(opens), clock.surely_before(opens)), (at(201), at(199)));
    }
}
