//! Limits on connections: this process holds some of each on lease from the fleet, and a call takes one while it lasts.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_policy::{ConnectionWish, View, nanos};
use sluice_types::{Class, Limit, Tick};
use tokio::sync::oneshot;

use crate::fleet::News;
use crate::ports::Clock;
use crate::waiters::{Waiters, is_wanted, reserve};

/// What was wanted lately is wanted still for so long, so that a share does not come and go with every call.
const WANTED_FOR: Duration = Duration::from_secs(3);
/// A lease outlives the longest call by this.
const SLACK: Duration = Duration::from_secs(10);

/// The connections of this process.
#[derive(Debug)]
pub(crate) struct Connections {
    book: Mutex<Book>,
    reserved_permille: AtomicU32,
    /// Replicas that work lanes, this one included.
    workers: AtomicU32,
    clock: Arc<dyn Clock>,
    news: Arc<News>,
    /// Longest call of any ESP.
    longest_call: Duration,
}

#[derive(Debug, Default)]
struct Book {
    /// By the key of the limit, so that an edit of the count keeps what is in use.
    pools: HashMap<String, Pool>,
    /// Those who wait, by the keys of the limits that they need one of each of. None is empty.
    lines: BTreeMap<Keys, Waiters<Connection>>,
    /// Counts who joined a line, and what was taken.
    next: u64,
}

/// Keys of limits.
type Keys = Arc<[String]>;

/// Those whose turn has come, to be told once the lock is free.
type Turns = Vec<(oneshot::Sender<Connection>, Connection)>;

#[derive(Debug, Default)]
struct Pool {
    /// What the limit allows over the fleet.
    limit: u32,
    allowed: u32,
    /// The lease ends; a call that could last beyond it must not begin.
    expires: Tick,
    in_use: u32,
    /// Transactional jobs among these.
    urgent: u32,
    waiting: u32,
    /// When a transactional job wanted one last.
    urgent_at: Option<Tick>,
    /// The most that was in use or waited for lately, and when.
    peak: (u32, Tick),
    /// What the fleet was asked for last.
    asked: u32,
    /// What the fleet was told to be in use here: until its answer is in no more may be, as others may be given the rest at once.
    told: Option<u32>,
    /// What was taken before this number was of a lease that has lapsed.
    void_before: u64,
}

impl Pool {
    fn note(&mut self, now: Tick) {
        let wanted = self.in_use + self.waiting;
        if wanted >= self.peak.0 || now.since(self.peak.1) >= WANTED_FOR {
            self.peak = (wanted, now);
        }
    }

    /// So many may be in use here.
    fn most(&self) -> u32 {
        self.allowed.min(self.told.unwrap_or(u32::MAX))
    }

    fn is_free(&self, class: Class, permille: u32, now: Tick, longest_call: Duration) -> bool {
        if self.in_use >= self.most() || now + longest_call >= self.expires {
            return false;
        }
        let kept = match class {
            Class::Bulk if is_wanted(self.urgent_at, now) => {
                reserve(self.allowed, permille).saturating_sub(self.urgent)
            }
            Class::Bulk | Class::Transactional => 0,
        };
        self.in_use + kept < self.most()
    }
}

/// One connection under each limit; given back when dropped.
#[derive(Debug)]
pub(crate) struct Connection(Option<Taken>);

#[derive(Debug)]
struct Taken {
    all: Arc<Connections>,
    keys: Keys,
    class: Class,
    number: u64,
}

/// One who waits for a connection; leaves the line when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionWait {
    all: Arc<Connections>,
    keys: Keys,
    class: Class,
    number: u64,
    pub(crate) turn: oneshot::Receiver<Connection>,
}

impl Connections {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        news: Arc<News>,
        longest_call: Duration,
        reserved_permille: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            book: Mutex::default(),
            reserved_permille: AtomicU32::new(reserved_permille),
            workers: AtomicU32::new(1),
            clock,
            news,
            longest_call,
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_reserved(&self, permille: u32) {
        self.reserved_permille.store(permille, Ordering::Relaxed);
    }

