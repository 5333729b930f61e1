//! `sluice unknown settle`.

use anyhow::Context;
use sluice_engine::{SettleAs, SettleVerdict};
use sluice_types::JobId;

use super::decide::{BATCH, Fate, FateKind, by, note_text, once, tell};
use crate::output::FormatArg;
use crate::wiring::Outside;

/// `sluice unknown settle`.
#[derive(Debug, clap::Args)]
pub(super) struct SettleArgs {
    /// The jobs, as `sluice unknown list` says
    #[arg(required = true, value_name = "JOB_ID")]
    ids: Vec<JobId>,
    /// What became of them
    #[arg(long = "as", value_enum, value_name = "accepted|rejected", hide_possible_values = true)]
    settle_as: As,
    /// Why; kept with each job
    #[arg(long, value_name = "TEXT", value_parser = note_text)]
    note: Option<String>,
    #[command(flatten)]
    format: FormatArg,
}

/// `--as`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum As {
    /// The ESP took it.
    Accepted,
    /// It was never sent.
    Rejected,
}

impl From<As> for SettleAs {
    fn from(word: As) -> Self {
        match word {
            As::Accepted => Self::Accepted,
            As::Rejected => Self::Rejected,
        }
    }
}

pub(super) async fn run(outside: &Outside, args: SettleArgs) -> anyhow::Result<bool> {
    let (by, settle_as) = (by(), SettleAs::from(args.settle_as));
    let mut fates = Vec::new();
    for ids in once(args.ids).chunks(BATCH) {
        let verdicts = outside.unknowns.unknown_settle(ids, settle_as, &by, args.note.as_deref()).await;
        let verdicts = verdicts.context("cannot settle")?;
        fates.extend(ids.iter().zip(verdicts).map(|(id, verdict)| Fate {
            id: id.to_string(),
            kind: match verdict {
                SettleVerdict::Settled => FateKind::Settled { state: settle_as.state() },
                SettleVerdict::NotUnknown(state) => FateKind::NotUnknown { state },
                SettleVerdict::Missing => FateKind::Missing,
            },
        }));
    }
    tell(&fates, args.format.format, "settled")
}
