//! The bookkeeping behind [`super::Slots`]: pure, `now` is handed in.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use sluice_types::{Limit, LimitScope, Tick};
use tokio::sync::oneshot;

use super::run::LocalRun;
use super::{Estimate, Grant, LineKey};
use crate::ports::{Leased, Want};

/// Claims are made this long before the slot opens; leases reach about as far ahead.
pub(super) const LEAD: Duration = Duration::from_millis(300);
/// Tickets whose turn counts as near although no slot is there yet: their claim and the lease go side by side.
const NEAR_AHEAD: usize = 2;
/// How soon to look again whether a turn has come near.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// Slots of one limit asked for at most in one lease.
const WANT_MAX: u32 = 50_000;
/// Lines and limits that nobody has used for so long are forgotten.
const IDLE: Duration = Duration::from_secs(60);

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
    /// Jobs in any line that need a slot here.
    waiting: usize,
    /// Of these, jobs whose turn is near.
    near: usize,
    /// Slots used per second, smoothed.
    rate: f64,
    used_since_lease: u32,
    counts: Counts,
    last_use: Tick,
}

impl Key {
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

    /// Whether the store has said that nothing opens before `by`.
    fn is_shut_until_after(&self, by: Tick) -> bool {
        self.next_open.is_some_and(|at| at > by)
    }
}

#[derive(Debug)]
struct Line {
    limits: Vec<Limit>,
    /// Everybody in the line by number; the sender is taken when the turn is near.
    waiting: BTreeMap<u64, Option<oneshot::Sender<()>>>,
    /// Those who can send at once.
    ready: BTreeMap<u64, oneshot::Sender<Grant>>,
    near: usize,
    last_use: Tick,
}

/// A ticket just drawn.
pub(super) struct Drawn {
    pub(super) number: u64,
    /// Tells that the turn is near; none when it is already.
    pub(super) near: Option<oneshot::Receiver<()>>,
    pub(super) wants_slots: bool,
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
}

impl Book {
    pub(super) fn estimate(&mut self, _line: &LineKey, limits: &[Limit], now: Tick) -> Estimate {
        let mut longest = Estimate { wait: Duration::ZERO, limit: None };
        for limit in limits {
            let Some(key) = self.keys.get(limit) else { continue };
            let ahead =
                key.waiting.saturating_sub(usize::try_from(key.opening_by(now)).unwrap_or(usize::MAX));
            let rate = limit.spec.rate_per_second().unwrap_or(f64::INFINITY);
            let ahead = u32::try_from(ahead).map_or(f64::MAX, f64::from);
            let in_line = Duration::try_from_secs_f64(ahead / rate).unwrap_or(Duration::MAX);
            let shut = match key.next_open {
                Some(at) if key.left() == 0 => at.since(now),
                Some(_) | None => Duration::ZERO,
            };
            let wait = in_line.max(shut);
            if wait > longest.wait {
                longest = Estimate { wait, limit: Some(limit.clone()) };
            }
        }
        longest
    }

    pub(super) fn draw(&mut self, line_key: &LineKey, limits: &[Limit], now: Tick) -> Drawn {
        self.next_number += 1;
        let number = self.next_number;
        for limit in limits {
            let key = self.keys.entry(limit.clone()).or_default();
            key.waiting += 1;
            key.last_use = now;
        }
        let line = self.lines.entry(line_key.clone()).or_insert_with(|| Line {
            limits: limits.to_vec(),
            waiting: BTreeMap::new(),
            ready: BTreeMap::new(),
            near: 0,
            last_use: now,
        });
        line.last_use = now;
        let near = if line.near == line.waiting.len() && has_room_near(&self.keys, &line.limits, now) {
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
                    && !key.is_shut_until_after(now + LEAD)
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
            for limit in &line.limits {
                if let Some(key) = self.keys.get_mut(limit) {
                    key.waiting += 1;
                }
            }
        }
        let first = line.ready.keys().next().is_none_or(|other| *other > number);
        if first && let Some(granted) = take(&mut self.keys, &line.limits, now) {
            count_out(&mut self.keys, line, number);
            return Ready::Granted(granted);
        }
        line.ready.insert(number, tell);
        Ready::Wait(grant)
    }

