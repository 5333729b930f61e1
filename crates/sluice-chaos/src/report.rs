//! One JSON line a run, and the table made of many.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::driver::Strike;
use crate::judge::Verdict;

/// What a run was, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The fault, or `mixed`.
    pub name: String,
    /// Replicas at the start.
    pub replicas: usize,
    /// Replicas that we killed.
    pub killed: usize,
    /// Replicas that ended with a clean drain.
    pub drained: usize,
    /// The most memory that any replica which ran to the end has had resident, in MiB.
    #[serde(default)]
    pub peak_mib: u64,
    /// Messages that the broker has confirmed or `POST /jobs` has answered with `queued`.
    pub messages: usize,
    /// Of these, over HTTP.
    pub over_http: u64,
    /// Messages that had to be published again.
    pub published_again: u64,
    /// Seconds of publishing.
    pub load_s: f64,
    /// Seconds from the end of load and faults until all was settled.
    pub settle_s: f64,
    /// Seconds in all.
    pub total_s: f64,
    /// What struck.
    pub strikes: Vec<Strike>,
    /// What the judge says.
    pub verdict: Verdict,
}

/// Runs of one name, added up.
#[derive(Default)]
struct Sum {
    runs: usize,
    strikes: usize,
    jobs: usize,
    lost: usize,
    unflagged: usize,
    flagged_duplicates: usize,
    unknowns: usize,
    untold: usize,
    overshoot: usize,
    peak_mib: u64,
    recovered_ms: Vec<u128>,
    failed: usize,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        let verdict = &report.verdict;
        self.runs += 1;
        self.strikes += report.strikes.len();
        self.jobs += verdict.jobs + verdict.malformed;
        self.lost += verdict.lost + verdict.malformed_lost;
        self.unflagged += verdict.unflagged_duplicates;
        self.flagged_duplicates += verdict.flagged_duplicates;
        self.unknowns += verdict.flagged_unknowns;
        self.untold += verdict.untold + verdict.told_wrongly;
        self.overshoot += verdict.overshoot.values().sum::<usize>();
        self.peak_mib = self.peak_mib.max(report.peak_mib);
        self.recovered_ms.extend(report.strikes.iter().filter_map(|it| it.recovered_ms));
        self.failed += usize::from(!verdict.holds());
    }

    fn line(&mut self, name: &str) -> String {
        let recovery = median_and_longest(&mut self.recovered_ms);
        let Self {
            runs,
            strikes,
            jobs,
            lost,
            unflagged,
            flagged_duplicates,
            unknowns,
            untold,
            overshoot,
            peak_mib,
            failed,
            ..
        } = self;
        format!(
            "| {name} | {runs} | {strikes} | {jobs} | {lost} | {unflagged} | {unknowns} | {flagged_duplicates} | \
             {untold} | {overshoot} | {recovery} | {peak_mib} | {failed} |"
        )
    }
}

/// In seconds, of some milliseconds.
fn median_and_longest(ms: &mut [u128]) -> String {
    ms.sort_unstable();
    let seconds = |ms: Option<&u128>| {
        ms.map_or_else(|| "-".to_owned(), |ms| format!("{}.{}", ms / 1000, ms % 1000 / 100))
    };
    format!("{} / {}", seconds(ms.get(ms.len() / 2)), seconds(ms.last()))
}

/// A Markdown table of what struck in `reports`, one row a fault, in runs of its own and in others.
#[must_use]
pub fn strikes_table(reports: &[Report]) -> String {
    #[derive(Default)]
    struct Struck {
        alone: usize,
        beside_others: usize,
        lasted_ms: Vec<u128>,
        recovered_ms: Vec<u128>,
    }
    let mut by_fault: BTreeMap<&str, Struck> = BTreeMap::new();
    for report in reports {
        for strike in &report.strikes {
            let struck = by_fault.entry(&strike.fault).or_default();
            if report.name == strike.fault {
                struck.alone += 1;
            } else {
                struck.beside_others += 1;
            }
            struck.lasted_ms.push(strike.lasted_ms);
            struck.recovered_ms.extend(strike.recovered_ms);
        }
    }
    let mut text = String::from(
        "| fault | strikes in runs of its own | beside other faults | lasted s, median / longest | recovery s, median / longest |\n\
         |---|--:|--:|--:|--:|\n",
    );
    for (fault, struck) in &mut by_fault {
        let Struck { alone, beside_others, lasted_ms, recovered_ms } = struck;
        let (lasted, recovery) = (median_and_longest(lasted_ms), median_and_longest(recovered_ms));
        // Writing to a string does not fail.
        writeln!(text, "| {fault} | {alone} | {beside_others} | {lasted} | {recovery} |").ok();
    }
    text
}

/// A Markdown table of `reports`, one row a fault and the sum at the end.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    let mut all = Sum::default();
    for report in reports {
        sums.entry(&report.name).or_default().add(report);
        all.add(report);
    }
    let mut text = String::from(
        "| fault | runs | strikes | jobs | lost | unflagged duplicates | flagged unknowns | flagged duplicates | \
         untold | overshoot | recovery s, median / longest | replica's peak MiB | failed runs |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for (name, sum) in &mut sums {
        // Writing to a string does not fail.
        writeln!(text, "{}", sum.line(name)).ok();
    }
    writeln!(text, "{}", all.line("**all**")).ok();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, jobs: usize, lost: usize, recovered_ms: u128) -> Report {
        Report {
            seed: 1,
            name: name.to_owned(),
            replicas: 3,
            killed: 0,
            drained: 3,
            peak_mib: 30,
            messages: jobs,
            over_http: 0,
            published_again: 0,
            load_s: 1.0,
            settle_s: 1.0,
            total_s: 2.0,
            strikes: vec![Strike { fault: name.to_owned(), lasted_ms: 1, recovered_ms: Some(recovered_ms) }],
            verdict: Verdict {
                jobs,
                lost,
                complaints: (0..lost).map(|it| format!("lost {it}")).collect(),
                ..Verdict::default()
            },
        }
    }

    #[test]
    fn strikes_are_counted_where_they_struck() {
        let mut mixed = report("mixed", 1, 0, 40);
        mixed.strikes = vec![Strike { fault: "a".to_owned(), lasted_ms: 2_000, recovered_ms: None }];
        let text = strikes_table(&[report("a", 1, 0, 1_250), report("a", 1, 0, 300), mixed]);
        assert_eq!(text.lines().skip(2).collect::<Vec<_>>(), ["| a | 2 | 1 | 0.0 / 2.0 | 1.2 / 1.2 |"]);
    }

    #[test]
    fn runs_of_one_fault_are_added_up() {
        let text = table(&[report("a", 10, 0, 1_250), report("a", 5, 2, 300), report("b", 1, 0, 40)]);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "| a | 2 | 2 | 15 | 2 | 0 | 0 | 0 | 0 | 0 | 1.2 / 1.2 | 30 | 1 |");
        assert_eq!(lines[1], "| b | 1 | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0 | 0.0 / 0.0 | 30 | 0 |");
        assert_eq!(lines[2], "| **all** | 3 | 3 | 16 | 2 | 0 | 0 | 0 | 0 | 0 | 0.3 / 1.2 | 30 | 1 |");
    }
}
