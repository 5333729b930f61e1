//! Jobs in the line of one ESP that another of their pool would take now.
//!
//! A line is named for the limit that was to open first as the job was parked. Another ESP may open meanwhile, and routing would send
//! the job there, if only it came. So as many go as slots open there for nobody else: the jobs in lines of that ESP itself come
//! first, and lanes that it could not serve stay as they are. Nothing goes to where it would only be parked again.

use std::collections::{BTreeMap, HashMap, HashSet};

use sluice_config::Sticky;
use sluice_policy::{Opening, ReleaseWish, View};
use sluice_types::{EspId, GroupName, Lane, Limit, LimitScope};

use crate::plan::{Plan, PoolPlan};

/// Under this, after the key of a limit, what goes through its ESP from the lines of others is paced: no limit's key.
pub(super) const ELSEWHERE: &str = "#elsewhere";

/// Jobs in a line, as far as they were counted.
pub(super) struct Held {
    pub(super) key: String,
    pub(super) scope: LimitScope,
    pub(super) count: u32,
}

/// Lanes whose jobs one ESP takes from the lines of others.
#[derive(Debug, PartialEq)]
pub(super) struct Way {
    lanes: HashSet<Lane>,
    /// The lines, and how many jobs are in each.
    lines: Vec<(String, u32)>,
    /// What they are paced by: the narrowest limit of the ESP, and the narrowest of its group, where there are any.
    paces: Vec<(String, Opening)>,
}

/// The narrowest limits, of the ESP and of the group, and the lanes that these hold.
type Paced = ([Option<Limit>; 2], HashSet<Lane>);

/// Lanes of pools of which an ESP has jobs in line, if there is another to send them through.
pub(super) fn pools<'a>(plan: &'a Plan, held: &[Held]) -> Vec<(Lane, &'a PoolPlan)> {
    let lanes = plan.lanes().into_iter().filter(|lane| lane.side.is_none());
    let of_lane = |lane: Lane| {
        let pool = plan.pool(&lane.pool).filter(|pool| pool.esps().nth(1).is_some())?;
        let is_held = held.iter().any(|it| esp_of(it, &lane.group).is_some_and(|esp| is_in(pool, esp)));
        is_held.then_some((lane, pool))
    };
    lanes.filter_map(of_lane).collect()
}

fn is_in(pool: &PoolPlan, esp: &EspId) -> bool {
    pool.esps().any(|it| it == esp)
}

/// The ESP in whose line jobs of the group wait.
fn esp_of<'a>(held: &'a Held, group: &GroupName) -> Option<&'a EspId> {
    match &held.scope {
        LimitScope::Esp(esp) => Some(esp),
        LimitScope::EspGroup(esp, of) if of == group => Some(esp),
        LimitScope::EspGroup(..) | LimitScope::Group(_) | LimitScope::Domain(_) | LimitScope::Tenant(_) => {
            None
        }
    }
}

/// The limits that tell which ESPs have room for what is held, each once, without those under which it is.
pub(super) fn limits(plan: &Plan, pools: &[(Lane, &PoolPlan)], held: &[Held]) -> Vec<Limit> {
    let mut limits = BTreeMap::new();
    for (lane, pool) in pools {
        for esp in pool.esps() {
            limits.extend(plan.shared_limits(esp, &lane.group).iter().map(|it| (it.key(), it.clone())));
        }
    }
    held.iter().for_each(|it| drop(limits.remove(&it.key)));
    limits.into_values().collect()
}

/// What is known of the ESPs.
pub(super) struct Looks<'a> {
    pub(super) plan: &'a Plan,
    pub(super) pools: &'a [(Lane, &'a PoolPlan)],
    pub(super) view: &'a View,
    pub(super) held: &'a [Held],
    /// When slots for jobs of any class open, by the key of the limit.
    pub(super) openings: &'a HashMap<String, Opening>,
    pub(super) ahead_ns: i64,
    /// What lines are counted up to.
    pub(super) count_max: u32,
}

