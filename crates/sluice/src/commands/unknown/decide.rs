//! What `resend` and `settle` share: who decides, and how the fates of jobs are told.

use std::collections::HashSet;

use serde::Serialize;
use sluice_types::{JobId, JobState};

use crate::environment;
use crate::output::{self, Format, note};

/// Jobs that are decided about in one call.
pub(super) const BATCH: usize = 500;
/// Longest note that is kept, in characters.
const NOTE_MAX_CHARS: usize = 500;

/// What became of the wish for one job.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Fate {
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) kind: FateKind,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum FateKind {
    /// It is due now.
    Resent,
    /// It is closed.
    Settled { state: JobState },
    /// Its body is not parked.
    NoBody,
    /// It is in this state.
    NotUnknown { state: JobState },
    /// There is no such job.
    Missing,
}

impl FateKind {
    const fn is_done(&self) -> bool {
        matches!(self, Self::Resent | Self::Settled { .. })
    }
}

/// Who decides: the user of this terminal, as far as the environment says.
pub(super) fn by() -> String {
    environment::user().map_or_else(|| "cli".to_owned(), |user| format!("cli:{user}"))
}

/// Takes a note of a bounded length.
///
/// # Errors
/// When it is longer.
pub(super) fn note_text(text: &str) -> Result<String, String> {
    if text.chars().count() > NOTE_MAX_CHARS {
        return Err(format!("is longer than {NOTE_MAX_CHARS} characters"));
    }
    Ok(text.to_owned())
}

/// The ids, each once, in the order in which they were given.
pub(super) fn once(ids: Vec<JobId>) -> Vec<JobId> {
    let mut seen = HashSet::new();
    ids.into_iter().filter(|id| seen.insert(id.clone())).collect()
}

/// Tells what became of each, and of all; answers whether all went well.
pub(super) fn tell(fates: &[Fate], format: Format, done_word: &str) -> anyhow::Result<bool> {
    let done = fates.iter().filter(|fate| fate.kind.is_done()).count();
    let stayed = fates.len() - done;
    if format == Format::Json {
        output::json(&fates)?;
        return Ok(stayed == 0);
    }
    for Fate { id, kind } in fates {
        match kind {
            FateKind::Resent | FateKind::Settled { .. } => {}
            FateKind::NoBody => note(format_args!(
                "{id}: its body is not parked: it is on its way already, or still in its lane; see `sluice why {id}`"
            )),
            FateKind::NotUnknown { state } => {
                note(format_args!("{id}: is not in doubt: it is {state}"));
            }
            FateKind::Missing => note(format_args!("{id}: the store does not know this job")),
        }
    }
    output::line(format_args!("{done_word} {done}, {stayed} stayed as they are"))?;
    Ok(stayed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_a_bound_and_an_id_counts_once() {
        assert!(note_text(&"ä".repeat(NOTE_MAX_CHARS)).is_ok());
        assert!(note_text(&"ä".repeat(NOTE_MAX_CHARS + 1)).is_err());
        let id = |text: &str| text.parse::<JobId>().unwrap();
        assert_eq!(once(vec![id("a"), id("b"), id("a")]), [id("a"), id("b")]);
    }
}
