//! For tests only: breaks Sluice as a machine room does, from a seed, and judges what is left.
//!
//! - [`Scenario`]: a seed, some [`Fault`]s and a load; [`Scenario::run`] plays it on [`Servers`] and answers a [`Report`].
//! - `faults/`: one file a fault.
//! - `upgrade`: replicas of an older binary, replaced by this build's under load.
//! - [`judge`](Verdict): the ESP's own journal against `job`, `attempt`, `pending`, `dead_letter`, the queues and
//!   what was told over `sluice.results`.
//! - [`table`]: the Markdown of docs/reliability.md, made from reports.
//!
//! `scripts/chaos` runs it for minutes, the end-to-end tests run a short fixed set. Not for: measuring speed.
#![expect(clippy::disallowed_methods, reason = "real servers are broken in real time")]

mod backlog;
mod driver;
mod faults;
mod fleet;
mod heard;
mod judge;
mod limits;
mod load;
mod publisher;
mod report;
mod rota;
mod scenario;
mod site;
mod upgrade;

pub use backlog::{Backlog, backlog, backlog_table};
pub use driver::Strike;
pub use faults::{ALL as ALL_FAULTS, Family, Fault, LONG as LONG_FAULTS, named};
pub use judge::Verdict;
pub use report::{Report, strikes_table, table};
pub use rota::{MIXED, ROUND, fault_of};
pub use scenario::Scenario;
pub use site::Servers;
