//! Step 1: from the bytes of a delivery to a job that can be worked on.

use sluice_types::{Job, Refusal, RefusalReason};

use crate::plan::Plan;
use crate::render::render;

/// Parses, checks and renders a body. Whatever is wrong with it is a refusal that names the field.
///
/// # Errors
/// The refusal; the message then goes to the dead letters.
pub(crate) fn decode(plan: &Plan, body: &[u8]) -> Result<Job, Refusal> {
    let mut job = Job::parse(body)?;
    if !plan.has_pool(&job.pool) {
        return Err(Refusal::new(RefusalReason::UnknownPool, "pool", "no such pool is configured"));
    }
    render(&mut job)?;
    Ok(job)
}
