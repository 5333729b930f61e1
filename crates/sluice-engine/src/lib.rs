//! One message from delivery to ack: the pipeline, and the ports that adapters implement.
//!
//! Start at `pipeline.rs`, which shows the way of one job on one page; each step is a function in a file of its own.
//! Around it stand the lanes that feed it ([`Engine`]), the relay that brings parked jobs back, the local view of
//! leased slots, and the breakers. What the engine asks of the outside are the port traits; it knows no adapter.

mod ack;
mod batcher;
mod breakers;
mod by_name;
mod case;
mod claim;
mod connections;
mod decode;
mod drain;
mod engine;
mod enter;
mod events;
mod failpoint;
mod fleet;
mod groups;
mod health;
mod intake;
mod lane;
mod overview;
mod pipeline;
mod places;
mod plan;
mod poison;
mod ports;
mod ready;
mod record;
mod refuse;
mod relay;
mod render;
mod reserve;
mod results;
mod room;
mod route;
mod send;
mod sides;
mod slots;
mod store_clock;
mod taste;
mod wait;
mod waiters;
mod worker;
mod write;

pub use breakers::{BreakerView, Breakers};
pub use decode::rehearse;
pub use drain::DrainReport;
pub use engine::{Engine, Parts, Roles};
pub use events::{Bounces, sweep_events};
pub use failpoint::Failpoint;
pub use health::Health;
pub use intake::{Intake, IntakeAnswer};
pub use overview::{
    Brake, BreakerStatus, CampaignView, EspView, FleetView, LimitChange, LimitWord, Order, Outlook, Overview,
    OverviewError, Quota, Ramp, RateLimit, RateLimitsView, Replica, ScopeBrake, Until, WarmUp,
};
pub use plan::{Bounds, EspPlan, LivePlan, Plan, Sides};
pub use ports::*;
pub use results::Telling;
