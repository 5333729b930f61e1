//! Step 1: from the bytes of a delivery to a job that can be worked on.

use sluice_types::{Job, Refusal, RefusalReason};

use crate::failpoint::{Failpoint, at};
use crate::plan::Plan;
use crate::render::render;

/// Parses, checks and renders a body. Whatever is wrong with it is a refusal that names the field.
///
/// # Errors
/// The refusal; the message then goes to the dead letters.
pub(crate) fn decode(plan: &Plan, body: &[u8]) -> Result<Box<Job>, Refusal> {
    let mut job = Box::new(parse(body)?);
    if !plan.has_pool(&job.pool) {
        return Err(Refusal::new(RefusalReason::UnknownPool, "pool", "no such pool is configured"));
    }
    render(&mut job)?;
    Ok(job)
}

/// Does all that a worker does with the bytes of a body, but for looking its pool up: for a process that may die of it, and
/// for programs that are measured beside the worker.
///
/// # Errors
/// The refusal.
pub fn rehearse(body: &[u8]) -> Result<Box<Job>, Refusal> {
    let mut job = Box::new(parse(body)?);
    render(&mut job)?;
    Ok(job)
}

fn parse(body: &[u8]) -> Result<Job, Refusal> {
    at(Failpoint::Decoding, || Job::peek_id(body));
    Job::parse(body)
}
