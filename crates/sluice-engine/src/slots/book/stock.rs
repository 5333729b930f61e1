//! Slots that are leased together: those of one bucket, of one counted limit, or of some spaced limits at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sluice_policy::{Terms, are_spread};
use sluice_types::{Class, Limit, LimitKind, Tick};

use super::{Counts, LEAD};
use crate::slots::run::{LocalRun, Marks};

/// Tickets whose turn counts as near although no slot is there yet: their claim and the lease go side by side.
const NEAR_AHEAD: usize = 2;
/// A bucket's slots that close so soon are not counted on.
const STALE: Duration = Duration::from_millis(50);
/// A transactional job asks for a slot of the reserved share when none of the stock opens so soon.
const SOON: Duration = Duration::from_millis(60);
/// Of slots that are spread the next are leased so long before the last ones open.
const LOW: Duration = Duration::from_millis(30);
/// About what a lease takes.
const SHORTLY: Duration = Duration::from_millis(5);
/// Slots of fewer a second are further apart than a lease of others reaches.
const SLOW: f64 = 3.0;
/// Who got nothing from the store asks no sooner than so long after it.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What is leased together, and who needs it.
#[derive(Debug)]
pub(super) struct Stock {
    /// Spaced ones in the order of their keys, or a single limit of another kind.
    pub(super) limits: Arc<[Limit]>,
    /// Slots for jobs that are yet to come are spread over the time ahead: those in stock may open too late for a job that is here.
    are_spread: bool,
    /// In the order in which their first slots open.
    runs: VecDeque<LocalRun>,
    /// When the store lets the next slot open, if it held some back.
    next_open: Option<Tick>,
    next_urgent_open: Option<Tick>,
    /// When the store last answered.
    answered: Option<Tick>,
    /// Jobs in any line that need a slot here; of these transactional ones; and those whose turn is near.
    waiting: usize,
    urgent: usize,
    near: usize,
    near_urgent: usize,
    /// Slots used per second, smoothed.
    pub(super) rate: f64,
    used_since_lease: u32,
    counts: Counts,
    /// Counted limits: slots that lapsed or were given up, by the mark of their lease.
    lapsed: Vec<(Marks, u32)>,
    pub(super) last_use: Tick,
}

impl Stock {
    pub(super) fn new(limits: Arc<[Limit]>, now: Tick) -> Self {
        Self {
            are_spread: are_spread(&limits),
            limits,
            runs: VecDeque::new(),
            next_open: None,
            next_urgent_open: None,
            answered: None,
            waiting: 0,
            urgent: 0,
            near: 0,
            near_urgent: 0,
            rate: 0.0,
            used_since_lease: 0,
            counts: Counts::default(),
            lapsed: Vec::new(),
            last_use: now,
        }
    }

    fn kind(&self) -> Option<LimitKind> {
        self.limits.first().map(|limit| limit.spec.kind)
    }

    /// Whether its slots are spaced.
    pub(super) fn is_spaced(&self) -> bool {
        self.limits.first().is_some_and(|limit| Terms::are_spaced(&limit.spec))
    }

    pub(super) fn is_counted(&self) -> bool {
        matches!(self.kind(), Some(LimitKind::Counted { .. } | LimitKind::Calendar { .. } | LimitKind::Ramp))
    }

    pub(super) fn join(&mut self, class: Class, count: usize, near: usize, now: Tick) {
        self.waiting += count;
        self.near += near;
        if class == Class::Transactional {
            self.urgent += count;
            self.near_urgent += near;
        }
        self.last_use = now;
    }

    pub(super) fn leave(&mut self, class: Class, count: usize, near: usize) {
        self.waiting = self.waiting.saturating_sub(count);
        self.near = self.near.saturating_sub(near);
        if class == Class::Transactional {
            self.urgent = self.urgent.saturating_sub(count);
            self.near_urgent = self.near_urgent.saturating_sub(near);
        }
    }

    pub(super) fn come_near(&mut self, class: Class) {
        self.near += 1;
        self.near_urgent += usize::from(class == Class::Transactional);
    }

    /// How many go before a new job of the class.
    pub(super) const fn ahead(&self, class: Class) -> usize {
        match class {
            Class::Transactional => self.urgent,
            Class::Bulk => self.waiting,
        }
    }

    pub(super) const fn is_wanted(&self) -> bool {
        self.waiting > 0
    }

