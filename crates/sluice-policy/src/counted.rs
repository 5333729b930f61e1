//! Hour and day windows, counted strictly in sub-buckets.
//!
//! A lease charges its slots to the sub-bucket of the instant of the lease, and they must be used before that
//! sub-bucket ends. A rolling window of length `W` therefore lies within the current sub-bucket and the 60 before it,
//! so holding the sum over those 61 to the limit holds every window to it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::lease::{Grant, SlotRun, duration, nanos};

/// Sub-buckets of a rolling window.
const BUCKETS: i64 = 60;

/// A counted limit as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountedTerms {
    /// Uses allowed over all counted sub-buckets.
    pub limit: u32,
    /// Length of a sub-bucket; sub-buckets start at its multiples since the epoch.
    pub bucket_ns: i64,
    /// Sub-buckets before the current one that count: 60 for a rolling window, 0 for a calendar one.
    pub look_back: i64,
}

/// The state of one limit in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountedState {
    /// Slots leased, by the start of their sub-bucket in nanoseconds.
    pub used: BTreeMap<i64, u32>,
}

impl CountedTerms {
    /// At most `count` uses in any `window`.
    #[must_use]
    pub fn rolling(count: NonZeroU32, window: Duration) -> Self {
        let window_ns = nanos(window);
        let bucket_ns = (window_ns / BUCKETS + i64::from(window_ns % BUCKETS > 0)).max(1);
        Self { limit: count.get(), bucket_ns, look_back: BUCKETS }
    }

    /// At most `count` uses between two multiples of `window` (the full hour, midnight UTC).
    #[must_use]
    pub fn calendar(count: NonZeroU32, window: Duration) -> Self {
        Self { limit: count.get(), bucket_ns: nanos(window).max(1), look_back: 0 }
    }
}

/// Leases up to `want` slots at the instant `now_ns`, and forgets sub-buckets that no longer count.
pub fn lease_counted(terms: &CountedTerms, state: &mut CountedState, now_ns: i64, want: u32) -> Grant {
    let CountedTerms { limit, bucket_ns, look_back } = *terms;
    let bucket = now_ns.div_euclid(bucket_ns) * bucket_ns;
    let oldest = bucket - look_back * bucket_ns;
    state.used = state.used.split_off(&oldest);
    let used: u64 = state.used.values().map(|n| u64::from(*n)).sum();
    let left = u32::try_from(u64::from(limit).saturating_sub(used)).unwrap_or(u32::MAX);
    let granted = want.min(left);
    let mut runs = Vec::new();
    if granted > 0 {
        *state.used.entry(bucket).or_default() += granted;
        let grace = duration(bucket + bucket_ns - 1 - now_ns);
        runs.push(SlotRun { opens_in: Duration::ZERO, spacing: Duration::ZERO, count: granted, grace });
    }
    let next_in = (granted < want).then(|| {
        // The oldest sub-bucket that counts leaves when the current one is `look_back + 1` after it.
        let first = state.used.iter().find(|(_, n)| **n > 0).map_or(bucket, |(start, _)| *start);
        duration(first + (look_back + 1) * bucket_ns - now_ns)
    });
    Grant { runs, next_in }
}

#[cfg(test)]
mod tests;
