//! Before work begins: the schema of the store; and whether the servers will have us at all.

use std::time::Duration;

use sluice_config::Config;
use sluice_engine::Health;
use sluice_postgres::MigrateError;
use sluice_telemetry::Dependency;

use crate::settings::SettingsError;
use crate::wiring::Outside;

/// First and longest pause between two tries of a store that is away at start; with jitter.
const STORE_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A broker that starts may refuse for a moment what it takes later: a refusal counts when it lasts.
const REFUSAL_LASTS: Duration = Duration::from_secs(10);
/// How often the broker's word is asked for.
const BROKER_LOOK: Duration = Duration::from_secs(1);

/// Applies the migrations, or looks whether they are applied, waiting for a store that is away.
pub(super) async fn prepare_store(config: &Config, outside: &Outside, health: &Health) -> anyhow::Result<()> {
    let Some(postgres) = outside.postgres() else { return Ok(()) };
    let mut pause = STORE_PAUSES.0;
    loop {
        let error = if config.store.migrate {
            match outside.migrate(postgres).await {
                Ok(applied) => {
                    tracing::info!(applied, "the schema is up to date");
                    return Ok(());
                }
                Err(error) => error,
            }
        } else {
            match outside.check_schema(postgres).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            }
        };
        if !error.is_transient() {
            return Err(hopeless(error));
        }
        health.down(Dependency::Store, &error);
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(STORE_PAUSES.1);
    }
}

fn hopeless(error: MigrateError) -> anyhow::Error {
    if error.is_misconfiguration() {
        SettingsError::unusable("store", error).into()
    } else {
        anyhow::Error::from(error).context("migrations")
    }
}

/// Comes back when the broker refuses what is configured, before it has been reached once. After that it never does: what
/// is refused later is waited for like a broker that is away.
pub(super) async fn broker_refuses(outside: &Outside) -> SettingsError {
    let mut refused_since = None;
    loop {
        let now = outside.clock.tick();
        match outside.broker_refusal().await {
            None => return std::future::pending().await,
            Some(Err(error)) if error.is_refusal() => {
                let since = *refused_since.get_or_insert(now);
                if now.since(since) >= REFUSAL_LASTS {
                    return SettingsError::unusable("queue", error);
                }
            }
            Some(Err(_)) => refused_since = None,
            Some(Ok(())) => return std::future::pending().await,
        }
        tokio::time::sleep(BROKER_LOOK).await;
    }
}
