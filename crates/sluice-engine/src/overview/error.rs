//! Why a question had no answer, or an order was not carried out.

use sluice_types::{EspId, GroupName, LimitScopeError, LimitSpecError, NameError};

use crate::plan::Plan;
use crate::ports::{FleetError, LedgerError, SlotError};

/// The overview could not answer, or would not carry out an order.
#[derive(Debug, thiserror::Error)]
pub enum OverviewError {
    /// The fleet's document is not to be had.
    #[error("could not ask the store for the fleet")]
    Fleet(#[from] FleetError),
    /// The state of the limits is not to be had.
    #[error("could not ask the store for the limits")]
    Slots(#[from] SlotError),
    /// The lines of parked jobs are not to be had.
    #[error("could not ask the store for what waits")]
    Ledger(#[from] LedgerError),
    /// The text is neither the key of a limit nor a scope.
    #[error("{key:?} {reason}, with or without its window, like \"esp:main/per:s\"")]
    Key {
        /// The text.
        key: String,
        /// What is wrong.
        reason: LimitScopeError,
    },
    /// The part of a key behind the scope is no window.
    #[error(
        "{key:?} ends with {window:?}, which is no window; write it like \"per:s\", \"per:h\", \"per:day:calendar\" or \"connections\""
    )]
    Window {
        /// The key.
        key: String,
        /// Its last part.
        window: String,
    },
    /// No ESP of this name.
    #[error("no ESP `{esp}` is configured; there are: {}", .known.join(", "))]
    UnknownEsp {
        /// The name.
        esp: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// No domain group of this name.
    #[error("no domain group `{group}` is configured; there are: {}", .known.join(", "))]
    UnknownGroup {
        /// The name.
        group: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// The scope names one domain, and that belongs to a group.
    #[error("`{domain}` belongs to the domain group `{group}`; set a limit of \"group:{group}\"")]
    DomainOfGroup {
        /// The domain.
        domain: String,
        /// Its group.
        group: String,
    },
    /// The scope names a domain that is none.
    #[error("`{domain}` is not a domain name")]
    Domain {
        /// The text.
        domain: String,
    },
    /// The spec is not a limit.
    #[error("{spec:?} {reason}")]
    Spec {
        /// The text.
        spec: String,
        /// What is wrong.
        reason: LimitSpecError,
    },
    /// The key names one window and the spec another.
    #[error("the key {key:?} is {of_key}, the limit {spec:?} is {of_spec}")]
    WindowDiffers {
        /// The key.
        key: String,
        /// What it counts.
        of_key: String,
        /// The limit.
        spec: String,
        /// What that counts.
        of_spec: String,
    },
    /// Connections are had with ESPs only.
    #[error("{spec:?} limits connections, which only an ESP has, and not \"{scope}\"")]
    NoConnections {
        /// The scope.
        scope: String,
        /// The limit.
        spec: String,
    },
    /// A warm-up goes its own way.
    #[error("{key:?} is the cap of a warm-up, which the configuration alone sets")]
    WarmUp {
        /// The key.
        key: String,
    },
    /// There is nothing to go back from.
    #[error("{key:?} was not set at run time, so there is nothing to go back from")]
    NotSet {
        /// The key or the scope.
        key: String,
    },
    /// Several limits of the scope were set.
    #[error("several limits of {scope:?} were set at run time; say which: {}", .keys.join(", "))]
    Ambiguous {
        /// The scope.
        scope: String,
        /// The keys.
        keys: Vec<String>,
    },
    /// The tenant of a campaign is no name.
    #[error("the tenant {tenant:?} {reason}")]
    Tenant {
        /// The text.
        tenant: String,
        /// What is wrong.
        reason: NameError,
    },
    /// The campaign is no name.
    #[error("the campaign {campaign:?} {reason}")]
    Campaign {
        /// The text.
        campaign: String,
        /// What is wrong.
        reason: NameError,
    },
}

impl OverviewError {
    /// Whether the order itself is at fault; else the store could not be asked, and the call may be repeated.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        !matches!(self, Self::Fleet(_) | Self::Slots(_) | Self::Ledger(_))
    }
}

pub(super) fn unknown_esp(plan: &Plan, esp: &str) -> OverviewError {
    let known = plan.esps().map(|(id, _): (&EspId, _)| id.to_string()).collect();
    OverviewError::UnknownEsp { esp: esp.to_owned(), known }
}

pub(super) fn unknown_group(plan: &Plan, group: &GroupName) -> OverviewError {
    let known = plan.groups().into_iter().map(|(name, _)| name.to_string()).collect();
    OverviewError::UnknownGroup { group: group.to_string(), known }
}
