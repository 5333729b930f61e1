//! A campaign that was fanned out into `pending`: how fast the relay alone brings it into the lanes. Beside it, in the same
//! run, what a bare publisher has confirmed by the same lanes. Then a worker sends all of it, so that the run is a check.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lapin::options::QueuePurgeOptions;
use lapin::{Connection, ConnectionProperties};
use sluice_testkit::peers::{JobMessage, JobPublisher};
use sluice_testkit::services::SluiceProcess;

use super::Scale;
use super::fan_out::park;
use super::programs::{Programs, Workers, enter_memory};
use super::timing::{timed, work_timeout};
use super::workers::committed;
use crate::job::{Address, message};
use crate::journal::Journal;
use crate::ledger;
use crate::metrics;
use crate::process;
use crate::run::{Figure, Run};
use crate::site::{Limits, Site};
use crate::stage::{Scene, Stage, wait};

/// Mailbox providers of the campaign. The relay keeps a lane no longer than 10,000 jobs, so one would not do.
const LANES: usize = 16;
/// More would fill the lanes.
const JOBS_MAX: usize = LANES * 9_000;
/// How often the relay is asked how much it has published.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const START_TIMEOUT: Duration = Duration::from_secs(90);

pub(super) fn run(stage: &Stage, scale: &Scale) -> anyhow::Result<Run> {
    let jobs = scale.jobs.min(JOBS_MAX);
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(jobs));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let site = Site { more: groups(), ..Site::new(scene.store(), vec![esp.addr()], Limits::Off) };
    scene.prepare(&site.toml())?;
    let confirms = confirms_per_second(&scene, jobs)?;
    park(&scene, jobs, |number| (domain(number), group(number)))?;
    let mut run = relayed(&scene, &site, jobs)?;
    run.set(Figure::ConfirmsPerSecond, confirms);
    let mut workers = Workers::start(&site.toml(), 1);
    let sent = timed(&scene, &mut workers, &journal, jobs, &committed())?;
    run.faults.extend(sent.faults);
    run.faults.extend(journal.faults(0..jobs));
    run.faults.extend(scene.queue_faults());
    run.faults.extend(stage.runtime.block_on(ledger::faults_of_worker(&scene.sql, jobs))?);
    Ok(run)
}

/// Times a process that is a relay and nothing else.
fn relayed(scene: &Scene<'_>, site: &Site, jobs: usize) -> anyhow::Result<Run> {
    let command = SluiceProcess::command(&site.toml()).args(["run", "--roles", "relay,http"]);
    let mut relay = Workers(vec![command.start()]);
    let published = |relay: &Workers| -> anyhow::Result<usize> {
        let page = relay.0.first().context("there is one")?.get("/metrics").map(|(_, page)| page);
        // Nobody listens at first.
        Ok(page.ok().and_then(|page| metrics::value(&page, "sluice_released_total")).unwrap_or(0))
    };
    let pids = relay.pids();
    wait("the first rows in the lanes", START_TIMEOUT, || {
        relay.check().and_then(|()| Ok(published(&relay)? > 0))
    })?;
    // What was published by the first look does not count, so that the look may come late.
    let (first, begin, cpu_before) = (published(&relay)?, Instant::now(), process::cpu_of(&pids)?);
    ensure!(first < jobs, "all {jobs} rows were in the lanes at the first look: more --jobs, please");
    wait("all rows in the lanes", work_timeout(jobs), || {
        std::thread::sleep(LOOK_EVERY);
        relay.check().and_then(|()| Ok(published(&relay)? >= jobs))
    })?;
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), process::cpu_of(&pids)?.saturating_sub(cpu_before));
    let mut run = Run::new(jobs - first, seconds);
    run.set(Figure::CpuPerThousand, cpu.as_secs_f64() * 1_000.0 / (jobs - first) as f64);
    enter_memory(&mut run, &pids)?;
    for worker in &relay.0 {
        worker.sigterm();
        worker.wait(START_TIMEOUT);
    }
    let left = scene.count("SELECT count(*) FROM sluice.pending")?;
    if left > 0 {
        run.faults.push(format!("{left} rows are still in pending"));
    }
    run.faults.extend(scene.depth_faults(jobs));
    Ok(run)
}

/// What the broker confirms to a publisher that has thousands in flight, into the same lanes; they are empty again after it.
fn confirms_per_second(scene: &Scene<'_>, jobs: usize) -> anyhow::Result<f64> {
    let messages: Vec<JobMessage> =
        (0..jobs).map(|number| message(number, &Address::bulk(&domain(number)))).collect();
    let (seconds, summary) = scene.stage.runtime.block_on(async {
        let mut publisher = JobPublisher::connect(&scene.amqp).await;
        let begin = Instant::now();
        for message in &messages {
            publisher.publish(message).await;
        }
        let summary = publisher.finish().await;
        (begin.elapsed().as_secs_f64(), summary)
    });
    ensure!(summary.confirmed == u64::try_from(jobs)?, "of {jobs} messages the broker took: {summary:?}");
    scene.stage.runtime.block_on(purge(&scene.amqp)).context("cannot empty the lanes")?;
    let left = scene.queue_faults();
    ensure!(left.is_empty(), "not purged: {left:?}");
    Ok(jobs as f64 / seconds.max(f64::EPSILON))
}

async fn purge(amqp: &str) -> lapin::Result<()> {
    let connection = Connection::connect(amqp, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    for lane in 0..LANES {
        let queue = format!("sluice.lane.default.bulk.{}", group(lane));
        channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default()).await?;
    }
    connection.close(200, "done".into()).await
}

fn groups() -> String {
    (0..LANES).fold(String::new(), |mut toml, lane| {
        let (name, domain) = (group(lane), domain(lane));
        // Writing to a String cannot fail.
        write!(toml, "[[domain_group]]\nname = \"{name}\"\ndomains = [\"{domain}\"]\n").ok();
        toml
    })
}

fn group(number: usize) -> String {
    format!("provider-{}", number % LANES)
}

fn domain(number: usize) -> String {
    format!("provider-{}.example", number % LANES)
}
