//! One feed of one lane: what is lent to one consumer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};
use sluice_engine::{Acker, Delivery, Feed, Receipt};
use tokio::sync::{Notify, oneshot, watch};

use crate::StoreError;
use crate::convert;
use crate::lanes::{Acks, LaneState};
use crate::reader::Reader;
use crate::writer::Writer;

/// Rows read at once, at most.
const FETCH_ROWS: usize = 256;
/// Bytes of bodies after which no further row is read.
const FETCH_BYTES: usize = 4 * 1024 * 1024;

/// A feed over the file.
pub(crate) struct LaneFeed {
    lender: Arc<Lender>,
    reader: Reader,
    news: watch::Receiver<()>,
    prefetch: usize,
    /// Read and not yet handed out; they count as lent.
    buffer: VecDeque<Delivery>,
    /// A read on its way. Kept here so that a cancelled `next` loses nothing.
    fetching: Option<oneshot::Receiver<Result<Vec<Delivery>, StoreError>>>,
    /// The last read found nothing: wait for news before the next.
    dry: bool,
    stopped: bool,
}

/// Counts what one feed has lent, and takes it back.
#[derive(Debug)]
pub(crate) struct Lender {
    lane: Arc<LaneState>,
    acks: Arc<Acks>,
    writer: Writer,
    /// Rows up to here were in the file before this process; an earlier one may have delivered them.
    old_until: i64,
    lent: AtomicUsize,
    room: Notify,
}

impl LaneFeed {
    /// A feed with room for `prefetch` deliveries.
    pub(crate) fn new(lender: Arc<Lender>, reader: Reader, prefetch: u16) -> Self {
        Self {
            news: lender.lane.news(),
            lender,
            reader,
            prefetch: usize::from(prefetch.max(1)),
            buffer: VecDeque::new(),
            fetching: None,
            dry: false,
            stopped: false,
        }
    }

    /// Starts to read as much as there is room for.
    async fn start_fetch(&mut self, room: usize) -> Result<(), StoreError> {
        self.news.mark_unchanged();
        let lender = self.lender.clone();
        let fetch = move |connection: &Connection| fetch(connection, &lender, room.min(FETCH_ROWS));
        self.fetching = Some(self.reader.start(fetch).await?);
        Ok(())
    }

    /// Takes what a read found.
    async fn finish_fetch(&mut self) -> Result<(), StoreError> {
        let Some(fetching) = &mut self.fetching else { return Ok(()) };
        let found = fetching.await;
        self.fetching = None;
        let found = found.map_err(|_| StoreError::Closed)??;
        self.dry = found.is_empty();
        self.buffer.extend(found);
        Ok(())
    }

    /// Goes one step towards a delivery; false when there will be none.
    async fn step(&mut self) -> Result<bool, StoreError> {
        if self.fetching.is_some() {
            self.finish_fetch().await?;
            return Ok(true);
        }
        if self.stopped {
            return Ok(false);
        }
        let room = self.prefetch.saturating_sub(self.lender.lent.load(Ordering::Acquire));
        if room == 0 {
            self.lender.room.notified().await;
        } else if self.dry {
            // The lane outlives the feed, so its sender is never gone.
            self.news.changed().await.map_err(|_| StoreError::Closed)?;
            self.dry = false;
        } else {
            self.start_fetch(room).await?;
        }
        Ok(true)
    }
}

#[async_trait]
impl Feed for LaneFeed {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            if let Some(delivery) = self.buffer.pop_front() {
                return Some(delivery);
            }
            match self.step().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(StoreError::Closed) => return None,
                Err(error) => {
                    tracing::warn!(lane = self.lender.lane.name(), error = %error, "feed ended");
                    return None;
                }
            }
        }
    }

    async fn stop(&mut self) {
        self.stopped = true;
    }
}

impl Lender {
    /// Lends rows of `lane`.
    pub(crate) fn new(lane: Arc<LaneState>, acks: Arc<Acks>, writer: Writer, old_until: i64) -> Self {
        Self { lane, acks, writer, old_until, lent: AtomicUsize::new(0), room: Notify::new() }
    }

    /// Lends one row that was taken from the lane. From here on its receipt keeps the count.
    fn lend(self: &Arc<Self>, row: LaneRow, returned: bool) -> Delivery {
        self.lent.fetch_add(1, Ordering::AcqRel);
        Delivery {
            body: row.body,
            passport: row.passport,
            redelivered: returned || row.seq <= self.old_until,
            returns: 0,
            receipt: Receipt::new(row.seq.cast_unsigned(), self.clone()),
        }
    }

    fn taken_back(&self) {
        self.lent.fetch_sub(1, Ordering::AcqRel);
        self.room.notify_one();
    }
}

impl Acker for Lender {
    fn ack(&self, tag: u64) {
        if self.acks.push(self.lane.clone(), tag.cast_signed()) {
            self.writer.nudge();
        }
        self.taken_back();
    }

    fn release(&self, tag: u64) {
        self.lane.give_back(tag.cast_signed());
        self.taken_back();
    }
}

struct LaneRow {
    seq: i64,
    body: Bytes,
    passport: sluice_engine::Passport,
}

fn lane_row(row: &Row<'_>) -> rusqlite::Result<LaneRow> {
    Ok(LaneRow {
        seq: row.get(0)?,
        body: Bytes::from(row.get::<_, Vec<u8>>(1)?),
        passport: convert::passport(row, 2)?,
    })
}

/// Takes up to `max` rows: what was given back first, then what is new. Runs on the feed thread.
///
/// When it fails, what it had taken is given back as its receipts are dropped.
fn fetch(connection: &Connection, lender: &Arc<Lender>, max: usize) -> rusqlite::Result<Vec<Delivery>> {
    let lane = &lender.lane;
    let mut found = Vec::new();
    let mut again = connection.prepare_cached(
        "select seq, body, attempt, first_seen, faulted, resend, traceparent from lane_message where seq = ?1",
    )?;
    let mut taken = lane.take_returned(max).into_iter();
    while let Some(seq) = taken.next() {
        match again.query_row([seq], lane_row).optional() {
            Ok(Some(row)) => found.push(lender.lend(row, true)),
            Ok(None) => lane.gone(seq),
            Err(error) => {
                std::iter::once(seq).chain(taken).for_each(|seq| lane.give_back(seq));
                return Err(error);
            }
        }
    }
    if found.len() >= max {
        return Ok(found);
    }
    let mut fresh = connection.prepare_cached(
        "select seq, body, attempt, first_seen, faulted, resend, traceparent from lane_message
         where lane = ?1 and seq > ?2 order by seq limit ?3",
    )?;
    let limit = i64::try_from(max - found.len()).unwrap_or(i64::MAX);
    let mut rows = fresh.query((lane.name(), lane.cursor(), limit))?;
    let mut bytes = 0;
    while bytes < FETCH_BYTES {
        let Some(row) = rows.next()? else { break };
        let row = lane_row(row)?;
        bytes += row.body.len();
        lane.take_new(row.seq);
        found.push(lender.lend(row, false));
    }
    Ok(found)
}
