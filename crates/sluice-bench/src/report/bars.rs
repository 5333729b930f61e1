//! The bars that some cases have to reach, and whether they do.

use super::Measured;
use crate::run::Figure;

/// Jobs that can go keep this share of their throughput while others cannot go.
const THROUGHPUT_BAR: f64 = 0.95;
/// And their p99 grows by no more than this factor.
const WAIT_BAR: f64 = 1.1;
/// Two intervals between slots of the reserved share: a fifth of 50/s.
const PRIORITY_BAR_MS: f64 = 200.0;
/// The relay fills lanes this fast, or at this share of what confirms allow.
const LANES_BAR_PER_SECOND: f64 = 20_000.0;
const CONFIRMS_BAR: f64 = 0.8;
/// Memory is constant when a file a hundred times as long takes no more than this factor: the largest batches of more
/// lines are a little larger.
const MEMORY_BAR: f64 = 1.1;
/// What a long backlog leaves of the rate.
const BACKLOG_BAR: f64 = 0.95;
/// What the worker under limits reaches of a program that claims, calls and records, and does nothing else.
const IDEAL_BAR: f64 = 0.8;
/// And how much more of the CPU it may take for a job.
const CPU_BAR: f64 = 1.6;
/// How many times faster than plain Python it is.
const PYTHON_BAR: f64 = 10.0;
/// What 10,000 domains, 10,000 keys or eight ESPs leave of the rate.
const MANY_BAR: f64 = 0.9;
/// What four replicas on the same machine leave of it.
const REPLICAS_BAR: f64 = 0.95;
/// CPU of a replica that has nothing to do.
const IDLE_BAR_PERCENT: f64 = 1.0;

/// What may not suffer, and what it is compared with.
const ISOLATION: [(&str, &str); 7] = [
    ("isolation-group", "isolation-alone"),
    ("isolation-dead-esp", "isolation-alone"),
    ("isolation-hung-esp", "isolation-alone"),
    ("isolation-domain", "isolation-alone"),
    ("paced-group", "paced-alone"),
    ("paced-dead-esp", "paced-alone"),
    ("paced-domain", "paced-alone"),
];

/// Cases that keep a share of the rate of others.
const SHARES: [(&str, &str, Figure, f64); 12] = [
    ("limits-idle", "ideal-claim", Figure::JobsPerSecond, IDEAL_BAR),
    ("limits-idle-20ms", "ideal-claim-20ms", Figure::JobsPerSecond, IDEAL_BAR),
    ("limits-idle", "python", Figure::JobsPerSecond, PYTHON_BAR),
    ("domains-10000", "base", Figure::JobsPerSecond, MANY_BAR),
    ("domains-10000-limits-idle", "limits-idle", Figure::JobsPerSecond, MANY_BAR),
    ("esps-8", "base", Figure::JobsPerSecond, MANY_BAR),
    ("replicas-4", "base", Figure::JobsPerSecond, REPLICAS_BAR),
    ("replicas-4-limits-idle", "limits-idle", Figure::JobsPerSecond, REPLICAS_BAR),
    ("growth-backlog-1000000", "growth-backlog-20000", Figure::JobsPerSecond, BACKLOG_BAR),
    ("growth-backlog-1000000", "growth-backlog-300000", Figure::LongPerSecond, BACKLOG_BAR),
    ("growth-replicas-4", "growth-replicas-1", Figure::JobsPerSecond, REPLICAS_BAR),
    ("growth-keys-10000", "growth-keys-1", Figure::JobsPerSecond, MANY_BAR),
];

/// One line for each bar whose cases were measured; empty without any.
pub(super) fn bars(measured: &[&Measured]) -> String {
    let medians = Medians(measured);
    let mut lines = Vec::new();
    for (name, alone) in ISOLATION {
        lines.extend(medians.isolation(name, alone));
    }
    lines.extend(medians.floor());
    lines.extend(medians.cpu());
    lines.extend(medians.work());
    lines.extend(medians.priority());
    lines.extend(medians.rolling());
    lines.extend(medians.lanes());
    lines.extend(medians.memory());
    lines.extend(SHARES.into_iter().filter_map(|(name, other, figure, bar)| {
        let share = medians.ratio(name, other, figure)?;
        let long = if figure == Figure::LongPerSecond { " over 150,000 jobs" } else { "" };
        let (percent, bar_percent, reached) = (share * 100.0, bar * 100.0, verdict(share >= bar));
        Some(format!("- {name}: {percent:.1} % of {other}{long} (bar: {bar_percent:.0} %): {reached}"))
    }));
    lines.extend(medians.of("growth-idle", Figure::IdlePercent).map(|percent| {
        let reached = verdict(percent < IDLE_BAR_PERCENT);
        format!("- growth-idle: {percent:.2} % of one core (bar: under 1 %): {reached}")
    }));
    if lines.is_empty() { String::new() } else { format!("Bars:\n\n{}\n", lines.join("\n")) }
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "MISSED" }
}

