//! Who is here, with which configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SECOND_NS;

/// A replica that was not seen for so long is forgotten.
const FORGOTTEN_AFTER_NS: i64 = 60 * SECOND_NS;
/// One that has not reported for so long has most likely ended: it reports twice a second.
const HERE_NS: i64 = 3 * SECOND_NS;
/// More replicas are not kept; the rest work all the same.
const REPLICAS_MAX: usize = 1_000;

/// What a replica says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Presence {
    /// Version of the program.
    pub version: String,
    /// Tells one configuration of limits, pools and groups from another.
    pub config_digest: String,
    /// Whether it works lanes (a relay or an HTTP process does not).
    pub works: bool,
    /// Calls in flight, by ESP.
    pub in_flight: BTreeMap<String, u64>,
    /// Jobs that wait in memory, by limit key; at most 200 keys, the longest lines first.
    pub waiting: BTreeMap<String, u64>,
    /// Leased slots that are not used yet, by limit key; at most 200 keys.
    pub slots: BTreeMap<String, u64>,
}

/// A replica as kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Replica {
    since_ns: i64,
    seen_ns: i64,
    presence: Presence,
}

/// A replica, for its peers and for people.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaView {
    /// Its name.
    pub name: String,
    /// How long it has been here.
    pub up_ns: i64,
    /// When it was last seen.
    pub seen_ago_ns: i64,
    /// What it says of itself.
    pub presence: Presence,
}

impl ReplicaView {
    /// Whether it counts still: one that was killed is told of for a while, but has no part in anything.
    #[must_use]
    pub const fn is_here(&self) -> bool {
        self.seen_ago_ns < HERE_NS
    }
}

pub(super) fn seen(replicas: &mut BTreeMap<String, Replica>, now_ns: i64, name: &str, presence: &Presence) {
    if !replicas.contains_key(name) && replicas.len() >= REPLICAS_MAX {
        return;
    }
    let replica =
        replicas.entry(name.to_owned()).or_insert_with(|| Replica { since_ns: now_ns, ..Replica::default() });
    replica.seen_ns = now_ns;
    replica.presence.clone_from(presence);
}

pub(super) fn forget(replicas: &mut BTreeMap<String, Replica>, now_ns: i64) {
    replicas.retain(|_, replica| now_ns - replica.seen_ns < FORGOTTEN_AFTER_NS);
}

pub(super) fn seen_last(replicas: &BTreeMap<String, Replica>) -> i64 {
    replicas.values().map(|replica| replica.seen_ns).max().unwrap_or(i64::MIN)
}

pub(super) fn set_back(replicas: &mut BTreeMap<String, Replica>, by_ns: i64) {
    for replica in replicas.values_mut() {
        replica.since_ns = replica.since_ns.saturating_sub(by_ns);
        replica.seen_ns = replica.seen_ns.saturating_sub(by_ns);
    }
}

pub(super) fn view(replicas: &BTreeMap<String, Replica>, now_ns: i64) -> Vec<ReplicaView> {
    let view = |(name, replica): (&String, &Replica)| ReplicaView {
        name: name.clone(),
        up_ns: (now_ns - replica.since_ns).max(0),
        seen_ago_ns: (now_ns - replica.seen_ns).max(0),
        presence: replica.presence.clone(),
    };
    replicas.iter().map(view).collect()
}
