//! The bars that some cases have to reach, and whether they do.

use super::Measured;
use crate::run::Figure;

/// Jobs that can go keep this share of their throughput while others cannot go.
const THROUGHPUT_BAR: f64 = 0.95;
/// And their p99 grows by no more than this factor.
const WAIT_BAR: f64 = 1.1;
/// Two intervals between slots of the reserved share: a fifth of 50/s.
const PRIORITY_BAR_MS: f64 = 200.0;

/// What may not suffer, and what it is compared with.
const ISOLATION: [(&str, &str); 4] = [
    ("isolation-group", "isolation-alone"),
    ("isolation-dead-esp", "isolation-alone"),
    ("isolation-domain", "isolation-alone"),
    ("paced-domain", "paced-alone"),
];

/// One line for each bar whose cases were measured; empty without any.
pub(super) fn bars(measured: &[Measured]) -> String {
    let median = |name: &str, figure| {
        let case = measured.iter().find(|case| case.name == name)?;
        case.spread(figure).map(|spread| spread.median)
    };
    let verdict = |reached| if reached { "reached" } else { "MISSED" };
    let mut lines = Vec::new();
    for (name, alone) in ISOLATION {
        let pair = |figure| Some(median(name, figure)? / median(alone, figure)?);
        if let Some(rate) = pair(Figure::JobsPerSecond) {
            let reached = verdict(rate >= THROUGHPUT_BAR);
            lines.push(format!(
                "- {name}: {:.1} % of the throughput alone (bar: 95 %): {reached}",
                rate * 100.0
            ));
        }
        if let Some(wait) = pair(Figure::P99Ms) {
            lines.push(format!(
                "- {name}: {wait:.2} x the p99 alone (bar: 1.1 x): {}",
                verdict(wait <= WAIT_BAR)
            ));
        }
    }
    if let Some(p99) = median("priority", Figure::P99Ms) {
        let reached = verdict(p99 <= PRIORITY_BAR_MS);
        lines.push(format!(
            "- priority: p99 {p99:.0} ms (bar: two intervals of the reserved share, 200 ms): {reached}"
        ));
    }
    if lines.is_empty() { String::new() } else { format!("Bars:\n\n{}\n", lines.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Kind, Stuck};
    use crate::run::Run;
    use crate::site::Limits;

    #[test]
    fn a_bar_is_judged_against_the_run_alone() {
        let case = |name, seconds: f64, p99| {
            let mut run = Run::new(1_000, seconds);
            run.set(Figure::P99Ms, p99);
            Measured { name, about: "", kind: Kind::Isolation(Stuck::Nowhere, Limits::Idle), runs: vec![run] }
        };
        let alone = case("isolation-alone", 1.0, 100.0);
        let text = bars(&[alone, case("isolation-group", 2.0, 105.0)]);
        assert!(
            text.contains("isolation-group: 50.0 % of the throughput alone (bar: 95 %): MISSED"),
            "{text}"
        );
        assert!(text.contains("isolation-group: 1.05 x the p99 alone (bar: 1.1 x): reached"), "{text}");
        assert_eq!(bars(&[case("base", 1.0, 1.0)]), "");
    }
}
