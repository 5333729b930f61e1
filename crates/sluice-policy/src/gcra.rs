//! Spaced slots and token buckets by the generic cell rate algorithm, leased in blocks.
//!
//! With spacing `T`, burst `B`, grace `g` and horizon `h`, at the store's instant `now`, wanting `n`:
//!
//! ```text
//! base  = max(tat, now)                        first theoretical arrival
//! open  = base - (B - 1) * T                   opening of the first slot
//! fit   = (now + h - open) / T + 1             slots that open within the horizon (0 if open > now + h)
//! m     = min(n, fit)                          slots granted; tat := base + m * T
//! now_k = min(m, (now - open) / T + 1)         of these, slots that are open already (0 if open > now)
//! runs  = now_k slots at 0 apart, opening now; the others T apart, the first at open + now_k * T
//! ```
//!
//! A slot is used between its opening and `g` later. Any span `t` of uses then holds at most
//! `B + (t + g) / T` slots, which [`GcraTerms`] keeps within the operator's promise by its headroom.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::lease::{Grant, SlotRun, duration, nanos};

/// Share of a limit that is left unused to cover the jitter of the way, in per cent.
const HEADROOM_PERCENT: i64 = 2;
/// Longest grace.
const GRACE_MAX_NS: i64 = 500_000_000;
/// Grace of a bucket deep enough to allow it.
const BUCKET_GRACE_NS: i64 = 100_000_000;
/// Leases reach at least, and at most, so far ahead.
const HORIZON_NS: (i64, i64) = (300_000_000, 5_000_000_000);

/// A spaced limit or a token bucket as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GcraTerms {
    /// `T`: from one slot to the next.
    pub spacing_ns: i64,
    /// `B`: slots that may be open at once, at least 1.
    pub burst: u32,
    /// `g`: how long a slot stays usable.
    pub grace_ns: i64,
    /// `h`: how far ahead a lease reaches.
    pub horizon_ns: i64,
}

/// The state of one limit in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcraState {
    /// Theoretical arrival time of the next slot, in nanoseconds of the store's clock.
    pub tat_ns: i64,
}

impl GcraTerms {
    /// At most `count` uses in any window, evenly spaced.
    ///
    /// `n` uses span at least `(n - 1) * T - g`; with `T = 1.02 * window / count` and `g < 0.02 * window` that is more
    /// than a window for `n = count + 1`.
    #[must_use]
    pub fn spaced(count: NonZeroU32, window: Duration) -> Self {
        let window_ns = nanos(window);
        let spacing_ns = spacing(count, window_ns);
        // A tenth of the headroom stays for the jitter behind the process's own clock.
        let grace_ns = (window_ns / 1000 * (10 * HEADROOM_PERCENT - 2)).min(GRACE_MAX_NS);
        Self { spacing_ns, burst: 1, grace_ns, horizon_ns: horizon(spacing_ns) }
    }

    /// At most `burst + count * t / window` uses in any span `t`.
    ///
    /// A use may come `g` late, so the bucket is `g / T` slots shallower than promised; where that would leave none,
    /// the grace shrinks until it does not.
    #[must_use]
    pub fn bucket(count: NonZeroU32, window: Duration, burst: NonZeroU32) -> Self {
        let spacing_ns = spacing(count, nanos(window));
        let promised = i64::from(burst.get());
        let grace_ns =
            BUCKET_GRACE_NS.min(spacing_ns.saturating_mul(promised) / 2).max(spacing_ns.min(1_000_000));
        let late = grace_ns.div_ceil_positive(spacing_ns);
        let burst = u32::try_from((promised - late).max(1)).unwrap_or(u32::MAX);
        let grace_ns = if i64::from(burst) + late > promised {
            spacing_ns.saturating_mul(promised - 1) / 2
        } else {
            grace_ns
        };
        // A bucket of one has no room for lateness but the headroom.
        let grace_ns = grace_ns.max(spacing_ns / 100);
        Self { spacing_ns, burst, grace_ns, horizon_ns: horizon(spacing_ns) }
    }
}

trait DivCeilPositive {
    fn div_ceil_positive(self, by: Self) -> Self;
}

impl DivCeilPositive for i64 {
    fn div_ceil_positive(self, by: Self) -> Self {
        let by = by.max(1);
        self / by + i64::from(self % by > 0)
    }
}

/// `1.02 * window / count`, rounded up to whole nanoseconds.
fn spacing(count: NonZeroU32, window_ns: i64) -> i64 {
    let widened = window_ns / 100 * (100 + HEADROOM_PERCENT);
    widened.div_ceil_positive(i64::from(count.get())).max(1)
}

fn horizon(spacing_ns: i64) -> i64 {
    spacing_ns.clamp(HORIZON_NS.0, HORIZON_NS.1)
}

/// Leases up to `want` slots at the instant `now_ns`.
pub fn lease_gcra(terms: &GcraTerms, state: &mut GcraState, now_ns: i64, want: u32) -> Grant {
    let GcraTerms { spacing_ns, burst, grace_ns, horizon_ns } = *terms;
    let base = state.tat_ns.max(now_ns);
    let open = base - i64::from(burst - 1) * spacing_ns;
    let fit = if open > now_ns + horizon_ns { 0 } else { (now_ns + horizon_ns - open) / spacing_ns + 1 };
    let granted = fit.min(i64::from(want));
    let open_now = if open > now_ns { 0 } else { granted.min((now_ns - open) / spacing_ns + 1) };
    state.tat_ns = base + granted * spacing_ns;

    let mut runs = Vec::with_capacity(2);
    if open_now > 0 {
        runs.push(run(0, 0, open_now, grace_ns));
    }
    if granted > open_now {
        runs.push(run(open + open_now * spacing_ns - now_ns, spacing_ns, granted - open_now, grace_ns));
    }
    let next_in = (granted < i64::from(want)).then(|| duration(open + granted * spacing_ns - now_ns));
    Grant { runs, next_in }
}

fn run(opens_in_ns: i64, spacing_ns: i64, count: i64, grace_ns: i64) -> SlotRun {
    SlotRun {
        opens_in: duration(opens_in_ns),
        spacing: duration(spacing_ns),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        grace: duration(grace_ns),
    }
}

#[cfg(test)]
mod tests;