    /// When the store lets the next slot open for a class, if it held some back.
    pub(super) const fn next_open(&self, class: Class) -> Option<Tick> {
        match class {
            Class::Transactional => self.next_urgent_open,
            Class::Bulk => self.next_open,
        }
    }

    /// Whether the store has said that nothing opens for a class before `by`.
    pub(super) fn is_shut_until_after(&self, by: Tick, class: Class) -> bool {
        self.next_open(class).is_some_and(|at| at > by)
    }

    pub(super) fn is_shut_beyond_lead(&self, class: Class, now: Tick) -> bool {
        self.is_shut_until_after(now + LEAD, class)
    }

    /// How many more turns of the class may count as near.
    pub(super) fn room_near(&self, class: Class, now: Tick) -> usize {
        let by = now + LEAD;
        let opening = usize::try_from(self.opening_by(by)).unwrap_or(usize::MAX);
        let room =
            if self.is_shut_until_after(by, class) { opening } else { opening.saturating_add(NEAR_AHEAD) };
        // Bulk that is near already does not stand in the way of transactional jobs: these take the next slot.
        room.saturating_sub(match class {
            Class::Transactional => self.near_urgent,
            Class::Bulk => self.near,
        })
    }

    /// Whether there are fewer slots than jobs of the class need.
    pub(super) fn lacks(&self, class: Class, now: Tick) -> bool {
        let left = if self.are_spread { self.opening_by(now + SHORTLY) } else { self.left() };
        usize::try_from(left).unwrap_or(usize::MAX) < self.waiting
            || self.ends_soon(now)
            || (class == Class::Transactional && self.urgent_lacking(now) > 0)
    }

    /// Transactional jobs for which no slot of the stock opens soon.
    pub(super) fn urgent_lacking(&self, now: Tick) -> u32 {
        if !self.is_spaced() {
            return 0;
        }
        // Slots that are far apart are leased far ahead: whoever goes first has the first of them, however late that opens.
        let is_slow =
            self.limits.iter().any(|limit| limit.spec.rate_per_second().is_some_and(|it| it < SLOW));
        let open = if is_slow { self.left() } else { self.opening_by(now + SOON) };
        u32::try_from(self.urgent).unwrap_or(u32::MAX).saturating_sub(open)
    }

    /// When somebody of the class who could send at once asks the store, since there is no slot in stock although it may
    /// have one; none when that need not be asked.
    pub(super) fn asks_at(&self, class: Class, now: Tick) -> Option<Tick> {
        (self.in_stock(now) == 0 && !self.is_shut_beyond_lead(class, now))
            .then(|| self.answered.map_or(now, |at| (at + ASK_AGAIN).max(now)))
    }

    /// Slots to count on from now on. Those of a bucket are open all at once and close all at once, so the next are leased
    /// before that; or whoever needs one together with another limit's finds none for the length of a round trip. Of those that
    /// are spread a whole lease is asked for when the last ones open soon, as a few more would open no later.
    pub(super) fn in_stock(&self, now: Tick) -> u32 {
        if self.ends_soon(now) {
            self.opening_by(now + SHORTLY)
        } else if matches!(self.kind(), Some(LimitKind::Bucket { .. })) && !self.is_spaced() {
            let at = now + STALE;
            self.runs.iter().map(|run| run.closing_after(at)).fold(0, u32::saturating_add)
        } else {
            self.left()
        }
    }

    /// Whether of slots that are spread the last ones open soon: the next job would find none.
    fn ends_soon(&self, now: Tick) -> bool {
        self.are_spread && self.runs.iter().all(|run| run.last().is_none_or(|opens| opens < now + LOW))
    }

    /// Of so many jobs that wait, how many find no slot in stock that opens before an answer of the store would be here. Where slots
    /// are not spread nobody makes a difference.
    pub(super) fn lacking_now(&self, waiting: u64, now: Tick) -> u32 {
        if !self.are_spread {
            return u32::MAX;
        }
        let open = u64::from(self.opening_by(now + SHORTLY));
        u32::try_from(waiting.saturating_sub(open)).unwrap_or(u32::MAX)
    }

    pub(super) fn opening_by(&self, until: Tick) -> u32 {
        self.runs.iter().map(|run| run.opening_by(until)).fold(0, u32::saturating_add)
    }