impl Looks<'_> {
    /// All that has room for jobs in the lines of others.
    pub(super) fn ways(&self) -> Vec<Way> {
        let mut ways: BTreeMap<(&EspId, Option<String>), Paced> = BTreeMap::new();
        for (lane, pool) in self.pools {
            for esp in pool.esps().filter(|esp| self.would_take(esp, pool, &lane.group)) {
                let of_esp = self.narrowest(esp, &lane.group, true);
                let of_group = self.narrowest(esp, &lane.group, false);
                let key = (esp, of_group.as_ref().map(Limit::key));
                ways.entry(key).or_insert(([of_esp, of_group], HashSet::new())).1.insert(lane.clone());
            }
        }
        ways.into_iter().filter_map(|((esp, _), (limits, lanes))| self.way(esp, lanes, limits)).collect()
    }

    fn way(&self, esp: &EspId, lanes: HashSet<Lane>, limits: [Option<Limit>; 2]) -> Option<Way> {
        let is_for = |held: &&Held| {
            lanes.iter().any(|lane| {
                let other = esp_of(held, &lane.group).filter(|other| *other != esp);
                other.is_some_and(|other| self.plan.pool(&lane.pool).is_some_and(|pool| is_in(pool, other)))
            })
        };
        let lines: Vec<_> = self.held.iter().filter(is_for).map(|it| (it.key.clone(), it.count)).collect();
        let pace = |limit: Limit| {
            // Who waits for this ESP itself comes first.
            let opening = after(*self.openings.get(&limit.key())?, self.waiting_beside(&limit));
            Some((format!("{}{ELSEWHERE}", limit.key()), opening))
        };
        let paces: Vec<_> = limits.into_iter().flatten().filter_map(pace).collect();
        let has_room = paces.iter().all(|(_, opening)| opening.within(self.ahead_ns) > 0);
        (has_room && !lines.is_empty()).then_some(Way { lanes, lines, paces })
    }

    /// The limit with the fewest slots ahead, of those of the ESP or of the others.
    fn narrowest(&self, esp: &EspId, group: &GroupName, of_esp: bool) -> Option<Limit> {
        let limits = self.plan.shared_limits(esp, group);
        let limits = limits.iter().filter(|limit| matches!(limit.scope, LimitScope::Esp(_)) == of_esp);
        let slots = |limit: &Limit| self.openings.get(&limit.key()).map_or(0, |it| it.within(self.ahead_ns));
        limits.min_by_key(|limit| slots(limit)).cloned()
    }

    /// Whether routing would send jobs of the pool and group through `esp` now: a member, else a spare, else the first failover ESP
    /// that has room.
    fn would_take(&self, esp: &EspId, pool: &PoolPlan, group: &GroupName) -> bool {
        let has_room = |it: &EspId| self.has_room(it, group);
        // A tenant goes back to its own ESP as soon as that has any slot, and waits there.
        let is_drawn_back = pool.sticky == Sticky::Tenant
            && pool.esps().any(|it| it != esp && has_room(it) && self.has_line(it, group));
        let members = pool.members.members.iter();
        let (spares, first): (Vec<_>, Vec<_>) = members.partition(|(_, weight)| *weight == 0);
        let is_in = |tier: &[&(EspId, u32)]| tier.iter().any(|(it, _)| it == esp);
        let all_full = |tier: &[&(EspId, u32)]| !tier.iter().any(|(it, _)| has_room(it));
        let is_next = is_in(&first)
            || (all_full(&first)
                && (is_in(&spares)
                    || (all_full(&spares)
                        && pool.members.failover.iter().find(|it| has_room(it)) == Some(esp))));
        is_next && has_room(esp) && !is_drawn_back
    }

    fn has_line(&self, esp: &EspId, group: &GroupName) -> bool {
        self.held.iter().any(|held| esp_of(held, group) == Some(esp))
    }

    /// Whether its breaker is closed, and a slot opens under each of its limits while a job is held.
    fn has_room(&self, esp: &EspId, group: &GroupName) -> bool {
        let breaker = self.view.breakers.get(esp.as_str());
        let is_closed = breaker.is_none_or(|it| it.order != Some(true) && it.open_for_ns.is_none());
        let opens = |limit: &Limit| {
            self.openings.get(&limit.key()).is_some_and(|opening| opening.within(self.ahead_ns) > 0)
        };
        is_closed && self.plan.shared_limits(esp, group).iter().all(opens)
    }

    /// Jobs in other lines of the scope of a limit, and of an ESP's groups; more than there can be slots where they were not counted
    /// to the end. Those in its own line are granted first, from the same slots.
    fn waiting_beside(&self, limit: &Limit) -> u32 {
        let key = limit.key();
        let is_own = |it: &&Held| match (&it.scope, &limit.scope) {
            (LimitScope::EspGroup(esp, _), LimitScope::Esp(of)) => esp == of,
            (own, scope) => own == scope,
        };
        let count = |it: &Held| match it.count {
            count if count >= self.count_max => u32::MAX,
            _ if it.key == key => 0,
            count => count,
        };
        self.held.iter().filter(is_own).map(count).fold(0, u32::saturating_add)
    }
}

