//! `sluice run`: works the lanes, relays what is due, answers HTTP, until SIGTERM.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use sluice_config::{Config, EspKind};
use sluice_engine::{Breakers, Engine, Esp, Health, Parts, Roles};

use crate::http::Http;
use crate::wiring::{Opener, Outside, esps};

/// How often partitions are made ahead and old rows age out.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(3600);
/// Pause between two tries of a store that is away at start.
const MIGRATE_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunRoles {
    pub(crate) worker: bool,
    pub(crate) relay: bool,
    pub(crate) http: bool,
}

/// Runs until a signal; answers whether the drain left nothing.
pub(crate) async fn run(config: Config, roles: RunRoles) -> anyhow::Result<bool> {
    announce(&config);
    let outside = Outside::open(&config, Opener::Worker)?;
    let health = Arc::new(Health::new(Arc::clone(&outside.metrics)));
    let breakers =
        Arc::new(Breakers::new(&outside.plan, Arc::clone(&outside.clock), Arc::clone(&outside.metrics)));
    let own_breakers = roles.worker.then(|| Arc::clone(&breakers));
    let esps = esps(&config, &outside.clock)?;
    let engine = Arc::new(OnceLock::new());
    let http =
        if roles.http { Http::start(&config, &outside, &health, own_breakers, &engine).await? } else { None };

    let mut signals = Signals::new()?;
    let prepared = tokio::select! {
        prepared = prepare_store(&config, &outside, &health) => { prepared?; true }
        () = signals.next() => false,
    };
    let mut clean = true;
    if prepared {
        let engine = engine.get_or_init(|| Engine::start(parts(&outside, roles, esps, &breakers, &health)));
        tokio::select! {
            () = signals.next() => {}
            () = keep_house(&outside, roles) => {}
        }
        tracing::info!(deadline_s = config.worker.drain_timeout.as_secs(), "signal: draining");
        if let Some(http) = &http {
            http.draining();
        }
        clean = tokio::select! {
            report = engine.drain(config.worker.drain_timeout) => report.is_clean(),
            () = signals.next() => anyhow::bail!("second signal: left without draining"),
        };
    }
    if let Some(http) = http {
        http.end().await;
    }
    tracing::info!(step = "close connections", "drain");
    outside.close().await;
    Ok(clean)
}

fn parts(
    outside: &Outside,
    roles: RunRoles,
    esps: Vec<Arc<dyn Esp>>,
    breakers: &Arc<Breakers>,
    health: &Arc<Health>,
) -> Parts {
    Parts {
        plan: Arc::clone(&outside.plan),
        roles: Roles { worker: roles.worker, relay: roles.relay },
        clock: Arc::clone(&outside.clock),
        inbox: Arc::clone(&outside.inbox),
        outbox: Arc::clone(&outside.outbox),
        ledger: Arc::clone(&outside.ledger),
        slot_source: Arc::clone(&outside.slot_source),
        esps,
        breakers: Arc::clone(breakers),
        metrics: Arc::clone(&outside.metrics),
        health: Arc::clone(health),
    }
}

/// Says what this process will do before it does it.
fn announce(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!(key = %warning.key, "{}", warning.detail);
    }
    for esp in config.esps.iter().filter(|esp| esp.kind == EspKind::Sandbox) {
        let journal = esp.sandbox.journal.as_ref().map(|path| path.display().to_string());
        tracing::warn!(esp = %esp.name, journal, "this ESP is a sandbox: it delivers nothing");
    }
}

/// Applies the migrations, waiting for a store that is away.
async fn prepare_store(config: &Config, outside: &Outside, health: &Health) -> anyhow::Result<()> {
    let Some(postgres) = outside.postgres().filter(|_| config.store.migrate) else { return Ok(()) };
    let mut pause = MIGRATE_PAUSE.0;
    loop {
        match postgres.migrate().await {
            Ok(applied) => {
                tracing::info!(applied, "the schema is up to date");
                return Ok(());
            }
            Err(error) if error.is_transient() => {
                health.down(sluice_telemetry::Dependency::Store, &error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(MIGRATE_PAUSE.1);
            }
            Err(error) => return Err(error).context("migrations"),
        }
    }
}

/// Makes partitions ahead, for ever. On the embedded default there is nothing to do.
async fn keep_house(outside: &Outside, roles: RunRoles) {
    let Some(postgres) = outside.postgres().filter(|_| roles.relay) else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(HOUSEKEEPING_EVERY).await;
        if let Err(error) = postgres.make_partitions(PARTITION_DAYS_AHEAD).await {
            tracing::warn!(%error, "could not make partitions ahead");
        }
    }
}

/// Partitions are made so many days ahead.
const PARTITION_DAYS_AHEAD: u32 = 7;

/// SIGTERM and SIGINT.
struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            term: signal(SignalKind::terminate()).context("SIGTERM")?,
            int: signal(SignalKind::interrupt()).context("SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
