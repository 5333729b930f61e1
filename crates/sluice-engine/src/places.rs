//! The places of one ESP account in this process: so many calls at the same time, and as many more in a claim as calls end
//! meanwhile; how long one takes, and few while none is answered.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_types::{Class, Outcome, Tick};
use tokio::sync::oneshot;

use crate::ports::Clock;
use crate::waiters::{Waiters, is_wanted, reserve};
use ahead::Ahead;
use call_time::CallTime;
use faults::Faults;
pub(crate) use silence::Calling;
use silence::Silence;

mod ahead;
mod call_time;
mod faults;
mod silence;

/// Most places of one account.
const PLACES_MAX: usize = 1 << 20;

/// Bits of each count in [`Gate::state`].
const BITS: u32 = 21;
const BULK: u64 = 1;
const TRANSACTIONAL: u64 = 1 << BITS;
const WAITS: u64 = 1 << (2 * BITS);

/// The places of one ESP account: a job takes one before its claim, and [enters](Place::enter) with it to call.
#[derive(Debug)]
pub(crate) struct Places {
    /// Calls at the same time.
    count: u32,
    reserved: AtomicU32,
    /// Who is claimed or calls.
    claims: Gate,
    /// Who of these calls.
    calls: Gate,
    ahead: Ahead,
    /// When a transactional job wanted one last, in nanoseconds; 0: never.
    urgent_at: AtomicU64,
    /// So many calls are put at stake on an ESP that has fallen silent, or fails call after call; 0: any number.
    stake: AtomicU32,
    silence: Silence,
    faults: Faults,
    call: CallTime,
    clock: Arc<dyn Clock>,
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Claim,
    Call,
}

/// Who has passed, and who waits for that.
///
/// While nobody waits one passes and goes without a lock.
#[derive(Debug, Default)]
struct Gate {
    /// How many bulk and transactional jobs have passed, and how many jobs wait.
    state: AtomicU64,
    line: Mutex<Line>,
    /// Transactional jobs among those who wait.
    urgent_waiting: AtomicU32,
}

#[derive(Debug, Default)]
struct Line {
    waiters: Waiters<Pass>,
    next: u64,
}

/// One has passed; given back when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    places: Arc<Places>,
    class: Class,
    step: Step,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// It is one of the calls under way; that ends first.
    call: Option<Pass>,
    claim: Pass,
    taken_at: Tick,
}

/// One who waits to pass; leaves the line when dropped.
#[derive(Debug)]
pub(crate) struct PassWait {
    places: Arc<Places>,
    class: Class,
    step: Step,
    number: u64,
    pub(crate) turn: oneshot::Receiver<Pass>,
}

/// Those whose turn has come, to be told once the lock is free.
type Turns = Vec<(oneshot::Sender<Pass>, Pass)>;

