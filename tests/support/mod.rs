//! What the scenarios share: servers, replicas, jobs, and the judge.

mod floor;
mod jobs;
mod judge;
mod rig;
mod skewed_clock;
mod webhook;

pub(crate) use jobs::{job, line, mixed_jobs, rfc3339};
pub(crate) use rig::{Options, PATIENCE, Rig, until, within};
pub(crate) use webhook::{WebhookSender, event};
