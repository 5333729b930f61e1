//! What a replica asks of the store for its limits, what it gets, and the model of how the store answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_types::Limit;

use crate::bundle::{Bundle, Bundled, Fresh};
use crate::counted::{CountedState, CountedWant, give_back_counted, lease_counted, look_counted};
use crate::gcra::{GcraState, GcraTerms, give_back_gcra, lease_gcra, look_gcra};
use crate::lease::{SlotRun, Terms, duration, nanos};
use crate::spaced::{Spaced, SpacedWant, frame_ns, give_back_spaced, lease_spaced};

/// A wish for slots under a limit, or under several spaced ones at once.
#[derive(Clone, Debug)]
pub struct Want {
    /// One limit, or several spaced limits of which each slot is to be one at the same moment.
    pub limits: Arc<[Limit]>,
    /// The share of its rate that each spaced limit or bucket may use now, in permille, at least 1: 1000 but for a brake.
    pub rates_permille: Vec<u32>,
    /// How many slots at most.
    pub count: u32,
    /// Of these, how many for transactional jobs: they may use the share that is reserved for them.
    pub urgent: u32,
    /// Of the others, how many for jobs that are yet to come: slots of spaced limits that need not open at once, and better
    /// do not, as they would have closed by then.
    pub later: u32,
    /// The share of a counted limit that is reserved for transactional jobs, in permille.
    pub reserved_permille: u32,
}

impl Want {
    /// Slots of one limit for bulk jobs, with no share reserved and no brake.
    #[must_use]
    pub fn of(limit: Limit, count: u32) -> Self {
        Self {
            limits: Arc::from([limit]),
            rates_permille: vec![1000],
            count,
            urgent: 0,
            later: 0,
            reserved_permille: 0,
        }
    }
}

/// The slots leased under one want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leased {
    /// The slots. Several limits: each is usable while those of all limits are open.
    pub runs: Vec<SlotRun>,
    /// Spaced limits only: for each run, the opening of its first slot under each limit, in nanoseconds of the store's
    /// clock. The others follow one spacing of that limit apart.
    pub parts: Vec<i64>,
    /// When the next slot after these opens, if the limits hold more back.
    pub next_in: Option<Duration>,
    /// The same for transactional jobs.
    pub next_urgent_in: Option<Duration>,
    /// Which of the limits opens last, if they hold more back.
    pub held_by: usize,
    /// For each limit what [`Unused::mark`] wants to see again: the grid, the arrival time after this lease, or the start
    /// of the sub-bucket.
    pub marks: Vec<i64>,
    /// The store's instant of the lease, in nanoseconds of its clock.
    pub at_ns: i64,
    /// The store's clock as it had the question, and as it had the answer: what it worked on that is not time on the way.
    pub work_ns: (i64, i64),
}

impl Leased {
    /// None so far, at the instant `at_ns`.
    pub(crate) fn at(at_ns: i64) -> Self {
        Self { at_ns, work_ns: (at_ns, at_ns), ..Self::default() }
    }

    pub(crate) fn push(&mut self, opens_in_ns: i64, spacing_ns: i64, count: i64, grace_ns: i64) {
        self.runs.push(SlotRun {
            opens_in: duration(opens_in_ns),
            spacing: duration(spacing_ns),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            grace: duration(grace_ns),
        });
    }

    /// The openings of all slots under limit `i` of the want, in nanoseconds of the store's clock; none when it is not a
    /// spaced one.
    pub fn openings_ns(&self, want: &Want, i: usize) -> impl Iterator<Item = i64> {
        let rate_permille = want.rates_permille.get(i).copied().unwrap_or(1000);
        let spacing_ns = want.limits.get(i).and_then(|limit| spacing_ns(limit, rate_permille));
        let firsts = self.parts.iter().skip(i).step_by(want.limits.len().max(1)).zip(&self.runs);
        firsts.flat_map(move |(first_ns, run)| {
            (0..i64::from(run.count)).filter_map(move |slot| Some(first_ns + slot * spacing_ns?))
        })
    }
}

