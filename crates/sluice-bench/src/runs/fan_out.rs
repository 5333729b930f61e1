//! A campaign that was fanned out into `pending`: everything is due, the relay feeds the lanes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::Scale;
use super::programs::Workers;
use super::timing::timed;
use super::workers::committed;
use crate::job::{self, Address};
use crate::journal::Journal;
use crate::ledger;
use crate::run::Run;
use crate::site::{Limits, ONE_DOMAIN, Site};
use crate::stage::{Scene, Stage};

/// Rows of one insert.
const CHUNK: usize = 1_000;
const INSERT: &str = "
INSERT INTO sluice.pending (job_id, tenant, campaign, pool, class, domain, group_name, due_at, reason, attempt, body)
SELECT id, 'acme', 'spring-sale', 'default', 'bulk', domain, group_name, now(), 'scheduled', 1,
    convert_to(body, 'UTF8')
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS u (id, body, domain, group_name)";

pub(super) fn run(stage: &Stage, scale: &Scale) -> anyhow::Result<Run> {
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(scale.jobs));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let site = Site::new(scene.store(), vec![esp.addr()], Limits::Idle);
    scene.prepare(&site.toml())?;
    park(&scene, scale.jobs, |_| (ONE_DOMAIN.to_owned(), "gmail".to_owned()))?;
    let mut workers = Workers::start(&site.toml(), 1);
    let mut run = timed(&scene, &mut workers, &journal, scale.jobs, &committed())?;
    if !run.faults.is_empty() {
        return Ok(run);
    }
    workers.enter(&mut run)?;
    run.faults.extend(journal.faults(0..scale.jobs));
    run.faults.extend(scene.queue_faults());
    run.faults.extend(stage.runtime.block_on(ledger::faults_of_worker(&scene.sql, scale.jobs))?);
    Ok(run)
}

/// Puts the jobs `0..jobs` into `pending`, due now, each with the domain and group that `place` names.
pub(super) fn park(
    scene: &Scene<'_>,
    jobs: usize,
    place: impl Fn(usize) -> (String, String),
) -> anyhow::Result<()> {
    for first in (0..jobs).step_by(CHUNK) {
        let numbers = first..jobs.min(first + CHUNK);
        let ids: Vec<String> = numbers.clone().map(job::id).collect();
        let (domains, groups): (Vec<String>, Vec<String>) = numbers.clone().map(&place).unzip();
        let bodies: Vec<String> =
            numbers.zip(&domains).map(|(number, domain)| job::body(number, &Address::bulk(domain))).collect();
        let insert = async { scene.sql.execute(INSERT, &[&ids, &bodies, &domains, &groups]).await };
        scene.stage.runtime.block_on(insert).context("cannot fill pending")?;
    }
    scene.run_sql("VACUUM ANALYZE sluice.pending")
}
