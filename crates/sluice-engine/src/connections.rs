//! Limits on connections: this process holds some of each on lease from the fleet, and a call takes one while it lasts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sluice_policy::{ConnectionWish, View, nanos};
use sluice_types::{Limit, Tick};
use tokio::sync::Notify;

use crate::fleet::News;
use crate::ports::Clock;

/// What was wanted lately is wanted still for so long, so that a share does not come and go with every call.
const WANTED_FOR: Duration = Duration::from_secs(3);
/// A lease outlives the longest call by this.
const SLACK: Duration = Duration::from_secs(10);
/// Longest sleep before looking again; a lease comes within a round trip.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The connections of this process.
#[derive(Debug)]
pub(crate) struct Connections {
    /// By the key of the limit, so that an edit of the count keeps what is in use.
    pools: Mutex<HashMap<String, Pool>>,
    clock: Arc<dyn Clock>,
    news: Arc<News>,
    /// A place is free, or a lease has come.
    changed: Notify,
    /// Longest call of any ESP.
    longest_call: Duration,
}

#[derive(Debug, Default)]
struct Pool {
    /// What the limit allows over the fleet.
    limit: u32,
    allowed: u32,
    /// The lease ends; a call that could last beyond it must not begin.
    expires: Tick,
    in_use: u32,
    waiting: u32,
    /// The most that was in use or waited for lately, and when.
    peak: (u32, Tick),
}

impl Pool {
    fn note(&mut self, now: Tick) {
        let wanted = self.in_use + self.waiting;
        if wanted >= self.peak.0 || now.since(self.peak.1) >= WANTED_FOR {
            self.peak = (wanted, now);
        }
    }
}

/// One connection under each limit; given back when dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    all: Arc<Connections>,
    limits: Arc<[Limit]>,
}

impl Connections {
    pub(crate) fn new(clock: Arc<dyn Clock>, news: Arc<News>, longest_call: Duration) -> Arc<Self> {
        Arc::new(Self { pools: Mutex::default(), clock, news, changed: Notify::new(), longest_call })
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<String, Pool>> {
        self.pools.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for a connection under every limit at once, at most until `until`; `None` when there is none by then.
    pub(crate) async fn take(self: &Arc<Self>, limits: &Arc<[Limit]>, until: Tick) -> Option<Connection> {
        if limits.is_empty() {
            return Some(Connection { all: Arc::clone(self), limits: Arc::clone(limits) });
        }
        // Boxed, as few jobs are under such a limit, and each would have room for it.
        Box::pin(self.wait_for(limits, until)).await
    }

    async fn wait_for(self: &Arc<Self>, limits: &Arc<[Limit]>, until: Tick) -> Option<Connection> {
        let waits = Waits::new(self, limits);
        loop {
            let changed = self.changed.notified();
            if self.try_take(limits) {
                drop(waits);
                return Some(Connection { all: Arc::clone(self), limits: Arc::clone(limits) });
            }
            let left = until.since(self.clock.tick());
            if left.is_zero() {
                return None;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(left.min(LOOK_AGAIN)) => {}
            }
        }
    }

    fn try_take(&self, limits: &[Limit]) -> bool {
        let now = self.clock.tick();
        let mut pools = self.pools();
        let free = limits.iter().all(|limit| {
            pools
                .get(&limit.key())
                .is_some_and(|pool| pool.in_use < pool.allowed && now + self.longest_call < pool.expires)
        });
        if free {
            for limit in limits {
                if let Some(pool) = pools.get_mut(&limit.key()) {
                    pool.in_use += 1;
                }
            }
        }
        free
    }

    /// What to ask the fleet for.
    pub(crate) fn wishes(&self) -> Vec<ConnectionWish> {
        let now = self.clock.tick();
        let mut pools = self.pools();
        for pool in pools.values_mut() {
            pool.note(now);
        }
        pools.retain(|_, pool| pool.in_use + pool.waiting + pool.peak.0 + pool.allowed > 0);
        let wish = |(key, pool): (&String, &Pool)| ConnectionWish {
            key: key.clone(),
            limit: pool.limit,
            in_use: pool.in_use,
            wanted: pool.peak.0.max(pool.in_use + pool.waiting),
            ttl_ns: nanos(self.longest_call * 2 + SLACK),
        };
        pools.iter().map(wish).collect()
    }

    /// Takes in what the fleet allows; the answer to a report that was made at `asked_at`.
    pub(crate) fn adopt(&self, view: &View, replica: &str, asked_at: Tick) {
        let mut pools = self.pools();
        for (key, pool) in pools.iter_mut() {
            let held = view.connections.get(key).and_then(|it| it.held.get(replica));
            match held {
                Some(held) => {
                    pool.allowed = held.allowed;
                    pool.expires = asked_at + Duration::from_nanos(u64::try_from(held.ttl_ns).unwrap_or(0));
                }
                None => pool.allowed = 0,
            }
        }
        drop(pools);
        self.changed.notify_waiters();
    }
}

impl Connection {
    /// Whether its leases outlast a call that begins now and takes `longest`.
    pub(crate) fn outlasts(&self, longest: Duration) -> bool {
        if self.limits.is_empty() {
            return true;
        }
        let end = self.all.clock.tick() + longest;
        let pools = self.all.pools();
        self.limits.iter().all(|limit| pools.get(&limit.key()).is_some_and(|pool| end < pool.expires))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.limits.is_empty() {
            return;
        }
        let mut pools = self.all.pools();
        for limit in self.limits.iter() {
            if let Some(pool) = pools.get_mut(&limit.key()) {
                pool.in_use = pool.in_use.saturating_sub(1);
            }
        }
        drop(pools);
        self.all.changed.notify_waiters();
    }
}

/// Counts one who waits, as long as it lives.
struct Waits<'a> {
    all: &'a Connections,
    limits: &'a [Limit],
}

impl<'a> Waits<'a> {
    fn new(all: &'a Connections, limits: &'a [Limit]) -> Self {
        let now = all.clock.tick();
        let mut short = false;
        let mut pools = all.pools();
        for limit in limits {
            let pool = pools.entry(limit.key()).or_default();
            pool.limit = limit.spec.count.get();
            pool.waiting += 1;
            pool.note(now);
            short |= pool.in_use + pool.waiting > pool.allowed;
        }
        drop(pools);
        if short {
            all.news.urgent.notify_one();
        }
        Self { all, limits }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut pools = self.all.pools();
        for limit in self.limits {
            if let Some(pool) = pools.get_mut(&limit.key()) {
                pool.waiting = pool.waiting.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
