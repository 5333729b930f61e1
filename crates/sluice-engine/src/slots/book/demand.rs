//! What to lease: enough for those who wait and could go, as much as is this replica's to take, and not too early.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use sluice_policy::{Terms, spacing_ns};
use sluice_types::{Class, Limit, LimitScope, Tick};

use super::stock::Stock;
use super::{Book, Brake, ById, ByName, Counts, LEAD, StockId, held_until};
use crate::plan::is_rate;
use crate::ports::{Leased, LimitLook, Unused, Want};
use crate::slots::run::{LocalRun, Marks};

/// Slots asked for at most in one want.
const WANT_MAX: u32 = 50_000;
/// Slots in stock at least, so that one that lapses does not cost a tick.
const STOCK_LEAST: u32 = 2;
/// Lines and limits that nobody has used for so long are forgotten.
const IDLE: Duration = Duration::from_secs(60);
/// How often idle lines and stocks are looked for.
const TIDY_EVERY: Duration = Duration::from_millis(250);
/// Wants of one lease at most, by [`weight`]; the others are in the next. A statement for more would keep rows that all replicas
/// need, and take longer than a slot stays open.
pub(in crate::slots) const WANTS_MAX: usize = 256;
/// What a want weighs that the store leases for by itself.
pub(in crate::slots) const WEIGHT_ALONE: usize = 4;
/// Where so many stocks are in demand nobody counts for each limit how many share it: they are too many to share fairly.
const CROWD_MAX: usize = 256;
/// Slots of several limits at once are leased so far ahead at most; the store says the same.
const TOGETHER: Duration = Duration::from_secs(1);
/// Lapsed slots are given back for so many leases or sub-buckets at once at most; the rest follows.
const RETURNED_MAX: usize = 1000;

/// Who needs slots of a stock.
#[derive(Debug, Default)]
struct Demand {
    /// Jobs that wait and could go.
    all: u64,
    /// Of these transactional ones.
    urgent: u64,
    /// Some could send at once.
    is_ready: bool,
}

/// Who needs slots of a spaced limit.
#[derive(Clone, Copy, Debug, Default)]
struct Crowd {
    /// In how many stocks.
    stocks: u32,
    /// Jobs that wait and could go, over all of them.
    jobs: u64,
}

/// What to ask the store for.
#[derive(Debug)]
pub(in crate::slots) struct Wants {
    /// By stock.
    pub(in crate::slots) wants: Vec<(StockId, Want)>,
    /// More is wanted than goes into one lease.
    pub(in crate::slots) is_more: bool,
}

impl Book {
    pub(in crate::slots) fn set_reserved(&mut self, reserved_permille: u32) {
        self.reserved_permille = reserved_permille;
    }

    pub(in crate::slots) fn set_brakes(&mut self, brakes: ByName<LimitScope, Brake>) {
        self.brakes = brakes;
    }

    pub(in crate::slots) fn set_sharers(&mut self, sharers: HashMap<String, u32>) {
        self.sharers = sharers;
    }

    pub(super) fn rate_permille(&self, limit: &Limit) -> u32 {
        if is_rate(&limit.spec) {
            self.brakes.get(&limit.scope).map_or(1000, |brake| brake.rate_permille.clamp(1, 1000))
        } else {
            1000
        }
    }

    /// The most slots of spaced limits to have in stock: this replica's share of what a lease reaches. Whoever took all
    /// would let the others' jobs, transactional ones among them, wait for the whole length of a lease.
    fn share(&self, stock: &Stock) -> u32 {
        let of = |limit: &Limit| {
            let rate = limit.spec.rate_per_second().filter(|_| is_rate(&limit.spec)).unwrap_or(f64::INFINITY);
            let reach = rate * LEAD.max(spacing(limit)).as_secs_f64() / f64::from(self.sharers_of(limit));
            u32::try_from(whole(reach)).unwrap_or(WANT_MAX)
        };
        stock.limits.iter().map(of).min().unwrap_or(WANT_MAX).clamp(STOCK_LEAST, WANT_MAX)
    }

