//! Transactional jobs to a group whose limit holds a long bulk backlog.

use std::sync::Arc;
use std::time::Duration;

use super::programs::{Programs, Workers};
use super::{Scale, limit};
use crate::job::{Address, message};
use crate::journal::Journal;
use crate::latency;
use crate::run::Run;
use crate::site::{Limits, Site};
use crate::stage::{Stage, wait};

const MORE: &str = r#"
[[domain_group]]
name = "apple"
domains = ["icloud.com"]
limits = ["50/s"]
"#;
const LIMIT_PER_SECOND: u32 = 50;
/// A fifth of 50/s, the reserved share.
const URGENT_PER_SECOND: u32 = 10;
/// Sent before the transactional jobs come, so that the lines stand.
const WARM: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(120);

pub(super) fn run(stage: &Stage, scale: &Scale) -> anyhow::Result<Run> {
    let backlog = scale.priority_backlog;
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(backlog + scale.urgent));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let site = Site { more: MORE.to_owned(), ..Site::new(scene.store(), vec![esp.addr()], Limits::Idle) };
    scene.prepare(&site.toml())?;
    let bulk = Address::bulk("icloud.com");
    scene.publish((0..backlog).map(|number| message(number, &bulk)))?;
    let mut workers = Workers::start(&site.toml(), 1);
    wait("the backlog is worked", TIMEOUT, || workers.check().map(|()| journal.accepted() >= WARM))?;
    let urgent = Address::transactional("icloud.com");
    let steady = latency::publish_steadily(&scene.amqp, &urgent, backlog, scale.urgent, URGENT_PER_SECOND);
    let published = stage.runtime.block_on(steady);
    let arrived = || journal.arrivals(backlog..backlog + scale.urgent).len();
    wait("the transactional jobs", TIMEOUT, || workers.check().map(|()| arrived() >= scale.urgent))?;
    let times = journal.arrivals(0..backlog + scale.urgent);
    let seconds = times.first().zip(times.last()).map_or(0.0, |(first, last)| (*last - *first).as_secs_f64());
    let mut run = Run::new(times.len(), seconds);
    limit::enter(&mut run, &scene, times, LIMIT_PER_SECOND)?;
    workers.enter(&mut run)?;
    latency::enter(&mut run, &latency::waits(&journal, backlog, &published));
    run.faults.extend(journal.faults(backlog..backlog + scale.urgent));
    Ok(run)
}
