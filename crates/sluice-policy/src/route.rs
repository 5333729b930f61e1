//! Which ESP of a pool takes the next attempt of a job.
//!
//! Not for asking limits, and not for handing out probes: it only sees whether an ESP is available, how much, and whether its line is
//! long.

use sluice_types::{EspId, Tick};

/// The ESPs of one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolMembers {
    /// The first tier: each ESP with its share of the traffic, relative to the sum. A member of weight 0 is a spare: it
    /// gets traffic only while every other member is down, avoided or long in line, and less and less while they recover.
    pub members: Vec<(EspId, u32)>,
    /// The second tier, in order of preference; for when no member is available, and less and less while they recover.
    pub failover: Vec<EspId>,
}

/// Whether an ESP can be used at this moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Availability {
    /// It can.
    Up {
        /// Part of its normal share it should get, 0.0 to 1.0; low while it recovers.
        weight: f64,
    },
    /// Its breaker refuses.
    Down {
        /// When to ask again.
        until: Tick,
    },
}

/// The answer of [`choose`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Use this ESP.
    Esp {
        /// Which.
        esp: EspId,
        /// Whether it is of the second tier.
        failover: bool,
    },
    /// No ESP of the pool is available.
    Wait {
        /// When the first of them may be asked again; `None` when the pool has none.
        until: Option<Tick>,
    },
}

/// What decides among members that are equally good.
#[derive(Debug)]
pub enum Luck<'a> {
    /// Chance, by weight.
    Random(&'a mut fastrand::Rng),
    /// The same for the same number, as long as the member is up: each member's chance is its weight, and one that goes
    /// away moves only those that had it.
    Sticky(u64),
}

impl Luck<'_> {
    /// A number within 0 and 1, without 1, that has nothing to do with what is drawn among the members.
    fn lot(&mut self) -> f64 {
        match self {
            Self::Random(rng) => rng.f64(),
            Self::Sticky(number) => lot(*number, ""),
        }
    }
}

/// Chooses an ESP of the pool.
///
/// In this order, each only when those before it have none: members by weight, failover ESPs by place, then the same
/// again with the ESPs in `avoid`, which have already faulted on this job. Availability is asked once for each place in
/// the pool, and for failover ESPs only when they are needed.
///
/// Members that all recover get no more than the largest of their availability weights; the rest goes to the spares, and what these
/// leave in the same way to the first failover ESP that is up, as this does to the next, so that traffic comes back from it by degrees as it does from another member.
///
/// One that `is_long`, where a further job would stand long in line, is passed over for another of its tier and no more: a
/// backlog alone takes no work to the failover ESPs, nor back to one that has faulted. Where several are up it is asked of whichever
/// is drawn, and of the others where that one is long.
pub fn choose(
    pool: &PoolMembers,
    mut availability: impl FnMut(&EspId) -> Availability,
    mut is_long: impl FnMut(&EspId) -> bool,
    avoid: &[EspId],
    mut luck: Luck<'_>,
) -> Choice {
    let mut earliest: Option<Tick> = None;
    let mut up = |esp: &EspId| match availability(esp) {
        Availability::Up { weight } => Some(weight),
        Availability::Down { until } => {
            earliest = Some(earliest.map_or(until, |first| first.min(until)));
            None
        }
    };

    let (avoided, mut fresh): (Vec<_>, Vec<_>) = pool
        .members
        .iter()
        .filter_map(|(esp, weight)| up(esp).map(|up| Candidate { esp, weight: *weight, up }))
        .partition(|candidate| avoid.contains(candidate.esp));
    let ready = |are_spares: bool| {
        let them = fresh.iter().filter(|it| (it.weight == 0) == are_spares);
        them.map(|it| part(it.up)).fold(0.0, f64::max)
    };
    let (members, spares) = (ready(false), ready(true));
    let lot = if members < 1.0 { luck.lot() } else { 0.0 };
    let members_first = lot < members;
    let spares_first = !members_first && lot < members + (1.0 - members) * spares;
    if spares_first {
        fresh.retain(|it| it.weight == 0);
    }
    // Whom they would draw anyway is asked first: nearly always its line is short, and the others need not be asked.
    if (members_first || spares_first)
        && fresh.len() > 1
        && are_alike(&fresh)
        && let Some(esp) = draw(&fresh, &mut luck)
        && !is_long(esp)
    {
        return Choice::Esp { esp: esp.clone(), failover: false };
    }
    let fresh = short_members(fresh, |it| is_long(it.esp), &mut luck);
    if (members_first || spares_first)
        && let Some(esp) = draw(&fresh, &mut luck)
    {
        return Choice::Esp { esp: esp.clone(), failover: false };
    }
    let (avoided_failover, fresh_failover): (Vec<_>, Vec<_>) = pool
        .failover
        .iter()
        .filter_map(|esp| up(esp).map(|up| (esp, up)))
        .partition(|(esp, _)| avoid.contains(esp));
    if let Some(esp) = first(&short_ones(fresh_failover, |(esp, _)| is_long(esp)), &mut luck) {
        return Choice::Esp { esp: esp.clone(), failover: true };
    }
    if let Some(esp) = draw(&fresh, &mut luck) {
        return Choice::Esp { esp: esp.clone(), failover: false };
    }
    if let Some(esp) = draw(&short_ones(avoided, |it| is_long(it.esp)), &mut luck) {
        return Choice::Esp { esp: esp.clone(), failover: false };
    }
    match first(&short_ones(avoided_failover, |(esp, _)| is_long(esp)), &mut luck) {
        Some(esp) => Choice::Esp { esp: esp.clone(), failover: true },
        None => Choice::Wait { until: earliest },
    }
}

