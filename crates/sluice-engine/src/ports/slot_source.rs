//! Where slots are leased: the fleet-wide state of every limit.

use std::time::Duration;

use async_trait::async_trait;
use sluice_policy::SlotRun;
use sluice_types::Limit;

/// Leases blocks of slots on the store's clock.
#[async_trait]
pub trait SlotSource: Send + Sync + std::fmt::Debug {
    /// Leases up to the wanted number of slots under each limit, in one statement; one answer per want, in order.
    ///
    /// Times in the answer count from the instant at which the store answered, so a caller that counts them from
    /// the receipt of the answer is late or exact, never early. No two wants name the same limit.
    ///
    /// # Errors
    /// When the store could not be asked. Slots may have been leased all the same; they lapse.
    async fn lease(&self, wants: &[Want]) -> Result<Vec<Leased>, SlotError>;
}

/// A wish for slots under one limit.
#[derive(Clone, Debug)]
pub struct Want {
    /// The limit.
    pub limit: Limit,
    /// How many slots at most.
    pub count: u32,
}

/// The slots leased under one limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leased {
    /// The slots, in the order in which they open.
    pub runs: Vec<SlotRun>,
    /// When the next slot after these opens, if the limit holds more back.
    pub next_in: Option<Duration>,
}

/// The store could not be asked for slots.
#[derive(Debug, thiserror::Error)]
#[error("no slots: store unavailable")]
pub struct SlotError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
