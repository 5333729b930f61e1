//! What to lease: enough for those who wait and could go, as much as is this replica's to take, and not too early.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use sluice_types::{Class, Limit, LimitScope, Tick};

use super::{Book, Brake, Counts, LEAD, is_joint};
use crate::plan::is_rate;
use crate::ports::{Leased, Unused, Want};
use crate::slots::run::LocalRun;

/// Slots of one limit asked for at most in one lease.
const WANT_MAX: u32 = 50_000;
/// Slots in stock at least, so that one that lapses does not cost a tick.
const STOCK_LEAST: u32 = 2;
/// How much a replica takes in its turn of limits that are needed together, in time.
const JOINED_TURN: Duration = Duration::from_millis(50);
/// Longest round of turns: well below what a lease reaches, or slots would pass before anybody leases them.
const JOINED_ROUND_MAX: Duration = Duration::from_millis(200);
/// Lines and limits that nobody has used for so long are forgotten.
const IDLE: Duration = Duration::from_secs(60);

impl Book {
    pub(in crate::slots) fn set_reserved(&mut self, reserved_permille: u32) {
        self.reserved_permille = reserved_permille;
    }

    pub(in crate::slots) fn set_brakes(&mut self, brakes: HashMap<LimitScope, Brake>) {
        self.brakes = brakes;
    }

    pub(in crate::slots) fn set_sharers(&mut self, sharers: HashMap<String, u32>) {
        self.sharers = sharers;
    }

    /// The most slots of a spaced limit to have in stock: this replica's share of what a lease reaches. Whoever took
    /// all would let the others' jobs, transactional ones among them, wait for the whole length of a lease.
    fn stock_max(&self, limit: &Limit) -> u32 {
        let Some(sharers) = (!self.sharers.is_empty()).then(|| self.sharers.get(&limit.key())).flatten()
        else {
            return WANT_MAX;
        };
        let rate = limit.spec.rate_per_second().filter(|_| is_rate(&limit.spec)).unwrap_or(f64::INFINITY);
        let reach = rate * LEAD.max(spacing(limit)).as_secs_f64();
        u32::try_from(whole(reach / f64::from((*sharers).max(1)))).unwrap_or(WANT_MAX).max(STOCK_LEAST)
    }

    /// Takes all slots out that nobody has used, to give them back.
    pub(in crate::slots) fn take_unused(&mut self, now: Tick) -> Vec<Unused> {
        let mut unused: Vec<Unused> = Vec::new();
        for (limit, key) in &mut self.keys {
            key.lapse(now);
            let mut by_lease: BTreeMap<i64, (u32, u32)> = BTreeMap::new();
            for run in key.runs.drain(..).filter(|run| run.left() > 0) {
                let entry = by_lease.entry(run.mark).or_insert((0, run.rate_permille));
                entry.0 += run.left();
            }
            unused.extend(by_lease.into_iter().map(|(mark, (count, rate_permille))| Unused {
                limit: limit.clone(),
                count,
                rate_permille,
                mark,
            }));
        }
        unused
    }

