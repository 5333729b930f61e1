//! The places of one ESP account in this process: so many calls at the same time, and as many more in a claim as calls end
//! meanwhile; how long one takes, and few while none is answered.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_types::{Class, Outcome, Tick};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::ports::Clock;
use crate::waiters::{Waiters, is_wanted, reserve};
use ahead::Ahead;
use faults::Faults;
pub(crate) use silence::Calling;
use silence::Silence;

mod ahead;
mod faults;
mod silence;

/// Most places of one account.
const PLACES_MAX: usize = 1 << 20;
/// How long a call takes in nanoseconds, until some have taken twice or half as long.
const CALL_NS: u64 = 1_000_000_000;

/// Bits of each count in [`Places::state`].
const BITS: u32 = 21;
const BULK: u64 = 1;
const TRANSACTIONAL: u64 = 1 << BITS;
const WAITS: u64 = 1 << (2 * BITS);

/// The places of one ESP account.
///
/// A job takes one before its claim and [enters](Place::enter) with it, to call. While nobody waits one is taken and given back
/// without a lock.
#[derive(Debug)]
pub(crate) struct Places {
    /// Calls at the same time.
    count: u32,
    door: Semaphore,
    ahead: Ahead,
    reserved: AtomicU32,
    /// How many bulk and transactional jobs have one, and how many jobs wait.
    state: AtomicU64,
    line: Mutex<Line>,
    /// Transactional jobs among those who wait.
    urgent_waiting: AtomicU32,
    /// When a transactional job wanted one last, in nanoseconds; 0: never.
    urgent_at: AtomicU64,
    /// So many calls are put at stake on an ESP that has fallen silent, or fails call after call; 0: any number.
    stake: AtomicU32,
    silence: Silence,
    faults: Faults,
    call: CallTime,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct Line {
    waiters: Waiters<Place>,
    next: u64,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    class: Class,
    taken_at: Tick,
    /// It is one of the calls under way.
    has_entered: bool,
}

/// One who waits for a place; leaves the line when dropped.
#[derive(Debug)]
pub(crate) struct PlaceWait {
    places: Arc<Places>,
    class: Class,
    number: u64,
    pub(crate) turn: oneshot::Receiver<Place>,
}

/// Those whose turn has come, to be told once the lock is free.
type Turns = Vec<(oneshot::Sender<Place>, Place)>;

impl Places {
    pub(crate) fn new(count: usize, reserved_permille: u32, clock: Arc<dyn Clock>) -> Arc<Self> {
        let count = u32::try_from(count.clamp(1, PLACES_MAX)).unwrap_or(1);
        Arc::new(Self {
            count,
            door: Semaphore::new(usize::try_from(count).unwrap_or(1)),
            ahead: Ahead::default(),
            reserved: AtomicU32::new(reserve(count, reserved_permille)),
            state: AtomicU64::new(0),
            line: Mutex::default(),
            urgent_waiting: AtomicU32::new(0),
            urgent_at: AtomicU64::new(0),
            stake: AtomicU32::new(0),
            silence: Silence::default(),
            faults: Faults::default(),
            call: CallTime::default(),
            clock,
        })
    }

    pub(crate) fn set_reserved(&self, permille: u32) {
        self.reserved.store(reserve(self.count, permille), Ordering::Relaxed);
    }

    /// How many call at the same time.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Calls under way.
    pub(crate) fn in_use(&self) -> u64 {
        let free = u64::try_from(self.door.available_permits()).unwrap_or(u64::MAX);
        u64::from(self.count).saturating_sub(free)
    }

    /// About how long a call takes.
    pub(crate) fn call(&self) -> Duration {
        self.call.about()
    }

    /// A call took so long.
    pub(crate) fn took(&self, took: Duration) {
        self.call.note(took);
    }

    /// A call begins.
    pub(crate) fn begin(self: &Arc<Self>) -> Calling {
        Calling::begin(self)
    }

