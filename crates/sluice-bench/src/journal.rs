//! What reached the stand-in ESP: when, and how often. The truth that a run is checked against.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Arrivals of the jobs `0..capacity`, without a lock.
#[derive(Debug)]
pub(crate) struct Journal {
    origin: Instant,
    /// Nanoseconds since `origin`, plus one; 0 is "not yet".
    arrivals: Box<[AtomicU64]>,
    accepted: AtomicU64,
    doubles: AtomicU64,
    strangers: AtomicU64,
}

impl Journal {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            origin: Instant::now(),
            arrivals: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
            accepted: AtomicU64::new(0),
            doubles: AtomicU64::new(0),
            strangers: AtomicU64::new(0),
        }
    }

    /// A call came; `number` is that of its job, if it named one.
    pub(crate) fn record(&self, number: Option<usize>) {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX - 1);
        let Some(cell) = number.and_then(|number| self.arrivals.get(number)) else {
            self.strangers.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match cell.compare_exchange(0, nanos + 1, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => self.accepted.fetch_add(1, Ordering::Relaxed),
            Err(_) => self.doubles.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Distinct jobs that came.
    pub(crate) fn accepted(&self) -> usize {
        usize::try_from(self.accepted.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// When job `number` came.
    pub(crate) fn arrival(&self, number: usize) -> Option<Instant> {
        let nanos = self.arrivals.get(number)?.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.origin + Duration::from_nanos(nanos))
    }

    /// Which of `jobs` have come, in order of arrival.
    pub(crate) fn arrivals(&self, jobs: impl Iterator<Item = usize>) -> Vec<Instant> {
        let mut times: Vec<Instant> = jobs.filter_map(|number| self.arrival(number)).collect();
        times.sort_unstable();
        times
    }

    /// What is wrong with it, if each of `due` should have come once, and no job twice.
    pub(crate) fn faults(&self, due: Range<usize>) -> Vec<String> {
        let missing = due.clone().filter(|number| self.arrival(*number).is_none()).count();
        let counts = [
            (u64::try_from(missing).unwrap_or(u64::MAX), "jobs never reached the ESP"),
            (self.doubles.load(Ordering::Relaxed), "calls sent a job again"),
            (self.strangers.load(Ordering::Relaxed), "calls named no job of this run"),
        ];
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_double_or_strange_is_told() {
        let journal = Journal::new(4);
        journal.record(Some(0));
        journal.record(Some(1));
        assert_eq!(journal.faults(0..2), Vec::<String>::new());
        assert_eq!(journal.arrivals(0..4).len(), 2);
        journal.record(Some(1));
        journal.record(Some(4));
        journal.record(None);
        assert_eq!(journal.accepted(), 2);
        assert_eq!(
            journal.faults(0..3),
            ["1 jobs never reached the ESP", "1 calls sent a job again", "2 calls named no job of this run"]
        );
    }
}
