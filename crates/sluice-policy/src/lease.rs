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

/// The window of a ramp.
const DAY: Duration = Duration::from_secs(86_400);

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
                let bucket = GcraTerms::bucket(spec.count, window, burst);
                // No window then holds more than the count, which is less than the bucket promises. Within less than a window
                // a few may come closer together than it says: those that are late by the grace.
                Some(if bucket.is_too_shallow() {
                    Self::Spaced(GcraTerms::spaced(spec.count, window))
                } else {
                    Self::Gcra(bucket)
                })
            }
            LimitKind::Counted { window } => Some(Self::Counted(CountedTerms::rolling(spec.count, window))),
            LimitKind::Calendar { window } => Some(Self::Counted(CountedTerms::calendar(spec.count, window))),
            LimitKind::Ramp => Some(Self::Counted(CountedTerms::calendar(spec.count, DAY))),
            LimitKind::Connections => None,
        }
    }

    /// Whether the slots of a limit are spaced: a bucket that is too shallow for its rate counts as the plain limit.
    #[must_use]
    pub fn are_spaced(spec: &LimitSpec) -> bool {
        match spec.kind {
            LimitKind::Spaced { .. } => true,
            LimitKind::Bucket { .. } => matches!(Self::of(spec), Some(Self::Spaced(_))),
            LimitKind::Counted { .. }
            | LimitKind::Calendar { .. }
            | LimitKind::Ramp
            | LimitKind::Connections => false,
        }
    }
}

/// Whole nanoseconds of a duration.
#[must_use]
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A share in permille, at most 1000.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share")]
pub fn permille(share: f64) -> u32 {
    (share.clamp(0.0, 1.0) * 1000.0).round() as u32
}

/// A duration of so many nanoseconds; zero when negative.
pub(crate) fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