struct Medians<'a>(&'a [&'a Measured]);

impl Medians<'_> {
    fn of(&self, name: &str, figure: Figure) -> Option<f64> {
        let case = self.0.iter().find(|case| case.name == name)?;
        case.spread(figure).map(|spread| spread.median)
    }

    fn ratio(&self, name: &str, other: &str, figure: Figure) -> Option<f64> {
        Some(self.of(name, figure)? / self.of(other, figure)?)
    }

    fn isolation(&self, name: &str, alone: &str) -> Vec<String> {
        let rate = self.ratio(name, alone, Figure::JobsPerSecond).map(|rate| {
            let (percent, reached) = (rate * 100.0, verdict(rate >= THROUGHPUT_BAR));
            format!("- {name}: {percent:.1} % of the throughput alone (bar: 95 %): {reached}")
        });
        let wait = self.ratio(name, alone, Figure::P99Ms).map(|wait| {
            format!("- {name}: {wait:.2} x the p99 alone (bar: 1.1 x): {}", verdict(wait <= WAIT_BAR))
        });
        rate.into_iter().chain(wait).collect()
    }

    /// Jobs that were in the lane before their domain was limited have to be delivered, one for each that can go: as if
    /// that were all, and as cheap as in `drain`, the best that is possible is `1 / (1/alone + 1/drain)`.
    fn floor(&self) -> Option<String> {
        let name = "isolation-late";
        let rate = |name| self.of(name, Figure::JobsPerSecond);
        let (late, alone, drain) = (rate(name)?, rate("isolation-alone")?, rate("drain")?);
        let best = 1.0 / (1.0 / alone + 1.0 / drain);
        Some(format!(
            "- {name}: {:.1} % of the throughput alone; best possible here {best:.0} jobs/s, {:.1} % (one stuck job consumed \
             and acked for each that goes: 1 / (1/{alone:.0} + 1/{drain:.0})); it has {:.1} % of that",
            late / alone * 100.0,
            best / alone * 100.0,
            late / best * 100.0,
        ))
    }

    fn cpu(&self) -> Option<String> {
        let times = self.ratio("limits-idle", "ideal-claim", Figure::CpuPerThousand)?;
        let reached = verdict(times <= CPU_BAR);
        Some(format!("- limits-idle: {times:.1} x the CPU of ideal-claim (bar: {CPU_BAR} x): {reached}"))
    }

    /// How much of what is missing to the ideal is what any program pays that has to make a call out of a job.
    fn work(&self) -> Option<String> {
        let share = |name, other| self.ratio(name, other, Figure::JobsPerSecond);
        let (of_claim, of_work) = (share("ideal-work", "ideal-claim")?, share("limits-idle", "ideal-work")?);
        let times = self.ratio("limits-idle", "ideal-work", Figure::CpuPerThousand)?;
        Some(format!(
            "- ideal-work, which parses, renders and sends as the worker does: {:.1} % of ideal-claim; limits-idle has \
             {:.1} % of that, with {times:.1} x the CPU",
            of_claim * 100.0,
            of_work * 100.0,
        ))
    }

    fn priority(&self) -> Option<String> {
        let p99 = self.of("priority", Figure::P99Ms)?;
        let reached = verdict(p99 <= PRIORITY_BAR_MS);
        Some(format!(
            "- priority: p99 {p99:.0} ms (bar: two intervals of the reserved share, 200 ms): {reached}"
        ))
    }

    fn rolling(&self) -> Option<String> {
        let (name, calm) = ("replicas-4-rolling", "replicas-4-limits-idle");
        let share = self.ratio(name, calm, Figure::JobsPerSecond)?;
        let (restarts, pause) = (self.of(name, Figure::Restarts)?, self.of(name, Figure::PauseMs)?);
        Some(format!(
            "- {name}: {:.1} % of {calm}, with {restarts:.0} replicas ended and replaced, and {pause:.0} ms at most without a call",
            share * 100.0
        ))
    }

    fn lanes(&self) -> Option<String> {
        let name = "fan-out-lanes";
        let (rate, confirms) =
            (self.of(name, Figure::JobsPerSecond)?, self.of(name, Figure::ConfirmsPerSecond)?);
        let reached = verdict(rate >= LANES_BAR_PER_SECOND.min(CONFIRMS_BAR * confirms));
        Some(format!(
            "- {name}: {rate:.0} rows/s, {:.1} % of {confirms:.0}/s that a bare publisher has confirmed in the same run (bar: \
             20,000/s or 80 %): {reached}",
            rate / confirms * 100.0
        ))
    }

    fn memory(&self) -> Option<String> {
        let (name, short) = ("enqueue-1000000", "enqueue-10000");
        let times = self.ratio(name, short, Figure::PeakRssMib)?;
        let reached = verdict(times <= MEMORY_BAR);
        Some(format!(
            "- {name}: {times:.2} x the memory of {short} (bar: constant, {MEMORY_BAR} x): {reached}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Kind, Stuck};
    use crate::run::Run;
    use crate::site::Limits;

    fn case(name: &'static str, seconds: f64, figures: &[(Figure, f64)]) -> Measured {
        let mut run = Run::new(1_000, seconds);
        figures.iter().for_each(|(figure, value)| run.set(*figure, *value));
        let kind = Kind::Isolation(Stuck::Nowhere, Limits::Idle);
        Measured { name, about: "", kind, is_growth: false, runs: vec![run] }
    }

    fn check(measured: &[Measured], expected: &[&str]) {
        let text = bars(&measured.iter().collect::<Vec<_>>());
        for line in expected {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
    }

    #[test]
    fn a_bar_is_judged_against_the_run_alone() {
        let wait = |ms| [(Figure::P99Ms, ms)];
        check(
            &[case("isolation-alone", 1.0, &wait(100.0)), case("isolation-group", 2.0, &wait(105.0))],
            &[
                "isolation-group: 50.0 % of the throughput alone (bar: 95 %): MISSED",
                "isolation-group: 1.05 x the p99 alone (bar: 1.1 x): reached",
            ],
        );
        check(
            &[case("paced-alone", 1.0, &[]), case("paced-dead-esp", 1.0, &[])],
            &["paced-dead-esp: 100.0 % of the throughput alone (bar: 95 %): reached"],
        );
        assert_eq!(bars(&[&case("base", 1.0, &[])]), "");
    }

    #[test]
    fn what_is_possible_stands_beside_the_bar_when_drain_was_measured() {
        // 1,000/s alone and 4,000/s drained: 1.25 s for 1,000 of each at best.
        let cases = [("isolation-alone", 1.0), ("isolation-late", 2.0), ("drain", 0.25)]
            .map(|(name, s)| case(name, s, &[]));
        check(
            &cases,
            &["isolation-late: 50.0 %", "best possible here 800 jobs/s, 80.0 %", "it has 62.5 % of that"],
        );
        let text = bars(&cases[..2].iter().collect::<Vec<_>>());
        assert!(!text.contains("best possible"), "{text}");
    }

    #[test]
    fn lanes_are_filled_as_fast_as_the_bar_or_the_broker_has_it() {
        let lanes =
            |seconds, confirms| case("fan-out-lanes", seconds, &[(Figure::ConfirmsPerSecond, confirms)]);
        check(&[lanes(0.05, 100_000.0)], &["20000 rows/s", "reached"]);
        check(&[lanes(0.1, 12_500.0)], &["10000 rows/s, 80.0 %", "reached"]);
        check(&[lanes(0.1, 13_000.0)], &["MISSED"]);
    }

    #[test]
    fn the_worker_is_judged_against_programs_that_do_less() {
        let cpu = |name, seconds, cpu| case(name, seconds, &[(Figure::CpuPerThousand, cpu)]);
        check(
            &[
                cpu("ideal-claim", 1.0, 0.02),
                cpu("ideal-work", 1.25, 0.04),
                cpu("limits-idle", 2.0, 0.06),
                case("python", 20.0, &[]),
            ],
            &[
                "limits-idle: 50.0 % of ideal-claim (bar: 80 %): MISSED",
                "limits-idle: 1000.0 % of python (bar: 1000 %): reached",
                "limits-idle: 3.0 x the CPU of ideal-claim (bar: 1.6 x): MISSED",
                "80.0 % of ideal-claim; limits-idle has 62.5 % of that, with 1.5 x the CPU",
            ],
        );
    }

    #[test]
    fn replicas_that_are_replaced_are_set_beside_ones_that_stay() {
        let figures = [(Figure::Restarts, 6.0), (Figure::PauseMs, 41.0)];
        check(
            &[case("replicas-4-limits-idle", 1.0, &[]), case("replicas-4-rolling", 1.25, &figures)],
            &[
                "replicas-4-rolling: 80.0 % of replicas-4-limits-idle, with 6 replicas ended and replaced, and 41 ms at most",
            ],
        );
    }

    #[test]
    fn growth_is_judged_against_the_first_of_its_kind() {
        let long = |rate| [(Figure::LongPerSecond, rate)];
        check(
            &[
                case("growth-backlog-20000", 1.0, &[]),
                case("growth-backlog-300000", 1.0, &long(1_000.0)),
                case("growth-backlog-1000000", 1.04, &long(900.0)),
                case("growth-idle", 1.0, &[(Figure::IdlePercent, 1.0)]),
            ],
            &[
                "growth-backlog-1000000: 96.2 % of growth-backlog-20000 (bar: 95 %): reached",
                "growth-backlog-1000000: 90.0 % of growth-backlog-300000 over 150,000 jobs (bar: 95 %): MISSED",
                "growth-idle: 1.00 % of one core (bar: under 1 %): MISSED",
            ],
        );
        let memory = |name, mib| case(name, 1.0, &[(Figure::PeakRssMib, mib)]);
        check(
            &[memory("enqueue-10000", 20.0), memory("enqueue-1000000", 23.0)],
            &["enqueue-1000000: 1.15 x the memory of enqueue-10000 (bar: constant, 1.1 x): MISSED"],
        );
    }
}
