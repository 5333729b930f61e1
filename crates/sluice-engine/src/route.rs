//! Step 2: which ESP. Pool tiers, breakers, weights, and what has faulted on this job before.

use sluice_policy::{Availability, Choice, choose};
use sluice_types::{EspId, Tick};

use crate::case::Case;
use crate::worker::Worker;

/// Where a job goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// To this ESP.
    To(EspId),
    /// Nowhere: every ESP of the pool is open or away, at least until then.
    Nowhere {
        /// When the first of them lets a probe through.
        until: Tick,
    },
}

/// Chooses the ESP for a job.
pub(crate) fn route(worker: &Worker, case: &Case<'_>) -> Route {
    let now = worker.clock.tick();
    let Some(pool) = worker.plan.pool(&case.job.pool) else { return Route::Nowhere { until: now } };
    let availability = |esp: &EspId| {
        if worker.esps.contains_key(esp) {
            worker.breakers.availability(esp, now)
        } else {
            Availability::Down { until: now + worker.plan.bounds().hold_max }
        }
    };
    match choose(pool, availability, &case.passport.faulted, &mut fastrand::Rng::new()) {
        Choice::Esp { esp, failover } => {
            if failover {
                worker.metrics.failover(&esp);
                tracing::debug!(job = %case.job.id, %esp, "failover");
            }
            Route::To(esp)
        }
        Choice::Wait { until } => Route::Nowhere { until: until.unwrap_or(now) },
    }
}
