//! Decisions as functions of state, input and now: slot leases, breakers, retries, routing.
//!
//! Pure: it never reads a clock, never waits, and knows nothing of how state is stored.

mod breaker;
mod counted;
mod gcra;
mod lease;
mod prefetch;
mod retry;
mod route;

pub use breaker::*;
pub use counted::{CountedState, CountedTerms, lease_counted};
pub use gcra::{GcraState, GcraTerms, lease_gcra};
pub use lease::{Grant, SlotRun, Terms};
pub use prefetch::*;
pub use retry::*;
pub use route::*;
