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

/// A wish for slots under one limit.
#[derive(Clone, Debug)]
pub struct Want {
    /// The limit.
    pub limit: Limit,
    /// How many slots at most.
    pub count: u32,
    /// Of these, how many for transactional jobs: they may use the share that is reserved for them.
    pub urgent: u32,
    /// The share of a counted limit that is reserved for transactional jobs, in permille.
    pub reserved_permille: u32,
    /// The share of its rate that a spaced limit or a bucket may use now, in permille, at least 1: 1000 but for a brake.
    pub rate_permille: u32,
}

/// The slots leased under one limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leased {
    /// The slots, in the order in which they open.
    pub runs: Vec<SlotRun>,
    /// When the next slot after these opens, if the limit holds more back.
    pub next_in: Option<Duration>,
    /// The same for transactional jobs.
    pub next_urgent_in: Option<Duration>,
    /// What [`Unused::mark`] wants to see again.
    pub mark: i64,
    /// The store's instant of the lease, in nanoseconds of its clock.
    pub at_ns: i64,
}

/// Slots to give back: the last ones of one lease.
#[derive(Clone, Debug)]
pub struct Unused {
    /// The limit.
    pub limit: Limit,
    /// How many.
    pub count: u32,
    /// The share of its rate that the limit had when they were leased ([`Want::rate_permille`]).
    pub rate_permille: u32,
    /// The mark of their lease.
    pub mark: i64,
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitLook {
    /// Slots leased in the current window: counted for counted limits, and as the arrival time tells for the others.
    pub used: u64,
    /// Slots that may still be leased in this window.
    pub left: u64,
    /// When the next slot opens that nobody has leased; zero when it is open.
    pub next_in: Duration,
    /// When the window ends, or (rolling) when its oldest sub-bucket leaves; none when nothing was used.
    pub resets_in: Option<Duration>,
}

/// The store could not be asked for slots.
#[derive(Debug, thiserror::Error)]
#[error("no slots: store unavailable")]
pub struct SlotError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
