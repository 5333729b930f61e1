//! The bookkeeping behind [`super::Slots`]: pure, `now` is handed in.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sluice_types::{Class, Limit, LimitKind, LimitScope, Tick};
use tokio::sync::oneshot;

use super::run::LocalRun;
use super::store_clock::StoreClock;
use super::{Estimate, Grant, LineKey};
use crate::plan::is_rate;

mod stock;

/// Claims are made this long before the slot opens; leases reach about as far ahead.
pub(super) const LEAD: Duration = Duration::from_millis(300);
/// Tickets whose turn counts as near although no slot is there yet: their claim and the lease go side by side.
const NEAR_AHEAD: usize = 2;
/// How soon to look again whether a turn has come near.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// A bucket's slots that close so soon are not counted on.
const STALE: Duration = Duration::from_millis(50);
/// A limit that was needed together with another is taken to be so for this long.
const JOINED_FOR: Duration = Duration::from_secs(10);

/// Slots used and lapsed since the last count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) used: u64,
    pub(super) lapsed: u64,
}

#[derive(Debug, Default)]
struct Key {
    runs: VecDeque<LocalRun>,
    /// When the store lets the next slot open, if it held some back.
    next_open: Option<Tick>,
    /// The same for transactional jobs, which may use the reserved share.
    next_urgent_open: Option<Tick>,
    /// Jobs in any line that need a slot here.
    waiting: usize,
    /// Of these, transactional ones.
    urgent: usize,
    /// Of these, jobs whose turn is near.
    near: usize,
    /// Of those, transactional ones.
    near_urgent: usize,
    /// Slots used per second, smoothed.
    rate: f64,
    used_since_lease: u32,
    counts: Counts,
    last_use: Tick,
    /// When a job last came that needs a slot here together with one under another rate.
    joined: Option<Tick>,
}

impl Key {
    /// Whether slots here must match those of another rate: they are leased in blocks then, since where each replica has
    /// a few far apart, those of both hardly ever are open at the same time.
    fn is_joined(&self, now: Tick) -> bool {
        self.joined.is_some_and(|at| now.since(at) < JOINED_FOR)
    }

    fn lapse(&mut self, now: Tick) {
        while let Some(run) = self.runs.front_mut() {
            self.counts.lapsed += u64::from(run.lapse(now));
            if run.left() > 0 {
                break;
            }
            self.runs.pop_front();
        }
    }

    fn opening_by(&self, until: Tick) -> u32 {
        self.runs.iter().map(|run| run.opening_by(until)).fold(0, u32::saturating_add)
    }

    fn left(&self) -> u32 {
        self.runs.iter().map(LocalRun::left).fold(0, u32::saturating_add)
    }

    /// Slots to count on from now on. Those of a bucket are open all at once and close all at once, so the next are leased
    /// before that; or whoever needs one together with another limit's finds none for the length of a round trip.
    fn stock(&self, limit: &Limit, now: Tick) -> u32 {
        if matches!(limit.spec.kind, LimitKind::Bucket { .. }) {
            let at = now + STALE;
            self.runs.iter().map(|run| run.closing_after(at)).fold(0, u32::saturating_add)
        } else {
            self.left()
        }
    }

    /// When the store lets the next slot open for a class, if it held some back.
    const fn next_open(&self, class: Class) -> Option<Tick> {
        match class {
            Class::Transactional => self.next_urgent_open,
            Class::Bulk => self.next_open,
        }
    }

    /// Whether the store has said that nothing opens for a class before `by`.
    fn is_shut_until_after(&self, by: Tick, class: Class) -> bool {
        self.next_open(class).is_some_and(|at| at > by)
    }
}

#[derive(Debug)]
struct Line {
    class: Class,
    limits: Arc<[Limit]>,
    /// Everybody in the line by number; the sender is taken when the turn is near.
    waiting: BTreeMap<u64, Option<oneshot::Sender<()>>>,
    /// Those who can send at once.
    ready: BTreeMap<u64, oneshot::Sender<Grant>>,
    near: usize,
    last_use: Tick,
}

