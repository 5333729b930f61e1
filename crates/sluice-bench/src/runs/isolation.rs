//! Half of the jobs cannot go. How fares the other half?

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sluice_testkit::pool_of_one;
use sluice_testkit::services::{SluiceProcess, sluice_binary};

use super::Scale;
use super::programs::{Programs, Workers};
use crate::case::Stuck;
use crate::job::{Address, message};
use crate::journal::Journal;
use crate::latency;
use crate::run::Run;
use crate::site::{Limits, Site};
use crate::stage::{Scene, Stage, wait};

const SLOW_GROUP: &str = r#"
[[domain_group]]
name = "apple"
domains = ["icloud.com"]
limits = ["1/s"]
"#;
const SLOW_DOMAIN: &str = "slow.example";
const LATE_DOMAIN: &str = "late.example";
const FREE_DOMAIN: &str = "free.example";
const WORK_TIMEOUT: Duration = Duration::from_secs(300);

/// The jobs `0..half` can go, those from `half` on cannot. All lie in the lanes, one of each in turn, before the
/// worker starts. Waits count from its start.
pub(super) fn run(stage: &Stage, stuck: Stuck, limits: Limits, scale: &Scale) -> anyhow::Result<Run> {
    let half = scale.half;
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(2 * half));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    // Connections wait there for ever to be accepted.
    let hung = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    // Nobody listens on the port "discard".
    let dead = (Ipv4Addr::LOCALHOST, 9).into();
    let more = SLOW_GROUP.to_owned()
        + &pool_of_one("dead", dead, "1s")
        + &pool_of_one("hung", hung.local_addr()?, "5s");
    let site = Site { more, ..Site::new(scene.store(), vec![esp.addr()], limits) };
    scene.prepare_with(&site.toml(), || {
        limit_domain(&site, SLOW_DOMAIN)?;
        scene.wait_bound(&format!("default.bulk.{SLOW_DOMAIN}"))
    })?;
    let free = Address::bulk(FREE_DOMAIN);
    let other = other_half(stuck);
    scene.publish((0..half).flat_map(|number| {
        let stuck = other.as_ref().map(|other| message(half + number, other));
        stuck.into_iter().chain([message(number, &free)])
    }))?;
    if matches!(stuck, Stuck::LateDomain) {
        limit_domain(&site, LATE_DOMAIN)?;
    }
    let begin = Instant::now();
    let mut workers = Workers::start(&site.toml(), 1);
    let arrived = || journal.arrivals(0..half);
    wait("the half that can go", WORK_TIMEOUT, || workers.check().map(|()| arrived().len() >= half))?;
    let times = arrived();
    let (first, last) = times.first().zip(times.last()).context("nothing has come")?;
    let mut run = Run::new(half, (*last - *first).as_secs_f64());
    workers.enter(&mut run)?;
    let waits: Vec<Duration> = times.iter().map(|time| *time - begin).collect();
    latency::enter(&mut run, &waits);
    run.faults.extend(journal.faults(0..half));
    run.faults.extend(faults(&scene, &workers.0, half)?);
    Ok(run)
}

fn other_half(stuck: Stuck) -> Option<Address> {
    match stuck {
        Stuck::Nowhere => None,
        Stuck::Group => Some(Address::bulk("icloud.com")),
        Stuck::DeadEsp => Some(Address { pool: "dead", ..Address::bulk("gmail.com") }),
        Stuck::HungEsp => Some(Address { pool: "hung", ..Address::bulk("gmail.com") }),
        Stuck::Domain => Some(Address::bulk(SLOW_DOMAIN)),
        Stuck::LateDomain => Some(Address::bulk(LATE_DOMAIN)),
    }
}

fn limit_domain(site: &Site, domain: &str) -> anyhow::Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), site.toml())?;
    let key = format!("domain:{domain}");
    let mut command = std::process::Command::new(sluice_binary());
    command.arg("--config").arg(file.path()).args(["limits", "set", &key, "1/s"]);
    let output = command.output().context("cannot run sluice limits set")?;
    ensure!(output.status.success(), "sluice limits set: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Once the half that can go has gone, its rows must say so; the worker finishes what it holds at its end.
fn faults(scene: &Scene<'_>, workers: &[SluiceProcess], half: usize) -> anyhow::Result<Vec<String>> {
    for worker in workers {
        worker.sigterm();
        worker.wait(Duration::from_secs(90));
    }
    let free = format!(
        "SELECT count(*) FROM sluice.job WHERE state = 'accepted' AND recipient LIKE '%@{FREE_DOMAIN}'"
    );
    let accepted = scene.count(&free)?;
    Ok(if accepted == half {
        Vec::new()
    } else {
        vec![format!("{accepted} rows of the half that can go, not {half}")]
    })
}