    /// Replicas with jobs waiting under a limit, at least this one.
    fn sharers_of(&self, limit: &Limit) -> u32 {
        // A key is text that is made anew: not where there is nobody to share with.
        let sharers = (!self.sharers.is_empty()).then(|| self.sharers.get(&limit.key()).copied());
        sharers.flatten().unwrap_or(1).max(1)
    }

    /// The most slots of several limits at once to have in stock: of each limit that other stocks need too, an equal part of
    /// this replica's share, or what the others leave.
    fn fair_share(&self, stock: &Stock, waiting: u64, crowds: &HashMap<&Limit, Crowd>) -> u32 {
        let of = |limit: &Limit| match crowds.get(limit) {
            Some(crowd) if crowd.stocks > 1 => {
                let (reached, sharers) = (reached(limit, self.rate_permille(limit)), self.sharers_of(limit));
                let others = u32::try_from(crowd.jobs.saturating_sub(waiting)).unwrap_or(u32::MAX);
                let left = (reached / sharers).saturating_sub(others);
                // Rounded once, and up: what nobody has in stock passes.
                reached.div_ceil(sharers.saturating_mul(crowd.stocks)).max(left)
            }
            Some(_) | None => WANT_MAX,
        };
        stock.limits.iter().map(of).min().unwrap_or(WANT_MAX).max(1)
    }

    /// How many need each limit of the stocks in demand; empty where all are leased for anyway.
    fn crowds(&self, demand: &ById<Demand>) -> HashMap<&Limit, Crowd> {
        let mut crowds: HashMap<&Limit, Crowd> = HashMap::new();
        if demand.len() < 2 || demand.len() > CROWD_MAX {
            return crowds;
        }
        for (stock, of_stock) in demand.iter().filter_map(|(id, it)| Some((self.stocks.get(id)?, it))) {
            for limit in stock.limits.iter().filter(|_| stock.is_spaced() && of_stock.all > 0) {
                let crowd = crowds.entry(limit).or_default();
                crowd.stocks += 1;
                crowd.jobs = crowd.jobs.saturating_add(of_stock.all);
            }
        }
        crowds
    }

    /// Takes all slots out that nobody has used, to give them back.
    pub(in crate::slots) fn take_unused(&mut self, now: Tick) -> Vec<Unused> {
        let mut unused = Vec::new();
        for stock in self.stocks.values_mut() {
            stock.lapse(now);
            // The last leases first: a bucket takes back only what nobody has leased behind.
            let mut by_lease: Vec<(Marks, Vec<LocalRun>)> = Vec::new();
            for run in stock.take_runs() {
                match by_lease.iter_mut().find(|(marks, _)| Arc::ptr_eq(marks, &run.marks)) {
                    Some((_, runs)) => runs.push(run),
                    None => by_lease.push((Arc::clone(&run.marks), vec![run])),
                }
            }
            for (marks, runs) in by_lease.into_iter().rev() {
                for (i, (limit, (mark, rate_permille))) in stock.limits.iter().zip(marks.iter()).enumerate() {
                    let spacing_ns = spacing_ns(limit, *rate_permille);
                    let openings_ns = spacing_ns.map(|spacing_ns| {
                        runs.iter().flat_map(|run| run.openings_ns(i, spacing_ns)).collect()
                    });
                    unused.push(Unused {
                        limit: limit.clone(),
                        count: runs.iter().map(LocalRun::left).fold(0, u32::saturating_add),
                        openings_ns: openings_ns.unwrap_or_default(),
                        rate_permille: *rate_permille,
                        mark: *mark,
                    });
                }
            }
        }
        unused.append(&mut self.take_lapsed(usize::MAX));
        unused
    }

    /// Takes out what lapsed of counted limits since the last call, or was given up: it was surely not used.
    pub(in crate::slots) fn take_returned(&mut self) -> Vec<Unused> {
        self.take_lapsed(RETURNED_MAX)
    }

