//! What this process has taken out of each lane and not yet given back. In memory only: after a crash all of it is due
//! for delivery again, which is what a lane promises.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// All lanes that were ever opened or published to.
#[derive(Debug, Default)]
pub(crate) struct LaneBook {
    lanes: Mutex<HashMap<String, Arc<LaneState>>>,
}

/// One lane.
#[derive(Debug)]
pub(crate) struct LaneState {
    name: String,
    shelf: Mutex<Shelf>,
    /// Moves when there may be something to take.
    news: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Shelf {
    /// Every row up to here was taken, or is in `returned`.
    cursor: i64,
    /// Given back; they go out again before anything new.
    returned: BTreeSet<i64>,
    /// Taken and not given back; acked rows stay until their deletion is committed.
    out: HashSet<i64>,
}

/// Acks on their way to the writer.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    rows: Mutex<Vec<Acked>>,
    told: AtomicBool,
}

/// One acked row.
#[derive(Debug)]
pub(crate) struct Acked {
    lane: Arc<LaneState>,
    seq: i64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LaneBook {
    /// The lane of this name.
    pub(crate) fn lane(&self, name: &str) -> Arc<LaneState> {
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(name) {
            return lane.clone();
        }
        let lane = Arc::new(LaneState {
            name: name.to_owned(),
            shelf: Mutex::new(Shelf::default()),
            news: watch::Sender::new(()),
        });
        lanes.insert(name.to_owned(), lane.clone());
        lane
    }

    /// Wakes the feeds of a lane, if it has any.
    pub(crate) fn wake(&self, name: &str) {
        if let Some(lane) = lock(&self.lanes).get(name) {
            lane.wake();
        }
    }

    /// Whether a row is in somebody's hands.
    pub(crate) fn is_out(&self, name: &str, seq: i64) -> bool {
        lock(&self.lanes).get(name).is_some_and(|lane| lock(&lane.shelf).out.contains(&seq))
    }

    /// How many rows of a lane are in somebody's hands.
    pub(crate) fn out_count(&self, name: &str) -> usize {
        lock(&self.lanes).get(name).map_or(0, |lane| lock(&lane.shelf).out.len())
    }
}

impl LaneState {
    /// Its name, as in the table.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// For waiting until there may be something to take.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    /// There may be something to take.
    pub(crate) fn wake(&self) {
        self.news.send_replace(());
    }

    /// The row after which nothing was taken yet.
    pub(crate) fn cursor(&self) -> i64 {
        lock(&self.shelf).cursor
    }

    /// Takes up to `max` rows that were given back, lowest first.
    pub(crate) fn take_returned(&self, max: usize) -> Vec<i64> {
        let mut shelf = lock(&self.shelf);
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(seq) = shelf.returned.pop_first() else { break };
            shelf.out.insert(seq);
            taken.push(seq);
        }
        taken
    }

    /// Takes a new row. Only the feed thread takes, so rows come in order.
    pub(crate) fn take_new(&self, seq: i64) {
        let mut shelf = lock(&self.shelf);
        shelf.cursor = shelf.cursor.max(seq);
        shelf.out.insert(seq);
    }

    /// Gives a row back.
    pub(crate) fn give_back(&self, seq: i64) {
        {
            let mut shelf = lock(&self.shelf);
            shelf.out.remove(&seq);
            shelf.returned.insert(seq);
        }
        self.wake();
    }

    /// A row is gone from the table.
    pub(crate) fn gone(&self, seq: i64) {
        lock(&self.shelf).out.remove(&seq);
    }
}

impl Acks {
    /// Adds one; true when it is the first since the writer looked, and the writer must be told.
    pub(crate) fn push(&self, lane: Arc<LaneState>, seq: i64) -> bool {
        lock(&self.rows).push(Acked { lane, seq });
        !self.told.swap(true, Ordering::AcqRel)
    }

    /// All of them.
    pub(crate) fn take(&self) -> Vec<Acked> {
        // In this order: what is pushed after the look is told anew.
        self.told.store(false, Ordering::Release);
        std::mem::take(&mut *lock(&self.rows))
    }

    /// Their deletion failed.
    pub(crate) fn put_back(&self, acked: Vec<Acked>) {
        lock(&self.rows).extend(acked);
    }

    /// Their deletion is durable.
    pub(crate) fn forgotten(&self, acked: &[Acked]) {
        for one in acked {
            one.lane.gone(one.seq);
        }
    }
}

impl Acked {
    /// The row.
    pub(crate) fn seq(&self) -> i64 {
        self.seq
    }
}
