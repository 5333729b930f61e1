//! The table of all cases.

use super::Measured;
use super::stats::Spread;
use crate::case::Kind;
use crate::run::Figure;

const HEAD: [&str; 14] = [
    "case",
    "jobs/s",
    "min..max",
    "of ideal-claim",
    "CPU s/1,000",
    "RabbitMQ",
    "Postgres",
    "ESP",
    "RSS MiB",
    "p50 ms",
    "p99 ms",
    "rows/claim",
    "rows/result",
    "limit used",
];

/// The table, and what its cases are.
pub(super) fn table(measured: &[&Measured]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(measured.iter().map(|case| cells(case, measured).to_vec()));
    format!("{}\n{}", markdown(&rows), legend(measured))
}

/// Markdown, aligned so that it reads on a terminal too. The first of `rows` is the head.
pub(super) fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        text.push_str(&line(row, &widths));
        if place == 0 {
            let rule: Vec<String> =
                widths.iter().enumerate().map(|(column, width)| rule(column, *width)).collect();
            text.push_str(&format!("|{}|\n", rule.join("|")));
        }
    }
    text
}

/// A line for each case that says what it is.
pub(super) fn legend(measured: &[&Measured]) -> String {
    measured.iter().map(|case| format!("- {}: {}\n", case.name, case.about)).collect()
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

fn cells(case: &Measured, measured: &[&Measured]) -> [String; 14] {
    let rate = case.spread(Figure::JobsPerSecond);
    let median = |figure| case.spread(figure).map(|spread| spread.median);
    [
        case.name.to_owned(),
        whole(rate.map(|it| it.median)),
        range(rate),
        percent(rate.zip(baseline(case, measured)).map(|(rate, base)| rate.median / base)),
        thousandths(median(Figure::CpuPerThousand)),
        thousandths(median(Figure::BrokerCpuPerThousand)),
        thousandths(median(Figure::DatabaseCpuPerThousand)),
        thousandths(median(Figure::EspCpuPerThousand)),
        whole(median(Figure::PeakRssMib)),
        tenths(median(Figure::P50Ms)),
        tenths(median(Figure::P99Ms)),
        tenths(median(Figure::ClaimRows)),
        tenths(median(Figure::RecordRows)),
        percent(median(Figure::LimitUsed)),
    ]
}

pub(super) fn whole(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.0}"))
}

pub(super) fn tenths(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.1}"))
}

pub(super) fn thousandths(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.3}"))
}

pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or(String::new(), |share| format!("{:.1} %", share * 100.0))
}

pub(super) fn range(spread: Option<Spread>) -> String {
    spread.map_or(String::new(), |Spread { min, max, .. }| format!("{min:.0}..{max:.0}"))
}

/// What `ideal-claim` did with the same ESP; `None` where a comparison says nothing.
fn baseline(case: &Measured, measured: &[&Measured]) -> Option<f64> {
    let latency = match &case.kind {
        Kind::Reference(_, latency, _) | Kind::Python(latency) => *latency,
        Kind::Worker(shape) if shape.limits != crate::site::Limits::Reached => shape.latency,
        Kind::Backlog | Kind::FanOut | Kind::Embedded => std::time::Duration::ZERO,
        Kind::Worker(_)
        | Kind::Isolation(..)
        | Kind::Priority
        | Kind::Rolling
        | Kind::FanOutLanes
        | Kind::Webhooks
        | Kind::Enqueue(_)
        | Kind::Depth(_)
        | Kind::Idle => return None,
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
            kind: Kind::Reference(kind, Duration::ZERO, 1),
            is_growth: false,
            runs: seconds.iter().map(|seconds| Run::new(1_000, *seconds)).collect(),
        };
        let measured = [
            case("ideal-claim", Reference::IdealClaim, &[1.0]),
            case("drain", Reference::Drain, &[0.5, 0.25, 2.0]),
        ];
        let text = table(&measured.iter().collect::<Vec<_>>());
        let row = text.lines().find(|line| line.starts_with("| drain")).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2..5], ["2000", "500..4000", "200.0 %"], "{text}");
        assert!(text.ends_with("- ideal-claim: a case\n- drain: a case\n"), "{text}");
    }
}