    /// Joins the line for a connection under every limit at once; where one is free the turn has come already.
    pub(crate) fn join(self: &Arc<Self>, limits: &[Limit], class: Class) -> ConnectionWait {
        let now = self.clock.tick();
        let keys: Keys = limits.iter().map(Limit::key).collect();
        let mut short = false;
        let mut book = self.book();
        for (limit, key) in limits.iter().zip(keys.iter()) {
            let pool = book.pool(key);
            pool.limit = limit.spec.count.get();
            pool.waiting += 1;
            if class == Class::Transactional {
                pool.urgent_at = Some(now);
            }
            pool.note(now);
            // Nobody gets more for asking for more than there are.
            short |= pool.in_use + pool.waiting > pool.allowed.max(pool.asked) && pool.asked < pool.limit;
        }
        book.next += 1;
        let number = book.next;
        let turn = book.lines.entry(Arc::clone(&keys)).or_default().join(class, number);
        let turns = self.serve(&mut book, now);
        drop(book);
        tell(turns);
        if short {
            self.news.urgent.notify_one();
        }
        ConnectionWait { all: Arc::clone(self), keys, class, number, turn }
    }

    /// Hands out what is free, first come first served, transactional jobs before the others. Who needs more than is free
    /// does not hold up others who do not.
    fn serve(self: &Arc<Self>, book: &mut Book, now: Tick) -> Turns {
        let mut turns = Vec::new();
        let permille = self.reserved_permille.load(Ordering::Relaxed);
        for class in [Class::Transactional, Class::Bulk] {
            while let Some(keys) =
                book.first(class, |pool| pool.is_free(class, permille, now, self.longest_call))
            {
                let turn = book.lines.get_mut(&keys).and_then(|line| line.pop(class));
                book.tidy(&keys);
                let Some(turn) = turn else { break };
                let is_there = !turn.is_closed();
                for key in keys.iter() {
                    let pool = book.pool(key);
                    pool.waiting = pool.waiting.saturating_sub(1);
                    if is_there {
                        pool.in_use += 1;
                        pool.urgent += u32::from(class == Class::Transactional);
                    }
                }
                if is_there {
                    book.next += 1;
                    let taken = Taken { all: Arc::clone(self), keys, class, number: book.next };
                    turns.push((turn, Connection(Some(taken))));
                }
            }
        }
        turns
    }

    /// About how long a further job would wait for a connection under each limit, where a call takes so long.
    pub(crate) fn wait(&self, limits: &[Limit], class: Class, call: Duration) -> Duration {
        if limits.is_empty() {
            return Duration::ZERO;
        }
        let now = self.clock.tick();
        let permille = self.reserved_permille.load(Ordering::Relaxed);
        let book = self.book();
        let of = |limit: &Limit| {
            let key = limit.key();
            let Some(pool) = book.pools.get(&key) else { return Duration::ZERO };
            let lines = book.lines.iter().filter(|(keys, _)| keys.contains(&key));
            let ahead: usize = lines.map(|(_, line)| line.ahead(class)).sum();
            if ahead == 0 && pool.is_free(class, permille, now, self.longest_call) {
                return Duration::ZERO;
            }
            // Before the first lease nobody knows better than that all have the same.
            let at_once = if now < pool.expires { pool.allowed.max(1) } else { self.fair_share(limit) };
            call.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX).saturating_add(1)) / at_once
        };
        limits.iter().map(of).max().unwrap_or_default()
    }

    /// How many this process is likely to have of these at the same time: its even share, or all where others want fewer.
    pub(crate) fn likely(&self, limits: &[Limit]) -> u32 {
        if limits.is_empty() {
            return u32::MAX;
        }
        let book = self.book();
        let of = |limit: &Limit| {
            let fair = self.fair_share(limit);
            let allowed = book.pools.get(&limit.key()).map_or(0, |pool| pool.allowed);
            if allowed > fair { limit.spec.count.get() } else { fair }
        };
        limits.iter().map(of).min().unwrap_or(u32::MAX)
    }

    fn fair_share(&self, limit: &Limit) -> u32 {
        limit.spec.count.get().div_ceil(self.workers.load(Ordering::Relaxed).max(1))
    }

    /// The limit that has least left of these.
    pub(crate) fn scarcest<'a>(&self, limits: &'a [Limit]) -> Option<&'a Limit> {
        let book = self.book();
        limits.iter().min_by_key(|limit| {
            book.pools.get(&limit.key()).map_or(0, |pool| pool.allowed.saturating_sub(pool.in_use))
        })
    }

    /// What to ask the fleet for. What may begin before the answer is in is told as in use already.
    pub(crate) fn wishes(&self) -> Vec<ConnectionWish> {
        let now = self.clock.tick();
        let mut book = self.book();
        let pools = &mut book.pools;
        for pool in pools.values_mut() {
            pool.note(now);
            pool.asked = pool.peak.0.max(pool.in_use + pool.waiting);
            pool.told = Some(pool.most().min(pool.asked).max(pool.in_use));
        }
        pools.retain(|_, pool| pool.in_use + pool.waiting + pool.peak.0 + pool.allowed > 0);
        let wish = |(key, pool): (&String, &Pool)| ConnectionWish {
            key: key.clone(),
            limit: pool.limit,
            in_use: pool.told.unwrap_or(pool.in_use),
            wanted: pool.asked,
            ttl_ns: nanos(self.longest_call * 2 + SLACK),
        };
        pools.iter().map(wish).collect()
    }

    /// Takes in what the fleet allows; the answer to a report that was made at `asked_at`.
    pub(crate) fn adopt(self: &Arc<Self>, view: &View, replica: &str, asked_at: Tick) {
        self.workers
            .store(u32::try_from(view.workers().count()).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        let now = self.clock.tick();
        let mut book = self.book();
        let next = book.next;
        for (key, pool) in &mut book.pools {
            let held = view.connections.get(key).and_then(|it| it.held.get(replica));
            match held {
                Some(held) => {
                    if pool.expires <= now {
                        // The fleet may have given them to others meanwhile: no call is under way, and none begins.
                        (pool.in_use, pool.urgent, pool.void_before) = (0, 0, next + 1);
                    }
                    (pool.allowed, pool.told) = (held.allowed, None);
                    pool.expires = asked_at + Duration::from_nanos(u64::try_from(held.ttl_ns).unwrap_or(0));
                }
                None => pool.allowed = 0,
            }
        }
        let turns = self.serve(&mut book, now);
        drop(book);
        tell(turns);
    }
}

