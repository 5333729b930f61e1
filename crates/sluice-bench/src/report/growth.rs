//! The table of growth: what a job costs, beside what it costs with less of whatever grows.

use super::Measured;
use super::table::{legend, markdown, percent, range, tenths, thousandths, whole};
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
    let first = measured.iter().find(|other| kind_of_growth(other.name) == kind_of_growth(case.name));
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

/// The part of a name that tells what grows.
fn kind_of_growth(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(kind, _)| kind)
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
            case("growth-table-1000", 1.0),
            case("growth-keys-1", 2.0),
            case("growth-keys-10", 4.0),
        ];
        let text = table(&measured.iter().collect::<Vec<_>>());
        let share = |name: &str| {
            let row = text.lines().find(|line| line.starts_with(&format!("| {name} "))).unwrap();
            row.split('|').nth(4).unwrap().trim().to_owned()
        };
        let shares = ["growth-table-0", "growth-table-1000", "growth-keys-1", "growth-keys-10"].map(share);
        assert_eq!(shares, ["100.0 %", "50.0 %", "100.0 %", "50.0 %"]);
    }
}
