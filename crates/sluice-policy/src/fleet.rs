//! What the replicas of a fleet tell each other: one small document in the store, on the store's clock.
//!
//! Each replica hands in a [`Report`] every tick (and at once when it has news) and gets a [`View`] back. The store
//! keeps the [`FleetState`], locks it, reads its clock, and calls [`FleetState::exchange`]; so every rule that holds for
//! the fleet is here, pure, and the same over every store. Operators' orders come in as [`Edit`]s.
//!
//! All times are nanoseconds on the store's clock; what goes out is relative ("in so many nanoseconds"), so that no
//! replica's own clock matters. Everything that a report can add is bounded.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_types::Side;

pub use brakes::{BrakeView, Throttle};
pub use breakers::{BreakerTurn, FleetBreaker, ProbeWish, Turn};
pub use campaigns::{CampaignOrder, Order};
pub use connections::{ConnectionWish, ConnectionsHeld, ConnectionsView};
pub use limit_edits::LimitEdit;
pub use pace::{Opening, ReleaseWish};
pub use ramps::{RampTerms, RampView};
pub use replicas::{Presence, ReplicaView};
pub use tally::{Sends, TallyView, Verdict};

mod brakes;
mod breakers;
mod campaigns;
mod connections;
mod limit_edits;
mod pace;
mod ramps;
mod replicas;
mod sides;
mod tally;

/// Nanoseconds of a second.
const SECOND_NS: i64 = 1_000_000_000;

/// The document that the fleet shares. The default is that of a fresh store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetState {
    replicas: BTreeMap<String, replicas::Replica>,
    breakers: BTreeMap<String, breakers::Row>,
    brakes: BTreeMap<String, brakes::Brake>,
    ramps: BTreeMap<String, ramps::Ramp>,
    connections: BTreeMap<String, BTreeMap<String, connections::Hold>>,
    pace: BTreeMap<String, pace::Pace>,
    tally: BTreeMap<String, tally::Tally>,
    limit_edits: BTreeMap<String, LimitEdit>,
    sides: BTreeMap<String, u8>,
    campaigns: Vec<CampaignOrder>,
    /// What another version keeps here; handed on untouched.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// What one replica has seen since its last report, and what it asks for.
///
/// A report whose exchange failed may have been taken or not; its news are handed in again, so each kind says what a
/// repeat does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The replica's name, unique among all processes that ever report.
    pub replica: String,
    /// That it is here, its version and its configuration; `None` in a report that says nothing of that: a relay's wish for
    /// releases, and the last one.
    pub presence: Option<Presence>,
    /// The replica ends: what it holds is free at once.
    pub leaves: bool,
    /// Breakers that turned here, in order. Repeating one changes nothing more.
    pub turns: Vec<BreakerTurn>,
    /// Leave to make probes, by ESP.
    pub probes: Vec<ProbeWish>,
    /// Replies that ask us to slow down. A repeat within the brake's pause counts once.
    pub throttles: Vec<Throttle>,
    /// Calls that came to an outcome. A repeat counts twice; they steer nothing but the ramps.
    pub sends: Vec<Sends>,
    /// Every ramp of this replica's configuration.
    pub ramps: Vec<RampTerms>,
    /// Every limit on connections that this replica uses or wants to use.
    pub connections: Vec<ConnectionWish>,
    /// Limits under which jobs are parked: how many may be released now.
    pub releases: Vec<ReleaseWish>,
}

/// What holds for the fleet at the instant of the exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// The store's clock at that instant, in nanoseconds since the Unix epoch.
    pub now_ns: i64,
    /// The replicas that reported lately, by name.
    pub replicas: Vec<ReplicaView>,
    /// The breakers that are not simply closed, by ESP, and what the asker was granted.
    pub breakers: BTreeMap<String, FleetBreaker>,
    /// The brakes that are on, by scope (`esp:NAME`, `esp:NAME/group:NAME`, `domain:NAME`).
    pub brakes: BTreeMap<String, BrakeView>,
    /// Today's caps, by the key of the ramp.
    pub ramps: BTreeMap<String, RampView>,
    /// Connections, by the key of the limit.
    pub connections: BTreeMap<String, ConnectionsView>,
    /// The limit keys under which jobs wait in line.
    pub lines: BTreeSet<String>,
    /// How many parked jobs the asker may release now, by limit key.
    pub releases: BTreeMap<String, u32>,
    /// What calls came to lately, by ESP.
    pub tally: BTreeMap<String, TallyView>,
    /// Limits that were edited at run time, by key.
    pub limit_edits: BTreeMap<String, LimitEdit>,
    /// Domains of the group `other` that have a side lane, and which.
    pub sides: BTreeMap<String, Side>,
    /// Campaigns that are paused or cancelled.
    pub campaigns: Vec<CampaignOrder>,
}

