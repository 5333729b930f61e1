//! Who waits for one of few things: in order of arrival, transactional jobs first.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_types::{Class, Tick};
use tokio::sync::oneshot;

/// Bulk leaves the reserved share alone for so long after a transactional job has wanted any.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// Those who wait, and how each is handed what it waits for.
#[derive(Debug)]
pub(crate) struct Waiters<T> {
    transactional: BTreeMap<u64, oneshot::Sender<T>>,
    bulk: BTreeMap<u64, oneshot::Sender<T>>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self { transactional: BTreeMap::new(), bulk: BTreeMap::new() }
    }
}

impl<T> Waiters<T> {
    fn of(&mut self, class: Class) -> &mut BTreeMap<u64, oneshot::Sender<T>> {
        match class {
            Class::Transactional => &mut self.transactional,
            Class::Bulk => &mut self.bulk,
        }
    }

    pub(crate) fn join(&mut self, class: Class, number: u64) -> oneshot::Receiver<T> {
        let (tell, told) = oneshot::channel();
        self.of(class).insert(number, tell);
        told
    }

    /// Takes one out who waits no longer; false when it had its turn.
    pub(crate) fn leave(&mut self, class: Class, number: u64) -> bool {
        self.of(class).remove(&number).is_some()
    }

    /// Who of the class came first.
    pub(crate) fn first(&self, class: Class) -> Option<u64> {
        let waiters = match class {
            Class::Transactional => &self.transactional,
            Class::Bulk => &self.bulk,
        };
        waiters.first_key_value().map(|(number, _)| *number)
    }

    /// Takes the first of the class out, for its turn.
    pub(crate) fn pop(&mut self, class: Class) -> Option<oneshot::Sender<T>> {
        self.of(class).pop_first().map(|(_, tell)| tell)
    }

    /// How many a newcomer of the class would have before it.
    pub(crate) fn ahead(&self, class: Class) -> usize {
        match class {
            Class::Transactional => self.transactional.len(),
            Class::Bulk => self.transactional.len() + self.bulk.len(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.transactional.is_empty() && self.bulk.is_empty()
    }
}

/// How many of `count` bulk leaves alone while transactional jobs come: their share, at least one, but never all.
pub(crate) fn reserve(count: u32, permille: u32) -> u32 {
    if permille == 0 {
        return 0;
    }
    let share = u64::from(count) * u64::from(permille) / 1000;
    u32::try_from(share).unwrap_or(count).max(1).min(count.saturating_sub(1))
}

/// Whether transactional jobs have wanted any lately. Nothing is kept where none come.
pub(crate) fn is_wanted(urgent_at: Option<Tick>, now: Tick) -> bool {
    urgent_at.is_some_and(|at| now.since(at) < KEPT_FOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_share_is_one_at_least_and_never_all() {
        for (count, permille, expected) in
            [(10, 200, 2), (2, 200, 1), (1, 200, 0), (0, 200, 0), (256, 200, 51), (10, 0, 0), (3, 1000, 2)]
        {
            assert_eq!(reserve(count, permille), expected, "{permille} of {count}");
        }
    }
}
