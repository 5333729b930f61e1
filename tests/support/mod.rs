//! What the scenarios share: servers, replicas, jobs, and the judge.

mod jobs;
mod judge;
mod rig;

pub(crate) use jobs::{job, line, mixed_jobs};
pub(crate) use rig::{Options, Rig, until};
