//! Who may run beside whom: scenarios that judge by time have the machine to themselves.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Scenarios that run, and whether one of them runs alone.
#[derive(Debug, Default)]
struct Running {
    scenarios: usize,
    alone: bool,
    /// Scenarios that wait to run alone: no other begins before them.
    want_alone: usize,
}

static RUNNING: Mutex<Running> = Mutex::new(Running { scenarios: 0, alone: false, want_alone: 0 });
static ENDED: Condvar = Condvar::new();

/// The right to run, given back when dropped.
#[derive(Debug)]
pub(crate) struct Floor(());

impl Floor {
    /// Beside others.
    pub(crate) fn shared() -> Self {
        let mut running = running();
        while running.alone || running.want_alone > 0 {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        running.scenarios += 1;
        Self(())
    }

    /// With no other.
    pub(crate) fn alone() -> Self {
        let mut running = running();
        running.want_alone += 1;
        while running.scenarios > 0 {
            running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        running.want_alone -= 1;
        running.scenarios += 1;
        running.alone = true;
        Self(())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let mut running = running();
        running.scenarios -= 1;
        running.alone = false;
        drop(running);
        ENDED.notify_all();
    }
}

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
