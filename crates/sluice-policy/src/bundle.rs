//! Wants of one slot each that have all their limits in common but one: leased as one.
//!
//! With a limit for each domain nearly every job needs a lease of its own, and each of these goes over the limits of the ESP as
//! well. So where many want one slot, the limits that they share are leased once, for all of them together, and each takes
//! one of these instants; its own limit, if it is *fresh*, has a free slot at any of them. Whoever's is not is leased for by
//! itself.
//!
//! ```text
//! fresh:  tat <= now, nothing owed, and the terms are those of the last lease
//! then:   slot of the k-th fresh want := k-th instant of the shared lease, tat := instant + T
//! ```

use std::collections::HashMap;

use sluice_types::Limit;

use crate::gcra::{GcraState, GcraTerms};
use crate::lease::{SlotRun, Terms, duration, nanos};
use crate::slots::{Leased, Want};
use crate::spaced::Spaced;

/// Fewer wants are not worth a statement of their own.
const BUNDLE_LEAST: usize = 4;

/// One want of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where it stands among all wants.
    pub place: usize,
    /// Which of its limits nobody else needs.
    pub own: usize,
    /// The key of that limit.
    pub key: String,
    /// Its numbers.
    pub terms: GcraTerms,
}

/// One limit that all wants of a bundle need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Its key.
    pub key: String,
    /// Its numbers, as for a lease of several limits at once.
    pub terms: GcraTerms,
}

/// Some wants of one slot each, with the same limits but for one of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Whether their jobs are transactional.
    pub is_urgent: bool,
    /// What they have in common, in the order in which each of them has it; nothing where each has one limit alone.
    pub shared: Vec<Shared>,
    /// The wants, in their order.
    pub members: Vec<Member>,
}

/// A want whose own limit has a free slot at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Which member of the bundle.
    pub member: usize,
    /// The grid of its own limit.
    pub grid: i64,
}

/// All wants of a call, in the order in which they are leased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundled {
    /// First these, by their places: transactional ones that are in no bundle.
    pub before: Vec<usize>,
    /// Then these; transactional ones first.
    pub bundles: Vec<Bundle>,
    /// Then these, with those of the bundles that were not fresh.
    pub after: Vec<usize>,
}

/// The limits of a want, when it may be one of a bundle.
fn spaced_limits(want: &Want) -> Option<Vec<Shared>> {
    let limits = want.limits.iter().enumerate().map(|(i, limit)| match Terms::of(&limit.spec) {
        Some(Terms::Spaced(terms)) => {
            let rate_permille = want.rates_permille.get(i).copied().unwrap_or(1000);
            Some(Shared { key: limit.key(), terms: terms.at_rate(rate_permille).together() })
        }
        Some(Terms::Gcra(_) | Terms::Counted(_)) | None => None,
    });
    if want.count == 1 { limits.collect() } else { None }
}

impl Bundled {
    /// Finds what can be leased as one.
    #[must_use]
    pub fn of(wants: &[Want]) -> Self {
        let spaced: Vec<Option<Vec<Shared>>> = wants.iter().map(spaced_limits).collect();
        let bundles =
            if spaced.iter().flatten().count() < BUNDLE_LEAST { Vec::new() } else { find(wants, spaced) };
        let mut is_bundled = vec![false; wants.len()];
        for member in bundles.iter().flat_map(|bundle| &bundle.members) {
            if let Some(is_bundled) = is_bundled.get_mut(member.place) {
                *is_bundled = true;
            }
        }
        let others = wants.iter().enumerate().zip(&is_bundled).filter(|(_, is_bundled)| !**is_bundled);
        // Without a bundle all go in their order.
        let goes_before = |want: &Want| want.urgent > 0 && !bundles.is_empty();
        let (before, after): (Vec<_>, Vec<_>) =
            others.map(|(want, _)| want).partition(|(_, want)| goes_before(want));
        let place = |(place, _): (usize, &Want)| place;
        Self {
            before: before.into_iter().map(place).collect(),
            bundles,
            after: after.into_iter().map(place).collect(),
        }
    }
}

