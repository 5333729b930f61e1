//! The HTTP/1.1 connections of an account that carry nothing now.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::http1::Line;

/// Idle connections are closed early: a request written into one that the server is just closing has an unknown end.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Idle lines, the one that was used last at the back. There are never more of them than calls at a time, which is the
/// account's `max_in_flight`, so their number needs no bound of its own: with one, calls above it would connect anew
/// each time.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    idle: VecDeque<(Line, Instant)>,
    is_swept: bool,
    /// Closes those that nobody takes; ends with them, or with the account.
    sweeper: JoinSet<()>,
}

impl Idle {
    /// The line that was used last, of those that have not been closed meanwhile as far as we were told.
    pub(super) fn take(&self) -> Option<Line> {
        let mut lines = self.lines();
        while let Some((mut line, since)) = lines.idle.pop_back() {
            if since.elapsed() < IDLE_TIMEOUT && line.is_free() {
                return Some(line);
            }
        }
        None
    }

    /// Keeps a line that is free, and closes any other.
    pub(super) fn put(self: &Arc<Self>, mut line: Line) {
        if !line.is_free() {
            return;
        }
        let mut lines = self.lines();
        lines.idle.push_back((line, Instant::now()));
        if !lines.is_swept {
            lines.is_swept = true;
            while lines.sweeper.try_join_next().is_some() {}
            lines.sweeper.spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Takes out what was idle for too long; nothing once nothing is idle.
    fn take_old(&self) -> Option<Vec<(Line, Instant)>> {
        let mut lines = self.lines();
        let old = lines.idle.partition_point(|(_, since)| since.elapsed() >= IDLE_TIMEOUT);
        let old = lines.idle.drain(..old).collect();
        lines.is_swept = !lines.idle.is_empty();
        lines.is_swept.then_some(old)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes lines that were idle for too long, until none is idle.
async fn sweep(idle: Weak<Idle>) {
    loop {
        sleep(IDLE_TIMEOUT / 2).await;
        let Some(old) = idle.upgrade().and_then(|idle| idle.take_old()) else { return };
        drop(old);
    }
}
