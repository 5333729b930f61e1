//! The bookkeeping behind [`super::Slots`]: pure, `now` is handed in.
//!
//! A job is under some limits. Its spaced ones form one [`Stock`], since their slots are leased together; each bucket and
//! each counted limit is a stock of its own. A turn takes one slot of every stock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sluice_policy::Terms;
use sluice_types::{Class, Limit, LimitScope, Tick};
use tokio::sync::oneshot;

use super::{Estimate, Grant, LineKey};
use crate::by_name::ByName;
use crate::store_clock::StoreClock;
use stock::Stock;

pub(super) use demand::Wants;
#[cfg(test)]
pub(super) use demand::{WANTS_MAX, WEIGHT_ALONE};

mod demand;
mod outlook;
mod stock;

/// Claims are made this long before the slot opens; leases reach about as far ahead.
pub(super) const LEAD: Duration = Duration::from_millis(300);
/// How soon to look again whether a turn has come near.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// With more open lines these are not looked at for each job that is ready, but now and then.
const CROWD_MIN: usize = 64;

/// Slots used and lapsed since the last count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) used: u64,
    pub(super) lapsed: u64,
}

/// One limit, over all stocks with it.
#[derive(Debug, Default)]
struct Key {
    /// Jobs in any line that need a slot here.
    waiting: usize,
    /// The stock that this limit held slots back from last: once it is empty, the limit is shut.
    held_from: Option<StockId>,
    last_use: Tick,
}

/// Which stock, among those of the book.
type StockId = u32;

/// Which line, among those of the book.
pub(super) type LineId = u32;

#[derive(Debug)]
struct Line {
    key: LineKey,
    class: Class,
    limits: Arc<[Limit]>,
    stocks: Arc<[StockId]>,
    /// Those whose turn is not near yet, by number, and how they are told that it is.
    far: BTreeMap<u64, oneshot::Sender<()>>,
    /// Those whose turn is near.
    near: BTreeSet<u64>,
    /// Of these, who can send at once.
    ready: BTreeMap<u64, oneshot::Sender<Grant>>,
    last_use: Tick,
}

impl Line {
    /// Everybody in the line.
    fn len(&self) -> usize {
        self.far.len() + self.near.len()
    }

    fn is_empty(&self) -> bool {
        self.far.is_empty() && self.near.is_empty()
    }
}

/// Counts by limit key.
pub(crate) type Totals = Vec<(String, u64)>;

/// A ticket just drawn.
pub(super) struct Drawn {
    pub(super) line: LineId,
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
    /// So many lines are open that looking at all of them takes its time.
    pub(super) is_crowded: bool,
}

/// Answer to somebody who could send at once.
pub(super) enum Ready {
    Granted(Grant),
    Wait(oneshot::Receiver<Grant>),
}

#[derive(Debug, Default)]
pub(super) struct Book {
    keys: ByName<Limit, Key>,
    stocks: Stocks,
    /// Those of counted limits, which give back what has lapsed.
    counted: BTreeSet<StockId>,
    /// The stock of what is leased together.
    stock_of: ByName<Arc<[Limit]>, StockId>,
    /// The stocks that jobs under these limits need.
    stocks_of: ByName<Arc<[Limit]>, Arc<[StockId]>>,
    lines: ById<Line>,
    line_of: ByName<LineKey, LineId>,
    /// Those with anybody in them, and some that were so lately: thousands of lines may stand idle.
    open: BTreeSet<(Class, LineId)>,
    next_number: u64,
    next_stock: StockId,
    next_line: LineId,
    /// When idle lines and stocks were last looked for.
    tidied: Tick,
    brakes: ByName<LimitScope, Brake>,
    /// Replicas with jobs waiting, by limit key, where there is more than one.
    sharers: HashMap<String, u32>,
    reserved_permille: u32,
    store_clock: StoreClock,
}

type Stocks = ById<Stock>;

/// By our own numbers, which nobody else can choose: the quicker hasher is good enough for these.
type ById<T> = HashMap<u32, T, foldhash::fast::RandomState>;

/// What a brake does to the limits of its scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brake {
    /// The share of the rate that may be used, in permille.
    pub(super) rate_permille: u32,
    /// Nothing at all before this.
    pub(super) hold_until: Tick,
}