    /// For how long calls have been under way and none was answered: an ESP that hangs tells nothing of how long its calls take.
    pub(crate) fn silence(&self) -> Duration {
        self.silence.lasts(self.clock.tick())
    }

    /// How many calls are put at stake on an ESP that has fallen silent, or fails call after call.
    pub(crate) fn set_stake(&self, calls: u32) {
        self.stake.store(calls, Ordering::Relaxed);
    }

    /// What a job that had a place has come to at the ESP. Told before the place is given back, so that it counts for the next one.
    pub(crate) fn judge(&self, outcome: &Outcome) {
        self.faults.note(outcome);
    }

    /// About how long a further job of the class would wait.
    pub(crate) fn wait(&self, class: Class) -> Duration {
        let state = self.state.load(Ordering::Relaxed);
        let waiting = match class {
            Class::Transactional => self.urgent_waiting.load(Ordering::Relaxed),
            Class::Bulk => u32::try_from(part(state, WAITS)).unwrap_or(u32::MAX),
        };
        if waiting == 0 && self.is_free(state, class) {
            return Duration::ZERO;
        }
        self.call().saturating_mul(waiting.saturating_add(1)) / self.count
    }

    /// Takes one if it is free and nobody waits.
    pub(crate) fn try_take(self: &Arc<Self>, class: Class) -> Option<Place> {
        self.note_class(class);
        let mut state = self.state.load(Ordering::Relaxed);
        while part(state, WAITS) == 0 && self.is_free(state, class) {
            let taken = state + of(class);
            match self.state.compare_exchange_weak(state, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(self.place(class)),
                Err(now) => state = now,
            }
        }
        None
    }

    /// Joins the line.
    pub(crate) fn join(self: &Arc<Self>, class: Class) -> PlaceWait {
        self.note_class(class);
        let mut line = self.line();
        line.next += 1;
        let number = line.next;
        let turn = line.waiters.join(class, number);
        self.count_waiting(class, true);
        let turns = self.serve(&mut line);
        drop(line);
        tell(turns);
        PlaceWait { places: Arc::clone(self), class, number, turn }
    }

