//! The table of all cases.

use super::Measured;
use super::stats::Spread;
use crate::case::{Kind, NOT_YET};
use crate::run::Figure;

const HEAD: [&str; 11] = [
    "case",
    "jobs/s",
    "min..max",
    "of ideal-claim",
    "CPU s/1,000",
    "RSS MiB",
    "p50 ms",
    "p99 ms",
    "rows/claim",
    "rows/result",
    "limit used",
];

/// Markdown, aligned so that it reads on a terminal too.
pub(super) fn table(measured: &[Measured]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(measured.iter().map(|case| cells(case, measured).to_vec()));
    let mut not_yet = vec![NOT_YET.to_owned(), "not yet".to_owned()];
    not_yet.resize(HEAD.len(), String::new());
    rows.push(not_yet);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        text.push_str(&line(row, &widths));
        if place == 0 {
            let rule: Vec<String> =
                widths.iter().enumerate().map(|(column, width)| rule(column, *width)).collect();
            text.push_str(&format!("|{}|\n", rule.join("|")));
        }
    }
    text.push('\n');
    for case in measured {
        text.push_str(&format!("- {}: {}\n", case.name, case.about));
    }
    text
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        if column == 0 { format!(" {cell:<width$} ") } else { format!(" {cell:>width$} ") }
    });
    format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
}

/// The first column to the left, the others to the right.
fn rule(column: usize, width: usize) -> String {
    if column == 0 { format!(":{}", "-".repeat(width + 1)) } else { format!("{}:", "-".repeat(width + 1)) }
}

fn cells(case: &Measured, measured: &[Measured]) -> [String; 11] {
    let rate = case.spread(Figure::JobsPerSecond);
    let median = |figure| case.spread(figure).map(|spread| spread.median);
    let whole = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.0}"));
    let tenths = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
    let percent = |value: Option<f64>| value.map_or(String::new(), |value| format!("{:.1} %", value * 100.0));
    [
        case.name.to_owned(),
        whole(rate.map(|it| it.median)),
        rate.map_or(String::new(), |Spread { min, max, .. }| format!("{min:.0}..{max:.0}")),
        percent(rate.zip(baseline(case, measured)).map(|(rate, base)| rate.median / base)),
        median(Figure::CpuPerThousand).map_or(String::new(), |value| format!("{value:.3}")),
        whole(median(Figure::PeakRssMib)),
        tenths(median(Figure::P50Ms)),
        tenths(median(Figure::P99Ms)),
        tenths(median(Figure::ClaimRows)),
        tenths(median(Figure::RecordRows)),
        percent(median(Figure::LimitUsed)),
    ]
}

/// What `ideal-claim` did with the same ESP; `None` where a comparison says nothing.
fn baseline(case: &Measured, measured: &[Measured]) -> Option<f64> {
    let latency = match &case.kind {
        Kind::Reference(_, latency) | Kind::Python(latency) => *latency,
        Kind::Worker(shape) if shape.limits != crate::site::Limits::Reached => shape.latency,
        Kind::Backlog | Kind::FanOut | Kind::Embedded => std::time::Duration::ZERO,
        Kind::Worker(_) | Kind::Isolation(..) | Kind::Priority => return None,
    };
    let name = if latency.is_zero() { "ideal-claim" } else { "ideal-claim-20ms" };
    let base = measured.iter().find(|other| other.name == name)?;
    base.spread(Figure::JobsPerSecond).map(|spread| spread.median)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reference::Kind as Reference;
    use crate::run::Run;

    #[test]
    fn a_row_has_medians_and_its_share_of_the_ideal() {
        let case = |name, kind, seconds: &[f64]| Measured {
            name,
            about: "a case",
            kind: Kind::Reference(kind, Duration::ZERO),
            runs: seconds.iter().map(|seconds| Run::new(1_000, *seconds)).collect(),
        };
        let measured = [
            case("ideal-claim", Reference::IdealClaim, &[1.0]),
            case("drain", Reference::Drain, &[0.5, 0.25, 2.0]),
        ];
        let text = table(&measured);
        let row = text.lines().find(|line| line.starts_with("| drain")).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2..5], ["2000", "500..4000", "200.0 %"], "{text}");
        assert!(text.contains("| webhooks"), "{text}");
    }
}