impl Book {
    /// The stocks for these limits, made if there are none yet.
    fn open_stocks(&mut self, limits: &Arc<[Limit]>, now: Tick) -> Arc<[StockId]> {
        if let Some(known) = self.stocks_of.get(limits) {
            return Arc::clone(known);
        }
        let ids = leased_together(limits).map(|set| match self.stock_of.get(&*set) {
            Some(id) => *id,
            None => {
                self.next_stock += 1;
                let set: Arc<[Limit]> = set.into();
                let stock = Stock::new(Arc::clone(&set), now);
                if stock.is_counted() {
                    self.counted.insert(self.next_stock);
                }
                self.stocks.insert(self.next_stock, stock);
                self.stock_of.insert(set, self.next_stock);
                self.next_stock
            }
        });
        let ids: Arc<[StockId]> = ids.collect();
        self.stocks_of.insert(Arc::clone(limits), Arc::clone(&ids));
        ids
    }

    /// Puts every line under the limits that hold for it now; who waits keeps the place.
    pub(super) fn relimit(&mut self, limits_of: impl Fn(&LineKey) -> Option<Arc<[Limit]>>, now: Tick) {
        let mut lines = std::mem::take(&mut self.lines);
        let mut replaced: BTreeSet<StockId> = BTreeSet::new();
        for line in lines.values_mut() {
            let Some(limits) = limits_of(&line.key).filter(|limits| *limits != line.limits) else {
                continue;
            };
            replaced.extend(line.stocks.iter());
            let (waiting, near) = (line.len(), line.near.len());
            each(&mut self.stocks, &line.stocks, |stock| stock.leave(line.class, waiting, near));
            count_keys(&mut self.keys, &line.limits, now, |key| {
                key.waiting = key.waiting.saturating_sub(waiting)
            });
            line.stocks = self.open_stocks(&limits, now);
            line.limits = limits;
            each(&mut self.stocks, &line.stocks, |stock| stock.join(line.class, waiting, near, now));
            count_keys(&mut self.keys, &line.limits, now, |key| key.waiting += waiting);
        }
        for id in lines.values().flat_map(|line| line.stocks.iter()) {
            replaced.remove(id);
        }
        for id in replaced {
            // What it still has to give back goes with the next lease.
            if let Some(stock) = self.stocks.get_mut(&id) {
                stock.give_up();
            }
        }
        self.lines = lines;
    }

    pub(super) fn draw(&mut self, line_key: &LineKey, limits: &Arc<[Limit]>, now: Tick) -> Drawn {
        self.next_number += 1;
        let number = self.next_number;
        let class = line_key.class;
        let id = self.open_line(line_key, limits, now);
        self.open.insert((class, id));
        let Self { keys, stocks, lines, .. } = self;
        let Some(line) = lines.get_mut(&id) else {
            return Drawn { line: id, number, near: None, wants_slots: false };
        };
        line.last_use = now;
        count_keys(keys, &line.limits, now, |key| key.waiting += 1);
        each(stocks, &line.stocks, |stock| stock.join(class, 1, 0, now));
        let near = if line.far.is_empty() && room_near(stocks, line, now) > 0 {
            come_near(stocks, line, number);
            None
        } else {
            let (tell, near) = oneshot::channel();
            line.far.insert(number, tell);
            Some(near)
        };
        let wants_slots = line.stocks.iter().any(|id| {
            stocks
                .get(id)
                .is_some_and(|stock| stock.lacks(class, now) && !stock.is_shut_beyond_lead(class, now))
        });
        Drawn { line: id, number, near, wants_slots }
    }

    /// The line of this key, made if there is none yet.
    fn open_line(&mut self, line_key: &LineKey, limits: &Arc<[Limit]>, now: Tick) -> LineId {
        if let Some(id) = self.line_of.get(line_key) {
            return *id;
        }
        self.next_line += 1;
        let line = Line {
            key: line_key.clone(),
            class: line_key.class,
            limits: Arc::clone(limits),
            stocks: self.open_stocks(limits, now),
            far: BTreeMap::new(),
            near: BTreeSet::new(),
            ready: BTreeMap::new(),
            last_use: now,
        };
        self.lines.insert(self.next_line, line);
        self.line_of.insert(line_key.clone(), self.next_line);
        self.next_line
    }

    /// Gives a place up; answers whether others of the line wait to be told something.
    pub(super) fn leave(&mut self, line: LineId, number: u64) -> bool {
        let Some(line) = self.lines.get_mut(&line) else { return false };
        line.ready.remove(&number);
        count_out(&mut self.keys, &mut self.stocks, line, number)
            && (!line.far.is_empty() || !line.ready.is_empty())
    }

