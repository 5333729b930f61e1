//! The local view of leased slots: who waits for which, and whose turn it is.
//!
//! A job draws a [`Ticket`] for the limits that apply to it, waits until its turn is [`near`](Ticket::near) (so that a
//! claim is made just before the send and not earlier), and takes one slot under every limit at once with
//! [`turn`](Ticket::turn). A slot that passes unused lapses; none is ever moved or bunched. The [`keeper`] leases
//! blocks of slots for whatever is in demand, once a tick for all limits.

mod book;
mod keeper;
mod run;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sluice_telemetry::Metrics;
use sluice_types::{Class, EspId, GroupName, Limit, LimitScope, Tenant, Tick};
use tokio::sync::{Notify, oneshot};

use crate::ports::{Clock, Leased, Unused, Want};
use book::{Book, Brake, LineId, Served, Totals};
pub(crate) use keeper::keep_slots;

/// Least time between two looks at the lines where there are many: all are looked at.
const CROWD_PAUSE: Duration = Duration::from_millis(1);

/// What decides which limits apply to a job. Jobs with the same key wait in one line, first come first served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LineKey {
    pub(crate) class: Class,
    pub(crate) esp: EspId,
    pub(crate) group: GroupName,
    /// The tenant, where it has limits.
    pub(crate) tenant: Option<Tenant>,
    /// The domain, where it has limits of its own.
    pub(crate) domain: Option<Arc<str>>,
}

/// How long a job would wait, and for which limit.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    pub(crate) wait: Duration,
    /// The limit that holds it longest; none when nothing does.
    pub(crate) limit: Option<Limit>,
}

/// One slot under every limit of a job.
#[derive(Debug)]
pub(crate) struct Grant {
    /// After this instant the slot must not be used any more.
    pub(crate) closes: Tick,
    /// What goes back into its window if it is not used: the slots of counted limits.
    counted: Vec<(u32, run::Marks)>,
}

/// Slots of this process.
#[derive(Debug)]
pub(crate) struct Slots {
    book: Mutex<Book>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Slots are wanted that are not there.
    wanted: Notify,
    /// Somebody is ready or slots have come: look whose turn it is.
    changed: Notify,
}

