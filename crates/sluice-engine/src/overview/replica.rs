//! The replicas of the fleet, and what operators have ordered for campaigns.

use std::collections::BTreeSet;

use serde::Serialize;
use sluice_policy::{CampaignOrder, Order, ReplicaView, View};

/// Replicas and campaigns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetView {
    /// Every replica that was seen within the last minute, by name.
    pub replicas: Vec<Replica>,
    /// Whether those that work lanes agree on limits, pools and groups.
    pub configs_agree: bool,
    /// Campaigns that are paused or cancelled.
    pub campaigns: Vec<CampaignView>,
}

/// One process of the fleet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replica {
    /// Its name.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Tells one configuration of limits, pools and groups from another.
    pub config_digest: String,
    /// Since its first report.
    pub up_seconds: u64,
    /// Since its last report.
    pub seen_ago_ms: u64,
    /// Whether it works lanes.
    pub works: bool,
    /// Calls in flight, over all ESPs.
    pub in_flight: u64,
}

/// An order that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CampaignView {
    /// Whose campaign.
    pub tenant: String,
    /// Its name.
    pub campaign: String,
    /// `paused` or `cancelled`.
    pub order: Order,
}

impl FleetView {
    pub(super) fn of(view: &View) -> Self {
        let digests: BTreeSet<&str> = view.workers().map(|it| it.presence.config_digest.as_str()).collect();
        Self {
            replicas: view.replicas.iter().map(Replica::of).collect(),
            configs_agree: digests.len() <= 1,
            campaigns: view.campaigns.iter().map(CampaignView::of).collect(),
        }
    }
}

impl Replica {
    fn of(view: &ReplicaView) -> Self {
        let presence = &view.presence;
        Self {
            name: view.name.clone(),
            version: presence.version.clone(),
            config_digest: presence.config_digest.clone(),
            up_seconds: super::limits::millis(view.up_ns) / 1000,
            seen_ago_ms: super::limits::millis(view.seen_ago_ns),
            works: presence.works,
            in_flight: presence.in_flight.values().fold(0, |sum, count| sum.saturating_add(*count)),
        }
    }
}

impl CampaignView {
    fn of(it: &CampaignOrder) -> Self {
        Self { tenant: it.tenant.clone(), campaign: it.campaign.clone(), order: it.order }
    }
}
