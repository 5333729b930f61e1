//! A run of leased slots on the local clock. Kept as arithmetic, so that a block of thousands costs as much as one.

use std::sync::Arc;
use std::time::Duration;

use sluice_policy::{SlotRun, nanos};
use sluice_types::Tick;

use crate::store_clock::StoreClock;

/// What the slots of one lease are given back with: for each limit the mark, and the share of its rate that it had.
pub(super) type Marks = Arc<[(i64, u32)]>;

/// Slot `i` opens at `first + i * spacing` and closes `grace` later.
#[derive(Clone, Debug)]
pub(super) struct LocalRun {
    first: Tick,
    spacing_ns: u64,
    /// From a slot's opening to its closing, less what the lease may have been on its way.
    grace: Duration,
    next: u32,
    count: u32,
    /// Spaced limits: the opening of the first slot under each, on the store's clock.
    parts_ns: Vec<i64>,
    pub(super) marks: Marks,
}

impl LocalRun {
    /// Places a run that was leased at `at_ns` of the store's clock on ours: openings by the latest that the store's clock
    /// may be, closings by the earliest, so that a slot is neither early nor late.
    pub(super) fn place(
        run: &SlotRun,
        at_ns: i64,
        clock: &StoreClock,
        parts_ns: &[i64],
        marks: &Marks,
    ) -> Self {
        let opens_ns = at_ns.saturating_add(nanos(run.opens_in));
        let first = clock.surely_after(opens_ns);
        Self {
            first,
            spacing_ns: u64::try_from(run.spacing.as_nanos()).unwrap_or(u64::MAX),
            grace: clock.surely_before(opens_ns.saturating_add(nanos(run.grace))).since(first),
            next: 0,
            count: run.count,
            parts_ns: parts_ns.to_vec(),
            marks: Arc::clone(marks),
        }
    }

    /// The openings under limit `i`, whose slots are `spacing_ns` apart, of the slots that are left, on the store's clock.
    pub(super) fn openings_ns(&self, i: usize, spacing_ns: i64) -> impl Iterator<Item = i64> {
        let first_ns = self.parts_ns.get(i).copied();
        (self.next..self.count).filter_map(move |slot| Some(first_ns? + i64::from(slot) * spacing_ns))
    }

    fn opens(&self, slot: u32) -> Tick {
        self.first + Duration::from_nanos(self.spacing_ns.saturating_mul(u64::from(slot)))
    }

    /// The next slot's opening and closing.
    pub(super) fn head(&self) -> Option<(Tick, Tick)> {
        (self.next < self.count).then(|| {
            let opens = self.opens(self.next);
            (opens, opens + self.grace)
        })
    }

    /// The last slot's opening; none when none is left.
    pub(super) fn last(&self) -> Option<Tick> {
        (self.next < self.count).then(|| self.opens(self.count - 1))
    }

    /// Drops the slots that closed before `now`; answers how many.
    pub(super) fn lapse(&mut self, now: Tick) -> u32 {
        let before = self.next;
        let Some((_, closes)) = self.head() else { return 0 };
        if closes >= now {
            return 0;
        }
        let behind = u64::try_from(now.since(closes).as_nanos()).unwrap_or(u64::MAX);
        // With no spacing all close together; else slot k from here closes k spacings later.
        let gone = match behind.checked_div(self.spacing_ns) {
            None => u64::from(self.count),
            Some(whole) => whole + u64::from(behind % self.spacing_ns > 0),
        };
        self.next = self.next.saturating_add(u32::try_from(gone).unwrap_or(u32::MAX)).min(self.count);
        self.next - before
    }

    /// Uses the next slot.
    pub(super) fn take(&mut self) {
        self.next = self.next.saturating_add(1).min(self.count);
    }

    /// A slot that was taken was not used; those without spacing are all alike. False where it was none of these.
    pub(super) const fn take_back(&mut self) -> bool {
        let is_of_these = self.next > 0 && self.spacing_ns == 0;
        if is_of_these {
            self.next -= 1;
        }
        is_of_these
    }

    /// Slots left that close after `at`.
    pub(super) fn closing_after(&self, at: Tick) -> u32 {
        (self.count - self.next).saturating_sub(self.opening_by(at - self.grace))
    }

    /// Slots left that open by `until`.
    pub(super) fn opening_by(&self, until: Tick) -> u32 {
        let left = self.count - self.next;
        let Some((opens, _)) = self.head() else { return 0 };
        if opens > until {
            return 0;
        }
        let ahead = u64::try_from(until.since(opens).as_nanos()).unwrap_or(u64::MAX);
        match ahead.checked_div(self.spacing_ns) {
            None => left,
            Some(more) => left.min(u32::try_from(more.saturating_add(1)).unwrap_or(u32::MAX)),
        }
    }

    /// Slots left.
    pub(super) fn left(&self) -> u32 {
        self.count - self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(opens_ms: u64, spacing_ms: u64, count: u32, grace_ms: u64) -> LocalRun {
        LocalRun::place(
            &SlotRun {
                opens_in: Duration::from_millis(opens_ms),
                spacing: Duration::from_millis(spacing_ms),
                count,
                grace: Duration::from_millis(grace_ms),
            },
            0,
            &StoreClock::default(),
            &[opens_ms_ns(opens_ms)],
            &Arc::from([(7, 1000)]),
        )
    }

    fn opens_ms_ns(ms: u64) -> i64 {
        i64::try_from(ms * 1_000_000).unwrap()
    }

    fn at(ms: u64) -> Tick {
        Tick::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn slots_lapse_one_by_one() {
        let mut it = run(100, 20, 5, 5);
        assert_eq!(it.lapse(at(105)), 0);
        assert_eq!(it.lapse(at(106)), 1);
        assert_eq!(it.head(), Some((at(120), at(125))));
        assert_eq!(it.lapse(at(146)), 2);
        assert_eq!(it.head(), Some((at(160), at(165))));
        assert_eq!(it.lapse(at(9999)), 2);
        assert_eq!(it.head(), None);
    }

    #[test]
    fn what_is_left_is_known_by_its_openings_on_the_store_s_clock() {
        let mut it = run(100, 20, 3, 5);
        it.take();
        assert_eq!(it.openings_ns(0, 20_000_000).collect::<Vec<_>>(), [120_000_000, 140_000_000]);
        let of_a_faster_limit: Vec<i64> = it.openings_ns(0, 15_000_000).collect();
        assert_eq!(of_a_faster_limit, [115_000_000, 130_000_000], "each limit has its own spacing");
        assert_eq!(it.openings_ns(1, 20_000_000).count(), 0, "there is no second limit");
    }

    #[test]
    fn slots_without_spacing_lapse_together() {
        let mut it = run(0, 0, 7, 50);
        it.take();
        assert_eq!(it.lapse(at(50)), 0);
        assert_eq!(it.lapse(at(51)), 6);
    }

    #[test]
    fn opening_by_counts_what_opens_in_time() {
        let mut it = run(100, 20, 5, 5);
        assert_eq!([99, 100, 119, 120, 500].map(|ms| it.opening_by(at(ms))), [0, 1, 1, 2, 5]);
        it.take();
        assert_eq!(it.opening_by(at(120)), 1);
    }
}