/// From one slot of a spaced limit to the next, in nanoseconds, while it may use this share of its rate.
#[must_use]
pub fn spacing_ns(limit: &Limit, rate_permille: u32) -> Option<i64> {
    match Terms::of(&limit.spec) {
        Some(Terms::Spaced(terms)) => Some(terms.at_rate(rate_permille).spacing_ns),
        Some(Terms::Gcra(_) | Terms::Counted(_)) | None => None,
    }
}

/// Whether slots under all of these limits are so many a second that those for later are spread ([`Want::later`]).
#[must_use]
pub fn are_spread(limits: &[Limit]) -> bool {
    let terms = limits.iter().map(|limit| match Terms::of(&limit.spec) {
        Some(Terms::Spaced(terms)) => Some(if limits.len() > 1 { terms.together() } else { terms }),
        Some(Terms::Gcra(_) | Terms::Counted(_)) | None => None,
    });
    let terms: Option<Vec<GcraTerms>> = terms.collect();
    terms.is_some_and(|terms| frame_ns(terms.into_iter()).is_some())
}

/// Slots to give back: of a spaced limit these, else the last ones of one lease.
#[derive(Clone, Debug)]
pub struct Unused {
    /// The limit.
    pub limit: Limit,
    /// How many.
    pub count: u32,
    /// Of a spaced limit: their openings, in nanoseconds of the store's clock.
    pub openings_ns: Vec<i64>,
    /// The share of its rate that the limit had when they were leased.
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

/// The states of some limits, by key: what a store keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitStates {
    /// Spaced limits and buckets.
    pub gcra: BTreeMap<String, GcraState>,
    /// Counted limits.
    pub counted: BTreeMap<String, CountedState>,
}

impl LimitStates {
    /// Leases for all wants of a call, what can be leased as one as one.
    pub fn lease_all(&mut self, wants: &[Want], now_ns: i64) -> Vec<Leased> {
        let Bundled { before, bundles, mut after } = Bundled::of(wants);
        let mut leased = vec![Leased::default(); wants.len()];
        let mut put = |place: usize, lease: Leased| {
            if let Some(leased) = leased.get_mut(place) {
                *leased = lease;
            }
        };
        for (place, want) in before.into_iter().filter_map(|place| Some((place, wants.get(place)?))) {
            put(place, self.lease(want, now_ns));
        }
        for bundle in &bundles {
            let mut places: Vec<usize> = bundle.members.iter().map(|member| member.place).collect();
            for (place, lease) in self.lease_bundle(bundle, now_ns) {
                places.retain(|it| *it != place);
                put(place, lease);
            }
            after.extend(places);
        }
        after.sort_unstable();
        for (place, want) in after.into_iter().filter_map(|place| Some((place, wants.get(place)?))) {
            put(place, self.lease(want, now_ns));
        }
        leased
    }

    /// Leases for those of a bundle whose own limit is fresh; by the places of the wants.
    fn lease_bundle(&mut self, bundle: &Bundle, now_ns: i64) -> Vec<(usize, Leased)> {
        let none = GcraState::default();
        let fresh = bundle.members.iter().enumerate().filter_map(|(i, member)| {
            let state = self.gcra.get(&member.key).unwrap_or(&none);
            state.is_fresh(&member.terms, now_ns).then_some(Fresh { member: i, grid: state.grid })
        });
        let fresh: Vec<Fresh> = fresh.collect();
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        let urgent = if bundle.is_urgent { count } else { 0 };
        let shared = bundle.shared.iter().map(|limit| (limit.key.clone(), limit.terms)).collect();
        let shared = self.lease_spaced(shared, now_ns, SpacedWant { count, urgent, later: 0 });
        let dealt = bundle.deal(&shared, &fresh);
        for (fresh, (_, leased)) in fresh.iter().zip(&dealt) {
            if let (Some(member), Some(run)) = (bundle.members.get(fresh.member), leased.runs.first()) {
                let state = self.gcra.entry(member.key.clone()).or_default();
                state.take_fresh(member.terms, now_ns, now_ns + nanos(run.opens_in));
            }
        }
        dealt
    }

