//! Where slots are leased: the fleet-wide state of every limit.

use async_trait::async_trait;
pub use sluice_policy::{Leased, LimitLook, Unused, Want};
use sluice_types::Limit;

/// Leases blocks of slots on the store's clock.
#[async_trait]
pub trait SlotSource: Send + Sync + std::fmt::Debug {
    /// Leases up to the wanted number of slots for each want, in one statement; one answer per want, in order.
    ///
    /// Times in the answer count from the instant at which the store answered, so a caller that counts them from
    /// the receipt of the answer is late or exact, never early. No two wants name the same limits. A want of several
    /// limits must name spaced ones only; one that does not, and a limit on connections, gets nothing.
    ///
    /// # Errors
    /// When the store could not be asked. Slots may have been leased all the same; they lapse.
    async fn lease(&self, wants: &[Want]) -> Result<Vec<Leased>, SlotError>;

    /// Gives slots back that were leased and will surely not be used; those that can no longer be given back lapse.
    ///
    /// # Errors
    /// When the store could not be asked; never to be repeated, since the first call may have been carried out.
    async fn give_back(&self, unused: &[Unused]) -> Result<(), SlotError>;

    /// How each limit stands, in order; leases nothing.
    ///
    /// # Errors
    /// When the store could not be asked.
    async fn look(&self, limits: &[Limit]) -> Result<Vec<LimitLook>, SlotError>;
}

/// The store could not be asked for slots.
#[derive(Debug, thiserror::Error)]
#[error("no slots: store unavailable")]
pub struct SlotError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
