//! Evenly spaced slots, leased for one limit or for several at once.
//!
//! The free slots of a limit are its *holes* (slots that an earlier lease left out or gave back) and its *tail*: from the
//! arrival time on, as many as one likes, `T` apart. A job under several spaced limits needs a slot of each at the same
//! moment, so these are leased together: the earliest instant at which every limit has a free slot that is open, and stays
//! open for long enough. Slots of the wider limits that lie between become holes, which others lease.
//!
//! ```text
//! a free slot of limit i for instant t:  the first at or after t - g_i + w that is no later than t + g_i - w,
//!                                        else t itself where the tail has begun, else the first after t
//! t := latest of these; repeat, until all are open from t on for w at least
//! ```
//!
//! From there on they go on in step as long as all their slots stay open for long enough: a run, one spacing of the narrowest
//! limit apart. Limits of many slots a second, or of the same rate, so cost a store no more than one alone.
//!
//! No two slots of one limit are ever closer than `T` and none is leased twice, so the promise of [`GcraTerms::spaced`]
//! holds whoever leases which.
//!
//! Slots for jobs that are yet to come, of a limit of many slots a second, do not follow at once: all would have closed again one
//! grace from now. They are spread: some of each of the next *frames* of the store's clock, somewhat less than a grace long, the
//! first free ones. All replicas have the same frames, so that what is left of one stays in one piece.
//!
//! Transactional jobs may have slots that open later than any that bulk may have yet. However much bulk waits, it has taken
//! no more than what opens within the horizon, so the next slot is never further away than that.

use crate::gcra::{GcraState, GcraTerms};
use crate::lease::duration;
use crate::slots::Leased;

/// Holes kept at most, as stretches.
const HOLES_MAX: usize = 64;
/// Instants tried for one slot at most.
const TRIES_MAX: u32 = 64;
/// Slots of a faster limit that go in step with a slower one are not the oldest, if so many may then: they would close
/// before the slower one's are far along. Fewer are not worth what is left out.
const RUN_LEAST: i64 = 8;
/// Frames over which slots for jobs that are yet to come are spread.
const FRAMES: i64 = 6;
/// A frame has so many slots at least: those of slower limits stay open for longer than it takes until the next one opens.
const FRAME_LEAST: i64 = 8;

/// Free slots before the arrival time: `count` of them, one spacing apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Opening of the first.
    pub first_ns: i64,
    /// How many.
    pub count: i64,
}

impl Hole {
    /// Its first slot at or after `from_ns`.
    pub(crate) fn next(&self, from_ns: i64, spacing_ns: i64) -> Option<i64> {
        let skipped = ceil_div((from_ns - self.first_ns).max(0), spacing_ns.max(1));
        (skipped < self.count).then(|| self.first_ns + skipped * spacing_ns)
    }
}

/// The free slots that are left once the spacing is another one, before the arrival time that holds then: with the new
/// spacing between any two, and to the slots beside them that are used. One after the other, since a stretch alone would lose a
/// slot at each end. Between two stretches less than a slot may be missing, where a tail began later than the last lease ended:
/// what is free there is free once.
pub(crate) fn regrid(holes: &[Hole], old_ns: i64, new_ns: i64, tat_ns: i64) -> Vec<Hole> {
    let mut whole: Vec<Hole> = Vec::with_capacity(holes.len());
    for hole in holes {
        match whole.last_mut() {
            Some(last) if last.first_ns + last.count * old_ns == hole.first_ns => last.count += hole.count,
            Some(_) | None => whole.push(*hole),
        }
    }
    let mut free_from_ns = i64::MIN;
    for hole in &mut whole {
        let end_ns = (hole.first_ns + hole.count * old_ns).min(tat_ns);
        hole.first_ns = (hole.first_ns + new_ns - old_ns).max(free_from_ns);
        hole.count = (end_ns - hole.first_ns).max(0) / new_ns;
        if hole.count > 0 {
            free_from_ns = hole.first_ns + hole.count * new_ns;
        }
    }
    whole.retain(|hole| hole.count > 0);
    whole
}

/// Forgets the shortest stretches of free slots until there are no more than are kept; of equal ones the first.
fn trim(holes: &mut Vec<Hole>) {
    while holes.len() > HOLES_MAX {
        let shortest = holes.iter().enumerate().min_by_key(|(_, hole)| hole.count).map_or(0, |(i, _)| i);
        holes.remove(shortest);
    }
}