/// Counts by limit key.
pub(crate) type Totals = Vec<(String, u64)>;

/// A ticket just drawn.
pub(super) struct Drawn {
    pub(super) number: u64,
    /// Tells that the turn is near; none when it is already.
    pub(super) near: Option<oneshot::Receiver<()>>,
    pub(super) wants_slots: bool,
}

/// What serving has come to.
pub(super) struct Served {
    /// The next instant at which a turn may be due.
    pub(super) next: Option<Tick>,
    /// Slots are needed before the next tick.
    pub(super) starves: bool,
}

/// Answer to somebody who could send at once.
pub(super) enum Ready {
    Granted(Grant),
    Wait(oneshot::Receiver<Grant>),
}

#[derive(Debug, Default)]
pub(super) struct Book {
    keys: HashMap<Limit, Key>,
    lines: BTreeMap<LineKey, Line>,
    next_number: u64,
    brakes: HashMap<LimitScope, Brake>,
    /// Replicas with jobs waiting, by limit key, where there is more than one.
    sharers: HashMap<String, u32>,
    reserved_permille: u32,
    store_clock: StoreClock,
    /// When slots of limits that are needed together were leased last.
    joined_leased: Tick,
}

/// What a brake does to the limits of its scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brake {
    /// The share of the rate that may be used, in permille.
    pub(super) rate_permille: u32,
    /// Nothing at all before this.
    pub(super) hold_until: Tick,
}

impl Book {
    fn held_until(&self, limit: &Limit) -> Tick {
        self.brakes.get(&limit.scope).map_or(Tick::ZERO, |brake| brake.hold_until)
    }

    fn rate_permille(&self, limit: &Limit) -> u32 {
        if is_rate(&limit.spec) {
            self.brakes.get(&limit.scope).map_or(1000, |brake| brake.rate_permille.clamp(1, 1000))
        } else {
            1000
        }
    }

    /// How long a further job of the class would wait under these limits.
    pub(super) fn estimate(&self, class: Class, limits: &[Limit], now: Tick) -> Estimate {
        let mut longest = Estimate { wait: Duration::ZERO, limit: None };
        for limit in limits {
            let mut wait = self.held_until(limit).since(now);
            if let Some(key) = self.keys.get(limit) {
                let before = match class {
                    Class::Transactional => key.urgent,
                    Class::Bulk => key.waiting,
                };
                let ahead = before.saturating_sub(usize::try_from(key.opening_by(now)).unwrap_or(usize::MAX));
                let rate = limit.spec.rate_per_second().unwrap_or(f64::INFINITY)
                    * f64::from(self.rate_permille(limit))
                    / 1000.0;
                let ahead = u32::try_from(ahead).map_or(f64::MAX, f64::from);
                // A count over hours opens all at once and not at its rate.
                let in_line = if is_rate(&limit.spec) {
                    Duration::try_from_secs_f64(ahead / rate).unwrap_or(Duration::MAX)
                } else {
                    Duration::ZERO
                };
                let shut = match key.next_open(class) {
                    Some(at) if key.left() == 0 => at.since(now),
                    Some(_) | None => Duration::ZERO,
                };
                wait = wait.max(in_line).max(shut);
            }
            if wait > longest.wait {
                longest = Estimate { wait, limit: Some(limit.clone()) };
            }
        }
        longest
    }

    /// The limit that lets nothing go for a class for the longest, and until when; `None` when none is shut.
    pub(super) fn shut(&self, class: Class, limits: &[Limit], now: Tick) -> Option<(Tick, Limit)> {
        let mut longest: Option<(Tick, &Limit)> = None;
        for limit in limits {
            let held = self.held_until(limit);
            let shut =
                self.keys.get(limit).filter(|key| key.left() == 0).and_then(|key| key.next_open(class));
            let until = shut.map_or(held, |at| at.max(held));
            if until > now && longest.is_none_or(|(known, _)| until > known) {
                longest = Some((until, limit));
            }
        }
        longest.map(|(until, limit)| (until, limit.clone()))
    }