    /// Gives every turn that is due, one per line in turns, transactional lines first, and tells those whose turn is
    /// near. Answers the next instant at which a turn may be due.
    pub(super) fn serve(&mut self, now: Tick) -> Option<Tick> {
        let Self { keys, lines, .. } = self;
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
                    match take(keys, &line.limits, now) {
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
        open.iter()
            .filter(|line| !line.ready.is_empty())
            .filter_map(|line| next_open(keys, &line.limits))
            .chain(untold)
            .min()
    }

    /// What to lease now: enough for those who wait and could go, and for those who will come before the next tick.
    pub(super) fn wants(&mut self, now: Tick) -> Vec<Want> {
        self.forget_idle(now);
        let mut demand: HashMap<&Limit, u64> = HashMap::new();
        for line in self.lines.values() {
            for limit in &line.limits {
                let others = line.limits.iter().filter(|other| *other != limit);
                let could_go =
                    others.filter_map(|other| self.keys.get(other)).fold(line.waiting.len(), |least, key| {
                        if key.is_shut_until_after(now + LEAD) || key.next_open.is_some() {
                            least.min(usize::try_from(key.left()).unwrap_or(usize::MAX).saturating_add(1))
                        } else {
                            least
                        }
                    });
                *demand.entry(limit).or_default() += u64::try_from(could_go).unwrap_or(u64::MAX);
            }
        }
        let mut wants = Vec::new();
        for (limit, waiting) in demand {
            let Some(key) = self.keys.get(limit) else { continue };
            if key.is_shut_until_after(now + LEAD.max(spacing(limit).min(Duration::from_secs(5)))) {
                continue;
            }
            let soon = Duration::from_millis(200).as_secs_f64() * key.rate;
            let wanted = waiting.saturating_add(whole(soon));
            let count = u32::try_from(wanted).unwrap_or(u32::MAX).saturating_sub(key.left()).min(WANT_MAX);
            if count > 0 {
                wants.push(Want { limit: limit.clone(), count });
            }
        }
        wants
    }

    /// Takes in a lease that was asked for and received at these instants.
    pub(super) fn stock(&mut self, limit: &Limit, leased: &Leased, asked_at: Tick, received_at: Tick) {
        let Some(key) = self.keys.get_mut(limit) else { return };
        for run in &leased.runs {
            key.runs.push_back(LocalRun::place(run, asked_at, received_at));
        }
        key.next_open = leased.next_in.map(|wait| received_at + wait);
    }

    /// Learns from what was used since the last tick, `elapsed` ago.
    pub(super) fn smooth(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(0.001);
        for key in self.keys.values_mut() {
            let seen = f64::from(std::mem::take(&mut key.used_since_lease)) / seconds;
            key.rate += (seen - key.rate) * 0.3;
        }
    }

    /// Slots used and lapsed since the last call, by scope.
    pub(super) fn take_counts(&mut self) -> Vec<(LimitScope, Counts)> {
        let mut counts = Vec::new();
        for (limit, key) in &mut self.keys {
            let it = std::mem::take(&mut key.counts);
            if it.used + it.lapsed > 0 {
                counts.push((limit.scope.clone(), it));
            }
        }
        counts
    }

    fn forget_idle(&mut self, now: Tick) {
        self.lines.retain(|_, line| !line.waiting.is_empty() || now.since(line.last_use) < IDLE);
        for key in self.keys.values_mut() {
            key.lapse(now);
        }
        self.keys.retain(|_, key| key.waiting > 0 || now.since(key.last_use) < IDLE);
    }
}

/// Whether one more turn may count as near: under each limit there may be as many, over all lines, as slots open within
/// [`LEAD`], and a few more unless it is shut.
fn has_room_near(keys: &HashMap<Limit, Key>, limits: &[Limit], now: Tick) -> bool {
    let by = now + LEAD;
    limits.iter().filter_map(|limit| keys.get(limit)).all(|key| {
        let opening = usize::try_from(key.opening_by(by)).unwrap_or(usize::MAX);
        let room = if key.is_shut_until_after(by) { opening } else { opening.saturating_add(NEAR_AHEAD) };
        key.near < room
    })
}

fn count_near(keys: &mut HashMap<Limit, Key>, line: &mut Line) {
    line.near += 1;
    for limit in &line.limits {
        if let Some(key) = keys.get_mut(limit) {
            key.near += 1;
        }
    }
}

/// Takes a number out of its line; false when it was not there (any more).
fn count_out(keys: &mut HashMap<Limit, Key>, line: &mut Line, number: u64) -> bool {
    let Some(sender) = line.waiting.remove(&number) else { return false };
    let was_near = usize::from(sender.is_none());
    line.near = line.near.saturating_sub(was_near);
    for limit in &line.limits {
        if let Some(key) = keys.get_mut(limit) {
            key.waiting = key.waiting.saturating_sub(1);
            key.near = key.near.saturating_sub(was_near);
        }
    }
    true
}

/// Tells those of a line whose turn has come near, first come first served.
fn tell_near(keys: &mut HashMap<Limit, Key>, line: &mut Line, now: Tick) {
    while line.near < line.waiting.len() && has_room_near(keys, &line.limits, now) {
        let Some(tell) = line.waiting.values_mut().find_map(Option::take) else { return };
        count_near(keys, line);
        // One who has given up leaves the line by itself.
        if tell.send(()).is_err() {
            tracing::trace!("a ticket was given up as its turn came near");
        }
    }
}

/// Takes one slot under every limit, or none at all.
fn take(keys: &mut HashMap<Limit, Key>, limits: &[Limit], now: Tick) -> Option<Grant> {
    let mut closes = Tick::from_nanos(u64::MAX);
    for limit in limits {
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
fn next_open(keys: &HashMap<Limit, Key>, limits: &[Limit]) -> Option<Tick> {
    let mut at = Tick::ZERO;
    for limit in limits {
        let (opens, _) = keys.get(limit)?.runs.iter().find_map(LocalRun::head)?;
        at = at.max(opens);
    }
    Some(at)
}

fn spacing(limit: &Limit) -> Duration {
    limit
        .spec
        .rate_per_second()
        .map_or(Duration::ZERO, |rate| Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float cast saturates, and rates are positive"
)]
fn whole(count: f64) -> u64 {
    count.floor() as u64
}