/// A wish for slots under all of some spaced limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpacedWant {
    /// How many at most.
    pub(crate) count: u32,
    /// Of these, how many for transactional jobs: their slots may open later.
    pub(crate) urgent: u32,
    /// Of the others, how many for jobs that are yet to come.
    pub(crate) later: u32,
}

/// One of the limits of a lease.
#[derive(Debug)]
pub(crate) struct Spaced<'a> {
    /// Its numbers.
    pub(crate) terms: GcraTerms,
    /// Its state in the store.
    pub(crate) state: &'a mut GcraState,
}

impl Spaced<'_> {
    /// Brings the state to `now_ns`: a new spacing makes a new grid, and what has passed is gone.
    pub(crate) fn arrive(&mut self, now_ns: i64) {
        let spacing_ns = self.terms.spacing_ns;
        self.state.arrive(&self.terms, true, now_ns);
        for hole in &mut self.state.holes {
            let passed = ceil_div((now_ns - hole.first_ns).max(0), spacing_ns).min(hole.count);
            hole.first_ns += passed * spacing_ns;
            hole.count -= passed;
        }
        self.state.holes.retain(|hole| hole.count > 0);
    }

    /// The first free slots at or after `from_ns`, one spacing apart: opening and number.
    fn stretch(&self, from_ns: i64) -> (i64, i64) {
        let spacing_ns = self.terms.spacing_ns;
        for hole in &self.state.holes {
            if let Some(first_ns) = hole.next(from_ns, spacing_ns) {
                return (first_ns, hole.count - (first_ns - hole.first_ns) / spacing_ns);
            }
        }
        let tat_ns = self.state.tat_ns;
        (tat_ns + ceil_div((from_ns - tat_ns).max(0), spacing_ns) * spacing_ns, i64::MAX)
    }

    /// The free slot to use at `at_ns` with the width to spare: it may open somewhat later.
    fn candidate(&self, at_ns: i64, step: Step) -> i64 {
        let reach_ns = self.terms.grace_ns - step.width_ns;
        let behind_ns = step.pace_ns - self.terms.spacing_ns;
        let is_fast = behind_ns > 0 && step.width_ns / behind_ns >= RUN_LEAST;
        let back_ns = if is_fast { 0 } else { reach_ns.min(step.back_ns) };
        let (first_ns, _) = self.stretch(at_ns - back_ns);
        // The tail need not begin where the last lease ended: what is skipped of it is less than a slot.
        if first_ns > at_ns + reach_ns && at_ns >= self.state.tat_ns { at_ns } else { first_ns }
    }

    /// How many free slots from `slot_ns` on may be used one step apart from `opens_ns` on; at least one. Each is then
    /// open for twice as long as one that just meets: those of a limit that is faster than the pace close sooner each time.
    fn in_step(&self, slot_ns: i64, opens_ns: i64, step: Step) -> i64 {
        // What is skipped of the tail is no slot of a stretch.
        let (first_ns, free) = self.stretch(slot_ns);
        let free = if first_ns == slot_ns { free } else { i64::MAX };
        let spare_ns = (slot_ns + self.terms.grace_ns - opens_ns - 2 * step.width_ns).max(0);
        let open = spare_ns.checked_div(step.pace_ns - self.terms.spacing_ns).unwrap_or(i64::MAX - 1);
        free.min(open + 1)
    }

    /// Takes `count` free slots from `first_ns` on.
    pub(crate) fn take(&mut self, first_ns: i64, count: i64) {
        let spacing_ns = self.terms.spacing_ns;
        let state = &mut *self.state;
        if first_ns >= state.tat_ns {
            let skipped = (first_ns - state.tat_ns) / spacing_ns;
            if skipped > 0 {
                state.holes.push(Hole { first_ns: state.tat_ns, count: skipped });
            }
            state.tat_ns = first_ns + count * spacing_ns;
        } else if let Some(at) = state.holes.iter().rposition(|hole| hole.first_ns <= first_ns)
            && let Some(hole) = state.holes.get_mut(at)
        {
            let before = (first_ns - hole.first_ns) / spacing_ns;
            let behind = Hole { first_ns: first_ns + count * spacing_ns, count: hole.count - before - count };
            hole.count = before;
            if behind.count > 0 {
                state.holes.insert(at + 1, behind);
            }
            state.holes.retain(|hole| hole.count > 0);
        }
        trim(&mut state.holes);
    }

    /// How far ahead slots may open, for a class.
    const fn reach_ns(&self, is_urgent: bool) -> i64 {
        self.terms.horizon_ns + if is_urgent { self.terms.urgent_ns } else { 0 }
    }
}

