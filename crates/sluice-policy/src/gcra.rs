//! Token buckets by the generic cell rate algorithm, leased in blocks; and the numbers of spaced limits (`spaced.rs`).
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
//! Where `T` or `B` has changed since the last lease (an edit, a brake) as many slots are spent as were, and under what is
//! left of a bucket the next comes one new spacing after the last one:
//!
//! ```text
//! last  = tat - B_old * T_old                  opening of the last slot; before now if the bucket had some left
//! since = min(last, now) if B_old = 1          the latest that spent slots were used; now if B_old > 1
//! next  = max(last, since) + T
//! full  = since + (tat + owed - since) * T / T_old, and next at least if last > now, or B_old > 1 = B and full > now
//! tat   = min(full, max(next, now) + (B - 1) * T)
//! owed  = full - tat                           more than a bucket of B can lack: time pays for it once that is full
//! ```
//!
//! A slot is used between its opening and `g` later. Any span `t` of uses then holds at most
//! `B + (t + g) / T` slots, which [`GcraTerms`] keeps within the operator's promise by its headroom.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::lease::{duration, nanos};
use crate::slots::{Leased, LimitLook};
use crate::spaced::{Hole, regrid};

/// Share of a limit that is left unused to cover the jitter of the way, in per cent.
const HEADROOM_PERCENT: i64 = 2;
/// Longest grace.
const GRACE_MAX_NS: i64 = 500_000_000;
/// Grace of a bucket deep enough to allow it.
const BUCKET_GRACE_NS: i64 = 100_000_000;
/// Least grace of a bucket: slots that close sooner are gone before a process can use them. With 5 ms and a store that takes 4
/// some 83 to 95 % of the rate were used, with 8 ms 98 %; a machine with other work wants some more.
const BUCKET_GRACE_LEAST_NS: i64 = 10_000_000;
/// A bucket is no deeper than fills in this time, 73 years, so that no number runs over.
const BUCKET_FILLS_MAX_NS: i64 = 1 << 61;
/// More is not owed, so that no number runs over: 146 years.
const OWED_MAX_NS: i64 = 1 << 62;
/// Leases reach at least, and at most, so far ahead.
const HORIZON_NS: (i64, i64) = (300_000_000, 5_000_000_000);
/// Leases of spaced slots reach at least so far ahead.
const SPACED_LEAST_NS: i64 = 160_000_000;

/// Those for transactional jobs reach at most so much further: whoever leased the next slots of a slow limit long before they
/// open would have them when others could use them.
const URGENT_MOST_NS: i64 = 1_000_000_000;

/// No lease has a slot that opens so long after it: the longest horizon, what comes on top for transactional jobs, the lead of a
/// store whose answers are slow, and half a second to spare.
const AHEAD_MAX_NS: i64 = 7_000_000_000;

/// Spaced slots of several limits at once are leased at most so far ahead. A slow limit would take slots of a fast one out of
/// the middle, seconds before those who need the fast one alone come near, and leave it in pieces.
const TOGETHER_MOST_NS: i64 = 1_000_000_000;

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
    /// Spaced limits: how much further for transactional jobs.
    pub urgent_ns: i64,
    /// Length of the window that is promised; for counting what was leased, not for leasing.
    pub window_ns: i64,
}

