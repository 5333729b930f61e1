//! Every metric of a process. One method per thing that happens; names and labels stand here and nowhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use sluice_types::{
    AttemptOutcome, Category, EspId, EventKind, JobState, Lane, LimitScope, RefusalReason, WaitReason,
    WebhookRefusal,
};

const LATENCY_SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
const WAIT_SECONDS: [f64; 14] =
    [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 14400.0, 86400.0];
const BATCH_ROWS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

/// A kind of batched write to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Claims before the send.
    Claim,
    /// Results after it.
    Record,
    /// Jobs put aside.
    Park,
    /// Refused messages.
    Refuse,
}

impl Batch {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Record => "record",
            Self::Park => "park",
            Self::Refuse => "refuse",
        }
    }
}

/// An outside system that may be away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dependency {
    /// The broker.
    Queue,
    /// The ledger's store.
    Store,
}

impl Dependency {
    /// The word for labels and `/ready`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Store => "store",
        }
    }
}

/// A metric could not be set up or written.
#[derive(Debug, thiserror::Error)]
#[error("metrics failed")]
pub struct MetricsError(#[from] prometheus::Error);

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    jobs: IntCounterVec,
    refused: IntCounterVec,
    duplicates: IntCounter,
    redeliveries: IntCounter,
    attempts: IntCounterVec,
    troubles: IntCounterVec,
    send_seconds: HistogramVec,
    wait_seconds: HistogramVec,
    parked: IntCounterVec,
    released: IntCounter,
    failovers: IntCounterVec,
    lane_ready: IntGaugeVec,
    lane_in_flight: IntGaugeVec,
    lane_paused: IntGaugeVec,
    breaker_state: IntGaugeVec,
    breaker_transitions: IntCounterVec,
    slots_leased: IntCounterVec,
    slots_used: IntCounterVec,
    slots_lapsed: IntCounterVec,
    batch_rows: HistogramVec,
    commit_seconds: HistogramVec,
    events: IntCounterVec,
    event_duplicates: IntCounterVec,
    events_left_out: IntCounterVec,
    webhooks_refused: IntCounterVec,
    resolved: IntCounterVec,
    reconnects: IntCounterVec,
    dependency_up: IntGaugeVec,
    fleet_replicas: IntGauge,
    fleet_config_mismatch: IntGauge,
    fleet_brakes: IntGauge,
    fleet_waiting: IntGaugeVec,
}

struct Maker<'a>(&'a Registry);

impl Maker<'_> {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let it = IntCounter::new(name, help)?;
        self.0.register(Box::new(it.clone()))?;
        Ok(it)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        let it = IntCounterVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(it.clone()))?;
        Ok(it)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        let it = IntGauge::new(name, help)?;
        self.0.register(Box::new(it.clone()))?;
        Ok(it)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        let it = IntGaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(it.clone()))?;
        Ok(it)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let it = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
        self.0.register(Box::new(it.clone()))?;
        Ok(it)
    }
}

