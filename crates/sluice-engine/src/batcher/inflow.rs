//! How many rows come in.

use std::time::Duration;

use sluice_types::Tick;

/// Rows are counted over this long at least.
const SPAN: Duration = Duration::from_millis(20);

/// Rows by time, as the last whole span had them.
#[derive(Debug)]
pub(super) struct Inflow {
    since: Tick,
    rows: u64,
    per_second: u64,
}

impl Inflow {
    pub(super) const fn new(now: Tick) -> Self {
        Self { since: now, rows: 0, per_second: 0 }
    }

    /// So many have come.
    pub(super) fn add(&mut self, rows: usize, now: Tick) {
        self.rows += u64::try_from(rows).unwrap_or(u64::MAX);
        let span = now.since(self.since);
        if span >= SPAN {
            let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
            self.per_second = self.rows.saturating_mul(1_000_000) / micros;
            (self.since, self.rows) = (now, 0);
        }
    }

    /// How many will come in `time` if it goes on. After a pause nothing is known.
    pub(super) fn rows_in(&self, time: Duration, now: Tick) -> usize {
        if now.since(self.since) >= 2 * SPAN {
            return 0;
        }
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        usize::try_from(self.per_second.saturating_mul(micros) / 1_000_000).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_whole_span_tells_what_comes() {
        let at = |ms: u64| Tick::ZERO + Duration::from_millis(ms);
        let mut inflow = Inflow::new(at(0));
        let soon = |it: &Inflow, now| it.rows_in(Duration::from_millis(3), at(now));
        inflow.add(60, at(10));
        assert_eq!(soon(&inflow, 10), 0, "too short to tell");
        inflow.add(60, at(20));
        assert_eq!([20, 59, 60].map(|now| soon(&inflow, now)), [18, 18, 0], "none goes on through a pause");
        inflow.add(1, at(1020));
        assert_eq!(soon(&inflow, 1020), 0, "one in a second is no flood");
    }
}
