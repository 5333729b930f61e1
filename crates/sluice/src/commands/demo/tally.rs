//! What became of every message, by the ledger's word and by the ESPs' own journals. Pure.
//!
//! Each message counts once: a job's first message under the job's state, a further one with the same body under
//! `duplicates`, one that is no job under `dead`. Whatever none of these can be said of is `lost`.

use std::collections::BTreeMap;

use sluice_types::{JobState, Timestamp};

use super::message;
use super::scenario::{Group, Kind, Sample};

/// Ids shown of what is lost or contradictory.
const SHOWN_IDS: usize = 10;

/// What the ledger says of one id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing at all.
    Nothing,
    /// It has a state.
    State(JobState),
    /// It is parked and was not tried yet.
    Parked,
}

/// What the journals say of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sends {
    pub(super) count: u32,
    pub(super) first_at: Timestamp,
}

/// Everything that was found out after the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    /// By number of the sample; only those with an id of their own are looked at.
    pub(super) words: Vec<Word>,
    /// By number of the sample.
    pub(super) sends: BTreeMap<u32, Sends>,
    /// Jobs of which the ledger itself says that they may have been sent twice, by number.
    pub(super) flagged: Vec<u32>,
    /// Dead letters by reason.
    pub(super) dead: BTreeMap<String, u64>,
    /// Messages that were left in the lanes.
    pub(super) left_in_lanes: u64,
}

/// The sums. Those of [`Tally::jobs`] on add up to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Messages enqueued.
    pub(super) jobs: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
    pub(super) suppressed: u64,
    pub(super) expired: u64,
    pub(super) unknown: u64,
    /// Still waiting, safely stored: only when the demo ended early.
    pub(super) deferred: u64,
    pub(super) duplicates: u64,
    pub(super) dead: u64,
    pub(super) lost: u64,
    /// Jobs that the ESPs took more than once although the ledger knows nothing of it.
    pub(super) unflagged_duplicates: u64,
    /// Jobs that an ESP took although the ledger says that they were not sent.
    pub(super) contradictions: u64,
    /// Some ids of what is lost, sent twice or contradictory.
    pub(super) suspects: Vec<String>,
    pub(super) groups: BTreeMap<Group, GroupTally>,
}

/// One domain group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupTally {
    /// Jobs accepted.
    pub(super) accepted: u64,
    /// Microseconds from the enqueuing to the ESP, sorted.
    pub(super) waits_us: Vec<u64>,
}

impl Tally {
    /// Compares what was enqueued with what was found. `enqueued_at` has one entry for each sample that was enqueued.
    pub(super) fn of(samples: &[Sample], enqueued_at: &[Timestamp], evidence: &Evidence) -> Self {
        let mut tally = Self::default();
        let mut dead_expected: BTreeMap<&str, u64> = BTreeMap::new();
        let mut nowhere = Vec::new();
        for (number, (sample, at)) in (0..).zip(samples.iter().zip(enqueued_at)) {
            tally.jobs += 1;
            match sample.kind {
                Kind::Copy { .. } => tally.duplicates += 1,
                Kind::Malformed(fault) => {
                    *dead_expected.entry(message::reason(fault).as_str()).or_default() += 1;
                }
                Kind::Plain
                | Kind::Suppressed
                | Kind::Expired
                | Kind::Deferred
                | Kind::Rejected
                | Kind::Unknown => {
                    if !tally.job(number, sample, *at, evidence) {
                        nowhere.push(message::id(number, sample));
                    }
                }
            }
        }
        tally.dead_letters(&dead_expected, evidence, nowhere);
        for group in tally.groups.values_mut() {
            group.waits_us.sort_unstable();
        }
        tally
    }

    /// Whether nothing is lost, sent twice in silence, contradictory or left over.
    pub(super) const fn is_sound(&self) -> bool {
        self.lost == 0 && self.unflagged_duplicates == 0 && self.contradictions == 0 && self.deferred == 0
    }

