//! Decisions as functions of state, input and now: claims, slot leases, breakers, retries, routing.
//!
//! Pure: it never reads a clock, never waits, and knows nothing of how state is stored.

mod body_size;
mod breaker;
mod bundle;
mod claim;
mod counted;
mod fleet;
mod gcra;
mod lease;
mod prefetch;
mod retry;
mod route;
mod slots;
mod spaced;

pub use body_size::BodySize;
pub use breaker::*;
pub use bundle::{Bundle, Bundled, Fresh, Member, Shared};
pub use claim::{ClaimStep, ClaimVerdict, ClaimWish, FoundJob};
pub use counted::{CountedState, CountedTerms};
pub use fleet::{
    BrakeView, BreakerTurn, CampaignOrder, ConnectionWish, ConnectionsHeld, ConnectionsView, Edit,
    FleetBreaker, FleetState, LimitEdit, Opening, Order, Presence, ProbeWish, RampTerms, RampView,
    ReleaseWish, ReplicaView, Report, Sends, TallyView, Throttle, Turn, Verdict as SendVerdict, View,
};
pub use gcra::{GcraState, GcraTerms};
pub use lease::{SlotRun, Terms, nanos, permille};
pub use prefetch::*;
pub use retry::*;
pub use route::*;
pub use slots::{Leased, LimitLook, LimitStates, Unused, Want, are_spread, spacing_ns};
pub use spaced::Hole;
