//! SIGHUP: the configuration is read again.

use std::sync::Arc;

use anyhow::Context;
use sluice_config::Config;
use sluice_engine::{Engine, Plan};
use tokio::signal::unix::{Signal, SignalKind};
use tokio::sync::watch;

use crate::http::Http;
use crate::wiring::Outside;

/// SIGHUP.
pub(super) fn hangup() -> anyhow::Result<Signal> {
    tokio::signal::unix::signal(SignalKind::hangup()).context("SIGHUP")
}

/// Reads the configuration again at each SIGHUP and goes on with what of it is live, for ever. One that has faults changes
/// nothing; what needs a restart is told.
pub(super) async fn reload_on_hangup(
    started_with: &Config,
    (outside, engine, http): (&Outside, &Engine, Option<&Http>),
    live: &watch::Sender<Arc<Config>>,
    hangup: &mut Signal,
    reread: impl Fn() -> anyhow::Result<Config>,
) {
    while hangup.recv().await.is_some() {
        if let Some(http) = http {
            http.reread_certificate();
        }
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
        let plan = Arc::new(Plan::of(&config));
        if let Err(error) = outside.redeclare(&plan).await {
            tracing::error!(error = %format!("{error:#}"), "SIGHUP: the lanes could not be declared, nothing changes");
            continue;
        }
        let frozen = config.needs_restart(started_with);
        if !frozen.is_empty() {
            let keys = frozen.join(", ");
            tracing::warn!(
                keys,
                "SIGHUP: what has changed here needs a restart, until then it stays as it was"
            );
        }
        engine.reload(&plan);
        outside.plan.set(plan);
        live.send_replace(Arc::new(config));
        tracing::info!("SIGHUP: the configuration was read again");
    }
    std::future::pending().await
}