    /// Puts every line under the limits that hold for it now; who waits keeps the place.
    pub(super) fn relimit(&mut self, limits_of: impl Fn(&LineKey) -> Arc<[Limit]>, now: Tick) {
        for (line_key, line) in &mut self.lines {
            let limits = limits_of(line_key);
            if limits == line.limits {
                continue;
            }
            let waiting = line.waiting.len();
            let urgent = if line.class == Class::Transactional { waiting } else { 0 };
            for limit in line.limits.iter() {
                if let Some(key) = self.keys.get_mut(limit) {
                    key.waiting = key.waiting.saturating_sub(waiting);
                    key.urgent = key.urgent.saturating_sub(urgent);
                    key.near = key.near.saturating_sub(line.near);
                    key.near_urgent = key.near_urgent.saturating_sub(if urgent > 0 { line.near } else { 0 });
                }
            }
            for limit in limits.iter() {
                let key = self.keys.entry(limit.clone()).or_default();
                key.waiting += waiting;
                key.urgent += urgent;
                key.near += line.near;
                key.near_urgent += if urgent > 0 { line.near } else { 0 };
                key.last_use = now;
            }
            line.limits = limits;
        }
    }

    /// How many wait in memory under a limit.
    pub(super) fn waiting(&self, limit: &Limit) -> usize {
        self.keys.get(limit).map_or(0, |key| key.waiting)
    }

    /// Jobs that wait and slots that are left, by key; the largest first, at most `max` of each.
    pub(super) fn totals(&self, max: usize) -> (Totals, Totals) {
        let top = |count: &dyn Fn(&Key) -> u64| {
            let mut all: Vec<(&Limit, u64)> =
                self.keys.iter().map(|(limit, key)| (limit, count(key))).filter(|(_, n)| *n > 0).collect();
            all.sort_unstable_by_key(|(_, n)| std::cmp::Reverse(*n));
            all.truncate(max);
            all.into_iter().map(|(limit, n)| (limit.key(), n)).collect()
        };
        (top(&|key| u64::try_from(key.waiting).unwrap_or(u64::MAX)), top(&|key| u64::from(key.left())))
    }

    pub(super) fn draw(&mut self, line_key: &LineKey, limits: &Arc<[Limit]>, now: Tick) -> Drawn {
        self.next_number += 1;
        let number = self.next_number;
        let class = line_key.class;
        let urgent = usize::from(class == Class::Transactional);
        let line = self.lines.entry(line_key.clone()).or_insert_with(|| Line {
            class,
            limits: Arc::clone(limits),
            waiting: BTreeMap::new(),
            ready: BTreeMap::new(),
            near: 0,
            last_use: now,
        });
        let joined = is_joint(&line.limits);
        for limit in line.limits.iter() {
            let key = match self.keys.get_mut(limit) {
                Some(key) => key,
                None => self.keys.entry(limit.clone()).or_default(),
            };
            key.waiting += 1;
            key.urgent += urgent;
            key.last_use = now;
            if joined {
                key.joined = Some(now);
            }
        }
        line.last_use = now;
        let near = if line.near == line.waiting.len() && has_room_near(&self.keys, &line.limits, class, now) {
            count_near(&mut self.keys, line);
            line.waiting.insert(number, None);
            None
        } else {
            let (tell, near) = oneshot::channel();
            line.waiting.insert(number, Some(tell));
            Some(near)
        };
        let wants_slots = line.limits.iter().any(|limit| {
            self.keys.get(limit).is_some_and(|key| {
                usize::try_from(key.left()).unwrap_or(usize::MAX) < key.waiting
                    && !key.is_shut_until_after(now + LEAD, class)
            })
        });
        Drawn { number, near, wants_slots }
    }