impl Slots {
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>, reserved_permille: u32) -> Self {
        let mut book = Book::default();
        book.set_reserved(reserved_permille);
        Self { book: Mutex::new(book), clock, metrics, wanted: Notify::new(), changed: Notify::new() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How long a further job of a class would wait under these limits.
    pub(crate) fn estimate(&self, class: Class, limits: &[Limit], now: Tick) -> Estimate {
        if limits.is_empty() {
            return Estimate { wait: Duration::ZERO, limit: None };
        }
        self.book().estimate(class, limits, now)
    }

    /// The limit that lets nothing of a class go for the longest, and until when; `None` when none is shut.
    pub(crate) fn shut(&self, class: Class, limits: &[Limit], now: Tick) -> Option<(Tick, Limit)> {
        if limits.is_empty() {
            return None;
        }
        self.book().shut(class, limits, now)
    }

    /// How many jobs wait in memory under a limit.
    pub(crate) fn waiting(&self, limit: &Limit) -> usize {
        self.book().waiting(limit)
    }

    /// Jobs that wait and slots that are left, by key; at most `max` of each.
    pub(crate) fn totals(&self, max: usize) -> (Totals, Totals) {
        self.book().totals(max)
    }

    /// Sets the share of counted limits that is kept for transactional jobs.
    pub(crate) fn set_reserved(&self, permille: u32) {
        self.book().set_reserved(permille);
    }

    /// How many replicas have jobs waiting, by limit key; each keeps to its share of the slots.
    pub(crate) fn set_sharers(&self, sharers: std::collections::HashMap<String, u32>) {
        self.book().set_sharers(sharers);
    }

    /// Puts every line under the limits that hold for it now.
    pub(crate) fn relimit(&self, limits_of: impl Fn(&LineKey) -> Option<Arc<[Limit]>>) {
        let now = self.clock.tick();
        self.book().relimit(limits_of, now);
        self.wanted.notify_one();
        self.changed.notify_one();
    }

    /// Takes all unused slots out, to give them back.
    pub(crate) fn take_unused(&self) -> Vec<Unused> {
        let now = self.clock.tick();
        self.book().take_unused(now)
    }

    /// Sets the brakes that are on: by scope, the share of the rate in permille and until when nothing goes at all.
    pub(crate) fn set_brakes(&self, brakes: impl IntoIterator<Item = (LimitScope, u32, Tick)>) {
        let brakes = brakes.into_iter();
        let brakes =
            brakes.map(|(scope, rate_permille, hold_until)| (scope, Brake { rate_permille, hold_until }));
        self.book().set_brakes(brakes.collect());
        self.changed.notify_one();
    }

    /// Draws a ticket: a place at the end of the line.
    pub(crate) fn draw(self: &Arc<Self>, key: &LineKey, limits: &Arc<[Limit]>) -> Ticket {
        if limits.is_empty() {
            return Ticket { slots: Arc::clone(self), place: None };
        }
        let now = self.clock.tick();
        let drawn = self.book().draw(key, limits, now);
        if drawn.wants_slots {
            self.wanted.notify_one();
        }
        Ticket {
            slots: Arc::clone(self),
            place: Some(Place { line: drawn.line, number: drawn.number, near: drawn.near }),
        }
    }

    /// Gives every turn that is due.
    fn serve(&self) -> Served {
        let now = self.clock.tick();
        let served = self.book().serve(now);
        if served.starves {
            self.wanted.notify_one();
        }
        served
    }

    /// Takes in leases that were asked for at `asked_at`.
    fn stock(&self, wants: &[(u32, Want)], leases: &[Leased], asked_at: Tick) {
        let received_at = self.clock.tick();
        let mut book = self.book();
        // What was not leased by time has no instant.
        let works_ns = leases.iter().filter(|leased| leased.at_ns != 0).map(|leased| leased.work_ns);
        if let Some(work_ns) = works_ns.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) {
            book.learn_clock(work_ns, asked_at, received_at);
        }
        for ((id, want), leased) in wants.iter().zip(leases) {
            book.stock(*id, want, leased, received_at);
            let count = leased.runs.iter().map(|run| u64::from(run.count)).sum();
            want.limits.iter().for_each(|limit| self.metrics.slots_leased(&limit.scope, count));
        }
        drop(book);
        self.changed.notify_one();
    }

    /// Hands what was used and lapsed since the last call to the metrics.
    fn count(&self) {
        let counts = self.book().take_counts();
        for (scope, counts) in counts {
            self.metrics.slots_used(&scope, counts.used);
            self.metrics.slots_lapsed(&scope, counts.lapsed);
        }
    }

    /// Waits for turns and gives them, for ever.
    pub(crate) async fn run(&self) {
        loop {
            let Served { next, is_crowded, .. } = self.serve();
            if is_crowded {
                tokio::time::sleep(CROWD_PAUSE).await;
            }
            let changed = self.changed.notified();
            match next {
                None => changed.await,
                Some(at) => {
                    let wait = at.since(self.clock.tick());
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }
}

#[derive(Debug)]
struct Place {
    line: LineId,
    number: u64,
    near: Option<oneshot::Receiver<()>>,
}

/// A place in a line; dropped, it is given up.
#[derive(Debug)]
pub(crate) struct Ticket {
    slots: Arc<Slots>,
    place: Option<Place>,
}

impl Ticket {
    /// Waits until the turn is near, at most until `until`; false when it is not by then.
    pub(crate) async fn near(&mut self, until: Tick) -> bool {
        let Some(near) = self.place.as_mut().and_then(|place| place.near.as_mut()) else { return true };
        let wait = until.since(self.slots.clock.tick());
        let near = tokio::time::timeout(wait, near).await.is_ok();
        if near && let Some(place) = self.place.as_mut() {
            place.near = None;
        }
        near
    }

    /// Lets others come near while this one waits for something else; it takes its [`turn`](Self::turn) at the head of the
    /// line.
    pub(crate) fn step_aside(&self) {
        if let Some(place) = &self.place
            && self.slots.book().leave(place.line, place.number)
        {
            self.slots.changed.notify_one();
        }
    }

    /// Waits for a slot under every limit and takes it, at most until `until`; `None` when there was none by then.
    ///
    /// When the grant comes too late to be used, call it again: the place is at the head of the line.
    pub(crate) async fn turn(&mut self, until: Tick) -> Option<Grant> {
        let Some(place) = &self.place else {
            return Some(Grant { closes: Tick::from_nanos(u64::MAX), counted: Vec::new() });
        };
        let now = self.slots.clock.tick();
        let outcome = self.slots.book().ready(place.line, place.number, now);
        match outcome {
            book::Ready::Granted(grant) => Some(grant),
            book::Ready::Wait(grant) => {
                self.slots.changed.notify_one();
                let wait = until.since(now);
                match tokio::time::timeout(wait, grant).await {
                    Ok(Ok(grant)) => Some(grant),
                    Ok(Err(_)) | Err(_) => None,
                }
            }
        }
    }
}

impl Ticket {
    /// The turn was granted and nothing was sent.
    pub(crate) fn unused(&self, grant: Grant) {
        if !grant.counted.is_empty() {
            self.slots.book().take_back(grant);
            self.slots.changed.notify_one();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let others_wait = self.slots.book().leave(place.line, place.number);
            if others_wait {
                self.slots.changed.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests;
