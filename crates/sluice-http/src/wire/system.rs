//! The fleet, its campaigns, and the counts of the store.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Mirror, mirror};

mirror! {
    /// Replicas and campaigns.
    struct FleetView {
        /// Every replica that was seen within the last minute, by name.
        replicas: Vec<Replica>,
        /// Whether those that work lanes agree on limits, pools and groups.
        configs_agree: bool,
        /// Campaigns that are paused or cancelled.
        campaigns: Vec<CampaignView>,
    }

    /// One process of the fleet.
    struct Replica {
        /// Its name.
        name: String,
        /// Version of the program.
        version: String,
        /// Tells one configuration of limits, pools and groups from another.
        config_digest: String,
        /// Since its first report.
        up_seconds: u64,
        /// Since its last report.
        seen_ago_ms: u64,
        /// Whether it works lanes.
        works: bool,
        /// Calls in flight, over all ESPs.
        in_flight: u64,
    }

    /// An order that stands.
    struct CampaignView {
        /// Whose campaign.
        tenant: String,
        /// Its name.
        campaign: String,
        /// What shall be of it.
        order: Order,
    }

    /// Counts over the whole store.
    struct StatusView {
        /// Jobs by state.
        #[schema(example = json!({"accepted": 120_000, "deferred": 12}))]
        jobs: BTreeMap<String, u64>,
        /// Parked jobs by reason.
        #[schema(example = json!({"group_limit": 42}))]
        pending: BTreeMap<String, u64>,
        /// Dead letters by reason.
        #[schema(example = json!({"not_json": 1}))]
        dead: BTreeMap<String, u64>,
        /// Suppressed recipients.
        suppressions: u64,
        /// A table is so long that counts were made up from a sample of it.
        estimated: bool,
    }
}

/// What shall be of a campaign: `paused` (nothing of it is sent until it runs again), `cancelled` (what is left of it is
/// closed unsent), `running` (as if nothing had been ordered).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    Paused,
    Cancelled,
    Running,
}

impl Mirror<Order> for sluice_engine::Order {
    fn mirror(self) -> Order {
        match self {
            Self::Paused => Order::Paused,
            Self::Cancelled => Order::Cancelled,
        }
    }
}

impl Order {
    /// As the engine takes it.
    pub(crate) const fn of_engine(self) -> Option<sluice_engine::Order> {
        match self {
            Self::Paused => Some(sluice_engine::Order::Paused),
            Self::Cancelled => Some(sluice_engine::Order::Cancelled),
            Self::Running => None,
        }
    }
}