    /// Gives a place up; answers whether others of the line wait to be told something.
    pub(super) fn leave(&mut self, line_key: &LineKey, number: u64) -> bool {
        let Some(line) = self.lines.get_mut(line_key) else { return false };
        line.ready.remove(&number);
        count_out(&mut self.keys, line, number) && (line.near < line.waiting.len() || !line.ready.is_empty())
    }

    /// `number` could send at once: gives it its slots, or a place among the ready.
    pub(super) fn ready(&mut self, line_key: &LineKey, number: u64, now: Tick) -> Ready {
        let (tell, grant) = oneshot::channel();
        let Some(line) = self.lines.get_mut(line_key) else { return Ready::Wait(grant) };
        if let std::collections::btree_map::Entry::Vacant(place) = line.waiting.entry(number) {
            // It had a slot and was too slow for it: back to the head of the line.
            place.insert(None);
            count_near(&mut self.keys, line);
            let urgent = usize::from(line.class == Class::Transactional);
            for limit in line.limits.iter() {
                if let Some(key) = self.keys.get_mut(limit) {
                    key.waiting += 1;
                    key.urgent += urgent;
                }
            }
        }
        let first = line.ready.keys().next().is_none_or(|other| *other > number);
        if first && let Some(granted) = take(&mut self.keys, &self.brakes, &line.limits, now) {
            count_out(&mut self.keys, line, number);
            return Ready::Granted(granted);
        }
        line.ready.insert(number, tell);
        Ready::Wait(grant)
    }

    /// Gives every turn that is due, one per line in turns, transactional lines first, and tells those whose turn is
    /// near.
    pub(super) fn serve(&mut self, now: Tick) -> Served {
        let Self { keys, lines, brakes, .. } = self;
        let mut open: Vec<&mut Line> = lines.values_mut().filter(|line| !line.waiting.is_empty()).collect();
        for line in &mut open {
            tell_near(keys, line, now);
        }
        let untold = open.iter().any(|line| line.near < line.waiting.len()).then(|| now + LOOK_AGAIN);
        open.retain(|line| !line.ready.is_empty());
        let mut moved = true;
        while moved {
            moved = false;
            for line in &mut open {
                while let Some((number, tell)) = line.ready.pop_first() {
                    if tell.is_closed() {
                        continue;
                    }
                    match take(keys, brakes, &line.limits, now) {
                        Some(grant) => {
                            count_out(keys, line, number);
                            // The receiver may have given up this very moment: then the slot lapses, as it must.
                            moved |= tell.send(grant).is_ok();
                        }
                        None => {
                            line.ready.insert(number, tell);
                        }
                    }
                    break;
                }
            }
        }
        open.retain(|line| !line.ready.is_empty());
        let starves = open.iter().any(|line| starves(keys, line, now));
        let next = open.iter().filter_map(|line| next_open(keys, brakes, &line.limits)).chain(untold).min();
        Served { next, starves }
    }
}

/// Whether one more turn may count as near: under each limit there may be as many, over all lines, as slots open within
/// [`LEAD`], and a few more unless it is shut.
fn has_room_near(keys: &HashMap<Limit, Key>, limits: &[Limit], class: Class, now: Tick) -> bool {
    let by = now + LEAD;
    limits.iter().filter_map(|limit| keys.get(limit)).all(|key| {
        let opening = usize::try_from(key.opening_by(by)).unwrap_or(usize::MAX);
        let room =
            if key.is_shut_until_after(by, class) { opening } else { opening.saturating_add(NEAR_AHEAD) };
        // Bulk that is near already does not stand in the way of transactional jobs: these take the next slot.
        match class {
            Class::Transactional => key.near_urgent < room,
            Class::Bulk => key.near < room,
        }
    })
}