/// Those of `all` that are not long; all where each is. One alone is not asked.
fn short_ones<T>(all: Vec<T>, mut is_long: impl FnMut(&T) -> bool) -> Vec<T> {
    if all.len() < 2 {
        return all;
    }
    let (long, short): (Vec<T>, Vec<T>) = all.into_iter().partition(|it| is_long(it));
    if short.is_empty() { long } else { short }
}

/// As [`short_ones`]; but members that recover take no more than their part, however long the others' lines are.
fn short_members<'a>(
    all: Vec<Candidate<'a>>,
    is_long: impl FnMut(&Candidate<'a>) -> bool,
    luck: &mut Luck<'_>,
) -> Vec<Candidate<'a>> {
    if are_alike(&all) {
        return short_ones(all, is_long);
    }
    let short = short_ones(all.clone(), is_long);
    let of_short = most(&short);
    if of_short < most(&all) && luck.lot() >= of_short { all } else { short }
}

/// The largest part of its share that any of them gets.
fn most(them: &[Candidate<'_>]) -> f64 {
    them.iter().map(|it| part(it.up)).fold(0.0, f64::max)
}

/// Whether each gets the same part of its share: none recovers, or all do alike.
fn are_alike(them: &[Candidate<'_>]) -> bool {
    let most = most(them);
    them.iter().all(|it| part(it.up) >= most)
}

/// The first in their order, of which those that recover leave a part to the next.
fn first<'a>(failover: &[(&'a EspId, f64)], luck: &mut Luck<'_>) -> Option<&'a EspId> {
    let (last, others) = failover.split_last()?;
    let takes = |up: f64, luck: &mut Luck<'_>| up >= 1.0 || luck.lot() < part(up);
    let chosen = others.iter().find(|(_, up)| takes(*up, luck)).unwrap_or(last);
    Some(chosen.0)
}

/// A member that is up.
#[derive(Clone)]
struct Candidate<'a> {
    esp: &'a EspId,
    weight: u32,
    up: f64,
}

/// Draws by weight times availability; among spares alone by availability, and evenly when that is 0 for all.
fn draw<'a>(candidates: &[Candidate<'a>], luck: &mut Luck<'_>) -> Option<&'a EspId> {
    let only_spares = candidates.iter().all(|candidate| candidate.weight == 0);
    let shares: Vec<(&EspId, f64)> = candidates
        .iter()
        .filter(|candidate| only_spares || candidate.weight > 0)
        .map(|candidate| (candidate.esp, f64::from(candidate.weight.max(1)) * part(candidate.up)))
        .collect();
    let rng = match luck {
        Luck::Random(rng) => rng,
        Luck::Sticky(number) => return stick(&shares, *number),
    };
    let total: f64 = shares.iter().map(|(_, share)| share).sum();
    let mut left = rng.f64() * total;
    for (esp, share) in &shares {
        if left < *share {
            return Some(esp);
        }
        left -= share;
    }
    // Rounding may leave a trace after the last one; a total of 0 ends here too.
    let last = shares.iter().rev().find(|(_, share)| *share > 0.0);
    last.or_else(|| rng.choice(&shares)).map(|(esp, _)| *esp)
}

/// Rendezvous: each member draws a lot from the number and its own name, and the best lot for its share wins.
fn stick<'a>(shares: &[(&'a EspId, f64)], number: u64) -> Option<&'a EspId> {
    let best = shares
        .iter()
        .map(|(esp, share)| (esp, -lot(number, esp.as_str()).max(f64::MIN_POSITIVE).ln() / share.max(1e-9)));
    best.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(esp, _)| *esp)
}

/// The lot that a name draws for a number.
fn lot(number: u64, name: &str) -> f64 {
    // FNV-1a, as its result must be the same in every process and version.
    let seed = name.bytes().fold(number ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    fastrand::Rng::with_seed(seed).f64()
}

/// An availability weight kept within 0 and 1; what is not a number counts as 0.
fn part(weight: f64) -> f64 {
    if weight > 0.0 { weight.min(1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests;