    fn take_lapsed(&mut self, max: usize) -> Vec<Unused> {
        let mut returned: Vec<Unused> = Vec::new();
        for id in &self.counted {
            if returned.len() >= max {
                break;
            }
            let Some(stock) = self.stocks.get_mut(id) else { continue };
            let lapsed = stock.take_lapsed();
            let first_of_stock = returned.len();
            let Some(limit) = stock.limits.first().filter(|_| !lapsed.is_empty()) else { continue };
            for (marks, count) in lapsed {
                let Some((mark, rate_permille)) = marks.first().copied() else { continue };
                let mut of_stock = returned.iter_mut().skip(first_of_stock);
                match of_stock.find(|it| it.mark == mark) {
                    Some(it) => it.count += count,
                    None => returned.push(Unused {
                        limit: limit.clone(),
                        count,
                        openings_ns: Vec::new(),
                        rate_permille,
                        mark,
                    }),
                }
            }
        }
        returned
    }

    /// What to lease now: enough for those who wait and could go, and for those who will come before the next tick. Where that
    /// is too much for one lease, who could send at once comes first, then who has waited longest for an answer.
    pub(in crate::slots) fn wants(&mut self, now: Tick) -> Wants {
        if now.since(self.tidied) >= TIDY_EVERY {
            self.tidied = now;
            self.forget_idle(now);
        }
        let mut demand: ById<Demand> = ById::default();
        for line in self.open.iter().filter_map(|(_, id)| self.lines.get(id)).filter(|line| !line.is_empty())
        {
            for id in line.stocks.iter() {
                if let (Entry::Vacant(new), Some(stock)) = (demand.entry(*id), self.stocks.get_mut(id)) {
                    stock.lapse(now);
                    new.insert(Demand::default());
                }
            }
            for id in line.stocks.iter() {
                let others = line.stocks.iter().filter(|other| *other != id);
                let others = others.filter_map(|other| self.stocks.get(other));
                let could_go =
                    others.fold(line.len(), |least, other| least.min(self.could_go(other, line.class)));
                let could_go = u64::try_from(could_go).unwrap_or(u64::MAX);
                let demand = demand.entry(*id).or_default();
                demand.all += could_go;
                if line.class == Class::Transactional {
                    demand.urgent += could_go;
                }
                demand.is_ready |= !line.ready.is_empty();
            }
        }
        let crowds = self.crowds(&demand);
        let wants = demand.iter().filter_map(|(id, of_stock)| {
            let stock = self.stocks.get(id)?;
            let urgent = of_stock.urgent;
            let (count, later) = self.lacking(stock, of_stock, &crowds, now);
            (count > 0).then(|| {
                let want = Want {
                    limits: Arc::clone(&stock.limits),
                    rates_permille: stock.limits.iter().map(|limit| self.rate_permille(limit)).collect(),
                    count,
                    urgent: u32::try_from(urgent).unwrap_or(u32::MAX).min(count),
                    later,
                    reserved_permille: self.reserved_permille,
                };
                (*id, want)
            })
        });
        let mut wants: Vec<_> = wants.collect();
        let found = wants.len();
        if weights(&wants) > WANTS_MAX {
            let is_ready = |id: &StockId| demand.get(id).is_some_and(|demand| demand.is_ready);
            let answered = |id: &StockId| self.stocks.get(id).and_then(Stock::answered);
            let is_urgent = |want: &Want| want.urgent > 0;
            wants.sort_by_cached_key(|(id, want)| (!is_urgent(want), !is_ready(id), answered(id), *id));
            // However many transactional ones wait, bulk has its turn.
            let urgent = wants.iter().take_while(|(_, want)| is_urgent(want)).count();
            let mut others = wants.split_off(urgent);
            keep(&mut wants, WANTS_MAX - weights(&others).min(WANTS_MAX / 4));
            keep(&mut others, WANTS_MAX - weights(&wants));
            wants.extend(others);
        }
        let is_more = wants.len() < found;
        // Where several limits have to be met there is less to choose from: they go first.
        wants.sort_by_key(|(id, want)| (std::cmp::Reverse((want.urgent > 0, want.limits.len())), *id));
        Wants { wants, is_more }
    }

    /// How many jobs of a class another stock lets go soon.
    fn could_go(&self, other: &Stock, class: Class) -> usize {
        let left = usize::try_from(other.left()).unwrap_or(usize::MAX);
        if other.next_open(class).is_some() {
            left.saturating_add(1)
        } else if other.is_spaced() {
            left.saturating_add(usize::try_from(self.share(other)).unwrap_or(usize::MAX))
        } else {
            usize::MAX
        }
    }

