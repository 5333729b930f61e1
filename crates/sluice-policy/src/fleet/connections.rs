//! Limits on connections: each replica holds some of them on lease, and what a dead one held comes back when its lease
//! ends.
//!
//! A lease outlives every call that begins under it: replicas begin none that could end later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::SECOND_NS;

/// More limits on connections are not kept.
const KEYS_MAX: usize = 1_000;
/// How long a turn lasts where there are fewer connections than replicas.
const TURN_NS: i64 = 5 * SECOND_NS;

/// What a replica holds and wants under one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectionWish {
    /// The limit's key.
    pub key: String,
    /// How many the limit allows over the fleet.
    pub limit: u32,
    /// How many are in use here, or may be before the answer is in; these stay its own until they are done.
    pub in_use: u32,
    /// How many it could use now, those in use included.
    pub wanted: u32,
    /// How long the lease shall stand: longer than the longest call.
    pub ttl_ns: i64,
}

/// A replica's share as kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Hold {
    /// What nobody else may have: what it may use, and what it uses still.
    held: u32,
    /// What it may use.
    allowed: u32,
    wanted: u32,
    limit: u32,
    expires_ns: i64,
}

/// What one replica holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionsHeld {
    /// Connections that nobody else may have.
    pub count: u32,
    /// With so many in use no further call begins: fewer than `count` when some have to go, once they are done.
    pub allowed: u32,
    /// For how long from now.
    pub ttl_ns: i64,
}

/// Who holds how many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionsView {
    /// By replica.
    pub held: BTreeMap<String, ConnectionsHeld>,
}

type Holds = BTreeMap<String, BTreeMap<String, Hold>>;

pub(super) fn settle(all: &mut Holds, now_ns: i64, replica: &str, wishes: &[ConnectionWish]) {
    for wish in wishes {
        if !all.contains_key(&wish.key) && all.len() >= KEYS_MAX {
            continue;
        }
        let holds = all.entry(wish.key.clone()).or_default();
        let others: u32 = holds
            .iter()
            .filter(|(name, _)| *name != replica)
            .map(|(_, hold)| hold.held)
            .fold(0, u32::saturating_add);
        let free = wish.limit.saturating_sub(others);
        // Above the fair share only while nobody else wants it.
        let allowed = wish.wanted.min(fair_share(holds, now_ns, replica, wish)).min(free);
        // What is in use stays until it is done, even where the limit was lowered below it, but no other takes its place.
        // Where the lease has ended, others may have it already, and no call of before is under way.
        let leased = holds.get(replica).map_or(0, |hold| hold.held);
        let held = allowed.max(wish.in_use.min(leased.max(free)));
        if held == 0 && wish.wanted == 0 {
            holds.remove(replica);
        } else {
            let expires_ns = now_ns.saturating_add(wish.ttl_ns.max(0));
            let hold = Hold { held, allowed, wanted: wish.wanted, limit: wish.limit, expires_ns };
            holds.insert(replica.to_owned(), hold);
        }
    }
    all.retain(|_, holds| !holds.is_empty());
}

/// The most that this replica may hold when everybody gets the same, and what some do not want goes to the rest.
fn fair_share(holds: &BTreeMap<String, Hold>, now_ns: i64, replica: &str, wish: &ConnectionWish) -> u32 {
    let others = holds.iter().filter(|(name, _)| *name != replica);
    let mut wants: Vec<(u32, &str)> =
        others.map(|(name, hold)| (hold.wanted, name.as_str())).chain([(wish.wanted, replica)]).collect();
    wants.sort_unstable();
    let mut left = wish.limit;
    while let Some((want, _)) = wants.first() {
        let rest = u32::try_from(wants.len()).unwrap_or(u32::MAX);
        let even = left / rest;
        if *want > even {
            // All that are left want more than this: they share evenly, and what is over goes by turns.
            return even + u32::from(is_in_turn(&mut wants, now_ns, replica, even, left % rest));
        }
        left -= *want;
        wants.remove(0);
    }
    u32::MAX
}

/// Whether the replica is among the `over` of these that get one more. Where there are fewer connections than replicas,
/// each has its turn.
fn is_in_turn(wants: &mut [(u32, &str)], now_ns: i64, replica: &str, even: u32, over: u32) -> bool {
    wants.sort_unstable_by_key(|(_, name)| *name);
    let count = wants.len().max(1);
    let turn = if even == 0 { usize::try_from(now_ns / TURN_NS).unwrap_or(0) % count } else { 0 };
    let place = wants.iter().position(|(_, name)| *name == replica);
    place.is_some_and(|place| (place + count - turn) % count < usize::try_from(over).unwrap_or(usize::MAX))
}

pub(super) fn leave(all: &mut Holds, replica: &str) {
    for holds in all.values_mut() {
        holds.remove(replica);
    }
    all.retain(|_, holds| !holds.is_empty());
}

pub(super) fn forget(all: &mut Holds, now_ns: i64) {
    for holds in all.values_mut() {
        holds.retain(|_, hold| hold.expires_ns > now_ns);
    }
    all.retain(|_, holds| !holds.is_empty());
}

pub(super) fn set_back(all: &mut Holds, by_ns: i64) {
    let holds = all.values_mut().flat_map(BTreeMap::values_mut);
    holds.for_each(|hold| hold.expires_ns = hold.expires_ns.saturating_sub(by_ns));
}

pub(super) fn view(all: &Holds, now_ns: i64) -> BTreeMap<String, ConnectionsView> {
    let of_key = |(key, holds): (&String, &BTreeMap<String, Hold>)| {
        let of_replica = |(name, hold): (&String, &Hold)| {
            let ttl_ns = (hold.expires_ns - now_ns).max(0);
            (name.clone(), ConnectionsHeld { count: hold.held, allowed: hold.allowed, ttl_ns })
        };
        (key.clone(), ConnectionsView { held: holds.iter().map(of_replica).collect() })
    };
    all.iter().map(of_key).collect()
}
