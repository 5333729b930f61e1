//! Hour and day windows, counted strictly in sub-buckets.
//!
//! A lease charges its slots to the sub-bucket of the instant of the lease, and they must be used before that
//! sub-bucket ends. A rolling window of length `W` therefore lies within the current sub-bucket and the 60 before it,
//! so holding the sum over those 61 to the limit holds every window to it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::lease::{duration, nanos};
use crate::slots::{Leased, LimitLook};

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

/// A wish for slots under a counted limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CountedWant {
    /// How many slots at most.
    pub(crate) count: u32,
    /// Of these, how many for transactional jobs.
    pub(crate) urgent: u32,
    /// The share of the limit that is reserved for those, in permille, at most 1000.
    pub(crate) reserved_permille: u32,
}

/// What is kept for transactional jobs until the next used slots come back: the reserved share of what the window allows
/// in the meantime. It melts as that instant comes near, so in the end all is lent.
#[derive(Clone, Copy, Debug)]
struct Reserve {
    /// The reserved share of the limit, in thousandths of a slot.
    parts: i64,
    /// A thousandth of the window.
    span_part_ns: i64,
    /// From now until used slots come back.
    leaves_in_ns: i64,
}

impl Reserve {
    fn of(terms: &CountedTerms, reserved_permille: u32, leaves_in_ns: i64) -> Self {
        Self {
            parts: i64::from(terms.limit) * i64::from(reserved_permille.min(1000)),
            span_part_ns: (terms.span_ns() / 1000).max(1),
            leaves_in_ns,
        }
    }

    /// How many slots are kept now.
    fn kept(self) -> u32 {
        let span_permille = (self.leaves_in_ns / self.span_part_ns).clamp(0, 1000);
        u32::try_from(self.parts * span_permille / 1_000_000).unwrap_or(0)
    }

    /// How soon fewer than `left` slots are kept, or all come back.
    fn below_in_ns(self, left: i64) -> i64 {
        if left <= 0 || self.parts <= 0 {
            return self.leaves_in_ns;
        }
        let span_permille = (left * 1_000_000 - 1) / self.parts;
        (self.leaves_in_ns - (span_permille + 1) * self.span_part_ns + 1).min(self.leaves_in_ns)
    }
}

impl CountedTerms {
    /// All sub-buckets that count, as a time.
    const fn span_ns(&self) -> i64 {
        (self.look_back + 1) * self.bucket_ns
    }

    fn reserve(&self, resets_in: Option<Duration>, reserved_permille: u32) -> Reserve {
        Reserve::of(self, reserved_permille, resets_in.map_or(self.span_ns(), nanos))
    }

    /// How many of the slots that are `left` bulk jobs may use now: all but what is kept for transactional ones. Used ones
    /// come back in `resets_in`, as a look at the limit says.
    #[must_use]
    pub fn lent(&self, left: u64, resets_in: Option<Duration>, reserved_permille: u32) -> u64 {
        left.saturating_sub(u64::from(self.reserve(resets_in, reserved_permille).kept()))
    }

    /// How soon a bulk job with so many others ahead of it may use one of the slots that are `left`; `None` when they use
    /// all of them.
    #[must_use]
    pub fn lent_in(
        &self,
        left: u64,
        resets_in: Option<Duration>,
        reserved_permille: u32,
        ahead: u64,
    ) -> Option<Duration> {
        let for_it =
            i64::try_from(left.checked_sub(ahead).filter(|left| *left > 0)?).unwrap_or(i64::MAX / 1_000_000);
        if ahead < self.lent(left, resets_in, reserved_permille) {
            return Some(Duration::ZERO);
        }
        Some(duration(self.reserve(resets_in, reserved_permille).below_in_ns(for_it)))
    }
}

/// Leases up to `want.count` slots at the instant `now_ns`, and forgets sub-buckets that no longer count.
pub(crate) fn lease_counted(
    terms: &CountedTerms,
    state: &mut CountedState,
    now_ns: i64,
    want: CountedWant,
) -> Leased {
    let CountedTerms { limit, bucket_ns, look_back } = *terms;
    let bucket = now_ns.div_euclid(bucket_ns) * bucket_ns;
    let oldest = bucket - look_back * bucket_ns;
    state.used = state.used.split_off(&oldest);
    let used: u64 = state.used.values().map(|n| u64::from(*n)).sum();
    let left = u32::try_from(u64::from(limit).saturating_sub(used)).unwrap_or(u32::MAX);
    // The oldest sub-bucket that counts leaves when the current one is `look_back + 1` after it.
    let first = state.used.iter().find(|(_, n)| **n > 0).map_or(bucket, |(start, _)| *start);
    let leaves = first + terms.span_ns();
    let reserve = Reserve::of(terms, want.reserved_permille, leaves - now_ns);
    let urgent = want.urgent.min(want.count).min(left);
    let others =
        (want.count - want.urgent.min(want.count)).min((left - urgent).saturating_sub(reserve.kept()));
    let granted = urgent + others;
    let mut leased = Leased { marks: vec![bucket], ..Leased::at(now_ns) };
    if granted > 0 {
        *state.used.entry(bucket).or_default() += granted;
        leased.push(0, 0, i64::from(granted), bucket + bucket_ns - 1 - now_ns);
    }
    let left = left - granted;
    leased.next_in = (granted < want.count).then(|| {
        // With slots left, the next is lent when the reserve has melted by as many as it exceeds them.
        duration(reserve.below_in_ns(i64::from(left)).max(1_000_000))
    });
    leased.next_urgent_in = (granted < want.count && left == 0).then(|| duration(leaves - now_ns));
    leased
}

/// How the limit stands at `now_ns`, but for what is left of it.
pub(crate) fn look_counted(terms: &CountedTerms, state: &CountedState, now_ns: i64) -> LimitLook {
    let bucket = now_ns.div_euclid(terms.bucket_ns) * terms.bucket_ns;
    let counts = state.used.range(bucket - terms.look_back * terms.bucket_ns..);
    let used: u64 = counts.clone().map(|(_, n)| u64::from(*n)).sum();
    let first = counts.clone().find(|(_, n)| **n > 0).map(|(start, _)| *start);
    let resets_in = first.map(|first| duration(first + terms.span_ns() - now_ns));
    let is_open = used < u64::from(terms.limit);
    let next_in = if is_open { Duration::ZERO } else { resets_in.unwrap_or_default() };
    LimitLook { used, next_in, resets_in, ..LimitLook::default() }
}

/// Gives back `count` slots that were leased in the sub-bucket that starts at `mark_ns`.
pub(crate) fn give_back_counted(state: &mut CountedState, count: u32, mark_ns: i64) {
    if let Some(used) = state.used.get_mut(&mark_ns) {
        *used = used.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests;