    /// How many slots a stock lacks, and how many of these for jobs that are yet to come.
    fn lacking(
        &self,
        stock: &Stock,
        demand: &Demand,
        crowds: &HashMap<&Limit, Crowd>,
        now: Tick,
    ) -> (u32, u32) {
        let Demand { all: waiting, urgent, .. } = *demand;
        if waiting == 0 || held_until(&self.brakes, &stock.limits) > now + LEAD {
            return (0, 0);
        }
        let longest = stock.limits.iter().map(spacing).max().unwrap_or_default();
        let reach = if stock.limits.len() > 1 { TOGETHER } else { Duration::from_secs(5) };
        let by = now + LEAD.max(longest.min(reach));
        let soon = Duration::from_millis(200).as_secs_f64() * stock.rate;
        let wanted = match (stock.is_shut_until_after(by, Class::Bulk), urgent) {
            (true, 0) => 0,
            (true, urgent) if !stock.is_shut_until_after(by, Class::Transactional) => urgent,
            (true, _) => 0,
            (false, _) => waiting.saturating_add(whole(soon)),
        };
        let urgent = u32::try_from(urgent).unwrap_or(u32::MAX);
        // Several at once: before those who need only one of the limits take the slots between.
        let most = match (stock.is_spaced(), stock.limits.len()) {
            (false, _) => WANT_MAX,
            (true, 1) => self.share(stock).max(urgent),
            (true, _) => self.fair_share(stock, waiting, crowds).max(urgent),
        };
        let in_stock = stock.in_stock(now);
        // Counts are good for a while, so that not each lease has to fill them up.
        let is_plenty = stock.is_counted() && u64::from(in_stock) >= waiting.max(wanted / 2);
        let lacking = if is_plenty {
            0
        } else {
            u32::try_from(wanted).unwrap_or(u32::MAX).min(most).saturating_sub(in_stock)
        };
        // What is in stock opens too late for these, and the store may have kept slots for them.
        let for_urgent =
            stock.urgent_lacking(now).min(most.saturating_add(urgent).saturating_sub(stock.left()));
        let count = lacking.max(for_urgent.min(urgent)).min(WANT_MAX);
        (count, count.saturating_sub(stock.lacking_now(waiting, now)))
    }

    /// The store worked on an answer from the one to the other of these instants of its clock, somewhere between these two of
    /// ours. Where this machine has stood still, or a clock was set, nobody knows any more when the slots in stock open: others
    /// may have used their time.
    pub(in crate::slots) fn learn_clock(&mut self, work_ns: (i64, i64), asked_at: Tick, received_at: Tick) {
        if self.store_clock.learn(work_ns, asked_at, received_at) {
            self.stocks.values_mut().for_each(Stock::discard);
        }
    }

    /// Takes in a lease that was received at this instant.
    pub(in crate::slots) fn stock(&mut self, id: StockId, want: &Want, leased: &Leased, received_at: Tick) {
        let Some(stock) = self.stocks.get_mut(&id) else { return };
        let marks: Marks = leased.marks.iter().copied().zip(want.rates_permille.iter().copied()).collect();
        let mut parts = leased.parts.chunks(stock.limits.len().max(1));
        for run in &leased.runs {
            let parts = parts.next().unwrap_or_default();
            stock.put(LocalRun::place(run, leased.at_ns, &self.store_clock, parts, &marks));
        }
        let (next, next_urgent) = (
            leased.next_in.map(|wait| received_at + wait),
            leased.next_urgent_in.map(|wait| received_at + wait),
        );
        stock.answer(received_at, next, next_urgent);
        for (i, limit) in stock.limits.iter().enumerate() {
            if let Some(key) = self.keys.get_mut(limit) {
                key.held_from = (next.is_some() && leased.held_by == i).then_some(id);
            }
        }
    }

    /// Counted limits that the store has told of as used up until after `by`.
    pub(in crate::slots) fn shut_counts(&self, by: Tick, max: usize) -> Vec<Limit> {
        let shut = self
            .stocks
            .values()
            .filter(|stock| stock.is_counted() && stock.is_shut_until_after(by, Class::Bulk));
        shut.filter_map(|stock| stock.limits.first().cloned()).take(max).collect()
    }

