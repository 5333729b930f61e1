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
use sluice_types::{Class, EspId, GroupName, Limit, Tenant, Tick};
use tokio::sync::{Notify, oneshot};

use crate::ports::{Clock, Leased, Want};
use book::Book;
pub(crate) use keeper::keep_slots;

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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    /// After this instant the slot must not be used any more.
    pub(crate) closes: Tick,
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
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        Self {
            book: Mutex::new(Book::default()),
            clock,
            metrics,
            wanted: Notify::new(),
            changed: Notify::new(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// How long a further job of this line would wait.
    pub(crate) fn estimate(&self, key: &LineKey, limits: &[Limit]) -> Estimate {
        if limits.is_empty() {
            return Estimate { wait: Duration::ZERO, limit: None };
        }
        let now = self.clock.tick();
        self.book().estimate(key, limits, now)
    }

    /// Draws a ticket: a place at the end of the line.
    pub(crate) fn draw(self: &Arc<Self>, key: &LineKey, limits: &[Limit]) -> Ticket {
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
            place: Some(Place { key: key.clone(), number: drawn.number, near: drawn.near }),
        }
    }

    /// Gives every turn that is due; answers when the next one may be.
    fn serve(&self) -> Option<Tick> {
        let now = self.clock.tick();
        self.book().serve(now)
    }

    /// Takes in leases that were asked for at `asked_at`.
    fn stock(&self, wants: &[Want], leases: &[Leased], asked_at: Tick) {
        let received_at = self.clock.tick();
        let mut book = self.book();
        for (want, leased) in wants.iter().zip(leases) {
            book.stock(&want.limit, leased, asked_at, received_at);
            let count = leased.runs.iter().map(|run| u64::from(run.count)).sum();
            self.metrics.slots_leased(&want.limit.scope, count);
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
            let next = self.serve();
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
    key: LineKey,
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

    /// Waits for a slot under every limit and takes it, at most until `until`; `None` when there was none by then.
    ///
    /// When the grant comes too late to be used, call it again: the place is at the head of the line.
    pub(crate) async fn turn(&mut self, until: Tick) -> Option<Grant> {
        let Some(place) = &self.place else { return Some(Grant { closes: Tick::from_nanos(u64::MAX) }) };
        let now = self.slots.clock.tick();
        let outcome = self.slots.book().ready(&place.key, place.number, now);
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

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let others_wait = self.slots.book().leave(&place.key, place.number);
            if others_wait {
                self.slots.changed.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests;
