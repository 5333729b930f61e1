//! The table of growth: what a job costs, beside what it costs with less of whatever grows.

use super::Measured;
use super::table::{legend, markdown, percent, range, tenths, thousandths, whole};
use crate::case;
use crate::run::Figure;

const HEAD: [&str; 12] = [
    "case",
    "jobs/s",
    "min..max",
    "of the first",
    "over 150,000",
    "CPU s/1,000",
    "RSS MiB",
    "p50 ms",
    "p99 ms",
    "log bytes/job",
    "table bytes/job",
    "idle CPU %",
];

/// The table, and what its cases are.
pub(super) fn table(measured: &[&Measured]) -> String {
    let mut rows = vec![HEAD.map(str::to_owned).to_vec()];
    rows.extend(measured.iter().map(|case| cells(case, measured).to_vec()));
    format!("{}\n{}", markdown(&rows), legend(measured))
}

fn cells(case: &Measured, measured: &[&Measured]) -> [String; 12] {
    let rate = case.spread(Figure::JobsPerSecond);
    let median = |figure| case.spread(figure).map(|spread| spread.median);
    let first = first_of_kind(case.name).and_then(|name| measured.iter().find(|other| other.name == name));
    let first = first.and_then(|first| first.spread(Figure::JobsPerSecond));
    [
        case.name.to_owned(),
        whole(rate.map(|it| it.median)),
        range(rate),
        percent(rate.zip(first).map(|(rate, first)| rate.median / first.median)),
        whole(median(Figure::LongPerSecond)),
        thousandths(median(Figure::CpuPerThousand)),
        whole(median(Figure::PeakRssMib)),
        tenths(median(Figure::P50Ms)),
        tenths(median(Figure::P99Ms)),
        whole(median(Figure::LogBytes)),
        whole(median(Figure::TableBytes)),
        median(Figure::IdlePercent).map_or(String::new(), |value| format!("{value:.2}")),
    ]
}

/// The case that `name` is compared with, measured or not.
fn first_of_kind(name: &str) -> Option<&'static str> {
    // The part of a name that tells what grows.
    let kind = |name: &str| name.rsplit_once('-').map_or_else(String::new, |(kind, _)| kind.to_owned());
    case::all()
        .into_iter()
        .filter(|case| case.is_growth)
        .find(|case| kind(case.name) == kind(name))
        .map(|case| case.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Kind;
    use crate::run::Run;

    #[test]
    fn each_is_compared_with_the_first_of_its_kind() {
        let case = |name, seconds| Measured {
            name,
            about: "a case",
            kind: Kind::Idle,
            is_growth: true,
            runs: vec![Run::new(1_000, seconds)],
        };
        let measured = [
            case("growth-table-0", 0.5),
            case("growth-table-1000000", 1.0),
            case("growth-keys-1", 2.0),
            case("growth-keys-100", 4.0),
            // Without the one that it is to be compared with.
            case("growth-replicas-2", 1.0),
        ];
        let text = table(&measured.iter().collect::<Vec<_>>());
        let share = |name: &str| {
            let row = text.lines().find(|line| line.starts_with(&format!("| {name} "))).unwrap();
            row.split('|').nth(4).unwrap().trim().to_owned()
        };
        let shares = [
            "growth-table-0",
            "growth-table-1000000",
            "growth-keys-1",
            "growth-keys-100",
            "growth-replicas-2",
        ];
        assert_eq!(shares.map(share), ["100.0 %", "50.0 %", "100.0 %", "50.0 %", ""]);
    }
}
