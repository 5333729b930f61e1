//! The worker on a backlog that lies in its lanes before it starts; then at a steady pace, for the waits.

use std::sync::Arc;
use std::time::Duration;

use super::Scale;
use super::aged;
use super::limit;
use super::programs::Workers;
use super::timing::timed;
use crate::case::{Domains, Shape};
use crate::job::{self, Address, message};
use crate::journal::Journal;
use crate::latency;
use crate::ledger;
use crate::run::Run;
use crate::site::{Limits, ONE_DOMAIN, REACHED_PER_SECOND, Site};
use crate::stage::{Stage, wait};

/// Well below what any of the cases allows, so that waits are the way and not a queue.
pub(super) const PACE_PER_SECOND: u32 = 500;
/// A limit is held for so long.
const REACHED_SECONDS: u32 = 10;
/// Jobs that came late would show as a wait, so this is not a bound that anything runs into.
const PACED_TIMEOUT: Duration = Duration::from_secs(60);

/// Counts what is recorded of the run, beside whatever else the table holds.
pub(super) fn committed() -> String {
    format!("SELECT count(*) FROM sluice.job WHERE state = 'accepted' AND id >= '{}'", job::id(0))
}

pub(super) fn run(stage: &Stage, shape: &Shape, scale: &Scale) -> anyhow::Result<Run> {
    let reached = usize::try_from(REACHED_PER_SECOND * REACHED_SECONDS)?;
    let jobs = if shape.limits == Limits::Reached { scale.jobs.min(reached) } else { scale.jobs };
    let all = jobs + scale.paced_jobs;
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(all));
    let esps =
        (0..shape.esps).map(|_| stage.esp(&journal, shape.latency)).collect::<anyhow::Result<Vec<_>>>()?;
    let addrs = esps.iter().map(crate::stand_in::StandIn::addr).collect();
    let site = Site {
        http: shape.http,
        more: aged::retention(&shape.age),
        ..Site::new(scene.store(), addrs, shape.limits)
    };
    scene.prepare(&site.toml())?;
    let age = shape.age.shrunk(scale.smaller);
    aged::fill(&scene, &age)?;
    scene.publish((0..jobs).map(|number| message(number, &address(number, shape.domains))))?;
    let before = aged::Written::look(&scene)?;
    let mut workers = Workers::start(&site.toml(), shape.replicas);
    let mut run = timed(&scene, &mut workers, &journal, jobs, &committed())?;
    if !run.faults.is_empty() {
        return Ok(run);
    }
    before.enter_since(&mut run, &scene, jobs)?;
    workers.enter(&mut run)?;
    if shape.limits == Limits::Reached {
        limit::enter(&mut run, &scene, journal.arrivals(0..jobs), REACHED_PER_SECOND)?;
    }
    let to = address(0, shape.domains);
    let steady = latency::publish_steadily(&scene.amqp, &to, jobs, scale.paced_jobs, PACE_PER_SECOND);
    let published = stage.runtime.block_on(steady);
    wait("the paced jobs", PACED_TIMEOUT, || Ok(scene.count(&committed())? >= all))?;
    latency::enter(&mut run, &latency::waits(&journal, jobs, &published));
    run.faults.extend(workers.end());
    run.faults.extend(journal.faults(0..all));
    run.faults.extend(scene.queue_faults());
    run.faults.extend(aged::faults(&scene, &site, &age)?);
    run.faults.extend(stage.runtime.block_on(ledger::faults_of_worker(&scene.sql, all))?);
    Ok(run)
}

fn address(number: usize, domains: Domains) -> Address {
    match domains {
        Domains::Grouped => Address::bulk(ONE_DOMAIN),
        Domains::Other(count) => Address::bulk(&format!("d{}.example", number % count.max(1))),
    }
}
