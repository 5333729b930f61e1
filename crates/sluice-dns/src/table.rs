//! What is remembered of domains, for a time and up to a number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::MxAnswer;
use sluice_types::Tick;

/// How long what has expired is kept, to be gone by while no newer answer can be had (RFC 8767 calls it serving stale).
const STALE_FOR: Duration = Duration::from_secs(3600);
/// Such entries that each new entry clears away, so that the table shrinks when fewer domains are asked for.
const CLEARED_PER_ENTRY: usize = 2;

/// Domain to answer, each until its expiry. What expires next goes first when the table is full, so that expired
/// entries go before all others; every call costs O(log n).
#[derive(Debug)]
pub(crate) struct Table {
    entries: HashMap<Arc<str>, Entry>,
    /// Every entry once, by its expiry; the number tells entries with the same expiry apart.
    order: BTreeMap<(Tick, u64), Arc<str>>,
    next: u64,
    max: usize,
}

#[derive(Debug)]
struct Entry {
    answer: MxAnswer,
    place: (Tick, u64),
}

impl Table {
    /// An empty table for `max` domains, at least one.
    pub(crate) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), next: 0, max: max.max(1) }
    }

    /// What is remembered of `domain` and has not expired.
    pub(crate) fn answer(&self, domain: &str, now: Tick) -> Option<&MxAnswer> {
        self.entries.get(domain).filter(|entry| now < entry.place.0).map(|entry| &entry.answer)
    }

    /// What was known of `domain` last, if it is not cleared away yet, whether or not it has expired.
    pub(crate) fn last(&self, domain: &str) -> Option<&MxAnswer> {
        self.entries.get(domain).map(|entry| &entry.answer)
    }

    /// Remembers `answer` until `until`, in the place of what was remembered before.
    pub(crate) fn remember(&mut self, domain: Arc<str>, answer: MxAnswer, until: Tick, now: Tick) {
        if let Some(old) = self.entries.remove(&domain) {
            self.order.remove(&old.place);
        }
        for _ in 0..CLEARED_PER_ENTRY {
            self.forget_first(|expiry| expiry + STALE_FOR <= now);
        }
        if self.entries.len() >= self.max {
            self.forget_first(|_| true);
        }
        let place = (until, self.next);
        self.next = self.next.wrapping_add(1);
        self.order.insert(place, Arc::clone(&domain));
        self.entries.insert(domain, Entry { answer, place });
    }

    /// How many domains are remembered, expired ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn forget_first(&mut self, when: impl FnOnce(Tick) -> bool) {
        if let Some(first) = self.order.first_entry()
            && when(first.key().0)
        {
            self.entries.remove(&first.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::ZERO + Duration::from_secs(seconds)
    }

    fn remember(table: &mut Table, domain: &str, until: u64, now: u64) {
        table.remember(domain.into(), MxAnswer::NotKnown, at(until), at(now));
        assert!(table.len() <= table.max);
        assert_eq!(table.len(), table.order.len());
    }

    fn knows(table: &Table, domain: &str, now: u64) -> bool {
        table.answer(domain, at(now)).is_some()
    }

    #[test]
    fn an_entry_is_gone_at_its_expiry() {
        let mut table = Table::new(10);
        remember(&mut table, "a", 60, 0);
        assert!(knows(&table, "a", 59));
        assert!(!knows(&table, "a", 60));
    }

    #[test]
    fn what_has_expired_can_be_gone_by_for_an_hour() {
        let mut table = Table::new(10);
        remember(&mut table, "a", 60, 0);
        remember(&mut table, "b", 9000, 3659);
        assert!(table.last("a").is_some() && !knows(&table, "a", 3659));
        remember(&mut table, "c", 9000, 3660);
        assert!(table.last("a").is_none());
    }

    #[test]
    fn a_full_table_forgets_what_has_expired_first() {
        let mut table = Table::new(3);
        remember(&mut table, "long", 1000, 0);
        remember(&mut table, "short", 10, 0);
        remember(&mut table, "longer", 2000, 0);
        remember(&mut table, "new", 500, 20);
        assert!(knows(&table, "long", 20) && knows(&table, "longer", 20) && knows(&table, "new", 20));
        remember(&mut table, "newer", 600, 20);
        assert!(!knows(&table, "new", 20), "nothing has expired: what would expire next goes");
        assert!(knows(&table, "long", 20) && knows(&table, "longer", 20) && knows(&table, "newer", 20));
    }

    #[test]
    fn a_second_answer_takes_the_place_of_the_first() {
        let mut table = Table::new(2);
        remember(&mut table, "a", 60, 0);
        remember(&mut table, "b", 90, 0);
        remember(&mut table, "a", 120, 0);
        assert_eq!(table.len(), 2);
        assert!(knows(&table, "a", 119) && knows(&table, "b", 89));
    }

    #[test]
    fn the_table_never_exceeds_its_bound_and_shrinks_when_entries_expire() {
        let mut table = Table::new(100);
        for round in 0..1000 {
            remember(&mut table, &format!("domain{round}"), 60 + round % 7, 0);
        }
        assert_eq!(table.len(), 100);
        for round in 0..150 {
            remember(&mut table, &format!("late{}", round % 10), 6000, 4000);
        }
        assert_eq!(table.len(), 10);
    }

    #[test]
    fn a_table_of_zero_holds_one() {
        let mut table = Table::new(0);
        remember(&mut table, "a", 60, 0);
        remember(&mut table, "b", 60, 0);
        assert!(!knows(&table, "a", 0) && knows(&table, "b", 0));
    }
}
