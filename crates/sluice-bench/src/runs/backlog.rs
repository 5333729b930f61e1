//! Transactional jobs come in while a bulk backlog is worked as fast as it goes.

use std::sync::Arc;
use std::time::Duration;

use super::Scale;
use super::programs::Workers;
use super::timing::timed;
use super::workers::committed;
use crate::job::{Address, message};
use crate::journal::Journal;
use crate::latency;
use crate::ledger;
use crate::run::Run;
use crate::site::{Limits, ONE_DOMAIN, Site};
use crate::stage::{Stage, wait};

const PER_SECOND: u32 = 100;
const START_TIMEOUT: Duration = Duration::from_secs(90);

pub(super) fn run(stage: &Stage, scale: &Scale) -> anyhow::Result<Run> {
    let all = scale.jobs + scale.urgent;
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(all));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let site = Site::new(scene.store(), vec![esp.addr()], Limits::Idle);
    scene.prepare(&site.toml())?;
    let bulk = Address::bulk(ONE_DOMAIN);
    scene.publish((0..scale.jobs).map(|number| message(number, &bulk)))?;
    let mut workers = Workers::start(&site.toml(), 1);
    wait("the backlog is worked", START_TIMEOUT, || Ok(journal.accepted() > scale.jobs / 50))?;
    let (amqp, first, count) = (scene.amqp.clone(), scale.jobs, scale.urgent);
    let urgent = Address::transactional(ONE_DOMAIN);
    let publishing = stage
        .runtime
        .spawn(async move { latency::publish_steadily(&amqp, &urgent, first, count, PER_SECOND).await });
    let mut run = timed(&scene, &mut workers, &journal, all, &committed())?;
    if !run.faults.is_empty() {
        return Ok(run);
    }
    let published = stage.runtime.block_on(publishing)?;
    workers.enter(&mut run)?;
    latency::enter(&mut run, &latency::waits(&journal, first, &published));
    run.faults.extend(journal.faults(0..all));
    run.faults.extend(scene.queue_faults());
    run.faults.extend(stage.runtime.block_on(ledger::faults_of_worker(&scene.sql, all))?);
    Ok(run)
}
