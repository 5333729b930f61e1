//! The worker on the first part of a backlog, so that backlogs of different lengths can be compared: the same number of
//! jobs after the same warm-up, several times, and once many more of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Scale;
use super::programs::{Programs, Workers};
use super::timing::work_timeout;
use crate::job::{Address, message};
use crate::journal::Journal;
use crate::run::{Figure, Run};
use crate::site::{Limits, ONE_DOMAIN, Site};
use crate::stage::{Scene, Stage, wait};

/// Jobs that a worker has sent since it was started, from which on and up to which it is timed.
const WINDOW: (usize, usize) = (4_000, 18_000);
/// The same for the long one: 150,000 jobs.
const LONG_WINDOW: (usize, usize) = (4_000, 154_000);
/// What a worker still sends as it ends: all that it has been lent, at most.
const LENT_MAX: usize = 8_000;
const END_TIMEOUT: Duration = Duration::from_secs(90);

pub(super) fn run(stage: &Stage, backlog: usize, scale: &Scale) -> anyhow::Result<Run> {
    let smaller = |window: (usize, usize)| (window.0 / scale.smaller, window.1 / scale.smaller);
    let (window, long_window, samples) = (smaller(WINDOW), smaller(LONG_WINDOW), scale.samples);
    let scene = stage.scene()?;
    let journal = Arc::new(Journal::new(backlog + samples * backlog.min(2 * window.1 + LENT_MAX)));
    let esp = stage.esp(&journal, Duration::ZERO)?;
    let site = Site::new(scene.store(), vec![esp.addr()], Limits::Idle);
    scene.prepare(&site.toml())?;
    let mut lane = Lane { scene: &scene, journal: &journal, site: &site, backlog, published: 0 };
    let mut run = Run::default();
    let mut rates = Vec::with_capacity(samples);
    for _ in 0..samples {
        // A short backlog is filled up again; of a long one there is enough.
        if lane.left() < backlog / 2 {
            lane.fill()?;
        }
        rates.push(lane.timed(window, &mut run)?);
    }
    rates.sort_by(f64::total_cmp);
    let median = rates.get(samples / 2).copied().context("there are samples")?;
    run.jobs = samples * (window.1 - window.0);
    run.seconds = run.jobs as f64 / median;
    run.set(Figure::JobsPerSecond, median);
    if lane.left() > long_window.1 {
        let rate = lane.timed(long_window, &mut run)?;
        run.set(Figure::LongPerSecond, rate);
    }
    run.faults.extend(lane.faults()?);
    Ok(run)
}

/// The one lane, and how much of it is gone.
struct Lane<'a> {
    scene: &'a Scene<'a>,
    journal: &'a Journal,
    site: &'a Site,
    backlog: usize,
    published: usize,
}

impl Lane<'_> {
    fn left(&self) -> usize {
        self.published - self.journal.accepted()
    }

    /// Publishes until the backlog is as long as it should be.
    fn fill(&mut self) -> anyhow::Result<()> {
        let next = self.published + self.backlog - self.left();
        let address = Address::bulk(ONE_DOMAIN);
        self.scene.publish((self.published..next).map(|number| message(number, &address)))?;
        self.published = next;
        Ok(())
    }

    /// A worker of its own sends up to the end of the window; answers its rate within.
    fn timed(&self, (from, to): (usize, usize), run: &mut Run) -> anyhow::Result<f64> {
        let before = self.journal.accepted();
        let mut workers = Workers::start(&self.site.toml(), 1);
        let come = || self.journal.accepted() - before;
        wait("the window", work_timeout(to), || workers.check().map(|()| come() >= to))?;
        workers.enter(run)?;
        for worker in &workers.0 {
            worker.sigterm();
            worker.wait(END_TIMEOUT);
        }
        let times = self.journal.arrivals(0..self.published);
        let at = |place: usize| -> anyhow::Result<Instant> {
            times.get(before + place).copied().context("a job that came has a time")
        };
        let seconds = (at(to - 1)? - at(from)?).as_secs_f64();
        Ok((to - 1 - from) as f64 / seconds.max(f64::EPSILON))
    }

    /// What was sent is recorded, and the rest is still in the lane.
    fn faults(&self) -> anyhow::Result<Vec<String>> {
        let mut faults = self.journal.faults(0..0);
        let sent = self.journal.accepted();
        let accepted =
            self.scene.count("SELECT count(*) FROM sluice.job WHERE state = 'accepted' AND attempts = 1")?;
        let attempts = self.scene.count("SELECT count(*) FROM sluice.attempt WHERE outcome = 'accepted'")?;
        let others = self.scene.count("SELECT count(*) FROM sluice.job WHERE state = 'sending'")?;
        if (accepted, attempts, others) != (sent, sent, 0) {
            faults.push(format!(
                "{accepted} accepted jobs, {attempts} attempts and {others} open claims, with {sent} jobs sent"
            ));
        }
        let pending = self.scene.count("SELECT count(*) FROM sluice.pending")?;
        let left = self.left().saturating_sub(pending);
        faults.extend(self.scene.depth_faults(left));
        Ok(faults)
    }
}