    pub(super) fn left(&self) -> u32 {
        self.runs.iter().map(LocalRun::left).fold(0, u32::saturating_add)
    }

    /// The next slot's opening and closing.
    pub(super) fn head(&self) -> Option<(Tick, Tick)> {
        self.runs.iter().find_map(LocalRun::head)
    }

    /// Drops the slots that closed before `now`.
    pub(super) fn lapse(&mut self, now: Tick) {
        let counted = self.is_counted();
        while let Some(run) = self.runs.front_mut() {
            let lapsed = run.lapse(now);
            self.counts.lapsed += u64::from(lapsed);
            if counted && lapsed > 0 {
                self.lapsed.push((Arc::clone(&run.marks), lapsed));
            }
            if run.left() > 0 {
                break;
            }
            self.runs.pop_front();
        }
    }

    /// Uses the next slot; answers what it is given back with if it can be, once taken.
    pub(super) fn take(&mut self, now: Tick) -> Option<Marks> {
        self.counts.used += 1;
        self.used_since_lease = self.used_since_lease.saturating_add(1);
        self.last_use = now;
        let counted = self.is_counted();
        let run = self.runs.iter_mut().find(|run| run.left() > 0)?;
        run.take();
        counted.then(|| Arc::clone(&run.marks))
    }

    /// A counted slot that was taken was not used. It is for whoever waits here, or else for the other replicas.
    pub(super) fn take_back(&mut self, marks: Marks) {
        self.counts.used = self.counts.used.saturating_sub(1);
        if self.is_wanted()
            && self.runs.iter_mut().any(|run| Arc::ptr_eq(&run.marks, &marks) && run.take_back())
        {
            return;
        }
        self.counts.lapsed += 1;
        self.lapsed.push((marks, 1));
    }

    /// Puts leased slots in, in the order of their openings.
    pub(super) fn put(&mut self, run: LocalRun) {
        let Some((opens, _)) = run.head() else { return };
        let at = self.runs.partition_point(|other| other.head().is_none_or(|(other, _)| other <= opens));
        self.runs.insert(at, run);
    }

    /// The store has answered at this instant, and lets the next slots open then.
    pub(super) fn answer(&mut self, now: Tick, next_open: Option<Tick>, next_urgent_open: Option<Tick>) {
        (self.answered, self.next_open, self.next_urgent_open) = (Some(now), next_open, next_urgent_open);
    }

    /// When the store last answered.
    pub(super) const fn answered(&self) -> Option<Tick> {
        self.answered
    }

    /// Learns from what was used since the last tick.
    pub(super) fn smooth(&mut self, seconds: f64) {
        let seen = f64::from(std::mem::take(&mut self.used_since_lease)) / seconds;
        self.rate += (seen - self.rate) * 0.3;
    }

    pub(super) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Counted slots that lapsed, or were given up, since the last call. They go back, so the store has some again, whatever it said last.
    pub(super) fn take_lapsed(&mut self) -> Vec<(Marks, u32)> {
        if !self.lapsed.is_empty() {
            self.reopen();
        }
        std::mem::take(&mut self.lapsed)
    }

    /// Gives up what is left under a counted limit, whose slots would stay charged to their sub-bucket: for a day's limit
    /// half an hour, or a whole day. Answers whether something is still to be given back.
    pub(super) fn give_up(&mut self) -> bool {
        if self.is_counted() {
            for run in std::mem::take(&mut self.runs).into_iter().filter(|run| run.left() > 0) {
                self.counts.lapsed += u64::from(run.left());
                self.lapsed.push((Arc::clone(&run.marks), run.left()));
            }
        }
        !self.lapsed.is_empty()
    }

    /// Nothing that was leased or told before counts any more; counted slots were surely not used.
    pub(super) fn discard(&mut self) {
        self.give_up();
        self.counts.lapsed += self.runs.iter().map(|run| u64::from(run.left())).sum::<u64>();
        self.runs.clear();
        self.reopen();
    }

    /// The store may let more slots open than it said last.
    pub(super) const fn reopen(&mut self) {
        (self.next_open, self.next_urgent_open) = (None, None);
    }

    /// All that is left.
    pub(super) fn take_runs(&mut self) -> impl Iterator<Item = LocalRun> {
        std::mem::take(&mut self.runs).into_iter().filter(|run| run.left() > 0)
    }
}
