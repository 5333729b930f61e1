//! Room in a lane for jobs on the way to their calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

/// What a job has from its delivery until its call begins, or it is known that it has to wait while others of its lane need not, or that
/// there will be no call. More such jobs only take memory; those in their calls are as many as it takes.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Arc<Semaphore>,
    is_left: AtomicBool,
}

impl Room {
    /// Others may have it from here on.
    pub(crate) fn leave(&self) {
        if !self.is_left.swap(true, Ordering::Relaxed) {
            self.rooms.add_permits(1);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The room that a lane has.
#[derive(Debug)]
pub(crate) struct Rooms(Arc<Semaphore>);

impl Rooms {
    pub(crate) fn new(jobs: u16) -> Self {
        Self(Arc::new(Semaphore::new(jobs.into())))
    }

    /// Waits until there is room for one more job.
    pub(crate) async fn take(&self) -> Option<Room> {
        self.0.acquire().await.ok()?.forget();
        Some(self.room())
    }

    /// Room for one more job, if there is any.
    #[cfg(test)]
    pub(crate) fn try_take(&self) -> Option<Room> {
        self.0.try_acquire().ok()?.forget();
        Some(self.room())
    }

    fn room(&self) -> Room {
        Room { rooms: Arc::clone(&self.0), is_left: AtomicBool::new(false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Given back twice, there would be ever more of it.
    #[test]
    fn room_is_given_back_once() {
        let rooms = Rooms::new(1);
        for leaves in [false, true] {
            let room = rooms.try_take().unwrap();
            assert!(rooms.try_take().is_none());
            if leaves {
                room.leave();
            }
            drop(room);
            let again = rooms.try_take();
            assert!(again.is_some() && rooms.try_take().is_none(), "{leaves}");
        }
    }
}