impl Metrics {
    /// Sets up every metric.
    ///
    /// # Errors
    /// When a name is invalid or taken, which a test excludes.
    pub fn new(version: &str) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let make = Maker(&registry);
        let build = GaugeVec::new(
            Opts::new("sluice_build_info", "Always 1; the label tells the version."),
            &["version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[version]).set(1.0);
        let metrics = Self {
            jobs: make.counters(
                "sluice_jobs_total",
                "Jobs that this process brought into a state.",
                &["state"],
            )?,
            refused: make.counters("sluice_refused_total", "Messages refused as malformed.", &["reason"])?,
            duplicates: make
                .counter("sluice_duplicates_total", "Deliveries of jobs that were known already.")?,
            redeliveries: make
                .counter("sluice_redeliveries_total", "Deliveries that the broker marked as redelivered.")?,
            attempts: make.counters(
                "sluice_attempts_total",
                "Calls to ESPs by outcome.",
                &["esp", "outcome"],
            )?,
            troubles: make.counters(
                "sluice_troubles_total",
                "Calls to ESPs that were not accepted, by category and its severity.",
                &["esp", "category", "severity"],
            )?,
            send_seconds: make.histograms(
                "sluice_send_seconds",
                "Duration of calls to ESPs.",
                &["esp"],
                &LATENCY_SECONDS,
            )?,
            wait_seconds: make.histograms(
                "sluice_wait_seconds",
                "Time that jobs waited in this process before a call, by what held them.",
                &["reason"],
                &WAIT_SECONDS,
            )?,
            parked: make.counters("sluice_parked_total", "Jobs put into pending.", &["reason"])?,
            released: make.counter("sluice_released_total", "Parked jobs that the relay published.")?,
            failovers: make.counters(
                "sluice_failovers_total",
                "Jobs routed to a failover member.",
                &["esp"],
            )?,
            lane_ready: make.gauges("sluice_lane_ready", "Jobs waiting in the lane.", &["lane"])?,
            lane_in_flight: make.gauges(
                "sluice_lane_in_flight",
                "Deliveries this process holds.",
                &["lane"],
            )?,
            lane_paused: make.gauges(
                "sluice_lane_paused",
                "1 while this process does not pull from the lane.",
                &["lane"],
            )?,
            breaker_state: make.gauges("sluice_breaker_state", "0 closed, 1 open, 2 half-open.", &["esp"])?,
            breaker_transitions: make.counters(
                "sluice_breaker_transitions_total",
                "Changes of a breaker.",
                &["esp", "to"],
            )?,
            slots_leased: make.counters("sluice_slots_leased_total", "Slots leased.", &["limit"])?,
            slots_used: make.counters("sluice_slots_used_total", "Slots used for a call.", &["limit"])?,
            slots_lapsed: make.counters(
                "sluice_slots_lapsed_total",
                "Slots that passed unused.",
                &["limit"],
            )?,
            batch_rows: make.histograms(
                "sluice_batch_rows",
                "Rows per batched write.",
                &["batch"],
                &BATCH_ROWS,
            )?,
            commit_seconds: make.histograms(
                "sluice_commit_seconds",
                "Duration of batched writes, commit included.",
                &["batch"],
                &LATENCY_SECONDS,
            )?,
            events: make.counters(
                "sluice_events_total",
                "Events that ESPs reported by webhook, repetitions included.",
                &["esp", "kind"],
            )?,
            event_duplicates: make.counters(
                "sluice_event_duplicates_total",
                "Of these, events that were known already.",
                &["esp"],
            )?,
            events_left_out: make.counters(
                "sluice_events_left_out_total",
                "Items of webhook calls that are no events on jobs of ours: foreign, or unreadable.",
                &["esp", "why"],
            )?,
            webhooks_refused: make.counters(
                "sluice_webhooks_refused_total",
                "Webhook calls that were turned away as a whole.",
                &["reason"],
            )?,
            resolved: make.counters(
                "sluice_resolved_total",
                "Jobs that an event took out of a state in which it should not have been sent, such as unknown.",
                &["before"],
            )?,
            reconnects: make.counters(
                "sluice_reconnects_total",
                "Connections made anew.",
                &["dependency"],
            )?,
            dependency_up: make.gauges("sluice_dependency_up", "1 while it answers.", &["dependency"])?,
            fleet_replicas: make
                .gauge("sluice_fleet_replicas", "Processes that reported within the last seconds.")?,
            fleet_config_mismatch: make.gauge(
                "sluice_fleet_config_mismatch",
                "1 while replicas run with different limits, pools or groups.",
            )?,
            fleet_brakes: make.gauge(
                "sluice_fleet_brakes",
                "Scopes that are slowed down after replies that asked for it.",
            )?,
            fleet_waiting: make.gauges(
                "sluice_fleet_waiting",
                "Jobs that are parked, by the reason why: told by one replica for all, every 15 s.",
                &["reason"],
            )?,
            registry,
        };
        metrics.start_closed_lists_at_zero();
        Ok(metrics)
    }

    fn start_closed_lists_at_zero(&self) {
        for state in JobState::ALL {
            self.jobs.with_label_values(&[state.as_str()]);
        }
        for reason in WebhookRefusal::ALL {
            self.webhooks_refused.with_label_values(&[reason.as_str()]);
        }
        self.resolved.with_label_values(&[JobState::Unknown.as_str()]);
        for reason in RefusalReason::ALL {
            self.refused.with_label_values(&[reason.as_str()]);
        }
        for reason in WaitReason::ALL {
            self.parked.with_label_values(&[reason.as_str()]);
            self.wait_seconds.with_label_values(&[reason.as_str()]);
        }
        for dependency in [Dependency::Queue, Dependency::Store] {
            self.reconnects.with_label_values(&[dependency.as_str()]);
            self.dependency_up.with_label_values(&[dependency.as_str()]);
        }
    }

    /// The Prometheus text exposition format, version 0.0.4.
    ///
    /// # Errors
    /// When a metric cannot be written.
    pub fn render(&self) -> Result<String, MetricsError> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// A job came into `state`.
    pub fn job(&self, state: JobState) {
        self.jobs.with_label_values(&[state.as_str()]).inc();
    }

    /// A message was refused.
    pub fn refused(&self, reason: RefusalReason) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// A delivery was of a job that is known already.
    pub fn duplicate(&self) {
        self.duplicates.inc();
    }

    /// The broker gave a message again.
    pub fn redelivery(&self) {
        self.redeliveries.inc();
    }

    /// There is this ESP: its counters begin at zero, or the first burst would be no increase to Prometheus.
    pub fn esp(&self, esp: &EspId) {
        for outcome in AttemptOutcome::ALL {
            self.attempts.with_label_values(&[esp.as_str(), outcome.as_str()]);
        }
        for category in Category::ALL {
            self.troubles_of(esp, *category);
        }
        self.failovers.with_label_values(&[esp.as_str()]);
    }

    /// A call to an ESP ended.
    pub fn attempt(&self, esp: &EspId, outcome: AttemptOutcome, took: Duration) {
        self.attempts.with_label_values(&[esp.as_str(), outcome.as_str()]).inc();
        self.send_seconds.with_label_values(&[esp.as_str()]).observe(took.as_secs_f64());
    }

    /// A call was not accepted, for this reason. Alerts go by the severity of the category.
    pub fn trouble(&self, esp: &EspId, category: Category) {
        self.troubles_of(esp, category).inc();
    }

    fn troubles_of(&self, esp: &EspId, category: Category) -> IntCounter {
        self.troubles.with_label_values(&[esp.as_str(), category.as_str(), category.severity().as_str()])
    }

    /// A job waited in memory.
    pub fn waited(&self, reason: WaitReason, waited: Duration) {
        self.wait_seconds.with_label_values(&[reason.as_str()]).observe(waited.as_secs_f64());
    }

    /// A job was put into `pending`.
    pub fn parked(&self, reason: WaitReason) {
        self.parked.with_label_values(&[reason.as_str()]).inc();
    }

    /// The relay published `count` parked jobs.
    pub fn released(&self, count: u64) {
        self.released.inc_by(count);
    }

    /// A job goes to a failover member.
    pub fn failover(&self, esp: &EspId) {
        self.failovers.with_label_values(&[esp.as_str()]).inc();
    }

    /// Jobs waiting in a lane.
    pub fn lane_ready(&self, lane: &Lane, ready: u64) {
        self.lane_ready.with_label_values(&[&lane.to_string()]).set(i64::try_from(ready).unwrap_or(i64::MAX));
    }

    /// Deliveries of a lane that this process holds.
    pub fn lane_in_flight(&self, lane: &str, in_flight: usize) {
        self.lane_in_flight.with_label_values(&[lane]).set(i64::try_from(in_flight).unwrap_or(i64::MAX));
    }

    /// Whether this process pulls from a lane.
    pub fn lane_paused(&self, lane: &str, paused: bool) {
        self.lane_paused.with_label_values(&[lane]).set(i64::from(paused));
    }

    /// A lane is no more: its gauges would tell of what was, for ever.
    pub fn lane_gone(&self, lane: &Lane) {
        let lane = lane.to_string();
        for gauge in [&self.lane_ready, &self.lane_in_flight, &self.lane_paused] {
            // Fails where the lane was never told of, which is as good.
            gauge.remove_label_values(&[&lane]).ok();
        }
    }

    /// The state of an ESP's breaker: 0 closed, 1 open, 2 half-open.
    pub fn breaker_state(&self, esp: &EspId, state: i64) {
        self.breaker_state.with_label_values(&[esp.as_str()]).set(state);
    }

    /// A breaker changed; `to` is `closed`, `open` or `half_open`.
    pub fn breaker_transition(&self, esp: &EspId, to: &str) {
        self.breaker_transitions.with_label_values(&[esp.as_str(), to]).inc();
    }

    /// Slots were leased.
    pub fn slots_leased(&self, scope: &LimitScope, count: u64) {
        self.slots_leased.with_label_values(&[&limit_label(scope)]).inc_by(count);
    }

    /// A slot was used.
    pub fn slots_used(&self, scope: &LimitScope, count: u64) {
        self.slots_used.with_label_values(&[&limit_label(scope)]).inc_by(count);
    }

    /// Slots passed unused.
    pub fn slots_lapsed(&self, scope: &LimitScope, count: u64) {
        self.slots_lapsed.with_label_values(&[&limit_label(scope)]).inc_by(count);
    }

    /// A batch was written.
    pub fn batch(&self, batch: Batch, rows: usize, took: Duration) {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.batch_rows.with_label_values(&[batch.as_str()]).observe(f64::from(rows));
        self.commit_seconds.with_label_values(&[batch.as_str()]).observe(took.as_secs_f64());
    }

    /// An ESP reported an event.
    pub fn event(&self, esp: &EspId, kind: EventKind) {
        self.events.with_label_values(&[esp.as_str(), kind.as_str()]).inc();
    }

    /// So many events of a call were known already.
    pub fn event_duplicates(&self, esp: &EspId, count: u64) {
        self.event_duplicates.with_label_values(&[esp.as_str()]).inc_by(count);
    }

    /// So many items of a call concern no job of ours, or could not be read.
    pub fn events_left_out(&self, esp: &EspId, foreign: u64, unreadable: u64) {
        self.events_left_out.with_label_values(&[esp.as_str(), "foreign"]).inc_by(foreign);
        self.events_left_out.with_label_values(&[esp.as_str(), "unreadable"]).inc_by(unreadable);
    }

    /// A webhook call was turned away.
    pub fn webhook_refused(&self, reason: WebhookRefusal) {
        self.webhooks_refused.with_label_values(&[reason.as_str()]).inc();
    }

    /// An event took a job out of `before`.
    pub fn resolved(&self, before: JobState) {
        self.resolved.with_label_values(&[before.as_str()]).inc();
    }

    /// A connection was made anew.
    pub fn reconnect(&self, dependency: Dependency) {
        self.reconnects.with_label_values(&[dependency.as_str()]).inc();
    }

    /// What the fleet looks like.
    pub fn fleet(&self, replicas: usize, configs_differ: bool, brakes: usize) {
        self.fleet_replicas.set(i64::try_from(replicas).unwrap_or(i64::MAX));
        self.fleet_config_mismatch.set(i64::from(configs_differ));
        self.fleet_brakes.set(i64::try_from(brakes).unwrap_or(i64::MAX));
    }

    /// Jobs that are parked in the whole fleet, by the reason why; `None` where another replica tells.
    pub fn fleet_waiting(&self, counts: Option<&BTreeMap<String, u64>>) {
        let Some(counts) = counts else { return self.fleet_waiting.reset() };
        for reason in WaitReason::ALL {
            let count = counts.get(reason.as_str()).copied().unwrap_or(0);
            let gauge = self.fleet_waiting.with_label_values(&[reason.as_str()]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Whether a dependency answers.
    pub fn dependency_up(&self, dependency: Dependency, up: bool) {
        self.dependency_up.with_label_values(&[dependency.as_str()]).set(i64::from(up));
    }
}

/// Configured scopes by name; tenants and domains, of which there is no closed list, in one word.
fn limit_label(scope: &LimitScope) -> String {
    match scope {
        LimitScope::Esp(_) | LimitScope::Group(_) | LimitScope::EspGroup(..) => scope.to_string(),
        LimitScope::Tenant(_) => "tenant".to_owned(),
        LimitScope::Domain(_) => "domain".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_name_of_ours_and_closed_lists_start_at_zero() {
        let metrics = Metrics::new("0.0.0").unwrap();
        let text = metrics.render().unwrap();
        assert!(
            text.lines().filter(|line| !line.starts_with('#')).all(|line| line.starts_with("sluice_")),
            "{text}"
        );
        assert!(text.contains("sluice_jobs_total{state=\"accepted\"} 0"), "{text}");
    }

    #[test]
    fn a_domain_or_tenant_never_becomes_a_label() {
        assert_eq!(limit_label(&LimitScope::Domain("acme.example".into())), "domain");
        assert_eq!(limit_label(&LimitScope::Tenant("acme".parse().unwrap())), "tenant");
    }
}