    /// One job; false when the ledger does not know it.
    fn job(&mut self, number: u32, sample: &Sample, enqueued_at: Timestamp, evidence: &Evidence) -> bool {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        let word = evidence.words.get(place).copied().unwrap_or(Word::Nothing);
        let sends = evidence.sends.get(&number);
        let count = sends.map_or(0, |sends| sends.count);
        if count > 1 && !evidence.flagged.contains(&number) {
            self.unflagged_duplicates += 1;
            self.suspect(message::id(number, sample));
        }
        let Some(fate) = Fate::of(word, count > 0) else { return false };
        if fate.is_contradicted && count > 0 {
            self.contradictions += 1;
        }
        if fate.column == Column::Lost || (fate.is_contradicted && count > 0) {
            self.suspect(message::id(number, sample));
        }
        *self.column(fate.column) += 1;
        if fate.column == Column::Accepted
            && let Some(sends) = sends
        {
            let group = self.groups.entry(sample.group).or_default();
            group.accepted += 1;
            let wait = sends.first_at.after(enqueued_at).as_micros();
            group.waits_us.push(u64::try_from(wait).unwrap_or(u64::MAX));
        }
        true
    }

    const fn column(&mut self, column: Column) -> &mut u64 {
        match column {
            Column::Accepted => &mut self.accepted,
            Column::Rejected => &mut self.rejected,
            Column::Suppressed => &mut self.suppressed,
            Column::Expired => &mut self.expired,
            Column::Unknown => &mut self.unknown,
            Column::Deferred => &mut self.deferred,
            Column::Lost => &mut self.lost,
        }
    }

    /// Dead letters, and what is neither there nor in the ledger: still in a lane, or lost.
    fn dead_letters(&mut self, expected: &BTreeMap<&str, u64>, evidence: &Evidence, nowhere: Vec<String>) {
        let mut missing = u64::try_from(nowhere.len()).unwrap_or(u64::MAX);
        for (reason, count) in expected {
            let found = evidence.dead.get(*reason).copied().unwrap_or(0).min(*count);
            self.dead += found;
            missing += count - found;
        }
        let waiting = missing.min(evidence.left_in_lanes);
        self.deferred += waiting;
        self.lost += missing - waiting;
        if missing > waiting {
            nowhere.into_iter().for_each(|id| self.suspect(id));
        }
    }

    fn suspect(&mut self, id: String) {
        if self.suspects.len() < SHOWN_IDS && !self.suspects.contains(&id) {
            self.suspects.push(id);
        }
    }
}

/// Where one job is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Accepted,
    Rejected,
    Suppressed,
    Expired,
    Unknown,
    Deferred,
    Lost,
}

/// What the ledger's word comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fate {
    column: Column,
    /// Whether a journal that has the job speaks against the ledger.
    is_contradicted: bool,
}

impl Fate {
    /// `None` for a job that the ledger does not know.
    const fn of(word: Word, is_in_a_journal: bool) -> Option<Self> {
        let (column, is_contradicted) = match word {
            Word::Nothing => return None,
            Word::State(JobState::Accepted) if is_in_a_journal => (Column::Accepted, false),
            Word::State(JobState::Accepted) => (Column::Lost, false),
            Word::State(JobState::Unknown) => (Column::Unknown, false),
            Word::State(JobState::Rejected) => (Column::Rejected, true),
            Word::State(JobState::Suppressed) => (Column::Suppressed, true),
            Word::State(JobState::Expired) => (Column::Expired, true),
            Word::State(JobState::Deferred) | Word::Parked => (Column::Deferred, true),
            // A claim without a result is what must not be left behind; no event or operator plays a part here.
            Word::State(
                JobState::Sending
                | JobState::Cancelled
                | JobState::Delivered
                | JobState::Bounced
                | JobState::Complained,
            ) => (Column::Lost, false),
        };
        Some(Self { column, is_contradicted })
    }
}

impl GroupTally {
    /// The wait in milliseconds that `percent` of the jobs did not exceed (nearest rank); 0 without jobs.
    pub(super) fn wait_ms(&self, percent: usize) -> f64 {
        let rank = (self.waits_us.len() * percent).div_ceil(100).max(1);
        let micros = self.waits_us.get(rank - 1).copied().unwrap_or(0);
        std::time::Duration::from_micros(micros).as_secs_f64() * 1000.0
    }
}

#[cfg(test)]
mod tests;
