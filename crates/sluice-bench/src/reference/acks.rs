//! Acks whole prefixes of a channel's deliveries.

use std::collections::BTreeSet;

/// Which deliveries are done, by tag; tags count from 1.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    /// All up to here are done.
    done: u64,
    ahead: BTreeSet<u64>,
}

impl Prefix {
    /// Delivery `tag` is done.
    pub(super) fn finish(&mut self, tag: u64) {
        self.ahead.insert(tag);
        while self.ahead.remove(&(self.done + 1)) {
            self.done += 1;
        }
    }

    /// The last of the deliveries that are done without a gap; 0 before the first.
    pub(super) fn end(&self) -> u64 {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_never_reaches_over_a_gap() {
        let mut prefix = Prefix::default();
        for (tag, end) in [(2, 0), (3, 0), (1, 3), (5, 3), (4, 5)] {
            prefix.finish(tag);
            assert_eq!(prefix.end(), end, "after {tag}");
        }
    }
}
