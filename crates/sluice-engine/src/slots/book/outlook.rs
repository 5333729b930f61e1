//! What those can be told who have not drawn a ticket yet, and what the other replicas are told.

use std::time::Duration;

use sluice_types::{Class, Limit, Tick};

use super::stock::Stock;
use super::{Book, Estimate, Totals, held_until, leased_together};
use crate::plan::is_rate;

impl Book {
    /// When the store lets the next slot of a limit open for a class, if it holds all back.
    fn opens(&self, limit: &Limit, class: Class) -> Option<Tick> {
        let stock = self.stocks.get(&self.keys.get(limit)?.held_from?)?;
        stock.next_open(class).filter(|_| stock.left() == 0)
    }

    /// The stocks for these limits, as far as there are any: of a job's limits, or of those that it shares with others.
    fn known_stocks(&self, limits: &[Limit]) -> impl Iterator<Item = &Stock> {
        let of_jobs = self.stocks_of.get(limits);
        let of_some = of_jobs.is_none().then(|| leased_together(limits)).into_iter().flatten();
        let of_some = of_some.filter_map(|set| self.stock_of.get(&*set));
        of_jobs.into_iter().flat_map(|ids| ids.iter()).chain(of_some).filter_map(|id| self.stocks.get(id))
    }

    /// Until when a limit lets nothing of a class go, be it by itself or by a brake.
    fn shut_until(&self, limit: &Limit, class: Class) -> Tick {
        let held = held_until(&self.brakes, std::slice::from_ref(limit));
        self.opens(limit, class).map_or(held, |opens| opens.max(held))
    }

    /// How long a further job of the class would wait under these limits.
    pub(in crate::slots) fn estimate(&self, class: Class, limits: &[Limit], now: Tick) -> Estimate {
        let mut longest = Estimate { wait: Duration::ZERO, limit: None };
        let mut wait_for = |wait: Duration, limit: &Limit| {
            if wait > longest.wait {
                longest = Estimate { wait, limit: Some(limit.clone()) };
            }
        };
        for limit in limits {
            wait_for(self.shut_until(limit, class).since(now), limit);
        }
        for stock in self.known_stocks(limits) {
            let ahead = stock
                .ahead(class)
                .saturating_sub(usize::try_from(stock.opening_by(now)).unwrap_or(usize::MAX));
            let ahead = u32::try_from(ahead).map_or(f64::MAX, f64::from);
            // A count over hours opens all at once and not at its rate.
            let rates = stock.limits.iter().filter(|limit| is_rate(&limit.spec)).filter_map(|limit| {
                let rate = limit.spec.rate_per_second()?;
                Some((rate * f64::from(self.rate_permille(limit)) / 1000.0, limit))
            });
            if let Some((rate, limit)) = rates.min_by(|(a, _), (b, _)| a.total_cmp(b)) {
                wait_for(Duration::try_from_secs_f64(ahead / rate).unwrap_or(Duration::MAX), limit);
            }
        }
        longest
    }

    /// The limit that lets nothing go for a class for the longest, and until when; `None` when none is shut.
    pub(in crate::slots) fn shut(&self, class: Class, limits: &[Limit], now: Tick) -> Option<(Tick, Limit)> {
        let shut = limits
            .iter()
            .map(|limit| (self.shut_until(limit, class), limit))
            .filter(|(until, _)| *until > now);
        shut.max_by_key(|(until, _)| *until).map(|(until, limit)| (until, limit.clone()))
    }

    /// How many wait in memory under a limit.
    pub(in crate::slots) fn waiting(&self, limit: &Limit) -> usize {
        self.keys.get(limit).map_or(0, |key| key.waiting)
    }

    /// Jobs that wait and slots that are left, by key; the largest first, at most `max` of each.
    pub(in crate::slots) fn totals(&self, max: usize) -> (Totals, Totals) {
        let top = |mut all: Vec<(&Limit, u64)>| -> Totals {
            all.retain(|(_, n)| *n > 0);
            all.sort_unstable_by_key(|(_, n)| std::cmp::Reverse(*n));
            all.truncate(max);
            all.into_iter().map(|(limit, n)| (limit.key(), n)).collect()
        };
        let waiting =
            self.keys.iter().map(|(limit, key)| (limit, u64::try_from(key.waiting).unwrap_or(u64::MAX)));
        let mut left = std::collections::HashMap::<&Limit, u64>::new();
        for stock in self.stocks.values() {
            for limit in stock.limits.iter() {
                *left.entry(limit).or_default() += u64::from(stock.left());
            }
        }
        (top(waiting.collect()), top(left.into_iter().collect()))
    }
}
