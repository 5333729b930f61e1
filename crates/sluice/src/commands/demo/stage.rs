//! Runs a scenario: starts the engine, enqueues, watches until everything is settled, drains.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use sluice_config::Config;
use sluice_engine::{BreakerView, Breakers, Engine, Health, Intake, Roles, SuppressionEntry};
use sluice_types::{Tick, Timestamp, WaitReason};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::evidence::left_in_lanes;
use super::message;
use super::progress::{Progress, Snapshot};
use super::publisher::{Counts, Publisher};
use super::scenario::Scenario;
use crate::output::note;
use crate::wiring::{Opener, Outside};

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often what waits is counted, which asks the store.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// The demo gives up when nothing has happened for so long.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// What is in work at the end may take so long.
const DRAIN: Duration = Duration::from_secs(10);
/// The ESP that fails for a while.
const FAILING: &str = "flaky";

/// The engine with everything around it.
#[derive(Debug)]
pub(super) struct Stage {
    outside: Outside,
    engine: Engine,
    breakers: Arc<Breakers>,
    stop: CancellationToken,
    hurry: CancellationToken,
}

/// How a run went.
#[derive(Debug)]
pub(super) struct Played {
    /// When each message was enqueued, in the order of the scenario.
    pub(super) enqueued_at: Vec<Timestamp>,
    pub(super) took: Duration,
    /// By Ctrl-C, or because nothing went on any more.
    pub(super) interrupted: bool,
    pub(super) counters: Counters,
    pub(super) breakers: Vec<BreakerView>,
}

/// How the watch ended.
struct Watched {
    settled_at: Tick,
    interrupted: bool,
}

impl Stage {
    /// Opens the store, suppresses some recipients and starts the engine.
    pub(super) async fn set(config: &Config) -> anyhow::Result<Self> {
        let outside = Outside::open(config, Opener::Worker)?;
        let entries: Vec<_> = message::suppressed_recipients().map(suppression).into();
        outside.console.suppress(&entries).await.context("cannot suppress recipients")?;
        let breakers = outside.breakers();
        let health = Arc::new(Health::new(Arc::clone(&outside.metrics)));
        let roles = Roles { worker: true, relay: true };
        let engine = Engine::start(outside.parts(config, roles, &breakers, &health)?);
        Ok(Self {
            outside,
            engine,
            breakers,
            stop: CancellationToken::new(),
            hurry: CancellationToken::new(),
        })
    }

    /// The store and the clock, for looking at what was left behind.
    pub(super) const fn outside(&self) -> &Outside {
        &self.outside
    }

    /// Closes the store.
    pub(super) async fn close(self) {
        drop(self.engine);
        self.outside.close().await;
    }

    /// Plays the scenario to its end.
    pub(super) async fn play(&self, scenario: &Scenario) -> anyhow::Result<Played> {
        let outside = &self.outside;
        let counts = Arc::new(Counts::default());
        let publisher = Publisher {
            plan: Arc::clone(&outside.plan.get()),
            outbox: Arc::clone(&outside.outbox),
            intake: Intake::new(
                Arc::clone(&outside.plan),
                Arc::clone(&outside.outbox),
                Arc::clone(&outside.console),
            ),
            clock: Arc::clone(&outside.clock),
            stop: self.stop.clone(),
            hurry: self.hurry.clone(),
            counts: Arc::clone(&counts),
        };
        let jobs = u64::try_from(scenario.samples.len()).unwrap_or(u64::MAX);
        let start = outside.clock.tick();
        let (enqueued_at, watched) =
            tokio::try_join!(publisher.run(scenario), self.watch(jobs, start, &counts))?;
        let drained = tokio::select! {
            drained = self.engine.drain(DRAIN) => drained,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted while finishing what was in work"),
        };
        if !drained.is_clean() {
            note(format_args!("left in work: {:?}", drained.left));
        }
        Ok(Played {
            enqueued_at,
            took: watched.settled_at.since(start),
            interrupted: watched.interrupted,
            counters: Counters::read(&outside.metrics)?,
            breakers: self.breakers.view(),
        })
    }

    /// Shows the progress until everything is settled, nothing goes on any more, or somebody has had enough.
    async fn watch(&self, jobs: u64, start: Tick, counts: &Counts) -> anyhow::Result<Watched> {
        let mut progress = Progress::new(jobs)?;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let mut now = Snapshot { jobs, ..Snapshot::default() };
        let (mut counted_at, mut settled_at) = (Tick::ZERO, None);
        let mut last_motion = (0, start);
        let why_early = loop {
            tokio::select! {
                signal = &mut interrupt => {
                    signal.context("cannot listen for Ctrl-C")?;
                    break Some("interrupted");
                }
                _ = ticks.tick() => {}
            }
            let tick = self.outside.clock.tick();
            now.since_start = tick.since(start);
            self.look(&mut now, counts)?;
            if tick.since(counted_at) >= COUNT_EVERY {
                counted_at = tick;
                now.waiting = self.waiting().await?;
            }
            progress.show(&now);
            // Twice in a row: a message may be between two places for a moment.
            let is_settled = counts.enqueued() == jobs && self.is_settled().await?;
            if is_settled && settled_at.is_some() {
                break None;
            }
            settled_at = is_settled.then_some(tick);
            let motion = now.counters.motion() + counts.enqueued();
            if motion != last_motion.0 {
                last_motion = (motion, tick);
            } else if tick.since(last_motion.1) >= STUCK_AFTER {
                break Some("nothing goes on any more");
            }
        };
        self.stop.cancel();
        progress.end();
        if let Some(why) = why_early {
            note(format_args!("{why}: finishing what is in work"));
        }
        let settled_at = settled_at.unwrap_or_else(|| self.outside.clock.tick());
        Ok(Watched { settled_at, interrupted: why_early.is_some() })
    }

    /// Brings the snapshot up to now; hurries the late samples once they have served their purpose.
    fn look(&self, now: &mut Snapshot, counts: &Counts) -> anyhow::Result<()> {
        now.counters = Counters::read(&self.outside.metrics)?;
        now.ended = (now.counters.ended() + counts.known_at_once()).min(now.jobs);
        now.in_work = self.engine.in_flight();
        now.breakers = self.breakers.view();
        if now.counters.transitions(FAILING, "closed") > 0 {
            self.hurry.cancel();
        }
        Ok(())
    }

    /// Jobs that are parked, by reason.
    async fn waiting(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(self.outside.console.status().await.context("cannot count what waits")?.pending)
    }

    /// Whether nothing is in work, nothing waits in a lane, and nothing is parked but what an operator must decide.
    async fn is_settled(&self) -> anyhow::Result<bool> {
        if self.engine.in_flight() > 0 || left_in_lanes(&self.outside).await? > 0 {
            return Ok(false);
        }
        let pending = self.waiting().await?;
        let waits =
            pending.iter().any(|(reason, count)| *count > 0 && reason != WaitReason::Unknown.as_str());
        Ok(!waits && self.engine.in_flight() == 0)
    }
}

fn suppression(recipient: &str) -> SuppressionEntry {
    SuppressionEntry {
        tenant: None,
        recipient: recipient.to_owned(),
        reason: "unsubscribe".to_owned(),
        source: "demo".to_owned(),
        created_at: None,
    }
}
