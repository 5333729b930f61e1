//! Whether a limit held: by the workers' own write times, and as the ESP saw it.

use std::time::{Duration, Instant};

use sluice_testkit::peers::busiest_window;

use crate::run::{Figure, Run};
use crate::stage::Scene;

/// The ESP notes calls up to 50 ms late, when its process has to wait for a core.
const SEEN_WINDOW: Duration = Duration::from_millis(950);
/// Most calls that were begun within a second.
const WRITTEN: &str = "SELECT coalesce(max(calls), 0) FROM (
    SELECT count(*) OVER (ORDER BY started_at RANGE BETWEEN interval '999999 microseconds' PRECEDING AND CURRENT ROW) AS calls
    FROM sluice.attempt) AS windows";

/// Enters how far a limit of `per_second` was used by the jobs of the run, which came at the ESP at these `times`, and a fault
/// if it did not hold.
pub(super) fn enter(
    run: &mut Run,
    scene: &Scene<'_>,
    times: Vec<Instant>,
    per_second: u32,
) -> anyhow::Result<()> {
    let limit = f64::from(per_second);
    let rate = run.figures.get(&Figure::JobsPerSecond).copied().unwrap_or_default();
    run.set(Figure::LimitUsed, rate / limit);
    let (written, seen) = (scene.count(WRITTEN)?, busiest_window(times, SEEN_WINDOW));
    run.set(Figure::BusiestSecond, written as f64);
    let most = usize::try_from(per_second)?;
    if written > most {
        run.faults.push(format!("{written} calls begun within one second, under a limit of {per_second}"));
    }
    if seen > most {
        run.faults.push(format!("{seen} calls seen within 0.95 s, under a limit of {per_second}"));
    }
    Ok(())
}