/// Leases up to `want.count` slots at the instant `now_ns`, each of which is one of every limit.
///
/// The slots come as runs; [`Leased::parts`] holds, for each run, the opening of its first slot under each limit.
pub(crate) fn lease_spaced(limits: &mut [Spaced<'_>], now_ns: i64, want: SpacedWant) -> Leased {
    for limit in &mut *limits {
        limit.arrive(now_ns);
    }
    let mut leased = Leased::at(now_ns);
    let urgent = i64::from(want.urgent.min(want.count));
    let others = i64::from(want.count) - urgent;
    let frame_ns = frame_ns(limits.iter().map(|limit| limit.terms));
    let later = if frame_ns.is_some() { i64::from(want.later).min(others) } else { 0 };
    let at_once = Asked { now_ns, from_ns: now_ns, back_ns: i64::MAX, is_urgent: false };
    let for_urgent = take_up_to(urgent, limits, Asked { is_urgent: true, ..at_once }, &mut leased);
    let mut for_others = take_up_to(others - later, limits, at_once, &mut leased);
    if let Some(frame_ns) = frame_ns {
        for_others += spread(later, limits, at_once, frame_ns, &mut leased);
    }
    for limit in &mut *limits {
        limit.state.count(&limit.terms, now_ns, for_urgent + for_others);
        leased.marks.push(limit.state.grid);
    }
    if for_others < others || for_urgent < urgent {
        let opens = limits.iter().enumerate().map(|(i, limit)| (limit.stretch(now_ns).0, i));
        if let Some((opens_ns, held_by)) =
            opens.max_by_key(|(opens_ns, i)| (*opens_ns, std::cmp::Reverse(*i)))
        {
            leased.next_in = Some(duration(opens_ns - now_ns));
            leased.next_urgent_in = leased.next_in;
            leased.held_by = held_by;
        }
    }
    leased
}

/// How long a frame is: what opens at its beginning is open for some time after its end, as a replica does not know the store's
/// clock to the millisecond, and a lease reaches over all of them. None where slots are not spread.
pub(crate) fn frame_ns(limits: impl Iterator<Item = GcraTerms> + Clone) -> Option<i64> {
    let frame_ns =
        limits.clone().map(|terms| (terms.grace_ns / 3 * 2).min(terms.horizon_ns / (FRAMES + 1))).min()?;
    let pace_ns = limits.map(|terms| terms.spacing_ns).max()?;
    (frame_ns >= pace_ns.saturating_mul(FRAME_LEAST)).then_some(frame_ns)
}

/// Leases slots for jobs that are yet to come, an equal part of each of the next frames; answers how many it got.
fn spread(later: i64, limits: &mut [Spaced<'_>], at_once: Asked, frame_ns: i64, leased: &mut Leased) -> i64 {
    let pace_ns = limits.iter().map(|limit| limit.terms.spacing_ns).max().unwrap_or(0);
    let this_frame = at_once.now_ns / frame_ns;
    let mut left = later;
    for frame in 1..=FRAMES {
        let part = ceil_div(left, FRAMES - frame + 1);
        // Of limits with the same rate some two slots always meet within one spacing.
        let asked = Asked { from_ns: (this_frame + frame) * frame_ns, back_ns: 2 * pace_ns, ..at_once };
        left -= take_up_to(part, limits, asked, leased);
    }
    later - left
}

/// When, and for whom.
#[derive(Clone, Copy)]
struct Asked {
    now_ns: i64,
    /// The slots open no sooner.
    from_ns: i64,
    /// But for those that opened so shortly before and are open then.
    back_ns: i64,
    is_urgent: bool,
}

/// How several limits go together.
#[derive(Clone, Copy)]
struct Step {
    /// How long all of them have to be open.
    width_ns: i64,
    /// The spacing of the narrowest.
    pace_ns: i64,
    /// How long before an instant a slot may have opened that is used then.
    back_ns: i64,
}

impl Asked {
    /// The last opening that may be leased.
    fn end_ns(self, limits: &[Spaced<'_>]) -> i64 {
        self.now_ns + limits.iter().map(|limit| limit.reach_ns(self.is_urgent)).max().unwrap_or(0)
    }
}

/// Leases for one class; answers how many it got.
fn take_up_to(count: i64, limits: &mut [Spaced<'_>], asked: Asked, leased: &mut Leased) -> i64 {
    match limits {
        [] => 0,
        [limit] => take_alone(count, limit, asked, leased),
        _ => take_together(count, limits, asked, leased),
    }
}

/// One limit: whole stretches.
fn take_alone(count: i64, limit: &mut Spaced<'_>, asked: Asked, leased: &mut Leased) -> i64 {
    let GcraTerms { spacing_ns, grace_ns, .. } = limit.terms;
    let horizon_ns = limit.reach_ns(asked.is_urgent);
    let mut left = count;
    let mut from_ns = asked.from_ns;
    while left > 0 {
        let (first_ns, free) = limit.stretch(from_ns);
        if first_ns > asked.now_ns + horizon_ns {
            break;
        }
        let fit = (asked.now_ns + horizon_ns - first_ns) / spacing_ns + 1;
        let taken = left.min(free).min(fit);
        limit.take(first_ns, taken);
        leased.push(first_ns - asked.now_ns, spacing_ns, taken, grace_ns);
        leased.parts.push(first_ns);
        left -= taken;
        from_ns = first_ns + taken * spacing_ns;
    }
    count - left
}

/// Several limits: from one instant at which they meet, as far as they go in step; then the next.
fn take_together(count: i64, limits: &mut [Spaced<'_>], asked: Asked, leased: &mut Leased) -> i64 {
    // Wide enough to be hit, and narrow enough that slots of limits with the same grace mostly meet.
    let width_ns = limits.iter().map(|limit| limit.terms.grace_ns).min().unwrap_or(0) / 3;
    let pace_ns = limits.iter().map(|limit| limit.terms.spacing_ns).max().unwrap_or(1).max(1);
    let step = Step { width_ns, pace_ns, back_ns: asked.back_ns };
    let mut left = count;
    let mut at_ns = asked.from_ns;
    while left > 0 {
        let Some((opens_ns, slots)) = meet(limits, at_ns, step, asked) else { break };
        let mut taken = left.min((asked.end_ns(limits) - opens_ns) / pace_ns + 1);
        for (limit, slot_ns) in limits.iter().zip(&slots) {
            taken = taken.min(limit.in_step(*slot_ns, opens_ns, step));
        }
        // The last opening of the run, and how long all are open then: before that it is longer.
        let last_ns = opens_ns + (taken - 1) * pace_ns;
        let mut grace_ns = i64::MAX;
        for (limit, slot_ns) in limits.iter_mut().zip(slots) {
            let GcraTerms { spacing_ns, grace_ns: of_limit_ns, .. } = limit.terms;
            grace_ns = grace_ns.min(slot_ns + (taken - 1) * spacing_ns + of_limit_ns - last_ns);
            limit.take(slot_ns, taken);
            leased.parts.push(slot_ns);
        }
        leased.push(opens_ns - asked.now_ns, pace_ns, taken, grace_ns);
        left -= taken;
        at_ns = last_ns;
    }
    count - left
}

/// The first instant from `at_ns` on at which every limit has a free slot that is open, and these slots.
fn meet(limits: &[Spaced<'_>], mut at_ns: i64, step: Step, asked: Asked) -> Option<(i64, Vec<i64>)> {
    let end_ns = asked.end_ns(limits);
    for _ in 0..TRIES_MAX {
        let slots: Vec<i64> = limits.iter().map(|limit| limit.candidate(at_ns, step)).collect();
        let latest_ns = slots.iter().copied().fold(at_ns, i64::max);
        if latest_ns > end_ns {
            return None;
        }
        if latest_ns == at_ns {
            return Some((at_ns, slots));
        }
        at_ns = latest_ns;
    }
    None
}

/// Gives slots back that were leased while the limit's grid was `grid`, by their openings; those whose time has passed, or
/// whose grid is gone, lapse.
pub(crate) fn give_back_spaced(state: &mut GcraState, openings_ns: &[i64], grid: i64, now_ns: i64) {
    if state.grid != grid {
        return;
    }
    let mut returned = 0;
    for opens_ns in openings_ns.iter().copied().filter(|at| (now_ns..state.tat_ns).contains(at)) {
        let at = state.holes.partition_point(|hole| hole.first_ns < opens_ns);
        state.holes.insert(at, Hole { first_ns: opens_ns, count: 1 });
        returned += 1;
    }
    state.used = (state.used - returned).max(0);
    let excess = state.holes.len().saturating_sub(HOLES_MAX);
    state.holes.drain(..excess);
}

fn ceil_div(number: i64, by: i64) -> i64 {
    number / by + i64::from(number % by > 0)
}

#[cfg(test)]
mod tests;