fn count_near(keys: &mut HashMap<Limit, Key>, line: &mut Line) {
    line.near += 1;
    let urgent = usize::from(line.class == Class::Transactional);
    for limit in line.limits.iter() {
        if let Some(key) = keys.get_mut(limit) {
            key.near += 1;
            key.near_urgent += urgent;
        }
    }
}

/// Takes a number out of its line; false when it was not there (any more).
fn count_out(keys: &mut HashMap<Limit, Key>, line: &mut Line, number: u64) -> bool {
    let Some(sender) = line.waiting.remove(&number) else { return false };
    let was_near = usize::from(sender.is_none());
    line.near = line.near.saturating_sub(was_near);
    let urgent = usize::from(line.class == Class::Transactional);
    for limit in line.limits.iter() {
        if let Some(key) = keys.get_mut(limit) {
            key.waiting = key.waiting.saturating_sub(1);
            key.urgent = key.urgent.saturating_sub(urgent);
            key.near = key.near.saturating_sub(was_near);
            key.near_urgent = key.near_urgent.saturating_sub(was_near * urgent);
        }
    }
    true
}

/// Tells those of a line whose turn has come near, first come first served.
fn tell_near(keys: &mut HashMap<Limit, Key>, line: &mut Line, now: Tick) {
    while line.near < line.waiting.len() && has_room_near(keys, &line.limits, line.class, now) {
        let Some(tell) = line.waiting.values_mut().find_map(Option::take) else { return };
        count_near(keys, line);
        // One who has given up leaves the line by itself.
        if tell.send(()).is_err() {
            tracing::trace!("a ticket was given up as its turn came near");
        }
    }
}

/// Whether these are several spaced limits at once, whose slots have to match. Those of a bucket open when they are asked
/// for.
fn is_joint(limits: &[Limit]) -> bool {
    limits.iter().filter(|limit| matches!(limit.spec.kind, LimitKind::Spaced { .. })).count() > 1
}

/// Whether somebody could send at once, and there is no slot in stock although the store may have one.
fn starves(keys: &HashMap<Limit, Key>, line: &Line, now: Tick) -> bool {
    line.limits.iter().any(|limit| {
        keys.get(limit).is_some_and(|key| {
            key.stock(limit, now) == 0
                && !key.is_joined(now)
                && !key.is_shut_until_after(now + LEAD, line.class)
        })
    })
}

/// Takes one slot under every limit, or none at all.
fn take(
    keys: &mut HashMap<Limit, Key>,
    brakes: &HashMap<LimitScope, Brake>,
    limits: &[Limit],
    now: Tick,
) -> Option<Grant> {
    let mut closes = Tick::from_nanos(u64::MAX);
    for limit in limits {
        if !brakes.is_empty() && brakes.get(&limit.scope).is_some_and(|brake| brake.hold_until > now) {
            return None;
        }
        let key = keys.get_mut(limit)?;
        key.lapse(now);
        let (opens, shuts) = key.runs.front().and_then(LocalRun::head)?;
        if opens > now {
            return None;
        }
        closes = closes.min(shuts);
    }
    for limit in limits {
        if let Some(key) = keys.get_mut(limit) {
            if let Some(run) = key.runs.front_mut() {
                run.take();
            }
            key.counts.used += 1;
            key.used_since_lease = key.used_since_lease.saturating_add(1);
            key.last_use = now;
        }
    }
    Some(Grant { closes })
}

/// When a slot under every limit may be open; none while a limit has no slots at all.
fn next_open(
    keys: &HashMap<Limit, Key>,
    brakes: &HashMap<LimitScope, Brake>,
    limits: &[Limit],
) -> Option<Tick> {
    let mut at = Tick::ZERO;
    for limit in limits {
        let (opens, _) = keys.get(limit)?.runs.iter().find_map(LocalRun::head)?;
        // Nothing is taken while a brake holds the scope, open or not.
        at = at.max(opens).max(brakes.get(&limit.scope).map_or(Tick::ZERO, |brake| brake.hold_until));
    }
    Some(at)
}