/// What is left when so many have used theirs.
fn after(opening: Opening, others: u32) -> Opening {
    match opening {
        Opening::Counted { left } => Opening::Counted { left: left.saturating_sub(others) },
        Opening::Spaced { next_in_ns, spacing_ns } => {
            let later = spacing_ns.max(1).saturating_mul(i64::from(others));
            Opening::Spaced { next_in_ns: next_in_ns.saturating_add(later), spacing_ns }
        }
    }
}

/// What to ask the fleet for: each pace once.
pub(super) fn wishes(ways: &[Way], count_max: u32, ahead_ns: i64) -> Vec<ReleaseWish> {
    let mut wishes: BTreeMap<&str, (u32, Opening)> = BTreeMap::new();
    for way in ways {
        let jobs = way.lines.iter().map(|(_, count)| *count).fold(0, u32::saturating_add).min(count_max);
        for (key, opening) in &way.paces {
            let (count, _) = wishes.entry(key).or_insert((0, *opening));
            *count = (*count).max(jobs);
        }
    }
    let wish = |(key, (count, opening)): (&str, _)| {
        let beside = key.strip_suffix(ELSEWHERE).map(str::to_owned);
        ReleaseWish { key: key.to_owned(), count, ahead_ns, opening, beside }
    };
    wishes.into_iter().map(wish).collect()
}

/// Of what the fleet has granted: how many jobs of which lines go each way. Ways that share a pace share what it grants.
pub(super) fn counts(
    ways: &[Way],
    granted: &BTreeMap<String, u32>,
    count_max: u32,
) -> Vec<Vec<(String, u32)>> {
    let mut sharers: HashMap<&str, u32> = HashMap::new();
    for (key, _) in ways.iter().flat_map(|way| &way.paces) {
        *sharers.entry(key).or_default() += 1;
    }
    // What does not divide goes to another each time.
    let first = fastrand::u32(..);
    let mut places: HashMap<&str, u32> =
        sharers.iter().map(|(key, count)| (*key, first % (*count).max(1))).collect();
    let mut counts = Vec::with_capacity(ways.len());
    for way in ways {
        let mut most = count_max;
        for (key, _) in &way.paces {
            let (granted, count) =
                (granted.get(key).copied().unwrap_or(0), sharers.get(key.as_str()).copied().unwrap_or(1));
            let place = places.entry(key).or_default();
            most = most.min(granted / count + u32::from(*place % count < granted % count));
            *place += 1;
        }
        counts.push(way.share(most));
    }
    counts
}

impl Way {
    /// So many jobs, of its lines evenly.
    fn share(&self, mut left: u32) -> Vec<(String, u32)> {
        // The short ones first, so that what they leave goes to the others.
        let mut lines: Vec<&(String, u32)> = self.lines.iter().collect();
        lines.sort_unstable_by_key(|(_, count)| *count);
        let mut counts = Vec::with_capacity(lines.len());
        for (place, (key, count)) in lines.iter().enumerate() {
            let lines_left = u32::try_from(lines.len() - place).unwrap_or(u32::MAX);
            let share = (*count).min(left.div_ceil(lines_left));
            left -= share;
            if share > 0 {
                counts.push((key.clone(), share));
            }
        }
        counts
    }

    /// The lanes whose jobs stay where they are.
    pub(super) fn others(&self, plan: &Plan) -> Vec<Lane> {
        plan.lanes().into_iter().filter(|lane| !self.lanes.contains(lane)).collect()
    }
}

#[cfg(test)]
mod tests;
