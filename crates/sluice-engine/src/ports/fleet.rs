//! What the replicas tell each other, through the store.

use async_trait::async_trait;
use sluice_policy::{Edit, Report, View};

/// The document that the fleet shares ([`sluice_policy::FleetState`]).
#[async_trait]
pub trait Fleet: Send + Sync + std::fmt::Debug {
    /// Hands in a report and answers what holds for the fleet now: locks the document, reads the store's clock behind
    /// the lock, calls [`sluice_policy::FleetState::exchange`] and keeps what came of it, durably.
    ///
    /// # Errors
    /// When the store could not be asked. The report may have been taken all the same; it may be handed in again.
    async fn exchange(&self, report: &Report) -> Result<View, FleetError>;

    /// Carries out an operator's order, durably; the replicas see it at their next exchange.
    ///
    /// # Errors
    /// When the store could not be asked; the order may be repeated.
    async fn edit(&self, edit: Edit) -> Result<(), FleetError>;

    /// What holds now, for people; changes nothing.
    ///
    /// # Errors
    /// When the store could not be asked.
    async fn look(&self) -> Result<View, FleetError>;
}

/// The fleet's document could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("the fleet's document is not to be had: store unavailable")]
pub struct FleetError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
