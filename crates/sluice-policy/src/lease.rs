//! The model of leasing slots: how a limit becomes numbers, and what a lease consists of.
//!
//! All times are whole nanoseconds on the clock of the store that keeps the state. The Postgres adapter computes the
//! same in SQL; a test there compares the two.

use std::time::Duration;

use sluice_types::{LimitKind, LimitSpec};

use crate::{CountedTerms, GcraTerms};

/// Slots that open at even distances.
///
/// Slot `i` (from 0) opens at `opens_in + i * spacing` after the instant of the lease and closes `grace` later; a slot
/// that is not used by then must not be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRun {
    /// From the instant of the lease to the opening of the first slot.
    pub opens_in: Duration,
    /// From one opening to the next.
    pub spacing: Duration,
    /// How many.
    pub count: u32,
    /// From a slot's opening to its closing.
    pub grace: Duration,
}

/// The slots of one lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// The slots.
    pub runs: Vec<SlotRun>,
    /// Spaced limits only: for each run, the opening of its first slot under each limit, in nanoseconds of the store's
    /// clock. The others follow one spacing of that limit apart.
    pub parts: Vec<i64>,
    /// When the limit held slots back: from the instant of the lease to the opening of the next one.
    pub next_in: Option<Duration>,
    /// The same for transactional jobs, which may use the reserved share.
    pub next_urgent_in: Option<Duration>,
    /// Which of the limits opens last, when they held slots back.
    pub held_by: usize,
    /// What a slot is given back with, for each limit: the grid, the arrival time after this lease, or the start of the
    /// sub-bucket.
    pub marks: Vec<i64>,
}

impl Grant {
    pub(crate) fn push(&mut self, opens_in_ns: i64, spacing_ns: i64, count: i64, grace_ns: i64) {
        self.runs.push(SlotRun {
            opens_in: duration(opens_in_ns),
            spacing: duration(spacing_ns),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            grace: duration(grace_ns),
        });
    }
}

/// The window of a ramp.
const DAY: Duration = Duration::from_secs(86_400);

/// How a limit stands, for people and for the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Slots leased in the current window.
    pub used: u64,
    /// When the next slot opens that nobody has leased.
    pub next_in: Duration,
    /// When the window ends, or its oldest used part leaves it; none when nothing was used.
    pub resets_in: Option<Duration>,
}

/// A limit as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terms {
    /// Spaced slots.
    Spaced(GcraTerms),
    /// Token buckets.
    Gcra(GcraTerms),
    /// Rolling and calendar counts.
    Counted(CountedTerms),
}

impl Terms {
    /// The numbers of a limit; `None` for connections, which are not leased by time.
    #[must_use]
    pub fn of(spec: &LimitSpec) -> Option<Self> {
        match spec.kind {
            LimitKind::Spaced { window } => Some(Self::Spaced(GcraTerms::spaced(spec.count, window))),
            LimitKind::Bucket { window, burst } => {
                Some(Self::Gcra(GcraTerms::bucket(spec.count, window, burst)))
            }
            LimitKind::Counted { window } => Some(Self::Counted(CountedTerms::rolling(spec.count, window))),
            LimitKind::Calendar { window } => Some(Self::Counted(CountedTerms::calendar(spec.count, window))),
            LimitKind::Ramp => Some(Self::Counted(CountedTerms::calendar(spec.count, DAY))),
            LimitKind::Connections => None,
        }
    }
}

/// Whole nanoseconds of a duration.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A duration of so many nanoseconds; zero when negative.
pub(crate) fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