    /// `number` could send at once: gives it its slots, or a place among the ready.
    pub(super) fn ready(&mut self, line: LineId, number: u64, now: Tick) -> Ready {
        let Self { keys, stocks, lines, open, brakes, .. } = self;
        let id = line;
        // Lines stay as long as anybody is in them.
        let Some(line) = lines.get_mut(&id) else { return Ready::Wait(oneshot::channel().1) };
        open.insert((line.class, id));
        if !line.near.contains(&number) {
            if line.far.remove(&number).is_none() {
                // It had a slot and was too slow for it: back to the head of the line.
                each(stocks, &line.stocks, |stock| stock.join(line.class, 1, 0, now));
                count_keys(keys, &line.limits, now, |key| key.waiting += 1);
            }
            come_near(stocks, line, number);
        }
        let first = line.ready.keys().next().is_none_or(|other| *other > number);
        if first && let Some(granted) = take(stocks, brakes, line, now) {
            count_out(keys, stocks, line, number);
            return Ready::Granted(granted);
        }
        let (tell, grant) = oneshot::channel();
        line.ready.insert(number, tell);
        Ready::Wait(grant)
    }

    /// A turn that was granted was not used.
    pub(super) fn take_back(&mut self, grant: Grant) {
        take_back(&mut self.stocks, grant);
    }

    /// Gives every turn that is due and tells those whose turn is near: transactional jobs first, then whoever has waited
    /// longest, in whichever line. One who lacks a slot that others need not is passed over.
    pub(super) fn serve(&mut self, now: Tick) -> Served {
        let Self { keys, stocks, lines, open, brakes, .. } = self;
        // Each line is looked at once: thousands may be open.
        let (mut far, mut ready) = (Vec::new(), Vec::new());
        open.retain(|(class, id)| {
            let Some(line) = lines.get(id).filter(|line| !line.is_empty()) else { return false };
            far.extend(line.far.keys().next().map(|number| (*class, *number, *id)));
            ready.extend(line.ready.keys().next().map(|number| (*class, *number, *id)));
            true
        });
        let untold = tell_near(stocks, lines, far, now).then(|| now + LOOK_AGAIN);
        ready.sort_unstable();
        let ready: Vec<LineId> = ready.into_iter().map(|(_, _, id)| id).collect();
        let mut moved = true;
        while moved {
            moved = false;
            for id in &ready {
                let Some(line) = lines.get_mut(id) else { continue };
                while let Some((number, tell)) = line.ready.pop_first() {
                    if tell.is_closed() {
                        continue;
                    }
                    match take(stocks, brakes, line, now) {
                        Some(grant) => {
                            count_out(keys, stocks, line, number);
                            // The receiver may have given up this very moment: then the slot lapses, as it must.
                            match tell.send(grant) {
                                Ok(()) => moved = true,
                                Err(grant) => take_back(stocks, grant),
                            }
                        }
                        None => {
                            line.ready.insert(number, tell);
                        }
                    }
                    break;
                }
            }
        }
        let mut starves = false;
        let mut next = untold;
        for line in ready.iter().filter_map(|id| lines.get(id)).filter(|line| !line.ready.is_empty()) {
            let opens = next_open(stocks, brakes, line);
            let ask = line.stocks.iter().filter_map(|id| stocks.get(id)?.asks_at(line.class, now)).min();
            starves |= ask.is_some_and(|at| at <= now);
            let soonest = opens.into_iter().chain(ask.filter(|at| *at > now)).min();
            next = next.into_iter().chain(soonest).min();
        }
        Served { next, starves, is_crowded: open.len() > CROWD_MIN }
    }
}

/// What of these limits is leased together: all spaced ones, in the order of their keys; and each other by itself.
fn leased_together(limits: &[Limit]) -> impl Iterator<Item = Vec<Limit>> {
    let is_spaced = |limit: &&Limit| Terms::are_spaced(&limit.spec);
    let mut spaced: Vec<Limit> = limits.iter().filter(is_spaced).cloned().collect();
    spaced.sort_by_cached_key(Limit::key);
    let others = limits.iter().filter(move |limit| !is_spaced(limit)).map(|limit| vec![limit.clone()]);
    std::iter::once(spaced).chain(others).filter(|set| !set.is_empty())
}

fn count_keys(keys: &mut ByName<Limit, Key>, limits: &[Limit], now: Tick, change: impl Fn(&mut Key)) {
    for limit in limits {
        let key = match keys.get_mut(limit) {
            Some(key) => key,
            None => keys.entry(limit.clone()).or_default(),
        };
        change(key);
        key.last_use = now;
    }
}