impl View {
    /// The replicas that are here.
    pub fn here(&self) -> impl Iterator<Item = &ReplicaView> {
        self.replicas.iter().filter(|it| it.is_here())
    }

    /// Those of them that work lanes.
    pub fn workers(&self) -> impl Iterator<Item = &ReplicaView> {
        self.here().filter(|it| it.presence.works)
    }
}

/// An operator's order. Repeating one changes nothing more.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Holds a breaker open or closed, or lets it decide itself again.
    Breaker {
        /// The ESP.
        esp: String,
        /// `Some(true)`: open; `Some(false)`: closed; `None`: auto.
        open: Option<bool>,
    },
    /// Sets a limit in place of the configured one, or goes back to that (`None`).
    Limit {
        /// The key, as `sluice limits list` shows it.
        key: String,
        /// The sentence.
        edit: Option<LimitEdit>,
    },
    /// Pauses, cancels or resumes (`None`) a campaign.
    Campaign {
        /// Whose.
        tenant: String,
        /// Its name.
        campaign: String,
        /// What shall be.
        order: Option<Order>,
    },
}

impl FleetState {
    /// Takes a report in at `now_ns` and answers what holds now.
    pub fn exchange(&mut self, now_ns: i64, report: &Report) -> View {
        self.heed_clock(now_ns);
        self.forget(now_ns);
        if let Some(presence) = &report.presence {
            replicas::seen(&mut self.replicas, now_ns, &report.replica, presence);
        }
        breakers::turned(&mut self.breakers, now_ns, &report.replica, &report.turns);
        let probes = breakers::grant(&mut self.breakers, now_ns, &report.replica, &report.probes);
        brakes::throttled(&mut self.brakes, now_ns, &report.throttles);
        tally::count(&mut self.tally, now_ns, &report.sends);
        ramps::step(&mut self.ramps, now_ns, &report.ramps, &report.sends);
        connections::settle(&mut self.connections, now_ns, &report.replica, &report.connections);
        let releases = pace::grant(&mut self.pace, now_ns, &report.releases);
        // One of before has no side lanes, and may have taken the order.
        sides::assign(&mut self.sides, &self.limit_edits, false);
        if report.leaves {
            self.replicas.remove(&report.replica);
            connections::leave(&mut self.connections, &report.replica);
            breakers::leave(&mut self.breakers, &report.replica);
        }
        View { releases, breakers: breakers::view(&self.breakers, now_ns, &probes), ..self.look(now_ns) }
    }

    /// What holds at `now_ns`, for people: changes nothing and grants nothing.
    #[must_use]
    pub fn look(&self, now_ns: i64) -> View {
        View {
            now_ns,
            replicas: replicas::view(&self.replicas, now_ns),
            breakers: breakers::view(&self.breakers, now_ns, &BTreeMap::new()),
            brakes: brakes::view(&self.brakes, now_ns),
            ramps: ramps::view(&self.ramps),
            connections: connections::view(&self.connections, now_ns),
            lines: pace::waiting(&self.pace, now_ns),
            releases: BTreeMap::new(),
            tally: tally::view(&self.tally, now_ns),
            limit_edits: self.limit_edits.clone(),
            sides: sides::view(&self.sides),
            campaigns: self.campaigns.clone(),
        }
    }

    /// Carries out an order.
    pub fn edit(&mut self, now_ns: i64, edit: Edit) {
        match edit {
            Edit::Breaker { esp, open } => breakers::order(&mut self.breakers, now_ns, esp, open),
            Edit::Limit { key, edit: Some(edit) } => {
                self.limit_edits.insert(key, edit);
                sides::assign(&mut self.sides, &self.limit_edits, true);
            }
            Edit::Limit { key, edit: None } => drop(self.limit_edits.remove(&key)),
            Edit::Campaign { tenant, campaign, order } => {
                campaigns::order(&mut self.campaigns, tenant, campaign, order);
            }
        }
    }

    /// Nobody was seen after now: the store's clock was set back then, by so much at least, and what stands until an instant
    /// is to stand no longer for that. Breakers and paces see to it by themselves.
    fn heed_clock(&mut self, now_ns: i64) {
        let back_ns = replicas::seen_last(&self.replicas).saturating_sub(now_ns);
        if back_ns > 0 {
            replicas::set_back(&mut self.replicas, back_ns);
            brakes::set_back(&mut self.brakes, back_ns);
            connections::set_back(&mut self.connections, back_ns);
        }
    }

    /// Drops what no longer matters.
    fn forget(&mut self, now_ns: i64) {
        replicas::forget(&mut self.replicas, now_ns);
        brakes::forget(&mut self.brakes, now_ns);
        connections::forget(&mut self.connections, now_ns);
        pace::forget(&mut self.pace, now_ns);
    }
}

#[cfg(test)]
mod tests;