impl Book {
    fn pool(&mut self, key: &str) -> &mut Pool {
        self.pools.entry(key.to_owned()).or_default()
    }

    /// The line whose first of the class came before those of all other lines that could go.
    fn first(&self, class: Class, is_free: impl Fn(&Pool) -> bool) -> Option<Keys> {
        let firsts = self.lines.iter().filter_map(|(keys, line)| Some((line.first(class)?, keys)));
        let could_go = |keys: &Keys| keys.iter().all(|key| self.pools.get(key).is_some_and(&is_free));
        firsts.filter(|(_, keys)| could_go(keys)).min().map(|(_, keys)| Arc::clone(keys))
    }

    fn tidy(&mut self, keys: &Keys) {
        if self.lines.get(keys).is_some_and(Waiters::is_empty) {
            self.lines.remove(keys);
        }
    }
}

/// Who has given up meanwhile gives it back by dropping it.
fn tell(turns: Turns) {
    for (turn, connection) in turns {
        drop(turn.send(connection));
    }
}

impl Connection {
    /// For a call under no such limit.
    pub(crate) const fn none_needed() -> Self {
        Self(None)
    }

    /// Whether its leases outlast a call that begins now and takes `longest`.
    pub(crate) fn outlasts(&self, longest: Duration) -> bool {
        let Some(taken) = &self.0 else { return true };
        let end = taken.all.clock.tick() + longest;
        let book = taken.all.book();
        let stands = |pool: &Pool| end < pool.expires && taken.number >= pool.void_before;
        taken.keys.iter().all(|key| book.pools.get(key).is_some_and(stands))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some(Taken { all, keys, class, number }) = self.0.take() else { return };
        let now = all.clock.tick();
        let mut book = all.book();
        for key in keys.iter() {
            if let Some(pool) = book.pools.get_mut(key).filter(|pool| number >= pool.void_before) {
                pool.in_use = pool.in_use.saturating_sub(1);
                pool.urgent = pool.urgent.saturating_sub(u32::from(class == Class::Transactional));
            }
        }
        let turns = all.serve(&mut book, now);
        drop(book);
        tell(turns);
    }
}

impl Drop for ConnectionWait {
    fn drop(&mut self) {
        let mut book = self.all.book();
        if book.lines.get_mut(&self.keys).is_some_and(|line| line.leave(self.class, self.number)) {
            book.tidy(&self.keys);
            for key in self.keys.iter() {
                if let Some(pool) = book.pools.get_mut(key) {
                    pool.waiting = pool.waiting.saturating_sub(1);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