/// The state of one limit in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcraState {
    /// Theoretical arrival time of the next slot, in nanoseconds of the store's clock.
    pub tat_ns: i64,
    /// The spacing at which it was reached; 0 when nothing was leased yet.
    pub spacing_ns: i64,
    /// The burst at which it was reached; 0 when that is not known, since a build of before has leased.
    pub burst: u32,
    /// What was spent beyond the arrival time, since it is more than a bucket of this burst holds.
    pub owed_ns: i64,
    /// The window, as a number since the epoch, that the counts are of.
    pub window: i64,
    /// Slots leased in that window.
    pub used: i64,
    /// Slots leased in the one before it.
    pub used_before: i64,
    /// Free slots before the arrival time, the earliest first (spaced limits only).
    pub holes: Vec<Hole>,
    /// Counts the spacings there were: slots of different grids do not go together.
    pub grid: i64,
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
        Self { spacing_ns, burst: 1, grace_ns, window_ns, ..Self::reaching(spacing_ns) }
    }

    /// At most `burst + count * t / window` uses in any span `t`.
    ///
    /// A use may come `g` late, so the bucket is `g / T` slots shallower than promised; where that would leave none,
    /// the grace shrinks until it does not.
    #[must_use]
    pub fn bucket(count: NonZeroU32, window: Duration, burst: NonZeroU32) -> Self {
        let window_ns = nanos(window);
        let spacing_ns = spacing(count, window_ns);
        let promised = i64::from(burst.get()).min((BUCKET_FILLS_MAX_NS / spacing_ns).max(1));
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
        let horizon_ns = spacing_ns.clamp(HORIZON_NS.0, HORIZON_NS.1);
        Self { spacing_ns, burst, grace_ns, horizon_ns, urgent_ns: 0, window_ns }
    }

    /// Whether a slot of this bucket closes before a process could use it, since the bucket fills within some 20 ms.
    pub(crate) const fn is_too_shallow(&self) -> bool {
        self.grace_ns < BUCKET_GRACE_LEAST_NS
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

impl GcraTerms {
    /// How far ahead spaced slots are leased: no further than a transactional job may have to wait, which is for two slots
    /// of a reserved share of a fifth, nor so little that slots pass between two leases.
    fn reaching(spacing_ns: i64) -> Self {
        let most = if spacing_ns < HORIZON_NS.0 { HORIZON_NS.0 } else { HORIZON_NS.1 };
        let horizon_ns =
            spacing_ns.saturating_mul(8).min(most).max(spacing_ns.min(HORIZON_NS.1)).max(SPACED_LEAST_NS);
        Self {
            spacing_ns,
            burst: 1,
            grace_ns: 0,
            horizon_ns,
            urgent_ns: spacing_ns.saturating_mul(2).clamp(SPACED_LEAST_NS, URGENT_MOST_NS),
            window_ns: 0,
        }
    }

    /// The same limit in a lease of several at once.
    #[must_use]
    pub fn together(self) -> Self {
        Self {
            horizon_ns: self.horizon_ns.min(TOGETHER_MOST_NS),
            urgent_ns: self.urgent_ns.min(TOGETHER_MOST_NS),
            ..self
        }
    }

    /// The same limit under a brake: only `rate_permille` of its rate, at least one permille.
    #[must_use]
    pub fn at_rate(self, rate_permille: u32) -> Self {
        if rate_permille >= 1000 {
            return self;
        }
        let spacing_ns =
            self.spacing_ns.saturating_mul(1000).div_ceil_positive(i64::from(rate_permille.max(1)));
        // No burst under a brake: that is what the receiver complains of.
        Self { burst: 1, grace_ns: self.grace_ns, window_ns: self.window_ns, ..Self::reaching(spacing_ns) }
    }
}

impl GcraState {
    /// Brings the state to `now_ns` and to the terms that hold now.
    ///
    /// After an edit (or under a brake) what was spent stays spent, and as many slots as were; but a limit that was raised
    /// need not wait for what the old one would have allowed. A bucket has no free slots before the arrival time.
    pub(crate) fn arrive(&mut self, terms: &GcraTerms, is_spaced: bool, now_ns: i64) {
        self.heed_clock(now_ns);
        let old_burst = if self.burst == 0 { terms.burst } else { self.burst };
        if self.spacing_ns != 0 && (self.spacing_ns, old_burst) != (terms.spacing_ns, terms.burst) {
            self.edit(i64::from(old_burst), terms, now_ns);
            let holes = std::mem::take(&mut self.holes);
            if is_spaced && old_burst == 1 {
                self.holes = regrid(&holes, self.spacing_ns, terms.spacing_ns, self.tat_ns);
            }
            self.grid += 1;
        }
        (self.spacing_ns, self.burst) = (terms.spacing_ns, terms.burst);
        if self.tat_ns < now_ns {
            self.owed_ns = (self.owed_ns - (now_ns - self.tat_ns)).max(0);
            self.tat_ns = now_ns;
        }
    }

    /// Brings the arrival time back where the clock has stepped back, which may have made it lie days ahead.
    ///
    /// Until a slot that was leased opens, less time passes than a lease reaches. So a bucket that is spent by the furthest
    /// lease is the most that can stand against the limit, and what is more is the clock's doing. Measured on a clock that has
    /// not stepped, the arrival time is never earlier than it was.
    fn heed_clock(&mut self, now_ns: i64) {
        let bucket_ns = i64::from(self.burst).saturating_mul(self.spacing_ns);
        let most_ns = now_ns.saturating_add(AHEAD_MAX_NS).saturating_add(bucket_ns);
        if bucket_ns > 0 && self.tat_ns > most_ns {
            self.tat_ns = most_ns;
            self.holes.clear();
            self.grid += 1;
        }
    }

    fn edit(&mut self, old_burst: i64, terms: &GcraTerms, now_ns: i64) {
        let last_ns = self.tat_ns.saturating_sub(old_burst.saturating_mul(self.spacing_ns));
        let since_ns = if old_burst == 1 { last_ns.min(now_ns) } else { now_ns };
        let next_ns = last_ns.max(since_ns).saturating_add(terms.spacing_ns);
        let spent_ns = (self.tat_ns.saturating_add(self.owed_ns) - since_ns).max(0);
        let spent_ns = scaled(spent_ns, terms.spacing_ns, self.spacing_ns);
        let full_ns = since_ns.saturating_add(spent_ns);
        // Of a bucket of one the last slot opened one spacing before the arrival time, which the next edit goes by. So what is
        // partly spent when a deeper one becomes such counts as a whole slot, that opened now.
        let is_lowered_to_one = old_burst > 1 && terms.burst == 1 && full_ns > now_ns;
        let full_ns = if last_ns > now_ns || is_lowered_to_one { full_ns.max(next_ns) } else { full_ns };
        let behind_ns = i64::from(terms.burst - 1).saturating_mul(terms.spacing_ns);
        self.tat_ns = full_ns.min(next_ns.max(now_ns).saturating_add(behind_ns));
        self.owed_ns = full_ns - self.tat_ns;
    }

    pub(crate) fn count(&mut self, terms: &GcraTerms, now_ns: i64, granted: i64) {
        let window = now_ns.div_euclid(terms.window_ns.max(1));
        if window != self.window {
            self.used_before = if window == self.window + 1 { self.used } else { 0 };
            (self.window, self.used) = (window, 0);
        }
        self.used += granted;
    }
}

/// `time * to / from`, rounded up; at most [`OWED_MAX_NS`].
fn scaled(time_ns: i64, to_ns: i64, from_ns: i64) -> i64 {
    let (time, to, from) = (i128::from(time_ns), i128::from(to_ns), i128::from(from_ns.max(1)));
    i64::try_from((time * to + from - 1) / from).unwrap_or(OWED_MAX_NS).min(OWED_MAX_NS)
}

/// How the limit stands at `now_ns`, but for what is left of it: what was leased within the last window (the part of the
/// window before this one is taken as evenly spread), and when the next slot opens.
pub(crate) fn look_gcra(terms: &GcraTerms, is_spaced: bool, state: &GcraState, now_ns: i64) -> LimitLook {
    let mut at_now = state.clone();
    at_now.arrive(terms, is_spaced, now_ns);
    at_now.count(terms, now_ns, 0);
    let window_ns = terms.window_ns.max(1);
    let rest_permille = 1000 - now_ns.rem_euclid(window_ns) / (window_ns / 1000).max(1);
    let used = at_now.used + at_now.used_before * rest_permille.clamp(0, 1000) / 1000;
    let tail = at_now.tat_ns - i64::from(terms.burst - 1) * terms.spacing_ns;
    let hole = at_now.holes.iter().find_map(|hole| hole.next(now_ns, terms.spacing_ns));
    let open = hole.map_or(tail, |hole| hole.min(tail));
    LimitLook {
        used: u64::try_from(used).unwrap_or(0),
        next_in: duration(open - now_ns),
        resets_in: (used > 0).then(|| duration(window_ns)),
        ..LimitLook::default()
    }
}

/// Gives back the last `count` slots of the lease after which the arrival time was `mark_ns`; they lapse when another
/// lease has come after it. At another spacing the arrival time can be the same by chance: of a lease at half the rate it lies
/// where that of one more slot at the full rate does.
pub(crate) fn give_back_gcra(terms: &GcraTerms, state: &mut GcraState, count: u32, mark_ns: i64) {
    if (state.tat_ns, state.spacing_ns) == (mark_ns, terms.spacing_ns) {
        state.tat_ns -= i64::from(count) * terms.spacing_ns;
        state.used = (state.used - i64::from(count)).max(0);
    }
}

/// Leases up to `want` slots at the instant `now_ns`.
pub(crate) fn lease_gcra(terms: &GcraTerms, state: &mut GcraState, now_ns: i64, want: u32) -> Leased {
    let GcraTerms { spacing_ns, burst, grace_ns, horizon_ns, .. } = *terms;
    state.arrive(terms, false, now_ns);
    let base = state.tat_ns;
    let open = base - i64::from(burst - 1) * spacing_ns;
    let fit = if open > now_ns + horizon_ns { 0 } else { (now_ns + horizon_ns - open) / spacing_ns + 1 };
    let granted = fit.min(i64::from(want));
    let open_now = if open > now_ns { 0 } else { granted.min((now_ns - open) / spacing_ns + 1) };
    state.tat_ns = base + granted * spacing_ns;
    state.count(terms, now_ns, granted);

    let mut leased = Leased { marks: vec![state.tat_ns], ..Leased::at(now_ns) };
    if open_now > 0 {
        leased.push(0, 0, open_now, grace_ns);
    }
    if granted > open_now {
        leased.push(open + open_now * spacing_ns - now_ns, spacing_ns, granted - open_now, grace_ns);
    }
    leased.next_in = (granted < i64::from(want)).then(|| duration(open + granted * spacing_ns - now_ns));
    leased.next_urgent_in = leased.next_in;
    leased
}

#[cfg(test)]
mod tests;