fn each(stocks: &mut Stocks, ids: &[StockId], mut change: impl FnMut(&mut Stock)) {
    for id in ids {
        if let Some(stock) = stocks.get_mut(id) {
            change(stock);
        }
    }
}

/// A turn that was granted was not used.
fn take_back(stocks: &mut Stocks, grant: Grant) {
    for (id, marks) in grant.counted {
        if let Some(stock) = stocks.get_mut(&id) {
            stock.take_back(marks);
        }
    }
}

/// How many more turns may count as near: under each limit there may be as many, over all lines, as slots open within
/// [`LEAD`], and a few more unless it is shut.
fn room_near(stocks: &Stocks, line: &Line, now: Tick) -> usize {
    let rooms =
        line.stocks.iter().filter_map(|id| stocks.get(id)).map(|stock| stock.room_near(line.class, now));
    rooms.min().unwrap_or(usize::MAX)
}

fn come_near(stocks: &mut Stocks, line: &mut Line, number: u64) {
    line.near.insert(number);
    each(stocks, &line.stocks, |stock| stock.come_near(line.class));
}

/// Takes a number out of its line; false when it was not there (any more).
fn count_out(keys: &mut ByName<Limit, Key>, stocks: &mut Stocks, line: &mut Line, number: u64) -> bool {
    let was_near = usize::from(line.near.remove(&number));
    if was_near == 0 && line.far.remove(&number).is_none() {
        return false;
    }
    each(stocks, &line.stocks, |stock| stock.leave(line.class, 1, was_near));
    for limit in line.limits.iter() {
        if let Some(key) = keys.get_mut(limit) {
            key.waiting = key.waiting.saturating_sub(1);
        }
    }
    true
}

/// Tells those whose turn has come near, first come first served over all lines of a class; answers whether somebody is still
/// to be told. `far` has the first of each line that are not told yet.
fn tell_near(stocks: &mut Stocks, lines: &mut ById<Line>, far: Vec<(Class, u64, LineId)>, now: Tick) -> bool {
    let mut is_untold = false;
    let mut first = BinaryHeap::new();
    for (class, number, id) in far {
        let Some(line) = lines.get(&id) else { continue };
        if room_near(stocks, line, now) > 0 {
            first.push(Reverse((class, number, id)));
        } else {
            is_untold = true;
        }
    }
    while let Some(Reverse((class, _, id))) = first.pop() {
        let Some(line) = lines.get_mut(&id) else { continue };
        if room_near(stocks, line, now) == 0 {
            is_untold = true;
            continue;
        }
        let Some((number, tell)) = line.far.pop_first() else { continue };
        come_near(stocks, line, number);
        // One who has given up leaves the line by itself.
        if tell.send(()).is_err() {
            tracing::trace!("a ticket was given up as its turn came near");
        }
        if let Some(number) = line.far.keys().next() {
            first.push(Reverse((class, *number, id)));
        }
    }
    is_untold
}

/// Takes one slot of every stock of the line, or none at all.
fn take(stocks: &mut Stocks, brakes: &ByName<LimitScope, Brake>, line: &Line, now: Tick) -> Option<Grant> {
    if held_until(brakes, &line.limits) > now {
        return None;
    }
    let mut closes = Tick::from_nanos(u64::MAX);
    for id in line.stocks.iter() {
        let stock = stocks.get_mut(id)?;
        stock.lapse(now);
        let (opens, shuts) = stock.head()?;
        if opens > now {
            return None;
        }
        closes = closes.min(shuts);
    }
    let mut counted = Vec::new();
    for id in line.stocks.iter() {
        if let Some(marks) = stocks.get_mut(id).and_then(|stock| stock.take(now)) {
            counted.push((*id, marks));
        }
    }
    Some(Grant { closes, counted })
}

/// When a slot of every stock may be open; none while one has no slots at all.
fn next_open(stocks: &Stocks, brakes: &ByName<LimitScope, Brake>, line: &Line) -> Option<Tick> {
    // Nothing is taken while a brake holds the scope, open or not.
    let held = held_until(brakes, &line.limits);
    line.stocks.iter().try_fold(held, |at, id| Some(at.max(stocks.get(id)?.head()?.0)))
}

/// Until when a brake lets nothing through.
fn held_until(brakes: &ByName<LimitScope, Brake>, limits: &[Limit]) -> Tick {
    if brakes.is_empty() {
        return Tick::ZERO;
    }
    let held = limits.iter().filter_map(|limit| brakes.get(&limit.scope)).map(|brake| brake.hold_until);
    held.max().unwrap_or(Tick::ZERO)
}
