//! Opens the store and the queue for a command that works beside a running worker.

use std::time::Duration;

use anyhow::bail;
use sluice_config::{Config, QueueKind};
use sluice_engine::{Overview, OverviewError};

use crate::cli::UsageError;
use crate::wiring::{Opener, Outside};

/// How long a command waits for the broker to be reached.
pub(crate) const BROKER_WAIT: Duration = Duration::from_secs(15);
/// How long a command takes to close its connections at most.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Opens what the configuration names; an embedded store is made if there is none.
pub(crate) fn open(config: &Config) -> anyhow::Result<Outside> {
    Outside::open(config, Opener::Client)
}

/// As [`open`], for a command that has nothing to ask of the broker: that one may be away.
pub(crate) fn open_store(config: &Config) -> anyhow::Result<Outside> {
    Outside::open(config, Opener::StoreClient)
}

/// Opens what the configuration names. A question makes no store: asked in the wrong folder it would answer "nothing".
pub(crate) fn open_existing(config: &Config) -> anyhow::Result<Outside> {
    is_there(config)?;
    open(config)
}

/// As [`open_existing`], to count what is in the queue: nothing is declared there.
pub(crate) fn open_existing_bystander(config: &Config) -> anyhow::Result<Outside> {
    is_there(config)?;
    Outside::open(config, Opener::Bystander)
}

/// As [`open_existing`], without the broker.
pub(crate) fn open_existing_store(config: &Config) -> anyhow::Result<Outside> {
    is_there(config)?;
    open_store(config)
}

fn is_there(config: &Config) -> anyhow::Result<()> {
    let path = &config.store.path;
    if config.queue.kind == QueueKind::Embedded && !path.exists() {
        bail!(
            "there is no store at {}: `sluice run` and `sluice enqueue` make one; \
             is this the right folder, or is --config missing?",
            path.display()
        );
    }
    Ok(())
}

/// Questions and orders to the whole fleet.
pub(crate) fn overview(outside: &Outside) -> Overview {
    let (plan, fleet) = (outside.plan.clone(), outside.fleet.clone());
    Overview::new(plan, fleet, outside.slot_source.clone(), outside.ledger.clone())
}

/// What became of a question or an order that failed: wrong usage where `argument` is to be written otherwise.
pub(crate) fn failed(argument: &'static str, error: OverviewError) -> anyhow::Error {
    match error {
        OverviewError::Key { .. }
        | OverviewError::Window { .. }
        | OverviewError::Domain { .. }
        | OverviewError::Spec { .. }
        | OverviewError::WindowDiffers { .. }
        | OverviewError::NoConnections { .. }
        | OverviewError::WarmUp { .. }
        | OverviewError::Ambiguous { .. }
        | OverviewError::Tenant { .. }
        | OverviewError::Campaign { .. } => UsageError::new(format!("{argument}: {error}")).into(),
        OverviewError::UnknownEsp { .. }
        | OverviewError::UnknownGroup { .. }
        | OverviewError::DomainOfGroup { .. }
        | OverviewError::NotSet { .. } => anyhow::Error::new(error).context(argument),
        OverviewError::Fleet(_) | OverviewError::Slots(_) | OverviewError::Ledger(_) => error.into(),
    }
}

/// Closes the connections; a server that does not answer is left behind.
pub(crate) async fn close(outside: &Outside) {
    if tokio::time::timeout(CLOSE_WAIT, outside.close()).await.is_err() {
        tracing::warn!("the connections did not close in time");
    }
}