    fn place(self: &Arc<Self>, class: Class) -> Place {
        Place { places: Arc::clone(self), class, taken_at: self.clock.tick(), has_entered: false }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more or one less waits; called with the lock held.
    fn count_waiting(&self, class: Class, more: bool) {
        if more {
            self.state.fetch_add(WAITS, Ordering::AcqRel);
        } else {
            self.state.fetch_sub(WAITS, Ordering::AcqRel);
        }
        if class == Class::Transactional {
            let count = self.urgent_waiting.load(Ordering::Relaxed);
            let count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
            self.urgent_waiting.store(count, Ordering::Relaxed);
        }
    }

    fn note_class(&self, class: Class) {
        if class == Class::Transactional && self.reserved.load(Ordering::Relaxed) > 0 {
            self.urgent_at.store(self.clock.tick().as_nanos().max(1), Ordering::Relaxed);
        }
    }

    fn is_free(&self, state: u64, class: Class) -> bool {
        let stake = self.stake.load(Ordering::Relaxed);
        let urgent = part(state, TRANSACTIONAL);
        let used = part(state, BULK) + urgent;
        if self.silence.holds(stake, || self.clock.tick()) || self.faults.hold(stake, used) {
            return false;
        }
        let count = u64::from(self.count) + self.ahead.beside(self.count, self.call.mean());
        if used >= count || class == Class::Transactional {
            return used < count;
        }
        let kept = u64::from(self.reserved.load(Ordering::Relaxed)).saturating_sub(urgent);
        if used + kept < count {
            return true;
        }
        let urgent_at = self.urgent_at.load(Ordering::Relaxed);
        let urgent_at = (urgent_at > 0).then(|| Tick::from_nanos(urgent_at));
        urgent_at.is_none() || !is_wanted(urgent_at, self.clock.tick())
    }

    /// Hands out what is free; called with the lock held.
    fn serve(self: &Arc<Self>, line: &mut Line) -> Turns {
        let mut turns = Vec::new();
        for class in [Class::Transactional, Class::Bulk] {
            while line.waiters.first(class).is_some()
                && self.is_free(self.state.load(Ordering::Acquire), class)
                && let Some(turn) = line.waiters.pop(class)
            {
                if !turn.is_closed() {
                    // Nobody else takes one meanwhile: this one waits, and so all others need the lock.
                    self.state.fetch_add(of(class), Ordering::AcqRel);
                    turns.push((turn, self.place(class)));
                }
                self.count_waiting(class, false);
            }
        }
        turns
    }

    fn give_back(self: &Arc<Self>, class: Class) {
        let mut state = self.state.load(Ordering::Relaxed);
        while part(state, WAITS) == 0 {
            let less = state.saturating_sub(of(class));
            match self.state.compare_exchange_weak(state, less, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
        let mut line = self.line();
        self.state.fetch_sub(of(class), Ordering::AcqRel);
        let turns = self.serve(&mut line);
        drop(line);
        tell(turns);
    }
}

const fn of(class: Class) -> u64 {
    match class {
        Class::Transactional => TRANSACTIONAL,
        Class::Bulk => BULK,
    }
}

/// One of the counts of a state.
const fn part(state: u64, unit: u64) -> u64 {
    (state / unit) & (TRANSACTIONAL - 1)
}

/// Who has given up meanwhile gives it back by dropping it.
fn tell(turns: Turns) {
    for (turn, place) in turns {
        drop(turn.send(place));
    }
}

impl Place {
    /// Whoever is claimed goes on to the call, if there are not as many already.
    pub(crate) fn try_enter(&mut self) -> bool {
        self.places.ahead.claimed(self.places.clock.tick().since(self.taken_at));
        // It comes back with the place.
        self.has_entered |= self.places.door.try_acquire().map(SemaphorePermit::forget).is_ok();
        self.has_entered
    }

    /// Waits until one of the calls has ended.
    pub(crate) async fn enter(&mut self) {
        self.has_entered |= self.places.door.acquire().await.map(SemaphorePermit::forget).is_ok();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.has_entered {
            self.places.door.add_permits(1);
        }
        self.places.give_back(self.class);
    }
}

impl Drop for PlaceWait {
    fn drop(&mut self) {
        let mut line = self.places.line();
        if line.waiters.leave(self.class, self.number) {
            self.places.count_waiting(self.class, false);
        }
    }
}

/// How long the calls of an account take. It steers how much is borrowed from the broker, and each change of that costs a
/// consumer: so it moves only when calls take twice or half as long.
#[derive(Debug)]
struct CallTime {
    mean: MeanTime,
    about_ns: AtomicU64,
}

impl Default for CallTime {
    fn default() -> Self {
        Self { mean: MeanTime::default(), about_ns: AtomicU64::new(CALL_NS) }
    }
}

impl CallTime {
    fn note(&self, took: Duration) {
        let mean = self.mean.note(took);
        let about = self.about_ns.load(Ordering::Relaxed);
        if mean > about.saturating_mul(2) || mean < about / 2 {
            self.about_ns.store(mean, Ordering::Relaxed);
        }
    }

    fn about(&self) -> Duration {
        Duration::from_nanos(self.about_ns.load(Ordering::Relaxed))
    }

    fn mean(&self) -> &MeanTime {
        &self.mean
    }
}

/// A moving mean in nanoseconds; 0: nothing was noted. What one of two that come at once adds may be lost.
#[derive(Debug, Default)]
struct MeanTime(AtomicU64);

impl MeanTime {
    /// One more; answers the mean.
    fn note(&self, took: Duration) -> u64 {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let mean = match self.0.load(Ordering::Relaxed) {
            0 => took,
            mean => (mean - mean / 8 + took / 8).max(1),
        };
        self.0.store(mean, Ordering::Relaxed);
        mean
    }

    fn nanos(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests;