impl Places {
    pub(crate) fn new(count: usize, reserved_permille: u32, clock: Arc<dyn Clock>) -> Arc<Self> {
        let count = u32::try_from(count.clamp(1, PLACES_MAX)).unwrap_or(1);
        Arc::new(Self {
            count,
            reserved: AtomicU32::new(reserve(count, reserved_permille)),
            claims: Gate::default(),
            calls: Gate::default(),
            ahead: Ahead::default(),
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
        self.calls.passed()
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
        let state = self.claims.state.load(Ordering::Relaxed);
        let waiting = match class {
            Class::Transactional => self.claims.urgent_waiting.load(Ordering::Relaxed),
            Class::Bulk => u32::try_from(part(state, WAITS)).unwrap_or(u32::MAX),
        };
        if waiting == 0 && self.is_free(Step::Claim, state, class) {
            return Duration::ZERO;
        }
        self.call().saturating_mul(waiting.saturating_add(1)) / self.count
    }

    /// Takes one if it is free and nobody waits.
    pub(crate) fn try_take(self: &Arc<Self>, class: Class) -> Option<Place> {
        self.note_class(class);
        self.try_pass(Step::Claim, class).map(Place::of)
    }

    /// Joins the line of those who want a place.
    pub(crate) fn join(self: &Arc<Self>, class: Class) -> PassWait {
        self.note_class(class);
        self.wait_to_pass(Step::Claim, class)
    }

    const fn gate(&self, step: Step) -> &Gate {
        match step {
            Step::Claim => &self.claims,
            Step::Call => &self.calls,
        }
    }

    fn try_pass(self: &Arc<Self>, step: Step, class: Class) -> Option<Pass> {
        let Gate { state, .. } = self.gate(step);
        let mut seen = state.load(Ordering::Relaxed);
        while part(seen, WAITS) == 0 && self.is_free(step, seen, class) {
            let more = seen + of(class);
            match state.compare_exchange_weak(seen, more, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(Pass { places: Arc::clone(self), class, step }),
                Err(now) => seen = now,
            }
        }
        None
    }

    fn wait_to_pass(self: &Arc<Self>, step: Step, class: Class) -> PassWait {
        let gate = self.gate(step);
        let mut line = gate.line();
        line.next += 1;
        let number = line.next;
        let turn = line.waiters.join(class, number);
        gate.count_waiting(class, true);
        let turns = self.serve(step, &mut line);
        drop(line);
        tell(turns);
        PassWait { places: Arc::clone(self), class, step, number, turn }
    }

    fn note_class(&self, class: Class) {
        if class == Class::Transactional && self.reserved.load(Ordering::Relaxed) > 0 {
            self.urgent_at.store(self.clock.tick().as_nanos().max(1), Ordering::Relaxed);
        }
    }

    fn is_free(&self, step: Step, state: u64, class: Class) -> bool {
        let urgent = part(state, TRANSACTIONAL);
        let used = part(state, BULK) + urgent;
        let mut count = u64::from(self.count);
        if step == Step::Claim {
            let stake = self.stake.load(Ordering::Relaxed);
            if self.silence.holds(stake, || self.clock.tick()) || self.faults.hold(stake, used) {
                return false;
            }
            count += self.ahead.beside(self.count, &self.call.mean);
        }
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
    fn serve(self: &Arc<Self>, step: Step, line: &mut Line) -> Turns {
        let gate = self.gate(step);
        let mut turns = Vec::new();
        for class in [Class::Transactional, Class::Bulk] {
            while line.waiters.first(class).is_some()
                && self.is_free(step, gate.state.load(Ordering::Acquire), class)
                && let Some(turn) = line.waiters.pop(class)
            {
                if !turn.is_closed() {
                    // Nobody else takes one meanwhile: this one waits, and so all others need the lock.
                    gate.state.fetch_add(of(class), Ordering::AcqRel);
                    turns.push((turn, Pass { places: Arc::clone(self), class, step }));
                }
                gate.count_waiting(class, false);
            }
        }
        turns
    }

    fn give_back(self: &Arc<Self>, step: Step, class: Class) {
        let gate = self.gate(step);
        let mut seen = gate.state.load(Ordering::Relaxed);
        while part(seen, WAITS) == 0 {
            let less = seen.saturating_sub(of(class));
            match gate.state.compare_exchange_weak(seen, less, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        let mut line = gate.line();
        gate.state.fetch_sub(of(class), Ordering::AcqRel);
        let turns = self.serve(step, &mut line);
        drop(line);
        tell(turns);
    }
}

impl Gate {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed(&self) -> u64 {
        let state = self.state.load(Ordering::Relaxed);
        part(state, BULK) + part(state, TRANSACTIONAL)
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
    for (turn, pass) in turns {
        drop(turn.send(pass));
    }
}

impl Place {
    /// The place of a job that has passed on to its claim.
    pub(crate) fn of(claim: Pass) -> Self {
        let taken_at = claim.places.clock.tick();
        Self { call: None, claim, taken_at }
    }

    /// Whoever is claimed goes on to the call, if there are not as many already.
    pub(crate) fn try_enter(&mut self) -> bool {
        let Pass { places, class, .. } = &self.claim;
        places.ahead.claimed(places.clock.tick().since(self.taken_at));
        self.call = places.try_pass(Step::Call, *class);
        self.call.is_some()
    }

    /// Waits until enough calls have ended; false when that cannot be told any more.
    pub(crate) async fn enter(&mut self) -> bool {
        let mut wait = self.claim.places.wait_to_pass(Step::Call, self.claim.class);
        self.call = (&mut wait.turn).await.ok();
        self.call.is_some()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.places.give_back(self.step, self.class);
    }
}

impl Drop for PassWait {
    fn drop(&mut self) {
        let gate = self.places.gate(self.step);
        let mut line = gate.line();
        if line.waiters.leave(self.class, self.number) {
            gate.count_waiting(self.class, false);
        }
    }
}

#[cfg(test)]
mod tests;
