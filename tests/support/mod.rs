//! What the scenarios share: servers, replicas, jobs, and the judge.

mod jobs;
mod judge;
mod rig;

pub(crate) use jobs::{Mix, job, line, mixed_jobs};
pub(crate) use judge::Verdict;
pub(crate) use rig::{Options, Rig, until};
