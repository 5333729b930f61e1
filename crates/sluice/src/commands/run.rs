//! `sluice run`: works the lanes, relays what is due, answers HTTP, until SIGTERM.

mod housekeeping;
mod prepare;
mod reload;

use std::sync::{Arc, OnceLock};

use anyhow::Context;
use sluice_config::{Config, EspKind};
use sluice_engine::{Bounces, Engine, Health, Roles};
use tokio::sync::watch;

use self::housekeeping::keep_house;
use self::prepare::{broker_refuses, prepare_store};
use self::reload::{hangup, reload_on_hangup};
use crate::http::Http;
use crate::wiring::{Opener, Outside};

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunRoles {
    pub(crate) worker: bool,
    pub(crate) relay: bool,
    pub(crate) http: bool,
}

/// Runs until a signal; answers whether the drain left nothing.
///
/// `reread` reads the configuration again, for SIGHUP. A server that is away is waited for, at the start and later; one
/// that will not have us at the start ends the process with a [`SettingsError`](crate::settings::SettingsError).
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
    let (plan, metrics) = (Arc::clone(&outside.plan), Arc::clone(&outside.metrics));
    let bounces = Arc::new(Bounces::new(plan, parts.mx.clone(), metrics));
    let http = if roles.http {
        Http::start(&config, &outside, &health, &bounces, own_breakers, &engine).await?
    } else {
        None
    };

    let mut signals = Signals::new()?;
    let mut hangup = hangup()?;
    let prepared = tokio::select! {
        prepared = prepare_store(&config, &outside, &health) => { prepared?; true }
        () = signals.next() => false,
    };
    let mut clean = true;
    let mut refused = None;
    if prepared {
        let engine = engine.get_or_init(|| Engine::start(parts));
        let (live, live_config) = watch::channel(Arc::new(config.clone()));
        let running = (&outside, engine, http.as_ref());
        tokio::select! {
            () = signals.next() => {}
            () = keep_house(&outside, roles, live_config) => {}
            () = sweep(&outside, &bounces, roles) => {}
            () = reload_on_hangup(&config, running, &live, &mut hangup, reread) => {}
            error = broker_refuses(&outside) => refused = Some(error),
        }
        let deadline = live.borrow().worker.drain_timeout;
        tracing::info!(deadline_s = deadline.as_secs(), signal = refused.is_none(), "draining");
        if let Some(http) = &http {
            http.draining();
        }
        clean = tokio::select! {
            report = engine.drain(deadline) => report.is_clean(),
            () = signals.next() => anyhow::bail!("second signal: left without draining"),
        };
    }
    if let Some(http) = http {
        http.end().await;
    }
    if let Err(error) = bounces.tell(outside.fleet.as_ref(), &outside.name).await {
        tracing::debug!(%error, "the last bounces were not told to the fleet");
    }
    tracing::info!(step = "close connections", "drain");
    outside.close().await;
    refused.map_or(Ok(clean), |error| Err(error.into()))
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

/// Tells the fleet of bounces that ESPs report, and where parked jobs are relayed too applies events that came before their
/// job's result; for ever.
async fn sweep(outside: &Outside, bounces: &Bounces, roles: RunRoles) {
    let tell = bounces.keep_telling(outside.fleet.as_ref(), &outside.name);
    if roles.relay {
        tokio::join!(tell, sluice_engine::sweep_events(outside.events.as_ref(), bounces));
    } else {
        tell.await;
    }
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