    /// What the store has told of a counted limit does not count any more if this shows slots for jobs of any class.
    pub(in crate::slots) fn reopen(&mut self, limit: &Limit, look: &LimitLook) {
        let Some(Terms::Counted(terms)) = Terms::of(&limit.spec) else { return };
        if terms.lent(look.left, look.resets_in, self.reserved_permille) > 0 {
            let of_limit = self.stocks.values_mut().filter(|stock| stock.limits.first() == Some(limit));
            of_limit.for_each(Stock::reopen);
        }
    }

    /// Learns from what was used since the last tick, `elapsed` ago.
    pub(in crate::slots) fn smooth(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(0.001);
        self.stocks.values_mut().for_each(|stock| stock.smooth(seconds));
    }

    /// Slots used and lapsed since the last call, by scope.
    pub(in crate::slots) fn take_counts(&mut self) -> Vec<(LimitScope, Counts)> {
        let mut counts = Vec::new();
        for stock in self.stocks.values_mut() {
            let it = stock.take_counts();
            if it.used + it.lapsed > 0 {
                counts.extend(stock.limits.iter().map(|limit| (limit.scope.clone(), it)));
            }
        }
        counts
    }

    fn forget_idle(&mut self, now: Tick) {
        self.lines.retain(|_, line| !line.is_empty() || now.since(line.last_use) < IDLE);
        let mut forgotten = false;
        self.stocks.retain(|_, stock| {
            stock.lapse(now);
            // One that is shut is remembered until it opens, or its lane would ask for it again and again.
            let is_shut = stock.next_open(Class::Bulk).is_some_and(|at| at > now);
            let is_in_use = stock.is_wanted() || now.since(stock.last_use) < IDLE || is_shut;
            let keep = is_in_use || stock.give_up();
            forgotten |= !keep;
            keep
        });
        if forgotten {
            let stocks = &self.stocks;
            let is_whole = |ids: &[StockId]| ids.iter().all(|id| stocks.contains_key(id));
            self.counted.retain(|id| stocks.contains_key(id));
            self.stock_of.retain(|_, id| stocks.contains_key(id));
            self.stocks_of.retain(|_, ids| is_whole(ids));
            self.lines.retain(|_, line| is_whole(&line.stocks));
        }
        let lines = &self.lines;
        self.line_of.retain(|_, id| lines.contains_key(id));
        let stocks = &self.stocks;
        self.keys.retain(|_, key| {
            let is_shut = key.held_from.and_then(|id| stocks.get(&id)?.next_open(Class::Bulk));
            key.waiting > 0 || now.since(key.last_use) < IDLE || is_shut.is_some_and(|at| at > now)
        });
    }
}

/// What a want takes of a lease: less for a single slot, which the store may lease as one with others.
fn weight(want: &Want) -> usize {
    let may_be_bundled = want.count == 1 && want.limits.iter().all(|limit| Terms::are_spaced(&limit.spec));
    if may_be_bundled { 1 } else { WEIGHT_ALONE }
}

fn weights(wants: &[(StockId, Want)]) -> usize {
    wants.iter().map(|(_, want)| weight(want)).sum()
}

/// Keeps the first wants that weigh no more than this.
fn keep(wants: &mut Vec<(StockId, Want)>, most: usize) {
    let left = |left: &mut usize, (_, want): &(StockId, Want)| {
        *left = left.checked_sub(weight(want))?;
        Some(())
    };
    let kept = wants.iter().scan(most, left).count();
    wants.truncate(kept);
}

/// How many slots of a spaced limit a lease of several at once reaches for bulk.
fn reached(limit: &Limit, rate_permille: u32) -> u32 {
    let Some(Terms::Spaced(terms)) = Terms::of(&limit.spec) else { return WANT_MAX };
    let terms = terms.at_rate(rate_permille).together();
    u32::try_from(terms.horizon_ns / terms.spacing_ns.max(1) + 1).unwrap_or(WANT_MAX)
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