fn find(wants: &[Want], spaced: Vec<Option<Vec<Shared>>>) -> Vec<Bundle> {
    // By key, which limits of another count have too.
    let mut needed_by: HashMap<String, usize> = HashMap::new();
    for (want, spaced) in wants.iter().zip(&spaced) {
        let mut count = |key: String| *needed_by.entry(key).or_default() += 1;
        match spaced {
            Some(limits) => limits.iter().for_each(|limit| count(limit.key.clone())),
            None => want.limits.iter().map(Limit::key).for_each(count),
        }
    }
    let mut bundles: Vec<Bundle> = Vec::new();
    for (place, (want, limits)) in wants.iter().zip(spaced).enumerate() {
        let Some(mut limits) = limits else { continue };
        let is_own = |limit: &Shared| needed_by.get(&limit.key) == Some(&1);
        let Some(own) = limits.iter().position(is_own) else { continue };
        let Shared { key, terms } = limits.remove(own);
        if limits.iter().any(is_own) {
            continue;
        }
        let member = Member { place, own, key, terms };
        let is_urgent = want.urgent > 0;
        match bundles.iter_mut().find(|it| it.is_urgent == is_urgent && it.shared == limits) {
            Some(bundle) => bundle.members.push(member),
            None => bundles.push(Bundle { is_urgent, shared: limits, members: vec![member] }),
        }
    }
    bundles.retain(|bundle| bundle.members.len() >= BUNDLE_LEAST);
    bundles.sort_by_key(|bundle| !bundle.is_urgent);
    bundles
}

impl GcraState {
    /// Whether a slot of this spaced limit is free at any time from now on.
    pub(crate) fn is_fresh(&self, terms: &GcraTerms, now_ns: i64) -> bool {
        let is_unused = self.spacing_ns == 0;
        let is_same = self.spacing_ns == terms.spacing_ns && self.burst <= 1;
        self.tat_ns <= now_ns && self.owed_ns == 0 && (is_unused || is_same)
    }

    /// Takes the slot of a fresh limit that opens at this instant.
    pub(crate) fn take_fresh(&mut self, terms: GcraTerms, now_ns: i64, opens_ns: i64) {
        let mut limit = Spaced { terms, state: self };
        limit.arrive(now_ns);
        limit.take(opens_ns, 1);
        self.count(&terms, now_ns, 1);
    }
}

impl Bundle {
    /// What the wants with a fresh limit get of the lease of what is shared; by the places of the wants.
    #[must_use]
    pub fn deal(&self, shared: &Leased, fresh: &[Fresh]) -> Vec<(usize, Leased)> {
        let mut slots = self.slots(shared);
        let of = |fresh: &Fresh| {
            let member = self.members.get(fresh.member)?;
            let (opens_in_ns, grace_ns, mut parts) = match slots.next() {
                Some(slot) => slot,
                None if self.shared.is_empty() => (0, i64::MAX, Vec::new()),
                None => return Some((member.place, shut(shared, member, fresh))),
            };
            let mut leased = Leased { work_ns: shared.work_ns, ..Leased::at(shared.at_ns) };
            let grace_ns = grace_ns.min(member.terms.grace_ns);
            leased.runs.push(SlotRun {
                opens_in: duration(opens_in_ns),
                spacing: duration(member.terms.spacing_ns),
                count: 1,
                grace: duration(grace_ns),
            });
            parts.insert(member.own.min(parts.len()), shared.at_ns + opens_in_ns);
            leased.parts = parts;
            leased.marks = marks(shared, member, fresh);
            Some((member.place, leased))
        };
        fresh.iter().filter_map(of).collect()
    }

    /// The slots of a lease of what is shared one by one: when each opens after the lease, how long it is open, and its
    /// opening under each limit.
    fn slots<'a>(&'a self, shared: &'a Leased) -> impl Iterator<Item = (i64, i64, Vec<i64>)> {
        let firsts = shared.parts.chunks(self.shared.len().max(1));
        shared.runs.iter().zip(firsts).flat_map(move |(run, firsts)| {
            (0..i64::from(run.count)).map(move |slot| {
                let parts = firsts.iter().zip(&self.shared);
                let parts = parts.map(|(first_ns, limit)| first_ns + slot * limit.terms.spacing_ns);
                (nanos(run.opens_in) + slot * nanos(run.spacing), nanos(run.grace), parts.collect())
            })
        })
    }
}

fn marks(shared: &Leased, member: &Member, fresh: &Fresh) -> Vec<i64> {
    let mut marks = shared.marks.clone();
    marks.insert(member.own.min(marks.len()), fresh.grid);
    marks
}

/// Nothing: the shared limits hold more back.
fn shut(shared: &Leased, member: &Member, fresh: &Fresh) -> Leased {
    Leased {
        marks: marks(shared, member, fresh),
        next_in: shared.next_in,
        next_urgent_in: shared.next_urgent_in,
        held_by: shared.held_by + usize::from(shared.held_by >= member.own),
        work_ns: shared.work_ns,
        ..Leased::at(shared.at_ns)
    }
}

#[cfg(test)]
mod tests;
