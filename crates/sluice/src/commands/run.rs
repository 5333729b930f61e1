//! `sluice run`: works the lanes, relays what is due, answers HTTP, until SIGTERM.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use sluice_config::{Config, EspKind};
use sluice_engine::{Engine, Health, Plan, Roles};

use crate::http::Http;
use crate::wiring::{Opener, Outside};

/// How often partitions are made ahead and old rows age out.
const HOUSEKEEPING_EVERY: Duration = Duration::from_secs(3600);
/// Limits whose state is removed in one round of housekeeping.
const LIMITS_PER_ROUND: u32 = 10_000;
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
///
/// `reread` reads the configuration again, for SIGHUP.
pub(crate) async fn run(
    config: Config,
    roles: RunRoles,
    reread: impl Fn() -> anyhow::Result<Config>,
) -> anyhow::Result<bool> {
    announce(&config);
    let outside = Outside::open(&config, Opener::Worker)?;
    let health = Arc::new(Health::new(Arc::clone(&outside.metrics)));
    let breakers = outside.breakers();
    let own_breakers = roles.worker.then(|| Arc::clone(&breakers));
    let engine_roles = Roles { worker: roles.worker, relay: roles.relay };
    let parts = outside.parts(&config, engine_roles, &breakers, &health)?;
    let engine = Arc::new(OnceLock::new());
    let http =
        if roles.http { Http::start(&config, &outside, &health, own_breakers, &engine).await? } else { None };

    let mut signals = Signals::new()?;
    let mut hangup = hangup()?;
    let prepared = tokio::select! {
        prepared = prepare_store(&config, &outside, &health) => { prepared?; true }
        () = signals.next() => false,
    };
    let mut clean = true;
    if prepared {
        let engine = engine.get_or_init(|| Engine::start(parts));
        tokio::select! {
            () = signals.next() => {}
            () = keep_house(&outside, roles) => {}
            () = reload_on_hangup(&config, &outside, engine, &mut hangup, reread) => {}
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
        if let Err(error) = postgres.prune_limits(LIMITS_PER_ROUND).await {
            tracing::warn!(%error, "could not remove the state of limits that are long unused");
        }
    }
}

/// Partitions are made so many days ahead.
const PARTITION_DAYS_AHEAD: u32 = 7;

/// SIGHUP.
fn hangup() -> anyhow::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).context("SIGHUP")
}

/// Reads the configuration again at each SIGHUP and goes on with its limits, pools and groups, for ever. One that has
/// faults changes nothing.
async fn reload_on_hangup(
    started_with: &Config,
    outside: &Outside,
    engine: &Engine,
    hangup: &mut tokio::signal::unix::Signal,
    reread: impl Fn() -> anyhow::Result<Config>,
) {
    while hangup.recv().await.is_some() {
        let config = match reread() {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "SIGHUP: the configuration has faults, nothing changes");
                continue;
            }
        };
        for warning in &config.warnings {
            tracing::warn!(key = %warning.key, "{}", warning.detail);
        }
        let names = |config: &Config| config.esps.iter().map(|esp| esp.name.clone()).collect::<Vec<_>>();
        if names(&config) != names(started_with) {
            tracing::warn!("SIGHUP: ESP accounts that were added or taken away need a restart");
        }
        let plan = Arc::new(Plan::of(&config));
        if let Err(error) = outside.redeclare(&plan).await {
            tracing::error!(error = %format!("{error:#}"), "SIGHUP: the lanes could not be declared, nothing changes");
            continue;
        }
        engine.reload(&plan);
        outside.plan.set(plan);
        tracing::info!("SIGHUP: limits, pools and groups were read again");
    }
    std::future::pending().await
}

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