    /// What to lease now: enough for those who wait and could go, and for those who will come before the next tick.
    pub(in crate::slots) fn wants(&mut self, now: Tick) -> Vec<Want> {
        self.forget_idle(now);
        let joined_turn = self.take_joined_turn(now);
        let mut demand: HashMap<&Limit, (u64, u64)> = HashMap::new();
        for line in self.lines.values() {
            for limit in line.limits.iter() {
                let others = line.limits.iter().filter(|other| *other != limit);
                let could_go =
                    others.filter_map(|other| self.keys.get(other)).fold(line.waiting.len(), |least, key| {
                        if key.next_open(line.class).is_some() {
                            least.min(usize::try_from(key.left()).unwrap_or(usize::MAX).saturating_add(1))
                        } else {
                            least
                        }
                    });
                let could_go = u64::try_from(could_go).unwrap_or(u64::MAX);
                let (all, urgent) = demand.entry(limit).or_default();
                *all += could_go;
                if line.class == Class::Transactional {
                    *urgent += could_go;
                }
            }
        }
        let mut wants = Vec::new();
        for (limit, (waiting, urgent)) in demand {
            let Some(key) = self.keys.get(limit) else { continue };
            if self.held_until(limit) > now + LEAD {
                continue;
            }
            if key.is_joined(now) && !joined_turn && (urgent == 0 || key.left() > 0) {
                continue;
            }
            let by = now + LEAD.max(spacing(limit).min(Duration::from_secs(5)));
            let soon = Duration::from_millis(200).as_secs_f64() * key.rate;
            let wanted = match (key.is_shut_until_after(by, Class::Bulk), urgent) {
                (true, 0) => 0,
                (true, urgent) if !key.is_shut_until_after(by, Class::Transactional) => urgent,
                (true, _) => 0,
                (false, _) => waiting.saturating_add(whole(soon)),
            };
            let urgent = u32::try_from(urgent).unwrap_or(u32::MAX);
            let stock_max = if key.is_joined(now) { WANT_MAX } else { self.stock_max(limit).max(urgent) };
            let stock = u32::try_from(wanted).unwrap_or(u32::MAX).min(stock_max);
            let count = stock.saturating_sub(key.stock(limit, now)).min(WANT_MAX);
            if count > 0 {
                wants.push(Want {
                    limit: limit.clone(),
                    count,
                    urgent: urgent.min(count),
                    reserved_permille: self.reserved_permille,
                    rate_permille: self.rate_permille(limit),
                });
            }
        }
        wants
    }

    /// Notes which limits those who wait need together with others, and answers whether it is time to lease these.
    ///
    /// Slots of both limits of a job must be open at the same moment. Replicas therefore take turns, each of which takes
    /// all that opens over the length of a tick, of every such limit at once: within a block they match.
    fn take_joined_turn(&mut self, now: Tick) -> bool {
        let mut sharers = 1;
        for line in self.lines.values().filter(|line| !line.waiting.is_empty() && is_joint(&line.limits)) {
            for limit in line.limits.iter() {
                if let Some(key) = self.keys.get_mut(limit) {
                    key.joined = Some(now);
                }
                sharers = sharers.max(self.sharers.get(&limit.key()).copied().unwrap_or(1));
            }
        }
        let is_due = now.since(self.joined_leased) >= (JOINED_TURN * sharers).min(JOINED_ROUND_MAX);
        if is_due {
            self.joined_leased = now;
        }
        is_due
    }

    /// The store answered at this instant of its clock, somewhere between these two of ours.
    pub(in crate::slots) fn learn_clock(&mut self, store_ns: i64, asked_at: Tick, received_at: Tick) {
        self.store_clock.learn(store_ns, asked_at, received_at);
    }

    /// Takes in a lease that was received at this instant.
    pub(in crate::slots) fn stock(&mut self, want: &Want, leased: &Leased, received_at: Tick) {
        let Some(key) = self.keys.get_mut(&want.limit) else { return };
        for run in &leased.runs {
            let mut placed = LocalRun::place(run, leased.at_ns, &self.store_clock);
            (placed.mark, placed.rate_permille) = (leased.mark, want.rate_permille);
            key.runs.push_back(placed);
        }
        key.next_open = leased.next_in.map(|wait| received_at + wait);
        key.next_urgent_open = leased.next_urgent_in.map(|wait| received_at + wait);
    }

    /// Learns from what was used since the last tick, `elapsed` ago.
    pub(in crate::slots) fn smooth(&mut self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64().max(0.001);
        for key in self.keys.values_mut() {
            let seen = f64::from(std::mem::take(&mut key.used_since_lease)) / seconds;
            key.rate += (seen - key.rate) * 0.3;
        }
    }

    /// Slots used and lapsed since the last call, by scope.
    pub(in crate::slots) fn take_counts(&mut self) -> Vec<(LimitScope, Counts)> {
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
        // A limit that is shut is remembered until it opens, or its lane would ask for it again and again.
        self.keys.retain(|_, key| {
            key.waiting > 0 || now.since(key.last_use) < IDLE || key.next_open.is_some_and(|at| at > now)
        });
    }
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
