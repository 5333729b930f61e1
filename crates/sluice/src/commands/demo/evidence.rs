//! Looks at what the run has left behind: the ledger, the dead letters, the lanes, and the ESPs' journals.

use std::collections::BTreeMap;

use anyhow::Context;
use sluice_engine::Console;
use sluice_esp::read_journal;
use sluice_types::{AttemptOutcome, JobId, JobState, Timestamp};

use super::config::{ESPS, Files};
use super::message;
use super::scenario::Sample;
use super::tally::{Evidence, Sends, Word};
use crate::wiring::Outside;

/// Ids looked up in one question.
const IDS_PER_QUESTION: usize = 1000;
/// The word of the console for a job that is parked and has no row yet.
const PARKED: &str = "pending";

/// Collects the evidence on the samples that were enqueued.
pub(super) async fn collect(
    outside: &Outside,
    files: &Files,
    enqueued: &[Sample],
) -> anyhow::Result<Evidence> {
    let sends = read_journals(files)?;
    let console = outside.console.as_ref();
    Ok(Evidence {
        words: words(console, enqueued).await?,
        flagged: flagged(console, enqueued, &sends).await?,
        sends,
        dead: console.status().await.context("cannot count dead letters")?.dead,
        left_in_lanes: left_in_lanes(outside).await?,
    })
}

/// Messages that wait in any lane.
pub(super) async fn left_in_lanes(outside: &Outside) -> anyhow::Result<u64> {
    let lanes = outside.plan.get().lanes();
    let depths = outside.inbox.depths(&lanes).await.context("cannot count what is in the lanes")?;
    Ok(depths.iter().map(|depth| depth.ready).sum())
}

async fn words(console: &dyn Console, enqueued: &[Sample]) -> anyhow::Result<Vec<Word>> {
    let ids: Vec<JobId> = (0..)
        .zip(enqueued)
        .map(|(number, sample)| message::job_id(number, sample))
        .collect::<anyhow::Result<_>>()?;
    let mut words = Vec::with_capacity(ids.len());
    for ids in ids.chunks(IDS_PER_QUESTION) {
        let known = console.known(ids).await.context("cannot ask the ledger")?;
        for (id, known) in ids.iter().zip(known) {
            words.push(match known {
                None => Word::Nothing,
                Some(known) if known.state == PARKED => Word::Parked,
                Some(known) => {
                    let state = JobState::from_word(&known.state);
                    Word::State(state.with_context(|| format!("job {id} has the state {}", known.state))?)
                }
            });
        }
    }
    Ok(words)
}

/// Counts by number; a line with another id is a fault of the demo itself.
fn read_journals(files: &Files) -> anyhow::Result<BTreeMap<u32, Sends>> {
    let mut sends: BTreeMap<u32, Sends> = BTreeMap::new();
    for esp in ESPS {
        let path = files.journal(esp);
        let entries = read_journal(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let number = message::number(&entry.job_id).with_context(|| {
                format!("{} has a job that is not ours: {}", path.display(), entry.job_id)
            })?;
            let at = Timestamp::from_micros(entry.at_us);
            let known = sends.entry(number).or_insert(Sends { count: 0, first_at: at });
            known.count += 1;
            known.first_at = known.first_at.min(at);
        }
    }
    Ok(sends)
}

/// Of the jobs that were sent more than once: those with an attempt whose outcome the ledger calls unknown.
async fn flagged(
    console: &dyn Console,
    enqueued: &[Sample],
    sends: &BTreeMap<u32, Sends>,
) -> anyhow::Result<Vec<u32>> {
    let mut flagged = Vec::new();
    for number in sends.iter().filter(|(_, sends)| sends.count > 1).map(|(number, _)| *number) {
        let sample = usize::try_from(number).ok().and_then(|place| enqueued.get(place));
        let sample = sample.with_context(|| format!("the journals have a job of the number {number}"))?;
        let view = console.job(&message::job_id(number, sample)?).await.context("cannot ask the ledger")?;
        let is_flagged = view.is_some_and(|view| {
            view.attempt_list.iter().any(|attempt| attempt.outcome == AttemptOutcome::Unknown.as_str())
        });
        if is_flagged {
            flagged.push(number);
        }
    }
    Ok(flagged)
}
