//! Reads the numbers of this process back from its own metrics, so that the demo counts nothing that an operator could
//! not see as well.

use anyhow::Context;
use sluice_telemetry::Metrics;
use sluice_types::JobState;

/// The counters of one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counters {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: String,
    labels: String,
    value: u64,
}

impl Counters {
    /// Reads all counters of `metrics`.
    pub(super) fn read(metrics: &Metrics) -> anyhow::Result<Self> {
        let text = metrics.render().context("metrics")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        Self { lines: text.lines().filter_map(line).collect() }
    }

    /// The sum of a counter over all labels but those given.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let wanted: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let fits = |line: &&Line| {
            line.name == name && wanted.iter().all(|one| line.labels.split(',').any(|label| label == one))
        };
        self.lines.iter().filter(fits).map(|line| line.value).sum()
    }

    /// Calls to `esp` that ended in `outcome`.
    pub(super) fn attempts(&self, esp: &str, outcome: &str) -> u64 {
        self.sum("sluice_attempts_total", &[("esp", esp), ("outcome", outcome)])
    }

    /// How often the breaker of `esp` came into the state `to`.
    pub(super) fn transitions(&self, esp: &str, to: &str) -> u64 {
        self.sum("sluice_breaker_transitions_total", &[("esp", esp), ("to", to)])
    }

    /// Jobs that were routed to a failover member.
    pub(super) fn failovers(&self) -> u64 {
        self.sum("sluice_failovers_total", &[])
    }

    /// Deliveries that the pipeline has brought to an end: final and unknown jobs, dead letters, copies.
    pub(super) fn ended(&self) -> u64 {
        let ended = JobState::ALL.iter().filter(|state| state.is_final() || **state == JobState::Unknown);
        let jobs: u64 = ended.map(|state| self.sum("sluice_jobs_total", &[("state", state.as_str())])).sum();
        jobs + self.sum("sluice_refused_total", &[]) + self.sum("sluice_duplicates_total", &[])
    }

    /// Grows whenever anything happens to a job.
    pub(super) fn motion(&self) -> u64 {
        self.ended() + self.sum("sluice_attempts_total", &[]) + self.sum("sluice_released_total", &[])
    }
}

/// One sample of the text format: `name{label="value",...} number`.
fn line(text: &str) -> Option<Line> {
    let (series, value) = text.rsplit_once(' ').filter(|_| !text.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}');
    Some(Line { name: name.to_owned(), labels: labels.to_owned(), value: value.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_types::AttemptOutcome;

    use super::*;

    #[test]
    fn counters_read_back_from_real_metrics() {
        let metrics = Metrics::new("0.0.0").unwrap();
        let (flaky, slow) = ("flaky".parse().unwrap(), "slow".parse().unwrap());
        for outcome in [AttemptOutcome::Faulted, AttemptOutcome::Faulted, AttemptOutcome::Accepted] {
            metrics.attempt(&flaky, outcome, Duration::ZERO);
        }
        metrics.attempt(&slow, AttemptOutcome::Accepted, Duration::ZERO);
        metrics.breaker_transition(&flaky, "open");
        metrics.job(JobState::Accepted);
        metrics.job(JobState::Deferred);
        metrics.duplicate();
        let counters = Counters::read(&metrics).unwrap();
        assert_eq!(counters.attempts("flaky", "faulted"), 2);
        assert_eq!(counters.sum("sluice_attempts_total", &[("outcome", "accepted")]), 2);
        assert_eq!(counters.transitions("flaky", "open"), 1);
        assert_eq!(counters.transitions("flaky", "closed"), 0);
        assert_eq!(counters.ended(), 2);
    }
}
