//! How often in a row an account has failed.

use std::sync::atomic::{AtomicU32, Ordering};

use sluice_types::Outcome;

/// One call may fail at any time; so many in a row are no chance.
const FAULTS_MIN: u32 = 2;

/// Calls in a row that have faulted, those for which no connection was to be had among them.
#[derive(Debug, Default)]
pub(super) struct Faults(AtomicU32);

impl Faults {
    pub(super) fn note(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Faulted { .. } => {
                let more = |faults: u32| Some(faults.saturating_add(1));
                // It always has one more to note.
                self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
            }
            Outcome::Accepted { .. } | Outcome::Rejected { .. } | Outcome::Deferred { .. } => {
                self.0.store(0, Ordering::Relaxed);
            }
            // It tells nothing.
            Outcome::Unknown { .. } => {}
        }
    }

    /// Whether they and those who have the `used` places are `stake` calls, as many as may be: no more until one succeeds. One at a
    /// time goes on, since the breaker may be held closed.
    pub(super) fn hold(&self, stake: u32, used: u64) -> bool {
        let faults = self.0.load(Ordering::Relaxed);
        stake > 0 && faults >= FAULTS_MIN && used >= u64::from(stake.saturating_sub(faults).max(1))
    }
}
