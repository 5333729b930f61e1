//! Notices what other processes publish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::lanes::LaneBook;

/// How often the file is looked at. Longer: `sluice enqueue` is noticed later; shorter: more idle work.
const EVERY: Duration = Duration::from_millis(50);

/// The thread's own part. To end it, set `stopping` and unpark the thread.
pub(crate) struct WatchLoop {
    pub(crate) connection: Connection,
    pub(crate) lanes: Arc<LaneBook>,
    pub(crate) stopping: Arc<AtomicBool>,
    /// Rows up to here are known.
    pub(crate) known: i64,
}

impl WatchLoop {
    /// Works until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut version = None;
        while !self.stopping.load(Ordering::Acquire) {
            if let Err(error) = self.look(&mut version) {
                tracing::warn!(error = %error, "cannot look for messages of other processes");
            }
            std::thread::park_timeout(EVERY);
        }
    }

    fn look(&mut self, version: &mut Option<i64>) -> rusqlite::Result<()> {
        let now: i64 =
            self.connection.prepare_cached("pragma data_version")?.query_row([], |row| row.get(0))?;
        if *version == Some(now) {
            return Ok(());
        }
        let mut fresh = self
            .connection
            .prepare_cached("select lane, max(seq) from lane_message where seq > ?1 group by lane")?;
        let mut rows = fresh.query([self.known])?;
        let mut known = self.known;
        while let Some(row) = rows.next()? {
            self.lanes.wake(&row.get::<_, String>(0)?);
            known = known.max(row.get(1)?);
        }
        self.known = known;
        *version = Some(now);
        Ok(())
    }
}
