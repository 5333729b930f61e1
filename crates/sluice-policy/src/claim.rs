//! What becomes of a claim that meets a row of its job.

use std::time::Duration;

use sluice_types::{JobState, Tenant};

/// The ledger's word on a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimVerdict {
    /// Yes: send it. The attempt counter has moved.
    Go,
    /// Closed as wished.
    Closed,
    /// The recipient is suppressed; the job is closed as `suppressed`.
    Suppressed,
    /// Nothing to do: the job is final, or it waits with a later attempt, or a later attempt is already known.
    Done,
    /// The id is taken by a job with another body, or of another tenant.
    Conflict,
    /// A live claim holds it.
    InFlight {
        /// How long that claim still stands.
        remaining: Duration,
    },
    /// A dead claim held it: its attempt is recorded as `unknown` now, and so is the job. The body must be parked under `unknown`.
    Lost {
        /// The attempt whose outcome nobody knows.
        attempt: u32,
    },
    /// It is in doubt already. The body must be parked under `unknown`.
    Unknown {
        /// The attempt whose outcome nobody knows.
        attempt: u32,
    },
}

/// A wish to send a job, or to close it unsent.
#[derive(Clone, Copy, Debug)]
pub struct ClaimWish<'a> {
    /// Whose the job is.
    pub tenant: &'a Tenant,
    /// Tells the same body from another.
    pub fingerprint: i64,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// Set when an `unknown` job may be sent again.
    pub resend: bool,
    /// The final state to close the job in; `None` to send it.
    pub close: Option<JobState>,
}

/// The row that a claim meets.
#[derive(Clone, Copy, Debug)]
pub struct FoundJob<'a> {
    /// Whose the job is.
    pub tenant: &'a str,
    /// Of the body that was claimed first, where it is known.
    pub fingerprint: Option<i64>,
    /// Where the job stands.
    pub state: JobState,
    /// Attempts begun.
    pub attempts: u32,
    /// Whether this very claim was the last to go through: the call is repeated.
    pub is_ours: bool,
    /// How long the claim that holds it still stands; `None` when that is dead, or there is none.
    pub remaining: Option<Duration>,
}

/// What to do about the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimStep {
    /// The claim takes the row over. One that went through before writes the same again, with a later deadline.
    Take,
    /// The claim that holds the row is dead: its attempt is recorded as `unknown`, and so is the job.
    Lost,
    /// Nothing changes.
    Stay(ClaimVerdict),
}

impl ClaimWish<'_> {
    /// What becomes of the claim, and of the row.
    #[must_use]
    pub fn meet(&self, row: &FoundJob<'_>) -> ClaimStep {
        if self.is_another_job(row) {
            return ClaimStep::Stay(ClaimVerdict::Conflict);
        }
        if row.state.is_final() {
            return ClaimStep::Stay(self.find_closed(row));
        }
        if row.attempts > self.attempt {
            return ClaimStep::Stay(ClaimVerdict::Done);
        }
        let is_next = row.attempts.saturating_add(1) == self.attempt;
        match (row.state, row.remaining) {
            (JobState::Sending, _) if row.is_ours && row.attempts == self.attempt => ClaimStep::Take,
            (JobState::Sending, Some(remaining)) => ClaimStep::Stay(ClaimVerdict::InFlight { remaining }),
            (JobState::Sending, None) => ClaimStep::Lost,
            // What may have been sent is not called cancelled.
            (JobState::Unknown, _) if self.resend && is_next && self.close != Some(JobState::Cancelled) => {
                ClaimStep::Take
            }
            (JobState::Unknown, _) => ClaimStep::Stay(ClaimVerdict::Unknown { attempt: row.attempts }),
            (JobState::Deferred, _) if is_next => ClaimStep::Take,
            (
                JobState::Deferred
                | JobState::Accepted
                | JobState::Rejected
                | JobState::Suppressed
                | JobState::Expired
                | JobState::Cancelled
                | JobState::Delivered
                | JobState::Bounced
                | JobState::Complained,
                _,
            ) => ClaimStep::Stay(ClaimVerdict::Done),
        }
    }

    /// Later attempts come from `pending`, whose body was checked when it was the first.
    fn is_another_job(&self, row: &FoundJob<'_>) -> bool {
        let is_first = self.attempt == 1 && !self.resend;
        let is_other_body = row.fingerprint.is_some_and(|first| first != self.fingerprint);
        row.tenant != self.tenant.as_str() || (is_first && is_other_body)
    }

    /// A repeated call is answered as the first one was.
    fn find_closed(&self, row: &FoundJob<'_>) -> ClaimVerdict {
        match self.close {
            Some(state) if row.is_ours && state == row.state => ClaimVerdict::Closed,
            None if row.is_ours && row.state == JobState::Suppressed => ClaimVerdict::Suppressed,
            Some(_) | None => ClaimVerdict::Done,
        }
    }
}

#[cfg(test)]
mod tests;
