//! How the run goes: a live view on a terminal, a line a second elsewhere. On stderr, so that stdout holds facts only.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sluice_engine::BreakerView;

use super::config::ESPS;
use super::counters::Counters;
use crate::output::{is_watched, note};

/// Pause between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// The run at one instant.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) since_start: Duration,
    pub(super) jobs: u64,
    /// Messages that have come to an end.
    pub(super) ended: u64,
    pub(super) in_work: usize,
    /// Jobs that wait in `pending`, by reason.
    pub(super) waiting: BTreeMap<String, u64>,
    pub(super) breakers: Vec<BreakerView>,
    pub(super) counters: Counters,
}

/// Shows snapshots.
#[derive(Debug)]
pub(super) enum Progress {
    /// To a person.
    Live(Live),
    /// To a log.
    Lines {
        /// When the next line is due.
        next: Duration,
    },
}

/// One bar, one line per ESP, one line for what waits.
#[derive(Debug)]
pub(super) struct Live {
    all: MultiProgress,
    bar: ProgressBar,
    esps: Vec<ProgressBar>,
    waiting: ProgressBar,
}

impl Progress {
    /// A view that suits whoever reads stderr.
    pub(super) fn new(jobs: u64) -> anyhow::Result<Self> {
        if !is_watched() {
            return Ok(Self::Lines { next: LINE_EVERY });
        }
        let all = MultiProgress::new();
        let bar = all.add(ProgressBar::new(jobs));
        bar.set_style(ProgressStyle::with_template("jobs     [{bar:40}] {pos}/{len}  {elapsed}")?);
        let line = ProgressStyle::with_template("{prefix:8} {msg}")?;
        let add = |prefix: &'static str| {
            all.add(ProgressBar::new_spinner().with_style(line.clone()).with_prefix(prefix))
        };
        let esps = ESPS.map(add).into();
        let waiting = add("waiting");
        Ok(Self::Live(Live { all, bar, esps, waiting }))
    }

    /// Shows where the run is.
    pub(super) fn show(&mut self, now: &Snapshot) {
        match self {
            Self::Live(live) => live.show(now),
            Self::Lines { next } => {
                if now.since_start >= *next {
                    *next = now.since_start + LINE_EVERY;
                    note(plain_line(now));
                }
            }
        }
    }

    /// Clears the live view, for the report.
    pub(super) fn end(self) {
        if let Self::Live(live) = self {
            // A terminal that cannot be cleared shows the last view above the report.
            drop(live.all.clear());
        }
    }
}

impl Live {
    fn show(&self, now: &Snapshot) {
        self.bar.set_position(now.ended);
        for (esp, line) in ESPS.iter().zip(&self.esps) {
            line.set_message(esp_facts(esp, now));
        }
        self.waiting.set_message(waiting_facts(now));
    }
}

fn plain_line(now: &Snapshot) -> String {
    let esps: Vec<String> = ESPS.iter().map(|esp| format!("{esp} {}", esp_facts(esp, now))).collect();
    let seconds = now.since_start.as_secs_f64();
    format!("{seconds:>5.1}s  {}/{} done; {}; {}", now.ended, now.jobs, esps.join("; "), waiting_facts(now))
}

fn esp_facts(esp: &str, now: &Snapshot) -> String {
    let breaker = now.breakers.iter().find(|view| view.esp == esp).map_or("closed", |view| view.state);
    let accepted = now.counters.attempts(esp, "accepted");
    let faulted = now.counters.attempts(esp, "faulted");
    format!("{breaker} accepted={accepted} faulted={faulted}")
}

fn waiting_facts(now: &Snapshot) -> String {
    let parked: String = now.waiting.iter().map(|(reason, count)| format!(" {reason}={count}")).collect();
    format!("in_work={}{parked}", now.in_work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_names_what_is_done_and_what_waits() {
        let view = |esp: &str, state| BreakerView {
            esp: esp.to_owned(),
            state,
            open_for_ms: None,
            forced: None,
            weight: 1.0,
        };
        let now = Snapshot {
            since_start: Duration::from_millis(2_340),
            jobs: 2000,
            ended: 1234,
            in_work: 98,
            waiting: BTreeMap::from([("retry".to_owned(), 3)]),
            breakers: vec![view("healthy", "closed"), view("flaky", "open")],
            counters: Counters::default(),
        };
        assert_eq!(
            plain_line(&now),
            "  2.3s  1234/2000 done; healthy closed accepted=0 faulted=0; flaky open accepted=0 faulted=0; \
             slow closed accepted=0 faulted=0; in_work=98 retry=3"
        );
    }
}
