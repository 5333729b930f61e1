//! Which acks to send: many at once where the broker allows it, never one too many.
//!
//! Pure. `multiple` acks everything up to a tag, so it may only ever name a tag below the lowest unfinished one. Tags that are
//! done above an unfinished one (stragglers) are acked one by one, so that one slow job does not use up the prefetch.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sluice_types::Tick;

/// One message to the broker about deliveries of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AckOp {
    /// The broker may forget `tag`, and with `multiple` everything before it.
    Ack {
        /// A delivery that is done.
        tag: u64,
        /// Everything before it is done too, or was released by an earlier operation.
        multiple: bool,
    },
    /// The broker shall deliver `tag` again. Must reach it before any ack that follows.
    Release {
        /// The delivery.
        tag: u64,
    },
}

/// What became of a delivery so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Lent,
    Done,
}

/// The deliveries of one channel that the broker still counts as lent.
#[derive(Debug)]
pub(crate) struct AckTracker {
    straggler_after: Duration,
    urgent_done: usize,
    tags: BTreeMap<u64, State>,
    released: Vec<u64>,
    done: usize,
    /// What is done since the last [`AckTracker::take`].
    fresh: Vec<u64>,
    /// What was done above an unfinished tag, and since when that is known; some of it is acked by now.
    stragglers: VecDeque<(Tick, u64)>,
}

impl AckTracker {
    /// Stragglers wait `straggler_after` for the tags below them; not when `urgent_done` deliveries wait to be acked.
    pub(crate) fn new(straggler_after: Duration, urgent_done: usize) -> Self {
        Self {
            straggler_after,
            urgent_done,
            tags: BTreeMap::new(),
            released: Vec::new(),
            done: 0,
            fresh: Vec::new(),
            stragglers: VecDeque::new(),
        }
    }

    /// The broker has lent `tag`, which is higher than all before it.
    pub(crate) fn delivered(&mut self, tag: u64) {
        self.tags.insert(tag, State::Lent);
    }

    /// `tag` is done with. A tag that is not lent is ignored.
    pub(crate) fn done(&mut self, tag: u64) {
        if let Some(state @ State::Lent) = self.tags.get_mut(&tag) {
            *state = State::Done;
            self.done += 1;
            self.fresh.push(tag);
        }
    }

    /// `tag` goes back to the lane. A tag that is not lent is ignored.
    pub(crate) fn release(&mut self, tag: u64) {
        if self.tags.get(&tag) == Some(&State::Lent) {
            self.tags.remove(&tag);
            self.released.push(tag);
        }
    }

    /// Deliveries neither done nor released.
    pub(crate) fn lent(&self) -> usize {
        self.tags.len() - self.done
    }

    /// Whether something waits to be told to the broker.
    pub(crate) fn has_unsent(&self) -> bool {
        self.done > 0 || !self.released.is_empty()
    }

    /// What to tell the broker now, in order. What is answered is gone from here.
    pub(crate) fn take_ready(&mut self, now: Tick) -> Vec<AckOp> {
        let urgent = self.urgent_done > 0 && self.done >= self.urgent_done;
        self.take(now, urgent)
    }

    /// As [`AckTracker::take_ready`], and no straggler waits.
    pub(crate) fn take_all(&mut self, now: Tick) -> Vec<AckOp> {
        self.take(now, true)
    }

    fn take(&mut self, now: Tick, stragglers_too: bool) -> Vec<AckOp> {
        let mut ops: Vec<_> = self.released.drain(..).map(|tag| AckOp::Release { tag }).collect();
        ops.extend(self.take_prefix());
        let tags = &self.tags;
        self.stragglers
            .extend(self.fresh.drain(..).filter(|tag| tags.contains_key(tag)).map(|tag| (now, tag)));
        while let Some((since, tag)) = self.stragglers.front().copied()
            && (stragglers_too || now.since(since) >= self.straggler_after || !self.tags.contains_key(&tag))
        {
            self.stragglers.pop_front();
            if self.tags.remove(&tag).is_some() {
                self.done -= 1;
                ops.push(AckOp::Ack { tag, multiple: false });
            }
        }
        ops
    }

    fn take_prefix(&mut self) -> Option<AckOp> {
        let mut last = None;
        let mut count = 0_usize;
        while let Some(entry) = self.tags.first_entry() {
            if *entry.get() == State::Lent {
                break;
            }
            last = Some(entry.remove_entry().0);
            count += 1;
        }
        self.done -= count;
        last.map(|tag| AckOp::Ack { tag, multiple: count > 1 })
    }
}

#[cfg(test)]
mod tests;