    fn lease_spaced(&mut self, limits: Vec<(String, GcraTerms)>, now_ns: i64, want: SpacedWant) -> Leased {
        let states = limits.iter().map(|(key, _)| (key.clone(), self.gcra.remove(key).unwrap_or_default()));
        let mut states: Vec<(String, GcraState)> = states.collect();
        let spaced = limits.iter().zip(&mut states);
        let mut spaced: Vec<Spaced<'_>> =
            spaced.map(|((_, terms), (_, state))| Spaced { terms: *terms, state }).collect();
        let leased = lease_spaced(&mut spaced, now_ns, want);
        self.gcra.extend(states);
        leased
    }

    /// Leases up to the wanted number of slots at the instant `now_ns`.
    ///
    /// A limit on connections is not leased by time and gets nothing; nor does a set of limits that are not all spaced.
    pub fn lease(&mut self, want: &Want, now_ns: i64) -> Leased {
        let Want { count, urgent, later, reserved_permille, .. } = *want;
        let terms: Vec<Option<Terms>> = want.limits.iter().map(|limit| Terms::of(&limit.spec)).collect();
        let rate = |i: usize| want.rates_permille.get(i).copied().unwrap_or(1000);
        match (terms.as_slice(), want.limits.first()) {
            ([Some(Terms::Gcra(terms))], Some(limit)) => {
                let state = self.gcra.entry(limit.key()).or_default();
                lease_gcra(&terms.at_rate(rate(0)), state, now_ns, count)
            }
            ([Some(Terms::Counted(terms))], Some(limit)) => {
                let state = self.counted.entry(limit.key()).or_default();
                lease_counted(terms, state, now_ns, CountedWant { count, urgent, reserved_permille })
            }
            _ => {
                let spaced = terms.iter().enumerate().filter_map(|(i, terms)| match terms {
                    Some(Terms::Spaced(terms)) => Some(terms.at_rate(rate(i))),
                    Some(Terms::Gcra(_) | Terms::Counted(_)) | None => None,
                });
                let is_alone = want.limits.len() == 1;
                let spaced = spaced.map(|terms| if is_alone { terms } else { terms.together() });
                let spaced: Vec<_> = spaced.collect();
                if spaced.len() != want.limits.len() {
                    return Leased::at(now_ns);
                }
                let limits = want.limits.iter().map(Limit::key).zip(spaced).collect();
                self.lease_spaced(limits, now_ns, SpacedWant { count, urgent, later })
            }
        }
    }

    /// Gives slots back at the instant `now_ns`; those that can no longer be given back lapse.
    pub fn give_back(&mut self, unused: &Unused, now_ns: i64) {
        let key = unused.limit.key();
        match Terms::of(&unused.limit.spec) {
            Some(Terms::Spaced(_)) => {
                let state = self.gcra.entry(key).or_default();
                give_back_spaced(state, &unused.openings_ns, unused.mark, now_ns);
            }
            Some(Terms::Gcra(terms)) => {
                let state = self.gcra.entry(key).or_default();
                give_back_gcra(&terms.at_rate(unused.rate_permille), state, unused.count, unused.mark);
            }
            Some(Terms::Counted(_)) => {
                give_back_counted(self.counted.entry(key).or_default(), unused.count, unused.mark);
            }
            None => {}
        }
    }

    /// How a limit stands at the instant `now_ns`.
    #[must_use]
    pub fn look(&self, limit: &Limit, now_ns: i64) -> LimitLook {
        let key = limit.key();
        let look = match Terms::of(&limit.spec) {
            Some(Terms::Spaced(terms)) => {
                self.gcra.get(&key).map(|state| look_gcra(&terms, true, state, now_ns))
            }
            Some(Terms::Gcra(terms)) => {
                self.gcra.get(&key).map(|state| look_gcra(&terms, false, state, now_ns))
            }
            Some(Terms::Counted(terms)) => {
                self.counted.get(&key).map(|state| look_counted(&terms, state, now_ns))
            }
            None => return LimitLook::default(),
        };
        let look = look.unwrap_or_default();
        LimitLook { left: u64::from(limit.spec.count.get()).saturating_sub(look.used), ..look }
    }
}
